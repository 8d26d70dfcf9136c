//! The vector operations of a Runge-Kutta step.

use super::Tensor;
use super::lookup::Rows;

/// Slopes in a stack for a state.
fn count(slopes: &Tensor, y: &Tensor) -> usize {
    slopes.data.len() / y.data.len()
}

fn slope(slopes: &Tensor, j: usize, shape: &[usize]) -> Tensor {
    let size: usize = shape.iter().product();
    Tensor::new(shape, slopes.data[j * size..(j + 1) * size].to_vec())
}

/// y + Σ c_j·slope_j, a c for each slope from `first` on.
pub fn stage(y: &Tensor, slopes: &Tensor, rows: &Rows, first: usize) -> Tensor {
    (0..count(slopes, y))
        .fold(y.clone(), |sum, j| sum.plus(&rows.times(first + j, &slope(slopes, j, &y.shape))))
}

/// (c_y·y + Σ c_j·slope_j) / (atol + rtol·max(|y|, |other|)); columns from `first` on: c_j, c_y, rtol, atol.
pub fn ratio(y: &Tensor, other: &Tensor, slopes: &Tensor, rows: &Rows, first: usize) -> Tensor {
    let larger = y.zip(other, |a, b| a.abs().max(b.abs()));
    let ones = Tensor::full(&y.shape, 1.0);
    let behind = first + count(slopes, y);
    let scale = rows.times(behind + 2, &ones).plus(&rows.times(behind + 1, &larger));
    stage(&rows.times(behind, y), slopes, rows, first).zip(&scale, |sum, scale| sum / scale)
}

/// y and the slopes once the images whose number in a column is not 0 have become what was tried.
pub fn accept(y: &Tensor, tried: &Tensor, slopes: &Tensor, rows: &Rows, column: usize) -> [Tensor; 2] {
    let last = count(slopes, y) - 1;
    let (mut y, mut slopes) = (y.clone(), slopes.clone());
    let size = y.data.len();
    for i in (0..size).filter(|&i| rows.of(i, column) != 0.0) {
        y.data[i] = tried.data[i];
        slopes.data[i] = slopes.data[last * size + i];
    }
    [y, slopes]
}
