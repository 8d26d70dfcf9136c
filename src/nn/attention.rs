//! Self-attention over the pixels of an image.

use super::layers::{GroupNorm, Groups, Nin};
use super::manifest::Scope;
use crate::error::Result;

/// The authors' `AttnBlockpp` and `AttnBlock`: one head over all pixels, with a residual.
#[derive(Clone, Debug)]
pub struct AttnBlock {
    /// Normalizes the input.
    pub norm: GroupNorm,
    /// Makes the queries.
    pub query: Nin,
    /// Makes the keys.
    pub key: Nin,
    /// Makes the values.
    pub value: Nin,
    /// Mixes the result.
    pub out: Nin,
    /// Multiplies the sum of input and result: 1, or 1/sqrt 2.
    pub output_scale: f64,
}

impl AttnBlock {
    /// A block for `channels`; the last layer begins with variance scaling `init_scale`.
    pub fn new(
        scope: &mut Scope<'_>,
        channels: usize,
        groups: Groups,
        norm_eps: f64,
        init_scale: f64,
        output_scale: f64,
    ) -> Result<Self> {
        let nin = |name: &str, scope: &mut Scope<'_>, scale| {
            Nin::new(&mut scope.at(name), channels, channels, scale)
        };
        Ok(Self {
            norm: GroupNorm::new(&mut scope.at("norm"), channels, groups, norm_eps)?,
            query: nin("query", scope, Nin::INIT_SCALE),
            key: nin("key", scope, Nin::INIT_SCALE),
            value: nin("value", scope, Nin::INIT_SCALE),
            out: nin("out", scope, init_scale),
            output_scale,
        })
    }
}
