//! Dull f64 references, one per op: forward, and backward by hand. Each checks its own gradient against finite
//! differences of its forward. Images are channels-last (`n h w c`), as inside the library.

pub mod activation;
pub mod adam;
pub mod attention;
pub mod bilinear;
pub mod broadcast;
pub mod clip;
pub mod column_sum;
pub mod concat;
pub mod conv2d;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod ema;
pub mod embedding;
pub mod gather;
pub mod group_norm;
pub mod instance_norm;
pub mod linear;
pub mod lookup;
pub mod peak;
pub mod philox;
pub mod pool;
pub mod reciprocal;
pub mod reduce;
pub mod resample;
pub mod runge_kutta;
pub mod sampler_step;
pub mod softmax;
mod tensor;
pub mod upfirdn2d;

pub use tensor::Tensor;

/// Step of the central differences. In f64 the truncation error (h²) and the rounding error (1e-16/h) then both stay
/// near 1e-10.
const STEP: f64 = 1e-5;

/// Largest difference allowed, as a share of the largest entry of the gradient; far above the error of central
/// differences with [`STEP`], far below any wrong formula.
const SHARE: f64 = 1e-6;

/// Fails unless `backward(inputs, grad_y)` is the gradient of `sum(forward(inputs) * grad_y)` by every input.
pub fn assert_gradient(
    inputs: &[Tensor],
    forward: impl Fn(&[Tensor]) -> Tensor,
    backward: impl Fn(&[Tensor], &Tensor) -> Vec<Tensor>,
) {
    let grad_y = Tensor::normal(&forward(inputs).shape, 99);
    assert_gradient_of(inputs, &grad_y, forward, backward);
}

/// The same with the upstream gradient given.
pub fn assert_gradient_of(
    inputs: &[Tensor],
    grad_y: &Tensor,
    forward: impl Fn(&[Tensor]) -> Tensor,
    backward: impl Fn(&[Tensor], &Tensor) -> Vec<Tensor>,
) {
    let loss = |inputs: &[Tensor]| forward(inputs).times(grad_y).sum();
    let gradients = backward(inputs, grad_y);
    assert_eq!(gradients.len(), inputs.len(), "one gradient per input");
    for (k, gradient) in gradients.iter().enumerate() {
        assert_eq!(gradient.shape, inputs[k].shape, "shape of the gradient by input {k}");
        let mut moved = inputs.to_vec();
        let numeric: Vec<f64> = (0..inputs[k].data.len())
            .map(|i| {
                let mut at = |value: f64| {
                    moved[k].data[i] = value;
                    loss(&moved)
                };
                let here = inputs[k].data[i];
                let slope = (at(here + STEP) - at(here - STEP)) / (2.0 * STEP);
                at(here);
                slope
            })
            .collect();
        let scale = numeric.iter().fold(1e-3_f64, |m, v| m.max(v.abs()));
        for (i, (got, expected)) in gradient.data.iter().zip(&numeric).enumerate() {
            assert!(
                (got - expected).abs() <= SHARE * scale,
                "gradient by input {k}, element {i}: by hand {got}, by differences {expected}"
            );
        }
    }
}
