//! A plan: pipelines, buffers and bind groups, ready to replay.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::draft::{Draft, Memory, Place, Placed};
use super::parameters::{ParameterLayout, ParameterSet};
use super::trace::{Graph, Kind, Value};
use crate::error::{Error, Result};
use crate::gpu::{Binding, Buffer, DeviceKind, Dispatch, Gpu, Pipeline};

/// Workgroups that one dispatch may have each way.
const GRID_LIMIT: u32 = 65_535;
/// A dispatch measured above this is cut; half of the promise of 100 ms, since other work may share the device.
const DISPATCH_BUDGET: Duration = Duration::from_millis(50);
/// Work in one submission; well under the promise of 500 ms, and long against the 35 µs that a submission costs.
const SUBMISSION_BUDGET: Duration = Duration::from_millis(200);
/// Submissions that may wait in the queue: enough to keep the device busy, few enough to keep memory flat.
const IN_FLIGHT: usize = 3;
/// Guard zone behind a shared buffer, and the word that fills it.
const GUARD: (u64, u32) = (1024, 0x7fc0_dead);

/// Memory of the caller that a plan uses in place of its own.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    sets: HashMap<String, ParameterSet>,
    bindings: HashMap<Value, Binding>,
}

impl Resources {
    /// Nothing: the plan allocates everything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses `set` wherever the graph names the parameter set `name`.
    pub fn set(mut self, name: &str, set: &ParameterSet) -> Self {
        self.sets.insert(name.into(), set.clone());
        self
    }

    /// Uses `binding` as the memory of an input or state.
    pub fn bind(mut self, value: Value, binding: Binding) -> Self {
        self.bindings.insert(value, binding);
        self
    }
}

/// A launch with its pipeline and memory.
#[derive(Debug)]
struct Item {
    pipeline: Pipeline,
    bindings: Vec<Binding>,
    uniform: Vec<u32>,
    grid: [u32; 3],
    flops: f64,
    label: String,
}

/// Dispatches in order, and where submissions end.
#[derive(Debug, Default)]
struct Schedule {
    dispatches: Vec<Dispatch>,
    /// The item of each dispatch.
    owner: Vec<usize>,
    /// End of each submission in `dispatches`.
    ends: Vec<usize>,
    /// How often the whole list fits into one submission.
    repeats: usize,
}

/// What is known of the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measured {
    /// Nothing: cuts follow an estimate; pipelines may still compile at first use.
    Nothing,
    /// One replay has run: the next one is measured.
    Warm,
    /// Cuts follow measured times.
    Done,
}

/// A graph on a device, ready to replay: only the contents of input buffers change.
#[derive(Debug)]
pub struct Plan {
    gpu: Gpu,
    graph: Graph,
    memory: Memory,
    places: HashMap<Value, Place>,
    shared: Vec<Buffer>,
    external: HashMap<Value, Binding>,
    sets: HashMap<String, ParameterSet>,
    uniforms: Buffer,
    uniform_slot: u64,
    uniform_slots: usize,
    prepare: Vec<Item>,
    step: Vec<Item>,
    prepare_schedule: Schedule,
    schedule: Schedule,
    times: Vec<Duration>,
    measured: Measured,
    prepared: bool,
    budget: Duration,
    guards: Option<Vec<u64>>,
}

impl Draft {
    /// Allocates, compiles and binds. `resources` gives memory that is shared with others; what it leaves out is allocated.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::OutOfMemory`], [`Error::Pipeline`]; [`Error::UnknownName`] when a set lacks a tensor.
    pub fn build(&self, gpu: &Gpu, resources: Resources) -> Result<Plan> {
        let kernels: Vec<_> = self.kernels().collect();
        let pipelines = gpu.pipelines(&kernels)?;
        let guard = if self.options.guards { GUARD.0 } else { 0 };
        let shared: Vec<Buffer> =
            self.shared.iter().map(|&b| gpu.buffer("shared", b + guard)).collect::<Result<_>>()?;
        let prepared: Vec<Buffer> =
            self.prepared.iter().map(|&b| gpu.buffer("prepared", b)).collect::<Result<_>>()?;
        let Resources { mut sets, bindings: mut external } = resources;
        self.allocate_sets(gpu, &mut sets)?;
        for (&value, place) in &self.values {
            if matches!(place, Place::External(_)) {
                self.allocate_external(gpu, value, &mut external)?;
            }
        }
        let alignment = gpu.capabilities().uniform_alignment;
        let widest = self.prepare.iter().chain(&self.step).map(|l| 4 * l.uniform.len() as u64 + 16);
        let uniform_slot = widest.max().unwrap_or(16).next_multiple_of(alignment);
        let uniforms = gpu.uniform_buffer("uniforms", uniform_slot * self.uniform_slots as u64)?;

        let find = |place: &Place| -> Result<Binding> {
            match place {
                Place::Shared { buffer, bytes } => {
                    Ok(Binding { buffer: shared[*buffer].clone(), offset: 0, size: *bytes })
                }
                Place::Prepared(i) => Ok(prepared[*i].whole()),
                // bug: every external value was allocated above.
                Place::External(value) => Ok(external[value].clone()),
                Place::Slot { set, name } => {
                    sets.get(set).and_then(|s| s.binding(name)).ok_or_else(|| missing(set, name))
                }
                Place::Segment { set, index } => sets
                    .get(set)
                    .and_then(|s| s.segment(*index))
                    .ok_or_else(|| missing(set, &index.to_string())),
            }
        };
        let mut pipelines = pipelines.into_iter();
        let mut items = |launches: &[Placed]| -> Result<Vec<Item>> {
            launches
                .iter()
                .zip(pipelines.by_ref())
                .map(|(launch, pipeline)| {
                    Ok(Item {
                        pipeline,
                        bindings: launch.places.iter().map(find).collect::<Result<_>>()?,
                        uniform: launch.uniform.clone(),
                        grid: launch.grid,
                        flops: launch.flops,
                        label: launch.label.clone(),
                    })
                })
                .collect()
        };
        let prepare = items(&self.prepare)?;
        let step = items(&self.step)?;
        let mut plan = Plan {
            gpu: gpu.clone(),
            graph: self.graph.clone(),
            memory: self.memory(),
            places: self.values.clone(),
            external,
            sets,
            uniforms,
            uniform_slot,
            uniform_slots: self.uniform_slots,
            prepare,
            step,
            prepare_schedule: Schedule::default(),
            schedule: Schedule::default(),
            times: Vec::new(),
            measured: Measured::Nothing,
            prepared: false,
            budget: DISPATCH_BUDGET,
            guards: self.options.guards.then(|| self.shared.clone()),
            shared,
        };
        plan.fill_guards()?;
        plan.schedule_by_estimate()?;
        Ok(plan)
    }

    /// Sets that the caller did not give are laid out in the order in which the graph asked for their tensors.
    fn allocate_sets(&self, gpu: &Gpu, sets: &mut HashMap<String, ParameterSet>) -> Result<()> {
        let mut wanted: Vec<(&str, Vec<Value>)> = Vec::new();
        for (i, info) in self.graph.values.iter().enumerate() {
            if let Kind::Parameter { set } = &info.kind
                && !sets.contains_key(set)
            {
                match wanted.iter_mut().find(|(name, _)| name == set) {
                    Some((_, values)) => values.push(Value(i)),
                    None => wanted.push((set, vec![Value(i)])),
                }
            }
        }
        for (name, values) in wanted {
            let tensors = values.iter().map(|&v| (self.graph.name(v), self.graph.shape(v).clone()));
            let layout = ParameterLayout::new(tensors, gpu.capabilities().max_binding)?;
            sets.insert(name.to_owned(), ParameterSet::zeros(gpu, name, &Arc::new(layout))?);
        }
        Ok(())
    }

    fn allocate_external(
        &self,
        gpu: &Gpu,
        value: Value,
        external: &mut HashMap<Value, Binding>,
    ) -> Result<()> {
        let info = &self.graph.values[value.0];
        let bytes = info.tensor.bytes();
        if let Some(given) = external.get(&value) {
            if given.size != bytes {
                let problem = format!("{} has {bytes} bytes, {} are bound", info.name, given.size);
                return Err(Error::shape("plan", problem, "bind memory of the value's size"));
            }
            return Ok(());
        }
        let buffer = gpu.buffer(&info.name, bytes)?;
        if let Kind::Constant(data) = &info.kind {
            gpu.write(&buffer, 0, data)?;
        }
        external.insert(value, Binding { buffer, offset: 0, size: bytes });
        Ok(())
    }
}

fn missing(set: &str, name: &str) -> Error {
    Error::UnknownName { kind: "tensor of a parameter set", name: format!("{set}/{name}"), nearest: None }
}

/// Cuts a grid into boxes of at most [`GRID_LIMIT`] each way, about `parts` of them: (origin, size).
fn cut(grid: [u32; 3], parts: u32) -> Vec<([u32; 3], [u32; 3])> {
    let longest = (0..3).max_by_key(|&i| grid[i]).unwrap_or(0);
    let mut boxes = vec![([0; 3], grid)];
    for axis in 0..3 {
        let wanted = if axis == longest { parts.clamp(1, grid[axis].max(1)) } else { 1 };
        let size = grid[axis].div_ceil(wanted).min(GRID_LIMIT);
        if size >= grid[axis] {
            continue;
        }
        boxes = boxes
            .into_iter()
            .flat_map(|(origin, extent): ([u32; 3], [u32; 3])| {
                (0..extent[axis]).step_by(size as usize).map(move |start| {
                    let (mut o, mut e) = (origin, extent);
                    o[axis] += start;
                    e[axis] = size.min(extent[axis] - start);
                    (o, e)
                })
            })
            .collect();
    }
    boxes
}

impl Plan {
    /// What the plan takes, as its draft announced.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// A parameter set that the plan uses.
    pub fn parameters(&self, set: &str) -> Option<&ParameterSet> {
        self.sets.get(set)
    }

    /// Dispatches of one step.
    pub fn dispatches(&self) -> usize {
        self.schedule.dispatches.len()
    }

    /// Cuts every dispatch that takes longer than `budget` when measured. Shorter than the default only in tests.
    pub fn set_dispatch_budget(&mut self, budget: Duration) {
        self.budget = budget;
        if self.measured == Measured::Done {
            self.measured = Measured::Warm;
        }
    }

    /// The memory of an input, state or output.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when the plan keeps no such value.
    pub fn binding(&self, value: Value) -> Result<Binding> {
        let kept = match self.places.get(&value) {
            Some(Place::Shared { buffer, bytes }) => {
                Some(Binding { buffer: self.shared[*buffer].clone(), offset: 0, size: *bytes })
            }
            Some(Place::External(_)) => self.external.get(&value).cloned(),
            Some(Place::Slot { set, name }) => self.sets.get(set).and_then(|s| s.binding(name)),
            Some(Place::Segment { set, index }) => self.sets.get(set).and_then(|s| s.segment(*index)),
            Some(Place::Prepared(_)) | None => None,
        };
        kept.ok_or_else(|| Error::UnknownName {
            kind: "value of the plan",
            name: self.graph.name(value).into(),
            nearest: None,
        })
    }

    /// True when the plan reads or keeps `value`: an input that nothing uses has no memory.
    pub fn uses(&self, value: Value) -> bool {
        self.places.contains_key(&value)
    }

    fn write_bytes(&self, value: Value, bytes: &[u8]) -> Result<()> {
        let binding = self.binding(value)?;
        if binding.size != bytes.len() as u64 {
            let problem = format!(
                "{} is {}, {} elements were given",
                self.graph.name(value),
                self.graph.shape(value),
                bytes.len() / 4
            );
            return Err(Error::shape("plan", problem, "write all elements at once"));
        }
        self.gpu.write(&binding.buffer, binding.offset, bytes)
    }

    /// Writes an input or state.
    pub fn write(&self, value: Value, data: &[f32]) -> Result<()> {
        self.write_bytes(value, bytemuck::cast_slice(data))
    }

    /// Writes an input or state of unsigned integers.
    pub fn write_u32(&self, value: Value, data: &[u32]) -> Result<()> {
        self.write_bytes(value, bytemuck::cast_slice(data))
    }

    /// Reads an output or state back.
    pub fn read(&self, value: Value) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.gpu.read(&self.binding(value)?)?))
    }

    /// Reads an output or state of unsigned integers back.
    pub fn read_u32(&self, value: Value) -> Result<Vec<u32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.gpu.read(&self.binding(value)?)?))
    }

    /// Says that parameters have been written: packed copies are made again before the next step.
    pub fn parameters_changed(&mut self) {
        self.prepared = false;
    }

    /// Replays the step once.
    pub fn run(&mut self) -> Result<()> {
        self.replay(1)
    }

    /// Replays the step `count` times and returns when the last one is submitted; nothing is read back in between.
    ///
    /// # Errors
    /// What the device reported: [`Error::DeviceLost`], [`Error::OutOfMemory`], [`Error::Validation`].
    pub fn replay(&mut self, mut count: usize) -> Result<()> {
        if !self.prepared {
            submit_all(&self.gpu, &self.prepare_schedule)?;
            self.prepared = true;
        }
        while count > 0 && self.measured != Measured::Done {
            match self.measured {
                Measured::Nothing => {
                    submit_all(&self.gpu, &self.schedule)?;
                    self.measured = Measured::Warm;
                }
                _ => self.measure()?,
            }
            count -= 1;
        }
        let mut queued = std::collections::VecDeque::new();
        while count > 0 {
            let repeats = self.schedule.repeats.clamp(1, count);
            let mut start = 0;
            for &end in &self.schedule.ends {
                let range = &self.schedule.dispatches[start..end];
                queued.push_back(self.gpu.submit((0..repeats).flat_map(|_| range))?);
                start = end;
                if queued.len() > IN_FLIGHT
                    && let Some(oldest) = queued.pop_front()
                {
                    self.gpu.wait_for(oldest)?;
                }
            }
            count -= repeats;
        }
        Ok(())
    }

    /// Replays once, each launch by itself, and returns (label, wall-clock time, FLOPs) in order. The time of an empty
    /// submission is taken off.
    pub fn profile(&mut self) -> Result<Vec<(String, Duration, f64)>> {
        if self.measured == Measured::Nothing || !self.prepared {
            self.replay(1)?;
        }
        self.measure()?;
        Ok(self.step.iter().zip(&self.times).map(|(i, t)| (i.label.clone(), *t, i.flops)).collect())
    }

    /// Replays once with a wait behind every launch, then cuts and groups by the times.
    fn measure(&mut self) -> Result<()> {
        self.gpu.wait()?;
        let mut idle = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            self.gpu.submit([])?;
            self.gpu.wait()?;
            idle = idle.min(start.elapsed());
        }
        let mut times = vec![Duration::ZERO; self.step.len()];
        for (dispatch, &owner) in self.schedule.dispatches.iter().zip(&self.schedule.owner) {
            let start = Instant::now();
            self.gpu.submit([dispatch])?;
            self.gpu.wait()?;
            times[owner] += start.elapsed().saturating_sub(idle);
        }
        let parts: Vec<u32> = times
            .iter()
            .map(|t| t.as_nanos().div_ceil(self.budget.as_nanos()).clamp(1, 1 << 16) as u32)
            .collect();
        self.times = times;
        self.measured = Measured::Done;
        self.rebuild(&parts)
    }

    /// Cuts by an estimate of the device's speed, low enough that a watchdog does not see the first replay.
    fn schedule_by_estimate(&mut self) -> Result<()> {
        let flops_per_second = match self.gpu.capabilities().kind {
            DeviceKind::Software => 2e9,
            _ => 50e9,
        };
        let guess = |items: &[Item]| -> Vec<Duration> {
            let floor = Duration::from_micros(20);
            items.iter().map(|i| Duration::from_secs_f64(i.flops / flops_per_second).max(floor)).collect()
        };
        let prepare_times = guess(&self.prepare);
        self.times = guess(&self.step);
        let ones = vec![1; self.prepare.len()];
        self.prepare_schedule = self.arrange(&self.prepare, &ones, &prepare_times, 0)?;
        // A software device has no watchdog, and cutting there only costs.
        let cut_first = self.gpu.capabilities().kind != DeviceKind::Software;
        let parts: Vec<u32> = self
            .times
            .iter()
            .map(|t| if cut_first { t.as_nanos().div_ceil(self.budget.as_nanos()) as u32 } else { 1 })
            .collect();
        self.rebuild(&parts)
    }

    fn rebuild(&mut self, parts: &[u32]) -> Result<()> {
        let first = self.prepare_schedule.dispatches.len();
        let room = self.uniform_slots.saturating_sub(first);
        // Cuts beyond the room for uniform blocks are not made; the longest launches keep theirs.
        let mut parts = parts.to_vec();
        while parts.iter().map(|&p| p as usize).sum::<usize>() > room {
            match parts.iter_mut().max() {
                Some(most) if *most > 1 => *most = most.div_ceil(2),
                _ => break,
            }
        }
        self.schedule = self.arrange(&self.step, &parts, &self.times, first)?;
        Ok(())
    }

    /// Bind groups and uniform blocks for `items` cut into `parts`, blocks from slot `first` on.
    fn arrange(&self, items: &[Item], parts: &[u32], times: &[Duration], first: usize) -> Result<Schedule> {
        let mut schedule = Schedule::default();
        let mut blocks: Vec<u8> = Vec::new();
        let mut pending = Duration::ZERO;
        let mut total = Duration::ZERO;
        for (owner, item) in items.iter().enumerate() {
            let boxes = cut(item.grid, parts[owner]);
            let each = times[owner] / boxes.len().max(1) as u32;
            for (origin, extent) in boxes {
                let slot = first + schedule.dispatches.len();
                if slot >= self.uniform_slots {
                    return Err(Error::Limit {
                        what: item.label.clone(),
                        needed: slot as u64 + 1,
                        limit: self.uniform_slots as u64,
                        unit: "dispatches in one plan",
                        remedy: "use a smaller batch",
                    });
                }
                let mut words = vec![origin[0], origin[1], origin[2], 0];
                words.extend(&item.uniform);
                blocks.extend(bytemuck::cast_slice::<u32, u8>(&words));
                blocks.resize((slot + 1 - first) * self.uniform_slot as usize, 0);
                let uniform = Binding {
                    buffer: self.uniforms.clone(),
                    offset: slot as u64 * self.uniform_slot,
                    size: self.uniform_slot,
                };
                if pending + each > SUBMISSION_BUDGET && !pending.is_zero() {
                    schedule.ends.push(schedule.dispatches.len());
                    pending = Duration::ZERO;
                }
                schedule.dispatches.push(self.gpu.dispatch(&item.pipeline, &item.bindings, &uniform, extent));
                schedule.owner.push(owner);
                pending += each;
                total += each;
            }
        }
        schedule.ends.push(schedule.dispatches.len());
        if !blocks.is_empty() {
            self.gpu.write(&self.uniforms, first as u64 * self.uniform_slot, &blocks)?;
        }
        let fits = SUBMISSION_BUDGET.as_nanos() / total.as_nanos().max(1_000);
        schedule.repeats = if schedule.ends.len() == 1 { fits.clamp(1, 32) as usize } else { 1 };
        Ok(schedule)
    }

    fn fill_guards(&self) -> Result<()> {
        let words = vec![GUARD.1; GUARD.0 as usize / 4];
        for (buffer, &bytes) in self.shared.iter().zip(self.guards.iter().flatten()) {
            self.gpu.write(buffer, bytes, bytemuck::cast_slice(&words))?;
        }
        Ok(())
    }

    /// Says whether the guard zones behind shared buffers are untouched; true when there are none.
    pub fn guards_hold(&self) -> Result<bool> {
        for (buffer, &bytes) in self.shared.iter().zip(self.guards.iter().flatten()) {
            let zone = Binding { buffer: buffer.clone(), offset: bytes, size: GUARD.0 };
            let words: Vec<u32> = bytemuck::pod_collect_to_vec(&self.gpu.read(&zone)?);
            if words.iter().any(|w| *w != GUARD.1) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn submit_all(gpu: &Gpu, schedule: &Schedule) -> Result<()> {
    let mut start = 0;
    for &end in &schedule.ends {
        gpu.submit(&schedule.dispatches[start..end])?;
        start = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DraftOptions;
    use crate::ops::elementwise;

    #[test]
    fn a_small_graph_and_its_gradient() -> Result<()> {
        let gpu = Gpu::open(&crate::gpu::Options::default())?;
        let mut g = Graph::new();
        let a = g.input("a", [5]);
        let b = g.parameter("weights", "b", [5])?;
        let product = elementwise::mul(&mut g, a, b)?;
        let y = elementwise::combine(&mut g, &[(product, 2.0), (a, -1.0)])?;
        let seed = g.input("seed", [5]);
        let grads = g.backward(&[(y, seed)], &[a, b])?;
        let (grad_a, grad_b) = (grads[0].unwrap(), grads[1].unwrap());
        let draft = Draft::new(&g, &[y, grad_a, grad_b], gpu.capabilities(), DraftOptions::default())?;
        let mut plan = draft.build(&gpu, Resources::new())?;
        plan.write(a, &[1.0, 2.0, 3.0, 4.0, 5.0])?;
        plan.write(seed, &[1.0, 1.0, 1.0, 1.0, -1.0])?;
        plan.parameters("weights").unwrap().write("b", &[0.5, 1.0, 1.5, 2.0, 2.5])?;
        for _ in 0..4 {
            plan.run()?;
            assert_eq!(plan.read(y)?, [0.0, 2.0, 6.0, 12.0, 20.0]);
            assert_eq!(plan.read(grad_a)?, [0.0, 1.0, 2.0, 3.0, -4.0]);
            assert_eq!(plan.read(grad_b)?, [2.0, 4.0, 6.0, 8.0, -10.0]);
        }
        Ok(())
    }

    #[test]
    fn cuts_cover_the_grid_once() {
        for (grid, parts) in [([1, 1, 1], 4), ([70_000, 3, 1], 1), ([10, 7, 2], 3), ([200_000, 1, 1], 5)] {
            let boxes = cut(grid, parts);
            let cells: u64 =
                boxes.iter().map(|(_, e)| e.iter().map(|&d| u64::from(d)).product::<u64>()).sum();
            assert_eq!(cells, grid.iter().map(|&d| u64::from(d)).product::<u64>(), "{grid:?} in {parts}");
            for (origin, extent) in &boxes {
                for axis in 0..3 {
                    assert!(extent[axis] >= 1 && extent[axis] <= GRID_LIMIT);
                    assert!(origin[axis] + extent[axis] <= grid[axis]);
                }
            }
        }
    }
}
