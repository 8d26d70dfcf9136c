//! Self-attention: both ways to compute it, on widths and numbers of positions that fit no tile.

use langevin::ops::attention::attention;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, attention as reference};

/// Images, positions, channels: one of each, primes, on and off the tiles, several tiles each way.
const SHAPES: &[[usize; 3]] = &[
    [1, 1, 1],
    [2, 5, 3],
    [1, 7, 8],
    [3, 16, 4],
    [2, 36, 32],
    [2, 64, 16],
    [1, 67, 66],
    [1, 100, 260],
    [2, 132, 5],
];

fn cases() -> Vec<OpCase> {
    let mut cases: Vec<OpCase> = SHAPES.iter().map(|shape| case(shape, 1.0)).collect();
    // An image of rows and columns.
    cases.push(case(&[2, 4, 6, 8], 1.0));
    // Logits up to some hundreds: exponentials must not overflow.
    cases.push(case(&[1, 20, 12], 12.0));
    cases.push(case(&[2, 1024, 8], 1.0).heavy());
    // More images than one group of scores holds.
    cases.push(case(&[3, 2500, 4], 1.0).heavy());
    // The most positions whose scores are kept, those of 64², and more than that.
    cases.push(case(&[1, 4096, 4], 1.0).heavy());
    cases.push(case(&[1, 4225, 4], 1.0).heavy());
    cases
}

fn case(shape: &[usize], spread: f64) -> OpCase {
    let c = shape[shape.len() - 1];
    let flat = [shape[0], shape[1..shape.len() - 1].iter().product(), c];
    let scale = 1.0 / (c as f64).sqrt();
    let own = shape.to_vec();
    let whole = move |t: &Tensor, inner: &[usize]| t.reshape(&[&[t.shape[0]], inner].concat());
    let (rows, again) = ([flat[1], flat[2]], own.clone());
    let inputs = [1, 2, 3].map(|seed| Tensor::normal(shape, seed).map(|v| f64::from((v * spread) as f32)));
    OpCase::new(
        format!("{shape:?} times {spread}"),
        inputs.to_vec(),
        |g, v| attention(g, v[0], v[1], v[2]),
        move |t| {
            let [q, k, v] = [0, 1, 2].map(|i| whole(&t[i], &rows));
            whole(&reference::forward(&q, &k, &v, scale), &own[1..])
        },
    )
    .gradient(move |t, grad| {
        let [q, k, v] = [0, 1, 2].map(|i| whole(&t[i], &rows));
        reference::backward(&q, &k, &v, scale, &whole(grad, &rows)).map(|g| whole(&g, &again[1..])).to_vec()
    })
    .per_image(&[0, 1, 2])
}

op_tests! { "attention", cases; forward, backward, sliced, images, reference }
