//! A draft: a kernel for every op, a place for every tensor, and the memory they take, before anything is allocated.

use std::collections::{HashMap, HashSet};

use super::arithmetic::Arithmetic;
use super::choice::{Choice, Rival};
use super::liveness::{self, Interval};
use super::memory::Memory;
use super::op::{Candidate, Launch, Operand};
use super::parameters::ALIGNMENT;
use super::trace::{Graph, Kind, Value};
use crate::error::{Error, Result};
use crate::gpu::{Capabilities, Const, Kernel};

/// How to draft.
#[derive(Clone, Debug, Default)]
pub struct DraftOptions {
    /// How kernels are chosen. [`Choice::from_env`] honours `LANGEVIN_KERNELS`.
    pub choice: Choice,
    /// For tests: no two tensors share memory, each has a guard zone behind it (`Plan::guards_hold`), and scratch memory begins as
    /// NaN (`Plan::poison`).
    pub guards: bool,
}

/// Where a binding's memory is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A shared buffer, the first so many bytes.
    Shared { buffer: usize, bytes: u64 },
    /// An input, state or constant.
    External(Value),
    /// A tensor of a parameter set.
    Slot { set: String, name: String },
    /// A segment of a parameter set.
    Segment { set: String, index: usize },
    /// A prepared buffer.
    Prepared(usize),
}

/// A launch whose operands have places.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) kernel: Kernel,
    pub(super) places: Vec<Place>,
    pub(super) uniform: Vec<(&'static str, Const)>,
    pub(super) grid: [u32; 3],
    pub(super) flops: f64,
    /// Scope, stem and class: what traces show.
    pub(super) label: String,
}

/// What was chosen for an op.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Scope and stem.
    pub op: String,
    /// Class of the candidate.
    pub class: &'static str,
    /// Its variant.
    pub variant: String,
    /// What its products are of.
    pub arithmetic: Arithmetic,
    /// Candidates there were.
    pub of: usize,
    /// Those that were not chosen, and those that the device cannot run.
    pub rivals: Vec<Rival>,
    /// Floating-point operations of the mathematics.
    pub flops: f64,
    /// Bytes that must be read and written at least.
    pub bytes: f64,
}

/// A plan on paper.
#[derive(Clone, Debug)]
pub struct Draft {
    pub(super) graph: Graph,
    pub(super) values: HashMap<Value, Place>,
    pub(super) shared: Vec<u64>,
    pub(super) prepared: Vec<u64>,
    pub(super) prepare: Vec<Placed>,
    pub(super) step: Vec<Placed>,
    pub(super) uniform_slots: usize,
    pub(super) options: DraftOptions,
    memory: Memory,
    chosen: Vec<Chosen>,
}

impl Draft {
    /// Chooses kernels and places for what `outputs` and every op that mutates need; the rest is left out.
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

    /// What the plan will take.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// What was chosen for each op, in order.
    pub fn chosen(&self) -> &[Chosen] {
        &self.chosen
    }

    /// Floating-point operations of a step, direct convolution counted.
    pub fn flops(&self) -> f64 {
        self.chosen.iter().map(|c| c.flops).sum()
    }

    /// Bytes that the ops of a step must read and write at least, one by one.
    pub fn bytes(&self) -> f64 {
        self.chosen.iter().map(|c| c.bytes).sum()
    }

    /// Every kernel of the draft with the fields of its uniform block, for checks without a device.
    pub fn launches(&self) -> impl Iterator<Item = (&Kernel, &[(&'static str, Const)])> {
        self.prepare.iter().chain(&self.step).map(|l| (&l.kernel, l.uniform.as_slice()))
    }

    /// Every kernel of the draft, for validation without a device.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.prepare.iter().chain(&self.step).map(|l| &l.kernel)
    }
}

/// The state of drafting.
struct Drafting<'a> {
    graph: &'a Graph,
    outputs: &'a [Value],
    device: &'a Capabilities,
    options: DraftOptions,
    /// Nodes that run, by index in the graph.
    kept: Vec<usize>,
    /// Position (in `kept`) of the last reader of a value.
    last_use: HashMap<Value, usize>,
    intervals: Vec<Interval>,
    /// The interval that holds a temporary.
    interval_of: HashMap<Value, usize>,
    prepared: Vec<u64>,
    /// The first buffer of what was prepared in this way from these values: ops that are computed again share it.
    prepared_from: HashMap<String, usize>,
    prepare: Vec<(Launch, Source)>,
    step: Vec<(Launch, Source)>,
    chosen: Vec<Chosen>,
}

/// Where the operands of a launch come from.
#[derive(Clone)]
struct Source {
    node: usize,
    /// Intervals of the workspaces.
    workspaces: Vec<usize>,
    prepared: PreparedAt,
    class: &'static str,
}

#[derive(Clone)]
enum PreparedAt {
    /// Buffers of their own, filled by `prepare`: the first index.
    Own(usize),
    /// Intervals, filled in each step.
    Shared(Vec<usize>),
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
            chosen: Vec::new(),
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
            let placed = node.outputs.iter().any(|v| self.graph.values[v.0].place.is_some());
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
        (dies && once && fits && info(output).place.is_none()).then_some(interval)
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
        assert!(!candidates.is_empty(), "{} has no kernel for {io:?}", node.op.stem());
        let choice = &self.options.choice;
        let at = choice.index(node.op.stem(), &io, &candidates);
        let of = candidates.len();
        let mut candidate = candidates.remove(at);
        rivals
            .splice(0..0, candidates.iter().map(|c| Rival { name: c.name(), why: choice.reason(c).into() }));
        let name = self.graph.name(node.outputs.first().copied().unwrap_or(node.inputs[0])).to_owned();
        let op = if node.outputs.is_empty() { node.op.stem().to_owned() } else { name };
        for &needed in candidate.workspaces.iter().chain(&candidate.prepared) {
            self.fits(needed, || format!("scratch memory of {op}"))?;
        }
        self.chosen.push(Chosen {
            op,
            class: candidate.class,
            variant: candidate.variant.clone(),
            arithmetic: candidate.arithmetic,
            of,
            rivals,
            flops: node.op.flops(&io),
            bytes: node.op.bytes(&io),
        });

        for (i, &output) in node.outputs.iter().enumerate() {
            let end = self.last_use.get(&output).copied().unwrap_or(position);
            if let (0, Some(interval)) = (i, taken) {
                self.intervals[interval].end = end;
                self.interval_of.insert(output, interval);
            } else if self.graph.values[output.0].place.is_none() {
                let bytes = self.graph.values[output.0].tensor.bytes();
                let interval = self.interval(bytes, position, end);
                self.interval_of.insert(output, interval);
            }
        }
        let workspaces = candidate.workspaces.iter().map(|&b| self.interval(b, position, position)).collect();
        let fixed = candidate.prepare.iter().flat_map(|l| &l.operands).all(|o| match o {
            Operand::Input(i) => self.is_fixed(node.inputs[*i], changing),
            _ => true,
        });
        let prepared = if fixed {
            let key = prepare_key(&node.inputs, &candidate);
            match self.prepared_from.get(&key) {
                Some(&first) => {
                    candidate.prepare.clear();
                    PreparedAt::Own(first)
                }
                None => {
                    let first = self.prepared.len();
                    self.prepared.extend(&candidate.prepared);
                    self.prepared_from.insert(key, first);
                    PreparedAt::Own(first)
                }
            }
        } else {
            PreparedAt::Shared(
                candidate.prepared.iter().map(|&b| self.interval(b, position, position)).collect(),
            )
        };
        let source = Source { node: index, workspaces, prepared, class: candidate.class };
        let list = if fixed { &mut self.prepare } else { &mut self.step };
        list.extend(candidate.prepare.into_iter().map(|l| (l, source.clone())));
        self.step.extend(candidate.launches.into_iter().map(|l| (l, source.clone())));
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

    fn finish(self) -> Result<Draft> {
        let assignment = match self.options.guards {
            true => liveness::apart(&self.intervals),
            false => liveness::assign(&self.intervals),
        };
        let shared =
            |interval: usize, bytes: u64| Place::Shared { buffer: assignment.buffer[interval], bytes };
        let place_of = |value: Value| -> Place {
            let info = &self.graph.values[value.0];
            match (&info.kind, &info.place) {
                (Kind::Temporary, Some((set, name))) => Place::Slot { set: set.clone(), name: name.clone() },
                (Kind::Temporary, None) => shared(self.interval_of[&value], info.tensor.bytes()),
                (Kind::Parameter { set }, _) => Place::Slot { set: set.clone(), name: info.name.clone() },
                (Kind::Segment { set, index }, _) => Place::Segment { set: set.clone(), index: *index },
                _ => Place::External(value),
            }
        };
        let place = |(launch, source): &(Launch, Source)| -> Placed {
            let node = &self.graph.nodes[source.node];
            let places = launch
                .operands
                .iter()
                .map(|operand| match *operand {
                    Operand::Input(i) => place_of(node.inputs[i]),
                    Operand::Output(i) => place_of(node.outputs[i]),
                    Operand::Workspace(i) => {
                        let interval = source.workspaces[i];
                        shared(interval, self.intervals[interval].bytes)
                    }
                    Operand::Prepared(i) => match &source.prepared {
                        PreparedAt::Own(first) => Place::Prepared(first + i),
                        PreparedAt::Shared(at) => shared(at[i], self.intervals[at[i]].bytes),
                    },
                })
                .collect();
            let scope = if node.scope.is_empty() { String::new() } else { format!("{}.", node.scope) };
            Placed {
                kernel: launch.kernel.clone(),
                places,
                uniform: launch.uniform.clone(),
                grid: launch.grid,
                flops: launch.flops,
                label: format!("{scope}{} {} {}", node.op.stem(), source.class, launch.kernel.label()),
            }
        };
        let prepare: Vec<Placed> = self.prepare.iter().map(place).collect();
        let step: Vec<Placed> = self.step.iter().map(place).collect();
        let mut values: HashMap<Value, Place> = self.outputs.iter().map(|&v| (v, place_of(v))).collect();
        // Tensors and segments of parameter sets that launches touch, each once.
        let mut touched = HashMap::new();
        for &index in &self.kept {
            let node = &self.graph.nodes[index];
            for &value in node.inputs.iter().chain(&node.outputs) {
                let place = place_of(value);
                match &place {
                    Place::External(_) => drop(values.insert(value, place)),
                    Place::Slot { .. } | Place::Segment { .. } => {
                        touched.insert(place, self.graph.values[value.0].tensor.bytes());
                    }
                    _ => {}
                }
            }
        }
        let external = values.iter().filter(|(_, place)| matches!(place, Place::External(_)));
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
            values,
            shared: assignment.sizes,
            prepared: self.prepared,
            prepare,
            step,
            uniform_slots,
            options: self.options,
            memory,
            chosen: self.chosen,
        })
    }

    /// Bytes of the parameter sets of which `touched` are a part. A set is allocated whole, by segments or by tensors.
    fn parameter_bytes(&self, mut touched: HashMap<Place, u64>) -> u64 {
        for info in &self.graph.values {
            if let Kind::Parameter { set } = &info.kind {
                touched
                    .insert(Place::Slot { set: set.clone(), name: info.name.clone() }, info.tensor.bytes());
            }
        }
        let by_segments: HashSet<&str> = touched
            .keys()
            .filter_map(|place| match place {
                Place::Segment { set, .. } => Some(set.as_str()),
                _ => None,
            })
            .collect();
        let bytes = |(place, &bytes): (&Place, &u64)| match place {
            Place::Slot { set, .. } if by_segments.contains(set.as_str()) => 0,
            Place::Slot { .. } => bytes.next_multiple_of(ALIGNMENT),
            _ => bytes,
        };
        touched.iter().map(bytes).sum()
    }
}

/// Bytes of a buffer for `bytes`.
fn allocated(bytes: u64) -> u64 {
    bytes.max(16).next_multiple_of(16)
}

/// What is prepared: by which launches from which values. Equal keys are equal contents.
fn prepare_key(inputs: &[Value], candidate: &Candidate) -> String {
    let from: Vec<Value> = candidate
        .prepare
        .iter()
        .flat_map(|launch| &launch.operands)
        .filter_map(|operand| if let Operand::Input(i) = operand { inputs.get(*i).copied() } else { None })
        .collect();
    format!("{from:?} {:?} {:?}", candidate.prepared, candidate.prepare)
}
