//! `gen interpolate`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use langevin::output::{ImageBytes, grid, write_animation};
use langevin::pipeline::{Ends, Images, ReadImages};
use serde_json::json;

use crate::apart::{Input, check_apart_from_inputs};
use crate::exit::{Interrupted, Usage};
use crate::flow::DecodeArgs;
use crate::input::{RangeArgs, told};
use crate::model::ModelArgs;
use crate::output::{Out, check_apart, check_ending, check_writable};
use crate::print;
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
        let mut ends: Option<Images> = None;
        for path in &self.images {
            let reader = ReadImages::new(path, &saved).most(1).any_range(self.range.any_range);
            let end = told(reader.limits(session.limits()).images()?, session)?;
            match &mut ends {
                Some(ends) => ends.extend(&end)?,
                None => ends = Some(end),
            }
        }
        let gpu = session.open_gpu()?;
        let start = Instant::now();
        let model = self.model.on(&gpu, saved, session)?;
        let (between, ends) = match &ends {
            None => {
                let seeds = [self.seeds[0], self.seeds[1]];
                (format!("seeds {} and {}", seeds[0], seeds[1]), Ends::Seeds(seeds))
            }
            Some(images) => {
                let between = format!("{} and {}", self.images[0].display(), self.images[1].display());
                (between, Ends::Images(images))
            }
        };
        let about = model.provenance()?;
        let about = about.with("between", &between).with("temperature", self.how.temperature.to_string());
        out.held(&about, self.overwrite)?;
        let bar = session.follow("interpolating");
        let flow = self.how.set(model.flow()).progress(|p| bar.tell(p)).until(&session.stop());
        let images = flow.interpolate(ends, self.frames as usize)?;
        bar.clear();
        let n = images.len();
        if n == 0 {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }
        let nfe = images.nfe();
        let about = about.with("nfe", nfe.to_string());
        out.write(&images, Some(n), &about)?;
        if let Some(path) = &self.animation {
            let bytes = images.bytes()?;
            let frames: langevin::Result<Vec<ImageBytes>> =
                (0..n).map(|i| grid(&bytes.image(i)?, None)).collect();
            write_animation(path, &frames?, 80, &about)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            print::json(&json!({
                "path": self.out, "animation": self.animation, "between": between, "frames": n,
                "temperature": self.how.temperature, "nfe": nfe, "model": model.name(),
                "ema": model.is_averaged(), "adapter": gpu.adapter().name, "seconds": seconds,
            }))?;
        } else {
            let path = self.out.display();
            print::line(format_args!("{n} images between {between} in {path}, NFE {nfe}, {seconds:.1} s"))?;
        }
        if n < self.frames as usize {
            return Err(Interrupted(format!("{n} of {} images are written", self.frames)).into());
        }
        Ok(())
    }
}
