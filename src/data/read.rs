//! A few images for inpainting, encoding or likelihood: from pictures, folders, archives, `.npz`, `.npy`, safetensors.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

use super::decode::Limits;
use super::ingest::{Preparation, ingest};
use super::preprocess::Preprocess;
use super::transform::{nhwc_to_nchw, to_unit};
use crate::formats::npy::{NpyArray, NpyData, NpzReader, read_npy_file};
use crate::limits::{self, ARRAY_BYTES, list, shown};
use crate::{Error, Result, files};

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadConfig {
    /// A PNG, JPEG, `.npz`, `.npy` or `.safetensors` file, or anything that [`super::Dataset::open`] takes.
    pub path: PathBuf,
    /// Size, channels, recipe, for pictures; if none, those of the first. Arrays have to have this size and channels.
    pub preprocess: Option<Preprocess>,
    /// What a picture may cost.
    pub limits: Limits,
    /// Read no more than this many.
    pub most: Option<usize>,
    /// Take floats outside [0, 1] as they are.
    pub any_range: bool,
}

/// Images in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// `[n, c, h, w]`.
    pub shape: [usize; 4],
    /// `n c h w`; in [0, 1] where they come from pictures or bytes, as they are where they come from floats.
    pub values: Vec<f32>,
    /// Where each comes from: a path, or a file and a number.
    pub names: Vec<String>,
    /// What the user should know: pictures that lost most of their area, files that were left out, values outside [0, 1].
    pub notes: Vec<String>,
}

/// How far floats may lie outside [0, 1]: what a sampler draws is not clipped.
const BEYOND: f32 = 0.1;

/// The names under which samples are found in `.npz` and safetensors files.
const NAMES: [&str; 5] = ["x", "samples", "images", "arr_0", "data"];

/// Reads images. A picture that cannot be read is an error here, unlike in a data set: somebody asked for it.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`] where a file is damaged, holds no images, or images of another shape.
pub fn read_images(config: &ReadConfig) -> Result<Images> {
    let ending = config.path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let mut images = match ending.as_deref() {
        Some("npy" | "npz") => from_numpy(&config.path)?,
        Some("safetensors") => from_safetensors(&config.path)?,
        _ => return from_pictures(config),
    };
    if let Some(prep) = config.preprocess {
        let [_, c, h, w] = images.shape;
        let (channels, side) = (prep.channels as usize, prep.image_size as usize);
        if [c, h, w] != [channels, side, side] {
            let problem =
                format!("images of {c}x{h}x{w} (c h w) where the model takes {channels}x{side}x{side}");
            return Err(Error::format(&config.path, problem));
        }
    }
    if let Some(most) = config.most {
        let n = images.shape[0].min(most);
        images.values.truncate(n * images.shape[1..].iter().product::<usize>());
        images.names.truncate(n);
        images.shape[0] = n;
    }
    if let Some(at) = images.values.iter().position(|v| !v.is_finite()) {
        let name = &images.names[at / images.shape[1..].iter().product::<usize>()];
        return Err(Error::format(&config.path, format!("{name} holds NaN or infinity")));
    }
    images.notes.extend(check_range(config, &images.values)?);
    Ok(images)
}

/// Values of images are in [0, 1]. A model takes others without a word, and what it says of them means nothing.
fn check_range(config: &ReadConfig, values: &[f32]) -> Result<Option<String>> {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if least >= 0.0 && most <= 1.0 || values.is_empty() {
        return Ok(None);
    }
    let found = format!("its values reach from {least} to {most}");
    if config.any_range || least >= -BEYOND && most <= 1.0 + BEYOND {
        return Ok(Some(format!(
            "{}: {found}, outside [0, 1]; they are taken as they are",
            config.path.display()
        )));
    }
    let remedy = match (least, most) {
        (0.0.., 2.0..=255.0) => "divide them by 255, or store them as bytes (u8)",
        (-1.0.., ..=1.0) => "where they mean [-1, 1], store (x + 1) / 2",
        _ => "scale them to [0, 1]",
    };
    Err(Error::format(&config.path, format!("{found}, where images have [0, 1]: {remedy}")))
}

fn from_pictures(config: &ReadConfig) -> Result<Images> {
    let prep = config.preprocess.map_or(Preparation::FirstPicture, Preparation::Known);
    let (mut rows, mut used) = (Vec::new(), config.preprocess);
    let mut sink = |_: &str, row: &[u8], prep: &Preprocess| {
        rows.push(row.to_vec());
        used = Some(*prep);
        Ok(())
    };
    let found = ingest(&config.path, prep, &config.limits, config.most, &mut sink, &mut |_| true)?;
    if let Some(bad) = found.bad.first() {
        let path = if config.path.is_file() { config.path.clone() } else { config.path.join(&bad.name) };
        // A picture is its own source; of an archive the member is named too.
        let member = match config.path.is_file() && config.path.file_name() != Some(bad.name.as_ref()) {
            true => format!("{}: ", shown(&bad.name)),
            false => String::new(),
        };
        let more = match found.bad.len() - 1 {
            0 => String::new(),
            more => format!(" ({more} more cannot be read)"),
        };
        return Err(Error::format(path, format!("{member}{}{more}", bad.reason)));
    }
    let Some(prep) = used.filter(|_| !rows.is_empty()) else {
        return Err(Error::format(&config.path, "no picture here"));
    };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| found.names[a].cmp(&found.names[b]));
    let (side, channels) = (prep.image_size as usize, prep.channels as usize);
    let values =
        order.iter().flat_map(|&i| to_unit(&nhwc_to_nchw(&rows[i], side * side, channels))).collect();
    let names = order.iter().map(|&i| found.names[i].clone()).collect();
    let sizes = found.sizes.iter().map(|(&(w, h, _), &n)| (w, h, n));
    let mut notes = prep.surprises(sizes);
    notes.extend(found.left_out.in_words());
    Ok(Images { shape: [rows.len(), channels, side, side], values, names, notes })
}

fn from_numpy(path: &Path) -> Result<Images> {
    let array = if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")) {
        {
            let (file, length) = files::open(path)?;
            read_npy_file(file, length, path)?
        }
    } else {
        let mut file = NpzReader::open(BufReader::new(files::open(path)?.0), path)?;
        let names: Vec<&str> = file.names().collect();
        let named = NAMES.iter().copied().find(|name| names.contains(name));
        match named.or((names.len() == 1).then(|| names[0])).map(str::to_owned) {
            Some(name) => file.read(&name)?,
            None => {
                let names = list(names.into_iter());
                return Err(Error::format(path, format!("none of {NAMES:?} among its arrays {names}")));
            }
        }
    };
    let NpyArray { shape, data } = array;
    let bytes = matches!(data, NpyData::U8(_));
    let values = match data {
        NpyData::U8(v) => to_unit(&v),
        NpyData::F32(v) => v,
        other => other.to_f32(),
    };
    // Bytes are stored as pictures are, channels last; floats as models see them.
    from_array(path, &shape, values, bytes)
}

fn from_safetensors(path: &Path) -> Result<Images> {
    let (shape, values, bytes) = tensor(path, &NAMES)?;
    from_array(path, &shape, values, bytes)
}

fn from_array(path: &Path, shape: &[usize], values: Vec<f32>, prefer_last: bool) -> Result<Images> {
    let &[n, a, b, c] = shape else {
        return Err(Error::format(
            path,
            format!("shape {} where four extents are expected (n c h w or n h w c)", limits::shape(shape)),
        ));
    };
    let (first, last) = (matches!(a, 1 | 3), matches!(c, 1 | 3));
    if !first && !last || shape.contains(&0) {
        return Err(Error::format(
            path,
            format!("shape {shape:?} has neither 1 nor 3 channels, first or last"),
        ));
    }
    let channels_last = last && (prefer_last || !first);
    let (shape, values) = match channels_last {
        true => ([n, c, a, b], nhwc_to_nchw(&values, a * b, c)),
        false => ([n, a, b, c], values),
    };
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let names = (0..n).map(|i| format!("{file}#{i}")).collect();
    Ok(Images { shape, values, names, notes: Vec::new() })
}

/// Reads one tensor of a safetensors file as f32 (from f32, f64, f16, bf16 or, divided by 255, u8): the first of `names`
/// that is there, or the only one.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`] where the file is damaged or the tensor is not there.
pub fn read_tensor(path: &Path, names: &[&str]) -> Result<(Vec<usize>, Vec<f32>)> {
    tensor(path, names).map(|(shape, values, _)| (shape, values))
}

/// The bytes of a file whose header fits its length: a file that claims a length is not read for that alone.
fn safetensors_bytes(path: &Path) -> Result<Vec<u8>> {
    const HEADER_BYTES: u64 = 1 << 24;
    let bad = |what: String| Error::format(path, format!("no safetensors file: {what}"));
    let (mut file, length) = files::open(path)?;
    let mut head = Vec::new();
    (&mut file).take(8).read_to_end(&mut head).map_err(Error::io(path))?;
    let size = <[u8; 8]>::try_from(head.as_slice())
        .map(u64::from_le_bytes)
        .map_err(|_| bad("it is too short".into()))?;
    if size > HEADER_BYTES || size > length - 8 {
        return Err(bad(format!("a header of {size} bytes in {length}, at most {HEADER_BYTES} are read")));
    }
    (&mut file).take(size).read_to_end(&mut head).map_err(Error::io(path))?;
    let tree: serde_json::Value = serde_json::from_slice(&head[8..]).map_err(|e| bad(e.to_string()))?;
    let ends =
        tree.as_object().into_iter().flatten().filter_map(|(_, info)| info["data_offsets"][1].as_u64());
    let needed = ends.max().unwrap_or(0).saturating_add(8 + size);
    if needed != length || length > ARRAY_BYTES {
        return Err(bad(format!(
            "it has {length} bytes, its header needs {needed}, at most {ARRAY_BYTES} are read"
        )));
    }
    files::read(path, ARRAY_BYTES)
}

fn tensor(path: &Path, names: &[&str]) -> Result<(Vec<usize>, Vec<f32>, bool)> {
    let bytes = safetensors_bytes(path)?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| Error::format(path, format!("no safetensors file: {e}")))?;
    let all = file.names();
    let name = match names.iter().find(|n| all.contains(n)) {
        Some(name) => *name,
        None if all.len() == 1 => all[0],
        None => {
            let all = list(all.iter().map(|name| &**name));
            return Err(Error::format(path, format!("none of {names:?} among its tensors {all}")));
        }
    };
    let view = file.tensor(name).map_err(|e| Error::format(path, e.to_string()))?;
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::U8 => to_unit(data),
        other => {
            return Err(Error::format(
                path,
                format!("tensor {name:?} has type {other:?}; floats and u8 are read"),
            ));
        }
    };
    Ok((view.shape().to_vec(), values, view.dtype() == Dtype::U8))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use safetensors::tensor::TensorView;

    use super::super::decode::tests::png;
    use super::*;
    use crate::formats::npy::{write_npy, write_npz};

    fn config(path: PathBuf) -> ReadConfig {
        ReadConfig { path, preprocess: None, limits: Limits::default(), most: None, any_range: true }
    }

    fn save(folder: &Path, name: &str, shape: Vec<usize>, dtype: Dtype, data: &[u8]) -> PathBuf {
        let path = folder.join("t.safetensors");
        let view = TensorView::new(dtype, shape, data).unwrap();
        fs::write(&path, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
        path
    }

    #[test]
    fn pictures_in_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let pixels = [0, 51, 102, 255, 0, 51, 51, 51, 51, 0, 0, 0];
        fs::write(dir.path().join("b.png"), png(2, 2, png::ColorType::Rgb, &pixels)).unwrap();
        fs::write(dir.path().join("a.png"), png(2, 2, png::ColorType::Grayscale, &[255; 4])).unwrap();
        fs::write(dir.path().join("notes.txt"), b"").unwrap();
        let prep = Some(Preprocess::new(2, 3).unwrap());
        let got = read_images(&ReadConfig { preprocess: prep, ..config(dir.path().into()) }).unwrap();
        assert_eq!(got.shape, [2, 3, 2, 2]);
        assert_eq!(got.names, ["a.png", "b.png"]);
        assert_eq!(got.values[12..], [0.0, 1.0, 0.2, 0.0, 0.2, 0.0, 0.2, 0.0, 0.4, 0.2, 0.2, 0.0]);
        // One file, by its own size and channels.
        let got = read_images(&config(dir.path().join("a.png"))).unwrap();
        assert_eq!((got.shape, got.values), ([1, 1, 2, 2], vec![1.0; 4]));
        let got = read_images(&ReadConfig { most: Some(1), ..config(dir.path().into()) }).unwrap();
        assert_eq!((got.shape[0], got.names), (1, vec!["a.png".to_string()]));
    }

    #[test]
    fn a_bad_picture_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.png"), b"nothing").unwrap();
        let error = read_images(&config(dir.path().into())).unwrap_err().to_string();
        assert!(error.contains("a.png") && error.contains("not one of PNG"), "{error}");
        fs::remove_file(dir.path().join("a.png")).unwrap();
        assert!(read_images(&config(dir.path().into())).unwrap_err().to_string().contains("no picture"));
    }

    #[test]
    fn arrays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.npz");
        let bytes = NpyArray { shape: vec![1, 2, 1, 3], data: NpyData::U8(vec![0, 51, 102, 255, 0, 51]) };
        write_npz(File::create(&path).unwrap(), &[("labels", &bytes), ("samples", &bytes)]).unwrap();
        let got = read_images(&config(path.clone())).unwrap();
        assert_eq!((got.shape, got.names), ([1, 3, 2, 1], vec!["s.npz#0".to_string()]));
        assert_eq!(got.values, [0.0, 1.0, 0.2, 0.0, 0.4, 0.2]);
        let prep = Some(Preprocess::new(2, 3).unwrap());
        let error = read_images(&ReadConfig { preprocess: prep, ..config(path) }).unwrap_err().to_string();
        assert!(error.contains("3x2x1") && error.contains("3x2x2"), "{error}");

        let path = dir.path().join("s.npy");
        let floats = NpyArray { shape: vec![2, 1, 1, 2], data: NpyData::F64(vec![0.5, -3.0, 1.0, 2.0]) };
        write_npy(&mut File::create(&path).unwrap(), &floats).unwrap();
        let got = read_images(&ReadConfig { most: Some(1), ..config(path) }).unwrap();
        assert_eq!((got.shape, got.values), ([1, 1, 1, 2], vec![0.5, -3.0]));
    }

    #[test]
    fn ranges_that_are_not_meant_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let read = |values: [f32; 2], any_range| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let path = save(dir.path(), "x", vec![2, 1, 1, 1], Dtype::F32, &bytes);
            read_images(&ReadConfig { any_range, ..config(path) })
        };
        let problem = |values| read(values, false).unwrap_err().to_string();
        let bytes = problem([0.0, 255.0]);
        assert!(
            bytes.contains("from 0 to 255") && bytes.contains("[0, 1]") && bytes.contains("by 255"),
            "{bytes}"
        );
        let centred = problem([-1.0, 1.0]);
        assert!(centred.contains("from -1 to 1") && centred.contains("(x + 1) / 2"), "{centred}");
        problem([0.5, 2.0]);
        problem([-3.0, 0.5]);
        assert!(read([0.0, 1.0], false).unwrap().notes.is_empty());
        // What a sampler drew is not clipped.
        assert!(read([-0.02, 1.05], false).unwrap().notes[0].contains("as they are"));
        assert_eq!(read([-1.0, 255.0], true).unwrap().values, [-1.0, 255.0]);
        // The advice, followed to the letter.
        assert!(read([0.0, 255.0 / 255.0], false).is_ok() && read([(-1.0 + 1.0) / 2.0, 1.0], false).is_ok());
    }

    #[test]
    fn tensors() {
        let dir = tempfile::tempdir().unwrap();
        let floats: Vec<u8> = [0.25f32, -1.0, 7.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let path = save(dir.path(), "x", vec![1, 3, 1, 1], Dtype::F32, &floats);
        assert_eq!(read_images(&config(path.clone())).unwrap().values, [0.25, -1.0, 7.0]);
        assert_eq!(read_tensor(&path, &["z"]).unwrap(), (vec![1, 3, 1, 1], vec![0.25, -1.0, 7.0]));
        let path = save(dir.path(), "x", vec![3, 1], Dtype::F32, &floats);
        assert!(read_images(&config(path)).unwrap_err().to_string().contains("four extents"));
        let bad: Vec<u8> = [0.25f32, f32::NAN, 7.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let path = save(dir.path(), "x", vec![3, 1, 1, 1], Dtype::F32, &bad);
        assert!(read_images(&config(path)).unwrap_err().to_string().contains("#1 holds NaN"));
        let path = save(dir.path(), "x", vec![1, 1, 1, 1], Dtype::I64, &[0; 8]);
        assert!(read_images(&config(path.clone())).is_err());
        fs::write(&path, [0xff; 20]).unwrap();
        assert!(read_images(&config(path)).is_err());
    }
}
