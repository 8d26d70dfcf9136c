//! SDEs, their discretisations and tables; time grids and the indices cut from them.

use langevin::sde::{self, Sde, SdeParameters, SubVp, TimeConditioning, Ve, Vp, linspace_f32, time_grid};

use crate::case::{Case, Tensor};
use crate::check::{Outputs, Report, check};
use crate::context::Context;
use crate::fields::Fields;

/// Runs a case of `sde/`: functions of an SDE at given times, or a time grid where `config` names no SDE.
pub fn run(case: &Case, _context: &Context) -> Result<Report, String> {
    let config = case.config()?;
    let report = match config.optional("sde") {
        Some(value) => functions(case, &Fields::new("config.sde", value)?),
        None => grid(case, &config),
    }?;
    config.finish()?;
    Ok(report)
}

/// The SDE that `config.sde` describes. Calls [`Fields::finish`] on it.
pub fn parameters(config: &Fields) -> Result<(String, SdeParameters), String> {
    let kind = config.str("type")?;
    let mut p = SdeParameters {
        sigma_min: f64::NAN,
        sigma_max: f64::NAN,
        beta_min: f64::NAN,
        beta_max: f64::NAN,
        n: config.usize("N")?,
    };
    if kind == "vesde" {
        (p.sigma_min, p.sigma_max) = (config.f64("sigma_min")?, config.f64("sigma_max")?);
    } else {
        (p.beta_min, p.beta_max) = (config.f64("beta_min")?, config.f64("beta_max")?);
    }
    config.finish()?;
    Ok((kind.to_string(), p))
}

fn functions(case: &Case, config: &Fields) -> Result<Report, String> {
    let (kind, p) = parameters(config)?;
    let sde = sde::by_name(&kind, &p).map_err(|e| e.to_string())?;
    let inputs = Inputs {
        t: case.tensor("in.t")?,
        x: case.tensor("in.x")?,
        score: case.tensor("in.score")?,
        z: case.tensor("in.z")?,
    };
    let mut out = Outputs::new();
    inputs.forward(sde.as_ref(), &mut out);
    inputs.reverse(sde.as_ref(), false, "out.reverse", &mut out);
    inputs.reverse(sde.as_ref(), true, "out.reverse_pf", &mut out);
    let tables: Vec<(&str, Vec<f64>)> = match kind.as_str() {
        "vesde" => {
            let ve = Ve::new(p.sigma_min, p.sigma_max, p.n).map_err(|e| e.to_string())?;
            vec![("discrete_sigmas", ve.discrete_sigmas())]
        }
        "vpsde" => {
            let vp = Vp::new(p.beta_min, p.beta_max, p.n).map_err(|e| e.to_string())?;
            vec![
                ("discrete_betas", vp.discrete_betas()),
                ("alphas", vp.alphas()),
                ("alphas_cumprod", vp.alphas_cumprod()),
                ("sqrt_alphas_cumprod", vp.sqrt_alphas_cumprod()),
                ("sqrt_1m_alphas_cumprod", vp.sqrt_1m_alphas_cumprod()),
            ]
        }
        _ => {
            let sub = SubVp::new(p.beta_min, p.beta_max, p.n).map_err(|e| e.to_string())?;
            vec![("discrete_betas", sub.discrete_betas()), ("alphas", sub.alphas())]
        }
    };
    for (name, values) in tables {
        out.insert(format!("out.{name}"), Tensor::new([values.len()], values));
    }
    let mut report = check(case, &out)?;
    let index = case.tensor("index")?;
    for (i, (&t, &expected)) in inputs.t.data.iter().zip(&index.data).enumerate() {
        let got = sde.index(t);
        report.require(got as f64 == expected, || format!("index[{i}] got {got}, expected {expected}"));
    }
    Ok(report)
}

struct Inputs {
    t: Tensor,
    x: Tensor,
    score: Tensor,
    z: Tensor,
}

impl Inputs {
    fn forward(&self, sde: &dyn Sde, out: &mut Outputs) {
        out.insert("out.sde.drift", self.images(|t, x, _| sde.sde(t).drift * x));
        out.insert("out.sde.diffusion", self.times(|t| sde.sde(t).diffusion));
        out.insert("out.marginal.std", self.times(|t| sde.marginal_prob(t).std));
        out.insert("out.marginal.mean_coeff", self.times(|t| sde.marginal_prob(t).mean));
        out.insert("out.marginal.mean", self.images(|t, x, _| sde.marginal_prob(t).mean * x));
        out.insert("out.discretize.f", self.images(|t, x, _| sde.discretize(t).f * x));
        out.insert("out.discretize.G", self.times(|t| sde.discretize(t).g));
        let d = self.elements();
        let images = self.z.data.chunks(d);
        let logp = images.map(|z| sde.prior_logp(z.iter().map(|v| v * v).sum(), d)).collect();
        out.insert("out.prior_logp", Tensor::new(self.t.shape.clone(), logp));
    }

    fn reverse(&self, sde: &dyn Sde, probability_flow: bool, name: &str, out: &mut Outputs) {
        let reverse = sde.reverse(probability_flow);
        let continuous = |t, x, score| {
            let c = reverse.sde(t);
            c.drift * x + c.score * score
        };
        let discrete = |t, x, score| {
            let c = reverse.discretize(t);
            c.drift * x + c.score * score
        };
        out.insert(format!("{name}.drift"), self.images(continuous));
        out.insert(format!("{name}.diffusion"), self.times(|t| reverse.sde(t).diffusion));
        out.insert(format!("{name}.f"), self.images(discrete));
        out.insert(format!("{name}.G"), self.times(|t| reverse.discretize(t).diffusion));
    }

    /// Elements of one image.
    fn elements(&self) -> usize {
        self.x.shape[1..].iter().product()
    }

    fn times(&self, f: impl Fn(f64) -> f64) -> Tensor {
        Tensor::new(self.t.shape.clone(), self.t.data.iter().map(|&t| f(t)).collect())
    }

    fn images(&self, f: impl Fn(f64, f64, f64) -> f64) -> Tensor {
        let d = self.elements();
        let both = self.x.data.iter().zip(&self.score.data).enumerate();
        Tensor::new(self.x.shape.clone(), both.map(|(i, (&x, &s))| f(self.t.data[i / d], x, s)).collect())
    }
}

fn grid(case: &Case, config: &Fields) -> Result<Report, String> {
    let (n, t_eps) = (config.usize("N")?, config.f64("eps")?);
    let mut report = Report::new();
    let expected = case.tensor("out.t")?;
    let narrow = Tensor::from_f32([n], &linspace_f32(1.0, t_eps as f32, n));
    // One unit in the last place of the expected f32.
    report.compare("out.t", &narrow, &expected, |i| {
        let v = expected.data[i] as f32;
        f64::from(v.next_up()) - f64::from(v)
    });
    // VE stands for all three: the index is the same, and its discrete label is the one in the file.
    let ve = Ve::new(0.01, 50.0, n).map_err(|e| e.to_string())?;
    let times = time_grid(t_eps, n);
    let table = |f: &dyn Fn(f64) -> f64| Tensor::new([n], times.iter().map(|&t| f(t)).collect());
    let index = table(&|t| ve.index(t) as f64);
    report.compare("out.index_f64", &index, &case.tensor("out.index_f64")?, |_| 0.0);
    let label = table(&|t| ve.conditioning(t, TimeConditioning::Discrete { levels: n }).argument);
    report.compare("out.ve_label_f64", &label, &case.tensor("out.ve_label_f64")?, |_| 0.0);
    Ok(report)
}
