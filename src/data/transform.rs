//! What happens to pixels between a data set and a model: flip, scale, dequantise, centre. Pure functions on batches,
//! `n h w c`, u8 in [0, 255], f32 in [0, 1] or, centred, in [-1, 1].

pub use crate::formats::pixels::{center, nhwc_to_nchw, to_unit, uncenter};
pub use crate::random::dequantize;

/// Mirrors one image, `h w c`, left to right.
pub fn flip_horizontal(image: &mut [u8], width: usize, channels: usize) {
    for row in image.chunks_exact_mut(width * channels) {
        for x in 0..width / 2 {
            let (left, right) = row.split_at_mut((width - 1 - x) * channels);
            left[x * channels..(x + 1) * channels].swap_with_slice(&mut right[..channels]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flip_twice_is_nothing() {
        let image: Vec<u8> = (0..2 * 3 * 2).collect();
        let mut flipped = image.clone();
        flip_horizontal(&mut flipped, 3, 2);
        assert_eq!(flipped, [4, 5, 2, 3, 0, 1, 10, 11, 8, 9, 6, 7]);
        flip_horizontal(&mut flipped, 3, 2);
        assert_eq!(flipped, image);
        let mut one = [1, 2, 3];
        flip_horizontal(&mut one, 1, 3);
        assert_eq!(one, [1, 2, 3]);
    }
}
