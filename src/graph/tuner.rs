//! Chooses kernels by timing them on the device, once per op and shapes, and remembers what was fastest.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::choice::Choice;
use super::op::{Candidate, Io, Tensor};
use super::trial::Trial;
use crate::error::Result;
use crate::gpu::{Gpu, TuningCache};

/// An op with fewer floating-point operations an image than this is not worth timing.
const LIGHT: f64 = 1e6;
/// What all timing of one process may take, unless the caller says otherwise.
const BUDGET: Duration = Duration::from_secs(60);
/// A candidate that took more than `FAR` times what the fastest did, `HOPELESS` ops in a row that had one first choice, is not tried again: on
/// some drivers its compilation is what tuning takes most of its time for.
const FAR: f64 = 4.0;
const HOPELESS: u32 = 2;

/// Times the candidates of heavy ops. Clones share what is known.
///
/// The choice is part of a result's bits. So what is known is keyed by the op, its shapes without the batch size, and its
/// candidates, and kept on disk for the adapter, its driver and this version of the kernels.
#[derive(Clone)]
pub struct Tuner {
    inner: Arc<Inner>,
    /// Classes that round to f16 and may be chosen all the same.
    reduced: Vec<String>,
}

struct Inner {
    gpu: Gpu,
    cache: TuningCache,
    state: Mutex<State>,
}

struct State {
    known: BTreeMap<String, String>,
    /// How many ops in a row a candidate was far behind, by its name and that of the first choice.
    far: BTreeMap<String, u32>,
    /// What is left of the budget.
    left: Duration,
    /// Ops that were timed in this process.
    timed: usize,
}

impl fmt::Debug for Tuner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tuner").field(&self.inner.gpu).finish()
    }
}

impl Tuner {
    /// Begins with what is known of the device from earlier.
    pub fn new(gpu: &Gpu) -> Self {
        Self::with_budget(gpu, BUDGET)
    }

    /// The same; timing ends when it has taken `budget`, and what is not known then is chosen by the heuristic.
    pub fn with_budget(gpu: &Gpu, budget: Duration) -> Self {
        Self::with_cache(gpu, budget, TuningCache::of(gpu))
    }

    fn with_cache(gpu: &Gpu, budget: Duration, cache: TuningCache) -> Self {
        let state = State { known: cache.load(), far: BTreeMap::new(), left: budget, timed: 0 };
        let inner = Inner { gpu: gpu.clone(), cache, state: Mutex::new(state) };
        Self { inner: Arc::new(inner), reduced: Vec::new() }
    }

    /// Times, of the candidates that round to f16, those of these classes too. Unless asked for they are not even timed.
    pub fn with_reduced(mut self, classes: &[&str]) -> Self {
        self.reduced = classes.iter().map(ToString::to_string).collect();
        self
    }

    /// How many ops were timed, and not known from earlier.
    pub fn timed(&self) -> usize {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner).timed
    }

    /// Chooses what is known to be fastest, else times. An op that cannot be timed is chosen by the heuristic.
    pub fn choice(&self) -> Choice {
        let (inner, reduced) = (Arc::clone(&self.inner), self.reduced.clone());
        Choice::Pick(Arc::new(move |stem, io, candidates| {
            let may = |c: &Candidate| !c.arithmetic.is_reduced() || reduced.iter().any(|r| r == c.class);
            let all: Vec<(usize, &Candidate)> =
                candidates.iter().enumerate().filter(|(_, c)| may(c)).collect();
            let (places, usable): (Vec<usize>, Vec<&Candidate>) = all.into_iter().unzip();
            places.get(inner.pick(stem, io, &usable)).copied().unwrap_or(0)
        }))
    }
}

impl Inner {
    fn pick(&self, stem: &str, io: &Io, candidates: &[&Candidate]) -> usize {
        // The most that any of them counts: a Winograd convolution counts few. By image, since n must not decide.
        let most = candidates.iter().map(|c| c.launches.iter().map(|l| l.flops).sum()).fold(0.0, f64::max);
        // Dense layers over a batch of rows would have the batch size in their key, and are light.
        let Some([n, ..]) = io.inputs.first().and_then(|t| t.shape.nhwc()) else { return 0 };
        if candidates.len() < 2 || most < LIGHT * n as f64 {
            return 0;
        }
        let key = key(stem, io, candidates);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = state.known.get(&key)
            && let Some(index) = candidates.iter().position(|c| c.name() == *name)
        {
            return index;
        }
        if state.left.is_zero() {
            return 0;
        }
        if state.timed == 0 {
            let (device, most) = (&self.gpu.adapter().name, state.left.as_secs());
            tracing::info!("timing kernels on {device}, once: {most} s at most");
        }
        tracing::debug!("timing the kernels of {key}");
        let start = Instant::now();
        // One output at a time is never fastest for a heavy op, and slow enough to spend the budget.
        let worth = |c: &Candidate| c.class != "plain" || candidates.len() <= 2;
        let against = |c: &Candidate| format!("{stem}: {} against {}", c.name(), candidates[0].name());
        let rivals: Vec<(usize, &Candidate)> = (0..)
            .zip(candidates.iter().copied())
            .filter(|(_, c)| worth(c) && state.far.get(&against(c)).is_none_or(|&times| times < HOPELESS))
            .collect();
        let seconds = self.seconds(io, &rivals);
        state.left = state.left.saturating_sub(start.elapsed());
        let Ok(seconds) = seconds else { return 0 };
        let mut best = (0, f64::INFINITY);
        for (&(index, _), &time) in rivals.iter().zip(&seconds) {
            if time < best.1 {
                best = (index, time);
            }
        }
        for ((_, candidate), time) in rivals.iter().zip(seconds) {
            let times = state.far.entry(against(candidate)).or_default();
            *times = if time > FAR * best.1 { *times + 1 } else { 0 };
        }
        state.timed += 1;
        state.known.insert(key, candidates[best.0].name());
        self.cache.save(&state.known);
        best.0
    }

    /// What each of `rivals` takes.
    fn seconds(&self, io: &Io, rivals: &[(usize, &Candidate)]) -> Result<Vec<f64>> {
        // All at once, since compilation takes all cores.
        let launches = rivals.iter().flat_map(|(_, c)| &c.launches);
        self.gpu.pipelines(&launches.map(|l| &l.kernel).collect::<Vec<_>>())?;
        let mut trial = Trial::new(&self.gpu, io)?;
        let mut best = f64::INFINITY;
        let mut all = Vec::new();
        for (_, candidate) in rivals {
            let time = trial.seconds(candidate, best)?;
            tracing::debug!("{}: {time} s", candidate.name());
            best = best.min(time);
            all.push(time);
        }
        Ok(all)
    }
}

/// The op, the shapes of its operands, and what there is to choose from. The first size of a tensor is left out: of an
/// image it is the batch size, and of a weight it is a number of channels that another tensor's last size says. So is all of
/// a matrix: a time embedding may be columns of one as wide as its network asks for, and a weight's channels are said.
fn key(stem: &str, io: &Io, candidates: &[&Candidate]) -> String {
    let shape = |tensor: &Tensor| match tensor.shape.dims() {
        [_, _] => "matrix".to_owned(),
        [c] => c.to_string(),
        dims => dims.iter().skip(1).map(ToString::to_string).collect::<Vec<_>>().join("x"),
    };
    let shapes = |tensors: &[Tensor]| tensors.iter().map(shape).collect::<Vec<_>>().join(", ");
    let names: Vec<String> = candidates.iter().map(|c| c.name()).collect();
    format!("{stem}: {} -> {} of {}", shapes(&io.inputs), shapes(&io.outputs), names.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Draft, DraftOptions, Graph};
    use crate::ops::conv2d::{Conv2d, Epilogue, conv2d};

    fn chosen(gpu: &Gpu, n: usize, choice: Choice) -> Result<String> {
        let mut graph = Graph::new();
        let x = graph.input("x", [n, 16, 16, 32]);
        let w = graph.parameter("weights", "w", [32, 32, 3, 3])?;
        let y = conv2d(&mut graph, x, None, w, Conv2d::same(3), Epilogue::default())?;
        let options = DraftOptions { choice, guards: false };
        let draft = Draft::new(&graph, &[y], gpu.capabilities(), options)?;
        Ok(format!("{} {}", draft.chosen()[0].class, draft.chosen()[0].variant))
    }

    #[test]
    fn an_op_is_timed_once_whatever_the_batch() -> Result<()> {
        let gpu = Gpu::open(&crate::gpu::Options::default())?;
        let tuner = Tuner::with_cache(&gpu, BUDGET, TuningCache::none());
        let first = chosen(&gpu, 4, tuner.choice())?;
        assert_eq!(tuner.timed(), 1);
        assert_eq!(chosen(&gpu, 4, tuner.choice())?, first);
        assert_eq!(chosen(&gpu, 7, tuner.choice())?, first);
        assert_eq!(tuner.timed(), 1, "another batch size was timed by itself");
        Ok(())
    }

    #[test]
    fn networks_share_what_was_timed_whatever_the_width_of_their_time_embeddings() -> Result<()> {
        let gpu = Gpu::open(&crate::gpu::Options::default())?;
        let tuner = Tuner::with_cache(&gpu, BUDGET, TuningCache::none());
        for (c, line) in [(32, 32), (32, 96), (16, 96)] {
            let mut graph = Graph::new();
            let x = graph.input("x", [2, 16, 16, c]);
            let temb = graph.input("temb", [2, line]);
            let w = graph.parameter("weights", "w", [32, c, 3, 3])?;
            let epilogue = Epilogue { temb: Some(temb.into()), ..Epilogue::default() };
            let y = conv2d(&mut graph, x, None, w, Conv2d::same(3), epilogue)?;
            let options = DraftOptions { choice: tuner.choice(), guards: false };
            Draft::new(&graph, &[y], gpu.capabilities(), options)?;
        }
        assert_eq!(tuner.timed(), 2);
        Ok(())
    }

    /// One output at a time takes many times what the first choice takes, on every device, and a part of the work tells.
    #[test]
    fn what_is_far_behind_is_given_up_early() -> Result<()> {
        let gpu = Gpu::open(&crate::gpu::Options::default())?;
        let mut graph = Graph::new();
        let x = graph.input("x", [4, 32, 32, 64]);
        let w = graph.parameter("weights", "w", [64, 64, 3, 3])?;
        let y = conv2d(&mut graph, x, None, w, Conv2d::same(3), Epilogue::default())?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (from, to) = (gpu.clone(), Arc::clone(&seen));
        let measure = move |_: &str, io: &Io, candidates: &[Candidate]| {
            // bug: a test that cannot time is one that has failed.
            let mut trial = Trial::new(&from, io).expect("memory");
            let [fast, slow] = [0, candidates.len() - 1].map(|i| &candidates[i]);
            let [best, whole] = [fast, slow].map(|c| trial.seconds(c, f64::INFINITY).expect("a time"));
            let begun = Instant::now();
            let estimate = trial.seconds(slow, best).expect("an estimate");
            to.lock().unwrap().extend([best, whole, estimate, begun.elapsed().as_secs_f64()]);
            0
        };
        let options = DraftOptions { choice: Choice::Pick(Arc::new(measure)), guards: false };
        Draft::new(&graph, &[y], gpu.capabilities(), options)?;
        let seen = seen.lock().unwrap().clone();
        let [best, whole, estimate, spent] = seen[..] else { panic!("{seen:?}") };
        assert!(whole > 4.0 * best && estimate > 2.0 * best, "{seen:?}");
        assert!(estimate > 0.3 * whole && estimate < 3.0 * whole && spent < 0.8 * whole, "{seen:?}");
        Ok(())
    }

    #[test]
    fn without_a_budget_the_heuristic_chooses() -> Result<()> {
        let gpu = Gpu::open(&crate::gpu::Options::default())?;
        let tuner = Tuner::with_cache(&gpu, Duration::ZERO, TuningCache::none());
        assert_eq!(chosen(&gpu, 4, tuner.choice())?, chosen(&gpu, 4, Choice::Heuristic)?);
        assert_eq!(tuner.timed(), 0);
        Ok(())
    }
}
