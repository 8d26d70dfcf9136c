//! Rows of a table by label.

use langevin::ops::gather::gather;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{self, Tensor};

/// Rows and columns of the table, and the labels: one, primes, fractions, repeated and missing rows, labels outside.
const CASES: &[(usize, usize, &[f64])] = &[
    (1, 1, &[0.0]),
    (7, 5, &[6.0, 0.0, 3.99]),
    (10, 24, &[9.0, 9.0, 0.5]),
    (1000, 1, &[999.0, 998.001, 500.0, 0.0]),
    (3, 300, &[1.0, 17.0, -2.0]),
];
/// One row of 256 more than 65,535 workgroups take.
const MANY: usize = 65_536;

fn cases() -> Vec<OpCase> {
    let mut cases: Vec<OpCase> = CASES.iter().map(|&(k, m, labels)| rows(k, m, labels)).collect();
    cases.push(rows(7, 5, &[6.0, 0.0, 9.0]).integers(&[1]));
    cases.push(rows(2, 256, &[1.0]));
    cases.push(rows(MANY, 256, &[65_535.0, 3.0]).heavy());
    cases
}

fn rows(k: usize, m: usize, labels: &[f64]) -> OpCase {
    OpCase::new(
        format!("{} rows of {k}x{m}", labels.len()),
        vec![Tensor::normal(&[k, m], 1), Tensor::new(&[labels.len()], labels.to_vec())],
        |g, v| gather(g, v[0], v[1]),
        |t| reference::gather::forward(&t[0], &t[1]),
    )
    .gradient(|t, grad| vec![reference::gather::backward(&t[0], &t[1], grad)])
    .constants(&[1])
    .per_image(&[1])
}

op_tests! { "gather", cases; forward, backward, reference }
