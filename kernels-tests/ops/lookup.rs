//! Tables, stacks and their counter.

use langevin::ops::lookup::{Table, advance, column, slice};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, lookup as reference};

fn counter(at: usize) -> Tensor {
    Tensor::new(&[1], vec![at as f64])
}

fn cases() -> Vec<OpCase> {
    let mut cases = Vec::new();
    // Rows, columns, counter (7 is behind the end), column, images.
    for (rows, columns, at, which, n) in [(1, 1, 0, 0, 1), (5, 7, 4, 6, 3), (5, 7, 7, 2, 130)] {
        cases.push(
            OpCase::new(
                format!("column {which} of row {at} of {rows}x{columns} for {n}"),
                vec![Tensor::normal(&[rows, columns], 1), counter(at)],
                move |g, v| column(g, Table { rows: v[0], counter: v[1], per_step: 1 }, which, n),
                move |t| reference::column(&t[0], at, which, n),
            )
            .constants(&[0])
            .integers(&[1]),
        );
    }
    // Steps, counter (3 is behind the end), images: a row for each image of a step.
    for (steps, at, n) in [(1, 0, 3), (3, 1, 2), (3, 3, 70)] {
        cases.push(
            OpCase::new(
                format!("column 2 of step {at} of {steps} for each of {n}"),
                vec![Tensor::normal(&[steps * n, 4], 1), counter(at)],
                move |g, v| column(g, Table { rows: v[0], counter: v[1], per_step: n }, 2, n),
                move |t| reference::column_of_images(&t[0], at, 2, n),
            )
            .constants(&[0])
            .integers(&[1]),
        );
    }
    let stacks: [(&'static [usize], usize, usize, usize); 3] =
        [(&[3, 1], 1, 1, 0), (&[7, 2, 3, 5, 1], 2, 2, 1), (&[4, 2, 8, 8, 4], 9, 3, 2)];
    for (shape, at, stride, first) in stacks {
        cases.push(
            OpCase::new(
                format!("slice {at}·{stride}+{first} of {shape:?}"),
                vec![Tensor::normal(shape, 1), counter(at)],
                move |g, v| slice(g, v[0], v[1], stride, first),
                move |t| reference::slice(&t[0], at, stride, first),
            )
            .constants(&[0])
            .integers(&[1]),
        );
    }
    // A table of one row reads the same wherever the counter has got to, so every replay is alike.
    cases.push(
        OpCase::new(
            "advance behind the only row",
            vec![Tensor::normal(&[1, 3], 1), counter(0)],
            |g, v| {
                advance(g, v[1])?;
                column(g, Table { rows: v[0], counter: v[1], per_step: 1 }, 2, 5)
            },
            |t| reference::column(&t[0], 1, 2, 5),
        )
        .constants(&[0])
        .integers(&[1]),
    );
    cases
}

op_tests! { "lookup", cases; forward }

#[test]
fn a_counter_goes_up_by_one_a_replay() -> langevin::Result<()> {
    let Some(gpu) = crate::harness::device() else { return Ok(()) };
    let mut g = langevin::graph::Graph::new();
    let table = Table::new(&mut g, "table", 4, 1);
    let now = column(&mut g, table, 0, 1)?;
    advance(&mut g, table.counter)?;
    let options = langevin::graph::DraftOptions::default();
    let draft = langevin::graph::Draft::new(&g, &[now], gpu.capabilities(), options)?;
    let mut plan = draft.build(gpu, langevin::graph::Resources::new())?;
    plan.write(table.rows, &[10.0, 11.0, 12.0, 13.0])?;
    for step in 0..4 {
        plan.run()?;
        assert_eq!(plan.read(now)?, [10.0 + step as f32]);
        assert_eq!(plan.read_u32(table.counter)?, [step + 1]);
    }
    Ok(())
}
