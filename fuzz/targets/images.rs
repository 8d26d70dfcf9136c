//! PNG and JPEG: the header's size is the picture's.

#![no_main]

use langevin::data::{Limits, decode, dimensions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_side: 512, max_pixels: 1 << 16, max_bytes: 4 << 20, memory: 1 << 20 };
    if let Ok(picture) = decode(bytes, &limits) {
        let (w, h) = dimensions(bytes, &limits).expect("a picture that is decoded has a header");
        // A picture that lies on its side is turned.
        assert!([(w, h), (h, w)].contains(&(picture.width, picture.height)));
        assert_eq!(picture.pixels.len() as u64, u64::from(w) * u64::from(h) * u64::from(picture.channels));
    }
});
