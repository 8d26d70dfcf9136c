//! The list of what is measured.

use super::case::{Case, Group};
use super::ops::{self, Side};
use super::step;
use crate::nn::resample::Direction;

/// The eight shapes of 3x3 convolutions that are 79 % of the CIFAR-10 NCSN++: channels in, channels out, height and width.
const EIGHT: [[usize; 3]; 8] = [
    [256, 256, 16],
    [128, 128, 32],
    [512, 256, 16],
    [256, 256, 32],
    [256, 128, 32],
    [256, 256, 8],
    [384, 128, 32],
    [512, 256, 8],
];
/// Few channels and many pixels, as at the ends of the large networks.
const WIDE: [usize; 3] = [16, 16, 256];
/// The network of the paper's first table.
const NCSNPP: &str = "ve/cifar10_ncsnpp_continuous";

/// Everything that is measured. The cases that are not `full` take at most ten minutes on a software adapter with two idle cores.
pub fn suite() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [1, 4, 128] {
        let full = |case: Case| case.only_full(n == 128);
        for shape in EIGHT {
            cases.push(full(conv("conv3x3", shape, 3, Side::Forward, n)));
        }
        if n == 1 {
            cases.push(conv("conv3x3", WIDE, 3, Side::Forward, n));
        }
        cases.push(full(conv("conv1x1", EIGHT[0], 1, Side::Forward, n)));
        cases.push(full(channels(Group::Kernel, "attention", [256, 16], n, ops::attend)));
        cases.push(full(channels(Group::Kernel, "group_norm silu", [128, 32], n, ops::norm_silu)));
        for (name, direction) in [("upfirdn2d down", Direction::Down), ("upfirdn2d up", Direction::Up)] {
            let make = move |shape, n| ops::resampled(shape, direction, n);
            cases.push(full(channels(Group::Kernel, name, [128, 32], n, make)));
        }
    }
    for n in [4, 128] {
        for (i, shape) in EIGHT.into_iter().enumerate() {
            for (name, side) in [("conv3x3 grad_x", Side::GradX), ("conv3x3 grad_weight", Side::GradWeight)] {
                cases.push(conv(name, shape, 3, side, n).only_full(n == 128 || i > 1));
            }
        }
    }
    for n in [1, 4, 128] {
        let one = |case: Case| case.only_full(n == 128).on_hardware(n == 128);
        for shape in [[128, 32], [256, 16]] {
            let make = |shape, n| ops::residual(shape, None, n);
            cases.push(one(channels(Group::Block, "residual block", shape, n, make)));
        }
        for (name, shape, direction) in [
            ("residual block down", [128, 32], Direction::Down),
            ("residual block up", [256, 16], Direction::Up),
        ] {
            let make = move |shape, n| ops::residual(shape, Some(direction), n);
            cases.push(one(channels(Group::Block, name, shape, n, make)));
        }
        cases.push(one(channels(Group::Block, "attention block", [256, 16], n, ops::attention_block)));
        cases.push(one(Case::new(Group::Model, "forward", NCSNPP, n, |n| step::forward(NCSNPP, n))));
    }
    for n in [4, 128] {
        let make = |gpu: &_, n, kernels: &_| step::training(gpu, NCSNPP, n, kernels);
        cases.push(Case::step("training step", NCSNPP, n, make).on_hardware(n == 128));
    }
    for n in [8, 128] {
        let make = |n| step::predictor_corrector(NCSNPP, n);
        let case = Case::new(Group::Sampling, "pc step", NCSNPP, n, make);
        cases.push(case.only_full(true).on_hardware(n == 128));
    }
    cases
}

fn conv(name: &'static str, shape: [usize; 3], k: usize, side: Side, n: usize) -> Case {
    let [c_in, c_out, size] = shape;
    let text = format!("{c_in}→{c_out}@{size}²");
    Case::new(Group::Kernel, name, text, n, move |n| ops::conv(shape, k, side, n))
}

fn channels(
    group: Group,
    name: &'static str,
    shape: [usize; 2],
    n: usize,
    make: impl Fn([usize; 2], usize) -> crate::Result<super::Workload> + Send + Sync + 'static,
) -> Case {
    let [c, size] = shape;
    Case::new(group, name, format!("{c}@{size}²"), n, move |n| make(shape, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_every_kind_is_there() {
        let cases = suite();
        let names: std::collections::BTreeSet<String> = cases.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), cases.len());
        for group in [Group::Kernel, Group::Block, Group::Model, Group::Training, Group::Sampling] {
            assert!(cases.iter().any(|c| c.group == group), "{group:?}");
        }
        assert!(names.contains("kernel conv3x3 16→16@256² n=1"));
    }

    /// 21.8 GFLOP an image is what the authors' code counts for this network.
    #[test]
    fn the_work_of_a_forward_pass_is_known() {
        let graph = step::forward(NCSNPP, 2).unwrap().graph;
        assert!((graph.flops() / 2.0 / 21.8e9 - 1.0).abs() < 0.02, "{}", graph.flops());
    }
}
