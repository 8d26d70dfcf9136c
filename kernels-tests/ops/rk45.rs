//! Stages, slopes and error ratios of a Runge-Kutta step.

use langevin::graph::Value;
use langevin::ops::lookup::Table;
use langevin::ops::rk45::{ratio, stage, store};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, rk45 as reference};

/// One element, primes, a multiple of four, several images.
const SHAPES: &[&[usize]] = &[&[1], &[2, 3, 5, 1], &[3, 8, 8, 3]];

/// A table of three rows and twelve columns whose row 1 counts; its column 11 is the index of a slope.
fn table_inputs(mut inputs: Vec<Tensor>, index: f64) -> Vec<Tensor> {
    let mut table = Tensor::uniform(&[3, 12], 0.1, 1.0, 7);
    table.data[12 + 11] = index;
    inputs.extend([table, Tensor::new(&[1], vec![1.0])]);
    inputs
}

fn table(v: &[Value]) -> Table {
    Table { rows: v[v.len() - 2], counter: v[v.len() - 1] }
}

fn cases() -> Vec<OpCase> {
    let mut cases = Vec::new();
    for &shape in SHAPES {
        let stack: Vec<usize> = [7].iter().chain(shape).copied().collect();
        let y = Tensor::normal(shape, 1);
        let slopes = Tensor::normal(&stack, 2);
        cases.push(
            OpCase::new(
                format!("stage {shape:?}"),
                table_inputs(vec![y.clone(), slopes.clone()], 0.0),
                |g, v| stage(g, table(v), v[0], v[1], 2),
                |t| reference::stage(&t[0], &t[1], &t[2].data[14..]),
            )
            .constants(&[0, 1, 2])
            .integers(&[3]),
        );
        cases.push(
            OpCase::new(
                format!("ratio {shape:?}"),
                table_inputs(vec![y.clone(), Tensor::normal(shape, 3), slopes.clone()], 0.0),
                |g, v| ratio(g, table(v), v[0], v[1], v[2], 1),
                |t| reference::ratio(&t[0], &t[1], &t[2], &t[3].data[13..]),
            )
            .constants(&[0, 1, 2, 3])
            .integers(&[4]),
        );
        for index in [0usize, 6] {
            cases.push(
                OpCase::several(
                    format!("store at {index} {shape:?}"),
                    table_inputs(vec![slopes.clone(), y.clone()], index as f64),
                    |g, v| {
                        store(g, table(v), v[0], v[1], 11)?;
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

op_tests! { "rk45", cases; forward, sliced }
