//! The updates of samplers, with coefficients from a table.

use langevin::ops::lookup::Table;
use langevin::ops::reduce;
use langevin::ops::sampler_step::{Norm, SolverColumns, langevin, linear, solver};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, sampler_step as reference};

/// One element, primes, a multiple of four, several images.
const SHAPES: &[&[usize]] = &[&[1, 1, 1, 1], &[2, 3, 5, 1], &[3, 8, 8, 3], &[2, 7, 5, 4]];

/// The row in use of the three, and the number of columns.
const AT: usize = 1;
const COLUMNS: usize = 8;

fn inputs(shape: &[usize], tensors: u64) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = (0..tensors).map(|seed| Tensor::normal(shape, seed)).collect();
    all.push(Tensor::uniform(&[3, COLUMNS], 0.1, 1.5, 9));
    all.push(Tensor::new(&[1], vec![AT as f64]));
    all
}

fn coefficient(t: &[Tensor], column: usize) -> f64 {
    t[t.len() - 2].data[AT * COLUMNS + column]
}

fn table(v: &[langevin::graph::Value]) -> Table {
    Table { rows: v[v.len() - 2], counter: v[v.len() - 1] }
}

fn cases() -> Vec<OpCase> {
    let mut cases = Vec::new();
    for &shape in SHAPES {
        for noise in [false, true] {
            let constants: &[usize] = if noise { &[0, 1, 2, 3] } else { &[0, 1, 2] };
            let z = move |t: &[Tensor]| noise.then(|| t[2].clone());
            cases.push(
                OpCase::several(
                    format!("linear {shape:?} noise {noise}"),
                    inputs(shape, 2 + u64::from(noise)),
                    move |g, v| {
                        let (y, mean) = linear(g, table(v), v[0], v[1], noise.then(|| v[2]), [3, 0, 5])?;
                        Ok(vec![y, mean])
                    },
                    move |t| {
                        let c = [3, 0, 5].map(|i| coefficient(t, i));
                        reference::linear(c, &t[0], &t[1], z(t).as_ref()).to_vec()
                    },
                )
                .constants(constants)
                .integers(&[constants.len()]),
            );
            let constants: &[usize] = if noise { &[0, 1, 2, 3, 4] } else { &[0, 1, 2, 3] };
            for clip in [None, Some(0.5_f32)] {
                cases.push(
                    OpCase::several(
                        format!("solver {shape:?} noise {noise} clip {clip:?}"),
                        inputs(shape, 3 + u64::from(noise)),
                        move |g, v| {
                            let columns = SolverColumns { first: 1, noise: 0 };
                            let z = noise.then(|| v[3]);
                            let (y, k) = solver(g, table(v), [v[0], v[1], v[2]], z, columns, clip)?;
                            Ok(vec![y, k])
                        },
                        move |t| {
                            let c = [1, 2, 3, 4, 5, 6, 0].map(|i| coefficient(t, i));
                            let z = noise.then(|| t[3].clone());
                            let clip = clip.map(f64::from);
                            reference::solver(c, clip, [&t[0], &t[1], &t[2]], z.as_ref()).to_vec()
                        },
                    )
                    .constants(constants)
                    .integers(&[constants.len()]),
                );
            }
        }
        for norm in [Norm::Image, Norm::Batch] {
            let case = OpCase::several(
                format!("langevin {shape:?} {norm:?}"),
                inputs(shape, 3),
                move |g, v| {
                    let squares =
                        [reduce::sum_squares_images(g, v[1])?, reduce::sum_squares_images(g, v[2])?];
                    let (y, mean) = langevin(g, table(v), [v[0], v[1], v[2]], squares, 4, norm)?;
                    Ok(vec![y, mean])
                },
                move |t| {
                    let batch = norm == Norm::Batch;
                    reference::langevin(coefficient(t, 4), batch, [&t[0], &t[1], &t[2]]).to_vec()
                },
            )
            .constants(&[0, 1, 2, 3])
            .integers(&[4]);
            cases.push(if norm == Norm::Image { case.per_image(&[0, 1, 2]) } else { case });
        }
    }
    cases
}

op_tests! { "sampler_step", cases; forward, sliced, images }
