//! What the cases give by the f64 references: pairs of flat index and value.

use langevin::bench::{Case, Data, Group, Workload};

use crate::reference::conv2d::{Conv2d, Operands};
use crate::reference::group_norm::GroupNorm;
use crate::reference::linear::{self, Layout};
use crate::reference::upfirdn2d::{Upfirdn2d, fir_kernel};
use crate::reference::{Tensor, attention};

/// Added to variances by the networks.
const NORM_EPS: f64 = 1e-6;
const FIR: [f64; 4] = [1.0, 3.0, 3.0, 1.0];
const OUTPUT_SCALE: f64 = std::f64::consts::FRAC_1_SQRT_2;

/// The operands of a workload.
struct Operand<'a>(&'a Workload);

impl Operand<'_> {
    /// Input `i`.
    fn input(&self, i: usize) -> Tensor {
        let (value, data) = &self.0.inputs[i];
        let Data::F32(data) = data else { panic!("input {i} is not f32") };
        Tensor::new(self.0.graph.shape(*value).dims(), data.iter().map(|&v| f64::from(v)).collect())
    }

    /// The first image of input `i`.
    fn image(&self, i: usize) -> Tensor {
        let all = self.input(i);
        let size = all.data.len() / all.shape[0];
        let shape = [&[1], &all.shape[1..]].concat();
        Tensor::new(&shape, all.data[..size].to_vec())
    }

    /// The parameter whose name ends in `name`.
    fn parameter(&self, name: &str) -> Tensor {
        let (_, full, data) = self.0.parameters.iter().find(|(_, n, _)| n.ends_with(name)).expect(name);
        let value = self.0.graph.parameters("weights").into_iter().find(|v| self.0.graph.name(*v) == full);
        let shape = self.0.graph.shape(value.expect(name)).dims();
        Tensor::new(shape, data.iter().map(|&v| f64::from(v)).collect())
    }
}

/// At least `samples` outputs of a case, or all there are. Blocks, norms, attention and filters give those of image 0.
pub fn outputs(case: &Case, workload: &Workload, samples: usize) -> Vec<(usize, f64)> {
    let on = Operand(workload);
    let whole = |t: Tensor| t.data.into_iter().enumerate().collect();
    match (case.group, case.name) {
        (Group::Kernel, "conv3x3" | "conv1x1") => {
            let mut operands = Operands::new(on.input(0), on.parameter("weight"));
            operands.bias = Some(on.parameter("bias"));
            let conv = Conv2d::same(operands.weight.shape[2], 1);
            let [n, h, w, _] = operands.x.nhwc();
            let total = n * h * w * operands.weight.shape[0];
            sampled(total, samples, |at| conv.forward_at(&operands, at))
        }
        (Group::Kernel, "conv3x3 grad_x") => {
            // The same convolution of grad_y by the weight turned round, inputs and outputs changed.
            let operands = Operands::new(on.input(1), turned(&on.parameter("weight")));
            let total = on.input(0).data.len();
            sampled(total, samples, |at| Conv2d::same(3, 1).forward_at(&operands, at))
        }
        (Group::Kernel, "conv3x3 grad_weight") => {
            let operands = Operands::new(on.input(0), on.parameter("weight"));
            let (total, grad_y) = (operands.weight.data.len(), on.input(1));
            sampled(total, samples, |at| Conv2d::same(3, 1).grad_weight_at(&operands, &grad_y, at))
        }
        (Group::Kernel, "attention") => whole(attend(&on.image(0), &on.image(1), &on.image(2))),
        (Group::Kernel, "group_norm silu") => {
            whole(norm(&on.image(0), &on.parameter("weight"), &on.parameter("bias"), true))
        }
        (Group::Kernel, "upfirdn2d down") => whole(down(&on.image(0))),
        (Group::Kernel, "upfirdn2d up") => whole(up(&on.image(0))),
        (Group::Block, "residual block") => whole(residual(&on, |x| x.clone())),
        (Group::Block, "residual block down") => whole(residual(&on, down)),
        (Group::Block, "residual block up") => whole(residual(&on, up)),
        (Group::Block, "attention block") => whole(attention_block(&on)),
        _ => panic!("{case} has no reference here"),
    }
}

/// `samples` indices spread over `total` by a step that shares no factor with sizes, or all.
fn sampled(total: usize, samples: usize, value: impl Fn(usize) -> f64) -> Vec<(usize, f64)> {
    if total <= samples {
        return (0..total).map(|at| (at, value(at))).collect();
    }
    // A prime above every tensor here: i·step mod total meets each index at most once in `total` turns.
    const STEP: usize = 1_000_000_007;
    (0..samples).map(|i| i * STEP % total).map(|at| (at, value(at))).collect()
}

fn turned(weight: &Tensor) -> Tensor {
    let [c_out, c_in, kh, kw] = weight.nhwc();
    let mut result = Tensor::zeros(&[c_in, c_out, kh, kw]);
    for at in 0..weight.data.len() {
        let (kx, ky, i, o) = (at % kw, at / kw % kh, at / kw / kh % c_in, at / kw / kh / c_in);
        result[[i, o, kh - 1 - ky, kw - 1 - kx]] = weight.data[at];
    }
    result
}

fn norm(x: &Tensor, weight: &Tensor, bias: &Tensor, silu: bool) -> Tensor {
    let groups = (x.shape[3] / 4).min(32);
    GroupNorm { groups, norm_eps: NORM_EPS, silu }.forward(x, weight, bias)
}

/// Attention over the pixels of `1 h w c`.
fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    let [n, h, w, c] = q.nhwc();
    let rows = |t: &Tensor| t.reshape(&[n, h * w, c]);
    attention::forward(&rows(q), &rows(k), &rows(v), (c as f64).powf(-0.5)).reshape(&[n, h, w, c])
}

fn down(x: &Tensor) -> Tensor {
    Upfirdn2d { up: 1, down: 2, pad: [1, 1, 1, 1] }.forward(x, &fir_kernel(&FIR, 1.0))
}

fn up(x: &Tensor) -> Tensor {
    Upfirdn2d { up: 2, down: 1, pad: [2, 1, 2, 1] }.forward(x, &fir_kernel(&FIR, 4.0))
}

fn residual(on: &Operand<'_>, resample: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let (x, temb) = (on.image(0), on.image(1));
    let h = norm(&x, &on.parameter("norm_0.weight"), &on.parameter("norm_0.bias"), true);
    let (h, x) = (resample(&h), resample(&x));
    let mut first = Operands::new(h, on.parameter("conv_0.weight"));
    first.bias = Some(on.parameter("conv_0.bias"));
    let dense = (on.parameter("dense_0.weight"), on.parameter("dense_0.bias"));
    first.temb = Some(linear::forward(Layout::OutIn, &temb, &dense.0, Some(&dense.1)));
    let h = Conv2d::same(3, 1).forward(&first);
    let h = norm(&h, &on.parameter("norm_1.weight"), &on.parameter("norm_1.bias"), true);
    let shortcut = match on.0.parameters.iter().any(|(_, name, _)| name.ends_with("conv_2.weight")) {
        true => {
            let mut conv = Operands::new(x, on.parameter("conv_2.weight"));
            conv.bias = Some(on.parameter("conv_2.bias"));
            Conv2d::same(1, 1).forward(&conv)
        }
        false => x,
    };
    let mut second = Operands::new(h, on.parameter("conv_1.weight"));
    second.bias = Some(on.parameter("conv_1.bias"));
    second.residual = Some(shortcut);
    Conv2d { scale: OUTPUT_SCALE, ..Conv2d::same(3, 1) }.forward(&second)
}

fn attention_block(on: &Operand<'_>) -> Tensor {
    let x = on.image(0);
    let h = norm(&x, &on.parameter("norm.weight"), &on.parameter("norm.bias"), false);
    let nin = |x: &Tensor, name: &str| {
        let (w, b) = (on.parameter(&format!("{name}.w")), on.parameter(&format!("{name}.b")));
        linear::forward(Layout::InOut, x, &w, Some(&b))
    };
    let h = attend(&nin(&h, "query"), &nin(&h, "key"), &nin(&h, "value"));
    nin(&h, "out").plus(&x).scaled(OUTPUT_SCALE)
}
