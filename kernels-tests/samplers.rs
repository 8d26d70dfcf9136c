//! Samplers without a network: on Gaussian data the score is linear in x, and so the moments of every sampler's result are
//! known exactly from a recursion in f64.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use langevin::Result;
use langevin::graph::{Choice, Graph, Resources, Value};
use langevin::likelihood::{likelihood, likelihood_async};
use langevin::ops::broadcast::{add_images, combine_images, scale_images};
use langevin::ops::elementwise::{combine, mul};
use langevin::ops::lookup::{Table, column};
use langevin::ops::reciprocal::reciprocal;
use langevin::ops::sampler_step::Norm;
use langevin::sampling::coefficients::{Corrector, PcOptions, PcTable, Predictor};
use langevin::sampling::flow::{FlowOptions, decode, decode_async};
use langevin::sampling::moments::{GaussianData, Moments};

use langevin::sampling::ode::OdeDraft;
use langevin::sampling::prior::{Probe, prior, prior_async, probe, probe_async};
use langevin::sampling::run::{ImageSeed, Method, SamplerDraft};
use langevin::sampling::runge_kutta::{Tableau, Tolerance};
use langevin::sampling::solvers::{BOSH3, Ddim, DpmSolverPp, Heun, RK45, TSIT5};
use langevin::score::{At, ScoreFn};
use langevin::sde::{Marginal, Sde, SubVp, TimeConditioning, Ve, Vp};

use crate::harness;

const DATA: GaussianData = GaussianData { mean: 0.3, variance: 0.25 };

/// Ten images of 1,024 elements: 10,240 samples, each independent of the others.
const SHAPE: [usize; 4] = [10, 32, 32, 1];

/// The score of [`DATA`], with its slope and offset for each row of the sampler's table.
#[derive(Debug)]
struct GaussianScore {
    rows: Vec<f32>,
}

impl GaussianScore {
    fn new(marginals: impl Iterator<Item = Marginal>) -> Self {
        let pair = |m| {
            let (slope, offset) = DATA.score(m);
            [slope as f32, offset as f32]
        };
        Self { rows: marginals.flat_map(pair).collect() }
    }
}

impl ScoreFn for GaussianScore {
    fn score(&self, graph: &mut Graph, x: Value, at: At) -> Result<Value> {
        let rows = graph.constant("gaussian score", [self.rows.len() / 2, 2], &self.rows);
        let table = Table { rows, ..at.table };
        let (slope, offset) = (column(graph, table, 0, at.n)?, column(graph, table, 1, at.n)?);
        let scaled = scale_images(graph, x, slope)?;
        add_images(graph, scaled, offset)
    }
}

fn sdes(n: usize) -> [Arc<dyn Sde>; 3] {
    [
        Arc::new(Ve::new(0.01, 50.0, n).unwrap()),
        Arc::new(Vp::new(0.1, 20.0, n).unwrap()),
        Arc::new(SubVp::new(0.1, 20.0, n).unwrap()),
    ]
}

/// Fails unless mean and variance lie within four standard errors of `expected`.
fn assert_moments(name: &str, samples: &[f32], expected: Moments) {
    let n = samples.len() as f64;
    let mean = samples.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = samples.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let errors = [(expected.variance / n).sqrt(), expected.variance * (2.0 / n).sqrt()];
    for (what, got, expected, error) in
        [("mean", mean, expected.mean, errors[0]), ("variance", variance, expected.variance, errors[1])]
    {
        assert!((got - expected).abs() < 4.0 * error, "{name}: {what} {got}, exactly {expected} ± {error}");
    }
}

fn samples(score: &dyn ScoreFn, method: Method<'_>, seed: u64) -> Option<Vec<f32>> {
    let gpu = harness::device()?;
    let draft = SamplerDraft::new(gpu, score, method, SHAPE, Choice::Written).unwrap();
    let mut sampler = draft.build(gpu, Resources::new()).unwrap();
    let images: Vec<ImageSeed> = (0..SHAPE[0]).map(|i| ImageSeed { seed, image: i as u32 }).collect();
    sampler.run(&images, &mut |_| true).unwrap()
}

/// Fails unless the samples of every defined pair have the moments of their recursion.
fn compare_pairs(time: TimeConditioning, n_steps_each: usize, probability_flow: bool) {
    let mut pairs = 0;
    // Enough steps for VP's chain, whose β_max/N must stay below 1.
    for (s, sde) in sdes(60).into_iter().enumerate() {
        for (p, predictor) in Predictor::ALL.into_iter().enumerate() {
            for (c, corrector) in Corrector::ALL.into_iter().enumerate() {
                let options = PcOptions {
                    time,
                    predictor,
                    corrector,
                    snr: 0.16,
                    n_steps_each,
                    probability_flow,
                    denoise: !probability_flow,
                    t_eps: sde.default_t_eps(),
                    sde: sde.clone(),
                };
                // Ancestral sampling is not defined for sub-VP, nor for the probability flow.
                let Ok(table) = PcTable::new(&options) else { continue };
                let d = SHAPE[1..].iter().product();
                let expected = table.moments(DATA, Moments::prior(table.prior_std), d);
                let score = GaussianScore::new(table.rows.iter().map(|r| r.marginal));
                let method = Method::Pc { table: &table, norm: Norm::Batch, constraint: None };
                let seed = (s * 100 + p * 10 + c + 1000 * n_steps_each) as u64;
                let Some(samples) = samples(&score, method, seed) else { return };
                let name = format!("{} {predictor} {corrector}, {n_steps_each} steps", sde.name());
                assert_moments(&name, &samples, expected);
                pairs += 1;
            }
        }
    }
    assert_eq!(pairs, if probability_flow { 3 * 9 } else { 3 * 12 - 3 });
}

#[test]
fn predictors_and_correctors_have_the_moments_of_their_recursion() {
    compare_pairs(TimeConditioning::Continuous, 1, false);
}

#[test]
fn several_corrector_steps_and_discrete_times_have_the_moments_of_their_recursion() {
    compare_pairs(TimeConditioning::Discrete { levels: 60 }, 3, false);
}

#[test]
fn probability_flow_predictors_have_the_moments_of_their_recursion() {
    compare_pairs(TimeConditioning::Continuous, 2, true);
}

/// The score of data N(0, s²) as a function of σ(t): −x over s²·α² + σ², where α² is 1 for VE, 1 − σ² for VP and 1 − σ for
/// sub-VP.
#[derive(Debug)]
struct FlowScore {
    /// The variance of x_t: the first, and what σ and σ² are multiplied by.
    variance: [f32; 3],
}

impl ScoreFn for FlowScore {
    fn score(&self, graph: &mut Graph, x: Value, at: At) -> Result<Value> {
        let [constant, linear, square] = self.variance;
        let std = at.std(graph)?;
        let squared = mul(graph, std, std)?;
        let one = graph.constant("one", [at.n], &vec![1.0; at.n]);
        let variance = combine(graph, &[(one, constant), (std, linear), (squared, square)])?;
        let inverse = reciprocal(graph, variance, f32::MIN_POSITIVE)?;
        combine_images(graph, &[(x, inverse, -1.0)])
    }
}

/// The divergence of a field that scales x is exact with a probe of ±1, and the density of the data is known: bits per
/// dimension come out as those of N(0, s²) but for what the prior and t_eps leave out.
#[test]
fn bits_per_dimension_of_gaussian_data_are_exact() {
    let Some(gpu) = harness::device() else { return };
    const S2: f64 = 0.25;
    let shape = [3, 8, 8, 3];
    let (n, d) = (shape[0], 192);
    let images: Vec<ImageSeed> = (0..n as u32).map(|image| ImageSeed { seed: 3, image }).collect();
    let data = prior(gpu, &images, [8, 8, 3], S2.sqrt()).unwrap();
    let probe = probe(gpu, &images, [8, 8, 3], Probe::Rademacher, 0).unwrap();
    let s2 = S2 as f32;
    let variances = [[s2, 0.0, 1.0], [s2, 0.0, 1.0 - s2], [s2, -s2, 1.0]];
    for (sde, variance) in sdes(1000).into_iter().zip(variances) {
        for centered in [false, true] {
            let draft = OdeDraft::new(gpu, &FlowScore { variance }, shape, true, Choice::Written).unwrap();
            let mut ode = draft.build(gpu, Resources::new(), &sde, TimeConditioning::Continuous).unwrap();
            ode.set_probe(&probe).unwrap();
            ode.set(&data).unwrap();
            let tolerance = Tolerance::new(1e-5, 1e-5).unwrap();
            let options = FlowOptions { t_eps: 1e-5, tolerance, norm: Norm::Batch, method: &RK45 };
            let got = likelihood(&mut ode, options, centered, &mut |_| true).unwrap().unwrap();
            for (image, bits) in data.chunks(d).zip(&got.bits_per_dim) {
                let squares: f64 = image.iter().map(|&v| f64::from(v).powi(2)).sum();
                let logp = -0.5 * (squares / S2 + d as f64 * (std::f64::consts::TAU * S2).ln());
                let offset = if centered { 7.0 } else { 8.0 };
                let exact = -logp / (d as f64 * std::f64::consts::LN_2) + offset;
                assert!((bits - exact).abs() < 1e-3, "{}: {bits}, exactly {exact}", sde.name());
            }
        }
    }
}

/// The plan is for a whole batch; a smaller one must not feel the images that fill it.
#[test]
fn norms_of_a_smaller_batch_leave_out_the_padding() {
    let Some(gpu) = harness::device() else { return };
    let sde = sdes(60).into_iter().next().unwrap();
    let options = PcOptions {
        time: TimeConditioning::Continuous,
        predictor: Predictor::ReverseDiffusion,
        corrector: Corrector::Langevin,
        snr: 0.16,
        n_steps_each: 1,
        probability_flow: false,
        denoise: true,
        t_eps: sde.default_t_eps(),
        sde,
    };
    let table = PcTable::new(&options).unwrap();
    let score = GaussianScore::new(table.rows.iter().map(|r| r.marginal));
    let images: Vec<ImageSeed> = (0..3).map(|image| ImageSeed { seed: 5, image }).collect();
    let drawn = |n: usize, images: &[ImageSeed]| {
        let method = Method::Pc { table: &table, norm: Norm::Batch, constraint: None };
        let draft = SamplerDraft::new(gpu, &score, method, [n, 8, 8, 3], Choice::Written).unwrap();
        let mut sampler = draft.build(gpu, Resources::new()).unwrap();
        // A whole batch before, whose marks must not stay.
        let whole: Vec<ImageSeed> = (0..n as u32).map(|image| ImageSeed { seed: 6, image }).collect();
        sampler.run(&whole, &mut |_| true).unwrap();
        sampler.run(images, &mut |_| true).unwrap().unwrap()
    };
    let alone = drawn(3, &images);
    assert_eq!(drawn(4, &images), alone);
    assert_eq!(drawn(7, &images), alone);
    assert_ne!(drawn(4, &images[..2]), alone[..2 * 192], "the third image counts where it is there");
}

/// (−x + 3/(1 + x²))/std²: no Gaussian's, so that images differ in the steps that they want.
#[derive(Debug)]
struct Rough;

impl ScoreFn for Rough {
    fn score(&self, graph: &mut Graph, x: Value, at: At) -> Result<Value> {
        let std = at.std(graph)?;
        let squared = mul(graph, std, std)?;
        let inverse = reciprocal(graph, squared, f32::MIN_POSITIVE)?;
        let shape = graph.shape(x).clone();
        let one = graph.constant("one", shape.clone(), &vec![1.0; shape.elements()]);
        let square = mul(graph, x, x)?;
        let bound = combine(graph, &[(one, 1.0), (square, 1.0)])?;
        let bent = reciprocal(graph, bound, f32::MIN_POSITIVE)?;
        combine_images(graph, &[(x, inverse, -1.0), (bent, inverse, 3.0)])
    }
}

/// By the ODE too, image i of a seed has the same bits in every batch, for each image takes steps of its own.
#[test]
fn an_image_by_the_ode_does_not_depend_on_its_batch() {
    let Some(gpu) = harness::device() else { return };
    let hwc = [4, 4, 3];
    for sde in sdes(1000) {
        let draw = |images: &[u32], tolerance: f64, norm: Norm| {
            let shape = [images.len(), 4, 4, 3];
            let draft = OdeDraft::new(gpu, &Rough, shape, false, Choice::Written).unwrap();
            let mut ode = draft.build(gpu, Resources::new(), &sde, TimeConditioning::Continuous).unwrap();
            let images: Vec<ImageSeed> = images.iter().map(|&image| ImageSeed { seed: 8, image }).collect();
            let mut z = prior(gpu, &images, hwc, sde.prior_std()).unwrap();
            // Latents of different sizes want different steps.
            z.chunks_mut(48)
                .zip(&images)
                .for_each(|(z, i)| z.iter_mut().for_each(|v| *v *= (1 + 3 * i.image) as f32));
            let tolerance = Tolerance::new(tolerance, tolerance).unwrap();
            let options = FlowOptions { t_eps: 1e-3, tolerance, norm, method: &RK45 };
            decode(&mut ode, &z, options, false, &mut |_| true).unwrap().unwrap()
        };
        let bits = |x: &[f32]| -> Vec<u32> { x.iter().map(|v| v.to_bits()).collect() };
        let all = draw(&[0, 1, 2], 1e-2, Norm::Image);
        let (pair, alone) = (draw(&[2, 0], 1e-2, Norm::Image), draw(&[1], 1e-2, Norm::Image));
        assert_eq!(bits(&pair.x), bits(&[&all.x[96..], &all.x[..48]].concat()), "{}", sde.name());
        assert_eq!(bits(&alone.x), bits(&all.x[48..96]), "{}", sde.name());
        assert!(alone.nfe <= all.nfe, "the batch goes on as long as its slowest image");
        // Alone, an image's norm is the batch's.
        assert_eq!(bits(&draw(&[1], 1e-2, Norm::Batch).x), bits(&alone.x));
        assert_ne!(bits(&draw(&[0, 1, 2], 1e-2, Norm::Batch).x), bits(&all.x));
        // Both forms tend to the same flow.
        let (own, batch) = (draw(&[0, 1, 2], 1e-5, Norm::Image).x, draw(&[0, 1, 2], 1e-5, Norm::Batch).x);
        let worst = own.iter().zip(&batch).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let largest = batch.iter().map(|v| v.abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3 * largest, "{}: {worst} of {largest}", sde.name());
    }
}

/// Runs `work` as a program's own executor does, which blocks no thread of the library.
fn awaited<T>(work: impl Future<Output = T>) -> T {
    struct Wakes(std::thread::Thread);
    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Wakes(std::thread::current())));
    let mut work = pin!(work);
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// What a program awaits has the bits of what one waits for.
#[test]
fn the_flow_and_the_likelihood_can_be_awaited() {
    let Some(gpu) = harness::device() else { return };
    let (hwc, shape) = ([4, 4, 1], [2, 4, 4, 1]);
    let sde = &sdes(1000)[1];
    let images: Vec<ImageSeed> = (0..2).map(|image| ImageSeed { seed: 9, image }).collect();
    let score = FlowScore { variance: [0.25, 0.0, 0.75] };
    let draft = OdeDraft::new(gpu, &score, shape, true, Choice::Written).unwrap();
    let tolerance = Tolerance::new(1e-3, 1e-3).unwrap();
    let options = FlowOptions { t_eps: 1e-3, tolerance, norm: Norm::Image, method: &RK45 };
    let time = TimeConditioning::Continuous;
    let eps = awaited(probe_async(gpu, &images, hwc, Probe::Rademacher, 0)).unwrap();
    assert_eq!(eps, probe(gpu, &images, hwc, Probe::Rademacher, 0).unwrap());
    let z = awaited(prior_async(gpu, &images, hwc, 1.0)).unwrap();
    assert_eq!(z, prior(gpu, &images, hwc, 1.0).unwrap());
    let mut ode = awaited(draft.build_async(gpu, Resources::new(), sde, time)).unwrap();
    ode.set_probe(&eps).unwrap();
    let x = awaited(decode_async(&mut ode, &z, options, true, |_| true)).unwrap().unwrap();
    assert_eq!(x, decode(&mut ode, &z, options, true, &mut |_| true).unwrap().unwrap());
    ode.set(&x.x).unwrap();
    let bits = awaited(likelihood_async(&mut ode, options, true, |_| true)).unwrap().unwrap();
    ode.set(&x.x).unwrap();
    assert_eq!(bits, likelihood(&mut ode, options, true, &mut |_| true).unwrap().unwrap());
    assert!(awaited(decode_async(&mut ode, &z, options, true, |_| false)).unwrap().is_none());
}

/// The flow of data N(0, s²) is known: x scales with the standard deviation of x_t. Every adaptive method follows it, those with
/// fewer slopes too.
#[test]
fn adaptive_methods_follow_the_flow() {
    const S2: f32 = 0.25;
    let Some(gpu) = harness::device() else { return };
    let (sde, tolerance) = (&sdes(1000)[1], Tolerance::new(1e-6, 1e-6).unwrap());
    let (time, t_eps) = (TimeConditioning::Continuous, 1e-3);
    let score = FlowScore { variance: [S2, 0.0, 1.0 - S2] };
    let draft = OdeDraft::new(gpu, &score, [2, 4, 4, 1], false, Choice::Written).unwrap();
    let mut ode = draft.build(gpu, Resources::new(), sde, time).unwrap();
    let z: Vec<f32> = (0..32).map(|i| (i as f32 - 15.5) / 8.0).collect();
    let data = GaussianData { mean: 0.0, variance: S2.into() };
    let variance = |t| data.marginal(sde.marginal_prob(t)).variance;
    let grows = (variance(t_eps) / variance(1.0)).sqrt();
    for method in [&RK45, &BOSH3, &TSIT5] {
        let options = FlowOptions { t_eps, tolerance, norm: Norm::Image, method };
        let end = decode(&mut ode, &z, options, false, &mut |_| true).unwrap().unwrap();
        for (z, x) in z.iter().zip(end.x) {
            let exact = f64::from(*z) * grows;
            assert!((f64::from(x) - exact).abs() < 1e-3, "{}: {x} {exact}", method.name);
        }
    }
    const NONE: &[f64] = &[];
    const LARGE: Tableau =
        Tableau { name: "large", a: &[NONE; 8], b: &[0.125; 8], c: &[0.0; 8], e: &[0.0; 9], ..RK45 };
    let options = FlowOptions { t_eps, tolerance, norm: Norm::Image, method: &LARGE };
    let error = decode(&mut ode, &z, options, false, &mut |_| true).unwrap_err().to_string();
    assert!(error.contains("9 slopes"), "{error}");
}

#[test]
fn few_step_solvers_have_the_moments_of_their_recursion() {
    for (s, sde) in sdes(1000).into_iter().enumerate() {
        let (sde_, time) = (sde.as_ref(), TimeConditioning::Continuous);
        let tables = [
            ("heun", Heun::steps(12).table(sde_, time)),
            ("dpmpp, the flow", DpmSolverPp::steps(12).eta(0.0).clip(None).table(sde_, time)),
            ("dpmpp", DpmSolverPp::steps(12).clip(None).table(sde_, time)),
            ("ddim", Ddim::steps(12).clip(None).table(sde_, time)),
            ("ddim, ancestral", Ddim::steps(12).eta(1.0).clip(None).table(sde_, time)),
        ];
        for (k, (solver, table)) in tables.into_iter().enumerate() {
            let table = table.unwrap();
            let expected = table.moments(sde.as_ref(), DATA, Moments::prior(table.prior_std));
            let score = GaussianScore::new(table.rows.iter().map(|r| sde.marginal_prob(r.t)));
            let Some(samples) = samples(&score, Method::Solver(&table), (s * 10 + k) as u64) else { return };
            assert_moments(&format!("{} {solver}", sde.name()), &samples, expected);
        }
    }
}

/// Image i of a seed has the same bits in a full batch, in a smaller one, and at another place of it.
#[test]
fn an_image_of_a_seed_does_not_depend_on_its_batch() {
    let Some(gpu) = harness::device() else { return };
    let sde: Arc<dyn Sde> = Arc::new(Ve::new(0.01, 50.0, 12).unwrap());
    let options = PcOptions {
        time: TimeConditioning::Continuous,
        predictor: Predictor::ReverseDiffusion,
        corrector: Corrector::Langevin,
        snr: 0.16,
        n_steps_each: 1,
        probability_flow: false,
        denoise: true,
        t_eps: sde.default_t_eps(),
        sde: sde.clone(),
    };
    let table = PcTable::new(&options).unwrap();
    let score = GaussianScore::new(table.rows.iter().map(|r| r.marginal));
    let method = Method::Pc { table: &table, norm: Norm::Image, constraint: None };
    let run = |n: usize, images: &[u32]| -> Vec<Vec<u32>> {
        let draft = SamplerDraft::new(gpu, &score, method, [n, 5, 7, 3], Choice::Written).unwrap();
        let mut sampler = draft.build(gpu, Resources::new()).unwrap();
        let images: Vec<ImageSeed> = images.iter().map(|&image| ImageSeed { seed: 7, image }).collect();
        let result = sampler.run(&images, &mut |_| true).unwrap().unwrap();
        result.chunks(5 * 7 * 3).map(|image| image.iter().map(|v| v.to_bits()).collect()).collect()
    };
    let all = run(5, &[0, 1, 2, 3, 4]);
    assert_eq!(run(3, &[2, 3]), all[2..4]);
    assert_eq!(run(1, &[4]), all[4..]);
    assert!(all[0] != all[1]);
}
