//! The updates of samplers, with coefficients from a table.

use langevin::ops::lookup::Table;
use langevin::ops::reduce;
use langevin::ops::sampler_step::{Norm, SolverColumns, langevin, linear, solver};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::lookup::Rows;
use crate::reference::{Tensor, sampler_step as reference};

/// One element, primes, a multiple of four, several images.
const SHAPES: &[&[usize]] = &[&[1, 1, 1, 1], &[2, 3, 5, 1], &[3, 8, 8, 3], &[2, 7, 5, 4]];

/// The step in use of the three, and the number of columns.
const AT: usize = 1;
const COLUMNS: usize = 8;
/// Columns of a solver with up to three slots.
const WIDE: usize = 11;

fn inputs(shape: &[usize], per_step: usize, tensors: u64) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = (0..tensors).map(|seed| Tensor::normal(shape, seed)).collect();
    all.push(Tensor::uniform(&[3 * per_step, COLUMNS], 0.1, 1.5, 9));
    all.push(Tensor::new(&[1], vec![AT as f64]));
    all
}

fn rows(t: &[Tensor], per_step: usize) -> Rows {
    Rows::new(&t[t.len() - 2], AT, per_step, t[0].data.len())
}

fn table(v: &[langevin::graph::Value], per_step: usize) -> Table {
    Table { rows: v[v.len() - 2], counter: v[v.len() - 1], per_step }
}

fn cases() -> Vec<OpCase> {
    let mut cases = Vec::new();
    // One row a step for all images, and one for each.
    let tables = SHAPES.iter().flat_map(|&shape| [(shape, 1), (shape, shape[0])]);
    for (shape, per_step) in tables.filter(|&(shape, n)| n == 1 || shape[0] > 1) {
        for noise in [false, true] {
            let constants: &[usize] = if noise { &[0, 1, 2, 3] } else { &[0, 1, 2] };
            let z = move |t: &[Tensor]| noise.then(|| t[2].clone());
            cases.push(
                OpCase::several(
                    format!("linear {shape:?} noise {noise}, {per_step} rows"),
                    inputs(shape, per_step, 2 + u64::from(noise)),
                    move |g, v| {
                        let (y, mean) =
                            linear(g, table(v, per_step), v[0], v[1], noise.then(|| v[2]), [3, 0, 5])?;
                        Ok(vec![y, mean])
                    },
                    move |t| {
                        let rows = rows(t, per_step);
                        reference::linear(&rows, [3, 0, 5], &t[0], &t[1], z(t).as_ref()).to_vec()
                    },
                )
                .constants(constants)
                .integers(&[constants.len()]),
            );
            let constants: &[usize] = if noise { &[1, 2, 3, 4] } else { &[1, 2, 3] };
            // One slot; several, of which two are written; several, of which none is.
            let slots = [(1, [0.0, 9.0]), (3, [2.0, 0.0]), (3, [9.0, 9.0])];
            let clips = [None, Some(0.5_f32)];
            for ((count, takes), clip) in slots.into_iter().flat_map(|slots| clips.map(|clip| (slots, clip)))
            {
                let stack: Vec<usize> = [count].iter().chain(shape).copied().collect();
                let mut all = vec![Tensor::normal(&stack, 20)];
                all.extend(inputs(shape, per_step, 2 + u64::from(noise)));
                let table_at = all.len() - 2;
                let wide = Tensor::uniform(&[3 * per_step, WIDE], 0.1, 1.5, 9);
                all[table_at] = wide;
                for row in 0..3 * per_step {
                    all[table_at].data[WIDE * row + 6..WIDE * row + 8].copy_from_slice(&takes);
                }
                cases.push(
                    OpCase::several(
                        format!("solver {shape:?} noise {noise} clip {clip:?}, {count} slots {takes:?}, {per_step} rows"),
                        all,
                        move |g, v| {
                            let columns = SolverColumns { first: 1, noise: 0, slots: 6 };
                            let z = noise.then(|| v[3]);
                            Ok(vec![solver(g, table(v, per_step), [v[1], v[2]], v[0], z, columns, clip)?])
                        },
                        move |t| {
                            let rows = Rows::new(&t[t.len() - 2], AT, per_step, t[1].data.len());
                            let z = noise.then(|| t[3].clone());
                            let clip = clip.map(f64::from);
                            reference::solver(&rows, [1, 0, 6], clip, &t[0], [&t[1], &t[2]], z.as_ref()).to_vec()
                        },
                    )
                    .mutated(&[0])
                    .constants(constants)
                    .integers(&[constants.len() + 1]),
                );
            }
        }
        for norm in [Norm::Image, Norm::Batch] {
            let case = OpCase::several(
                format!("langevin {shape:?} {norm:?}, {per_step} rows"),
                inputs(shape, per_step, 3),
                move |g, v| {
                    let squares =
                        [reduce::sum_squares_images(g, v[1])?, reduce::sum_squares_images(g, v[2])?];
                    let (y, mean) = langevin(g, table(v, per_step), [v[0], v[1], v[2]], squares, 4, norm)?;
                    Ok(vec![y, mean])
                },
                move |t| {
                    let batch = norm == Norm::Batch;
                    reference::langevin(&rows(t, per_step), 4, batch, [&t[0], &t[1], &t[2]]).to_vec()
                },
            )
            .constants(&[0, 1, 2, 3])
            .integers(&[4]);
            // Rows of images that change their places are those of other images.
            cases.push(if norm == Norm::Image && per_step == 1 { case.per_image(&[0, 1, 2]) } else { case });
        }
    }
    cases
}

op_tests! { "sampler_step", cases; forward }
