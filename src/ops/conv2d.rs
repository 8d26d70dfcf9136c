//! Convolutions and dense layers, with what follows them in a score model fused behind the sum:
//! `y = (w ⋆ cat(x, second) + bias + temb + residual)·scale`.
//!
//! A dense layer is a 1×1 convolution over rows. Candidates: `direct` holds pixels × channels in registers and uses no
//! workgroup memory; `plain` computes one output at a time for every shape.

use crate::error::{Error, Result};
use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Candidate, Graph, Io, Launch, Node, Op, Operand, Shape, Value};

use super::{column_sum::column_sum, elementwise};

/// The geometry of a convolution (a cross-correlation, as in every framework). Zeros lie outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Pixels between two outputs.
    pub stride: usize,
    /// Rows of zeros above and below, columns left and right.
    pub pad: [usize; 4],
    /// Pixels between two taps.
    pub dilation: usize,
}

impl Conv2d {
    /// Stride 1 and as many zeros as keep the size, for an odd `kernel`.
    pub fn same(kernel: usize) -> Self {
        Self { stride: 1, pad: [kernel / 2; 4], dilation: 1 }
    }
}

/// What follows the sum; all of it optional.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue {
    /// `c_out`.
    pub bias: Option<Value>,
    /// `n c_out`: the time embedding.
    pub temb: Option<Value>,
    /// Of the output's shape.
    pub residual: Option<Value>,
    /// Factor on everything.
    pub scale: f32,
}

impl Default for Epilogue {
    fn default() -> Self {
        Self { bias: None, temb: None, residual: None, scale: 1.0 }
    }
}

impl Epilogue {
    /// A bias and nothing else.
    pub fn bias(bias: Value) -> Self {
        Self { bias: Some(bias), ..Self::default() }
    }
}

/// `x` (`n h w c1`), and `second` (`n h w c2`) behind it along the channels, by `weight` (`c_out c1+c2 kh kw`).
///
/// # Errors
/// [`Error::Shape`] when an operand does not fit.
pub fn conv2d(
    graph: &mut Graph,
    x: Value,
    second: Option<Value>,
    weight: Value,
    geometry: Conv2d,
    epilogue: Epilogue,
) -> Result<Value> {
    let [n, h, w, c1] = graph.nhwc(STEM, x)?;
    let c2 = match second {
        None => 0,
        Some(s) => {
            let [n2, h2, w2, c2] = graph.nhwc(STEM, s)?;
            if [n2, h2, w2] != [n, h, w] {
                let problem =
                    format!("inputs of {} and {} cannot stand in one", graph.shape(x), graph.shape(s));
                return Err(Error::shape(STEM, problem, "give two inputs of one n h w"));
            }
            c2
        }
    };
    let dims = graph.shape(weight).dims();
    let &[c_out, c_in, kh, kw] = dims else {
        let problem = format!("the weight is {}", graph.shape(weight));
        return Err(Error::shape(STEM, problem, "give c_out c_in kh kw"));
    };
    if c_in != c1 + c2 {
        let problem =
            format!("the input has {} channels, the weight {} takes {c_in}", c1 + c2, graph.shape(weight));
        return Err(Error::shape(STEM, problem, "give as many channels as the weight takes"));
    }
    let reach = |k: usize| geometry.dilation * (k - 1) + 1;
    let [top, bottom, left, right] = geometry.pad;
    if kh * kw == 0 || h + top + bottom < reach(kh) || w + left + right < reach(kw) {
        let problem = format!(
            "the image {} with {:?} zeros around is smaller than the kernel {kh}x{kw}",
            graph.shape(x),
            geometry.pad
        );
        return Err(Error::shape(STEM, problem, "pad more or use a larger image"));
    }
    let layout = Layout { per_o: c_in * kh * kw, per_i: kh * kw, per_y: kw, per_x: 1 };
    let ho = (h + top + bottom - reach(kh)) / geometry.stride + 1;
    let wo = (w + left + right - reach(kw)) / geometry.stride + 1;
    // A 1×1 kernel does not care about rows: one long row leaves no odd ends.
    let flat = kh * kw == 1 && geometry == Conv2d::same(1);
    let size = if flat { Size { n, h: 1, w: h * w, ho: 1, wo: h * w } } else { Size { n, h, w, ho, wo } };
    let op = Conv {
        size,
        lines: if flat { h } else { 1 },
        c1,
        c2,
        c_out,
        kh,
        kw,
        geometry,
        layout,
        has: Has::of(second, epilogue),
        scale: epilogue.scale,
    };
    push(graph, op, x, second, weight, epilogue, [n, ho, wo, c_out].into())
}

/// A dense layer over the last dimension of `x` (`… c_in`) by `weight` (`c_out c_in`, or `c_in c_out` where `input_first` as in the authors' NIN).
///
/// # Errors
/// [`Error::Shape`] when an operand does not fit.
pub fn linear(
    graph: &mut Graph,
    x: Value,
    weight: Value,
    input_first: bool,
    epilogue: Epilogue,
) -> Result<Value> {
    let shape = graph.shape(x).clone();
    let c_in = shape.last();
    let &[a, b] = graph.shape(weight).dims() else {
        let problem = format!("the weight is {}", graph.shape(weight));
        return Err(Error::shape("linear", problem, "give two dimensions"));
    };
    let (taken, c_out) = if input_first { (a, b) } else { (b, a) };
    if taken != c_in || shape.rank() < 2 {
        let problem = format!("the input is {shape}, the weight {a}x{b} takes {taken} channels");
        return Err(Error::shape("linear", problem, "give as many channels as the weight takes"));
    }
    let rows = shape.elements() / c_in;
    // An n that is more than the first dimension's would mix images in the time embedding.
    let (n, w) = if shape.rank() == 2 { (1, rows) } else { (shape[0], rows / shape[0]) };
    let layout = if input_first {
        Layout { per_o: 1, per_i: c_out, per_y: 0, per_x: 0 }
    } else {
        Layout { per_o: c_in, per_i: 1, per_y: 0, per_x: 0 }
    };
    let size = Size { n, h: 1, w, ho: 1, wo: w };
    let geometry = Conv2d::same(1);
    let op = Conv {
        size,
        lines: if shape.rank() == 4 { shape[1] } else { 1 },
        c1: c_in,
        c2: 0,
        c_out,
        kh: 1,
        kw: 1,
        geometry,
        layout,
        has: Has::of(None, epilogue),
        scale: epilogue.scale,
    };
    let mut result = shape.dims().to_vec();
    if let Some(last) = result.last_mut() {
        *last = c_out;
    }
    push(graph, op, x, None, weight, epilogue, result.into())
}

const STEM: &str = "conv2d";

fn push(
    graph: &mut Graph,
    op: Conv,
    x: Value,
    second: Option<Value>,
    weight: Value,
    epilogue: Epilogue,
    shape: Shape,
) -> Result<Value> {
    let fits = |graph: &Graph, v: Option<Value>, what: &str, wanted: Shape| match v {
        Some(v)
            if graph.shape(v).elements() != wanted.elements() || graph.shape(v).last() != wanted.last() =>
        {
            let problem = format!("the {what} is {}, the output {shape}", graph.shape(v));
            Err(Error::shape(STEM, problem, format!("give a {what} of {wanted}")))
        }
        _ => Ok(()),
    };
    fits(graph, epilogue.bias, "bias", [op.c_out].into())?;
    fits(graph, epilogue.temb, "time embedding", [op.size.n, op.c_out].into())?;
    fits(graph, epilogue.residual, "residual", shape.clone())?;
    let optional = [second, Some(weight), epilogue.bias, epilogue.temb, epilogue.residual];
    let inputs: Vec<Value> = [Some(x)].into_iter().chain(optional).flatten().collect();
    Ok(graph.push1(op, &inputs, shape))
}

/// Sizes of the images; for a dense layer one row.
#[derive(Clone, Copy, Debug)]
struct Size {
    n: usize,
    h: usize,
    w: usize,
    ho: usize,
    wo: usize,
}

/// Distances in the weight between neighbours along each axis.
#[derive(Clone, Copy, Debug)]
struct Layout {
    per_o: usize,
    per_i: usize,
    per_y: usize,
    per_x: usize,
}

/// Which optional operands there are.
#[derive(Clone, Copy, Debug, Default)]
struct Has {
    second: bool,
    bias: bool,
    temb: bool,
    residual: bool,
}

impl Has {
    fn of(second: Option<Value>, e: Epilogue) -> Self {
        Self {
            second: second.is_some(),
            bias: e.bias.is_some(),
            temb: e.temb.is_some(),
            residual: e.residual.is_some(),
        }
    }

    /// Index of the weight among the inputs; bias, time embedding and residual follow where they exist.
    fn weight(self) -> usize {
        1 + usize::from(self.second)
    }

    fn bind(self, mut launch: Launch, weight: Operand) -> Launch {
        launch = launch
            .constant("SECOND", self.second.into())
            .constant("BIAS", self.bias.into())
            .constant("TEMB", self.temb.into())
            .constant("RESIDUAL", self.residual.into())
            .read(Operand::Input(0));
        if self.second {
            launch = launch.read(Operand::Input(1));
        }
        launch = launch.read(weight);
        let behind = usize::from(self.bias) + usize::from(self.temb) + usize::from(self.residual);
        for i in 0..behind {
            launch = launch.read(Operand::Input(self.weight() + 1 + i));
        }
        launch.write(Operand::Output(0))
    }
}

#[derive(Clone, Debug)]
struct Conv {
    size: Size,
    /// How many lines of the image stand in one row of `size`.
    lines: usize,
    c1: usize,
    c2: usize,
    c_out: usize,
    kh: usize,
    kw: usize,
    geometry: Conv2d,
    layout: Layout,
    has: Has,
    scale: f32,
}

impl Op for Conv {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, _: &Io, _: &Capabilities) -> Vec<Candidate> {
        let Layout { per_o, per_i, per_y, per_x } = self.layout;
        let strides = [0, per_o as i32, per_i as i32, per_y as i32, per_x as i32];
        let [top, _, left, _] = self.geometry.pad.map(|p| p as i32);
        let sum = Sum {
            size: self.size,
            c1: self.c1,
            c2: self.c2,
            c_out: self.c_out,
            kh: self.kh,
            kw: self.kw,
            stride: self.geometry.stride,
            dilation: self.geometry.dilation,
            top,
            left,
            strides,
            has: self.has,
            scale: self.scale,
        };
        vec![sum.direct(), sum.plain(false)]
    }

    fn flops(&self, _: &Io) -> f64 {
        2.0 * (self.size.n * self.size.ho * self.size.wo * self.c_out) as f64
            * ((self.c1 + self.c2) * self.kh * self.kw) as f64
    }

    fn backward(
        &self,
        graph: &mut Graph,
        node: Node<'_>,
        grads: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        let Some(grad_y) = grads[0] else { return Ok(vec![None; needs.len()]) };
        let weight_at = self.has.weight();
        let (x, weight) = (node.inputs[0], node.inputs[weight_at]);
        let second = self.has.second.then(|| node.inputs[1]);
        let mut result = vec![None; needs.len()];
        for (i, first, c) in [(0, 0, self.c1), (1, self.c1, self.c2)] {
            if i < weight_at && needs[i] {
                let op = GradInput { conv: self.clone(), first, c };
                let shape = graph.shape(node.inputs[i]).clone();
                result[i] = Some(graph.push1(op, &[grad_y, weight], shape));
            }
        }
        if needs[weight_at] {
            let shape = graph.shape(weight).clone();
            let inputs: Vec<Value> = [Some(grad_y), Some(x), second].into_iter().flatten().collect();
            result[weight_at] = Some(graph.push1(GradWeight { conv: self.clone() }, &inputs, shape));
        }
        let mut at = weight_at + 1;
        let bias_at = self.has.bias.then(|| {
            at += 1;
            at - 1
        });
        let temb_at = self.has.temb.then(|| {
            at += 1;
            at - 1
        });
        let residual_at = self.has.residual.then_some(at);
        let wanted = |i: Option<usize>| i.filter(|&i| needs[i]);
        let scaled = |graph: &mut Graph, v: Value| match self.scale == 1.0 {
            true => Ok(v),
            false => elementwise::scale(graph, v, self.scale),
        };
        // The sum over pixels serves the time embedding, and its sum over images the bias.
        if let Some(i) = wanted(temb_at) {
            let per_image = column_sum(graph, grad_y, self.size.n)?;
            let per_image = scaled(graph, per_image)?;
            let shape = graph.shape(node.inputs[i]).clone();
            result[i] = Some(reshaped(graph, per_image, shape)?);
            if let Some(b) = wanted(bias_at) {
                result[b] = Some(column_sum(graph, per_image, 1)?);
            }
        } else if let Some(b) = wanted(bias_at) {
            let total = column_sum(graph, grad_y, 1)?;
            result[b] = Some(scaled(graph, total)?);
        }
        if let Some(i) = wanted(residual_at) {
            result[i] = Some(scaled(graph, grad_y)?);
        }
        Ok(result)
    }
}

/// A batch of one has its column sums as `c`, where `1 c` is wanted.
fn reshaped(graph: &mut Graph, v: Value, shape: Shape) -> Result<Value> {
    if *graph.shape(v) == shape {
        return Ok(v);
    }
    elementwise::copy_as(graph, v, shape)
}

/// The gradient by one input: `c` channels from `first` on.
#[derive(Debug)]
struct GradInput {
    conv: Conv,
    first: usize,
    c: usize,
}

impl Op for GradInput {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, _: &Io, _: &Capabilities) -> Vec<Candidate> {
        let Conv { size, kh, kw, geometry, layout, .. } = self.conv;
        let Layout { per_o, per_i, per_y, per_x } = layout;
        let [top, _, left, _] = geometry.pad.map(|p| p as i32);
        let first = (self.first * per_i) as i32;
        let sum = Sum {
            size: Size { n: size.n, h: size.ho, w: size.wo, ho: size.h, wo: size.w },
            c1: self.conv.c_out,
            c2: 0,
            c_out: self.c,
            kh,
            kw,
            stride: geometry.stride,
            dilation: geometry.dilation,
            top,
            left,
            // Inputs and outputs change places.
            strides: [first, per_i as i32, per_o as i32, per_y as i32, per_x as i32],
            has: Has::default(),
            scale: self.conv.scale,
        };
        let mut all = Vec::new();
        if geometry.stride == 1 {
            // The same convolution with flipped taps and what is left of the reach as padding.
            let reach = |k: usize| (geometry.dilation * (k - 1)) as i32;
            let last = ((kh - 1) * per_y + (kw - 1) * per_x) as i32;
            let flipped = Sum {
                top: reach(kh) - top,
                left: reach(kw) - left,
                strides: [first + last, per_i as i32, per_o as i32, -(per_y as i32), -(per_x as i32)],
                ..sum
            };
            all.push(flipped.direct());
        }
        all.push(sum.plain(true));
        all
    }

    fn flops(&self, io: &Io) -> f64 {
        self.conv.flops(io) * self.c as f64 / (self.conv.c1 + self.conv.c2) as f64
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: Node<'_>,
        _: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        no_second_derivative(needs)
    }
}

fn no_second_derivative(needs: &[bool]) -> Result<Vec<Option<Value>>> {
    if needs.iter().any(|&n| n) {
        let problem = "the gradient of a gradient was asked for";
        return Err(Error::shape(STEM, problem, "differentiate the forward pass"));
    }
    Ok(vec![None; needs.len()])
}

/// A sum of taps × channels as the kernels compute it: a forward pass or a gradient by an input.
#[derive(Clone, Copy, Debug)]
struct Sum {
    size: Size,
    c1: usize,
    c2: usize,
    c_out: usize,
    kh: usize,
    kw: usize,
    stride: usize,
    dilation: usize,
    top: i32,
    left: i32,
    /// First index of the weight, and its strides by output, input, row and column of taps.
    strides: [i32; 5],
    has: Has,
    scale: f32,
}

impl Sum {
    fn flops(&self) -> f64 {
        let outputs = (self.size.n * self.size.ho * self.size.wo * self.c_out) as f64;
        2.0 * outputs * ((self.c1 + self.c2) * self.kh * self.kw) as f64
    }

    fn plain(&self, gradient: bool) -> Candidate {
        let Size { n, h, w, ho, wo } = self.size;
        let outputs = n * ho * wo * self.c_out;
        let mut launch = self
            .has
            .bind(Launch::new("conv2d/plain.wgsl"), Operand::Input(self.has.weight()))
            .constant("GRADIENT", gradient.into());
        for word in [
            outputs,
            h,
            w,
            self.c1,
            self.c2,
            ho,
            wo,
            self.c_out,
            self.kh,
            self.kw,
            self.stride,
            self.dilation,
        ] {
            launch = launch.word(word);
        }
        for word in [self.top, self.left].iter().chain(&self.strides) {
            launch = launch.word(*word as usize);
        }
        let launch = launch.float(self.scale).grid(outputs.div_ceil(64), 1, 1).flops(self.flops());
        Candidate::plain(vec![launch])
    }

    fn direct(&self) -> Candidate {
        let Size { n, h, w, ho, wo } = self.size;
        // Pixels and channels in registers: fewer where there are fewer.
        let px = [8, 4, 2, 1].into_iter().find(|&p| p <= wo).unwrap_or(1);
        let oc = if self.c_out > 4 { 2 } else { 1 };
        let columns = self.c_out.next_multiple_of(4 * oc);
        let (r1, r2) = (self.c1.next_multiple_of(4), self.c2.next_multiple_of(4));
        let count = self.kh * self.kw * (r1 + r2) * columns;
        let mut pack = Launch::new("conv2d/pack.wgsl")
            .read(Operand::Input(self.has.weight()))
            .write(Operand::Prepared(0));
        for word in [count, r1 + r2, columns, self.kw, self.c1, r1, self.c2, self.c_out] {
            pack = pack.word(word);
        }
        for word in self.strides {
            pack = pack.word(word as usize);
        }
        let pack = pack.grid(count.div_ceil(64), 1, 1);
        let blocks = n * ho * wo.div_ceil(px) * (columns / (4 * oc));
        let signed = |v: i32| crate::gpu::Const::I32(v);
        let launch = self
            .has
            .bind(Launch::new("conv2d/direct.wgsl"), Operand::Prepared(0))
            .constant("PX", px)
            .constant("OC", oc)
            .constant("COLS", (px - 1) * self.stride + (self.kw - 1) * self.dilation + 1)
            .constant("H", h)
            .constant("W", w)
            .constant("HO", ho)
            .constant("WO", wo)
            .constant("C1", self.c1)
            .constant("C2", self.c2)
            .constant("C1_EVEN", self.c1.is_multiple_of(4).into())
            .constant("C2_EVEN", self.c2.is_multiple_of(4).into())
            .constant("CO", self.c_out)
            .constant("CO_EVEN", self.c_out.is_multiple_of(4).into())
            .constant("Q0", r1 / 4)
            .constant("Q1", r2 / 4)
            .constant("ROWS_BEFORE0", 0)
            .constant("ROWS_BEFORE1", r1)
            .constant("SOURCES", 1 + usize::from(self.has.second))
            .constant("KH", self.kh)
            .constant("KW", self.kw)
            .constant("STRIDE", self.stride)
            .constant("DILATION", self.dilation)
            .constant_of("TOP", signed(self.top))
            .constant_of("LEFT", signed(self.left))
            .word(blocks)
            .float(self.scale)
            .grid(blocks.div_ceil(64), 1, 1)
            .flops(self.flops());
        Candidate {
            class: "direct",
            variant: format!("{px}x{}", 4 * oc),
            prepared: vec![4 * count as u64],
            prepare: vec![pack],
            workspaces: Vec::new(),
            launches: vec![launch],
        }
    }
}

/// The gradient by the weight, in two stages: partial sums over chunks of rows, then their sum.
#[derive(Debug)]
struct GradWeight {
    conv: Conv,
}

impl Op for GradWeight {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        let c = &self.conv;
        let Size { n, h, w, ho, wo } = c.size;
        // Lines stay lines here: they are what the sum is cut into, and no loop may run over a whole image at once.
        let (h, w, ho, wo) = (h * c.lines, w / c.lines, ho * c.lines, wo / c.lines);
        let px = [4, 2, 1].into_iter().find(|&p| p <= wo).unwrap_or(1);
        let oc = if c.c_out > 4 { 2 } else { 1 };
        let columns = c.c_out.next_multiple_of(4 * oc);
        let taps = c.kh * c.kw;
        let sources = if c.has.second { vec![(1, 0, c.c1), (2, c.c1, c.c2)] } else { vec![(1, 0, c.c1)] };
        // Enough invocations to fill the device, and partial sums that stay small beside the activations.
        let wanted: usize = if device.kind == DeviceKind::Software { 256 } else { 32_768 };
        let budget = (32 << 20) / 4;
        let mut workspace = 0;
        let mut launches = Vec::new();
        for (input, first, c_in) in sources {
            let rows = c_in.next_multiple_of(4);
            let tiles = c.kh * (rows / 4) * (columns / (4 * oc));
            let one = taps * rows * columns;
            let by_need = wanted.div_ceil(tiles * n);
            let by_budget = budget / (one * n);
            let chunks = by_need.min(by_budget).clamp(1, ho);
            let chunk_rows = ho.div_ceil(chunks);
            let chunks = ho.div_ceil(chunk_rows);
            let all = tiles * chunks * n;
            workspace = workspace.max(4 * (one * chunks * n) as u64);
            let signed = |v: usize| crate::gpu::Const::I32(v as i32);
            launches.push(
                Launch::new("conv2d/grad_weight.wgsl")
                    .constant("PX", px)
                    .constant("OC", oc)
                    .constant("COLS", (px - 1) * c.geometry.stride + (c.kw - 1) * c.geometry.dilation + 1)
                    .constant("H", h)
                    .constant("W", w)
                    .constant("HO", ho)
                    .constant("WO", wo)
                    .constant("C", c_in)
                    .constant("C_EVEN", c_in.is_multiple_of(4).into())
                    .constant("CO", c.c_out)
                    .constant("CO_EVEN", c.c_out.is_multiple_of(4).into())
                    .constant("KH", c.kh)
                    .constant("KW", c.kw)
                    .constant("STRIDE", c.geometry.stride)
                    .constant("DILATION", c.geometry.dilation)
                    .constant_of("TOP", signed(c.geometry.pad[0]))
                    .constant_of("LEFT", signed(c.geometry.pad[2]))
                    .read(Operand::Input(input))
                    .read(Operand::Input(0))
                    .write(Operand::Workspace(0))
                    .word(all)
                    .word(chunks)
                    .word(chunk_rows)
                    .grid(all.div_ceil(64), 1, 1)
                    .flops(2.0 * (n * ho * wo * c.c_out * c_in * taps) as f64),
            );
            let count = taps * c_in * c.c_out;
            let Layout { per_o, per_i, per_y, per_x } = c.layout;
            let mut sum = Launch::new("conv2d/grad_weight_sum.wgsl")
                .read(Operand::Workspace(0))
                .write(Operand::Output(0));
            for word in [
                count,
                chunks * n,
                taps,
                c.kw,
                rows,
                columns,
                c_in,
                c.c_out,
                first * per_i,
                per_o,
                per_i,
                per_y,
                per_x,
            ] {
                sum = sum.word(word);
            }
            launches
                .push(sum.float(c.scale).grid(count.div_ceil(64), 1, 1).flops((count * chunks * n) as f64));
        }
        let mut direct = Candidate::plain(launches).with_workspaces(vec![workspace]);
        direct.class = "direct";
        vec![direct]
    }

    fn flops(&self, io: &Io) -> f64 {
        self.conv.flops(io)
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: Node<'_>,
        _: &[Option<Value>],
        needs: &[bool],
    ) -> Result<Vec<Option<Value>>> {
        no_second_derivative(needs)
    }
}
