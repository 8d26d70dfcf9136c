//! The probability-flow ODE between images and latents: encode, decode, and what lies between two latents
//! (section 4.3 and appendix D of Song et al. 2021).

use super::coefficients::ode_denoise;
use super::ode::Ode;
use super::runge_kutta::{Tableau, Tolerance, solve_async};
use crate::error::{Error, Result};
use crate::gpu::blocking;
use crate::ops::sampler_step::Norm;

/// Where a flow is told to end near the data, and how exact it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowOptions {
    /// The time near the data: 1e-5 in the authors' likelihood, [`Sde::default_t_eps`](crate::sde::Sde::default_t_eps) in their sampler.
    pub t_eps: f64,
    /// How large the error of a step may be.
    pub tolerance: Tolerance,
    /// Over what the error is taken: each image, which then has steps of its own, or the batch as in the authors' code.
    pub norm: Norm,
    /// The method: [`RK45`](super::solvers::ode::RK45) in the authors' code.
    pub method: &'static Tableau,
}

/// What a flow led to, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Flowed {
    /// `n h w c`.
    pub x: Vec<f32>,
    /// Evaluations of the vector field for the batch; an image that was done rests while others are not.
    pub nfe: usize,
}

/// Which way a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// From t = 1 to `t_eps`.
    Data,
    /// From `t_eps` to t = 1.
    Noise,
}

/// Integrates the state in `ode`; `watch` sees it after every accepted step, with the time of the image that is
/// farthest from the end, and may stop it by returning false. Gives the evaluations, none when stopped.
///
/// # Errors
/// [`Error::Invalid`] when no step meets the tolerance; what `watch` and the device report.
pub async fn integrate_async(
    ode: &mut Ode,
    toward: Toward,
    options: FlowOptions,
    mut watch: impl AsyncFnMut(f64, &Ode) -> Result<bool>,
) -> Result<Option<usize>> {
    let mut stopped = false;
    let (from, to) = match toward {
        Toward::Data => (1.0, options.t_eps),
        Toward::Noise => (options.t_eps, 1.0),
    };
    ode.set_norm(options.norm);
    let observe = async |t: f64, ode: &Ode| {
        stopped = !watch(t, ode).await?;
        match stopped {
            true => Err(Error::invalid("the ODE", format!("t = {t}"), "it was told to stop here")),
            false => Ok(()),
        }
    };
    let report = solve_async(ode, options.method, from, to, options.tolerance, observe).await;
    if stopped {
        return Ok(None);
    }
    let mut nfe = 0;
    for part in report? {
        nfe = nfe.max(part.reached_end()?.nfe);
    }
    Ok(Some(nfe))
}

/// [`integrate_async`], blocking the thread.
///
/// # Errors
/// As [`integrate_async`].
pub fn integrate(
    ode: &mut Ode,
    toward: Toward,
    options: FlowOptions,
    watch: &mut dyn FnMut(f64, &Ode) -> Result<bool>,
) -> Result<Option<usize>> {
    blocking(integrate_async(ode, toward, options, async |t, ode: &Ode| watch(t, ode)))
}

/// The latents of a whole batch of images, `n h w c`, scaled as the model takes them. `progress` is told t, which rises to 1.
///
/// # Errors
/// As [`integrate_async`]; [`Error::Shape`] when `x` is no whole batch, [`Error::NonFinite`].
pub async fn encode_async(
    ode: &mut Ode,
    x: &[f32],
    options: FlowOptions,
    mut progress: impl FnMut(f64) -> bool,
) -> Result<Option<Flowed>> {
    ode.set(x)?;
    let nfe = integrate_async(ode, Toward::Noise, options, async |t, _: &Ode| Ok(progress(t))).await?;
    let Some(nfe) = nfe else { return Ok(None) };
    finite(ode.get_async().await?, nfe, "the latent").map(Some)
}

/// [`encode_async`], blocking the thread.
///
/// # Errors
/// As [`encode_async`].
pub fn encode(
    ode: &mut Ode,
    x: &[f32],
    options: FlowOptions,
    progress: &mut dyn FnMut(f64) -> bool,
) -> Result<Option<Flowed>> {
    blocking(encode_async(ode, x, options, progress))
}

/// The images of a whole batch of latents, `n h w c`, scaled as the model gives them; with `denoise` the mean of one step of reverse
/// diffusion behind the end, one more evaluation. `progress` is told t, which falls from 1.
///
/// # Errors
/// As [`encode_async`].
pub async fn decode_async(
    ode: &mut Ode,
    z: &[f32],
    options: FlowOptions,
    denoise: bool,
    mut progress: impl FnMut(f64) -> bool,
) -> Result<Option<Flowed>> {
    ode.set(z)?;
    let nfe = integrate_async(ode, Toward::Data, options, async |t, _: &Ode| Ok(progress(t))).await?;
    let Some(nfe) = nfe else { return Ok(None) };
    end_async(ode, options.t_eps, denoise, nfe).await.map(Some)
}

/// [`decode_async`], blocking the thread.
///
/// # Errors
/// As [`decode_async`].
pub fn decode(
    ode: &mut Ode,
    z: &[f32],
    options: FlowOptions,
    denoise: bool,
    progress: &mut dyn FnMut(f64) -> bool,
) -> Result<Option<Flowed>> {
    blocking(decode_async(ode, z, options, denoise, progress))
}

/// The state as an image, after a last step of denoising where that is asked for.
///
/// # Errors
/// [`Error::NonFinite`]; what the device reports.
pub async fn end_async(ode: &mut Ode, t_eps: f64, denoise: bool, nfe: usize) -> Result<Flowed> {
    if !denoise {
        return finite(ode.get_async().await?, nfe, "the sample");
    }
    let row = ode_denoise(ode.sde().as_ref(), ode.time(), t_eps)?;
    finite(ode.denoise_async(&row).await?, nfe + 1, "the sample")
}

/// [`end_async`], blocking the thread.
///
/// # Errors
/// As [`end_async`].
pub fn end(ode: &mut Ode, t_eps: f64, denoise: bool, nfe: usize) -> Result<Flowed> {
    blocking(end_async(ode, t_eps, denoise, nfe))
}

fn finite(x: Vec<f32>, nfe: usize, tensor: &str) -> Result<Flowed> {
    match x.iter().all(|v| v.is_finite()) {
        true => Ok(Flowed { x, nfe }),
        false => Err(Error::NonFinite { tensor: tensor.into(), step: nfe as u64 }),
    }
}

/// Between two latents on the great circle: sin((1−w)θ)/sin θ · a + sin(wθ)/sin θ · b with θ the angle between them
/// (Shoemake 1985). Almost parallel latents are mixed linearly. Both have the same length.
///
/// # Errors
/// [`Error::Shape`] when the lengths differ.
pub fn slerp(a: &[f32], b: &[f32], weight: f64) -> Result<Vec<f32>> {
    if a.len() != b.len() {
        let problem = format!("latents of {} and {} numbers", a.len(), b.len());
        return Err(Error::shape("slerp", problem, "give latents of one model"));
    }
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    let cosine = (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).clamp(-1.0, 1.0);
    let angle = cosine.acos();
    let sine = angle.sin();
    // Below this the two forms agree in f32, and the quotients lose their digits. A zero latent has no angle.
    let (of_a, of_b) = match sine > 1e-4 {
        true => (((1.0 - weight) * angle).sin() / sine, (weight * angle).sin() / sine),
        false => (1.0 - weight, weight),
    };
    Ok(a.iter().zip(b).map(|(&a, &b)| (of_a * f64::from(a) + of_b * f64::from(b)) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slerp_keeps_ends_and_length() {
        let (a, b) = ([3.0, 0.0, 0.0], [0.0, 3.0, 0.0]);
        for (weight, expected) in [(0.0, a), (1.0, b)] {
            let got = slerp(&a, &b, weight).unwrap();
            assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-6), "{got:?}");
        }
        let third = slerp(&a, &b, 1.0 / 3.0).unwrap();
        // 30 degrees on a circle of radius 3.
        assert!((third[0] - 2.598_076).abs() < 1e-5 && (third[1] - 1.5).abs() < 1e-5, "{third:?}");
    }

    #[test]
    fn latents_without_an_angle_are_mixed_linearly() {
        assert_eq!(slerp(&[1.0, 1.0], &[2.0, 2.0], 0.5).unwrap(), [1.5, 1.5]);
        assert_eq!(slerp(&[0.0, 0.0], &[2.0, 4.0], 0.5).unwrap(), [1.0, 2.0]);
        assert!(slerp(&[1.0], &[1.0, 2.0], 0.5).is_err());
    }
}
