//! What commands that run a model say of mistakes, and what Ctrl-C leaves.

use std::path::Path;

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
    run_in(at, &["sample", "--model", "notes.txt"]).fails(4, &["--model", "neither a file of torch.save"]);
    run_in(at, &["sample", "--model", &place.model]).fails(2, &["holds no configuration", "preset"]);
    let other = ["sample", "--model", &place.model, "--config", "ve/cifar10_ncsnpp_continuous"];
    run_in(at, &other).fails(4, &["is the config that of this file?"]);
    place.run("sample", &["--set", "model.nff=3"]).fails(2, &["did you mean \"model.nf\"?"]);
    place.run("sample", &["--set", "model.nf"]).fails(2, &["key=value"]);
    place.run("sample", &["--device", "no such card", "--steps", "1"]).fails(2, &["no such card"]);
    place.run("sample", &["--sampler", "dpmp"]).fails(2, &["dpmpp"]);
    place.run("sample", &["--sampler", "ddim", "--eta", "2"]).fails(2, &["eta"]);
    place.run("sample", &["--seeds", "5-1"]).fails(2, &["above the last"]);
    place.run("sample", &["--rtol=-1", "--sampler", "ode"]).fails(2, &["rtol"]);
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
    ] {
        place.run("sample", &["--out", out, "--steps", "100000"]).fails(code, &[word]);
    }
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
    place.run("encode", &["--images", "bad.png", "--out", "z.safetensors"]).fails(4, &["bad.png"]);
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
    place
        .run("encode", &["--images", "a.png", "--t-eps", "2", "--out", "z.safetensors"])
        .fails(2, &["--t-eps"]);
}

#[test]
fn without_an_adapter_every_command_says_so() {
    let place = Place::new();
    for arguments in [
        &["sample"][..],
        &["encode", "--images", "a.png", "--out", "z.safetensors"],
        &["likelihood", "--data", "a.png"],
        &["inpaint", "--images", "a.png", "--mask", "left", "--out", "x.png"],
    ] {
        let all = [arguments, &["--model", &place.model, "--config", "config.json"]].concat();
        let mut command = crate::command(place.at(), &all);
        let ran = crate::finish(command.env("WGPU_BACKEND", "gl").output().unwrap());
        ran.fails(3, &["no GPU adapter answered", "gen devices"]);
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_what_is_done() {
    use std::io::Read;
    use std::process::{Command, Stdio};
    let place = Place::new();
    let draw = |out: &str, wait: u64, more: &[&str]| {
        let common =
            ["sample", "--model", &place.model, "--config", "config.json", "--batch", "1", "--out", out];
        let mut child = crate::command(place.at(), &[&common[..], more].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_secs(wait));
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        let code = child.wait().unwrap().code();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (code, stderr)
    };
    // A machine that does much else takes longer to the first image.
    let mut told = String::new();
    for wait in [2, 8, 32] {
        let (code, stderr) = draw("many.png", wait, &["--seeds", "0-99999", "--steps", "2"]);
        assert_eq!(code, Some(130), "{stderr}");
        told = stderr;
        if place.at().join("many.png").is_file() {
            break;
        }
    }
    assert!(told.contains("of 100000 images are written"), "{told}");
    assert!(place.at().join("many.png").is_file());
    let (code, stderr) = draw("none.png", 2, &["--seeds", "0", "--steps", "100000", "--sampler", "pc"]);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("nothing is written") && !place.at().join("none.png").exists(), "{stderr}");
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
