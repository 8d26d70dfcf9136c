//! Zero-stuff, pad, filter, thin out: the FIR resampling of StyleGAN2 (Karras et al. 2020), a true convolution.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fields;
use crate::gpu::{Capabilities, Const};
use crate::graph::{Candidate, Gradients, Graph, Io, Node, Op, Operand, Value};

use super::conv2d::{Conv2d, Epilogue, conv2d};
use super::lanes;
use super::shared::flat::flat;

/// Longest side of a kernel and largest factor: every tap is a line of the unrolled shader.
const MOST: usize = 16;

/// A small two-dimensional filter.
#[derive(Clone, Debug, PartialEq)]
pub struct FirKernel {
    size: [usize; 2],
    taps: Arc<[f32]>,
}

impl FirKernel {
    /// `taps`, row-major `kh kw`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `taps` does not fill the size, or a side is 0 or above 16.
    pub fn new(size: [usize; 2], taps: &[f32]) -> Result<Self> {
        if size[0] * size[1] != taps.len() || size.iter().any(|s| !(1..=MOST).contains(s)) {
            let problem = format!("a kernel of {}x{} with {} taps", size[0], size[1], taps.len());
            return Err(Error::shape("upfirdn2d", problem, "give 1 to 16 rows and columns, all filled"));
        }
        Ok(Self { size, taps: taps.into() })
    }

    /// `outer(k, k)`, divided by its sum, times `gain`: the authors' kernel of a list like `1 3 3 1`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `k` is empty, longer than 16 or sums to 0.
    pub fn separable(k: &[f64], gain: f64) -> Result<Self> {
        let sum: f64 = k.iter().sum();
        if sum == 0.0 || !sum.is_finite() {
            let problem = format!("the FIR kernel {k:?} sums to {sum}");
            return Err(Error::shape("upfirdn2d", problem, "give taps with a sum other than 0, as 1 3 3 1"));
        }
        let factor = gain / (sum * sum);
        let taps: Vec<f32> = k.iter().flat_map(|a| k.iter().map(move |b| (a * b * factor) as f32)).collect();
        Self::new([k.len(), k.len()], &taps)
    }

    /// Rows and columns.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Turned by 180 degrees: a convolution with one is a correlation with the other.
    fn flipped(&self) -> Self {
        Self { size: self.size, taps: self.taps.iter().rev().copied().collect() }
    }
}

/// Filters `x` (`n h w c`): each pixel is followed by `up − 1` zeros in both directions; `pad` zeros go to the top, bottom, left
/// and right (a negative number crops); a true convolution with `kernel`; every `down`-th pixel stays.
///
/// # Errors
/// [`Error::Shape`] when nothing is left, a factor is 0 or above 16, or `x` has not four dimensions.
pub fn upfirdn2d(
    graph: &mut Graph,
    x: Value,
    kernel: &FirKernel,
    up: usize,
    down: usize,
    pad: [i64; 4],
) -> Result<Value> {
    let [n, h, w, c] = graph.nhwc("upfirdn2d", x)?;
    if !(1..=MOST).contains(&up) || !(1..=MOST).contains(&down) {
        let problem = format!("factors up {up} and down {down}");
        return Err(Error::shape("upfirdn2d", problem, "give factors from 1 to 16"));
    }
    let [kh, kw] = kernel.size;
    let filtered = |size: usize, k: usize, before: i64, after: i64| {
        (size * up) as i64 + before.saturating_add(after) - k as i64 + 1
    };
    let (fh, fw) = (filtered(h, kh, pad[0], pad[1]), filtered(w, kw, pad[2], pad[3]));
    if fh < 1 || fw < 1 {
        let problem = format!("a {kh}x{kw} kernel on {h}x{w} pixels, stuffed by {up} and padded by {pad:?}");
        return Err(Error::shape("upfirdn2d", problem, "give a larger image or more padding"));
    }
    let [oh, ow] = [fh as usize, fw as usize].map(|f| f.div_ceil(down));
    Ok(graph.push1(Upfirdn2d { kernel: kernel.clone(), up, down, pad }, &[x], [n, oh, ow, c]))
}

/// Doubles (or multiplies by `factor`) the size of `x` (`n h w c`) with the separable kernel `k`; the authors' `upsample_2d`.
pub fn upsample_2d(graph: &mut Graph, x: Value, k: &[f64], factor: usize, gain: f64) -> Result<Value> {
    let kernel = FirKernel::separable(k, gain * (factor * factor) as f64)?;
    let p = k.len() as i64 - factor as i64;
    let (before, after) = ((p + 1).div_euclid(2) + factor as i64 - 1, p.div_euclid(2));
    upfirdn2d(graph, x, &kernel, factor, 1, [before, after, before, after])
}

/// Halves (or divides by `factor`) the size of `x` (`n h w c`) with the separable kernel `k`; the authors' `downsample_2d`.
pub fn downsample_2d(graph: &mut Graph, x: Value, k: &[f64], factor: usize, gain: f64) -> Result<Value> {
    let kernel = FirKernel::separable(k, gain)?;
    let p = k.len() as i64 - factor as i64;
    let (before, after) = ((p + 1).div_euclid(2), p.div_euclid(2));
    upfirdn2d(graph, x, &kernel, 1, factor, [before, after, before, after])
}

/// Filters `x` (`n h w c_in`) with the separable kernel `k` and convolves it at every `factor`-th pixel by `weight`
/// (`c_out c_in s s`, s odd); the authors' `conv_downsample_2d`. What `epilogue` adds comes after both.
///
/// # Errors
/// [`Error::Shape`] when an operand does not fit.
pub fn conv_downsample_2d(
    graph: &mut Graph,
    x: Value,
    weight: Value,
    k: &[f64],
    factor: usize,
    epilogue: Epilogue,
) -> Result<Value> {
    let side = side(graph, weight)?;
    let kernel = FirKernel::separable(k, 1.0)?;
    let p = k.len() as i64 - factor as i64 + side - 1;
    let (before, after) = ((p + 1).div_euclid(2), p.div_euclid(2));
    let filtered = upfirdn2d(graph, x, &kernel, 1, 1, [before, after, before, after])?;
    let geometry = Conv2d { stride: factor, pad: [0; 4], dilation: 1 };
    conv2d(graph, filtered, None, weight, geometry, epilogue)
}

/// Zero-stuffs `x` (`n h w c_in`) by `factor`, convolves it by `weight` (`c_out c_in s s`, s odd) and filters it with the separable
/// kernel `k`; the authors' `upsample_conv_2d`. What `epilogue` adds comes after both.
///
/// The filter treats every channel alike, and all zeros around the image are kept, so it may as well run first: the stuffed
/// image is never stored.
///
/// # Errors
/// [`Error::Shape`] when an operand does not fit.
pub fn upsample_conv_2d(
    graph: &mut Graph,
    x: Value,
    weight: Value,
    k: &[f64],
    factor: usize,
    epilogue: Epilogue,
) -> Result<Value> {
    let side = side(graph, weight)?;
    let kernel = FirKernel::separable(k, (factor * factor) as f64)?;
    let step = factor as i64;
    let p = k.len() as i64 - step - (side - 1);
    // The authors' zeros around the convolved image, and those that the convolution reaches beyond it.
    let before = (p + 1).div_euclid(2) + step - 1 + side - 1;
    let after = p.div_euclid(2) + 1 + side - step;
    let filtered = upfirdn2d(graph, x, &kernel, factor, 1, [before, after, before, after])?;
    let geometry = Conv2d { stride: 1, pad: [0; 4], dilation: 1 };
    conv2d(graph, filtered, None, weight, geometry, epilogue)
}

/// Rows and columns of a square weight.
fn side(graph: &Graph, weight: Value) -> Result<i64> {
    match *graph.shape(weight).dims() {
        [_, _, kh, kw] if kh == kw && kh % 2 == 1 => Ok(kh as i64),
        _ => {
            let problem = format!("the weight is {}", graph.shape(weight));
            Err(Error::shape("upfirdn2d", problem, "give c_out c_in and an odd square"))
        }
    }
}

#[derive(Debug)]
struct Upfirdn2d {
    kernel: FirKernel,
    up: usize,
    down: usize,
    /// Top, bottom, left, right.
    pad: [i64; 4],
}

/// What one axis of a block of `up` outputs reads, relative to `block·down`.
struct Window {
    /// First input.
    first: i64,
    /// Number of inputs.
    count: usize,
    /// Tap that the first input meets in the block's first output.
    lead: usize,
}

impl Upfirdn2d {
    /// Output `up·b + p` meets input `down·b + i` in tap `up·i − down·p + before` of the turned kernel.
    fn window(&self, taps: usize, before: i64) -> Window {
        let (up, down) = (self.up as i64, self.down as i64);
        let first = -before.div_euclid(up);
        let last = ((up - 1) * down + taps as i64 - 1 - before).div_euclid(up);
        Window { first, count: (last - first + 1).max(0) as usize, lead: (first * up + before) as usize }
    }
}

impl Op for Upfirdn2d {
    fn name(&self) -> &'static str {
        "upfirdn2d"
    }

    fn candidates(&self, io: &Io, _: &Capabilities) -> Vec<Candidate> {
        let (x, y) = (io.input(0), io.output(0));
        let v = lanes(x.last());
        let channels = x.last() / v;
        let [kh, kw] = self.kernel.size;
        let (rows, columns) = (self.window(kh, self.pad[0]), self.window(kw, self.pad[2]));
        let (blocks_h, blocks_w) = (y[1].div_ceil(self.up), y[2].div_ceil(self.up));
        let count = x[0] * blocks_h * blocks_w * channels;
        let vectors = kw.div_ceil(4);
        let mut launch = flat("upfirdn2d/upfirdn2d.wgsl", count)
            .constants(fields! { V: v, UP: self.up, DOWN: self.down, KH: kh, KW: kw, VECTORS: vectors })
            .constants(fields! { ROWS: rows.count, LEAD_Y: rows.lead, FIRST_Y: Const::I32(rows.first as i32) })
            .constants(
                fields! { COLUMNS: columns.count, LEAD_X: columns.lead, FIRST_X: Const::I32(columns.first as i32) },
            )
            .read(Operand::Input(0))
            .write(Operand::Output(0))
            .params(fields! { h: x[1], w: x[2], out_h: y[1], out_w: y[2], channels, blocks_h, blocks_w });
        let turned = self.kernel.flipped();
        for row in turned.taps.chunks(kw) {
            for tap in 0..4 * vectors {
                launch = launch.params(fields! { taps: row.get(tap).copied().unwrap_or(0.0) });
            }
        }
        vec![Candidate::plain(vec![launch.flops(self.flops(io))])]
    }

    fn backward(&self, graph: &mut Graph, node: Node<'_>, grad_y: Value) -> Result<Gradients> {
        let [_, h, w, _] = graph.nhwc("upfirdn2d", node.inputs[0])?;
        let [_, oh, ow, _] = graph.nhwc("upfirdn2d", node.outputs[0])?;
        let [kh, kw] = self.kernel.size.map(|k| k as i64);
        // What is read and what is written change places, and so do the factors.
        let after = |input: usize, output: usize, before: i64| {
            (input * self.up) as i64 - (output * self.down) as i64 + before - self.up as i64 + 1
        };
        let [top, _, left, _] = self.pad;
        let pad = [kh - 1 - top, after(h, oh, top), kw - 1 - left, after(w, ow, left)];
        let kernel = self.kernel.flipped();
        node.by_first(|| upfirdn2d(graph, grad_y, &kernel, self.down, self.up, pad))
    }

    fn flops(&self, io: &Io) -> f64 {
        let taps = self.kernel.taps.len() as f64 / (self.up * self.up) as f64;
        2.0 * taps * io.output(0).elements() as f64
    }
}
