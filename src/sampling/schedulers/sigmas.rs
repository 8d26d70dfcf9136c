//! The timesteps and noise levels that diffusers' σ schedulers visit: DPM-Solver, UniPC, DEIS, Euler and Heun.

use serde::Deserialize;

use super::beta::TimestepSpacing;
use super::chain::{Chain, PredictionType};
use crate::sampling::few_step::{Node, SolverRow};
use crate::sde::linspace;
use crate::{Error, Result};

/// A timestep and the noise there, as α, σ and r = σ/α of variance-preserving x.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub timestep: f64,
    pub node: Node,
}

impl Level {
    pub(super) fn new(timestep: f64, ratio: f64, n: usize) -> Self {
        Self { timestep, node: Node::of_ratio(timestep / n as f64, ratio) }
    }

    /// A row that keeps `kept_x`·x + `kept_output`·output and otherwise does nothing.
    pub(super) fn row(&self, [kept_x, kept_output]: [f64; 2]) -> SolverRow {
        SolverRow {
            t: self.node.t,
            argument: self.timestep,
            std: self.node.std,
            kept_x,
            kept_output,
            ..SolverRow::NOTHING
        }
    }
}

/// Where the last step of a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigmas {
    /// Without noise.
    Zero,
    /// At the smallest noise of the chain.
    SigmaMin,
}

/// Keys that all σ schedulers have in common. Fields and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct SigmaKeys {
    /// The βs.
    #[serde(flatten)]
    pub chain: Chain,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Which timesteps are visited.
    pub timestep_spacing: TimestepSpacing,
    /// Added to the timesteps of the `leading` spacing.
    pub steps_offset: usize,
    /// σ evenly in σ^(1/7) (Karras et al. 2022).
    pub use_karras_sigmas: bool,
    /// σ evenly in ln σ.
    pub use_exponential_sigmas: bool,
    /// The smallest σ of these two; that of the chain where there is none.
    pub sigma_min: Option<f64>,
    /// The largest σ of these two; that of the chain where there is none.
    pub sigma_max: Option<f64>,
    /// Not computed.
    pub use_beta_sigmas: bool,
    /// Not computed.
    pub use_flow_sigmas: bool,
    /// Not computed.
    pub use_dynamic_shifting: bool,
    /// Not computed.
    pub thresholding: bool,
    /// A network that predicts its variance too; not computed.
    pub variance_type: Option<String>,
}

impl Default for SigmaKeys {
    fn default() -> Self {
        Self {
            chain: Chain::default(),
            prediction_type: PredictionType::Epsilon,
            timestep_spacing: TimestepSpacing::Linspace,
            steps_offset: 0,
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            sigma_min: None,
            sigma_max: None,
            use_beta_sigmas: false,
            use_flow_sigmas: false,
            use_dynamic_shifting: false,
            thresholding: false,
            variance_type: None,
        }
    }
}

/// In what a scheduler's timesteps differ from another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// One level more is spaced out than there are steps, so that the last step ends at timestep 0 (DPM-Solver, UniPC, DEIS). Timesteps
    /// are whole numbers. Karras's are rounded unless `exact` (the others are cut off).
    Multistep { exact: bool },
    /// The levels begin and end the chain, and timesteps may lie between whole numbers (Euler, Heun).
    Euler,
}

/// The levels of a run and those of the chain.
#[derive(Debug)]
pub(super) struct Levels {
    /// One for each step.
    pub run: Vec<Level>,
    /// r of each training timestep.
    pub chain: Vec<f64>,
}

impl Levels {
    /// The level that a run ends at.
    pub(super) fn last(&self, last: FinalSigmas) -> Level {
        let ratio = if last == FinalSigmas::Zero { 0.0 } else { self.chain[0] };
        Level::new(0.0, ratio, self.chain.len())
    }
}

/// What is not computed, with what is.
fn refuse<T>(key: &str, value: impl ToString, nearest: &str) -> Result<T> {
    Err(Error::invalid(key, value, format!("it is not computed here; {nearest}")))
}

impl SigmaKeys {
    /// Fails for what is not computed, by its key.
    pub(super) fn check(&self) -> Result<()> {
        if self.thresholding {
            return refuse("thresholding", true, "set it to false; DDIMScheduler clips with clip_sample");
        }
        if self.use_beta_sigmas {
            return refuse(
                "use_beta_sigmas",
                true,
                "the nearest are use_karras_sigmas and use_exponential_sigmas",
            );
        }
        for (key, set) in
            [("use_flow_sigmas", self.use_flow_sigmas), ("use_dynamic_shifting", self.use_dynamic_shifting)]
        {
            if set {
                return refuse(
                    key,
                    true,
                    "it is for networks of flow matching; the chain of betas is taken where it is false",
                );
            }
        }
        if let Some(kind) = &self.variance_type {
            return refuse("variance_type", kind, "the network has to predict the mean alone: null");
        }
        if self.use_karras_sigmas && self.use_exponential_sigmas {
            let problem = "only one of use_karras_sigmas and use_exponential_sigmas can be true";
            return Err(Error::invalid("use_karras_sigmas", true, problem));
        }
        for (key, value) in [("sigma_min", self.sigma_min), ("sigma_max", self.sigma_max)] {
            if value.is_some_and(|v| !(v > 0.0 && v.is_finite())) {
                return Err(Error::invalid(key, value.unwrap_or(f64::NAN), "a finite number above 0"));
            }
        }
        Ok(())
    }

    /// The levels of a run of `steps`. `last` is the number of timesteps of the chain that count, all but those whose noise is clipped away.
    pub(super) fn levels(&self, steps: usize, family: Family, last: Option<usize>) -> Result<Levels> {
        self.check()?;
        let chain = self.chain.ratios()?;
        let n = chain.len();
        let last = last.unwrap_or(n);
        if steps == 0 || steps > last {
            return Err(Error::invalid("steps", steps, format!("this scheduler takes 1 to {last} steps")));
        }
        let timesteps = self.timesteps(steps, family, last);
        if let Some(t) = timesteps.iter().find(|t| !(**t >= 0.0 && **t <= (n - 1) as f64)) {
            let problem = format!("{steps} steps would visit timestep {t}, the chain has 0 to {}", n - 1);
            return Err(Error::invalid("steps_offset", self.steps_offset, problem));
        }
        let at = |t: f64| {
            let below = (t.floor() as usize).min(n - 1);
            let above = (below + 1).min(n - 1);
            chain[below] + (t - below as f64) * (chain[above] - chain[below])
        };
        let spaced: Vec<f64> = timesteps.iter().map(|&t| at(t)).collect();
        let ratios = if self.use_karras_sigmas || self.use_exponential_sigmas {
            // diffusers' Euler schedulers take the ends of the run, the others those of the chain.
            let [low, high] = match family {
                Family::Euler => [spaced[spaced.len() - 1], spaced[0]],
                Family::Multistep { .. } => [chain[0], chain[n - 1]],
            };
            let (low, high) = (self.sigma_min.unwrap_or(low), self.sigma_max.unwrap_or(high));
            match self.use_karras_sigmas {
                true => karras(low, high, steps, 7.0),
                false => exponential(low, high, steps),
            }
        } else {
            let run = timesteps.iter().zip(&spaced).map(|(&t, &r)| Level::new(t, r, n)).collect();
            return Ok(Levels { run, chain });
        };
        let rounded = |t: f64| match family {
            Family::Euler => t,
            Family::Multistep { exact: false } if self.use_karras_sigmas => t.round_ties_even(),
            Family::Multistep { .. } => t.trunc(),
        };
        let run = ratios.iter().map(|&r| Level::new(rounded(timestep_of(r, &chain)), r, n)).collect();
        Ok(Levels { run, chain })
    }

    /// Timesteps by `timestep_spacing`, descending.
    fn timesteps(&self, steps: usize, family: Family, last: usize) -> Vec<f64> {
        let n = self.chain.num_train_timesteps;
        let extra = usize::from(family != Family::Euler);
        let down = |values: Vec<f64>| -> Vec<f64> { values.into_iter().rev().take(steps).collect() };
        match self.timestep_spacing {
            TimestepSpacing::Linspace => {
                let even = evenly(last - 1, steps + extra);
                match family {
                    Family::Euler => down(even),
                    Family::Multistep { .. } => down(even.into_iter().map(f64::round_ties_even).collect()),
                }
            }
            TimestepSpacing::Leading => {
                let stride = last / (steps + extra);
                down(
                    (0..steps + extra)
                        .map(|i| (i * stride).saturating_add(self.steps_offset) as f64)
                        .collect(),
                )
            }
            TimestepSpacing::Trailing => trailing(last, n as f64 / steps as f64, steps),
        }
    }
}

/// `n` numbers from 0 to `last`, as numpy spaces them.
pub(super) fn evenly(last: usize, n: usize) -> Vec<f64> {
    let stride = last as f64 / (n.max(2) - 1) as f64;
    let mut all: Vec<f64> = (0..n).map(|i| i as f64 * stride).collect();
    if n > 1 {
        all[n - 1] = last as f64;
    }
    all
}

/// From `last` down in strides, rounded, less one.
pub(super) fn trailing(last: usize, stride: f64, steps: usize) -> Vec<f64> {
    let at = |i: usize| last as f64 - i as f64 * stride;
    (0..steps).map(at).filter(|v| *v > 0.0).map(|v| v.round_ties_even() - 1.0).collect()
}

/// From `high` down to `low`, evenly in the power 1/rho (Karras et al. 2022, equation 5).
pub(super) fn karras(low: f64, high: f64, n: usize, rho: f64) -> Vec<f64> {
    let (low, high) = (low.powf(1.0 / rho), high.powf(1.0 / rho));
    let share = |i: usize| if n == 1 { 0.0 } else { i as f64 / (n - 1) as f64 };
    (0..n).map(|i| (high + share(i) * (low - high)).powf(rho)).collect()
}

/// From `high` down to `low`, evenly in the logarithm.
pub(super) fn exponential(low: f64, high: f64, n: usize) -> Vec<f64> {
    linspace(high.ln(), low.ln(), n).into_iter().map(f64::exp).collect()
}

/// Where in the chain the noise is `ratio`, between timesteps evenly in the logarithm.
pub(super) fn timestep_of(ratio: f64, chain: &[f64]) -> f64 {
    if chain.len() == 1 {
        return 0.0;
    }
    let log = ratio.max(1e-10).ln();
    let low = chain.iter().rposition(|r| log >= r.ln()).unwrap_or(0).min(chain.len() - 2);
    let (below, above) = (chain[low].ln(), chain[low + 1].ln());
    let share = ((below - log) / (below - above)).clamp(0.0, 1.0);
    (1.0 - share) * low as f64 + share * (low + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timesteps_of_each_spacing_and_family() {
        let with = |timestep_spacing, family, steps| {
            let keys = SigmaKeys { timestep_spacing, steps_offset: 1, ..Default::default() };
            let levels = keys.levels(steps, family, None).unwrap();
            levels.run.iter().map(|level| level.timestep).collect::<Vec<_>>()
        };
        let (many, euler) = (Family::Multistep { exact: false }, Family::Euler);
        assert_eq!(with(TimestepSpacing::Linspace, many, 4), [999.0, 749.0, 500.0, 250.0]);
        assert_eq!(with(TimestepSpacing::Linspace, euler, 4), [999.0, 666.0, 333.0, 0.0]);
        assert_eq!(with(TimestepSpacing::Leading, many, 4), [801.0, 601.0, 401.0, 201.0]);
        assert_eq!(with(TimestepSpacing::Leading, euler, 4), [751.0, 501.0, 251.0, 1.0]);
        assert_eq!(with(TimestepSpacing::Trailing, many, 4), [999.0, 749.0, 499.0, 249.0]);
        let keys =
            SigmaKeys { timestep_spacing: TimestepSpacing::Leading, steps_offset: 300, ..Default::default() };
        assert!(keys.levels(4, euler, None).unwrap_err().to_string().contains("steps_offset"));
        assert!(keys.levels(0, euler, None).is_err() && keys.levels(1001, euler, None).is_err());
    }

    #[test]
    fn a_timestep_and_its_noise_belong_together() {
        let chain = Chain::default().ratios().unwrap();
        for t in [0usize, 1, 500, 998, 999] {
            assert!((timestep_of(chain[t], &chain) - t as f64).abs() < 1e-9);
        }
        assert_eq!([timestep_of(0.0, &chain), timestep_of(1e9, &chain)], [0.0, 999.0]);
        let spaced = karras(chain[0], chain[999], 5, 7.0);
        assert!((spaced[0] - chain[999]).abs() < 1e-9 && (spaced[4] - chain[0]).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_computed_is_refused_by_its_key() {
        let good = SigmaKeys::default();
        for (bad, key) in [
            (SigmaKeys { thresholding: true, ..good.clone() }, "thresholding"),
            (SigmaKeys { use_beta_sigmas: true, ..good.clone() }, "use_beta_sigmas"),
            (SigmaKeys { use_flow_sigmas: true, ..good.clone() }, "use_flow_sigmas"),
            (SigmaKeys { use_dynamic_shifting: true, ..good.clone() }, "use_dynamic_shifting"),
            (SigmaKeys { variance_type: Some("learned".into()), ..good.clone() }, "variance_type"),
            (
                SigmaKeys { use_karras_sigmas: true, use_exponential_sigmas: true, ..good.clone() },
                "use_karras",
            ),
            (SigmaKeys { sigma_min: Some(0.0), ..good.clone() }, "sigma_min"),
        ] {
            let error = bad.levels(4, Family::Euler, None).err().unwrap().to_string();
            assert!(error.starts_with(key), "{error}");
        }
    }
}
