//! `gen sample`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use langevin::checkpoint::SavedModel;
use langevin::data::transform::{nhwc_to_nchw, uncenter};
use langevin::formats::npy::{NpyArray, NpyData};
use langevin::output::{
    ImageBytes, Provenance, grid, to_bytes, write_animation, write_npz, write_png, write_safetensors,
};
use langevin::sampling::run::ImageSeed;
use serde_json::json;

use super::class::GuideArgs;
use crate::exit::{Interrupted, Usage};
use crate::model::ModelArgs;
use crate::print;
use crate::sampler::{Run, SamplerArgs};
use crate::session::Session;

/// Frames of a trajectory, at most.
const FRAMES: usize = 60;

/// Draw images.
///
/// Without arguments: 16 images of the embedded model by DPM-Solver++(2M), as a grid in sample.png. Image i of a seed is the
/// same whatever the batch.
#[derive(Args)]
#[command(after_help = "Examples:
  gen sample
  gen sample --seeds 0-63 --steps 30 --out grid.png --trajectory flight.png
  gen sample --model checkpoint_24.pth --config ve/cifar10_ncsnpp_continuous --sampler pc --snr 0.16
  gen sample --model runs/mine --sampler ode --out samples/ --json")]
pub struct Sample {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    sampler: SamplerArgs,
    /// One image for each seed, the last one included.
    #[arg(long, value_name = "A-B", default_value = "0-15", value_parser = seeds)]
    seeds: (u64, u64),
    /// Images that are drawn together; fewer take less memory.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// A .png (a grid), .safetensors (`x`, n c h w), .npz (`samples`, n h w c bytes), or a folder (one PNG for each seed).
    #[arg(long, value_name = "PATH", default_value = "sample.png")]
    out: PathBuf,
    /// Write the first batch on its way from noise as an animated PNG.
    #[arg(long, value_name = "PATH.png")]
    trajectory: Option<PathBuf>,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

/// What `--out` asks for.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Grid,
    Folder,
    Safetensors,
    Npz,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let number = |s: &str| s.trim().parse::<u64>().map_err(|e| format!("{s:?}: {e}; it takes 7 or 0-15"));
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    match last.checked_sub(first) {
        None => Err(format!("the first seed, {first}, is above the last, {last}")),
        Some(more) if more >= 1 << 20 => Err("at most 1048576 images at a time".into()),
        Some(_) => Ok((first, last)),
    }
}

fn form(out: &Path) -> Result<Form, Usage> {
    let ending = out.extension().map(|e| e.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        _ if out.is_dir() => Ok(Form::Folder),
        None => Ok(Form::Folder),
        Some("png") => Ok(Form::Grid),
        Some("safetensors") => Ok(Form::Safetensors),
        Some("npz") => Ok(Form::Npz),
        Some(other) => Err(Usage(format!(
            "--out {}: .{other} is none of .png, .safetensors, .npz, a folder",
            out.display()
        ))),
    }
}

/// Refuses a path that cannot be written before anything is computed.
fn check_writable(out: &Path, form: Form) -> langevin::Result<()> {
    if form == Form::Folder {
        return std::fs::create_dir_all(out).map_err(langevin::Error::io(out));
    }
    crate::output::check_writable(out)
}

/// Images of a model as the file formats want them.
struct Drawn {
    /// `n c h w`, in [0, 1] but not clipped.
    x: Vec<f32>,
    shape: [usize; 4],
}

impl Drawn {
    fn new(mut nhwc: Vec<f32>, [h, w, c]: [usize; 3], centered: bool) -> Self {
        if centered {
            uncenter(&mut nhwc);
        }
        let n = nhwc.len() / (h * w * c);
        Self { x: nhwc_to_nchw(&nhwc, h * w, c), shape: [n, c, h, w] }
    }

    fn bytes(&self) -> langevin::Result<ImageBytes> {
        to_bytes(&self.x, self.shape)
    }
}

impl Sample {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        self.draw(session, None)
    }

    /// Draws, guided by a classifier or not.
    pub fn draw(self, session: &Session, guide: Option<&GuideArgs>) -> anyhow::Result<()> {
        let form = form(&self.out)?;
        check_writable(&self.out, form)?;
        if let Some(path) = &self.trajectory {
            check_writable(path, Form::Grid)?;
        }
        let saved = self.model.open(session)?;
        let gpu = session.open_gpu()?;
        let adapter = gpu.adapter().clone();
        let (first, last) = self.seeds;
        let images: Vec<ImageSeed> = (first..=last).map(|seed| ImageSeed { seed, image: 0 }).collect();
        let batch = (self.batch as usize).min(images.len());
        let start = Instant::now();
        let guide = guide.map(|g| g.open(&saved, &gpu, batch, session)).transpose()?;
        let mut run =
            Run::new(&gpu, &saved, self.model.which(), &self.sampler, batch, guide.as_ref(), session)?;
        session.detail(format_args!(
            "prepared in {:.1} s; {} of device memory",
            start.elapsed().as_secs_f64(),
            print::bytes(run.memory)
        ));

        let size = saved.config.data.image_size;
        let (hwc, centered) = ([size, size, saved.config.data.num_channels], saved.config.data.centered);
        let bar = session.bar((run.steps * images.len().div_ceil(batch)) as u64, "sampling");
        let (mut x, mut states) = (Vec::new(), Vec::new());
        let (mut drawn, mut nfe, steps) = (0, 0, run.steps);
        for part in images.chunks(batch) {
            let keep = (drawn == 0 && self.trajectory.is_some()).then_some(&mut states);
            let every = steps.div_ceil(FRAMES);
            let done = run.draw(part, keep.map(|s| (every, s)), &mut |step| {
                bar.set_position((drawn / batch * steps + step) as u64);
                !session.is_interrupted()
            })?;
            let Some((values, evaluations)) = done else { break };
            x.extend(values);
            drawn += part.len();
            nfe = evaluations.max(nfe);
            let rate = drawn as f64 / start.elapsed().as_secs_f64();
            bar.set_prefix(format!(", {drawn} of {} images, {rate:.2} images/s, NFE {nfe}", images.len()));
        }
        bar.finish_and_clear();
        let seconds = start.elapsed().as_secs_f64();
        if drawn == 0 {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }

        let result = Drawn::new(x, hwc, centered);
        let weights = format!("{:016x}", saved.tensors(self.model.which()).checksum()?);
        let seeds = format!("{first}-{}", first + drawn as u64 - 1);
        let provenance = Provenance::new()
            .with("model", &saved.name)
            .with("weights", &weights)
            .with("config", saved.config.to_toml())
            .with("sampler", &run.name)
            .with("nfe", nfe.to_string())
            .with("seeds", &seeds)
            .with("adapter", format!("{}, {}", adapter.name, adapter.driver));
        write(&self.out, form, &result, first, &provenance, session)?;
        if let Some(path) = &self.trajectory {
            write_trajectory(path, states, hwc, centered, &provenance)?;
        }
        self.tell(&saved, &run, &adapter, drawn, nfe, &seeds, seconds)?;
        if drawn < images.len() {
            return Err(Interrupted(format!("{drawn} of {} images are written", images.len())).into());
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one line of the report each")]
    fn tell(
        &self,
        saved: &SavedModel,
        run: &Run<'_>,
        adapter: &langevin::gpu::AdapterReport,
        drawn: usize,
        nfe: usize,
        seeds: &str,
        seconds: f64,
    ) -> std::io::Result<()> {
        if self.json {
            return print::json(&json!({
                "path": self.out, "trajectory": self.trajectory, "images": drawn, "seeds": seeds,
                "model": saved.name, "ema": saved.has_ema() && !self.model.raw, "step": saved.step,
                "sampler": run.name, "steps": run.steps, "nfe": nfe,
                "adapter": adapter.name, "driver": adapter.driver, "seconds": seconds,
                "images_per_second": drawn as f64 / seconds, "memory": run.memory,
            }));
        }
        let average = if saved.has_ema() && !self.model.raw { ", averaged weights" } else { "" };
        print::line(format_args!(
            "adapter  {} ({}, {})",
            adapter.name,
            adapter.kind.name(),
            adapter.backend
        ))?;
        print::line(format_args!("model    {}{average}", saved.name))?;
        print::line(format_args!("sampler  {}, NFE {nfe}", run.name))?;
        print::line(format_args!("seeds    {seeds}"))?;
        print::line(format_args!("time     {seconds:.1} s, {:.2} images/s", drawn as f64 / seconds))?;
        print::line(format_args!("images   {drawn} in {}", self.out.display()))
    }
}

fn write(
    out: &Path,
    form: Form,
    result: &Drawn,
    first: u64,
    provenance: &Provenance,
    session: &Session,
) -> langevin::Result<()> {
    if form == Form::Safetensors {
        let about: Vec<(&str, &str)> =
            provenance.entries().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        return write_safetensors(out, &[("x", &result.shape, &result.x)], &about);
    }
    let images = result.bytes()?;
    let blank = images.blank();
    if !blank.is_empty() {
        session.say(format_args!(
            "{} of {} images have one colour all over; the sampler failed on them",
            blank.len(),
            images.len()
        ));
    }
    match form {
        Form::Npz => {
            let array = NpyArray { shape: images.shape.to_vec(), data: NpyData::U8(images.pixels) };
            write_npz(out, &[("samples", &array)])
        }
        Form::Folder => (0..images.len()).try_for_each(|i| {
            let seed = first + i as u64;
            let provenance = provenance.clone().with("seeds", seed.to_string());
            write_png(&out.join(format!("{seed:06}.png")), &images.image(i)?, &provenance)
        }),
        _ => write_png(out, &grid(&images, None)?, provenance),
    }
}

fn write_trajectory(
    path: &Path,
    states: Vec<Vec<f32>>,
    hwc: [usize; 3],
    centered: bool,
    provenance: &Provenance,
) -> langevin::Result<()> {
    let frame = |state: Vec<f32>| grid(&Drawn::new(state, hwc, centered).bytes()?, None);
    let frames: langevin::Result<Vec<ImageBytes>> = states.into_iter().map(frame).collect();
    write_animation(path, &frames?, 80, provenance)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_ending_says_the_form() {
        assert!(form(Path::new("a.PNG")).is_ok_and(|f| f == Form::Grid));
        assert!(form(Path::new("folder")).is_ok_and(|f| f == Form::Folder));
        assert!(form(Path::new("a.jpg")).is_err());
    }
}
