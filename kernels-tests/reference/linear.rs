//! A matrix product with a bias: y = x·Wᵀ + b (linear), or y = x·W + b (the authors' NIN).

use super::{Tensor, assert_gradient};

/// How the weight lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// `out in`, as PyTorch's linear.
    OutIn,
    /// `in out`, as the authors' NIN.
    InOut,
}

fn weight_at(weight: &Tensor, layout: Layout, o: usize, i: usize) -> usize {
    match layout {
        Layout::OutIn => o * weight.shape[1] + i,
        Layout::InOut => i * weight.shape[1] + o,
    }
}

fn out_features(weight: &Tensor, layout: Layout) -> usize {
    weight.shape[if layout == Layout::OutIn { 0 } else { 1 }]
}

/// `x` is `… in`; the result `… out`.
pub fn forward(layout: Layout, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let (inputs, outputs) = (*x.shape.last().unwrap(), out_features(weight, layout));
    let mut shape = x.shape.clone();
    *shape.last_mut().unwrap() = outputs;
    let row = |row: &[f64]| -> Vec<f64> {
        let dot = |o: usize| {
            (0..inputs).map(|i| row[i] * weight.data[weight_at(weight, layout, o, i)]).sum::<f64>()
        };
        (0..outputs).map(|o| dot(o) + bias.map_or(0.0, |b| b.data[o])).collect()
    };
    Tensor::new(&shape, x.data.chunks(inputs).flat_map(row).collect())
}

/// The gradients by x, weight and bias.
pub fn backward(layout: Layout, x: &Tensor, weight: &Tensor, grad_y: &Tensor) -> [Tensor; 3] {
    let (inputs, outputs) = (*x.shape.last().unwrap(), out_features(weight, layout));
    let mut grad_x = Tensor::zeros(&x.shape);
    let mut grad_weight = Tensor::zeros(&weight.shape);
    let mut grad_bias = Tensor::zeros(&[outputs]);
    for (row, g) in grad_y.data.chunks(outputs).enumerate() {
        for (o, g) in g.iter().enumerate() {
            grad_bias.data[o] += g;
            for i in 0..inputs {
                let at = weight_at(weight, layout, o, i);
                grad_x.data[row * inputs + i] += g * weight.data[at];
                grad_weight.data[at] += g * x.data[row * inputs + i];
            }
        }
    }
    [grad_x, grad_weight, grad_bias]
}

#[test]
fn gradient_is_right() {
    for (layout, weight) in [(Layout::OutIn, [5, 3]), (Layout::InOut, [3, 5])] {
        let inputs = [Tensor::normal(&[2, 2, 3], 1), Tensor::normal(&weight, 2), Tensor::normal(&[5], 3)];
        assert_gradient(
            &inputs,
            |i| forward(layout, &i[0], &i[1], Some(&i[2])),
            |i, g| backward(layout, &i[0], &i[1], g).to_vec(),
        );
    }
}
