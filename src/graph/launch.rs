//! A launch: one kernel over one grid, with what it binds and its uniform block.

use crate::gpu::{Access, Const, Kernel};

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
            kernel: Kernel { shader, text: None, constants: Vec::new(), access: Vec::new() },
            operands: Vec::new(),
            uniform: Vec::new(),
            grid: [1, 1, 1],
            flops: 0.0,
        }
    }

    /// A launch of a shader of another program: `name` for messages, and the WGSL, which may have the directives of this crate's files.
    pub fn of_text(name: &'static str, text: &'static str) -> Self {
        let mut launch = Self::new(name);
        launch.kernel.text = Some(text);
        launch
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
/// the type in WGSL follows from the type in Rust (`usize`, `u32` and `bool` are `u32`). A signed field is written `Const::I32(…)`, so that
/// no literal becomes one unnoticed.
///
/// ```
/// use langevin::gpu::Const;
/// let (rows, scale) = (12_usize, 0.5_f32);
/// let fields = langevin::fields! { rows, top: Const::I32(-1), scale };
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
