//! Pictures of every kind, whole, cut and claiming what they are not.

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
    assert_eq!(decode(&file[..file.len() / 2], &Limits::default()).unwrap_err(), "a JPEG that ends early");
    assert_eq!(decode(b"", &Limits::default()).unwrap_err(), "an empty file");
    assert!(decode(b"GIF89a, say", &Limits::default()).is_err());
    let problem = decode(b"\0\0\0\x18ftypheic", &Limits::default()).unwrap_err();
    assert_eq!(problem, "a HEIC picture, not one of PNG, JPEG, WebP, BMP, GIF, TIFF");
    let file = png(8, 8, png::ColorType::Rgb, &[9; 192]);
    for cut in 0..file.len() - 12 {
        assert!(decode(&file[..cut], &Limits::default()).is_err(), "cut at {cut}");
    }
}

/// An EXIF segment that says `orientation`, behind the start of a JPEG.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn photos_are_upright() {
    // 16 x 8 pixels, bright in the left upper quarter.
    let bright = |x: usize, y: usize| x < 8 && y < 4;
    let pixels: Vec<u8> = (0..16 * 8).map(|i| if bright(i % 16, i / 16) { 250 } else { 5 }).collect();
    let mut file = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 95);
    encoder.encode(&pixels, 16, 8, image::ExtendedColorType::L8).unwrap();
    // Where the bright corner is once the picture is upright: right and bottom, for each of the eight orientations.
    let corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)];
    for (orientation, (right, bottom)) in (1..).zip(corners) {
        let got = decode(&with_orientation(&file, orientation), &Limits::default()).unwrap();
        let (w, h) = if orientation >= 5 { (8, 16) } else { (16, 8) };
        assert_eq!((got.width, got.height), (w, h), "{orientation}");
        let at = |x: u32, y: u32| got.pixels[(y * w + x) as usize];
        let corner = at(1 + right * (w - 3), 1 + bottom * (h - 3));
        let other = at(1 + (1 - right) * (w - 3), 1 + (1 - bottom) * (h - 3));
        assert!(corner > 200 && other < 60, "orientation {orientation}: {corner} {other}");
    }
}

#[test]
fn formats_of_peoples_folders() {
    let pixels: Vec<u8> = (0..6 * 4 * 3).map(|i| (i * 11) as u8).collect();
    let image = DynamicImage::ImageRgb8(ImageBuffer::from_raw(6, 4, pixels.clone()).unwrap());
    for format in [ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Gif] {
        let mut file = Cursor::new(Vec::new());
        match format {
            ImageFormat::Gif => image.to_rgba8().write_to(&mut file, format).unwrap(),
            _ => image.write_to(&mut file, format).unwrap(),
        }
        let got = decode(file.get_ref(), &Limits::default()).unwrap();
        assert_eq!((got.width, got.height, got.channels), (6, 4, 3), "{format:?}");
        // A GIF has a palette of 256 colours, which these few pixels fit.
        let far = got.pixels.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(
            far.is_some_and(|far| far <= if format == ImageFormat::Gif { 8 } else { 0 }),
            "{format:?} {far:?}"
        );
        // Cut anywhere it is refused or whole; it never panics.
        for cut in 0..file.get_ref().len() {
            let _ = decode(&file.get_ref()[..cut], &Limits::default());
        }
    }
    let wide: Vec<u16> = (0..6 * 4).map(|i| i * 2000).collect();
    let image = DynamicImage::ImageLuma16(ImageBuffer::from_raw(6, 4, wide.clone()).unwrap());
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, ImageFormat::Tiff).unwrap();
    let got = decode(file.get_ref(), &Limits::default()).unwrap();
    assert_eq!(got.channels, 1);
    assert!(got.pixels.iter().zip(&wide).all(|(a, b)| (f64::from(*a) - f64::from(*b) / 257.0).abs() <= 1.0));
}

#[test]
fn a_photo_for_which_memory_is_short_is_read_at_half_its_size() {
    let file = jpeg(640, 480);
    let limits = Limits { memory: 1_500_000, ..Limits::default() };
    let got = decode(&with_orientation(&file, 6), &limits).unwrap();
    assert_eq!((got.width, got.height), (240, 320));
    assert_eq!((decode(&file, &Limits::default()).unwrap().width), 640);
}

#[test]
fn names() {
    for name in ["a.png", "b/c.JPG", "x.y.jpeg", "a.jfif", "a.bmp", "a.GIF", "a.tiff", "a.webp"] {
        assert!(is_image_name(name), "{name}");
    }
    for name in ["a", "a.txt", "png", "b/._c.jpg", "a.png/readme"] {
        assert!(!is_image_name(name), "{name}");
    }
}
