//! Bits per dimension of images.

use super::flow::{FlowRun, Setting, flow_options};
use super::images::Images;
use super::model::Model;
use super::progress::Watch;
use super::sampling::FLOW_STEPS;
use crate::error::{Error, Result};
use crate::likelihood::{T_EPS, likelihood};
use crate::ops::sampler_step::Norm;
use crate::random::dequantize;
use crate::sampling::flow::FlowOptions;
use crate::sampling::prior::{Probe, probe};
use crate::sampling::run::ImageSeed;

/// The likelihood of images by the probability-flow ODE from t = 1e-5 to 1, with an estimate of its divergence (section 4.3 of Song et al.
/// 2021) and the authors' offset: images of 256 levels, each spread uniformly over its level. Made by [`Model::likelihood`].
///
/// ```
/// use langevin::gpu::Gpu;
/// use langevin::pipeline::{Images, Pretrained};
///
/// # fn main() -> langevin::Result<()> {
/// let gpu = Gpu::open_default()?;
/// let model = Pretrained::embedded().load(&gpu)?;
/// let black = Images::from_nhwc([1, 32, 32, 1], vec![0.0; 1024])?;
/// let bits = model.likelihood().tolerance(1e-1, 1e-1).of(&black)?;
/// assert!(bits.is_dequantized && bits.mean().is_finite());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Likelihood<'m> {
    model: &'m Model,
    setting: Setting,
    probe: Probe,
    repeats: u32,
    seed: u64,
    watch: std::cell::RefCell<Watch<'m>>,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct BitsPerDim {
    /// Every repeat of every image, in bits per dimension; fewer images than were given where the work was ended early.
    pub repeats: Vec<Vec<f64>>,
    /// The most evaluations of the network that a batch took.
    pub nfe: usize,
    /// The mean of the evaluations over batches and repeats.
    pub nfe_mean: f64,
    /// The images were of 256 levels, and noise was added within each; else their values were taken as they are.
    pub is_dequantized: bool,
    /// The smallest time.
    pub t_eps: f64,
    /// The work was ended before every image had all its repeats.
    pub is_cut_short: bool,
}

impl BitsPerDim {
    /// The mean over the repeats of each image.
    pub fn each(&self) -> Vec<f64> {
        self.repeats.iter().map(|of| of.iter().sum::<f64>() / of.len() as f64).collect()
    }

    /// The mean over images; NaN where there is none.
    pub fn mean(&self) -> f64 {
        let each = self.each();
        each.iter().sum::<f64>() / each.len() as f64
    }

    /// The standard error of the mean over images; none for one image.
    pub fn standard_error(&self) -> Option<f64> {
        standard_error(&self.each(), self.mean())
    }
}

fn standard_error(values: &[f64], mean: f64) -> Option<f64> {
    let n = values.len() as f64;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt())
}

/// The bytes of images that are multiples of 1/255, none where one value is not.
fn bytes_of(values: &[f32]) -> Option<Vec<u8>> {
    let byte = |&v: &f32| {
        let scaled = v * 255.0;
        let near = (scaled - scaled.round()).abs() < 1e-3 && (-0.5..=255.5).contains(&scaled);
        near.then(|| scaled.round() as u8)
    };
    values.iter().map(byte).collect()
}

impl<'m> Likelihood<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        let watch = std::cell::RefCell::default();
        Self { model, setting: Setting::default(), probe: Probe::default(), repeats: 1, seed: 0, watch }
    }

    flow_options!();

    /// The probe of the divergence, ±1 unless told otherwise.
    pub fn probe(mut self, probe: Probe) -> Self {
        self.probe = probe;
        self
    }

    /// Measures each image so many times, with fresh noise and probe.
    pub fn repeats(mut self, repeats: u32) -> Self {
        self.repeats = repeats;
        self
    }

    /// The seed of noise and probe.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How the ODE is solved: from 1e-5, over norms of the batch, unless told otherwise.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time or a tolerance out of range.
    pub fn options(&self) -> Result<FlowOptions> {
        self.setting.options(T_EPS, Norm::Batch)
    }

    /// Measures the images. Where all values are multiples of 1/255, uniform noise spreads each over its level.
    ///
    /// # Errors
    /// [`Error::Shape`] where the images have not the model's size; [`Error::Invalid`] for no image, no repeat, or where no step meets the
    /// tolerance; [`Error::NonFinite`]; what the device reports.
    pub fn of(&self, images: &Images) -> Result<BitsPerDim> {
        let (model, options) = (self.model, self.options()?);
        model.check_images(images)?;
        for (what, count) in [("images", images.len()), ("repeats", self.repeats as usize)] {
            if count == 0 {
                return Err(Error::invalid(what, 0, "give at least 1"));
            }
        }
        let bytes = bytes_of(images.values());
        let (size, total) = (images.image_elements(), images.len());
        let mut flow = FlowRun::new(model, true, options)?;
        let batch = flow.batch(self.setting.batch.min(total))?;
        let mut watch = self.watch.borrow_mut();
        watch.begin(FLOW_STEPS * total * self.repeats as usize, total);
        let mut bits: Vec<Vec<f64>> = vec![Vec::new(); total];
        let (mut done, mut nfe, mut evaluations, mut runs) = (0, 0, 0, 0);
        'images: for first in (0..total).step_by(batch) {
            let n = batch.min(total - first);
            let seeds: Vec<ImageSeed> =
                (first..first + n).map(|i| ImageSeed { seed: self.seed, image: i as u32 }).collect();
            for repeat in 0..self.repeats {
                let x = self.noisy(images, bytes.as_deref(), first..first + n, repeat)?;
                let ode = flow.ode(n)?;
                ode.set(&x)?;
                let number = repeat as usize;
                ode.set_probe(&probe(model.gpu(), &seeds, model.image_shape(), self.probe, number)?)?;
                let measured = likelihood(ode, options, model.centered(), &mut |t| {
                    watch.step(FLOW_STEPS * done + (FLOW_STEPS as f64 * n as f64 * t) as usize)
                })?;
                let Some(measured) = measured else { break 'images };
                done += n;
                nfe = nfe.max(measured.nfe);
                evaluations += measured.nfe;
                runs += 1;
                for (of, value) in bits[first..].iter_mut().zip(measured.bits_per_dim) {
                    of.push(value);
                }
                debug_assert_eq!(size * n, x.len());
                watch.images(first + n, nfe);
            }
        }
        let is_cut_short = bits.iter().any(|of| of.len() < self.repeats as usize);
        bits.retain(|of| !of.is_empty());
        Ok(BitsPerDim {
            repeats: bits,
            nfe,
            nfe_mean: evaluations as f64 / f64::from(runs.max(1)),
            is_dequantized: bytes.is_some(),
            t_eps: options.t_eps,
            is_cut_short,
        })
    }

    /// A batch as the model takes it, spread over its levels where it has some.
    fn noisy(
        &self,
        images: &Images,
        bytes: Option<&[u8]>,
        range: std::ops::Range<usize>,
        repeat: u32,
    ) -> Result<Vec<f32>> {
        let size = images.image_elements();
        let batch = images.slice(range.clone())?;
        let Some(bytes) = bytes else { return Ok(batch.to_model(self.model.centered())) };
        let spread =
            |i: usize| dequantize(&bytes[i * size..(i + 1) * size], self.seed, i as u64, u64::from(repeat));
        let values = range.flat_map(spread).collect();
        Ok(Images::from_nhwc(batch.shape(), values)?.to_model(self.model.centered()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_from_other_numbers() {
        let every: Vec<f32> = (0..=255).map(|v| v as f32 / 255.0).collect();
        assert_eq!(bytes_of(&every), Some((0..=255).collect()));
        assert_eq!(bytes_of(&[0.5]), None);
        assert_eq!(bytes_of(&[2.0]), None);
    }

    #[test]
    fn standard_errors() {
        assert_eq!(standard_error(&[1.0], 1.0), None);
        assert_eq!(standard_error(&[1.0, 3.0], 2.0), Some(1.0));
    }
}
