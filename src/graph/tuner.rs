//! Chooses kernels by timing them on the device, once for each op, and remembers what was fastest.
//!
//! A tuner stands between a draft and its plan: it takes the ops that a draft lists and gives a table of choices.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::candidate::Candidate;
use super::choice::{Choice, Choices, Settled};
use super::class::Class;
use super::contest;
use super::draft::{Draft, DraftedOp};
use super::trial::Trial;
use crate::error::Result;
use crate::gpu::{Gpu, Instant, TuningCache};

/// An op with fewer floating-point operations an image than this is not worth timing.
const LIGHT: f64 = 1e6;
/// What all timing of one process may take, unless the caller says otherwise.
const BUDGET: Duration = Duration::from_secs(60);
/// What the rounds of one op may take.
const ROUNDS: Duration = Duration::from_millis(400);
/// A candidate that took more than `FAR` times what the fastest did, `HOPELESS` ops in a row that had one first choice, is not tried again: on
/// some drivers its compilation is what tuning takes most of its time for.
const FAR: f64 = 4.0;
const HOPELESS: u32 = 2;

/// Times the candidates of heavy ops. Clones share what is known.
///
/// The order of summation is part of a result's bits, so it is chosen once for an op, whatever the number of images; which of its
/// candidates runs is chosen for each number of images. Both are kept on disk for the adapter, its driver and this version of the kernels.
#[derive(Clone)]
pub struct Tuner {
    inner: Arc<Inner>,
    /// Classes that round to f16 and may be chosen all the same.
    reduced: Vec<Class>,
}

struct Inner {
    gpu: Gpu,
    cache: TuningCache,
    state: Mutex<State>,
}

struct State {
    known: Choices,
    /// How many ops in a row a candidate was far behind, by the op, its name and that of the first choice.
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

/// What the cache holds: an order by the key without the number of images, a candidate by the whole key.
const ORDER: &str = "order ";
const MEMBER: &str = "kernel ";

fn from_cache(known: BTreeMap<String, String>) -> Choices {
    let (mut orders, mut members) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in known {
        if let Some(key) = key.strip_prefix(ORDER) {
            orders.insert(key.to_owned(), value);
        } else if let Some(key) = key.strip_prefix(MEMBER) {
            members.insert(key.to_owned(), value);
        }
    }
    Choices::new(orders, members)
}

fn to_cache(known: &Choices) -> BTreeMap<String, String> {
    let prefixed = |prefix: &'static str, map: &BTreeMap<String, String>| {
        map.iter().map(|(key, value)| (format!("{prefix}{key}"), value.clone())).collect::<Vec<_>>()
    };
    prefixed(ORDER, known.orders()).into_iter().chain(prefixed(MEMBER, known.members())).collect()
}

impl Tuner {
    /// Begins with what is known of the device from earlier.
    pub fn new(gpu: &Gpu) -> Self {
        Self::with_budget(gpu, BUDGET)
    }

    /// The same; timing ends when it has taken `budget`, and what is not known then is chosen by the written order.
    pub fn with_budget(gpu: &Gpu, budget: Duration) -> Self {
        Self::with_cache(gpu, budget, TuningCache::of(gpu))
    }

    fn with_cache(gpu: &Gpu, budget: Duration, cache: TuningCache) -> Self {
        let known = from_cache(cache.load());
        let state = State { known, far: BTreeMap::new(), left: budget, timed: 0 };
        let inner = Inner { gpu: gpu.clone(), cache, state: Mutex::new(state) };
        Self { inner: Arc::new(inner), reduced: Vec::new() }
    }

    /// Times, of the candidates that round to f16, those of these classes too. Unless asked for they are not even timed.
    pub fn with_reduced(mut self, classes: &[Class]) -> Self {
        self.reduced = classes.to_vec();
        self
    }

    /// How many ops were timed, and not known from earlier.
    pub fn timed(&self) -> usize {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner).timed
    }

    /// Choices for the ops of `draft` that no table has settled: what is known to be fastest, else what is found so now. Light ops, ops
    /// with one candidate, and what there is no time left for are left to the written order. Where the draft was asked for classes or by
    /// index nothing is chosen.
    pub fn choose(&self, draft: &Draft) -> Choices {
        let mut choices = Choices::default();
        if !is_written(draft.choice()) {
            return choices;
        }
        for op in draft.ops().filter(|op| op.settled != Settled::Kernel) {
            let mut candidates = op.candidates();
            match op.settled {
                Settled::Order => candidates.retain(|c| c.order() == op.order),
                _ => candidates.retain(|c| !c.arithmetic.is_reduced() || self.reduced.contains(&c.class)),
            }
            if let Some(index) = self.inner.pick(&op, &candidates) {
                choices.insert(op.key, &candidates[index]);
            }
        }
        choices
    }

    /// `draft` by the kernels that are fastest on the device.
    ///
    /// # Errors
    /// As [`Draft::new`].
    pub fn tuned(&self, draft: &Draft) -> Result<Draft> {
        draft.with_choice(draft.choice().clone().with_table(self.choose(draft)))
    }
}

/// What is made of several drafts: a sampler, an ODE, a training step.
pub trait Drafts: Sized {
    /// The same with each of its drafts by what `map` makes of it: by another choice of kernels.
    ///
    /// # Errors
    /// What `map` says.
    fn map_drafts(self, map: impl FnMut(&Draft) -> Result<Draft>) -> Result<Self>;

    /// The same by the kernels that `tuner` finds fastest; as it is where there is none.
    ///
    /// # Errors
    /// As [`Draft::new`].
    fn tuned(self, tuner: Option<&Tuner>) -> Result<Self> {
        match tuner {
            Some(tuner) => self.map_drafts(|draft| tuner.tuned(draft)),
            None => Ok(self),
        }
    }
}

fn is_written(choice: &Choice) -> bool {
    match choice {
        Choice::Written => true,
        Choice::Table(_, base) => is_written(base),
        Choice::Classes(_) | Choice::Nth(_) => false,
    }
}

impl Inner {
    fn pick(&self, op: &DraftedOp<'_>, candidates: &[Candidate]) -> Option<usize> {
        // The most that any of them counts: a Winograd convolution counts few. By image, since n must not decide.
        let most = candidates.iter().map(Candidate::flops).fold(0.0, f64::max);
        let n = op.key.n()?;
        if candidates.len() < 2 || most < LIGHT * n as f64 {
            return None;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let order = match op.settled {
            Settled::Open => state.known.order(op.key).map(str::to_owned),
            _ => Some(op.order.to_owned()),
        };
        let of_order = |c: &Candidate| order.as_ref().is_none_or(|order| c.order() == *order);
        let mut entered: Vec<usize> = (0..candidates.len()).filter(|&i| of_order(&candidates[i])).collect();
        if entered.is_empty() {
            // Known by another set of classes: all are timed.
            entered = (0..candidates.len()).collect();
        }
        if order.is_some() {
            let member = state.known.member(op.key);
            if let Some(&index) = entered.iter().find(|&&i| Some(candidates[i].name().as_str()) == member) {
                return Some(index);
            }
            if entered.len() == 1 {
                return Some(entered[0]);
            }
        }
        if state.left.is_zero() {
            return order.is_some().then(|| entered[0]);
        }
        if state.timed == 0 {
            let (device, most) = (&self.gpu.adapter().name, state.left.as_secs());
            tracing::info!("timing kernels on {device}, once: {most} s at most");
        }
        tracing::debug!("timing the kernels of {}", op.key);
        let start = Instant::now();
        // One output at a time is never fastest for a heavy op, and slow enough to spend the budget.
        let worth = |i: usize| candidates[i].class != Class::Plain || entered.len() <= 2;
        let against =
            |i: usize| format!("{}: {} against {}", op.name, candidates[i].name(), candidates[0].name());
        let hopeful = |i: usize| state.far.get(&against(i)).is_none_or(|&times| times < HOPELESS);
        let entered: Vec<usize> = entered.iter().copied().filter(|&i| worth(i) && hopeful(i)).collect();
        let standing = self.standing(op, candidates, &entered);
        state.left = state.left.saturating_sub(start.elapsed());
        let (winner, seconds) = standing.ok()?;
        let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        for (&i, seconds) in entered.iter().zip(seconds) {
            let times = state.far.entry(against(i)).or_default();
            *times = if seconds > FAR * best { *times + 1 } else { 0 };
        }
        state.timed += 1;
        match op.settled {
            Settled::Open => state.known.insert(op.key, &candidates[winner]),
            // The order is that of a run, and need not be the fastest.
            _ => state.known.insert_member(op.key, &candidates[winner]),
        }
        self.cache.save(&to_cache(&state.known));
        Some(winner)
    }

    /// The candidate to take of those `entered`, and what each of them takes.
    fn standing(
        &self,
        op: &DraftedOp<'_>,
        candidates: &[Candidate],
        entered: &[usize],
    ) -> Result<(usize, Vec<f64>)> {
        // All at once, since compilation takes all cores.
        let launches =
            entered.iter().flat_map(|&i| candidates[i].prepare.iter().chain(&candidates[i].launches));
        self.gpu.pipelines(&launches.map(|l| &l.kernel).collect::<Vec<_>>())?;
        let mut trial = Trial::new(&self.gpu, &op.io, op.prepares)?;
        let mut seconds = vec![f64::INFINITY; entered.len()];
        let (mut best, mut entrants) = (f64::INFINITY, Vec::new());
        for (at, &i) in entered.iter().enumerate() {
            match trial.enter(&candidates[i], best)? {
                Ok(entrant) => {
                    best = best.min(trial.sample(&entrant)?);
                    entrants.push((at, entrant));
                }
                Err(estimate) => seconds[at] = estimate,
            }
        }
        let start = Instant::now();
        let standing =
            contest::fastest(entrants.len(), |i| trial.sample(&entrants[i].1), || start.elapsed() > ROUNDS)?;
        for ((at, _), median) in entrants.iter().zip(&standing.medians) {
            seconds[*at] = *median;
        }
        for (&i, seconds) in entered.iter().zip(&seconds) {
            tracing::debug!("{}: {seconds} s", candidates[i].name());
        }
        Ok((entered[entrants[standing.winner].0], seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{DraftOptions, Graph};
    use crate::ops::conv2d::{Conv2d, Epilogue, conv2d};

    fn draft(gpu: &Gpu, n: usize) -> Result<Draft> {
        let mut graph = Graph::new();
        let x = graph.input("x", [n, 16, 16, 32]);
        let w = graph.parameter("weights", "w", [32, 32, 3, 3])?;
        let y = conv2d(&mut graph, x, None, w, Conv2d::same(3), Epilogue::default())?;
        Draft::new(&graph, &[y], gpu.capabilities(), DraftOptions::default())
    }

    #[test]
    fn the_order_is_chosen_once_and_the_kernel_for_each_batch() -> Result<()> {
        let gpu = Gpu::open(&crate::gpu::Options::default())?;
        let tuner = Tuner::with_cache(&gpu, BUDGET, TuningCache::none());
        let order = |n| -> Result<String> { Ok(tuner.tuned(&draft(&gpu, n)?)?.chosen()[0].order.clone()) };
        let first = order(4)?;
        assert_eq!(tuner.timed(), 1);
        assert_eq!(order(4)?, first);
        assert_eq!(tuner.timed(), 1, "what is known was timed again");
        assert_eq!(order(7)?, first);
        assert!(tuner.timed() <= 2, "one more for the kernels of that order by another batch");
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
            tuner.choose(&Draft::new(&graph, &[y], gpu.capabilities(), DraftOptions::default())?);
        }
        assert_eq!(tuner.timed(), 2);
        Ok(())
    }

    #[test]
    fn a_table_comes_before_the_clock_and_what_is_asked_for_by_class_is_not_timed() -> Result<()> {
        let gpu = Gpu::open(&crate::gpu::Options::default())?;
        let tuner = Tuner::with_cache(&gpu, BUDGET, TuningCache::none());
        let written = draft(&gpu, 4)?;
        let recorded = written.with_choice(Choice::Written.with_table(written.choices()))?;
        assert_eq!(tuner.tuned(&recorded)?.choices(), written.choices());
        let direct = written.with_choice(Choice::Classes(vec![Class::Direct]))?;
        assert_eq!(tuner.tuned(&direct)?.chosen()[0].class, Class::Direct);
        assert_eq!(tuner.timed(), 0);
        Ok(())
    }

    #[test]
    fn without_a_budget_the_written_order_chooses() -> Result<()> {
        let gpu = Gpu::open(&crate::gpu::Options::default())?;
        let tuner = Tuner::with_cache(&gpu, Duration::ZERO, TuningCache::none());
        let written = draft(&gpu, 4)?;
        assert_eq!(tuner.tuned(&written)?.choices(), written.choices());
        assert_eq!(tuner.timed(), 0);
        Ok(())
    }

    #[test]
    fn what_is_cached_comes_back() {
        let mut known = Choices::default();
        let key = crate::graph::OpKey::new("conv2d.forward").images(3);
        known.insert(&key, &Candidate::of_class(Class::Gemm, Vec::new()).variant("tile64").in_order("gemm"));
        assert_eq!(from_cache(to_cache(&known)), known);
        assert_eq!(from_cache(BTreeMap::from([("conv2d: old".into(), "x".into())])), Choices::default());
    }
}
