//! How long the candidates of an op take on the device.

use std::time::{Duration, Instant};

use super::op::{Candidate, Io, Launch, Operand, Tensor};
use super::schedule::{DISPATCH_BUDGET, cut};
use crate::error::Result;
use crate::gpu::{Binding, Buffer, Dispatch, Gpu, Kernel};

/// A candidate is timed for about this long, and at most so often.
const EACH: Duration = Duration::from_millis(20);
const REPEATS: usize = 8;
/// A candidate that takes more than so many times what the best one takes is given up.
const REACH: f64 = 2.0;
/// Into how many parts the kernel with most of its work is cut to see that, and what a wait may take, in seconds.
const PARTS: u32 = 8;
const MARGIN: f64 = 1e-3;

/// An op that is timed. Its memory holds zeros, which take as long as other numbers; and what a candidate prepares is not prepared.
pub(super) struct Trial<'a> {
    gpu: &'a Gpu,
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    /// At least what a candidate asks for; candidates share them, since fresh memory is slow.
    workspaces: Vec<Buffer>,
    prepared: Vec<Buffer>,
}

/// A part of a launch, and its first workgroup alone.
struct Part {
    one: Dispatch,
    whole: Dispatch,
}

impl<'a> Trial<'a> {
    /// Allocates the operands.
    pub(super) fn new(gpu: &'a Gpu, io: &Io) -> Result<Self> {
        let all = |tensors: &[Tensor]| -> Result<Vec<Buffer>> {
            tensors.iter().map(|t| gpu.buffer("tuning", t.bytes())).collect()
        };
        let (inputs, outputs) = (all(&io.inputs)?, all(&io.outputs)?);
        Ok(Self { gpu, inputs, outputs, workspaces: Vec::new(), prepared: Vec::new() })
    }

    /// The shortest of some runs of `candidate`. Where that is out of the reach of `best`, an estimate, which takes less than `best` to make.
    pub(super) fn seconds(&mut self, candidate: &Candidate, best: f64) -> Result<f64> {
        self.fit(candidate)?;
        let step = self.dispatches(&candidate.launches, 1)?;
        // Some drivers compile where a kernel is first run.
        self.gpu.submit(step.iter().map(|part| &part.one))?;
        self.gpu.wait()?;
        let reach = REACH * best;
        if reach.is_finite()
            && let Some(estimate) = self.far(candidate, reach)?
        {
            return Ok(estimate);
        }
        let begun = Instant::now();
        let mut shortest = f64::INFINITY;
        for _ in 0..REPEATS {
            let start = Instant::now();
            self.gpu.submit(step.iter().map(|part| &part.whole))?;
            self.gpu.wait()?;
            shortest = shortest.min(start.elapsed().as_secs_f64());
            if begun.elapsed() > EACH || shortest > reach {
                break;
            }
        }
        Ok(shortest)
    }

    /// What the kernel with most of the work takes, where that is more than `reach`: told from one part of it after the other, and no more
    /// of them than it takes to tell.
    fn far(&self, candidate: &Candidate, reach: f64) -> Result<Option<f64>> {
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
    fn fit(&mut self, candidate: &Candidate) -> Result<()> {
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
