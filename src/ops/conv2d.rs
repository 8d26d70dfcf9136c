//! Convolutions and dense layers, with what follows them in a score model fused behind the sum:
//! `y = (w ⋆ cat(x, second) + bias + temb + residual)·scale`.
//!
//! A dense layer is a 1×1 convolution over rows. Candidates: `gemm` for 1×1, `winograd4` and `winograd2` for 3×3, each with
//! products of matrices by subgroups or by tiles in workgroup memory; `prologue`, the same behind a group norm that the first stage applies;
//! `implicit`, by such tiles too, for the other kernels and, in parts, for small images; `half` and `cooperative`, forward only, the same
//! of operands rounded to f16, the latter by cooperative matrices; `direct` holds pixels × channels in registers and uses no
//! workgroup memory; `plain` computes one output at a time for every shape.
//!
//! `problem` says what is computed; `kernels` how, a file for each kind; `order` which comes first on a device; the others are ops.

mod forward;
mod gradient;
mod joined;
mod kernels;
mod normed;
mod order;
mod problem;

pub use forward::{Columns, Epilogue, conv2d, linear};
pub use joined::{linear_apart, linear_joined};
pub use normed::{Prologue, norm_conv2d};
pub use problem::Conv2d;
