//! Compares what was computed with what a case expects, by the rules that stand in its `check` table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::case::{Case, Tensor};

/// Elements of a large gradient that a case keeps (`gradhead.*`).
const HEAD: usize = 256;

/// Computed tensors by the names that `check` uses: `out.y`, `gin.x`, `grad.weight`, …
///
/// A gradient `grad.<name>` also answers for `gradnorm.<name>` and `gradhead.<name>`.
#[derive(Default)]
pub struct Outputs(BTreeMap<String, Tensor>);

impl Outputs {
    /// Nothing computed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.0.insert(name.into(), tensor);
    }

    /// Takes a tensor out.
    pub fn take(&mut self, name: &str) -> Option<Tensor> {
        self.0.remove(name)
    }

    fn find(&self, name: &str) -> Option<Tensor> {
        if let Some(tensor) = self.0.get(name) {
            return Some(tensor.clone());
        }
        if let Some(rest) = name.strip_prefix("gradnorm.") {
            let squares: f64 = self.0.get(&format!("grad.{rest}"))?.data.iter().map(|v| v * v).sum();
            return Some(Tensor::new([1], vec![squares.sqrt()]));
        }
        let rest = name.strip_prefix("gradhead.")?;
        let data: Vec<f64> = self.0.get(&format!("grad.{rest}"))?.data.iter().take(HEAD).copied().collect();
        Some(Tensor::new([data.len()], data))
    }
}

/// What a case's comparisons gave: how many tensors passed, and the failures.
#[derive(Default)]
pub struct Report {
    compared: usize,
    failures: Vec<Failure>,
}

struct Failure {
    message: String,
    /// How many times the tolerance the worst element is off; infinite where there is nothing to compare.
    excess: f64,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what another report found.
    pub fn merge(&mut self, other: Self) {
        self.compared += other.compared;
        self.failures.extend(other.failures);
    }

    /// Records a failure that is not a matter of tolerance.
    pub fn fail(&mut self, message: impl Into<String>) {
        self.compared += 1;
        self.failures.push(Failure { message: message.into(), excess: f64::INFINITY });
    }

    /// Records a failure with `message` unless `ok`.
    pub fn require(&mut self, ok: bool, message: impl FnOnce() -> String) {
        if ok { self.compared += 1 } else { self.fail(message()) }
    }

    /// Compares elementwise: |got - expected| ≤ tolerance(index), and everything finite.
    pub fn compare(&mut self, name: &str, got: &Tensor, expected: &Tensor, tolerance: impl Fn(usize) -> f64) {
        if got.shape != expected.shape {
            return self.fail(format!("{name}: got shape {:?}, expected {:?}", got.shape, expected.shape));
        }
        self.compared += 1;
        let excess = |i: usize| {
            let error = (got.data[i] - expected.data[i]).abs();
            match () {
                () if !got.data[i].is_finite() || error.is_nan() => f64::INFINITY,
                () if error <= tolerance(i) => 0.0,
                () => error / tolerance(i).max(f64::MIN_POSITIVE),
            }
        };
        let Some((worst, excess)) =
            (0..got.data.len()).map(|i| (i, excess(i))).max_by(|a, b| a.1.total_cmp(&b.1))
        else {
            return;
        };
        if excess > 0.0 {
            let at = unravel(worst, &got.shape);
            let (got, expected) = (got.data[worst], expected.data[worst]);
            let message = format!(
                "{name}{at:?} got {got:.9e}, expected {expected:.9e}, off by {:.3e}, tolerance {:.3e}",
                (got - expected).abs(),
                tolerance(worst)
            );
            self.failures.push(Failure { message, excess });
        }
    }

    /// One line about the worst failure, or nothing if all passed. No comparison at all is a failure too.
    pub fn failure(&self) -> Option<String> {
        if self.compared == 0 {
            return Some("nothing was compared".into());
        }
        let worst = self.failures.iter().max_by(|a, b| a.excess.total_cmp(&b.excess))?;
        let mut line = worst.message.clone();
        // Writing to a String does not fail.
        let _ = write!(line, " ({} of {} tensors failed)", self.failures.len(), self.compared);
        Some(line)
    }
}

/// Applies the case's `check` table: every tensor named there must be in `outputs`, within `tol_abs` of the expected
/// one and, where the file has `reltol.<name>`, elementwise within that share of it.
pub fn check(case: &Case, outputs: &Outputs) -> Result<Report, String> {
    let mut report = Report::new();
    let table = case.check()?;
    for (name, rule) in table {
        let rule = rule.as_object().ok_or_else(|| format!("check.{name} is not an object"))?;
        if let Some(key) = rule.keys().find(|key| !["tol_abs", "f32_err", "max"].contains(&key.as_str())) {
            return Err(format!("check.{name}: unknown key {key:?}"));
        }
        let tol_abs = rule.get("tol_abs").and_then(Value::as_f64);
        let tol_abs = case.slack() * tol_abs.ok_or_else(|| format!("check.{name} has no number tol_abs"))?;
        let Some(got) = outputs.find(name) else {
            report.fail(format!("{name} was not produced"));
            continue;
        };
        let expected = case.tensor(name)?;
        report.compare(name, &got, &expected, |_| tol_abs);
        let relative = format!("reltol.{}", name.strip_prefix("out.").unwrap_or(name));
        if case.has(&relative)? {
            let share = case.tensor(&relative)?;
            if share.shape != expected.shape {
                return Err(format!("{relative} has shape {:?}, not {:?}", share.shape, expected.shape));
            }
            report.compare(name, &got, &expected, |i| share.data[i] * expected.data[i].abs());
        }
    }
    for name in case.tensor_names()? {
        if let Some(of) = name.strip_prefix("reltol.") {
            report.require(table.contains_key(of) || table.contains_key(&format!("out.{of}")), || {
                format!("{name}: `check` has no tensor of that name")
            });
        }
    }
    Ok(report)
}

fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let i = flat % size;
            flat /= size;
            i
        })
        .collect();
    index.reverse();
    index
}
