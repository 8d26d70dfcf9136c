//! From a model's floats to bytes. NaN never becomes black.

use crate::{Error, Result};

/// Images as bytes, `n h w c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageBytes {
    /// `[n, h, w, c]`, `c` 1 or 3.
    pub shape: [usize; 4],
    /// The pixels.
    pub pixels: Vec<u8>,
}

impl ImageBytes {
    /// Checks that the shape holds the pixels.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn new(shape: [usize; 4], pixels: Vec<u8>) -> Result<Self> {
        let expected = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if expected != Some(pixels.len()) || !matches!(shape[3], 1 | 3) || pixels.is_empty() {
            let problem = format!("{} bytes as images of shape {shape:?} (n h w c)", pixels.len());
            return Err(Error::shape("image", problem, "give at least one image with 1 or 3 channels"));
        }
        Ok(Self { shape, pixels })
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.shape[0]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shape[0] == 0
    }

    /// One of the images.
    ///
    /// # Errors
    /// [`Error::Shape`] where there is no such image.
    pub fn image(&self, index: usize) -> Result<Self> {
        let [n, h, w, c] = self.shape;
        let bytes = h * w * c;
        match self.pixels.get(index * bytes..(index + 1) * bytes) {
            Some(pixels) => Self::new([1, h, w, c], pixels.to_vec()),
            None => Err(Error::shape("image", format!("image {index} of {n}"), "give a number below")),
        }
    }

    /// The images whose pixels are all alike: black, white or one grey. A sampler that failed without NaN makes these;
    /// whoever writes them should say so.
    pub fn blank(&self) -> Vec<usize> {
        let [_, h, w, c] = self.shape;
        let alike = |image: &[u8]| image.chunks_exact(c).all(|p| p == &image[..c]);
        self.pixels.chunks_exact(h * w * c).enumerate().filter(|(_, i)| alike(i)).map(|(at, _)| at).collect()
    }
}

/// `n c h w` floats in [0, 1] to `n h w c` bytes: 255 x, rounded, clamped (as torchvision's `save_image`).
///
/// # Errors
/// [`Error::NonFiniteImage`] for the first image that holds NaN or infinity, with their count; [`Error::Shape`].
pub fn to_bytes(values: &[f32], shape: [usize; 4]) -> Result<ImageBytes> {
    let [n, c, h, w] = shape;
    let plane = h * w;
    let size = c * plane;
    if values.len() != n * size || size == 0 {
        let problem = format!("{} values for shape {shape:?} (n c h w)", values.len());
        return Err(Error::shape("image", problem, "give n c h w values"));
    }
    let mut pixels = Vec::with_capacity(values.len());
    for (index, image) in values.chunks_exact(size).enumerate() {
        // By exponent bits, as everywhere.
        let count = image.iter().filter(|v| v.to_bits() & 0x7f80_0000 == 0x7f80_0000).count();
        if count > 0 {
            return Err(Error::NonFiniteImage { image: index, count, of: size });
        }
        for p in 0..plane {
            pixels.extend((0..c).map(|k| (image[k * plane + p] * 255.0 + 0.5).clamp(0.0, 255.0) as u8));
        }
    }
    ImageBytes::new([n, h, w, c], pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_clamped_and_channels_last() {
        let x = [0.0, 1.0, 0.5, -3.0, 2.0, 0.1];
        let got = to_bytes(&x, [1, 3, 1, 2]).unwrap();
        assert_eq!(got.shape, [1, 1, 2, 3]);
        assert_eq!(got.pixels, [0, 128, 255, 255, 0, 26]);
    }

    #[test]
    fn every_byte_survives() {
        let x: Vec<f32> = (0..=255u8).map(|v| f32::from(v) / 255.0).collect();
        assert_eq!(to_bytes(&x, [1, 1, 16, 16]).unwrap().pixels, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn non_finite_values_are_counted_not_painted() {
        let mut x = vec![0.5f32; 3 * 4];
        (x[5], x[7], x[11]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        let error = to_bytes(&x, [3, 1, 2, 2]).unwrap_err();
        assert!(matches!(error, Error::NonFiniteImage { image: 1, count: 2, of: 4 }), "{error}");
        assert!(to_bytes(&x, [3, 1, 2, 3]).is_err());
        assert!(to_bytes(&[], [0, 1, 2, 3]).is_err());
        assert!(to_bytes(&[0.0; 2], [1, 2, 1, 1]).is_err());
    }

    #[test]
    fn blank_images_are_found() {
        let images =
            ImageBytes::new([3, 1, 2, 3], vec![0, 0, 0, 0, 0, 0, 9, 8, 7, 9, 8, 7, 1, 2, 3, 1, 2, 4])
                .unwrap();
        assert_eq!(images.blank(), [0, 1]);
        assert_eq!(images.image(2).unwrap().pixels, [1, 2, 3, 1, 2, 4]);
        assert!(images.image(3).is_err());
    }
}
