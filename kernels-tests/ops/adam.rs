//! One optimizer step on several segments: warm-up, clipping, decay, averages, counters, steps that are skipped.

use langevin::graph::Value;
use langevin::ops::adam::{Adam, Segment, adam};
use langevin::ops::clip::global_norm;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::adam::{Adam as Reference, State, warmed_up};
use crate::reference::{Tensor, clip, ema};

/// Sizes of the segments: one element, primes, off and on the workgroup.
const SIZES: &[&[usize]] = &[&[1], &[7, 64], &[1031], &[4096, 3]];

/// Steps so far, updates so far.
const COUNTS: &[[u32; 2]] = &[[0, 0], [1, 1], [100, 60], [1_000_000, 999_990]];

/// As the authors train, without and with clipping, decay and warm-up.
const SETTINGS: &[Adam] = &[
    Adam {
        lr: 2e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        warmup: 5000,
        grad_clip: 1.0,
        ema_rate: 0.9999,
    },
    Adam {
        lr: 0.1,
        beta1: 0.5,
        beta2: 0.99,
        eps: 1e-3,
        weight_decay: 0.3,
        warmup: 0,
        grad_clip: -1.0,
        ema_rate: 0.5,
    },
    Adam {
        lr: 0.1,
        beta1: 0.0,
        beta2: 0.0,
        eps: 1e-6,
        weight_decay: 0.0,
        warmup: 3,
        grad_clip: 1e6,
        ema_rate: 0.0,
    },
];

fn cases() -> Vec<OpCase> {
    let mut cases = vec![case(&[65_536 * 256 + 1], SETTINGS[1], [5, 5], true, None).heavy()];
    for &sizes in SIZES {
        for &settings in SETTINGS {
            for &counts in COUNTS {
                cases.push(case(sizes, settings, counts, true, None));
            }
            cases.push(case(sizes, settings, [3, 3], false, None));
            // A first moment that forgets at once must not keep the rounding of the large one before.
            cases.push(scaled(sizes, settings, [9, 9], true, None, 1e-4));
            cases.push(case(sizes, settings, [7, 5], true, Some(f64::NAN)));
            cases.push(case(sizes, settings, [7, 5], true, Some(f64::NEG_INFINITY)));
        }
    }
    cases
}

/// Inputs: counters, then for each segment gradient, parameter, m, v, average; `lost` spoils the last gradient.
fn case(sizes: &[usize], settings: Adam, counts: [u32; 2], average: bool, lost: Option<f64>) -> OpCase {
    scaled(sizes, settings, counts, average, lost, 1.0)
}

/// As `case`, with gradients `grad` times as large.
fn scaled(
    sizes: &[usize],
    settings: Adam,
    counts: [u32; 2],
    average: bool,
    lost: Option<f64>,
    grad: f64,
) -> OpCase {
    let mut inputs = vec![Tensor::new(&[3], vec![counts[0].into(), counts[1].into(), 2.0])];
    for (i, &size) in sizes.iter().enumerate() {
        let normal = |k: u64| Tensor::normal(&[size], 10 * i as u64 + k);
        // Moments of a run that is under way; zeros at its beginning.
        let begun = if counts[1] == 0 { 0.0 } else { 1.0 };
        inputs.extend([
            normal(1).scaled(grad).map(|v| f64::from(v as f32)),
            normal(2),
            normal(3).scaled(begun),
            normal(4).map(|v| f64::from((begun * v * v) as f32)),
            normal(5),
        ]);
    }
    if let Some(lost) = lost {
        *inputs[5 * sizes.len() - 4].data.last_mut().unwrap() = lost;
    }
    let segments = sizes.len();
    let mutated: Vec<usize> = (0..segments).flat_map(|s| (2..6).map(move |k| 5 * s + k)).collect();
    let gradients: Vec<usize> = (0..segments).map(|s| 5 * s + 1).collect();
    OpCase::several(
        format!("{sizes:?} {settings:?} at {counts:?}, average {average}, {lost:?}, gradients times {grad}"),
        inputs,
        move |g, v| {
            let grads: Vec<Value> = (0..segments).map(|s| v[5 * s + 1]).collect();
            let norm = global_norm(g, &grads)?;
            let segment = |s: usize| Segment {
                grad: v[5 * s + 1],
                param: v[5 * s + 2],
                m: v[5 * s + 3],
                v: v[5 * s + 4],
                shadow: average.then_some(v[5 * s + 5]),
            };
            adam(g, &settings, &(0..segments).map(segment).collect::<Vec<_>>(), norm, v[0])?;
            Ok(vec![])
        },
        move |t| expected(t, settings, counts, average, lost.is_some()),
    )
    .counters(&[0])
    .mutated(&mutated)
    .constants(&gradients)
}

fn expected(t: &[Tensor], settings: Adam, counts: [u32; 2], average: bool, skip: bool) -> Vec<Tensor> {
    let [steps, updates] = counts.map(u64::from);
    if skip {
        let counters = Tensor::new(&[3], vec![(steps + 1) as f64, updates as f64, 3.0]);
        let kept = t[1..].chunks(5).flat_map(|s| s[1..].to_vec());
        return [counters].into_iter().chain(kept).collect();
    }
    let grads: Vec<Tensor> = t[1..].chunks(5).map(|s| s[0].clone()).collect();
    let coefficient = clip::coefficient(clip::global_norm(&grads), settings.grad_clip);
    let step = Reference {
        lr: warmed_up(settings.lr, steps, settings.warmup),
        beta1: settings.beta1,
        beta2: settings.beta2,
        eps: settings.eps,
        weight_decay: settings.weight_decay,
    };
    let n = updates + 1;
    let mut results = vec![Tensor::new(&[3], vec![(steps + 1) as f64, n as f64, 2.0])];
    for s in t[1..].chunks(5) {
        let state = State { param: s[1].clone(), m: s[2].clone(), v: s[3].clone() };
        let after = step.update(&state, &s[0], coefficient, n as i32);
        let shadow = match average {
            true => ema::update(&s[4], &after.param, ema::decay(settings.ema_rate, n)),
            false => s[4].clone(),
        };
        results.extend([after.param, after.m, after.v, shadow]);
    }
    results
}

op_tests! { "adam", cases; forward }
