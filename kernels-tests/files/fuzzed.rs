//! Random and half-random files: the readers end in an error that names the file, or in tensors.

use langevin::checkpoint::{Source, Tensor, Tensors, safetensors};
use proptest::collection::vec;
use proptest::prelude::*;

use super::bytes;
use super::hostile::read_all;
use super::pickles::{legacy_file, zip_file};

/// Instructions that pass the first check, with plausible arguments, so that random pickles come far.
fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let fixed: &[&[u8]] = &[
        b"(",
        b"0",
        b"1",
        b"2",
        b"N",
        b"\x88",
        b"\x89",
        b")",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"]",
        b"l",
        b"a",
        b"e",
        b"}",
        b"d",
        b"s",
        b"u",
        b"R",
        b"\x81",
        b"b",
        b"Q",
        b"\x94",
        b"\x93",
        b"K\x01",
        b"M\x00\x01",
        b"J\xff\xff\xff\xff",
        b"q\x00",
        b"q\x01",
        b"h\x00",
        b"h\x01",
        b"X\x01\x00\x00\x000",
        b"X\x07\x00\x00\x00storage",
        b"X\x05\x00\x00\x00model",
        b"X\x03\x00\x00\x00ema",
        b"X\x0d\x00\x00\x00shadow_params",
        b"X\x05\x00\x00\x00decay",
        b"ccollections\nOrderedDict\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch._utils\n_rebuild_parameter\n",
        b"ctorch\nFloatStorage\n",
        b"ctorch\nSize\n",
        b"cnumpy\ndtype\n",
        b"cnumpy._core.multiarray\nscalar\n",
        b"c_codecs\nencode\n",
        b"U\x02f8",
        b"X\x06\x00\x00\x00latin1",
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ",
        b"G\x3f\xf0\x00\x00\x00\x00\x00\x00",
        b"\x8a\x01\x05",
        b"C\x01x",
        b"\x8c\x01w",
    ];
    let fixed: Vec<Vec<u8>> = fixed.iter().map(|bytes| bytes.to_vec()).collect();
    prop_oneof![9 => prop::sample::select(fixed), 1 => vec(any::<u8>(), 1..4)]
}

/// A change of a file: overwrite, cut, insert, repeat.
fn edit(bytes: &mut Vec<u8>, kind: u8, at: usize, with: &[u8]) {
    let at = at % (bytes.len() + 1);
    match kind % 5 {
        0 => bytes.truncate(at),
        1 => drop(bytes.splice(at..at, with.iter().copied())),
        2 => {
            let end = (at + with.len()).min(bytes.len());
            let n = end - at;
            bytes[at..end].copy_from_slice(&with[..n]);
        }
        3 => {
            let end = (at + with.len()).min(bytes.len());
            bytes.drain(at..end);
        }
        _ => {
            let end = (at + 64).min(bytes.len());
            bytes.extend_from_within(at..end);
        }
    }
}

/// An error names the file; tensors are as good.
fn ends_well(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Err(error) = read_all(bytes) {
        let message = error.to_string();
        prop_assert!(message.contains("stranger.pth") && message.len() > 20, "{message}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(mut bytes in vec(any::<u8>(), 0..400), head in 0..4) {
        let head: &[u8] = [b"".as_slice(), b"PK\x03\x04", b"\x80\x02", b"\x20\0\0\0\0\0\0\0{"][head as usize];
        bytes.splice(0..0, head.iter().copied());
        ends_well(&bytes)?;
    }

    #[test]
    fn random_pickles(instructions in vec(instruction(), 0..60), stop in any::<bool>()) {
        let mut pickle = b"\x80\x02".to_vec();
        instructions.iter().for_each(|bytes| pickle.extend_from_slice(bytes));
        if stop {
            pickle.push(b'.');
        }
        ends_well(&zip_file(&pickle, &[("0", &[1; 16])]))?;
        ends_well(&legacy_file(&pickle, &[("0", 4, &[1; 16])]))?;
    }

    #[test]
    fn edited_files(file in 0..5usize, edits in vec((any::<u8>(), any::<usize>(), vec(any::<u8>(), 1..12)), 1..5)) {
        let names = ["checkpoint.pth", "checkpoint_legacy.pth", "views_without_crc.pth", "views_legacy.pth", "views.safetensors"];
        let mut bytes = bytes(names[file]);
        edits.iter().for_each(|(kind, at, with)| edit(&mut bytes, *kind, *at, with));
        ends_well(&bytes)?;
    }

    #[test]
    fn random_headers(text in "[\\[\\]{}\":,0-9a-z_ ]{0,80}", data in vec(any::<u8>(), 0..32)) {
        let header = format!("{{{text}");
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&data);
        ends_well(&bytes)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tensors_come_back(list in prop::collection::btree_map("[ -~]{1,12}", (vec(0usize..5, 0..4), any::<u32>()), 0..8)) {
        let mut tensors = Tensors::new("made");
        for (name, (shape, seed)) in &list {
            let n: usize = shape.iter().product();
            let values: Vec<f32> = (0..n as u32).map(|i| f32::from_bits(seed.wrapping_mul(i + 1))).collect();
            tensors.insert(name.as_str(), Tensor::from_f32(shape, values).unwrap()).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.safetensors");
        safetensors::save(&path, &[], &tensors).unwrap();
        let read = safetensors::read(&Source::open(&path).unwrap()).unwrap().tensors;
        prop_assert_eq!(read.len(), tensors.len());
        for (name, tensor) in tensors.iter() {
            super::assert_same(read.get(name).unwrap(), tensor, name);
        }
    }
}
