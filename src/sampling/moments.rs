//! What a sampler gives on Gaussian data, exactly: the mean and variance of each element by an f64 recursion.
//!
//! With data N(μ, s²) for every element, p_t = N(αμ, α²s² + σ²) and the score is linear in x. Every update of a sampler
//! is linear as well, so mean and variance obey a recursion, and the same discretisation on the device must
//! give samples with these moments, up to sampling error.

use super::coefficients::{CorrectorStep, PcTable};
use super::few_step::SolverTable;
use crate::sde::{LinearStep, Marginal, Sde};

/// Data whose elements are independent with the same normal distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaussianData {
    /// The mean of an element.
    pub mean: f64,
    /// The variance of an element.
    pub variance: f64,
}

/// Mean and variance of an element.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The variance.
    pub variance: f64,
}

impl GaussianData {
    /// The moments of x_t.
    pub fn marginal(&self, m: Marginal) -> Moments {
        Moments { mean: m.mean * self.mean, variance: m.mean.powi(2) * self.variance + m.std.powi(2) }
    }

    /// (a, b) of score(x) = a·x + b at a time with marginal `m`.
    pub fn score(&self, m: Marginal) -> (f64, f64) {
        let p = self.marginal(m);
        (-1.0 / p.variance, p.mean / p.variance)
    }
}

impl Moments {
    /// Those of the prior, N(0, std²).
    pub fn prior(std: f64) -> Self {
        Self { mean: 0.0, variance: std * std }
    }

    /// Those of factor·x + offset + noise·z.
    fn affine(self, factor: f64, offset: f64, noise: f64) -> Self {
        Self { mean: factor * self.mean + offset, variance: factor * factor * self.variance + noise * noise }
    }

    fn step(self, s: LinearStep, (slope, offset): (f64, f64), noisy: bool) -> Self {
        self.affine(s.x + s.score * slope, s.score * offset, if noisy { s.noise } else { 0.0 })
    }
}

impl PcTable {
    /// The moments of the result for data `data` and a start with moments `start` (usually [`Moments::prior`]).
    ///
    /// The step of the Langevin corrector follows norms over the `d` elements of an image; here it is the one that the
    /// mean norms of a large batch give, E‖z‖ and E‖score‖.
    pub fn moments(&self, data: GaussianData, start: Moments, d: usize) -> Moments {
        let mut x = start;
        let mut x_mean = start;
        for row in &self.rows {
            let score = data.score(row.marginal);
            for _ in 0..self.corrector_steps {
                let step = match row.corrector {
                    CorrectorStep::None => continue,
                    CorrectorStep::Fixed { step } => step,
                    CorrectorStep::NormRatio { scale } => {
                        let s = x.affine(score.0, score.1, 0.0);
                        scale * (mean_norm(Moments { mean: 0.0, variance: 1.0 }, d) / mean_norm(s, d)).powi(2)
                    }
                };
                let update = LinearStep { x: 1.0, score: step, noise: (2.0 * step).sqrt() };
                x = x.step(update, score, true);
            }
            x_mean = x.step(row.predictor, score, false);
            x = x.step(row.predictor, score, true);
        }
        if self.denoise { x_mean } else { x }
    }
}

impl SolverTable {
    /// The moments of the result for data `data` and a start with moments `start`, for a table whose output is the
    /// score under `sde`. No clipping.
    pub fn moments(&self, sde: &dyn Sde, data: GaussianData, start: Moments) -> Moments {
        // Mean and covariance of x and of what the slots hold.
        let n = self.slots + 1;
        let mut mean = vec![0.0; n];
        let mut covariance = vec![vec![0.0; n]; n];
        (mean[0], covariance[0][0]) = (start.mean, start.variance);
        for r in &self.rows {
            let (slope, offset) = data.score(sde.marginal_prob(r.t));
            let (kx, k0) = (r.kept_x + r.kept_output * slope, r.kept_output * offset);
            // Each of them as a linear function of all, and a constant.
            let unit = |of: usize| -> Vec<f64> { (0..n).map(|i| f64::from(u8::from(i == of))).collect() };
            let mut linear: Vec<Vec<f64>> = (0..n).map(unit).collect();
            let mut constant = vec![0.0; n];
            linear[0] = [&[r.x + r.output * slope + r.kept * kx], &r.before[..self.slots]].concat();
            constant[0] = r.output * offset + r.kept * k0;
            if let Some(slot) = r.keep_x_in {
                linear[slot + 1] = unit(0);
            }
            if let Some(slot) = r.keep_in {
                linear[slot + 1] = unit(0).iter().map(|v| kx * v).collect();
                constant[slot + 1] = k0;
            }
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let half: Vec<Vec<f64>> =
                linear.iter().map(|row| covariance.iter().map(|c| dot(row, c)).collect()).collect();
            covariance =
                half.iter().map(|row| linear.iter().map(|other| dot(row, other)).collect()).collect();
            covariance[0][0] += r.noise * r.noise;
            mean = linear.iter().zip(constant).map(|(row, c)| dot(row, &mean) + c).collect();
        }
        Moments { mean: mean[0], variance: covariance[0][0] }
    }
}

/// E‖v‖ of a vector of `d` independent normal elements with moments `m`: a Poisson mixture of chi means.
fn mean_norm(m: Moments, d: usize) -> f64 {
    if m.variance <= 0.0 {
        return (d as f64).sqrt() * m.mean.abs();
    }
    let rate = 0.5 * d as f64 * m.mean * m.mean / m.variance;
    let mode = rate.floor();
    let (mut sum, mut weights) = (0.0, 0.0);
    let mut add = |j: f64, weight: f64| {
        sum += weight * chi_mean(d as f64 + 2.0 * j);
        weights += weight;
    };
    // Outwards from the mode, relative to its weight, until the terms no longer count.
    let (mut j, mut weight) = (mode, 1.0);
    while weight > 1e-18 {
        add(j, weight);
        j += 1.0;
        weight *= rate / j;
    }
    let (mut j, mut weight) = (mode, 1.0);
    while j >= 1.0 && weight > 1e-18 {
        weight *= j / rate;
        j -= 1.0;
        add(j, weight);
    }
    m.variance.sqrt() * sum / weights
}

/// The mean of the chi distribution with `k` degrees of freedom, √2 Γ((k+1)/2)/Γ(k/2).
fn chi_mean(k: f64) -> f64 {
    if k < 50.0 {
        // chi_mean(k)·chi_mean(k+1) = k, so small k come down from large ones.
        return k / chi_mean(k + 1.0);
    }
    let i = 1.0 / k;
    k.sqrt() * (1.0 + i * (-0.25 + i * (1.0 / 32.0 + i * (5.0 / 128.0 - i * 21.0 / 2048.0))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::coefficients::tests::options;
    use super::super::coefficients::{Corrector, Predictor};
    use super::*;
    use crate::sde::{SubVp, Ve, Vp};

    const DATA: GaussianData = GaussianData { mean: 0.4, variance: 0.2 };

    #[test]
    fn norms_of_normal_vectors() {
        let unit = Moments { mean: 0.0, variance: 1.0 };
        assert!((mean_norm(unit, 1) - (2.0 / std::f64::consts::PI).sqrt()).abs() < 1e-9);
        assert!((mean_norm(unit, 2) - (std::f64::consts::PI / 2.0).sqrt()).abs() < 1e-9);
        // The mean of |v| for v ~ N(1, 1) is √(2/π) e^{−1/2} + erf(1/√2).
        let folded = (2.0 / std::f64::consts::PI).sqrt() * (-0.5f64).exp() + 0.682_689_492_137_086;
        assert!((mean_norm(Moments { mean: 1.0, variance: 1.0 }, 1) - folded).abs() < 1e-9);
        // Far from the origin the norm is that of the mean.
        let far = mean_norm(Moments { mean: 10.0, variance: 1e-6 }, 3000);
        assert!((far / (3000f64.sqrt() * 10.0) - 1.0).abs() < 1e-7);
    }

    /// The distance of the result from the data, mean and standard deviation, when started from p_1.
    fn distance(sde: Arc<dyn Sde>, p: Predictor, c: Corrector, snr: f64, pf: bool) -> Option<f64> {
        let mut o = options(sde.clone(), p, c);
        (o.snr, o.probability_flow, o.t_eps) = (snr, pf, 1e-5);
        let start = DATA.marginal(sde.marginal_prob(1.0));
        let end = PcTable::new(&o).ok()?.moments(DATA, start, 192);
        Some((end.mean - DATA.mean).abs() + (end.variance.sqrt() - DATA.variance.sqrt()).abs())
    }

    #[test]
    fn tends_to_the_data_as_n_grows_and_snr_falls() {
        let make: [fn(usize) -> Arc<dyn Sde>; 3] = [
            |n| Arc::new(Ve::new(0.01, 50.0, n).unwrap()),
            |n| Arc::new(Vp::new(0.1, 20.0, n).unwrap()),
            |n| Arc::new(SubVp::new(0.1, 20.0, n).unwrap()),
        ];
        let mut pairs = 0;
        for make in make {
            for p in Predictor::ALL.into_iter().filter(|p| *p != Predictor::None) {
                for c in Corrector::ALL {
                    for pf in [false, true] {
                        let Some(coarse) = distance(make(100), p, c, 0.1, pf) else { continue };
                        let fine = distance(make(10_000), p, c, 0.001, pf).unwrap();
                        let name = make(1).name();
                        assert!(fine < 3e-3 && fine < 0.4 * coarse, "{name} {p} {c} {pf}: {coarse} {fine}");
                        pairs += 1;
                    }
                }
            }
        }
        assert_eq!(pairs, 3 * (6 + 6 + 3) - 3);
    }

    /// Many Langevin steps alone settle near p at the last time, whatever the start.
    #[test]
    fn correctors_alone_keep_the_marginal() {
        let ve: Arc<dyn Sde> = Arc::new(Ve::new(0.5, 2.0, 40).unwrap());
        for c in [Corrector::Langevin, Corrector::Ald] {
            let mut o = options(ve.clone(), Predictor::None, c);
            (o.snr, o.n_steps_each) = (0.1, 200);
            let end = PcTable::new(&o).unwrap().moments(DATA, Moments::prior(2.0), 192);
            let target = DATA.marginal(ve.marginal_prob(1e-5));
            assert!((end.mean - target.mean).abs() < 0.02, "{c}: {end:?}");
            assert!((end.variance / target.variance - 1.0).abs() < 0.05, "{c}: {end:?}");
        }
    }
}
