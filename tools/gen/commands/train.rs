//! `gen train`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use langevin::Error;
use langevin::data::{BadImage, DataConfig, Dataset, Preprocess};
use langevin::gpu::Gpu;
use langevin::limits::shown;
use langevin::models::Config;
use langevin::pipeline::Training;
use langevin::training::{Event, Figures, SampleOptions, Trainer, TrainerOptions};
use serde_json::json;

use crate::apart::{Input, check_apart_from_inputs};
use crate::exit::{Interrupted, Usage};
use crate::input::{data_config, open_data};
use crate::print;
use crate::session::Session;
use crate::settings::ConfigArgs;

/// A slow device is heard of so often.
const BETWEEN_LINES: Duration = Duration::from_secs(30);
/// Where the first step is not done by then, how far it is.
const FIRST_LINE: Duration = Duration::from_secs(10);

/// Train a model.
///
/// The work folder holds everything: the checkpoint, of which the one before is kept, a log (metrics.jsonl and TensorBoard
/// events), grids of samples. A run that was ended by Ctrl-C or a power cut goes on from there, bit for bit as if it never stopped.
#[derive(Args)]
#[command(after_help = "Examples:
  gen train --config ve/cifar10_ncsnpp_continuous --data cifar-10-binary.tar.gz
  gen train --config mine.toml --data photos/ --out runs/mine --set optim.lr=1e-4 --batch 32 --steps 20000
  gen train --config ve/ffhq_ncsnpp_continuous --batch 1 --recompute --dry-run
  gen train --config ve/cifar10_ncsnpp_continuous --set model.name=wideresnet_noise_conditional \\
            --data cifar-10-binary.tar.gz --out runs/classifier    (for gen class; classes are folders of --data)")]
pub struct Train {
    #[command(flatten)]
    config: ConfigArgs,
    /// The images; see `gen data --help`.
    #[arg(long, value_name = "PATH", required_unless_present = "dry_run")]
    data: Option<PathBuf>,
    /// The work folder; runs/NAME after the configuration's name unless given.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Steps to reach, in place of training.n_iters.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Images of a step, in place of training.batch_size.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Images that are on the device at once; the result is that of the whole batch.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    micro_batch: Option<u32>,
    /// Compute activations again in the backward pass rather than keep them: less memory, about a fifth more work, the same result.
    #[arg(long)]
    recompute: bool,
    /// Read the pictures again, whatever the cache holds: after edits that kept the sizes and times of files.
    #[arg(long)]
    repack: bool,
    /// Refuse a folder that holds a run already, rather than go on with it.
    #[arg(long)]
    no_resume: bool,
    /// Draw a grid of samples every N steps; 0 draws none. Else as training.snapshot_freq says.
    #[arg(long, value_name = "N")]
    samples_every: Option<u64>,
    /// Save every N minutes as well.
    #[arg(long, value_name = "MINUTES", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=525_600))]
    save_every: u64,
    /// Print the plan and its memory, with and without --recompute, and train nothing; needs no --data.
    #[arg(long)]
    dry_run: bool,
    /// Print objects: the plan of a dry run, or a line for each line of the log and one for the end.
    #[arg(long)]
    json: bool,
}

impl Train {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let config = self.configuration()?;
        for warning in config.warnings() {
            session.say(warning);
        }
        if self.out.as_ref().is_some_and(|out| out.as_os_str() == "-") {
            return Err(Usage("--out -: a run needs a folder, which cannot go to stdout".into()).into());
        }
        // What the data must become, refused by a dry run as by a run.
        recipe(&config)?;
        let gpu = session.open_gpu()?;
        if let Some(path) = &self.data {
            std::fs::metadata(path).map_err(Error::io(path))?;
        }
        let batch = config.training.batch_size;
        let options = TrainerOptions {
            resume: !self.no_resume,
            micro_batch: self.micro_batch.map(|n| n as usize),
            recompute: self.recompute,
            kernels: session.kernels(&gpu)?,
            samples: (self.samples_every != Some(0)).then_some(SampleOptions {
                steps: Some(20),
                every: self.samples_every,
                ..SampleOptions::default()
            }),
            log_every: Some(BETWEEN_LINES),
            save_every: Some(Duration::from_secs(60 * self.save_every.max(1))),
            ..TrainerOptions::default()
        };
        if self.dry_run {
            return self.plan(&gpu, &config, &options, session);
        }
        // bug: the command line is refused without it, but for a dry run.
        let path = self.data.as_ref().expect("--data");
        let out = &self.out.clone().unwrap_or_else(|| self.folder());
        check_apart_from_inputs("--out", out, &[Input::Images("--data", path)])?;
        let data = pictures(path, &config, self.repack, session)?;
        let bar = session.counter("compiling kernels");
        let training = Training::of_config(&gpu, config, data)?.folder(out).options(|of| *of = options);
        let mut trainer = training.prepare()?;
        bar.finish_and_clear();
        let bar = session.bar(0, "training");
        let mut last: Option<Figures> = None;
        let (begun, mut due) = (Instant::now(), FIRST_LINE);
        let outcome = trainer.run(&mut |event: Event<'_>| {
            match event {
                Event::Started { step, steps, memory, micro_batch, .. } => {
                    bar.set_length(steps);
                    bar.reset_eta();
                    bar.set_position(step);
                    bar.reset_eta();
                    let of = match step {
                        0 => print::count(steps as usize, "step"),
                        done if done >= steps => {
                            format!("{done} steps were done before, {steps} are asked for")
                        }
                        done => format!("going on from step {done} of {steps}"),
                    };
                    let parts = if micro_batch < batch {
                        format!(" in parts of {micro_batch}")
                    } else {
                        String::new()
                    };
                    bar.suspend(|| {
                        session.say(format_args!(
                            "{of}, batches of {batch}{parts}, {} of device memory; the run is in {}",
                            print::bytes(memory.total()),
                            out.display()
                        ));
                    });
                }
                Event::UnderWay { step, share, images_per_second } => {
                    // Kernels are compiled first; a rate from less says nothing.
                    let known = share >= 0.01;
                    let text = match known {
                        true => {
                            let rate = print::rate(images_per_second);
                            format!("step {step} is {:.0}% done, about {rate}", 100.0 * share)
                        }
                        false => format!("step {step} is under way"),
                    };
                    bar.set_prefix(format!(", {text}"));
                    let elapsed = begun.elapsed();
                    if bar.is_hidden() && elapsed >= due && (known || elapsed >= BETWEEN_LINES) {
                        due = elapsed + BETWEEN_LINES;
                        session.say(text);
                    }
                }
                Event::Step { step } => bar.set_position(step),
                Event::Logged(figures) => {
                    bar.set_prefix(short(&figures));
                    last = Some(figures);
                    if self.json {
                        // A reader that went away does not end the run.
                        let _ = print::line(object(&figures));
                    } else if bar.is_hidden() {
                        // Where no bar moves, lines tell that the run does.
                        session.say(text(&figures));
                    } else {
                        bar.suspend(|| session.detail(text(&figures)));
                    }
                }
                Event::Evaluated { step, loss, accuracy } => {
                    let share = found(accuracy);
                    bar.suspend(|| {
                        session.detail(format_args!("step {step}: loss {loss:.4}{share} on the test split"))
                    });
                }
                Event::Saved { step } => bar.suspend(|| session.detail(format_args!("step {step}: saved"))),
                Event::Samples { path, .. } => bar.suspend(|| session.detail(path.display())),
                Event::Note(note) => bar.suspend(|| session.say(note)),
            }
            !session.is_interrupted()
        })?;
        bar.finish_and_clear();
        if !outcome.complete {
            let became = match outcome.step {
                0 => "no step was done; the same command begins anew".to_owned(),
                1 => format!("1 step is saved in {}; the same command goes on", out.display()),
                n => format!("{n} steps are saved in {}; the same command goes on", out.display()),
            };
            return Err(Interrupted(became).into());
        }
        if self.json {
            print::line(
                json!({"step": outcome.step, "complete": true, "loss": last.map(|f| f.loss), "folder": out}),
            )?;
        } else {
            let loss = last.map_or(String::new(), |f| format!(", loss {:.4}{}", f.loss, found(f.accuracy)));
            print::line(format_args!(
                "{} done{loss}; the model is in {}",
                print::count(outcome.step as usize, "step"),
                out.display()
            ))?;
        }
        Ok(())
    }

    /// What `--dry-run` prints: the step's memory before anything is allocated.
    fn plan(
        &self,
        gpu: &Gpu,
        config: &Config,
        options: &TrainerOptions,
        session: &Session,
    ) -> anyhow::Result<()> {
        let (draft, notes) = Trainer::plan(gpu, config, options)?;
        let other = TrainerOptions { recompute: !self.recompute, ..options.clone() };
        let (other, _) = Trainer::plan(gpu, config, &other)?;
        for note in &notes {
            session.say(note);
        }
        let (memory, flops) = (draft.memory(), draft.flops());
        let (kept, recomputed) = if self.recompute { (&other, &draft) } else { (&draft, &other) };
        let (batch, micro_batch) = (config.training.batch_size, draft.micro_batch());
        if self.json {
            print::json(&json!({
                "batch": batch, "micro_batch": micro_batch, "steps": config.training.n_iters, "flops": flops,
                "recompute": self.recompute,
                "total_kept": kept.memory().total(), "total_recomputed": recomputed.memory().total(),
                "memory": print::memory(&memory),
            }))?;
            return Ok(());
        }
        print::line(format_args!("batch    {batch}, in parts of {micro_batch}"))?;
        print::line(format_args!("steps    {}", config.training.n_iters))?;
        print::line(format_args!("step     {:.1} GFLOP", flops / 1e9))?;
        print::line(format_args!("memory   {}", print::bytes(memory.total())))?;
        print::line(format_args!("         {memory}"))?;
        print::line(format_args!(
            "{} {}, {:.1} GFLOP a step",
            if self.recompute { "without --recompute" } else { "with --recompute" },
            print::bytes(other.memory().total()),
            other.flops() / 1e9
        ))?;
        Ok(())
    }

    /// Where a run goes that names no folder: the same command finds it again.
    fn folder(&self) -> PathBuf {
        let name = self.config.config.as_deref().unwrap_or_default();
        let stem = match Path::new(name).extension() {
            Some(_) => Path::new(name).file_stem().map(|s| s.to_string_lossy().into_owned()),
            None => None,
        };
        Path::new("runs").join(stem.unwrap_or_else(|| name.replace(['/', '\\'], "-")))
    }

    fn configuration(&self) -> anyhow::Result<Config> {
        let config = self
            .config
            .named()?
            .ok_or_else(|| Usage("training needs --config; `gen config list` has the presets".into()))?;
        let mut config = self.config.apply(config)?;
        if let Some(steps) = self.steps {
            config.training.n_iters = steps;
        }
        if let Some(batch) = self.batch {
            config.training.batch_size = batch as usize;
        }
        config.validate()?;
        Ok(config)
    }
}

/// How pictures become what the model learns.
fn recipe(config: &Config) -> langevin::Result<Preprocess> {
    let d = &config.data;
    Preprocess::for_dataset(d.dataset.as_str(), d.image_size as u32, d.num_channels as u32)
}

/// The data set; packing it is shown.
fn pictures(path: &Path, config: &Config, repack: bool, session: &Session) -> anyhow::Result<Arc<Dataset>> {
    let preprocess = recipe(config)?;
    let data = open_data(
        &DataConfig { repack, ..data_config(path, preprocess, session) },
        "pictures read",
        session,
    )?;
    if !data.bad().is_empty() {
        let named = |b: &BadImage| format!("{} ({})", shown(&b.name), b.reason);
        let first: Vec<String> = data.bad().iter().take(3).map(named).collect();
        session.say(format_args!(
            "{} cannot be read and left out, the first: {}; `gen data check` has all",
            if data.bad().len() == 1 { "1 picture".into() } else { format!("{} pictures", data.bad().len()) },
            first.join(", ")
        ));
    }
    data.notes().iter().for_each(|note| session.say(note));
    Ok(data)
}

fn object(f: &Figures) -> serde_json::Value {
    json!({
        "step": f.step, "loss": f.loss, "grad_norm": f.grad_norm, "skipped": f.skipped,
        "images_per_second": f.images_per_second, "wait": f.wait, "memory": f.memory,
        "accuracy": f.accuracy,
    })
}

/// A classifier's accuracy in words.
fn found(accuracy: Option<f64>) -> String {
    accuracy.map_or(String::new(), |share| format!(", {:.1}% found", 100.0 * share))
}

/// What stands beside the bar.
fn short(f: &Figures) -> String {
    let skipped = if f.skipped > 0 { format!(", {} steps skipped", f.skipped) } else { String::new() };
    format!(", loss {:.4}{}, {}{skipped}", f.loss, found(f.accuracy), print::rate(f.images_per_second))
}

fn text(f: &Figures) -> String {
    format!(
        "step {}: loss {:.4}{}, gradient {:.3}, {}, {:.0}% waiting for data, {} steps skipped",
        f.step,
        f.loss,
        found(f.accuracy),
        f.grad_norm,
        print::rate(f.images_per_second),
        100.0 * f.wait,
        f.skipped
    )
}
