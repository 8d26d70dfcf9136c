//! Instance norm, instance norm++ with and without labels, variance norm.

use langevin::graph::Graph;
use langevin::ops::instance_norm::{
    NORM_EPS, conditional_instance_norm_plus, instance_norm, instance_norm_plus, variance_norm,
};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, instance_norm as reference};

/// Few channels and pixels (not two: they come out as ±1, whose gradient is a rounding error), primes, both vector widths, more
/// channels than a workgroup, several images, several workgroups.
const SHAPES: &[[usize; 4]] = &[
    [2, 1, 3, 2],
    [2, 3, 2, 4],
    [1, 7, 5, 11],
    [3, 6, 5, 8],
    [2, 2, 2, 131],
    [2, 40, 40, 4],
    [1, 64, 64, 3],
];

fn cases() -> Vec<OpCase> {
    let mut cases = Vec::new();
    for &shape in SHAPES {
        let x = Tensor::normal(&shape, 1);
        cases.push(plain(x.clone(), NORM_EPS));
        for bias in [true, false] {
            cases.push(plus(x.clone(), bias));
            cases.push(conditional(x.clone(), bias));
        }
        cases.push(variance(x));
    }
    // Variances that the constant added to them outweighs.
    let tiny = Tensor::normal(&[2, 4, 4, 8], 1).scaled(1e-3);
    cases.extend([plain(tiny.clone(), NORM_EPS), plus(tiny.clone(), true), variance(tiny)]);
    // The epsilon that plain instance norm has at the end of the authors' NCSNv2: its number of noise levels.
    cases.push(plain(Tensor::normal(&[2, 5, 4, 6], 1), 10.0));
    cases
}

fn plain(x: Tensor, norm_eps: f32) -> OpCase {
    let wide = f64::from(norm_eps);
    OpCase::new(
        format!("plain {:?}, norm_eps {norm_eps}", x.shape),
        vec![x],
        move |g, v| instance_norm(g, v[0], norm_eps),
        move |t| reference::plain(&t[0], wide),
    )
    .gradient(move |t, grad| vec![reference::plain_backward(&t[0], wide, grad)])
    .per_image(&[0])
}

/// `parts` rows of `c` numbers side by side in each row of `rows`.
fn split(rows: &Tensor, c: usize) -> [Tensor; 3] {
    let (gamma, rest) = rows.split_channels(c);
    let (alpha, beta) = rest.split_channels(c);
    let beta = if beta.data.is_empty() { Tensor::zeros(&gamma.shape) } else { beta };
    [gamma, alpha, beta]
}

/// The same row for every image.
fn repeated(row: &Tensor, n: usize) -> Tensor {
    Tensor::new(&[n, row.data.len()], row.data.repeat(n))
}

/// The sum over images: the gradient of [`repeated`].
fn over_images(rows: &Tensor) -> Tensor {
    let c = rows.shape[1];
    Tensor::new(&[c], (0..c).map(|j| rows.data.iter().skip(j).step_by(c).sum()).collect())
}

fn plus(x: Tensor, bias: bool) -> OpCase {
    let [n, _, _, c] = x.nhwc();
    let mut inputs = vec![x, Tensor::uniform(&[c], 0.5, 1.5, 2), Tensor::normal(&[c], 3)];
    inputs.extend(bias.then(|| Tensor::normal(&[c], 4)));
    let beta = move |t: &[Tensor]| t.get(3).cloned().unwrap_or_else(|| Tensor::zeros(&[c]));
    OpCase::new(
        format!("plus {:?}, bias {bias}", inputs[0].shape),
        inputs,
        |g, v| instance_norm_plus(g, v[0], v[1], v[2], v.get(3).copied()),
        move |t| reference::plus(&t[0], &repeated(&t[1], n), &repeated(&t[2], n), &repeated(&beta(t), n)),
    )
    .gradient(move |t, grad| {
        let [x, rest @ ..] = reference::plus_backward(&t[0], &repeated(&t[1], n), &repeated(&t[2], n), grad);
        [x].into_iter().chain(rest.iter().map(over_images)).take(t.len()).collect()
    })
}

fn conditional(x: Tensor, bias: bool) -> OpCase {
    let [n, _, _, c] = x.nhwc();
    let rows = Tensor::normal(&[n, if bias { 3 * c } else { 2 * c }], 5);
    OpCase::new(
        format!("conditional {:?}, bias {bias}", x.shape),
        vec![x, rows],
        |g, v| conditional_instance_norm_plus(g, v[0], v[1]),
        move |t| {
            let [gamma, alpha, beta] = split(&t[1], c);
            reference::plus(&t[0], &gamma, &alpha, &beta)
        },
    )
    .gradient(move |t, grad| {
        let [gamma, alpha, _] = split(&t[1], c);
        let [x, gamma, alpha, beta] = reference::plus_backward(&t[0], &gamma, &alpha, grad);
        let rows = gamma.concat_channels(&alpha);
        vec![x, if bias { rows.concat_channels(&beta) } else { rows }]
    })
    .per_image(&[0, 1])
}

fn variance(x: Tensor) -> OpCase {
    let c = x.nhwc()[3];
    OpCase::new(
        format!("variance {:?}", x.shape),
        vec![x, Tensor::uniform(&[c], 0.5, 1.5, 2)],
        |g, v| variance_norm(g, v[0], v[1]),
        |t| reference::variance(&t[0], &t[1]),
    )
    .gradient(|t, grad| reference::variance_backward(&t[0], &t[1], grad).to_vec())
    .per_image(&[0])
}

op_tests! { "instance_norm", cases; forward, backward, reference }

#[test]
fn wrong_shapes_are_refused() {
    let mut g = Graph::new();
    let (x, one, pixel) =
        (g.input("x", [2, 2, 2, 6]), g.input("one", [2, 2, 2, 1]), g.input("p", [2, 1, 1, 6]));
    let (six, five, single) = (g.input("six", [6]), g.input("five", [5]), g.input("single", [1]));
    let rows = g.input("rows", [2, 19]);
    let refused = [
        instance_norm(&mut g, six, NORM_EPS),
        instance_norm_plus(&mut g, x, six, five, None),
        instance_norm_plus(&mut g, one, single, single, None),
        conditional_instance_norm_plus(&mut g, x, rows),
        variance_norm(&mut g, x, five),
        variance_norm(&mut g, pixel, six),
    ];
    for result in refused {
        assert!(matches!(result, Err(langevin::Error::Shape { op: "instance_norm", .. })), "{result:?}");
    }
}
