//! Embeddings of time. Their angles reach thousands of radians, and the error allowed is that of a small one.

use langevin::graph::Graph;
use langevin::ops::embedding::{gaussian_fourier, gaussian_fourier_log, positional, positional_shifted};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, embedding as reference};

/// Images and frequencies: one, primes, off and on the workgroup.
const SIZES: &[(usize, usize)] = &[(1, 1), (5, 16), (3, 64), (2, 131)];

/// Gradients are sums over frequencies up to the largest times 2π, of angles exact to about 1e-7.
const TOLERANCE: f64 = 5e-6;

fn cases() -> Vec<OpCase> {
    let mut cases = Vec::new();
    for &(n, m) in SIZES {
        let weight = Tensor::normal(&[m], 2).scaled(16.0);
        cases.push(fourier(Tensor::normal(&[n], 1).scaled(4.0), weight.clone(), false));
        // From the smallest to the largest noise level of the models.
        cases.push(fourier(Tensor::uniform(&[n], 0.01, 1.0, 3), weight.clone(), true));
        cases.push(fourier(Tensor::uniform(&[n], 1.0, 1500.0, 4), weight, true));
        cases.push(position(Tensor::uniform(&[n], 0.0, 1000.0, 5), 2 * m + 4, 1.0));
        cases.push(position(Tensor::uniform(&[n], 0.0, 1.0, 6), 2 * m + 5, 1.0));
        cases.push(position(Tensor::uniform(&[n], 0.0, 1000.0, 7), 2 * m + 4, 0.0));
    }
    // Powers of two on both sides of 1, where bits of the logarithm are all 0 or all 1; sums of signs.
    let edges = vec![0.25, 0.5, 0.99999994, 1.0, 1.0000001, 2.0, 3.9999998, 4.0, 1e3, 7.0];
    let weight = Tensor::new(&[6], vec![-50.0, -1e-3, 0.0, 1e-20, 1.0, 49.7]);
    cases.push(fourier(f32s(&[10], edges), weight.clone(), true));
    // By themselves, since their slopes are beyond all others.
    cases.push(fourier(f32s(&[1], vec![1e-30]), weight.clone(), true));
    cases.push(fourier(f32s(&[1], vec![1e30]), weight.clone(), true));
    let values = vec![0.0, -0.0, 1e-12, -1e-3, 1.0, -1.0, 999.0, -1234.5, 0.1, 31.4];
    cases.push(fourier(f32s(&[10], values.clone()), weight, false));
    cases.push(position(f32s(&[10], values.iter().map(|v: &f64| v.abs()).collect()), 128, 1.0));
    cases
}

fn f32s(shape: &[usize], values: Vec<f64>) -> Tensor {
    Tensor::new(shape, values).map(|v| f64::from(v as f32))
}

fn fourier(x: Tensor, weight: Tensor, log: bool) -> OpCase {
    let at = move |x: &Tensor| if log { x.map(f64::ln) } else { x.clone() };
    let weight = weight.map(|v| f64::from(v as f32));
    OpCase::new(
        format!("{} of {} by {}, log {log}", x.data[0], x.data.len(), weight.data.len()),
        vec![x, weight],
        move |g, v| {
            if log { gaussian_fourier_log(g, v[0], v[1]) } else { gaussian_fourier(g, v[0], v[1]) }
        },
        move |t| reference::gaussian_fourier(&at(&t[0]), &t[1]),
    )
    .gradient(move |t, grad| {
        let gradient = reference::gaussian_fourier_backward(&at(&t[0]), &t[1], grad);
        vec![if log { gradient.zip(&t[0], |g, x| g / x) } else { gradient }]
    })
    .constants(&[1])
    .per_image(&[0])
    .tolerance(TOLERANCE)
}

fn position(t: Tensor, dim: usize, shift: f64) -> OpCase {
    OpCase::new(
        format!("{} positions in {dim} from {}, shifted by {shift}", t.data.len(), t.data[0]),
        vec![t],
        move |g, v| positional_shifted(g, v[0], dim, shift),
        move |t| reference::positional(&t[0], dim, shift),
    )
    .gradient(move |t, grad| vec![reference::positional_backward(&t[0], dim, shift, grad)])
    .per_image(&[0])
    .tolerance(TOLERANCE)
}

/// Finite differences need angles that hardly turn within their step.
fn slow() -> Vec<OpCase> {
    let weight = Tensor::normal(&[5], 2);
    vec![
        fourier(Tensor::normal(&[3], 1), weight.clone(), false),
        fourier(Tensor::uniform(&[3], 0.5, 2.0, 1), weight, true),
        position(Tensor::uniform(&[3], 0.0, 5.0, 1), 9, 1.0),
    ]
}

op_tests! { "embedding", cases; forward, backward }

#[test]
fn reference() {
    crate::harness::over(slow(), OpCase::reference);
}

#[test]
fn wrong_shapes_are_refused() {
    let mut g = Graph::new();
    let (matrix, vector) = (g.input("matrix", [2, 2]), g.input("vector", [3]));
    let refused = [
        gaussian_fourier(&mut g, matrix, vector),
        gaussian_fourier_log(&mut g, vector, matrix),
        positional(&mut g, vector, 3),
    ];
    for result in refused {
        assert!(matches!(result, Err(langevin::Error::Shape { op: "embedding", .. })), "{result:?}");
    }
}
