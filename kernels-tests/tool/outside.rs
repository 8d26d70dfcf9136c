//! A crate of somebody else, outside this workspace, with a network of its own: it trains, is killed, goes on to the same bits, draws and
//! exports.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use langevin::checkpoint::Checkpoint;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The network of the example, in a crate that knows the library by its folder alone.
fn write_crate(at: &Path) {
    let manifest = format!(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nlangevin = {{ path = {:?} }}\n\n\
         [profile.release]\ndebug = \"line-tables-only\"\nsplit-debuginfo = \"off\"\nincremental = true\n\n\
         [profile.release.package.\"*\"]\ndebug = false\n",
        format!("{ROOT}/src")
    );
    fs::create_dir_all(at.join("src")).unwrap();
    fs::write(at.join("Cargo.toml"), manifest).unwrap();
    fs::copy(format!("{ROOT}/Cargo.lock"), at.join("Cargo.lock")).unwrap();
    fs::copy(format!("{ROOT}/examples/own_network/network.rs"), at.join("src/network.rs")).unwrap();
    fs::write(at.join("src/main.rs"), PROGRAM).unwrap();
}

const PROGRAM: &str = r#"
mod network;

use langevin::data::{Dataset, Preprocess};
use langevin::gpu::Gpu;
use langevin::pipeline::{Pretrained, Training};
use langevin::sampling::solvers::DpmSolverPp;
use langevin::sde::Vp;
use langevin::training::Event;
use network::Residual;

fn main() -> langevin::Result<()> {
    let folder = std::env::args().nth(1).unwrap();
    let gpu = Gpu::open_default()?;
    let pixels = (0..64 * 64).map(|i| (i * 37 % 256) as u8).collect();
    let data = Dataset::from_pixels(pixels, Preprocess::new(8, 1)?, &[], &[])?;
    let training = Training::new(&gpu, Residual::new(8), Vp::default(), data.into()).folder(&folder).batch(8).steps(50);
    training.set("training.snapshot_freq_for_preemption", "5").samples(None).run(|event| match event {
        Event::Saved { step } => println!("saved {step}"),
        // Slow enough to be killed in the middle.
        Event::Step { .. } => std::thread::sleep(std::time::Duration::from_millis(20)),
        _ => {}
    })?;
    let model = Pretrained::open(&folder)?.network(Residual::new(8)).load(&gpu)?;
    let images = model.sampler(DpmSolverPp::steps(5)).seeds(0..2).draw()?;
    images.save(format!("{folder}/drawn.safetensors"))?;
    model.saved().save(format!("{folder}/weights.safetensors"), Default::default(), false)
}
"#;

/// Builds it into the folder where this workspace's packages are compiled already.
fn build(at: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_gen")).parent().unwrap().parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--release", "--offline", "--quiet"])
        .current_dir(at)
        .env("CARGO_TARGET_DIR", target);
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("release/outside")
}

#[test]
fn a_network_of_another_crate_trains_resumes_draws_and_exports() {
    let at = tempfile::tempdir().unwrap();
    write_crate(at.path());
    let program = build(at.path());
    let run = |folder: &str| {
        let mut command = Command::new(&program);
        command.arg(at.path().join(folder)).current_dir(at.path());
        command
    };
    let mut killed = run("killed").stdout(Stdio::piped()).spawn().unwrap();
    let saved = BufReader::new(killed.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(
        saved.take_while(|line| line != "saved 50").any(|line| line == "saved 20"),
        "it saved no step 20"
    );
    killed.kill().unwrap();
    killed.wait().unwrap();
    let checkpoint = |folder: &str| {
        let loaded = langevin::checkpoint::load(at.path().join(folder)).unwrap().unwrap();
        loaded.checkpoint
    };
    assert!((20..50).contains(&checkpoint("killed").step), "it was killed at {}", checkpoint("killed").step);
    for folder in ["killed", "unbroken"] {
        let ran = run(folder).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let bits = |c: &Checkpoint| -> Vec<(String, Vec<u8>)> {
        let sets = [&c.weights, &c.ema_weights, &c.adam_m, &c.adam_v];
        let all = sets.iter().flat_map(|set| set.iter());
        all.map(|(name, tensor)| (name.to_owned(), tensor.bytes().unwrap().into_owned())).collect()
    };
    let (resumed, unbroken) = (checkpoint("killed"), checkpoint("unbroken"));
    assert_eq!((resumed.step, unbroken.step), (50, 50));
    assert!(bits(&resumed) == bits(&unbroken), "the weights of a resumed run differ");
    let file = |folder: &str, name: &str| fs::read(at.path().join(folder).join(name)).unwrap();
    for name in ["drawn.safetensors", "weights.safetensors"] {
        let tensors = |folder: &str| {
            let bytes = file(folder, name);
            let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let mut all: Vec<(String, Vec<u8>)> =
                read.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
            all.sort();
            all
        };
        assert!(tensors("killed") == tensors("unbroken"), "{name} differs");
    }
    // The tool says whose network it is, rather than to guess.
    let told = super::run_in(at.path(), &["sample", "--model", "killed"]);
    assert_eq!(told.code, 2, "{}", told.stderr);
    assert!(told.stderr.contains("network is that of another program"), "{}", told.stderr);
}
