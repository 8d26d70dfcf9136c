//! The normalizations of NCSN and NCSNv2.

use super::init::Init;
use super::manifest::{Param, Scope};

/// The authors' `eps` of instance and variance norms.
pub const NORM_EPS: f64 = 1e-5;

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
    Instance,
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
            NormKind::Instance => Self::Instance,
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
}
