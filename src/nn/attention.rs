//! Self-attention over the pixels of an image.

use super::layers::{GroupNorm, Groups, Nin};
use super::manifest::Scope;
use super::trace::Trace;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::attention::attention;
use crate::ops::conv2d::Epilogue;

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

    /// The block on `x` (`n h w c`).
    pub fn forward(&self, trace: &mut Trace<'_>, x: Value) -> Result<Value> {
        let h = self.norm.forward(trace, x, None)?;
        let [query, key, value] = Nin::forward_apart(trace, h, [&self.query, &self.key, &self.value])?;
        let h = attention(trace.graph, query, key, value)?;
        let sum = Epilogue { residual: Some(x), scale: self.output_scale as f32, ..Epilogue::default() };
        self.out.forward_with(trace, h, sum)
    }
}
