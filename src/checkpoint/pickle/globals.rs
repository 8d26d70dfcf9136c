//! The names that stand for data, and what a call of each yields. Nothing is imported or called. A name that is not in the table, and a
//! call that does not fit its name, become an opaque object.

use std::sync::Arc;

use super::machine::{Machine, Step};
use super::{Node, NodeId, Opaque, Storage, TensorRef, Value};
use crate::checkpoint::dtype::DType;

/// Axes of a tensor; torch itself stops at 64, no model here has more than 4.
const MAX_AXES: usize = 16;
/// Arguments of a call; `_rebuild_tensor_v3` has 8.
const MAX_ARGUMENTS: usize = 8;

/// A name that stands for data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::checkpoint) enum Global {
    /// `OrderedDict`, `Counter`.
    Dict,
    /// Its first argument makes missing values.
    DefaultDict,
    /// `set`, `frozenset`, `list`: a list here.
    Collection,
    RebuildTensor,
    RebuildTensorV2,
    RebuildParameter,
    RebuildParameterWithState,
    /// A tensor with attributes of its own.
    RebuildFromType,
    Size,
    Storage(Element),
    NumpyScalar,
    NumpyDtype,
    NumpyReconstruct,
    NumpyFromBuffer,
    CodecsEncode,
}

/// The elements of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::checkpoint) enum Element {
    Known(DType),
    /// A type that no weights here have, by its name and its bytes: whoever reads a legacy file has to pass over it.
    Other(&'static str, usize),
}

impl Element {
    /// Its name, for messages.
    pub(in crate::checkpoint) fn name(self) -> &'static str {
        match self {
            Self::Known(dtype) => dtype.name(),
            Self::Other(name, _) => name,
        }
    }

    /// Bytes of one element.
    pub(in crate::checkpoint) fn size(self) -> usize {
        match self {
            Self::Known(dtype) => dtype.size(),
            Self::Other(_, size) => size,
        }
    }
}

/// The types of storages, by their names in `torch`.
const STORAGES: &[(&str, Element)] = &[
    ("DoubleStorage", Element::Known(DType::F64)),
    ("FloatStorage", Element::Known(DType::F32)),
    ("HalfStorage", Element::Known(DType::F16)),
    ("BFloat16Storage", Element::Known(DType::Bf16)),
    ("LongStorage", Element::Known(DType::I64)),
    ("IntStorage", Element::Known(DType::I32)),
    ("ShortStorage", Element::Known(DType::I16)),
    ("CharStorage", Element::Known(DType::I8)),
    ("ByteStorage", Element::Known(DType::U8)),
    ("BoolStorage", Element::Known(DType::Bool)),
    ("UntypedStorage", Element::Other("untyped", 1)),
    ("ComplexFloatStorage", Element::Other("complex64", 8)),
    ("ComplexDoubleStorage", Element::Other("complex128", 16)),
    ("QInt8Storage", Element::Other("qint8", 1)),
    ("QUInt8Storage", Element::Other("quint8", 1)),
    ("QInt32Storage", Element::Other("qint32", 4)),
];

/// What else stands for data. Python 2 called the module of built-in names `__builtin__`.
const NAMES: &[(&str, &str, Global)] = &[
    ("collections", "OrderedDict", Global::Dict),
    ("collections", "Counter", Global::Dict),
    ("collections", "defaultdict", Global::DefaultDict),
    ("builtins", "set", Global::Collection),
    ("builtins", "frozenset", Global::Collection),
    ("builtins", "list", Global::Collection),
    ("__builtin__", "set", Global::Collection),
    ("__builtin__", "frozenset", Global::Collection),
    ("torch._utils", "_rebuild_tensor", Global::RebuildTensor),
    ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensorV2),
    ("torch._utils", "_rebuild_parameter", Global::RebuildParameter),
    ("torch._utils", "_rebuild_parameter_with_state", Global::RebuildParameterWithState),
    ("torch._tensor", "_rebuild_from_type_v2", Global::RebuildFromType),
    ("torch", "Size", Global::Size),
    ("numpy", "dtype", Global::NumpyDtype),
    ("numpy.core.multiarray", "scalar", Global::NumpyScalar),
    ("numpy._core.multiarray", "scalar", Global::NumpyScalar),
    ("numpy.core.multiarray", "_reconstruct", Global::NumpyReconstruct),
    ("numpy._core.multiarray", "_reconstruct", Global::NumpyReconstruct),
    ("numpy.core.numeric", "_frombuffer", Global::NumpyFromBuffer),
    ("numpy._core.numeric", "_frombuffer", Global::NumpyFromBuffer),
    ("_codecs", "encode", Global::CodecsEncode),
];

impl Global {
    /// What the name stands for; none where nothing is known of it.
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        let other = || NAMES.iter().find(|(m, n, _)| *m == module && *n == name).map(|(.., global)| *global);
        let storage =
            || STORAGES.iter().find(|(n, _)| *n == name).map(|(_, element)| Self::Storage(*element));
        match module {
            "torch" | "torch.cuda" | "torch.storage" => other().or_else(storage),
            _ => other(),
        }
    }

    /// Its name, for messages.
    fn name(self) -> String {
        let named = NAMES.iter().find(|(.., global)| *global == self);
        let storage = || STORAGES.iter().find(|(_, element)| Self::Storage(*element) == self);
        match (named, storage()) {
            (Some((module, name, _)), _) => format!("{module}.{name}"),
            (None, Some((name, _))) => format!("torch.{name}"),
            (None, None) => format!("{self:?}"),
        }
    }
}

/// A number of elements or bytes.
pub(super) fn natural(value: Value, what: &str) -> Step<u64> {
    match value {
        Value::Int(n) if n >= 0 => Ok(n as u64),
        _ => Err(format!("{what} is not a natural number")),
    }
}

impl Machine<'_> {
    /// What `global(*args)` stands for.
    pub(super) fn reduce(&mut self, global: Global, args: Value) -> Step<Value> {
        let fitting = match self.items(args) {
            Some(items) if items.len() <= MAX_ARGUMENTS => Ok(items.to_vec()),
            _ => Err("it is called with something else than a short tuple".to_owned()),
        };
        match fitting {
            Ok(args) => self.made(global, &args),
            Err(problem) => self.opaque(global.name().into(), Some(problem)),
        }
    }

    /// The outer error ends the reading: there is no memory for it.
    fn made(&mut self, global: Global, args: &[Value]) -> Step<Value> {
        let node = match (global, args) {
            (Global::Dict, []) | (Global::DefaultDict, [] | [_]) => Ok(Node::Dict(Vec::new())),
            // `Counter({…})`: the dict itself.
            (Global::Dict, [dict]) if matches!(self.node(*dict), Some(Node::Dict(_))) => return Ok(*dict),
            (Global::Dict, [pairs]) | (Global::DefaultDict, [_, pairs]) => {
                self.charge_items(*pairs)?;
                self.pairs_of(*pairs)
            }
            (Global::Collection, []) => Ok(Node::List(Vec::new())),
            (Global::Collection, [items]) => {
                self.charge_items(*items)?;
                self.items(*items)
                    .map(|items| Node::List(items.to_vec()))
                    .ok_or_else(|| "it is made of no list".into())
            }
            (Global::RebuildTensor, [storage, offset, shape, strides])
            | (Global::RebuildTensorV2, [storage, offset, shape, strides, _, _, ..]) => {
                self.tensor(*storage, *offset, *shape, *strides)
            }
            (Global::RebuildParameter, [tensor, _, _])
            | (Global::RebuildParameterWithState, [tensor, _, _, _]) => {
                match self.node(*tensor) {
                    // What is odd stays odd under the name that it has.
                    Some(Node::Tensor(_) | Node::Opaque(_)) => return Ok(*tensor),
                    _ => Err("a parameter is made of something that is no tensor".into()),
                }
            }
            (Global::RebuildFromType, [function, _kind, args, _state]) => match self.node(*function) {
                // One step only: the function of the function is not called.
                Some(Node::Global(inner)) if *inner != Global::RebuildFromType => {
                    return self.reduce(*inner, *args);
                }
                _ => Err("its function is not known".into()),
            },
            (Global::Size, [sizes]) if self.items(*sizes).is_some() => return Ok(*sizes),
            (Global::CodecsEncode, [text, codec]) => {
                if let Some(Node::Str(text)) = self.node(*text) {
                    let len = text.len() as u64;
                    self.budget.charge(len)?;
                }
                self.encode(*text, *codec)
            }
            (Global::NumpyDtype, [name, ..]) => self.numpy_dtype(*name),
            (Global::NumpyScalar, [dtype, bytes]) => match self.numpy_scalar(*dtype, *bytes) {
                Ok(value) => return Ok(value),
                Err(problem) => Err(problem),
            },
            (Global::NumpyReconstruct, [..]) => Ok(Node::Array(Box::default())),
            (Global::NumpyFromBuffer, [bytes, dtype, shape, order]) => {
                self.array(*shape, *dtype, self.is_fortran(*order), *bytes)
            }
            _ => Err(format!("it is called with {} arguments that do not fit it", args.len())),
        };
        match node {
            Ok(node) => self.alloc(node),
            Err(problem) => self.opaque(global.name().into(), Some(problem)),
        }
    }

    /// An object of which only the name is known.
    pub(super) fn opaque(&mut self, name: Arc<str>, problem: Option<String>) -> Step<Value> {
        self.alloc(Node::Opaque(Box::new(Opaque { name, problem: problem.map(Into::into) })))
    }

    /// A copy of a list is paid for before it is made.
    fn charge_items(&mut self, list: Value) -> Step<()> {
        let len = self.items(list).map_or(0, <[Value]>::len);
        self.budget.charge(3 * (len * size_of::<Value>()) as u64)
    }

    /// `OrderedDict([(key, value), …])`, as Python 2 wrote it.
    fn pairs_of(&self, pairs: Value) -> Step<Node> {
        const PROBLEM: &str = "it is made of something else than pairs";
        let mut out = Vec::new();
        for pair in self.items(pairs).ok_or(PROBLEM)? {
            match self.items(*pair) {
                Some([key, value]) => out.push((*key, *value)),
                _ => return Err(PROBLEM.into()),
            }
        }
        Ok(Node::Dict(out))
    }

    fn tensor(&self, storage: Value, offset: Value, shape: Value, strides: Value) -> Step<Node> {
        let storage = match (storage, self.node(storage)) {
            (Value::Node(id), Some(Node::Storage(_))) => id,
            _ => return Err("a tensor is made over something that is no storage".into()),
        };
        let offset = natural(offset, "a tensor's offset")?;
        let strides = self.naturals(strides, "a tensor's stride")?;
        let shape = self.naturals(shape, "a tensor's size")?;
        if shape.len() != strides.len() {
            return Err(format!("a tensor has {} sizes and {} strides", shape.len(), strides.len()));
        }
        let shape =
            shape.iter().map(|n| usize::try_from(*n).map_err(|e| e.to_string())).collect::<Step<_>>()?;
        Ok(Node::Tensor(Box::new(TensorRef { storage, offset, shape, strides })))
    }

    /// One number per axis.
    pub(super) fn naturals(&self, tuple: Value, what: &str) -> Step<Box<[u64]>> {
        let items = self.items(tuple).ok_or_else(|| format!("{what} is no tuple"))?;
        if items.len() > MAX_AXES {
            return Err(format!("a tensor has {} axes, at most {MAX_AXES} are read", items.len()));
        }
        items.iter().map(|item| natural(*item, what)).collect()
    }

    /// `_codecs.encode(text, 'latin1')`: how protocol 2 writes bytes.
    fn encode(&self, text: Value, codec: Value) -> Step<Node> {
        let (Some(Node::Str(text)), Some(Node::Str(codec))) = (self.node(text), self.node(codec)) else {
            return Err("it is called with something else than two strings".into());
        };
        if !matches!(&**codec, "latin1" | "latin-1") {
            return Err("it is called with another codec than latin1".into());
        }
        let bytes = text.chars().map(|c| u8::try_from(c).map_err(|_| "a character is not latin1".to_owned()));
        Ok(Node::Bytes(bytes.collect::<Step<Box<[u8]>>>()?))
    }

    /// `BUILD`: what an object's state adds.
    pub(super) fn build(&mut self, object: Value, state: Value) -> Step<()> {
        let built = match self.node(object) {
            Some(Node::NumpyDtype(kind, size)) => {
                let same = Node::NumpyDtype(*kind, *size);
                self.check_order(state).map(|()| same)
            }
            Some(Node::Array(_)) => self.array_of_state(state),
            // `_metadata` of a state dict, hooks of a tensor, whatever an opaque object keeps: nothing that weights need.
            Some(_) => return Ok(()),
            None => return Err("state is given to something that takes none".into()),
        };
        let node = match built {
            Ok(node) => node,
            Err(problem) => {
                self.budget.charge((size_of::<Opaque>() + problem.len()) as u64)?;
                Node::Opaque(Box::new(Opaque { name: "numpy".into(), problem: Some(problem.into()) }))
            }
        };
        if let Value::Node(NodeId(id)) = object {
            self.nodes[id as usize] = node;
        }
        Ok(())
    }

    /// A persistent id: `('storage', type, key, location, elements[, view])`. Anything else is an opaque object.
    pub(super) fn persistent(&mut self, id: Value) -> Step<Value> {
        match self.storage(id) {
            Ok(storage) => self.alloc(Node::Storage(Box::new(storage))),
            Err(problem) => match self.items(id) {
                // ('module', class, source file, source): how old versions wrote a whole model.
                Some([_, class, ..]) if matches!(self.node(*class), Some(Node::Opaque(_))) => Ok(*class),
                _ => self.opaque("a persistent id".into(), Some(problem)),
            },
        }
    }

    fn storage(&self, id: Value) -> Step<Storage> {
        const PROBLEM: &str = "a persistent id is not that of a storage";
        let items = self.items(id).ok_or(PROBLEM)?;
        let (kind, element, key, len, view) = match *items {
            [kind, element, key, _location, len] => (kind, element, key, len, Value::None),
            [kind, element, key, _location, len, view] => (kind, element, key, len, view),
            _ => return Err(PROBLEM.into()),
        };
        if !matches!(self.node(kind), Some(Node::Str(kind)) if &**kind == "storage") {
            return Err(PROBLEM.into());
        }
        let Some(Node::Global(Global::Storage(element))) = self.node(element) else {
            return Err("a storage has a type that is no storage type".into());
        };
        let Some(Node::Str(key)) = self.node(key) else { return Err("a storage's key is no string".into()) };
        let view = match self.items(view) {
            Some([_key, offset, size]) => {
                Some((natural(*offset, "a view's offset")?, natural(*size, "a view's size")?))
            }
            _ if view == Value::None => None,
            _ => return Err("a storage's view is no tuple of three".into()),
        };
        Ok(Storage { element: *element, key: key.clone(), len: natural(len, "a storage's length")?, view })
    }

    pub(super) fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(NodeId(id)) => self.nodes.get(id as usize),
            _ => None,
        }
    }

    pub(super) fn items(&self, value: Value) -> Option<&[Value]> {
        match (value, self.node(value)) {
            (Value::EmptyTuple, _) => Some(&[]),
            (_, Some(Node::List(items))) => Some(items),
            (_, Some(Node::Tuple(items))) => Some(items),
            _ => None,
        }
    }
}
