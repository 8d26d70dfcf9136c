//! Moving averages, with and without the authors' warm-up.

use langevin::ops::ema::ema;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, ema as reference};

const SIZES: &[usize] = &[1, 7, 256, 1031, 4096];

fn cases() -> Vec<OpCase> {
    let mut cases = vec![case(65_536 * 256 + 1, 0.5, None).heavy()];
    for &size in SIZES {
        for rate in [0.0, 0.9999, 1.0] {
            cases.push(case(size, rate, None));
            for n in [1, 30, 2_000_000] {
                cases.push(case(size, rate, Some(n)));
            }
        }
    }
    cases
}

fn case(size: usize, rate: f64, n: Option<u64>) -> OpCase {
    let decay = n.map_or(rate, |n| reference::decay(rate, n));
    OpCase::several(
        format!("{size} elements, {rate} at {n:?}"),
        vec![
            // Of one sign, so that a single element does not cancel to nothing.
            Tensor::uniform(&[size], 0.5, 2.0, 1),
            Tensor::uniform(&[size], 0.5, 2.0, 2),
            Tensor::new(&[1], vec![n.unwrap_or(0) as f64]),
        ],
        move |g, v| {
            ema(g, v[0], v[1], rate, n.map(|_| v[2]))?;
            Ok(vec![])
        },
        move |t| vec![reference::update(&t[0], &t[1], decay)],
    )
    .mutated(&[0])
    .integers(&[2])
}

op_tests! { "ema", cases; forward }
