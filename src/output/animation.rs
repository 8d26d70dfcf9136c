//! A trajectory as an animated PNG.

use std::io;
use std::path::Path;

use super::file::write_whole;
use super::picture::header_of;
use super::pixels::ImageBytes;
use super::provenance::Provenance;
use crate::{Error, Result};

/// How long the result stands before the animation begins again, in milliseconds.
const LAST_MS: u16 = 2000;

/// Writes frames of equal shape as an APNG that repeats for ever, each shown for `delay_ms`, the last for two seconds.
/// Programs that do not know APNG show the last frame.
///
/// # Errors
/// [`Error::Io`]; [`Error::Shape`] where there is no frame, or one of another shape or of several images.
pub fn write_animation(
    path: &Path,
    frames: &[ImageBytes],
    delay_ms: u16,
    provenance: &Provenance,
) -> Result<()> {
    let Some(last) = frames.last() else {
        return Err(Error::shape("animation", "no frame", "give at least one"));
    };
    let (width, height, color) = header_of(last)?;
    if let Some((at, odd)) = frames.iter().enumerate().find(|(_, f)| f.shape != last.shape) {
        let problem = format!("frame {at} has shape {:?}, the last {:?}", odd.shape, last.shape);
        return Err(Error::shape("animation", problem, "give frames of one shape"));
    }
    let count = u32::try_from(frames.len()).unwrap_or(u32::MAX);
    let write = |out: super::file::Out| -> Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(out, width, height);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_animated(count, 0)?;
        encoder.set_sep_def_img(true)?;
        encoder.set_frame_delay(delay_ms, 1000)?;
        let mut writer = encoder.write_header()?;
        provenance.write_to(&mut writer)?;
        writer.write_image_data(&last.pixels)?;
        for (at, frame) in frames.iter().enumerate() {
            if at + 1 == frames.len() {
                writer.set_frame_delay(LAST_MS, 1000)?;
            }
            writer.write_image_data(&frame.pixels)?;
        }
        writer.finish()
    };
    write_whole(path, |out| write(out).map_err(io::Error::from))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use super::*;

    fn frames() -> Vec<ImageBytes> {
        (0..3).map(|i| ImageBytes::new([1, 2, 3, 1], vec![i * 50; 6]).unwrap()).collect()
    }

    #[test]
    fn frames_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.png");
        let provenance = Provenance::new().with("seeds", "3");
        write_animation(&path, &frames(), 40, &provenance).unwrap();
        let bytes = fs::read(&path).unwrap();
        let mut reader = png::Decoder::new(Cursor::new(&bytes)).read_info().unwrap();
        let control = reader.info().animation_control.unwrap();
        assert_eq!((control.num_frames, control.num_plays), (3, 0));
        let mut shown = Vec::new();
        for _ in 0..4 {
            let mut pixels = vec![0; 6];
            reader.next_frame(&mut pixels).unwrap();
            let delay = reader.info().frame_control.map_or(0, |f| f.delay_num);
            shown.push((pixels[0], delay));
        }
        // The still image is the result.
        assert_eq!(shown, [(100, 0), (0, 40), (50, 40), (100, 2000)]);
        assert_eq!(Provenance::read(&path).unwrap().unwrap().get("seeds"), Some("3"));
    }

    #[test]
    fn what_is_no_animation() {
        let write =
            |frames: &[ImageBytes]| write_animation("never.png".as_ref(), frames, 40, &Provenance::new());
        assert!(write(&[]).is_err());
        let mut odd = frames();
        odd[1] = ImageBytes::new([1, 3, 2, 1], vec![0; 6]).unwrap();
        assert!(write(&odd).unwrap_err().to_string().contains("frame 1"));
    }
}
