//! `gen likelihood`

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use langevin::data::Split;
use langevin::data::transform::{center, dequantize};
use langevin::likelihood::{T_EPS, likelihood};
use langevin::sampling::flow::FlowOptions;
use langevin::sampling::prior::{Probe, probe};
use langevin::sampling::run::ImageSeed;
use serde_json::json;

use crate::exit::Interrupted;
use crate::flow::{Flow, FlowArgs};
use crate::input::{Given, RangeArgs, recipe};
use crate::model::{Facts, ModelArgs};
use crate::print;
use crate::sampler::Norm;
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

/// The bytes of images that are multiples of 1/255, none where one value is not.
fn bytes_of(values: &[f32]) -> Option<Vec<u8>> {
    let byte = |&v: &f32| {
        let scaled = v * 255.0;
        let near = (scaled - scaled.round()).abs() < 1e-3 && (-0.5..=255.5).contains(&scaled);
        near.then(|| scaled.round() as u8)
    };
    values.iter().map(byte).collect()
}

impl LikelihoodCommand {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let options = self.flow.options(T_EPS, Norm::Batch)?;
        let saved = self.model.open(session)?;
        let preprocess = recipe(&saved)?;
        let most = self.n.map(|n| n as usize);
        let images = match self.split {
            Some(split) => Given::of_split(&self.data, preprocess, split.into(), most, self.seed, session)?,
            None => Given::read(&self.data, preprocess, most, self.range, session)?,
        };
        let bytes = bytes_of(&images.values);
        if bytes.is_none() {
            session.say("the values are no multiples of 1/255: they are taken as they are, without noise");
        }
        let gpu = session.open_gpu()?;
        let start = Instant::now();
        let mut flow = Flow::new(&gpu, &saved, self.model.which(), true, session.kernels(&gpu)?)?;
        let mut measured =
            Measured { bits: vec![Vec::new(); images.names.len()], nfe: 0, evaluations: 0, runs: 0 };
        let finished = self.measure(
            &mut flow,
            &images,
            bytes.as_deref(),
            &saved,
            options,
            session,
            &mut measured,
            &gpu,
        )?;
        let done = measured.bits.iter().take_while(|b| !b.is_empty()).count();
        if done == 0 {
            return Err(Interrupted("no image was finished".into()).into());
        }
        let each: Vec<f64> =
            measured.bits[..done].iter().map(|b| b.iter().sum::<f64>() / b.len() as f64).collect();
        let mean = each.iter().sum::<f64>() / done as f64;
        let error = standard_error(&each, mean);
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            let rows: Vec<_> = images.names.iter().zip(&each).zip(&measured.bits).collect();
            let rows: Vec<_> = rows
                .into_iter()
                .map(|((name, bpd), all)| json!({"name": name, "bits_per_dim": bpd, "repeats": all}))
                .collect();
            print::json(&json!({
                "images": done, "bits_per_dim": each, "mean": mean, "standard_error": error,
                "nfe": measured.nfe, "nfe_mean": measured.evaluations as f64 / measured.runs as f64,
                "each": rows, "dequantized": bytes.is_some(), "repeats": self.repeats, "seed": self.seed,
                "t_eps": options.t_eps, "rtol": options.tolerance.rtol, "atol": options.tolerance.atol,
                "model": saved.name, "ema": self.model.averaged(&saved),
                "adapter": gpu.adapter().name, "seconds": seconds,
            }))?;
        } else {
            let rows: Vec<Vec<String>> = images
                .names
                .iter()
                .zip(&each)
                .map(|(name, bpd)| vec![name.clone(), format!("{bpd:.4}")])
                .collect();
            print::line(print::table(&rows))?;
            let error = error.map_or(String::new(), |e| format!(" ± {e:.4} (standard error)"));
            print::line(format_args!(
                "mean of {}: {mean:.4}{error} bits per dimension, NFE {}, {seconds:.1} s",
                print::count(done, "image"),
                measured.nfe
            ))?;
        }
        if !finished {
            return Err(Interrupted(format!("{done} of {} images are told", images.names.len())).into());
        }
        Ok(())
    }

    /// Fills in what is measured, batch by batch; false when Ctrl-C came.
    #[expect(clippy::too_many_arguments, reason = "what is measured, with what, and where it goes")]
    fn measure(
        &self,
        flow: &mut Flow<'_>,
        images: &Given,
        bytes: Option<&[u8]>,
        saved: &langevin::checkpoint::SavedModel,
        options: FlowOptions,
        session: &Session,
        measured: &mut Measured,
        gpu: &langevin::gpu::Gpu,
    ) -> anyhow::Result<bool> {
        let hwc = saved.hwc();
        let size: usize = hwc.iter().product();
        let total = images.names.len();
        let batch = flow.batch(self.flow.batch, total, session)?;
        let bar = session.bar(1000 * total as u64 * u64::from(self.repeats), "measuring");
        let mut before = 0;
        for first in (0..total).step_by(batch) {
            let n = batch.min(total - first);
            let seeds: Vec<ImageSeed> =
                (first..first + n).map(|i| ImageSeed { seed: self.seed, image: i as u32 }).collect();
            for repeat in 0..self.repeats {
                let mut x = Vec::with_capacity(n * size);
                for i in first..first + n {
                    let at = i * size..(i + 1) * size;
                    match bytes {
                        Some(bytes) => {
                            x.extend(dequantize(&bytes[at], self.seed, i as u64, u64::from(repeat)))
                        }
                        None => x.extend_from_slice(&images.values[at]),
                    }
                }
                if saved.centered() {
                    center(&mut x);
                }
                let ode = flow.ode(n)?;
                ode.set(&x)?;
                ode.set_probe(&probe(gpu, &seeds, hwc, self.hutchinson.into(), repeat as usize)?)?;
                let result = likelihood(ode, options, saved.centered(), &mut |t| {
                    bar.set_position(1000 * before + (1000.0 * n as f64 * t) as u64);
                    !session.is_interrupted()
                })?;
                let Some(result) = result else {
                    bar.finish_and_clear();
                    return Ok(false);
                };
                before += n as u64;
                measured.nfe = measured.nfe.max(result.nfe);
                measured.evaluations += result.nfe;
                measured.runs += 1;
                for (bits, value) in measured.bits[first..].iter_mut().zip(result.bits_per_dim) {
                    bits.push(value);
                }
                bar.set_prefix(format!(", {} of {total} images, NFE {}", first + n, measured.nfe));
            }
        }
        bar.finish_and_clear();
        Ok(true)
    }
}

/// Bits per dimension of each image and repeat, and what they took.
struct Measured {
    bits: Vec<Vec<f64>>,
    /// The most of a batch.
    nfe: usize,
    evaluations: usize,
    runs: usize,
}

/// Of the mean over images; none for one image.
fn standard_error(values: &[f64], mean: f64) -> Option<f64> {
    let n = values.len() as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_from_other_numbers() {
        let every: Vec<f32> = (0..=255).map(|v| v as f32 / 255.0).collect();
        assert_eq!(bytes_of(&every), Some((0..=255).collect()));
        assert_eq!(bytes_of(&[0.5]), None);
        assert_eq!(bytes_of(&[2.0]), None);
    }

    #[test]
    fn standard_errors() {
        assert_eq!(standard_error(&[1.0], 1.0), None);
        assert_eq!(standard_error(&[1.0, 3.0], 2.0), Some(1.0));
    }
}
