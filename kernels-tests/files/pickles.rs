//! Pickles and files of torch.save, written by hand.

use std::io::Write;

use langevin::formats::zip::ZipWriter;

/// A pickle that grows opcode by opcode.
#[derive(Clone, Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn str(self, text: &str) -> Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    pub fn int(self, value: i64) -> Self {
        self.op(&[0x8a, 8]).op(&value.to_le_bytes())
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    /// A tuple of integers.
    pub fn ints(self, values: &[i64]) -> Self {
        values.iter().fold(self.op(b"("), |pickle, value| pickle.int(*value)).op(b"t")
    }

    /// The persistent id of a storage.
    pub fn storage(self, kind: &str, key: &str, len: i64) -> Self {
        self.op(b"(").str("storage").global("torch", kind).str(key).str("cpu").int(len).op(b"tQ")
    }

    /// A tensor of f32 over the storage `key` of `len` elements.
    pub fn tensor(self, key: &str, len: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op(b"(")
            .storage("FloatStorage", key, len)
            .int(offset)
            .ints(shape)
            .ints(strides)
            .op(b"\x89")
            .global("collections", "OrderedDict")
            .op(b")RtR")
    }

    pub fn stop(self) -> Vec<u8> {
        self.op(b".").0
    }
}

/// A state dict `{"w": tensor}` over the storage "0".
pub fn state_dict(len: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    Pickle::new().op(b"}").str("w").tensor("0", len, offset, shape, strides).op(b"s").stop()
}

/// A zip file of torch.save with one pickle and some storages.
pub fn zip_file(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Vec::new());
    zip.add("file/data.pkl", &[pickle]).unwrap();
    zip.add("file/byteorder", &[b"little"]).unwrap();
    for (key, bytes) in storages {
        zip.add(&format!("file/data/{key}"), &[bytes]).unwrap();
    }
    zip.finish().unwrap()
}

/// A legacy file of torch.save with one pickle and some storages, each with the count that it claims.
pub fn legacy_file(pickle: &[u8], storages: &[(&str, i64, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut put = |bytes: &[u8]| file.write_all(bytes).unwrap();
    put(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.");
    put(b"\x80\x02M\xe9\x03.");
    put(&Pickle::new().op(b"}").str("little_endian").op(b"\x88s").stop());
    put(pickle);
    let keys = storages.iter().fold(Pickle::new().op(b"]("), |pickle, (key, _, _)| pickle.str(key)).op(b"e");
    put(&keys.stop());
    for (_, count, bytes) in storages {
        put(&count.to_le_bytes());
        put(bytes);
    }
    file
}
