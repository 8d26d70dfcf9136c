//! Exponential moving average of the parameters, as the authors' `ExponentialMovingAverage`.

use super::Tensor;

/// The decay of update number `num_updates`, counted from 1, with the authors' warm-up.
pub fn decay(rate: f64, num_updates: u64) -> f64 {
    let n = num_updates as f64;
    rate.min((1.0 + n) / (10.0 + n))
}

/// shadow - (1 - decay)·(shadow - param).
pub fn update(shadow: &Tensor, param: &Tensor, decay: f64) -> Tensor {
    shadow.zip(param, |s, p| s - (1.0 - decay) * (s - p))
}

#[test]
fn decay_warms_up() {
    assert_eq!(decay(0.9999, 1), 2.0 / 11.0);
    assert_eq!(decay(0.9999, 1_000_000), 0.9999);
}

#[test]
fn update_moves_towards_the_parameter() {
    let (shadow, param) = (Tensor::full(&[1], 1.0), Tensor::full(&[1], 3.0));
    assert_eq!(update(&shadow, &param, 0.75).data, [1.5]);
    assert_eq!(update(&shadow, &param, 1.0), shadow);
    assert_eq!(update(&shadow, &param, 0.0), param);
}
