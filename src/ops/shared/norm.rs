//! What all norms have in common: statistics of channels, `(x − mean)·scale + offset`, and its gradient.
//!
//! An op writes a *table* `n 4 c` with the rows mean, scale, offset and 1/sqrt(variance + eps), and for the gradient a tensor `n 2 c`
//! with what flows to x through the statistics. Everything that touches all of x is here.

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Candidate, Graph, Io, Launch, Operand, Shape, Value};
use crate::ops::lanes;

/// Invocations in a workgroup of the kernels that walk.
const WORKGROUP: usize = 256;

/// How kernels walk over images `n h w c`; shared/walk.wgsl says who owns what.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Walk {
    pub n: usize,
    pub pixels: usize,
    pub c: usize,
    v: usize,
    columns: usize,
    workgroup_columns: usize,
    workgroup_rows: usize,
    turns: usize,
    /// Few long rows, which an invocation adds up alone: on a processor a barrier costs more than the loads that it would share.
    alone: bool,
}

impl Walk {
    /// A walk in which an invocation takes between `few` and `many` pixels: as many as leave an image `groups` workgroups.
    fn new(x: &Shape, groups: usize, [few, many]: [usize; 2]) -> Self {
        let (n, c) = (x[0], x.last());
        let pixels = x.elements() / (n * c);
        let v = lanes(c);
        let columns = c / v;
        let workgroup_columns = columns.div_ceil(columns.div_ceil(WORKGROUP));
        let workgroup_rows = WORKGROUP / workgroup_columns;
        let turns = (pixels.div_ceil(workgroup_rows) / groups).clamp(few, many);
        Self { n, pixels, c, v, columns, workgroup_columns, workgroup_rows, turns, alone: false }
    }

    /// For sums over pixels: long rows, since a second kernel adds up one number for each row. In the written order.
    pub fn of_sums(x: &Shape, device: &Capabilities) -> [Self; 2] {
        let software = device.kind == DeviceKind::Software;
        [software, !software].map(|alone| Self { alone, ..Self::new(x, if alone { 4 } else { 16 }, [4, 64]) })
    }

    /// The candidate that walks so.
    pub fn candidate(&self, launches: Vec<Launch>, workspaces: Vec<u64>) -> Candidate {
        let variant = if self.alone { "alone" } else { "shared" };
        Candidate { variant: variant.into(), ..Candidate::plain(launches) }.with_workspaces(workspaces)
    }

    /// For element by element work: rows long enough to pay for reading the table.
    fn of_elements(x: &Shape) -> Self {
        Self::new(x, 16, [2, 16])
    }

    fn chunks(&self) -> usize {
        self.pixels.div_ceil(self.workgroup_rows * self.turns)
    }

    /// Rows of all workgroups of an image.
    fn all_rows(&self) -> usize {
        self.chunks() * self.workgroup_rows
    }

    /// Bytes of two numbers for each row, channel and image.
    pub fn workspace(&self) -> u64 {
        (self.n * self.all_rows() * 2 * self.c * 4) as u64
    }

    /// A launch that walks; its operands follow.
    fn launch(&self, shader: &'static str, flops: f64) -> Launch {
        Launch::new(shader)
            .constant("V", self.v)
            .params(fields! {
                pixels: self.pixels,
                columns: self.columns,
                workgroup_columns: self.workgroup_columns,
                workgroup_rows: self.workgroup_rows,
                turns: self.turns,
            })
            .grid(self.chunks(), self.columns.div_ceil(self.workgroup_columns), self.n)
            .flops(flops * (self.n * self.pixels * self.c) as f64)
    }
}

/// `[n, h, w, c]` of images with at least one element.
pub(in crate::ops) fn images(graph: &Graph, op: &'static str, x: Value) -> Result<[usize; 4]> {
    let sizes = graph.nhwc(op, x)?;
    if sizes.contains(&0) {
        let problem = format!("{} is {}: no element to take a mean of", graph.name(x), graph.shape(x));
        return Err(Error::shape(op, problem, "give at least one image, pixel and channel"));
    }
    Ok(sizes)
}

/// Fails unless `value` is one number per channel.
pub(in crate::ops) fn per_channel(graph: &Graph, op: &'static str, value: Value, c: usize) -> Result<()> {
    if graph.shape(value).dims() != [c] {
        let problem =
            format!("{} is {}, the images have {c} channels", graph.name(value), graph.shape(value));
        return Err(Error::shape(op, problem, "give one number per channel"));
    }
    Ok(())
}

/// Which variance a norm divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Variance {
    /// Over the count.
    Biased,
    /// Over the count less one.
    Unbiased,
}

/// Statistics over `groups` groups of channels of each image of `from` into `table`; `affine` is weight and bias. `walk` is one of
/// [`Walk::of_sums`], and `workspace` has its bytes.
pub(in crate::ops) fn statistics(
    from: Operand,
    walk: Walk,
    groups: usize,
    (variance, norm_eps): (Variance, f32),
    affine: Option<[Operand; 2]>,
    workspace: Operand,
    table: Operand,
) -> [Launch; 2] {
    let moments = walk
        .launch("shared/norm_moments.wgsl", 3.0)
        .read(from)
        .write(workspace)
        .params(fields! { all_rows: walk.all_rows() });
    let mut finish = Launch::new("shared/norm_finish.wgsl")
        .constants(fields! { AFFINE: affine.is_some(), ALONE: walk.alone })
        .read(workspace);
    for operand in affine.into_iter().flatten() {
        finish = finish.read(operand);
    }
    let finish = finish.write(table).params(fields! {
        pixels: walk.pixels,
        channels: walk.c,
        workgroup_rows: walk.workgroup_rows,
        turns: walk.turns,
        all_rows: walk.all_rows(),
        size: walk.c / groups,
        unbiased: variance == Variance::Unbiased,
        eps: norm_eps,
        groups,
        images: walk.n,
    });
    let finish = match walk.alone {
        true => finish.grid((groups * walk.n).div_ceil(64), 1, 1),
        false => finish.grid(groups, walk.n, 1),
    };
    let finish = finish.flops((6 * walk.n * walk.all_rows() * walk.c) as f64);
    [moments, finish]
}

/// `to = f((from − mean)·scale + offset)` for images of one shape; `from` and `to` may be one.
pub(in crate::ops) fn apply(x: &Shape, silu: bool, [from, table, to]: [Operand; 3]) -> Launch {
    let in_place = from == to;
    let launch = Walk::of_elements(x)
        .launch("shared/norm_apply.wgsl", if silu { 8.0 } else { 3.0 })
        .constants(fields! { SILU: silu, IN_PLACE: in_place });
    let launch = if in_place { launch } else { launch.read(from) };
    launch.read(table).write(to)
}

/// The operands of a gradient op: grad_y is input 0 (or output 0 where that took its memory), x input 1, the table input 2.
fn grad_y(io: &Io) -> Operand {
    if io.in_place { Operand::Output(0) } else { Operand::Input(0) }
}
const X: Operand = Operand::Input(1);
pub(in crate::ops) const TABLE: Operand = Operand::Input(2);

/// Σg and Σg·(x − mean) of each channel of an image, `n 2 c`, into `sums`; by way of `workspace`, as in [`statistics`].
pub(in crate::ops) fn sums(io: &Io, walk: Walk, silu: bool, [workspace, sums]: [Operand; 2]) -> [Launch; 2] {
    let partial = walk
        .launch("shared/norm_sums.wgsl", if silu { 15.0 } else { 4.0 })
        .constant("SILU", silu)
        .read(grad_y(io))
        .read(X)
        .read(TABLE)
        .write(workspace)
        .params(fields! { all_rows: walk.all_rows() });
    let columns = Columns { width: 2 * walk.c, stride: 2 * walk.c, offset: 0 };
    let rows = sum_rows(workspace, sums, (walk.n, walk.all_rows()), columns);
    [partial, rows]
}

/// Some of the columns of a matrix.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Columns {
    pub width: usize,
    pub stride: usize,
    pub offset: usize,
}

/// `to` (`n width`) is the sum of the rows of each image of `from` (`n rows stride`).
pub(in crate::ops) fn sum_rows(
    from: Operand,
    to: Operand,
    (n, rows): (usize, usize),
    columns: Columns,
) -> Launch {
    Launch::new("shared/sum_rows.wgsl")
        .read(from)
        .write(to)
        .params(fields! {
            rows,
            width: columns.width,
            stride: columns.stride,
            offset: columns.offset,
        })
        .grid(columns.width.div_ceil(8), n, 1)
        .flops((n * rows * columns.width) as f64)
}

/// Bytes of `rows` numbers for each channel of each image of `x`.
pub(in crate::ops) fn table_bytes(x: &Shape, rows: usize) -> u64 {
    (x[0] * rows * x.last() * 4) as u64
}

/// `Output(0) = scale·g + constant + slope·(x − mean)`, constant and slope from `gradient`, `n 2 c`.
pub(in crate::ops) fn backward(io: &Io, silu: bool, gradient: Operand) -> Launch {
    Walk::of_elements(io.input(1))
        .launch("shared/norm_backward.wgsl", if silu { 16.0 } else { 5.0 })
        .constant("SILU", silu)
        .read_or_in_place(io)
        .read(X)
        .read(TABLE)
        .read(gradient)
        .write(Operand::Output(0))
}
