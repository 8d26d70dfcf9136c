//! The memory of the stack machine: nodes, stack, marks, memo. Whatever grows is charged to the budget before it does.

use super::machine::{Machine, Step};
use super::{Node, NodeId, Value};

/// Values on the stack at once; Python's pickler writes containers in batches of 1,000.
const MAX_STACK: usize = 1 << 20;

impl Machine<'_> {
    /// Makes a node; its cost, and that of what it holds, is charged before.
    pub(super) fn alloc(&mut self, node: Node) -> Step<Value> {
        let held = match &node {
            Node::Str(text) => text.len(),
            Node::Bytes(bytes) => bytes.len(),
            Node::Tuple(items) => size_of_val(&**items),
            Node::List(items) => size_of_val(&**items),
            Node::Dict(pairs) => size_of_val(&**pairs),
            Node::Storage(storage) => size_of_val(&**storage) + storage.key.len(),
            Node::Tensor(tensor) => size_of_val(&**tensor) + 16 * tensor.shape.len(),
            Node::Array(array) => size_of_val(&**array) + 16 * array.shape.len(),
            Node::Opaque(opaque) => size_of_val(&**opaque) + opaque.problem.as_ref().map_or(0, |p| p.len()),
            Node::Global(_) | Node::NumpyDtype(..) => 0,
        };
        // The arena may double, and an allocation has a header of its own.
        self.budget.charge((held + 2 * size_of::<Node>() + 16) as u64)?;
        let id = u32::try_from(self.nodes.len()).map_err(|_| "too many values")?;
        self.nodes.push(node);
        Ok(Value::Node(NodeId(id)))
    }

    pub(super) fn push(&mut self, value: Value) -> Step<()> {
        if self.stack.len() == self.stack.capacity() {
            // The stack doubles, old and new side by side for a moment.
            let more = self.stack.len().max(64);
            if self.stack.len() + more > MAX_STACK {
                return Err(format!("more than {MAX_STACK} values are on the stack"));
            }
            self.budget.charge((2 * more * size_of::<Value>()) as u64)?;
            self.stack.reserve_exact(more);
        }
        self.stack.push(value);
        Ok(())
    }

    /// Pops a value that lies above the last mark.
    pub(super) fn pop(&mut self) -> Step<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("it takes a value from an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "it takes a value from an empty stack".into())
    }

    pub(super) fn top(&self) -> Step<Value> {
        self.stack.last().copied().ok_or_else(|| "it looks at an empty stack".into())
    }

    /// The values above the last mark, which goes.
    pub(super) fn pop_mark(&mut self) -> Step<Vec<Value>> {
        let mark = self.marks.pop().ok_or("there is no mark on the stack")?;
        // Every pop stops at a mark, so a mark never lies above the stack.
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    pub(super) fn tuple(&mut self, items: Vec<Value>) -> Step<()> {
        let tuple = if items.is_empty() { Value::EmptyTuple } else { self.alloc(Node::Tuple(items.into()))? };
        self.push(tuple)
    }

    pub(super) fn tuple_of(&mut self, n: usize) -> Step<()> {
        let mut items = Vec::with_capacity(n);
        for _ in 0..n {
            items.push(self.pop()?);
        }
        items.reverse();
        self.tuple(items)
    }

    fn node_mut(&mut self, value: Value) -> Option<&mut Node> {
        match value {
            Value::Node(NodeId(id)) => self.nodes.get_mut(id as usize),
            _ => None,
        }
    }

    /// What an opaque object holds is nobody's business here, so its items go.
    pub(super) fn append(&mut self, list: Value, more: &[Value]) -> Step<()> {
        self.budget.charge(3 * size_of_val(more) as u64)?;
        match self.node_mut(list) {
            Some(Node::List(items)) => items.extend_from_slice(more),
            Some(Node::Opaque(_)) => {}
            _ => return Err("it appends to something that is no list".into()),
        }
        Ok(())
    }

    /// `more` are keys and values by turns.
    pub(super) fn set_items(&mut self, dict: Value, more: &[Value]) -> Step<()> {
        self.budget.charge(3 * size_of_val(more) as u64)?;
        let (whole, rest) = more.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("a key of a dict has no value".into());
        }
        match self.node_mut(dict) {
            Some(Node::Dict(pairs)) => pairs.extend(whole.iter().map(|[key, value]| (*key, *value))),
            Some(Node::Opaque(_)) => {}
            _ => return Err("it sets items of something that is no dict".into()),
        }
        Ok(())
    }

    pub(super) fn memoize(&mut self, index: u32) -> Step<()> {
        let value = self.top()?;
        let index = index as usize;
        if index >= self.memo.len() {
            // Python numbers its memo from 0 without gaps, so a far index is charged as what it would cost.
            let more = index + 1 - self.memo.len();
            self.budget.charge(3 * more as u64 * size_of::<Option<Value>>() as u64)?;
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(value);
        Ok(())
    }

    pub(super) fn recall(&mut self, index: u32) -> Step<()> {
        let value = self.memo.get(index as usize).copied().flatten();
        let value = value.ok_or_else(|| format!("the memo has no entry {index}"))?;
        self.push(value)
    }
}
