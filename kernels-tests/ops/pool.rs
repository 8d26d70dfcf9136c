//! Mean and maximum over windows.

use langevin::graph::Graph;
use langevin::ops::pool::{Window, max_pool, mean_pool};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::Tensor;
use crate::reference::pool::{Kind, Pool};

/// Side, stride and padding: those of the models, windows that leave pixels out, that share none, that are the image.
const WINDOWS: &[(usize, usize, usize)] = &[(2, 2, 0), (5, 1, 2), (3, 2, 1), (1, 2, 0), (4, 3, 2), (1, 1, 0)];

/// Primes, both vector widths, several images, more than one workgroup.
const SHAPES: &[[usize; 4]] = &[[2, 6, 4, 2], [1, 7, 5, 3], [3, 8, 9, 4], [2, 5, 5, 20], [1, 33, 31, 1]];

fn cases() -> Vec<OpCase> {
    let mut cases = Vec::new();
    for kind in [Kind::Average, Kind::Max] {
        for &shape in SHAPES {
            cases.extend(WINDOWS.iter().map(|&window| case(kind, Tensor::normal(&shape, 1), window)));
        }
        cases.push(case(kind, Tensor::normal(&[2, 1, 1, 3], 1), (5, 1, 2)));
        cases.push(case(kind, Tensor::normal(&[1, 3, 2, 4], 1).scaled(-1.0), (3, 1, 1)));
    }
    cases
}

/// Largest numbers that are equal: finite differences have no say there.
fn ties() -> Vec<OpCase> {
    let steps = |shape: &[usize]| Tensor::normal(shape, 1).map(|v| v.round());
    vec![
        case(Kind::Max, Tensor::full(&[1, 6, 6, 4], 0.0), (5, 1, 2)),
        case(Kind::Max, steps(&[2, 7, 8, 3]), (5, 1, 2)),
        case(Kind::Max, steps(&[2, 7, 8, 4]), (3, 2, 1)),
    ]
}

fn case(kind: Kind, x: Tensor, (size, stride, pad): (usize, usize, usize)) -> OpCase {
    let window = Window { size, stride, pad };
    let pool = Pool { kind, size, stride, pad };
    OpCase::new(
        format!("{kind:?} {:?} {window:?}", x.shape),
        vec![x],
        move |g, v| if kind == Kind::Max { max_pool(g, v[0], window) } else { mean_pool(g, v[0], window) },
        move |t| pool.forward(&t[0]),
    )
    .gradient(move |t, grad| vec![pool.backward(&t[0], grad)])
    .per_image(&[0])
}

op_tests! { "pool", cases; forward, backward, reference }

#[test]
fn the_first_of_equal_ones_has_the_gradient() {
    crate::harness::over(ties(), OpCase::forward);
    crate::harness::over(ties(), OpCase::backward);
}

#[test]
fn wrong_windows_are_refused() {
    let mut g = Graph::new();
    let x = g.input("x", [1, 4, 4, 2]);
    for (size, stride, pad) in [(0, 1, 0), (2, 0, 0), (3, 1, 2), (5, 1, 0)] {
        for result in [
            max_pool(&mut g, x, Window { size, stride, pad }),
            mean_pool(&mut g, x, Window { size, stride, pad }),
        ] {
            assert!(matches!(result, Err(langevin::Error::Shape { op: "pool", .. })), "{result:?}");
        }
    }
}
