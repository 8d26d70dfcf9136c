//! The products of matrices in attention and in its gradient, one for each image.

use crate::fields;
use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Arithmetic, Candidate, Class, Launch, Operand};
use crate::ops::lanes;
use crate::ops::shared::tile::Tile;

/// A matrix of each image inside a tensor, in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    pub(super) operand: Operand,
    /// Where the first image's begins.
    pub(super) first: usize,
    /// From row to row.
    pub(super) line: usize,
    /// From image to image.
    pub(super) image: usize,
    /// Whether it is stored in f16.
    pub(super) half: bool,
}

impl Matrix {
    /// The same, beginning with another image.
    pub(super) fn from(self, image: usize) -> Self {
        Self { first: self.first + image * self.image, ..self }
    }
}

/// Which operand of a product stands transposed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// A·Bᵀ.
    Nt,
    /// A·B.
    Nn,
    /// Aᵀ·B.
    Tn,
}

/// What follows a sum. `rows` is a number for each row of C; where those of the first image begin stands beside it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Epilogue {
    /// Times a number.
    Scale(f32),
    /// exp(scale·sum − rows).
    Probabilities { scale: f32, rows: (Operand, usize) },
    /// scale·weights·(sum − rows); `weights` lies like C.
    GradLogits { scale: f32, rows: (Operand, usize), weights: Operand },
    /// Times a number of the row's.
    Rows { rows: (Operand, usize) },
}

/// `C = epilogue(A·B)` for `images` images; C is `m n`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub(super) mode: Mode,
    pub(super) epilogue: Epilogue,
    pub(super) images: usize,
    pub(super) sizes: [usize; 3],
    pub(super) a: Matrix,
    pub(super) b: Matrix,
    pub(super) c: Matrix,
}

/// How matrices are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gemm {
    /// By subgroups of 8, without workgroup memory: for software devices.
    Lanes,
    /// By square tiles of this size in workgroup memory: for GPUs.
    Tile(usize),
    /// By tiles in workgroup memory of operands rounded to f16, not for `Tn`.
    Reduced(Tile),
    /// Without workgroup memory, for every shape.
    Plain,
}

impl Gemm {
    /// The ways for products among sizes `positions` and `c`, in the written order.
    pub(super) fn all(positions: usize, c: usize, device: &Capabilities) -> Vec<Self> {
        if !positions.is_multiple_of(4) || !c.is_multiple_of(4) {
            return vec![Self::Plain];
        }
        let tiles = [Self::Tile(64), Self::Tile(128)];
        match device.kind == DeviceKind::Software {
            true if device.subgroups == Some((8, 8)) => [&[Self::Lanes], &tiles[..], &[Self::Plain]].concat(),
            true => [&[Self::Plain], &tiles[..]].concat(),
            false => [&tiles[..], &[Self::Plain]].concat(),
        }
    }

    /// Those that round to f16, for the same products.
    pub(super) fn reduced(positions: usize, c: usize, device: &Capabilities) -> Vec<Self> {
        match positions.is_multiple_of(4) && c.is_multiple_of(4) {
            true => Tile::reduced(device).into_iter().map(Self::Reduced).collect(),
            false => Vec::new(),
        }
    }

    /// A candidate of the class `own`, unless its products round to f16.
    pub(super) fn named(self, own: Class, launches: Vec<Launch>) -> Candidate {
        match self {
            Self::Lanes => Candidate::of_class(own, launches).variant("lanes"),
            Self::Tile(size) => {
                Candidate::of_class(own, launches).variant(format!("tile{size}")).in_order("tiles")
            }
            Self::Reduced(tile) => tile.named(own, launches),
            Self::Plain => Candidate::of_class(own, launches),
        }
    }

    /// What is multiplied.
    pub(super) fn arithmetic(self) -> Arithmetic {
        match self {
            Self::Reduced(tile) => tile.arithmetic,
            Self::Lanes | Self::Tile(_) | Self::Plain => Arithmetic::Single,
        }
    }

    pub(super) fn launch(self, product: Product) -> Launch {
        let Product { mode, epilogue, images, sizes: [m, n, k], a, b, c } = product;
        let (launch, [rows_of_tile, columns_of_tile], tiles_of_group) = match self {
            Self::Lanes => (Launch::new("attention/gemm_lanes.wgsl"), [32; 2], 4),
            Self::Tile(size) => {
                let launch =
                    Launch::new("attention/gemm_tile.wgsl").constant("BM", size).constant("BN", size);
                (launch, [size; 2], 1)
            }
            Self::Reduced(tile) => {
                let launch = tile.constants(Launch::new("attention/gemm_half.wgsl"));
                (launch, [tile.rows, tile.columns], 1)
            }
            Self::Plain => (Launch::new("attention/gemm.wgsl"), [64; 2], 1),
        };
        let (kind, scale, rows, weights) = match epilogue {
            Epilogue::Scale(scale) => (0_u32, scale, None, None),
            Epilogue::Probabilities { scale, rows } => (1, scale, Some(rows), None),
            Epilogue::GradLogits { scale, rows, weights } => (2, scale, Some(rows), Some(weights)),
            Epilogue::Rows { rows } => (3, 1.0, Some(rows), None),
        };
        let v = [m, n, k].into_iter().map(lanes).min().unwrap_or(1);
        let mut launch = launch
            .constant("V", v)
            .constant("MODE", mode as usize)
            .constant("EPILOGUE", kind)
            .constant("A_HALF", a.half);
        for operand in [Some(a.operand), Some(b.operand), rows.map(|r| r.0), weights].into_iter().flatten() {
            launch = launch.read(operand);
        }
        let (tiles_m, tiles_n) = (m.div_ceil(rows_of_tile), n.div_ceil(columns_of_tile));
        let tiles = images * tiles_m * tiles_n;
        launch
            .write(c.operand)
            .params(fields! { tiles, tiles_m, tiles_n, m, n, k })
            .params(fields! { a_first: a.first / v, a_line: a.line / v, a_image: a.image / v })
            .params(fields! { b_first: b.first / v, b_line: b.line / v, b_image: b.image / v })
            .params(fields! { c_first: c.first / v, c_line: c.line / v, c_image: c.image / v })
            .params(fields! { rows_first: rows.map_or(0, |r| r.1), scale })
            .grid(tiles.div_ceil(tiles_of_group), 1, 1)
            .flops(2.0 * (images * m * n) as f64 * k as f64)
    }
}
