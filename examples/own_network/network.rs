//! Three convolutions around a residual block that is told the time.

use langevin::graph::Value;
use langevin::models::Network;
use langevin::nn::layers::{Conv2d, Linear, activate};
use langevin::nn::{Manifest, Trace};
use langevin::ops::activation::Activation::Silu;
use langevin::ops::conv2d::Epilogue;
use langevin::ops::elementwise::scale;
use langevin::ops::embedding::positional;

/// Predicts the noise of grey images of any size; it is told t, from 0 to 1.
#[derive(Debug)]
pub struct Residual {
    manifest: Manifest,
    channels: usize,
    time: Linear,
    first: Conv2d,
    inner: [Conv2d; 2],
    last: Conv2d,
}

impl Residual {
    /// So many channels inside.
    pub fn new(channels: usize) -> Self {
        let mut manifest = Manifest::default();
        let mut root = manifest.root();
        let time = Linear::new(&mut root.at("time"), channels, channels);
        let first = Conv2d::conv3x3(&mut root.at("first"), 1, channels, 1.0);
        let inner = [0, 1].map(|i| Conv2d::conv3x3(&mut root.at("inner").at(i), channels, channels, 1.0));
        let last = Conv2d::conv3x3(&mut root.at("last"), channels, 1, 0.0);
        Self { manifest, channels, time, first, inner, last }
    }
}

impl Network for Residual {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn forward(&self, trace: &mut Trace<'_>, x: Value, time: Value) -> langevin::Result<Value> {
        let steps = scale(trace.graph, time, 1000.0)?;
        let embedded = positional(trace.graph, steps, self.channels)?;
        let embedded = self.time.forward(trace, embedded)?;
        let x = self.first.forward(trace, x)?;
        let h = activate(trace, x, Silu)?;
        // The embedding is added to every pixel in the convolution's epilogue, and so is the residual.
        let told = Epilogue { temb: Some(embedded.into()), ..Epilogue::default() };
        let h = self.inner[0].forward_with(trace, h, told)?;
        let h = activate(trace, h, Silu)?;
        let added = Epilogue { residual: Some(x), ..Epilogue::default() };
        let h = self.inner[1].forward_with(trace, h, added)?;
        let h = activate(trace, h, Silu)?;
        self.last.forward(trace, h)
    }
}
