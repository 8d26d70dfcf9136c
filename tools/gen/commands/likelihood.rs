//! `gen likelihood`

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use langevin::data::Split;
use langevin::pipeline::ReadImages;
use langevin::sampling::prior::Probe;
use serde_json::json;

use crate::environment;
use crate::exit::Interrupted;
use crate::flow::{FlowArgs, by_flow_args};
use crate::input::{RangeArgs, counted, told};
use crate::model::ModelArgs;
use crate::print;
use crate::session::Session;

/// Measure bits per dimension of images.
///
/// By the probability-flow ODE from --t-eps (1e-5 unless given) to 1 and an estimate of the divergence (Skilling and Hutchinson), with the
/// authors' offset: images of 256 levels, each spread uniformly over its level. Values that are no multiples of 1/255 are taken as they are.
#[derive(Args)]
#[command(after_help = "Examples:
  gen likelihood --data photos/ --n 16
  gen likelihood --data mnist.tar.xz --split test --n 100 --json
  gen likelihood --model checkpoint_24.pth --config vp/cifar10_ddpmpp_continuous --data cifar-10-binary.tar.gz \\
      --n 128 --repeats 5 --hutchinson gaussian --json")]
pub struct LikelihoodCommand {
    #[command(flatten)]
    model: ModelArgs,
    /// The images: a data set as `gen data` reads it, a picture, or a .safetensors or .npz file (`x`, n c h w, in [0, 1]).
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    #[command(flatten)]
    range: RangeArgs,
    /// Take N images only: the first ones, of a split such as --seed chooses.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    n: Option<u32>,
    /// Take a data set as `gen train` does, and this part of it; without folders named train and test all of it is train.
    #[arg(long, value_enum, value_name = "NAME")]
    split: Option<Part>,
    /// The probe of the divergence.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Hutchinson::Rademacher)]
    hutchinson: Hutchinson,
    /// Measure each image so many times, with fresh noise and probe, and take the mean.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    repeats: u32,
    /// Seed of noise, probe and choice.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    flow: FlowArgs,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Hutchinson {
    Rademacher,
    Gaussian,
}

/// `--split`
#[derive(Clone, Copy, ValueEnum)]
enum Part {
    Train,
    Test,
    All,
}

impl From<Part> for Split {
    fn from(part: Part) -> Self {
        match part {
            Part::Train => Self::Train,
            Part::Test => Self::Test,
            Part::All => Self::All,
        }
    }
}

impl From<Hutchinson> for Probe {
    fn from(hutchinson: Hutchinson) -> Self {
        match hutchinson {
            Hutchinson::Rademacher => Self::Rademacher,
            Hutchinson::Gaussian => Self::Gaussian,
        }
    }
}

impl LikelihoodCommand {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let saved = self.model.open(session)?;
        let mut reader = ReadImages::new(&self.data, &saved).limits(session.limits());
        if let Some(n) = self.n {
            reader = reader.most(n as usize);
        }
        let images = match self.split {
            None => reader.any_range(self.range.any_range).images()?,
            Some(split) => {
                let reader = reader.cache_folder(environment::data_folder());
                counted("pictures read", session, |progress| reader.split(split.into(), self.seed, progress))?
            }
        };
        let images = told(images, session)?;
        let gpu = session.open_gpu()?;
        let start = Instant::now();
        let model = self.model.on(&gpu, saved, session)?;
        let bar = session.follow("measuring");
        let likelihood = by_flow_args!(&self.flow, model.likelihood()).progress(|p| bar.tell(p));
        let likelihood = likelihood.probe(self.hutchinson.into()).repeats(self.repeats).seed(self.seed);
        let measured = likelihood.until(&session.stop()).of(&images)?;
        bar.clear();
        if !measured.is_dequantized {
            session.say("the values are no multiples of 1/255: they are taken as they are, without noise");
        }
        let (each, mean, error) = (measured.each(), measured.mean(), measured.standard_error());
        let done = each.len();
        if done == 0 {
            return Err(Interrupted("no image was finished".into()).into());
        }
        let seconds = start.elapsed().as_secs_f64();
        let rows = images.names().iter().zip(&each).zip(&measured.repeats);
        if self.json {
            let rows: Vec<_> = rows
                .map(|((name, bpd), all)| json!({"name": name, "bits_per_dim": bpd, "repeats": all}))
                .collect();
            print::json(&json!({
                "images": done, "bits_per_dim": each, "mean": mean, "standard_error": error,
                "nfe": measured.nfe, "nfe_mean": measured.nfe_mean,
                "each": rows, "dequantized": measured.is_dequantized, "repeats": self.repeats, "seed": self.seed,
                "t_eps": measured.t_eps, "rtol": self.flow.rtol, "atol": self.flow.atol,
                "model": model.name(), "ema": model.is_averaged(),
                "adapter": gpu.adapter().name, "seconds": seconds,
            }))?;
        } else {
            let rows: Vec<Vec<String>> =
                rows.map(|((name, bpd), _)| vec![name.clone(), format!("{bpd:.4}")]).collect();
            print::line(print::table(&rows))?;
            let error = error.map_or(String::new(), |e| format!(" ± {e:.4} (standard error)"));
            print::line(format_args!(
                "mean of {}: {mean:.4}{error} bits per dimension, NFE {}, {seconds:.1} s",
                print::count(done, "image"),
                measured.nfe
            ))?;
        }
        if measured.is_cut_short {
            return Err(Interrupted(format!("{done} of {} images are told", images.len())).into());
        }
        Ok(())
    }
}
