//! Chooses kernels by timing them on the device, once per op and shapes, and remembers what was fastest.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::choice::Choice;
use super::op::{Candidate, Io, Launch, Operand, Tensor};
use super::schedule::{DISPATCH_BUDGET, cut};
use crate::error::Result;
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, Kernel, TuningCache};

/// An op with fewer floating-point operations an image than this is not worth timing.
const LIGHT: f64 = 1e6;
/// What all timing of one process may take, unless the caller says otherwise.
const BUDGET: Duration = Duration::from_secs(60);
/// A candidate is timed for about this long, and at most so often.
const EACH: Duration = Duration::from_millis(20);
const REPEATS: usize = 8;
/// A candidate that takes more than so many times what the best one takes is given up.
const REACH: f64 = 2.0;
/// Into how many parts the kernel with most of its work is cut to see that, and what a wait may take, in seconds.
const PARTS: u32 = 8;
const MARGIN: f64 = 1e-3;

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
    known: std::collections::BTreeMap<String, String>,
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
        let state = State { known: cache.load(), left: budget, timed: 0 };
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
        tracing::info!("timing the kernels of {key}");
        let start = Instant::now();
        let fastest = self.fastest(io, candidates);
        state.left = state.left.saturating_sub(start.elapsed());
        let Ok(index) = fastest else { return 0 };
        state.timed += 1;
        state.known.insert(key, candidates[index].name());
        self.cache.save(&state.known);
        index
    }

    fn fastest(&self, io: &Io, candidates: &[&Candidate]) -> Result<usize> {
        // One output at a time is never fastest for a heavy op, and slow enough to spend the budget.
        let worth = |c: &Candidate| c.class != "plain" || candidates.len() <= 2;
        let rivals: Vec<(usize, &Candidate)> =
            candidates.iter().copied().enumerate().filter(|(_, c)| worth(c)).collect();
        // All at once, since compilation takes all cores.
        let kernels: Vec<_> = rivals.iter().flat_map(|(_, c)| &c.launches).map(|l| &l.kernel).collect();
        self.gpu.pipelines(&kernels)?;
        let mut memory = Memory::of(&self.gpu, io)?;
        let mut best = (0, Duration::MAX);
        for (index, candidate) in rivals {
            memory.fit(&self.gpu, candidate)?;
            let time = self.time(candidate, &memory, best.1)?;
            tracing::debug!("{}: {time:?}", candidate.name());
            if let Some(time) = time.filter(|&time| time < best.1) {
                best = (index, time);
            }
        }
        Ok(best.0)
    }

    /// The shortest of some runs; none where it is out of the reach of `best`, which takes about as long as `best` to find out.
    fn time(&self, candidate: &Candidate, memory: &Memory, best: Duration) -> Result<Option<Duration>> {
        let step = self.dispatches(&candidate.launches, memory, 1)?;
        // Some drivers compile where a kernel is first run.
        self.gpu.submit(step.iter().map(|part| &part.one))?;
        self.gpu.wait()?;
        let reach = REACH * best.as_secs_f64();
        if !self.is_near(candidate, memory, reach)? {
            return Ok(None);
        }
        let begun = Instant::now();
        let mut shortest = Duration::MAX;
        for _ in 0..REPEATS {
            let start = Instant::now();
            self.gpu.submit(step.iter().map(|part| &part.whole))?;
            self.gpu.wait()?;
            shortest = shortest.min(start.elapsed());
            if begun.elapsed() > EACH || shortest.as_secs_f64() > reach {
                break;
            }
        }
        Ok(Some(shortest))
    }

    /// Whether the kernel with most of the work comes to its end within `reach` seconds, seen from one part of it after the other.
    fn is_near(&self, candidate: &Candidate, memory: &Memory, reach: f64) -> Result<bool> {
        let work = |kernel: &Kernel| -> f64 {
            candidate.launches.iter().filter(|l| l.kernel == *kernel).map(|l| l.flops).sum()
        };
        let kernels = candidate.launches.iter().map(|l| &l.kernel);
        let Some(heavy) = kernels.max_by(|a, b| work(a).total_cmp(&work(b))) else { return Ok(true) };
        let launches: Vec<Launch> =
            candidate.launches.iter().filter(|l| l.kernel == *heavy).cloned().collect();
        let parts = self.dispatches(&launches, memory, PARTS.div_ceil(launches.len() as u32))?;
        let start = Instant::now();
        for (done, part) in (1..).zip(&parts) {
            self.gpu.submit([&part.whole])?;
            self.gpu.wait()?;
            // One part more than was run, and a wait, for what else the machine does.
            let allowed = reach * f64::from(done + 1) / parts.len() as f64 + MARGIN;
            if start.elapsed().as_secs_f64() > allowed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `launches` in at least `parts` parts each, and cut as a plan cuts what it has not measured yet.
    fn dispatches(&self, launches: &[Launch], memory: &Memory, parts: u32) -> Result<Vec<Part>> {
        let kernels: Vec<_> = launches.iter().map(|l| &l.kernel).collect();
        let pipelines = self.gpu.pipelines(&kernels)?;
        let mut all = Vec::new();
        for (launch, pipeline) in launches.iter().zip(&pipelines) {
            let bindings: Vec<Binding> = launch.operands.iter().map(|o| memory.find(o)).collect();
            let needed = (launch.flops / 50e9 / DISPATCH_BUDGET.as_secs_f64()).ceil().clamp(1.0, 64.0);
            for (origin, extent) in cut(launch.grid, parts.max(needed as u32)) {
                let mut words = vec![origin[0], origin[1], origin[2], 0];
                words.extend(&launch.uniform);
                let block = self.gpu.uniform_buffer("tuning", 4 * words.len() as u64)?;
                words.resize(words.len().next_multiple_of(4), 0);
                self.gpu.write(&block, 0, bytemuck::cast_slice(&words))?;
                let dispatch = |grid| self.gpu.dispatch(pipeline, &bindings, &block.whole(), grid);
                all.push(Part { one: dispatch([1; 3]), whole: dispatch(extent) });
            }
        }
        Ok(all)
    }
}

/// A part of a launch, and its first workgroup alone.
struct Part {
    one: Dispatch,
    whole: Dispatch,
}

/// The memory of an op that is timed. It holds zeros, which take as long as other numbers, and what a candidate prepares is not prepared.
struct Memory {
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    /// At least what a candidate asks for; candidates share them, since fresh memory is slow.
    workspaces: Vec<Buffer>,
    prepared: Vec<Buffer>,
}

impl Memory {
    fn of(gpu: &Gpu, io: &Io) -> Result<Self> {
        let all = |tensors: &[Tensor]| -> Result<Vec<Buffer>> {
            tensors.iter().map(|t| gpu.buffer("tuning", t.bytes())).collect()
        };
        let (inputs, outputs) = (all(&io.inputs)?, all(&io.outputs)?);
        Ok(Self { inputs, outputs, workspaces: Vec::new(), prepared: Vec::new() })
    }

    /// Makes room for the scratch memory of `candidate`.
    fn fit(&mut self, gpu: &Gpu, candidate: &Candidate) -> Result<()> {
        for (have, wanted) in
            [(&mut self.workspaces, &candidate.workspaces), (&mut self.prepared, &candidate.prepared)]
        {
            for (i, &bytes) in wanted.iter().enumerate() {
                match have.get_mut(i) {
                    Some(buffer) if buffer.size() >= bytes => {}
                    Some(buffer) => *buffer = gpu.buffer("tuning", bytes)?,
                    None => have.push(gpu.buffer("tuning", bytes)?),
                }
            }
        }
        Ok(())
    }

    fn find(&self, operand: &Operand) -> Binding {
        match *operand {
            Operand::Input(i) => self.inputs[i].whole(),
            Operand::Output(i) => self.outputs[i].whole(),
            Operand::Workspace(i) => self.workspaces[i].whole(),
            Operand::Prepared(i) => self.prepared[i].whole(),
        }
    }
}

/// The op, the shapes of its operands, and what there is to choose from. The first size of a tensor is left out: of an
/// image it is the batch size, and of a weight it is a number of channels that another tensor's last size says.
fn key(stem: &str, io: &Io, candidates: &[&Candidate]) -> String {
    let shape = |tensor: &Tensor| {
        let dims = tensor.shape.dims();
        let behind = if dims.len() > 1 { &dims[1..] } else { dims };
        behind.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
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
    fn without_a_budget_the_heuristic_chooses() -> Result<()> {
        let gpu = Gpu::open(&crate::gpu::Options::default())?;
        let tuner = Tuner::with_cache(&gpu, Duration::ZERO, TuningCache::none());
        assert_eq!(chosen(&gpu, 4, tuner.choice())?, chosen(&gpu, 4, Choice::Heuristic)?);
        assert_eq!(tuner.timed(), 0);
        Ok(())
    }
}
