//! Clipping by the norm over all gradients, as PyTorch's `clip_grad_norm_`.

use super::Tensor;

/// The L2 norm over all elements of all tensors.
pub fn global_norm(grads: &[Tensor]) -> f64 {
    grads.iter().map(|g| g.times(g).sum()).sum::<f64>().sqrt()
}

/// min(1, clip/(norm + 1e-6)); a negative `clip` means no clipping.
pub fn coefficient(norm: f64, clip: f64) -> f64 {
    if clip < 0.0 { 1.0 } else { (clip / (norm + 1e-6)).min(1.0) }
}

#[test]
fn norm_spans_all_tensors() {
    assert_eq!(global_norm(&[Tensor::new(&[1], vec![3.0]), Tensor::new(&[2], vec![0.0, 4.0])]), 5.0);
}

#[test]
fn coefficient_only_shrinks() {
    assert_eq!(coefficient(0.5, 1.0), 1.0);
    assert!((coefficient(4.0, 1.0) - 0.25).abs() < 1e-6);
    assert_eq!(coefficient(4.0, -1.0), 1.0);
}
