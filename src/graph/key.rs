//! The identity of an op: everything that its candidates depend on besides the device.

use std::fmt;

use super::io::Io;
use super::shape::{DType, Tensor};
use crate::gpu::Const;

/// What an op computes, apart from the numbers. Ops with equal keys have equal candidates: the tuner, the record in checkpoints and the
/// sharing of prepared weights know an op by its key and by nothing else.
///
/// A figure that reaches kernels only through their uniform blocks, such as a factor on the result, is no part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct OpKey {
    kind: String,
    facts: Vec<(&'static str, Const)>,
    tensors: Vec<Tensor>,
    in_place: bool,
    images: Option<usize>,
}

impl OpKey {
    /// The key of a kind of op, `conv2d.forward`, without any facts.
    pub fn new(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), facts: Vec::new(), tensors: Vec::new(), in_place: false, images: None }
    }

    /// The key of an op that is known by its kind and the shapes and types of all its operands.
    pub fn of_tensors(kind: impl Into<String>, io: &Io) -> Self {
        let tensors = io.inputs.iter().chain(&io.outputs).cloned().collect();
        Self { tensors, in_place: io.in_place, ..Self::new(kind) }
    }

    /// Adds facts: sizes, geometry, which optional operands there are. `fields! { kh, kw, bias: true }`.
    pub fn with(mut self, facts: impl IntoIterator<Item = (&'static str, Const)>) -> Self {
        self.facts.extend(facts);
        self
    }

    /// The number of images, which decides no more than which of several kernels of equal bits is taken.
    pub fn images(mut self, n: usize) -> Self {
        self.images = Some(n);
        self
    }

    /// The number of images, where the op says it.
    pub fn n(&self) -> Option<usize> {
        self.images
    }

    /// The key without the number of images, by which the order of summation is chosen and recorded.
    pub fn without_images(&self) -> String {
        let mut text = self.kind.clone();
        for (name, value) in &self.facts {
            match value {
                Const::U32(v) => text += &format!(" {name}={v}"),
                Const::I32(v) => text += &format!(" {name}={v}"),
                Const::F32(v) => text += &format!(" {name}={v}"),
            }
        }
        for tensor in &self.tensors {
            text += &format!(" {}", tensor.shape);
            if tensor.dtype != DType::F32 {
                text += &format!(":{:?}", tensor.dtype);
            }
        }
        if self.in_place {
            text += " in place";
        }
        text
    }
}

/// All of the key: what the choice among kernels of equal bits is known by.
impl fmt::Display for OpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_images())?;
        self.images.map_or(Ok(()), |n| write!(f, " n={n}"))
    }
}
