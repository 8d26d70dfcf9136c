//! Solvers of the probability-flow ODE that need tens of evaluations: Heun, DPM-Solver++(2M), and DDIM with noise.
//!
//! All of them see an SDE through α(t) and σ(t), the mean factor and standard deviation of p(x_t | x_0), and so work
//! for VE, VP and sub-VP alike. With r = σ/α the flow is d(x/α)/dr = ε, where ε = −σ·score.
//! One evaluation of the network and one linear update make a row, whatever the solver.

use std::fmt;
use std::str::FromStr;

use super::coefficients::check_time;
use crate::sde::{Marginal, Sde, TimeConditioning, linspace};
use crate::{Error, Result};

/// The solvers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Solver {
    /// Heun's method: Algorithm 1 of Karras et al. 2022 for x/α as a function of r, where their σ(t) = t, s(t) = 1.
    /// Order 2, two evaluations a step.
    Heun,
    /// DPM-Solver++(2M), the multistep solver of order 2 of Lu et al. 2022 (Algorithm 2). One evaluation a step. `eta` adds noise: 0 is
    /// the flow, 1 their SDE-DPM-Solver++(2M), which forgets the network's earlier errors.
    DpmSolverPlusPlus2M {
        /// From 0 to 1.
        eta: f64,
    },
    /// DDIM (Song, Meng and Ermon 2021, equation 12). Order 1; `eta` scales the noise: 0 is the flow, 1 is ancestral.
    Ddim {
        /// From 0 to 1.
        eta: f64,
    },
}

impl FromStr for Solver {
    type Err = Error;

    /// `heun`, `dpmpp` or `ddim`, without noise.
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "heun" => Ok(Self::Heun),
            "dpmpp" => Ok(Self::DpmSolverPlusPlus2M { eta: 0.0 }),
            "ddim" => Ok(Self::Ddim { eta: 0.0 }),
            _ => Err(Error::invalid("sampler", s, "the few-step solvers are heun, dpmpp and ddim")),
        }
    }
}

impl fmt::Display for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heun => "heun",
            Self::DpmSolverPlusPlus2M { .. } => "dpmpp",
            Self::Ddim { .. } => "ddim",
        })
    }
}

/// Where the times of the grid lie between 1 and t_eps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spacing {
    /// Evenly in t.
    Time,
    /// Evenly in ln r, half the log of the noise-to-signal ratio.
    LogNoise,
    /// Evenly in r^(1/rho) (Karras et al. 2022, equation 5, where rho is 7).
    Power {
        /// Larger values put more steps at low noise.
        rho: f64,
    },
}

/// What a few-step solver is asked to do.
#[derive(Debug, Clone, Copy)]
pub struct FewStepOptions<'a> {
    /// The SDE. Its N plays no part.
    pub sde: &'a dyn Sde,
    /// How the model was trained. Times are moved onto the levels of a discretely trained one.
    pub time: TimeConditioning,
    /// The solver.
    pub solver: Solver,
    /// Where the times lie.
    pub spacing: Spacing,
    /// The number of steps.
    pub steps: usize,
    /// The last time at which the network is asked.
    pub t_eps: f64,
    /// The last step goes from t_eps to no noise at all: its result is the prediction of x_0.
    pub denoise: bool,
    /// Clamps every prediction of x_0 to ± this, where the data are known to lie; [`Solver::Heun`] makes none. At t = 1 the prediction
    /// magnifies the network's error by σ/α, so that without a clamp few steps of a young model run away.
    pub clip: Option<f64>,
}

/// One evaluation and update:
///
/// ```text
/// output = output_scale · model_output(x, argument)
/// k      = kept_x · x + kept_output · output, clamped to ±clip where the table has a clip
/// x      = x · x + output · output + kept · k + kept_before · (k of the row before) + noise · z
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SolverRow {
    /// t, or timestep / num_train_timesteps.
    pub t: f64,
    /// The network's time argument.
    pub argument: f64,
    /// The standard deviation of p(x_t | x_0), which a guiding classifier is told.
    pub std: f64,
    /// What the raw output is multiplied by: the result is the score for the solvers of this file, and the
    /// prediction as the model was trained to give it for diffusers' schedulers.
    pub output_scale: f64,
    /// The factor of x in k.
    pub kept_x: f64,
    /// The factor of the output in k.
    pub kept_output: f64,
    /// The factor of x.
    pub x: f64,
    /// The factor of the output.
    pub output: f64,
    /// The factor of this row's k.
    pub kept: f64,
    /// The factor of the k of the row before; 0 in the first row.
    pub kept_before: f64,
    /// The factor of the unit normal draw.
    pub noise: f64,
    /// A z is drawn, also where its factor is 0.
    pub draws: bool,
    /// x after this row is a state of the trajectory; the first stage of Heun's method is not.
    pub ends_step: bool,
}

/// The whole run, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct SolverTable {
    /// One row an evaluation.
    pub rows: Vec<SolverRow>,
    /// The initial state is this times a unit normal draw.
    pub prior_std: f64,
    /// k is clamped to ± this.
    pub clip: Option<f64>,
}

impl SolverTable {
    /// Fails, with the row, where a coefficient is not finite.
    pub(super) fn checked(self, what: &str) -> Result<Self> {
        for (i, r) in self.rows.iter().enumerate() {
            let all = [
                r.argument,
                r.std,
                r.output_scale,
                r.kept_x,
                r.kept_output,
                r.x,
                r.output,
                r.kept,
                r.kept_before,
                r.noise,
            ];
            if all.iter().any(|v| !v.is_finite()) {
                return Err(Error::invalid(
                    "sampler",
                    what,
                    format!(
                        "step {i} at t = {} is not defined with this schedule; use another t_eps, step count or prediction type",
                        r.t
                    ),
                ));
            }
        }
        Ok(self)
    }
}

/// The table for `o`. Fails where an option is out of range.
pub fn few_step(o: &FewStepOptions) -> Result<SolverTable> {
    check_time(o.sde, o.time)?;
    if o.steps == 0 || o.steps > 1_000_000 {
        return Err(Error::invalid("sampling.steps", o.steps, "a solver takes 1 to 1000000 steps"));
    }
    if !(o.t_eps > 0.0 && o.t_eps < 1.0) {
        return Err(Error::invalid("t_eps", o.t_eps, "sampling ends at a time between 0 and 1"));
    }
    if let Solver::Ddim { eta } | Solver::DpmSolverPlusPlus2M { eta } = o.solver
        && !(0.0..=1.0).contains(&eta)
    {
        return Err(Error::invalid(
            "eta",
            eta,
            "it lies between 0, no noise, and 1, as much as the SDE adds",
        ));
    }
    if let Some(clip) = o.clip
        && !(clip > 0.0 && clip.is_finite())
    {
        return Err(Error::invalid("clip", clip, "data lie within a finite range above 0"));
    }
    let times = times(o)?;
    let mut nodes: Vec<Node> = times.iter().map(|&t| Node::new(t, o.sde.marginal_prob(t))).collect();
    if o.denoise {
        nodes.push(Node::new(0.0, Marginal { mean: 1.0, std: 0.0 }));
    }
    let mut rows = vec![];
    let mut before: Option<f64> = None;
    for pair in nodes.windows(2) {
        let (s, t) = (pair[0], pair[1]);
        match o.solver {
            Solver::Ddim { eta } => rows.push(ddim_row(o, s, t, eta)),
            Solver::DpmSolverPlusPlus2M { eta } => {
                // The step to no noise is infinite in λ; its limit is the prediction of x_0, without a second order.
                let h = (s.ratio / t.ratio).ln();
                rows.push(dpm_row(o, s, t, before.map(|last| last / h), eta));
                before = Some(h);
            }
            Solver::Heun => {
                rows.push(heun_first_row(o, s, t));
                if t.ratio > 0.0 {
                    rows.push(heun_second_row(o, s, t));
                }
            }
        }
    }
    // k is the score in Heun's rows.
    let clip = o.clip.filter(|_| o.solver != Solver::Heun);
    SolverTable { rows, prior_std: o.sde.prior_std(), clip }.checked(&o.solver.to_string())
}

/// A time of the grid with α, σ and r = σ/α there.
#[derive(Debug, Clone, Copy)]
struct Node {
    t: f64,
    mean: f64,
    std: f64,
    ratio: f64,
}

impl Node {
    fn new(t: f64, m: Marginal) -> Self {
        Self { t, mean: m.mean, std: m.std, ratio: m.std / m.mean }
    }
}

/// The times at which the network is asked, from 1 down, without repetitions.
fn times(o: &FewStepOptions) -> Result<Vec<f64>> {
    let n = o.steps + usize::from(!o.denoise);
    let ratio = |t| {
        let m = o.sde.marginal_prob(t);
        m.std / m.mean
    };
    let even = |f: &dyn Fn(f64) -> f64, back: &dyn Fn(f64) -> f64| -> Vec<f64> {
        let values = linspace(f(ratio(1.0)), f(ratio(o.t_eps)), n);
        values.into_iter().map(|v| o.sde.time_of_noise(back(v))).collect()
    };
    let mut times = match o.spacing {
        Spacing::Time => linspace(1.0, o.t_eps, n),
        Spacing::LogNoise => even(&f64::ln, &f64::exp),
        Spacing::Power { rho } if rho.is_finite() && rho > 0.0 => {
            even(&|r| r.powf(1.0 / rho), &|r| r.powf(rho))
        }
        Spacing::Power { rho } => {
            return Err(Error::invalid("rho", rho, "the spacing needs a finite rho above 0"));
        }
    };
    // The inverse is exact but for rounding; the ends are what was asked for.
    times[0] = 1.0;
    if n > 1 {
        times[n - 1] = o.t_eps;
    }
    if let TimeConditioning::Discrete { levels } = o.time {
        let last = levels.max(2) - 1;
        // Level 0 of VP has no noise in continuous time, and a solver divides by it.
        let lowest = usize::from(o.sde.marginal_prob(0.0).std == 0.0);
        for t in &mut times {
            *t = ((*t * last as f64).round() as usize).max(lowest) as f64 / last as f64;
        }
        times.dedup();
    }
    Ok(times)
}

/// A row that keeps the prediction of x_0 = (x + σ² score)/α and otherwise does nothing.
fn row(o: &FewStepOptions, s: Node) -> SolverRow {
    let c = o.sde.conditioning(s.t, o.time);
    SolverRow {
        t: s.t,
        argument: c.argument,
        std: s.std,
        output_scale: c.score_scale,
        kept_x: 1.0 / s.mean,
        kept_output: s.std * s.ratio,
        x: 0.0,
        output: 0.0,
        kept: 0.0,
        kept_before: 0.0,
        noise: 0.0,
        draws: false,
        ends_step: true,
    }
}

/// x_t = α_t x̂_0 + √(σ_t² − τ²) ε + τ z, where τ is η times the standard deviation of q(x_t | x_s, x_0).
fn ddim_row(o: &FewStepOptions, s: Node, t: Node, eta: f64) -> SolverRow {
    // q(x_s | x_t) has variance σ_s² − (α_s/α_t)² σ_t², written without cancellation.
    let gap = s.std.powi(2) * (1.0 - t.ratio / s.ratio) * (1.0 + t.ratio / s.ratio);
    let tau = eta * t.std / s.std * gap.sqrt();
    let direction = (t.std.powi(2) - tau * tau).max(0.0).sqrt();
    SolverRow { kept: t.mean, output: -s.std * direction, noise: tau, draws: eta > 0.0, ..row(o, s) }
}

/// x_t = (σ_t/σ_s) e^{−ηh} x + α_t (1 − e^{−(1+η)h}) D + σ_t √(1 − e^{−2ηh}) z with D = x̂_0 + (x̂_0 − x̂_0 before)/(2r), where
/// r = h before / h and e^{−h} = r_t/r_s.
fn dpm_row(o: &FewStepOptions, s: Node, t: Node, r: Option<f64>, eta: f64) -> SolverRow {
    let shrink = t.ratio / s.ratio;
    let gain = t.mean * (1.0 - shrink.powf(1.0 + eta));
    let half = r.map_or(0.0, |r| if r > 0.0 { 0.5 / r } else { 0.0 });
    SolverRow {
        x: t.std / s.std * shrink.powf(eta),
        kept: gain * (1.0 + half),
        kept_before: -gain * half,
        noise: t.std * (1.0 - shrink.powf(2.0 * eta)).sqrt(),
        draws: eta > 0.0,
        ..row(o, s)
    }
}

/// The Euler step x_t = (α_t/α_s) x + α_t (r_t − r_s) ε_s, which is DDIM's; k is the score.
fn heun_first_row(o: &FewStepOptions, s: Node, t: Node) -> SolverRow {
    SolverRow {
        kept_x: 0.0,
        kept_output: 1.0,
        x: t.mean / s.mean,
        output: -t.mean * (t.ratio - s.ratio) * s.std,
        ends_step: t.ratio == 0.0,
        ..row(o, s)
    }
}

/// Replaces half of the Euler step's ε_s by ε_t: x_t = x + α_t (r_t − r_s)(ε_t − ε_s)/2.
fn heun_second_row(o: &FewStepOptions, s: Node, t: Node) -> SolverRow {
    let half = 0.5 * t.mean * (t.ratio - s.ratio);
    SolverRow {
        kept_x: 0.0,
        kept_output: 1.0,
        x: 1.0,
        output: -half * t.std,
        kept_before: half * s.std,
        ..row(o, t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::moments::{GaussianData, Moments};
    use crate::sde::{SubVp, Ve, Vp};

    const DPM: Solver = Solver::DpmSolverPlusPlus2M { eta: 0.0 };
    const DATA: GaussianData = GaussianData { mean: 0.3, variance: 0.25 };

    fn sdes() -> [Box<dyn Sde>; 3] {
        [
            Box::new(Ve::new(0.01, 50.0, 1000).unwrap()),
            Box::new(Vp::new(0.1, 20.0, 1000).unwrap()),
            Box::new(SubVp::new(0.1, 20.0, 1000).unwrap()),
        ]
    }

    fn options(sde: &dyn Sde, solver: Solver, steps: usize) -> FewStepOptions<'_> {
        FewStepOptions {
            sde,
            time: TimeConditioning::Continuous,
            solver,
            spacing: Spacing::LogNoise,
            steps,
            t_eps: 1e-2,
            denoise: false,
            clip: None,
        }
    }

    /// Where the flow takes one point: x − αμ scales with the standard deviation of x_t.
    fn exact(sde: &dyn Sde, x: f64, t_eps: f64) -> f64 {
        let (from, to) = (DATA.marginal(sde.marginal_prob(1.0)), DATA.marginal(sde.marginal_prob(t_eps)));
        to.mean + (x - from.mean) * (to.variance / from.variance).sqrt()
    }

    fn error(o: &FewStepOptions) -> f64 {
        let x = 1.7 * o.sde.prior_std();
        let end = few_step(o).unwrap().moments(o.sde, DATA, Moments { mean: x, variance: 0.0 });
        assert!(end.variance < 1e-20);
        (end.mean - exact(o.sde, x, o.t_eps)).abs()
    }

    #[test]
    fn observed_orders() {
        let solvers = [(Solver::Heun, 2.0), (DPM, 2.0), (Solver::Ddim { eta: 0.0 }, 1.0)];
        for sde in sdes() {
            for (solver, order) in solvers {
                for spacing in [Spacing::LogNoise, Spacing::Time, Spacing::Power { rho: 7.0 }] {
                    let at =
                        |steps| error(&FewStepOptions { spacing, ..options(sde.as_ref(), solver, steps) });
                    let observed = (at(2000) / at(8000)).log2() / 2.0;
                    assert!(
                        (observed - order).abs() < 0.2,
                        "{} {solver} {spacing:?}: {observed}",
                        sde.name()
                    );
                }
            }
        }
    }

    #[test]
    fn solvers_with_noise_tend_to_the_data() {
        let noisy = |eta| [Solver::Ddim { eta }, Solver::DpmSolverPlusPlus2M { eta }];
        for sde in sdes() {
            for solver in [0.5, 1.0].into_iter().flat_map(noisy) {
                let o = FewStepOptions { denoise: true, t_eps: 1e-4, ..options(sde.as_ref(), solver, 4000) };
                let start = DATA.marginal(sde.marginal_prob(1.0));
                let end = few_step(&o).unwrap().moments(sde.as_ref(), DATA, start);
                assert!((end.mean - DATA.mean).abs() < 1e-3, "{} {solver:?}: {end:?}", sde.name());
                assert!((end.variance - DATA.variance).abs() < 3e-3, "{} {solver:?}: {end:?}", sde.name());
            }
        }
    }

    /// On one data point the score is exact and the flow is straight in r: every solver lands on it in one step.
    #[test]
    fn one_data_point_is_reached_exactly() {
        let point = GaussianData { mean: 0.3, variance: 0.0 };
        for sde in sdes() {
            for solver in
                [Solver::Heun, DPM, Solver::DpmSolverPlusPlus2M { eta: 0.7 }, Solver::Ddim { eta: 0.7 }]
            {
                for steps in [1, 3] {
                    let o = FewStepOptions { denoise: true, ..options(sde.as_ref(), solver, steps) };
                    let start = Moments { mean: 0.0, variance: sde.prior_std().powi(2) };
                    let end = few_step(&o).unwrap().moments(sde.as_ref(), point, start);
                    assert!((end.mean - 0.3).abs() < 1e-9 && end.variance < 1e-9, "{} {end:?}", sde.name());
                }
            }
        }
    }

    #[test]
    fn evaluations() {
        let vp = Vp::new(0.1, 20.0, 1000).unwrap();
        let count = |solver, denoise| {
            few_step(&FewStepOptions { denoise, ..options(&vp, solver, 10) }).unwrap().rows.len()
        };
        assert_eq!([count(Solver::Heun, true), count(Solver::Heun, false)], [19, 20]);
        assert_eq!(count(DPM, true), 10);
        assert_eq!(count(Solver::Ddim { eta: 0.0 }, false), 10);
    }

    #[test]
    fn discrete_models_are_asked_at_their_levels() {
        for sde in sdes() {
            let o = FewStepOptions {
                time: TimeConditioning::Discrete { levels: 100 },
                spacing: Spacing::Power { rho: 7.0 },
                t_eps: 1e-5,
                ..options(sde.as_ref(), DPM, 30)
            };
            let table = few_step(&o).unwrap();
            assert!(table.rows.len() > 10 && table.rows.len() <= 30);
            assert!(table.rows.iter().all(|r| ((r.t * 99.0).round() - r.t * 99.0).abs() < 1e-9));
            assert!(table.rows.windows(2).all(|w| w[0].t > w[1].t));
        }
    }

    #[test]
    fn bad_options_are_refused() {
        let ve = Ve::new(0.01, 50.0, 10).unwrap();
        let good = options(&ve, Solver::Heun, 10);
        for bad in [
            FewStepOptions { steps: 0, ..good },
            FewStepOptions { t_eps: 0.0, ..good },
            FewStepOptions { t_eps: f64::NAN, ..good },
            FewStepOptions { clip: Some(0.0), ..good },
            FewStepOptions { spacing: Spacing::Power { rho: 0.0 }, ..good },
            FewStepOptions { solver: Solver::Ddim { eta: 1.5 }, ..good },
            FewStepOptions { solver: Solver::DpmSolverPlusPlus2M { eta: -0.1 }, ..good },
            FewStepOptions { time: TimeConditioning::Discrete { levels: 0 }, ..good },
        ] {
            assert!(few_step(&bad).is_err(), "{bad:?}");
        }
        assert_eq!("dpmpp".parse::<Solver>().unwrap(), DPM);
        assert!("dpm".parse::<Solver>().is_err());
    }
}
