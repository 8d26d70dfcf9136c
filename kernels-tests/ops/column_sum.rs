//! Sums over pixels and images.

use langevin::ops::column_sum::column_sum;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, column_sum as reference};

/// Shape and groups: one row, primes, two stages, more columns than rows, more rows than columns.
const TABLE: &[(&[usize], usize)] = &[
    (&[1, 1], 1),
    (&[7, 13], 1),
    (&[2, 5, 7, 3], 2),
    (&[3, 16, 16, 8], 3),
    (&[3, 16, 16, 8], 1),
    (&[2, 300, 260], 2),
    (&[20_011, 4], 1),
];

fn cases() -> Vec<OpCase> {
    TABLE
        .iter()
        .map(|&(shape, groups)| {
            let case = OpCase::new(
                format!("{shape:?} in {groups}"),
                vec![Tensor::normal(shape, 1)],
                move |g, v| column_sum(g, v[0], groups),
                move |t| reference::forward(&t[0], groups),
            )
            .constants(&[0]);
            if groups > 1 { case } else { case.heavy() }
        })
        .collect()
}

op_tests! { "column_sum", cases; forward }
