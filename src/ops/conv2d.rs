//! Convolutions and dense layers, with what follows them in a score model fused behind the sum:
//! `y = (w ⋆ cat(x, second) + bias + temb + residual)·scale`.
//!
//! A dense layer is a 1×1 convolution over rows. Candidates: `gemm` for 1×1, `winograd4` and `winograd2` for 3×3, each with
//! products of matrices by subgroups or by tiles in workgroup memory; `prologue`, the same behind a group norm that the first stage applies;
//! `implicit`, by such tiles too, for the other kernels and, in parts, for small images; `half` and `cooperative`, forward only, the same
//! of operands rounded to f16, the latter by cooperative matrices; `direct` holds pixels × channels in registers and uses no
//! workgroup memory; `plain` computes one output at a time for every shape.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Graph, Io, Node, Op, Shape, Value};

use super::{column_sum::column_sum, concat::window, elementwise};
use gradient::{GradInput, GradWeight};
pub use joined::{linear_apart, linear_joined};
pub use normed::{Prologue, norm_conv2d};
use sum::{Has, Layout, Size, Strip, Sum};

mod gemm;
mod gradient;
mod implicit;
mod joined;
mod normed;
mod sum;
mod winograd;

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

/// Columns of a matrix from `first` on, as many as who reads them has channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// `rows columns`.
    pub of: Value,
    /// The first column.
    pub first: usize,
}

impl From<Value> for Columns {
    fn from(of: Value) -> Self {
        Self { of, first: 0 }
    }
}

/// What follows the sum; all of it optional.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue {
    /// `c_out`.
    pub bias: Option<Value>,
    /// `n c_out`, or such columns of a wider matrix: the time embedding.
    pub temb: Option<Columns>,
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
    let (op, shape) = Conv::checked(graph, x, second, weight, geometry, epilogue.scale)?;
    push(graph, op, x, second, weight, epilogue, shape)
}

impl Conv {
    /// The op of operands that fit, without its epilogue, and the shape of its result.
    fn checked(
        graph: &Graph,
        x: Value,
        second: Option<Value>,
        weight: Value,
        geometry: Conv2d,
        scale: f32,
    ) -> Result<(Self, Shape)> {
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
            let problem = format!(
                "the input has {} channels, the weight {} takes {c_in}",
                c1 + c2,
                graph.shape(weight)
            );
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
            has: Has::default(),
            scale,
        };
        Ok((op, [n, ho, wo, c_out].into()))
    }
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
    let op = Conv { scale: epilogue.scale, ..dense(&shape, c_out, input_first, Has::default()) };
    let mut result = shape.dims().to_vec();
    if let Some(last) = result.last_mut() {
        *last = c_out;
    }
    push(graph, op, x, None, weight, epilogue, result.into())
}

/// A dense layer over the last dimension of `shape`.
fn dense(shape: &Shape, c_out: usize, input_first: bool, has: Has) -> Conv {
    let c_in = shape.last();
    let rows = shape.elements() / c_in;
    // An n that is more than the first dimension's would mix images in the time embedding.
    let (n, w) = if shape.rank() == 2 { (1, rows) } else { (shape[0], rows / shape[0]) };
    let layout = if input_first {
        Layout { per_o: 1, per_i: c_out, per_y: 0, per_x: 0 }
    } else {
        Layout { per_o: c_in, per_i: 1, per_y: 0, per_x: 0 }
    };
    Conv {
        size: Size { n, h: 1, w, ho: 1, wo: w },
        lines: if shape.rank() == 4 { shape[1] } else { 1 },
        c1: c_in,
        c2: 0,
        c_out,
        kh: 1,
        kw: 1,
        geometry: Conv2d::same(1),
        layout,
        has,
        scale: 1.0,
    }
}

const STEM: &str = "conv2d";

fn push(
    graph: &mut Graph,
    mut op: Conv,
    x: Value,
    second: Option<Value>,
    weight: Value,
    epilogue: Epilogue,
    shape: Shape,
) -> Result<Value> {
    let inputs = op.operands(graph, x, second, weight, epilogue, &shape)?;
    Ok(graph.push1(op, &inputs, shape))
}

impl Conv {
    /// The inputs of the op, which is told of its epilogue; `shape` is the result's.
    fn operands(
        &mut self,
        graph: &mut Graph,
        x: Value,
        second: Option<Value>,
        weight: Value,
        mut epilogue: Epilogue,
        shape: &Shape,
    ) -> Result<Vec<Value>> {
        let fits = |graph: &Graph, v: Option<Value>, what: &str, wanted: Shape| match v {
            Some(v)
                if graph.shape(v).elements() != wanted.elements()
                    || graph.shape(v).last() != wanted.last() =>
            {
                let problem = format!("the {what} is {}, the output {shape}", graph.shape(v));
                Err(Error::shape(STEM, problem, format!("give a {what} of {wanted}")))
            }
            _ => Ok(()),
        };
        fits(graph, epilogue.bias, "bias", [self.c_out].into())?;
        fits(graph, epilogue.residual, "residual", shape.clone())?;
        let (n, c) = (self.size.n, self.c_out);
        let strip = epilogue.temb.as_mut().map(|temb| strip(graph, temb, n, c)).transpose()?;
        self.has = Has::of(second, epilogue, strip);
        let temb = epilogue.temb.map(|temb| temb.of);
        let optional = [second, Some(weight), epilogue.bias, temb, epilogue.residual];
        Ok([Some(x)].into_iter().chain(optional).flatten().collect())
    }
}

/// Where the time embedding of `n` images and `c` channels lies; columns that kernels cannot read in fours become a matrix of their own.
fn strip(graph: &mut Graph, temb: &mut Columns, n: usize, c: usize) -> Result<Strip> {
    let shape = graph.shape(temb.of).clone();
    let line = shape.elements() / n.max(1);
    if line * n != shape.elements() || temb.first + c > line {
        let problem = format!(
            "the time embedding is {shape} from column {} on, for {n} images of {c} channels",
            temb.first
        );
        return Err(Error::shape(STEM, problem, "give a row for each image, as wide as the output"));
    }
    if c.is_multiple_of(4) && !(line.is_multiple_of(4) && temb.first.is_multiple_of(4)) {
        *temb = window(graph, temb.of, temb.first as i32, c)?.into();
        return Ok(Strip { line: c, first: 0 });
    }
    Ok(Strip { line, first: temb.first })
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

impl Conv {
    /// The sum of the forward pass.
    fn sum(&self) -> Sum {
        let Layout { per_o, per_i, per_y, per_x } = self.layout;
        let strides = [0, per_o as i32, per_i as i32, per_y as i32, per_x as i32];
        let [top, _, left, _] = self.geometry.pad.map(|p| p as i32);
        Sum {
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
        }
    }
}

impl Op for Conv {
    fn stem(&self) -> &'static str {
        STEM
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        let sum = self.sum();
        let mut all = sum.ways(device);
        all.push(sum.plain(false));
        all
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
        self.grad_epilogue(graph, node, grad_y, needs, &mut result)?;
        Ok(result)
    }
}

impl Conv {
    /// The gradients by what follows the sum.
    fn grad_epilogue(
        &self,
        graph: &mut Graph,
        node: Node<'_>,
        grad_y: Value,
        needs: &[bool],
        result: &mut [Option<Value>],
    ) -> Result<()> {
        let mut at = self.has.weight() + 1;
        let bias_at = self.has.bias.then(|| {
            at += 1;
            at - 1
        });
        let temb_at = self.has.temb.map(|_| {
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
            result[i] = Some(self.grad_temb(graph, per_image, node.inputs[i])?);
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
        Ok(())
    }

    /// The gradient by the matrix whose columns were the time embedding: zeros beside them.
    fn grad_temb(&self, graph: &mut Graph, per_image: Value, temb: Value) -> Result<Value> {
        let shape = graph.shape(temb).clone();
        match self.has.temb {
            Some(strip) if strip.line != self.c_out => {
                let own = reshaped(graph, per_image, [self.size.n, self.c_out].into())?;
                let wide = window(graph, own, -(strip.first as i32), strip.line)?;
                reshaped(graph, wide, shape)
            }
            _ => reshaped(graph, per_image, shape),
        }
    }
}

/// A batch of one has its column sums as `c`, where `1 c` is wanted.
fn reshaped(graph: &mut Graph, v: Value, shape: Shape) -> Result<Value> {
    if *graph.shape(v) == shape {
        return Ok(v);
    }
    elementwise::copy_as(graph, v, shape)
}
