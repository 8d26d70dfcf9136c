//! The written order: which kernels a device has for a problem, the likely fastest first.
//!
//! Whoever measures a GPU and finds another order changes it here.

use crate::gpu::{Capabilities, DeviceKind};
use crate::graph::{Arithmetic, Candidate};
use crate::ops::shared::tile::Tile;

use super::kernels::gemm::{self, Gemm};
use super::kernels::winograd::{self, Normalisation};
use super::kernels::{direct, grad_weight, implicit};
use super::problem::{Conv, Size, Sum};

/// Fewer channels than this go to the direct kernel unless a measurement says otherwise.
pub(super) const FEW: usize = 16;
/// Weights at the points of F(4,3) above this many bytes do not stay in a processor's cache.
const CACHED: usize = 16 << 20;

/// The candidates of a sum without a gradient's gaps; none of them claims every shape.
pub(super) fn of_sum(sum: &Sum, device: &Capabilities) -> Vec<Candidate> {
    let product = [1, sum.pixels(), sum.c_out];
    let better = winograd_tile(sum, device);
    let mut all: Vec<Candidate> =
        Gemm::all(device, product).into_iter().filter_map(|gemm| gemm::candidate(sum, gemm)).collect();
    all.extend(winograd::candidates(sum, better, device, None));
    all.extend(winograd::candidates(sum, 6 - better, device, None).into_iter().take(1));
    let direct = direct::candidate(sum);
    // A Winograd convolution multiplies least, and no device is known to prefer another by the same products of matrices. Without one,
    // GPUs want the tiles of `implicit`; on a processor that plays a GPU, which has no workgroup memory, `direct` is twice as fast.
    let tiles = Tile::all(sum.pixels(), sum.c_out, device);
    let implicit =
        tiles.iter().filter_map(|&tile| implicit::candidate(sum, tile, false)).chain(implicit::split(sum));
    // With few channels the transforms, and the unused columns of a tile, cost more than they save.
    let few = sum.c1 + sum.c2 < FEW || sum.c_out < FEW;
    match (few, device.kind) {
        (true, _) => {
            all.insert(0, direct);
            all.extend(implicit);
        }
        (false, DeviceKind::Software) => {
            all.push(direct);
            all.extend(implicit);
        }
        (false, _) => {
            all.extend(implicit);
            all.push(direct);
        }
    }
    // Taken by name only. Of operands rounded to f16 the largest error over the largest output is 0.6 unit roundoffs for a direct sum, 1.1
    // for F(2,3) and 4 to 5 for F(4,3), whatever the channels: more than the 4 that are allowed, so F(4,3) is left out.
    for tile in Tile::reduced(device) {
        let by = Gemm::Tile(tile);
        let product = winograd::candidate(sum, 2, by, device, None).or_else(|| gemm::candidate(sum, by));
        let implicit = implicit::candidate(sum, tile, false);
        // Cooperative matrices multiply so fast that what Winograd reads and writes more costs more than the products it saves.
        match tile.arithmetic {
            Arithmetic::Cooperative(_) => all.extend(implicit.into_iter().chain(product)),
            _ => all.extend(product.into_iter().chain(implicit)),
        }
    }
    all
}

/// The candidates of the gradient by the weight; the last of them takes every shape, unless tiles come behind it.
pub(super) fn of_grad_weight(conv: &Conv, device: &Capabilities) -> Vec<Candidate> {
    let gemms = Gemm::all_transposed(device);
    let mut all: Vec<Candidate> =
        gemms.iter().filter_map(|&by| gemm::grad_weight(conv, by, device)).collect();
    let better = better_tile(conv.size);
    all.extend(gemms.iter().filter_map(|&by| winograd::grad_weight(conv, better, by, device, None)));
    all.extend(winograd::grad_weight(conv, 6 - better, gemms[0], device, None));
    let direct = grad_weight::direct(conv, device);
    // Tiles for what has none by now; before the direct kernel where workgroup memory is what it says.
    let implicit = match all.is_empty() {
        true => vec![Tile::MEDIUM, Tile::LARGE],
        false => Vec::new(),
    };
    let implicit = implicit.into_iter().filter_map(|tile| implicit::grad_weight(conv, tile, device));
    let few = conv.c1 + conv.c2 < FEW || conv.c_out < FEW;
    match few || device.kind == DeviceKind::Software {
        true => {
            all.insert(if few { 0 } else { all.len() }, direct);
            all.extend(implicit);
        }
        false => {
            all.extend(implicit);
            all.push(direct);
        }
    }
    all
}

/// The candidates of a sum whose first stage normalises what it loads.
pub(super) fn of_normalised(sum: &Sum, device: &Capabilities, norm: Normalisation) -> Vec<Candidate> {
    winograd::candidates(sum, winograd_tile(sum, device), device, Some(norm))
}

/// The same of a gradient by the weight.
pub(super) fn of_normalised_grad_weight(
    conv: &Conv,
    device: &Capabilities,
    norm: Normalisation,
) -> Vec<Candidate> {
    let tile = better_tile(conv.size);
    let by = |gemm| winograd::grad_weight(conv, tile, gemm, device, Some(norm));
    Gemm::all_transposed(device).into_iter().filter_map(by).collect()
}

/// The Winograd tile that comes first. On a processor, images of a few tiles read weights rather than multiply by them: for one tile,
/// and for up to four where the weights do not stay in its cache, F(2,3) is faster, which has 16 numbers for 9 in place of 36.
fn winograd_tile(sum: &Sum, device: &Capabilities) -> usize {
    let tiles = sum.size.ho.div_ceil(4) * sum.size.wo.div_ceil(4);
    let weights = 4 * 36 * (sum.c1 + sum.c2) * sum.c_out;
    let reads = tiles == 1 || (tiles <= 4 && weights > CACHED);
    if device.kind == DeviceKind::Software && reads { 2 } else { better_tile(sum.size) }
}

/// The tile that needs fewer multiplications; the larger where both need the same.
fn better_tile(size: Size) -> usize {
    let products = |tile: usize| size.ho.div_ceil(tile) * size.wo.div_ceil(tile) * (tile + 2) * (tile + 2);
    if products(4) <= products(2) { 4 } else { 2 }
}
