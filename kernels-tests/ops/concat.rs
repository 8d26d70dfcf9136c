//! Channels side by side, and windows of them.

use langevin::ops::concat::{concat, window};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{self, Tensor};

/// Rows and both counts of channels: one, primes, both vector widths, off the workgroup, several images.
const SHAPES: &[(&[usize], usize, usize)] =
    &[(&[1], 1, 1), (&[2, 3, 5], 7, 4), (&[3, 4, 4], 8, 12), (&[2, 7, 7], 16, 3), (&[259], 4, 4)];
/// One row more than 65,535 workgroups take of four elements each.
const MANY: usize = 65_535 * 64 + 1;
/// First channel and number of channels of windows: inside, over either end, all zeros, multiples of 4.
const WINDOWS: &[(i32, usize)] = &[(0, 1), (1, 2), (-3, 9), (4, 8), (-4, 16), (-8, 4), (5, 3)];

fn cases() -> Vec<OpCase> {
    let mut cases = vec![side_by_side(&[MANY], 3, 1).heavy()];
    for &(rows, c1, c2) in SHAPES {
        cases.push(side_by_side(rows, c1, c2));
        for &(from, channels) in WINDOWS {
            cases.push(part(rows, c1, from, channels));
        }
    }
    cases
}

fn shape(rows: &[usize], channels: usize) -> Vec<usize> {
    rows.iter().copied().chain([channels]).collect()
}

fn side_by_side(rows: &[usize], c1: usize, c2: usize) -> OpCase {
    OpCase::new(
        format!("{c1} and {c2} channels of {rows:?}"),
        vec![Tensor::normal(&shape(rows, c1), 1), Tensor::normal(&shape(rows, c2), 2)],
        |g, v| concat(g, v[0], v[1]),
        |t| reference::concat::forward(&t[0], &t[1]),
    )
    .gradient(|t, grad| reference::concat::backward(&t[0], &t[1], grad).to_vec())
    .per_image(&[0, 1])
}

fn part(rows: &[usize], c: usize, from: i32, channels: usize) -> OpCase {
    OpCase::new(
        format!("{channels} channels from {from} of {rows:?} {c}"),
        vec![Tensor::normal(&shape(rows, c), 1)],
        move |g, v| window(g, v[0], from, channels),
        move |t| reference::concat::window(&t[0], from.into(), channels),
    )
    .gradient(move |t, grad| vec![reference::concat::window_backward(&t[0], from.into(), grad)])
    .per_image(&[0])
}

op_tests! { "concat", cases; forward, backward, reference }
