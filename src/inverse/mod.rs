//! Inverse problems with an unconditional model: inpainting and colorization (appendix I.2 and I.3 of Song et al. 2021), and
//! sampling one class with the help of a classifier ([`class`], appendix I.1).
//!
//! After every update the known part of the state is replaced by the data, noised to the same t. Inpainting knows pixels;
//! colorization knows one channel of a rotated colour space.
//!
//! ```
//! use langevin::inverse::{Known, Task, XMean};
//!
//! // What a sampler imposes after every update; `pipeline` makes it of images and masks.
//! let task = Task { known: Known::Pixels, x_mean: XMean::Denoised };
//! assert_ne!(task.known, Known::Grey);
//! ```

pub mod class;
mod task;

pub use task::{Known, Task};

use crate::error::{Error, Result};
use crate::graph::{Graph, Shape, Value};
use crate::ops::broadcast::{combine_images, scale_images};
use crate::ops::conv2d::{Epilogue, linear};
use crate::ops::elementwise::{add, mul, sub};
use crate::ops::philox::Purpose;
use crate::sampling::draws::Draws;
use crate::sampling::pc::Constraint;

/// What x_mean becomes where the data is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XMean {
    /// The update's own x_mean: the result is denoised everywhere.
    #[default]
    Denoised,
    /// The noisy x, as in the authors' code, where `denoise` changes only the known part.
    Reference,
}

/// The rotated colour space of the authors' colorization, whose channel 0 is the grey value: y_j = Σ_i x_i `BASIS[i][j]`
/// (`controllable_generation.py` of score_sde).
pub const BASIS: [[f64; 3]; 3] = [
    [0.577_350_14, -0.816_496_49, 4.700_869_7e-8],
    [0.577_350_26, 0.408_248_34, 0.707_106_71],
    [0.577_350_26, 0.408_248_22, -0.707_106_83],
];

/// What one unit of the grey value is in colours: the first row of the inverse of [`BASIS`].
fn grey() -> [f64; 3] {
    // The cofactors of the first column over the determinant.
    let m = BASIS;
    let cofactor = |i: usize| {
        let (a, b) = ((i + 1) % 3, (i + 2) % 3);
        m[a][1] * m[b][2] - m[a][2] * m[b][1]
    };
    let determinant: f64 = (0..3).map(|i| m[i][0] * cofactor(i)).sum();
    std::array::from_fn(|i| cofactor(i) / determinant)
}

/// The 3 × 3 matrix x ↦ (Σ_i x_i weights_i)·grey, by rows of inputs.
fn onto_grey(weights: [f64; 3]) -> [f32; 9] {
    let grey = grey();
    std::array::from_fn(|k| (weights[k / 3] * grey[k % 3]) as f32)
}

/// The projection of colours on what is known of them: to [`BASIS`], channel 0 kept, and back.
fn grey_projection() -> [f32; 9] {
    onto_grey(BASIS.map(|row| row[0]))
}

/// Which part of the data is known.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Elements where the mask is 1: `n h w c`.
    Mask(Value),
    /// The grey value: the 3 × 3 projection on it, and the matrix that makes grey noise of a draw.
    Grey { projection: Value, noise: Value },
}

/// Imposes known data on the state of a sampler.
#[derive(Clone, Copy, Debug)]
pub struct KnownData {
    data: Value,
    known: Part,
    x_mean: XMean,
}

impl KnownData {
    /// Inpainting: `data` (`n h w c`, scaled as the model takes it) is known where `mask` (the same shape) is 1.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes differ.
    pub fn inpaint(graph: &Graph, data: Value, mask: Value, x_mean: XMean) -> Result<Self> {
        if graph.shape(data) != graph.shape(mask) {
            let problem = format!("a mask of {} for data of {}", graph.shape(mask), graph.shape(data));
            return Err(Error::shape("inpaint", problem, "give a mask of the data's size"));
        }
        Ok(Self { data, known: Part::Mask(mask), x_mean })
    }

    /// Colorization: the grey value of `data` (`n h w 3`, scaled as the model takes it) is known.
    ///
    /// # Errors
    /// [`Error::Shape`] when the data has not three channels.
    pub fn colorize(graph: &mut Graph, data: Value, x_mean: XMean) -> Result<Self> {
        if graph.shape(data).last() != 3 {
            let problem = format!("data of {}", graph.shape(data));
            return Err(Error::shape("colorize", problem, "give three channels"));
        }
        let projection = graph.constant("grey projection", [3, 3], &grey_projection());
        // The authors draw in the rotated space: channel 0 of a draw is the noise of the grey value.
        let noise = graph.constant("grey noise", [3, 3], &onto_grey([1.0, 0.0, 0.0]));
        let known = Part::Grey { projection, noise };
        Ok(Self { data, known, x_mean })
    }

    /// The known part of a difference: `mask·d`, or the grey part of `d`.
    fn project(&self, graph: &mut Graph, difference: Value) -> Result<Value> {
        match self.known {
            Part::Mask(mask) => mul(graph, difference, mask),
            Part::Grey { projection, .. } => linear(graph, difference, projection, true, Epilogue::default()),
        }
    }

    /// The noise of the known part out of a draw.
    fn noise(&self, graph: &mut Graph, z: Value) -> Result<Value> {
        match self.known {
            Part::Mask(_) => Ok(z),
            Part::Grey { noise, .. } => linear(graph, z, noise, true, Epilogue::default()),
        }
    }

    /// `x` with its known part replaced by that of `by`.
    fn replace(&self, graph: &mut Graph, x: Value, by: Value) -> Result<Value> {
        let difference = sub(graph, by, x)?;
        let known = self.project(graph, difference)?;
        add(graph, x, known)
    }

    /// The starting point: the known part of the data itself, a draw from the prior elsewhere.
    ///
    /// # Errors
    /// [`Error::Shape`] when `prior` has not the data's shape.
    pub fn start(&self, graph: &mut Graph, prior: Value) -> Result<Value> {
        match (self.known, self.x_mean) {
            (Part::Grey { .. }, XMean::Reference) => {
                // The authors leave out the red of the draw, not its grey.
                let keep =
                    graph.constant("all but red", [3, 3], &[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
                let drawn = linear(graph, prior, keep, true, Epilogue::default())?;
                let known = self.project(graph, self.data)?;
                add(graph, drawn, known)
            }
            _ => self.replace(graph, prior, self.data),
        }
    }
}

impl Constraint for KnownData {
    fn impose(
        &self,
        graph: &mut Graph,
        (x, x_mean): (Value, Value),
        mean: Value,
        std: Value,
        draws: &mut Draws,
    ) -> Result<(Value, Value)> {
        let shape: Shape = graph.shape(x).clone();
        let z = draws.normal(graph, Purpose::KNOWN, &shape)?;
        let z = self.noise(graph, z)?;
        let noised = combine_images(graph, &[(self.data, mean, 1.0), (z, std, 1.0)])?;
        let imposed = self.replace(graph, x, noised)?;
        let clean = scale_images(graph, self.data, mean)?;
        let base = if self.x_mean == XMean::Reference { imposed } else { x_mean };
        Ok((imposed, self.replace(graph, base, clean)?))
    }

    fn draws(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projection_projects_and_keeps_grey() {
        let p = grey_projection().map(f64::from);
        for i in 0..3 {
            for j in 0..3 {
                let twice: f64 = (0..3).map(|k| p[3 * i + k] * p[3 * k + j]).sum();
                assert!((twice - p[3 * i + j]).abs() < 1e-6);
            }
        }
        // Grey (1, 1, 1) is the known direction.
        for j in 0..3 {
            let grey: f64 = (0..3).map(|i| p[3 * i + j]).sum();
            assert!((grey - 1.0).abs() < 1e-6, "{grey}");
        }
    }
}
