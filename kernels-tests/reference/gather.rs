//! Rows of a table by label.

use super::{Tensor, assert_gradient};

/// Row `trunc(label)` of `table` (`k m`) for each label, the first or last one where there is none: `n m`.
pub fn forward(table: &Tensor, labels: &Tensor) -> Tensor {
    let m = table.shape[1];
    let row = |&label: &f64| table.data[row(table, label) * m..][..m].to_vec();
    Tensor::new(&[labels.data.len(), m], labels.data.iter().flat_map(row).collect())
}

/// The gradient of [`forward`] by the table.
pub fn backward(table: &Tensor, labels: &Tensor, grad_y: &Tensor) -> Tensor {
    let m = table.shape[1];
    let mut grad = Tensor::zeros(&table.shape);
    for (&label, g) in labels.data.iter().zip(grad_y.data.chunks(m)) {
        let at = row(table, label) * m;
        grad.data[at..at + m].iter_mut().zip(g).for_each(|(sum, g)| *sum += g);
    }
    grad
}

fn row(table: &Tensor, label: f64) -> usize {
    (label.max(0.0) as usize).min(table.shape[0] - 1)
}

#[test]
fn gradient_is_right() {
    let labels = Tensor::new(&[4], vec![2.0, 0.0, 2.9, 7.0]);
    assert_gradient(
        &[Tensor::normal(&[4, 3], 1)],
        |i| forward(&i[0], &labels),
        |i, g| vec![backward(&i[0], &labels, g)],
    );
}
