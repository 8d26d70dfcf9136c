//! `gen interpolate`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use langevin::likelihood::T_EPS;
use langevin::output::{ImageBytes, grid, write_animation};
use langevin::sampling::flow::slerp;
use langevin::sampling::prior::prior;
use langevin::sampling::run::ImageSeed;
use serde_json::json;

use crate::apart::{Input, check_apart_from_inputs};
use crate::exit::{Interrupted, Usage};
use crate::flow::{DecodeArgs, Flow};
use crate::input::{Given, RangeArgs, recipe};
use crate::model::{Facts, ModelArgs};
use crate::output::{Out, Pictures, check_apart, check_ending, check_writable};
use crate::print;
use crate::sampler::Norm;
use crate::session::Session;

/// Draw what lies between two images or two seeds.
///
/// The latents of the two are mixed on the great circle between them, and the mixtures decoded by the probability-flow ODE.
#[derive(Args)]
#[command(after_help = "Examples:
  gen interpolate --seeds 3 8 --frames 10 --out between.png
  gen interpolate --model runs/mine --images a.png b.png --temperature 0.9 --out between/
  gen interpolate --seeds 0 1 --frames 40 --animation flight.png --out frames/")]
pub struct Interpolate {
    #[command(flatten)]
    model: ModelArgs,
    /// The two images.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "seeds")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    range: RangeArgs,
    /// The two seeds, in place of images.
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    seeds: Vec<u64>,
    /// Images in all, the two ends included.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=4096))]
    frames: u32,
    /// A .png (one row), .safetensors (`x`, n c h w), .npz (`samples` and `arr_0`, n h w c bytes), a folder, or - (stdout).
    #[arg(long, value_name = "PATH", default_value = "interpolation.png")]
    out: PathBuf,
    /// Write into a folder that holds pictures of something else.
    #[arg(long)]
    overwrite: bool,
    /// Write the frames as an animated PNG too.
    #[arg(long, value_name = "PATH.png")]
    animation: Option<PathBuf>,
    #[command(flatten)]
    how: DecodeArgs,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

impl Interpolate {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        if self.images.is_empty() && self.seeds.is_empty() {
            return Err(Usage("give two images, --images A B, or two seeds, --seeds A B".into()).into());
        }
        let mut inputs = self.model.inputs();
        inputs.extend(self.images.iter().map(|path| Input::Images("--images", path)));
        check_apart_from_inputs("--out", &self.out, &inputs)?;
        let out = Out::new(&self.out)?;
        out.check_json(self.json)?;
        if let Some(path) = &self.animation {
            check_apart_from_inputs("--animation", path, &inputs)?;
            check_ending("--animation", path, "png")?;
            check_apart("--animation", path, &self.out)?;
            check_writable(path)?;
        }
        let saved = self.model.open(session)?;
        let sde = saved.sde()?;
        let mut pictures = Vec::new();
        for path in &self.images {
            let given = Given::read(path, recipe(&saved)?, Some(1), self.range, session)?;
            pictures.extend(given.scaled(saved.centered()));
        }
        let gpu = session.open_gpu()?;
        let start = Instant::now();
        let between = match self.images.is_empty() {
            true => format!("seeds {} and {}", self.seeds[0], self.seeds[1]),
            false => format!("{} and {}", self.images[0].display(), self.images[1].display()),
        };
        let provenance = self.model.provenance(&saved, &gpu)?;
        let provenance =
            provenance.with("between", &between).with("temperature", self.how.temperature.to_string());
        out.held(&provenance, self.overwrite)?;
        let mut flow = Flow::new(&gpu, &saved, self.model.which(), false, session.kernels(&gpu)?)?;
        let hwc = saved.hwc();
        let size: usize = hwc.iter().product();
        let ends = if self.images.is_empty() {
            let seeds: Vec<ImageSeed> = self.seeds.iter().map(|&seed| ImageSeed { seed, image: 0 }).collect();
            prior(&gpu, &seeds, hwc, sde.prior_std())?
        } else {
            flow.encode(&pictures, 2, self.how.flow.options(T_EPS, Norm::Image)?, session)?.x
        };
        if ends.len() < 2 * size {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }
        let (a, b) = ends.split_at(size);
        let mut z = Vec::with_capacity(size * self.frames as usize);
        for frame in 0..self.frames {
            z.extend(slerp(a, b, f64::from(frame) / f64::from(self.frames - 1))?);
        }
        let options = self.how.flow.options(sde.default_t_eps(), Norm::Image)?;
        let done = flow.decode(z, &self.how, options, session)?;
        let n = done.x.len() / size;
        if n == 0 {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }
        let provenance = provenance.with("nfe", done.nfe.to_string());
        let names: Vec<String> = (0..n).map(|i| format!("{i:06}")).collect();
        let result = Pictures::new(done.x, hwc, saved.centered());
        out.write(&result, &names, Some(n), &provenance)?;
        if let Some(path) = &self.animation {
            let images = result.bytes()?;
            let frames: langevin::Result<Vec<ImageBytes>> =
                (0..n).map(|i| grid(&images.image(i)?, None)).collect();
            write_animation(path, &frames?, 80, &provenance)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            print::json(&json!({
                "path": self.out, "animation": self.animation, "between": between, "frames": n,
                "temperature": self.how.temperature, "nfe": done.nfe, "model": saved.name,
                "ema": self.model.averaged(&saved), "adapter": gpu.adapter().name, "seconds": seconds,
            }))?;
        } else {
            let (nfe, path) = (done.nfe, self.out.display());
            print::line(format_args!("{n} images between {between} in {path}, NFE {nfe}, {seconds:.1} s"))?;
        }
        if n < self.frames as usize {
            return Err(Interrupted(format!("{n} of {} images are written", self.frames)).into());
        }
        Ok(())
    }
}
