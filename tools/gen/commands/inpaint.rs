//! `gen inpaint` and `gen colorize`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use langevin::Error;
use langevin::checkpoint::SavedModel;
use langevin::data::{Limits, read_mask};
use langevin::gpu::Gpu;
use langevin::graph::Drafts;
use langevin::inverse::{Known, Task, XMean};
use langevin::sampling::run::{ImageSeed, Method, SamplerDraft};
use langevin::score::ModelScore;
use serde_json::json;

use crate::apart::{Input, check_apart_from_inputs};
use crate::exit::Interrupted;
use crate::flow::room;
use crate::input::{Given, ImagesArgs};
use crate::model::{Facts, ModelArgs};
use crate::output::{Out, Pictures};
use crate::print;
use crate::sampler::PcArgs;
use crate::session::{Session, seeds, that_fits};

/// What both commands take.
#[derive(Args)]
pub struct Common {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    images: ImagesArgs,
    #[command(flatten)]
    pc: PcArgs,
    /// One result for each image and each seed, the last one included.
    #[arg(long, value_name = "A-B", default_value = "0", value_parser = seeds)]
    seeds: (u64, u64),
    /// Results that are drawn together; fewer take less memory.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// What the last step denoises where nothing is known: everything, or, as in the authors' code, nothing.
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Mean::Denoised)]
    x_mean: Mean,
    /// A .png (a row for each image: what is known of it, then the results), .safetensors (`x`, n c h w, the results), .npz, a folder, or - (stdout).
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Write into a folder that holds pictures of something else.
    #[arg(long)]
    overwrite: bool,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mean {
    Denoised,
    Reference,
}

impl From<Mean> for XMean {
    fn from(mean: Mean) -> Self {
        match mean {
            Mean::Denoised => Self::Denoised,
            Mean::Reference => Self::Reference,
        }
    }
}

/// Fill in a part of images.
///
/// Predictor-corrector sampling with an unconditional model; after every update the known part is replaced by the image, noised to the same
/// time (appendix I.2 of Song et al. 2021).
#[derive(Args)]
#[command(after_help = "Examples:
  gen inpaint --images photo.png --mask centre --seeds 0-3 --out filled.png
  gen inpaint --model runs/mine --images photos/ --mask mask.png --steps 200 --out filled/ --json
  gen inpaint --images photo.png --mask left --x-mean reference --out x.safetensors")]
pub struct Inpaint {
    #[command(flatten)]
    common: Common,
    /// What is drawn anew: left, right, top, bottom, centre, border; or a picture of the model's size that is black there and white where the
    /// image is known, or transparent there and opaque where it is known.
    #[arg(long, value_name = "NAME|PICTURE")]
    mask: String,
}

/// Colour grey images.
///
/// Predictor-corrector sampling with an unconditional model; after every update the grey value is replaced by that of the image, noised to
/// the same time (appendix I.3 of Song et al. 2021). Of coloured images only the grey value counts.
#[derive(Args)]
#[command(after_help = "Examples:
  gen colorize --images grey.png --seeds 0-3 --out coloured.png
  gen colorize --model runs/mine --images photos/ --steps 200 --norm batch --out coloured/ --json")]
pub struct Colorize {
    #[command(flatten)]
    common: Common,
}

/// Whether pixel (y, x) of an image of size (h, w) is drawn anew.
type Part = fn([usize; 2], [usize; 2]) -> bool;

/// The parts that have a name.
const NAMED: &[(&str, Part)] = &[
    ("left", |[_, x], [_, w]| x < w / 2),
    ("right", |[_, x], [_, w]| x >= w / 2),
    ("top", |[y, _], [h, _]| y < h / 2),
    ("bottom", |[y, _], [h, _]| y >= h / 2),
    ("centre", is_central),
    ("center", is_central),
    ("border", |at, size| !is_central(at, size)),
];

/// The middle half of height and width.
fn is_central([y, x]: [usize; 2], [h, w]: [usize; 2]) -> bool {
    let inside = |at: usize, of: usize| at >= of / 4 && at < of - of / 4;
    inside(y, h) && inside(x, w)
}

/// Where the image is known, `h w`, and what was understood.
fn mask(name: &str, [h, w]: [usize; 2], limits: &Limits) -> langevin::Result<(Vec<bool>, String)> {
    if let Some((_, anew)) = NAMED.iter().find(|(n, _)| *n == name) {
        let known = (0..h * w).map(|i| !anew([i / w, i % w], [h, w])).collect();
        return Ok((known, format!("the mask is {name}")));
    }
    let path = Path::new(name);
    if !path.exists() && !name.contains(['/', '\\', '.']) {
        let nearest = langevin::error::nearest(name, NAMED.iter().map(|(n, _)| *n));
        return Err(Error::UnknownName {
            kind: "mask (and there is no such file)",
            name: name.into(),
            nearest,
        });
    }
    let mask = read_mask(path, [h, w], limits)?;
    let how = if mask.by_alpha {
        "transparency: what is opaque is known"
    } else {
        "grey value: what is white is known"
    };
    Ok((mask.known, format!("the mask is read by its {how}")))
}

impl Inpaint {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let job = Job::open(&self.common, Some(Path::new(&self.mask)), session)?;
        let [h, w, c] = job.saved.hwc();
        let (known, understood) = mask(&self.mask, [h, w], &session.limits())?;
        let kept = known.iter().filter(|known| **known).count();
        session.say(format_args!(
            "{understood}; {:.0}% of the pixels are kept, the others drawn anew",
            100.0 * kept as f64 / known.len() as f64
        ));
        if known.iter().all(|k| *k) || known.iter().all(|k| !*k) {
            let what = if known[0] {
                "known: there is nothing to fill in"
            } else {
                "unknown: `gen sample` draws such images"
            };
            return Err(Error::invalid("--mask", &self.mask, format!("every pixel is {what}")).into());
        }
        let mask: Vec<f32> = known.iter().flat_map(|k| vec![f32::from(u8::from(*k)); c]).collect();
        let shown = job.images.values.iter().enumerate().map(|(i, v)| v * mask[i % mask.len()]).collect();
        job.run(Known::Pixels, Some(&mask), shown, &self.mask, session)
    }
}

impl Colorize {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let job = Job::open(&self.common, None, session)?;
        let [.., c] = job.saved.hwc();
        if c != 3 {
            let problem = format!("its images have {c} channel, colours have three");
            return Err(Error::invalid("model", &job.saved.name, problem).into());
        }
        let grey = |p: &[f32]| [p.iter().sum::<f32>() / 3.0; 3];
        let shown = job.images.values.chunks_exact(3).flat_map(grey).collect();
        job.run(Known::Grey, None, shown, "grey", session)
    }
}

/// One of the two problems, opened.
struct Job<'a> {
    common: &'a Common,
    out: Out,
    saved: SavedModel,
    images: Given,
    gpu: Gpu,
}

impl<'a> Job<'a> {
    /// `mask` is a file, where there is one.
    fn open(common: &'a Common, mask: Option<&Path>, session: &Session) -> anyhow::Result<Self> {
        let mut inputs = common.model.inputs();
        inputs.push(common.images.input());
        inputs.extend(mask.map(|path| Input::Images("--mask", path)));
        check_apart_from_inputs("--out", &common.out, &inputs)?;
        let out = Out::new(&common.out)?;
        out.check_json(common.json)?;
        let saved = common.model.open(session)?;
        let images = common.images.read(&saved, session)?;
        let gpu = session.open_gpu()?;
        Ok(Self { common, out, saved, images, gpu })
    }

    /// `mask` is `h w c`; `shown` what is known of each image, in [0, 1].
    fn run(
        self,
        known: Known,
        mask: Option<&[f32]>,
        shown: Vec<f32>,
        what: &str,
        session: &Session,
    ) -> anyhow::Result<()> {
        let Self { common, out, saved, images, gpu } = self;
        let hwc = saved.hwc();
        let size: usize = hwc.iter().product();
        let data = images.scaled(saved.centered());
        let (first, last) = common.seeds;
        // Every image with every seed, image by image; an image's draws depend on its own number and seed.
        let jobs: Vec<(usize, ImageSeed)> = (0..images.names.len())
            .flat_map(|i| (first..=last).map(move |seed| (i, ImageSeed { seed, image: i as u32 })))
            .collect();
        let asked = (common.batch as usize).min(jobs.len());
        let start = Instant::now();
        let provenance = common.model.provenance(&saved, &gpu)?.with("known", what);
        out.held(&provenance, common.overwrite)?;
        let (sde, task) = (saved.sde()?, Task { known, x_mean: common.x_mean.into() });
        let (table, name) = common.pc.table(&saved.config, &sde)?;
        let model = saved.network_model();
        let score = ModelScore { model: &model, unscaled: saved.unscaled() };
        let method = Method::Pc { table: &table, norm: common.pc.norm(), constraint: Some(&task) };
        let kernels = session.kernels(&gpu)?;
        let draft = |batch| {
            let shape = [batch, hwc[0], hwc[1], hwc[2]];
            let draft = SamplerDraft::new(&gpu, &score, method, shape, kernels.choice.clone())?
                .tuned(kernels.tuner.as_ref())?;
            room(&gpu, batch, draft.memory().total())?;
            Ok(draft)
        };
        let (batch, draft) = match common.pc.couples() {
            true => (asked, draft(asked)?),
            false => that_fits(asked, session, draft)?,
        };
        let mut sampler = draft.build(&gpu, saved.upload(&gpu, common.model.which())?.resources())?;
        let steps = sampler.steps();
        let bar = session.bar((steps * jobs.len().div_ceil(batch)) as u64, "sampling");
        let mut x: Vec<f32> = Vec::new();
        for (number, part) in jobs.chunks(batch).enumerate() {
            // A smaller last batch is padded; the padding goes with the draws that are thrown away.
            let padded: Vec<(usize, ImageSeed)> = (0..batch).map(|i| part[i.min(part.len() - 1)]).collect();
            let given: Vec<f32> =
                padded.iter().flat_map(|(i, _)| &data[i * size..(i + 1) * size]).copied().collect();
            let masks: Option<Vec<f32>> = mask.map(|m| m.repeat(batch));
            let contents: Vec<&[f32]> =
                [Some(&given), masks.as_ref()].into_iter().flatten().map(|v| &v[..]).collect();
            let seeds: Vec<ImageSeed> = padded.iter().map(|(_, seed)| *seed).collect();
            let begin = task.start(&gpu, &seeds, hwc, table.prior_std, &contents)?;
            sampler.set_known(&contents)?;
            let drawn = sampler.run_from(&begin, &seeds[..part.len()], &mut |step| {
                bar.set_position((number * steps + step) as u64);
                !session.is_interrupted()
            })?;
            let Some(drawn) = drawn else { break };
            x.extend(drawn);
            bar.set_prefix(format!(", {} of {} images", x.len() / size, jobs.len()));
        }
        bar.finish_and_clear();
        let done = x.len() / size;
        if done == 0 {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }
        let nfe = table.evaluations();
        let provenance = provenance
            .with("sampler", &name)
            .with("nfe", nfe.to_string())
            .with("seeds", format!("{first}-{last}"));
        let results = Pictures::new(x, hwc, saved.centered());
        let per_image = (last - first + 1) as usize;
        if out.is_grid() {
            let rows = with_known(&results.x, &Pictures::new(shown, hwc, false).x, size, per_image);
            let shape = [rows.len() / size, hwc[2], hwc[0], hwc[1]];
            // What is known of an image may well have one colour.
            results.warn_of_blank()?;
            out.write_as_is(&Pictures { x: rows, shape }, &[], Some(per_image + 1), &provenance)?;
        } else {
            let stems = images.stems();
            let names: Vec<String> = jobs
                .iter()
                .map(|(i, seed)| match per_image {
                    1 => stems[*i].clone(),
                    _ => format!("{}-{:06}", stems[*i], seed.seed),
                })
                .collect();
            out.write(&results, &names, None, &provenance)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let path = &common.out;
        if common.json {
            print::json(&json!({
                "path": path, "images": done, "of": images.names, "seeds": format!("{first}-{last}"), "known": what,
                "sampler": name, "steps": steps, "nfe": nfe, "model": saved.name,
                "ema": common.model.averaged(&saved), "adapter": gpu.adapter().name, "seconds": seconds,
                "memory": draft.memory().total(),
            }))?;
        } else {
            print::line(format_args!(
                "{} in {}, {name}, NFE {nfe}, {seconds:.1} s",
                print::count(done, "image"),
                path.display()
            ))?;
        }
        if done < jobs.len() {
            return Err(Interrupted(format!("{done} of {} images are written", jobs.len())).into());
        }
        Ok(())
    }
}

/// In front of each image's results what is known of it; images of `size` values each.
fn with_known(results: &[f32], known: &[f32], size: usize, per_image: usize) -> Vec<f32> {
    let rows = results.chunks(size * per_image).zip(known.chunks(size));
    rows.flat_map(|(results, known)| known.iter().chain(results)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_parts() {
        let part = |name: &str| -> String {
            mask(name, [4, 4], &Limits::default())
                .unwrap()
                .0
                .iter()
                .map(|known| if *known { '1' } else { '0' })
                .collect()
        };
        assert_eq!(part("left"), "0011001100110011");
        assert_eq!(part("bottom"), "1111111100000000");
        assert_eq!(part("centre"), "1111100110011111");
        assert_eq!(part("border"), "0000011001100000");
        assert!(mask("centr", [4, 4], &Limits::default()).unwrap_err().to_string().contains("\"centre\""));
    }

    #[test]
    fn rows_begin_with_what_is_known() {
        assert_eq!(with_known(&[1., 2., 3., 4.], &[8., 9.], 1, 2), [8., 1., 2., 9., 3., 4.]);
    }
}
