//! Bilinear resizing with aligned corners: the outermost pixels of both images coincide.

use super::{Tensor, assert_gradient};

/// The two source pixels of an output pixel with their shares.
fn source(out: usize, from: usize, to: usize) -> [(usize, f64); 2] {
    let at = if to > 1 { out as f64 * (from - 1) as f64 / (to - 1) as f64 } else { 0.0 };
    let low = (at.floor() as usize).min(from - 1);
    let share = at - low as f64;
    [(low, 1.0 - share), ((low + 1).min(from - 1), share)]
}

fn shares(from: [usize; 2], to: [usize; 2], mut each: impl FnMut([usize; 2], [usize; 2], f64)) {
    for (oy, ox) in (0..to[0]).flat_map(|oy| (0..to[1]).map(move |ox| (oy, ox))) {
        for (iy, sy) in source(oy, from[0], to[0]) {
            for (ix, sx) in source(ox, from[1], to[1]) {
                each([oy, ox], [iy, ix], sy * sx);
            }
        }
    }
}

/// `n h w c` to `n h_out w_out c`.
pub fn forward(x: &Tensor, to: [usize; 2]) -> Tensor {
    let [n, h, w, c] = x.nhwc();
    let mut y = Tensor::zeros(&[n, to[0], to[1], c]);
    shares([h, w], to, |[oy, ox], [iy, ix], share| {
        for (b, ch) in (0..n).flat_map(|b| (0..c).map(move |ch| (b, ch))) {
            y[[b, oy, ox, ch]] += share * x[[b, iy, ix, ch]];
        }
    });
    y
}

/// The gradient by x, of height and width `from`.
pub fn backward(from: [usize; 2], grad_y: &Tensor) -> Tensor {
    let [n, oh, ow, c] = grad_y.nhwc();
    let mut grad_x = Tensor::zeros(&[n, from[0], from[1], c]);
    shares(from, [oh, ow], |[oy, ox], [iy, ix], share| {
        for (b, ch) in (0..n).flat_map(|b| (0..c).map(move |ch| (b, ch))) {
            grad_x[[b, iy, ix, ch]] += share * grad_y[[b, oy, ox, ch]];
        }
    });
    grad_x
}

#[test]
fn gradient_is_right() {
    for (from, to) in [([3, 4], [5, 7]), ([4, 5], [2, 3]), ([1, 3], [4, 1]), ([3, 3], [3, 3])] {
        let x = [Tensor::normal(&[2, from[0], from[1], 2], 1)];
        assert_gradient(&x, |i| forward(&i[0], to), |_, g| vec![backward(from, g)]);
    }
}

#[test]
fn corners_coincide() {
    let x = Tensor::new(&[1, 1, 2, 1], vec![1.0, 4.0]);
    assert_eq!(forward(&x, [1, 4]).data, [1.0, 2.0, 3.0, 4.0]);
    let x = Tensor::normal(&[2, 4, 3, 2], 1);
    assert_eq!(forward(&x, [4, 3]), x);
}
