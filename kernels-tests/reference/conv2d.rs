//! Cross-correlation with its epilogue: y = (w ⋆ cat(x, second) + bias + temb + residual) · scale.

use super::{Tensor, assert_gradient};

/// What is fixed when the op is traced.
#[derive(Clone, Copy, Debug)]
pub struct Conv2d {
    /// Distance between two outputs, in input pixels.
    pub stride: usize,
    /// Rows and columns of zeros: top, bottom, left, right.
    pub pad: [usize; 4],
    /// Distance between two taps, in input pixels.
    pub dilation: usize,
    /// Factor on the whole sum.
    pub scale: f64,
}

/// The operands, and in the backward pass the gradient by each that was given.
#[derive(Clone, Debug)]
pub struct Operands {
    /// `n h w c`.
    pub x: Tensor,
    /// `n h w c2`, stands behind `x` along the channels.
    pub second: Option<Tensor>,
    /// `c_out c_in kh kw`.
    pub weight: Tensor,
    /// `c_out`.
    pub bias: Option<Tensor>,
    /// `n c_out`: time embedding, one number per image and channel.
    pub temb: Option<Tensor>,
    /// `n h_out w_out c_out`.
    pub residual: Option<Tensor>,
}

impl Operands {
    /// Only an image and a weight.
    pub fn new(x: Tensor, weight: Tensor) -> Self {
        Self { x, second: None, weight, bias: None, temb: None, residual: None }
    }

    fn input(&self) -> Tensor {
        self.second.as_ref().map_or_else(|| self.x.clone(), |second| self.x.concat_channels(second))
    }
}

impl Conv2d {
    /// Stride 1 with zeros around so that the size stays: "same".
    pub fn same(kernel: usize, dilation: usize) -> Self {
        Self { stride: 1, pad: [dilation * (kernel / 2); 4], dilation, scale: 1.0 }
    }

    /// Height and width of the output.
    pub fn out_size(&self, [h, w]: [usize; 2], [kh, kw]: [usize; 2]) -> [usize; 2] {
        let [top, bottom, left, right] = self.pad;
        let size = |padded: usize, k: usize| (padded - self.dilation * (k - 1) - 1) / self.stride + 1;
        [size(h + top + bottom, kh), size(w + left + right, kw)]
    }

    /// Calls `each(out pixel, weight tap, in pixel)` wherever a tap meets the image.
    fn taps(&self, x: &Tensor, weight: &Tensor, mut each: impl FnMut([usize; 3], [usize; 2], [usize; 3])) {
        let [n, h, w, _] = x.nhwc();
        let [_, _, kh, kw] = weight.nhwc();
        let [oh, ow] = self.out_size([h, w], [kh, kw]);
        let inside = |out: usize, tap: usize, before: usize, size: usize| {
            (out * self.stride + tap * self.dilation).checked_sub(before).filter(|&i| i < size)
        };
        for b in 0..n {
            for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
                for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                    let iy = inside(oy, ky, self.pad[0], h);
                    let ix = inside(ox, kx, self.pad[2], w);
                    if let (Some(iy), Some(ix)) = (iy, ix) {
                        each([b, oy, ox], [ky, kx], [b, iy, ix]);
                    }
                }
            }
        }
    }

    /// The output, `n h_out w_out c_out`.
    pub fn forward(&self, operands: &Operands) -> Tensor {
        let (x, weight) = (operands.input(), &operands.weight);
        let [n, h, w, c_in] = x.nhwc();
        let [c_out, w_in, kh, kw] = weight.nhwc();
        assert_eq!(c_in, w_in);
        let [oh, ow] = self.out_size([h, w], [kh, kw]);
        let mut y = Tensor::zeros(&[n, oh, ow, c_out]);
        self.taps(&x, weight, |[b, oy, ox], [ky, kx], [_, iy, ix]| {
            for o in 0..c_out {
                y[[b, oy, ox, o]] +=
                    (0..c_in).map(|i| x[[b, iy, ix, i]] * weight[[o, i, ky, kx]]).sum::<f64>();
            }
        });
        for (at, value) in y.data.iter_mut().enumerate() {
            let (o, b) = (at % c_out, at / (oh * ow * c_out));
            *value += operands.bias.as_ref().map_or(0.0, |t| t[[o]]);
            *value += operands.temb.as_ref().map_or(0.0, |t| t[[b, o]]);
            *value += operands.residual.as_ref().map_or(0.0, |t| t.data[at]);
            *value *= self.scale;
        }
        y
    }

    /// One element of the output, by its flat index: for images whose whole output takes too long.
    pub fn forward_at(&self, operands: &Operands, at: usize) -> f64 {
        let (x, weight) = (&operands.x, &operands.weight);
        assert!(operands.second.is_none(), "one input");
        let [_, h, w, c_in] = x.nhwc();
        let [c_out, _, kh, kw] = weight.nhwc();
        let [oh, ow] = self.out_size([h, w], [kh, kw]);
        let (o, ox, oy, b) = (at % c_out, at / c_out % ow, at / c_out / ow % oh, at / c_out / ow / oh);
        let mut sum = 0.0;
        for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
            let iy = (oy * self.stride + ky * self.dilation).checked_sub(self.pad[0]).filter(|&i| i < h);
            let ix = (ox * self.stride + kx * self.dilation).checked_sub(self.pad[2]).filter(|&i| i < w);
            if let (Some(iy), Some(ix)) = (iy, ix) {
                sum += (0..c_in).map(|i| x[[b, iy, ix, i]] * weight[[o, i, ky, kx]]).sum::<f64>();
            }
        }
        sum += operands.bias.as_ref().map_or(0.0, |t| t[[o]]);
        sum += operands.temb.as_ref().map_or(0.0, |t| t[[b, o]]);
        sum += operands.residual.as_ref().map_or(0.0, |t| t.data[at]);
        sum * self.scale
    }

    /// One element of the gradient by the weight, by its flat index.
    pub fn grad_weight_at(&self, operands: &Operands, grad_y: &Tensor, at: usize) -> f64 {
        let (x, weight) = (&operands.x, &operands.weight);
        assert!(operands.second.is_none(), "one input");
        let [_, h, w, _] = x.nhwc();
        let [_, c_in, kh, kw] = weight.nhwc();
        let [n, oh, ow, _] = grad_y.nhwc();
        let (kx, ky, i, o) = (at % kw, at / kw % kh, at / kw / kh % c_in, at / kw / kh / c_in);
        let mut sum = 0.0;
        for (b, oy, ox) in (0..n * oh * ow).map(|p| (p / (oh * ow), p / ow % oh, p % ow)) {
            let iy = (oy * self.stride + ky * self.dilation).checked_sub(self.pad[0]).filter(|&i| i < h);
            let ix = (ox * self.stride + kx * self.dilation).checked_sub(self.pad[2]).filter(|&i| i < w);
            if let (Some(iy), Some(ix)) = (iy, ix) {
                sum += grad_y[[b, oy, ox, o]] * x[[b, iy, ix, i]];
            }
        }
        sum * self.scale
    }

    /// The gradient by every operand.
    pub fn backward(&self, operands: &Operands, grad_y: &Tensor) -> Operands {
        let (x, weight) = (operands.input(), &operands.weight);
        let g = grad_y.scaled(self.scale);
        let [n, oh, ow, c_out] = g.nhwc();
        let c_in = weight.shape[1];
        let (mut grad_in, mut grad_weight) = (Tensor::zeros(&x.shape), Tensor::zeros(&weight.shape));
        self.taps(&x, weight, |[b, oy, ox], [ky, kx], [_, iy, ix]| {
            for o in 0..c_out {
                let g = g[[b, oy, ox, o]];
                for i in 0..c_in {
                    grad_in[[b, iy, ix, i]] += g * weight[[o, i, ky, kx]];
                    grad_weight[[o, i, ky, kx]] += g * x[[b, iy, ix, i]];
                }
            }
        });
        let mut per_image = Tensor::zeros(&[n, c_out]);
        for (at, value) in g.data.iter().enumerate() {
            per_image[[at / (oh * ow * c_out), at % c_out]] += value;
        }
        let mut per_channel = Tensor::zeros(&[c_out]);
        for (at, value) in per_image.data.iter().enumerate() {
            per_channel[[at % c_out]] += value;
        }
        let (grad_x, grad_second) = match operands.second {
            Some(_) => {
                let (a, b) = grad_in.split_channels(operands.x.shape[3]);
                (a, Some(b))
            }
            None => (grad_in, None),
        };
        Operands {
            x: grad_x,
            second: grad_second,
            weight: grad_weight,
            bias: operands.bias.is_some().then_some(per_channel),
            temb: operands.temb.is_some().then_some(per_image),
            residual: operands.residual.is_some().then_some(g),
        }
    }
}

#[test]
fn gradient_is_right() {
    let unpack = |i: &[Tensor]| Operands {
        x: i[0].clone(),
        second: Some(i[1].clone()),
        weight: i[2].clone(),
        bias: Some(i[3].clone()),
        temb: Some(i[4].clone()),
        residual: Some(i[5].clone()),
    };
    let same = Conv2d { scale: 0.7, ..Conv2d::same(3, 1) };
    let dilated = Conv2d { scale: 1.0, ..Conv2d::same(3, 2) };
    let strided = Conv2d { stride: 2, pad: [0, 1, 0, 1], dilation: 1, scale: -1.5 };
    let pointwise = Conv2d::same(1, 1);
    for (conv, k) in [(same, 3), (dilated, 3), (strided, 3), (pointwise, 1)] {
        let [oh, ow] = conv.out_size([5, 4], [k, k]);
        let inputs = [
            Tensor::normal(&[2, 5, 4, 2], 1),
            Tensor::normal(&[2, 5, 4, 1], 2),
            Tensor::normal(&[3, 3, k, k], 3),
            Tensor::normal(&[3], 4),
            Tensor::normal(&[2, 3], 5),
            Tensor::normal(&[2, oh, ow, 3], 6),
        ];
        assert_gradient(
            &inputs,
            |i| conv.forward(&unpack(i)),
            |i, g| {
                let grad = conv.backward(&unpack(i), g);
                let optional = [grad.second, grad.bias, grad.temb, grad.residual].map(Option::unwrap);
                let [second, bias, temb, residual] = optional;
                vec![grad.x, second, grad.weight, bias, temb, residual]
            },
        );
    }
}

/// One image, one channel, a kernel that picks the pixel to the left.
#[test]
fn cross_correlates() {
    let mut weight = Tensor::zeros(&[1, 1, 3, 3]);
    weight[[0, 0, 1, 0]] = 1.0;
    let x = Tensor::new(&[1, 1, 3, 1], vec![1.0, 2.0, 3.0]);
    assert_eq!(Conv2d::same(3, 1).forward(&Operands::new(x, weight)).data, [0.0, 1.0, 2.0]);
}

#[test]
fn single_elements_are_those_of_the_whole() {
    let mut operands = Operands::new(Tensor::normal(&[2, 6, 5, 3], 1), Tensor::normal(&[4, 3, 3, 3], 2));
    operands.bias = Some(Tensor::normal(&[4], 3));
    for conv in [
        Conv2d { scale: 0.5, ..Conv2d::same(3, 1) },
        Conv2d { stride: 2, pad: [0, 1, 0, 1], dilation: 1, scale: 1.0 },
    ] {
        let y = conv.forward(&operands);
        let grad_y = Tensor::normal(&y.shape, 4);
        let grad = conv.backward(&operands, &grad_y).weight;
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        (0..y.data.len()).for_each(|at| near(conv.forward_at(&operands, at), y.data[at]));
        (0..grad.data.len()).for_each(|at| near(conv.grad_weight_at(&operands, &grad_y, at), grad.data[at]));
    }
}
