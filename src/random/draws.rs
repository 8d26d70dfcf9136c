//! What is random about data: order, flips, dequantisation. A number depends on what it is for, never on how many were
//! drawn before it.

use crate::random::philox4x32;

/// What a draw is for; the value keeps these streams apart from those of samplers and losses under the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Purpose {
    #[cfg(feature = "files")]
    /// The order of an epoch.
    Shuffle = 0xda7a_0001,
    #[cfg(feature = "files")]
    /// Whether an image is mirrored.
    Flip = 0xda7a_0002,
    /// The fraction added to a pixel.
    Dequantize = 0xda7a_0003,
    #[cfg(feature = "files")]
    /// Which images stand for the whole set.
    Sample = 0xda7a_0004,
}

/// Four words for `block` of `image` in `epoch`. Images and epochs count up to 2^32 here; what lies above enters the key.
pub(crate) fn draw(seed: u64, purpose: Purpose, image: u64, epoch: u64, block: u32) -> [u32; 4] {
    let key = [seed as u32 ^ (image >> 32) as u32, (seed >> 32) as u32 ^ (epoch >> 32) as u32];
    philox4x32([block, image as u32, epoch as u32, purpose as u32], key)
}

#[cfg(feature = "files")]
/// The order of `epoch`: a permutation of `0..n` (Fisher and Yates).
pub(crate) fn permutation(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        let [a, b, ..] = draw(seed, Purpose::Shuffle, i as u64, epoch, 0);
        let word = u64::from(a) << 32 | u64::from(b);
        // Multiply and shift: the bias is i / 2^64.
        let j = ((u128::from(word) * (i as u128 + 1)) >> 64) as usize;
        order.swap(i, j);
    }
    order
}

/// Uniform dequantisation of one image to [0, 1): (x + u) / 256 with u uniform in [0, 1), as the authors do it.
///
/// `image` is the image's number in its data set, `draw` the epoch or the repeat; the same three numbers give the
/// same u whatever the batch.
pub fn dequantize(pixels: &[u8], seed: u64, image: u64, draw: u64) -> Vec<f32> {
    let mut out = Vec::with_capacity(pixels.len());
    for (block, chunk) in pixels.chunks(4).enumerate() {
        let u = self::draw(seed, Purpose::Dequantize, image, draw, block as u32);
        // 24 bits: every value and its sum with 255 is exact in f32 up to the last rounding; the result stays below 1.
        out.extend(chunk.iter().zip(u).map(|(&v, u)| {
            let fraction = (u >> 8) as f32 / (1u32 << 24) as f32;
            ((f32::from(v) + fraction) / 256.0).min(1.0 - f32::EPSILON / 2.0)
        }));
    }
    out
}

#[cfg(all(test, feature = "files"))]
mod tests {
    use super::*;

    #[test]
    fn dequantised_values_stay_in_their_bin_and_are_uniform() {
        let pixels: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        let x = dequantize(&pixels, 1, 2, 3);
        let mut mean = 0.0;
        for (&p, &x) in pixels.iter().zip(&x) {
            let u = f64::from(x) * 256.0 - f64::from(p);
            assert!((-1e-5..=1.0 + 1e-5).contains(&u) && x < 1.0);
            mean += u / pixels.len() as f64;
        }
        // Four standard errors of the mean of a uniform variable.
        assert!((mean - 0.5).abs() < 4.0 * (1.0f64 / 12.0 / pixels.len() as f64).sqrt());
        assert_eq!(dequantize(&pixels[..6], 1, 2, 3), x[..6]);
        assert_ne!(dequantize(&pixels[..6], 1, 2, 4), x[..6]);
        assert_ne!(dequantize(&pixels[..6], 1, 3, 3), x[..6]);
    }

    #[test]
    fn permutations_are_complete_and_differ() {
        for n in [0, 1, 2, 7, 1000] {
            let mut p = permutation(n, 5, 0);
            p.sort_unstable();
            assert_eq!(p, (0..n as u32).collect::<Vec<_>>());
        }
        assert_ne!(permutation(50, 5, 0), permutation(50, 5, 1));
        assert_ne!(permutation(50, 5, 0), permutation(50, 6, 0));
        assert_eq!(permutation(50, 5, 1), permutation(50, 5, 1));
    }

    #[test]
    fn every_place_is_as_likely() {
        // 3! orders over 6,000 seeds: 1,000 each, standard deviation 29.
        let mut counts = std::collections::BTreeMap::new();
        for seed in 0..6000 {
            *counts.entry(permutation(3, seed, 0)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|&c| (c - 1000i32).abs() < 150), "{counts:?}");
    }
}
