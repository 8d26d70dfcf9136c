//! Files, folders and options that are made to take the machine or somebody's file: each ends in seconds, within a bound of memory,
//! with a word that names it and the exit code of its kind, and nothing that was there is lost.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Ran, command, run_in};

/// What any of these may take, on two cores that do other work as well.
const SECONDS: u64 = 60;
const MEBIBYTES: i64 = 600;

/// Runs a command and holds it to [`SECONDS`] and [`MEBIBYTES`], by what the system counted for this one child.
#[track_caller]
#[expect(
    clippy::zombie_processes,
    reason = "it is waited for by the system's own call, which gives its memory"
)]
fn bounded(command: &mut Command) -> Ran {
    let [mut out, mut err] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let [stdout, stderr] = [&out, &err].map(|file| Stdio::from(file.try_clone().unwrap()));
    let begun = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
    let pid = child.id() as libc::pid_t;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    loop {
        // SAFETY: both places are this function's, and the child is not waited for anywhere else.
        let ended = unsafe { libc::wait4(pid, &mut status, libc::WNOHANG, usage.as_mut_ptr()) };
        if ended == pid {
            break;
        }
        if begun.elapsed() > Duration::from_secs(SECONDS) {
            // SAFETY: a child that has not been waited for keeps its number.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            panic!("{command:?} goes on after {SECONDS} s");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // SAFETY: zeros are a valid `rusage`, and `wait4` wrote one.
    let peak = unsafe { usage.assume_init() }.ru_maxrss / 1024;
    assert!(peak <= MEBIBYTES, "{command:?} took {peak} MiB");
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 };
    let mut texts = [&mut out, &mut err].map(|file| {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    });
    let [stdout, stderr] = [std::mem::take(&mut texts[0]), std::mem::take(&mut texts[1])];
    println!(
        "{:?}: {} s, {peak} MiB, {code}",
        command.get_args().collect::<Vec<_>>(),
        begun.elapsed().as_secs()
    );
    Ran { code, stdout, stderr }
}

#[track_caller]
fn fails(at: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    bounded(&mut command(at, arguments)).fails(code, words);
}

/// A zip of one deflated entry of `size` zeros behind `head`.
fn deflated(name: &str, head: &[u8], size: u64) -> Vec<u8> {
    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(head).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(size), &mut packed).unwrap();
    let packed = packed.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(head);
    let zeros = vec![0; 1 << 20];
    (0..size / (1 << 20)).for_each(|_| crc.update(&zeros));
    crc.update(&zeros[..(size % (1 << 20)) as usize]);
    let unpacked = (head.len() as u64 + size) as u32;
    let mut fields = Vec::new();
    for value in [20u16, 0, 8, 0, 0x21] {
        fields.extend(value.to_le_bytes());
    }
    for value in [crc.sum(), packed.len() as u32, unpacked] {
        fields.extend(value.to_le_bytes());
    }
    fields.extend((name.len() as u16).to_le_bytes());
    let mut file = [&b"PK\x03\x04"[..], &fields, &[0, 0], name.as_bytes(), &packed].concat();
    let directory = file.len() as u32;
    file.extend([&b"PK\x01\x02\x14\0"[..], &fields, &[0; 12], &[0; 4], name.as_bytes()].concat());
    let length = file.len() as u32 - directory;
    file.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    file.extend([length.to_le_bytes(), directory.to_le_bytes()].concat());
    file.extend([0, 0]);
    file
}

/// A PNG of these sizes with these chunks between header and pixels; the pixels are missing.
fn png(width: u32, height: u32, color: u8, depth: u8, chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, color, 0, 0, 0]].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let all = [(b"IHDR", header)];
    for (kind, data) in all.iter().chain(chunks) {
        let mut crc = flate2::Crc::new();
        crc.update(*kind);
        crc.update(data);
        file.extend((data.len() as u32).to_be_bytes());
        file.extend_from_slice(*kind);
        file.extend(data);
        file.extend(crc.sum().to_be_bytes());
    }
    file
}

/// `size` zeros as zlib packs them.
fn zlib(size: u64) -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut std::io::repeat(0).take(size), &mut packed).unwrap();
    packed.finish().unwrap()
}

#[test]
fn configurations_that_ask_for_more_than_the_weights_hold() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let header = br#"{"conv_in.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let weights = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4]].concat();
    let plain = r#""_class_name": "UNet2DModel", "sample_size": 8, "down_block_types": ["DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D"], "attention_head_dim": null"#;
    let cases = [
        (
            "layers",
            r#""block_out_channels": [32, 32], "layers_per_block": 1000000000"#,
            2,
            "layers_per_block",
        ),
        ("fits", r#""block_out_channels": [32, 32], "layers_per_block": 100"#, 4, "not of one model"),
        ("wide", r#""block_out_channels": [32, 1048576]"#, 4, "not of one model"),
        ("groups", r#""block_out_channels": [32, 32], "norm_num_groups": 0"#, 2, "norm_num_groups"),
        (
            "padding",
            r#""block_out_channels": [32, 32], "downsample_padding": 18446744073709551615"#,
            2,
            "downsample_padding",
        ),
    ];
    let make = |name: &str, config: &str| {
        fs::create_dir(at.join(name)).unwrap();
        fs::write(at.join(name).join("config.json"), config).unwrap();
        fs::write(at.join(name).join("diffusion_pytorch_model.safetensors"), &weights).unwrap();
    };
    for (name, more, code, word) in cases {
        make(name, &format!("{{{plain}, {more}}}"));
        fails(at, &["sample", "--model", name, "--steps", "1", "--out", "x.png"], code, &[word]);
    }
    make("list", "[]");
    fails(at, &["inspect", "list"], 4, &["config.json", "map"]);
    make("schedule", &format!("{{{plain}, \"block_out_channels\": [32, 32]}}"));
    let scheduler = r#"{"_class_name": "DDPMScheduler", "num_train_timesteps": 1000000000000}"#;
    fs::write(at.join("schedule/scheduler_config.json"), scheduler).unwrap();
    fails(at, &["inspect", "schedule"], 4, &["scheduler_config.json", "num_train_timesteps"]);
    for set in ["model.num_res_blocks=1024", "model.num_scales=16777216", "sampling.n_steps_each=100000000"] {
        let train =
            ["train", "--config", "ve/cifar10_ncsnpp_continuous", "--batch", "1", "--dry-run", "--set", set];
        fails(at, &train, 2, &[set.split('=').next().unwrap()]);
    }
    let minutes = [
        "train",
        "--config",
        "ve/cifar10_ncsnpp_continuous",
        "--dry-run",
        "--save-every",
        "4611686018427387905",
    ];
    fails(at, &minutes, 2, &["--save-every"]);
}

#[test]
fn archives_and_arrays_that_unpack_to_a_thousand_times_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let dict = format!("{:<117}\n", "{'descr': '|u1', 'fortran_order': False, 'shape': (655360, 8, 8, 3), }");
    let head = [b"\x93NUMPY\x01\x00\x76\x00", dict.as_bytes()].concat();
    fs::write(at.join("big.npz"), deflated("x.npy", &head, 655_360 * 192)).unwrap();
    fails(
        at,
        &["encode", "--images", "big.npz", "--out", "z.safetensors"],
        4,
        &["big.npz", "100 times its size"],
    );
    fs::write(at.join("cifar.zip"), deflated("data_batch_1.bin", &[], 100_000 * 3073)).unwrap();
    fails(at, &["data", "check", "cifar.zip"], 4, &["cifar.zip", "100 times its size"]);
    let mut gz = flate2::write::GzEncoder::new(
        File::create(at.join("x.tar.gz")).unwrap(),
        flate2::Compression::fast(),
    );
    std::io::copy(&mut std::io::repeat(b'u').take(200 << 20), &mut gz).unwrap();
    gz.finish().unwrap();
    fails(at, &["data", "check", "x.tar.gz"], 4, &["x.tar.gz"]);
    let extents = vec!["1"; 4_000].join(",");
    let dict = format!("{{'descr': '|u1', 'fortran_order': True, 'shape': ({extents}), }}\n");
    let npy = [b"\x93NUMPY\x01\x00", &(dict.len() as u16).to_le_bytes()[..], dict.as_bytes(), &[0]].concat();
    fs::write(at.join("deep.npy"), &npy).unwrap();
    fails(
        at,
        &["encode", "--images", "deep.npy", "--out", "z.safetensors"],
        4,
        &["deep.npy", "4000 dimensions"],
    );
    let long = [b"\x93NUMPY\x02\x00", &(1u32 << 30).to_le_bytes()[..]].concat();
    fs::write(at.join("long.npy"), &long).unwrap();
    fails(at, &["encode", "--images", "long.npy", "--out", "z.safetensors"], 4, &["long.npy", "header of"]);
    // Files whose length is a claim too.
    let dict = format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (9, 3, 8, 8), }");
    let heads = [
        vec![],
        [b"\x93NUMPY\x01\x00\x76\x00", dict.as_bytes()].concat(),
        vec![2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'],
    ];
    for (head, name) in heads.iter().zip(["holes.npy", "short.npy", "holes.safetensors"]) {
        let mut file = File::create(at.join(name)).unwrap();
        file.write_all(head).unwrap();
        file.set_len(3 << 30).unwrap();
        fails(at, &["encode", "--images", name, "--out", "z.safetensors"], 4, &[name, "bytes"]);
    }
}

#[test]
fn pictures_that_unpack_to_gigabytes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("photos")).unwrap();
    let profile = [&b"icc\0\0"[..], &zlib(1 << 29)].concat();
    let text = [&b"note\0\0"[..], &zlib(1 << 29)].concat();
    for (name, file) in [
        ("large.png", png(60_000, 4_000, 6, 16, &[(b"IDAT", zlib(1 << 20))])),
        (
            "profile.png",
            png(8, 8, 2, 8, &[(b"iCCP", profile), (b"zTXt", text), (b"IDAT", zlib(200)), (b"IEND", vec![])]),
        ),
        ("cut.png", png(7_000, 7_000, 6, 16, &[(b"IDAT", zlib(1 << 26)), (b"IEND", vec![])])),
    ] {
        fs::write(at.join("photos").join(name), file).unwrap();
    }
    let ran = bounded(&mut command(at, &["data", "check", "photos", "--size", "8"]));
    assert!(ran.stdout.contains("large.png: decoding it takes"), "{}", ran.stdout);
    assert!(ran.stdout.contains("1 image ("), "the profile of profile.png is no reason: {}", ran.stdout);
    // Honest, and as large as RGBA of 16 bits was once allowed to be: half a gigabyte unpacked.
    let whole = png(8192, 8192, 6, 16, &[(b"IDAT", zlib(8192 * (1 + 8 * 8192))), (b"IEND", vec![])]);
    fs::write(at.join("whole.png"), whole).unwrap();
    assert!(
        bounded(&mut command(at, &["data", "check", "whole.png"])).ok().contains("8192x8192, 3 channels: 1")
    );
    fails(at, &["data", "check", "photos/large.png", "--memory", "64M"], 4, &["large.png"]);
    let mask = ["inpaint", "--images", "photos/profile.png", "--mask", "photos/large.png", "--out", "x.png"];
    fails(at, &mask, 2, &["mask = photos/large.png", "60000x4000 pixels"]);
}

#[test]
fn folders_without_end_and_files_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for i in 0..16 {
        fs::create_dir_all(at.join(format!("fan/d{i}"))).unwrap();
    }
    for i in 0..15 {
        for name in ["a", "b", "c", "d"] {
            symlink(format!("../d{}", i + 1), at.join(format!("fan/d{i}/{name}"))).unwrap();
        }
    }
    symlink("/", at.join("fan/root")).unwrap();
    fs::copy(
        concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-tests/fixtures/emoji/emoji_u2764.png"),
        at.join("fan/d15/x.png"),
    )
    .unwrap();
    let ran = bounded(&mut command(at, &["data", "check", "fan"]));
    assert!(ran.ok().contains("1 image ("));
    fs::create_dir(at.join("pipe")).unwrap();
    assert!(Command::new("mkfifo").arg(at.join("pipe/x.png")).status().unwrap().success());
    fails(at, &["data", "check", "pipe"], 4, &["pipe", "no readable picture"]);
    fs::create_dir(at.join("zeros")).unwrap();
    symlink("/dev/zero", at.join("zeros/data_batch_1.bin")).unwrap();
    fails(at, &["data", "check", "zeros"], 4, &["data_batch_1.bin", "pipe or device"]);
    for file in ["/dev/zero", "pipe/x.png"] {
        fails(at, &["config", "show", file], 4, &[file, "pipe or device"]);
        fails(at, &["inspect", file], 4, &[file]);
        fails(at, &["inpaint", "--images", file, "--mask", "left", "--out", "x.png"], 4, &[file]);
        fails(at, &["inpaint", "--images", "fan/d15/x.png", "--mask", file, "--out", "x.png"], 4, &[file]);
        fails(at, &["decode", "--latent", file, "--out", "x.png"], 4, &[file]);
        fails(at, &["sample", "--model", file, "--out", "x.png"], 4, &[file]);
    }
    File::create(at.join("long.toml")).unwrap().set_len(1 << 40).unwrap();
    fails(at, &["config", "show", "long.toml"], 4, &["long.toml", "at most"]);
}

#[test]
fn names_reach_the_terminal_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut zip = langevin::formats::zip::ZipWriter::new(File::create(at.join("names.zip")).unwrap());
    zip.add("\u{1b}[31mred\nerror: forged\u{202e}.png", &[b"no picture"]).unwrap();
    zip.finish().unwrap();
    fs::create_dir(at.join("photos")).unwrap();
    fs::write(at.join("photos/\u{1b}]0;title\u{7}\n.png"), b"none").unwrap();
    for arguments in [
        &["data", "check", "names.zip"][..],
        &["data", "check", "photos"],
        &["data", "pack", "names.zip", "--size", "8", "--cache", "cache"],
        &["inpaint", "--images", "names.zip", "--mask", "left", "--out", "x.png"],
        &["inpaint", "--images", "photos", "--mask", "left", "--out", "x.png"],
        &["config", "show", "\u{1b}[1m.toml"],
        &["data", "check", "names.zip", "--json"],
    ] {
        let ran = run_in(at, arguments);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said:?}");
        assert!(!said.contains("\nerror: forged"), "{said:?}");
        assert!(said.contains("red") || said.contains("title") || said.contains("[1m.toml"), "{said:?}");
    }
}

#[test]
fn nothing_is_written_through_links_or_over_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let emoji = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-tests/fixtures/emoji");
    let tiny = "[data]\nimage_size = 8\n[model]\nname = \"ddpm\"\nnf = 32\nch_mult = [1]\nnum_res_blocks = 1\nattn_resolutions = []\n\
        [training]\nsde = \"vpsde\"\nbatch_size = 2\nn_iters = 2\nsnapshot_freq = 2\n";
    fs::write(at.join("tiny.toml"), tiny).unwrap();
    let train = |out: &str| {
        let mut command = command(
            at,
            &["train", "--config", "tiny.toml", "--data", emoji, "--samples-every", "0", "--out", out],
        );
        command.env("LANGEVIN_CACHE", at.join("cache"));
        command
    };
    // What a killed packing left: the next one that writes there sweeps it.
    let left = at.join("cache/data/.x.data.0123456789abcdef.unfinished");
    fs::create_dir_all(at.join("cache/data")).unwrap();
    fs::write(&left, "half").unwrap();
    for name in ["lock", "metrics.jsonl", "events"] {
        fs::create_dir_all(at.join("linked")).unwrap();
        let victim = at.join("victim");
        match name {
            "events" => fs::create_dir(&victim).unwrap(),
            _ => fs::write(&victim, "precious").unwrap(),
        }
        symlink("../victim", at.join("linked").join(name)).unwrap();
        bounded(&mut train("linked")).fails(4, &[name, "link to ../victim"]);
        match name {
            "events" => assert_eq!(victim.read_dir().unwrap().count(), 0),
            _ => assert_eq!(fs::read_to_string(&victim).unwrap(), "precious"),
        }
        fs::remove_dir_all(at.join("linked")).unwrap();
        let _ = fs::remove_file(&victim).or_else(|_| fs::remove_dir(&victim));
    }
    // A link in the place of a file that a run writes is replaced or passed by.
    fs::create_dir(at.join("run")).unwrap();
    fs::write(at.join("victim"), "precious").unwrap();
    for name in ["checkpoint.safetensors.partial", ".checkpoint.safetensors.unfinished"] {
        symlink("../victim", at.join("run").join(name)).unwrap();
    }
    assert!(!left.exists());
    let left = at.join("run/.checkpoint.safetensors.0123456789abcdef.unfinished");
    fs::write(&left, "half").unwrap();
    bounded(&mut train("run")).ok();
    assert_eq!(fs::read_to_string(at.join("victim")).unwrap(), "precious");
    assert!(!left.exists());
    // A run that was killed before it kept a checkpoint keeps it when it goes on.
    let kept = at.join("run/step-00000002.safetensors");
    fs::remove_file(&kept).unwrap();
    bounded(&mut train("run")).ok();
    assert_eq!(fs::read(&kept).unwrap(), fs::read(at.join("run/checkpoint.safetensors")).unwrap());

    let before = fs::read(at.join("run/checkpoint.safetensors")).unwrap();
    run_in(at, &["convert", "run", "--out", "m.safetensors"]).ok();
    fs::copy(format!("{emoji}/emoji_u2764.png"), at.join("a.png")).unwrap();
    symlink("m.safetensors", at.join("link.safetensors")).unwrap();
    let photo = fs::read(at.join("a.png")).unwrap();
    for arguments in [
        &["convert", "run", "--out", "run/checkpoint.safetensors"][..],
        &["convert", "m.safetensors", "--out", "link.safetensors"],
        &["sample", "--model", "m.safetensors", "--out", "m.safetensors", "--steps", "1"],
        &["sample", "--model", "run", "--out", "run/step-00000002.safetensors", "--steps", "1"],
        &["inpaint", "--images", "a.png", "--mask", "left", "--out", "a.png"],
        &["inpaint", "--images", "a.png", "--mask", "left", "--out", "."],
        &["interpolate", "--images", "a.png", "a.png", "--out", "x.png", "--animation", "./a.png"],
        &["decode", "--latent", "m.safetensors", "--out", "m.safetensors"],
    ] {
        fails(at, arguments, 2, &["is read from there"]);
    }
    assert_eq!(fs::read(at.join("run/checkpoint.safetensors")).unwrap(), before);
    assert_eq!(fs::read(at.join("a.png")).unwrap(), photo);
}
