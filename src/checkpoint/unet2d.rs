//! Networks of diffusers' `UNet2DModel`: which of our U-Nets a config describes, and where its tensors lie in the files.

use crate::checkpoint::diffusers::{SampleSize, UNetConfig};
use crate::checkpoint::tensors::Tensors;
use crate::error::{Error, Result};
use crate::limits::{BLOCKS, LAYER_EXTENT, shape};
use crate::models::Network;
use crate::models::unet::{Embedding, InputPyramid, NormGroups, OutputPyramid, Unet, UnetSpec};
use crate::nn::layers::Groups;
use crate::nn::resample::{Filter, Merge, Resample};
use crate::nn::residual::BlockStyle;
use crate::ops::activation::Activation;
use crate::sde::TimeConditioning;

/// Standard deviation of the Fourier frequencies, which configs do not give.
const FOURIER_SCALE: f64 = 16.0;
/// The separable filter of the Skip blocks.
const FIR_KERNEL: [f64; 4] = [1.0, 3.0, 3.0, 1.0];
/// Groups of the attention norms of the AttnSkip blocks.
const SKIP_ATTENTION_GROUPS: usize = 32;

/// An error about a key of `config.json`.
fn refuse<T>(key: &str, value: impl std::fmt::Debug, problem: &str) -> Result<T> {
    Err(Error::invalid(format!("config.json: {key}"), format!("{value:?}"), problem))
}

/// The U-Net that a config describes.
///
/// # Errors
/// [`Error::Invalid`] naming the key where the config asks for what our U-Nets are not.
pub fn spec(config: &UNetConfig) -> Result<UnetSpec> {
    let levels = config.block_out_channels.len();
    let (skip, attention_down) = block_types("down_block_types", &config.down_block_types, "Down", levels)?;
    let (skip_up, mut attention_up) = block_types("up_block_types", &config.up_block_types, "Up", levels)?;
    attention_up.reverse();
    if skip != skip_up {
        return refuse("up_block_types", &config.up_block_types, "Skip blocks go with Skip blocks only");
    }
    check_what_is_fixed(config)?;
    let nf = config.block_out_channels[0];
    check_attention(config, &attention_down, &attention_up)?;
    let named = config.norm_num_groups.map(Groups::Fixed);
    let blocks = match (skip, named) {
        (true, _) => Groups::Quarter,
        (false, Some(groups)) => groups,
        (false, None) => return refuse("norm_num_groups", (), "these blocks need a number of groups"),
    };
    let fourier = config.time_embedding_type == "fourier";
    let embedding = match config.time_embedding_type.as_str() {
        "fourier" => Embedding::Fourier { scale: FOURIER_SCALE },
        "positional" => Embedding::Positional { cos_first: config.flip_sin_to_cos, shift: config.freq_shift },
        other => return refuse("time_embedding_type", other, "\"fourier\" and \"positional\" are computed"),
    };
    let activation = match config.act_fn.as_str() {
        "silu" | "swish" => Activation::Silu,
        "relu" => Activation::Relu,
        other => return refuse("act_fn", other, "\"silu\", \"swish\" and \"relu\" are computed"),
    };
    let image_size = match config.sample_size {
        Some(SampleSize::Square(side)) => side,
        Some(SampleSize::Sides([h, w])) if h == w => h,
        other => return refuse("sample_size", other, "square images are computed: set their side"),
    };
    let unit = 1usize << (levels - 1);
    if !(1..=1 << 14).contains(&image_size) || !image_size.is_multiple_of(unit) {
        return refuse(
            "sample_size",
            image_size,
            &format!("{levels} levels need a multiple of {unit}, at most 16384"),
        );
    }
    Ok(UnetSpec {
        image_size,
        num_channels: config.in_channels,
        nf,
        level_channels: config.block_out_channels.clone(),
        attention_down,
        attention_up,
        attention_after_every_up_block: !skip,
        num_res_blocks: config.layers_per_block,
        embedding,
        conditional: true,
        biggan: skip,
        filter: if skip { Filter::Fir(FIR_KERNEL.to_vec()) } else { Filter::Naive },
        resamp_with_conv: true,
        downsample_padding: match config.downsample_padding {
            0 => Resample::PADDING,
            p => [p; 4],
        },
        input_pyramid: if skip { InputPyramid::Skip(Merge::Sum) } else { InputPyramid::None },
        output_pyramid: if skip { OutputPyramid::Skip } else { OutputPyramid::None },
        // Until the scheduler says more.
        conditioning: TimeConditioning::Discrete { levels: 1000 },
        style: BlockStyle {
            groups: [blocks; 2],
            norm_eps: config.norm_eps,
            activation,
            dropout: config.dropout,
            init_scale: 0.0,
            output_scale: if skip { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 },
            temb_channels: Some(4 * nf),
        },
        // The library takes `act_fn` for the blocks alone.
        outer_activation: Activation::Silu,
        groups: NormGroups {
            blocks,
            attention: if skip { Groups::Fixed(SKIP_ATTENTION_GROUPS) } else { blocks },
            mid: named.unwrap_or(Groups::Quarter),
            heads: blocks,
            skip_alone_in_quarters: skip,
        },
        mid_output_scale: 1.0 / config.mid_block_scale_factor,
        centered: !config.center_input_sample,
        // With Fourier features the library divides by the argument, sigma; else never.
        scale_by_sigma: fourier,
        sigmas: Vec::new(),
    })
}

/// The U-Net that a config describes, built only where `tensors` can fill it: a config of a few bytes may ask for any number of layers.
///
/// # Errors
/// As [`spec`]; [`Error::Format`] with the figures where the weights are fewer than the config's layers have.
pub fn network(config: &UNetConfig, tensors: &Tensors) -> Result<Unet> {
    let spec = spec(config)?;
    let held = tensors.iter().map(|(_, tensor)| tensor.len() as u128).sum::<u128>();
    let (least_tensors, least_numbers) = least(config);
    if least_tensors > tensors.len() as u128 || least_numbers > held {
        let problem = format!(
            "config.json asks for {} layers a level and channels {}, which are at least {least_tensors} tensors of {least_numbers} \
             numbers; the weights are {} tensors of {held}. They are not of one model",
            config.layers_per_block,
            shape(&config.block_out_channels),
            tensors.len(),
        );
        return Err(Error::format(tensors.origin(), problem));
    }
    Unet::new(spec)
}

/// Tensors and numbers of the residual blocks, without what stands around them: two convolutions, two norms and a dense layer each.
fn least(config: &UNetConfig) -> (u128, u128) {
    let levels = config.block_out_channels.len() as u128;
    let blocks = 2 * config.layers_per_block as u128 + 1;
    let numbers = config.block_out_channels.iter().map(|&c| blocks * 9 * (c as u128) * (c as u128));
    (levels * blocks * 10, numbers.sum())
}

/// Whether the blocks are Skip blocks, and which have attention.
fn block_types(key: &str, types: &[String], way: &str, levels: usize) -> Result<(bool, Vec<bool>)> {
    if types.len() != levels || levels == 0 || levels > 16 {
        return refuse(key, types, "there must be one for each number in block_out_channels, 1 to 16");
    }
    let mut attention = Vec::new();
    let mut skips = Vec::new();
    for name in types {
        let rest = name.strip_suffix(&format!("{way}Block2D")).unwrap_or("?");
        let (attn, rest) = rest.strip_prefix("Attn").map_or((false, rest), |rest| (true, rest));
        match rest {
            "" => skips.push(false),
            "Skip" => skips.push(true),
            _ => return refuse(key, name, "computed are the blocks with or without Attn and Skip"),
        }
        attention.push(attn);
    }
    if skips.iter().any(|&skip| skip != skips[0]) {
        return refuse(key, types, "Skip blocks go with Skip blocks only");
    }
    Ok((skips[0], attention))
}

/// Keys that have one value that is computed.
fn check_what_is_fixed(config: &UNetConfig) -> Result<()> {
    let nf = config.block_out_channels[0];
    if config.in_channels != config.out_channels || !(1..=1 << 10).contains(&config.in_channels) {
        return refuse("out_channels", config.out_channels, "must be in_channels, and lie in 1 to 1024");
    }
    if config.block_out_channels.iter().any(|c| !(1..=LAYER_EXTENT).contains(c)) {
        return refuse(
            "block_out_channels",
            &config.block_out_channels,
            &format!("must lie in 1 to {LAYER_EXTENT}"),
        );
    }
    let levels = config.block_out_channels.len();
    let blocks = config.layers_per_block.saturating_mul(2).saturating_add(1).saturating_mul(levels);
    if config.layers_per_block == 0 || blocks > BLOCKS {
        let problem = format!(
            "must be positive, and at most {BLOCKS} blocks in all, where {levels} levels make {blocks}"
        );
        return refuse("layers_per_block", config.layers_per_block, &problem);
    }
    for (key, groups) in
        [("norm_num_groups", config.norm_num_groups), ("attn_norm_num_groups", config.attn_norm_num_groups)]
    {
        if groups == Some(0) {
            return refuse(key, groups, "must be positive");
        }
    }
    if config.downsample_padding > 8 {
        return refuse("downsample_padding", config.downsample_padding, "must be 0 or 1");
    }
    if !config.freq_shift.is_finite() {
        return refuse("freq_shift", config.freq_shift, "must be a number");
    }
    if config.time_embedding_dim.is_some_and(|dim| dim != 4 * nf) {
        return refuse("time_embedding_dim", config.time_embedding_dim, "must be 4 times the first channels");
    }
    if config.class_embed_type.is_some() || config.num_class_embeds.is_some() {
        return refuse("class_embed_type", &config.class_embed_type, "classes are not computed");
    }
    if config.resnet_time_scale_shift != "default" {
        return refuse("resnet_time_scale_shift", &config.resnet_time_scale_shift, "\"default\" is computed");
    }
    for (key, value) in
        [("downsample_type", &config.downsample_type), ("upsample_type", &config.upsample_type)]
    {
        if value != "conv" {
            return refuse(key, value, "\"conv\" is computed");
        }
    }
    if config.mid_block_type.as_deref() != Some("UNetMidBlock2D") || !config.add_attention {
        return refuse(
            "mid_block_type",
            &config.mid_block_type,
            "a UNetMidBlock2D with attention is computed",
        );
    }
    if config.attn_norm_num_groups.is_some() && config.attn_norm_num_groups != config.norm_num_groups {
        return refuse(
            "attn_norm_num_groups",
            config.attn_norm_num_groups,
            "must be norm_num_groups, or null",
        );
    }
    if !(config.mid_block_scale_factor.is_normal() && config.norm_eps > 0.0 && config.norm_eps.is_finite()) {
        return refuse(
            "mid_block_scale_factor",
            config.mid_block_scale_factor,
            "must be a number, as norm_eps",
        );
    }
    if !(0.0..1.0).contains(&config.dropout) {
        return refuse("dropout", config.dropout, "must lie in [0, 1)");
    }
    Ok(())
}

/// Attention has one head: a head has all channels wherever there is attention.
fn check_attention(config: &UNetConfig, down: &[bool], up: &[bool]) -> Result<()> {
    let Some(head) = config.attention_head_dim else { return Ok(()) };
    let last = config.block_out_channels.len() - 1;
    for (level, &channels) in config.block_out_channels.iter().enumerate() {
        if (down[level] || up[level] || level == last) && channels != head {
            return refuse("attention_head_dim", head, &format!("one head is computed: null, or {channels}"));
        }
    }
    Ok(())
}

/// Where a parameter lies in files of diffusers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTensor {
    /// The name that current versions write.
    pub name: String,
    /// The name in the files of the first versions, where it differs.
    pub legacy: Option<String>,
    /// The sizes in the file.
    pub shape: Vec<usize>,
    /// The file has `out in`, our NIN `in out`.
    pub transposed: bool,
}

/// Our name inside a block and diffusers'; a row of three has the legacy name last.
const BLOCK: &[(&str, &str)] = &[
    ("norm_0", "norm1"),
    ("conv_0", "conv1"),
    ("dense_0", "time_emb_proj"),
    ("norm_1", "norm2"),
    ("conv_1", "conv2"),
    ("conv_2", "conv_shortcut"),
    ("nin_0", "conv_shortcut"),
];
/// Our name inside attention, diffusers', and its legacy name.
const ATTENTION: &[(&str, &str, &str)] = &[
    ("norm", "group_norm", "group_norm"),
    ("query", "to_q", "query"),
    ("key", "to_k", "key"),
    ("value", "to_v", "value"),
    ("out", "to_out.0", "proj_attn"),
];
/// Our name outside the levels, and diffusers'.
const OUTSIDE: &[(&str, &str)] = &[
    ("time.fourier", "time_proj"),
    ("time.dense_0", "time_embedding.linear_1"),
    ("time.dense_1", "time_embedding.linear_2"),
    ("conv_in", "conv_in"),
    ("norm_out", "conv_norm_out"),
    ("conv_out", "conv_out"),
];

/// Where each parameter of a U-Net lies in files of diffusers, in the manifest's order.
///
/// # Errors
/// [`Error::UnknownName`] for a network that diffusers has no blocks for.
pub fn file_tensors(unet: &Unet) -> Result<Vec<FileTensor>> {
    let params = unet.manifest().params();
    params.iter().map(|param| file_tensor(unet.spec(), &param.name, &param.shape)).collect()
}

fn file_tensor(spec: &UnetSpec, name: &str, shape: &[usize]) -> Result<FileTensor> {
    let unknown = || Error::UnknownName { kind: "diffusers layer", name: name.to_owned(), nearest: None };
    let (layer, leaf) = name.rsplit_once('.').ok_or_else(unknown)?;
    let nin = leaf == "w" && shape.len() == 2;
    let leaf = match leaf {
        "w" | "weight" => "weight",
        "b" | "bias" => "bias",
        _ => return Err(unknown()),
    };
    let (modern, legacy) = layer_name(spec, layer).ok_or_else(unknown)?;
    let shape = match shape {
        // A NIN is a linear layer in attention and a 1x1 convolution in shortcuts.
        &[c_in, c_out] if nin && modern.ends_with("conv_shortcut") => vec![c_out, c_in, 1, 1],
        &[c_in, c_out] if nin => vec![c_out, c_in],
        other => other.to_vec(),
    };
    Ok(FileTensor {
        name: format!("{modern}.{leaf}"),
        legacy: (legacy != modern).then(|| format!("{legacy}.{leaf}")),
        shape,
        transposed: nin,
    })
}

/// The layer under current and legacy names.
fn layer_name(spec: &UnetSpec, layer: &str) -> Option<(String, String)> {
    let same = |name: String| Some((name.clone(), name));
    if let Some((_, theirs)) = OUTSIDE.iter().find(|(ours, _)| *ours == layer) {
        return same((*theirs).to_owned());
    }
    let block = |inside: &str| BLOCK.iter().find(|(ours, _)| *ours == inside).map(|(_, theirs)| *theirs);
    let attention = |at: String, inside: &str| {
        let (_, modern, legacy) = ATTENTION.iter().find(|(ours, ..)| *ours == inside)?;
        Some((format!("{at}.{modern}"), format!("{at}.{legacy}")))
    };
    let parts: Vec<&str> = layer.split('.').collect();
    match parts[..] {
        ["mid", "block", i, inside] => same(format!("mid_block.resnets.{i}.{}", block(inside)?)),
        ["mid", "attention", inside] => attention("mid_block.attentions.0".into(), inside),
        [way, level, kind, ref rest @ ..] => {
            let level: usize = level.parse().ok()?;
            let at = match way {
                "down" => format!("down_blocks.{level}"),
                "up" => format!("up_blocks.{}", spec.level_channels.len() - 1 - level),
                _ => return None,
            };
            match (kind, rest) {
                ("block", [i, inside]) => same(format!("{at}.resnets.{i}.{}", block(inside)?)),
                ("attention", [i, inside]) => {
                    // Where one attention follows all blocks it is the first here, and the last block's with us.
                    let once = way == "up" && spec.biggan;
                    attention(format!("{at}.attentions.{}", if once { "0" } else { i }), inside)
                }
                ("downsample", ["conv_0"]) if !spec.biggan => same(format!("{at}.downsamplers.0.conv")),
                ("upsample", ["conv_0"]) if !spec.biggan => same(format!("{at}.upsamplers.0.conv")),
                ("upsample", [inside]) if spec.biggan => same(format!("{at}.resnet_up.{}", block(inside)?)),
                ("downsample", [inside]) if spec.biggan => {
                    same(format!("{at}.resnet_down.{}", block(inside)?))
                }
                ("combine", ["conv_0"]) => same(format!("{at}.skip_conv")),
                // The finest level's head is the network's.
                ("output", ["norm"]) if level == 0 => same("conv_norm_out".into()),
                ("output", ["conv"]) if level == 0 => same("conv_out".into()),
                ("output", ["norm"]) => same(format!("{at}.skip_norm")),
                ("output", ["conv"]) => same(format!("{at}.skip_conv")),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Hands every parameter of a U-Net to `write`, by its name here and in its layout here, from tensors under current or legacy
/// names.
///
/// # Errors
/// [`Error::Format`] when a tensor is missing or has other sizes; what `write` returns.
pub fn read(unet: &Unet, tensors: &Tensors, mut write: impl FnMut(&str, &[f32]) -> Result<()>) -> Result<()> {
    for (param, file) in unet.manifest().params().iter().zip(file_tensors(unet)?) {
        let legacy = file.legacy.as_deref().filter(|legacy| tensors.contains(legacy));
        let data = tensors.require(legacy.unwrap_or(&file.name), &file.shape)?.to_f32()?;
        match (file.transposed, &param.shape[..]) {
            (true, &[c_in, c_out]) => write(&param.name, &transpose(&data, c_out, c_in))?,
            _ => write(&param.name, &data)?,
        }
    }
    Ok(())
}

/// `rows x columns` to `columns x rows`, row-major.
pub(super) fn transpose(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| data[r * columns + c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Tensor;

    fn config(skip: bool) -> UNetConfig {
        let name = |s: &str, way: &str| s.replace('*', way).replace('_', if skip { "Skip" } else { "" });
        UNetConfig {
            sample_size: Some(SampleSize::Square(16)),
            block_out_channels: vec![32, 64],
            down_block_types: vec![name("_*Block2D", "Down"), name("Attn_*Block2D", "Down")],
            up_block_types: vec![name("Attn_*Block2D", "Up"), name("_*Block2D", "Up")],
            layers_per_block: 1,
            attention_head_dim: None,
            ..UNetConfig::default()
        }
    }

    #[test]
    fn every_parameter_has_a_place_of_its_own() {
        for skip in [false, true] {
            let unet = Unet::new(spec(&config(skip)).unwrap()).unwrap();
            let mut names: Vec<String> = file_tensors(&unet).unwrap().into_iter().map(|t| t.name).collect();
            let n = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), n);
            let has = |name: &str| names.iter().any(|n| n == name);
            assert!(has("up_blocks.0.attentions.0.to_out.0.weight") && has("conv_norm_out.bias"));
            assert!(has("down_blocks.0.resnet_down.conv_shortcut.weight") == skip);
            assert!(has("down_blocks.0.downsamplers.0.conv.weight") != skip);
        }
    }

    #[test]
    fn what_is_not_computed_is_refused_by_its_key() {
        type Change = fn(&mut UNetConfig);
        let cases: [(&str, Change); 14] = [
            ("norm_num_groups", |c| c.norm_num_groups = Some(0)),
            ("attn_norm_num_groups", |c| c.attn_norm_num_groups = Some(0)),
            ("layers_per_block", |c| c.layers_per_block = 0),
            ("block_out_channels", |c| c.block_out_channels[1] = 1 << 60),
            ("downsample_padding", |c| c.downsample_padding = usize::MAX),
            ("sample_size", |c| c.sample_size = Some(SampleSize::Square(1 << 40))),
            ("down_block_types", |c| c.down_block_types[0] = "ResnetDownsampleBlock2D".into()),
            ("up_block_types", |c| c.up_block_types[0] = "SkipUpBlock2D".into()),
            ("attention_head_dim", |c| c.attention_head_dim = Some(8)),
            ("time_embedding_type", |c| c.time_embedding_type = "learned".into()),
            ("sample_size", |c| c.sample_size = Some(SampleSize::Sides([16, 32]))),
            ("sample_size", |c| c.sample_size = Some(SampleSize::Square(15))),
            ("out_channels", |c| c.out_channels = 6),
            ("norm_num_groups", |c| c.norm_num_groups = None),
        ];
        for (key, change) in cases {
            let mut config = config(false);
            change(&mut config);
            let error = spec(&config).unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    /// What a file of the tensors of `unet` would hold.
    fn weights(unet: &Unet) -> Tensors {
        let mut tensors = Tensors::new("here.safetensors");
        for tensor in file_tensors(unet).unwrap() {
            let zeros = vec![0.0; tensor.shape.iter().product()];
            tensors.insert(tensor.name, Tensor::from_f32(&tensor.shape, zeros).unwrap()).unwrap();
        }
        tensors
    }

    #[test]
    fn a_config_is_built_only_where_the_weights_can_fill_it() {
        for skip in [false, true] {
            let config = config(skip);
            let tensors = weights(&Unet::new(spec(&config).unwrap()).unwrap());
            network(&config, &tensors).unwrap();
            for (layers, channels) in [(20, vec![32, 64]), (200, vec![32, 64]), (1, vec![32, 1 << 19])] {
                let more =
                    UNetConfig { layers_per_block: layers, block_out_channels: channels, ..config.clone() };
                let error = network(&more, &tensors).map(drop).unwrap_err().to_string();
                assert!(error.contains("not of one model") && error.contains("here.safetensors"), "{error}");
            }
        }
        let endless = UNetConfig { layers_per_block: 1_000_000_000, ..config(false) };
        assert!(spec(&endless).unwrap_err().to_string().contains("layers_per_block"));
    }

    #[test]
    fn transposes() {
        assert_eq!(transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
