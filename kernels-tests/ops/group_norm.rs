//! Group normalisation, with and without SiLU.

use langevin::graph::Graph;
use langevin::ops::group_norm::{GroupNorm, group_norm};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::Tensor;
use crate::reference::group_norm::GroupNorm as Expected;

/// Shape and groups: one element a group, one pixel, primes, groups that cut vectors of four, columns off the workgroup (more
/// than 256 too), several images, rows of several workgroups.
const SHAPES: &[([usize; 4], usize)] = &[
    ([1, 1, 1, 1], 1),
    ([2, 2, 3, 6], 3),
    ([3, 1, 1, 8], 2),
    ([1, 5, 7, 48], 12),
    ([2, 4, 4, 160], 32),
    ([2, 3, 3, 5], 5),
    ([1, 7, 11, 13], 1),
    ([1, 2, 2, 257], 257),
    ([1, 2, 2, 1028], 4),
    ([3, 32, 32, 16], 4),
    ([1, 64, 67, 12], 3),
    ([1, 64, 64, 3], 1),
];

fn cases() -> Vec<OpCase> {
    let mut cases = Vec::new();
    for (i, &(shape, groups)) in SHAPES.iter().enumerate() {
        cases.push(case("normal", Tensor::normal(&shape, 1), groups, i % 2 == 0, 1e-6));
    }
    let normal = Tensor::normal(&[2, 8, 8, 16], 1);
    for silu in [false, true] {
        cases.push(case("both", normal.clone(), 4, silu, 1e-6));
        cases.push(case("large eps", normal.scaled(0.1), 4, silu, 0.5));
        // The mean, rounded to f32, is off by up to 3e-5 at 1,000, and the deviation is 1.
        let offset = normal.map(|v| f64::from((v + 1000.0) as f32));
        cases.push(case("offset 1,000", offset, 4, silu, 1e-6).tolerance(1e-4));
        // Gradients by x reach 1/sqrt(eps).
        cases.push(case("constant", Tensor::full(&[2, 5, 5, 8], 0.7), 2, silu, 1e-6));
    }
    let mut spike = Tensor::full(&[1, 32, 32, 8], 0.0);
    spike.data[0] = 1000.0;
    cases.push(case("one spike at the first pixel", spike, 2, false, 1e-6));
    cases
}

fn case(name: &str, x: Tensor, groups: usize, silu: bool, norm_eps: f32) -> OpCase {
    let c = x.nhwc()[3];
    let options = GroupNorm { groups, norm_eps, silu };
    let expected = Expected { groups, norm_eps: f64::from(norm_eps), silu };
    OpCase::new(
        format!("{name} {:?}, {groups} groups{}", x.shape, if silu { ", silu" } else { "" }),
        vec![x, Tensor::uniform(&[c], 0.5, 1.5, 2), Tensor::normal(&[c], 3)],
        move |g, v| group_norm(g, v[0], v[1], v[2], options),
        move |t| expected.forward(&t[0], &t[1], &t[2]),
    )
    .gradient(move |t, grad| expected.backward(&t[0], &t[1], &t[2], grad).to_vec())
    .parameters(&[1, 2])
    .per_image(&[0])
}

op_tests! { "group_norm", cases; forward, backward, reference }

#[test]
fn wrong_shapes_are_refused() {
    let mut g = Graph::new();
    let (x, six, five) = (g.input("x", [1, 2, 2, 6]), g.input("six", [6]), g.input("five", [5]));
    let options = |groups| GroupNorm { groups, norm_eps: 1e-6, silu: false };
    let refused = [
        group_norm(&mut g, x, six, six, options(4)),
        group_norm(&mut g, x, six, six, options(0)),
        group_norm(&mut g, x, five, six, options(2)),
        group_norm(&mut g, six, six, six, options(2)),
    ];
    for result in refused {
        assert!(matches!(result, Err(langevin::Error::Shape { op: "group_norm", .. })), "{result:?}");
    }
}
