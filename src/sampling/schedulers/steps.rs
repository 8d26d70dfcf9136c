//! The updates of DDPM and DDIM on a chain of βs, as rows.

use super::beta::{BetaScheduler, VarianceType};
use super::chain::PredictionType;
use crate::sampling::few_step::{SolverRow, SolverTable};
use crate::{Error, Result};

impl BetaScheduler {
    /// DDPM's ancestral sampling in `steps` steps. The output in the rows is the raw prediction.
    pub fn ddpm(&self, steps: usize) -> Result<SolverTable> {
        let chain = Levels::new(self)?;
        let timesteps = self.timesteps(steps)?;
        let rows = timesteps.iter().enumerate().map(|(i, &t)| {
            let (now, to) = (chain.at(t), timesteps.get(i + 1).map_or(Level::CLEAN, |&p| chain.at(p)));
            let beta = -(now.log - to.log).exp_m1();
            let variance = match self.variance_type {
                // diffusers keeps it above 0 for the sake of its logarithm.
                VarianceType::FixedSmall | VarianceType::FixedSmallLog => {
                    (to.noise / now.noise * beta).max(1e-20)
                }
                VarianceType::FixedLarge => beta,
                other => {
                    return Err(Error::invalid(
                        "variance_type",
                        format!("{other:?}"),
                        "DDPM samples with fixed_small, fixed_small_log or fixed_large",
                    ));
                }
            };
            let draws = t > 0;
            Ok(SolverRow {
                kept: to.signal.sqrt() * beta / now.noise,
                x: (0.5 * (now.log - to.log)).exp() * to.noise / now.noise,
                noise: if draws { variance.sqrt() } else { 0.0 },
                draws,
                ..self.row(t, now)
            })
        });
        let rows = rows.collect::<Result<_>>()?;
        SolverTable { rows, prior_std: 1.0, clip: self.clip(), slots: 1 }.checked("ddpm")
    }

    /// DDIM in `steps` steps with `eta` in 0 ..= 1. The output in the rows is the raw prediction.
    pub fn ddim(&self, steps: usize, eta: f64) -> Result<SolverTable> {
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::invalid("eta", eta, "DDIM's eta lies between 0, no noise, and 1, ancestral"));
        }
        let chain = Levels::new(self)?;
        let last = if self.set_alpha_to_one { Level::CLEAN } else { chain.at(0) };
        let stride = self.chain.num_train_timesteps / steps.max(1);
        let rows = self.timesteps(steps)?.into_iter().map(|t| {
            // Not the next entry of the list but one stride down, as diffusers has it.
            let (now, to) = (chain.at(t), t.checked_sub(stride).map_or(last, |p| chain.at(p)));
            let tau = eta * (to.noise / now.noise * -(now.log - to.log).exp_m1()).max(0.0).sqrt();
            let direction = (to.noise - tau * tau).max(0.0).sqrt();
            let (signal, noise) = (now.signal.sqrt(), now.noise.sqrt());
            // ε as a combination of x and the output; not changed by clipping.
            let (x, output) = match self.prediction_type {
                PredictionType::Epsilon => (0.0, 1.0),
                PredictionType::Sample => (1.0 / noise, -signal / noise),
                PredictionType::VPrediction => (noise, signal),
            };
            SolverRow {
                kept: to.signal.sqrt(),
                x: direction * x,
                output: direction * output,
                noise: tau,
                draws: eta > 0.0,
                ..self.row(t, now)
            }
        });
        SolverTable { rows: rows.collect(), prior_std: 1.0, clip: self.clip(), slots: 1 }.checked("ddim")
    }

    fn clip(&self) -> Option<f64> {
        self.clip_sample.then_some(self.clip_sample_range)
    }

    /// A row at `timestep` that keeps the prediction of x_0 and otherwise does nothing.
    fn row(&self, timestep: usize, now: Level) -> SolverRow {
        let (signal, noise) = (now.signal.sqrt(), now.noise.sqrt());
        let (kept_x, kept_output) = match self.prediction_type {
            PredictionType::Epsilon => (1.0 / signal, -noise / signal),
            PredictionType::Sample => (0.0, 1.0),
            PredictionType::VPrediction => (signal, -noise),
        };
        SolverRow {
            t: timestep as f64 / self.chain.num_train_timesteps as f64,
            argument: timestep as f64,
            std: noise,
            kept_x,
            kept_output,
            keep_in: Some(0),
            ..SolverRow::NOTHING
        }
    }
}

/// ln ᾱ, ᾱ and 1 − ᾱ at one timestep.
#[derive(Debug, Clone, Copy)]
struct Level {
    log: f64,
    signal: f64,
    noise: f64,
}

impl Level {
    const CLEAN: Self = Self { log: 0.0, signal: 1.0, noise: 0.0 };
}

struct Levels(Vec<f64>);

impl Levels {
    fn new(config: &BetaScheduler) -> Result<Self> {
        if config.thresholding {
            return Err(Error::invalid(
                "thresholding",
                true,
                "dynamic thresholding is not supported; set it to false and use clip_sample",
            ));
        }
        if !(config.clip_sample_range > 0.0 && config.clip_sample_range.is_finite()) {
            return Err(Error::invalid("clip_sample_range", config.clip_sample_range, "it is above 0"));
        }
        Ok(Self(config.chain.log_alphas_cumprod()?))
    }

    fn at(&self, timestep: usize) -> Level {
        // bug: `timesteps` has checked every timestep against the length of the chain.
        let log = self.0[timestep];
        Level { log, signal: log.exp(), noise: -log.exp_m1() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::beta::TimestepSpacing;
    use super::super::chain::Chain;
    use super::*;

    /// What a row makes of x, with the prediction that is right for x_0 and ε.
    fn apply(config: &BetaScheduler, row: &SolverRow, x0: f64, epsilon: f64) -> (f64, f64) {
        let bar = config.chain.alphas_cumprod().unwrap()[row.argument as usize];
        let (signal, noise) = (bar.sqrt(), (1.0 - bar).sqrt());
        let x = signal * x0 + noise * epsilon;
        let output = match config.prediction_type {
            PredictionType::Epsilon => epsilon,
            PredictionType::Sample => x0,
            PredictionType::VPrediction => signal * epsilon - noise * x0,
        };
        let k = row.kept_x * x + row.kept_output * output;
        (k, row.x * x + row.output * output + row.kept * k)
    }

    #[test]
    fn prediction_types_lead_to_the_same_place() {
        for prediction_type in [PredictionType::Epsilon, PredictionType::Sample, PredictionType::VPrediction]
        {
            let config = BetaScheduler { prediction_type, ..Default::default() };
            let bars = config.chain.alphas_cumprod().unwrap();
            for row in config.ddim(20, 0.0).unwrap().rows {
                let (k, x) = apply(&config, &row, 0.4, -1.3);
                let to = (row.argument as usize).checked_sub(50).map_or(1.0, |t| bars[t]);
                assert!((k - 0.4).abs() < 1e-10, "{prediction_type:?}");
                assert!(
                    (x - (to.sqrt() * 0.4 - (1.0 - to).sqrt() * 1.3)).abs() < 1e-10,
                    "{prediction_type:?}"
                );
            }
        }
    }

    /// With η = 1 DDIM is DDPM with the small variance, coefficient by coefficient of x_0 and ε.
    #[test]
    fn ddim_with_eta_one_is_ddpm() {
        let config = BetaScheduler::default();
        let (ddim, ddpm) = (config.ddim(50, 1.0).unwrap(), config.ddpm(50).unwrap());
        for (a, b) in ddim.rows.iter().zip(&ddpm.rows).take(49) {
            assert!((a.noise - b.noise).abs() < 1e-12);
            for (x0, epsilon) in [(1.0, 0.0), (0.0, 1.0)] {
                let ((ka, xa), (kb, xb)) = (apply(&config, a, x0, epsilon), apply(&config, b, x0, epsilon));
                assert!((ka - kb).abs() < 1e-12 && (xa - xb).abs() < 1e-10, "{} {}", a.argument, xa - xb);
            }
        }
        assert!(ddim.rows[49].draws && !ddpm.rows[49].draws && ddpm.rows[49].noise == 0.0);
    }

    /// At every step of the full chain the large variance is β itself.
    #[test]
    fn large_variance_is_beta() {
        let config = BetaScheduler { variance_type: VarianceType::FixedLarge, ..Default::default() };
        let betas = config.chain.betas().unwrap();
        for row in &config.ddpm(1000).unwrap().rows[..999] {
            assert!((row.noise.powi(2) / betas[row.argument as usize] - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn zero_terminal_snr() {
        let config = BetaScheduler {
            chain: Chain { rescale_betas_zero_snr: true, ..Chain::default() },
            timestep_spacing: TimestepSpacing::Trailing,
            prediction_type: PredictionType::VPrediction,
            ..Default::default()
        };
        let bars = config.chain.alphas_cumprod().unwrap();
        assert!(bars[999] == 0.0 && (bars[0] - 0.9999).abs() < 1e-12);
        assert!(config.ddpm(10).is_ok() && config.ddim(10, 0.0).is_ok());
        // ε tells nothing about x_0 where there is no signal.
        assert!(BetaScheduler { prediction_type: PredictionType::Epsilon, ..config }.ddim(10, 0.0).is_err());
    }
}
