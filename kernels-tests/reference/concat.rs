//! Channels side by side, and windows of them.

use super::{Tensor, assert_gradient};

/// `a` and behind it `b`, along the last axis.
pub fn forward(a: &Tensor, b: &Tensor) -> Tensor {
    let (c1, c2) = (last(a), last(b));
    let mut shape = a.shape.clone();
    *shape.last_mut().unwrap() = c1 + c2;
    let rows = a.data.chunks(c1).zip(b.data.chunks(c2));
    Tensor::new(&shape, rows.flat_map(|(a, b)| a.iter().chain(b)).copied().collect())
}

/// The gradients of [`forward`].
pub fn backward(a: &Tensor, b: &Tensor, grad_y: &Tensor) -> [Tensor; 2] {
    let (c1, c2) = (last(a), last(b));
    [window(grad_y, 0, c1), window(grad_y, c1 as i64, c2)]
}

/// `channels` channels of `x` from channel `from`, zeros where `x` has none.
pub fn window(x: &Tensor, from: i64, channels: usize) -> Tensor {
    let mut shape = x.shape.clone();
    *shape.last_mut().unwrap() = channels;
    let at = |row: &[f64], j: usize| {
        usize::try_from(from + j as i64).ok().and_then(|i| row.get(i)).copied().unwrap_or(0.0)
    };
    let row = |row: &[f64]| (0..channels).map(|j| at(row, j)).collect::<Vec<f64>>();
    Tensor::new(&shape, x.data.chunks(last(x)).flat_map(row).collect())
}

/// The gradient of [`window`].
pub fn window_backward(x: &Tensor, from: i64, grad_y: &Tensor) -> Tensor {
    window(grad_y, -from, last(x))
}

fn last(x: &Tensor) -> usize {
    *x.shape.last().unwrap()
}

#[test]
fn gradients_are_right() {
    let inputs = [Tensor::normal(&[2, 3], 1), Tensor::normal(&[2, 2], 2)];
    assert_gradient(&inputs, |i| forward(&i[0], &i[1]), |i, g| backward(&i[0], &i[1], g).to_vec());
    for (from, channels) in [(1, 2), (-2, 6), (2, 4)] {
        assert_gradient(
            &inputs[..1],
            |i| window(&i[0], from, channels),
            |i, g| vec![window_backward(&i[0], from, g)],
        );
    }
}
