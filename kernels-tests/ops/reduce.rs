//! Sums over images and over everything.

use langevin::Result;
use langevin::graph::{Graph, Value};
use langevin::ops::reduce;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, reduce as reference};

/// One element, primes, both vector widths, more than one part, more than one part of parts, several images.
const SHAPES: &[&[usize]] =
    &[&[1, 1], &[5], &[3, 7], &[2, 3, 5, 3], &[3, 4, 4, 8], &[2, 1031], &[2, 33, 31, 17], &[1, 40_000]];

type Trace = fn(&mut Graph, Value) -> Result<Value>;
type Forward = fn(&Tensor) -> Tensor;
type Backward = fn(&Tensor, &Tensor) -> Tensor;

fn size(t: &Tensor) -> f64 {
    (t.data.len() / t.shape[0]) as f64
}

/// What each image becomes, and the gradient.
const PER_IMAGE: &[(&str, Trace, Forward, Backward)] = &[
    ("sum", reduce::sum_images, reference::sum_per_image, |x, g| reference::sum_backward(&x.shape, g)),
    (
        "mean",
        reduce::mean_images,
        |x| reference::sum_per_image(x).scaled(1.0 / size(x)),
        |x, g| reference::sum_backward(&x.shape, g).scaled(1.0 / size(x)),
    ),
    (
        "squares",
        reduce::sum_squares_images,
        reference::sum_squares_per_image,
        reference::sum_squares_backward,
    ),
    (
        "mean of squares",
        reduce::mean_squares_images,
        |x| reference::sum_squares_per_image(x).scaled(1.0 / size(x)),
        |x, g| reference::sum_squares_backward(x, g).scaled(1.0 / size(x)),
    ),
    (
        "norm",
        reduce::norm_images,
        |x| reference::sum_squares_per_image(x).map(f64::sqrt),
        |x, g| {
            let norm = reference::sum_squares_per_image(x).map(f64::sqrt);
            reference::sum_backward(&x.shape, &g.zip(&norm, |g, n| g / n)).times(x)
        },
    ),
];

fn cases() -> Vec<OpCase> {
    let mut cases = vec![many()];
    for &shape in SHAPES {
        for &(name, trace, forward, backward) in PER_IMAGE {
            let case = OpCase::new(
                format!("{name} {shape:?}"),
                vec![Tensor::normal(shape, 1)],
                move |g, v| trace(g, v[0]),
                move |t| forward(&t[0]),
            );
            cases.push(case.gradient(move |t, grad| vec![backward(&t[0], grad)]).per_image(&[0]));
        }
        cases.push(dot(shape));
        cases.push(total(shape));
    }
    cases
}

/// More than 65,535 workgroups: one for each image.
fn many() -> OpCase {
    OpCase::new(
        "many images",
        vec![Tensor::normal(&[65_537, 3], 1)],
        |g, v| reduce::sum_images(g, v[0]),
        |t| reference::sum_per_image(&t[0]),
    )
    .heavy()
}

fn dot(shape: &[usize]) -> OpCase {
    OpCase::new(
        format!("dot {shape:?}"),
        vec![Tensor::normal(shape, 1), Tensor::normal(shape, 2)],
        |g, v| reduce::dot_images(g, v[0], v[1], 0.5),
        |t| reference::sum_per_image(&t[0].times(&t[1])).scaled(0.5),
    )
    .gradient(|t, grad| {
        let spread = reference::sum_backward(&t[0].shape, grad).scaled(0.5);
        vec![spread.times(&t[1]), spread.times(&t[0])]
    })
    .per_image(&[0, 1])
}

fn total(shape: &[usize]) -> OpCase {
    let mean = |g: &mut Graph, v: &[Value]| {
        let sum = reduce::sum_all(g, v[0])?;
        let mean = reduce::mean_all(g, v[0])?;
        Ok(vec![sum, mean])
    };
    OpCase::several(format!("total {shape:?}"), vec![Tensor::normal(shape, 1)], mean, |t| {
        let sum = reference::sum_all(&t[0]);
        vec![sum.clone(), sum.scaled(1.0 / t[0].data.len() as f64)]
    })
    .gradients(|t, grads| {
        let factor = grads[0].data[0] + grads[1].data[0] / t[0].data.len() as f64;
        vec![Tensor::full(&t[0].shape, factor)]
    })
}

op_tests! { "reduce", cases; forward, backward, reference }
