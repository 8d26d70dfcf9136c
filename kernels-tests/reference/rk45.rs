//! The vector operations of a Runge-Kutta step with seven slopes.

use super::Tensor;

fn slope(slopes: &Tensor, j: usize, shape: &[usize]) -> Tensor {
    let size = slopes.data.len() / 7;
    Tensor::new(shape, slopes.data[j * size..(j + 1) * size].to_vec())
}

/// y + Σ c_j·slope_j.
pub fn stage(y: &Tensor, slopes: &Tensor, c: &[f64]) -> Tensor {
    (0..7).fold(y.clone(), |sum, j| sum.plus(&slope(slopes, j, &y.shape).scaled(c[j])))
}

/// (c_y·y + Σ c_j·slope_j) / (atol + rtol·max(|y|, |other|)); `c` holds c_j, c_y, rtol, atol.
pub fn ratio(y: &Tensor, other: &Tensor, slopes: &Tensor, c: &[f64]) -> Tensor {
    let scale = y.zip(other, |a, b| c[9] + c[8] * a.abs().max(b.abs()));
    stage(&y.scaled(c[7]), slopes, c).zip(&scale, |sum, scale| sum / scale)
}
