//! The U-Net, traced.

use super::{Embedding, InputMerge, OutputMerge, OutputPyramid, Stage, Step, Unet};
use crate::error::{Error, Result};
use crate::graph::Value;
use crate::models::{Network, centre, check_input, divide_by_sigma, divide_by_table};
use crate::nn::layers::{Conv2d, GroupNorm, Linear, activate};
use crate::nn::resample::{Direction, resample};
use crate::nn::time::TimeEmbedding;
use crate::nn::{Manifest, Trace};
use crate::ops::concat::{concat, window};
use crate::ops::elementwise::{add, combine};
use crate::ops::embedding::positional_shifted;
use crate::sde::TimeConditioning;

impl Network for Unet {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn conditioning(&self) -> TimeConditioning {
        self.spec.conditioning
    }

    fn forward(&self, trace: &mut Trace<'_>, x: Value, time_cond: Value) -> Result<Value> {
        let spec = &self.spec;
        check_input(trace.graph, x, time_cond, [spec.image_size, spec.image_size, spec.num_channels])?;
        let temb = trace.scoped("time", |t| self.time_embedding(t, time_cond))?;
        let temb = temb.as_ref();
        let x = centre(trace, x, spec.centered)?;
        let mut skips = self.forward_down(trace, x, temb)?;
        // bug: the way down pushes the input convolution's result at least.
        let h = skips.last().copied().expect("a skip connection");
        let h = trace.scoped("mid", |t| {
            let h = t.block("block.0", |t| self.mid.0.forward(t, h, temb))?;
            let h = t.block("attention", |t| self.mid.1.forward(t, h))?;
            t.block("block.1", |t| self.mid.2.forward(t, h, temb))
        })?;
        let h = self.forward_up(trace, h, &mut skips, temb)?;
        match (spec.scale_by_sigma, spec.embedding) {
            (false, _) => Ok(h),
            (true, Embedding::Fourier { .. }) => divide_by_sigma(trace, h, time_cond),
            (true, Embedding::Positional { .. }) => divide_by_table(trace, h, time_cond, &spec.sigmas),
        }
    }
}

impl Unet {
    /// The time embedding behind its activation, which every block applies first, and what their dense layers make of it.
    fn time_embedding(&self, trace: &mut Trace<'_>, time_cond: Value) -> Result<Option<TimeEmbedding>> {
        let Some([first, second]) = &self.time else { return Ok(None) };
        let nf = self.spec.nf;
        let embedded = match (&self.fourier, self.spec.embedding) {
            (Some(fourier), _) => fourier.forward(trace, time_cond)?,
            (None, Embedding::Positional { cos_first: true, shift }) => {
                let embedded = positional_shifted(trace.graph, time_cond, nf, shift)?;
                let half = nf / 2;
                let cos = window(trace.graph, embedded, half as i32, half)?;
                // Behind the sines, an odd number of features ends in a zero.
                let sin = window(trace.graph, embedded, 0, half)?;
                let both = concat(trace.graph, cos, sin)?;
                window(trace.graph, both, 0, nf)?
            }
            (None, Embedding::Positional { cos_first: false, shift }) => {
                positional_shifted(trace.graph, time_cond, nf, shift)?
            }
            (None, Embedding::Fourier { .. }) => {
                return Err(Error::shape("unet", "a Fourier embedding without frequencies", "build it anew"));
            }
        };
        let temb = first.forward(trace, embedded)?;
        let temb = activate(trace, temb, self.spec.outer_activation)?;
        let temb = second.forward(trace, temb)?;
        let temb = activate(trace, temb, self.spec.style.activation)?;
        TimeEmbedding::joined(trace, temb, &self.time_layers()).map(Some)
    }

    /// The blocks' dense layers of the time embedding.
    fn time_layers(&self) -> Vec<&Linear> {
        let stages = self.down.iter().flat_map(|level| &level.stages);
        let stages = stages.chain(self.up.iter().flat_map(|level| &level.stages)).map(|stage| &stage.block);
        let steps = self.down.iter().filter_map(|level| level.step.as_ref().map(|(step, _)| step));
        let steps = steps.chain(self.up.iter().filter_map(|level| level.step.as_ref()));
        let steps = steps.filter_map(|step| match step {
            Step::Block(block) => Some(block.as_ref()),
            Step::Resample(_) => None,
        });
        let blocks = stages.chain([&self.mid.0, &self.mid.2]).chain(steps);
        blocks.filter_map(|block| block.dense_0.as_ref()).collect()
    }

    /// The way down: the skip connections, finest first.
    fn forward_down(
        &self,
        trace: &mut Trace<'_>,
        x: Value,
        temb: Option<&TimeEmbedding>,
    ) -> Result<Vec<Value>> {
        let mut h = trace.scoped("conv_in", |t| self.conv_in.forward(t, x))?;
        let mut skips = vec![h];
        let mut pyramid = x;
        for (i, level) in self.down.iter().enumerate() {
            trace.scoped(&format!("down.{i}"), |t| -> Result<()> {
                for (i, stage) in level.stages.iter().enumerate() {
                    h = t.block(&format!("block.{i}"), |t| stage.forward(t, h, None, temb))?;
                    skips.push(h);
                }
                let Some((step, merge)) = &level.step else { return Ok(()) };
                h = t.block("downsample", |t| step.forward(t, h, temb))?;
                match merge {
                    None => {}
                    Some(InputMerge::Combine(combine)) => {
                        pyramid = resample(t, pyramid, Direction::Down, &self.spec.filter)?;
                        h = t.scoped("combine", |t| combine.forward(t, pyramid, h))?;
                    }
                    Some(InputMerge::Residual(downsample)) => {
                        pyramid = t.block("pyramid", |t| downsample.forward(t, pyramid))?;
                        pyramid = self.rescaled_sum(t, pyramid, h)?;
                        h = pyramid;
                    }
                }
                skips.push(h);
                Ok(())
            })?;
        }
        Ok(skips)
    }

    /// The way up: the output before it is divided by sigma.
    fn forward_up(
        &self,
        trace: &mut Trace<'_>,
        h: Value,
        skips: &mut Vec<Value>,
        temb: Option<&TimeEmbedding>,
    ) -> Result<Value> {
        let mut h = h;
        let mut pyramid = None;
        for (level, i) in self.up.iter().zip((0..self.up.len()).rev()) {
            trace.scoped(&format!("up.{i}"), |t| -> Result<()> {
                for (i, stage) in level.stages.iter().enumerate() {
                    // bug: as many skips were pushed as are popped.
                    let skip = skips.pop().expect("a skip connection for each block");
                    h = t.block(&format!("block.{i}"), |t| stage.forward(t, h, Some(skip), temb))?;
                }
                if let Some(output) = &level.output {
                    pyramid = Some(t.block("output", |t| self.merge_output(t, output, pyramid, &mut h))?);
                }
                if let Some(step) = &level.step {
                    h = t.block("upsample", |t| step.forward(t, h, temb))?;
                }
                Ok(())
            })?;
        }
        match (&self.head, pyramid) {
            (Some((norm, conv)), _) => trace.block("out", |t| self.forward_head(t, norm, conv, h)),
            (None, Some(pyramid)) => Ok(pyramid),
            (None, None) => Err(Error::shape("unet", "there is neither head nor pyramid", "build it anew")),
        }
    }

    /// The output pyramid with this level in it. The residual form makes it the features of the next level too.
    fn merge_output(
        &self,
        trace: &mut Trace<'_>,
        output: &OutputMerge,
        pyramid: Option<Value>,
        h: &mut Value,
    ) -> Result<Value> {
        match (output, pyramid) {
            (OutputMerge::Head(norm, conv), None) => self.forward_head(trace, norm, conv, *h),
            (OutputMerge::Head(norm, conv), Some(pyramid)) => {
                debug_assert_eq!(self.spec.output_pyramid, OutputPyramid::Skip);
                let pyramid = resample(trace, pyramid, Direction::Up, &self.spec.filter)?;
                let head = self.forward_head(trace, norm, conv, *h)?;
                add(trace.graph, pyramid, head)
            }
            (OutputMerge::Residual(upsample), Some(pyramid)) => {
                let pyramid = upsample.forward(trace, pyramid)?;
                *h = self.rescaled_sum(trace, pyramid, *h)?;
                Ok(*h)
            }
            (OutputMerge::Residual(_), None) => {
                Err(Error::shape("unet", "a pyramid without a coarsest level", "build it anew"))
            }
        }
    }

    /// Norm, activation, convolution.
    fn forward_head(
        &self,
        trace: &mut Trace<'_>,
        norm: &GroupNorm,
        conv: &Conv2d,
        h: Value,
    ) -> Result<Value> {
        let h = norm.forward(trace, h, Some(self.spec.outer_activation))?;
        conv.forward(trace, h)
    }

    /// `a + b`, divided by sqrt 2 where sums of branches are.
    fn rescaled_sum(&self, trace: &mut Trace<'_>, a: Value, b: Value) -> Result<Value> {
        let scale = self.spec.style.output_scale as f32;
        combine(trace.graph, &[(a, scale), (b, scale)])
    }
}

impl Stage {
    /// The stage on `x`, with the channels of `skip` behind it.
    fn forward(
        &self,
        trace: &mut Trace<'_>,
        x: Value,
        skip: Option<Value>,
        temb: Option<&TimeEmbedding>,
    ) -> Result<Value> {
        let h = match skip {
            Some(skip) => self.block.forward_joined(trace, x, skip, temb)?,
            None => self.block.forward(trace, x, temb)?,
        };
        match &self.attention {
            Some(attention) => trace.scoped("attention", |t| attention.forward(t, h)),
            None => Ok(h),
        }
    }
}

impl Step {
    fn forward(&self, trace: &mut Trace<'_>, x: Value, temb: Option<&TimeEmbedding>) -> Result<Value> {
        match self {
            Self::Block(block) => block.forward(trace, x, temb),
            Self::Resample(resample) => resample.forward(trace, x),
        }
    }
}
