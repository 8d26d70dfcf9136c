//! The gradients of a convolution by its inputs and by its weight.

use crate::fields;
use crate::gpu::Capabilities;
use crate::graph::{Candidate, Io, Launch, Op, OpKey, Operand};
use crate::ops::shared::tile::Tile;
use crate::ops::{FLAT, lanes};

use super::kernels::{bind, implicit, plain};
use super::order;
use super::problem::{Conv, NAME};

/// The gradient by one input: `c` channels from `first` on.
#[derive(Debug)]
pub(super) struct GradInput {
    pub(super) conv: Conv,
    pub(super) first: usize,
    pub(super) c: usize,
}

impl Op for GradInput {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key(&self, _: &Io) -> OpKey {
        self.conv.key("conv2d.grad_input").with(fields! { first: self.first, c: self.c })
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        let Self { ref conv, first, c } = *self;
        let sum = conv.sum_by_input(first, c);
        let flipped = conv.flipped_sum_by_input(first, c);
        let [h, w] = conv.spread_size();
        let image = 4 * (h * w * conv.c_out) as u64;
        let mut all = match conv.geometry.stride {
            1 => order::of_sum(&flipped, device),
            // Left for images of which no binding holds one are the kernels that step over the zeros.
            _ if image > device.max_binding => Vec::new(),
            _ => {
                let bytes = conv.size.n as u64 * image;
                let candidates =
                    order::of_sum(&flipped, device).into_iter().filter(|candidate| !is_implicit(candidate));
                candidates
                    .map(|candidate| bind::after(candidate, Operand::Input(0), bytes, |to| spread(conv, to)))
                    .collect()
            }
        };
        if conv.geometry.stride > 1 {
            let tiles = Tile::all(sum.pixels(), c, device);
            all.extend(tiles.iter().filter_map(|&tile| implicit::candidate(&sum, tile, true)));
        }
        all.push(plain::candidate(&sum, true));
        // f16 holds nothing above 65,504 and little below 6e-8. Activations behind a norm stay between; gradients do not.
        all.retain(|candidate| !candidate.arithmetic.is_reduced());
        all
    }

    fn flops(&self, io: &Io) -> f64 {
        self.conv.flops(io) * self.c as f64 / (self.conv.c1 + self.conv.c2) as f64
    }
}

/// Kernels that look up each pixel can step over zeros that were never stored.
fn is_implicit(candidate: &Candidate) -> bool {
    candidate.launches.iter().any(|launch| launch.kernel.shader == "conv2d/implicit.wgsl")
}

/// grad_y to `to`, with zeros between its pixels.
fn spread(conv: &Conv, to: Operand) -> Launch {
    let (size, c) = (conv.size, conv.c_out);
    let [h, w] = conv.spread_size();
    let v = lanes(c);
    let elements = size.n * h * w * c;
    Launch::new("conv2d/spread.wgsl")
        .constant("V", v)
        .read(Operand::Input(0))
        .write(to)
        .params(fields! { count: elements / v, h, w, columns: c / v, ho: size.ho, wo: size.wo })
        .params(fields! { stride: conv.geometry.stride })
        .grid((elements / v).div_ceil(FLAT), 1, 1)
}

/// The gradient by the weight; inputs are grad_y, x and the second input where there is one.
#[derive(Debug)]
pub(super) struct GradWeight {
    pub(super) conv: Conv,
}

impl Op for GradWeight {
    fn name(&self) -> &'static str {
        NAME
    }

    fn key(&self, _: &Io) -> OpKey {
        self.conv.key("conv2d.grad_weight")
    }

    fn candidates(&self, _: &Io, device: &Capabilities) -> Vec<Candidate> {
        order::of_grad_weight(&self.conv, device)
    }

    fn flops(&self, io: &Io) -> f64 {
        self.conv.flops(io)
    }
}
