//! A plan: pipelines, buffers and bind groups, ready to replay.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::draft::{Draft, LocatedLaunch, Location};
use super::guards::Guards;
use super::memory::Memory;
use super::parameters::{ParameterLayout, ParameterSet};
use super::replay::Replayer;
use super::schedule::BoundLaunch;
use super::trace::{Graph, Kind, Value};
use crate::error::{Error, Result};
use crate::gpu::{Binding, Buffer, Gpu, blocking};

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

/// A graph on a device, ready to replay: only the contents of input buffers change.
#[derive(Debug)]
pub struct Plan {
    gpu: Gpu,
    graph: Graph,
    memory: Memory,
    locations: HashMap<Value, Location>,
    shared: Vec<Buffer>,
    external: HashMap<Value, Binding>,
    sets: HashMap<String, ParameterSet>,
    replayer: Replayer,
    guards: Guards,
}

impl Draft {
    /// Allocates, compiles and binds. `resources` gives memory that is shared with others; what it leaves out is allocated.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::OutOfMemory`], [`Error::Pipeline`]; [`Error::UnknownName`] when a set lacks a tensor.
    pub async fn build_async(&self, gpu: &Gpu, resources: Resources) -> Result<Plan> {
        let kernels: Vec<_> = self.kernels().collect();
        let pipelines = gpu.pipelines_async(&kernels).await?;
        let mut guards = Guards::new(self.options.guards);
        let shared = guards.scratch(gpu, "shared", &self.shared).await?;
        let prepared = guards.scratch(gpu, "prepared", &self.prepared).await?;
        let Resources { mut sets, bindings: mut external } = resources;
        self.allocate_sets(gpu, &mut sets).await?;
        for (&value, location) in &self.locations {
            if matches!(location, Location::External(_)) {
                self.allocate_external(gpu, value, &mut external, &mut guards).await?;
            }
        }
        let find = |location: &Location| -> Result<Binding> {
            match location {
                Location::Shared { buffer, bytes } => {
                    Ok(guards.view(Binding { buffer: shared[*buffer].clone(), offset: 0, size: *bytes }))
                }
                Location::Prepared(i) => Ok(prepared[*i].whole()),
                // bug: every external value was allocated above.
                Location::External(value) => Ok(guards.view(external[value].clone())),
                Location::Slot { set, name } => {
                    sets.get(set).and_then(|s| s.binding(name)).ok_or_else(|| missing(set, name))
                }
                Location::Segment { set, index } => sets
                    .get(set)
                    .and_then(|s| s.segment(*index))
                    .ok_or_else(|| missing(set, &index.to_string())),
            }
        };
        let mut pipelines = pipelines.into_iter();
        let mut bound = |launches: &[LocatedLaunch]| -> Result<Vec<BoundLaunch>> {
            launches
                .iter()
                .zip(pipelines.by_ref())
                .map(|(launch, pipeline)| {
                    Ok(BoundLaunch {
                        pipeline,
                        bindings: launch.locations.iter().map(find).collect::<Result<_>>()?,
                        uniform: launch.uniform.iter().map(|(_, value)| value.bits()).collect(),
                        grid: launch.grid,
                        flops: launch.flops,
                        label: launch.label.clone(),
                    })
                })
                .collect()
        };
        let (prepare, step) = (bound(&self.prepare)?, bound(&self.step)?);
        let replayer = Replayer::new(gpu, &prepare, step, self.uniform_slots).await?;
        guards.fill(gpu)?;
        Ok(Plan {
            gpu: gpu.clone(),
            graph: self.graph.clone(),
            memory: self.memory(),
            locations: self.locations.clone(),
            shared,
            external,
            sets,
            replayer,
            guards,
        })
    }

    /// [`Draft::build_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Draft::build_async`]; [`Error::CannotBlock`] in a browser.
    pub fn build(&self, gpu: &Gpu, resources: Resources) -> Result<Plan> {
        blocking(self.build_async(gpu, resources))
    }

    /// Sets that the caller did not give are laid out in the order in which the graph asked for their tensors.
    async fn allocate_sets(&self, gpu: &Gpu, sets: &mut HashMap<String, ParameterSet>) -> Result<()> {
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
            sets.insert(name.to_owned(), ParameterSet::zeros_async(gpu, name, &Arc::new(layout)).await?);
        }
        Ok(())
    }

    async fn allocate_external(
        &self,
        gpu: &Gpu,
        value: Value,
        external: &mut HashMap<Value, Binding>,
        guards: &mut Guards,
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
        let buffer = guards.kept(gpu, &info.name, bytes).await?;
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
        self.replayer.dispatches()
    }

    /// Replays the step once.
    ///
    /// # Errors
    /// As [`Plan::replay_async`].
    pub async fn run_async(&mut self) -> Result<()> {
        self.replay_async(1).await
    }

    /// [`Plan::run_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Plan::replay`].
    pub fn run(&mut self) -> Result<()> {
        self.replay(1)
    }

    /// Replays the step `count` times and returns when the last one is submitted; nothing is read back in between.
    ///
    /// # Errors
    /// What the device reported: [`Error::DeviceLost`], [`Error::OutOfMemory`], [`Error::Validation`].
    pub async fn replay_async(&mut self, count: usize) -> Result<()> {
        self.replayer.replay(count).await
    }

    /// [`Plan::replay_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Plan::replay_async`]; [`Error::CannotBlock`] in a browser.
    pub fn replay(&mut self, count: usize) -> Result<()> {
        blocking(self.replay_async(count))
    }

    /// [`Plan::run_async`] for whoever waits long: `watch` hears, whenever a submission has ended, the share of the step's operations that
    /// are done. At most three submissions are still under way when it returns.
    ///
    /// # Errors
    /// As [`Plan::replay_async`].
    pub async fn run_watched_async(&mut self, watch: impl FnMut(f64)) -> Result<()> {
        self.replayer.run_watched(watch).await
    }

    /// [`Plan::run_watched_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Plan::replay`].
    pub fn run_watched(&mut self, watch: &mut dyn FnMut(f64)) -> Result<()> {
        blocking(self.run_watched_async(watch))
    }

    /// Cuts every dispatch that takes longer than `budget` when measured. Shorter than the default only in tests.
    pub fn set_dispatch_budget(&mut self, budget: Duration) {
        self.replayer.set_dispatch_budget(budget);
    }

    /// Replays once, each launch by itself, and returns (label, time, FLOPs) in order.
    ///
    /// # Errors
    /// As [`Plan::replay_async`].
    pub async fn profile_async(&mut self) -> Result<Vec<(String, Duration, f64)>> {
        self.replayer.slices().await?;
        Ok(self.replayer.profile())
    }

    /// [`Plan::profile_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Plan::replay`].
    pub fn profile(&mut self) -> Result<Vec<(String, Duration, f64)>> {
        blocking(self.profile_async())
    }

    /// Replays once, each dispatch by itself, and returns (label, time, FLOPs) of each in order: a launch that was cut has several.
    ///
    /// The times are the device's own stamps where it has them, else the processor's, an empty submission's taken off.
    ///
    /// # Errors
    /// As [`Plan::replay_async`].
    pub async fn slices_async(&mut self) -> Result<Vec<(String, Duration, f64)>> {
        let slices = self.replayer.slices().await?;
        Ok(self.replayer.labelled(slices))
    }

    /// [`Plan::slices_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Plan::replay`].
    pub fn slices(&mut self) -> Result<Vec<(String, Duration, f64)>> {
        blocking(self.slices_async())
    }

    /// Replays `count` times and returns the time of one replay: by the device's stamps around each submission where it has them,
    /// else by the processor's clock around all of them.
    ///
    /// # Errors
    /// As [`Plan::replay_async`].
    pub async fn time_async(&mut self, count: usize) -> Result<Duration> {
        self.replayer.time(count).await
    }

    /// [`Plan::time_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Plan::replay`].
    pub fn time(&mut self, count: usize) -> Result<Duration> {
        blocking(self.time_async(count))
    }

    /// The longest submission by the measured times of its dispatches.
    pub fn longest_submission(&self) -> Duration {
        self.replayer.longest_submission()
    }

    /// The memory of an input, state or output.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when the plan keeps no such value.
    pub fn binding(&self, value: Value) -> Result<Binding> {
        let kept = match self.locations.get(&value) {
            Some(Location::Shared { buffer, bytes }) => {
                Some(Binding { buffer: self.shared[*buffer].clone(), offset: 0, size: *bytes })
            }
            Some(Location::External(_)) => self.external.get(&value).cloned(),
            Some(Location::Slot { set, name }) => self.sets.get(set).and_then(|s| s.binding(name)),
            Some(Location::Segment { set, index }) => self.sets.get(set).and_then(|s| s.segment(*index)),
            Some(Location::Prepared(_)) | None => None,
        };
        kept.ok_or_else(|| Error::UnknownName {
            kind: "value of the plan",
            name: self.graph.name(value).into(),
            nearest: None,
        })
    }

    /// True when the plan reads or keeps `value`: an input that nothing uses has no memory.
    pub fn uses(&self, value: Value) -> bool {
        self.locations.contains_key(&value)
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
    ///
    /// # Errors
    /// [`Error::UnknownName`] when the plan keeps no such value; as [`Gpu::read_async`].
    pub async fn read_async(&self, value: Value) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.gpu.read_async(&self.binding(value)?).await?))
    }

    /// [`Plan::read_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Plan::read_async`]; [`Error::CannotBlock`] in a browser.
    pub fn read(&self, value: Value) -> Result<Vec<f32>> {
        blocking(self.read_async(value))
    }

    /// Reads an output or state of unsigned integers back.
    ///
    /// # Errors
    /// As [`Plan::read_async`].
    pub async fn read_u32_async(&self, value: Value) -> Result<Vec<u32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.gpu.read_async(&self.binding(value)?).await?))
    }

    /// [`Plan::read_u32_async`], blocking the thread.
    ///
    /// # Errors
    /// As [`Plan::read`].
    pub fn read_u32(&self, value: Value) -> Result<Vec<u32>> {
        blocking(self.read_u32_async(value))
    }

    /// Says that parameters have been written: packed copies are made again before the next step.
    pub fn parameters_changed(&mut self) {
        self.replayer.parameters_changed();
    }

    /// Says whether the guard zones are untouched; true when the draft asked for none.
    pub fn guards_hold(&self) -> Result<bool> {
        blocking(self.guards.hold(&self.gpu))
    }

    /// Where the draft asked for guards: makes temporaries, workspaces and packed weights NaN again, so that the next replay shows
    /// whatever it reads without having written it.
    pub fn poison(&mut self) -> Result<()> {
        self.replayer.parameters_changed();
        self.guards.fill(&self.gpu)
    }
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
        let mut heard = Vec::new();
        for _ in 0..4 {
            plan.run_watched(&mut |share| heard.push(share))?;
            assert_eq!(plan.read(y)?, [0.0, 2.0, 6.0, 12.0, 20.0]);
            assert_eq!(plan.read(grad_a)?, [0.0, 1.0, 2.0, 3.0, -4.0]);
            assert_eq!(plan.read(grad_b)?, [2.0, 4.0, 6.0, 8.0, -10.0]);
        }
        plan.run()?;
        assert_eq!(plan.read(y)?, [0.0, 2.0, 6.0, 12.0, 20.0]);
        // The second replay is the measured one, in which every dispatch is waited for.
        assert!(
            heard.len() == plan.dispatches() && heard.is_sorted() && heard.last() == Some(&1.0),
            "{heard:?}"
        );
        Ok(())
    }
}
