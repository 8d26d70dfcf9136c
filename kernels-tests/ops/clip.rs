//! The global norm of segments, and the count of what is not finite.

use langevin::ops::clip::global_norm;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, clip};

/// Sizes of segments: one element, primes, more than one part, several segments.
const SIZES: &[&[usize]] = &[&[1], &[7], &[64, 1], &[1031, 256, 3], &[300_000, 70_000]];

/// NaN and infinities of both signs, and the largest finite number's neighbours.
const LOST: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

fn cases() -> Vec<OpCase> {
    let mut cases = vec![case("many", segments(&[65_536 * 256 + 3])).heavy()];
    for sizes in SIZES {
        cases.push(case(&format!("{sizes:?}"), segments(sizes)));
        cases.push(case(
            &format!("{sizes:?}, zeros"),
            segments(sizes).iter().map(|t| t.scaled(0.0)).collect(),
        ));
        for (i, lost) in LOST.into_iter().enumerate() {
            let mut spoilt = segments(sizes);
            for segment in &mut spoilt {
                let at = (i * 7919 + 5) % segment.data.len();
                segment.data[at] = lost;
                *segment.data.last_mut().unwrap() = lost;
            }
            cases.push(case(&format!("{sizes:?}, {lost}"), spoilt));
        }
    }
    cases.push(case("subnormal", vec![Tensor::new(&[3], vec![1e-40, -1e-42, 1.0])]));
    cases.push(overflow());
    cases
}

fn segments(sizes: &[usize]) -> Vec<Tensor> {
    sizes.iter().enumerate().map(|(i, &size)| Tensor::normal(&[size], i as u64)).collect()
}

fn case(name: &str, segments: Vec<Tensor>) -> OpCase {
    OpCase::several(
        name,
        segments,
        |g, v| {
            let norm = global_norm(g, v)?;
            Ok(vec![norm.norm, norm.nonfinite])
        },
        |t| {
            let finite: Vec<Tensor> =
                t.iter().map(|t| t.map(|v| if v.is_finite() { v } else { 0.0 })).collect();
            let lost = t.iter().flat_map(|t| &t.data).filter(|v| !v.is_finite()).count();
            vec![Tensor::new(&[1], vec![clip::global_norm(&finite)]), Tensor::new(&[1], vec![lost as f64])]
        },
    )
}

/// Finite gradients whose squares are not: counted, so that the step is skipped.
fn overflow() -> OpCase {
    OpCase::new(
        "overflow",
        vec![Tensor::full(&[5], 1e25)],
        |g, v| Ok(global_norm(g, v)?.nonfinite),
        |_| Tensor::full(&[1], 1.0),
    )
}

op_tests! { "clip", cases; forward }
