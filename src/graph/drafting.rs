//! How a draft is made: which ops run, which kernels they take, and where their operands lie.

use std::collections::{HashMap, HashSet};

use super::choice::{Choice, Rival};
use super::class::Class;
use super::draft::{Chosen, Draft, DraftOptions, DraftedNode, LocatedLaunch, Location};
use super::launch::{Launch, Operand};
use super::liveness::{self, Assignment, Interval};
use super::memory::Memory;
use super::parameters::ALIGNMENT;
use super::trace::{Graph, Kind, Value};
use crate::error::{Error, Result};
use crate::gpu::Capabilities;

impl Draft {
    /// Chooses kernels and memory for what `outputs` and every op that mutates need; the rest is left out.
    ///
    /// # Errors
    /// [`Error::Limit`] when one tensor exceeds the device's largest binding.
    pub fn new(
        graph: &Graph,
        outputs: &[Value],
        device: &Capabilities,
        options: DraftOptions,
    ) -> Result<Self> {
        Drafting::new(graph, outputs, device, options).run()
    }

    /// The same graph drafted by another choice.
    ///
    /// # Errors
    /// As [`Draft::new`].
    pub fn with_choice(&self, choice: Choice) -> Result<Self> {
        let options = DraftOptions { choice, ..self.options.clone() };
        Self::new(&self.graph, &self.outputs, &self.device, options)
    }
}

/// The state of drafting.
struct Drafting<'a> {
    graph: &'a Graph,
    outputs: &'a [Value],
    device: &'a Capabilities,
    options: DraftOptions,
    /// Nodes that run, by index in the graph, in order. Positions below count these.
    kept: Vec<usize>,
    /// The last position that reads each value.
    last_use: HashMap<Value, usize>,
    intervals: Vec<Interval>,
    interval_of: HashMap<Value, usize>,
    prepared: Vec<u64>,
    /// The first prepared buffer by what it is made of: op, candidate and values. Ops that are computed twice share it.
    prepared_from: HashMap<(String, String, Vec<Value>), usize>,
    prepare: Vec<(Launch, Source)>,
    step: Vec<(Launch, Source)>,
    nodes: Vec<DraftedNode>,
    chosen: Vec<Chosen>,
    unmet: Vec<String>,
}

/// Where the operands of a launch come from.
#[derive(Clone)]
struct Source {
    node: usize,
    /// Intervals of the workspaces.
    workspaces: Vec<usize>,
    prepared: PreparedIn,
    class: Class,
}

#[derive(Clone)]
enum PreparedIn {
    /// Buffers that keep their contents, filled by `prepare`: the first index.
    Kept(usize),
    /// Intervals, filled in each step.
    Intervals(Vec<usize>),
}

impl<'a> Drafting<'a> {
    fn new(graph: &'a Graph, outputs: &'a [Value], device: &'a Capabilities, options: DraftOptions) -> Self {
        Self {
            graph,
            outputs,
            device,
            options,
            kept: Vec::new(),
            last_use: HashMap::new(),
            intervals: Vec::new(),
            interval_of: HashMap::new(),
            prepared: Vec::new(),
            prepared_from: HashMap::new(),
            prepare: Vec::new(),
            step: Vec::new(),
            nodes: Vec::new(),
            chosen: Vec::new(),
            unmet: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Draft> {
        self.keep_what_is_needed();
        let end = self.kept.len().saturating_sub(1);
        for (position, &index) in self.kept.iter().enumerate() {
            for &input in &self.graph.nodes[index].inputs {
                self.last_use.insert(input, position);
            }
        }
        for &output in self.outputs {
            self.last_use.insert(output, end);
        }
        let changing = self.sets_that_change();
        for position in 0..self.kept.len() {
            self.lower(position, &changing)?;
        }
        self.finish()
    }

    fn keep_what_is_needed(&mut self) {
        let mut needed: HashSet<Value> = self.outputs.iter().copied().collect();
        for (index, node) in self.graph.nodes.iter().enumerate().rev() {
            let placed = node.outputs.iter().any(|v| self.graph.values[v.0].slot.is_some());
            let wanted = placed || !node.op.mutates().is_empty();
            if wanted || node.outputs.iter().any(|v| needed.contains(v)) {
                needed.extend(&node.inputs);
                self.kept.push(index);
            }
        }
        self.kept.reverse();
    }

    /// Parameter sets that a step itself changes: what is prepared from them is prepared in every step.
    fn sets_that_change(&self) -> HashSet<&'a str> {
        let mut sets = HashSet::new();
        for &index in &self.kept {
            let node = &self.graph.nodes[index];
            for &i in node.op.mutates() {
                match &self.graph.values[node.inputs[i].0].kind {
                    Kind::Parameter { set } | Kind::Segment { set, .. } => {
                        sets.insert(set.as_str());
                    }
                    _ => {}
                }
            }
        }
        sets
    }

    /// True when the value is the same in every replay until parameters are written.
    fn is_fixed(&self, value: Value, changing: &HashSet<&str>) -> bool {
        match &self.graph.values[value.0].kind {
            Kind::Parameter { set } | Kind::Segment { set, .. } => !changing.contains(set.as_str()),
            Kind::Constant(_) => true,
            _ => false,
        }
    }

    /// The interval whose memory output 0 of the node takes over, if it may.
    fn taken_over(&self, position: usize) -> Option<usize> {
        let node = &self.graph.nodes[self.kept[position]];
        let input = node.inputs[node.op.in_place()?];
        let output = node.outputs[0];
        let interval = *self.interval_of.get(&input)?;
        let info = |v: Value| &self.graph.values[v.0];
        let dies = self.last_use.get(&input) == Some(&position);
        let once = node.inputs.iter().filter(|v| **v == input).count() == 1;
        let fits = info(input).tensor.bytes() == info(output).tensor.bytes();
        (dies && once && fits && info(output).slot.is_none()).then_some(interval)
    }

    fn lower(&mut self, position: usize, changing: &HashSet<&str>) -> Result<()> {
        let index = self.kept[position];
        let node = &self.graph.nodes[index];
        let mut io = self.graph.io(node);
        let taken = self.taken_over(position);
        io.in_place = taken.is_some();
        for (tensor, value) in
            io.inputs.iter().chain(&io.outputs).zip(node.inputs.iter().chain(&node.outputs))
        {
            self.fits(tensor.bytes(), || format!("{} ({})", self.graph.name(*value), tensor.shape))?;
        }
        let mut rivals = Vec::new();
        let mut candidates = node.op.candidates(&io, self.device);
        candidates.retain(|candidate| match candidate.arithmetic.lacking(self.device) {
            Some(why) => {
                rivals.push(Rival { name: candidate.name(), why });
                false
            }
            None => true,
        });
        // bug: an op without candidates breaks the contract of `Op::candidates`.
        assert!(!candidates.is_empty(), "{} has no kernel for {io:?}", node.op.name());
        let key = node.op.key(&io);
        let choice = &self.options.choice;
        let outcome = choice.outcome(&key, &candidates);
        if let Some(unmet) = outcome.unmet.filter(|unmet| !self.unmet.contains(unmet)) {
            self.unmet.push(unmet);
        }
        let of = candidates.len();
        let mut candidate = candidates.remove(outcome.index);
        rivals
            .splice(0..0, candidates.iter().map(|c| Rival { name: c.name(), why: choice.reason(c).into() }));
        let name = self.graph.name(node.outputs.first().copied().unwrap_or(node.inputs[0])).to_owned();
        let op = if node.outputs.is_empty() { node.op.name().to_owned() } else { name };
        for &needed in candidate.workspaces.iter().chain(&candidate.prepared) {
            self.fits(needed, || format!("scratch memory of {op}"))?;
        }

        for (i, &output) in node.outputs.iter().enumerate() {
            let end = self.last_use.get(&output).copied().unwrap_or(position);
            if let (0, Some(interval)) = (i, taken) {
                self.intervals[interval].end = end;
                self.interval_of.insert(output, interval);
            } else if self.graph.values[output.0].slot.is_none() {
                let bytes = self.graph.values[output.0].tensor.bytes();
                let interval = self.interval(bytes, position, end);
                self.interval_of.insert(output, interval);
            }
        }
        let workspaces = candidate.workspaces.iter().map(|&b| self.interval(b, position, position)).collect();
        let packed_from: Vec<Value> = candidate
            .prepare
            .iter()
            .flat_map(|launch| &launch.operands)
            .filter_map(|operand| match operand {
                Operand::Input(i) => Some(node.inputs[*i]),
                _ => None,
            })
            .collect();
        let fixed = packed_from.iter().all(|&value| self.is_fixed(value, changing));
        let prepared = if fixed {
            match self.prepared_from.entry((key.without_images(), candidate.name(), packed_from)) {
                std::collections::hash_map::Entry::Occupied(known) => {
                    candidate.prepare.clear();
                    PreparedIn::Kept(*known.get())
                }
                std::collections::hash_map::Entry::Vacant(new) => {
                    let first = *new.insert(self.prepared.len());
                    self.prepared.extend(&candidate.prepared);
                    PreparedIn::Kept(first)
                }
            }
        } else {
            let own = candidate.prepared.iter().map(|&b| self.interval(b, position, position));
            PreparedIn::Intervals(own.collect())
        };
        let source = Source { node: index, workspaces, prepared, class: candidate.class };
        let list = if fixed { &mut self.prepare } else { &mut self.step };
        list.extend(candidate.prepare.drain(..).map(|l| (l, source.clone())));
        self.step.extend(candidate.launches.drain(..).map(|l| (l, source.clone())));
        let (settled, prepares) = (outcome.settled, !fixed || self.options.parameters_change);
        self.nodes.push(DraftedNode { node: index, in_place: io.in_place, settled, prepares });
        self.chosen.push(Chosen {
            op,
            class: candidate.class,
            order: candidate.order(),
            variant: candidate.variant,
            arithmetic: candidate.arithmetic,
            of,
            rivals,
            flops: node.op.flops(&io),
            bytes: node.op.bytes(&io),
            key,
        });
        Ok(())
    }

    /// An error unless one binding holds so many bytes.
    fn fits(&self, needed: u64, what: impl FnOnce() -> String) -> Result<()> {
        let limit = self.device.max_binding;
        if needed <= limit {
            return Ok(());
        }
        let (unit, remedy) = ("bytes in one binding", "use a smaller batch or image");
        Err(Error::Limit { what: what(), needed, limit, unit, remedy })
    }

    fn interval(&mut self, bytes: u64, start: usize, end: usize) -> usize {
        // A guard zone begins right behind the last element.
        let bytes =
            if self.options.guards { bytes.next_multiple_of(4) } else { bytes.max(16).next_multiple_of(16) };
        self.intervals.push(Interval { bytes, start, end });
        self.intervals.len() - 1
    }

    /// Where a value lies.
    fn location(&self, assignment: &Assignment, value: Value) -> Location {
        let info = &self.graph.values[value.0];
        match (&info.kind, &info.slot) {
            (Kind::Temporary, Some((set, name))) => Location::Slot { set: set.clone(), name: name.clone() },
            (Kind::Temporary, None) => Location::Shared {
                buffer: assignment.buffer[self.interval_of[&value]],
                bytes: info.tensor.bytes(),
            },
            (Kind::Parameter { set }, _) => Location::Slot { set: set.clone(), name: info.name.clone() },
            (Kind::Segment { set, index }, _) => Location::Segment { set: set.clone(), index: *index },
            _ => Location::External(value),
        }
    }

    /// `launch` with the memory of its operands.
    fn locate(&self, assignment: &Assignment, (launch, source): &(Launch, Source)) -> LocatedLaunch {
        let node = &self.graph.nodes[source.node];
        let interval = |interval: usize| Location::Shared {
            buffer: assignment.buffer[interval],
            bytes: self.intervals[interval].bytes,
        };
        let locations = launch
            .operands
            .iter()
            .map(|operand| match *operand {
                Operand::Input(i) => self.location(assignment, node.inputs[i]),
                Operand::Output(i) => self.location(assignment, node.outputs[i]),
                Operand::Workspace(i) => interval(source.workspaces[i]),
                Operand::Prepared(i) => match &source.prepared {
                    PreparedIn::Kept(first) => Location::Prepared(first + i),
                    PreparedIn::Intervals(own) => interval(own[i]),
                },
            })
            .collect();
        let scope = if node.scope.is_empty() { String::new() } else { format!("{}.", node.scope) };
        LocatedLaunch {
            kernel: launch.kernel.clone(),
            locations,
            uniform: launch.uniform.clone(),
            grid: launch.grid,
            flops: launch.flops,
            label: format!("{scope}{} {} {}", node.op.name(), source.class, launch.kernel.label()),
        }
    }

    fn finish(self) -> Result<Draft> {
        let assignment = match self.options.guards {
            true => liveness::apart(&self.intervals),
            false => liveness::assign(&self.intervals),
        };
        let prepare: Vec<LocatedLaunch> = self.prepare.iter().map(|l| self.locate(&assignment, l)).collect();
        let step: Vec<LocatedLaunch> = self.step.iter().map(|l| self.locate(&assignment, l)).collect();
        let mut locations: HashMap<Value, Location> =
            self.outputs.iter().map(|&v| (v, self.location(&assignment, v))).collect();
        // Tensors and segments of parameter sets that launches touch, each once.
        let mut touched = HashMap::new();
        for &index in &self.kept {
            let node = &self.graph.nodes[index];
            for &value in node.inputs.iter().chain(&node.outputs) {
                let location = self.location(&assignment, value);
                match &location {
                    Location::External(_) => drop(locations.insert(value, location)),
                    Location::Slot { .. } | Location::Segment { .. } => {
                        touched.insert(location, self.graph.values[value.0].tensor.bytes());
                    }
                    _ => {}
                }
            }
        }
        let external = locations.iter().filter(|(_, location)| matches!(location, Location::External(_)));
        let inputs = external.map(|(v, _)| allocated(self.graph.values[v.0].tensor.bytes())).sum();
        let parameters = self.parameter_bytes(touched);
        // Room for every launch once and for the cuts that measured times ask for.
        let uniform_slots = 2 * (prepare.len() + step.len()) + 256;
        let widest = prepare.iter().chain(&step).map(|l| 4 * l.uniform.len() as u64 + 16).max().unwrap_or(16);
        let slot = widest.next_multiple_of(self.device.uniform_alignment);
        let memory = Memory {
            inputs,
            parameters,
            shared: assignment.sizes.iter().sum(),
            peak: liveness::peak(&self.intervals),
            prepared: self.prepared.iter().map(|&b| allocated(b)).sum(),
            uniforms: slot * uniform_slots as u64,
        };
        Ok(Draft {
            graph: self.graph.clone(),
            outputs: self.outputs.to_vec(),
            device: self.device.clone(),
            options: self.options,
            nodes: self.nodes,
            chosen: self.chosen,
            unmet: self.unmet,
            locations,
            shared: assignment.sizes,
            prepared: self.prepared,
            prepare,
            step,
            uniform_slots,
            memory,
        })
    }

    /// Bytes of the parameter sets of which `touched` are a part. A set is allocated whole, by segments or by tensors.
    fn parameter_bytes(&self, mut touched: HashMap<Location, u64>) -> u64 {
        for info in &self.graph.values {
            if let Kind::Parameter { set } = &info.kind {
                touched.insert(
                    Location::Slot { set: set.clone(), name: info.name.clone() },
                    info.tensor.bytes(),
                );
            }
        }
        let by_segments: HashSet<&str> = touched
            .keys()
            .filter_map(|location| match location {
                Location::Segment { set, .. } => Some(set.as_str()),
                _ => None,
            })
            .collect();
        let bytes = |(location, &bytes): (&Location, &u64)| match location {
            Location::Slot { set, .. } if by_segments.contains(set.as_str()) => 0,
            Location::Slot { .. } => bytes.next_multiple_of(ALIGNMENT),
            _ => bytes,
        };
        touched.iter().map(bytes).sum()
    }
}

/// Bytes of a buffer for `bytes`.
fn allocated(bytes: u64) -> u64 {
    bytes.max(16).next_multiple_of(16)
}
