//! The flags of the probability-flow ODE, which encode, decode, interpolate and likelihood share.

use clap::Args;
use langevin::pipeline::Flow;

use crate::solver::Norm;

/// How exact the ODE is solved.
#[derive(Args, Clone)]
pub struct FlowArgs {
    /// Relative tolerance of the adaptive Runge-Kutta method.
    #[arg(long, value_name = "F", default_value_t = 1e-5)]
    pub rtol: f64,
    /// Absolute tolerance.
    #[arg(long, value_name = "F", default_value_t = 1e-5)]
    pub atol: f64,
    /// The time near the data where the ODE begins or ends.
    #[arg(long, value_name = "F")]
    pub t_eps: Option<f64>,
    /// Over what the error of a step is taken: each image, which then has steps of its own, or the batch, as in the authors' code;
    /// unless given the batch, and for interpolate each image.
    #[arg(long, value_enum, value_name = "NAME")]
    pub norm: Option<Norm>,
    /// Images at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
}

/// Sets what [`FlowArgs`] says on a builder over the flow.
macro_rules! by_flow_args {
    ($args:expr, $builder:expr) => {{
        let args: &$crate::flow::FlowArgs = $args;
        let mut builder = $builder.tolerance(args.rtol, args.atol).batch(args.batch as usize);
        if let Some(t_eps) = args.t_eps {
            builder = builder.t_eps(t_eps);
        }
        if let Some(norm) = args.norm {
            builder = builder.norm(norm.into());
        }
        builder
    }};
}
pub(crate) use by_flow_args;

/// How latents become images.
#[derive(Args, Clone)]
pub struct DecodeArgs {
    /// Scale the latents by this; below 1 the images are more alike and smoother.
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = temperature)]
    pub temperature: f64,
    /// End with the mean of one step of reverse diffusion.
    #[arg(long)]
    pub denoise: bool,
    #[command(flatten)]
    pub flow: FlowArgs,
}

impl DecodeArgs {
    /// Sets them.
    pub fn set<'m>(&self, flow: Flow<'m>) -> Flow<'m> {
        by_flow_args!(&self.flow, flow).temperature(self.temperature).denoise(self.denoise)
    }
}

fn temperature(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "a number is expected, such as 0.9".to_owned())?;
    if factor.is_finite() && factor >= 0.0 { Ok(factor) } else { Err("0 or above is expected".into()) }
}
