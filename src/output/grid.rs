//! Many images as one.

use super::pixels::ImageBytes;
use crate::{Error, Result};

/// Pixels between and around the images, black (torchvision's `make_grid`, which the authors use).
const MARGIN: usize = 2;

/// Lays images out in rows. As in the authors' code there are floor(√n) of them in a row unless `columns` says otherwise.
/// One image alone stays as it is.
///
/// # Errors
/// [`Error::Shape`] for 0 columns.
pub fn grid(images: &ImageBytes, columns: Option<usize>) -> Result<ImageBytes> {
    let [n, h, w, c] = images.shape;
    if n == 1 && columns.is_none() {
        return Ok(images.clone());
    }
    let columns = columns.unwrap_or(n.isqrt()).min(n);
    if columns == 0 {
        return Err(Error::shape("grid", format!("{n} images in 0 columns"), "give at least 1"));
    }
    let rows = n.div_ceil(columns);
    let (height, width) = (rows * (h + MARGIN) + MARGIN, columns * (w + MARGIN) + MARGIN);
    let mut pixels = vec![0; height * width * c];
    for (index, image) in images.pixels.chunks_exact(h * w * c).enumerate() {
        let top = index / columns * (h + MARGIN) + MARGIN;
        let left = index % columns * (w + MARGIN) + MARGIN;
        for (y, row) in image.chunks_exact(w * c).enumerate() {
            let at = ((top + y) * width + left) * c;
            pixels[at..at + w * c].copy_from_slice(row);
        }
    }
    ImageBytes::new([1, height, width, c], pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let images = ImageBytes::new([5, 1, 1, 1], vec![10, 20, 30, 40, 50]).unwrap();
        let got = grid(&images, None).unwrap();
        // floor(√5) = 2 columns, 3 rows, 3 pixels each and 2 more.
        assert_eq!(got.shape, [1, 11, 8, 1]);
        let at = |y: usize, x: usize| got.pixels[y * 8 + x];
        assert_eq!([at(2, 2), at(2, 5), at(5, 2), at(5, 5), at(8, 2), at(8, 5)], [10, 20, 30, 40, 50, 0]);
        assert_eq!(got.pixels.iter().filter(|&&v| v > 0).count(), 5);
        assert_eq!(grid(&images, Some(9)).unwrap().shape, [1, 5, 17, 1]);
        assert!(grid(&images, Some(0)).is_err());
    }

    #[test]
    fn one_image_has_no_margin_and_sixteen_make_a_square() {
        let one = ImageBytes::new([1, 2, 3, 3], vec![7; 18]).unwrap();
        assert_eq!(grid(&one, None).unwrap(), one);
        let many = ImageBytes::new([16, 2, 2, 3], (0..192).collect()).unwrap();
        let got = grid(&many, None).unwrap();
        assert_eq!(got.shape, [1, 18, 18, 3]);
        let at = (2 * 18 + 2 + 4) * 3;
        assert_eq!(got.pixels[at..at + 6], [12, 13, 14, 15, 16, 17]);
    }
}
