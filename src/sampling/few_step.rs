//! What solvers of tens of evaluations share: the times at which they ask the network, and the table of their updates.
//!
//! All of them see an SDE through α(t) and σ(t), the mean factor and standard deviation of p(x_t | x_0), and so work
//! for VE, VP and sub-VP alike. With r = σ/α the flow is d(x/α)/dr = ε, where ε = −σ·score.
//! One evaluation of the network and one linear update make a row, whatever the solver. The solvers are in
//! [`solvers`](super::solvers), a file each.

use super::coefficients::check_time;
use crate::sde::{Marginal, Sde, TimeConditioning, linspace};
use crate::{Error, Result};

/// Steps of a few-step solver where nothing else is said.
pub const STEPS: usize = 20;

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

/// The times at which a few-step solver asks the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    pub steps: usize,
    pub spacing: Spacing,
    /// The last time at which the network is asked; that of the SDE where there is none.
    pub t_eps: Option<f64>,
    /// The last step goes from t_eps to no noise at all: its result is the prediction of x_0.
    pub denoise: bool,
}

impl Grid {
    pub(super) const fn new(steps: usize) -> Self {
        Self { steps, spacing: Spacing::LogNoise, t_eps: None, denoise: true }
    }
}

/// Methods by which a solver with a field `grid` is told where its times lie.
macro_rules! grid_options {
    () => {
        /// Where the times lie: [`Spacing::LogNoise`](crate::sampling::few_step::Spacing) unless told otherwise.
        #[must_use]
        pub fn spacing(mut self, spacing: $crate::sampling::few_step::Spacing) -> Self {
            self.grid.spacing = spacing;
            self
        }

        /// The last time at which the network is asked, between 0 and 1: that of the SDE unless told otherwise.
        #[must_use]
        pub fn t_eps(mut self, t_eps: f64) -> Self {
            self.grid.t_eps = Some(t_eps);
            self
        }

        /// Whether the last step goes to no noise at all, so that its result is the prediction of x_0; it does unless told otherwise.
        #[must_use]
        pub fn denoise(mut self, denoise: bool) -> Self {
            self.grid.denoise = denoise;
            self
        }
    };
}
pub(super) use grid_options;

/// One evaluation and update:
///
/// ```text
/// output = output_scale · model_output(x, argument) + x_scale · x
/// k      = kept_x · x + kept_output · output, clamped to ±clip where the table has a clip
/// x'     = x · x + output · output + kept · k + Σ_j before_j · slot_j + noise · z
/// slot[keep_in] = k, slot[keep_x_in] = x
/// ```
///
/// The slots hold predictions and states of earlier rows, for multistep methods and for those that begin again from an earlier state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SolverRow {
    /// t, or timestep / num_train_timesteps.
    pub t: f64,
    /// The network's time argument.
    pub argument: f64,
    /// The standard deviation of p(x_t | x_0), which a guiding classifier is told.
    pub std: f64,
    /// What the raw output is multiplied by: the result is the score for solvers of an SDE, and the
    /// prediction as the model was trained to give it for diffusers' schedulers.
    pub output_scale: f64,
    /// What is added to it of x: 0 but for networks that predict v or the data.
    pub x_scale: f64,
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
    /// The factors of what the slots hold before this row.
    pub before: [f64; SLOTS],
    /// The factor of the unit normal draw.
    pub noise: f64,
    /// The slot that takes k.
    pub keep_in: Option<usize>,
    /// The slot that takes the x of before this row.
    pub keep_x_in: Option<usize>,
    /// A z is drawn, also where its factor is 0.
    pub draws: bool,
    /// x after this row is a state of the trajectory; the first stage of Heun's method is not.
    pub ends_step: bool,
}

/// The most slots of a table.
pub const SLOTS: usize = 6;

impl SolverRow {
    /// A row that changes nothing but for x, which becomes 0: for `..`.
    pub(super) const NOTHING: Self = Self {
        t: 0.0,
        argument: 0.0,
        std: 0.0,
        output_scale: 1.0,
        x_scale: 0.0,
        kept_x: 0.0,
        kept_output: 0.0,
        x: 0.0,
        output: 0.0,
        kept: 0.0,
        before: [0.0; SLOTS],
        noise: 0.0,
        keep_in: None,
        keep_x_in: None,
        draws: false,
        ends_step: true,
    };
}

/// Factors of the slots where the first alone has one.
pub(super) fn of_slot_0(factor: f64) -> [f64; SLOTS] {
    let mut before = [0.0; SLOTS];
    before[0] = factor;
    before
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
    /// How many slots its rows use, at most [`SLOTS`]. They hold 0 before the first row; what a row keeps in another slot is lost.
    pub slots: usize,
}

impl SolverRow {
    /// A row that asks the network for the score at t, keeps the prediction of x_0 = (x + σ² score)/α, and otherwise does nothing:
    /// what a solver begins its rows with.
    pub fn asking(sde: &dyn Sde, time: TimeConditioning, t: f64) -> Self {
        row(sde, time, Node::new(t, sde.marginal_prob(t)))
    }
}

impl SolverTable {
    /// A table with as many slots as its rows keep anything in.
    pub fn new(rows: Vec<SolverRow>, prior_std: f64, clip: Option<f64>) -> Self {
        let slots =
            rows.iter().flat_map(|r| [r.keep_in, r.keep_x_in]).flatten().max().map_or(0, |last| last + 1);
        Self { rows, prior_std, clip, slots }
    }

    /// The run in f64 on the CPU, for comparison with other code: `x` is the starting point, `output` gives the raw output of the
    /// network for a row and x, `draw` a unit normal draw. Gives the state before each row and the result.
    pub fn run_f64(
        &self,
        mut x: Vec<f64>,
        mut output: impl FnMut(&SolverRow, &[f64]) -> Vec<f64>,
        mut draw: impl FnMut() -> Vec<f64>,
    ) -> Vec<Vec<f64>> {
        let mut slots = vec![vec![0.0; x.len()]; self.slots];
        let mut states = Vec::with_capacity(self.rows.len() + 1);
        for r in &self.rows {
            let raw = output(r, &x);
            let z = if r.draws { draw() } else { vec![0.0; x.len()] };
            let clip = self.clip.unwrap_or(f64::INFINITY);
            let mut new = Vec::with_capacity(x.len());
            let mut kept = Vec::with_capacity(x.len());
            for i in 0..x.len() {
                let output = r.output_scale * raw[i] + r.x_scale * x[i];
                let k = (r.kept_x * x[i] + r.kept_output * output).clamp(-clip, clip);
                let before: f64 = slots.iter().zip(r.before).map(|(slot, factor)| factor * slot[i]).sum();
                new.push(r.x * x[i] + r.output * output + r.kept * k + before + r.noise * z[i]);
                kept.push(k);
            }
            states.push(std::mem::replace(&mut x, new));
            let last = states.len() - 1;
            if let Some(slot) = r.keep_x_in.and_then(|slot| slots.get_mut(slot)) {
                slot.copy_from_slice(&states[last]);
            }
            if let Some(slot) = r.keep_in.and_then(|slot| slots.get_mut(slot)) {
                *slot = kept;
            }
        }
        states.push(x);
        states
    }

    /// Fails, with the row, where a coefficient is not finite.
    pub(super) fn checked(self, what: &str) -> Result<Self> {
        for (i, r) in self.rows.iter().enumerate() {
            let all = [
                r.argument,
                r.std,
                r.output_scale,
                r.x_scale,
                r.kept_x,
                r.kept_output,
                r.x,
                r.output,
                r.kept,
                r.noise,
            ];
            if all.iter().chain(&r.before).any(|v| !v.is_finite()) {
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

/// A time of the grid with α, σ and r = σ/α there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub t: f64,
    pub mean: f64,
    pub std: f64,
    pub ratio: f64,
}

impl Node {
    fn new(t: f64, m: Marginal) -> Self {
        Self { t, mean: m.mean, std: m.std, ratio: m.std / m.mean }
    }

    /// With α² + σ² = 1 and r = `ratio`.
    pub(super) fn of_ratio(t: f64, ratio: f64) -> Self {
        let mean = 1.0 / ratio.hypot(1.0);
        Self { t, mean, std: ratio * mean, ratio }
    }
}

impl Grid {
    /// The times of a run, from 1 down; a last one without noise where the last step denoises. Fails where an option is out of range.
    pub(super) fn nodes(&self, sde: &dyn Sde, time: TimeConditioning) -> Result<Vec<Node>> {
        check_time(sde, time)?;
        if self.steps == 0 || self.steps > 1_000_000 {
            return Err(Error::invalid("sampling.steps", self.steps, "a solver takes 1 to 1000000 steps"));
        }
        let t_eps = self.t_eps.unwrap_or_else(|| sde.default_t_eps());
        if !(t_eps > 0.0 && t_eps < 1.0) {
            return Err(Error::invalid("t_eps", t_eps, "sampling ends at a time between 0 and 1"));
        }
        let times = self.times(sde, time, t_eps)?;
        let mut nodes: Vec<Node> = times.iter().map(|&t| Node::new(t, sde.marginal_prob(t))).collect();
        if self.denoise {
            nodes.push(Node::new(0.0, Marginal { mean: 1.0, std: 0.0 }));
        }
        Ok(nodes)
    }

    /// The times at which the network is asked, from 1 down, without repetitions.
    fn times(&self, sde: &dyn Sde, time: TimeConditioning, t_eps: f64) -> Result<Vec<f64>> {
        let n = self.steps + usize::from(!self.denoise);
        let ratio = |t| {
            let m = sde.marginal_prob(t);
            m.std / m.mean
        };
        let even = |f: &dyn Fn(f64) -> f64, back: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let values = linspace(f(ratio(1.0)), f(ratio(t_eps)), n);
            values.into_iter().map(|v| sde.time_of_noise(back(v))).collect()
        };
        let mut times = match self.spacing {
            Spacing::Time => linspace(1.0, t_eps, n),
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
            times[n - 1] = t_eps;
        }
        if let TimeConditioning::Discrete { levels } = time {
            let last = levels.max(2) - 1;
            // Level 0 of VP has no noise in continuous time, and a solver divides by it.
            let lowest = usize::from(sde.marginal_prob(0.0).std == 0.0);
            for t in &mut times {
                *t = ((*t * last as f64).round() as usize).max(lowest) as f64 / last as f64;
            }
            times.dedup();
        }
        Ok(times)
    }
}

/// Fails unless eta lies in 0 ..= 1.
pub(super) fn check_eta(eta: f64) -> Result<()> {
    match (0.0..=1.0).contains(&eta) {
        true => Ok(()),
        false => {
            Err(Error::invalid("eta", eta, "it lies between 0, no noise, and 1, as much as the SDE adds"))
        }
    }
}

/// Fails unless the clamp of predictions is a finite number above 0.
pub(super) fn check_clip(clip: Option<f64>) -> Result<()> {
    match clip {
        Some(clip) if !(clip > 0.0 && clip.is_finite()) => {
            Err(Error::invalid("clip", clip, "data lie within a finite range above 0"))
        }
        _ => Ok(()),
    }
}

/// A row that keeps the prediction of x_0 = (x + σ² score)/α and otherwise does nothing.
pub(super) fn row(sde: &dyn Sde, time: TimeConditioning, s: Node) -> SolverRow {
    let c = sde.conditioning(s.t, time);
    SolverRow {
        t: s.t,
        argument: c.argument,
        std: s.std,
        output_scale: c.score_scale,
        x_scale: c.x_scale,
        kept_x: 1.0 / s.mean,
        kept_output: s.std * s.ratio,
        keep_in: Some(0),
        ..SolverRow::NOTHING
    }
}

/// What the tests of every solver measure.
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sampling::moments::{GaussianData, Moments};
    use crate::sde::{SubVp, Ve, Vp};

    pub const DATA: GaussianData = GaussianData { mean: 0.3, variance: 0.25 };
    pub const SPACINGS: [Spacing; 3] = [Spacing::LogNoise, Spacing::Time, Spacing::Power { rho: 7.0 }];
    /// Where the flow of [`assert_order`] ends.
    pub const T_EPS: f64 = 1e-2;

    pub fn sdes() -> [Box<dyn Sde>; 3] {
        [
            Box::new(Ve::new(0.01, 50.0, 1000).unwrap()),
            Box::new(Vp::new(0.1, 20.0, 1000).unwrap()),
            Box::new(SubVp::new(0.1, 20.0, 1000).unwrap()),
        ]
    }

    /// Where the flow takes one point: x − αμ scales with the standard deviation of x_t.
    fn exact(sde: &dyn Sde, x: f64) -> f64 {
        let (from, to) = (DATA.marginal(sde.marginal_prob(1.0)), DATA.marginal(sde.marginal_prob(T_EPS)));
        to.mean + (x - from.mean) * (to.variance / from.variance).sqrt()
    }

    /// Fails unless the error at t = [`T_EPS`] falls with the number of steps as a method of `order` does, on every SDE and spacing.
    pub fn assert_order(order: f64, table: impl Fn(&dyn Sde, Spacing, usize) -> SolverTable) {
        for sde in sdes() {
            let sde = sde.as_ref();
            for spacing in SPACINGS {
                let x = 1.7 * sde.prior_std();
                let error = |steps| {
                    let start = Moments { mean: x, variance: 0.0 };
                    let end = table(sde, spacing, steps).moments(sde, DATA, start);
                    assert!(end.variance < 1e-20);
                    (end.mean - exact(sde, x)).abs()
                };
                let observed = (error(2000) / error(8000)).log2() / 2.0;
                assert!((observed - order).abs() < 0.2, "{} {spacing:?}: {observed}", sde.name());
            }
        }
    }

    /// Fails unless many steps of a solver with noise lead from p_1 to the data's moments.
    pub fn assert_tends_to_the_data(table: impl Fn(&dyn Sde) -> SolverTable) {
        for sde in sdes() {
            let sde = sde.as_ref();
            let start = DATA.marginal(sde.marginal_prob(1.0));
            let end = table(sde).moments(sde, DATA, start);
            assert!((end.mean - DATA.mean).abs() < 1e-3, "{}: {end:?}", sde.name());
            assert!((end.variance - DATA.variance).abs() < 3e-3, "{}: {end:?}", sde.name());
        }
    }

    /// Fails unless one data point is reached exactly: its score is exact and the flow is straight in r.
    pub fn assert_one_point_is_reached(table: impl Fn(&dyn Sde) -> SolverTable) {
        let point = GaussianData { mean: 0.3, variance: 0.0 };
        for sde in sdes() {
            let sde = sde.as_ref();
            let start = Moments { mean: 0.0, variance: sde.prior_std().powi(2) };
            let end = table(sde).moments(sde, point, start);
            assert!((end.mean - 0.3).abs() < 1e-9 && end.variance < 1e-9, "{} {end:?}", sde.name());
        }
    }

    #[test]
    fn discrete_models_are_asked_at_their_levels() {
        for sde in sdes() {
            let grid = Grid { spacing: Spacing::Power { rho: 7.0 }, t_eps: Some(1e-5), ..Grid::new(30) };
            let nodes = grid.nodes(sde.as_ref(), TimeConditioning::Discrete { levels: 100 }).unwrap();
            let times: Vec<f64> = nodes[..nodes.len() - 1].iter().map(|node| node.t).collect();
            assert!(times.len() > 10 && times.len() <= 30);
            assert!(times.iter().all(|t| ((t * 99.0).round() - t * 99.0).abs() < 1e-9));
            assert!(times.windows(2).all(|w| w[0] > w[1]));
        }
    }

    #[test]
    fn bad_options_are_refused() {
        let ve = Ve::new(0.01, 50.0, 10).unwrap();
        let good = Grid::new(10);
        for bad in [
            Grid { steps: 0, ..good },
            Grid { t_eps: Some(0.0), ..good },
            Grid { t_eps: Some(f64::NAN), ..good },
            Grid { spacing: Spacing::Power { rho: 0.0 }, ..good },
        ] {
            assert!(bad.nodes(&ve, TimeConditioning::Continuous).is_err(), "{bad:?}");
        }
        assert!(good.nodes(&ve, TimeConditioning::Discrete { levels: 0 }).is_err());
        assert!(check_clip(Some(0.0)).is_err() && check_clip(None).is_ok());
        assert!(check_eta(1.5).is_err() && check_eta(-0.1).is_err() && check_eta(1.0).is_ok());
    }
}
