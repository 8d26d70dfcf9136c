//! The stack machine: opcodes of protocols 2 to 5 that write plain data.

use crate::Result;
use crate::checkpoint::pickle::{Global, Node, NodeId, Pickle, Value, kind};
use crate::checkpoint::source::{Budget, Source, Stream};

/// Instructions of one pickle; the largest model has a few hundred thousand.
const MAX_OPCODES: u64 = 1 << 26;
/// Values on the stack at once; Python's pickler writes containers in batches of 1,000.
const MAX_STACK: usize = 1 << 20;
/// Nested marks; real files have about 6.
const MAX_MARKS: usize = 256;
/// Characters of a name or an opcode's argument in a message.
const SHOWN: usize = 80;

/// What a step gives; the error is a problem without file and position, which [`read`] adds.
pub(super) type Step<T> = std::result::Result<T, String>;

pub(super) struct Machine<'a> {
    pub(super) nodes: Vec<Node>,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: Vec<Option<Value>>,
    budget: &'a mut Budget,
}

/// Reads one pickle from the stream's position to its STOP. `what` names it in messages.
///
/// Errors: [`crate::Error::Format`] that names the file, the byte and the reason; nothing in the pickle is ever run.
pub(in crate::checkpoint) fn read(
    source: &Source,
    stream: &mut Stream,
    budget: &mut Budget,
    what: &str,
) -> Result<Pickle> {
    let mut machine =
        Machine { nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new(), budget };
    for _ in 0..MAX_OPCODES {
        let at = stream.position();
        let opcode = stream.byte()?;
        match machine.step(opcode, stream) {
            Ok(Some(root)) => return Ok(Pickle { nodes: machine.nodes, root }),
            Ok(None) => {}
            Err(Problem::Own(problem)) => return Err(source.bad(format!("{what}, byte {at}: {problem}"))),
            Err(Problem::Source(error)) => return Err(error),
        }
    }
    Err(source.bad(format!("{what} has more than {MAX_OPCODES} instructions")))
}

/// A problem of the pickle itself, or one that the source reported.
enum Problem {
    Own(String),
    Source(crate::Error),
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self::Own(problem)
    }
}

impl From<&str> for Problem {
    fn from(problem: &str) -> Self {
        Self::Own(problem.into())
    }
}

impl From<crate::Error> for Problem {
    fn from(error: crate::Error) -> Self {
        Self::Source(error)
    }
}

/// Printable, and short.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

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
            Node::Global(_) | Node::NumpyDtype(..) => 0,
        };
        // The arena may double, and an allocation has a header of its own.
        self.budget.charge((held + 2 * size_of::<Node>() + 16) as u64)?;
        let id = u32::try_from(self.nodes.len()).map_err(|_| "too many values")?;
        self.nodes.push(node);
        Ok(Value::Node(NodeId(id)))
    }

    fn push(&mut self, value: Value) -> Step<()> {
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
    fn pop(&mut self) -> Step<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("it takes a value from an empty stack".into());
        }
        self.stack.pop().ok_or_else(|| "it takes a value from an empty stack".into())
    }

    fn top(&self) -> Step<Value> {
        self.stack.last().copied().ok_or_else(|| "it looks at an empty stack".into())
    }

    /// The values above the last mark, which goes.
    fn pop_mark(&mut self) -> Step<Vec<Value>> {
        let mark = self.marks.pop().ok_or("there is no mark on the stack")?;
        // Every pop stops at a mark, so a mark never lies above the stack.
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn tuple(&mut self, items: Vec<Value>) -> Step<()> {
        let tuple = if items.is_empty() { Value::EmptyTuple } else { self.alloc(Node::Tuple(items.into()))? };
        self.push(tuple)
    }

    fn tuple_of(&mut self, n: usize) -> Step<()> {
        let mut items = Vec::with_capacity(n);
        for _ in 0..n {
            items.push(self.pop()?);
        }
        items.reverse();
        self.tuple(items)
    }

    fn list(&mut self, list: Value) -> Step<&mut Vec<Value>> {
        let node = match list {
            Value::Node(NodeId(id)) => self.nodes.get_mut(id as usize),
            _ => None,
        };
        match node {
            Some(Node::List(items)) => Ok(items),
            _ => Err("it appends to something that is no list".into()),
        }
    }

    fn append(&mut self, list: Value, more: &[Value]) -> Step<()> {
        self.budget.charge(3 * size_of_val(more) as u64)?;
        self.list(list)?.extend_from_slice(more);
        Ok(())
    }

    fn set_items(&mut self, dict: Value, more: &[Value]) -> Step<()> {
        self.budget.charge(3 * size_of_val(more) as u64)?;
        let node = match dict {
            Value::Node(NodeId(id)) => self.nodes.get_mut(id as usize),
            _ => None,
        };
        let Some(Node::Dict(pairs)) = node else {
            return Err("it sets items of something that is no dict".into());
        };
        let (whole, rest) = more.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("a key of a dict has no value".into());
        }
        pairs.extend(whole.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    fn memoize(&mut self, index: u32) -> Step<()> {
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

    fn recall(&mut self, index: u32) -> Step<()> {
        let value = self.memo.get(index as usize).copied().flatten();
        let value = value.ok_or_else(|| format!("the memo has no entry {index}"))?;
        self.push(value)
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        let Some(global) = Global::find(module, name) else {
            return Err(format!(
                "it names `{}.{}`, which is not among the names that stand for plain data; the file is refused and nothing in it was run",
                shown(module),
                shown(name)
            ));
        };
        let value = self.alloc(Node::Global(global))?;
        self.push(value)
    }

    fn pop_str(&mut self) -> Step<String> {
        let value = self.pop()?;
        let node = match value {
            Value::Node(NodeId(id)) => self.nodes.get(id as usize),
            _ => None,
        };
        match node {
            Some(Node::Str(text)) if text.len() <= 256 => Ok(text.to_string()),
            _ => Err(format!("a global's name is {}", kind(value, node))),
        }
    }

    fn text(&mut self, stream: &mut Stream, len: u64) -> std::result::Result<(), Problem> {
        self.room(stream, len)?;
        let text = String::from_utf8(stream.bytes(len)?).map_err(|_| "a string is not UTF-8")?;
        let value = self.alloc(Node::Str(text.into()))?;
        Ok(self.push(value)?)
    }

    fn raw(&mut self, stream: &mut Stream, len: u64) -> std::result::Result<(), Problem> {
        self.room(stream, len)?;
        let bytes = stream.bytes(len)?;
        let value = self.alloc(Node::Bytes(bytes.into()))?;
        Ok(self.push(value)?)
    }

    /// Python 2's strings: text where they can be, else bytes.
    fn old_text(&mut self, stream: &mut Stream, len: u64) -> std::result::Result<(), Problem> {
        self.room(stream, len)?;
        let node = match String::from_utf8(stream.bytes(len)?) {
            Ok(text) => Node::Str(text.into()),
            Err(error) => Node::Bytes(error.into_bytes().into()),
        };
        let value = self.alloc(node)?;
        Ok(self.push(value)?)
    }

    /// A length is checked against what follows, and charged, before anything is allocated.
    fn room(&mut self, stream: &Stream, len: u64) -> Step<()> {
        if len > stream.remaining() {
            return Err(format!("a string of {len} bytes is announced, {} bytes follow", stream.remaining()));
        }
        self.budget.charge(len)
    }

    /// An integer of `len` bytes.
    fn long(&mut self, stream: &mut Stream, len: u64) -> std::result::Result<(), Problem> {
        if len > 8 {
            // Only the magic number of legacy files is that long.
            return self.raw(stream, len);
        }
        let bytes = stream.bytes(len)?;
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(&bytes);
        let spare = 64 - 8 * len as u32;
        let value = if len == 0 { 0 } else { (i64::from_le_bytes(word) << spare) >> spare };
        Ok(self.push(Value::Int(value))?)
    }

    /// One instruction. Gives the root at STOP.
    fn step(&mut self, opcode: u8, stream: &mut Stream) -> std::result::Result<Option<Value>, Problem> {
        match opcode {
            // PROTO, FRAME: the version, and lengths that only help buffering.
            0x80 => match stream.byte()? {
                2..=5 => {}
                version => return Err(format!("pickle protocol {version}; 2 to 5 are read").into()),
            },
            0x95 => drop(stream.array::<8>()?),
            // STOP
            b'.' => {
                let root = self.pop()?;
                return match (self.stack.len(), self.marks.len()) {
                    (0, 0) => Ok(Some(root)),
                    _ => Err("it stops with values left on the stack".into()),
                };
            }
            b'(' if self.marks.len() >= MAX_MARKS => {
                return Err(format!("more than {MAX_MARKS} levels of nesting").into());
            }
            b'(' => self.marks.push(self.stack.len()),
            // POP, POP_MARK, DUP
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => self.push(self.top()?)?,
            // NONE, NEWTRUE, NEWFALSE, BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'J' => self.push(Value::Int(i32::from_le_bytes(stream.array()?).into()))?,
            b'K' => self.push(Value::Int(stream.byte()?.into()))?,
            b'M' => self.push(Value::Int(u16::from_le_bytes(stream.array()?).into()))?,
            0x8a => {
                let len = stream.byte()?.into();
                self.long(stream, len)?;
            }
            0x8b => {
                let len = u32::from_le_bytes(stream.array()?).into();
                self.long(stream, len)?;
            }
            b'G' => self.push(Value::Float(f64::from_be_bytes(stream.array()?)))?,
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' => {
                let len = u32::from_le_bytes(stream.array()?).into();
                self.text(stream, len)?;
            }
            0x8c => {
                let len = stream.byte()?.into();
                self.text(stream, len)?;
            }
            0x8d => {
                let len = u64::from_le_bytes(stream.array()?);
                self.text(stream, len)?;
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8
            b'B' => {
                let len = u32::from_le_bytes(stream.array()?).into();
                self.raw(stream, len)?;
            }
            b'C' => {
                let len = stream.byte()?.into();
                self.raw(stream, len)?;
            }
            0x8e => {
                let len = u64::from_le_bytes(stream.array()?);
                self.raw(stream, len)?;
            }
            // BINSTRING, SHORT_BINSTRING
            b'T' => {
                let len = u32::from_le_bytes(stream.array()?).into();
                self.old_text(stream, len)?;
            }
            b'U' => {
                let len = stream.byte()?.into();
                self.old_text(stream, len)?;
            }
            // EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3
            b')' => self.push(Value::EmptyTuple)?,
            b't' => {
                let items = self.pop_mark()?;
                self.tuple(items)?;
            }
            0x85..=0x87 => self.tuple_of(usize::from(opcode - 0x84))?,
            // EMPTY_LIST, LIST, APPEND, APPENDS
            b']' => {
                let list = self.alloc(Node::List(Vec::new()))?;
                self.push(list)?;
            }
            b'l' => {
                let items = self.pop_mark()?;
                let list = self.alloc(Node::List(items))?;
                self.push(list)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(self.top()?, &[item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.append(self.top()?, &items)?;
            }
            // EMPTY_DICT, DICT, SETITEM, SETITEMS
            b'}' => {
                let dict = self.alloc(Node::Dict(Vec::new()))?;
                self.push(dict)?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                let dict = self.alloc(Node::Dict(Vec::new()))?;
                self.set_items(dict, &items)?;
                self.push(dict)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(self.top()?, &[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(self.top()?, &items)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let index = stream.byte()?.into();
                self.memoize(index)?;
            }
            b'r' => {
                let index = u32::from_le_bytes(stream.array()?);
                self.memoize(index)?;
            }
            0x94 => {
                let index = u32::try_from(self.memo.len()).map_err(|_| "the memo is full")?;
                self.memoize(index)?;
            }
            b'h' => {
                let index = stream.byte()?.into();
                self.recall(index)?;
            }
            b'j' => {
                let index = u32::from_le_bytes(stream.array()?);
                self.recall(index)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let module = line(stream)?;
                let name = line(stream)?;
                self.global(&module, &name)?;
            }
            0x93 => {
                let name = self.pop_str()?;
                let module = self.pop_str()?;
                self.global(&module, &name)?;
            }
            // REDUCE, NEWOBJ: a call of an allowed name.
            b'R' | 0x81 => {
                let args = self.pop()?;
                let callee = self.pop()?;
                let node = match callee {
                    Value::Node(NodeId(id)) => self.nodes.get(id as usize),
                    _ => None,
                };
                let Some(Node::Global(global)) = node else {
                    return Err(format!("it calls {}", kind(callee, node)).into());
                };
                let result = self.reduce(*global, args)?;
                self.push(result)?;
            }
            // BUILD
            b'b' => {
                let state = self.pop()?;
                self.build(self.top()?, state)?;
            }
            // BINPERSID
            b'Q' => {
                let id = self.pop()?;
                let storage = self.persistent(id)?;
                self.push(storage)?;
            }
            _ => {
                let shown = shown(&char::from(opcode).to_string());
                return Err(format!(
                    "the instruction 0x{opcode:02x} ({shown}) is not one that writes plain data"
                )
                .into());
            }
        }
        Ok(None)
    }
}

/// A line of a GLOBAL instruction, without its end.
fn line(stream: &mut Stream) -> std::result::Result<String, Problem> {
    let mut line = Vec::new();
    loop {
        match stream.byte()? {
            b'\n' => break,
            _ if line.len() >= 256 => return Err("a global's name is longer than 256 bytes".into()),
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map_err(|_| "a global's name is not UTF-8".into())
}
