//! safetensors against the crate of that name, and headers that lie.

use langevin::checkpoint::{DType, Source, Tensor, Tensors, safetensors};

use super::{bytes, data, refused};

const NAME: &str = "stranger.safetensors";

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(data);
    file
}

#[track_caller]
fn assert_refused(file: Vec<u8>, reason: &str) {
    let message = refused(safetensors::read(&Source::memory(NAME, file)), NAME);
    assert!(message.contains(reason), "{message:?} does not say {reason:?}");
}

#[test]
fn what_python_wrote_is_read_as_the_crate_reads_it() {
    let bytes = bytes("views.safetensors");
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ours = safetensors::open(data("views.safetensors")).unwrap();
    assert_eq!(ours.metadata, [("format".to_string(), "pt".to_string())]);
    assert_eq!(ours.tensors.len(), theirs.len());
    for (name, tensor) in ours.tensors.iter() {
        let same = theirs.tensor(name).unwrap();
        assert_eq!((tensor.shape(), &*tensor.bytes().unwrap()), (same.shape(), same.data()), "{name}");
    }
}

#[test]
fn what_is_written_is_read_by_the_crate_and_by_us() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    let mut tensors = Tensors::new("made");
    let f32s = Tensor::from_f32(&[2, 3], vec![1.0, -2.5, 3.0, f32::MIN_POSITIVE, 0.0, -0.0]).unwrap();
    let odd = Tensor::from_bytes(DType::U8, &[3], vec![1, 2, 3]).unwrap();
    let wide = Tensor::from_bytes(DType::F64, &[1], 0.1f64.to_le_bytes().to_vec()).unwrap();
    let half = f32s.to_f16("half").unwrap();
    for (name, tensor) in [("odd", odd), ("a \"name\" ä", f32s), ("wide", wide), ("half", half)] {
        tensors.insert(name, tensor).unwrap();
    }
    tensors.insert("empty", Tensor::from_f32(&[0, 7], vec![]).unwrap()).unwrap();
    let metadata = [("format".to_string(), "pt".to_string())];
    safetensors::save(&path, &metadata, &tensors).unwrap();

    let bytes = std::fs::read(&path).unwrap();
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ours = safetensors::open(&path).unwrap();
    assert_eq!(ours.metadata, metadata);
    assert!(ours.tensors.names().eq(tensors.names()));
    for (name, tensor) in tensors.iter() {
        super::assert_same(ours.tensors.get(name).unwrap(), tensor, name);
        let same = theirs.tensor(name).unwrap();
        assert_eq!((same.shape(), same.data()), (tensor.shape(), &*tensor.bytes().unwrap()), "{name}");
        let place = same.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert!(tensor.is_empty() || place.is_multiple_of(tensor.dtype().size()), "{name} lies at {place}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().count() == 1, "a temporary file is left");
    // Same weights, same checksum, whatever holds them.
    assert_eq!(
        ours.tensors.under("half").unwrap().checksum().unwrap(),
        tensors.under("half").unwrap().checksum().unwrap()
    );
    let mut taken = Tensors::new("taken");
    taken.insert("__metadata__", Tensor::from_f32(&[0], vec![]).unwrap()).unwrap();
    refused(safetensors::save(&path, &[], &taken), "__metadata__");
}

#[test]
fn headers_that_lie_are_refused() {
    let one = |shape: &str, offsets: &str| {
        format!("{{\"w\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    assert!(safetensors::read(&Source::memory(NAME, file(&one("[2]", "[0,8]"), &[0; 8]))).is_ok());
    assert_refused(vec![], "");
    assert_refused(vec![0; 7], "");
    assert_refused(file(&one("[2]", "[0,8]"), &[0; 7]), "which does not fit");
    assert_refused(file(&one("[2]", "[0,8]"), &[0; 9]), "the file has 9");
    assert_refused(file(&one("[2]", "[1,9]"), &[0; 9]), "hole");
    assert_refused(file(&one("[2]", "[8,0]"), &[0; 8]), "does not fit");
    assert_refused(file(&one("[1152921504606846976]", "[0,8]"), &[0; 8]), "does not fit");
    assert_refused(file(&one("[1152921504606846976,16]", "[0,0]"), &[]), "does not fit");
    assert_refused(file(&one("[2]", "[0,1152921504606846976]"), &[0; 8]), "does not fit");
    assert_refused(file(&one("[-2]", "[0,8]"), &[0; 8]), "its header");
    assert_refused(file(&one("[1.5]", "[0,8]"), &[0; 8]), "its header");
    assert_refused(file(&one("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]", "[0,8]"), &[0; 8]), "axes");
    assert_refused(file(&one("[2]", "[0,8,8]"), &[0; 8]), "its header");
    assert_refused(
        file("{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[0,2]}}", &[0; 2]),
        "\"F8_E4M3\"",
    );
    assert_refused(file("{\"w\":{\"shape\":[2],\"data_offsets\":[0,2]}}", &[0; 2]), "lacks dtype");
    assert_refused(file("{\"w\":1}", &[]), "its header");
    assert_refused(file("[]", &[]), "its header");
    assert_refused(file("{} {}", &[]), "its header");
    assert_refused(file(&"[".repeat(100_000), &[]), "its header");
    let nested = format!("{{\"w\":{{\"x\":{}", "[".repeat(100_000));
    assert_refused(file(&nested, &[]), "its header");
    let w = "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":";
    assert_refused(file(&format!("{{{w}[0,4]}},{w}[4,8]}}}}"), &[0; 8]), "occurs twice");
    let v = w.replace("\"w\"", "\"v\"");
    assert_refused(file(&format!("{{{w}[0,4]}},{v}[0,4]}}}}"), &[0; 4]), "overlap");
    for len in [1u64 << 60, u64::MAX, 100_000_001, 50] {
        let mut lie = file("{}", &[]);
        lie[..8].copy_from_slice(&len.to_le_bytes());
        assert_refused(lie, "its header should have");
    }
}

#[test]
fn a_header_of_many_names_stays_within_twice_the_file() {
    let mut header = String::from("{");
    for i in 0..300_000 {
        header.push_str(&format!(
            "\"{i}\":{{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[{i},{}]}},",
            i + 1
        ));
    }
    header.pop();
    header.push('}');
    let mut many = file(&header, &vec![0; 300_000]);
    let read = |bytes: &[u8]| {
        let source = Source::memory(NAME, bytes.to_vec());
        super::counting::peak(|| safetensors::read(&source).map(|file| file.tensors.len()))
    };
    let (result, held) = read(&many);
    assert!(held <= 2 * many.len() as u64, "{held} bytes were held for {}: {result:?}", many.len());
    let pairs: Vec<String> = (0..2_000_000).map(|_| "\"\":\"\"".to_string()).collect();
    many = file(&format!("{{\"__metadata__\":{{{}}}}}", pairs.join(",")), &[]);
    let (result, held) = read(&many);
    assert!(held <= 2 * many.len() as u64, "{held} bytes were held for {}: {result:?}", many.len());
}
