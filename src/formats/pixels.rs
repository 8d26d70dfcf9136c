//! Ranges and layouts of pixels: bytes, [0, 1] and [-1, 1]; channels first and last.

/// u8 to f32 in [0, 1]: x / 255.
pub fn to_unit(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|&v| f32::from(v) / 255.0).collect()
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
    fn scales() {
        assert_eq!(to_unit(&[0, 51, 255]), [0.0, 0.2, 1.0]);
        let mut v = [0.0, 0.25, 1.0];
        center(&mut v);
        assert_eq!(v, [-1.0, -0.5, 1.0]);
        uncenter(&mut v);
        assert_eq!(v, [0.0, 0.25, 1.0]);
    }

    #[test]
    fn layouts_are_inverse() {
        let v: Vec<u8> = (0..2 * 4 * 3).collect();
        let chw = nhwc_to_nchw(&v, 4, 3);
        assert_eq!(&chw[..5], [0, 3, 6, 9, 1]);
        assert_eq!(nhwc_to_nchw(&chw, 3, 4), v);
    }
}
