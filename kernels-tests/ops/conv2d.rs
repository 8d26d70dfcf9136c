//! `conv2d` and dense layers, with their epilogue.

use langevin::gpu::{Capabilities, DeviceKind};
use langevin::graph::{Draft, DraftOptions, Graph};
use langevin::ops::conv2d::{
    Columns, Conv2d, Epilogue, Prologue, conv2d, linear, linear_apart, linear_joined, norm_conv2d,
};
use langevin::ops::group_norm::GroupNorm;

use crate::harness::OpCase;
use crate::op_tests;
use crate::reference::conv2d::Operands;
use crate::reference::{Tensor, conv2d as reference, group_norm, linear as dense};

/// A shape and what surrounds it.
#[derive(Clone, Copy, Debug)]
struct Row {
    n: usize,
    h: usize,
    w: usize,
    c1: usize,
    c2: usize,
    c_out: usize,
    k: usize,
    geometry: Conv2d,
    /// Bias, time embedding and residual, and a factor.
    epilogue: bool,
}

const fn row(n: usize, [h, w]: [usize; 2], [c1, c2, c_out]: [usize; 3], k: usize, epilogue: bool) -> Row {
    let geometry = Conv2d { stride: 1, pad: [k / 2; 4], dilation: 1 };
    Row { n, h, w, c1, c2, c_out, k, geometry, epilogue }
}

const fn with(row: Row, stride: usize, pad: [usize; 4], dilation: usize) -> Row {
    Row { geometry: Conv2d { stride, pad, dilation }, ..row }
}

/// 1, primes, sizes off the tile, n > 1, channels that come out even and that do not, two inputs, every geometry in use.
const TABLE: &[Row] = &[
    row(1, [1, 1], [1, 0, 1], 1, false),
    row(1, [1, 1], [1, 0, 1], 3, true),
    row(2, [7, 5], [3, 0, 5], 3, true),
    row(1, [8, 8], [4, 0, 8], 3, false),
    row(2, [9, 11], [8, 0, 12], 3, true),
    row(2, [16, 16], [16, 0, 16], 3, true),
    row(3, [4, 4], [32, 0, 24], 3, true),
    row(1, [5, 17], [17, 0, 5], 1, true),
    row(2, [8, 8], [24, 0, 40], 1, true),
    row(2, [8, 8], [8, 12, 16], 3, true),
    row(2, [6, 7], [5, 3, 7], 3, true),
    row(2, [6, 6], [16, 8, 8], 1, false),
    row(1, [13, 13], [4, 0, 6], 5, true),
    // More than 16 channels, as the fast kernels are chosen for; more rows than a tile; odd sizes.
    row(3, [13, 10], [20, 16, 36], 3, true),
    // More tiles than a Winograd workspace holds, and pixels in several chunks.
    row(1, [48, 48], [1024, 0, 4], 3, false),
    row(2, [23, 37], [16, 4, 36], 1, true),
    with(row(2, [8, 8], [16, 0, 16], 3, true), 2, [0, 1, 0, 1], 1),
    with(row(2, [9, 7], [5, 0, 17], 3, false), 2, [0, 1, 0, 1], 1),
    with(row(1, [10, 10], [8, 0, 8], 3, true), 2, [0, 0, 0, 0], 1),
    with(row(2, [11, 8], [20, 16, 36], 3, true), 2, [1, 1, 1, 1], 1),
    with(row(2, [8, 9], [4, 0, 6], 3, false), 3, [1, 0, 0, 2], 2),
    with(row(2, [9, 9], [8, 0, 8], 3, false), 1, [2, 2, 2, 2], 2),
    with(row(2, [9, 9], [5, 0, 17], 3, true), 1, [1, 1, 1, 1], 4),
    with(row(1, [6, 6], [4, 0, 4], 1, false), 1, [1, 0, 2, 0], 1),
    with(row(1, [6, 5], [4, 4, 8], 3, true), 1, [2, 2, 2, 2], 1),
    // Off every edge of the largest tiles, and off their steps of channels in both inputs.
    row(1, [12, 11], [20, 36, 132], 3, true),
    with(row(2, [13, 11], [20, 36, 68], 3, true), 2, [0, 1, 0, 1], 1),
    with(row(2, [9, 9], [20, 0, 36], 3, true), 1, [2, 2, 2, 2], 2),
    with(row(1, [7, 9], [20, 0, 20], 3, true), 1, [0, 2, 1, 0], 1),
    with(row(2, [8, 8], [16, 0, 20], 1, true), 2, [0, 0, 0, 0], 1),
    // Small images with long sums, which are split: two inputs, a 1×1 kernel, more pixels than a workspace holds.
    row(2, [4, 4], [64, 16, 68], 3, true),
    row(3, [8, 8], [64, 0, 16], 3, true),
    row(2, [4, 4], [256, 16, 8], 1, true),
    row(3, [48, 48], [256, 0, 40], 1, true),
];

fn case(row: Row) -> OpCase {
    let Row { n, h, w, c1, c2, c_out, k, geometry, epilogue } = row;
    let conv = reference::Conv2d {
        stride: geometry.stride,
        pad: geometry.pad,
        dilation: geometry.dilation,
        scale: if epilogue { 0.75 } else { 1.0 },
    };
    let [ho, wo] = conv.out_size([h, w], [k, k]);
    let mut inputs = vec![Tensor::normal(&[n, h, w, c1], 1)];
    if c2 > 0 {
        inputs.push(Tensor::normal(&[n, h, w, c2], 2));
    }
    let at = inputs.len();
    inputs.push(Tensor::normal(&[c_out, c1 + c2, k, k], 3));
    if epilogue {
        inputs.push(Tensor::normal(&[c_out], 4));
        inputs.push(Tensor::normal(&[n, c_out], 5));
        inputs.push(Tensor::normal(&[n, ho, wo, c_out], 6));
    }
    let parameters: &[usize] = if epilogue { &[at, at + 1] } else { &[at] };
    let per_image: Vec<usize> = (0..inputs.len()).filter(|i| !parameters.contains(i)).collect();
    let unpack = move |t: &[Tensor]| Operands {
        x: t[0].clone(),
        second: (c2 > 0).then(|| t[1].clone()),
        weight: t[at].clone(),
        bias: epilogue.then(|| t[at + 1].clone()),
        temb: epilogue.then(|| t[at + 2].clone()),
        residual: epilogue.then(|| t[at + 3].clone()),
    };
    OpCase::new(
        format!("{row:?}"),
        inputs,
        move |g, v| {
            let mut behind = Epilogue::default();
            if epilogue {
                let (bias, temb, residual) = (Some(v[at + 1]), Some(v[at + 2].into()), Some(v[at + 3]));
                behind = Epilogue { bias, temb, residual, scale: 0.75 };
            }
            conv2d(g, v[0], (c2 > 0).then(|| v[1]), v[at], geometry, behind)
        },
        move |t| conv.forward(&unpack(t)),
    )
    .gradient(move |t, g| {
        let grad = conv.backward(&unpack(t), g);
        [Some(grad.x), grad.second, Some(grad.weight), grad.bias, grad.temb, grad.residual]
            .into_iter()
            .flatten()
            .collect()
    })
    .parameters(parameters)
    .per_image(&per_image)
}

/// A dense layer over the last axis of `shape`.
fn dense_case(shape: &'static [usize], c_out: usize, input_first: bool) -> OpCase {
    let c_in = shape[shape.len() - 1];
    let weight = if input_first { [c_in, c_out] } else { [c_out, c_in] };
    let layout = if input_first { dense::Layout::InOut } else { dense::Layout::OutIn };
    OpCase::new(
        format!("linear {shape:?} to {c_out}, input first {input_first}"),
        vec![Tensor::normal(shape, 1), Tensor::normal(&weight, 2), Tensor::normal(&[c_out], 3)],
        move |g, v| linear(g, v[0], v[1], input_first, Epilogue::bias(v[2])),
        move |t| dense::forward(layout, &t[0], &t[1], Some(&t[2])),
    )
    .gradient(move |t, g| dense::backward(layout, &t[0], &t[1], g).to_vec())
    .parameters(&[1, 2])
    .per_image(&[0])
}

/// The time embedding in columns of a wider matrix.
fn columns_case([n, c_in, c_out]: [usize; 3], k: usize, line: usize, first: usize) -> OpCase {
    let conv = reference::Conv2d { stride: 1, pad: [k / 2; 4], dilation: 1, scale: 1.0 };
    let inputs = vec![
        Tensor::normal(&[n, 6, 5, c_in], 1),
        Tensor::normal(&[c_out, c_in, k, k], 2),
        Tensor::normal(&[n, line], 3),
    ];
    let unpack = move |t: &[Tensor]| {
        let rows = t[2].data.chunks(line).flat_map(|row| &row[first..first + c_out]);
        let temb = Tensor::new(&[n, c_out], rows.copied().collect());
        Operands { temb: Some(temb), ..Operands::new(t[0].clone(), t[1].clone()) }
    };
    OpCase::new(
        format!(
            "time embedding of {n}x{c_out} from column {first} of {line} on, kernel {k}, {c_in} channels"
        ),
        inputs,
        move |g, v| {
            let temb = Some(Columns { of: v[2], first });
            conv2d(g, v[0], None, v[1], Conv2d::same(k), Epilogue { temb, ..Epilogue::default() })
        },
        move |t| conv.forward(&unpack(t)),
    )
    .gradient(move |t, g| {
        let grad = conv.backward(&unpack(t), g);
        let own = grad.temb.unwrap();
        let mut wide = Tensor::zeros(&[n, line]);
        for (to, from) in wide.data.chunks_mut(line).zip(own.data.chunks(c_out)) {
            to[first..first + c_out].copy_from_slice(from);
        }
        vec![grad.x, grad.weight, wide]
    })
    .parameters(&[1])
    .per_image(&[0, 2])
}

/// Layers of `widths` on `rows` of `c_in` channels, side by side in one matrix.
fn joined_case(rows: usize, c_in: usize, widths: &'static [usize]) -> OpCase {
    let layers = widths.len();
    let mut inputs = vec![Tensor::normal(&[rows, c_in], 1)];
    inputs.extend((2..).zip(widths).map(|(seed, &c)| Tensor::normal(&[c, c_in], seed)));
    inputs.extend((50..).zip(widths).map(|(seed, &c)| Tensor::normal(&[c], seed)));
    let parameters: Vec<usize> = (1..=2 * layers).collect();
    // The same as one layer.
    let whole = move |t: &[Tensor]| {
        let join = |parts: &[Tensor]| parts.iter().flat_map(|t| t.data.clone()).collect::<Vec<f64>>();
        let weight = join(&t[1..=layers]);
        let bias = join(&t[layers + 1..]);
        (Tensor::new(&[bias.len(), c_in], weight), Tensor::new(&[bias.len()], bias))
    };
    OpCase::new(
        format!("{widths:?} side by side on {rows}x{c_in}"),
        inputs,
        move |g, v| {
            let pairs: Vec<_> = (0..layers).map(|i| [v[1 + i], v[1 + layers + i]]).collect();
            linear_joined(g, v[0], &pairs)
        },
        move |t| {
            let (weight, bias) = whole(t);
            dense::forward(dense::Layout::OutIn, &t[0], &weight, Some(&bias))
        },
    )
    .gradient(move |t, g| {
        let (weight, _) = whole(t);
        let [x, weight, bias] = dense::backward(dense::Layout::OutIn, &t[0], &weight, g);
        let parts = |all: Tensor, c: usize| {
            let mut rest = all.data.into_iter();
            let part = move |&width: &usize| {
                let shape = if c == 0 { vec![width] } else { vec![width, c] };
                let count = shape.iter().product();
                Tensor::new(&shape, rest.by_ref().take(count).collect())
            };
            widths.iter().map(part).collect::<Vec<_>>()
        };
        [vec![x], parts(weight, c_in), parts(bias, 0)].concat()
    })
    .parameters(&parameters)
    .per_image(&[0])
}

/// Three layers on one input, each with an output of its own.
fn apart_case(shape: &'static [usize], c: usize) -> OpCase {
    let c_in = shape[shape.len() - 1];
    let mut inputs = vec![Tensor::normal(shape, 1)];
    inputs.extend((2..5).map(|seed| Tensor::normal(&[c_in, c], seed)));
    inputs.extend((5..8).map(|seed| Tensor::normal(&[c], seed)));
    const LAYOUT: dense::Layout = dense::Layout::InOut;
    OpCase::several(
        format!("three layers of {c} on {shape:?}"),
        inputs,
        |g, v| Ok(linear_apart(g, v[0], [[v[1], v[4]], [v[2], v[5]], [v[3], v[6]]])?.to_vec()),
        |t| (1..4).map(|i| dense::forward(LAYOUT, &t[0], &t[i], Some(&t[3 + i]))).collect(),
    )
    .gradients(|t, grads| {
        let each = (1..4).map(|i| dense::backward(LAYOUT, &t[0], &t[i], &grads[i - 1]));
        let (mut xs, mut weights, mut biases) = (Vec::new(), Vec::new(), Vec::new());
        for [x, weight, bias] in each {
            xs.push(x);
            weights.push(weight);
            biases.push(bias);
        }
        let x = xs[0].plus(&xs[1]).plus(&xs[2]);
        [vec![x], weights, biases].concat()
    })
    .parameters(&[1, 2, 3, 4, 5, 6])
    .per_image(&[0])
}

/// A convolution of what a group norm makes of `n` images, with an epilogue; `pad` is all around.
fn normed_case(
    [n, h, w]: [usize; 3],
    [c_in, c_out, k]: [usize; 3],
    pad: usize,
    groups: usize,
    silu: bool,
) -> OpCase {
    let conv = reference::Conv2d { stride: 1, pad: [pad; 4], dilation: 1, scale: 0.75 };
    let norm = group_norm::GroupNorm { groups, norm_eps: 1e-6, silu };
    let [ho, wo] = conv.out_size([h, w], [k, k]);
    // An offset that no plain sum of squares would survive, and none that rounds.
    let x = Tensor::normal(&[n, h, w, c_in], 1).map(|v| v + 8.0);
    let inputs = vec![
        x,
        Tensor::normal(&[c_out, c_in, k, k], 2),
        Tensor::normal(&[c_out], 3),
        Tensor::normal(&[n, c_out], 4),
        Tensor::normal(&[n, ho, wo, c_out], 5),
        Tensor::uniform(&[c_in], 0.5, 1.5, 6),
        Tensor::normal(&[c_in], 7),
    ];
    let unpack = move |t: &[Tensor]| Operands {
        x: norm.forward(&t[0], &t[5], &t[6]),
        second: None,
        weight: t[1].clone(),
        bias: Some(t[2].clone()),
        temb: Some(t[3].clone()),
        residual: Some(t[4].clone()),
    };
    let geometry = Conv2d { stride: 1, pad: [pad; 4], dilation: 1 };
    let name = format!("{n}x{h}x{w}, {c_in} channels in {groups} groups, silu {silu}, to {c_out} by {k}²");
    OpCase::new(
        name,
        inputs,
        move |g, v| {
            let norm = GroupNorm { groups, norm_eps: 1e-6, silu };
            let prologue = Prologue { weight: v[5], bias: v[6], norm };
            let (bias, temb, residual) = (Some(v[2]), Some(v[3].into()), Some(v[4]));
            let epilogue = Epilogue { bias, temb, residual, scale: 0.75 };
            norm_conv2d(g, v[0], prologue, v[1], geometry, epilogue)
        },
        move |t| conv.forward(&unpack(t)),
    )
    .gradient(move |t, g| {
        let grad = conv.backward(&unpack(t), g);
        let [x, factor, summand] = norm.backward(&t[0], &t[5], &t[6], &grad.x);
        let behind = [grad.bias, grad.temb, grad.residual].map(Option::unwrap);
        [vec![x, grad.weight], behind.to_vec(), vec![factor, summand]].concat()
    })
    .parameters(&[1, 2, 5, 6])
    .per_image(&[0, 3, 4])
}

fn cases() -> Vec<OpCase> {
    // The plain kernel takes 64 outputs a workgroup: 66,049 workgroups.
    let mut cases = vec![case(row(1, [1028, 1028], [1, 0, 4], 1, false)).heavy()];
    cases.extend(TABLE.iter().map(|&row| case(row)));
    for input_first in [false, true] {
        let table: [(&[usize], usize); 4] = [(&[1, 1], 1), (&[3, 7], 5), (&[2, 16], 64), (&[2, 3, 5, 12], 8)];
        for (shape, c_out) in table {
            cases.push(dense_case(shape, c_out, input_first));
        }
    }
    // In fours, and not: columns that kernels read where they are, and some that they do not.
    for (sizes, k, line, first) in
        [([2, 16, 20], 3, 36, 8), ([3, 20, 16], 1, 16, 0), ([2, 8, 8], 1, 17, 4), ([2, 3, 5], 3, 9, 3)]
    {
        cases.push(columns_case(sizes, k, line, first));
    }
    for (rows, c_in, widths) in [
        (1, 8, &[4][..]),
        (3, 12, &[4, 8, 16]),
        (5, 7, &[8, 4]),
        (2, 20, &[36, 68, 4, 132, 32]),
        (130, 16, &[8, 8]),
        // Long sums, which are split.
        (1, 256, &[16, 16]),
    ] {
        cases.push(joined_case(rows, c_in, widths));
    }
    for (shape, c) in
        [(&[2, 16][..], 8), (&[1, 3], 5), (&[2, 5, 7, 12], 8), (&[3, 9, 9, 24], 24), (&[2, 4, 4, 64], 68)]
    {
        cases.push(apart_case(shape, c));
    }
    // Off the tile, one tile and many, zeros around that the norm must not touch, more channels than a workgroup; and what no kernel fuses.
    for (images, channels, pad, groups, silu) in [
        ([2, 9, 7], [16, 20, 3], 1, 4, true),
        ([1, 4, 4], [36, 16, 3], 1, 9, true),
        ([3, 13, 10], [32, 68, 3], 1, 8, false),
        ([2, 6, 5], [20, 16, 3], 2, 5, true),
        ([1, 8, 8], [512, 16, 3], 1, 32, true),
        ([2, 5, 6], [12, 4, 3], 1, 3, true),
        ([2, 5, 6], [16, 20, 1], 0, 4, true),
    ] {
        cases.push(normed_case(images, channels, pad, groups, silu));
    }
    cases
}

op_tests! { "conv2d", cases; forward, backward, orders, reference }

#[test]
fn errors_name_both_shapes() {
    let mut g = Graph::new();
    let x = g.input("x", [1, 8, 8, 4]);
    let w = g.input("w", [8, 5, 3, 3]);
    let error = conv2d(&mut g, x, None, w, Conv2d::same(3), Epilogue::default()).unwrap_err().to_string();
    assert!(error.contains("conv2d") && error.contains("4 channels") && error.contains("8x5x3x3"), "{error}");
}

/// The kernels that a device of some kind has for a convolution of `n` images of 16², the one that the written order chooses first.
fn kernels(kind: DeviceKind, n: usize, sizes: [usize; 3], stride: usize) -> Vec<String> {
    kernels_at(kind, n, 16, sizes, stride)
}

/// The same for images of `size`².
fn kernels_at(
    kind: DeviceKind,
    n: usize,
    size: usize,
    [c_in, c_out, k]: [usize; 3],
    stride: usize,
) -> Vec<String> {
    let device = Capabilities {
        kind,
        max_binding: 128 << 20,
        max_buffer: 256 << 20,
        workgroup_memory: 16 << 10,
        max_invocations: 256,
        f16: true,
        subgroups: Some((8, 8)),
        cooperative: None,
        timestamps: false,
        uniform_alignment: 256,
    };
    let mut g = Graph::new();
    let x = g.input("x", [n, size, size, c_in]);
    let w = g.parameter("weights", "w", [c_out, c_in, k, k]).unwrap();
    let geometry = Conv2d { stride, ..Conv2d::same(k) };
    let y = conv2d(&mut g, x, None, w, geometry, Epilogue::default()).unwrap();
    let draft = Draft::new(&g, &[y], &device, DraftOptions::default()).unwrap();
    let chosen = &draft.chosen()[0];
    let own = format!("{} {}", chosen.class, chosen.variant).trim_end().to_owned();
    [own].into_iter().chain(chosen.rivals.iter().map(|rival| rival.name.clone())).collect()
}

#[test]
fn the_written_order_goes_by_device_and_shape() {
    let first = |kind, sizes, stride| kernels(kind, 128, sizes, stride)[0].clone();
    let by = [DeviceKind::Discrete, DeviceKind::Integrated, DeviceKind::Software];
    let same = |sizes, stride| by.map(|kind| first(kind, sizes, stride));
    assert_eq!(same([128, 128, 3], 1), ["winograd4 tile64", "winograd4 tile64", "winograd4 lanes"]);
    assert_eq!(same([128, 128, 3], 2), ["implicit tile128", "implicit tile32x64", "direct 8x8"]);
    assert_eq!(same([128, 64, 5], 1), ["implicit tile64", "implicit tile32x64", "direct 8x8"]);
    assert_eq!(same([128, 128, 1], 1), ["gemm tile64", "gemm tile64", "gemm lanes"]);
    assert_eq!(same([4, 128, 3], 1), ["direct 8x8"; 3]);
    // One image has too few large tiles to keep a GPU at work; smaller ones add in the same order.
    let alone = |sizes, stride| kernels(DeviceKind::Discrete, 1, sizes, stride)[0].clone();
    assert_eq!(alone([128, 128, 3], 2), "implicit tile32x64");
    assert_eq!(alone([128, 128, 1], 1), "gemm tile32x64");
    assert_eq!(alone([128, 128, 3], 1), "winograd4 tile64");
}

#[test]
fn a_processor_takes_small_tiles_where_weights_are_all_it_reads() {
    let first = |kind, size, sizes| kernels_at(kind, 1, size, sizes, 1)[0].clone();
    let software = |size, sizes| first(DeviceKind::Software, size, sizes);
    assert_eq!(software(4, [256, 256, 3]), "winograd2 lanes");
    assert_eq!(software(8, [512, 256, 3]), "winograd2 lanes");
    assert_eq!(software(8, [256, 256, 3]), "winograd4 lanes");
    assert_eq!(software(16, [512, 512, 3]), "winograd4 lanes");
    assert_eq!(first(DeviceKind::Discrete, 8, [512, 256, 3]), "winograd4 tile64");
}

/// Which tile of a class comes first may depend on the batch, the classes may not.
#[test]
fn the_written_order_of_classes_does_not_depend_on_the_batch() {
    let classes = |names: Vec<String>| {
        let mut classes: Vec<String> =
            names.iter().filter_map(|name| name.split(' ').next()).map(str::to_owned).collect();
        classes.dedup();
        classes
    };
    for kind in [DeviceKind::Discrete, DeviceKind::Integrated, DeviceKind::Software] {
        for (sizes, stride) in [([256, 64, 3], 1), ([256, 64, 3], 2), ([256, 64, 1], 1), ([4, 4, 3], 1)] {
            let all = classes(kernels(kind, 1, sizes, stride));
            assert_eq!(all, classes(kernels(kind, 128, sizes, stride)), "{kind:?} {sizes:?} {stride}");
            assert_eq!(all.last().map(String::as_str), Some("cooperative"), "{all:?}");
        }
    }
}
