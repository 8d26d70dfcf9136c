//! Philox4x32-10 on the CPU (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"), for everything random
//! about data: order, flips, dequantisation. A number depends on what it is for, never on how many came before.

/// What a draw is for; the value keeps these streams apart from those of samplers and losses under the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Purpose {
    /// The order of an epoch.
    Shuffle = 0xda7a_0001,
    /// Whether an image is mirrored.
    Flip = 0xda7a_0002,
    /// The fraction added to a pixel.
    Dequantize = 0xda7a_0003,
    /// Which images stand for the whole set.
    Sample = 0xda7a_0004,
}

/// The block cipher: ten rounds on a counter under a key.
pub(crate) fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mul = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    for _ in 0..10 {
        let (hi0, lo0) = mul(0xd251_1f53, counter[0]);
        let (hi1, lo1) = mul(0xcd9e_8d57, counter[2]);
        counter = [hi1 ^ counter[1] ^ key[0], lo1, hi0 ^ counter[3] ^ key[1], lo0];
        key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
    }
    counter
}

/// Four words for `block` of `image` in `epoch`. Images and epochs count up to 2^32 here; what lies above enters the key.
pub(crate) fn draw(seed: u64, purpose: Purpose, image: u64, epoch: u64, block: u32) -> [u32; 4] {
    let key = [seed as u32 ^ (image >> 32) as u32, (seed >> 32) as u32 ^ (epoch >> 32) as u32];
    philox4x32([block, image as u32, epoch as u32, purpose as u32], key)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // kat_vectors of Random123: zeros, ones, digits of pi.
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = u32::MAX;
        assert_eq!(philox4x32([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let got = philox4x32(counter, [0xa409_3822, 0x299f_31d0]);
        assert_eq!(got, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
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
