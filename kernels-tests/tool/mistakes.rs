//! What commands that run a model say of mistakes, and what Ctrl-C leaves.

use std::path::Path;

use langevin::checkpoint::{Tensor, Tensors, safetensors};
use langevin::output::{ImageBytes, Provenance, write_png};

use crate::models::{Place, picture};
use crate::{run, run_in};

#[test]
fn what_is_wrong_with_a_model_is_told() {
    let place = Place::new();
    let at = place.at();
    run_in(at, &["sample", "--model", "missing.pth"]).fails(4, &["missing.pth"]);
    run_in(at, &["sample", "--model", "embeded"]).fails(2, &["did you mean \"embedded\"?"]);
    std::fs::write(at.join("notes.txt"), "these are no weights").unwrap();
    run_in(at, &["sample", "--model", "notes.txt"])
        .fails(4, &["--model", "no weights in a form that is known", "torch.save"]);
    run_in(at, &["sample", "--model", &place.model]).fails(2, &["holds no configuration", "preset"]);
    let other = ["sample", "--model", &place.model, "--config", "ve/cifar10_ncsnpp_continuous"];
    run_in(at, &other).fails(4, &["is the config that of this file?"]);
    place.run("sample", &["--set", "model.nff=3"]).fails(2, &["did you mean \"model.nf\"?"]);
    let preset = ["train", "--dry-run", "--config", "vp/cifar10_ddpmpp_continuous"];
    run_in(at, &[&preset[..], &["--set", "sampling.method=dpmp"]].concat())
        .fails(2, &["did you mean \"dpmpp\"?"]);
    place.run("sample", &["--set", "sampling.method=dpmp"]).fails(2, &["did you mean \"dpmpp\"?"]);
    place.run("sample", &["--set", "model.nf"]).fails(2, &["key=value"]);
    place.run("sample", &["--device", "no such card", "--steps", "1"]).fails(2, &["no such card"]);
    place.run("sample", &["--sampler", "dpmp"]).fails(2, &["dpmpp"]);
    place.run("sample", &["--sampler", "ddim", "--eta", "2"]).fails(2, &["eta"]);
}

#[test]
fn what_is_wrong_with_a_place_is_told_before_work() {
    let place = Place::new();
    std::fs::create_dir(place.at().join("folder.png")).unwrap();
    for (out, code, word) in [
        ("nowhere/x.png", 4, "no such folder"),
        ("x.jpg", 2, ".jpg is none of"),
        ("/proc/x.png", 4, "/proc/x.png"),
        ("config.json/folder", 4, "config.json"),
        ("config.json/", 4, "a file has this name, where a folder is meant"),
    ] {
        place.run("sample", &["--out", out, "--steps", "100000"]).fails(code, &[word]);
    }
    place
        .run("sample", &["--trajectory", "x.png", "--out", "x.png"])
        .fails(2, &["--trajectory x.png", "same name"]);
    place.run("sample", &["--trajectory", "t.gif"]).fails(2, &["--trajectory t.gif", ".png"]);
    place.run("encode", &["--images", "a.png", "--out", "z.png"]).fails(2, &[".safetensors"]);
    place.run("encode", &["--images", "a.png", "--out", "no/z.safetensors"]).fails(4, &["no such folder"]);
    let convert = ["convert", &place.model, "--config", "config.json", "--to", "diffusers", "--out", "out"];
    run_in(place.at(), &convert).fails(2, &["diffusers has no scheduler for it"]);
    let convert = ["convert", &place.model, "--config", "config.json", "--out", "m.png"];
    run_in(place.at(), &convert).fails(2, &[".safetensors"]);
}

#[test]
fn what_is_wrong_with_images_is_told() {
    let place = Place::new();
    let at = place.at();
    place.run("encode", &["--images", "none.png", "--out", "z.safetensors"]).fails(4, &["none.png"]);
    place.run("likelihood", &["--data", "none"]).fails(4, &["none", "No such file"]);
    std::fs::write(at.join("bad.png"), "no picture").unwrap();
    place
        .run("encode", &["--images", "bad.png", "--out", "z.safetensors"])
        .fails(4, &["error: bad.png: no picture by its first bytes"]);
    let inpaint = |mask: &str| place.run("inpaint", &["--images", "a.png", "--mask", mask, "--out", "x.png"]);
    picture(&at.join("large.png"), [16, 12], 0);
    inpaint("large.png").fails(2, &["the mask has 12x16 pixels", "8x8"]);
    inpaint("none.png").fails(4, &["none.png"]);
    inpaint("rigt").fails(2, &["did you mean \"right\"?"]);
    inpaint("config.json").fails(4, &["config.json"]);
    let white = ImageBytes::new([1, 8, 8, 1], vec![255; 64]).unwrap();
    write_png(&at.join("white.png"), &white, &Provenance::new()).unwrap();
    inpaint("white.png").fails(2, &["nothing to fill in"]);
    langevin::output::write_safetensors(&at.join("z.safetensors"), &[("z", &[1, 3, 4, 4], &[0.0; 48])], &[])
        .unwrap();
    place
        .run("decode", &["--latent", "z.safetensors", "--out", "x.png"])
        .fails(4, &["[1, 3, 4, 4]", "n x 3 x 8 x 8"]);
    langevin::output::write_safetensors(
        &at.join("two.safetensors"),
        &[("a", &[1], &[0.0]), ("b", &[1], &[0.0])],
        &[],
    )
    .unwrap();
    place.run("decode", &["--latent", "two.safetensors", "--out", "x.png"]).fails(4, &["\"z\""]);
    place.run("decode", &["--latent", "none.safetensors", "--out", "x.png"]).fails(4, &["none.safetensors"]);
    place.run("decode", &["--latent", "config.json", "--out", "x.png"]).fails(4, &["config.json"]);
}

#[test]
fn without_an_adapter_every_command_says_so() {
    let place = Place::new();
    for arguments in [
        &["sample"][..],
        &["encode", "--images", "a.png", "--out", "z.safetensors"],
        &["likelihood", "--data", "a.png"],
        &["inpaint", "--images", "a.png", "--mask", "left", "--out", "x.png"],
        &["colorize", "--images", "a.png", "--out", "x.png"],
        &["interpolate", "--seeds", "0", "1", "--out", "x.png"],
        &["class", "--classifier", &place.model, "--label", "0", "--out", "x.png"],
        &["train", "--dry-run"],
        &["bench", "--filter", "silu"],
    ] {
        let model = ["--model", &place.model, "--config", "config.json"];
        let model = match arguments[0] {
            "train" => &model[2..],
            "bench" => &[],
            _ => &model[..],
        };
        let all = [arguments, model].concat();
        let mut command = crate::command(place.at(), &all);
        let ran = crate::finish(command.env("WGPU_BACKEND", "gl").output().unwrap());
        ran.fails(3, &["no GPU adapter answered", "gen devices"]);
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_what_is_done() {
    use std::time::Duration;
    let place = Place::new();
    let stop = |wait: u64, command: &str, more: &[&str]| {
        let common = [command, "-v", "--model", &place.model, "--config", "config.json", "--batch", "1"];
        let mut command = crate::command(place.at(), &[&common[..], more].concat());
        // The model is read and the device chosen then.
        crate::interrupt(&mut command, "device ", Duration::from_millis(wait))
    };
    // A machine that does much else takes longer to the first image.
    let until_told = |word: &str, command: &str, more: &[&str]| {
        for wait in [1000, 4000, 16_000, 64_000] {
            let ran = stop(wait, command, more);
            assert_eq!(ran.code, 130, "{}", ran.stderr);
            assert!(ran.stderr.contains("Ctrl-C again ends at once"), "{}", ran.stderr);
            if ran.stderr.contains(word) {
                return ran;
            }
        }
        panic!("never {word:?}");
    };
    let many = ["--seeds", "0-99999", "--steps", "2", "--out", "many.png"];
    let ran = until_told("of 100000 images are written", "sample", &many);
    assert!(ran.stdout.contains("in many.png") && place.at().join("many.png").is_file(), "{}", ran.stdout);
    let long = ["--seeds", "0", "--steps", "100000", "--sampler", "pc", "--out", "none.png"];
    let ran = stop(500, "sample", &long);
    ran.fails(130, &["interrupted", "nothing is written"]);
    assert!(!place.at().join("none.png").exists());
    // The same goes for what is measured: what is done is told.
    let values = vec![0.25; 192 * 5000];
    langevin::output::write_safetensors(
        &place.at().join("x.safetensors"),
        &[("x", &[5000, 3, 8, 8], &values)],
        &[],
    )
    .unwrap();
    let loose = ["--data", "x.safetensors", "--rtol", "0.1", "--atol", "0.1"];
    let ran = until_told("of 5000 images are told", "likelihood", &loose);
    assert!(ran.stdout.contains("bits per dimension"), "{}", ran.stdout);
    let exact = ["--images", "a.png", "--rtol", "1e-12", "--atol", "1e-12", "--out", "z.safetensors"];
    let ran = stop(500, "encode", &exact);
    ran.fails(130, &["interrupted", "nothing is written"]);
    assert!(!place.at().join("z.safetensors").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_what_was_there() {
    let place = Place::new();
    let at = |name: &str| place.at().join(name);
    let convert = ["convert", &place.model, "--config", "config.json", "--out", "m.safetensors"];
    run_in(place.at(), &convert).ok();
    let before = std::fs::read(at("m.safetensors")).unwrap();
    crate::on_small_disk(&crate::command(place.at(), &convert))
        .fails(4, &["the disk is full", "m.safetensors needs", "bytes", "is intact"]);
    assert_eq!(std::fs::read(at("m.safetensors")).unwrap(), before);
    let left = std::fs::read_dir(place.at()).unwrap().map(|e| e.unwrap().file_name());
    assert!(
        !left.into_iter().any(|name| name.to_string_lossy().contains("unfinished")),
        "half of a file was left behind"
    );
    for out in ["x.npz", "x.png", "x.safetensors"] {
        crate::fill_disk(&at(out));
        let sample = ["sample", "--model", "m.safetensors", "--seeds", "0", "--steps", "1", "--out", out];
        run_in(place.at(), &sample).fails(4, &[out, "No space left on device"]);
    }
}

#[test]
fn batches_are_made_to_fit_and_an_image_that_does_not_is_refused() {
    let place = Place::new();
    let devices = run(&["devices", "--json"]).json();
    let binding = devices[0]["limits"]["max_binding"].as_u64().unwrap();
    // The state alone is more than one binding.
    let n = binding / (192 * 4) + 1;
    let (seeds, n) = (format!("0-{}", n - 1), n.to_string());
    if binding <= 1 << 28 {
        let many = ["--seeds", &seeds, "--batch", &n, "--dry-run", "--json"];
        let ran = place.run("sample", &many);
        assert!(ran.stderr.contains("are too many for this device"), "{}", ran.stderr);
        let told = ran.json();
        assert!(told["batch"].as_u64().unwrap() < told["images"].as_u64().unwrap(), "{told}");
        // Where the images of a batch depend on each other, its size is not ours to change.
        let coupled = [&many[..], &["--sampler", "pc", "--norm", "batch"]].concat();
        place.run("sample", &coupled).fails(5, &["the device allows", "use a smaller batch"]);
    } else {
        crate::left_out(format_args!("a batch above a binding of {binding} bytes"));
    }
    let large = ["train", "--config", "ve/cifar10_ncsnpp_continuous", "--dry-run", "--batch", "2", "--set"];
    run(&[&large[..], &["data.image_size=4096"]].concat()).fails(5, &["the device allows"]);
}

#[test]
fn weights_that_are_not_numbers_are_named() {
    let place = Place::new();
    run_in(place.at(), &["convert", &place.model, "--config", "config.json", "--out", "m.safetensors"]).ok();
    let file = safetensors::open(place.at().join("m.safetensors")).unwrap();
    let (mut broken, mut name) = (Tensors::new("broken"), String::new());
    for (i, (key, tensor)) in file.tensors.iter().enumerate() {
        let mut values = tensor.to_f32().unwrap();
        if i == 3 {
            (values[0], name) = (f32::NAN, key.to_owned());
        }
        broken.insert(key, Tensor::from_f32(tensor.shape(), values).unwrap()).unwrap();
    }
    safetensors::save(place.at().join("m.safetensors"), &file.metadata, &broken).unwrap();
    let draw = ["sample", "--model", "m.safetensors", "--seeds", "0", "--steps", "1", "--out", "x.png"];
    run_in(place.at(), &draw).fails(6, &[&name, "became non-finite"]);
    assert!(!place.at().join("x.png").exists());
}

#[test]
fn numbers_out_of_range_are_told_with_what_is_allowed() {
    let place = Place::new();
    for (command, arguments, words) in [
        ("sample", &["--seeds", "5-1"][..], &["--seeds", "above the last", "write 1-5"][..]),
        ("sample", &["--seeds", "a-b"], &["--seeds", "0-15"]),
        ("sample", &["--seeds", "0-9999999"], &["at most 1048576 images"]),
        ("sample", &["--batch", "0"], &["--batch", "0 is not in 1.."]),
        ("sample", &["--steps", "0"], &["--steps", "0 is not in 1.."]),
        ("sample", &["--steps", "99999999999"], &["--steps", "is not in 1.."]),
        ("sample", &["--steps", "4000000000"], &["steps = 4000000000", "1 to 1000000"]),
        ("sample", &["--sampler", "pc", "--steps", "4000000000"], &["4000000000"]),
        ("sample", &["--sampler", "pc", "--snr=-1"], &["--snr", "above 0"]),
        ("sample", &["--sampler", "pc", "--corrector", "none", "--snr", "nan"], &["--snr", "above 0"]),
        ("sample", &["--sampler", "pc", "--snr", "much"], &["--snr", "a number is expected"]),
        ("sample", &["--sampler", "ode", "--rtol", "0", "--atol", "0"], &["rtol and atol", "above 0"]),
        ("sample", &["--set", "sampling.snr=nan"], &["sampling.snr = nan", "a finite number"]),
        ("sample", &["--set", "model.nf=none"], &["model.nf = \"none\"", "a whole number, 0 or above"]),
        ("sample", &["--set", "model.ch_mult=2"], &["model.ch_mult = 2", "a list is expected"]),
        ("sample", &["--sampler", "ode", "--rtol=-1"], &["rtol"]),
        ("sample", &["--out", "x."], &["none of .png"]),
        ("likelihood", &["--data", "a.png", "--n", "0"], &["--n", "0 is not in 1.."]),
        ("likelihood", &["--data", "a.png", "--repeats", "0"], &["--repeats"]),
        ("interpolate", &["--seeds", "1", "2", "--frames", "1"], &["--frames", "1 is not in 2.."]),
        ("interpolate", &["--seeds", "1", "2", "--frames", "999999999"], &["--frames", "is not in 2..=4096"]),
        ("interpolate", &["--seeds", "1", "2", "--temperature", "nan"], &["--temperature", "0 or above"]),
        (
            "encode",
            &["--images", "a.png", "--t-eps", "2", "--out", "z.safetensors"],
            &["--t-eps", "between 0 and 1"],
        ),
    ] {
        place.run(command, arguments).fails(2, words);
    }
}

#[test]
fn a_build_without_an_embedded_model_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run_in(folder.path(), &["sample", "--seeds", "0", "--steps", "1"]);
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").read_dir().unwrap();
    let any = embedded.flatten().any(|e| e.path().extension().is_some_and(|e| e == "safetensors"));
    match any {
        true => assert!(ran.ok().contains("in sample.png")),
        false => drop(ran.fails(2, &["no embedded model", "--model"])),
    }
    run(&["sample", "--config", "ve/cifar10_ncsnpp_continuous"]).fails(2, &["--model"]);
}
