//! Average and maximum pooling.

use super::{Tensor, assert_gradient};

/// What a window gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// The mean over all k·k positions; the zeros of the padding count.
    Average,
    /// The largest value inside the image; of equal ones the first in row-major order has the gradient.
    Max,
}

/// What is fixed when the op is traced.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Mean or maximum.
    pub kind: Kind,
    /// Side of the window.
    pub size: usize,
    /// Distance between two windows.
    pub stride: usize,
    /// Padding on all four sides.
    pub pad: usize,
}

impl Pool {
    /// Height or width of the output.
    pub fn out_size(&self, input: usize) -> usize {
        (input + 2 * self.pad - self.size) / self.stride + 1
    }

    /// The pixels inside the image of the window at (oy, ox), row-major.
    fn window(&self, [h, w]: [usize; 2], [oy, ox]: [usize; 2]) -> Vec<[usize; 2]> {
        let inside = |out: usize, limit: usize| {
            (0..self.size)
                .filter_map(move |k| (out * self.stride + k).checked_sub(self.pad).filter(|&i| i < limit))
        };
        inside(oy, h).flat_map(|y| inside(ox, w).map(move |x| [y, x])).collect()
    }

    /// Calls `each(out index, pixel, share)`: output += share · pixel.
    fn shares(&self, x: &Tensor, mut each: impl FnMut([usize; 4], [usize; 4], f64)) {
        let [n, h, w, c] = x.nhwc();
        for (oy, ox) in (0..self.out_size(h)).flat_map(|oy| (0..self.out_size(w)).map(move |ox| (oy, ox))) {
            let window = self.window([h, w], [oy, ox]);
            for (b, ch) in (0..n).flat_map(|b| (0..c).map(move |ch| (b, ch))) {
                match self.kind {
                    Kind::Average => window.iter().for_each(|&[y, xx]| {
                        each([b, oy, ox, ch], [b, y, xx, ch], 1.0 / self.size.pow(2) as f64)
                    }),
                    Kind::Max => {
                        let at = |[y, xx]: [usize; 2]| x[[b, y, xx, ch]];
                        let first_max = |best, next| if at(next) > at(best) { next } else { best };
                        let [y, xx] =
                            window.iter().copied().reduce(first_max).expect("a window meets the image");
                        each([b, oy, ox, ch], [b, y, xx, ch], 1.0);
                    }
                }
            }
        }
    }

    /// `n h w c` to `n h_out w_out c`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let [n, h, w, c] = x.nhwc();
        let mut y = Tensor::zeros(&[n, self.out_size(h), self.out_size(w), c]);
        self.shares(x, |out, pixel, share| y[out] += share * x[pixel]);
        y
    }

    /// The gradient by x.
    pub fn backward(&self, x: &Tensor, grad_y: &Tensor) -> Tensor {
        let mut grad_x = Tensor::zeros(&x.shape);
        self.shares(x, |out, pixel, share| grad_x[pixel] += share * grad_y[out]);
        grad_x
    }
}

#[test]
fn gradient_is_right() {
    for kind in [Kind::Average, Kind::Max] {
        for (size, stride, pad) in [(2, 2, 0), (5, 1, 2), (3, 2, 1)] {
            let pool = Pool { kind, size, stride, pad };
            assert_gradient(
                &[Tensor::normal(&[2, 6, 4, 2], 1)],
                |i| pool.forward(&i[0]),
                |i, g| vec![pool.backward(&i[0], g)],
            );
        }
    }
}

#[test]
fn average_counts_the_padding() {
    let pool = Pool { kind: Kind::Average, size: 5, stride: 1, pad: 2 };
    assert_eq!(pool.forward(&Tensor::full(&[1, 1, 1, 1], 25.0)).data, [1.0]);
}
