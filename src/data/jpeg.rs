//! What a JPEG file needs beside a decoder: where its picture ends, and a smaller one where the whole would take too much memory.
//!
//! Where the picture ends: Phones put a video or a second picture behind it; a cut file may have the video all the
//! same, and a decoder fills what it lacks with grey, which a data set should not.
//!
//! Markers are walked from the front (ITU-T T.81, annex B). Where something stands behind the end marker, the blocks of each scan are
//! counted as well (annex F): random bytes hold an end marker every 65,536 bytes, but no right number of blocks in front of it.

use jpeg_decoder::PixelFormat;

use super::decode::{Beside, Picture};
use crate::limits::{Memory, Reserved};

/// Bytes behind the end marker that say nothing: padding.
const PADDING: usize = 64;

/// The bytes of the picture, without what stands behind it.
///
/// # Errors
/// Why it is not whole, in words for a report.
pub(super) fn first_picture(bytes: &[u8]) -> Result<&[u8], String> {
    let end = Walk::new(bytes, false).end()?;
    let end = match bytes.len() - end > PADDING {
        true => Walk::new(bytes, true).end()?,
        false => end,
    };
    Ok(&bytes[..end])
}

/// A picture of the largest of a half, a quarter and an eighth of the size that the memory has room for, with what it takes `beside` it: blocks of 8x8 pixels are turned
/// back at that size (the transform's low frequencies alone), so the whole is never there.
///
/// # Errors
/// Why not, in words for a report.
pub(super) fn reduced(
    bytes: &[u8],
    [width, height]: [u32; 2],
    memory: &Memory,
    beside: Beside,
) -> Result<(Picture, Reserved), String> {
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.read_info().map_err(|e| e.to_string())?;
    let info = decoder.info().ok_or("a JPEG without a header")?;
    let channels = match info.pixel_format {
        PixelFormat::L8 => 1,
        PixelFormat::RGB24 => 3,
        _ => {
            return Err(format!(
                "{width}x{height} pixels of {:?} are too many to be read",
                info.pixel_format
            ));
        }
    };
    let pixels = |by: u32| u64::from(width.div_ceil(by)) * u64::from(height.div_ceil(by));
    // Of several scans the coefficients of all blocks are kept. Planes and picture stand side by side for a moment.
    let padded = u64::from(width.next_multiple_of(32)) * u64::from(height.next_multiple_of(32));
    let kept = if Walk::frame_of(bytes).is_some_and(|f| f.progressive) { 2 * channels * padded } else { 0 };
    let needed = |by: u32| {
        let held = bytes.len() as u64 + kept + 3 * channels * pixels(by);
        held.saturating_add(beside(width.div_ceil(by), height.div_ceil(by)))
    };
    let by = [2, 4, 8].into_iter().find(|by| needed(*by) <= memory.total()).unwrap_or(8);
    let room = memory.reserve(needed(by))?;
    let wanted = |size: u32| u16::try_from(size.div_ceil(by)).unwrap_or(u16::MAX);
    let (width, height) = decoder.scale(wanted(width), wanted(height)).map_err(|e| e.to_string())?;
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    let picture = Picture { width: width.into(), height: height.into(), channels: channels as u32, pixels };
    Ok((picture, room))
}

fn cut() -> String {
    "a JPEG that ends early".into()
}

/// A component of the frame: its name, and its samples in each direction for one of the coarsest component.
#[derive(Clone, Copy, Debug)]
struct Component {
    name: u8,
    h: usize,
    v: usize,
}

#[derive(Clone, Debug)]
struct FrameHeader {
    width: usize,
    height: usize,
    components: Vec<Component>,
    progressive: bool,
    /// Huffman codes of 8 or 12 bits, block by block: what can be counted.
    sequential: bool,
}

/// A Huffman table (annex C): for each length the first code, the number of codes and where their symbols begin.
#[derive(Clone, Debug, Default)]
struct Codes {
    first: [u32; 17],
    count: [u32; 17],
    begin: [usize; 17],
    symbols: Vec<u8>,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether blocks are counted.
    count: bool,
    frame: Option<FrameHeader>,
    scans: usize,
    restart: usize,
    /// For DC and AC, by number.
    codes: [[Option<Codes>; 4]; 2],
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8], count: bool) -> Self {
        Self { bytes, at: 2, count, frame: None, scans: 0, restart: 0, codes: Default::default() }
    }

    /// The header of the picture, none where there is none that is known.
    fn frame_of(bytes: &'a [u8]) -> Option<FrameHeader> {
        let mut walk = Self::new(bytes, false);
        while walk.frame.is_none() {
            if walk.step().ok()?.is_some() {
                return None;
            }
        }
        walk.frame
    }

    fn end(mut self) -> Result<usize, String> {
        if !self.bytes.starts_with(&[0xff, 0xd8]) {
            return Err("no JPEG".into());
        }
        loop {
            if let Some(end) = self.step()? {
                return Ok(end);
            }
        }
    }

    /// One marker and its segment; the end behind the last one.
    fn step(&mut self) -> Result<Option<usize>, String> {
        let byte = |at: usize| self.bytes.get(at).copied().ok_or_else(cut);
        if byte(self.at)? != 0xff {
            return Err(match self.scans {
                0 => "a JPEG whose header is damaged".into(),
                _ => cut(),
            });
        }
        // Fill bytes.
        while byte(self.at + 1)? == 0xff {
            self.at += 1;
        }
        let marker = byte(self.at + 1)?;
        self.at += 2;
        match marker {
            0xd9 if self.scans == 0 => return Err("a JPEG without a picture".into()),
            0xd9 => return Ok(Some(self.at)),
            0xd8 | 0x01 | 0xd0..=0xd7 => return Ok(None),
            _ => {}
        }
        let bytes = self.bytes;
        let length = usize::from(byte(self.at)?) << 8 | usize::from(byte(self.at + 1)?);
        let segment =
            length.checked_sub(2).and_then(|n| bytes.get(self.at + 2..self.at + 2 + n)).ok_or_else(cut)?;
        self.at += length;
        match marker {
            0xc4 => self.tables(segment),
            0xc0..=0xcf if !matches!(marker, 0xc8 | 0xcc) => self.frame = header(marker, segment),
            0xdd => {
                self.restart = segment.first_chunk().map_or(0, |n: &[u8; 2]| u16::from_be_bytes(*n).into())
            }
            0xda => {
                self.scans += 1;
                self.at = match self.counted(segment) {
                    Some(end) => end.ok_or_else(cut)?,
                    None => self.next_marker()?,
                };
            }
            _ => {}
        }
        Ok(None)
    }

    /// Where the coded data end: at the first marker that may not stand in them.
    fn next_marker(&self) -> Result<usize, String> {
        let mut at = self.at;
        loop {
            let found = self.bytes[at..].iter().position(|b| *b == 0xff).ok_or_else(cut)?;
            at += found;
            match self.bytes.get(at + 1).copied().ok_or_else(cut)? {
                0x00 => at += 2,
                0xd0..=0xd7 if self.restart > 0 => at += 2,
                0xff => at += 1,
                // What may follow a scan: tables, another scan, the number of lines, application data, the end.
                0xc4 | 0xcc | 0xd9..=0xdd | 0xe0..=0xef | 0xfe => return Ok(at),
                _ => return Err(cut()),
            }
        }
    }

    fn tables(&mut self, mut segment: &[u8]) {
        while let [kind, rest @ ..] = segment {
            let Some((counts, rest)) = rest.split_first_chunk::<16>() else { return };
            let total: usize = counts.iter().map(|n| usize::from(*n)).sum();
            let Some((symbols, rest)) = rest.split_at_checked(total) else { return };
            let mut codes = Codes { symbols: symbols.to_vec(), ..Codes::default() };
            let (mut code, mut begin) = (0, 0);
            for (length, n) in (1..).zip(counts) {
                codes.first[length] = code;
                codes.count[length] = u32::from(*n);
                codes.begin[length] = begin;
                code = (code + u32::from(*n)) << 1;
                begin += usize::from(*n);
            }
            if let Some(table) = self.codes.get_mut(usize::from(kind >> 4)) {
                table[usize::from(kind & 3)] = Some(codes);
            }
            segment = rest;
        }
    }

    /// Where the blocks of a scan end; the inner none where they do not, the outer where they are not counted.
    fn counted(&self, segment: &[u8]) -> Option<Option<usize>> {
        let frame = self.frame.as_ref().filter(|frame| self.count && frame.sequential && frame.height > 0)?;
        let n = usize::from(*segment.first()?);
        let mut parts = Vec::new();
        for pair in segment.get(1..1 + 2 * n)?.as_chunks::<2>().0 {
            let component = frame.components.iter().find(|c| c.name == pair[0])?;
            let table = |kind: usize, number: u8| self.codes[kind][usize::from(number & 3)].as_ref();
            parts.push((*component, table(0, pair[1] >> 4)?, table(1, pair[1])?));
        }
        let most = |of: fn(&Component) -> usize| frame.components.iter().map(of).max().unwrap_or(1);
        let (h_max, v_max) = (most(|c| c.h), most(|c| c.v));
        // A scan of one component has its blocks alone; else a unit has those of 8 h_max by 8 v_max pixels.
        let (units, alone) = match parts.as_slice() {
            [(c, ..)] => {
                let blocks = |size: usize, of: usize, most: usize| (size * of).div_ceil(most).div_ceil(8);
                (blocks(frame.width, c.h, h_max) * blocks(frame.height, c.v, v_max), true)
            }
            _ => (frame.width.div_ceil(8 * h_max) * frame.height.div_ceil(8 * v_max), false),
        };
        let mut bits = Bits { bytes: self.bytes, at: self.at, held: 0, left: 0 };
        Some(bits.units(units, &parts, alone, self.restart))
    }
}

fn header(marker: u8, segment: &[u8]) -> Option<FrameHeader> {
    let [_bits, h1, h0, w1, w0, n, components @ ..] = segment else { return None };
    let size = |high: &u8, low: &u8| usize::from(*high) << 8 | usize::from(*low);
    let component =
        |c: &[u8; 3]| Component { name: c[0], h: usize::from(c[1] >> 4), v: usize::from(c[1] & 15) };
    let components: Vec<Component> =
        components.as_chunks::<3>().0.iter().take(usize::from(*n)).map(component).collect();
    let sound = components.iter().all(|c| (1..=4).contains(&c.h) && (1..=4).contains(&c.v));
    (sound && !components.is_empty()).then(|| FrameHeader {
        width: size(w1, w0),
        height: size(h1, h0),
        components,
        progressive: !matches!(marker, 0xc0 | 0xc1),
        sequential: matches!(marker, 0xc0 | 0xc1),
    })
}

/// Coded data, bit by bit.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u32,
    left: u32,
}

impl Bits<'_> {
    /// The end of so many units; none where the data end before, or go on.
    fn units(
        &mut self,
        units: usize,
        parts: &[(Component, &Codes, &Codes)],
        alone: bool,
        restart: usize,
    ) -> Option<usize> {
        for unit in 0..units {
            if restart > 0 && unit > 0 && unit.is_multiple_of(restart) {
                self.left = 0;
                matches!(self.bytes.get(self.at..self.at + 2)?, [0xff, 0xd0..=0xd7]).then_some(())?;
                self.at += 2;
            }
            for (component, dc, ac) in parts {
                let blocks = if alone { 1 } else { component.h * component.v };
                for _ in 0..blocks {
                    self.block(dc, ac)?;
                }
            }
        }
        // The rest of the last byte is padding; a marker has to follow, fill bytes before it or not.
        (*self.bytes.get(self.at)? == 0xff).then_some(self.at)
    }

    fn block(&mut self, dc: &Codes, ac: &Codes) -> Option<()> {
        let difference = self.symbol(dc)?;
        self.skip(difference.into())?;
        let mut k = 1;
        while k < 64 {
            let symbol = self.symbol(ac)?;
            match (symbol >> 4, symbol & 15) {
                // 16 zeros, or the end of the block.
                (15, 0) => k += 16,
                (_, 0) => break,
                (run, size) => {
                    k += usize::from(run) + 1;
                    self.skip(size.into())?;
                }
            }
        }
        (k <= 64).then_some(())
    }

    fn symbol(&mut self, codes: &Codes) -> Option<u8> {
        let mut code = 0;
        for length in 1..=16 {
            code = code << 1 | self.bit()?;
            let place = code.wrapping_sub(codes.first[length]);
            if place < codes.count[length] {
                return codes.symbols.get(codes.begin[length] + place as usize).copied();
            }
        }
        None
    }

    fn skip(&mut self, bits: u32) -> Option<()> {
        (bits <= 16).then_some(())?;
        (0..bits).try_for_each(|_| self.bit().map(drop))
    }

    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            let byte = *self.bytes.get(self.at)?;
            // 0xff is followed by a zero that is no data, or is a marker.
            if byte == 0xff && *self.bytes.get(self.at + 1)? != 0 {
                return None;
            }
            self.at += if byte == 0xff { 2 } else { 1 };
            (self.held, self.left) = (byte.into(), 8);
        }
        self.left -= 1;
        Some(self.held >> self.left & 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ExtendedColorType;
    use image::codecs::jpeg::JpegEncoder;

    /// A JPEG of noise, which has many coefficients.
    fn jpeg(width: u32, height: u32, color: ExtendedColorType) -> Vec<u8> {
        let channels = if color == ExtendedColorType::L8 { 1 } else { 3 };
        let mut state = 7u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let pixels: Vec<u8> = (0..width * height * channels).map(|_| noise()).collect();
        let mut out = Vec::new();
        JpegEncoder::new_with_quality(&mut out, 90).encode(&pixels, width, height, color).unwrap();
        out
    }

    /// Bytes as a video has them: every value, a marker of the end among them.
    fn video(seed: u32) -> Vec<u8> {
        let mut state = seed;
        let mut bytes = b"\0\0\0\x18ftypmp42".to_vec();
        bytes.extend((0..100_000).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        }));
        bytes
    }

    #[test]
    fn a_picture_ends_where_it_ends() {
        for (width, height) in [(32, 32), (17, 5), (1, 1), (100, 33)] {
            for color in [ExtendedColorType::L8, ExtendedColorType::Rgb8] {
                let whole = jpeg(width, height, color);
                assert_eq!(first_picture(&whole).unwrap(), whole);
                for seed in 0..20 {
                    let motion = [&whole[..], &video(seed)].concat();
                    assert_eq!(first_picture(&motion).unwrap(), whole, "{width}x{height} seed {seed}");
                }
            }
        }
    }

    #[test]
    fn a_cut_picture_is_found_whatever_stands_behind_it() {
        let whole = jpeg(64, 64, ExtendedColorType::Rgb8);
        for cut in [whole.len() / 4, whole.len() / 2, whole.len() * 3 / 4, whole.len() - 9] {
            assert_eq!(first_picture(&whole[..cut]).unwrap_err(), "a JPEG that ends early");
            for seed in 0..300 {
                let motion = [&whole[..cut], &video(seed)].concat();
                assert!(first_picture(&motion).is_err(), "cut at {cut}, seed {seed}");
            }
            // A whole picture behind a cut one.
            let two = [&whole[..cut], &whole[..]].concat();
            assert!(first_picture(&two).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_picture_for_which_memory_is_short_is_read_smaller() {
        let pixels: Vec<u8> =
            (0..400 * 300).flat_map(|i| [(i % 400 / 2) as u8, (i / 400 / 2) as u8, 90]).collect();
        let mut file = Vec::new();
        JpegEncoder::new_with_quality(&mut file, 95)
            .encode(&pixels, 400, 300, ExtendedColorType::Rgb8)
            .unwrap();
        for by in [2, 4, 8] {
            let total = file.len() as u64 + 9 * u64::from(400u32.div_ceil(by) * 300u32.div_ceil(by));
            let (picture, room) = reduced(&file, [400, 300], &Memory::new(total), &|_, _| 0).unwrap();
            assert_eq!((picture.width, picture.height), (400u32.div_ceil(by), 300u32.div_ceil(by)));
            // The middle of the picture is the middle of the smaller one.
            let at = 3 * (picture.height / 2 * picture.width + picture.width / 2) as usize;
            let [r, g, b] = picture.pixels[at..at + 3] else { panic!() };
            assert!(r.abs_diff(100) < 8 && g.abs_diff(75) < 8 && b.abs_diff(90) < 8, "{r} {g} {b}");
            drop(room);
        }
        assert!(
            reduced(&file, [400, 300], &Memory::new(file.len() as u64 + 5_000), &|_, _| 0)
                .unwrap_err()
                .contains("memory")
        );
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for (bytes, reason) in [
            (&b""[..], "no JPEG"),
            (b"\xff\xd8", "ends early"),
            (b"\xff\xd8\xff\xd9", "without a picture"),
            (b"\xff\xd8\xff\xe0\0\x01", "ends early"),
            (b"\xff\xd8abc", "header is damaged"),
        ] {
            let problem = first_picture(bytes).unwrap_err();
            assert!(problem.contains(reason), "{problem} is not {reason}");
        }
        let whole = jpeg(16, 16, ExtendedColorType::Rgb8);
        let frame = Walk::frame_of(&whole).unwrap();
        assert_eq!(
            (frame.components.len(), frame.progressive, frame.width, frame.height),
            (3, false, 16, 16)
        );
        for cut in 0..whole.len() {
            assert!(first_picture(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
