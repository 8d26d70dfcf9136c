//! The names that a pickle may mention, and what a call of each yields. Nothing is imported or called: each is data.

use crate::checkpoint::dtype::DType;
use crate::checkpoint::pickle::machine::{Machine, Step};
use crate::checkpoint::pickle::{Node, NodeId, Storage, TensorRef, Value};

/// Axes of a tensor; torch itself stops at 64, no model here has more than 4.
const MAX_AXES: usize = 16;

/// A name from the allow-list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::checkpoint) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildTensorV2,
    RebuildParameter,
    RebuildParameterWithState,
    Size,
    Storage(DType),
    NumpyScalar,
    NumpyDtype,
    CodecsEncode,
}

impl Global {
    /// The allow-list. None: refuse the file.
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        use DType::*;
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensorV2,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch._utils", "_rebuild_parameter_with_state") => Self::RebuildParameterWithState,
            ("torch", "Size") => Self::Size,
            ("torch", "DoubleStorage") => Self::Storage(F64),
            ("torch", "FloatStorage") => Self::Storage(F32),
            ("torch", "HalfStorage") => Self::Storage(F16),
            ("torch", "BFloat16Storage") => Self::Storage(Bf16),
            ("torch", "LongStorage") => Self::Storage(I64),
            ("torch", "IntStorage") => Self::Storage(I32),
            ("torch", "ShortStorage") => Self::Storage(I16),
            ("torch", "CharStorage") => Self::Storage(I8),
            ("torch", "ByteStorage") => Self::Storage(U8),
            ("torch", "BoolStorage") => Self::Storage(Bool),
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Self::NumpyScalar,
            ("numpy", "dtype") => Self::NumpyDtype,
            ("_codecs", "encode") => Self::CodecsEncode,
            _ => return None,
        })
    }
}

fn natural(value: Value, what: &str) -> Step<u64> {
    match value {
        Value::Int(n) if n >= 0 => Ok(n as u64),
        _ => Err(format!("{what} is not a natural number")),
    }
}

impl Machine<'_> {
    /// What `global(*args)` stands for.
    pub(super) fn reduce(&mut self, global: Global, args: Value) -> Step<Value> {
        let args: Vec<Value> = match self.items(args) {
            Some(items) if items.len() <= 8 => items.to_vec(),
            _ => return Err(format!("{global:?} is called with something else than a short tuple")),
        };
        match (global, args.as_slice()) {
            (Global::OrderedDict, []) => self.alloc(Node::Dict(Vec::new())),
            (Global::OrderedDict, [pairs]) => self.dict_of_pairs(*pairs),
            (Global::RebuildTensor, [storage, offset, shape, strides]) => {
                self.tensor(*storage, *offset, *shape, *strides)
            }
            (Global::RebuildTensorV2, [storage, offset, shape, strides, _grad, _hooks, ..]) => {
                self.tensor(*storage, *offset, *shape, *strides)
            }
            (Global::RebuildParameter, [tensor, _grad, _hooks])
            | (Global::RebuildParameterWithState, [tensor, _grad, _hooks, _]) => match self.node(*tensor) {
                Some(Node::Tensor(_)) => Ok(*tensor),
                _ => Err("a parameter is made of something that is no tensor".into()),
            },
            (Global::Size, [sizes]) if self.items(*sizes).is_some() => Ok(*sizes),
            (Global::CodecsEncode, [text, codec]) => self.encode(*text, *codec),
            (Global::NumpyDtype, [name, ..]) => self.numpy_dtype(*name),
            (Global::NumpyScalar, [dtype, bytes]) => self.numpy_scalar(*dtype, *bytes),
            _ => Err(format!("{global:?} is called with {} arguments that do not fit it", args.len())),
        }
    }

    /// `OrderedDict([(key, value), …])`, as Python 2 wrote it.
    fn dict_of_pairs(&mut self, pairs: Value) -> Step<Value> {
        const PROBLEM: &str = "an OrderedDict is made of something else than pairs";
        let mut out = Vec::new();
        for pair in self.items(pairs).ok_or(PROBLEM)? {
            match self.items(*pair) {
                Some([key, value]) => out.push((*key, *value)),
                _ => return Err(PROBLEM.into()),
            }
        }
        self.alloc(Node::Dict(out))
    }

    fn tensor(&mut self, storage: Value, offset: Value, shape: Value, strides: Value) -> Step<Value> {
        let storage = match (storage, self.node(storage)) {
            (Value::Node(id), Some(Node::Storage(_))) => id,
            _ => return Err("a tensor is made over something that is no storage".into()),
        };
        let offset = natural(offset, "a tensor's offset")?;
        let (Some(sizes), Some(steps)) = (self.items(shape), self.items(strides)) else {
            return Err("a tensor's size or stride is no tuple".into());
        };
        if sizes.len() != steps.len() || sizes.len() > MAX_AXES {
            return Err(format!(
                "a tensor has {} sizes and {} strides, at most {MAX_AXES}",
                sizes.len(),
                steps.len()
            ));
        }
        let shape = sizes
            .iter()
            .map(|size| usize::try_from(natural(*size, "a tensor's size")?).map_err(|e| e.to_string()))
            .collect::<Step<_>>()?;
        let strides = steps.iter().map(|step| natural(*step, "a tensor's stride")).collect::<Step<_>>()?;
        self.alloc(Node::Tensor(Box::new(TensorRef { storage, offset, shape, strides })))
    }

    /// `_codecs.encode(text, 'latin1')`: how protocol 2 writes bytes.
    fn encode(&mut self, text: Value, codec: Value) -> Step<Value> {
        let (Some(Node::Str(text)), Some(Node::Str(codec))) = (self.node(text), self.node(codec)) else {
            return Err("_codecs.encode is called with something else than two strings".into());
        };
        if !matches!(&**codec, "latin1" | "latin-1") {
            return Err(format!("_codecs.encode is called with the codec {codec:?}"));
        }
        let bytes =
            text.chars().map(|c| u8::try_from(c).map_err(|_| "a character is not latin1".to_string()));
        let bytes = bytes.collect::<Step<Box<[u8]>>>()?;
        self.alloc(Node::Bytes(bytes))
    }

    fn numpy_dtype(&mut self, name: Value) -> Step<Value> {
        let Some(Node::Str(name)) = self.node(name) else { return Err("a numpy dtype has no name".into()) };
        let mut chars = name.chars();
        let parsed = chars.next().zip(chars.as_str().parse::<u8>().ok());
        match parsed {
            Some((kind @ ('f' | 'i' | 'u' | 'b'), size @ (1 | 2 | 4 | 8))) => {
                self.alloc(Node::NumpyDtype(kind, size))
            }
            _ => Err(format!("the numpy dtype {:?} is not a plain number", &**name)),
        }
    }

    fn numpy_scalar(&mut self, dtype: Value, bytes: Value) -> Step<Value> {
        let (Some(Node::NumpyDtype(kind, size)), Some(bytes)) = (self.node(dtype), self.node(bytes)) else {
            return Err("a numpy scalar is made of something else than a dtype and bytes".into());
        };
        let bytes = match bytes {
            Node::Bytes(bytes) => &**bytes,
            // Python 2 had no bytes.
            Node::Str(text) => text.as_bytes(),
            _ => return Err("a numpy scalar's value is not bytes".into()),
        };
        if bytes.len() != usize::from(*size) {
            return Err(format!("a numpy scalar of {size} bytes has {}", bytes.len()));
        }
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(word);
        let spare = 64 - 8 * u32::from(*size);
        Ok(match (kind, size) {
            ('f', 8) => Value::Float(f64::from_bits(unsigned)),
            ('f', 4) => Value::Float(f32::from_bits(unsigned as u32).into()),
            ('f', 2) => Value::Float(half::f16::from_bits(unsigned as u16).into()),
            ('i', _) => Value::Int(((unsigned << spare) as i64) >> spare),
            ('u', _) => Value::Int(i64::try_from(unsigned).map_err(|_| "a numpy integer exceeds 63 bits")?),
            ('b', _) => Value::Bool(unsigned != 0),
            _ => return Err(format!("a numpy scalar has the unknown type {kind}{size}")),
        })
    }

    /// `BUILD`: what an object's state adds. For the allowed objects it adds nothing that a reader of weights needs.
    pub(super) fn build(&mut self, object: Value, state: Value) -> Step<()> {
        match self.node(object) {
            // `_metadata` of a state dict; hooks of a tensor.
            Some(Node::Dict(_) | Node::Tensor(_)) => Ok(()),
            // (3, '<', None, …): version and byte order.
            Some(Node::NumpyDtype(..)) => match self.items(state) {
                Some([_, order, ..]) => match self.node(*order) {
                    Some(Node::Str(order)) if matches!(&**order, "<" | "=" | "|") => Ok(()),
                    _ => Err("a numpy dtype is not little-endian".into()),
                },
                _ => Err("a numpy dtype's state is no tuple".into()),
            },
            _ => Err("state is given to something that takes none".into()),
        }
    }

    /// A persistent id: `('storage', type, key, location, elements[, view])`.
    pub(super) fn persistent(&mut self, id: Value) -> Step<Value> {
        const PROBLEM: &str = "a persistent id is not that of a storage";
        let items = self.items(id).ok_or(PROBLEM)?;
        let (kind, dtype, key, len, view) = match *items {
            [kind, dtype, key, _location, len] => (kind, dtype, key, len, Value::None),
            [kind, dtype, key, _location, len, view] => (kind, dtype, key, len, view),
            _ => return Err(PROBLEM.into()),
        };
        match self.node(kind) {
            Some(Node::Str(kind)) if &**kind == "storage" => {}
            Some(Node::Str(kind)) if &**kind == "module" => {
                return Err(
                    "it holds a pickled module (code), not a state dict; save `model.state_dict()` instead"
                        .into(),
                );
            }
            _ => return Err(PROBLEM.into()),
        }
        let Some(Node::Global(Global::Storage(dtype))) = self.node(dtype) else {
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
        let storage =
            Storage { dtype: *dtype, key: key.clone(), len: natural(len, "a storage's length")?, view };
        self.alloc(Node::Storage(Box::new(storage)))
    }

    fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(NodeId(id)) => self.nodes.get(id as usize),
            _ => None,
        }
    }

    fn items(&self, value: Value) -> Option<&[Value]> {
        match (value, self.node(value)) {
            (Value::EmptyTuple, _) => Some(&[]),
            (_, Some(Node::List(items))) => Some(items),
            (_, Some(Node::Tuple(items))) => Some(items),
            _ => None,
        }
    }
}
