//! The tool as a person meets it: what it prints where, what it says of mistakes, and with which exit code.

mod attacks;
mod basics;
mod bench;
mod files;
mod goldens;
mod mistakes;
mod models;
mod outside;
mod pipeline;
mod resume;
mod seeds;
mod train;
mod users;
mod weights;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// What a run of `gen` left.
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// Results.
    pub stdout: String,
    /// Words and errors.
    pub stderr: String,
}

/// `gen` with arguments, in the folder `at`, with the environment as it is but for what could change the outcome.
pub fn command(at: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gen"));
    command.args(arguments).current_dir(at);
    for name in ["WGPU_BACKEND", "WGPU_ADAPTER_NAME", "XDG_RUNTIME_DIR", "LANGEVIN_CACHE", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// Waits for it.
pub fn finish(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Starts it, and waits until a line on stderr holds `word`; gives what stderr has held so far.
pub fn start(command: &mut Command, word: &str) -> (Child, BufReader<std::process::ChildStderr>, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(word) {
        let before = said.len();
        stderr.read_line(&mut said).unwrap();
        assert!(said.len() > before, "it ended without {word:?}: {said}");
    }
    (child, stderr, said)
}

/// Presses Ctrl-C `wait` after a line on stderr held `word`, and waits for the end.
#[cfg(unix)]
pub fn interrupt(command: &mut Command, word: &str, wait: Duration) -> Ran {
    let (mut child, mut rest, mut stderr) = start(command, word);
    std::thread::sleep(wait);
    press_ctrl_c(&child);
    rest.read_to_string(&mut stderr).unwrap();
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Ran { code: child.wait().unwrap().code().unwrap_or(-1), stdout, stderr }
}

/// Sends what a terminal sends.
#[cfg(unix)]
pub fn press_ctrl_c(child: &Child) {
    signal(child, "INT");
}

/// Sends a signal.
#[cfg(unix)]
pub fn signal(child: &Child, name: &str) {
    // A builtin of every shell; the command of the same name is not installed everywhere.
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Makes the file `at` one on a full disk: whatever is written there fails with "no space left".
#[cfg(target_os = "linux")]
pub fn fill_disk(at: &Path) {
    std::os::unix::fs::symlink("/dev/full", at).unwrap();
}

/// The same command where no file may grow beyond 4 KiB: the next larger one fails as it does on a full disk.
#[cfg(target_os = "linux")]
pub fn on_small_disk(gen_command: &Command) -> Ran {
    // Without the trap the first such write would end the program.
    let small = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", small]).arg(gen_command.get_program()).args(gen_command.get_args());
    command.envs(gen_command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(gen_command.get_current_dir().unwrap());
    finish(command.output().unwrap())
}

/// Says on stderr, past what the harness catches, that something cannot be tested here.
pub fn left_out(what: impl std::fmt::Display) {
    // In one piece, since tests run side by side.
    let _ = std::io::stderr().write_all(format!("left out: {what}\n").as_bytes());
}

/// `gen` with arguments in the folder `at`.
pub fn run_in(at: &Path, arguments: &[&str]) -> Ran {
    finish(command(at, arguments).output().unwrap())
}

/// `gen` with arguments.
pub fn run(arguments: &[&str]) -> Ran {
    run_in(Path::new(env!("CARGO_MANIFEST_DIR")), arguments)
}

impl Ran {
    /// It must have succeeded; gives stdout.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// It must have succeeded with JSON on stdout.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// It must have failed with this code, every one of these words on stderr, and no trace of a panic.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self.stderr
    }
}

/// A file among the fixtures of the tests of weight files.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/files/data").join(name)
}
