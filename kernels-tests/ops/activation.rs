//! Activations, element by element.

use langevin::ops::activation::{Activation, activation};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::Tensor;
use crate::reference::activation::{self as reference, Activation as Expected};

const KINDS: &[(Activation, Expected)] = &[
    (Activation::Silu, Expected::Silu),
    (Activation::Elu, Expected::Elu),
    (Activation::Relu, Expected::Relu),
    (Activation::LeakyRelu, Expected::LeakyRelu),
];

/// One element, primes, off and on the vector and the workgroup, several images.
const SHAPES: &[&[usize]] = &[&[1], &[7], &[1024], &[3, 5, 7, 11], &[2, 4, 4, 8], &[1031]];

/// One element more than 65,535 workgroups of 256 take one by one.
const MANY: usize = 65_535 * 256 + 1;

fn cases() -> Vec<OpCase> {
    let mut cases = vec![case(Tensor::normal(&[MANY], 1), KINDS[2]).heavy()];
    for &kind in KINDS {
        cases.extend(SHAPES.iter().map(|shape| case(Tensor::normal(shape, 1), kind)));
        // Where exp overflows, where a sigmoid is 0 to f32, and where exp(x) - 1 cancels.
        let ends = vec![-1e4, -200.0, -88.0, -20.0, -1.0, -1e-6, 0.0, 1e-6, 1.0, 20.0, 200.0, 1e4];
        cases.push(case(Tensor::new(&[12], ends), kind));
        // By themselves, since an error is measured against the largest entry.
        cases.push(case(Tensor::uniform(&[64], -1e-3, -1e-6, 2), kind));
    }
    cases
}

fn case(x: Tensor, (kind, expected): (Activation, Expected)) -> OpCase {
    OpCase::new(
        format!("{kind:?} {:?} from {}", x.shape, x.data[0]),
        vec![x],
        move |g, v| activation(g, v[0], kind),
        move |t| reference::forward(expected, &t[0]),
    )
    .gradient(move |t, grad| vec![reference::backward(expected, &t[0], grad)])
    .per_image(&[0])
}

/// Finite differences fail across a kink, so only smooth points are used for the reference.
fn smooth() -> Vec<OpCase> {
    KINDS.iter().map(|&kind| case(Tensor::normal(&[3, 17], 1), kind)).collect()
}

op_tests! { "activation", cases; forward, backward }

#[test]
fn reference() {
    crate::harness::over(smooth(), OpCase::reference);
}
