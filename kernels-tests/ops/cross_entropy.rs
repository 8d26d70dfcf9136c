//! Cross-entropy of logits against labels.

use langevin::graph::Graph;
use langevin::ops::cross_entropy::{correct, cross_entropy, cross_entropy_mean};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::{Tensor, cross_entropy as reference};

/// Rows and classes: one of each, primes, off and on the workgroup.
const SIZES: &[(usize, usize)] = &[(1, 1), (3, 10), (7, 64), (2, 131), (70, 5)];

fn cases() -> Vec<OpCase> {
    let mut cases = Vec::new();
    for &(n, classes) in SIZES {
        let logits = Tensor::normal(&[n, classes], 1);
        cases.push(each(logits.clone()));
        cases.push(hits(logits.clone()));
        cases.push(mean(logits));
    }
    // A sure answer, a sure mistake, and logits that overflow when exponentiated.
    cases.push(each(Tensor::new(&[2, 3], vec![300.0, -300.0, 0.0, 300.0, -300.0, 0.0])));
    // The labels are 0 and 1: the first among equals is a hit, the second is none.
    cases.push(hits(Tensor::new(&[2, 3], vec![1.0, 1.0, 0.0, 1.0, 1.0, 0.0])));
    cases
}

fn labels(logits: &Tensor) -> Vec<usize> {
    (0..logits.shape[0]).map(|i| i * i % logits.shape[1]).collect()
}

fn inputs(logits: Tensor) -> Vec<Tensor> {
    let labels = labels(&logits);
    vec![logits, Tensor::new(&[labels.len()], labels.iter().map(|&l| l as f64).collect())]
}

fn each(logits: Tensor) -> OpCase {
    OpCase::new(
        format!("each of {:?} from {}", logits.shape, logits.data[0]),
        inputs(logits),
        |g, v| cross_entropy(g, v[0], v[1]),
        |t| reference::forward(&t[0], &labels(&t[0])),
    )
    .gradient(|t, grad| vec![reference::backward(&t[0], &labels(&t[0]), grad)])
    .integers(&[1])
    .per_image(&[0, 1])
}

fn hits(logits: Tensor) -> OpCase {
    OpCase::new(
        format!("hits of {:?} from {}", logits.shape, logits.data[0]),
        inputs(logits),
        |g, v| correct(g, v[0], v[1]),
        |t| reference::correct(&t[0], &labels(&t[0])),
    )
    .integers(&[1])
    .per_image(&[0, 1])
}

fn mean(logits: Tensor) -> OpCase {
    let n = logits.shape[0];
    OpCase::new(
        format!("mean of {:?}", logits.shape),
        inputs(logits),
        |g, v| cross_entropy_mean(g, v[0], v[1]),
        move |t| Tensor::full(&[1], reference::forward(&t[0], &labels(&t[0])).sum() / n as f64),
    )
    .gradient(move |t, grad| {
        let each = Tensor::full(&[n], grad.data[0] / n as f64);
        vec![reference::backward(&t[0], &labels(&t[0]), &each)]
    })
    .integers(&[1])
}

op_tests! { "cross_entropy", cases; forward, backward, reference }

#[test]
fn wrong_shapes_are_refused() {
    let mut g = Graph::new();
    let (logits, floats) = (g.input("logits", [3, 4]), g.input("floats", [3]));
    let two = g.input_u32("two", [2]);
    for result in [cross_entropy(&mut g, logits, floats), cross_entropy(&mut g, logits, two)] {
        assert!(matches!(result, Err(langevin::Error::Shape { op: "cross_entropy", .. })), "{result:?}");
    }
}
