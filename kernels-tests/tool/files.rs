//! Weight files, pictures, data sets.

use std::path::Path;

use langevin::output::{ImageBytes, Provenance, write_png};

use crate::{fixture, run, run_in};

fn picture(folder: &Path, name: &str, shade: u8) {
    let pixels = (0..8 * 8 * 3).map(|i| (i as u8).wrapping_mul(shade)).collect();
    let image = ImageBytes::new([1, 8, 8, 3], pixels).unwrap();
    write_png(&folder.join(name), &image, &Provenance::new().with("seed", "7")).unwrap();
}

#[test]
fn inspect_tells_what_torch_saved() {
    let path = fixture("checkpoint.pth");
    let told = run(&["inspect", path.to_str().unwrap(), "--json"]).json();
    assert_eq!(told["format"], "torch.save (zip)");
    assert!(told["parameters"].as_u64().unwrap() > 0);
    let tensors = told["tensors"].as_array().unwrap();
    assert!(tensors.iter().all(|t| t["name"].is_string() && t["shape"].is_array()));
    assert!(run(&["inspect", path.to_str().unwrap()]).ok().contains("parameters: "));
}

#[test]
fn inspect_reads_back_how_a_picture_came_about() {
    let folder = tempfile::tempdir().unwrap();
    picture(folder.path(), "a.png", 3);
    let told = run_in(folder.path(), &["inspect", "a.png", "--json"]).json();
    assert_eq!(told["provenance"]["seed"], "7");
    assert!(run_in(folder.path(), &["inspect", "a.png"]).ok().contains("seed: 7"));
}

#[test]
fn inspect_says_what_is_wrong_with_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run_in(at, &["inspect", "missing.pth"]).fails(4, &["missing.pth", "No such file"]);
    std::fs::write(at.join("notes.txt"), "these are no weights").unwrap();
    run_in(at, &["inspect", "notes.txt"]).fails(4, &["notes.txt", "no weights in a form that is known"]);
    run_in(at, &["inspect", "."]).fails(4, &["neither a checkpoint", "config.json"]);
    picture(at, "cut.png", 3);
    let bytes = std::fs::read(at.join("cut.png")).unwrap();
    std::fs::write(at.join("cut.png"), &bytes[..40]).unwrap();
    run_in(at, &["inspect", "cut.png"]).fails(4, &["cut.png", "no readable PNG"]);
}

#[test]
fn data_is_checked_and_packed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("photos")).unwrap();
    for (name, shade) in [("a.png", 3), ("b.png", 5), ("c.png", 7)] {
        picture(&at.join("photos"), name, shade);
    }
    std::fs::write(at.join("photos/d.png"), "no picture").unwrap();
    let told = run_in(at, &["data", "check", "photos", "--json"]).json();
    assert_eq!((&told["images"], &told["image_size"]), (&3.into(), &8.into()));
    assert_eq!(told["bad"][0]["name"], "d.png");
    assert!(told["sigma_max"]["value"].as_f64().unwrap() > 0.0);
    assert!(run_in(at, &["data", "check", "photos"]).ok().contains("8x8, 3 channels: 3"));
    let pack = ["data", "pack", "photos", "--size", "8", "--cache", "packed", "--json"];
    let told = run_in(at, &pack).json();
    assert_eq!((&told["images"], &told["bad"]), (&3.into(), &1.into()));
    assert!(at.join("packed").read_dir().unwrap().count() > 0);
}

#[test]
fn what_is_wrong_with_data_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    run_in(at, &["data", "check", "missing"]).fails(4, &["missing", "No such file"]);
    std::fs::create_dir(at.join("empty")).unwrap();
    run_in(at, &["data", "check", "empty"]).fails(4, &["empty", "no readable picture"]);
    run_in(at, &["data", "pack", "empty", "--size", "8"]).fails(4, &["empty", "no readable picture"]);
    run_in(at, &["data", "pack", "empty"]).fails(2, &["--config", "--size"]);
    run_in(at, &["data", "pack", "empty", "--size", "0"]).fails(2, &["image_size"]);
    run_in(at, &["data", "pack", "empty", "--config", "vp/cifar"]).fails(2, &["did you mean"]);
    run_in(at, &["data", "check", "empty", "--dataset", "CELEBA"]).fails(2, &["--size"]);
}
