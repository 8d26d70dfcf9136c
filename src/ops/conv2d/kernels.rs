//! How it is computed: a function for each kind of kernel, from a problem to candidates. None of them claims every shape but `plain`.

pub(super) mod bind;
pub(super) mod direct;
pub(super) mod gemm;
pub(super) mod grad_weight;
pub(super) mod implicit;
pub(super) mod pack;
pub(super) mod plain;
pub(super) mod winograd;
