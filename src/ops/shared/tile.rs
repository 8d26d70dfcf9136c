//! Tiles of matrix products in workgroup memory: what `shaders/shared/tile.wgsl` is told.

use crate::fields;
use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Arithmetic, Candidate, Class, Launch};

/// Workgroups that keep a GPU at work: fewer are a reason for smaller tiles, or to split sums.
pub(in crate::ops) const BUSY: usize = 64;

/// A tile of a product, and what its operands are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Tile {
    pub rows: usize,
    pub columns: usize,
    pub arithmetic: Arithmetic,
    /// Invocations of the device's largest subgroups, which own cooperative matrices.
    subgroup: usize,
}

impl Tile {
    /// For integrated GPUs, whose cores hold few registers and little workgroup memory.
    pub const SMALL: Self = Self::of(32, 64);
    pub const MEDIUM: Self = Self::of(64, 64);
    /// For discrete GPUs: most products for each number that is read.
    pub const LARGE: Self = Self::of(128, 128);

    const fn of(rows: usize, columns: usize) -> Self {
        Self { rows, columns, arithmetic: Arithmetic::Single, subgroup: 32 }
    }

    /// The same with operands of f16.
    pub fn half(self) -> Self {
        Self { arithmetic: Arithmetic::Half, ..self }
    }

    /// The same by cooperative matrices: the device's, or where it has none those of Vulkan, so that what is lacking can be said.
    pub fn cooperative(self, device: &Capabilities) -> Self {
        let arithmetic = Arithmetic::Cooperative(device.cooperative.unwrap_or(16));
        let subgroup = device.subgroups.map_or(32, |(_, largest)| largest as usize);
        Self { arithmetic, subgroup, ..self }
    }

    /// The tiles for a result of `rows` × `columns`, in the written order. Discrete GPUs live on the large one, which reads least; where it
    /// would cover more columns than there are, and on integrated GPUs, smaller ones leave fewer invocations idle and keep more groups at
    /// once. All of them add in one order, so the number of rows, and with it the batch, may decide: no tile leaves most of a GPU idle.
    pub fn all(rows: usize, columns: usize, device: &Capabilities) -> [Self; 3] {
        match device.kind {
            DeviceKind::Discrete | DeviceKind::Virtual
                if columns > 64 && Self::LARGE.fills(1, rows, columns) =>
            {
                [Self::LARGE, Self::MEDIUM, Self::SMALL]
            }
            DeviceKind::Discrete | DeviceKind::Virtual if Self::MEDIUM.fills(1, rows, columns) => {
                [Self::MEDIUM, Self::SMALL, Self::LARGE]
            }
            _ => [Self::SMALL, Self::MEDIUM, Self::LARGE],
        }
    }

    /// The tiles for `batch` products of stored matrices with results of `rows` × `columns`, in the written order.
    pub fn of_products(batch: usize, rows: usize, columns: usize) -> impl Iterator<Item = Self> {
        let first = match Self::MEDIUM.fills(batch, rows, columns) {
            true => [Self::MEDIUM, Self::LARGE, Self::SMALL],
            false => [Self::SMALL, Self::MEDIUM, Self::LARGE],
        };
        first.into_iter()
    }

    /// Whether results of this size have enough tiles to keep a GPU at work.
    fn fills(self, batch: usize, rows: usize, columns: usize) -> bool {
        batch * rows.div_ceil(self.rows) * columns.div_ceil(self.columns) >= BUSY
    }

    /// Those that round to f16. A large tile of cooperative matrices takes more workgroup memory than every device has; a software
    /// device, where they are there to be tested, is spared the large tile of f16.
    pub fn reduced(device: &Capabilities) -> Vec<Self> {
        let mut all = vec![Self::MEDIUM.half()];
        if device.kind != DeviceKind::Software {
            all.push(Self::LARGE.half());
        }
        all.push(Self::MEDIUM.cooperative(device));
        if device.workgroup_memory >= 32 << 10 {
            all.push(Self::LARGE.cooperative(device));
        }
        all
    }

    pub fn name(self) -> String {
        match self {
            Self { rows, columns, .. } if rows == columns => format!("tile{rows}"),
            Self { rows, columns, .. } => format!("tile{rows}x{columns}"),
        }
    }

    /// A candidate of the class `own`, unless these tiles round: class, variant, order of summation and arithmetic. An invocation adds the
    /// terms of a sum one after the other whatever the tile; in what order a cooperative matrix adds is the device's affair.
    pub fn named(self, own: Class, launches: Vec<Launch>) -> Candidate {
        let candidate = match self.arithmetic {
            Arithmetic::Single => {
                Candidate::of_class(own, launches).variant(self.name()).in_order(own.name())
            }
            Arithmetic::Half => Candidate::of_class(Class::Half, launches)
                .variant(format!("{own} {}", self.name()))
                .in_order(format!("half {own}")),
            Arithmetic::Cooperative(_) => {
                Candidate::of_class(Class::Cooperative, launches).variant(format!("{own} {}", self.name()))
            }
        };
        Candidate { arithmetic: self.arithmetic, ..candidate }
    }

    /// Bytes of a stored operand's element.
    pub fn element(self) -> u64 {
        if self.arithmetic.is_reduced() { 2 } else { 4 }
    }

    /// Quads of columns of an invocation: 8×8 sums where tiles are large, 8×4 where more invocations are needed to load them.
    fn quads(self) -> usize {
        if self.columns > 64 { 2 } else { 1 }
    }

    fn threads(self) -> usize {
        self.rows / 8 * self.columns / (4 * self.quads())
    }

    /// Channels of a step. Cooperative matrices are through with 16 too soon to be worth two barriers.
    pub fn channels(self) -> usize {
        if matches!(self.arithmetic, Arithmetic::Cooperative(_)) { 32 } else { 16 }
    }

    /// Quads of a step's channels that an invocation loads.
    pub fn loads(self) -> usize {
        self.rows * self.channels() / 4 / self.threads()
    }

    pub fn constants(self, launch: Launch) -> Launch {
        let threads = self.threads();
        let launch = launch.constants(fields! {
            BM: self.rows,
            BN: self.columns,
            BK: self.channels(),
            QN: self.quads(),
            THREADS: threads,
            HALF: self.arithmetic.is_reduced(),
        });
        let Arithmetic::Cooperative(edge) = self.arithmetic else { return launch.constant("COOP", 0_usize) };
        // Subgroups stand in two rows, and each has as many matrices as the next.
        let subgroups = (threads / self.subgroup).clamp(1, threads / 32);
        let down = subgroups.min(2);
        let across = subgroups / down;
        launch.constants(fields! {
            COOP: edge,
            SUBGROUPS: subgroups,
            SUBGROUPS_ACROSS: across,
            ACC_M: self.rows / down / edge as usize,
            ACC_N: self.columns / across / edge as usize,
        })
    }
}
