//! The tool as a person meets it: what it prints where, what it says of mistakes, and with which exit code.

mod basics;
mod bench;
mod files;
mod goldens;
mod mistakes;
mod models;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
    for name in ["WGPU_BACKEND", "WGPU_ADAPTER_NAME", "XDG_RUNTIME_DIR", "LANGEVIN_CACHE"] {
        command.env_remove(name);
    }
    command
}

/// Waits for it.
pub fn finish(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
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
