//! A mask: which pixels of an image are known.

use std::path::Path;

use super::decode::{Limits, decode, dimensions};
use crate::{Error, Result, files};

/// From here on a value is white, or opaque.
const HALF: u8 = 128;
/// Below, a value is black.
const DARK: u8 = 16;

/// Which pixels of an image are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// `h w`.
    pub known: Vec<bool>,
    /// Whether its transparency decided: what is opaque is known. Else its grey value did: what is white is known.
    pub by_alpha: bool,
}

impl Mask {
    /// The share of pixels that are known, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.known.iter().filter(|known| **known).count() as f64 / self.known.len() as f64
    }
}

/// Reads a mask of `h w` pixels. A picture with transparent pixels is a mask by its transparency, any other by its grey value.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`]; [`Error::Invalid`] where the size is another, or where what is opaque is black, which says two things.
pub fn read_mask(path: &Path, [h, w]: [usize; 2], limits: &Limits) -> Result<Mask> {
    let bytes = files::read(path, limits.max_bytes)?;
    let unreadable = |problem: String| Error::format(path, problem);
    let other_size = |width: u32, height: u32| {
        let problem = format!(
            "the mask has {width}x{height} pixels, the model's images {w}x{h}; give one of that size"
        );
        Error::invalid("mask", path.display(), problem)
    };
    // By its header: a mask of another size is not decoded. A photo may be turned after that.
    let (width, height) = dimensions(&bytes, limits).map_err(unreadable)?;
    let size = [height as usize, width as usize];
    if size != [h, w] && size != [w, h] {
        return Err(other_size(width, height));
    }
    let picture = decode(&bytes, limits).map_err(unreadable)?.with_channels(1);
    if [picture.height as usize, picture.width as usize] != [h, w] {
        return Err(other_size(picture.width, picture.height));
    }
    let dark: Vec<bool> = picture.pixels.iter().map(|&v| v < DARK).collect();
    let white = picture.pixels.iter().map(|&v| v >= HALF).collect();
    let Some(opaque) = opaque(&bytes, h * w) else { return Ok(Mask { known: white, by_alpha: false }) };
    // Under what is transparent lies white, so only what is opaque has a colour of its own.
    let coloured = dark.iter().zip(&opaque).any(|(dark, opaque)| *opaque && !dark);
    if opaque.iter().any(|o| *o) && !coloured {
        let problem = "it is black where it is opaque and transparent elsewhere: by its colour the black part is drawn anew, by its \
                       transparency the rest. Save it without transparency, black where images are drawn anew and white elsewhere";
        return Err(Error::invalid("mask", path.display(), problem));
    }
    Ok(Mask { known: opaque, by_alpha: true })
}

/// Which pixels are opaque, none where all are or the file has no transparency.
fn opaque(bytes: &[u8], pixels: usize) -> Option<Vec<bool>> {
    // Of the size that was checked.
    let image = image::load_from_memory(bytes).ok().filter(|image| image.color().has_alpha())?;
    let opaque: Vec<bool> = image.into_luma_alpha8().pixels().map(|p| p.0[1] >= HALF).collect();
    (opaque.len() == pixels && opaque.iter().any(|o| !o)).then_some(opaque)
}

#[cfg(test)]
mod tests {
    use super::super::decode::tests::png;
    use super::*;

    fn read(color: png::ColorType, pixels: &[u8]) -> Result<Mask> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.png");
        std::fs::write(&path, png(2, 1, color, pixels)).unwrap();
        read_mask(&path, [1, 2], &Limits::default())
    }

    #[test]
    fn transparency_decides_where_there_is_any() {
        let grey = read(png::ColorType::Grayscale, &[255, 0]).unwrap();
        assert_eq!((&grey.known[..], grey.by_alpha, grey.share()), (&[true, false][..], false, 0.5));
        // A photo with an erased part, whose colours below are kept by some programs.
        let erased = read(png::ColorType::Rgba, &[200, 10, 90, 255, 250, 250, 250, 0]).unwrap();
        assert_eq!((&erased.known[..], erased.by_alpha), (&[true, false][..], true));
        // All opaque: an ordinary mask.
        let opaque = read(png::ColorType::GrayscaleAlpha, &[0, 255, 255, 255]).unwrap();
        assert_eq!((&opaque.known[..], opaque.by_alpha), (&[false, true][..], false));
        // Black strokes on nothing.
        let strokes = read(png::ColorType::Rgba, &[0, 0, 0, 255, 0, 0, 0, 0]);
        assert!(strokes.unwrap_err().to_string().contains("without transparency"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.png");
        std::fs::write(&path, png(2, 1, png::ColorType::Grayscale, &[0, 1])).unwrap();
        assert!(read_mask(&path, [4, 4], &Limits::default()).unwrap_err().to_string().contains("2x1"));
    }
}
