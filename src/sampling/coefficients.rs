//! The coefficients of predictor-corrector sampling, one row a step, for every SDE × predictor × corrector.
//!
//! Algorithm 1 of Song et al. 2021 in the authors' order: x from the prior, then at each t of the grid first the
//! corrector (`n_steps_each` times), then the predictor at the same t.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::nearest;
use crate::sde::{LinearStep, Marginal, Sde, TimeConditioning, time_grid};
use crate::{Error, Result};

/// The predictors, under the authors' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictor {
    /// Euler-Maruyama on the reverse SDE with dt = −1/N.
    EulerMaruyama,
    /// The reverse of the forward chain (appendix E).
    ReverseDiffusion,
    /// Ancestral sampling of SMLD and DDPM (appendix F); not defined for sub-VP nor for the probability flow.
    AncestralSampling,
    /// x and x_mean stay as they are; nothing is drawn.
    None,
}

/// The correctors, under the authors' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corrector {
    /// Langevin dynamics whose step follows the ratio of norms of noise and score.
    Langevin,
    /// Annealed Langevin dynamics: the step follows std(t).
    Ald,
    /// Nothing.
    None,
}

const PREDICTORS: [(&str, Predictor); 4] = [
    ("euler_maruyama", Predictor::EulerMaruyama),
    ("reverse_diffusion", Predictor::ReverseDiffusion),
    ("ancestral_sampling", Predictor::AncestralSampling),
    ("none", Predictor::None),
];

const CORRECTORS: [(&str, Corrector); 3] =
    [("langevin", Corrector::Langevin), ("ald", Corrector::Ald), ("none", Corrector::None)];

impl Predictor {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::EulerMaruyama, Self::ReverseDiffusion, Self::AncestralSampling, Self::None];

    /// The update of this predictor at t. Fails where the pair is not defined.
    pub fn step(self, sde: &dyn Sde, t: f64, probability_flow: bool) -> Result<LinearStep> {
        let undefined = |why: &str| {
            Error::invalid(
                "sampling.predictor",
                self,
                format!("{why}; use reverse_diffusion or euler_maruyama"),
            )
        };
        match self {
            Self::EulerMaruyama => Ok(sde.reverse(probability_flow).euler_maruyama(t)),
            Self::ReverseDiffusion => Ok(sde.reverse(probability_flow).reverse_diffusion(t)),
            Self::AncestralSampling if probability_flow => {
                Err(undefined("ancestral sampling has no probability flow"))
            }
            Self::AncestralSampling => sde
                .ancestral(t)
                .ok_or_else(|| undefined(&format!("ancestral sampling is not defined for {}", sde.name()))),
            Self::None => Ok(LinearStep { x: 1.0, score: 0.0, noise: 0.0 }),
        }
    }
}

impl Corrector {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Langevin, Self::Ald, Self::None];
}

impl fmt::Display for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", PREDICTORS.iter().find(|(_, p)| p == self).map_or("?", |(n, _)| n))
    }
}

impl fmt::Display for Corrector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", CORRECTORS.iter().find(|(_, c)| c == self).map_or("?", |(n, _)| n))
    }
}

impl FromStr for Predictor {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        named(&PREDICTORS, "predictor", s)
    }
}

impl FromStr for Corrector {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        named(&CORRECTORS, "corrector", s)
    }
}

/// What `name` stands for, in any case.
fn named<T: Copy>(known: &[(&str, T)], kind: &'static str, name: &str) -> Result<T> {
    let found = known.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map(|(_, value)| *value).ok_or_else(|| Error::UnknownName {
        kind,
        name: name.to_owned(),
        nearest: nearest(name, known.iter().map(|(n, _)| *n)),
    })
}

/// What predictor-corrector sampling is asked to do.
#[derive(Debug, Clone)]
pub struct PcOptions {
    /// The SDE; its N is the number of steps.
    pub sde: Arc<dyn Sde>,
    /// How the model was trained.
    pub time: TimeConditioning,
    /// The predictor.
    pub predictor: Predictor,
    /// The corrector.
    pub corrector: Corrector,
    /// The signal-to-noise ratio of the corrector.
    pub snr: f64,
    /// Corrector steps before each predictor step.
    pub n_steps_each: usize,
    /// The predictor follows the probability-flow ODE.
    pub probability_flow: bool,
    /// The result is the last x_mean, not the last x.
    pub denoise: bool,
    /// The last time of the grid.
    pub t_eps: f64,
}

/// One time of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PcRow {
    /// t.
    pub t: f64,
    /// The network's time argument.
    pub argument: f64,
    /// score = `score_scale` · model_output + `x_scale` · x.
    pub score_scale: f64,
    /// 0 but for networks that predict v or the data.
    pub x_scale: f64,
    /// The predictor's update.
    pub predictor: LinearStep,
    /// The corrector's step size, if there is one.
    pub corrector: CorrectorStep,
    /// p(x_t | x_0), with which known parts of images are noised.
    pub marginal: Marginal,
}

/// x_mean = x + step·score, then x = x_mean + √(2 step) z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CorrectorStep {
    /// No corrector.
    None,
    /// The step is the same for every state: `step` = 2 α (snr·std)².
    Fixed {
        /// The step size.
        step: f64,
    },
    /// The step is `scale`·(‖z‖/‖score‖)², with norms over an image or their means over the batch; `scale` = 2 α snr².
    NormRatio {
        /// What the squared ratio of norms is multiplied by.
        scale: f64,
    },
}

/// The whole run: one row a step, in the order of the run.
#[derive(Debug, Clone)]
pub struct PcTable {
    /// The steps, from t = 1 down.
    pub rows: Vec<PcRow>,
    /// The initial state is this times a unit normal draw.
    pub prior_std: f64,
    /// Corrector steps in each row: 0 without a corrector.
    pub corrector_steps: usize,
    /// Predictor steps in each row: 0 for [`Predictor::None`], else 1.
    pub predictor_steps: usize,
    /// The predictor draws a z: all but `none`, also where its factor is 0.
    pub predictor_draws: bool,
    /// The result is the last x_mean.
    pub denoise: bool,
    /// N·(n_steps_each + 1): what the authors report as NFE, whatever the pair.
    pub reported_nfe: usize,
}

impl PcTable {
    /// The table for `o`. Fails where the pair is not defined, an option is out of range, or N is too small for
    /// the discretisation.
    pub fn new(o: &PcOptions) -> Result<Self> {
        let sde = o.sde.as_ref();
        if !(o.t_eps > 0.0 && o.t_eps < 1.0) {
            return Err(Error::invalid("t_eps", o.t_eps, "sampling ends at a time between 0 and 1"));
        }
        if o.corrector != Corrector::None && !(o.snr.is_finite() && o.snr > 0.0) {
            return Err(Error::invalid("sampling.snr", o.snr, "the corrector needs a finite snr above 0"));
        }
        check_time(sde, o.time)?;
        let rows = time_grid(o.t_eps, sde.n()).into_iter().map(|t| row(o, t)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            rows,
            prior_std: sde.prior_std(),
            corrector_steps: if o.corrector == Corrector::None { 0 } else { o.n_steps_each },
            predictor_steps: usize::from(o.predictor != Predictor::None),
            predictor_draws: o.predictor != Predictor::None,
            denoise: o.denoise,
            reported_nfe: sde.n() * (o.n_steps_each + 1),
        })
    }

    /// How often the network runs.
    pub fn evaluations(&self) -> usize {
        self.rows.len() * (self.corrector_steps + self.predictor_steps)
    }
}

/// The final denoising of the ODE sampler: the mean of one reverse-diffusion step at `t_eps`.
pub fn ode_denoise(sde: &dyn Sde, time: TimeConditioning, t_eps: f64) -> Result<PcRow> {
    row(
        &PcOptions {
            // The N of the discretisation counts, so this is the caller's SDE as it is.
            sde: sde.with_n(sde.n())?,
            time,
            predictor: Predictor::ReverseDiffusion,
            corrector: Corrector::None,
            snr: 0.0,
            n_steps_each: 0,
            probability_flow: false,
            denoise: true,
            t_eps,
        },
        t_eps,
    )
}

pub(super) fn check_time(sde: &dyn Sde, time: TimeConditioning) -> Result<()> {
    match time {
        TimeConditioning::Discrete { levels: 0 } => {
            Err(Error::invalid("model.num_scales", 0, format!("{} needs a noise level", sde.name())))
        }
        _ => Ok(()),
    }
}

fn row(o: &PcOptions, t: f64) -> Result<PcRow> {
    let sde = o.sde.as_ref();
    let marginal = sde.marginal_prob(t);
    let conditioning = sde.conditioning(t, o.time);
    let predictor = o.predictor.step(sde, t, o.probability_flow)?;
    let alpha = sde.langevin_alpha(t);
    let corrector = match o.corrector {
        Corrector::None => CorrectorStep::None,
        Corrector::Ald => CorrectorStep::Fixed { step: 2.0 * alpha * (o.snr * marginal.std).powi(2) },
        Corrector::Langevin => CorrectorStep::NormRatio { scale: 2.0 * alpha * o.snr * o.snr },
    };
    let step = match corrector {
        CorrectorStep::None => 0.0,
        CorrectorStep::Fixed { step } => step,
        CorrectorStep::NormRatio { scale } => scale,
    };
    let finite = [
        predictor.x,
        predictor.score,
        predictor.noise,
        step.sqrt(),
        conditioning.argument,
        conditioning.score_scale,
    ];
    if finite.iter().any(|v| !v.is_finite()) {
        return Err(Error::invalid(
            "N",
            sde.n(),
            format!(
                "the {} of {} with corrector {} is not defined at t = {t}: β_max/N must be below 1; take more steps, \
                 or euler_maruyama without a corrector",
                o.predictor,
                sde.name(),
                o.corrector
            ),
        ));
    }
    Ok(PcRow {
        t,
        argument: conditioning.argument,
        score_scale: conditioning.score_scale,
        x_scale: conditioning.x_scale,
        predictor,
        corrector,
        marginal,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::sde::{SubVp, Ve, Vp};

    pub fn options(sde: Arc<dyn Sde>, predictor: Predictor, corrector: Corrector) -> PcOptions {
        let t_eps = sde.default_t_eps();
        PcOptions {
            time: TimeConditioning::Continuous,
            predictor,
            corrector,
            snr: 0.16,
            n_steps_each: 1,
            probability_flow: false,
            denoise: true,
            t_eps,
            sde,
        }
    }

    fn sdes(n: usize) -> [Arc<dyn Sde>; 3] {
        [
            Arc::new(Ve::new(0.01, 50.0, n).unwrap()),
            Arc::new(Vp::new(0.1, 20.0, n).unwrap()),
            Arc::new(SubVp::new(0.1, 20.0, n).unwrap()),
        ]
    }

    #[test]
    fn defined_and_undefined_pairs() {
        for sde in sdes(100) {
            for p in Predictor::ALL {
                for c in Corrector::ALL {
                    let mut o = options(sde.clone(), p, c);
                    let ancestral = p == Predictor::AncestralSampling;
                    let defined = !(ancestral && sde.name() == "subvpsde");
                    assert_eq!(PcTable::new(&o).is_ok(), defined, "{} {p} {c}", sde.name());
                    o.probability_flow = true;
                    assert_eq!(PcTable::new(&o).is_ok(), !ancestral, "{} {p} {c} pf", sde.name());
                }
            }
        }
    }

    /// A fine reverse-diffusion, ancestral or Euler-Maruyama step is the same step to first order in 1/N.
    #[test]
    fn predictors_agree_as_n_grows() {
        for sde in sdes(200_000) {
            let t = 0.6;
            let em = Predictor::EulerMaruyama.step(sde.as_ref(), t, false).unwrap();
            for p in [Predictor::ReverseDiffusion, Predictor::AncestralSampling] {
                let Ok(s) = p.step(sde.as_ref(), t, false) else { continue };
                // VE's and VP's chains stretch N−1 gaps over [0, 1], hence the 1e-4 rather than 1/N.
                assert!((s.x - em.x).abs() < 1e-7, "{} {p}", sde.name());
                assert!((s.score / em.score - 1.0).abs() < 1e-3, "{} {p}", sde.name());
                assert!((s.noise / em.noise - 1.0).abs() < 1e-3, "{} {p}", sde.name());
            }
        }
    }

    #[test]
    fn too_few_steps_for_vp_are_refused_with_the_remedy() {
        let vp: Arc<dyn Sde> = Arc::new(Vp::new(0.1, 20.0, 10).unwrap());
        for p in [Predictor::ReverseDiffusion, Predictor::AncestralSampling] {
            let error = PcTable::new(&options(vp.clone(), p, Corrector::None)).unwrap_err().to_string();
            assert!(error.contains("N = 10") && error.contains("more steps"), "{error}");
        }
        assert!(PcTable::new(&options(vp.clone(), Predictor::EulerMaruyama, Corrector::None)).is_ok());
        assert!(PcTable::new(&options(vp, Predictor::EulerMaruyama, Corrector::Langevin)).is_err());
    }

    #[test]
    fn counts() {
        let ve: Arc<dyn Sde> = Arc::new(Ve::new(0.01, 50.0, 6).unwrap());
        let mut o = options(ve, Predictor::None, Corrector::Ald);
        o.n_steps_each = 5;
        let table = PcTable::new(&o).unwrap();
        assert_eq!((table.reported_nfe, table.evaluations(), table.rows.len()), (36, 30, 6));
        o.corrector = Corrector::None;
        assert_eq!(PcTable::new(&o).unwrap().evaluations(), 0);
    }

    #[test]
    fn names_round_trip_and_bad_options_are_refused() {
        for p in Predictor::ALL {
            assert_eq!(p.to_string().parse::<Predictor>().unwrap(), p);
        }
        for c in Corrector::ALL {
            assert_eq!(c.to_string().parse::<Corrector>().unwrap(), c);
        }
        assert!("euler".parse::<Predictor>().is_err() && "mala".parse::<Corrector>().is_err());
        let good = options(sdes(10)[0].clone(), Predictor::ReverseDiffusion, Corrector::Langevin);
        for bad in [
            PcOptions { snr: 0.0, ..good.clone() },
            PcOptions { snr: f64::NAN, ..good.clone() },
            PcOptions { t_eps: 0.0, ..good.clone() },
            PcOptions { t_eps: 1.5, ..good.clone() },
            PcOptions { time: TimeConditioning::Discrete { levels: 0 }, ..good.clone() },
        ] {
            assert!(PcTable::new(&bad).is_err(), "{bad:?}");
        }
    }
}
