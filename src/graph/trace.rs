//! The graph: values and nodes in order of execution; and what a node computes, an op.
//!
//! Both stand in one file because each names the other: a graph holds ops, and an op appends the ops of its gradient to a graph.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use super::candidate::Candidate;
use super::io::Io;
use super::key::OpKey;
use super::shape::{DType, Shape, Tensor};
use crate::error::{Error, Result};
use crate::gpu::Capabilities;

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
    /// Of a result: the parameter set and the name of the tensor whose memory it is written to.
    pub(super) slot: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub(super) struct NodeInfo {
    pub(super) op: Arc<dyn Op>,
    pub(super) inputs: Vec<Value>,
    pub(super) outputs: Vec<Value>,
    pub(super) scope: String,
}

/// A gradient for each operand of an op: `None` where it is not needed or is zero.
pub type Gradients = Vec<Option<Value>>;

/// A node of the graph, for [`Op::backward`].
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// Operands.
    pub inputs: &'a [Value],
    /// Results.
    pub outputs: &'a [Value],
    /// Of each operand, whether it wants a gradient; one of them does.
    pub needs: &'a [bool],
}

impl Node<'_> {
    /// Of an op that has a gradient by its first operand alone, which `by` appends.
    ///
    /// # Errors
    /// Those of `by`.
    pub fn by_first(&self, by: impl FnOnce() -> Result<Value>) -> Result<Gradients> {
        let mut gradients = vec![None; self.needs.len()];
        if self.needs[0] {
            gradients[0] = Some(by()?);
        }
        Ok(gradients)
    }

    /// Of an op that has a gradient by each of its operands: `by` appends that by operand i. It is called for those that want one, in
    /// their order.
    ///
    /// # Errors
    /// Those of `by`.
    pub fn by_each(&self, mut by: impl FnMut(usize) -> Result<Value>) -> Result<Gradients> {
        self.needs.iter().enumerate().map(|(i, &need)| need.then(|| by(i)).transpose()).collect()
    }
}

/// An operation on tensors. One op is one file under `ops/`, one folder under `shaders/`, one test and one reference.
pub trait Op: Debug + Send + Sync {
    /// The name, which its source file, its folder of shaders and its test share.
    fn name(&self) -> &'static str;

    /// Its identity: all that [`Op::candidates`] depends on besides the device. An op that lists several candidates states the facts one
    /// by one; others are known by their fields and the shapes of their operands.
    fn key(&self, io: &Io) -> OpKey {
        OpKey::of_tensors(format!("{}.{self:?}", self.name()), io)
    }

    /// The ways to compute it on a device, in the written order: the first is taken unless another is asked for or known to be faster.
    /// The sequence of their orders of summation never depends on the number of images; the sequence of candidates of one such order may.
    /// Never empty: the last one needs no optional feature and takes every shape. A candidate of other [`Arithmetic`](super::Arithmetic)
    /// than f32 is listed whether the device has it or not, so that the draft can say why it was left out.
    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate>;

    /// Appends the ops of the gradient by the operands that want one, given `grad_y`, the gradient of output 0.
    ///
    /// Ops of samplers, optimizers and backward passes have none, which is the default: an error where somebody asks.
    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let _ = (graph, node, grad_y);
        let problem = "a gradient through it was asked for, and it has none";
        Err(Error::shape(self.name(), problem, "differentiate by what comes before it"))
    }

    /// [`Op::backward`] of an op with several outputs that have gradients: `grads[i]` is that of output `i`, if anything depends on it.
    /// Other outputs than the first, such as statistics, have none unless an op says otherwise here.
    fn backward_all(&self, graph: &mut Graph, node: Node<'_>, grads: &[Option<Value>]) -> Result<Gradients> {
        match grads {
            [Some(grad_y), others @ ..] if others.iter().all(Option::is_none) => {
                self.backward(graph, node, *grad_y)
            }
            _ => {
                let problem =
                    "a gradient through another output than its first was asked for, and that has none";
                Err(Error::shape(self.name(), problem, "differentiate by what comes before it"))
            }
        }
    }

    /// Inputs that are persistent memory and are written.
    fn mutates(&self) -> &[usize] {
        &[]
    }

    /// The input whose memory output 0 may take over when nothing needs that input afterwards.
    fn in_place(&self) -> Option<usize> {
        None
    }

    /// Floating-point operations of the mathematics (direct convolution counted), not of a kernel.
    fn flops(&self, io: &Io) -> f64 {
        io.outputs.iter().map(|t| t.shape.elements() as f64).sum()
    }

    /// Bytes that must be read and written at least.
    fn bytes(&self, io: &Io) -> f64 {
        io.inputs.iter().chain(&io.outputs).map(|t| t.bytes() as f64).sum()
    }
}

/// Ops in the order in which they run, and the values between them.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(super) values: Vec<ValueInfo>,
    pub(super) nodes: Vec<NodeInfo>,
    /// Blocks: runs of nodes that a backward pass may compute again rather than keep what is inside, in order.
    pub(super) blocks: Vec<Range<usize>>,
    /// Where the block begins that is being appended.
    block_from: Option<usize>,
    parameters: HashMap<(String, String), Value>,
    scope: Vec<String>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    fn add(&mut self, name: String, tensor: Tensor, kind: Kind) -> Value {
        self.values.push(ValueInfo { tensor, kind, name, slot: None });
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

    /// Has `value` written to the memory of the tensor `name` of the parameter set `set`, as gradients are.
    /// Returns false when it cannot be (it is no result of an op, or is written to such a tensor already): copy it first.
    pub fn write_to_slot(&mut self, value: Value, set: &str, name: &str) -> bool {
        let info = &mut self.values[value.0];
        let free = matches!(info.kind, Kind::Temporary) && info.slot.is_none();
        if free {
            info.slot = Some((set.into(), name.into()));
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
        let name = if scope.is_empty() { op.name().to_owned() } else { format!("{scope}.{}", op.name()) };
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

    /// Opens a block: the ops up to [`Graph::leave_block`] are computed again by a backward pass that recomputes. Within an open block
    /// nothing happens, and false is returned.
    pub fn enter_block(&mut self) -> bool {
        let opens = self.block_from.is_none();
        self.block_from.get_or_insert(self.nodes.len());
        opens
    }

    /// Closes the block that [`Graph::enter_block`] opened, which is what `opened` says.
    pub fn leave_block(&mut self, opened: bool) {
        if opened && let Some(from) = self.block_from.take() {
            self.blocks.push(from..self.nodes.len());
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

    /// The same by the name of the op.
    pub fn flops_by_op(&self) -> BTreeMap<&'static str, f64> {
        let mut by_op = BTreeMap::new();
        for node in &self.nodes {
            *by_op.entry(node.op.name()).or_default() += node.op.flops(&self.io(node));
        }
        by_op
    }
}
