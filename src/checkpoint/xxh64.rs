//! XXH64, for checksums of tensors: it detects damage and is no defence against a forger.
//!
//! Taken from `xxhash-rust`, which is maintained, has no dependency and no build script, and is tested against the reference; it hashes
//! at the speed of memory.

pub use xxhash_rust::xxh64::Xxh64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // By the reference implementation.
        let of = |bytes: &[u8], seed| {
            let mut hash = Xxh64::new(seed);
            bytes.chunks(7).for_each(|part| hash.update(part));
            hash.digest()
        };
        assert_eq!(of(b"", 0), 0xEF46_DB37_51D8_E999);
        assert_eq!(of(b"a", 0), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(of(b"abc", 0), 0x44BC_2CF5_AD77_0999);
        assert_eq!(of(b"Nobody inspects the spammish repetition", 0), 0xFBCE_A83C_8A37_8BF1);
    }
}
