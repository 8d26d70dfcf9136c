//! Linear combinations and products.

use langevin::ops::elementwise;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{self, Tensor};

/// One element, primes, off and on the vector and the workgroup, several images.
const SHAPES: &[&[usize]] = &[&[1], &[7], &[256], &[3, 5, 7, 11], &[2, 4, 4, 8], &[1031]];

/// One element more than 65,535 workgroups of 256 take one by one.
const MANY: usize = 65_535 * 256 + 1;

fn normals(shape: &[usize], count: u64) -> Vec<Tensor> {
    (1..=count).map(|seed| Tensor::normal(shape, seed)).collect()
}

fn cases() -> Vec<OpCase> {
    let mut cases = vec![sum(&[MANY], [1.0, 1.0]).heavy()];
    for &shape in SHAPES {
        cases.push(sum(shape, [1.0, 1.0]));
        cases.push(sum(shape, [0.3, -2.5]));
        cases.push(four(shape));
        cases.push(product(shape));
    }
    cases
}

fn sum(shape: &[usize], [alpha, beta]: [f32; 2]) -> OpCase {
    let [a, b] = [f64::from(alpha), f64::from(beta)];
    OpCase::new(
        format!("{alpha}a + {beta}b {shape:?}"),
        normals(shape, 2),
        move |g, v| elementwise::combine(g, &[(v[0], alpha), (v[1], beta)]),
        move |t| reference::elementwise::add(&t[0], a, &t[1], b),
    )
    .gradient(move |_, grad| reference::elementwise::add_backward(a, b, grad).to_vec())
    .per_image(&[0, 1])
}

fn four(shape: &[usize]) -> OpCase {
    const K: [f32; 4] = [1.0, -1.0, 0.5, 3.0];
    OpCase::new(
        format!("four terms {shape:?}"),
        normals(shape, 4),
        |g, v| elementwise::combine(g, &[(v[0], K[0]), (v[1], K[1]), (v[2], K[2]), (v[3], K[3])]),
        |t| t.iter().zip(K).fold(Tensor::zeros(&t[0].shape), |sum, (t, k)| sum.plus(&t.scaled(k.into()))),
    )
    .gradient(|_, grad| K.iter().map(|&k| grad.scaled(k.into())).collect())
    .per_image(&[0, 1, 2, 3])
}

fn product(shape: &[usize]) -> OpCase {
    OpCase::new(
        format!("a*b {shape:?}"),
        normals(shape, 2),
        |g, v| elementwise::mul(g, v[0], v[1]),
        |t| t[0].times(&t[1]),
    )
    .gradient(|t, grad| reference::elementwise::mul_backward(&t[0], &t[1], grad).to_vec())
    .per_image(&[0, 1])
}

op_tests! { "elementwise", cases; forward, backward, reference }
