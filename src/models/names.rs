//! The map between our parameter names and those of the authors' files.
//!
//! * U-Nets: the authors keep all layers in one list. Each layer that our constructors open with
//!   [`Scope::module`](crate::nn::Scope::module) is the next entry of that list, so a parameter is
//!   `all_modules.<place of its module>.<its name inside, respelled>`.
//! * NCSN and NCSNv2: the names are the same.
//! * The classifier: paths of flax, with flax's layouts.

use crate::error::{Error, Result};
use crate::nn::{Manifest, ParamSpec};

/// How names inside a module of a U-Net are respelled; a row is (ours, the authors').
const UNET_LEAVES: &[(&str, &str)] = &[
    ("norm_0", "GroupNorm_0"),
    ("norm_1", "GroupNorm_1"),
    ("conv_0", "Conv_0"),
    ("conv_1", "Conv_1"),
    ("conv_2", "Conv_2"),
    ("fir_conv", "Conv2d_0"),
    ("dense_0", "Dense_0"),
    ("nin_0", "NIN_0"),
    // Attention.
    ("norm", "GroupNorm_0"),
    ("query", "NIN_0"),
    ("key", "NIN_1"),
    ("value", "NIN_2"),
    ("out", "NIN_3"),
    // Tensors.
    ("weight", "weight"),
    ("bias", "bias"),
    ("w", "W"),
    ("b", "b"),
];

/// How parts of a classifier's names are respelled; numbers stay. A row is (ours, flax's).
const FLAX_PARTS: &[(&str, &str)] = &[
    ("time.fourier.w", "GaussianFourierProjection_0/W"),
    ("time.dense_0", "Dense_0"),
    ("time.dense_1", "Dense_1"),
    ("conv_in", "init_conv"),
    ("norm_out", "pre-pool-bn"),
    ("dense_out", "Dense_2"),
    ("norm_0", "init_bn"),
    ("norm_1", "bn_2"),
    ("conv_0", "conv1"),
    ("conv_1", "conv2"),
];

/// The authors' name of every parameter of a PyTorch network, in order.
///
/// # Errors
/// [`Error::UnknownName`] when a layer declares a name that has no row in the table: a bug here.
pub fn torch_names(manifest: &Manifest) -> Result<Vec<String>> {
    manifest.params().iter().map(|param| torch_name(manifest, param)).collect()
}

fn torch_name(manifest: &Manifest, param: &ParamSpec) -> Result<String> {
    let Some(module) = param.module else { return Ok(param.name.clone()) };
    let inside = param.name[manifest.modules()[module].len()..].trim_start_matches('.');
    let mut name = format!("all_modules.{module}");
    for part in inside.split('.') {
        name.push('.');
        name.push_str(respelled(UNET_LEAVES, part)?);
    }
    Ok(name)
}

fn respelled(table: &[(&'static str, &'static str)], part: &str) -> Result<&'static str> {
    table
        .iter()
        .find(|(ours, _)| *ours == part)
        .map(|(_, theirs)| *theirs)
        .ok_or_else(|| Error::UnknownName { kind: "layer", name: part.to_owned(), nearest: None })
}

/// How a tensor of a flax file is laid out, against ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlaxLayout {
    /// As ours.
    Same,
    /// A convolution kernel `kh kw in out`; ours is `out in kh kw`.
    Hwio,
    /// A dense kernel `in out`; ours is `out in`.
    InOut,
}

impl FlaxLayout {
    /// The axes of the flax tensor in the order in which ours has them.
    pub fn axes(self, rank: usize) -> Vec<usize> {
        match self {
            Self::Same => (0..rank).collect(),
            Self::Hwio => vec![3, 2, 0, 1],
            Self::InOut => vec![1, 0],
        }
    }
}

/// The name and layout of every parameter of the classifier in the authors' flax checkpoints, in order.
///
/// # Errors
/// [`Error::UnknownName`] when a layer declares a name that has no row in the table: a bug here.
pub fn flax_names(manifest: &Manifest) -> Result<Vec<(String, FlaxLayout)>> {
    manifest.params().iter().map(flax_name).collect()
}

fn flax_name(param: &ParamSpec) -> Result<(String, FlaxLayout)> {
    if let Some((_, theirs)) = FLAX_PARTS.iter().find(|(ours, _)| *ours == param.name) {
        return Ok(((*theirs).to_owned(), FlaxLayout::Same));
    }
    let (layer, leaf) = param.name.rsplit_once('.').unwrap_or(("", &param.name));
    let layout = match param.shape.len() {
        4 => FlaxLayout::Hwio,
        2 => FlaxLayout::InOut,
        _ => FlaxLayout::Same,
    };
    let leaf = match (leaf, layout) {
        ("weight", FlaxLayout::Same) => "scale",
        ("weight", _) => "kernel",
        (other, _) => other,
    };
    let layer = match layer.strip_prefix("group.").and_then(|rest| rest.split_once(".block.")) {
        Some((group, rest)) => {
            let (block, part) = rest.split_once('.').unwrap_or((rest, ""));
            let part = if part == "dense_0" { "Dense_0" } else { respelled(FLAX_PARTS, part)? };
            format!("WideResnetGroup_{group}/WideResnetBlock_{block}/{part}")
        }
        None => respelled(FLAX_PARTS, layer)?.to_owned(),
    };
    Ok((format!("{layer}/{leaf}"), layout))
}
