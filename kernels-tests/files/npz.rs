//! Weights as an archive of numpy arrays.

use std::fs;

use langevin::checkpoint::{SavedModel, open};
use langevin::formats::npy::{NpyArray, NpyData, write_npz};

/// The embedded model's weights as `np.savez` writes them, with a step beside.
fn archive(model: &SavedModel) -> Vec<u8> {
    let arrays: Vec<(String, NpyArray)> = model
        .tensors(Default::default())
        .iter()
        .map(|(name, t)| {
            (name.to_owned(), NpyArray { shape: t.shape().to_vec(), data: NpyData::F32(t.to_f32().unwrap()) })
        })
        .collect();
    let step = NpyArray { shape: vec![], data: NpyData::I64(vec![77]) };
    let mut all: Vec<(&str, &NpyArray)> = arrays.iter().map(|(name, array)| (name.as_str(), array)).collect();
    all.push(("step", &step));
    let mut bytes = Vec::new();
    write_npz(&mut bytes, &all).unwrap();
    bytes
}

#[test]
fn an_archive_of_arrays_is_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    let embedded = SavedModel::embedded(&Ok).unwrap();
    let bytes = archive(&embedded);
    fs::write(&path, &bytes).unwrap();
    let contents = open(&path).unwrap();
    assert_eq!((contents.format, contents.step), (".npz", Some(77)));
    let config = embedded.config.clone();
    let model = SavedModel::open(&path, Some(config.clone())).unwrap();
    for (name, tensor) in embedded.tensors(Default::default()).iter() {
        let read = model.tensors(Default::default()).get(name).unwrap().to_f32().unwrap();
        assert_eq!(read, tensor.to_f32().unwrap(), "{name}");
    }
    // Without a configuration nobody knows whose weights they are.
    let error = SavedModel::open(&path, None).unwrap_err().to_string();
    assert!(error.contains("preset"), "{error}");
    // Cut anywhere, it is refused.
    for length in [1, 31, 200, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(SavedModel::open(&path, Some(config.clone())).is_err(), "{length} bytes");
    }
}
