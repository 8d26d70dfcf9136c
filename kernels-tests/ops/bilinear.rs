//! Bilinear resizing with aligned corners.

use langevin::graph::Graph;
use langevin::ops::bilinear::bilinear;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, bilinear as reference};

/// From and to: larger, smaller, one pixel on either side, the same, one axis each way.
const SIZES: &[([usize; 2], [usize; 2])] = &[
    ([8, 6], [16, 11]),
    ([3, 4], [5, 7]),
    ([9, 13], [2, 3]),
    ([1, 3], [4, 1]),
    ([5, 1], [1, 6]),
    ([2, 2], [1, 1]),
    ([3, 3], [3, 3]),
    ([4, 16], [8, 5]),
    ([2, 7], [33, 31]),
];

fn cases() -> Vec<OpCase> {
    let sized = |&(from, to): &([usize; 2], [usize; 2])| [1, 3, 4, 20].map(|c| case(from, to, c));
    SIZES.iter().flat_map(sized).collect()
}

fn case(from: [usize; 2], to: [usize; 2], c: usize) -> OpCase {
    OpCase::new(
        format!("{from:?} to {to:?}, {c} channels"),
        vec![Tensor::normal(&[2, from[0], from[1], c], 1)],
        move |g, v| bilinear(g, v[0], to),
        move |t| reference::forward(&t[0], to),
    )
    .gradient(move |_, grad| vec![reference::backward(from, grad)])
    .per_image(&[0])
}

op_tests! { "bilinear", cases; forward, backward, reference }

#[test]
fn sides_without_pixels_are_refused() {
    let mut g = Graph::new();
    let x = g.input("x", [1, 4, 4, 2]);
    for to in [[0, 4], [4, 40_000]] {
        let result = bilinear(&mut g, x, to);
        assert!(matches!(result, Err(langevin::Error::Shape { op: "bilinear", .. })), "{result:?}");
    }
}
