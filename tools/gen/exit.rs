//! Exit codes, and how an error is told.

use std::fmt;

use langevin::Error;

use crate::print;

/// What `gen --help` says of the exit codes.
pub const HELP: &str = "Exit codes:
    0  done
    1  something else went wrong; the message says what
    2  the command line or the configuration: an unknown option, key, name, preset or device, or a value out of range
    3  no GPU adapter answered
    4  a file or folder: missing, unreadable, unwritable, in use, of the wrong format; or the disk is full
    5  the device: it was lost, refused to open, ran out of memory, or is too small
    6  NaN or infinity in a result
  130  ended by Ctrl-C, SIGTERM or SIGHUP; what was done is written

Environment:
    WGPU_BACKEND, WGPU_ADAPTER_NAME  narrow the choice of device
    WGPU_DX12_COMPILER               what compiles kernels on Direct3D 12: fxc or dxc
    VK_DRIVER_FILES                  the Vulkan drivers that the loader may see, in place of the system's
    NO_COLOR                         no colours
    LANGEVIN_CACHE                   where packed data sets, and times of kernels, are kept";

/// A mistake on the command line that only the tool can see.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Ctrl-C, with what became of the work.
#[derive(Debug)]
pub struct Interrupted(pub String);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted; {}", self.0)
    }
}

impl std::error::Error for Interrupted {}

/// Prints the error and gives its code.
pub fn report(result: anyhow::Result<()>) -> u8 {
    let Err(error) = result else { return 0 };
    if is_closed_pipe(&error) {
        // `gen config list | head` is no failure.
        return 0;
    }
    print::word(format_args!("error: {}", message(&error)));
    code(&error)
}

/// Where files have the library's error, with their path, what is left is stdout.
fn is_stdout(error: &anyhow::Error) -> bool {
    error.is::<std::io::Error>()
}

/// Names of options in the library's errors that are flags here.
const FLAGS: &[&str] = &[
    "atol",
    "batch",
    "classifier",
    "clip",
    "corrector",
    "eta",
    "frames",
    "guidance",
    "images",
    "label",
    "mask",
    "predictor",
    "repeats",
    "rtol",
    "sampler",
    "seeds",
    "snr",
    "steps",
    "t_eps",
    "temperature",
];

/// The library's message, its options by the names of flags.
fn in_flags(error: &Error) -> String {
    let text = error.to_string();
    match error {
        Error::Invalid { name, .. } if FLAGS.contains(&name.as_str()) => {
            format!("--{}{}", name.replace('_', "-"), &text[name.len()..])
        }
        _ => text,
    }
}

/// Context down to the library's error, which already holds the message of its own source.
fn message(error: &anyhow::Error) -> String {
    let mut parts = Vec::new();
    if is_stdout(error) {
        parts.push("writing to stdout".to_owned());
    }
    for cause in error.chain() {
        parts.push(cause.downcast_ref::<Error>().map_or_else(|| cause.to_string(), in_flags));
        if cause.is::<Error>() {
            break;
        }
    }
    parts.join(": ")
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

fn code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<Interrupted>()) {
        return 130;
    }
    if error.chain().any(|cause| cause.is::<Usage>()) {
        return 2;
    }
    if is_stdout(error) {
        return 4;
    }
    match error.chain().find_map(|cause| cause.downcast_ref::<Error>()) {
        Some(
            Error::UnknownKey { .. }
            | Error::UnknownName { .. }
            | Error::UnknownDevice { .. }
            | Error::Invalid { .. },
        ) => 2,
        Some(Error::NoAdapter { .. }) => 3,
        Some(Error::Io { .. } | Error::Format { .. } | Error::StorageFull { .. } | Error::Locked { .. }) => 4,
        Some(
            Error::DeviceRefused { .. }
            | Error::DeviceLost { .. }
            | Error::OutOfMemory { .. }
            | Error::Limit { .. },
        ) => 5,
        Some(Error::Stopped { .. }) => 130,
        Some(Error::NonFinite { .. } | Error::NonFiniteImage { .. }) => 6,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_is_said_once() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = Err::<(), _>(Error::io("a.pth")(missing)).context("reading the model").unwrap_err();
        assert_eq!(message(&error), "reading the model: a.pth: entity not found");
        assert_eq!(code(&error), 4);
    }

    #[test]
    fn stdout_alone_fails_without_a_path() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = anyhow::Error::from(full);
        assert!(message(&error).starts_with("writing to stdout: "), "{}", message(&error));
        assert_eq!(code(&error), 4);
    }

    #[test]
    fn every_kind_has_its_code() {
        let nan = Error::NonFinite { tensor: "x".into(), step: 3 };
        assert_eq!(code(&nan.into()), 6);
        assert_eq!(code(&Error::NoAdapter { tried: "vulkan".into(), remedy: String::new() }.into()), 3);
        assert_eq!(code(&Error::DeviceLost { cause: String::new() }.into()), 5);
        assert_eq!(code(&Usage("no".into()).into()), 2);
        assert_eq!(code(&Interrupted("2 images are written".into()).into()), 130);
        assert_eq!(code(&Error::Stopped { path: "photos".into() }.into()), 130);
        assert_eq!(code(&anyhow::anyhow!("else")), 1);
        assert_eq!(code(&Error::invalid("k", 1, "no").into()), 2);
    }
}
