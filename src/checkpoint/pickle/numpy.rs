//! What numpy writes into pickles: data types, numbers, arrays.

use super::globals::natural;
use super::machine::{Machine, Step};
use super::{Array, Node, NodeId, Value};
use crate::checkpoint::dtype::DType;

/// The type of weights that a numpy type is, none where there is none such.
fn dtype(kind: char, size: u8) -> Option<DType> {
    Some(match (kind, size) {
        ('f', 8) => DType::F64,
        ('f', 4) => DType::F32,
        ('f', 2) => DType::F16,
        ('i', 8) => DType::I64,
        ('i', 4) => DType::I32,
        ('i', 2) => DType::I16,
        ('i', 1) => DType::I8,
        ('u', 1) => DType::U8,
        ('b', 1) => DType::Bool,
        _ => return None,
    })
}

impl Machine<'_> {
    /// `numpy.dtype('f8', False, True)`.
    pub(super) fn numpy_dtype(&self, name: Value) -> Step<Node> {
        let Some(Node::Str(name)) = self.node(name) else { return Err("a numpy dtype has no name".into()) };
        match *name.as_bytes() {
            [kind @ (b'f' | b'i' | b'u' | b'b'), size @ (b'1' | b'2' | b'4' | b'8')] => {
                Ok(Node::NumpyDtype(kind.into(), size - b'0'))
            }
            _ => Err("it is not that of a plain number".into()),
        }
    }

    /// The state of a dtype, `(3, '<', None, …)`: version and byte order.
    pub(super) fn check_order(&self, state: Value) -> Step<()> {
        match self.items(state) {
            Some([_, order, ..]) => match self.node(*order) {
                Some(Node::Str(order)) if matches!(&**order, "<" | "=" | "|") => Ok(()),
                _ => Err("a dtype is not little-endian".into()),
            },
            _ => Err("a dtype's state is no tuple".into()),
        }
    }

    pub(super) fn numpy_scalar(&self, dtype: Value, bytes: Value) -> Step<Value> {
        let (Some(Node::NumpyDtype(kind, size)), Some(bytes)) = (self.node(dtype), self.node(bytes)) else {
            return Err("it is made of something else than a dtype and bytes".into());
        };
        let bytes = match bytes {
            Node::Bytes(bytes) => &**bytes,
            // Python 2 had no bytes.
            Node::Str(text) => text.as_bytes(),
            _ => return Err("its value is not bytes".into()),
        };
        if bytes.len() != usize::from(*size) {
            return Err(format!("a number of {size} bytes has {}", bytes.len()));
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
            ('u', _) => Value::Int(i64::try_from(unsigned).map_err(|_| "an integer exceeds 63 bits")?),
            ('b', _) => Value::Bool(unsigned != 0),
            _ => return Err(format!("a number has the unknown type {kind}{size}")),
        })
    }

    /// The state of an array: `(1, shape, dtype, is Fortran, bytes)`.
    pub(super) fn array_of_state(&self, state: Value) -> Step<Node> {
        match self.items(state) {
            Some([_, shape, dtype, fortran, bytes]) => {
                self.array(*shape, *dtype, *fortran == Value::Bool(true), *bytes)
            }
            _ => Err("an array's state is no tuple of five".into()),
        }
    }

    /// `'F'` or `'C'`.
    pub(super) fn is_fortran(&self, order: Value) -> bool {
        matches!(self.node(order), Some(Node::Str(order)) if &**order == "F")
    }

    /// The bytes stay where they are and are checked by whoever asks for the array.
    pub(super) fn array(&self, shape: Value, kind: Value, fortran: bool, bytes: Value) -> Step<Node> {
        let Some(Node::NumpyDtype(letter, size)) = self.node(kind) else {
            return Err("an array's type is not that of plain numbers".into());
        };
        let dtype = dtype(*letter, *size).ok_or_else(|| format!("an array has the type {letter}{size}"))?;
        let (Value::Node(NodeId(id)), Some(Node::Bytes(_))) = (bytes, self.node(bytes)) else {
            return Err("an array's content is not bytes".into());
        };
        let shape = match shape {
            Value::Int(_) => Box::from([natural(shape, "an array's size")?]),
            _ => self.naturals(shape, "an array's size")?,
        };
        let shape: Box<[usize]> =
            shape.iter().map(|n| usize::try_from(*n).map_err(|e| e.to_string())).collect::<Step<_>>()?;
        if fortran && shape.len() > 1 {
            return Err("an array's first axis is the fastest".into());
        }
        Ok(Node::Array(Box::new(Array { dtype: Some(dtype), shape, bytes: Some(NodeId(id)) })))
    }
}
