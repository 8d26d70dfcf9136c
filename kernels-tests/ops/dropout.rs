//! Dropout against a mask drawn on the CPU.

use langevin::ops::dropout::dropout;
use langevin::ops::philox::{Purpose, Source};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::philox::philox4x32;
use crate::reference::{Tensor, dropout as reference};

/// One element, sizes that are no multiple of four, off the workgroup, several images.
const SHAPES: &[&[usize]] = &[&[1], &[5], &[2, 3, 5, 3], &[3, 4, 4, 4], &[2, 1031]];

/// The layer whose mask is drawn.
const LAYER: usize = 9;

fn cases() -> Vec<OpCase> {
    let mut cases: Vec<OpCase> =
        SHAPES.iter().flat_map(|&shape| [0.0, 0.1, 0.5].map(|rate| case(shape, rate))).collect();
    cases.push(case(&[65_536 * 256], 0.25).heavy());
    cases
}

/// Ones where elements stay.
fn mask(t: &[Tensor], rate: f64) -> Tensor {
    let size: usize = t[0].shape[1..].iter().product();
    let key = [t[1].data[0] as u32, t[1].data[1] as u32];
    let stays = |at: usize| {
        let (image, e) = (at / size, at % size);
        let purpose = Purpose::DROPOUT.at(LAYER).word();
        let counter = [(e / 4) as u32, t[2].data[image] as u32, t[3].data[0] as u32, purpose];
        f64::from(philox4x32(counter, key)[e % 4]) >= rate * f64::from(u32::MAX)
    };
    Tensor::new(&t[0].shape, (0..t[0].data.len()).map(|at| if stays(at) { 1.0 } else { 0.0 }).collect())
}

fn case(shape: &[usize], rate: f64) -> OpCase {
    let integers = |data: &[u32]| Tensor::new(&[data.len()], data.iter().map(|&v| v.into()).collect());
    let images: Vec<u32> = (0..shape[0] as u32).map(|i| 5 + 2 * i).collect();
    OpCase::new(
        format!("{rate} {shape:?}"),
        vec![Tensor::normal(shape, 1), integers(&[123, 456]), integers(&images), integers(&[77])],
        move |g, v| dropout(g, v[0], rate, Source { seed: v[1], images: v[2], step: v[3] }, LAYER),
        move |t| reference::forward(&t[0], &mask(t, rate), rate),
    )
    .gradient(move |t, grad| vec![reference::backward(&mask(t, rate), rate, grad)])
    .integers(&[1, 2, 3])
    .per_image(&[0, 2])
}

op_tests! { "dropout", cases; forward, backward, reference }
