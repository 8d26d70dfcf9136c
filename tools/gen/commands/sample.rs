//! `gen sample`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use langevin::checkpoint::SavedModel;
use langevin::output::{ImageBytes, Provenance, grid, write_animation};
use langevin::sampling::run::ImageSeed;
use serde_json::json;

use super::class::GuideArgs;
use crate::apart::check_apart_from_inputs;
use crate::exit::Interrupted;
use crate::model::{Facts, ModelArgs};
use crate::output::{Out, Pictures, check_apart, check_ending, check_writable};
use crate::print;
use crate::sampler::{Plan, Run, SamplerArgs};
use crate::session::{Session, seeds, that_fits};

/// Frames of a trajectory, at most.
const FRAMES: usize = 60;

/// Draw images.
///
/// Without arguments: 16 images of the embedded model by DPM-Solver++(2M), as a grid in sample.png. A seed gives
/// the same image whatever the batch, but for `--norm batch`, where images of a batch share the sizes of their steps.
#[derive(Args)]
#[command(after_help = "Examples:
  gen sample
  gen sample --seeds 0-63 --steps 30 --out grid.png --trajectory flight.png
  gen sample --model checkpoint_24.pth --config ve/cifar10_ncsnpp_continuous --sampler pc --snr 0.16
  gen sample --model runs/mine --sampler ode --out samples/ --json
  gen sample --model runs/mine --batch 64 --dry-run")]
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
    /// Print the plan and its memory, and draw nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write the first batch on its way from noise as an animated PNG.
    #[arg(long, value_name = "PATH.png")]
    trajectory: Option<PathBuf>,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

impl Sample {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        self.draw(session, None)
    }

    /// Draws, guided by a classifier or not.
    pub fn draw(self, session: &Session, guide: Option<&GuideArgs>) -> anyhow::Result<()> {
        // A dry run leaves no folder behind.
        let out = if self.dry_run { None } else { Some(Out::new(&self.out)?) };
        let mut inputs = self.model.inputs();
        inputs.extend(guide.map(GuideArgs::input));
        check_apart_from_inputs("--out", &self.out, &inputs)?;
        if let Some(path) = &self.trajectory {
            check_apart_from_inputs("--trajectory", path, &inputs)?;
            check_ending("--trajectory", path, "png")?;
            check_apart("--trajectory", path, &self.out)?;
            check_writable(path)?;
        }
        let saved = self.model.open(session)?;
        let gpu = session.open_gpu()?;
        let adapter = gpu.adapter().clone();
        let (first, last) = self.seeds;
        let images: Vec<ImageSeed> = (first..=last).map(|seed| ImageSeed { seed, image: 0 }).collect();
        let asked = (self.batch as usize).min(images.len());
        let start = Instant::now();
        let plan = |batch| {
            let guide = guide.map(|g| g.open(&saved, &gpu, batch, session)).transpose()?;
            anyhow::Ok((Plan::new(&gpu, &saved, &self.sampler, batch, guide.as_ref(), session)?, guide))
        };
        let (batch, (plan, guide)) = match self.sampler.pc.couples() {
            true => (asked, plan(asked)?),
            false => that_fits(asked, session, plan)?,
        };
        let Some(out) = out else { return Ok(self.tell_plan(&plan, images.len(), batch)?) };
        let mut run = Run::new(plan, &gpu, &saved, self.model.which(), &self.sampler, guide.as_ref())?;
        session.detail(format_args!(
            "prepared in {:.2} s, the first dispatch {:.2} s after the start; {} of device memory",
            start.elapsed().as_secs_f64(),
            session.elapsed().as_secs_f64(),
            print::bytes(run.memory.total())
        ));

        let (hwc, centered) = (saved.hwc(), saved.centered());
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
            let rate = print::rate(drawn as f64 / start.elapsed().as_secs_f64());
            bar.set_prefix(format!(", {drawn} of {} images, {rate}, NFE {nfe}", images.len()));
        }
        bar.finish_and_clear();
        let seconds = start.elapsed().as_secs_f64();
        if drawn == 0 {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }

        let result = Pictures::new(x, hwc, centered);
        let seeds = format!("{first}-{}", first + (drawn as u64 - 1));
        let provenance = self.model.provenance(&saved, &gpu)?;
        let provenance =
            provenance.with("sampler", &run.name).with("nfe", nfe.to_string()).with("seeds", &seeds);
        let names: Vec<String> = (first..=last).map(|seed| format!("{seed:06}")).collect();
        out.write(&result, &names, None, &provenance)?;
        if let Some(path) = &self.trajectory {
            write_trajectory(path, states, hwc, centered, &provenance)?;
        }
        self.tell(&saved, &run, &adapter, drawn, nfe, &seeds, seconds)?;
        if drawn < images.len() {
            return Err(Interrupted(format!("{drawn} of {} images are written", images.len())).into());
        }
        Ok(())
    }

    /// What `--dry-run` prints.
    fn tell_plan(&self, plan: &Plan, images: usize, batch: usize) -> std::io::Result<()> {
        if self.json {
            return print::json(&json!({
                "images": images, "batch": batch, "sampler": plan.name, "nfe": plan.nfe, "flops": plan.flops,
                "memory": print::memory(&plan.memory),
            }));
        }
        let nfe = plan.nfe.map_or("as the tolerance takes".into(), |n| n.to_string());
        print::line(format_args!("images   {images}, {batch} at a time"))?;
        print::line(format_args!("sampler  {}, NFE {nfe}", plan.name))?;
        if let Some(flops) = plan.flops {
            print::line(format_args!("step     {:.1} GFLOP", flops / 1e9))?;
        }
        print::line(format_args!("memory   {}", plan.memory))
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
                "model": saved.name, "ema": self.model.averaged(saved), "step": saved.step,
                "sampler": run.name, "steps": run.steps, "nfe": nfe,
                "adapter": adapter.name, "driver": adapter.driver, "seconds": seconds,
                "images_per_second": drawn as f64 / seconds, "memory": run.memory.total(),
            }));
        }
        let average = if self.model.averaged(saved) { ", averaged weights" } else { "" };
        print::line(format_args!(
            "adapter  {} ({}, {})",
            adapter.name,
            adapter.kind.name(),
            adapter.backend
        ))?;
        print::line(format_args!("model    {}{average}", saved.name))?;
        print::line(format_args!("sampler  {}, NFE {nfe}", run.name))?;
        print::line(format_args!("seeds    {seeds}"))?;
        print::line(format_args!("time     {seconds:.1} s, {}", print::rate(drawn as f64 / seconds)))?;
        print::line(format_args!("images   {drawn} in {}", self.out.display()))
    }
}

fn write_trajectory(
    path: &Path,
    states: Vec<Vec<f32>>,
    hwc: [usize; 3],
    centered: bool,
    provenance: &Provenance,
) -> langevin::Result<()> {
    let frame = |state: Vec<f32>| grid(&Pictures::new(state, hwc, centered).bytes()?, None);
    let frames: langevin::Result<Vec<ImageBytes>> = states.into_iter().map(frame).collect();
    write_animation(path, &frames?, 80, provenance)
}
