//! `gen sample`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use langevin::Error;
use langevin::checkpoint::SavedModel;
use langevin::output::{ImageBytes, Provenance, grid, write_animation};
use langevin::sampling::run::ImageSeed;
use serde_json::json;

use super::class::GuideArgs;
use crate::apart::check_apart_from_inputs;
use crate::exit::{Interrupted, Usage};
use crate::model::{Facts, ModelArgs};
use crate::output::{Out, Pictures, check_apart, check_ending, check_writable, warn_of_blank};
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
  gen sample --model runs/mine --seeds 0-49999 --out samples/ --resume
  gen sample --seeds 7 --out - | display
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
    /// A .png (a grid), .safetensors (`x`, n c h w), .npz (`samples` and `arr_0`, n h w c bytes), a folder (one PNG for each seed, written
    /// as soon as its batch is drawn), or - (a grid on stdout).
    #[arg(long, value_name = "PATH", default_value = "sample.png")]
    out: PathBuf,
    /// Draw only what is missing in the folder; what is there has to be of the same model and sampler.
    #[arg(long)]
    resume: bool,
    /// Write into a folder that holds pictures of something else.
    #[arg(long)]
    overwrite: bool,
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
        let mut inputs = self.model.inputs();
        inputs.extend(guide.map(GuideArgs::input));
        check_apart_from_inputs("--out", &self.out, &inputs)?;
        let out = if self.dry_run { Out::planned(&self.out)? } else { Out::new(&self.out)? };
        out.check_json(self.json)?;
        if self.resume && !out.is_folder() {
            return Err(Usage("--resume goes on with a folder; --out names none".into()).into());
        }
        if let Some(path) = &self.trajectory {
            check_apart_from_inputs("--trajectory", path, &inputs)?;
            check_ending("--trajectory", path, "png")?;
            check_apart("--trajectory", path, &self.out)?;
            check_writable(path)?;
        }
        let saved = self.model.open(session)?;
        let gpu = session.open_gpu()?;
        let (first, last) = self.seeds;
        let mut images: Vec<ImageSeed> = (first..=last).map(|seed| ImageSeed { seed, image: 0 }).collect();
        let start = Instant::now();
        let plan = |batch| {
            let guide = guide.map(|g| g.open(&saved, &gpu, batch, session)).transpose()?;
            anyhow::Ok((Plan::new(&gpu, &saved, &self.sampler, batch, guide.as_ref(), session)?, guide))
        };
        let couples = self.sampler.pc.couples();
        let planned = |asked| match couples {
            true => plan(asked).map(|plan| (asked, plan)),
            false => that_fits(asked, session, plan),
        };
        let (mut batch, (mut plan, mut guide)) = planned((self.batch as usize).min(images.len()))?;
        if self.dry_run {
            return Ok(self.tell_plan(&plan, images.len(), batch)?);
        }
        let seeds = format!("{first}-{last}");
        let provenance =
            self.model.provenance(&saved, &gpu)?.with("sampler", &plan.name).with("seeds", &seeds);
        let name = |image: &ImageSeed| format!("{:06}", image.seed);
        let kept = self.passed_over(&out, &provenance, &mut images, batch, session)?;
        if images.is_empty() {
            session.say(format_args!("all {kept} images are in {} already", self.out.display()));
        }
        let mut run = loop {
            match Run::new(plan, &gpu, &saved, self.model.which(), guide.as_ref()) {
                // A device that shares the processor's memory may refuse what its driver named.
                Err(Error::OutOfMemory { .. }) if batch > 1 && !couples => {
                    let half = batch.div_ceil(2);
                    session.say(format_args!(
                        "the device refused memory for {batch} images at a time: {half} are tried"
                    ));
                    (batch, (plan, guide)) = planned(half)?;
                }
                run => break run?,
            }
        };
        session.detail(format_args!(
            "prepared in {:.2} s, the first dispatch {:.2} s after the start; {} of device memory",
            start.elapsed().as_secs_f64(),
            session.elapsed().as_secs_f64(),
            print::bytes(run.memory.total())
        ));

        let (hwc, centered) = (saved.hwc(), saved.centered());
        let bar = session.bar((run.steps * images.len().div_ceil(batch)) as u64, "sampling");
        let (mut x, mut states, mut blank) = (Vec::new(), Vec::new(), 0);
        let (mut drawn, mut nfe, steps) = (0, 0, run.steps);
        for part in images.chunks(batch) {
            let keep = (drawn == 0 && self.trajectory.is_some()).then_some(&mut states);
            let every = steps.div_ceil(FRAMES);
            let done = run.draw(part, keep.map(|s| (every, s)), &mut |step| {
                bar.set_position((drawn / batch * steps + step) as u64);
                !session.is_interrupted()
            })?;
            let Some((values, evaluations)) = done else { break };
            nfe = evaluations.max(nfe);
            if out.is_folder() {
                // Nothing of a long run is lost, and it takes no more memory than a short one.
                let pictures = Pictures::new(values, hwc, centered);
                blank += pictures.blank()?;
                let names: Vec<String> = part.iter().map(name).collect();
                out.write_as_is(
                    &pictures,
                    &names,
                    None,
                    &provenance.clone().with("nfe", evaluations.to_string()),
                )?;
            } else {
                x.extend(values);
            }
            drawn += part.len();
            let rate = print::rate(drawn as f64 / start.elapsed().as_secs_f64());
            bar.set_prefix(format!(", {drawn} of {} images, {rate}, NFE {nfe}", images.len()));
        }
        bar.finish_and_clear();
        let seconds = start.elapsed().as_secs_f64();
        if drawn == 0 && !images.is_empty() {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }

        let seeds = if drawn < images.len() && kept == 0 {
            format!("{first}-{}", first + (drawn as u64 - 1))
        } else {
            seeds
        };
        let provenance = provenance.with("nfe", nfe.to_string()).with("seeds", &seeds);
        if out.is_folder() {
            warn_of_blank(blank, drawn);
        } else {
            out.write(&Pictures::new(x, hwc, centered), &[], None, &provenance)?;
        }
        if let Some(path) = self.trajectory.as_ref().filter(|_| drawn > 0) {
            write_trajectory(path, states, hwc, centered, &provenance)?;
        }
        let told = Told { drawn, kept, nfe, seeds: &seeds, seconds };
        self.tell(&saved, &run, gpu.adapter(), &told)?;
        if drawn < images.len() {
            return Err(Interrupted(format!(
                "{} of {} images are written",
                drawn + kept,
                images.len() + kept
            ))
            .into());
        }
        Ok(())
    }

    /// Takes away the images that the folder holds already, with `--resume`; gives their number.
    fn passed_over(
        &self,
        out: &Out,
        provenance: &Provenance,
        images: &mut Vec<ImageSeed>,
        batch: usize,
        session: &Session,
    ) -> anyhow::Result<usize> {
        let held = out.held(provenance, self.overwrite)?;
        let name = |image: &ImageSeed| format!("{:06}", image.seed);
        let names: Vec<String> = images.iter().map(name).collect();
        let others = held.others_beside(&names);
        if others > 0 {
            session.say(format_args!(
                "{} of something else stay in {}",
                print::count(others, "picture"),
                self.out.display()
            ));
        }
        let all = images.len();
        if self.resume {
            // Where the images of a batch depend on each other, a batch is drawn whole.
            let size = if self.sampler.pc.couples() { batch } else { 1 };
            let missing = |part: &&[ImageSeed]| !part.iter().all(|image| held.has(&name(image)));
            *images = images.chunks(size).filter(missing).flatten().copied().collect();
        }
        Ok(all - images.len())
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

    fn tell(
        &self,
        saved: &SavedModel,
        run: &Run<'_>,
        adapter: &langevin::gpu::AdapterReport,
        told: &Told<'_>,
    ) -> std::io::Result<()> {
        let &Told { drawn, kept, nfe, seeds, seconds } = told;
        if self.json {
            return print::json(&json!({
                "path": self.out, "trajectory": self.trajectory, "images": drawn, "kept": kept, "seeds": seeds,
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
        let before = if kept > 0 { format!(", {kept} were there before") } else { String::new() };
        print::line(format_args!("images   {drawn} in {}{before}", self.out.display()))
    }
}

/// What the report says of a run.
struct Told<'a> {
    drawn: usize,
    /// Images that were there before.
    kept: usize,
    nfe: usize,
    seeds: &'a str,
    seconds: f64,
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
