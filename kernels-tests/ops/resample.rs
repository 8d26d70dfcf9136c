//! Nearest-neighbour doubling and the mean of 2x2 blocks.

use langevin::ops::resample::{downsample_mean, upsample_nearest};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, resample};

/// One pixel, primes, both vector widths, several images, off the workgroup. (With more than 65,535 workgroups the large side
/// would exceed 128 MiB.)
const SHAPES: &[[usize; 4]] = &[[1, 1, 1, 1], [1, 7, 5, 3], [2, 4, 6, 4], [3, 4, 4, 20], [2, 13, 11, 1]];

fn cases() -> Vec<OpCase> {
    let mut cases = vec![];
    for &shape in SHAPES {
        cases.push(up(shape));
        cases.push(down(shape));
    }
    cases
}

fn up(shape: [usize; 4]) -> OpCase {
    OpCase::new(
        format!("up {shape:?}"),
        vec![Tensor::normal(&shape, 1)],
        |g, v| upsample_nearest(g, v[0]),
        |t| resample::up(&t[0]),
    )
    .gradient(|_, grad| vec![resample::up_backward(grad)])
    .per_image(&[0])
}

fn down([n, h, w, c]: [usize; 4]) -> OpCase {
    let shape = [n, 2 * h, 2 * w, c];
    OpCase::new(
        format!("down {shape:?}"),
        vec![Tensor::normal(&shape, 1)],
        |g, v| downsample_mean(g, v[0]),
        |t| resample::down(&t[0]),
    )
    .gradient(|_, grad| vec![resample::down_backward(grad)])
    .per_image(&[0])
}

op_tests! { "resample", cases; forward, backward, reference }
