//! The graph: values and nodes in order of execution.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::op::{Io, Op, Tensor};
use super::shape::{DType, Shape};
use crate::error::{Error, Result};

/// A tensor of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(super) usize);

/// Where a value's memory comes from.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Written by the host, or bound to memory of the caller.
    Input,
    /// Lives from replay to replay; ops may write it.
    State,
    /// Written once, when the plan is built.
    Constant(Arc<[u8]>),
    /// A named tensor of a parameter set.
    Parameter { set: String },
    /// A whole segment of a parameter set.
    Segment { set: String, index: usize },
    /// The result of a node.
    Temporary,
}

#[derive(Clone, Debug)]
pub(super) struct ValueInfo {
    pub(super) tensor: Tensor,
    pub(super) kind: Kind,
    pub(super) name: String,
    /// A result that is written at the place of this named tensor of this set.
    pub(super) place: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub(super) struct NodeInfo {
    pub(super) op: Arc<dyn Op>,
    pub(super) inputs: Vec<Value>,
    pub(super) outputs: Vec<Value>,
    pub(super) scope: String,
}

/// Ops in the order in which they run, and the values between them.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(super) values: Vec<ValueInfo>,
    pub(super) nodes: Vec<NodeInfo>,
    /// Runs of nodes that a backward pass may compute again rather than keep what is inside, in order.
    pub(super) segments: Vec<Range<usize>>,
    /// Where the segment begins that is being appended.
    segment_from: Option<usize>,
    parameters: HashMap<(String, String), Value>,
    scope: Vec<String>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    fn add(&mut self, name: String, tensor: Tensor, kind: Kind) -> Value {
        self.values.push(ValueInfo { tensor, kind, name, place: None });
        Value(self.values.len() - 1)
    }

    /// A temporary of the shape of `value`, with `suffix` behind its name.
    pub(super) fn temporary_like(&mut self, value: Value, suffix: &str) -> Value {
        let ValueInfo { tensor, name, .. } = &self.values[value.0];
        let (tensor, name) = (tensor.clone(), format!("{name}{suffix}"));
        self.add(name, tensor, Kind::Temporary)
    }

    /// A tensor that the host writes before a replay.
    pub fn input(&mut self, name: &str, shape: impl Into<Shape>) -> Value {
        self.add(name.into(), Tensor { shape: shape.into(), dtype: DType::F32 }, Kind::Input)
    }

    /// The same of unsigned integers.
    pub fn input_u32(&mut self, name: &str, shape: impl Into<Shape>) -> Value {
        self.add(name.into(), Tensor { shape: shape.into(), dtype: DType::U32 }, Kind::Input)
    }

    /// A tensor that lives from replay to replay, zero at first; ops that mutate may write it.
    pub fn state(&mut self, name: &str, shape: impl Into<Shape>, dtype: DType) -> Value {
        self.add(name.into(), Tensor { shape: shape.into(), dtype }, Kind::State)
    }

    /// A tensor whose contents are known now.
    ///
    /// # Panics
    /// When `data` does not fill `shape`.
    pub fn constant(&mut self, name: &str, shape: impl Into<Shape>, data: &[f32]) -> Value {
        let shape = shape.into();
        assert_eq!(shape.elements(), data.len(), "constant {name}: {shape} against {} numbers", data.len());
        let bytes = bytemuck::cast_slice(data).into();
        self.add(name.into(), Tensor { shape, dtype: DType::F32 }, Kind::Constant(bytes))
    }

    /// The tensor `name` of the parameter set `set` (`weights` for a model's parameters). Asking twice gives the same value.
    ///
    /// # Errors
    /// [`Error::Shape`] when it was asked for with another shape.
    pub fn parameter(&mut self, set: &str, name: &str, shape: impl Into<Shape>) -> Result<Value> {
        let shape = shape.into();
        let key = (set.to_owned(), name.to_owned());
        if let Some(&known) = self.parameters.get(&key) {
            if *self.shape(known) != shape {
                let problem = format!("{name} is {} in one place and {shape} in another", self.shape(known));
                return Err(Error::shape("parameter", problem, "give every parameter a name of its own"));
            }
            return Ok(known);
        }
        let kind = Kind::Parameter { set: set.into() };
        let value = self.add(name.into(), Tensor { shape, dtype: DType::F32 }, kind);
        self.parameters.insert(key, value);
        Ok(value)
    }

    /// Parameters of `set` in the order in which they were first asked for.
    pub fn parameters(&self, set: &str) -> Vec<Value> {
        let mut of_set: Vec<Value> =
            self.parameters.iter().filter(|((s, _), _)| s == set).map(|(_, v)| *v).collect();
        of_set.sort();
        of_set
    }

    /// Segment `index` of a parameter set as one flat tensor of `elements`; what Adam, EMA and norms run over.
    pub fn segment(&mut self, set: &str, index: usize, elements: usize) -> Value {
        let kind = Kind::Segment { set: set.into(), index };
        self.add(format!("{set}.{index}"), Tensor { shape: [elements].into(), dtype: DType::F32 }, kind)
    }

    /// Has `value` written at the place of the tensor `name` of the parameter set `set`, as gradients are.
    /// Returns false when the value cannot be placed (it is no result of an op, or has a place already): copy it first.
    pub fn place(&mut self, value: Value, set: &str, name: &str) -> bool {
        let info = &mut self.values[value.0];
        let free = matches!(info.kind, Kind::Temporary) && info.place.is_none();
        if free {
            info.place = Some((set.into(), name.into()));
        }
        free
    }

    /// Appends an op. Its shape rule has been checked by the function that calls this.
    pub fn push(
        &mut self,
        op: impl Op + 'static,
        inputs: &[Value],
        outputs: &[(Shape, DType)],
    ) -> Vec<Value> {
        let scope = self.scope.join(".");
        let name = if scope.is_empty() { op.stem().to_owned() } else { format!("{scope}.{}", op.stem()) };
        let outputs: Vec<Value> = outputs
            .iter()
            .map(|(shape, dtype)| {
                let tensor = Tensor { shape: shape.clone(), dtype: *dtype };
                self.add(name.clone(), tensor, Kind::Temporary)
            })
            .collect();
        self.nodes.push(NodeInfo {
            op: Arc::new(op),
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            scope,
        });
        outputs
    }

    /// Appends an op with one f32 result.
    pub fn push1(&mut self, op: impl Op + 'static, inputs: &[Value], shape: impl Into<Shape>) -> Value {
        self.push(op, inputs, &[(shape.into(), DType::F32)])[0]
    }

    /// Runs `body` with `name` in front of the names of what it appends.
    pub fn scoped<T>(&mut self, name: &str, body: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.to_owned());
        let result = body(self);
        self.scope.pop();
        result
    }

    /// Opens a segment: the ops up to [`Graph::leave_segment`] are computed again by a backward pass that recomputes. Within an open
    /// segment nothing happens, and false is returned.
    pub fn enter_segment(&mut self) -> bool {
        let opens = self.segment_from.is_none();
        self.segment_from.get_or_insert(self.nodes.len());
        opens
    }

    /// Closes the segment that [`Graph::enter_segment`] opened, which is what `opened` says.
    pub fn leave_segment(&mut self, opened: bool) {
        if opened && let Some(from) = self.segment_from.take() {
            self.segments.push(from..self.nodes.len());
        }
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> &Shape {
        &self.values[value.0].tensor.shape
    }

    /// The element type of a value.
    pub fn dtype(&self, value: Value) -> DType {
        self.values[value.0].tensor.dtype
    }

    /// The name of a value.
    pub fn name(&self, value: Value) -> &str {
        &self.values[value.0].name
    }

    /// `[n, h, w, c]` of a value, or an error that names `op`.
    pub fn nhwc(&self, op: &'static str, value: Value) -> Result<[usize; 4]> {
        self.shape(value).nhwc().ok_or_else(|| {
            let problem = format!("{} is {}, not n h w c", self.name(value), self.shape(value));
            Error::shape(op, problem, "give it four dimensions, channels last")
        })
    }

    /// Number of ops.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True when nothing has been traced.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn io(&self, node: &NodeInfo) -> Io {
        let tensors = |values: &[Value]| values.iter().map(|v| self.values[v.0].tensor.clone()).collect();
        Io { inputs: tensors(&node.inputs), outputs: tensors(&node.outputs), in_place: false }
    }

    /// Floating-point operations of everything traced so far.
    pub fn flops(&self) -> f64 {
        self.nodes.iter().map(|n| n.op.flops(&self.io(n))).sum()
    }

    /// The same by the stem of the op.
    pub fn flops_by_stem(&self) -> BTreeMap<&'static str, f64> {
        let mut by_stem = BTreeMap::new();
        for node in &self.nodes {
            *by_stem.entry(node.op.stem()).or_default() += node.op.flops(&self.io(node));
        }
        by_stem
    }
}
