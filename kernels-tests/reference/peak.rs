//! Chains of multiply-adds.

use super::Tensor;

/// `Σₖ f(f(…f(x·(k+1)/16)))` over 16 chains, each `8·turns` times `f(a) = 0.75·a + 0.5`.
pub fn forward(x: &Tensor, turns: usize) -> Tensor {
    let chain = |begin: f64| (0..8 * turns).fold(begin, |a, _| 0.75 * a + 0.5);
    x.map(|x| (1..=16).map(|k| chain(x * f64::from(k) / 16.0)).sum())
}

#[test]
fn no_turn_sums_the_beginnings() {
    let x = Tensor::new(&[2], vec![2.0, -4.0]);
    assert_eq!(forward(&x, 0).data, [17.0, -34.0]);
    assert!((forward(&x, 1).data[0] - (16.0 * 2.0 + 0.75f64.powi(8) * (17.0 - 32.0))).abs() < 1e-12);
}
