//! One over each element, bounded.

use langevin::ops::reciprocal::reciprocal;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{self, Tensor};

/// One element, primes, off and on the vector and the workgroup, several images.
const SHAPES: &[&[usize]] = &[&[1], &[7], &[256], &[3, 5, 7, 11], &[2, 4, 4, 8], &[1031]];
/// One element more than 65,535 workgroups of 256 take one by one.
const MANY: usize = 65_535 * 256 + 1;
/// Below most of a normal's absolute values, and above some.
const FLOOR: f32 = 0.25;

fn cases() -> Vec<OpCase> {
    let mut cases: Vec<OpCase> = SHAPES.iter().map(|shape| case(shape)).collect();
    cases.push(case(&[MANY]).heavy());
    cases
}

fn case(shape: &[usize]) -> OpCase {
    OpCase::new(
        format!("1/max(x, {FLOOR}) {shape:?}"),
        vec![Tensor::normal(shape, 1)],
        |g, v| reciprocal(g, v[0], FLOOR),
        |t| reference::reciprocal::forward(&t[0], FLOOR.into()),
    )
    .gradient(|t, grad| vec![reference::reciprocal::backward(&t[0], FLOOR.into(), grad)])
    .per_image(&[0])
}

op_tests! { "reciprocal", cases; forward, backward, reference }
