//! The sum of taps × channels that a forward pass and a gradient by an input have in common, and its kernels.

use crate::gpu::{Capabilities, Const, DeviceKind};
use crate::graph::{Arithmetic, Candidate, Launch, Operand, Value};
use crate::ops::shared::tile::Tile;

use super::Epilogue;
use super::gemm::Gemm;

/// Fewer channels than this go to the direct kernel unless a measurement says otherwise.
pub(super) const FEW: usize = 16;

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
pub(super) struct Layout {
    pub(super) per_o: usize,
    pub(super) per_i: usize,
    pub(super) per_y: usize,
    pub(super) per_x: usize,
}

/// Columns of a matrix: how many there are from row to row, and the first that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    pub(super) line: usize,
    pub(super) first: usize,
}

/// Which optional operands there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Has {
    pub(super) second: bool,
    pub(super) bias: bool,
    pub(super) temb: Option<Strip>,
    pub(super) residual: bool,
    /// Outputs behind the first one, each with as many of the channels.
    pub(super) more: usize,
}

impl Has {
    pub(super) fn of(second: Option<Value>, e: Epilogue, temb: Option<Strip>) -> Self {
        let (bias, residual) = (e.bias.is_some(), e.residual.is_some());
        Self { second: second.is_some(), bias, temb, residual, more: 0 }
    }

    /// Index of the weight among the inputs; bias, time embedding and residual follow where they exist.
    pub(super) fn weight(self) -> usize {
        1 + usize::from(self.second)
    }

    pub(super) fn bind(self, launch: Launch, weight: Operand) -> Launch {
        self.operands(self.constants(launch), weight)
    }

    /// Which operands there are, for the shader.
    pub(super) fn constants(self, launch: Launch) -> Launch {
        self.epilogue_constants(launch.constant("SECOND", self.second))
    }

    pub(super) fn epilogue_constants(self, launch: Launch) -> Launch {
        launch
            .constant("BIAS", self.bias)
            .constant("TEMB", self.temb.is_some())
            .constant("RESIDUAL", self.residual)
    }

    /// What the shader is told behind the scale, in units of `lanes` columns.
    pub(super) fn words(self, launch: Launch, lanes: usize) -> Launch {
        self.temb.map_or(launch.clone(), |temb| launch.word(temb.line / lanes).word(temb.first / lanes))
    }

    /// Inputs, weight, what follows the sum, and the output.
    pub(super) fn operands(self, launch: Launch, weight: Operand) -> Launch {
        self.epilogue(self.sources(launch).read(weight))
    }

    /// The one or two inputs.
    pub(super) fn sources(self, launch: Launch) -> Launch {
        let launch = launch.read(Operand::Input(0));
        if self.second { launch.read(Operand::Input(1)) } else { launch }
    }

    /// What follows the sum, and the output.
    pub(super) fn epilogue(self, mut launch: Launch) -> Launch {
        let behind = [self.bias, self.temb.is_some(), self.residual].into_iter().map(usize::from).sum();
        for i in 0..behind {
            launch = launch.read(Operand::Input(self.weight() + 1 + i));
        }
        (0..=self.more).fold(launch, |launch, i| launch.write(Operand::Output(i)))
    }
}

/// A part of packed weights, in elements: where it begins, from row to row, and the columns of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) before: usize,
    pub(super) line: usize,
    pub(super) width: usize,
}

/// A sum of taps × channels as the kernels compute it: a forward pass or a gradient by an input.
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
    /// First index of the weight, and its strides by output, input, row and column of taps.
    pub(super) strides: [i32; 5],
    pub(super) has: Has,
    pub(super) scale: f32,
}

/// `candidate` on what `first` leaves in a workspace of `bytes`, in place of `input`.
pub(super) fn behind(
    mut candidate: Candidate,
    input: Operand,
    bytes: u64,
    first: impl Fn(Operand) -> Launch,
) -> Candidate {
    let made = Operand::Workspace(candidate.workspaces.len());
    for operand in candidate.launches.iter_mut().flat_map(|launch| &mut launch.operands) {
        if *operand == input {
            *operand = made;
        }
    }
    candidate.launches.insert(0, first(made));
    candidate.workspaces.push(bytes);
    candidate
}

impl Sum {
    pub(super) fn flops(&self) -> f64 {
        let outputs = (self.size.n * self.size.ho * self.size.wo * self.c_out) as f64;
        2.0 * outputs * ((self.c1 + self.c2) * self.kh * self.kw) as f64
    }

    pub(super) fn plain(&self, gradient: bool) -> Candidate {
        let Size { n, h, w, ho, wo } = self.size;
        let outputs = n * ho * wo * self.c_out;
        let mut launch = self
            .has
            .bind(Launch::new("conv2d/plain.wgsl"), Operand::Input(self.has.weight()))
            .constant("GRADIENT", gradient);
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
        let launch = self.has.words(launch.float(self.scale), 1);
        Candidate::plain(vec![launch.grid(outputs.div_ceil(64), 1, 1).flops(self.flops())])
    }

    pub(super) fn direct(&self) -> Candidate {
        let Size { n, h, w, ho, wo } = self.size;
        // Pixels and channels in registers: fewer where there are fewer.
        let px = [8, 4, 2, 1].into_iter().find(|&p| p <= wo).unwrap_or(1);
        let oc = if self.c_out > 4 { 2 } else { 1 };
        let columns = self.c_out.next_multiple_of(4 * oc);
        let (r1, r2) = (self.c1.next_multiple_of(4), self.c2.next_multiple_of(4));
        let (bytes, pack) = self.pack(columns, 4);
        let blocks = n * ho * wo.div_ceil(px) * (columns / (4 * oc));
        let signed = |v: i32| Const::I32(v);
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
            .constant("C1_EVEN", self.c1.is_multiple_of(4))
            .constant("C2_EVEN", self.c2.is_multiple_of(4))
            .constant("CO", self.c_out)
            .constant("CO_EVEN", self.c_out.is_multiple_of(4))
            .constant("Q0", r1 / 4)
            .constant("Q1", r2 / 4)
            .constant("ROWS_BEFORE0", 0)
            .constant("ROWS_BEFORE1", r1)
            .constant("SOURCES", 1 + usize::from(self.has.second))
            .constant("KH", self.kh)
            .constant("KW", self.kw)
            .constant("STRIDE", self.stride)
            .constant("DILATION", self.dilation)
            .constant("TOP", signed(self.top))
            .constant("LEFT", signed(self.left))
            .word(blocks)
            .float(self.scale);
        let lanes = if self.c_out.is_multiple_of(4) { 4 } else { 1 };
        let launch = self.has.words(launch, lanes).grid(blocks.div_ceil(64), 1, 1).flops(self.flops());
        Candidate {
            class: "direct",
            variant: format!("{px}x{}", 4 * oc),
            arithmetic: Arithmetic::Single,
            prepared: vec![bytes],
            prepare: vec![pack],
            workspaces: Vec::new(),
            launches: vec![launch],
        }
    }

    /// Weights as taps × input channels × `columns`, both channels rounded up, of elements of 4 or 2 bytes: their bytes and the launch.
    pub(super) fn pack(&self, columns: usize, element: u64) -> (u64, Launch) {
        let bytes = element * (self.kh * self.kw * self.packed_rows() * columns) as u64;
        let place = Place { before: 0, line: columns, width: columns };
        (bytes, self.pack_into(Operand::Input(self.has.weight()), Operand::Prepared(0), place, element))
    }

    /// Input channels of packed weights.
    pub(super) fn packed_rows(&self) -> usize {
        self.c1.next_multiple_of(4) + self.c2.next_multiple_of(4)
    }

    /// The launch that packs `weight` into a part of `packed`.
    pub(super) fn pack_into(&self, weight: Operand, packed: Operand, to: Place, element: u64) -> Launch {
        let rows = self.packed_rows();
        let count = self.kh * self.kw * rows * to.width;
        let launch =
            Launch::new("conv2d/pack.wgsl").constant("HALF", element == 2).read(weight).write(packed);
        let c1_rounded = self.c1.next_multiple_of(4);
        let words =
            [count, rows, to.width, to.line, to.before, self.kw, self.c1, c1_rounded, self.c2, self.c_out];
        let launch = words.into_iter().fold(launch, Launch::word);
        self.strides.into_iter().fold(launch, |launch, stride| launch.word(stride as usize)).grid(
            count.div_ceil(64),
            1,
            1,
        )
    }

    /// The ways to compute it without a gradient's gaps, the heuristic's choice first; none of them claims every shape.
    pub(super) fn ways(&self, device: &Capabilities) -> Vec<Candidate> {
        let gemms = Gemm::all(device);
        let better = self.winograd_tile(device);
        let mut fast: Vec<Candidate> = gemms.iter().filter_map(|&g| self.gemm(g)).collect();
        fast.extend(gemms.iter().filter_map(|&g| self.winograd(better, g, device, None)));
        fast.extend(self.winograd(6 - better, gemms[0], device, None));
        let direct = self.direct();
        // A Winograd convolution multiplies least, and no device is known to prefer another by the same products of matrices. Without one,
        // GPUs want the tiles of `implicit`; on a processor that plays a GPU, which has no workgroup memory, `direct` is twice as fast.
        let tiles = Tile::all(self.c_out, device);
        let implicit = tiles.iter().filter_map(|&tile| self.implicit(tile, false)).chain(self.split());
        // With few channels the transforms, and the unused columns of a tile, cost more than they save.
        let few = self.c1 + self.c2 < FEW || self.c_out < FEW;
        match (few, device.kind) {
            (true, _) => {
                fast.insert(0, direct);
                fast.extend(implicit);
            }
            (false, DeviceKind::Software) => {
                fast.push(direct);
                fast.extend(implicit);
            }
            (false, _) => {
                fast.extend(implicit);
                fast.push(direct);
            }
        }
        // Taken by name only. Of operands rounded to f16 the largest error over the largest output is 0.6 unit roundoffs for a direct sum, 1.1
        // for F(2,3) and 4 to 5 for F(4,3), whatever the channels: more than the 4 that are allowed, so F(4,3) is left out.
        for tile in Tile::reduced(device) {
            let gemm = Gemm::Tile(tile);
            let product = self.winograd(2, gemm, device, None).or_else(|| self.gemm(gemm));
            let implicit = self.implicit(tile, false);
            // Cooperative matrices multiply so fast that what Winograd reads and writes more costs more than the products it saves.
            match tile.arithmetic {
                Arithmetic::Cooperative(_) => fast.extend(implicit.into_iter().chain(product)),
                _ => fast.extend(product.into_iter().chain(implicit)),
            }
        }
        fast
    }
}
