//! Cross-entropy of logits against labels: -log softmax(logits)[label], one number per row.

use super::{Tensor, assert_gradient, softmax};

/// `logits` is `n classes`; the result `n`.
pub fn forward(logits: &Tensor, labels: &[usize]) -> Tensor {
    let rows = logits.data.chunks(logits.shape[1]).zip(labels);
    let loss = |(row, &label): (&[f64], &usize)| {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        max + row.iter().map(|v| (v - max).exp()).sum::<f64>().ln() - row[label]
    };
    Tensor::new(&[labels.len()], rows.map(loss).collect())
}

/// The gradient by the logits: (softmax - one hot) · grad_y.
pub fn backward(logits: &Tensor, labels: &[usize], grad_y: &Tensor) -> Tensor {
    let classes = logits.shape[1];
    let mut grad = softmax::forward(logits);
    for (at, value) in grad.data.iter_mut().enumerate() {
        let row = at / classes;
        let hot = if at % classes == labels[row] { 1.0 } else { 0.0 };
        *value = (*value - hot) * grad_y.data[row];
    }
    grad
}

/// 1 where the label is the first class with the largest logit.
pub fn correct(logits: &Tensor, labels: &[usize]) -> Tensor {
    let rows = logits.data.chunks(logits.shape[1]).zip(labels);
    let hit = |(row, &label): (&[f64], &usize)| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        f64::from(u8::from(row.iter().position(|&v| v == largest) == Some(label)))
    };
    Tensor::new(&[labels.len()], rows.map(hit).collect())
}

#[test]
fn gradient_is_right() {
    let labels = [2, 0, 4];
    let logits = [Tensor::normal(&[3, 5], 1)];
    assert_gradient(&logits, |i| forward(&i[0], &labels), |i, g| vec![backward(&i[0], &labels, g)]);
}
