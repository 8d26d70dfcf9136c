//! A restricted unpickler: it builds plain data from the pickles of torch.save and runs nothing.
//!
//! A pickle is a program for a stack machine (Python's `pickletools` documents each opcode). Real unpicklers import what it names and
//! call it. This one knows a short list of names ([`Global`]), each of which stands for data: a storage type, a tensor over a storage, a
//! dict, a number or an array of numpy. Whatever else a pickle names or makes becomes an [`Opaque`] object: its name is kept, its content is
//! not, and nothing is done with it. It matters only to who asks for it. An opcode that no pickler writes ends the reading.
//!
//! Values live in an arena and refer to each other by index, so a shared node is never copied and a pickle
//! cannot grow faster than its own length. Each allocation is charged to a [`Budget`](crate::checkpoint::source) that comes from the file's size.

mod globals;
mod machine;
mod numpy;
mod stack;

use std::sync::Arc;

use crate::checkpoint::dtype::DType;

pub(super) use globals::{Element, Global};
pub(super) use machine::read;

/// A value: small ones in place, others by their index in the [`Pickle`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// The empty tuple, of which each tensor of torch.save has one or two.
    EmptyTuple,
    Node(NodeId),
}

/// Index into the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u32);

/// What a [`Value::Node`] refers to.
#[derive(Debug)]
pub(super) enum Node {
    Str(Box<str>),
    /// Bytes, and integers longer than 8 bytes (little-endian two's complement, as in the pickle).
    Bytes(Box<[u8]>),
    Tuple(Box<[Value]>),
    /// A list or a set.
    List(Vec<Value>),
    /// Pairs in order of insertion; a later pair overrides an earlier one with an equal key.
    Dict(Vec<(Value, Value)>),
    Global(Global),
    Storage(Box<Storage>),
    Tensor(Box<TensorRef>),
    /// A numpy dtype: kind (`f`, `i`, `u`, `b`) and bytes per element.
    NumpyDtype(char, u8),
    Array(Box<Array>),
    Opaque(Box<Opaque>),
}

/// An object of which only the name is known.
#[derive(Debug)]
pub(super) struct Opaque {
    /// `module.name`.
    pub(super) name: Arc<str>,
    /// Why it is not read, where its name is one that stands for data.
    pub(super) problem: Option<Box<str>>,
}

/// A numpy array, row-major, with its bytes in a node of their own; not yet checked against them.
#[derive(Debug, Default)]
pub(super) struct Array {
    /// None until its state is read.
    pub(super) dtype: Option<DType>,
    pub(super) shape: Box<[usize]>,
    /// The [`Node::Bytes`].
    pub(super) bytes: Option<NodeId>,
}

/// A persistent id of torch.save: elements that are kept outside the pickle.
#[derive(Debug, PartialEq)]
pub(super) struct Storage {
    pub(super) element: Element,
    pub(super) key: Box<str>,
    /// Elements in the storage.
    pub(super) len: u64,
    /// Legacy files only: the key of a view, its first element and its length within the storage.
    pub(super) view: Option<(u64, u64)>,
}

/// A tensor as a view of a storage; offset and strides in elements, not yet checked against the storage.
#[derive(Debug)]
pub(super) struct TensorRef {
    /// The [`Node::Storage`].
    pub(super) storage: NodeId,
    pub(super) offset: u64,
    pub(super) shape: Box<[usize]>,
    pub(super) strides: Box<[u64]>,
}

/// What a pickle holds.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    pub(super) root: Value,
}

impl Pickle {
    /// The node of a value, none for small values.
    pub(super) fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(id) => self.nodes.get(id.0 as usize),
            _ => None,
        }
    }

    /// The text of a value.
    pub(super) fn str(&self, value: Value) -> Option<&str> {
        match self.node(value) {
            Some(Node::Str(text)) => Some(text),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub(super) fn items(&self, value: Value) -> Option<&[Value]> {
        match (value, self.node(value)) {
            (Value::EmptyTuple, _) => Some(&[]),
            (_, Some(Node::List(items))) => Some(items),
            (_, Some(Node::Tuple(items))) => Some(items),
            _ => None,
        }
    }

    /// The pairs of a dict.
    pub(super) fn pairs(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.node(value) {
            Some(Node::Dict(pairs)) => Some(pairs),
            _ => None,
        }
    }

    /// The value under a text key; the last one where there are several, as in Python.
    pub(super) fn field(&self, dict: Value, key: &str) -> Option<Value> {
        let pairs = self.pairs(dict)?;
        pairs.iter().rev().find(|(k, _)| self.str(*k) == Some(key)).map(|(_, value)| *value)
    }

    /// The tensor of a value.
    pub(super) fn tensor(&self, value: Value) -> Option<&TensorRef> {
        match self.node(value) {
            Some(Node::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// The numpy array of a value: its type, shape and bytes.
    pub(super) fn array(&self, value: Value) -> Option<(DType, &[usize], &[u8])> {
        let Some(Node::Array(array)) = self.node(value) else { return None };
        match self.nodes.get(array.bytes?.0 as usize) {
            Some(Node::Bytes(bytes)) => Some((array.dtype?, &array.shape, bytes)),
            _ => None,
        }
    }

    /// Whether a value is a tensor or an array of numpy.
    pub(super) fn is_tensor(&self, value: Value) -> bool {
        matches!(self.node(value), Some(Node::Tensor(_) | Node::Array(_)))
    }

    /// The opaque object of a value.
    pub(super) fn opaque(&self, value: Value) -> Option<&Opaque> {
        match self.node(value) {
            Some(Node::Opaque(opaque)) => Some(opaque),
            _ => None,
        }
    }

    /// The storage of a tensor. The machine makes tensors over storages only.
    pub(super) fn storage(&self, id: NodeId) -> Option<&Storage> {
        match self.nodes.get(id.0 as usize) {
            Some(Node::Storage(storage)) => Some(storage),
            _ => None,
        }
    }

    /// All storages in order of first mention.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// What a value is, for messages; of an object its name.
    pub(super) fn kind(&self, value: Value) -> String {
        match self.opaque(value) {
            Some(Opaque { name, problem: None }) => format!("the object `{name}`"),
            Some(Opaque { name, problem: Some(problem) }) => format!("the object `{name}` ({problem})"),
            None => kind(value, self.node(value)).into(),
        }
    }
}

fn kind(value: Value, node: Option<&Node>) -> &'static str {
    match (value, node) {
        (Value::None, _) => "None",
        (Value::Bool(_), _) => "a bool",
        (Value::Int(_), _) => "an integer",
        (Value::Float(_), _) => "a float",
        (Value::EmptyTuple, _) | (_, Some(Node::Tuple(_))) => "a tuple",
        (_, Some(Node::Str(_))) => "a string",
        (_, Some(Node::Bytes(_))) => "bytes",
        (_, Some(Node::List(_))) => "a list",
        (_, Some(Node::Dict(_))) => "a dict",
        (_, Some(Node::Global(_))) => "a name",
        (_, Some(Node::Storage(_))) => "a storage",
        (_, Some(Node::Tensor(_))) => "a tensor",
        (_, Some(Node::NumpyDtype(..))) => "a numpy dtype",
        (_, Some(Node::Array(_))) => "a numpy array",
        (_, Some(Node::Opaque(_))) => "an object",
        (Value::Node(_), None) => "nothing",
    }
}
