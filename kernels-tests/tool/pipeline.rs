//! The library's builders beside the tool, and what only a program can bring: networks of every prediction, an SDE.

use std::fs;
use std::sync::Arc;

use langevin::data::{Dataset, Preprocess};
use langevin::gpu::Gpu;
use langevin::graph::Value;
use langevin::models::Network;
use langevin::models::config::{Config, ModelName};
use langevin::nn::{Manifest, Param, Trace};
use langevin::ops::broadcast::scale_images;
use langevin::ops::elementwise::{add, mul, scale};
use langevin::ops::reciprocal::reciprocal;
use langevin::pipeline::{Images, Mask, Pretrained, Stop, Training};
use langevin::sampling::solvers::{AdaptiveOde, DpmSolverPp, PredictorCorrector};
use langevin::sde::{
    Coefficients, Conditioning, LinearStep, Marginal, Prediction, Sde, TimeArgument, TimeConditioning, Ve,
};

use super::run_in;

#[test]
fn the_tool_and_the_library_draw_the_same_bits() {
    let at = tempfile::tempdir().unwrap();
    let gpu = Gpu::open_default().unwrap();
    let model = Pretrained::embedded().load(&gpu).unwrap();
    let images = model.sampler(DpmSolverPp::steps(5)).seeds(3..6).draw().unwrap();
    images.save(at.path().join("library.safetensors")).unwrap();
    images.grid().unwrap().save(at.path().join("library.png")).unwrap();
    for out in ["tool.safetensors", "tool.png"] {
        let ran = run_in(at.path(), &["sample", "--steps", "5", "--seeds", "3-5", "--out", out]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let tensor = |name: &str| {
        let bytes = fs::read(at.path().join(name)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.tensor("x").unwrap().data().to_vec()
    };
    assert!(tensor("tool.safetensors") == tensor("library.safetensors"), "the numbers differ");
    let pixels = |name: &str| image::open(at.path().join(name)).unwrap().into_bytes();
    assert!(pixels("tool.png") == pixels("library.png"), "the pixels differ");
}

/// The exact network of data N(0, `S`²) under VE: every prediction follows from E[x_0 | x] = S² x / (S² + σ²).
#[derive(Debug)]
struct Gaussian {
    manifest: Manifest,
    one: Param,
    prediction: Prediction,
}

const S: f64 = 0.5;

impl Gaussian {
    fn new(prediction: Prediction) -> Self {
        let mut manifest = Manifest::default();
        // A network without any parameter has nothing that could be saved.
        let one = manifest.root().declare("one", &[1], langevin::nn::Init::Constant(1.0));
        Self { manifest, one, prediction }
    }
}

impl Network for Gaussian {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn forward(&self, trace: &mut Trace<'_>, x: Value, std: Value) -> langevin::Result<Value> {
        trace.param(&self.one)?;
        let g = &mut *trace.graph;
        let n = g.shape(std)[0];
        let variance = g.constant("variance of the data", [n], &vec![(S * S) as f32; n]);
        let noise = mul(g, std, std)?;
        let both = add(g, noise, variance)?;
        let inverse = reciprocal(g, both, f32::MIN_POSITIVE)?;
        // The factor of x in E[x_0 | x], the score, E[z | x] and E[v | x] = E[z | x] - std E[x_0 | x].
        let factor = match self.prediction {
            Prediction::Data => mul(g, inverse, variance)?,
            Prediction::Score => scale(g, inverse, -1.0)?,
            Prediction::Noise => mul(g, inverse, std)?,
            Prediction::V => {
                let of_noise = mul(g, inverse, std)?;
                let of_data = mul(g, of_noise, variance)?;
                let of_data = scale(g, of_data, -1.0)?;
                add(g, of_noise, of_data)?
            }
        };
        scale_images(g, x, factor)
    }

    fn conditioning(&self) -> TimeConditioning {
        TimeConditioning::Stated { argument: TimeArgument::Std, prediction: self.prediction }
    }
}

fn config(size: usize) -> Config {
    let mut config = Config::of(ModelName::Custom);
    config.data.image_size = size;
    config.data.num_channels = 1;
    config.data.centered = true;
    config
}

#[test]
fn every_prediction_is_the_same_score() {
    let at = tempfile::tempdir().unwrap();
    let gpu = Gpu::open_default().unwrap();
    let file = at.path().join("one.safetensors");
    let one =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &[0, 0, 128, 63]).unwrap();
    fs::write(&file, safetensors::serialize([("one", one)], None).unwrap()).unwrap();
    let mut drawn: Vec<[Images; 3]> = Vec::new();
    for prediction in [Prediction::Score, Prediction::Noise, Prediction::V, Prediction::Data] {
        let network = Gaussian::new(prediction);
        let pretrained = Pretrained::open(&file).unwrap().network(network).config(config(8));
        let model = pretrained.sde(Ve::new(0.01, 10.0, 200).unwrap()).load(&gpu).unwrap();
        let few = model.sampler(DpmSolverPp::steps(12).eta(0.0).clip(None)).seeds(0..4).draw().unwrap();
        let flow = model.sampler(AdaptiveOde::default()).seeds(0..4).draw().unwrap();
        let pc = model.sampler(PredictorCorrector::default().steps(100)).seeds(0..4).draw().unwrap();
        // Data in [-1, 1] of standard deviation S have S/2 in [0, 1].
        let spread = (few.values().iter().map(|v| f64::from(v - 0.5).powi(2)).sum::<f64>()
            / few.values().len() as f64)
            .sqrt();
        assert!((spread - S / 2.0).abs() < 0.05, "{prediction:?}: {spread}");
        drawn.push([few, flow, pc]);
    }
    for others in &drawn[1..] {
        for (i, (a, b)) in drawn[0].iter().zip(others).enumerate() {
            let far = a.values().iter().zip(b.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // A thousand roundings: the data's score divides by variances down to 1e-4.
            assert!(far < 2e-3, "solver {i}: {far} apart");
        }
    }
}

/// VP by another schedule: cos(π t / 2) and sin(π t / 2) for mean and standard deviation (as Nichol and Dhariwal 2021 have it).
#[derive(Debug, Clone)]
struct Cosine {
    n: usize,
}

/// The largest time, where the drift is finite.
const END: f64 = 0.995;

impl Sde for Cosine {
    fn name(&self) -> &'static str {
        "cosine"
    }

    fn n(&self) -> usize {
        self.n
    }

    fn with_n(&self, n: usize) -> langevin::Result<Arc<dyn Sde>> {
        Ok(Arc::new(Self { n }))
    }

    fn default_t_eps(&self) -> f64 {
        1e-3
    }

    fn sde(&self, t: f64) -> Coefficients {
        let angle = std::f64::consts::FRAC_PI_2 * END * t;
        let beta = std::f64::consts::PI * END * angle.tan();
        Coefficients { drift: -0.5 * beta, diffusion: beta.sqrt() }
    }

    fn marginal_prob(&self, t: f64) -> Marginal {
        let angle = std::f64::consts::FRAC_PI_2 * END * t;
        Marginal { mean: angle.cos(), std: angle.sin() }
    }

    fn time_of_noise(&self, ratio: f64) -> f64 {
        ratio.atan() / (std::f64::consts::FRAC_PI_2 * END)
    }

    fn prior_std(&self) -> f64 {
        1.0
    }

    fn ancestral(&self, _: f64) -> Option<LinearStep> {
        None
    }

    fn langevin_alpha(&self, _: f64) -> f64 {
        1.0
    }

    fn conditioning(&self, t: f64, time: TimeConditioning) -> Conditioning {
        let (argument, prediction) = match time {
            TimeConditioning::Stated { argument, prediction } => (argument, prediction),
            _ => (TimeArgument::Time, Prediction::Noise),
        };
        Conditioning::stated(t, self.marginal_prob(t), argument, prediction)
    }
}

/// One weight for each prediction: even that has a loss that falls.
#[derive(Debug)]
struct Weight {
    manifest: Manifest,
    conv: langevin::nn::layers::Conv2d,
    prediction: Prediction,
}

impl Weight {
    fn new(prediction: Prediction) -> Self {
        let mut manifest = Manifest::default();
        let conv = langevin::nn::layers::Conv2d::conv3x3(&mut manifest.root().at("conv"), 1, 1, 1.0);
        Self { manifest, conv, prediction }
    }
}

impl Network for Weight {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn forward(&self, trace: &mut Trace<'_>, x: Value, _: Value) -> langevin::Result<Value> {
        self.conv.forward(trace, x)
    }

    fn conditioning(&self) -> TimeConditioning {
        TimeConditioning::Stated { argument: TimeArgument::LogNoise, prediction: self.prediction }
    }
}

#[test]
fn an_sde_of_another_program_is_trained_and_sampled() {
    let at = tempfile::tempdir().unwrap();
    let gpu = Gpu::open_default().unwrap();
    let pixels: Vec<u8> = (0..32 * 64).map(|i| (i * 31 % 251) as u8).collect();
    let data: Arc<Dataset> =
        Dataset::from_pixels(pixels, Preprocess::new(8, 1).unwrap(), &[], &[]).unwrap().into();
    for prediction in [Prediction::Noise, Prediction::V, Prediction::Data] {
        let folder = at.path().join(format!("{prediction:?}"));
        let mut losses = Vec::new();
        let training = Training::new(&gpu, Weight::new(prediction), Cosine { n: 100 }, Arc::clone(&data));
        let training = training.folder(&folder).batch(16).steps(60).rate(0.05).samples(None);
        let training = training.set("optim.warmup", "0").set("training.log_freq", "10");
        let outcome = training
            .run(|event| {
                if let langevin::training::Event::Logged(figures) = event {
                    losses.push(figures.loss);
                }
            })
            .unwrap();
        assert_eq!(outcome.step, 60);
        assert!(losses.last() < losses.first(), "{prediction:?}: {losses:?}");
        let open = || Pretrained::open(&folder).unwrap().network(Weight::new(prediction));
        let model = open().sde(Cosine { n: 100 }).load(&gpu).unwrap();
        let images = model.sampler(DpmSolverPp::steps(10)).seeds(0..2).draw().unwrap();
        assert!(images.values().iter().all(|v| v.is_finite()));
        // The file says that the SDE is somebody's own, and nobody guesses one.
        let alone = open().load(&gpu).and_then(|model| model.sampler(DpmSolverPp::steps(2)).draw());
        assert!(alone.unwrap_err().to_string().contains("another program"));
    }
}

#[test]
fn bad_input_is_told_without_flags() {
    let gpu = Gpu::open_default().unwrap();
    let model = Pretrained::embedded().load(&gpu).unwrap();
    let small = Images::from_nhwc([1, 8, 8, 1], vec![0.5; 64]).unwrap();
    let right = Images::from_nhwc([1, 32, 32, 1], vec![0.5; 1024]).unwrap();
    let nothing = Mask::new([32, 32], vec![false; 1024]).unwrap();
    let none = Images::from_nhwc([0, 32, 32, 1], Vec::new()).unwrap();
    let errors = [
        Pretrained::open("no/such.pth").unwrap_err(),
        Pretrained::embedded().preset("ve/cifar10").load(&gpu).unwrap_err(),
        Pretrained::embedded().set("model.nf", "many").load(&gpu).unwrap_err(),
        model.sampler(DpmSolverPp::steps(0)).draw().unwrap_err(),
        model.sampler(DpmSolverPp::steps(5).eta(2.0)).draw().unwrap_err(),
        model.sampler(DpmSolverPp::steps(5)).batch(0).draw().unwrap_err(),
        model.sampler(PredictorCorrector::default().snr(f64::NAN).steps(5)).draw().unwrap_err(),
        model.flow().encode(&small).unwrap_err(),
        model.flow().tolerance(0.0, 0.0).encode(&right).unwrap_err(),
        model.flow().t_eps(1.5).encode(&right).unwrap_err(),
        model.likelihood().of(&small).unwrap_err(),
        model.likelihood().of(&none).unwrap_err(),
        model.likelihood().repeats(0).of(&right).unwrap_err(),
        model.inpaint(&right, &nothing).unwrap_err(),
        model.inpaint(&right, &Mask::named("left", [8, 8]).unwrap()).unwrap_err(),
        model.colorize(&right).unwrap_err(),
        Mask::named("lefd", [8, 8]).unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(!text.contains("--") && text.len() > 10, "{text}");
    }
    assert!(model.sampler(DpmSolverPp::steps(5)).seeds([]).draw().unwrap().is_empty());
    let stop = Stop::new();
    stop.stop();
    assert!(model.sampler(DpmSolverPp::steps(5)).until(&stop).draw().unwrap().is_empty());
}
