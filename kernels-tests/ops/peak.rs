//! Multiply-adds.

use langevin::ops::peak::multiply_adds;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, peak as reference};

/// Shape and turns: one invocation, off the workgroup, no turn, few enough that the result still depends on x.
const TABLE: &[(&[usize], usize)] = &[(&[4], 0), (&[1028], 1), (&[2, 3, 5, 8], 2), (&[70_004], 1)];

fn cases() -> Vec<OpCase> {
    let case = |&(shape, turns): &(&'static [usize], usize)| {
        OpCase::new(
            format!("{shape:?}, {turns} turns"),
            vec![Tensor::normal(shape, 1)],
            move |g, v| multiply_adds(g, v[0], turns),
            move |t| reference::forward(&t[0], turns),
        )
        .constants(&[0])
    };
    TABLE.iter().map(case).collect()
}

op_tests! { "peak", cases; forward }
