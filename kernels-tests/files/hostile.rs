//! Files that lie: an error that names file and reason, never a panic, never more memory than the file justifies.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use langevin::checkpoint::formats::Average;
use langevin::checkpoint::{Checkpoint, Source, Tensors, torch};

use super::counting::peak;
use super::pickles::{Pickle, legacy_file, state_dict, zip_file};
use super::{bytes, refused};

const NAME: &str = "stranger.pth";
/// What reading holds beside the file's share: buffers of 64 KiB and the directory's end.
const BUFFERS: u64 = 1 << 20;
/// A parser may hold this much for any file (see `Budget` in the library).
const FLOOR: u64 = 16 << 20;

fn source(bytes: &[u8]) -> Arc<Source> {
    Source::memory(NAME, bytes.to_vec())
}

/// Reads a file to the last element and keeps every element; panics become failures that show where.
pub fn read_all(bytes: &[u8]) -> langevin::Result<Vec<Vec<u8>>> {
    let source = source(bytes);
    let work = || {
        let contents = langevin::checkpoint::read(&source)?;
        let mut all = Vec::new();
        let mut keep = |tensors: &Tensors| -> langevin::Result<()> {
            for (name, tensor) in tensors.iter() {
                let mut bytes = format!("{name} {} {:?} ", tensor.dtype(), tensor.shape()).into_bytes();
                bytes.extend_from_slice(&tensor.bytes()?);
                all.push(bytes);
            }
            Ok(())
        };
        keep(&contents.tensors)?;
        if let Some(Average::Named { tensors, .. }) = contents.average.transpose()? {
            keep(&tensors)?;
        }
        if contents.names_are_ours {
            let c = Checkpoint::read(&source)?;
            keep(&c.adam_m)?;
            keep(&c.adam_v)?;
        }
        if contents.format.starts_with("torch") {
            let file = torch::read(&source)?;
            let (optimizer, ema) = (file.optimizer.transpose()?, file.ema.transpose()?);
            let moments = optimizer.iter().flat_map(|adam| adam.state.values());
            let moments = moments.flat_map(|moments| [&moments.exp_avg, &moments.exp_avg_sq]);
            let shadow = ema.iter().flat_map(|ema| &ema.shadow_params);
            for tensor in shadow.chain(moments) {
                all.push(tensor.bytes()?.into_owned());
            }
        }
        Ok(all)
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(_) => panic!("a reader panicked"),
    }
}

#[track_caller]
fn assert_refused(bytes: &[u8], reason: &str) {
    let message = refused(read_all(bytes), NAME);
    assert!(message.contains(reason), "{message:?} does not say {reason:?}");
}

const FOUR: [u8; 16] = [0; 16];

#[test]
fn a_plain_file_is_read() {
    let pickle = state_dict(4, 0, &[2, 2], &[2, 1]);
    assert_eq!(read_all(&zip_file(&pickle, &[("0", &FOUR)])).unwrap().len(), 1);
    assert_eq!(read_all(&legacy_file(&pickle, &[("0", 4, &FOUR)])).unwrap().len(), 1);
}

#[test]
fn an_unknown_name_is_never_run_and_matters_only_where_it_is_asked_for() {
    for (module, name) in [
        ("os", "system"),
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("argparse", "Namespace"),
        ("torch", "FloatStorage.__class__"),
    ] {
        let named = format!("`{module}.{name}`");
        let before = Pickle::new().op(b"}").str("w").tensor("0", 4, 0, &[4], &[1]).op(b"s");
        let called =
            before.clone().str("x").global(module, name).op(b"(").str("touch pwned").op(b"tR}bs").stop();
        // STACK_GLOBAL, and a name that is only mentioned.
        let stacked = before.clone().str("x").str(module).str(name).op(b"\x93s").stop();
        // What is filled, called again and made by keyword, as objects are.
        let filled =
            before.str("x").global(module, name).op(b")}\x92(").str("k").op(b"K\x01u(K\x01K\x02e)Rs").stop();
        for pickle in [called, stacked, filled] {
            for file in [zip_file(&pickle, &[("0", &FOUR)]), legacy_file(&pickle, &[("0", 4, &FOUR)])] {
                let model = torch::read(&source(&file)).unwrap().model;
                assert_eq!(model.names().collect::<Vec<_>>(), ["w"]);
                let message = refused(model.require("x", &[4]), NAME);
                assert!(message.contains(&named), "{message:?} does not name {named:?}");
            }
        }
    }
    assert!(!std::path::Path::new("pwned").exists());
}

#[test]
fn instructions_that_no_pickler_of_weights_writes_are_refused() {
    // EXT1, PERSID, and protocol 0 numbers.
    for op in [&b"\x82\x01"[..], b"P1\n", b"I1\n", b"\xff"] {
        assert_refused(&zip_file(&Pickle::new().op(op).stop(), &[]), "is not one that writes plain data");
    }
    // A call of something that is no name, and an object where weights should be.
    assert_refused(&zip_file(&Pickle::new().op(b"K\x01)R").stop(), &[]), "it calls an integer");
    assert_refused(&zip_file(&Pickle::new().op(b"(ios\nsystem\n").stop(), &[]), "`os.system`");
    for pickle in [
        Pickle::new().global("collections", "OrderedDict").op(b"K\x01R"),
        Pickle::new().global("torch._utils", "_rebuild_tensor_v2").op(b")R"),
        Pickle::new().global("_codecs", "encode").op(b"(").str("x").str("rot13").op(b"tR"),
        Pickle::new().global("numpy", "dtype").op(b"(").str("O8").op(b"tR"),
        Pickle::new().global("torch", "FloatStorage").op(b")R"),
        Pickle::new().op(b"(").str("module").op(b"tQ"),
        Pickle::new().op(b"K\x01}b"),
        Pickle::new().op(b"K\x01K\x02a"),
        Pickle::new().op(b"}(K\x01u"),
        Pickle::new().op(b"(o"),
        Pickle::new().op(b"0"),
        Pickle::new().op(b"(K\x01(0"),
        Pickle::new().op(b"h\x07"),
        Pickle::new().op(b"t"),
        Pickle::new().op(b"K\x01K\x02"),
        Pickle::new().op(b"]"),
        Pickle::new().op(b"}"),
    ] {
        assert_refused(&zip_file(&pickle.stop(), &[]), "");
    }
}

#[test]
fn sizes_of_2_to_the_60_are_refused_before_anything_is_allocated() {
    const HUGE: i64 = 1 << 60;
    let pickles = [
        state_dict(4, 0, &[HUGE], &[1]),
        state_dict(4, 0, &[HUGE, HUGE], &[1, 1]),
        state_dict(4, 0, &[HUGE], &[0]),
        state_dict(4, HUGE, &[4], &[1]),
        state_dict(4, 0, &[4], &[HUGE]),
        state_dict(4, i64::MAX, &[4], &[i64::MAX]),
        state_dict(HUGE, 0, &[4], &[1]),
        state_dict(HUGE, 0, &[HUGE], &[1]),
        state_dict(4, -1, &[4], &[1]),
        state_dict(4, 0, &[-4], &[1]),
        state_dict(4, 0, &[4], &[-1]),
        state_dict(4, 0, &[2, 2], &[1]),
        Pickle::new().op(b"\x8d").op(&(1u64 << 60).to_le_bytes()).stop(),
        Pickle::new().op(b"\x8e").op(&(1u64 << 60).to_le_bytes()).stop(),
        Pickle::new().op(b"\x8b").op(&u32::MAX.to_le_bytes()).stop(),
        Pickle::new().op(b"X").op(&u32::MAX.to_le_bytes()).stop(),
        Pickle::new().op(b"Nr").op(&u32::MAX.to_le_bytes()).stop(),
    ];
    for pickle in pickles {
        for file in [zip_file(&pickle, &[("0", &FOUR)]), legacy_file(&pickle, &[("0", 4, &FOUR)])] {
            let (message, held) = peak(|| refused(read_all(&file), NAME));
            assert!(held < BUFFERS, "{held} bytes were held before {message:?}");
        }
    }
    for count in [1 << 60, i64::MAX, -1] {
        let file = legacy_file(&state_dict(4, 0, &[4], &[1]), &[("0", count, &FOUR)]);
        assert_refused(&file, "reaches beyond the file's end");
    }
}

#[test]
fn long_names_and_crowded_states_are_refused() {
    let long = Pickle::new().op(b"}").str(&"x".repeat(2000)).tensor("0", 4, 0, &[4], &[1]).op(b"s").stop();
    assert_refused(&zip_file(&long, &[("0", &FOUR)]), "a name of 2000 bytes");
    // A thousand indices share one dict of a thousand fields: looked through again and again it would take long.
    let model = Pickle::new().op(b"}").str("model").op(b"}").str("w").tensor("0", 4, 0, &[4], &[1]).op(b"ss");
    let fields = (0..1000).fold(Pickle::default(), |fields, i| fields.str("step").int(i));
    let state =
        model.str("optimizer").op(b"}").str("state").op(b"}(K\x00}(").op(&fields.0).op(b"uuss").stop();
    assert_refused(&zip_file(&state, &[("0", &FOUR)]), "optimizer.state[0] is not the state of Adam");
}

#[test]
fn storages_that_do_not_fit_are_refused() {
    let pickle = state_dict(4, 0, &[4], &[1]);
    assert_refused(&zip_file(&pickle, &[]), "lacks its storage \"0\"");
    assert_refused(
        &zip_file(&pickle, &[("0", &FOUR[..12])]),
        "should have 4 elements of F32, the file has 12 bytes",
    );
    assert_refused(&legacy_file(&pickle, &[]), "lacks its storage \"0\"");
    assert_refused(&legacy_file(&pickle, &[("0", 4, &FOUR[..12])]), "reaches beyond the file's end");
    assert_refused(
        &legacy_file(&pickle, &[("0", 4, &FOUR), ("1", 4, &FOUR)]),
        "no tensor uses the storage \"1\"",
    );
    assert_refused(
        &zip_file(&state_dict(4, 1, &[4], &[1]), &[("0", &FOUR)]),
        "exceed its storage of 4 elements",
    );
}

#[test]
fn every_truncation_is_refused() {
    for file in
        ["checkpoint.pth", "checkpoint_legacy.pth", "views.pth", "views_legacy.pth", "views.safetensors"]
    {
        let whole = bytes(file);
        for len in 0..whole.len() {
            refused(read_all(&whole[..len]), NAME);
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_harmless() {
    for file in
        ["checkpoint.pth", "checkpoint_legacy.pth", "views.pth", "views_legacy.pth", "views.safetensors"]
    {
        let mut bytes = bytes(file);
        let whole = read_all(&bytes).unwrap();
        let (mut found, mut harmless, mut changed) = (0, 0, 0);
        // Every bit of a small file: several thousand places and more.
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            match read_all(&bytes) {
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(NAME), "bit {bit} of {file}: {message}");
                    found += 1;
                }
                Ok(all) if all == whole => harmless += 1,
                Ok(_) => changed += 1,
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        println!("{file}: {found} bits found, {harmless} harmless, {changed} change values or names");
        // Zip has a checksum over every entry. Legacy files and safetensors have none, so a bit of a value is a bit of a value.
        assert!(!file.starts_with("checkpoint.") && file != "views.pth" || changed == 0, "{file}: {changed}");
        assert!(found >= 1000 || file.starts_with("views"), "{file}: {found}");
    }
}

/// Files of several megabytes, each made to cost much more than it weighs.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    const N: usize = 20 << 20;
    let repeat = |unit: &[u8]| unit.repeat(N / unit.len());
    let long = "y".repeat(1 << 20);
    let mut bombs: Vec<(&'static str, Pickle)> = vec![
        ("empty dicts", Pickle::new().op(&repeat(b"}"))),
        ("empty lists in a list", Pickle::new().op(b"]").op(&repeat(b"]a"))),
        ("integers on the stack", Pickle::new().op(&repeat(b"K\x00"))),
        ("integers in a list", Pickle::new().op(b"](").op(&repeat(b"K\x00K\x00K\x00K\x00e(")).op(b"0")),
        ("empty tuples", Pickle::new().op(b"]").op(&repeat(b")a"))),
        ("tuples of tuples", Pickle::new().op(b")").op(&repeat(b"\x85"))),
        ("pairs of one", Pickle::new().op(b")q\x00").op(&repeat(b"2\x86"))),
        ("memo", Pickle::new().op(b"N").op(&repeat(b"\x94"))),
        ("far memo", Pickle::new().op(b"N").op(&repeat(b"r\xff\xff\xff\x00"))),
        ("copies on the stack", Pickle::new().op(b"N").op(&repeat(b"2"))),
        ("marks", Pickle::new().op(&repeat(b"("))),
        ("strings", Pickle::new().op(b"]").op(&repeat(b"X\x01\x00\x00\x00xa"))),
        ("names", Pickle::new().op(b"]").op(&repeat(b"ctorch\nSize\na"))),
        (
            "ordered dicts",
            Pickle::new()
                .op(b"]")
                .global("collections", "OrderedDict")
                .op(b"q\x00a")
                .op(&repeat(b"h\x00)Ra")),
        ),
        (
            "storages",
            Pickle::new()
                .op(b"](")
                .str("storage")
                .global("torch", "FloatStorage")
                .str("0")
                .str("cpu")
                .op(b"K\x04tq\x00Qa")
                .op(&repeat(b"h\x00Qa")),
        ),
    ];
    let list =
        Pickle::new().op(b"](").op(b"K\x00K\x00\x86q\x01").op(&b"h\x01".repeat(1 << 20)).op(b"eq\x02]");
    bombs.push((
        "dicts of a shared list",
        list.global("collections", "OrderedDict").op(b"q\x03a").op(&b"h\x03h\x02\x85Ra".repeat(1 << 20)),
    ));
    bombs.push((
        "bytes of a shared string",
        Pickle::new()
            .op(b"]")
            .str(&long)
            .op(b"q\x01")
            .str("latin1")
            .op(b"q\x02\x86q\x03a")
            .global("_codecs", "encode")
            .op(b"q\x04a")
            .op(&b"h\x04h\x03Ra".repeat(1 << 20)),
    ));
    // What fails costs as much as what succeeds, or a small file could have a long list looked through a million times.
    for (what, codec) in [("strings of an unknown codec", "rot13"), ("strings that are not latin1", "latin1")]
    {
        let text =
            if codec == "latin1" { format!("{}\u{3b1}", "y".repeat(1 << 20)) } else { "y".repeat(1 << 20) };
        bombs.push((
            what,
            Pickle::new()
                .op(b"]")
                .str(&text)
                .op(b"q\x01")
                .str(codec)
                .op(b"q\x02\x86q\x03a")
                .global("_codecs", "encode")
                .op(b"q\x04a")
                .op(&b"h\x04h\x03Ra".repeat(1 << 20)),
        ));
    }
    bombs.push((
        "objects",
        Pickle::new().op(b"]").global("a", "B").op(b"q\x01a").op(&b"h\x01)Ra".repeat(5 << 20)),
    ));
    bombs.push((
        "tensors of one storage",
        (0..300_000)
            .fold(
                Pickle::new().op(b"}").str("w").tensor("0", 4, 0, &[4], &[1]).op(b"q\x00s("),
                |pickle, i| pickle.str(&format!("{i}")).op(b"h\x00"),
            )
            .op(b"u"),
    ));
    bombs.into_iter().map(|(what, pickle)| (what, pickle.stop())).collect()
}

#[test]
fn bombs_stay_within_twice_their_size() {
    for (what, pickle) in bombs() {
        for file in [zip_file(&pickle, &[("0", &FOUR)]), legacy_file(&pickle, &[("0", 4, &FOUR)])] {
            let source = source(&file);
            let (result, held) = peak(|| torch::read(&source).map(drop));
            let limit = 2 * file.len().max(FLOOR as usize) as u64;
            assert!(held <= limit, "{what}: {held} bytes were held for a file of {}: {result:?}", file.len());
            assert!(result.is_err(), "{what}: was read");
        }
    }
}

#[test]
fn an_honest_file_stays_within_twice_its_size() {
    let values = vec![7u8; 6 << 20];
    let mut pickle = Pickle::new().op(b"}");
    let keys: Vec<String> = (0..6).map(|i| i.to_string()).collect();
    for key in &keys {
        let len = values.len() as i64 / 4;
        // Dense, and transposed: the worse case, since it is read and then permuted.
        let strides = if key == "5" { [1, 2] } else { [len / 2, 1] };
        pickle = pickle.str(key).tensor(key, len, 0, &[2, len / 2], &strides).op(b"s");
    }
    let pickle = pickle.stop();
    let storages: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), values.as_slice())).collect();
    let file = zip_file(&pickle, &storages);
    let source = source(&file);
    let (all, held) = peak(|| {
        let weights = torch::read(&source).unwrap();
        weights.model.iter().map(|(_, tensor)| tensor.to_f32().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(all.len(), 6);
    assert!(held <= 2 * file.len() as u64, "{held} bytes were held for a file of {}", file.len());
}

#[test]
fn many_views_of_one_storage_are_refused_not_expanded() {
    let values = vec![0u8; 1 << 20];
    let len = values.len() as i64 / 4;
    let mut pickle = Pickle::new().op(b"}").str("first").tensor("0", len, 0, &[len], &[1]).op(b"q\x00s");
    for i in 0..1000 {
        pickle = pickle.str(&format!("{i}")).op(b"h\x00s");
    }
    assert_refused(&zip_file(&pickle.stop(), &[("0", &values)]), "too many share a storage");
}
