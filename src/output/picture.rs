//! PNG files.

use std::io::{self, Write};
#[cfg(feature = "files")]
use std::path::Path;

#[cfg(feature = "files")]
use super::file::write_whole;
use super::pixels::ImageBytes;
use super::provenance::Provenance;
use crate::{Error, Result};

/// Writes one image with its provenance. Equal images and provenances give equal bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Shape`] where there is not exactly one image (see [`super::grid`]).
#[cfg(feature = "files")]
pub fn write_png(path: &Path, image: &ImageBytes, provenance: &Provenance) -> Result<()> {
    header_of(image)?;
    write_whole(path, |out| encode(out, image, provenance))
}

/// One image as the bytes of a PNG, for TensorBoard.
///
/// # Errors
/// As [`write_png`].
pub fn encode_png(image: &ImageBytes, provenance: &Provenance) -> Result<Vec<u8>> {
    header_of(image)?;
    let mut bytes = Vec::new();
    encode(&mut bytes, image, provenance).map_err(Error::io("a PNG in memory"))?;
    Ok(bytes)
}

fn encode(out: impl Write, image: &ImageBytes, provenance: &Provenance) -> io::Result<()> {
    let (width, height, color) = header_of(image).map_err(io::Error::other)?;
    let mut encoder = png::Encoder::new(out, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    provenance.write_to(&mut writer)?;
    writer.write_image_data(&image.pixels)?;
    Ok(writer.finish()?)
}

/// Width, height and colours of the only image.
pub(super) fn header_of(image: &ImageBytes) -> Result<(u32, u32, png::ColorType)> {
    let color = match image.shape[3] {
        1 => png::ColorType::Grayscale,
        _ => png::ColorType::Rgb,
    };
    match (image.shape, u32::try_from(image.shape[2]), u32::try_from(image.shape[1])) {
        ([1, ..], Ok(width), Ok(height)) => Ok((width, height, color)),
        _ => Err(Error::shape(
            "png",
            format!("images of shape {:?} (n h w c)", image.shape),
            "write one image, or a grid",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_survive() {
        for c in [1, 3] {
            let pixels: Vec<u8> = (0..5 * 7 * c).map(|v| (v * 31) as u8).collect();
            let image = ImageBytes::new([1, 5, 7, c], pixels.clone()).unwrap();
            let bytes = encode_png(&image, &Provenance::new()).unwrap();
            assert_eq!(bytes, encode_png(&image, &Provenance::new()).unwrap());
            let decoded = image::load_from_memory(&bytes).unwrap();
            assert_eq!((decoded.width(), decoded.height()), (7, 5));
            let got = if c == 1 { decoded.into_luma8().into_raw() } else { decoded.into_rgb8().into_raw() };
            assert_eq!(got, pixels);
        }
    }

    #[test]
    fn two_images_are_no_png() {
        let images = ImageBytes::new([2, 1, 1, 1], vec![1, 2]).unwrap();
        assert!(write_png("never.png".as_ref(), &images, &Provenance::new()).is_err());
        assert!(!Path::new("never.png").exists());
    }
}
