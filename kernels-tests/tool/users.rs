//! What people bring from other programs, and what they expect of streams and folders.

use std::path::Path;
use std::process::Stdio;

use langevin::checkpoint::{SavedModel, safetensors};
use langevin::models::config::ModelName;

use crate::models::{Place, picture, untrained_as};
use crate::{command, finish, run_in};

#[test]
fn a_picture_goes_to_stdout_and_words_to_stderr() {
    let place = Place::new();
    let draw =
        ["sample", "--model", &place.model, "--config", "config.json", "--seeds", "1-2", "--steps", "2"];
    let output = command(place.at(), &[&draw[..], &["--out", "-"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    run_in(place.at(), &[&draw[..], &["--out", "x.png"]].concat()).ok();
    assert_eq!(output.stdout, std::fs::read(place.at().join("x.png")).unwrap());
    assert!(String::from_utf8_lossy(&output.stderr).contains("images   2"));
    assert!(!place.at().join("-").exists());
    run_in(place.at(), &[&draw[..], &["--out", "-", "--json"]].concat()).fails(2, &["--json", "--out -"]);
    let convert = ["convert", &place.model, "--config", "config.json", "--out", "-"];
    run_in(place.at(), &convert).fails(2, &["--out -", ".safetensors"]);
    run_in(place.at(), &[&convert[..], &["--to", "diffusers"]].concat()).fails(2, &["--out -"]);
    // A reader that goes away is told as any other failure of stdout.
    let mut child = command(place.at(), &[&draw[..], &["--out", "-"]].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(!finish(child.wait_with_output().unwrap()).stderr.contains("panicked"));
}

#[test]
fn evaluators_find_their_array() {
    let place = Place::new();
    place.run("sample", &["--seeds", "1-2", "--steps", "2", "--out", "x.npz"]).ok();
    let bytes = std::fs::read(place.at().join("x.npz")).unwrap();
    for name in ["samples.npy", "arr_0.npy"] {
        assert!(bytes.windows(name.len()).any(|w| w == name.as_bytes()), "{name}");
    }
    // It reads back as images.
    place.run("likelihood", &["--data", "x.npz", "--n", "1", "--rtol", "0.1", "--atol", "0.1"]).ok();
}

#[test]
fn a_folder_of_another_run_is_refused_and_one_of_this_run_goes_on() {
    let place = Place::new();
    let draw = |seeds: &str, sampler: &str, more: &[&str]| {
        let common = ["--seeds", seeds, "--sampler", sampler, "--steps", "2", "--out", "f/"];
        place.run("sample", &[&common[..], more].concat())
    };
    draw("0-3", "ddim", &[]).ok();
    let read = |name: &str| std::fs::read(place.at().join("f").join(name)).unwrap();
    let first = read("000001.png");
    // The same run, further seeds, one batch after another.
    let told = draw("0-5", "ddim", &["--resume", "--batch", "1", "--json"]).json();
    assert_eq!((&told["images"], &told["kept"]), (&2.into(), &4.into()));
    assert_eq!(read("000001.png"), first);
    std::fs::remove_file(place.at().join("f/000002.png")).unwrap();
    assert_eq!(draw("0-5", "ddim", &["--resume", "--json"]).json()["images"], 1);
    assert_eq!(draw("0-5", "ddim", &["--resume", "--json"]).json()["images"], 0);
    // Another sampler.
    draw("0-1", "heun", &[]).fails(2, &["6 pictures of something else", "sampler is", "--overwrite"]);
    draw("0-1", "heun", &["--resume"]).fails(2, &["--overwrite"]);
    draw("0-1", "heun", &["--dry-run"]).ok();
    assert_eq!(read("000001.png"), first);
    let ran = draw("0-1", "heun", &["--overwrite"]);
    assert!(ran.stderr.contains("4 pictures of something else stay in f"), "{}", ran.stderr);
    ran.ok();
    assert_ne!(read("000001.png"), first);
    place.run("sample", &["--resume", "--out", "x.png"]).fails(2, &["--resume", "--out"]);
}

#[test]
fn classes_are_taken_by_name() {
    let place = Place::new();
    let small = [
        ("data.image_size", "8"),
        ("data.centered", "true"),
        ("training.sde", "subvpsde"),
        ("model.channel_multiplier", "1"),
        ("model.blocks_per_group", "1"),
        ("model.num_outputs", "4"),
    ];
    let path = place.at().join("c.safetensors");
    untrained_as(&path, ModelName::Wideresnet, &small);
    let mut file = safetensors::open(&path).unwrap();
    file.metadata.push(("classes".into(), r#"["0", "10", "2", "cat"]"#.into()));
    safetensors::save(place.at().join("named.safetensors"), &file.metadata, &file.tensors).unwrap();
    let saved = SavedModel::open(place.at().join("named.safetensors"), None).unwrap();
    assert_eq!(saved.classes, ["0", "10", "2", "cat"]);
    let class = |classifier: &str, label: &str| {
        place.run("class", &["--classifier", classifier, "--label", label, "--dry-run", "--steps", "2"])
    };
    // The folder "2" is the third; a number that is no folder is a number.
    for (label, told) in [("2", "class 2 (\"2\")"), ("cat", "class 3 (\"cat\")"), ("10", "class 1 (\"10\")")]
    {
        let ran = class("named.safetensors", label);
        assert!(ran.stderr.contains(told) && ran.stdout.contains(told), "{}{}", ran.stderr, ran.stdout);
        ran.ok();
    }
    assert!(class("named.safetensors", "1").stderr.contains("class 1 (\"10\")"));
    class("named.safetensors", "cta").fails(2, &["unknown class", "did you mean \"cat\"?"]);
    class("c.safetensors", "cat").fails(2, &["without the names of its classes"]);
    let told = run_in(place.at(), &["inspect", "named.safetensors"]).ok();
    assert!(told.contains("classes: 0 \"0\", 1 \"10\", 2 \"2\", 3 \"cat\""), "{told}");
}

/// A grey PNG with an alpha channel that is 0 in the left half.
fn erased(path: &Path) {
    let pixels: Vec<u8> = (0..64).flat_map(|i| [(100 + i) as u8, if i % 8 < 4 { 0 } else { 255 }]).collect();
    image::GrayAlphaImage::from_raw(8, 8, pixels).unwrap().save(path).unwrap();
}

#[test]
fn a_mask_is_understood_by_its_transparency_and_says_so() {
    let place = Place::new();
    erased(&place.at().join("m.png"));
    let fill = |mask: &str, out: &str| {
        let more = ["--images", "a.png", "--mask", mask, "--steps", "30", "--out", out];
        place.run("inpaint", &more)
    };
    let ran = fill("m.png", "alpha.safetensors");
    assert!(
        ran.stderr.contains("transparency") && ran.stderr.contains("50% of the pixels are kept"),
        "{}",
        ran.stderr
    );
    ran.ok();
    fill("left", "left.safetensors").ok();
    assert_eq!(place.tensor("alpha.safetensors", "x"), place.tensor("left.safetensors", "x"));
}

#[test]
fn arrays_of_another_range_are_refused_with_both_ranges() {
    let place = Place::new();
    let write = |name: &str, scale: f32, shift: f32| {
        let values: Vec<f32> = (0..192).map(|i| i as f32 / 191.0 * scale + shift).collect();
        langevin::output::write_safetensors(&place.at().join(name), &[("x", &[1, 3, 8, 8], &values)], &[])
            .unwrap();
    };
    write("bytes.safetensors", 255.0, 0.0);
    write("centred.safetensors", 2.0, -1.0);
    write("unit.safetensors", 1.0, 0.0);
    for (command, option) in [("encode", "--images"), ("likelihood", "--data")] {
        let run = |name: &str, more: &[&str]| {
            let out: &[&str] = if command == "encode" { &["--out", "z.safetensors"] } else { &[] };
            let loose = ["--rtol", "0.1", "--atol", "0.1"];
            place.run(command, &[&[option, name][..], &loose, out, more].concat())
        };
        run("bytes.safetensors", &[]).fails(4, &["from 0 to 255", "[0, 1]", "divide them by 255"]);
        run("centred.safetensors", &[]).fails(4, &["from -1 to 1", "[0, 1]", "(x + 1) / 2"]);
        run("unit.safetensors", &[]).ok();
        let ran = run("centred.safetensors", &["--any-range"]);
        assert!(ran.stderr.contains("taken as they are"), "{}", ran.stderr);
        ran.ok();
    }
}

#[test]
fn what_is_left_out_of_a_folder_is_named() {
    let place = Place::new();
    let at = |name: &str| place.at().join(name);
    for (class, shift) in [("cat", 3), ("dog", 9)] {
        std::fs::create_dir_all(at("set").join(class)).unwrap();
        picture(&at("set").join(class).join("1.png"), [8, 8], shift);
    }
    std::fs::create_dir_all(at("set/.ipynb_checkpoints")).unwrap();
    std::fs::copy(at("a.png"), at("set/.ipynb_checkpoints/1-checkpoint.png")).unwrap();
    std::fs::write(at("set/cat/2.heic"), "").unwrap();
    std::fs::write(at("set/cat/3.png"), "no picture").unwrap();
    let told = run_in(place.at(), &["data", "check", "set", "--json"]).json();
    let names: Vec<&str> =
        told["left_out"].as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap()).collect();
    assert_eq!(names, [".ipynb_checkpoints/", "cat/2.heic"]);
    let classes: Vec<&str> =
        told["classes"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(classes, ["cat", "dog"]);
    let check = run_in(place.at(), &["data", "check", "set"]).ok();
    assert!(
        check.contains("2 files or folders are left out")
            && check.contains("cat/2.heic: a picture of a kind"),
        "{check}"
    );
    // Training says the same.
    std::fs::write(at("tiny.toml"), TINY).unwrap();
    let mut train = command(
        place.at(),
        &[
            "train",
            "--config",
            "tiny.toml",
            "--data",
            "set",
            "--out",
            "run",
            "--steps",
            "1",
            "--samples-every",
            "0",
        ],
    );
    let ran = finish(train.env("LANGEVIN_CACHE", at("cache")).output().unwrap());
    for words in [".ipynb_checkpoints/ (hidden)", "cat/2.heic", "cat/3.png", "cannot be read and left out"] {
        assert!(ran.stderr.contains(words), "{words:?} is not in {}", ran.stderr);
    }
    ran.ok();
    let told = run_in(place.at(), &["inspect", "run"]).ok();
    assert!(told.contains("recipe: the central square, bilinear to 8x8, RGB"), "{told}");
    assert!(told.contains("classes: 0 \"cat\", 1 \"dog\""), "{told}");
}

/// A network that trains a step at once.
const TINY: &str = "
[data]
image_size = 8
[model]
name = \"ddpm\"
nf = 32
ch_mult = [1]
num_res_blocks = 1
attn_resolutions = []
[training]
sde = \"vpsde\"
batch_size = 2
";

#[test]
fn a_wide_picture_keeps_its_shape_in_every_command_and_its_loss_is_told() {
    let place = Place::new();
    // A bright square in the middle of a picture three times as wide as high.
    let inside = |at: usize, middle: usize| at.abs_diff(middle) < 8;
    let pixels =
        (0..24 * 72).flat_map(|i| [if inside(i % 72, 36) && inside(i / 72, 12) { 255 } else { 0 }; 3]);
    let image = langevin::output::ImageBytes::new([1, 24, 72, 3], pixels.collect()).unwrap();
    std::fs::create_dir(place.at().join("wide")).unwrap();
    langevin::output::write_png(&place.at().join("wide/w.png"), &image, &langevin::output::Provenance::new())
        .unwrap();
    let loss = "1 picture loses more than half of the area: of 72x24 pixels 33% are kept";
    let pack = ["data", "pack", "wide", "--config", "config.json", "--cache", "packed"];
    assert!(run_in(place.at(), &pack).stderr.contains(loss));
    // What inpainting knows of the picture is what training sees.
    let fill = ["--images", "wide", "--mask", "border", "--steps", "30", "--out", "x.png"];
    let ran = place.run("inpaint", &fill);
    assert!(ran.stderr.contains(loss), "{}", ran.stderr);
    ran.ok();
    let encode = ["--images", "wide", "--rtol", "0.1", "--atol", "0.1", "--out", "z.safetensors"];
    assert!(place.run("encode", &encode).stderr.contains(loss));
    let measure = ["--data", "wide", "--rtol", "0.1", "--atol", "0.1"];
    assert!(place.run("likelihood", &measure).stderr.contains(loss));
}

#[test]
fn configurations_of_other_programs_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir_all(at.join("configs/ve")).unwrap();
    std::fs::write(at.join("configs/ve/cifar10_ncsnpp_continuous.py"), "import ml_collections\n").unwrap();
    std::fs::write(at.join("cifar10.yml"), "training:\n  batch_size: 128\n").unwrap();
    let show = |name: &str| run_in(at, &["config", "show", name]);
    show("configs/ve/cifar10_ncsnpp_continuous.py")
        .fails(4, &["a Python program", "--config ve/cifar10_ncsnpp_continuous"]);
    show("cifar10.yml").fails(4, &["a YAML file", "ve/ncsnv2/cifar10"]);
    std::fs::write(at.join("mine.py"), "").unwrap();
    show("mine.py").fails(4, &["a Python program", "gen config show"]);
}
