//! Philox4x32-10 on the CPU (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3"). A number depends on
//! what it is for, never on how many were drawn before it.
//!
//! ```
//! use langevin::random::Stream;
//!
//! let numbers = |image| -> Vec<f64> {
//!     let mut stream = Stream::new(7, 1, image);
//!     (0..3).map(|_| stream.normal()).collect()
//! };
//! assert_eq!(numbers(4), numbers(4));
//! assert_ne!(numbers(4), numbers(5));
//! ```

pub(crate) mod draws;

pub use draws::dequantize;

/// The block cipher: ten rounds on a counter under a key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
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

/// A stream of numbers for one purpose under one seed.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    purpose: [u32; 2],
    block: u64,
    words: [u32; 4],
    used: usize,
}

impl Stream {
    /// The stream of `seed` for a purpose and one of its parts (a tensor, an image).
    pub fn new(seed: u64, purpose: u32, part: u32) -> Self {
        let key = [seed as u32, (seed >> 32) as u32];
        Self { key, purpose: [part, purpose], block: 0, words: [0; 4], used: 4 }
    }

    /// The next 32 bits.
    pub fn word(&mut self) -> u32 {
        if self.used == 4 {
            let block = [self.block as u32, (self.block >> 32) as u32];
            self.words = philox4x32([block[0], block[1], self.purpose[0], self.purpose[1]], self.key);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform in (0, 1), 32 bits.
    pub fn uniform(&mut self) -> f64 {
        (f64::from(self.word()) + 0.5) / 4_294_967_296.0
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
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
    fn moments() {
        let mut stream = Stream::new(1, 2, 3);
        let n = 100_000;
        let (mut mean, mut square, mut uniform) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let z = stream.normal();
            mean += z / n as f64;
            square += z * z / n as f64;
            uniform += stream.uniform() / n as f64;
        }
        // Six standard errors.
        let error = 6.0 / (n as f64).sqrt();
        assert!(mean.abs() < error && (square - 1.0).abs() < error * 2f64.sqrt(), "{mean} {square}");
        assert!((uniform - 0.5).abs() < error / 12f64.sqrt(), "{uniform}");
    }

    #[test]
    fn streams_differ_by_every_argument() {
        let first = |seed, purpose, part| Stream::new(seed, purpose, part).word();
        let words = [first(0, 0, 0), first(1, 0, 0), first(1 << 32, 0, 0), first(0, 1, 0), first(0, 0, 1)];
        for (i, a) in words.iter().enumerate() {
            assert!(words[..i].iter().all(|b| a != b));
        }
    }
}
