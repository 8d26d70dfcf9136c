//! Inpainting and colorization.

use super::images::Images;
use super::model::Model;
use super::progress::{Progress, Stop, Watch};
use super::sampling::BATCH;
use crate::error::{Error, Result, nearest};
use crate::graph::Memory;
use crate::inverse::{Known, Task, XMean};
use crate::ops::sampler_step::Norm;
use crate::sampling::run::{ImageSeed, Method, SamplerDraft};
use crate::sampling::solvers::{PredictorCorrector, Solver, SolverRun};

/// Which pixels of an image are known, `h w`; the others are drawn anew.
///
/// ```
/// use langevin::pipeline::Mask;
///
/// let mask = Mask::named("left", [4, 4])?;
/// assert_eq!(mask.known()[..4], [false, false, true, true]);
/// assert_eq!(mask.share(), 0.5);
/// # Ok::<(), langevin::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    size: [usize; 2],
    known: Vec<bool>,
    about: String,
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

impl Mask {
    /// The names that [`Mask::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// Pixels of an image of `h w`, true where it is known.
    ///
    /// # Errors
    /// [`Error::Shape`] where the pixels are not as many.
    pub fn new(size: [usize; 2], known: Vec<bool>) -> Result<Self> {
        if known.len() != size[0] * size[1] {
            let problem = format!("{} pixels for a mask of {size:?} (h w)", known.len());
            return Err(Error::shape("mask", problem, "give h w pixels"));
        }
        Ok(Self { size, known, about: "given".into() })
    }

    /// A part by name: left, right, top, bottom, centre or border is drawn anew.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the nearest that exists.
    pub fn named(name: &str, [h, w]: [usize; 2]) -> Result<Self> {
        let Some((_, anew)) = NAMED.iter().find(|(n, _)| *n == name) else {
            let nearest = nearest(name, Self::names());
            return Err(Error::UnknownName { kind: "mask", name: name.into(), nearest });
        };
        let known = (0..h * w).map(|i| !anew([i / w, i % w], [h, w])).collect();
        Ok(Self { size: [h, w], known, about: format!("the mask is {name}") })
    }

    /// A picture of `h w` pixels that is black where images are drawn anew and white where they are known, or transparent there and opaque
    /// where they are known.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`]; [`Error::Invalid`] where the size is another, or transparency and colour say two things.
    #[cfg(feature = "files")]
    pub fn open(path: impl AsRef<std::path::Path>, size: [usize; 2]) -> Result<Self> {
        Self::open_within(path, size, &crate::data::Limits::default())
    }

    /// [`Mask::open`] within other limits.
    ///
    /// # Errors
    /// As [`Mask::open`].
    #[cfg(feature = "files")]
    pub fn open_within(
        path: impl AsRef<std::path::Path>,
        size: [usize; 2],
        limits: &crate::data::Limits,
    ) -> Result<Self> {
        let mask = crate::data::read_mask(path.as_ref(), size, limits)?;
        let by = match mask.by_alpha {
            true => "transparency: what is opaque is known",
            false => "grey value: what is white is known",
        };
        Ok(Self { size, known: mask.known, about: format!("the mask is read by its {by}") })
    }

    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The pixels, row by row, true where the image is known.
    pub fn known(&self) -> &[bool] {
        &self.known
    }

    /// The share of pixels that are known, from 0 to 1.
    pub fn share(&self) -> f64 {
        self.known.iter().filter(|known| **known).count() as f64 / self.known.len() as f64
    }

    /// How it was understood, in words.
    pub fn describe(&self) -> &str {
        &self.about
    }
}

/// Images of which a part is known, to be completed by predictor-corrector sampling: after every update the known part is replaced by the
/// image, noised to the same time (appendices I.2 and I.3 of Song et al. 2021). Made by [`Model::inpaint`] and [`Model::colorize`].
///
/// ```
/// use langevin::gpu::Gpu;
/// use langevin::pipeline::{Images, Mask, Pretrained};
/// use langevin::sampling::solvers::PredictorCorrector;
///
/// # fn main() -> langevin::Result<()> {
/// let gpu = Gpu::open_default()?;
/// let model = Pretrained::embedded().load(&gpu)?;
/// let white = Images::from_nhwc([1, 32, 32, 1], vec![1.0; 1024])?;
/// let filled = model
///     .inpaint(&white, &Mask::named("centre", [32, 32])?)?
///     .by(PredictorCorrector::default().steps(2))
///     .seeds(0..2)
///     .draw()?;
/// assert_eq!(filled.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Restoration<'m> {
    model: &'m Model,
    images: Images,
    /// `h w c`, 1 where the image is known; none where its grey value is.
    mask: Option<Vec<f32>>,
    solver: PredictorCorrector,
    seeds: Vec<u64>,
    x_mean: XMean,
    batch: usize,
    watch: Watch<'m>,
}

/// What was drawn.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Restored {
    /// Image by image, each with every seed; fewer where the work was ended early.
    pub images: Images,
    /// The sampler, in words.
    pub sampler: String,
    /// Steps of a run.
    pub steps: usize,
    /// Evaluations of the network for each.
    pub nfe: usize,
    /// Device memory.
    pub memory: Memory,
}

impl<'m> Restoration<'m> {
    fn new(model: &'m Model, images: &Images, mask: Option<Vec<f32>>) -> Result<Self> {
        model.check_images(images)?;
        let (images, solver) = (images.clone(), PredictorCorrector::default());
        let (x_mean, watch) = (XMean::default(), Watch::default());
        Ok(Self { model, images, mask, solver, seeds: vec![0], x_mean, batch: BATCH, watch })
    }

    pub(super) fn inpaint(model: &'m Model, images: &Images, mask: &Mask) -> Result<Self> {
        let [h, w, c] = model.image_shape();
        if mask.size != [h, w] {
            let problem = format!("a mask of {:?} for images of {:?} (h w)", mask.size, [h, w]);
            return Err(Error::shape("mask", problem, "give one of the images' size"));
        }
        let share = mask.share();
        if share == 0.0 || share == 1.0 {
            let what = match share == 1.0 {
                true => "known: there is nothing to fill in",
                false => "unknown: sampling draws such images",
            };
            return Err(Error::invalid("mask", &mask.about, format!("every pixel is {what}")));
        }
        let mask = mask.known.iter().flat_map(|k| vec![f32::from(u8::from(*k)); c]).collect();
        Self::new(model, images, Some(mask))
    }

    pub(super) fn colorize(model: &'m Model, images: &Images) -> Result<Self> {
        let [.., c] = model.image_shape();
        if c != 3 {
            let problem = format!("its images have {c} channel, colours have three");
            return Err(Error::invalid("model", model.name(), problem));
        }
        Self::new(model, images, None)
    }

    /// The sampler; that of the model's configuration unless told otherwise.
    pub fn by(mut self, solver: PredictorCorrector) -> Self {
        self.solver = solver;
        self
    }

    /// One result for each image and each seed; seed 0 unless told otherwise.
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.seeds = seeds.into_iter().collect();
        self
    }

    /// What the last step denoises where nothing is known.
    pub fn x_mean(mut self, x_mean: XMean) -> Self {
        self.x_mean = x_mean;
        self
    }

    /// Results that are drawn together, 16 unless told otherwise; fewer where the device has no room for them.
    pub fn batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// Tells how far it is, at every step.
    pub fn progress(mut self, listener: impl FnMut(Progress) + 'm) -> Self {
        self.watch.listen(listener);
        self
    }

    /// Ends early when `stop` says so: the images of whole batches are given.
    pub fn until(mut self, stop: &Stop) -> Self {
        self.watch.until(stop);
        self
    }

    /// What is known of each image: its known pixels on black, or its grey value.
    pub fn known(&self) -> Images {
        let values = self.images.values();
        let known = match &self.mask {
            Some(mask) => values.iter().enumerate().map(|(i, v)| v * mask[i % mask.len()]).collect(),
            None => values.chunks_exact(3).flat_map(|p| [p.iter().sum::<f32>() / 3.0; 3]).collect(),
        };
        self.images.with_values(known)
    }

    /// Completes the images: image by image, each with every seed.
    ///
    /// # Errors
    /// [`Error::Invalid`] where an option of the sampler is out of range; [`Error::Limit`] where one image does not fit the device;
    /// [`Error::NonFinite`]; what the device reports.
    pub fn draw(self) -> Result<Images> {
        Ok(self.restore()?.images)
    }

    /// [`Restoration::draw`], with what it took.
    ///
    /// # Errors
    /// As [`Restoration::draw`].
    pub fn restore(mut self) -> Result<Restored> {
        let model = self.model;
        let [h, w, c] = model.image_shape();
        let size = h * w * c;
        let problem = model.problem()?;
        let (run, sampler_name) = (self.solver.plan(&problem)?, self.solver.describe(&problem)?);
        let SolverRun::Pc { table, norm } = &run else {
            // bug: a predictor-corrector sampler plans a table.
            return Err(Error::invalid("sampler", sampler_name, "known parts are imposed by pc alone"));
        };
        let known = if self.mask.is_some() { Known::Pixels } else { Known::Grey };
        let task = Task { known, x_mean: self.x_mean };
        // An image's draws depend on its own number and seed.
        let jobs: Vec<(usize, ImageSeed)> = (0..self.images.len())
            .flat_map(|i| self.seeds.iter().map(move |&seed| (i, ImageSeed { seed, image: i as u32 })))
            .collect();
        if jobs.is_empty() || self.batch == 0 {
            return Err(Error::invalid("images, seeds or batch", 0, "give at least one of each"));
        }
        let score = model.score(false);
        let draft = |n: usize| {
            let method = Method::Pc { table, norm: *norm, constraint: Some(&task) };
            let choice = model.kernels().choice.clone();
            let draft = SamplerDraft::new(model.gpu(), &score, method, [n, h, w, c], choice)?;
            let draft = model.tuned(draft)?;
            let bytes = draft.memory().total();
            Ok((draft, bytes))
        };
        let asked = self.batch.min(jobs.len());
        let (batch, draft) = match norm {
            // The batch is part of the result.
            Norm::Batch => (asked, draft(asked)?.0),
            Norm::Image => model.that_fits(asked, draft)?,
        };
        let mut sampler = draft.build(model.gpu(), model.weights()?.resources())?;
        let steps = sampler.steps();
        let data = self.images.to_model(model.centered());
        self.watch.begin(steps * jobs.len().div_ceil(batch), jobs.len());
        let mut x: Vec<f32> = Vec::new();
        let nfe = table.evaluations();
        for (number, part) in jobs.chunks(batch).enumerate() {
            // A smaller last batch is padded; the padding goes with the draws that are thrown away.
            let padded: Vec<(usize, ImageSeed)> = (0..batch).map(|i| part[i.min(part.len() - 1)]).collect();
            let given: Vec<f32> =
                padded.iter().flat_map(|(i, _)| &data[i * size..(i + 1) * size]).copied().collect();
            let masks = self.mask.as_ref().map(|mask| mask.repeat(batch));
            let contents: Vec<&[f32]> =
                [Some(&given), masks.as_ref()].into_iter().flatten().map(|v| &v[..]).collect();
            let seeds: Vec<ImageSeed> = padded.iter().map(|(_, seed)| *seed).collect();
            let begin = task.start(model.gpu(), &seeds, [h, w, c], table.prior_std, &contents)?;
            sampler.set_known(&contents)?;
            let drawn = sampler
                .run_from(&begin, &seeds[..part.len()], &mut |step| self.watch.step(number * steps + step))?;
            let Some(drawn) = drawn else { break };
            x.extend(drawn);
            self.watch.images(x.len() / size, nfe);
        }
        let about = model.provenance()?.with("sampler", &sampler_name).with("nfe", nfe.to_string());
        let names = jobs.iter().take(x.len() / size).map(|(i, seed)| match self.seeds.len() {
            1 => self.images.names()[*i].clone(),
            _ => format!("{}-{:06}", self.images.names()[*i], seed.seed),
        });
        let names = names.collect();
        let images = Images::from_model([x.len() / size, h, w, c], x, model.centered())?;
        let images = images.with_names(names)?.with_about(about);
        Ok(Restored { images, sampler: sampler_name, steps, nfe, memory: draft.memory() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_parts() {
        let part = |name: &str| -> String {
            let mask = Mask::named(name, [4, 4]).unwrap();
            mask.known().iter().map(|known| if *known { '1' } else { '0' }).collect()
        };
        assert_eq!(part("left"), "0011001100110011");
        assert_eq!(part("bottom"), "1111111100000000");
        assert_eq!(part("centre"), "1111100110011111");
        assert_eq!(part("border"), "0000011001100000");
        assert!(Mask::named("centr", [4, 4]).unwrap_err().to_string().contains("\"centre\""));
        assert!(Mask::new([2, 2], vec![true]).is_err());
    }
}
