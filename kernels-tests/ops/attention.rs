//! Self-attention: all ways to compute it, on widths and numbers of positions that fit no tile.

use langevin::gpu::{Capabilities, DeviceKind};
use langevin::graph::{Choice, Chosen, Class, Draft, DraftOptions, Graph};
use langevin::ops::attention::attention;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, attention as reference};

/// Images, positions, channels: one of each, primes, on and off the tiles, several tiles each way.
const SHAPES: &[[usize; 3]] = &[
    [1, 1, 1],
    [2, 5, 3],
    [1, 7, 8],
    [3, 16, 4],
    [2, 36, 32],
    [2, 64, 16],
    [1, 67, 66],
    [1, 100, 260],
    [2, 132, 5],
    // Off every edge of the largest tiles, and off the steps of channels and positions.
    [2, 148, 44],
];

fn cases() -> Vec<OpCase> {
    let mut cases: Vec<OpCase> = SHAPES.iter().map(|shape| case(shape, normal)).collect();
    // An image of rows and columns.
    cases.push(case(&[2, 4, 6, 8], normal));
    cases.push(case(&[1, 20, 12], large));
    cases.push(case(&[2, 1024, 8], normal).heavy());
    // More images than one group of scores holds.
    cases.push(case(&[3, 2500, 4], normal).heavy());
    // The most positions whose scores are kept, those of 64², and more than that: what takes over then is the last candidate, whose
    // gradient the small shapes have too.
    cases.push(case(&[1, 4096, 4], normal).heavy());
    cases.push(case(&[1, 4225, 4], normal).heavy().forward_only());
    cases
}

/// Scores of order 1. Rounding q and k to f16 moves them by some 2⁻¹¹ at random and their exponentials by as much, which rounding those and v
/// does once more: within the 4 · 2⁻¹¹ that the harness allows for f16.
fn normal(v: f64) -> f64 {
    f64::from(v as f32)
}

/// Scores of a hundred and more: exponentials must not overflow. The numbers are such as f16 holds, so that rounding leaves the scores as
/// they are: 2⁻¹¹ of such a score moves a probability by percents, and a bound as wide would not tell whether scores themselves are kept
/// in f16, which they must not be.
fn large(v: f64) -> f64 {
    // f16 keeps 11 bits of a number.
    let unit = v.abs().log2().floor().exp2() / 1024.0;
    8.0 * (v / unit).round() * unit
}

fn case(shape: &[usize], number: fn(f64) -> f64) -> OpCase {
    let c = shape[shape.len() - 1];
    let flat = [shape[0], shape[1..shape.len() - 1].iter().product(), c];
    let scale = 1.0 / (c as f64).sqrt();
    let own = shape.to_vec();
    let whole = move |t: &Tensor, inner: &[usize]| t.reshape(&[&[t.shape[0]], inner].concat());
    let (rows, again) = ([flat[1], flat[2]], own.clone());
    let inputs = [1, 2, 3].map(|seed| Tensor::normal(shape, seed).map(number));
    let largest = inputs[0].data.iter().fold(0.0, |most: f64, v| v.abs().max(most));
    OpCase::new(
        format!("{shape:?} of numbers up to {largest:.1}"),
        inputs.to_vec(),
        |g, v| attention(g, v[0], v[1], v[2]),
        move |t| {
            let [q, k, v] = [0, 1, 2].map(|i| whole(&t[i], &rows));
            whole(&reference::forward(&q, &k, &v, scale), &own[1..])
        },
    )
    .gradient(move |t, grad| {
        let [q, k, v] = [0, 1, 2].map(|i| whole(&t[i], &rows));
        reference::backward(&q, &k, &v, scale, &whole(grad, &rows)).map(|g| whole(&g, &again[1..])).to_vec()
    })
    .per_image(&[0, 1, 2])
}

op_tests! { "attention", cases; forward, backward, orders, reference }

/// A discrete GPU with or without f16.
fn device(f16: bool) -> Capabilities {
    Capabilities {
        kind: DeviceKind::Discrete,
        max_binding: 128 << 20,
        max_buffer: 256 << 20,
        workgroup_memory: 16 << 10,
        max_invocations: 256,
        f16,
        subgroups: Some((32, 32)),
        cooperative: None,
        timestamps: false,
        uniform_alignment: 256,
    }
}

/// What the written order, or `choice`, takes on that device.
fn chosen(f16: bool, [positions, c]: [usize; 2], choice: Choice) -> Chosen {
    let mut g = Graph::new();
    let [q, k, v] = ["q", "k", "v"].map(|name| g.input(name, [2, positions, c]));
    let y = attention(&mut g, q, k, v).unwrap();
    let options = DraftOptions { choice, ..DraftOptions::default() };
    Draft::new(&g, &[y], &device(f16), options).unwrap().chosen()[0].clone()
}

/// Why each rival of a class was not taken.
fn reasons<'a>(chosen: &'a Chosen, class: &str) -> Vec<&'a str> {
    let own = chosen.rivals.iter().filter(|rival| rival.name.starts_with(class));
    own.map(|rival| rival.why.as_str()).collect()
}

#[test]
fn f16_is_taken_by_name_only() {
    let by_order = chosen(true, [256, 64], Choice::Written);
    assert_eq!((by_order.class, by_order.variant.as_str()), (Class::Scores, "tile64"));
    let half = reasons(&by_order, "half scores");
    assert!(half.len() == 2 && half.iter().all(|why| why.contains("rounds to f16")), "{half:?}");
    let cooperative = reasons(&by_order, "cooperative scores");
    assert!(cooperative.len() == 1 && cooperative[0].contains("no cooperative matrices"), "{cooperative:?}");
    let named = |f16, sizes| chosen(f16, sizes, Choice::Classes(vec![Class::Half]));
    assert_eq!(named(true, [256, 64]).class, Class::Half);
    // Neither a device without f16 nor sizes that do not come in fours have it.
    let without = named(false, [256, 64]);
    assert_eq!(without.class, Class::Scores);
    assert!(reasons(&without, "half").iter().all(|why| why.contains("no f16")), "{:?}", without.rivals);
    for sizes in [[255, 64], [256, 63]] {
        let odd = named(true, sizes);
        assert!(odd.class == Class::Scores && reasons(&odd, "half").is_empty(), "{:?}", odd.rivals);
    }
}

/// What no shape of the table runs: the written order's choice for the gradient beyond the scores that are kept.
#[test]
fn scores_are_kept_up_to_64_mebibytes() {
    for (positions, class) in [(4096, Class::Scores), (4225, Class::Online)] {
        let mut g = Graph::new();
        let [q, k, v, seed] = ["q", "k", "v", "seed"].map(|name| g.input(name, [1, positions, 4]));
        let y = attention(&mut g, q, k, v).unwrap();
        let grads: Vec<_> =
            g.backward(&[(y, seed)], &[q, k, v]).unwrap().into_iter().map(Option::unwrap).collect();
        let draft = Draft::new(&g, &grads, &device(false), DraftOptions::default()).unwrap();
        let classes: Vec<Class> = draft.chosen().iter().map(|chosen| chosen.class).collect();
        assert_eq!(classes, [class; 2], "{positions} positions");
    }
}

#[test]
fn what_every_device_has_stands_last() {
    for sizes in [[256, 64], [255, 63]] {
        for f16 in [false, true] {
            let last = Choice::LAST;
            assert_eq!(chosen(f16, sizes, last).class, Class::Online);
        }
    }
}
