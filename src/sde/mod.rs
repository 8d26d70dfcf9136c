//! VE, VP and sub-VP: plain f64 mathematics, no tensors, no GPU.
//!
//! Every drift here is linear in x, so an SDE is told by scalars: dx = drift·x dt + diffusion dw on t in [0, 1],
//! with p(x_t | x_0) = N(mean·x_0, std²·I). Source: Song et al. 2021, section 3 and appendices B, C.
//! Everything stays exact near t = 0, where 1 − exp(·) would cancel.
//!
//! ```
//! use langevin::sde::{Sde, Vp};
//!
//! let sde = Vp::default();
//! let at = sde.marginal_prob(0.5);
//! assert!((at.mean.powi(2) + at.std.powi(2) - 1.0).abs() < 1e-12);
//! assert!((sde.time_of_noise(at.std / at.mean) - 0.5).abs() < 1e-12);
//! ```

mod grid;
mod linear_beta;
mod reverse;
mod subvp;
mod ve;
mod vp;

use std::fmt::Debug;
use std::sync::Arc;

pub use grid::{linspace, linspace_f32, time_grid};
pub use linear_beta::LinearBeta;
pub use reverse::{Reverse, ReverseCoefficients};
pub use subvp::SubVp;
pub use ve::{Ve, network_sigmas};
pub use vp::Vp;

use crate::{Error, Result};

/// dx = `drift`·x dt + `diffusion` dw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// The drift divided by x.
    pub drift: f64,
    /// The diffusion, g(t).
    pub diffusion: f64,
}

/// p(x_t | x_0) = N(`mean`·x_0, `std`²·I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Marginal {
    /// What x_0 is multiplied by, α(t).
    pub mean: f64,
    /// The standard deviation, σ(t).
    pub std: f64,
}

/// One step of the forward chain: x_{i+1} = x_i + `f`·x_i + `g` z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Discretized {
    /// The change of x divided by x.
    pub f: f64,
    /// The standard deviation of the noise, G.
    pub g: f64,
}

/// An update linear in x, the score and noise: x_mean = `x`·x + `score`·score, then x = x_mean + `noise`·z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearStep {
    /// The factor of x.
    pub x: f64,
    /// The factor of the score.
    pub score: f64,
    /// The factor of the unit normal draw.
    pub noise: f64,
}

/// What a model is told about time, and how its output becomes a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditioning {
    /// The network's time argument: σ, t·999, t·(N−1) or a label.
    pub argument: f64,
    /// score = `score_scale` · model_output + `x_scale` · x.
    pub score_scale: f64,
    /// 0 where the output alone makes the score.
    pub x_scale: f64,
}

impl Conditioning {
    /// That of a network which states what it is told and what it gives.
    pub fn stated(t: f64, marginal: Marginal, argument: TimeArgument, prediction: Prediction) -> Self {
        let [x_scale, score_scale] = prediction.score(marginal);
        Self { argument: argument.at(t, marginal), score_scale, x_scale }
    }
}

/// What a network is told about time, and what its output is: the other half of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeConditioning {
    /// As the authors' networks that were trained on every t in [t_eps, 1]: σ(t) and a score for VE, 999·t and the noise for VP
    /// and sub-VP.
    Continuous,
    /// As the authors' networks that were trained on `levels` noise levels (`num_scales` of the configuration), addressed by index.
    Discrete {
        /// The number of noise levels.
        levels: usize,
    },
    /// As a network of another design says, whatever the SDE.
    Stated {
        /// What it is told.
        argument: TimeArgument,
        /// What its output is.
        prediction: Prediction,
    },
}

/// What a network is told about time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeArgument {
    /// t, from 0 (data) to 1 (noise).
    Time,
    /// σ(t), the standard deviation of p(x_t | x_0).
    Std,
    /// ln(σ(t)/α(t)): half the logarithm of the noise-to-signal ratio.
    LogNoise,
}

impl TimeArgument {
    /// Its value at t.
    pub fn at(self, t: f64, marginal: Marginal) -> f64 {
        match self {
            Self::Time => t,
            Self::Std => marginal.std,
            Self::LogNoise => (marginal.std / marginal.mean).ln(),
        }
    }
}

/// What the output of a network is, for x_t = α·x_0 + σ·z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// The score, −z/σ where x_0 is known.
    Score,
    /// The noise z: score = −output/σ (Ho et al. 2020).
    Noise,
    /// v = α·z − σ·x_0: score = −(x + (α/σ)·output)/(α² + σ²) (Salimans and Ho 2022).
    V,
    /// The data x_0: score = (α·output − x)/σ².
    Data,
}

impl Prediction {
    /// score = first·x + second·output.
    pub fn score(self, Marginal { mean, std }: Marginal) -> [f64; 2] {
        match self {
            Self::Score => [0.0, 1.0],
            Self::Noise => [0.0, -1.0 / std],
            Self::V => {
                let norm = mean * mean + std * std;
                [-1.0 / norm, -mean / (std * norm)]
            }
            Self::Data => [-1.0 / (std * std), mean / (std * std)],
        }
    }

    /// The target of the output: first·x_0 + second·z.
    pub fn target(self, Marginal { mean, std }: Marginal) -> [f64; 2] {
        match self {
            Self::Score => [0.0, -1.0 / std],
            Self::Noise => [0.0, 1.0],
            Self::V => [-std, mean],
            Self::Data => [1.0, 0.0],
        }
    }
}

/// A forward SDE and its discretisation into N steps.
pub trait Sde: Debug + Send + Sync {
    /// The authors' name: `vesde`, `vpsde`, `subvpsde`.
    fn name(&self) -> &'static str;

    /// N, the number of steps of the discretisation.
    fn n(&self) -> usize;

    /// Its constants, for SDEs of this library: what a configuration records of it.
    fn parameters(&self) -> Option<SdeParameters> {
        None
    }

    /// The same SDE cut into `n` steps. Fails for `n` = 0.
    fn with_n(&self, n: usize) -> Result<Arc<dyn Sde>>;

    /// The smallest time that the authors sample down to: 1e-5 for VE, 1e-3 for VP and sub-VP.
    fn default_t_eps(&self) -> f64;

    /// Drift and diffusion at t.
    fn sde(&self, t: f64) -> Coefficients;

    /// Mean factor and standard deviation of p(x_t | x_0).
    fn marginal_prob(&self, t: f64) -> Marginal;

    /// The time at which std / mean, the noise of x_t measured in units of x_0, is `ratio`.
    /// The inverse of [`Sde::marginal_prob`]; not clamped to [0, 1].
    fn time_of_noise(&self, ratio: f64) -> f64;

    /// The standard deviation of the prior, x_1 ~ N(0, std²·I).
    fn prior_std(&self) -> f64;

    /// log p of the prior for one image of `d` elements whose squares sum to `sum_of_squares`.
    fn prior_logp(&self, sum_of_squares: f64, d: usize) -> f64 {
        let variance = self.prior_std().powi(2);
        -0.5 * (d as f64 * (std::f64::consts::TAU * variance).ln() + sum_of_squares / variance)
    }

    /// The forward step that belongs to t: DDPM's and SMLD's chains, Euler-Maruyama where the paper has none.
    fn discretize(&self, t: f64) -> Discretized {
        let n = self.n() as f64;
        let c = self.sde(t);
        Discretized { f: c.drift / n, g: c.diffusion / n.sqrt() }
    }

    /// The ancestral step at t (Song et al. 2021, appendix F), or none where the SDE has no such chain.
    fn ancestral(&self, t: f64) -> Option<LinearStep>;

    /// α of the Langevin correctors at t: 1 for VE, 1 − β_i for VP and sub-VP.
    fn langevin_alpha(&self, t: f64) -> f64;

    /// What a model trained for this SDE is told at t, and the scale from its output to a score.
    fn conditioning(&self, t: f64, time: TimeConditioning) -> Conditioning;

    /// The index of t in tables of N entries: trunc(t·(N−1)).
    fn index(&self, t: f64) -> usize {
        grid::index(t, self.n())
    }
}

impl dyn Sde + '_ {
    /// The reverse-time SDE, or the probability-flow ODE of the same marginals.
    pub fn reverse(&self, probability_flow: bool) -> Reverse<'_> {
        Reverse::new(self, probability_flow)
    }
}

/// The numbers of an SDE as the authors' configurations give them; each SDE takes those it needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SdeParameters {
    /// Smallest σ of VE.
    pub sigma_min: f64,
    /// Largest σ of VE.
    pub sigma_max: f64,
    /// β(0) of VP and sub-VP.
    pub beta_min: f64,
    /// β(1) of VP and sub-VP.
    pub beta_max: f64,
    /// N, `num_scales` of the configuration.
    pub n: usize,
}

impl Default for SdeParameters {
    /// The authors' for CIFAR-10: σ from 0.01 to 50, β from 0.1 to 20, N = 1000.
    fn default() -> Self {
        Self { sigma_min: 0.01, sigma_max: 50.0, beta_min: 0.1, beta_max: 20.0, n: 1000 }
    }
}

/// The SDE that the authors' configurations call `name`: `vesde`, `vpsde` or `subvpsde`, in any case.
pub fn by_name(name: &str, p: &SdeParameters) -> Result<Arc<dyn Sde>> {
    match name.to_ascii_lowercase().as_str() {
        "vesde" => Ok(Arc::new(Ve::new(p.sigma_min, p.sigma_max, p.n)?)),
        "vpsde" => Ok(Arc::new(Vp::new(p.beta_min, p.beta_max, p.n)?)),
        "subvpsde" => Ok(Arc::new(SubVp::new(p.beta_min, p.beta_max, p.n)?)),
        _ => Err(Error::invalid("training.sde", name, "the SDEs are vesde, vpsde and subvpsde")),
    }
}

fn check_n(n: usize) -> Result<()> {
    // Beyond 2^24 an f32 time no longer tells neighbouring steps apart.
    if n == 0 || n > 1 << 24 {
        return Err(Error::invalid("N", n, "an SDE is cut into 1 to 16777216 steps"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Arc<dyn Sde>; 3] {
        [
            Arc::new(Ve::new(0.01, 50.0, 1000).unwrap()),
            Arc::new(Vp::new(0.1, 20.0, 1000).unwrap()),
            Arc::new(SubVp::new(0.1, 20.0, 1000).unwrap()),
        ]
    }

    /// d mean/dt = drift·mean and d std²/dt = 2 drift std² + g², by central differences.
    #[test]
    fn marginals_solve_the_moment_equations() {
        for sde in all() {
            for t in [0.05, 0.3, 0.7, 0.95] {
                let h = 1e-5;
                let (c, m) = (sde.sde(t), sde.marginal_prob(t));
                let (lo, hi) = (sde.marginal_prob(t - h), sde.marginal_prob(t + h));
                let d_mean = (hi.mean - lo.mean) / (2.0 * h);
                let d_var = (hi.std.powi(2) - lo.std.powi(2)) / (2.0 * h);
                assert!((d_mean - c.drift * m.mean).abs() < 1e-6, "{} at {t}", sde.name());
                let mut expected = 2.0 * c.drift * m.std.powi(2) + c.diffusion.powi(2);
                if sde.name() == "vesde" {
                    // The authors' VE has x_0 at noise σ_min, and σ² − σ_min² solves the same equation.
                    expected = c.diffusion.powi(2);
                }
                assert!((d_var / expected - 1.0).abs() < 1e-6, "{} at {t}: {d_var} {expected}", sde.name());
            }
        }
    }

    #[test]
    fn time_of_noise_inverts_the_marginal() {
        for sde in all() {
            for t in [1e-5, 1e-3, 0.1, 0.5, 1.0] {
                let m = sde.marginal_prob(t);
                let back = sde.time_of_noise(m.std / m.mean);
                assert!((back - t).abs() < 1e-12, "{} at {t}: {back}", sde.name());
            }
        }
    }

    #[test]
    fn exact_near_zero() {
        // Leading terms: 1 − e^{2m} = b0 t for VP's variance and sub-VP's std.
        let t = 1e-12;
        let vp = Vp::new(0.1, 20.0, 1000).unwrap().marginal_prob(t).std;
        let sub = SubVp::new(0.1, 20.0, 1000).unwrap();
        assert!((vp / (0.1 * t).sqrt() - 1.0).abs() < 1e-9);
        assert!((sub.marginal_prob(t).std / (0.1 * t) - 1.0).abs() < 1e-9);
        assert!((sub.sde(t).diffusion / (0.1 * 2.0 * 0.1 * t).sqrt() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn prior_logp_is_the_normal_density() {
        let ve = Ve::new(0.01, 2.0, 10).unwrap();
        let expected = 3.0 * (-(2.0f64 * std::f64::consts::TAU.sqrt()).ln()) - 7.0 / 8.0;
        assert!((ve.prior_logp(7.0, 3) - expected).abs() < 1e-12);
    }

    #[test]
    fn names_and_bad_parameters() {
        let good = SdeParameters { sigma_min: 0.01, sigma_max: 50.0, beta_min: 0.1, beta_max: 20.0, n: 10 };
        assert_eq!(by_name("VESDE", &good).unwrap().name(), "vesde");
        assert_eq!(by_name("subvpsde", &good).unwrap().with_n(7).unwrap().n(), 7);
        assert!(by_name("edm", &good).is_err());
        for bad in [
            SdeParameters { sigma_min: 0.0, ..good },
            SdeParameters { sigma_max: f64::NAN, ..good },
            SdeParameters { sigma_max: 0.001, ..good },
            SdeParameters { n: 0, ..good },
        ] {
            assert!(by_name("vesde", &bad).is_err(), "{bad:?}");
        }
        for bad in [
            SdeParameters { beta_min: -0.1, ..good },
            SdeParameters { beta_max: f64::INFINITY, ..good },
            SdeParameters { beta_max: 0.01, ..good },
            SdeParameters { n: 0, ..good },
        ] {
            assert!(by_name("vpsde", &bad).is_err(), "{bad:?}");
            assert!(by_name("subvpsde", &bad).is_err(), "{bad:?}");
        }
    }
}
