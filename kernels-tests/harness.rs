//! One [`OpCase`] states an op's operands, its trace, its reference and its tolerance once; the modes run it every way.
//!
//! Every mode runs every kernel candidate, with guard zones behind the outputs and scratch memory that begins as NaN.

mod run;
pub use run::{gpu, options};
mod shaders;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use langevin::Result;
use langevin::bench::Group;
use langevin::graph::{Graph, Value};

use crate::reference::{self, Tensor};
pub use run::gpu as device;
use run::{Run, Runner};

/// Appends the op to a graph; `values` are the case's inputs in order.
type Trace = Box<dyn Fn(&mut Graph, &[Value]) -> Result<Vec<Value>>>;
/// The reference: all inputs to all outputs, and behind them what each mutated input holds afterwards.
type Forward = Box<dyn Fn(&[Tensor]) -> Vec<Tensor>>;
/// The reference's gradient: all inputs and the upstream gradient of each output, to one gradient per differentiable input.
type Backward = Box<dyn Fn(&[Tensor], &[Tensor]) -> Vec<Tensor>>;

/// What an input is to its op.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    /// Written before a step; may want a gradient.
    Input,
    /// A tensor of the parameter set `weights`; may want a gradient.
    Parameter,
    /// Written before a step; never wants a gradient.
    Constant,
    /// The same of unsigned integers.
    Integer,
    /// Persistent memory that the op writes.
    Mutated,
    /// The same of unsigned integers.
    Counter,
}

impl Role {
    /// Whether the op writes it.
    fn is_mutated(self) -> bool {
        matches!(self, Self::Mutated | Self::Counter)
    }
}

/// An op on operands of one set of shapes.
pub struct OpCase {
    name: String,
    inputs: Vec<Tensor>,
    roles: Vec<Role>,
    /// Inputs whose first axis counts images.
    per_image: Vec<usize>,
    trace: Trace,
    forward: Forward,
    backward: Option<Backward>,
    tolerance: f64,
    heavy: bool,
}

/// Largest error allowed, as a share of the largest expected entry: what the goldens ask of f32.
const TOLERANCE: f64 = 2e-5;

/// Finite differences take two forwards per element: for cases of up to this many elements they cost little.
const FEW_ELEMENTS: usize = 400;

impl OpCase {
    /// An op with one output. All inputs may want a gradient until told otherwise.
    pub fn new(
        name: impl Into<String>,
        inputs: Vec<Tensor>,
        trace: impl Fn(&mut Graph, &[Value]) -> Result<Value> + 'static,
        forward: impl Fn(&[Tensor]) -> Tensor + 'static,
    ) -> Self {
        Self::several(name, inputs, move |g, v| Ok(vec![trace(g, v)?]), move |t| vec![forward(t)])
    }

    /// An op with any number of outputs. `forward` gives the outputs, then what each mutated input holds afterwards.
    pub fn several(
        name: impl Into<String>,
        inputs: Vec<Tensor>,
        trace: impl Fn(&mut Graph, &[Value]) -> Result<Vec<Value>> + 'static,
        forward: impl Fn(&[Tensor]) -> Vec<Tensor> + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            roles: vec![Role::Input; inputs.len()],
            inputs,
            per_image: Vec::new(),
            trace: Box::new(trace),
            forward: Box::new(forward),
            backward: None,
            tolerance: TOLERANCE,
            heavy: false,
        }
    }

    /// The reference's gradient for one output: inputs and upstream gradient to one gradient per input that wants one.
    pub fn gradient(self, backward: impl Fn(&[Tensor], &Tensor) -> Vec<Tensor> + 'static) -> Self {
        self.gradients(move |inputs, grads| backward(inputs, &grads[0]))
    }

    /// The same for several outputs, with one upstream gradient each.
    pub fn gradients(mut self, backward: impl Fn(&[Tensor], &[Tensor]) -> Vec<Tensor> + 'static) -> Self {
        self.backward = Some(Box::new(backward));
        self
    }

    /// These inputs are tensors of the parameter set `weights`, so that packed copies are made by `prepare`.
    pub fn parameters(self, inputs: &[usize]) -> Self {
        self.with_roles(inputs, Role::Parameter)
    }

    /// These inputs want no gradient.
    pub fn constants(self, inputs: &[usize]) -> Self {
        self.with_roles(inputs, Role::Constant)
    }

    /// These inputs are unsigned integers.
    pub fn integers(self, inputs: &[usize]) -> Self {
        self.with_roles(inputs, Role::Integer)
    }

    /// These inputs are persistent memory that the op writes.
    pub fn mutated(self, inputs: &[usize]) -> Self {
        self.with_roles(inputs, Role::Mutated)
    }

    /// The first axis of these inputs and of every output counts images, and image i of a batch has the bits that it has alone.
    pub fn per_image(mut self, inputs: &[usize]) -> Self {
        self.per_image = inputs.to_vec();
        self
    }

    /// These inputs are persistent unsigned integers that the op writes.
    pub fn counters(self, inputs: &[usize]) -> Self {
        self.with_roles(inputs, Role::Counter)
    }

    /// Another tolerance, as a share of the largest expected entry. Say the reason beside the call.
    pub fn tolerance(mut self, share: f64) -> Self {
        self.tolerance = share;
        self
    }

    /// Too large for every mode: only `forward` and `backward` run it, with the first candidate.
    pub fn heavy(mut self) -> Self {
        self.heavy = true;
        self
    }

    /// Without its gradient, where only `forward` is to run it.
    pub fn forward_only(mut self) -> Self {
        self.backward = None;
        self
    }

    fn with_roles(mut self, inputs: &[usize], role: Role) -> Self {
        inputs.iter().for_each(|&i| self.roles[i] = role);
        self
    }

    /// Indices of the inputs that want a gradient.
    fn wanted(&self) -> Vec<usize> {
        let wants = |&i: &usize| matches!(self.roles[i], Role::Input | Role::Parameter);
        (0..self.inputs.len()).filter(wants).collect()
    }

    /// The upstream gradients: one per output of the reference, mutated inputs left out.
    fn upstream(&self) -> Vec<Tensor> {
        let mutated = self.roles.iter().filter(|role| role.is_mutated()).count();
        let expected = (self.forward)(&self.inputs);
        let outputs = expected.len() - mutated;
        expected
            .iter()
            .take(outputs)
            .enumerate()
            .map(|(i, t)| Tensor::normal(&t.shape, 1000 + i as u64))
            .collect()
    }

    /// Every output and every mutated input against the reference; replayed, cut and alone as [`OpCase::assert_bits`] says.
    pub fn forward(&self) -> bool {
        let expected = (self.forward)(&self.inputs);
        let one = self.last_image();
        let alone = one.as_deref().map(|one| (Runner::forward(self).on(one), (0..expected.len()).collect()));
        self.each_candidate(Runner::forward(self), |run, how| {
            for (i, (got, expected)) in run.results.iter().zip(&expected).enumerate() {
                self.compare(&format!("output {i} {how}"), got, expected, (0.0, run.reduced));
            }
            assert_eq!(run.results.len(), expected.len(), "outputs and mutated inputs {how}");
            self.assert_bits(run, how, alone.as_ref());
        });
        true
    }

    /// Every gradient against the reference's, all at once and each alone; replayed, cut and alone as [`OpCase::assert_bits`] says.
    pub fn backward(&self) -> bool {
        let Some(backward) = &self.backward else { return false };
        let (wanted, upstream) = (self.wanted(), self.upstream());
        let expected = backward(&self.inputs, &upstream);
        assert_eq!(expected.len(), wanted.len(), "{}: one reference gradient per wanted input", self.name);
        // Some gradients are exactly zero, so an error is also measured against the largest of all.
        let floor = 1e-3 * expected.iter().map(largest).fold(0.0, f64::max);
        let one = self.last_image();
        let upstream_one: Vec<Tensor> = upstream.iter().map(last).collect();
        // A gradient by weights is a sum over all images.
        let own: Vec<usize> = (0..wanted.len()).filter(|&i| self.per_image.contains(&wanted[i])).collect();
        let by: Vec<usize> = own.iter().map(|&i| wanted[i]).collect();
        let runner = |one| Runner::backward(self, &upstream_one, &by).on(one);
        let alone = one.as_deref().filter(|_| !own.is_empty()).map(|one| (runner(one), own));
        self.each_candidate(Runner::backward(self, &upstream, &wanted), |run, how| {
            for ((i, got), expected) in wanted.iter().zip(&run.results).zip(&expected) {
                self.compare(&format!("gradient by input {i} {how}"), got, expected, (floor, run.reduced));
            }
            self.assert_bits(run, how, alone.as_ref());
        });
        // Which gradients are asked for decides what is launched; sizes do not.
        if wanted.len() > 1 && !self.heavy {
            for (&by, expected) in wanted.iter().zip(&expected) {
                let Some(run) = Runner::backward(self, &upstream, &[by]).run(0) else { return true };
                let what = format!("gradient by input {by} alone");
                self.compare(&what, &run.results[0], expected, (floor, run.reduced));
            }
        }
        true
    }

    /// The inputs with the last image alone in place of the batch; none where there is no batch of which images are independent.
    fn last_image(&self) -> Option<Vec<Tensor>> {
        let &first = self.per_image.first()?;
        let one = |(i, t): (usize, &Tensor)| if self.per_image.contains(&i) { last(t) } else { t.clone() };
        let several = self.inputs[first].shape[0] > 1 && !self.heavy;
        several.then(|| self.inputs.iter().enumerate().map(one).collect())
    }

    /// The bits of a run are those of another replay of its plan, of one that is cut into as many slices as the plan allows, and of
    /// the last image by itself: `alone` runs that, and gives those results of the whole run whose places are listed.
    fn assert_bits(&self, run: &Run, how: &str, alone: Option<&(Runner<'_>, Vec<usize>)>) {
        if self.heavy {
            return;
        }
        for (i, result) in run.results.iter().enumerate() {
            assert!(same_bits(result, &run.repeated[i]), "result {i} {how}: another replay, other bits");
            assert!(same_bits(result, &run.sliced[i]), "result {i} {how}: cut into slices, other bits");
        }
        let Some((runner, places)) = alone else { return };
        let Some(alone) = runner.run(run.pick) else { return };
        for (&i, one) in places.iter().zip(&alone.results) {
            let in_batch = &run.results[i][run.results[i].len() - one.len()..];
            assert!(same_bits(in_batch, one), "result {i} {how}: the last image has other bits alone");
        }
    }

    /// Candidates of one order of summation: the same bits.
    pub fn orders(&self) -> bool {
        if self.heavy {
            return false;
        }
        let mut applied = false;
        let mut same = |runner: Runner<'_>| {
            for group in runner.orders().unwrap_or_default() {
                applied = true;
                for run in &group[1..] {
                    for (i, (result, first)) in run.results.iter().zip(&group[0].results).enumerate() {
                        assert!(
                            same_bits(result, first),
                            "result {i} of {:?}: {} and {} are of one order and give other bits",
                            self.name,
                            run.kernels,
                            group[0].kernels
                        );
                    }
                }
            }
        };
        same(Runner::forward(self));
        if self.backward.is_some() {
            same(Runner::backward(self, &self.upstream(), &self.wanted()));
        }
        applied
    }

    /// The reference's own gradient against finite differences, glue between case and reference included.
    pub fn reference(&self) -> bool {
        let Some(backward) = &self.backward else { return false };
        let wanted = self.wanted();
        if self.inputs.iter().map(|t| t.data.len()).sum::<usize>() > FEW_ELEMENTS {
            return false;
        }
        let with = |some: &[Tensor]| {
            let mut all = self.inputs.clone();
            wanted.iter().zip(some).for_each(|(&i, t)| all[i] = t.clone());
            all
        };
        let some: Vec<Tensor> = wanted.iter().map(|&i| self.inputs[i].clone()).collect();
        for (output, grad) in self.upstream().iter().enumerate() {
            let upstream = |grad: &Tensor| -> Vec<Tensor> {
                let zeros = self.upstream().into_iter().map(|t| t.scaled(0.0));
                zeros.enumerate().map(|(i, t)| if i == output { grad.clone() } else { t }).collect()
            };
            reference::assert_gradient_of(
                &some,
                grad,
                |t| (self.forward)(&with(t))[output].clone(),
                |t, g| backward(&with(t), &upstream(g)),
            );
        }
        true
    }

    /// Runs every candidate (the first alone where the case is heavy); `how` names it for messages.
    fn each_candidate(&self, runner: Runner<'_>, check: impl Fn(&Run, &str)) {
        let runner = if self.heavy { runner } else { runner.with_slices() };
        let mut pick = 0;
        while let Some(run) = runner.run(pick) {
            check(&run, &format!("of {:?} by {}", self.name, run.kernels));
            pick += 1;
            if pick >= run.candidates || self.heavy {
                break;
            }
        }
    }

    /// `floor` is the least that errors are measured against; kernels that round to f16 (`reduced`) may be off by what that rounding does.
    fn compare(&self, what: &str, got: &[f32], expected: &Tensor, (floor, reduced): (f64, bool)) {
        assert_eq!(got.len(), expected.data.len(), "{what}: number of elements");
        let share = if reduced { Group::Kernel.tolerance(true) } else { self.tolerance };
        let tolerance = share * largest(expected).max(floor);
        let errors = got.iter().zip(&expected.data).map(|(&got, expected)| (f64::from(got) - expected).abs());
        let worst = errors
            .map(|error| if error.is_nan() { f64::INFINITY } else { error })
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((at, error)) = worst else { return };
        assert!(
            error <= tolerance,
            "{what}: element {at} of {:?} is {}, expected {}, off by {error:.3e}, tolerance {tolerance:.3e}",
            expected.shape,
            got[at],
            expected.data[at]
        );
    }
}

/// The last image of a batch.
fn last(t: &Tensor) -> Tensor {
    let size = t.data.len() / t.shape[0];
    let mut shape = t.shape.clone();
    shape[0] = 1;
    Tensor::new(&shape, t.data[t.data.len() - size..].to_vec())
}

fn largest(t: &Tensor) -> f64 {
    t.data.iter().fold(0.0, |m, v| v.abs().max(m))
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Runs one mode over a table of cases. Every failing case is named; a mode that applies to no case is a mistake.
pub fn over(cases: Vec<OpCase>, mode: impl Fn(&OpCase) -> bool) {
    let (mut applied, mut failed) = (0, Vec::new());
    for case in &cases {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| mode(case)));
        // With `--nocapture`: where the time goes.
        println!("{:8.2} s  {}", start.elapsed().as_secs_f64(), case.name);
        match outcome {
            Ok(ran) => applied += usize::from(ran),
            Err(_) => failed.push(case.name.as_str()),
        }
    }
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
    assert!(applied > 0, "this mode applies to none of the cases");
}

/// Every variant of every shader of `shaders/<op>/` that the cases reach, and whether they reach all files.
pub fn validate(op: &str, cases: Vec<OpCase>) {
    shaders::validate(op, &cases);
}

/// `op_tests! { "op", cases; forward, backward, orders, reference }` makes one test of each mode over the table `cases()`,
/// and one, `shaders`, that validates every shader variant. Ops without gradients leave out `backward` and `reference`, those whose
/// candidates all add in orders of their own `orders`.
#[macro_export]
macro_rules! op_tests {
    ($op:literal, $cases:ident; $($mode:ident),+ $(,)?) => {
        $(
            #[test]
            fn $mode() {
                $crate::harness::over($cases(), $crate::harness::OpCase::$mode);
            }
        )+

        #[test]
        fn shaders() {
            $crate::harness::validate($op, $cases());
        }
    };
}
