//! `gen inpaint` and `gen colorize`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use langevin::checkpoint::SavedModel;
use langevin::inverse::XMean;
use langevin::pipeline::{Images, Mask, Model, Restoration};
use langevin::{Error, error};
use serde_json::json;

use crate::apart::{Input, check_apart_from_inputs};
use crate::exit::Interrupted;
use crate::input::ImagesArgs;
use crate::model::ModelArgs;
use crate::output::{Out, blank, warn_of_blank};
use crate::print;
use crate::session::{Session, seeds};
use crate::solver::PcArgs;

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

/// The mask that `--mask` names: a part, or a picture.
fn mask(name: &str, size: [usize; 2], session: &Session) -> langevin::Result<Mask> {
    let path = Path::new(name);
    let named = Mask::named(name, size);
    match named {
        Err(Error::UnknownName { .. }) if path.exists() || name.contains(['/', '\\', '.']) => {
            Mask::open_within(path, size, &session.limits())
        }
        Err(Error::UnknownName { .. }) => {
            let nearest = error::nearest(name, Mask::names());
            Err(Error::UnknownName { kind: "mask (and there is no such file)", name: name.into(), nearest })
        }
        named => named,
    }
}

impl Inpaint {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let common = &self.common;
        let (out, saved, images) = common.open(Some(Path::new(&self.mask)), session)?;
        let side = saved.config.data.image_size;
        let mask = mask(&self.mask, [side, side], session)?;
        session.say(format_args!(
            "{}; {:.0}% of the pixels are kept, the others drawn anew",
            mask.describe(),
            100.0 * mask.share()
        ));
        common.run(out, saved, &self.mask, session, |model| model.inpaint(&images, &mask))
    }
}

impl Colorize {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let (out, saved, images) = self.common.open(None, session)?;
        self.common.run(out, saved, "grey", session, |model| model.colorize(&images))
    }
}

impl Common {
    /// The place for results, the model, the images; `mask` is a file, where there is one.
    fn open(&self, mask: Option<&Path>, session: &Session) -> anyhow::Result<(Out, SavedModel, Images)> {
        let mut inputs = self.model.inputs();
        inputs.push(self.images.input());
        inputs.extend(mask.map(|path| Input::Images("--mask", path)));
        check_apart_from_inputs("--out", &self.out, &inputs)?;
        let out = Out::new(&self.out)?;
        out.check_json(self.json)?;
        let saved = self.model.open(session)?;
        let images = self.images.read(&saved, session)?;
        Ok((out, saved, images.with_file_names()))
    }

    /// Draws what `restoration` describes; `what` is known.
    fn run(
        &self,
        out: Out,
        saved: SavedModel,
        what: &str,
        session: &Session,
        restoration: impl for<'m> FnOnce(&'m Model) -> langevin::Result<Restoration<'m>>,
    ) -> anyhow::Result<()> {
        let gpu = session.open_gpu()?;
        let start = Instant::now();
        let model = self.model.on(&gpu, saved, session)?;
        let (first, last) = self.seeds;
        let bar = session.follow("sampling");
        let restoration = restoration(&model)?.by(self.pc.solver()).seeds(first..=last);
        let restoration = restoration.x_mean(self.x_mean.into()).batch(self.batch as usize);
        let known = restoration.known();
        let about = model.provenance()?.with("known", what);
        out.held(&about, self.overwrite)?;
        let restored = restoration.progress(|p| bar.tell(p)).until(&session.stop()).restore()?;
        bar.clear();
        let (images, nfe) = (&restored.images, restored.nfe);
        let done = images.len();
        if done == 0 {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }
        let seeds = format!("{first}-{last}");
        let about =
            about.with("sampler", &restored.sampler).with("nfe", nfe.to_string()).with("seeds", &seeds);
        let per_image = (last - first + 1) as usize;
        if out.is_grid() {
            // What is known of an image may well have one colour.
            warn_of_blank(blank(images)?, done);
            out.write_as_is(&with_known(images, &known, per_image)?, Some(per_image + 1), &about)?;
        } else {
            out.write(images, None, &about)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let (path, of) = (&self.out, known.len() * per_image);
        if self.json {
            print::json(&json!({
                "path": path, "images": done, "of": known.names(), "seeds": seeds, "known": what,
                "sampler": restored.sampler, "steps": restored.steps, "nfe": nfe, "model": model.name(),
                "ema": model.is_averaged(), "adapter": gpu.adapter().name, "seconds": seconds,
                "memory": restored.memory.total(),
            }))?;
        } else {
            let (images, sampler) = (print::count(done, "image"), &restored.sampler);
            print::line(format_args!(
                "{images} in {}, {sampler}, NFE {nfe}, {seconds:.1} s",
                path.display()
            ))?;
        }
        if done < of {
            return Err(Interrupted(format!("{done} of {of} images are written")).into());
        }
        Ok(())
    }
}

/// In front of each image's results what is known of it.
fn with_known(results: &Images, known: &Images, per_image: usize) -> langevin::Result<Images> {
    let mut rows = known.slice(0..0)?;
    for (i, first) in (0..results.len()).step_by(per_image).enumerate() {
        rows.extend(&known.slice(i..i + 1)?)?;
        rows.extend(&results.slice(first..results.len().min(first + per_image))?)?;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_begin_with_what_is_known() {
        let images = |values: &[f32]| Images::from_nhwc([values.len(), 1, 1, 1], values.to_vec()).unwrap();
        let rows = with_known(&images(&[1., 2., 3., 4.]), &images(&[8., 9.]), 2).unwrap();
        assert_eq!(rows.values(), [8., 1., 2., 9., 3., 4.]);
    }
}
