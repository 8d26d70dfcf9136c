//! The training objectives: what is done to an image, what the network is asked, and how the answer is weighed.
//!
//! Every objective of the authors is one form: the network sees `mean·x + std·z` at `argument`, and image i costs
//! `weight·Σ (output·model_output + noise·z)²`, with a factor of x where v or x itself is predicted, or the cross-entropy of a classifier's logits. The numbers per image are worked out here
//! in f64; the sums run on the device.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::{Graph, Shape, Value};
use crate::ops::cross_entropy::{correct, cross_entropy};
use crate::ops::{broadcast, elementwise, reduce};
use crate::random::Stream;
use crate::sde::{Prediction, Sde, TimeConditioning};

/// What is minimised.
#[derive(Clone, Debug)]
pub enum Objective {
    /// Denoising score matching over continuous t (equation 7 of Song et al. 2021).
    Continuous {
        /// The forward SDE.
        sde: Arc<dyn Sde>,
        /// What the network is told about time.
        time: TimeConditioning,
        /// λ(t) = g(t)² in place of std(t)², as for likelihoods (Song et al. 2021, section 4.3).
        likelihood_weighting: bool,
        /// The smallest t; 1e-5 in the authors' code.
        t_eps: f64,
    },
    /// Denoising score matching over a table of noise levels (equation 1; Song and Ermon 2019).
    Smld {
        /// σ of each label, largest first.
        sigmas: Vec<f64>,
    },
    /// Noise prediction over the steps of a DDPM (equation 3; Ho et al. 2020).
    Ddpm {
        /// √ᾱ of each label.
        means: Vec<f64>,
        /// √(1 − ᾱ) of each label.
        stds: Vec<f64>,
    },
    /// The class of a noisy image, by a classifier that is told std(t) (Song et al. 2021, appendix I.1).
    Classification {
        /// The forward SDE.
        sde: Arc<dyn Sde>,
        /// The smallest t.
        t_eps: f64,
    },
}

/// A noise level: a time, or an index into the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// t, from t_eps to 1.
    Time(f64),
    /// A label.
    Label(usize),
}

/// The numbers of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The network's time argument.
    pub argument: f64,
    /// The factor of the image.
    pub mean: f64,
    /// The factor of the noise.
    pub std: f64,
    /// The factor of the model's output in the residual.
    pub output: f64,
    /// The factor of the noise in the residual.
    pub noise: f64,
    /// The factor of the image in the residual: 0 but for predictions of v and of the data.
    pub image: f64,
    /// What the squared residual costs, before the reduction over pixels.
    pub weight: f64,
    /// The image's class: what a classifier should say.
    pub class: u32,
}

impl Objective {
    /// A level for one image, as the authors draw it: t or the label uniform.
    pub fn draw(&self, stream: &mut Stream) -> Level {
        let label = |levels: usize, u: f64| Level::Label(((u * levels as f64) as usize).min(levels - 1));
        let u = stream.uniform();
        match self {
            Self::Continuous { t_eps, .. } | Self::Classification { t_eps, .. } => {
                Level::Time(u * (1.0 - t_eps) + t_eps)
            }
            Self::Smld { sigmas } => label(sigmas.len(), u),
            Self::Ddpm { means, .. } => label(means.len(), u),
        }
    }

    /// The numbers of an image at `level`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the level is of another kind, or outside the table.
    pub fn row(&self, level: Level) -> Result<Row> {
        let outside = |levels: usize| {
            let problem = format!("this objective has labels from 0 to {}", levels.saturating_sub(1));
            Error::invalid("level", format!("{level:?}"), problem)
        };
        match (self, level) {
            (Self::Continuous { sde, time, likelihood_weighting, .. }, Level::Time(t)) => {
                let marginal = sde.marginal_prob(t);
                let asked = sde.conditioning(t, *time);
                // A score in units of the noise; predictions that hold the image are compared with their target.
                let (output, [of_image, of_noise]) = match time {
                    TimeConditioning::Stated { prediction, .. } if of_the_image(*time) => {
                        (1.0, prediction.target(marginal).map(|factor| -factor))
                    }
                    _ => (asked.score_scale * marginal.std, [0.0, 1.0]),
                };
                let weight = match likelihood_weighting {
                    true => (sde.sde(t).diffusion / marginal.std).powi(2),
                    false => 1.0,
                };
                Ok(Row {
                    argument: asked.argument,
                    mean: marginal.mean,
                    std: marginal.std,
                    output,
                    noise: of_noise,
                    image: of_image,
                    weight,
                    class: 0,
                })
            }
            (Self::Classification { sde, .. }, Level::Time(t)) => {
                let marginal = sde.marginal_prob(t);
                Ok(Row {
                    argument: marginal.std,
                    mean: marginal.mean,
                    std: marginal.std,
                    output: 0.0,
                    noise: 0.0,
                    image: 0.0,
                    weight: 1.0,
                    class: 0,
                })
            }
            (Self::Smld { sigmas }, Level::Label(i)) => {
                let &std = sigmas.get(i).ok_or_else(|| outside(sigmas.len()))?;
                Ok(Row {
                    argument: i as f64,
                    mean: 1.0,
                    std,
                    output: std,
                    noise: 1.0,
                    image: 0.0,
                    weight: 1.0,
                    class: 0,
                })
            }
            (Self::Ddpm { means, stds }, Level::Label(i)) => {
                let (&mean, &std) = means.get(i).zip(stds.get(i)).ok_or_else(|| outside(means.len()))?;
                Ok(Row {
                    argument: i as f64,
                    mean,
                    std,
                    output: 1.0,
                    noise: -1.0,
                    image: 0.0,
                    weight: 1.0,
                    class: 0,
                })
            }
            (Self::Continuous { .. } | Self::Classification { .. }, Level::Label(_)) => {
                Err(Error::invalid("level", format!("{level:?}"), "this objective takes a time"))
            }
            (Self::Smld { sigmas }, Level::Time(_)) => Err(outside(sigmas.len())),
            (Self::Ddpm { means, .. }, Level::Time(_)) => Err(outside(means.len())),
        }
    }
}

/// Whether what the network predicts holds the image itself, and so the residual does.
fn of_the_image(time: TimeConditioning) -> bool {
    matches!(time, TimeConditioning::Stated { prediction: Prediction::V | Prediction::Data, .. })
}

/// How the answer for an image becomes its loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// The mean of the squared residual over pixels and channels (`training.reduce_mean`).
    Mean,
    /// Half its sum.
    HalfSum,
    /// The cross-entropy of logits and class.
    CrossEntropy,
}

/// The values of a traced loss.
#[derive(Clone, Copy, Debug)]
pub struct LossInputs {
    /// Images, scaled as the network takes them: `n h w c`.
    pub images: Value,
    /// The network's time argument: `n`.
    pub argument: Value,
    /// Factors of image and noise: `n` each.
    marginal: [Value; 2],
    /// Factors of output and noise in the residual: `n` each.
    residual: [Value; 2],
    /// Factor of the image in the residual, where it has one: `n`.
    of_image: Option<Value>,
    /// Weight of each image, and of its gradient: `n` each.
    weight: [Value; 2],
    /// The class of each image, for a classifier: `n`.
    classes: Option<Value>,
}

/// A traced loss.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// The mean loss of the batch: one number.
    pub loss: Value,
    /// What the backward pass begins with: the network's output, or each image's cross-entropy.
    pub output: Value,
    /// The gradient of the loss by it: the seed of the backward pass.
    pub seed: Value,
    /// Of a classifier: the share of the images whose class it found, one number.
    pub accuracy: Option<Value>,
}

impl LossInputs {
    /// The inputs for a batch of `shape` (`n h w c`) and a network that is told about time as `time` says.
    pub fn new(graph: &mut Graph, shape: &Shape, reduction: Reduction, time: TimeConditioning) -> Self {
        let n = shape[0];
        let mut each = |name: &str| graph.input(name, [n]);
        let (argument, marginal) = (each("time argument"), [each("mean"), each("std")]);
        let residual = [each("factor of the output"), each("factor of the noise")];
        let weight = [each("weight"), each("weight of the gradient")];
        let of_image = of_the_image(time).then(|| each("factor of the image"));
        let classes = (reduction == Reduction::CrossEntropy).then(|| graph.input_u32("classes", [n]));
        let images = graph.input("images", shape.clone());
        Self { images, argument, marginal, residual, of_image, weight, classes }
    }

    /// What the network sees: `mean·x + std·z`.
    pub fn perturbed(&self, graph: &mut Graph, z: Value) -> Result<Value> {
        let [mean, std] = self.marginal;
        broadcast::combine_images(graph, &[(self.images, mean, 1.0), (z, std, 1.0)])
    }

    /// The loss of an `output` of the network at [`LossInputs::perturbed`].
    pub fn loss(&self, graph: &mut Graph, output: Value, z: Value) -> Result<Loss> {
        if let Some(classes) = self.classes {
            return self.classification(graph, output, classes);
        }
        let [of_output, of_noise] = self.residual;
        let mut terms = vec![(output, of_output, 1.0), (z, of_noise, 1.0)];
        terms.extend(self.of_image.map(|factor| (self.images, factor, 1.0)));
        let residual = broadcast::combine_images(graph, &terms)?;
        let squares = reduce::sum_squares_images(graph, residual)?;
        let each = elementwise::mul(graph, squares, self.weight[0])?;
        let loss = reduce::sum_all(graph, each)?;
        let seed = broadcast::scale_images(graph, residual, self.weight[1])?;
        Ok(Loss { loss, output, seed, accuracy: None })
    }

    fn classification(&self, graph: &mut Graph, logits: Value, classes: Value) -> Result<Loss> {
        let [weight, seed] = self.weight;
        let losses = cross_entropy(graph, logits, classes)?;
        let each = elementwise::mul(graph, losses, weight)?;
        let loss = reduce::sum_all(graph, each)?;
        let found = correct(graph, logits, classes)?;
        let found = elementwise::mul(graph, found, weight)?;
        let accuracy = Some(reduce::sum_all(graph, found)?);
        Ok(Loss { loss, output: losses, seed, accuracy })
    }

    /// The contents of the input of classes for a batch, where there is one; behind `rows` the batch is padding.
    pub fn classes(&self, rows: &[Row], n: usize) -> Option<(Value, Vec<u32>)> {
        let class = |i: usize| rows.get(i).or(rows.last()).map_or(0, |r| r.class);
        Some((self.classes?, (0..n).map(class).collect()))
    }

    /// The contents of the inputs of `n` numbers for a batch: (value, data). Behind `rows` the batch is padding, which costs nothing.
    /// `batch` is the number of images over which the loss is a mean, `size` the number of elements of one.
    pub fn data(
        &self,
        rows: &[Row],
        n: usize,
        batch: usize,
        size: usize,
        reduction: Reduction,
    ) -> Vec<(Value, Vec<f32>)> {
        let share = match reduction {
            Reduction::Mean => 1.0 / size as f64,
            Reduction::HalfSum => 0.5,
            Reduction::CrossEntropy => 1.0,
        } / batch as f64;
        let of_gradient = |r: &Row| match reduction {
            Reduction::CrossEntropy => r.weight * share,
            Reduction::Mean | Reduction::HalfSum => 2.0 * r.weight * share * r.output,
        };
        let column = |f: &dyn Fn(&Row) -> f64| -> Vec<f32> {
            // Padding repeats the last row, so that the network sees nothing strange.
            (0..n).filter_map(|i| rows.get(i).or(rows.last())).map(|r| f(r) as f32).collect()
        };
        let masked = |f: &dyn Fn(&Row) -> f64| -> Vec<f32> {
            (0..n).map(|i| rows.get(i).map_or(0.0, |r| f(r) as f32)).collect()
        };
        let mut data = vec![
            (self.argument, column(&|r| r.argument)),
            (self.marginal[0], column(&|r| r.mean)),
            (self.marginal[1], column(&|r| r.std)),
            (self.residual[0], column(&|r| r.output)),
            (self.residual[1], column(&|r| r.noise)),
            (self.weight[0], masked(&|r| r.weight * share)),
            (self.weight[1], masked(&of_gradient)),
        ];
        data.extend(self.of_image.map(|value| (value, column(&|r| r.image))));
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::{Ve, Vp};

    #[test]
    fn likelihood_weighting_is_g_squared_over_the_score() {
        let vp: Arc<dyn Sde> = Arc::new(Vp::new(0.1, 20.0, 1000).unwrap());
        let time = TimeConditioning::Continuous;
        let plain = Objective::Continuous { sde: vp.clone(), time, likelihood_weighting: false, t_eps: 1e-5 };
        let weighted =
            Objective::Continuous { sde: vp.clone(), time, likelihood_weighting: true, t_eps: 1e-5 };
        let (a, b) = (plain.row(Level::Time(0.3)).unwrap(), weighted.row(Level::Time(0.3)).unwrap());
        let ratio = (vp.sde(0.3).diffusion / a.std).powi(2);
        assert!((b.weight / a.weight - ratio).abs() < 1e-12);
        // score·std = −output for VP.
        assert!((a.output + 1.0).abs() < 1e-12);
    }

    #[test]
    fn levels_stay_inside() {
        let ve: Arc<dyn Sde> = Arc::new(Ve::new(0.01, 50.0, 10).unwrap());
        let time = TimeConditioning::Continuous;
        let continuous = Objective::Continuous { sde: ve, time, likelihood_weighting: false, t_eps: 1e-5 };
        let table = Objective::Smld { sigmas: vec![3.0, 2.0, 1.0] };
        let mut seen = [false; 3];
        let mut stream = Stream::new(0, 0, 0);
        for _ in 0..200 {
            let Level::Time(t) = continuous.draw(&mut stream) else { panic!("a label") };
            assert!((1e-5..=1.0).contains(&t));
            let Level::Label(i) = table.draw(&mut stream) else { panic!("a time") };
            seen[i] = true;
        }
        assert_eq!(seen, [true; 3]);
        assert!(table.row(Level::Label(3)).is_err() && table.row(Level::Time(0.5)).is_err());
        assert!(continuous.row(Level::Label(0)).is_err());
    }
}
