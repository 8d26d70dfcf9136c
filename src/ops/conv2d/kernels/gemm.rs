//! Matrix products behind 1×1 convolutions, dense layers and Winograd convolutions.

use crate::fields;
use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Arithmetic, Candidate, Class, Launch, Operand};
use crate::ops::shared::tile::Tile;

use super::super::problem::{Conv, OptionalOperands, Size, Sum};
use super::{bind, grad_weight, pack};

/// How matrices are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Gemm {
    /// By subgroups of 8, without workgroup memory: for software devices.
    Lanes,
    /// By tiles in workgroup memory: for GPUs.
    Tile(Tile),
}

/// A batch of products `y = cat(a, second)·b`, with row-major operands.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Product {
    pub(in super::super) batch: usize,
    pub(in super::super) m: usize,
    /// Columns of a and of the second input.
    pub(in super::super) k: [usize; 2],
    pub(in super::super) n: usize,
    /// Rows of an image.
    pub(in super::super) image: usize,
    pub(in super::super) scale: f32,
    /// Whether a is stored as b is: in f16 where products are of f16. Activations never are.
    pub(in super::super) a_as_b: bool,
}

/// A batch of products `aᵀ·b` over chunks of rows.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Transposed {
    pub(in super::super) batch: usize,
    pub(in super::super) k: usize,
    pub(in super::super) m: usize,
    pub(in super::super) n: usize,
    /// Rows of a chunk; even.
    pub(in super::super) chunk: usize,
    /// Adds to what is there.
    pub(in super::super) add: bool,
}

/// Subgroups in a workgroup of the `Lanes` kernels.
const SUBGROUPS: usize = 4;

impl Gemm {
    /// The kernels of a device for `batch` products of `m` rows and `n` columns, in the written order. Tiles run everywhere; on a software
    /// device they are there to be tested.
    pub(in super::super) fn all(device: &Capabilities, [batch, m, n]: [usize; 3]) -> Vec<Self> {
        let lanes = Self::all_transposed(device).into_iter().filter(|gemm| *gemm == Self::Lanes);
        lanes.chain(Tile::of_products(batch, m, n).map(Self::Tile)).collect()
    }

    /// The kernels of a device for transposed products.
    pub(in super::super) fn all_transposed(device: &Capabilities) -> Vec<Self> {
        let lanes = device.kind == DeviceKind::Software && device.subgroups == Some((8, 8));
        let tiles = [Self::Tile(Tile::MEDIUM), Self::Tile(Tile::LARGE)];
        lanes.then_some(Self::Lanes).into_iter().chain(tiles).collect()
    }

    /// `candidate` of the class `own` by these products: its class, variant, order of summation and arithmetic. All products of f32 add
    /// one term after the other.
    pub(in super::super) fn named(self, own: Class, launches: Vec<Launch>) -> Candidate {
        match self {
            Self::Lanes => Candidate::of_class(own, launches).variant("lanes").in_order(own.name()),
            Self::Tile(tile) => tile.named(own, launches),
        }
    }

    /// What is multiplied.
    pub(in super::super) fn arithmetic(self) -> Arithmetic {
        match self {
            Self::Lanes => Arithmetic::Single,
            Self::Tile(tile) => tile.arithmetic,
        }
    }

    /// Bytes of an element of b.
    pub(in super::super) fn element(self) -> u64 {
        match self {
            Self::Lanes => 4,
            Self::Tile(tile) => tile.element(),
        }
    }

    /// The launch of `product`, of operands that `bind` binds; `optional` says what follows the sum.
    pub(in super::super) fn product(
        self,
        optional: OptionalOperands,
        product: Product,
        bind: impl Fn(Launch) -> Launch,
    ) -> Launch {
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
        let (tiles_m, tiles_n) = (m.div_ceil(rows), n.div_ceil(columns));
        let tiles = batch * tiles_m * tiles_n;
        bind(launch)
            .constant("MORE", optional.more_outputs)
            .params(
                fields! { tiles, tiles_m, tiles_n, m, k0: k[0] / 4, k1: k[1] / 4, n: n / 4, image, scale },
            )
            .params(bind::embedding(optional, 4))
            .grid(self.groups(tiles), 1, 1)
            .flops(2.0 * (batch * m * n) as f64 * (k[0] + k[1]) as f64)
    }

    /// The launch of `product` from operands `a`, `b` to `part`, all of f32.
    pub(in super::super) fn transposed(self, product: Transposed, [a, b, part]: [Operand; 3]) -> Launch {
        let Transposed { batch, k, m, n, chunk, add } = product;
        let (launch, size) = match self {
            Self::Lanes => (Launch::new("conv2d/gemm_lanes_t.wgsl"), 32),
            Self::Tile(Tile { rows, .. }) => {
                let launch = Launch::new("conv2d/gemm_tile_t.wgsl");
                (launch.constants(fields! { BM: rows, BN: rows }), rows)
            }
        };
        let (tiles_m, tiles_n) = (m.div_ceil(size), n.div_ceil(size));
        let tiles = k.div_ceil(chunk) * batch * tiles_m * tiles_n;
        launch
            .constant("ADD", add)
            .read(a)
            .read(b)
            .write(part)
            .params(fields! { tiles, tiles_m, tiles_n, batch, k, chunk, m: m / 4, n: n / 4 })
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

/// A 1×1 kernel over all pixels: one product of matrices.
pub(in super::super) fn candidate(sum: &Sum, gemm: Gemm) -> Option<Candidate> {
    let Size { h, w, .. } = sum.size;
    if !sum.is_product() || !sum.in_fours() {
        return None;
    }
    let product = Product {
        batch: 1,
        m: sum.pixels(),
        k: [sum.c1, sum.c2],
        n: sum.c_out,
        image: h * w,
        scale: sum.scale,
        a_as_b: false,
    };
    let (bytes, packing) = pack::whole(sum, sum.c_out, gemm.element());
    let launch = gemm.product(sum.optional, product, |l| bind::all(l, sum.optional, Operand::Prepared(0)));
    Some(gemm.named(Class::Gemm, vec![launch]).preparing(bytes, packing))
}

/// The gradient by a 1×1 weight over all pixels: one product of matrices over the pixels, in chunks, and the sum of the chunks.
pub(in super::super) fn grad_weight(conv: &Conv, gemm: Gemm, device: &Capabilities) -> Option<Candidate> {
    if !conv.sum().is_product() || !conv.in_fours() {
        return None;
    }
    let pixels = conv.size.n * conv.size.h * conv.size.w;
    let mut workspace = 0;
    let mut launches = Vec::new();
    for (input, first, c_in) in conv.sources() {
        let one = c_in * conv.c_out;
        let (chunks, chunk) = grad_weight::chunks(one, pixels, device);
        workspace = workspace.max(4 * (one * chunks) as u64);
        let product = Transposed { batch: 1, k: pixels, m: c_in, n: conv.c_out, chunk, add: false };
        let operands = [Operand::Input(input), Operand::Input(0), Operand::Workspace(0)];
        launches.push(gemm.transposed(product, operands));
        launches.push(grad_weight::sum_of_chunks(conv, chunks, [c_in, conv.c_out], first, c_in));
    }
    Some(gemm.named(Class::Gemm, launches).with_workspaces(vec![workspace]))
}
