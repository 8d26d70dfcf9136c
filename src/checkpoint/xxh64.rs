//! XXH64, the 64-bit hash of Yann Collet's xxHash (its public specification), for checksums of tensors. It detects damage; it is
//! no defence against a forger.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// A running XXH64.
#[derive(Debug, Clone)]
pub struct Xxh64 {
    seed: u64,
    lanes: [u64; 4],
    /// Bytes that do not fill a stripe of 32 yet.
    tail: [u8; 32],
    tail_len: usize,
    total: u64,
}

fn round(acc: u64, input: u64) -> u64 {
    acc.wrapping_add(input.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

fn merge(acc: u64, lane: u64) -> u64 {
    (acc ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4)
}

/// The first eight bytes; the callers' slices are at least that long.
fn word(bytes: &[u8]) -> u64 {
    let mut w = [0; 8];
    w.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(w)
}

impl Xxh64 {
    /// An empty hash.
    pub fn new(seed: u64) -> Self {
        let lanes =
            [seed.wrapping_add(P1).wrapping_add(P2), seed.wrapping_add(P2), seed, seed.wrapping_sub(P1)];
        Self { seed, lanes, tail: [0; 32], tail_len: 0, total: 0 }
    }

    /// The hash of one slice.
    pub fn of(bytes: &[u8], seed: u64) -> u64 {
        let mut hash = Self::new(seed);
        hash.update(bytes);
        hash.digest()
    }

    fn stripe(lanes: &mut [u64; 4], stripe: &[u8]) {
        for (lane, bytes) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
            *lane = round(*lane, word(bytes));
        }
    }

    /// Appends bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.total = self.total.wrapping_add(bytes.len() as u64);
        if self.tail_len > 0 {
            let n = bytes.len().min(32 - self.tail_len);
            self.tail[self.tail_len..self.tail_len + n].copy_from_slice(&bytes[..n]);
            self.tail_len += n;
            bytes = &bytes[n..];
            if self.tail_len < 32 {
                return;
            }
            Self::stripe(&mut self.lanes, &self.tail);
            self.tail_len = 0;
        }
        let mut stripes = bytes.chunks_exact(32);
        for stripe in &mut stripes {
            Self::stripe(&mut self.lanes, stripe);
        }
        let rest = stripes.remainder();
        self.tail[..rest.len()].copy_from_slice(rest);
        self.tail_len = rest.len();
    }

    /// The hash of all bytes so far.
    pub fn digest(&self) -> u64 {
        let mut acc = if self.total >= 32 {
            let [a, b, c, d] = self.lanes;
            let sum = a.rotate_left(1).wrapping_add(b.rotate_left(7));
            let sum = sum.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
            self.lanes.iter().fold(sum, |acc, lane| merge(acc, *lane))
        } else {
            self.seed.wrapping_add(P5)
        };
        acc = acc.wrapping_add(self.total);
        let mut words = self.tail[..self.tail_len].chunks_exact(8);
        for w in &mut words {
            acc = (acc ^ round(0, word(w))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        }
        let mut rest = words.remainder();
        if let Some((half, after)) = rest.split_at_checked(4) {
            let half = u64::from(u32::from_le_bytes([half[0], half[1], half[2], half[3]]));
            acc = (acc ^ half.wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
            rest = after;
        }
        for byte in rest {
            acc = (acc ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
        }
        acc = (acc ^ (acc >> 33)).wrapping_mul(P2);
        acc = (acc ^ (acc >> 29)).wrapping_mul(P3);
        acc ^ (acc >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::Xxh64;

    #[test]
    fn known_answers() {
        // From xxHash's own documentation and its `xxhsum` tool.
        assert_eq!(Xxh64::of(b"", 0), 0xEF46_DB37_51D8_E999);
        assert_eq!(Xxh64::of(b"a", 0), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(Xxh64::of(b"abc", 0), 0x44BC_2CF5_AD77_0999);
        assert_eq!(Xxh64::of(b"Nobody inspects the spammish repetition", 0), 0xFBCE_A83C_8A37_8BF1);
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 7 % 251) as u8).collect();
        assert_eq!(Xxh64::of(&bytes[..37], 0), 0x4788_90C6_0739_0313);
        assert_eq!(Xxh64::of(&bytes, 5), 0x23F8_411F_7A17_FC01);
    }

    #[test]
    fn pieces_do_not_matter() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 7 % 251) as u8).collect();
        let whole = Xxh64::of(&bytes, 5);
        for size in [1, 3, 31, 32, 33, 500] {
            let mut hash = Xxh64::new(5);
            bytes.chunks(size).for_each(|part| hash.update(part));
            assert_eq!(hash.digest(), whole, "pieces of {size}");
        }
    }
}
