//! `gen sample`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use langevin::output::{ImageBytes, Provenance, write_animation};
use langevin::pipeline::{Images, Model, PreparedSampling, SamplingPlan, Trajectory};
use langevin::sampling::run::ImageSeed;
use serde_json::json;

use crate::apart::check_apart_from_inputs;
use crate::exit::{Interrupted, Usage};
use crate::guide::GuideArgs;
use crate::model::ModelArgs;
use crate::output::{Out, blank, check_apart, check_ending, check_writable, warn_of_blank};
use crate::print;
use crate::session::{Session, seeds};
use crate::solver::SamplerArgs;

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
        let solver = self.sampler.solver(&saved)?;
        let gpu = session.open_gpu()?;
        let start = Instant::now();
        let model = self.model.on(&gpu, saved, session)?;
        let (first, last) = self.seeds;
        let mut sampling = model.sampler_of(solver).seeds(first..=last).batch(self.batch as usize);
        if let Some(guide) = guide {
            sampling = sampling.guided(guide.open(session)?);
        }
        let plan = sampling.plan()?;
        let mut images: Vec<ImageSeed> = (first..=last).map(|seed| ImageSeed { seed, image: 0 }).collect();
        if self.dry_run {
            return Ok(self.tell_plan(&plan, images.len())?);
        }
        let seeds = format!("{first}-{last}");
        let about = model.provenance()?.with("sampler", plan.describe()).with("seeds", &seeds);
        let kept = self.passed_over(&out, &about, &mut images, (plan.batch(), plan.is_coupled()), session)?;
        if images.is_empty() {
            session.say(format_args!("all {kept} images are in {} already", self.out.display()));
        }
        let mut run = plan.prepare()?;
        session.detail(format_args!(
            "prepared in {:.2} s, the first dispatch {:.2} s after the start; {} of device memory",
            start.elapsed().as_secs_f64(),
            session.elapsed().as_secs_f64(),
            print::bytes(run.memory().total())
        ));

        let (batch, steps) = (run.batch(), run.steps());
        let bar = session.bar((steps * images.len().div_ceil(batch)) as u64, "sampling");
        let (mut drawn, mut nfe, mut blanks) = (0, 0, 0);
        let mut all: Option<Images> = None;
        let mut trajectory = self.trajectory.as_ref().map(|_| Trajectory::every(steps.div_ceil(FRAMES)));
        for part in images.chunks(batch) {
            let of_first = trajectory.as_mut().filter(|_| drawn == 0);
            let done = run.draw(part, of_first, &mut |step| {
                bar.set_position((drawn / batch * steps + step) as u64);
                !session.is_interrupted()
            })?;
            let Some(done) = done else { break };
            nfe = nfe.max(done.nfe);
            if out.is_folder() {
                // Nothing of a long run is lost, and it takes no more memory than a short one.
                blanks += blank(&done.images)?;
                out.write_as_is(&done.images, None, &about.clone().with("nfe", done.nfe.to_string()))?;
            } else {
                match &mut all {
                    Some(all) => all.extend(&done.images)?,
                    None => all = Some(done.images),
                }
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
        let about = about.with("nfe", nfe.to_string()).with("seeds", &seeds);
        match &all {
            Some(all) => out.write(all, None, &about)?,
            None => warn_of_blank(blanks, drawn),
        }
        if let (Some(path), Some(trajectory), true) = (&self.trajectory, &trajectory, drawn > 0) {
            let frames = trajectory.states().iter().map(|state| Ok(state.grid()?.pixels().clone()));
            let frames: Vec<ImageBytes> = frames.collect::<langevin::Result<_>>()?;
            write_animation(path, &frames, 80, &about)?;
        }
        self.tell(&model, &run, &Told { drawn, kept, nfe, seeds: &seeds, seconds })?;
        if drawn < images.len() {
            let (done, of) = (drawn + kept, images.len() + kept);
            return Err(Interrupted(format!("{done} of {of} images are written")).into());
        }
        Ok(())
    }

    /// Takes away the images that the folder holds already, with `--resume`; gives their number.
    fn passed_over(
        &self,
        out: &Out,
        provenance: &Provenance,
        images: &mut Vec<ImageSeed>,
        (batch, is_coupled): (usize, bool),
        session: &Session,
    ) -> anyhow::Result<usize> {
        let held = out.held(provenance, self.overwrite)?;
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
            let size = if is_coupled { batch } else { 1 };
            let missing = |part: &&[ImageSeed]| !part.iter().all(|image| held.has(&name(image)));
            *images = images.chunks(size).filter(missing).flatten().copied().collect();
        }
        Ok(all - images.len())
    }

    /// What `--dry-run` prints.
    fn tell_plan(&self, plan: &SamplingPlan<'_>, images: usize) -> std::io::Result<()> {
        if self.json {
            return print::json(&json!({
                "images": images, "batch": plan.batch(), "sampler": plan.describe(), "nfe": plan.nfe(), "flops": plan.flops(),
                "memory": print::memory(&plan.memory()),
            }));
        }
        let nfe = plan.nfe().map_or("as the tolerance takes".into(), |n| n.to_string());
        print::line(format_args!("images   {images}, {} at a time", plan.batch()))?;
        print::line(format_args!("sampler  {}, NFE {nfe}", plan.describe()))?;
        if let Some(flops) = plan.flops() {
            print::line(format_args!("step     {:.1} GFLOP", flops / 1e9))?;
        }
        print::line(format_args!("memory   {}", plan.memory()))
    }

    fn tell(&self, model: &Model, run: &PreparedSampling<'_>, told: &Told<'_>) -> std::io::Result<()> {
        let &Told { drawn, kept, nfe, seeds, seconds } = told;
        let (adapter, sampler) = (model.gpu().adapter(), run.describe());
        if self.json {
            return print::json(&json!({
                "path": self.out, "trajectory": self.trajectory, "images": drawn, "kept": kept, "seeds": seeds,
                "model": model.name(), "ema": model.is_averaged(), "step": model.step(),
                "sampler": sampler, "steps": run.steps(), "nfe": nfe,
                "adapter": adapter.name, "driver": adapter.driver, "seconds": seconds,
                "images_per_second": drawn as f64 / seconds, "memory": run.memory().total(),
            }));
        }
        let average = if model.is_averaged() { ", averaged weights" } else { "" };
        print::line(format_args!(
            "adapter  {} ({}, {})",
            adapter.name,
            adapter.kind.name(),
            adapter.backend
        ))?;
        print::line(format_args!("model    {}{average}", model.name()))?;
        print::line(format_args!("sampler  {sampler}, NFE {nfe}"))?;
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

/// The name of an image's file.
fn name(image: &ImageSeed) -> String {
    format!("{:06}", image.seed)
}
