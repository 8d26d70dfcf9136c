//! Stages, slopes and error ratios of a Runge-Kutta step.

use langevin::graph::Value;
use langevin::ops::lookup::Table;
use langevin::ops::runge_kutta::{accept, ratio, stage, store};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::lookup::Rows;
use crate::reference::{Tensor, runge_kutta as reference};

/// One element, primes, a multiple of four, several images.
const SHAPES: &[&[usize]] = &[&[1], &[2, 3, 5, 1], &[3, 8, 8, 3]];

/// A table of three steps and twelve columns whose step 1 counts; its column 11 is the index of a slope.
fn table_inputs(mut inputs: Vec<Tensor>, per_step: usize, index: f64) -> Vec<Tensor> {
    let mut table = Tensor::uniform(&[3 * per_step, 12], 0.1, 1.0, 7);
    for row in per_step..2 * per_step {
        table.data[12 * row + 11] = index;
        // Of every two images, one is accepted.
        table.data[12 * row] *= (row % 2) as f64;
    }
    inputs.extend([table, Tensor::new(&[1], vec![1.0])]);
    inputs
}

fn table(v: &[Value], per_step: usize) -> Table {
    Table { rows: v[v.len() - 2], counter: v[v.len() - 1], per_step }
}

fn cases() -> Vec<OpCase> {
    let mut cases = Vec::new();
    // One row a step for all images, and one for each.
    let tables = SHAPES.iter().flat_map(|&shape| [(shape, 1), (shape, shape[0])]);
    let tables = tables.filter(|&(shape, n)| n == 1 || shape[0] > 1);
    // RK45 and Bosh3.
    for ((shape, per_step), count) in tables.flat_map(|table| [(table, 7), (table, 4)]) {
        let rows = move |t: &[Tensor]| Rows::new(&t[t.len() - 2], 1, per_step, shape.iter().product());
        let stack: Vec<usize> = [count].iter().chain(shape).copied().collect();
        let y = Tensor::normal(shape, 1);
        let slopes = Tensor::normal(&stack, 2);
        cases.push(
            OpCase::new(
                format!("stage {shape:?}, {count} slopes, {per_step} rows"),
                table_inputs(vec![y.clone(), slopes.clone()], per_step, 0.0),
                move |g, v| stage(g, table(v, per_step), v[0], v[1], 2),
                move |t| reference::stage(&t[0], &t[1], &rows(t), 2),
            )
            .constants(&[0, 1, 2])
            .integers(&[3]),
        );
        cases.push(
            OpCase::new(
                format!("ratio {shape:?}, {count} slopes, {per_step} rows"),
                table_inputs(vec![y.clone(), Tensor::normal(shape, 3), slopes.clone()], per_step, 0.0),
                move |g, v| ratio(g, table(v, per_step), v[0], v[1], v[2], 1),
                move |t| reference::ratio(&t[0], &t[1], &t[2], &rows(t), 1),
            )
            .constants(&[0, 1, 2, 3])
            .integers(&[4]),
        );
        cases.push(
            OpCase::several(
                format!("accept {shape:?}, {count} slopes, {per_step} rows"),
                table_inputs(vec![y.clone(), slopes.clone(), Tensor::normal(shape, 3)], per_step, 0.0),
                move |g, v| {
                    accept(g, table(v, per_step), v[0], v[2], v[1], 0)?;
                    Ok(Vec::new())
                },
                move |t| reference::accept(&t[0], &t[2], &t[1], &rows(t), 0).to_vec(),
            )
            .mutated(&[0, 1])
            .constants(&[2, 3])
            .integers(&[4]),
        );
        for index in [0, count - 1] {
            cases.push(
                OpCase::several(
                    format!("store at {index} {shape:?}, {count} slopes, {per_step} rows"),
                    table_inputs(vec![slopes.clone(), y.clone()], per_step, index as f64),
                    move |g, v| {
                        store(g, table(v, per_step), v[0], v[1], 11)?;
                        Ok(Vec::new())
                    },
                    move |t| {
                        let mut slopes = t[0].clone();
                        let size = t[1].data.len();
                        slopes.data[index * size..(index + 1) * size].copy_from_slice(&t[1].data);
                        vec![slopes]
                    },
                )
                .mutated(&[0])
                .constants(&[1, 2])
                .integers(&[3]),
            );
        }
    }
    cases
}

op_tests! { "runge_kutta", cases; forward }
