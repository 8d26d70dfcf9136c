//! FIR resampling: any small kernel, any factors, padding and cropping.

use langevin::ops::conv2d::Epilogue;
use langevin::ops::upfirdn2d::{
    FirKernel, conv_downsample_2d, downsample_2d, upfirdn2d, upsample_2d, upsample_conv_2d,
};

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::Tensor;
use crate::reference::conv2d::{Conv2d, Operands};
use crate::reference::upfirdn2d::{Upfirdn2d, fir_kernel};

/// One pixel, primes, both vector widths, several images.
const SHAPES: &[[usize; 4]] = &[[1, 1, 1, 1], [1, 7, 5, 3], [2, 6, 8, 4], [3, 4, 4, 20], [2, 13, 11, 1]];

/// Kernel rows and columns, up, down, padding.
type Filter = ([usize; 2], usize, usize, [i64; 4]);

/// The networks' own, and others; some crop, some thin out more than the kernel is long.
const FILTERS: &[Filter] = &[
    ([4, 4], 2, 1, [2, 1, 2, 1]),
    ([4, 4], 1, 2, [1, 1, 1, 1]),
    ([3, 3], 2, 1, [2, 1, 2, 1]),
    ([1, 1], 2, 1, [0, 1, 0, 1]),
    ([4, 4], 2, 2, [3, 2, 3, 2]),
    ([3, 5], 3, 2, [4, 4, 4, 6]),
    ([2, 1], 1, 3, [2, 3, 1, 1]),
    ([4, 4], 1, 1, [2, 2, 2, 2]),
    ([4, 4], 2, 1, [-1, 3, -1, 3]),
    ([2, 3], 2, 3, [-3, 2, 2, -2]),
    ([1, 2], 1, 2, [-2, -1, 3, -1]),
];

fn cases() -> Vec<OpCase> {
    let mut cases = vec![];
    for &shape in SHAPES {
        // A single pixel is smaller than some filters.
        let fits = |&&(size, up, _, [top, bottom, ..]): &&Filter| {
            shape[1] > 3 || (shape[1] * up) as i64 + top.min(0) + bottom >= size[0] as i64
        };
        for &(size, up, down, pad) in FILTERS.iter().filter(fits) {
            cases.push(filter(shape, size, Upfirdn2d { up, down, pad }));
        }
    }
    for k in [&[1.0][..], &[1.0, 2.0, 1.0], &[1.0, 3.0, 3.0, 1.0]] {
        for factor in [2, 3] {
            cases.push(up(k, factor));
            cases.push(down(k, factor));
        }
        for shape in [[1, 4, 4, 1], [2, 6, 4, 3]] {
            cases.push(with_conv(k, shape, true));
            cases.push(with_conv(k, shape, false));
        }
    }
    // More than 65,535 workgroups.
    cases.push(filter([1, 4099, 4099, 1], [1, 1], Upfirdn2d { up: 1, down: 1, pad: [0; 4] }).heavy());
    cases
}

fn filter(shape: [usize; 4], size: [usize; 2], op: Upfirdn2d) -> OpCase {
    let kernel = Tensor::normal(&size, 7);
    let taps: Vec<f32> = kernel.data.iter().map(|&v| v as f32).collect();
    let again = kernel.clone();
    OpCase::new(
        format!("{op:?} by {size:?} on {shape:?}"),
        vec![Tensor::normal(&shape, 1)],
        move |g, v| upfirdn2d(g, v[0], &FirKernel::new(size, &taps)?, op.up, op.down, op.pad),
        move |t| op.forward(&t[0], &kernel),
    )
    .gradient(move |t, grad| vec![op.backward(t[0].nhwc(), &again, grad)])
    .per_image(&[0])
}

fn up(k: &'static [f64], factor: usize) -> OpCase {
    let (f, p) = (factor as i64, k.len() as i64 - factor as i64);
    let (before, after) = ((p + 1).div_euclid(2) + f - 1, p.div_euclid(2));
    let op = Upfirdn2d { up: factor, down: 1, pad: [before, after, before, after] };
    let kernel = fir_kernel(k, (factor * factor) as f64);
    OpCase::new(
        format!("upsample_2d {k:?} by {factor}"),
        vec![Tensor::normal(&[2, 5, 4, 4], 1)],
        move |g, v| upsample_2d(g, v[0], k, factor, 1.0),
        move |t| op.forward(&t[0], &kernel),
    )
    .per_image(&[0])
}

fn down(k: &'static [f64], factor: usize) -> OpCase {
    let p = k.len() as i64 - factor as i64;
    let (before, after) = ((p + 1).div_euclid(2), p.div_euclid(2));
    let op = Upfirdn2d { up: 1, down: factor, pad: [before, after, before, after] };
    let kernel = fir_kernel(k, 1.0);
    OpCase::new(
        format!("downsample_2d {k:?} by {factor}"),
        vec![Tensor::normal(&[2, 6, 9, 4], 1)],
        move |g, v| downsample_2d(g, v[0], k, factor, 1.0),
        move |t| op.forward(&t[0], &kernel),
    )
    .per_image(&[0])
}

/// The convolutions joined with a filter, as the authors order them: stuffed, convolved, filtered; filtered, convolved, thinned.
fn with_conv(k: &'static [f64], shape: [usize; 4], up: bool) -> OpCase {
    let p = k.len() as i64 - 2 + if up { -2 } else { 2 };
    let lead = i64::from(up);
    let (before, after) = ((p + 1).div_euclid(2) + lead, p.div_euclid(2) + lead);
    let kernel = fir_kernel(k, if up { 4.0 } else { 1.0 });
    let filter = Upfirdn2d { up: 1, down: 1, pad: [before, after, before, after] };
    let stuff = Upfirdn2d { up: 2, down: 1, pad: [2, 1, 2, 1] };
    let one = Tensor::full(&[1, 1], 1.0);
    let conv = Conv2d { stride: if up { 1 } else { 2 }, pad: [0; 4], dilation: 1, scale: 1.0 };
    let operands = |x: &Tensor, t: &[Tensor]| Operands::new(x.clone(), t[1].clone());
    let again = (kernel.clone(), one.clone());
    OpCase::new(
        format!("{} with 3x3 by {k:?} on {shape:?}", if up { "up" } else { "down" }),
        vec![Tensor::normal(&shape, 1), Tensor::normal(&[5, shape[3], 3, 3], 2)],
        move |g, v| match up {
            true => upsample_conv_2d(g, v[0], v[1], k, 2, Epilogue::default()),
            false => conv_downsample_2d(g, v[0], v[1], k, 2, Epilogue::default()),
        },
        move |t| match up {
            true => filter.forward(&conv.forward(&operands(&stuff.forward(&t[0], &one), t)), &kernel),
            false => conv.forward(&operands(&filter.forward(&t[0], &kernel), t)),
        },
    )
    .gradient(move |t, grad| match up {
        true => {
            let stuffed = operands(&stuff.forward(&t[0], &again.1), t);
            let size = conv.forward(&stuffed).nhwc();
            let by = conv.backward(&stuffed, &filter.backward(size, &again.0, grad));
            vec![stuff.backward(t[0].nhwc(), &again.1, &by.x), by.weight]
        }
        false => {
            let by = conv.backward(&operands(&filter.forward(&t[0], &again.0), t), grad);
            vec![filter.backward(t[0].nhwc(), &again.0, &by.x), by.weight]
        }
    })
    .parameters(&[1])
    .per_image(&[0])
}

op_tests! { "upfirdn2d", cases; forward, backward, reference }
