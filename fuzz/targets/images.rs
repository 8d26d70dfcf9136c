//! Pictures of every format: the header's size is the picture's.

#![no_main]

use langevin::data::{Limits, decode, dimensions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_side: 512, max_pixels: 1 << 16, max_bytes: 4 << 20, memory: 1 << 20 };
    if let Ok(picture) = decode(bytes, &limits) {
        let (w, h) = dimensions(bytes, &limits).expect("a picture that is decoded has a header");
        let (width, height) = (picture.width, picture.height);
        // A picture that lies on its side is turned, a JPEG for which memory is short is read at half its size or less.
        let reduced = width.max(height) <= w.max(h).div_ceil(2) && width.min(height) <= w.min(h).div_ceil(2);
        assert!([(w, h), (h, w)].contains(&(width, height)) || reduced);
        assert_eq!(picture.pixels.len() as u64, u64::from(width) * u64::from(height) * u64::from(picture.channels));
    }
});
