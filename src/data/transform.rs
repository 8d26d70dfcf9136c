//! What happens to pixels between a data set and a model: flip, scale, dequantise, centre. Pure functions on batches,
//! `n h w c`, u8 in [0, 255], f32 in [0, 1] or, centred, in [-1, 1].

use super::draws;

/// Mirrors one image, `h w c`, left to right.
pub fn flip_horizontal(image: &mut [u8], width: usize, channels: usize) {
    for row in image.chunks_exact_mut(width * channels) {
        for x in 0..width / 2 {
            let (left, right) = row.split_at_mut((width - 1 - x) * channels);
            left[x * channels..(x + 1) * channels].swap_with_slice(&mut right[..channels]);
        }
    }
}

/// u8 to f32 in [0, 1]: x / 255.
pub fn to_unit(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|&v| f32::from(v) / 255.0).collect()
}

/// Uniform dequantisation of one image to [0, 1): (x + u) / 256 with u uniform in [0, 1), as the authors do it.
///
/// `image` is the image's number in its data set, `draw` the epoch or the repeat; the same three numbers give the
/// same u whatever the batch.
pub fn dequantize(pixels: &[u8], seed: u64, image: u64, draw: u64) -> Vec<f32> {
    let mut out = Vec::with_capacity(pixels.len());
    for (block, chunk) in pixels.chunks(4).enumerate() {
        let u = draws::draw(seed, draws::Purpose::Dequantize, image, draw, block as u32);
        // 24 bits: every value and its sum with 255 is exact in f32 up to the last rounding; the result stays below 1.
        out.extend(chunk.iter().zip(u).map(|(&v, u)| {
            let fraction = (u >> 8) as f32 / (1u32 << 24) as f32;
            ((f32::from(v) + fraction) / 256.0).min(1.0 - f32::EPSILON / 2.0)
        }));
    }
    out
}

/// The authors' data scaler of centred models, [0, 1] to [-1, 1]: 2 x - 1.
pub fn center(values: &mut [f32]) {
    values.iter_mut().for_each(|v| *v = 2.0 * *v - 1.0);
}

/// Its inverse, [-1, 1] to [0, 1]: (x + 1) / 2.
pub fn uncenter(values: &mut [f32]) {
    values.iter_mut().for_each(|v| *v = (*v + 1.0) / 2.0);
}

/// `n h w c` to `n c h w`, or with `pixels` and `channels` exchanged back again.
pub fn nhwc_to_nchw<T: Copy>(values: &[T], pixels: usize, channels: usize) -> Vec<T> {
    let mut out = Vec::with_capacity(values.len());
    for image in values.chunks_exact(pixels * channels) {
        for c in 0..channels {
            out.extend((0..pixels).map(|p| image[p * channels + c]));
        }
    }
    out
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

    #[test]
    fn scales() {
        assert_eq!(to_unit(&[0, 51, 255]), [0.0, 0.2, 1.0]);
        let mut v = [0.0, 0.25, 1.0];
        center(&mut v);
        assert_eq!(v, [-1.0, -0.5, 1.0]);
        uncenter(&mut v);
        assert_eq!(v, [0.0, 0.25, 1.0]);
    }

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
    fn layouts_are_inverse() {
        let v: Vec<u8> = (0..2 * 4 * 3).collect();
        let chw = nhwc_to_nchw(&v, 4, 3);
        assert_eq!(&chw[..5], [0, 3, 6, 9, 1]);
        assert_eq!(nhwc_to_nchw(&chw, 3, 4), v);
    }
}
