//! An op on the device by itself, so that its candidates can be timed.

use super::candidate::Candidate;
use super::cut::{DISPATCH_BUDGET, cut};
use super::io::Io;
use super::launch::{Launch, Operand};
use super::shape::{DType, Tensor};
use crate::error::Result;
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, Instant, Kernel};

/// What a submission costs by itself may be this share of a sample.
const OVERHEAD: f64 = 0.05;
/// The most runs of a candidate in one sample.
const REPEATS: usize = 1024;
/// A candidate that takes more than so many times what the best one takes is given up.
const REACH: f64 = 2.0;
/// Into how many parts the kernel with most of its work is cut to see that, and what a wait may take, in seconds.
const PARTS: u32 = 8;
const MARGIN: f64 = 1e-3;
/// Numbers written to the operands, again and again.
const NOISE: usize = 1 << 18;

/// The operands of an op, and scratch memory that its candidates share.
pub(super) struct Trial<'a> {
    gpu: &'a Gpu,
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    /// At least what a candidate asks for; candidates share them, since fresh memory is slow.
    workspaces: Vec<Buffer>,
    prepared: Vec<Buffer>,
    /// Whether a sample counts what packing the weights takes.
    prepares: bool,
    /// Seconds of an empty submission.
    overhead: f64,
    noise: Vec<f32>,
}

/// A candidate whose kernels are compiled and bound.
pub(super) struct Entrant {
    dispatches: Vec<Dispatch>,
    /// Runs in a sample: enough that the submission's own cost is small in it.
    repeats: usize,
}

/// A part of a launch, and its first workgroup alone.
struct Part {
    one: Dispatch,
    whole: Dispatch,
}

impl<'a> Trial<'a> {
    /// Allocates the operands and writes numbers to them: zeros would let large GPUs run faster than they do on real numbers.
    pub(super) fn new(gpu: &'a Gpu, io: &Io, prepares: bool) -> Result<Self> {
        let all = |tensors: &[Tensor]| -> Result<Vec<Buffer>> {
            tensors.iter().map(|t| gpu.buffer("tuning", t.bytes())).collect()
        };
        let (inputs, outputs) = (all(&io.inputs)?, all(&io.outputs)?);
        let overhead = gpu.submission_time()?.as_secs_f64();
        let (workspaces, prepared, noise) = (Vec::new(), Vec::new(), noise());
        let trial = Self { gpu, inputs, outputs, workspaces, prepared, prepares, overhead, noise };
        for (buffer, tensor) in trial.inputs.iter().zip(&io.inputs) {
            // Integers are labels, seeds and counters, for which zeros do.
            if tensor.dtype == DType::F32 {
                trial.fill(buffer, tensor.bytes())?;
            }
        }
        Ok(trial)
    }

    fn fill(&self, buffer: &Buffer, bytes: u64) -> Result<()> {
        let noise: &[u8] = bytemuck::cast_slice(&self.noise);
        let mut at = 0;
        while at < bytes {
            let part = &noise[..noise.len().min((bytes - at) as usize)];
            self.gpu.write(buffer, at, part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Readies a candidate: weights packed, every kernel run once. Where one look tells that it takes more than [`REACH`] times `best`
    /// seconds it is given up, by less time than `best`: then what it would take is an estimate.
    ///
    /// # Errors
    /// What compiling, allocating or running says.
    pub(super) fn enter(
        &mut self,
        candidate: &Candidate,
        best: f64,
    ) -> Result<std::result::Result<Entrant, f64>> {
        self.make_room(candidate)?;
        let prepare = self.dispatches(&candidate.prepare, 1)?;
        let step = self.dispatches(&candidate.launches, 1)?;
        self.gpu.submit(prepare.iter().map(|part| &part.whole))?;
        // Some drivers compile where a kernel is first run.
        self.gpu.submit(step.iter().map(|part| &part.one))?;
        self.gpu.wait()?;
        let reach = REACH * best;
        if reach.is_finite()
            && let Some(estimate) = self.out_of_reach(candidate, reach)?
        {
            return Ok(Err(estimate));
        }
        let counted = if self.prepares { prepare } else { Vec::new() };
        let dispatches: Vec<Dispatch> = counted.into_iter().chain(step).map(|part| part.whole).collect();
        let mut entrant = Entrant { dispatches, repeats: 1 };
        let once = self.sample(&entrant)?.max(1e-9);
        let wanted = self.overhead / OVERHEAD / once;
        entrant.repeats = (wanted.ceil() as usize).clamp(1, REPEATS);
        Ok(Ok(entrant))
    }

    /// Seconds of one run, from one submission of as many as the entrant repeats: by the device's stamps where it has them, else by the
    /// processor's clock, which counts the submission too.
    pub(super) fn sample(&self, entrant: &Entrant) -> Result<f64> {
        let dispatches = (0..entrant.repeats).flat_map(|_| &entrant.dispatches);
        let stopwatch = self.gpu.stopwatch(1);
        let start = Instant::now();
        match &stopwatch {
            Some(stopwatch) => self.gpu.submit_timed(dispatches, stopwatch, 0)?,
            None => self.gpu.submit(dispatches)?,
        };
        self.gpu.wait()?;
        let wall = start.elapsed().as_secs_f64();
        let stamped = match &stopwatch {
            Some(stopwatch) => self.gpu.elapsed(stopwatch)?.into_iter().next().flatten(),
            None => None,
        };
        // What the processor saw bounds what the device says.
        let seconds = stamped.map_or(wall, |stamped| stamped.as_secs_f64().min(wall));
        Ok(seconds / entrant.repeats as f64)
    }

    /// What the kernel with most of the work takes, where that is more than `reach`: seen from one part of it after the other, and no more
    /// of them than it takes to see it.
    fn out_of_reach(&self, candidate: &Candidate, reach: f64) -> Result<Option<f64>> {
        let work = |kernel: &Kernel| -> f64 {
            candidate.launches.iter().filter(|l| l.kernel == *kernel).map(|l| l.flops).sum()
        };
        let kernels = candidate.launches.iter().map(|l| &l.kernel);
        let Some(heavy) = kernels.max_by(|a, b| work(a).total_cmp(&work(b))) else { return Ok(None) };
        let launches: Vec<Launch> =
            candidate.launches.iter().filter(|l| l.kernel == *heavy).cloned().collect();
        let parts = self.dispatches(&launches, PARTS.div_ceil(launches.len() as u32))?;
        let start = Instant::now();
        for (done, part) in (1..).zip(&parts) {
            self.gpu.submit([&part.whole])?;
            self.gpu.wait()?;
            let (took, share) = (start.elapsed().as_secs_f64(), parts.len() as f64);
            // One part more than was run, and a wait, for what else the machine does.
            if took > reach * f64::from(done + 1) / share + MARGIN {
                return Ok(Some(took * share / f64::from(done)));
            }
        }
        Ok(None)
    }

    /// `launches` in at least `parts` parts each, and cut as a plan cuts what it has not measured yet.
    fn dispatches(&self, launches: &[Launch], parts: u32) -> Result<Vec<Part>> {
        let kernels: Vec<_> = launches.iter().map(|l| &l.kernel).collect();
        let pipelines = self.gpu.pipelines(&kernels)?;
        let mut all = Vec::new();
        for (launch, pipeline) in launches.iter().zip(&pipelines) {
            let bindings: Vec<Binding> = launch.operands.iter().map(|o| self.find(o)).collect();
            let needed = (launch.flops / 50e9 / DISPATCH_BUDGET.as_secs_f64()).ceil().clamp(1.0, 64.0);
            for (origin, extent) in cut(launch.grid, parts.max(needed as u32)) {
                let mut words = vec![origin[0], origin[1], origin[2], 0];
                words.extend(launch.uniform.iter().map(|(_, value)| value.bits()));
                let block = self.gpu.uniform_buffer("tuning", 4 * words.len() as u64)?;
                words.resize(words.len().next_multiple_of(4), 0);
                self.gpu.write(&block, 0, bytemuck::cast_slice(&words))?;
                let dispatch = |grid| self.gpu.dispatch(pipeline, &bindings, &block.whole(), grid);
                all.push(Part { one: dispatch([1; 3]), whole: dispatch(extent) });
            }
        }
        Ok(all)
    }

    /// Makes room for the scratch memory of `candidate`.
    fn make_room(&mut self, candidate: &Candidate) -> Result<()> {
        for (have, wanted) in
            [(&mut self.workspaces, &candidate.workspaces), (&mut self.prepared, &candidate.prepared)]
        {
            for (i, &bytes) in wanted.iter().enumerate() {
                match have.get_mut(i) {
                    Some(buffer) if buffer.size() >= bytes => {}
                    Some(buffer) => *buffer = self.gpu.buffer("tuning", bytes)?,
                    None => have.push(self.gpu.buffer("tuning", bytes)?),
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

/// Numbers of mean 0 and variance 1, the same each time.
fn noise() -> Vec<f32> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..NOISE).map(|_| (uniform() - 0.5) * 12f32.sqrt()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Draft, DraftOptions, Graph};
    use crate::ops::conv2d::{Conv2d, Epilogue, conv2d};

    /// One output at a time takes many times what the first choice takes, on every device, and a part of the work shows it.
    #[test]
    fn what_is_far_behind_is_given_up_early() -> Result<()> {
        let gpu = Gpu::open(&crate::gpu::Options::default())?;
        let mut graph = Graph::new();
        let x = graph.input("x", [4, 32, 32, 64]);
        let w = graph.parameter("weights", "w", [64, 64, 3, 3])?;
        let y = conv2d(&mut graph, x, None, w, Conv2d::same(3), Epilogue::default())?;
        let draft = Draft::new(&graph, &[y], gpu.capabilities(), DraftOptions::default())?;
        let op = draft.ops().next().unwrap();
        let candidates = op.candidates();
        let [fast, slow] = [0, candidates.len() - 1].map(|i| &candidates[i]);
        let mut trial = Trial::new(&gpu, &op.io, false)?;
        let seconds = |trial: &mut Trial<'_>, candidate| -> Result<f64> {
            let entrant = trial.enter(candidate, f64::INFINITY)?.map_err(|_| unreachable!()).unwrap();
            trial.sample(&entrant)
        };
        let [best, whole] = [seconds(&mut trial, fast)?, seconds(&mut trial, slow)?];
        let estimate = trial.enter(slow, best)?.err().expect("an estimate");
        let longer = trial.enter(slow, whole)?;
        assert!(whole > 3.0 * best && estimate > 2.0 * best, "{best} s, {whole} s, {estimate} s by a part");
        // Within reach there is nothing to estimate.
        assert!(longer.is_ok());
        Ok(())
    }
}
