//! `gen train`: what it leaves, how it goes on, what it says of mistakes, and what Ctrl-C and a full disk leave.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{Ran, command, finish, run_in};

/// A small network, and pictures for it.
struct Place {
    folder: tempfile::TempDir,
}

const CONFIG: &str = "
[data]
image_size = 8
random_flip = false
[model]
name = \"ddpm\"
nf = 32
ch_mult = [1]
num_res_blocks = 1
attn_resolutions = []
[training]
sde = \"vpsde\"
batch_size = 4
n_iters = 1000000
log_freq = 1
";

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tiny.toml"), CONFIG).unwrap();
        Self { folder }
    }

    fn at(&self) -> &Path {
        self.folder.path()
    }

    /// `gen train` on the pictures of the repository, with a cache of its own.
    fn command(&self, more: &[&str]) -> Command {
        let pictures = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels-tests/fixtures/emoji");
        let common = ["train", "--config", "tiny.toml", "--data", pictures, "--out", "run"];
        let mut command = command(self.at(), &[&common[..], more].concat());
        command.env("LANGEVIN_CACHE", self.at().join("cache"));
        command
    }

    fn train(&self, more: &[&str]) -> Ran {
        finish(self.command(more).output().unwrap())
    }

    /// The step of the checkpoint.
    fn step(&self) -> u64 {
        run_in(self.at(), &["inspect", "run", "--json"]).json()["step"].as_u64().unwrap()
    }
}

#[test]
fn a_run_leaves_its_folder_and_goes_on() {
    let place = Place::new();
    let lines: Vec<Value> = place
        .train(&["--steps", "3", "--json", "--samples-every", "3"])
        .ok()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (line, step) in lines.iter().zip([1, 2, 3]) {
        assert_eq!(line["step"], step);
        for key in ["loss", "grad_norm", "images_per_second", "memory"] {
            assert!(line[key].as_f64().unwrap() > 0.0, "{key} in {line}");
        }
    }
    assert_eq!((&lines[3]["complete"], &lines[3]["folder"]), (&true.into(), &"run".into()));
    let there = |name: &str| place.at().join("run").join(name).exists();
    for name in
        ["checkpoint.safetensors", "metrics.jsonl", "samples/00000003-raw.png", "samples/00000003-ema.png"]
    {
        assert!(there(name), "{name}");
    }
    assert_eq!(std::fs::read_dir(place.at().join("run/events")).unwrap().count(), 1);
    let again = place.train(&["--steps", "5"]);
    assert!(again.stderr.contains("going on from step 3 of 5"), "{}", again.stderr);
    // A line for each step where there is no terminal to draw a bar on, with a rate that means something.
    assert!(
        again.stderr.contains("step 5: loss") && !again.stderr.contains(" 0.0 images/s"),
        "{}",
        again.stderr
    );
    assert!(again.ok().contains("5 steps done, loss"));
    assert!(there("checkpoint.previous.safetensors"));
    assert!(place.train(&["--steps", "5"]).stderr.contains("5 steps were done before"));
    let quiet = place.train(&["--steps", "6", "--quiet"]);
    assert_eq!(quiet.stderr, "");
    let draw = ["sample", "--model", "run", "--seeds", "0", "--steps", "2", "--out", "x.png", "--json"];
    let told = run_in(place.at(), &draw).json();
    assert_eq!((&told["step"], &told["ema"]), (&6.into(), &true.into()));
    let planned = place.train(&["--dry-run", "--json"]).json();
    assert!(planned["total_recomputed"].as_u64().unwrap() <= planned["total_kept"].as_u64().unwrap());
}

#[test]
fn a_run_without_a_folder_has_one_by_its_name_and_other_data_are_noticed() {
    let place = Place::new();
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/fixtures/emoji");
    let fewer = place.at().join("fewer");
    std::fs::create_dir(&fewer).unwrap();
    for name in ["emoji_u1f308.png", "emoji_u1f33b.png"] {
        std::fs::copy(pictures.join(name), fewer.join(name)).unwrap();
    }
    let train = |data: &str, steps: &str| {
        let arguments = ["train", "--config", "tiny.toml", "--data", data, "--steps", steps];
        let mut command = command(place.at(), &arguments);
        finish(command.env("LANGEVIN_CACHE", place.at().join("cache")).output().unwrap())
    };
    let first = train(pictures.to_str().unwrap(), "1");
    assert!(first.stderr.contains("the run is in runs/tiny"), "{}", first.stderr);
    first.ok();
    let same = train(pictures.to_str().unwrap(), "2");
    assert!(same.stderr.contains("going on from step 1 of 2"), "{}", same.stderr);
    assert!(!same.stderr.contains("training images"), "{}", same.stderr);
    let other = train("fewer", "3");
    assert!(other.stderr.contains("8 training images, now there are 2"), "{}", other.stderr);
    other.ok();
}

#[test]
fn what_is_wrong_with_a_run_is_told() {
    let place = Place::new();
    let at = place.at();
    let train = |more: &[&str]| run_in(at, &[&["train", "--data", "none", "--out", "run"], more].concat());
    train(&[]).fails(2, &["--config", "gen config list"]);
    train(&["--config", "nope"]).fails(2, &["unknown preset", "gen config list"]);
    train(&["--config", "none.toml"]).fails(4, &["none.toml", "No such file"]);
    train(&["--config", "tiny.toml"]).fails(4, &["none: No such file"]);
    // A dry run refuses what a run refuses.
    train(&["--config", "tiny.toml", "--dry-run"]).fails(4, &["none: No such file"]);
    for more in [&["--set", "data.num_channels=4"][..], &["--set", "data.num_channels=4", "--dry-run"]] {
        let ran =
            run_in(at, &[&["train", "--config", "tiny.toml", "--data", ".", "--out", "run"], more].concat());
        ran.fails(2, &["data.num_channels = 4", "1 (grey) and 3 (RGB)"]);
    }
    run_in(at, &["train", "--config", "tiny.toml", "--data", ".", "--out", "-"]).fails(2, &["--out -"]);
    train(&["--config", "tiny.toml", "--set", "optim.lrr=1"]).fails(2, &["did you mean \"optim.lr\"?"]);
    train(&["--config", "tiny.toml", "--steps", "0"]).fails(2, &["--steps", "0 is not in 1.."]);
    train(&["--config", "tiny.toml", "--batch", "0"]).fails(2, &["--batch", "0 is not in 1.."]);
    train(&["--config", "tiny.toml", "--device", "no such card"])
        .fails(2, &["no such card", "there are: 0 ("]);
    run_in(at, &["train", "--config", "tiny.toml"]).fails(2, &["--data"]);
    place.train(&["--micro-batch", "0"]).fails(2, &["--micro-batch", "0 is not in 1.."]);
    assert!(!at.join("run").exists(), "a mistake made a work folder");

    std::fs::write(at.join("file"), "").unwrap();
    std::fs::write(at.join("run"), "").unwrap();
    place.train(&["--steps", "1"]).fails(4, &["run: a file has this name"]);
    std::fs::remove_file(at.join("run")).unwrap();
    // Without a cache folder that can be written there is a remedy.
    let mut no_cache = place.command(&["--steps", "1"]);
    let ran = finish(no_cache.env("LANGEVIN_CACHE", at.join("file")).output().unwrap());
    ran.fails(2, &["the cache folder", "set LANGEVIN_CACHE"]);

    place.train(&["--steps", "1"]).ok();
    place.train(&["--steps", "2", "--no-resume"]).fails(2, &["holds a run, at step 1"]);
    place.train(&["--steps", "2", "--set", "model.nf=64"]).fails(2, &["model.nf = 64", "this folder has 32"]);
    // What no optimizer survives: the run says which tensor and step, and is saved.
    let broken = place.train(&["--steps", "60", "--set", "optim.lr=1e30", "--set", "optim.warmup=0"]);
    broken.fails(6, &["became non-finite at step"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_the_run_and_the_folder_has_one_writer() {
    let place = Place::new();
    let (mut child, mut rest, mut stderr) =
        crate::start(&mut place.command(&["--samples-every", "0"]), "step 2: loss");
    place.train(&["--steps", "3"]).fails(4, &["run/lock", "which writes to this folder"]);
    crate::press_ctrl_c(&child);
    std::io::Read::read_to_string(&mut rest, &mut stderr).unwrap();
    let ran = Ran { code: child.wait().unwrap().code().unwrap_or(-1), stdout: String::new(), stderr };
    let stderr = ran.fails(130, &["Ctrl-C again ends at once", "interrupted", "the same command goes on"]);
    let saved = place.step();
    assert!(stderr.contains(&format!("{saved} steps are saved in run")), "{saved}: {stderr}");
    let on = place.train(&["--steps", &(saved + 1).to_string()]);
    assert!(on.stderr.contains(&format!("going on from step {saved} of")), "{}", on.stderr);
    on.ok();
}

/// Whether HUP is ignored here, which children inherit.
#[cfg(unix)]
fn hangups_are_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// What Slurm, systemd and containers send ends a run as Ctrl-C does, and so does a terminal that goes away, unless `nohup` says otherwise.
#[cfg(unix)]
#[test]
fn term_and_hup_save_the_run() {
    let place = Place::new();
    for name in ["TERM", "HUP"] {
        if name == "HUP" && hangups_are_ignored() {
            crate::left_out("HUP: these tests run where it is ignored, as under nohup");
            continue;
        }
        let (mut child, mut rest, mut stderr) =
            crate::start(&mut place.command(&["--samples-every", "0"]), "loss");
        crate::signal(&child, name);
        std::io::Read::read_to_string(&mut rest, &mut stderr).unwrap();
        let ran = Ran { code: child.wait().unwrap().code().unwrap_or(-1), stdout: String::new(), stderr };
        let stderr =
            ran.fails(130, &[&format!("SIG{name} again"), "interrupted", "the same command goes on"]);
        assert!(stderr.contains(&format!("{} steps are saved in run", place.step())), "{stderr}");
    }
    // A shell that ignores HUP hands that on, as nohup does.
    let gen_train = place.command(&["--samples-every", "0"]);
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().unwrap());
    let line: Vec<String> =
        std::iter::once(gen_train.get_program()).chain(gen_train.get_args()).map(quoted).collect();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' HUP; exec {}", line.join(" "))]).current_dir(place.at());
    shell.env("LANGEVIN_CACHE", place.at().join("cache"));
    let (mut child, mut rest, mut stderr) = crate::start(&mut shell, "loss");
    crate::signal(&child, "HUP");
    for _ in 0..3 {
        std::io::BufRead::read_line(&mut rest, &mut stderr).unwrap();
    }
    assert!(!stderr.contains("ending"), "{stderr}");
    crate::signal(&child, "TERM");
    std::io::Read::read_to_string(&mut rest, &mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{stderr}");
}

/// As often as LANGEVIN_TERM_ROUNDS says: a run that is asked to end at any moment, and goes on until it is done, is the run that nobody
/// disturbed, bit for bit.
#[cfg(unix)]
#[test]
fn runs_that_are_terminated_at_random_moments_end_with_the_same_bits() {
    use std::time::{Duration, Instant};
    let rounds: u32 = std::env::var("LANGEVIN_TERM_ROUNDS").map_or(2, |n| n.parse().unwrap());
    let train = ["--steps", "30", "--samples-every", "0", "--set", "training.snapshot_freq_for_preemption=7"];
    let result = |place: &Place| {
        let path = place.at().join("run/checkpoint.safetensors");
        let file = langevin::checkpoint::Checkpoint::open(path).unwrap();
        assert_eq!(file.step, 30);
        [file.weights, file.ema_weights, file.adam_m, file.adam_v].map(|t| t.checksum().unwrap())
    };
    let whole = Place::new();
    whole.train(&train).ok();
    // Kernels are compiled and pictures packed: what is timed is the run.
    std::fs::remove_dir_all(whole.at().join("run")).unwrap();
    let begun = Instant::now();
    whole.train(&train).ok();
    let (expected, took) = (result(&whole), begun.elapsed());
    let mut random = langevin::random::Stream::new(7, 0, 0);
    let (mut stopped, mut saved) = (0, 0);
    for round in 0..rounds {
        std::fs::remove_dir_all(whole.at().join("run")).unwrap();
        // Twice at most, so that a round ends.
        for _ in 0..2 {
            let mut child = whole.command(&train);
            let child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            let mut child = child.spawn().unwrap();
            std::thread::sleep(Duration::from_secs_f64(took.as_secs_f64() * random.uniform()));
            // A run that has ended takes no signal.
            if child.try_wait().unwrap().is_none() {
                crate::signal(&child, "TERM");
            }
            let code = child.wait().unwrap().code();
            stopped += usize::from(code != Some(0));
            saved += usize::from(whole.at().join("run/checkpoint.safetensors").exists());
            // None: the signal came before the program took it over.
            assert!(matches!(code, Some(0 | 130) | None), "round {round}: {code:?}");
        }
        whole.train(&train).ok();
        assert_eq!(result(&whole), expected, "round {round}");
    }
    println!("{rounds} rounds, {stopped} stops, after {saved} of which there was a checkpoint");
    assert!(stopped > 0 || rounds < 3, "no run was stopped");
}

/// Six hundred photographs of nine million pixels: a minute of decoding, of which the first are enough.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_reading_of_pictures_at_once() {
    use langevin::output::{ImageBytes, Provenance, write_png};
    use std::time::{Duration, Instant};
    let place = Place::new();
    std::fs::create_dir(place.at().join("photos")).unwrap();
    let first = place.at().join("photos/0.png");
    let photo = ImageBytes::new([1, 3000, 3000, 1], vec![127; 9_000_000]).unwrap();
    write_png(&first, &photo, &Provenance::new()).unwrap();
    for i in 1..600 {
        std::fs::hard_link(&first, place.at().join(format!("photos/{i}.png"))).unwrap();
    }
    let train = ["train", "--config", "tiny.toml", "--data", "photos", "--out", "run", "-v"];
    let pack = ["data", "pack", "photos", "--size", "8"];
    for (arguments, word) in [(&train[..], "device "), (&pack[..], "")] {
        let mut command = command(place.at(), arguments);
        command.env("LANGEVIN_CACHE", place.at().join("cache"));
        let begun = Instant::now();
        let ran = crate::interrupt(&mut command, word, Duration::from_millis(500));
        ran.fails(130, &["interrupted while reading photos", "nothing is written"]);
        assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
        let left = place.at().join("cache/data").read_dir().unwrap().count();
        assert_eq!(left, 0, "something is left in the cache");
    }
    assert!(!place.at().join("run").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_run_and_keeps_the_checkpoint() {
    let place = Place::new();
    place.train(&["--steps", "2"]).ok();
    let full = crate::on_small_disk(&place.command(&["--steps", "4"]));
    full.fails(4, &["the disk is full", "checkpoint.safetensors needs", "bytes", "is intact"]);
    assert_eq!(place.step(), 2);
    assert!(place.train(&["--steps", "3"]).stderr.contains("going on from step 2 of 3"));
}
