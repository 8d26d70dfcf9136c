//! One number per image against whole images.

use langevin::ops::broadcast::{add_channels, add_images, combine_images, scale_images, spread};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, broadcast, elementwise};

/// One element, primes, both vector widths, several images.
const SHAPES: &[&[usize]] = &[&[1, 1], &[5], &[3, 7], &[2, 3, 5, 3], &[3, 4, 4, 8], &[2, 1031]];

fn cases() -> Vec<OpCase> {
    let mut cases = vec![scale(&[1, 65_536 * 256 + 1]).heavy()];
    for &shape in SHAPES {
        cases.extend([scale(shape), three(shape), add(shape), channels(shape), numbers(shape)]);
    }
    cases
}

fn pair(shape: &[usize], seed: u64) -> [Tensor; 2] {
    [Tensor::normal(shape, seed), Tensor::normal(&shape[..1], seed + 100)]
}

fn scale(shape: &[usize]) -> OpCase {
    OpCase::new(
        format!("x*s {shape:?}"),
        pair(shape, 1).to_vec(),
        |g, v| scale_images(g, v[0], v[1]),
        |t| broadcast::combine_images(&[(&t[0], &t[1], 1.0)]),
    )
    .gradient(|t, grad| broadcast::scale_backward(&t[0], &t[1], 1.0, grad).to_vec())
    .per_image(&[0, 1])
}

fn three(shape: &[usize]) -> OpCase {
    const K: [f32; 3] = [1.0, -2.5, 0.25];
    OpCase::new(
        format!("three terms {shape:?}"),
        (1..=3).flat_map(|seed| pair(shape, seed)).collect(),
        |g, v| combine_images(g, &[(v[0], v[1], K[0]), (v[2], v[3], K[1]), (v[4], v[5], K[2])]),
        |t| broadcast::combine_images(&[0, 1, 2].map(|i| (&t[2 * i], &t[2 * i + 1], K[i].into()))),
    )
    .gradient(|t, grad| {
        (0..3).flat_map(|i| broadcast::scale_backward(&t[2 * i], &t[2 * i + 1], K[i].into(), grad)).collect()
    })
    .per_image(&[0, 1, 2, 3, 4, 5])
}

fn add(shape: &[usize]) -> OpCase {
    OpCase::new(
        format!("x+s {shape:?}"),
        pair(shape, 1).to_vec(),
        |g, v| add_images(g, v[0], v[1]),
        |t| t[0].plus(&elementwise::spread_images(&t[1], &t[0].shape)),
    )
    .gradient(|_, grad| vec![grad.clone(), elementwise::spread_images_backward(grad)])
    .per_image(&[0, 1])
}

fn channels(shape: &[usize]) -> OpCase {
    let c = shape[shape.len() - 1];
    OpCase::new(
        format!("x+s per channel {shape:?}"),
        vec![Tensor::normal(shape, 1), Tensor::normal(&[c], 2)],
        |g, v| add_channels(g, v[0], v[1]),
        |t| t[0].plus(&elementwise::spread_channels(&t[1], &t[0].shape)),
    )
    .gradient(|_, grad| vec![grad.clone(), elementwise::spread_channels_backward(grad)])
    // One size alone is the channels', and no axis counts images.
    .per_image(if shape.len() > 1 { &[0] } else { &[] })
}

fn numbers(shape: &[usize]) -> OpCase {
    let (inner, again) = (shape[1..].to_vec(), shape[1..].to_vec());
    let whole = move |n: usize, inner: &[usize]| [&[n], inner].concat();
    OpCase::new(
        format!("numbers over {shape:?}"),
        vec![Tensor::normal(&shape[..1], 1)],
        move |g, v| {
            let n = g.shape(v[0])[0];
            spread(g, v[0], whole(n, &inner), 0.3f32)
        },
        move |t| elementwise::spread_images(&t[0], &whole(t[0].shape[0], &again)).scaled(0.3f32.into()),
    )
    .gradient(|_, grad| vec![elementwise::spread_images_backward(grad).scaled(0.3f32.into())])
    .per_image(&[0])
}

op_tests! { "broadcast", cases; forward, backward, reference }
