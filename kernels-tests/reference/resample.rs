//! The authors' naive resampling: nearest neighbour doubling, and the mean of 2x2 blocks.

use super::{Tensor, assert_gradient};

/// `n h w c` to `n 2h 2w c`: every pixel four times.
pub fn up(x: &Tensor) -> Tensor {
    let [n, h, w, c] = x.nhwc();
    each(&[n, 2 * h, 2 * w, c], |[b, y, xx, ch]| x[[b, y / 2, xx / 2, ch]])
}

/// The gradient of [`up`]: the sum of each 2x2 block.
pub fn up_backward(grad_y: &Tensor) -> Tensor {
    let [n, h, w, c] = grad_y.nhwc();
    let block = |[b, y, x, ch]: [usize; 4]| {
        (0..4).map(|k| grad_y[[b, 2 * y + k / 2, 2 * x + k % 2, ch]]).sum::<f64>()
    };
    each(&[n, h / 2, w / 2, c], block)
}

/// `n h w c` to `n h/2 w/2 c`: the mean of each 2x2 block; h and w are even.
pub fn down(x: &Tensor) -> Tensor {
    up_backward(x).scaled(0.25)
}

/// The gradient of [`down`].
pub fn down_backward(grad_y: &Tensor) -> Tensor {
    up(grad_y).scaled(0.25)
}

fn each(shape: &[usize; 4], f: impl Fn([usize; 4]) -> f64) -> Tensor {
    let [_, h, w, c] = *shape;
    let mut out = Tensor::zeros(shape);
    for (at, value) in out.data.iter_mut().enumerate() {
        *value = f([at / (h * w * c), at / (w * c) % h, at / c % w, at % c]);
    }
    out
}

#[test]
fn gradient_is_right() {
    let x = [Tensor::normal(&[2, 4, 6, 3], 1)];
    assert_gradient(&x, |i| up(&i[0]), |_, g| vec![up_backward(g)]);
    assert_gradient(&x, |i| down(&i[0]), |_, g| vec![down_backward(g)]);
}

#[test]
fn down_undoes_up() {
    let x = Tensor::normal(&[2, 3, 5, 2], 1);
    assert_eq!(down(&up(&x)), x);
}
