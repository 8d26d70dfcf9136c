//! One picture: from PNG or JPEG bytes to 8-bit pixels, with limits that refuse decompression bombs.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use serde::{Deserialize, Serialize};

/// What a picture may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest width and height in pixels.
    pub max_side: u32,
    /// Largest width times height.
    pub max_pixels: u64,
    /// Largest file, in bytes, of one picture or one record.
    pub max_bytes: u64,
}

impl Default for Limits {
    /// 16,384 a side, 64 Mi pixels (256 MiB as RGBA), 64 MiB a file: room for any photograph.
    fn default() -> Self {
        Self { max_side: 16_384, max_pixels: 1 << 26, max_bytes: 1 << 26 }
    }
}

/// 8-bit pixels, `h w c`, with `c` 1 (grey) or 3 (RGB).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// 1 or 3.
    pub channels: u32,
    /// `h w c`.
    pub pixels: Vec<u8>,
}

/// Whether a file name's ending is one of a picture that [`decode`] reads.
pub fn is_image_name(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
    let known = matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg" | "webp"));
    // `._name` is where macOS archives keep a file's resource fork.
    known && !name.rsplit('/').next().unwrap_or(name).starts_with("._")
}

/// Decodes a PNG or JPEG (with the feature `lsun` also WebP). 16 bits become 8, palettes become colours, and what
/// is transparent lies on white.
///
/// # Errors
/// Why not, in words for a report: format, limit, damage.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, String> {
    if bytes.len() as u64 > limits.max_bytes {
        return Err(format!("{} bytes, over the limit of {}", bytes.len(), limits.max_bytes));
    }
    if bytes.is_empty() {
        return Err("an empty file".into());
    }
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    match reader.format() {
        Some(ImageFormat::Png) => {}
        Some(ImageFormat::Jpeg) => complete_jpeg(bytes)?,
        #[cfg(feature = "lsun")]
        Some(ImageFormat::WebP) => {}
        #[cfg(not(feature = "lsun"))]
        Some(ImageFormat::WebP) => return Err("WebP, which only a build with `--features lsun` reads".into()),
        _ => return Err("neither PNG nor JPEG".into()),
    }
    // Width and height are refused below, with the figures.
    let mut cap = image::Limits::default();
    cap.max_alloc = Some(limits.max_pixels.saturating_mul(8));
    reader.limits(cap);
    let decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    if width.max(height) > limits.max_side {
        return Err(format!("{width}x{height} pixels, over the limit of {} a side", limits.max_side));
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(format!("{width}x{height} pixels, over the limit of {} in all", limits.max_pixels));
    }
    if width == 0 || height == 0 {
        return Err(format!("{width}x{height} pixels"));
    }
    let image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    let (channels, pixels) = match image.color() {
        ColorType::L8 | ColorType::L16 => (1, image.into_luma8().into_raw()),
        ColorType::La8 | ColorType::La16 => (1, on_white::<2, 1>(&image.into_luma_alpha8())),
        ColorType::Rgba8 | ColorType::Rgba16 => (3, on_white::<4, 3>(&image.into_rgba8())),
        _ => (3, image.into_rgb8().into_raw()),
    };
    Ok(Picture { width, height, channels, pixels })
}

/// The decoder fills what a cut JPEG lacks with grey; a data set should not. An end marker must follow the last scan.
fn complete_jpeg(bytes: &[u8]) -> Result<(), String> {
    let last = |marker: u8| bytes.windows(2).rposition(|w| w == [0xff, marker]);
    match (last(0xda), last(0xd9)) {
        (Some(scan), Some(end)) if end > scan => Ok(()),
        (None, _) => Err("a JPEG without a picture".into()),
        _ => Err("a JPEG that ends early".into()),
    }
}

/// Composites `IN` channels, the last of them alpha, over white, and leaves `OUT`.
fn on_white<const IN: usize, const OUT: usize>(pixels: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pixels.len() / IN * OUT);
    for p in pixels.as_chunks::<IN>().0 {
        let a = u32::from(p[IN - 1]);
        for &v in &p[..OUT] {
            out.push(((u32::from(v) * a + 255 * (255 - a) + 127) / 255) as u8);
        }
    }
    out
}

impl Picture {
    /// The picture with 1 or 3 channels. Grey is ITU-R 601 luma in PIL's fixed point, as `convert("L")` gives it.
    pub fn with_channels(self, channels: u32) -> Self {
        let pixels = match (self.channels, channels) {
            (3, 1) => {
                let luma = |p: &[u8; 3]| {
                    let [r, g, b] = p.map(u32::from);
                    ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
                };
                self.pixels.as_chunks::<3>().0.iter().map(luma).collect()
            }
            (1, 3) => self.pixels.iter().flat_map(|&v| [v; 3]).collect(),
            _ => return self,
        };
        Self { pixels, channels, ..self }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A PNG of `w h c` pixels, for tests of the whole room.
    pub(crate) fn png(width: u32, height: u32, color: png::ColorType, pixels: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, width, height);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(pixels).unwrap();
        writer.finish().unwrap();
        out
    }

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let pixels: Vec<u8> = (0..width * height * 3).map(|i| (i * 7) as u8).collect();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, 90);
        encoder.encode(&pixels, width, height, image::ExtendedColorType::Rgb8).unwrap();
        out
    }

    #[test]
    fn transparent_is_white_and_grey_stays_grey() {
        let file = png(2, 1, png::ColorType::Rgba, &[10, 20, 30, 255, 0, 100, 255, 51]);
        let got = decode(&file, &Limits::default()).unwrap();
        // 0.2 of 0, 100, 255 and 0.8 of white.
        assert_eq!((got.channels, got.pixels), (3, vec![10, 20, 30, 204, 224, 255]));
        let file = png(2, 1, png::ColorType::Grayscale, &[3, 250]);
        let got = decode(&file, &Limits::default()).unwrap();
        assert_eq!((got.channels, got.pixels.as_slice()), (1, &[3, 250][..]));
        assert_eq!(got.with_channels(3).pixels, [3, 3, 3, 250, 250, 250]);
    }

    #[test]
    fn luma_is_pils() {
        let colours = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 12, 34, 56];
        let picture = Picture { width: 5, height: 1, channels: 3, pixels: colours };
        assert_eq!(picture.with_channels(1).pixels, [76, 150, 29, 255, 30]);
    }

    #[test]
    fn limits_refuse_before_decoding() {
        let file = png(64, 2, png::ColorType::Grayscale, &[0; 128]);
        let side = Limits { max_side: 63, ..Limits::default() };
        let pixels = Limits { max_pixels: 127, ..Limits::default() };
        let bytes = Limits { max_bytes: 20, ..Limits::default() };
        assert!(decode(&file, &side).unwrap_err().contains("64x2 pixels, over the limit of 63 a side"));
        assert!(decode(&file, &pixels).unwrap_err().contains("64x2 pixels"));
        assert!(decode(&file, &bytes).unwrap_err().contains("over the limit of 20"));
        // A header alone that claims 60,000 x 60,000 pixels.
        let mut bomb = png(1, 1, png::ColorType::Rgb, &[0; 3]);
        bomb[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&60_000u32.to_be_bytes());
        let crc = crate::formats::crc::crc32([&bomb[12..29]]).to_be_bytes();
        bomb[29..33].copy_from_slice(&crc);
        assert!(decode(&bomb, &Limits::default()).unwrap_err().contains("60000x60000 pixels"));
    }

    #[test]
    fn damaged_files_are_named_not_filled() {
        let file = jpeg(32, 32);
        assert!(decode(&file, &Limits::default()).is_ok());
        assert_eq!(
            decode(&file[..file.len() / 2], &Limits::default()).unwrap_err(),
            "a JPEG that ends early"
        );
        assert_eq!(decode(b"", &Limits::default()).unwrap_err(), "an empty file");
        assert_eq!(decode(b"GIF89a, say", &Limits::default()).unwrap_err(), "neither PNG nor JPEG");
        let file = png(8, 8, png::ColorType::Rgb, &[9; 192]);
        for cut in 0..file.len() - 12 {
            assert!(decode(&file[..cut], &Limits::default()).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn names() {
        for name in ["a.png", "b/c.JPG", "x.y.jpeg"] {
            assert!(is_image_name(name), "{name}");
        }
        for name in ["a", "a.txt", "png", "b/._c.jpg", "a.png/readme"] {
            assert!(!is_image_name(name), "{name}");
        }
    }
}
