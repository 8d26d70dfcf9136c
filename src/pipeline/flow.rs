//! Images to latents and back by the probability-flow ODE.

use std::sync::Arc;

use super::images::Images;
use super::model::Model;
use super::progress::Watch;
use super::sampling::{BATCH, FLOW_STEPS};
use crate::error::{Error, Result};
use crate::likelihood::T_EPS;
use crate::ops::sampler_step::Norm;
use crate::output::Provenance;
use crate::sampling::flow::{self, FlowOptions, Flowed};
use crate::sampling::ode::{Ode, OdeDraft};
use crate::sampling::prior::prior;
use crate::sampling::run::ImageSeed;
use crate::sampling::runge_kutta::{Tableau, Tolerance};
use crate::sampling::solvers::RK45;

/// The probability-flow ODE of a model between its images and their latents at t = 1, which are samples of the prior (section 4.3 of
/// Song et al. 2021). Made by [`Model::flow`].
///
/// ```
/// use langevin::gpu::Gpu;
/// use langevin::pipeline::Pretrained;
/// use langevin::sampling::solvers::DpmSolverPp;
///
/// # fn main() -> langevin::Result<()> {
/// let gpu = Gpu::open_default()?;
/// let model = Pretrained::embedded().load(&gpu)?;
/// let digit = model.sampler(DpmSolverPp::steps(5)).seeds([7]).draw()?;
/// let flow = model.flow().tolerance(1e-1, 1e-1);
/// let latents = flow.encode(&digit)?;
/// assert_eq!(latents.shape(), digit.shape());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Flow<'m> {
    model: &'m Model,
    pub(super) setting: Setting,
    temperature: f64,
    denoise: bool,
    watch: std::cell::RefCell<Watch<'m>>,
}

/// How exact an ODE is solved, and where it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) rtol: f64,
    pub(super) atol: f64,
    pub(super) t_eps: Option<f64>,
    pub(super) norm: Option<Norm>,
    pub(super) method: &'static Tableau,
    pub(super) batch: usize,
}

impl Default for Setting {
    fn default() -> Self {
        Self { rtol: 1e-5, atol: 1e-5, t_eps: None, norm: None, method: &RK45, batch: BATCH }
    }
}

impl Setting {
    /// With the time near the data and the norm that are meant where none is given.
    pub(super) fn options(&self, t_eps: f64, norm: Norm) -> Result<FlowOptions> {
        let t_eps = self.t_eps.unwrap_or(t_eps);
        if !(t_eps > 0.0 && t_eps < 1.0) {
            return Err(Error::invalid("t_eps", t_eps, "a time between 0 and 1"));
        }
        if self.batch == 0 {
            return Err(Error::invalid("batch", 0, "give at least 1"));
        }
        Ok(FlowOptions {
            t_eps,
            tolerance: Tolerance::new(self.rtol, self.atol)?,
            norm: self.norm.unwrap_or(norm),
            method: self.method,
        })
    }
}

/// The options that every builder over the flow has.
macro_rules! flow_options {
    () => {
        /// Relative and absolute tolerance of the Runge-Kutta method, 1e-5 each unless told otherwise.
        pub fn tolerance(mut self, rtol: f64, atol: f64) -> Self {
            (self.setting.rtol, self.setting.atol) = (rtol, atol);
            self
        }

        /// The time near the data, between 0 and 1, where the ODE begins or ends.
        pub fn t_eps(mut self, t_eps: f64) -> Self {
            self.setting.t_eps = Some(t_eps);
            self
        }

        /// Over what the error of a step is taken: each image, which then has steps of its own, or the batch, as in the authors' code.
        pub fn norm(mut self, norm: crate::ops::sampler_step::Norm) -> Self {
            self.setting.norm = Some(norm);
            self
        }

        /// The Runge-Kutta method, [`RK45`](crate::sampling::solvers::RK45) unless told otherwise.
        pub fn method(mut self, method: &'static crate::sampling::runge_kutta::Tableau) -> Self {
            self.setting.method = method;
            self
        }

        /// Images that are taken together, 16 unless told otherwise; fewer where the device has no room for them.
        pub fn batch(mut self, batch: usize) -> Self {
            self.setting.batch = batch;
            self
        }

        /// Tells how far it is.
        pub fn progress(mut self, listener: impl FnMut($crate::pipeline::Progress) + 'm) -> Self {
            self.watch.get_mut().listen(listener);
            self
        }

        /// Ends early when `stop` says so: what is done by then is given.
        pub fn until(mut self, stop: &$crate::pipeline::Stop) -> Self {
            self.watch.get_mut().until(stop);
            self
        }
    };
}
pub(super) use flow_options;

impl<'m> Flow<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        let watch = std::cell::RefCell::default();
        Self { model, setting: Setting::default(), temperature: 1.0, denoise: false, watch }
    }

    flow_options!();

    /// Scales latents before they are decoded; below 1 images are more alike and smoother.
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// Ends decoding with the mean of one step of reverse diffusion.
    pub fn denoise(mut self, denoise: bool) -> Self {
        self.denoise = denoise;
        self
    }

    /// How images are encoded: from 1e-5, over norms of the batch, unless told otherwise.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time or a tolerance out of range.
    pub fn encoding(&self) -> Result<FlowOptions> {
        self.setting.options(T_EPS, Norm::Batch)
    }

    /// How latents are decoded: down to 1e-5 for VE and 1e-3 for VP and sub-VP, over norms of the batch, unless told otherwise.
    ///
    /// # Errors
    /// As [`Flow::encoding`]; where the model has no SDE.
    pub fn decoding(&self) -> Result<FlowOptions> {
        self.setting.options(self.model.sde()?.default_t_eps(), Norm::Batch)
    }

    /// The latents of images, at t = 1.
    ///
    /// # Errors
    /// [`Error::Shape`] where the images have not the model's size; [`Error::Invalid`] where no step meets the tolerance;
    /// [`Error::NonFinite`]; what the device reports.
    pub fn encode(&self, images: &Images) -> Result<Latents> {
        self.encode_by(images, self.encoding()?)
    }

    fn encode_by(&self, images: &Images, options: FlowOptions) -> Result<Latents> {
        self.model.check_images(images)?;
        let x = images.to_model(self.model.centered());
        let (z, nfe) =
            self.each(&x, options, |ode, x, progress| flow::encode(ode, x, options, &mut |t| progress(t)))?;
        let about = self.model.provenance()?.with("t_eps", options.t_eps.to_string());
        Latents::of(self.model, z, nfe, about)
    }

    /// The images of latents.
    ///
    /// # Errors
    /// As [`Flow::encode`]; [`Error::Invalid`] for a temperature that is negative or not finite.
    pub fn decode(&self, latents: &Latents) -> Result<Images> {
        self.decode_by(latents, self.decoding()?)
    }

    fn decode_by(&self, latents: &Latents, options: FlowOptions) -> Result<Images> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::invalid("temperature", self.temperature, "0 or above is expected"));
        }
        let [h, w, c] = self.model.image_shape();
        if latents.shape[1..] != [h, w, c] {
            let [n, lh, lw, lc] = latents.shape;
            let problem = format!(
                "latents of shape {:?} where the model takes n x {c} x {h} x {w} (n c h w)",
                [n, lc, lh, lw]
            );
            return Err(Error::shape("latents", problem, "take those of this model"));
        }
        let z: Vec<f32> = latents.values.iter().map(|v| v * self.temperature as f32).collect();
        let denoise = self.denoise;
        let (x, nfe) = self.each(&z, options, |ode, z, progress| {
            flow::decode(ode, z, options, denoise, &mut |t| progress(1.0 - t))
        })?;
        let about =
            self.model.provenance()?.with("t_eps", options.t_eps.to_string()).with("nfe", nfe.to_string());
        let images = Images::from_model([x.len() / (h * w * c), h, w, c], x, self.model.centered())?;
        Ok(images.with_about(about))
    }

    /// `frames` images between two, the ends included: latents are mixed on the great circle between those of the ends. Errors of steps are
    /// those of each image unless told otherwise. Fewer images where the work was ended early.
    ///
    /// # Errors
    /// As [`Flow::encode`]; [`Error::Invalid`] where `ends` are not two images or seeds, or the frames not two at least.
    pub fn interpolate(&self, ends: Ends<'_>, frames: usize) -> Result<Images> {
        if frames < 2 {
            return Err(Error::invalid("frames", frames, "give 2 at least: the ends"));
        }
        let (sde, model) = (self.model.sde()?, self.model);
        let ends = match ends {
            Ends::Seeds(seeds) => {
                let seeds = seeds.map(|seed| ImageSeed { seed, image: 0 });
                let z = prior(model.gpu(), &seeds, model.image_shape(), sde.prior_std())?;
                Latents::of(model, z, 0, Provenance::new())?
            }
            Ends::Images(images) if images.len() == 2 => {
                self.encode_by(images, self.setting.options(T_EPS, Norm::Image)?)?
            }
            Ends::Images(images) => {
                return Err(Error::invalid("images", images.len(), "an interpolation has two ends"));
            }
        };
        let [n, h, w, c] = ends.shape;
        if n < 2 {
            return Images::from_nhwc([0, h, w, c], Vec::new());
        }
        let (a, b) = ends.values.split_at(h * w * c);
        let mut values = Vec::with_capacity(frames * h * w * c);
        for frame in 0..frames {
            values.extend(flow::slerp(a, b, frame as f64 / (frames - 1) as f64)?);
        }
        let between = Latents { shape: [frames, h, w, c], values, nfe: ends.nfe, about: ends.about.clone() };
        self.decode_by(&between, self.setting.options(sde.default_t_eps(), Norm::Image)?)
    }

    /// What `run` makes of each batch of `x`, and the most evaluations that one took.
    fn each(
        &self,
        x: &[f32],
        options: FlowOptions,
        mut run: impl FnMut(&mut Ode, &[f32], &mut dyn FnMut(f64) -> bool) -> Result<Option<Flowed>>,
    ) -> Result<(Vec<f32>, usize)> {
        let size: usize = self.model.image_shape().iter().product();
        let n = x.len() / size;
        let mut flow = FlowRun::new(self.model, false, options)?;
        let batch = flow.batch(self.setting.batch.min(n))?;
        let mut watch = self.watch.borrow_mut();
        watch.begin(FLOW_STEPS * n, n);
        let (mut out, mut nfe) = (Vec::with_capacity(x.len()), 0);
        for part in x.chunks(size * batch) {
            let (before, images) = (out.len() / size, part.len() / size);
            let ode = flow.ode(images)?;
            let flowed = run(ode, part, &mut |share| {
                watch.step((FLOW_STEPS as f64 * (before as f64 + share * images as f64)) as usize)
            })?;
            let Some(flowed) = flowed else { break };
            out.extend(flowed.x);
            nfe = nfe.max(flowed.nfe);
            watch.images(out.len() / size, nfe);
        }
        Ok((out, nfe))
    }
}

/// The two ends of an interpolation.
#[derive(Clone, Copy, Debug)]
pub enum Ends<'a> {
    /// The latents of two seeds.
    Seeds([u64; 2]),
    /// Two images.
    Images(&'a Images),
}

/// Latents of a model at t = 1: `n h w c`, of mean 0 and the standard deviation of its prior.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    shape: [usize; 4],
    values: Vec<f32>,
    nfe: usize,
    about: Provenance,
}

impl Latents {
    fn of(model: &Model, values: Vec<f32>, nfe: usize, about: Provenance) -> Result<Self> {
        let [h, w, c] = model.image_shape();
        Ok(Self { shape: [values.len() / (h * w * c), h, w, c], values, nfe, about })
    }

    /// Latents of a shape `n c h w`, as files hold them.
    ///
    /// # Errors
    /// [`Error::Shape`] where the values do not fill the shape.
    pub fn from_nchw([n, c, h, w]: [usize; 4], values: &[f32]) -> Result<Self> {
        let wanted = [n, c, h, w].iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if wanted != Some(values.len()) || values.is_empty() {
            let problem = format!("{} values for shape {:?} (n c h w)", values.len(), [n, c, h, w]);
            return Err(Error::shape("latents", problem, "give n c h w values"));
        }
        let values = crate::formats::pixels::nhwc_to_nchw(values, c, h * w);
        Ok(Self { shape: [n, h, w, c], values, nfe: 0, about: Provenance::new() })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.shape[0]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shape[0] == 0
    }

    /// `n h w c`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The values, `n h w c`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values, `n c h w`.
    pub fn to_nchw(&self) -> Vec<f32> {
        let [_, h, w, c] = self.shape;
        crate::formats::pixels::nhwc_to_nchw(&self.values, h * w, c)
    }

    /// Evaluations of the network that they took.
    pub fn nfe(&self) -> usize {
        self.nfe
    }

    /// How they came about.
    pub fn about(&self) -> &Provenance {
        &self.about
    }

    /// Reads `z` (`n c h w`) of a safetensors file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`].
    #[cfg(feature = "files")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let (shape, z) = crate::data::read_tensor(path, &["z"])?;
        let shape: [usize; 4] = shape
            .as_slice()
            .try_into()
            .map_err(|_| Error::format(path, format!("latents of shape {shape:?} where n c h w is meant")))?;
        Self::from_nchw(shape, &z)
    }

    /// Writes them as `z` (`n c h w`) into a safetensors file.
    ///
    /// # Errors
    /// [`Error::Io`].
    #[cfg(feature = "files")]
    pub fn save(&self, path: impl AsRef<std::path::Path>, about: &Provenance) -> Result<()> {
        let about: Vec<(&str, &str)> =
            about.entries().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let [n, h, w, c] = self.shape;
        crate::output::write_safetensors(path.as_ref(), &[("z", &[n, c, h, w], &self.to_nchw())], &about)
    }
}

/// The ODE of a model for batches of `n`, on paper; with `probe` the divergence is integrated too.
pub(super) fn draft(model: &Model, n: usize, probe: bool, options: &FlowOptions) -> Result<OdeDraft> {
    let [h, w, c] = model.image_shape();
    let choice = model.kernels().choice.clone();
    let slopes = options.method.slopes().max(RK45.slopes());
    let score = model.score(false);
    model.tuned(OdeDraft::with_slopes(model.gpu(), &score, [n, h, w, c], probe, choice, slopes)?)
}

/// The ODE of a model, built for the batch at hand.
#[derive(Debug)]
pub(super) struct FlowRun<'m> {
    model: &'m Model,
    probe: bool,
    options: FlowOptions,
    ode: Option<Box<Ode>>,
}

impl<'m> FlowRun<'m> {
    /// With `probe` the divergence is integrated too.
    pub(super) fn new(model: &'m Model, probe: bool, options: FlowOptions) -> Result<Self> {
        model.sde()?;
        Ok(Self { model, probe, options, ode: None })
    }

    /// How many images are taken at a time where `asked` are asked for.
    pub(super) fn batch(&self, asked: usize) -> Result<usize> {
        let fits = |n| {
            let draft = draft(self.model, n, self.probe, &self.options)?;
            Ok(((), draft.memory().total()))
        };
        Ok(self.model.that_fits(asked, fits)?.0)
    }

    /// The ODE for a batch of `n`: a last, smaller batch has one of its own, since padding would take part in the error norm.
    pub(super) fn ode(&mut self, n: usize) -> Result<&mut Ode> {
        let ode = match self.ode.take() {
            Some(ode) if ode.shape()[0] == n => ode,
            _ => {
                let draft = draft(self.model, n, self.probe, &self.options)?;
                let (resources, sde) = (self.model.weights()?.resources(), Arc::clone(self.model.sde()?));
                Box::new(draft.build(self.model.gpu(), resources, &sde, self.model.conditioning())?)
            }
        };
        Ok(self.ode.insert(ode))
    }
}
