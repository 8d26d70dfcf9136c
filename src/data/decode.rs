//! One picture: from the bytes of a PNG, JPEG, WebP, BMP, GIF or TIFF file to 8-bit pixels, upright.
//!
//! What a picture takes is known from its header, and reserved, before anything is decoded; a bomb is refused with its figures.
//! PNGs are read row by row, so that 16 bits and transparency never stand in memory whole, and of what a PNG holds beside its
//! pixels (profiles, texts) nothing is unpacked.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageFormat, ImageReader};
use serde::{Deserialize, Serialize};

use super::jpeg;
use crate::limits::{DECODING_MEMORY, Decoding, Memory, Reserved};

/// What a picture may cost before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest width and height in pixels.
    pub max_side: u32,
    /// Largest width times height.
    pub max_pixels: u64,
    /// Largest file, in bytes, of one picture or one record.
    pub max_bytes: u64,
    /// Bytes that decoding holds at one time, all threads together; a picture that takes more alone is refused.
    pub memory: u64,
}

impl Default for Limits {
    /// 65,535 a side (what a JPEG can have), 256 Mi pixels, 64 MiB a file, [`DECODING_MEMORY`].
    fn default() -> Self {
        Self { max_side: 65_535, max_pixels: 1 << 28, max_bytes: 1 << 26, memory: DECODING_MEMORY }
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
    const ENDINGS: [&str; 12] =
        ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "gif", "tif", "tiff", "apng"];
    let ending = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
    let known = ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()));
    // `._name` is where macOS archives keep a file's resource fork.
    known && !name.rsplit('/').next().unwrap_or(name).starts_with("._")
}

/// Decodes a PNG, JPEG, WebP, BMP, TIFF or the first frame of a GIF. 16 bits become 8, palettes become colours, what
/// is transparent lies on white, and the picture is turned as its EXIF orientation says. A JPEG that takes more than `limits.memory` is
/// read at a half, a quarter or an eighth of its size.
///
/// # Errors
/// Why not, in words for a report: format, limit, damage.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, String> {
    decode_within(bytes, limits, &Decoding::new(limits.memory).pixels, &|_, _| 0).map(|(picture, _)| picture)
}

/// What is done with a picture of this width and height takes so many bytes beside it.
pub(crate) type Beside<'a> = &'a dyn Fn(u32, u32) -> u64;

/// [`decode`] by one of several threads, which share `memory`. The picture's part of it, with what it takes `beside` it, is given back
/// with the second value.
pub(crate) fn decode_within(
    bytes: &[u8],
    limits: &Limits,
    memory: &Memory,
    beside: Beside,
) -> Result<(Picture, Reserved), String> {
    match kind_of(bytes, limits)? {
        ImageFormat::Png => decode_png(bytes, limits, memory, beside),
        format => decode_other(bytes, format, limits, memory, beside),
    }
}

/// Width and height by the header alone.
///
/// # Errors
/// As [`decode`].
pub fn dimensions(bytes: &[u8], limits: &Limits) -> Result<(u32, u32), String> {
    match kind_of(bytes, limits)? {
        ImageFormat::Png => {
            let header = png_decoder(bytes).read_header_info().map(|info| (info.width, info.height));
            header.map_err(|e| e.to_string())
        }
        format => {
            let reader = ImageReader::with_format(Cursor::new(bytes), format);
            reader.into_dimensions().map_err(|e| e.to_string())
        }
    }
}

/// The format by the first bytes, where it is one that is read.
fn kind_of(bytes: &[u8], limits: &Limits) -> Result<ImageFormat, String> {
    if bytes.len() as u64 > limits.max_bytes {
        return Err(format!("{} bytes, over the limit of {}", bytes.len(), limits.max_bytes));
    }
    if bytes.is_empty() {
        return Err("an empty file".into());
    }
    match image::guess_format(bytes).ok() {
        Some(
            format @ (ImageFormat::Png
            | ImageFormat::Jpeg
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Gif
            | ImageFormat::Tiff),
        ) => Ok(format),
        _ => Err(format!("{}, not one of PNG, JPEG, WebP, BMP, GIF, TIFF", known_as(bytes))),
    }
}

/// What else the first bytes are known as.
fn known_as(bytes: &[u8]) -> &'static str {
    match bytes.get(4..12) {
        Some(b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftypmsf1") => "a HEIC picture",
        Some(b"ftypavif") => "an AVIF picture",
        _ if bytes.trim_ascii_start().starts_with(b"<") => "a text such as HTML or SVG",
        _ => "no picture by its first bytes",
    }
}

fn check_size(width: u32, height: u32, limits: &Limits) -> Result<u64, String> {
    if width.max(height) > limits.max_side {
        return Err(format!("{width}x{height} pixels, over the limit of {} a side", limits.max_side));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > limits.max_pixels {
        return Err(format!("{width}x{height} pixels, over the limit of {} in all", limits.max_pixels));
    }
    if pixels == 0 {
        return Err(format!("{width}x{height} pixels"));
    }
    Ok(pixels)
}

/// Bytes of a picture of `channels` at work: a grey one may become coloured, a coloured one becomes grey in its place.
fn working_bytes(pixels: u64, channels: u32) -> u64 {
    pixels * if channels == 1 { 4 } else { 3 }
}

/// Bytes that a PNG may hold in one chunk beside its pixels; the reader's own buffers count too.
const ANCILLARY: usize = 16 << 20;

fn png_decoder(bytes: &[u8]) -> png::Decoder<Cursor<&[u8]>> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: ANCILLARY });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(png::Transformations::EXPAND);
    decoder
}

fn decode_png(
    bytes: &[u8],
    limits: &Limits,
    memory: &Memory,
    beside: Beside,
) -> Result<(Picture, Reserved), String> {
    let said = |e: png::DecodingError| e.to_string();
    let mut decoder = png_decoder(bytes);
    let header = decoder.read_header_info().map_err(said)?;
    let (width, height, interlaced) = (header.width, header.height, header.interlaced);
    let pixels = check_size(width, height, limits)?;
    let mut reader = decoder.read_info().map_err(said)?;
    let (color, depth) = reader.output_color_type();
    let wide = depth == png::BitDepth::Sixteen;
    let channels = match color {
        png::ColorType::Grayscale | png::ColorType::GrayscaleAlpha => 1,
        _ => 3,
    };
    // The rows of an interlaced picture come out of order, so all of it is kept as it is in the file.
    let unpacked = pixels * color.samples() as u64 * if wide { 2 } else { 1 };
    let held = working_bytes(pixels, channels) + if interlaced { unpacked } else { 0 };
    let room = memory.reserve(held.saturating_add(beside(width, height)))?;
    let mut out = Vec::with_capacity((pixels * u64::from(channels)) as usize);
    let mut take = |row: &[u8]| {
        let narrowed: Vec<u8>;
        let row = match wide {
            true => {
                narrowed =
                    row.as_chunks::<2>().0.iter().map(|b| to_eight_bits(u16::from_be_bytes(*b))).collect();
                &narrowed[..]
            }
            false => row,
        };
        match color {
            png::ColorType::GrayscaleAlpha => on_white::<2, 1>(row, &mut out),
            png::ColorType::Rgba => on_white::<4, 3>(row, &mut out),
            _ => out.extend_from_slice(row),
        }
    };
    if interlaced {
        let mut whole = vec![0; unpacked as usize];
        reader.next_frame(&mut whole).map_err(said)?;
        whole.chunks(unpacked as usize / height as usize).for_each(&mut take);
    } else {
        while let Some(row) = reader.next_row().map_err(said)? {
            take(row.data());
        }
    }
    if out.len() as u64 != pixels * u64::from(channels) {
        return Err("its first frame is not of the picture's size".into());
    }
    let exif = reader.info().exif_metadata.as_deref().and_then(Orientation::from_exif_chunk);
    upright(Picture { width, height, channels, pixels: out }, exif, room, memory, beside)
}

/// The picture as it was held. Turning takes a second one for a moment.
fn upright(
    picture: Picture,
    orientation: Option<Orientation>,
    room: Reserved,
    memory: &Memory,
    beside: Beside,
) -> Result<(Picture, Reserved), String> {
    let Some(orientation) = orientation.filter(|o| *o != Orientation::NoTransforms) else {
        return Ok((picture, room));
    };
    // Given back before more is asked for: whoever waits may hold nothing.
    drop(room);
    let Picture { width, height, channels, pixels } = picture;
    let working = working_bytes(u64::from(width) * u64::from(height), channels);
    // A quarter turn changes width and height: the larger of both ways is counted.
    let beside = beside(width, height).max(beside(height, width));
    let room = memory.reserve(working.max(2 * pixels.len() as u64).saturating_add(beside))?;
    const PROBLEM: &str = "its pixels are not as many as its size says";
    let mut image = match channels {
        1 => DynamicImage::ImageLuma8(ImageBuffer::from_raw(width, height, pixels).ok_or(PROBLEM)?),
        _ => DynamicImage::ImageRgb8(ImageBuffer::from_raw(width, height, pixels).ok_or(PROBLEM)?),
    };
    image.apply_orientation(orientation);
    let (width, height) = (image.width(), image.height());
    Ok((Picture { width, height, channels, pixels: image.into_bytes() }, room))
}

/// The nearest of 256 values.
fn to_eight_bits(v: u16) -> u8 {
    ((u32::from(v) + 128) / 257) as u8
}

fn decode_other(
    bytes: &[u8],
    format: ImageFormat,
    limits: &Limits,
    memory: &Memory,
    beside: Beside,
) -> Result<(Picture, Reserved), String> {
    let bytes = if format == ImageFormat::Jpeg { jpeg::first_picture(bytes)? } else { bytes };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // Width, height and memory are refused below, with the figures; this is for what a decoder reads before.
    let mut cap = image::Limits::no_limits();
    cap.max_alloc = (format != ImageFormat::Jpeg).then_some(limits.memory);
    reader.limits(cap);
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().ok();
    let (width, height) = decoder.dimensions();
    let pixels = check_size(width, height, limits)?;
    let inside = match format {
        // The decoder's copy of the file, and where the scans are several the coefficients of all blocks, which have 8x8 pixels.
        ImageFormat::Jpeg => {
            let padded = u64::from(width.next_multiple_of(32)) * u64::from(height.next_multiple_of(32));
            bytes.len() as u64 + jpeg_components_in_several_scans(bytes) * 2 * padded
        }
        // One more picture of four channels, from which the next row is predicted.
        _ => 4 * pixels,
    };
    let converted = match decoder.color_type() {
        ColorType::L8 | ColorType::Rgb8 => 0,
        color => pixels * u64::from(color.channel_count().min(3)),
    };
    let unpacked =
        decoder.total_bytes().max(working_bytes(pixels, u32::from(decoder.color_type().channel_count())));
    let beside_it = beside(width, height);
    // Turning takes a second picture for a moment.
    let turned = if orientation.is_some_and(|o| o != Orientation::NoTransforms) { 2 * unpacked } else { 0 };
    let held = (unpacked + inside + converted).saturating_add(beside_it);
    if format == ImageFormat::Jpeg && held.max(turned.saturating_add(beside_it)) > memory.total() {
        drop(decoder);
        let (picture, room) = jpeg::reduced(bytes, [width, height], memory, beside)?;
        return upright(picture, orientation, room, memory, beside);
    }
    let room = memory.reserve(held)?;
    let image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    let flattened = |mut out: Vec<u8>, image: DynamicImage| {
        match image.color().channel_count() {
            2 => on_white::<2, 1>(&image.into_luma_alpha8(), &mut out),
            _ => on_white::<4, 3>(&image.into_rgba8(), &mut out),
        }
        out
    };
    let (channels, pixels) = match image.color() {
        ColorType::L8 | ColorType::L16 => (1, image.into_luma8().into_raw()),
        ColorType::La8 | ColorType::La16 => (1, flattened(Vec::new(), image)),
        ColorType::Rgba8 | ColorType::Rgba16 | ColorType::Rgba32F => (3, flattened(Vec::new(), image)),
        _ => (3, image.into_rgb8().into_raw()),
    };
    upright(Picture { width, height, channels, pixels }, orientation, room, memory, beside)
}

/// How many components' coefficients a decoder keeps until the last scan: none where one scan holds all of them.
fn jpeg_components_in_several_scans(bytes: &[u8]) -> u64 {
    let (mut at, mut progressive, mut components) = (2, false, 0u8);
    while let Some(&[0xff, marker, high, low, ref segment @ ..]) = bytes.get(at..) {
        match marker {
            // Fill bytes.
            0xff => {
                at += 1;
                continue;
            }
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                progressive = !matches!(marker, 0xc0 | 0xc1);
                components = segment.get(5).copied().unwrap_or(4);
            }
            0xda => {
                let in_scan = segment.first().copied().unwrap_or(0);
                return if progressive || in_scan < components { components.into() } else { 0 };
            }
            _ => {}
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
    components.into()
}

/// Composites `IN` channels, the last of them alpha, over white, and appends `OUT`.
fn on_white<const IN: usize, const OUT: usize>(pixels: &[u8], out: &mut Vec<u8>) {
    for p in pixels.as_chunks::<IN>().0 {
        let a = u32::from(p[IN - 1]);
        for &v in &p[..OUT] {
            out.push(((u32::from(v) * a + 255 * (255 - a) + 127) / 255) as u8);
        }
    }
}

impl Picture {
    /// The picture with 1 or 3 channels. Grey is ITU-R 601 luma in PIL's fixed point, as `convert("L")` gives it.
    pub fn with_channels(mut self, channels: u32) -> Self {
        match (self.channels, channels) {
            (3, 1) => {
                let luma = |p: [u8; 3]| {
                    let [r, g, b] = p.map(u32::from);
                    ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
                };
                // In place: the grey picture is the front of the coloured one.
                let n = self.pixels.len() / 3;
                for i in 0..n {
                    self.pixels[i] =
                        luma([self.pixels[3 * i], self.pixels[3 * i + 1], self.pixels[3 * i + 2]]);
                }
                self.pixels.truncate(n);
            }
            (1, 3) => self.pixels = self.pixels.iter().flat_map(|&v| [v; 3]).collect(),
            _ => return self,
        }
        Self { channels, ..self }
    }
}

#[cfg(test)]
pub(crate) mod tests;
