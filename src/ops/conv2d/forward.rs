//! Convolutions and dense layers: the functions that model code calls, and the op of the forward pass.

use crate::error::{Error, Result};
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Gradients, Graph, Io, Node, Op, OpKey, Shape, Value};
use crate::ops::column_sum::column_sum;
use crate::ops::concat::window;
use crate::ops::elementwise;

use super::gradient::{GradInput, GradWeight};
use super::kernels::plain;
use super::order;
use super::problem::{Conv, Conv2d, EmbeddingColumns, NAME, OptionalOperands, Size, WeightLayout};

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
    pub(super) fn checked(
        graph: &Graph,
        x: Value,
        second: Option<Value>,
        weight: Value,
        geometry: Conv2d,
        scale: f32,
    ) -> Result<(Self, Shape)> {
        let [n, h, w, c1] = graph.nhwc(NAME, x)?;
        let c2 = match second {
            None => 0,
            Some(s) => {
                let [n2, h2, w2, c2] = graph.nhwc(NAME, s)?;
                if [n2, h2, w2] != [n, h, w] {
                    let problem =
                        format!("inputs of {} and {} cannot stand in one", graph.shape(x), graph.shape(s));
                    return Err(Error::shape(NAME, problem, "give two inputs of one n h w"));
                }
                c2
            }
        };
        let dims = graph.shape(weight).dims();
        let &[c_out, c_in, kh, kw] = dims else {
            let problem = format!("the weight is {}", graph.shape(weight));
            return Err(Error::shape(NAME, problem, "give c_out c_in kh kw"));
        };
        if c_in != c1 + c2 {
            let problem = format!(
                "the input has {} channels, the weight {} takes {c_in}",
                c1 + c2,
                graph.shape(weight)
            );
            return Err(Error::shape(NAME, problem, "give as many channels as the weight takes"));
        }
        let reach = |k: usize| geometry.dilation * (k - 1) + 1;
        let [top, bottom, left, right] = geometry.pad;
        if kh * kw == 0 || h + top + bottom < reach(kh) || w + left + right < reach(kw) {
            let problem = format!(
                "the image {} with {:?} zeros around is smaller than the kernel {kh}x{kw}",
                graph.shape(x),
                geometry.pad
            );
            return Err(Error::shape(NAME, problem, "pad more or use a larger image"));
        }
        let layout = WeightLayout { per_o: c_in * kh * kw, per_i: kh * kw, per_y: kw, per_x: 1 };
        let ho = (h + top + bottom - reach(kh)) / geometry.stride + 1;
        let wo = (w + left + right - reach(kw)) / geometry.stride + 1;
        // A 1×1 kernel does not care about rows: one long row leaves no odd ends.
        let flat = kh * kw == 1 && geometry == Conv2d::same(1);
        let size = if flat { Size { n, h: 1, w: h * w, ho: 1, wo: h * w } } else { Size { n, h, w, ho, wo } };
        let op = Conv {
            size,
            lines: if flat { h } else { 1 },
            rows_are_images: false,
            c1,
            c2,
            c_out,
            kh,
            kw,
            geometry,
            layout,
            optional: OptionalOperands::default(),
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
    let op = Conv { scale: epilogue.scale, ..dense(&shape, c_out, input_first, OptionalOperands::default()) };
    let mut result = shape.dims().to_vec();
    if let Some(last) = result.last_mut() {
        *last = c_out;
    }
    push(graph, op, x, None, weight, epilogue, result.into())
}

/// A dense layer over the last dimension of `shape`.
pub(super) fn dense(shape: &Shape, c_out: usize, input_first: bool, optional: OptionalOperands) -> Conv {
    let c_in = shape.last();
    let rows = shape.elements() / c_in;
    // An n that is more than the first dimension's would mix images in the time embedding.
    let (n, w) = if shape.rank() == 2 { (1, rows) } else { (shape[0], rows / shape[0]) };
    let layout = if input_first {
        WeightLayout { per_o: 1, per_i: c_out, per_y: 0, per_x: 0 }
    } else {
        WeightLayout { per_o: c_in, per_i: 1, per_y: 0, per_x: 0 }
    };
    Conv {
        size: Size { n, h: 1, w, ho: 1, wo: w },
        lines: if shape.rank() == 4 { shape[1] } else { 1 },
        rows_are_images: shape.rank() == 2,
        c1: c_in,
        c2: 0,
        c_out,
        kh: 1,
        kw: 1,
        geometry: Conv2d::same(1),
        layout,
        optional,
        scale: 1.0,
    }
}

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
    pub(super) fn operands(
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
                Err(Error::shape(NAME, problem, format!("give a {what} of {wanted}")))
            }
            _ => Ok(()),
        };
        fits(graph, epilogue.bias, "bias", [self.c_out].into())?;
        fits(graph, epilogue.residual, "residual", shape.clone())?;
        let (n, c) = (self.size.n, self.c_out);
        let temb = epilogue.temb.as_mut().map(|temb| embedding_columns(graph, temb, n, c)).transpose()?;
        self.optional = OptionalOperands {
            second: second.is_some(),
            bias: epilogue.bias.is_some(),
            temb,
            residual: epilogue.residual.is_some(),
            more_outputs: 0,
        };
        let temb = epilogue.temb.map(|temb| temb.of);
        let optional = [second, Some(weight), epilogue.bias, temb, epilogue.residual];
        Ok([Some(x)].into_iter().chain(optional).flatten().collect())
    }
}

/// Where the time embedding of `n` images and `c` channels lies; columns that kernels cannot read in fours become a matrix of their own.
fn embedding_columns(graph: &mut Graph, temb: &mut Columns, n: usize, c: usize) -> Result<EmbeddingColumns> {
    let shape = graph.shape(temb.of).clone();
    let line = shape.elements() / n.max(1);
    if line * n != shape.elements() || temb.first + c > line {
        let problem = format!(
            "the time embedding is {shape} from column {} on, for {n} images of {c} channels",
            temb.first
        );
        return Err(Error::shape(NAME, problem, "give a row for each image, as wide as the output"));
    }
    if c.is_multiple_of(4) && !(line.is_multiple_of(4) && temb.first.is_multiple_of(4)) {
        *temb = window(graph, temb.of, temb.first as i32, c)?.into();
        return Ok(EmbeddingColumns { line: c, first: 0 });
    }
    Ok(EmbeddingColumns { line, first: temb.first })
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key(&self, _: &Io) -> OpKey {
        Conv::key(self, "conv2d.forward")
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        let sum = self.sum();
        let mut all = order::of_sum(&sum, device);
        all.push(plain::candidate(&sum, false));
        all
    }

    fn flops(&self, _: &Io) -> f64 {
        2.0 * (self.size.n * self.size.ho * self.size.wo * self.c_out) as f64
            * ((self.c1 + self.c2) * self.kh * self.kw) as f64
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let weight_at = self.optional.weight();
        let (x, weight) = (node.inputs[0], node.inputs[weight_at]);
        let second = self.optional.second.then(|| node.inputs[1]);
        let mut result = vec![None; node.needs.len()];
        for (i, first, c) in [(0, 0, self.c1), (1, self.c1, self.c2)] {
            if i < weight_at && node.needs[i] {
                let op = GradInput { conv: self.clone(), first, c };
                let shape = graph.shape(node.inputs[i]).clone();
                result[i] = Some(graph.push1(op, &[grad_y, weight], shape));
            }
        }
        if node.needs[weight_at] {
            let shape = graph.shape(weight).clone();
            let inputs: Vec<Value> = [Some(grad_y), Some(x), second].into_iter().flatten().collect();
            result[weight_at] = Some(graph.push1(GradWeight { conv: self.clone() }, &inputs, shape));
        }
        self.grad_epilogue(graph, node, grad_y, &mut result)?;
        Ok(result)
    }
}

impl Conv {
    /// The gradients by what follows the sum.
    pub(super) fn grad_epilogue(
        &self,
        graph: &mut Graph,
        node: Node<'_>,
        grad_y: Value,
        result: &mut [Option<Value>],
    ) -> Result<()> {
        let mut at = self.optional.weight() + 1;
        let bias_at = self.optional.bias.then(|| {
            at += 1;
            at - 1
        });
        let temb_at = self.optional.temb.map(|_| {
            at += 1;
            at - 1
        });
        let residual_at = self.optional.residual.then_some(at);
        let wanted = |i: Option<usize>| i.filter(|&i| node.needs[i]);
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
        match self.optional.temb {
            Some(columns) if columns.line != self.c_out => {
                let own = reshaped(graph, per_image, [self.size.n, self.c_out].into())?;
                let wide = window(graph, own, -(columns.first as i32), columns.line)?;
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
