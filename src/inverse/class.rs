//! Class-conditional sampling with an unconditional model: ∇ₓ log p(x | y) = ∇ₓ log p(x) + ∇ₓ log p(y | x), where the second term
//! is the gradient of a classifier that was trained on noisy images (equation 14 and appendix I.1 of Song et al. 2021).
//!
//! Score, classifier and its gradient are ops of one graph, so a guided step is one plan like any other.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, ParameterLayout, ParameterSet, Resources, Shape, Value};
use crate::ops::elementwise::{combine, sub};
use crate::ops::softmax::softmax;
use crate::score::{At, NetworkModel, ScoreFn};

/// The parameter set that holds what is wished for, so that it can change between runs of one plan.
const SET: &str = "classes";
/// Its one tensor, `n classes`.
const TARGETS: &str = "targets";

/// The score of an unconditional model plus the gradient of a classifier.
#[derive(Clone, Copy, Debug)]
pub struct GuidedScore<'a> {
    /// The unconditional score.
    pub score: &'a dyn ScoreFn,
    /// Logits, `n classes`, of an image and the standard deviation of its noise.
    pub classifier: NetworkModel<'a>,
    /// The factor of the classifier's gradient: 1 is Bayes' rule, more sharpens p(y | x) (Dhariwal and Nichol 2021, section 4.3).
    pub guidance: f64,
}

impl GuidedScore<'_> {
    /// ∇ₓ log p(label | x, std(t)) for the labels in [`Classes`], without the factor: `n h w c`.
    ///
    /// # Errors
    /// What the classifier's ops say of their shapes; [`Error::Shape`] when its output is no `n classes`.
    pub fn gradient(&self, graph: &mut Graph, x: Value, at: At) -> Result<Value> {
        let std = at.std(graph)?;
        let logits = self.classifier.output(graph, x, std)?;
        let &[n, classes] = graph.shape(logits).dims() else {
            let problem = format!("a classifier's output of {}", graph.shape(logits));
            return Err(Error::shape("guidance", problem, "give n images and n x classes logits"));
        };
        let targets = graph.parameter(SET, TARGETS, [n, classes])?;
        // The gradient of log softmax(logits)[label] by the logits.
        let probabilities = softmax(graph, logits)?;
        let seed = sub(graph, targets, probabilities)?;
        let gradients = graph.backward(&[(logits, seed)], &[x])?;
        gradients.first().copied().flatten().ok_or_else(|| {
            Error::shape(
                "guidance",
                "the classifier's output does not depend on the image",
                "use another classifier",
            )
        })
    }
}

impl ScoreFn for GuidedScore<'_> {
    fn score(&self, graph: &mut Graph, x: Value, at: At) -> Result<Value> {
        let score = self.score.score(graph, x, at)?;
        let gradient = graph.scoped("guidance", |g| self.gradient(g, x, at))?;
        combine(graph, &[(score, 1.0), (gradient, self.guidance as f32)])
    }
}

/// The classes wished for, on a device: one for each image of a batch.
#[derive(Clone, Debug)]
pub struct Classes {
    set: ParameterSet,
    n: usize,
    classes: usize,
}

impl Classes {
    /// Room for a batch of `n` images and a classifier of `classes` classes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when one of them is 0; [`Error::Limit`], [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, n: usize, classes: usize) -> Result<Self> {
        if n == 0 || classes == 0 {
            return Err(Error::invalid(
                "classes",
                format!("{n} x {classes}"),
                "give at least one image and one class",
            ));
        }
        let shape = Shape::from([n, classes]);
        let layout = ParameterLayout::new([(TARGETS, shape)], gpu.capabilities().max_binding)?;
        Ok(Self { set: ParameterSet::zeros(gpu, SET, &Arc::new(layout))?, n, classes })
    }

    /// Asks for `labels`, one for each image; where they are fewer, the last one counts for the rest.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no label, for more than images, and for one that is no class.
    pub fn write(&self, labels: &[usize]) -> Result<()> {
        if labels.is_empty() || labels.len() > self.n {
            let problem = format!("the plan is for 1 to {}", self.n);
            return Err(Error::invalid("labels", labels.len(), problem));
        }
        if let Some(label) = labels.iter().find(|&&label| label >= self.classes) {
            let problem = format!("the classifier has the classes 0 to {}", self.classes - 1);
            return Err(Error::invalid("label", label, problem));
        }
        let mut targets = vec![0.0; self.n * self.classes];
        for i in 0..self.n {
            targets[i * self.classes + labels[i.min(labels.len() - 1)]] = 1.0;
        }
        self.set.write(TARGETS, &targets)
    }

    /// Adds them to what a plan needs.
    pub fn resources(&self, others: Resources) -> Resources {
        others.set(SET, &self.set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;
    use crate::graph::{Choice, Draft, DraftOptions};
    use crate::models::Network;
    use crate::nn::{Manifest, Trace};
    use crate::ops::broadcast::scale_images;
    use crate::ops::conv2d::{Epilogue, linear};
    use crate::ops::elementwise::{add, copy_as, mul, scale};
    use crate::ops::lookup::Table;
    use crate::ops::reciprocal::reciprocal;
    use crate::sampling::run::{ImageSeed, Method, SamplerDraft};
    use crate::sampling::solvers::Heun;
    use crate::sde::{TimeConditioning, Ve};

    const PIXELS: usize = 4;

    /// The exact score of data N(0, 1) under VE: −x/(1 + σ²).
    #[derive(Debug)]
    struct Unit;

    impl ScoreFn for Unit {
        fn score(&self, graph: &mut Graph, x: Value, at: At) -> Result<Value> {
            let std = at.std(graph)?;
            let n = graph.shape(x)[0];
            let one = graph.constant("one", [n], &vec![1.0; n]);
            let variance = mul(graph, std, std)?;
            let variance = add(graph, variance, one)?;
            let factor = reciprocal(graph, variance, 0.5)?;
            let x = scale_images(graph, x, factor)?;
            scale(graph, x, -1.0)
        }
    }

    /// Two classes whose logits are linear in the pixels: ± their sum.
    #[derive(Debug, Default)]
    struct Sides(Manifest);

    impl Network for Sides {
        fn manifest(&self) -> &Manifest {
            &self.0
        }

        fn forward(&self, trace: &mut Trace<'_>, x: Value, _: Value) -> Result<Value> {
            let graph = &mut *trace.graph;
            let n = graph.shape(x)[0];
            let flat = copy_as(graph, x, [n, PIXELS])?;
            let signs: Vec<f32> = (0..PIXELS).flat_map(|_| [1.0, -1.0]).collect();
            let signs = graph.constant("signs", [PIXELS, 2], &signs);
            linear(graph, flat, signs, true, Epilogue::default())
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_logarithmic_probability() {
        let gpu = Gpu::open(&Options::default()).unwrap();
        let mut graph = Graph::new();
        let table = Table::new(&mut graph, "times", 1, At::COLUMNS);
        let x = graph.input("x", [2, 2, 2, 1]);
        let sides = Sides::default();
        let guided = GuidedScore { score: &Unit, classifier: NetworkModel::second(&sides), guidance: 1.0 };
        let gradient = guided.gradient(&mut graph, x, At { table, n: 2 }).unwrap();
        let draft = Draft::new(&graph, &[gradient], gpu.capabilities(), DraftOptions::default()).unwrap();
        let classes = Classes::new(&gpu, 2, 2).unwrap();
        classes.write(&[0, 1]).unwrap();
        let mut plan = draft.build(&gpu, classes.resources(Resources::new())).unwrap();
        let pixels = [0.1, -0.3, 0.4, 0.2, 0.5, 0.1, -0.2, 0.3];
        plan.write(x, &pixels).unwrap();
        plan.run().unwrap();
        let got = plan.read(gradient).unwrap();
        for (image, sign) in [(0, 1.0), (1, -1.0)] {
            let sum: f64 = pixels[4 * image..4 * image + 4].iter().map(|&v| f64::from(v)).sum();
            // log p = −ln(1 + e^{∓2 sum}), so that its derivative by a pixel is ±2/(1 + e^{±2 sum}).
            let expected = sign * 2.0 / (1.0 + (2.0 * sign * sum).exp());
            for &value in &got[4 * image..4 * image + 4] {
                assert!((f64::from(value) - expected).abs() < 1e-5, "{value} {expected}");
            }
        }
        assert!(
            classes.write(&[2]).is_err() && classes.write(&[]).is_err() && classes.write(&[0; 3]).is_err()
        );
    }

    /// One plan samples either class; more guidance moves further.
    #[test]
    fn samples_fall_on_the_side_of_their_class() {
        let gpu = Gpu::open(&Options::default()).unwrap();
        let ve = Ve::new(0.01, 10.0, 100).unwrap();
        let table = Heun::steps(20).table(&ve, TimeConditioning::Continuous).unwrap();
        let n = 16;
        let images: Vec<ImageSeed> = (0..n as u64).map(|seed| ImageSeed { seed, image: 0 }).collect();
        let mut means = Vec::new();
        for guidance in [0.0, 1.0, 4.0] {
            let sides = Sides::default();
            let guided = GuidedScore { score: &Unit, classifier: NetworkModel::second(&sides), guidance };
            let method = Method::Solver(&table);
            let draft = SamplerDraft::new(&gpu, &guided, method, [n, 2, 2, 1], Choice::Written).unwrap();
            let classes = Classes::new(&gpu, n, 2).unwrap();
            let mut sampler = draft.build(&gpu, classes.resources(Resources::new())).unwrap();
            for label in [0, 1] {
                classes.write(&[label]).unwrap();
                let x = sampler.run(&images, &mut |_| true).unwrap().unwrap();
                means.push(f64::from(x.iter().sum::<f32>()) / x.len() as f64);
            }
        }
        // Without guidance the label plays no part.
        assert!((means[0] - means[1]).abs() < 1e-6, "{means:?}");
        assert!(means[2] > means[0] + 0.1 && means[3] < means[0] - 0.1, "{means:?}");
        assert!(means[4] > means[2] + 0.1 && means[5] < means[3] - 0.1, "{means:?}");
    }
}
