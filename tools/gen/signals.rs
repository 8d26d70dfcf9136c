//! The signals that ask a run to end: Ctrl-C, SIGTERM (Slurm, systemd, containers), and SIGHUP unless it is ignored (`nohup`).

/// Calls `on` with the name of each signal, on a thread of its own.
///
/// # Errors
/// What the system says where it takes no handler.
#[cfg(unix)]
pub fn listen(mut on: impl FnMut(&'static str) + Send + 'static) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    let mut wanted = vec![SIGINT, SIGTERM];
    if !hangup_is_ignored() {
        wanted.push(SIGHUP);
    }
    let mut signals = signal_hook::iterator::Signals::new(wanted)?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            on(match signal {
                SIGTERM => "SIGTERM",
                SIGHUP => "SIGHUP",
                _ => "Ctrl-C",
            });
        }
    })?;
    Ok(())
}

/// Calls `on` when Ctrl-C or Ctrl-Break is pressed.
///
/// # Errors
/// What the system says where it takes no handler.
#[cfg(windows)]
pub fn listen(mut on: impl FnMut(&'static str) + Send + 'static) -> std::io::Result<()> {
    ctrlc::set_handler(move || on("Ctrl-C")).map_err(std::io::Error::other)
}

/// Whether SIGHUP was ignored when the program was started.
#[cfg(target_os = "linux")]
fn hangup_is_ignored() -> bool {
    // A mask in hexadecimal, bit 0 of which is signal 1, SIGHUP.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Whether SIGHUP was ignored when the program was started. The system's `ps` tells it; only `unsafe` code could ask the kernel.
#[cfg(all(unix, not(target_os = "linux")))]
fn hangup_is_ignored() -> bool {
    let id = std::process::id().to_string();
    let told = std::process::Command::new("ps").args(["-o", "ignored=", "-p", &id]).output();
    let mask =
        told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    u64::from_str_radix(mask.trim_start_matches("0x"), 16).is_ok_and(|mask| mask & 1 == 1)
}
