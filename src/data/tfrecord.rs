//! TFRecords of FFHQ and CelebA-HQ as NVIDIA's tools write them and the authors read them: one `tf.train.Example` a
//! picture, with `shape` (int64, `c h w`) and `data` (the bytes of that array).

use std::io::Read;
use std::path::Path;

use super::decode::{Limits, Picture};
use super::item::{Body, Item, Visit};
use super::transform::nhwc_to_nchw;
use crate::Result;
use crate::formats::protobuf::{Wire, fields, take_varint};
use crate::formats::record::RecordReader;

/// Whether a file holds records, by name: `x.tfrecord`, `x.tfrecords`, `x.tfrecord-00000-of-00010`.
pub(crate) fn is_record_name(name: &str) -> bool {
    name.rsplit('/').next().unwrap_or(name).contains(".tfrecord")
}

/// NVIDIA's folders hold a file per resolution, `ffhq-r02.tfrecords` to `ffhq-r10.tfrecords`: the part of the name that
/// a set of `image_size` has, if a file there has it.
pub(crate) fn resolution_to_read(names: &[&str], image_size: u32) -> Option<String> {
    let part = format!("-r{:02}.tfrecord", image_size.checked_ilog2()?);
    (image_size.is_power_of_two() && names.iter().any(|n| n.contains(&part))).then_some(part)
}

/// Visits every record of one file.
///
/// # Errors
/// [`crate::Error::Format`] where the framing is damaged; a record that is no picture is a bad item.
pub(crate) fn read_file(
    name: &str,
    reader: impl Read,
    path: &Path,
    limits: &Limits,
    visit: Visit,
) -> Result<()> {
    let file = name.rsplit('/').next().unwrap_or(name);
    // The picture and a few hundred bytes about it.
    let mut records = RecordReader::new(reader, path, limits.max_bytes.saturating_add(4096));
    let mut index = 0u64;
    while let Some(record) = records.next_record()? {
        let body = match parse_example(&record, limits) {
            Ok(picture) => Body::Raw(picture),
            Err(why) => Body::Bad(why),
        };
        visit(Item { name: format!("{file}#{index:08}"), body })?;
        index += 1;
    }
    Ok(())
}

/// `Example { features: 1 }`, `Features { feature: map<string, Feature> = 1 }`,
/// `Feature { bytes_list = 1, float_list = 2, int64_list = 3 }`, each list with `value = 1`
/// (`tensorflow/core/example/{example,feature}.proto`).
pub(crate) fn parse_example(record: &[u8], limits: &Limits) -> Result<Picture, String> {
    let (mut shape, mut data) = (None, None);
    for features in messages(record, 1) {
        for entry in messages(features?, 1) {
            let entry = entry?;
            let key = messages(entry, 1).next().transpose()?.unwrap_or_default();
            let value = messages(entry, 2).next().transpose()?.unwrap_or_default();
            match key {
                b"shape" => shape = messages(value, 3).next().transpose()?.map(int64_list).transpose()?,
                b"data" => {
                    let list = messages(value, 1).next().transpose()?.unwrap_or_default();
                    data = messages(list, 1).next().transpose()?;
                }
                _ => {}
            }
        }
    }
    let (shape, data) = (shape.ok_or("a record without `shape`")?, data.ok_or("a record without `data`")?);
    let side = |v: i64| u32::try_from(v).ok().filter(|v| (1..=limits.max_side).contains(v));
    let (channels, height, width) = match shape[..] {
        [c @ (1 | 3), h, w] => side(h).zip(side(w)).map(|(h, w)| (c as u32, h, w)),
        _ => None,
    }
    .ok_or_else(|| format!("shape {shape:?} where [1 or 3, height, width] is expected"))?;
    let pixels = width as usize * height as usize;
    if data.len() != pixels * channels as usize {
        return Err(format!(
            "{} bytes of data where shape {shape:?} needs {}",
            data.len(),
            pixels * channels as usize
        ));
    }
    // Channels first to channels last: the transposition of the other direction with the extents exchanged.
    Ok(Picture { width, height, channels, pixels: nhwc_to_nchw(data, channels as usize, pixels) })
}

/// The length-delimited fields with this number.
fn messages(bytes: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], String>> {
    fields(bytes).filter_map(move |field| match field {
        Ok((n, Wire::Bytes(b))) if n == number => Some(Ok(b)),
        Ok(_) => None,
        Err(e) => Some(Err(format!("not a tf.train.Example: {e}"))),
    })
}

/// `Int64List`: packed or one by one.
fn int64_list(list: &[u8]) -> Result<Vec<i64>, String> {
    let mut values = Vec::new();
    for field in fields(list) {
        match field? {
            (1, Wire::Varint(v)) => values.push(v as i64),
            (1, Wire::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    values.push(take_varint(&mut packed)? as i64);
                }
            }
            _ => {}
        }
        if values.len() > 16 {
            return Err("a `shape` of more than 16 extents".into());
        }
    }
    Ok(values)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::formats::protobuf::Message;
    use crate::formats::record::write_record;

    /// An Example as NVIDIA's `dataset_tool.py` writes it.
    pub(crate) fn example(shape: &[u8], data: &[u8]) -> Vec<u8> {
        let entry = |key: &[u8], feature| Message::new().bytes(1, key).message(2, feature);
        let shape = Message::new().message(3, Message::new().bytes(1, shape));
        let data = Message::new().message(1, Message::new().bytes(1, data));
        let features = Message::new().message(1, entry(b"shape", shape)).message(1, entry(b"data", data));
        Message::new().message(1, features).into_bytes()
    }

    fn read(file: &[u8]) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        read_file("d/x-r01.tfrecords", file, Path::new("f"), &Limits::default(), &mut |i| {
            items.push(i);
            Ok(())
        })?;
        Ok(items)
    }

    #[test]
    fn tensorflow_bytes() {
        // tf.train.Example(features=Features(feature={"shape": Int64List([3, 1, 2]), "data": BytesList([012345])}))
        // .SerializeToString(), with the map's keys in this order.
        let known = b"\n\x26\n\x10\n\x05shape\x12\x07\x1a\x05\n\x03\x03\x01\x02\n\x12\n\x04data\x12\x0a\n\x08\n\x06012345";
        assert_eq!(example(&[3, 1, 2], b"012345"), known);
        let got = parse_example(known, &Limits::default()).unwrap();
        assert_eq!((got.width, got.height, got.channels), (2, 1, 3));
        assert_eq!(got.pixels, b"024135");
    }

    #[test]
    fn a_bad_record_is_reported_and_the_rest_is_read() {
        let mut file = Vec::new();
        write_record(&mut file, &example(&[3, 1, 2], b"012345")).unwrap();
        write_record(&mut file, &example(&[3, 2, 2], b"012345")).unwrap();
        write_record(&mut file, b"\xff\xff").unwrap();
        write_record(&mut file, &example(&[1, 1, 2], b"01")).unwrap();
        let items = read(&file).unwrap();
        let names: Vec<_> = items.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names[3], "x-r01.tfrecords#00000003");
        let whys: Vec<_> =
            items.iter().map(|i| if let Body::Bad(why) = &i.body { why.as_str() } else { "" }).collect();
        assert!(whys[0].is_empty() && whys[3].is_empty());
        assert!(whys[1].contains("needs 12") && whys[2].contains("not a tf.train.Example"), "{whys:?}");
        assert!(read(&file[..file.len() - 3]).is_err());
    }

    #[test]
    fn hostile_shapes_are_refused() {
        for shape in [&[3, 0, 2][..], &[4, 1, 1], &[3, 1], &[]] {
            assert!(parse_example(&example(shape, b"012345"), &Limits::default()).is_err());
        }
        let huge = [3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1];
        assert!(parse_example(&example(&huge, b""), &Limits::default()).is_err());
    }

    #[test]
    fn resolutions() {
        let names = ["ffhq-r02.tfrecords", "ffhq-r08.tfrecords"];
        assert_eq!(resolution_to_read(&names, 256).as_deref(), Some("-r08.tfrecord"));
        assert_eq!(resolution_to_read(&names, 1024), None);
        assert_eq!(resolution_to_read(&names, 200), None);
    }
}
