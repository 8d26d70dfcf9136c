//! Zip directories that lie, around an honest pickle.

use langevin::checkpoint::{Source, torch};

use super::pickles::{state_dict, zip_file};
use super::refused;

const NAME: &str = "stranger.pth";

fn honest() -> Vec<u8> {
    zip_file(&state_dict(4, 0, &[4], &[1]), &[("0", &[7; 16])])
}

fn read(bytes: Vec<u8>) -> langevin::Result<Vec<f32>> {
    torch::read(&Source::memory(NAME, bytes)).and_then(|file| file.model.require("w", &[4])?.to_f32())
}

#[track_caller]
fn assert_refused(bytes: Vec<u8>, reason: &str) {
    let message = refused(read(bytes), NAME);
    assert!(message.contains(reason), "{message:?} does not say {reason:?}");
}

/// Places of a signature.
fn find(bytes: &[u8], signature: &[u8; 4]) -> Vec<usize> {
    bytes.windows(4).enumerate().filter(|(_, window)| window == signature).map(|(at, _)| at).collect()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[test]
fn a_comment_after_the_directory_does_no_harm() {
    let mut bytes = honest();
    let end = find(&bytes, b"PK\x05\x06")[0];
    put(&mut bytes, end + 20, &9u16.to_le_bytes());
    bytes.extend_from_slice(b"a comment");
    assert_eq!(read(bytes).unwrap().len(), 4);
}

#[test]
fn directories_that_lie_are_refused() {
    /// Changes a file, given the places of its directory records and of its end record.
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>, &[usize], usize);
    let edit = |change: Change| {
        let mut bytes = honest();
        let (records, end) = (find(&bytes, b"PK\x01\x02"), find(&bytes, b"PK\x05\x06")[0]);
        change(&mut bytes, &records, end);
        bytes
    };
    // The end record: number of entries, size and place of the directory.
    assert_refused(edit(&|b, _, end| put(b, end + 10, &0x7fffu16.to_le_bytes())), "");
    assert_refused(edit(&|b, _, end| put(b, end + 12, &u32::MAX.to_le_bytes())), "");
    assert_refused(edit(&|b, _, end| put(b, end + 16, &u32::MAX.to_le_bytes())), "");
    assert_refused(edit(&|b, _, end| put(b, end + 16, &0u32.to_le_bytes())), "");
    // A record: encrypted, compressed, packed size, unpacked size, 4 GiB without a zip64 field, place.
    assert_refused(edit(&|b, records, _| b[records[0] + 8] |= 1), "encrypted");
    assert_refused(edit(&|b, records, _| b[records[0] + 10] = 8), "compressed");
    assert_refused(edit(&|b, records, _| b[records[0] + 20] ^= 1), "");
    assert_refused(edit(&|b, records, _| b[records[0] + 24] ^= 1), "");
    assert_refused(edit(&|b, records, _| put(b, records[0] + 24, &u32::MAX.to_le_bytes())), "");
    assert_refused(edit(&|b, records, _| put(b, records[0] + 42, &1u32.to_le_bytes())), "");
    // Both sizes larger than what is there, and a name of another length.
    assert_refused(
        edit(&|b, records, _| {
            put(b, records[2] + 20, &(1u32 << 30).to_le_bytes());
            put(b, records[2] + 24, &(1u32 << 30).to_le_bytes());
        }),
        "",
    );
    assert_refused(edit(&|b, records, _| put(b, records[0] + 28, &0u16.to_le_bytes())), "");
    assert_refused(edit(&|b, records, _| put(b, records[0] + 28, &u16::MAX.to_le_bytes())), "");
    // Two records of one entry; an entry within another; a checksum that is not the bytes'.
    assert_refused(
        edit(&|b, records, _| {
            let first = b[records[0] + 42..records[0] + 46].to_vec();
            put(b, records[1] + 42, &first);
        }),
        "",
    );
    assert_refused(edit(&|b, records, _| b[records[2] + 16] ^= 1), "is damaged");
    // Without an end record.
    assert_refused(edit(&|b, _, end| b.truncate(end)), "truncated");
}

#[test]
fn sizes_of_2_to_the_60_in_zip64_fields_are_refused() {
    let mut bytes = honest();
    let record = find(&bytes, b"PK\x01\x02")[2];
    let name_len = usize::from(bytes[record + 28]);
    put(&mut bytes, record + 20, &[0xff; 8]);
    put(&mut bytes, record + 30, &20u16.to_le_bytes());
    let mut field = vec![1, 0, 16, 0];
    field.extend_from_slice(&(1u64 << 60).to_le_bytes());
    field.extend_from_slice(&(1u64 << 60).to_le_bytes());
    let at = record + 46 + name_len;
    bytes.splice(at..at, field);
    let end = find(&bytes, b"PK\x05\x06")[0];
    let size = u32::from_le_bytes(bytes[end + 12..end + 16].try_into().unwrap()) + 20;
    put(&mut bytes, end + 12, &size.to_le_bytes());
    assert_refused(bytes, "1152921504606846976");
}

#[test]
fn archives_of_other_things_are_refused() {
    use langevin::formats::zip::ZipWriter;
    let archive = |entries: &[(&str, &[u8])]| {
        let mut zip = ZipWriter::new(Vec::new());
        entries.iter().for_each(|(name, bytes)| zip.add(name, &[bytes]).unwrap());
        zip.finish().unwrap()
    };
    let pickle = state_dict(4, 0, &[4], &[1]);
    assert_refused(archive(&[("a.png", b"x")]), "no data.pkl");
    assert_refused(archive(&[("a/data.pkl", &pickle), ("b/data.pkl", &pickle)]), "two files data.pkl");
    assert_refused(archive(&[("a/data.pkl", &pickle), ("a/constants.pkl", &pickle)]), "TorchScript");
    assert_refused(archive(&[("a/data.pkl", &pickle), ("a/byteorder", b"big")]), "byte order");
    assert_refused(archive(&[("a/data.pkl", &pickle), ("a/data.pkl", &pickle)]), "same name");
    assert_eq!(read(archive(&[("data.pkl", &pickle), ("data/0", &[0; 16])])).unwrap(), [0.0; 4]);
}
