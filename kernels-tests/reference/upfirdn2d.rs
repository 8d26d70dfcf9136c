//! Zero-stuff, pad, filter, thin out (Karras et al. 2019, StyleGAN2's `upfirdn2d`); a true convolution.

use super::{Tensor, assert_gradient};

/// What is fixed when the op is traced.
#[derive(Clone, Copy, Debug)]
pub struct Upfirdn2d {
    /// Each pixel is followed by `up - 1` zeros, in both directions.
    pub up: usize,
    /// Every `down`-th pixel of the filtered image is kept.
    pub down: usize,
    /// Zeros around the stuffed image: top, bottom, left, right. A negative number crops.
    pub pad: [i64; 4],
}

impl Upfirdn2d {
    /// Height and width of the output.
    pub fn out_size(&self, [h, w]: [usize; 2], [kh, kw]: [usize; 2]) -> [usize; 2] {
        let size = |input: usize, before: i64, after: i64, k: usize| {
            let filtered = (input * self.up) as i64 + before + after - k as i64 + 1;
            assert!(filtered > 0, "the filter does not fit the padded image");
            (filtered as usize).div_ceil(self.down)
        };
        let [top, bottom, left, right] = self.pad;
        [size(h, top, bottom, kh), size(w, left, right, kw)]
    }

    /// Calls `each(out row, out column, in row, in column, kernel row, kernel column)` for every pair that meets.
    fn taps(
        &self,
        size: [usize; 2],
        kernel: &Tensor,
        mut each: impl FnMut([usize; 2], [usize; 2], [usize; 2]),
    ) {
        let [kh, kw] = kernel.rows_cols();
        let [oh, ow] = self.out_size(size, [kh, kw]);
        let source = |out: usize, tap: usize, before: i64, input: usize| {
            let stuffed = usize::try_from((out * self.down + tap) as i64 - before).ok()?;
            (stuffed % self.up == 0 && stuffed / self.up < input).then_some(stuffed / self.up)
        };
        for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
            for (ty, tx) in (0..kh).flat_map(|ty| (0..kw).map(move |tx| (ty, tx))) {
                let iy = source(oy, ty, self.pad[0], size[0]);
                let ix = source(ox, tx, self.pad[2], size[1]);
                if let (Some(iy), Some(ix)) = (iy, ix) {
                    // A convolution runs through its kernel backwards.
                    each([oy, ox], [iy, ix], [kh - 1 - ty, kw - 1 - tx]);
                }
            }
        }
    }

    /// `x` is `n h w c`, `kernel` `kh kw`.
    pub fn forward(&self, x: &Tensor, kernel: &Tensor) -> Tensor {
        let [n, h, w, c] = x.nhwc();
        let [oh, ow] = self.out_size([h, w], kernel.rows_cols());
        let mut y = Tensor::zeros(&[n, oh, ow, c]);
        self.taps([h, w], kernel, |[oy, ox], [iy, ix], tap| {
            for (b, ch) in (0..n).flat_map(|b| (0..c).map(move |ch| (b, ch))) {
                y[[b, oy, ox, ch]] += x[[b, iy, ix, ch]] * kernel[tap];
            }
        });
        y
    }

    /// The gradient by x, of shape `x_shape`; the kernel is a constant.
    pub fn backward(&self, x_shape: [usize; 4], kernel: &Tensor, grad_y: &Tensor) -> Tensor {
        let [n, h, w, c] = x_shape;
        let mut grad_x = Tensor::zeros(&x_shape);
        self.taps([h, w], kernel, |[oy, ox], [iy, ix], tap| {
            for (b, ch) in (0..n).flat_map(|b| (0..c).map(move |ch| (b, ch))) {
                grad_x[[b, iy, ix, ch]] += grad_y[[b, oy, ox, ch]] * kernel[tap];
            }
        });
        grad_x
    }
}

/// The authors' 2-d kernel of a 1-d one: outer(k, k) / sum, times `gain`.
pub fn fir_kernel(k: &[f64], gain: f64) -> Tensor {
    let sum: f64 = k.iter().sum();
    let values = k.iter().flat_map(|a| k.iter().map(move |b| a * b * gain / (sum * sum))).collect();
    Tensor::new(&[k.len(), k.len()], values)
}

#[test]
fn gradient_is_right() {
    for (up, down, pad) in
        [(1, 1, [1, 2, 0, 1]), (2, 1, [2, 1, 2, 1]), (1, 2, [1, 1, 1, 1]), (2, 3, [-1, 3, 2, -2])]
    {
        let op = Upfirdn2d { up, down, pad };
        let kernel = Tensor::normal(&[3, 2], 1);
        assert_gradient(
            &[Tensor::normal(&[2, 4, 5, 3], 2)],
            |i| op.forward(&i[0], &kernel),
            |i, g| vec![op.backward(i[0].nhwc(), &kernel, g)],
        );
    }
}

/// One stuffed pixel shows the kernel itself, not its mirror image.
#[test]
fn convolves() {
    let op = Upfirdn2d { up: 1, down: 1, pad: [0, 0, 2, 2] };
    let kernel = Tensor::new(&[1, 3], vec![1.0, 2.0, 3.0]);
    assert_eq!(op.forward(&Tensor::full(&[1, 1, 1, 1], 1.0), &kernel).data, [1.0, 2.0, 3.0]);
}
