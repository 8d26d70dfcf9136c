//! What is computed: the sizes, strides and optional operands of a convolution, without a word on how.

use crate::fields;
use crate::gpu::Const;
use crate::graph::OpKey;

/// The name of the ops here.
pub(super) const NAME: &str = "conv2d";

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

/// Sizes of the images; for a dense layer one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) n: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) ho: usize,
    pub(super) wo: usize,
}

/// Distances in the weight between neighbours along each axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightLayout {
    pub(super) per_o: usize,
    pub(super) per_i: usize,
    pub(super) per_y: usize,
    pub(super) per_x: usize,
}

/// The columns of a wider matrix that hold the time embedding: the width of that matrix, and the first of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct EmbeddingColumns {
    pub(super) line: usize,
    pub(super) first: usize,
}

/// Which optional operands an op has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OptionalOperands {
    /// A second input, behind the first along the channels.
    pub(super) second: bool,
    pub(super) bias: bool,
    pub(super) temb: Option<EmbeddingColumns>,
    pub(super) residual: bool,
    /// Outputs behind the first one, each with as many of the channels.
    pub(super) more_outputs: usize,
}

impl OptionalOperands {
    /// Index of the weight among the inputs; bias, time embedding and residual follow where they exist.
    pub(super) fn weight(self) -> usize {
        1 + usize::from(self.second)
    }

    /// Operands behind the weight.
    pub(super) fn behind_weight(self) -> usize {
        [self.bias, self.temb.is_some(), self.residual].into_iter().map(usize::from).sum()
    }
}

/// A convolution: what the forward pass computes, and what the gradients are of.
#[derive(Clone, Debug)]
pub(super) struct Conv {
    pub(super) size: Size,
    /// How many lines of the image stand in one row of `size`.
    pub(super) lines: usize,
    /// The row of `size` is a batch: a dense layer over a matrix, each row of which is an image of its own.
    pub(super) rows_are_images: bool,
    pub(super) c1: usize,
    pub(super) c2: usize,
    pub(super) c_out: usize,
    pub(super) kh: usize,
    pub(super) kw: usize,
    pub(super) geometry: Conv2d,
    pub(super) layout: WeightLayout,
    pub(super) optional: OptionalOperands,
    pub(super) scale: f32,
}

impl Conv {
    /// The identity of an op of this `kind` on the convolution. `scale` and the place of the time embedding are left out: they reach
    /// kernels through uniform blocks.
    pub(super) fn key(&self, kind: &'static str) -> OpKey {
        let Size { n, h, w, ho, wo } = self.size;
        let (images, w, wo) = if self.rows_are_images { (n * w, 1, 1) } else { (n, w, wo) };
        let Self { lines, c1, c2, c_out, kh, kw, optional, .. } = *self;
        let Conv2d { stride, pad: [top, bottom, left, right], dilation } = self.geometry;
        let WeightLayout { per_o, per_i, per_y, per_x } = self.layout;
        let OptionalOperands { second, bias, temb, residual, more_outputs } = optional;
        OpKey::new(kind)
            .with(fields! { h, w, ho, wo, lines, c1, c2, c_out, kh, kw, stride, dilation })
            .with(fields! { top, bottom, left, right, per_o, per_i, per_y, per_x })
            .with(fields! { second, bias, temb: temb.is_some(), residual, more_outputs })
            .images(images)
    }

    /// The sum of the forward pass.
    pub(super) fn sum(&self) -> Sum {
        let WeightLayout { per_o, per_i, per_y, per_x } = self.layout;
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
            strides: WeightStrides {
                first: 0,
                per_o: per_o as i32,
                per_i: per_i as i32,
                per_y: per_y as i32,
                per_x: per_x as i32,
            },
            optional: self.optional,
            scale: self.scale,
        }
    }

    /// The sum of the gradient by `c` input channels from `first` on: over the outputs that an input reaches, which the kernels find by
    /// going backwards through the geometry.
    pub(super) fn sum_by_input(&self, first: usize, c: usize) -> Sum {
        let WeightLayout { per_o, per_i, per_y, per_x } = self.layout;
        let Size { n, h, w, ho, wo } = self.size;
        Sum {
            size: Size { n, h: ho, w: wo, ho: h, wo: w },
            c1: self.c_out,
            c2: 0,
            c_out: c,
            // Inputs and outputs change places.
            strides: WeightStrides {
                first: (first * per_i) as i32,
                per_o: per_i as i32,
                per_i: per_o as i32,
                per_y: per_y as i32,
                per_x: per_x as i32,
            },
            optional: OptionalOperands::default(),
            ..self.sum()
        }
    }

    /// The same as a convolution without gaps: taps flipped, padded by what is left of the reach, over grad_y with zeros between its pixels
    /// where outputs lie further apart than inputs.
    pub(super) fn flipped_sum_by_input(&self, first: usize, c: usize) -> Sum {
        let sum = self.sum_by_input(first, c);
        let reach = |k: usize| (self.geometry.dilation * (k - 1)) as i32;
        let WeightStrides { first, per_y, per_x, .. } = sum.strides;
        let last = (self.kh as i32 - 1) * per_y + (self.kw as i32 - 1) * per_x;
        let [h, w] = self.spread_size();
        Sum {
            size: Size { h, w, ..sum.size },
            top: reach(self.kh) - sum.top,
            left: reach(self.kw) - sum.left,
            stride: 1,
            strides: WeightStrides { first: first + last, per_y: -per_y, per_x: -per_x, ..sum.strides },
            ..sum
        }
    }

    /// Sizes of grad_y with zeros between its pixels.
    pub(super) fn spread_size(&self) -> [usize; 2] {
        [self.size.ho, self.size.wo].map(|outputs| (outputs - 1) * self.geometry.stride + 1)
    }

    /// The inputs as operands of the gradient by the weight, whose input 0 is grad_y: input, first channel, channels.
    pub(super) fn sources(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        [(1, 0, self.c1), (2, self.c1, self.c2)].into_iter().filter(|&(_, _, c)| c > 0)
    }

    /// True where channels come in fours, as most kernels load them.
    pub(super) fn in_fours(&self) -> bool {
        [self.c1, self.c2, self.c_out].iter().all(|c| c.is_multiple_of(4))
    }

    /// A 3×3 kernel over neighbouring pixels at each of them, which Winograd's transforms are for.
    pub(super) fn is_winograd(&self) -> bool {
        (self.kh, self.kw, self.geometry.stride, self.geometry.dilation) == (3, 3, 1, 1) && self.in_fours()
    }
}

/// The first index of a weight, and the distances between neighbours along each axis; taps may be flipped.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightStrides {
    pub(super) first: i32,
    pub(super) per_o: i32,
    pub(super) per_i: i32,
    pub(super) per_y: i32,
    pub(super) per_x: i32,
}

impl WeightStrides {
    /// A matrix of rows of `columns` outputs, as weights are packed.
    pub(super) fn packed(columns: usize) -> Self {
        Self { first: 0, per_o: 1, per_i: columns as i32, per_y: 0, per_x: 0 }
    }

    /// As fields of a uniform block.
    pub(super) fn fields(self) -> [(&'static str, Const); 5] {
        let Self { first, per_o, per_i, per_y, per_x } = self;
        let named =
            [("first", first), ("per_o", per_o), ("per_i", per_i), ("per_y", per_y), ("per_x", per_x)];
        named.map(|(name, value)| (name, Const::I32(value)))
    }
}

/// A sum of taps × channels, and what follows it: a forward pass or a gradient by an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    pub(super) size: Size,
    pub(super) c1: usize,
    pub(super) c2: usize,
    pub(super) c_out: usize,
    pub(super) kh: usize,
    pub(super) kw: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) top: i32,
    pub(super) left: i32,
    pub(super) strides: WeightStrides,
    pub(super) optional: OptionalOperands,
    pub(super) scale: f32,
}

impl Sum {
    /// Floating-point operations.
    pub(super) fn flops(&self) -> f64 {
        2.0 * (self.pixels() * self.c_out) as f64 * ((self.c1 + self.c2) * self.kh * self.kw) as f64
    }

    /// Output pixels of all images.
    pub(super) fn pixels(&self) -> usize {
        self.size.n * self.size.ho * self.size.wo
    }

    /// True where channels come in fours, as most kernels load them.
    pub(super) fn in_fours(&self) -> bool {
        [self.c1, self.c2, self.c_out].iter().all(|c| c.is_multiple_of(4))
    }

    /// True of a 1×1 kernel over all pixels: a product of stored matrices.
    pub(super) fn is_product(&self) -> bool {
        let Size { h, w, ho, wo, .. } = self.size;
        self.kh * self.kw == 1 && self.stride == 1 && (self.top, self.left) == (0, 0) && (h, w) == (ho, wo)
    }

    /// A 3×3 kernel over neighbouring pixels at each of them, which Winograd's transforms are for.
    pub(super) fn is_winograd(&self) -> bool {
        (self.kh, self.kw, self.stride, self.dilation) == (3, 3, 1, 1) && self.in_fours()
    }
}
