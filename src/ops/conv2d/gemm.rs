//! Matrix products behind 1×1 convolutions, dense layers and Winograd convolutions.

use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Arithmetic, Candidate, Launch, Operand};
use crate::ops::shared::tile::Tile;

use super::sum::{Has, Size, Sum};

/// How matrices are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gemm {
    /// By subgroups of 8, without workgroup memory: for software devices.
    Lanes,
    /// By tiles in workgroup memory: for GPUs.
    Tile(Tile),
}

/// A batch of products `y = cat(a, second)·b`, with row-major operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) batch: usize,
    pub(super) m: usize,
    /// Columns of a and of the second input.
    pub(super) k: [usize; 2],
    pub(super) n: usize,
    /// Rows of an image.
    pub(super) image: usize,
    pub(super) scale: f32,
    /// Whether a is stored as b is: in f16 where products are of f16. Activations never are.
    pub(super) a_as_b: bool,
}

/// A batch of products `aᵀ·b` over chunks of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transposed {
    pub(super) batch: usize,
    pub(super) k: usize,
    pub(super) m: usize,
    pub(super) n: usize,
    /// Rows of a chunk; even.
    pub(super) chunk: usize,
    /// Adds to what is there.
    pub(super) add: bool,
}

/// Invocations of a workgroup of the `Lanes` kernels are 4 subgroups.
const SUBGROUPS: usize = 4;

impl Gemm {
    /// The ways that a device has, the heuristic's choice first. Tiles run everywhere; on a software device they are there to be tested.
    pub(super) fn all(device: &Capabilities) -> Vec<Self> {
        let mut all = Vec::new();
        if device.kind == DeviceKind::Software && device.subgroups == Some((8, 8)) {
            all.push(Self::Lanes);
        }
        all.push(Self::Tile(Tile::MEDIUM));
        all.push(Self::Tile(Tile::LARGE));
        all
    }

    /// Class and variant, for the tuner's record, of a candidate of the class `own` unless its products round to f16.
    pub(super) fn name(self, own: &'static str) -> (&'static str, String) {
        match self {
            Self::Lanes => (own, "lanes".into()),
            Self::Tile(tile) => (tile.class(own), tile.variant(own)),
        }
    }

    /// What is multiplied.
    pub(super) fn arithmetic(self) -> Arithmetic {
        match self {
            Self::Lanes => Arithmetic::Single,
            Self::Tile(tile) => tile.arithmetic,
        }
    }

    /// Bytes of an element of b.
    pub(super) fn element(self) -> u64 {
        match self {
            Self::Lanes => 4,
            Self::Tile(tile) => tile.element(),
        }
    }

    /// The launch of `product`: `has` says what follows the sum.
    pub(super) fn product(self, has: Has, product: Product, bind: impl Fn(Launch) -> Launch) -> Launch {
        let Product { batch, m, k, n, image, scale, a_as_b } = product;
        let (launch, rows, columns) = match self {
            Self::Lanes => {
                // Fewer rows where there are fewer; the order of a sum is the same for all, so n may decide.
                let groups = if m > 24 { 4 } else { m.div_ceil(8).next_power_of_two().min(4) };
                (Launch::new("conv2d/gemm_lanes.wgsl").constant("GROUPS", groups), 8 * groups, 32)
            }
            Self::Tile(tile) => {
                let half = a_as_b && tile.arithmetic.is_reduced();
                let launch = Launch::new("conv2d/gemm_tile.wgsl").constant("A_HALF", half);
                (tile.constants(launch), tile.rows, tile.columns)
            }
        };
        let launch = bind(has.constants(launch).constant("MORE", has.more));
        let (tiles_m, tiles_n) = (m.div_ceil(rows), n.div_ceil(columns));
        let tiles = batch * tiles_m * tiles_n;
        let launch = [tiles, tiles_m, tiles_n, m, k[0] / 4, k[1] / 4, n / 4, image]
            .into_iter()
            .fold(launch, Launch::word)
            .float(scale);
        has.words(launch, 4)
            .grid(self.groups(tiles), 1, 1)
            .flops(2.0 * (batch * m * n) as f64 * (k[0] + k[1]) as f64)
    }

    /// The launch of `product` from operands `a`, `b` to `part`, all of f32.
    pub(super) fn transposed(self, product: Transposed, [a, b, part]: [Operand; 3]) -> Launch {
        let Transposed { batch, k, m, n, chunk, add } = product;
        let (launch, size) = match self {
            Self::Lanes => (Launch::new("conv2d/gemm_lanes_t.wgsl"), 32),
            Self::Tile(Tile { rows, .. }) => {
                let launch = Launch::new("conv2d/gemm_tile_t.wgsl").constant("BM", rows).constant("BN", rows);
                (launch, rows)
            }
        };
        let (tiles_m, tiles_n) = (m.div_ceil(size), n.div_ceil(size));
        let tiles = k.div_ceil(chunk) * batch * tiles_m * tiles_n;
        [tiles, tiles_m, tiles_n, batch, k, chunk, m / 4, n / 4]
            .into_iter()
            .fold(launch.constant("ADD", add).read(a).read(b).write(part), Launch::word)
            .grid(self.groups(tiles), 1, 1)
            .flops(2.0 * (batch * m * n) as f64 * k as f64)
    }

    fn groups(self, tiles: usize) -> usize {
        match self {
            Self::Lanes => tiles.div_ceil(SUBGROUPS),
            Self::Tile(_) => tiles,
        }
    }
}

impl Sum {
    /// True where channels come in fours, as these kernels load them.
    pub(super) fn in_fours(&self) -> bool {
        [self.c1, self.c2, self.c_out].iter().all(|c| c.is_multiple_of(4))
    }

    /// A 1×1 kernel that neither skips nor pads is one product of matrices.
    pub(super) fn gemm(&self, gemm: Gemm) -> Option<Candidate> {
        let Size { n, h, w, ho, wo } = self.size;
        let one = self.kh * self.kw == 1 && self.stride == 1 && (self.top, self.left) == (0, 0);
        if !one || (h, w) != (ho, wo) || !self.in_fours() {
            return None;
        }
        let product = Product {
            batch: 1,
            m: n * h * w,
            k: [self.c1, self.c2],
            n: self.c_out,
            image: h * w,
            scale: self.scale,
            a_as_b: false,
        };
        let (bytes, pack) = self.pack(self.c_out, gemm.element());
        let (class, variant) = gemm.name("gemm");
        Some(Candidate {
            class,
            variant,
            arithmetic: gemm.arithmetic(),
            prepared: vec![bytes],
            prepare: vec![pack],
            workspaces: Vec::new(),
            launches: vec![gemm.product(self.has, product, |l| self.has.operands(l, Operand::Prepared(0)))],
        })
    }
}
