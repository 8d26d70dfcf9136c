//! Bits per dimension by the probability-flow ODE (section 4.3 and appendix D.2 of Song et al. 2021).
//!
//! ```
//! // Data of 256 levels in [-1, 1] has levels 2/256 apart: log2 of that is -7.
//! assert_eq!(langevin::likelihood::offset(true), 7.0);
//! assert_eq!(langevin::likelihood::offset(false), 8.0);
//! ```

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::gpu::blocking;
use crate::sampling::flow::{FlowOptions, Toward, integrate_async};
use crate::sampling::ode::Ode;
use crate::sde::Sde;

/// The smallest time of the authors' likelihood, whatever the SDE.
pub const T_EPS: f64 = 1e-5;

/// What a likelihood is made of, for each image of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Likelihood {
    /// Bits per dimension.
    pub bits_per_dim: Vec<f64>,
    /// log p of the latent under the prior.
    pub prior_logp: Vec<f64>,
    /// The integral of the estimated divergence.
    pub delta_logp: Vec<f64>,
    /// The latents, `n h w c`.
    pub z: Vec<f32>,
    /// Evaluations of the vector field for the batch.
    pub nfe: usize,
}

/// The offset of bits per dimension for data that was scaled from 256 levels: `7 − inverse_scaler(−1)` in the authors' code,
/// 7 for data in [−1, 1] and 8 for data in [0, 1].
pub fn offset(centered: bool) -> f64 {
    if centered { 7.0 } else { 8.0 }
}

/// Integrates the batch in `ode`, whose state and probe are set to data and ε, from `t_eps` to 1. `proceed`, told t, may stop it
/// by returning false; none then.
///
/// # Errors
/// [`Error::Invalid`] when no step meets the tolerance or the ODE was drafted without a probe; [`Error::NonFinite`].
pub async fn likelihood_async(
    ode: &mut Ode,
    options: FlowOptions,
    centered: bool,
    mut proceed: impl FnMut(f64) -> bool,
) -> Result<Option<Likelihood>> {
    let watch = async |t: f64, _: &Ode| Ok(proceed(t));
    let Some(nfe) = integrate_async(ode, Toward::Noise, options, watch).await? else {
        return Ok(None);
    };
    let sde = Arc::clone(ode.sde());
    let result = read_async(ode, sde.as_ref(), centered, nfe).await?;
    match result.bits_per_dim.iter().all(|bits| bits.is_finite()) {
        true => Ok(Some(result)),
        false => Err(Error::NonFinite { tensor: "bits per dimension".into(), step: nfe as u64 }),
    }
}

/// [`likelihood_async`], blocking the thread.
///
/// # Errors
/// As [`likelihood_async`].
pub fn likelihood(
    ode: &mut Ode,
    options: FlowOptions,
    centered: bool,
    proceed: &mut dyn FnMut(f64) -> bool,
) -> Result<Option<Likelihood>> {
    blocking(likelihood_async(ode, options, centered, proceed))
}

/// What the state at t = 1 says.
async fn read_async(ode: &Ode, sde: &dyn Sde, centered: bool, nfe: usize) -> Result<Likelihood> {
    let z = ode.get_async().await?;
    let n = ode.shape()[0];
    let d = ode.shape().elements() / n;
    let delta_logp: Vec<f64> = ode
        .log_density_change_async()
        .await?
        .ok_or_else(|| Error::invalid("ode", "without a probe", "draft it for likelihood"))?
        .into_iter()
        .map(f64::from)
        .collect();
    let prior_logp: Vec<f64> = z
        .chunks(d)
        .map(|image| sde.prior_logp(image.iter().map(|&v| f64::from(v).powi(2)).sum(), d))
        .collect();
    let bits_per_dim = prior_logp
        .iter()
        .zip(&delta_logp)
        .map(|(prior, delta)| -(prior + delta) / (std::f64::consts::LN_2 * d as f64) + offset(centered))
        .collect();
    Ok(Likelihood { bits_per_dim, prior_logp, delta_logp, z, nfe })
}
