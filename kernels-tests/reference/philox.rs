//! Philox4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3") and what is made of its words.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Four random words of a counter and a key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let product = |i: usize, by: u32| {
            let wide = u64::from(MULTIPLIERS[i]) * u64::from(by);
            ((wide >> 32) as u32, wide as u32)
        };
        let (high0, low0) = product(0, counter[0]);
        let (high1, low1) = product(1, counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
    }
    counter
}

/// A number in (0, 1) from the upper 23 bits of a word: every value is exact in f32, and neither 0 nor 1 occurs.
pub fn uniform(word: u32) -> f64 {
    (f64::from(word >> 9) + 0.5) / f64::from(1_u32 << 23)
}

/// Two independent standard normals of two words (Box and Muller 1958).
pub fn box_muller(first: u32, second: u32) -> [f64; 2] {
    let radius = (-2.0 * uniform(first).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * uniform(second)).sin_cos();
    [radius * cos, radius * sin]
}

/// `count` uniform numbers of a seed, for test data.
pub fn uniforms(seed: u64, count: usize) -> Vec<f64> {
    words(seed, count).into_iter().map(uniform).collect()
}

/// `count` standard normals of a seed, for test data.
pub fn normals(seed: u64, count: usize) -> Vec<f64> {
    let words = words(seed, count.next_multiple_of(2));
    let mut normals: Vec<f64> = words.chunks(2).flat_map(|pair| box_muller(pair[0], pair[1])).collect();
    normals.truncate(count);
    normals
}

fn words(seed: u64, count: usize) -> Vec<u32> {
    let key = [seed as u32, (seed >> 32) as u32];
    let mut words: Vec<u32> =
        (0..count.div_ceil(4)).flat_map(|i| philox4x32([i as u32, 0, 0, 0], key)).collect();
    words.truncate(count);
    words
}

/// The known answers of Random123 1.14 (`tests/kat_vectors`, lines `philox4x32 10`).
#[test]
fn known_answers() {
    assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    let ones = u32::MAX;
    assert_eq!(philox4x32([ones; 4], [ones; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    let pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
    assert_eq!(philox4x32(pi, [0xa4093822, 0x299f31d0]), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
}

#[test]
fn uniform_stays_inside() {
    assert!(uniform(0) > 0.0 && uniform(u32::MAX) < 1.0);
    assert_eq!(f64::from(uniform(u32::MAX) as f32), uniform(u32::MAX));
}

/// Mean, variance and fourth moment of 100,000 normals within five standard errors.
#[test]
fn normals_have_their_moments() {
    let n = 100_000;
    let values = normals(7, n);
    let moment = |p: i32| values.iter().map(|v| v.powi(p)).sum::<f64>() / n as f64;
    let error = |variance: f64| 5.0 * (variance / n as f64).sqrt();
    assert!(moment(1).abs() < error(1.0));
    assert!((moment(2) - 1.0).abs() < error(2.0));
    assert!((moment(4) - 3.0).abs() < error(96.0));
}
