//! The normalizations of NCSN and NCSNv2.

use super::init::Init;
use super::manifest::{Param, Scope};
use super::trace::Trace;
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::ops::gather::gather;
use crate::ops::instance_norm::{
    NORM_EPS, conditional_instance_norm_plus, instance_norm, instance_norm_plus, variance_norm,
};

/// Which normalization a RefineNet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Instance norm without parameters.
    Instance,
    /// Instance norm++.
    InstancePlus,
    /// Instance norm++ with gamma, alpha and beta chosen by the noise level.
    ConditionalInstancePlus {
        /// Number of noise levels.
        levels: usize,
    },
    /// Division by the standard deviation.
    Variance,
}

/// A normalization over the pixels of each channel of each image.
#[derive(Clone, Debug)]
pub enum Norm {
    /// (x - mean) / sqrt(var + eps), biased variance.
    Instance {
        /// Added to variances.
        norm_eps: f32,
    },
    /// gamma * (instance norm + alpha * standardised mean) + beta.
    InstancePlus {
        /// Weight of the standardised means.
        alpha: Param,
        /// Factor.
        gamma: Param,
        /// Summand.
        beta: Param,
    },
    /// The same with a row `gamma | alpha | beta` for each noise level.
    ConditionalInstancePlus {
        /// The rows.
        embed: Param,
    },
    /// alpha * x / sqrt(var + eps), unbiased variance.
    Variance {
        /// Factor.
        alpha: Param,
    },
}

impl Norm {
    /// A layer for `channels`.
    pub fn new(scope: &mut Scope<'_>, kind: NormKind, channels: usize) -> Self {
        let near_one = Init::Normal { mean: 1.0, std: 0.02 };
        match kind {
            NormKind::Instance => Self::Instance { norm_eps: NORM_EPS },
            NormKind::InstancePlus => Self::InstancePlus {
                alpha: scope.declare("alpha", &[channels], near_one),
                gamma: scope.declare("gamma", &[channels], near_one),
                beta: scope.declare("beta", &[channels], Init::Constant(0.0)),
            },
            NormKind::ConditionalInstancePlus { levels } => Self::ConditionalInstancePlus {
                embed: scope.at("embed").declare("weight", &[levels, 3 * channels], Init::ConditionalNorm),
            },
            NormKind::Variance => Self::Variance { alpha: scope.declare("alpha", &[channels], near_one) },
        }
    }

    /// The normalization of `x` (`n h w c`). `labels` (`n`) choose the rows of the conditional form.
    ///
    /// # Errors
    /// [`Error::Shape`] when the conditional form has no labels.
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value, labels: Option<Value>) -> Result<Value> {
        match self {
            Self::Instance { norm_eps } => instance_norm(trace.graph, x, *norm_eps),
            Self::InstancePlus { alpha, gamma, beta } => {
                let (alpha, gamma, beta) = (trace.param(alpha)?, trace.param(gamma)?, trace.param(beta)?);
                instance_norm_plus(trace.graph, x, gamma, alpha, Some(beta))
            }
            Self::ConditionalInstancePlus { embed } => {
                let Some(labels) = labels else {
                    return Err(Error::shape(
                        "instance_norm",
                        "a conditional norm without labels",
                        "give labels",
                    ));
                };
                let table = trace.param(embed)?;
                let rows = gather(trace.graph, table, labels)?;
                conditional_instance_norm_plus(trace.graph, x, rows)
            }
            Self::Variance { alpha } => {
                let alpha = trace.param(alpha)?;
                variance_norm(trace.graph, x, alpha)
            }
        }
    }
}
