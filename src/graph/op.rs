//! What an op is: its gradient, and the kernels that can compute it.

use std::fmt::Debug;

use super::arithmetic::Arithmetic;
use super::shape::{DType, Shape};
use super::trace::{Graph, Value};
use crate::error::{Error, Result};
use crate::gpu::{Access, Capabilities, Const, Kernel};

/// Shape and element type of an operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// The sizes.
    pub shape: Shape,
    /// The element type.
    pub dtype: DType,
}

impl Tensor {
    /// Bytes of the elements.
    pub fn bytes(&self) -> u64 {
        (self.shape.elements() * self.dtype.bytes()) as u64
    }
}

/// The operands of a node as its op sees them when it chooses kernels.
#[derive(Clone, Debug)]
pub struct Io {
    /// Operands read (and, where [`Op::mutates`] says so, written).
    pub inputs: Vec<Tensor>,
    /// Results.
    pub outputs: Vec<Tensor>,
    /// True when output 0 shares the memory of the input that [`Op::in_place`] names. A candidate then binds `Operand::Output(0)`
    /// as `read_write` and does not bind that input, since no buffer may be bound twice.
    pub in_place: bool,
}

impl Io {
    /// Shape of input `i`.
    pub fn input(&self, i: usize) -> &Shape {
        &self.inputs[i].shape
    }

    /// Shape of output `i`.
    pub fn output(&self, i: usize) -> &Shape {
        &self.outputs[i].shape
    }
}

/// The values around a node, for [`Op::backward`].
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// Operands.
    pub inputs: &'a [Value],
    /// Results.
    pub outputs: &'a [Value],
}

/// What a kernel's storage binding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// An input of the node.
    Input(usize),
    /// An output of the node.
    Output(usize),
    /// Scratch memory of the candidate, live during this node only.
    Workspace(usize),
    /// Memory that the candidate's `prepare` launches fill from inputs: packed or transformed weights.
    Prepared(usize),
}

/// One kernel over one grid.
///
/// The uniform block is `origin: vec4<u32>` followed by the fields of `uniform`, which a test compares with the `struct Params` of the
/// shader: names, order, types. A kernel adds `origin.xyz` to its `workgroup_id`, so that the plan may cut the grid anywhere (by measured
/// time, or at 65,535 workgroups) without changing a bit.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The kernel.
    pub kernel: Kernel,
    /// What each storage binding is, in binding order.
    pub operands: Vec<Operand>,
    /// Fields of the uniform block behind `origin`, in order.
    pub uniform: Vec<(&'static str, Const)>,
    /// Workgroups each way; may exceed 65,535.
    pub grid: [u32; 3],
    /// Floating-point operations, for cutting before anything is measured.
    pub flops: f64,
}

impl Launch {
    /// A launch of `shaders/<shader>` that binds nothing yet.
    pub fn new(shader: &'static str) -> Self {
        Self {
            kernel: Kernel { shader, constants: Vec::new(), access: Vec::new() },
            operands: Vec::new(),
            uniform: Vec::new(),
            grid: [1, 1, 1],
            flops: 0.0,
        }
    }

    /// A constant in front of the shader's text: tile sizes and switches; sizes only for conv, GEMM and attention.
    pub fn constant(mut self, name: &'static str, value: impl Into<Const>) -> Self {
        self.kernel.constants.push((name, value.into()));
        self
    }

    /// Several constants: `fields! { H: h, W: w }`.
    pub fn constants(mut self, fields: impl IntoIterator<Item = (&'static str, Const)>) -> Self {
        self.kernel.constants.extend(fields);
        self
    }

    /// The next binding, `var<storage, read>`.
    pub fn read(mut self, operand: Operand) -> Self {
        self.kernel.access.push(Access::Read);
        self.operands.push(operand);
        self
    }

    /// The next binding, `var<storage, read_write>`.
    pub fn write(mut self, operand: Operand) -> Self {
        self.kernel.access.push(Access::ReadWrite);
        self.operands.push(operand);
        self
    }

    /// The next fields of the uniform block: `fields! { rows, columns: c / 4, scale }`.
    pub fn params(mut self, fields: impl IntoIterator<Item = (&'static str, Const)>) -> Self {
        self.uniform.extend(fields);
        self
    }

    /// The next word of the uniform block, as `u32`.
    pub fn word(mut self, value: usize) -> Self {
        self.uniform.push(("", Const::U32(value as u32)));
        self
    }

    /// The next word of the uniform block, as `f32`.
    pub fn float(mut self, value: f32) -> Self {
        self.uniform.push(("", value.into()));
        self
    }

    /// Workgroups each way.
    pub fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        self.grid = [x as u32, y as u32, z as u32];
        self
    }

    /// Floating-point operations of the launch.
    pub fn flops(mut self, flops: f64) -> Self {
        self.flops = flops;
        self
    }
}

/// Named, typed values: the fields of a uniform block, or the constants of a shader. A name alone stands for the variable of that name;
/// the type in WGSL follows from the type in Rust (`usize`, `u32` and `bool` are `u32`).
///
/// ```
/// use langevin::gpu::Const;
/// let (rows, scale) = (12_usize, 0.5_f32);
/// let fields = langevin::fields! { rows, top: -1_i32, scale };
/// assert_eq!(fields, [("rows", Const::U32(12)), ("top", Const::I32(-1)), ("scale", Const::F32(0.5))]);
/// ```
#[macro_export]
macro_rules! fields {
    ($($name:ident $(: $value:expr)?),* $(,)?) => {
        [$((stringify!($name), $crate::fields!(@value $name $($value)?))),*]
    };
    (@value $name:ident) => { $crate::gpu::Const::from($name) };
    (@value $name:ident $value:expr) => { $crate::gpu::Const::from($value) };
}

/// One way to compute an op.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Class that `LANGEVIN_KERNELS` names: `direct`, `implicit`, `winograd2`, …; `plain` where there is one way only.
    pub class: &'static str,
    /// Tile and other figures that tell variants of a class apart; part of the tuner's record.
    pub variant: String,
    /// What its products are of: a draft leaves out what the device lacks.
    pub arithmetic: Arithmetic,
    /// Bytes of each prepared buffer.
    pub prepared: Vec<u64>,
    /// Launches that fill the prepared buffers; they may read inputs and write `Operand::Prepared` only.
    pub prepare: Vec<Launch>,
    /// Bytes of each workspace.
    pub workspaces: Vec<u64>,
    /// Launches of a step, in order.
    pub launches: Vec<Launch>,
}

impl Candidate {
    /// The one plain way.
    pub fn plain(launches: Vec<Launch>) -> Self {
        Self {
            class: "plain",
            variant: String::new(),
            arithmetic: Arithmetic::Single,
            prepared: Vec::new(),
            prepare: Vec::new(),
            workspaces: Vec::new(),
            launches,
        }
    }

    /// Class and variant: what checkpoints and the tuner record.
    pub fn name(&self) -> String {
        format!("{} {}", self.class, self.variant).trim_end().to_owned()
    }

    /// The same with scratch memory of these sizes in bytes.
    pub fn with_workspaces(mut self, bytes: Vec<u64>) -> Self {
        self.workspaces = bytes;
        self
    }
}

/// An operation on tensors. One op is one file under `ops/`, one folder under `shaders/`, one test and one reference.
pub trait Op: Debug + Send + Sync {
    /// The stem: file, folder and test share it.
    fn stem(&self) -> &'static str;

    /// The ways to compute it on a device, the heuristic's choice first. Order and figures never depend on n.
    /// Never empty: the last one needs no optional feature and takes every shape. A candidate of other [`Arithmetic`] than f32 is listed
    /// whether the device has it or not, so that the draft can say why it was left out.
    fn candidates(&self, io: &Io, device: &Capabilities) -> Vec<Candidate>;

    /// Appends the ops of the gradient. `grads[i]` is the gradient of output `i`, if anything depends on it; `needs[i]` says
    /// whether input `i` wants one. Returns one gradient per input, `None` where it is not needed or is zero.
    ///
    /// Unless an op says otherwise it stands behind all gradients, as those of samplers, optimizers and backward passes do: there is nothing
    /// to append, and an error where somebody asks.
    fn backward(
        &self,
        graph: &mut Graph,
        node: Node<'_>,
        grads: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        let _ = (graph, node, grads);
        if needs.contains(&true) {
            let problem = "a gradient through it was asked for, and it has none";
            return Err(Error::shape(self.stem(), problem, "differentiate by what comes before it"));
        }
        Ok(vec![None; needs.len()])
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
