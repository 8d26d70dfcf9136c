//! Random numbers against the cipher on the CPU, word by word.

use langevin::ops::philox::{Purpose, Source, normal, rademacher, uniform};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::Tensor;
use crate::reference::philox::{box_muller, philox4x32, uniform as to_uniform};

/// One element, sizes that are no multiple of four, off the workgroup, several images.
const SHAPES: &[&[usize]] = &[&[1], &[5], &[3, 7], &[2, 3, 5, 3], &[3, 8, 8, 4], &[2, 1031]];

/// How one block's four words become numbers.
type Make = fn([u32; 4]) -> [f64; 4];
type Draw =
    fn(&mut langevin::graph::Graph, Source, Purpose, Vec<usize>) -> langevin::Result<langevin::graph::Value>;

const KINDS: [(&str, Draw, Make); 3] = [
    ("uniform", |g, s, p, shape| uniform(g, s, p, shape), |w| w.map(to_uniform)),
    (
        "normal",
        |g, s, p, shape| normal(g, s, p, shape),
        |[a, b, c, d]| {
            let ([first, second], [third, fourth]) = (box_muller(a, b), box_muller(c, d));
            [first, second, third, fourth]
        },
    ),
    (
        "signs",
        |g, s, p, shape| rademacher(g, s, p, shape),
        |w| w.map(|w| if w >> 31 == 1 { 1.0 } else { -1.0 }),
    ),
];

fn cases() -> Vec<OpCase> {
    let mut cases = vec![];
    for kind in KINDS {
        for &shape in SHAPES {
            cases.push(case(kind, shape, false));
        }
        cases.push(case(kind, &[3, 4, 4, 4], true));
    }
    // More than 65,535 workgroups of 1,024 numbers would exceed a binding; rows of one number come to 256.
    cases.push(case(KINDS[0], &[65_536 * 256], false).heavy());
    cases
}

fn case((name, draw, make): (&str, Draw, Make), shape: &[usize], own_seeds: bool) -> OpCase {
    let (n, purpose) = (shape[0], Purpose::CORRECTOR.at(3));
    let words = if own_seeds { 2 * n } else { 2 };
    let seeds: Vec<f64> = (0..words).map(|i| 4e9 + i as f64).collect();
    let seeds = if own_seeds { Tensor::new(&[n, 2], seeds) } else { Tensor::new(&[2], seeds) };
    let images = Tensor::new(&[n], (0..n).map(|i| (3 * i + 1) as f64).collect());
    let step = Tensor::new(&[1], vec![70_000.0]);
    let shape = shape.to_vec();
    let again = shape.clone();
    let case = OpCase::new(
        format!("{name} {shape:?}{}", if own_seeds { ", a seed each" } else { "" }),
        vec![seeds, images, step],
        move |g, v| {
            let mut shape = shape.clone();
            shape[0] = g.shape(v[1])[0];
            draw(g, Source { seed: v[0], images: v[1], step: v[2] }, purpose, shape)
        },
        move |t| {
            let mut shape = again.clone();
            shape[0] = t[1].shape[0];
            let size: usize = shape[1..].iter().product();
            let element = |at: usize| {
                let (image, e) = (at / size, at % size);
                let of = if own_seeds { 2 * image } else { 0 };
                let key = [t[0].data[of] as u32, t[0].data[of + 1] as u32];
                let counter = [(e / 4) as u32, t[1].data[image] as u32, t[2].data[0] as u32, purpose.word()];
                make(philox4x32(counter, key))[e % 4]
            };
            Tensor::new(&shape, (0..shape.iter().product()).map(element).collect())
        },
    )
    .integers(&[0, 1, 2]);
    // A few ulp of numbers up to 6: far below what a sampler's tolerances see.
    let case = case.tolerance(5e-7);
    if own_seeds { case.per_image(&[0, 1]) } else { case.per_image(&[1]) }
}

op_tests! { "philox", cases; forward }
