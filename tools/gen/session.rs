//! What every command shares: the device, words on stderr, progress, the signals that end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use langevin::Error;
use langevin::data::Limits;
use langevin::gpu::{DeviceKind, Gpu, Options, Survey};
use langevin::graph::Kernels;
use langevin::pipeline::{Progress, Stop};
use tracing::Level;

use crate::{environment, print, signals};

/// Options of every command.
#[derive(Args, Clone)]
pub struct Global {
    /// The device: an index of `gen devices`, a part of a name, `cpu`, a backend (`vulkan`, `metal`, `dx12`), or NAME:BACKEND.
    #[arg(long, global = true, value_name = "DEVICE", help_heading = "Everywhere")]
    pub device: Option<String>,
    /// Say nothing on stderr but errors and warnings.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Everywhere")]
    pub quiet: bool,
    /// Say more on stderr.
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub verbose: bool,
    /// Memory in which pictures are decoded, all threads together, such as 800M or 2G; a picture that takes more is not read.
    #[arg(long, global = true, value_name = "SIZE", value_parser = memory, help_heading = "Everywhere")]
    pub memory: Option<u64>,
}

/// A size in bytes, or with K, M, G for KiB, MiB, GiB.
pub fn memory(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 32 << 20;
    let text = text.trim();
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << unit));
    let bytes = bytes.ok_or_else(|| format!("{text:?} is no size; it takes 800M or 2G"))?;
    match (LEAST..=1 << 50).contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("{text} is out of range; it takes 32M and more")),
    }
}

/// A run of the tool.
pub struct Session {
    global: Global,
    interrupted: Arc<AtomicBool>,
    begun: Instant,
}

/// What the library tells becomes sentences on stderr, as many as are asked for.
fn listen(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => Level::WARN,
        (_, true) => Level::DEBUG,
        _ => Level::INFO,
    };
    let events = tracing_subscriber::fmt()
        .with_max_level(level)
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        // Where nobody reads stderr any more the work goes on.
        .log_internal_errors(false);
    // Only a second session of one process, in tests, finds a listener there.
    let _ = tracing::subscriber::set_global_default(events.finish());
}

impl Session {
    /// Takes over Ctrl-C, SIGTERM and SIGHUP: the first asks the command to end, the second ends at once.
    pub fn new(global: Global) -> anyhow::Result<Self> {
        listen(&global);
        let interrupted = Arc::new(AtomicBool::new(false));
        let (flag, quiet) = (Arc::clone(&interrupted), global.quiet);
        signals::listen(move |name| {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            if !quiet {
                // A step at hand may take a while.
                print::word(format_args!("\nending; {name} again ends at once"));
            }
        })?;
        Ok(Self { global, interrupted, begun: Instant::now() })
    }

    /// How kernels are chosen on a device, as `LANGEVIN_KERNELS` asks.
    pub fn kernels(&self, gpu: &Gpu) -> anyhow::Result<Kernels> {
        Ok(environment::kernels().context(environment::KERNELS)?.kernels(gpu))
    }

    /// Whether the command was asked to end.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    /// Time since the tool was started.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How the device is opened: as the environment says, and `--device` before it.
    fn options(&self) -> anyhow::Result<Options> {
        let given = environment::options().context(environment::KERNELS)?;
        Ok(Options { device: self.global.device.clone().or(given.device.clone()), ..given })
    }

    /// What named the device, if anything did.
    fn asked_by(&self, options: &Options) -> Option<&'static str> {
        let by = if self.global.device.is_some() { "--device" } else { environment::ADAPTER };
        options.device.as_ref().map(|_| by)
    }

    /// The adapters there are, and the one that is taken.
    pub fn survey(&self) -> anyhow::Result<Survey> {
        let options = self.options()?;
        let mut survey = langevin::gpu::survey(&options).map_err(|e| self.unopened(e, &options))?;
        if let Some(by) = self.asked_by(&options) {
            survey.reason = format!("{by}: {}", survey.reason);
        }
        Ok(survey)
    }

    /// Why no device is open, with the option or variable that has to do with it.
    fn unopened(&self, error: Error, options: &Options) -> anyhow::Error {
        let context = match &error {
            Error::UnknownDevice { .. } => self.asked_by(options).map(str::to_owned),
            Error::NoAdapter { .. } => {
                let try_again = "`gen devices` lists what answers";
                Some(
                    environment::why_no_adapter()
                        .map_or(try_again.into(), |why| format!("{why}, then {try_again}")),
                )
            }
            _ => None,
        };
        match context {
            Some(context) => anyhow::Error::from(error).context(context),
            None => error.into(),
        }
    }

    /// What pictures may cost.
    pub fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits { memory: self.global.memory.unwrap_or(default.memory), ..default }
    }

    /// A sentence on stderr, unless `--quiet`.
    pub fn say(&self, text: impl std::fmt::Display) {
        if !self.global.quiet {
            print::word(text);
        }
    }

    /// A sentence on stderr with `-v`.
    pub fn detail(&self, text: impl std::fmt::Display) {
        if self.global.verbose {
            print::word(text);
        }
    }

    /// Opens the device; a software adapter that nobody asked for is said.
    pub fn open_gpu(&self) -> anyhow::Result<Gpu> {
        let options = self.options()?;
        let gpu = Gpu::open(&options).map_err(|e| self.unopened(e, &options))?;
        let report = gpu.adapter();
        if report.kind == DeviceKind::Software && options.device.is_none() {
            self.say(format_args!("no GPU answered; {} computes on the processor, slowly", report.name));
        }
        if self.global.verbose {
            let survey = self.survey()?;
            self.detail(format_args!(
                "device {}: {} ({}, {}), {}; {}",
                report.index,
                report.name,
                report.kind.name(),
                report.backend,
                report.driver,
                survey.reason
            ));
        }
        Ok(gpu)
    }

    /// A bar on stderr with what is left of the time; hidden with `--quiet` and where stderr is no terminal.
    pub fn bar(&self, length: u64, what: &str) -> ProgressBar {
        let template = "{msg} [{bar:30}] {pos}/{len}, {elapsed} gone, {eta} left{prefix}";
        self.progress(ProgressBar::no_length().with_message(what.to_owned()), template, Some(length))
    }

    /// A bar on stderr for work that tells how far it is.
    pub fn follow(&self, what: &str) -> Bar {
        Bar(self.bar(0, what))
    }

    /// What ends work of the library at Ctrl-C.
    pub fn stop(&self) -> Stop {
        Stop::from(Arc::clone(&self.interrupted))
    }

    /// A count on stderr of what has no known end.
    pub fn counter(&self, what: &str) -> ProgressBar {
        self.progress(ProgressBar::no_length().with_message(what.to_owned()), "{msg}: {pos}, {elapsed}", None)
    }

    /// Shows how many pictures are packed; false where Ctrl-C came.
    pub fn packed(&self, bar: &ProgressBar, done: u64) -> bool {
        bar.set_position(done);
        if self.is_interrupted() {
            bar.finish_and_clear();
        }
        !self.is_interrupted()
    }

    fn progress(&self, bar: ProgressBar, template: &str, length: Option<u64>) -> ProgressBar {
        if self.global.quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Some(length) = length {
            bar.set_length(length);
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }
}

/// A bar that follows work of the library.
pub struct Bar(ProgressBar);

impl Bar {
    /// Shows how far it is.
    pub fn tell(&self, progress: Progress) {
        let Progress { step, steps, images, of, nfe, .. } = progress;
        self.0.set_length(steps as u64);
        self.0.set_position(step as u64);
        if images > 0 {
            let rate = print::rate(images as f64 / self.0.elapsed().as_secs_f64());
            self.0.set_prefix(format!(", {images} of {of} images, {rate}, NFE {nfe}"));
        }
    }

    /// Takes it away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// A seed, or a range with its last one included.
pub fn seeds(text: &str) -> Result<(u64, u64), String> {
    let number = |s: &str| s.trim().parse::<u64>().map_err(|e| format!("{s:?}: {e}; it takes 7 or 0-15"));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    match last.checked_sub(first) {
        None => Err(format!("the first seed, {first}, is above the last, {last}; write {last}-{first}")),
        Some(more) if more >= 1 << 20 => Err("at most 1048576 images at a time".into()),
        Some(_) => Ok((first, last)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_memory() {
        assert_eq!(
            (memory("800M"), memory("2g"), memory("67108864")),
            (Ok(800 << 20), Ok(2 << 30), Ok(1 << 26))
        );
        for bad in ["", "M", "1", "-1G", "1.5G", "99999999999999999999", "18446744073709551615G", "1T"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn seeds_are_a_number_or_a_range() {
        assert_eq!(seeds("7"), Ok((7, 7)));
        assert_eq!(seeds("0-63"), Ok((0, 63)));
        assert!(
            seeds("3-1").is_err()
                && seeds("a-b").is_err()
                && seeds("").is_err()
                && seeds("0-9999999").is_err()
        );
    }
}
