//! Softmax over the last axis.

use langevin::ops::softmax::softmax;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, softmax as reference};

/// One number, primes, off and on the workgroup, several axes.
const SHAPES: &[&[usize]] = &[&[1], &[3, 1], &[4, 64], &[3, 7], &[2, 5, 131], &[2, 3, 2, 256], &[1, 1031]];

/// One row more than a dispatch takes at once.
const MANY: usize = 65_536;

fn cases() -> Vec<OpCase> {
    let mut cases = vec![case(Tensor::normal(&[MANY, 3], 1)).heavy()];
    cases.extend(SHAPES.iter().map(|shape| case(Tensor::normal(shape, 1))));
    cases.push(case(Tensor::new(&[2, 3], vec![1e4, 1e4, -1e4, -1e4, 0.0, 88.0])));
    cases
}

fn case(x: Tensor) -> OpCase {
    OpCase::new(
        format!("{:?} from {}", x.shape, x.data[0]),
        vec![x],
        |g, v| softmax(g, v[0]),
        |t| reference::forward(&t[0]),
    )
    .gradient(|t, grad| vec![reference::backward(&reference::forward(&t[0]), grad)])
    .per_image(&[0])
}

op_tests! { "softmax", cases; forward, backward, reference }
