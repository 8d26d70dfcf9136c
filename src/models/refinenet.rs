//! NCSN (Song & Ermon 2019) and NCSNv2 (Song & Ermon 2020): RefineNets of halving or dilated residual stages.

use crate::error::{Error, Result};
use crate::graph::Value;
use crate::models::config::{Config, ModelName, Normalization};
use crate::models::unet::activation;
use crate::models::{Network, centre, check_input, divide_by_table};
use crate::nn::Trace;
use crate::nn::layers::Conv2d;
use crate::nn::layers::activate;
use crate::nn::manifest::Manifest;
use crate::nn::norm::{Norm, NormKind};
use crate::nn::refine::{RefineBlock, RefineStyle, ResidualBlock};
use crate::sde::TimeConditioning;

/// A residual stage: name, channels in and out as multiples of `nf`, whether it is a "down" stage, dilation.
type StageRow = (&'static str, usize, usize, bool, usize);
/// A refine block: name, channels out as a multiple of `nf`, place in the forward pass. The first takes the coarsest stage, each
/// other one the next finer stage and the result before.
type RefineRow = (&'static str, usize, usize);

/// NCSN and NCSNv2 for images up to 64x64.
const STAGES_64: &[StageRow] =
    &[("res1", 1, 1, false, 1), ("res2", 1, 2, true, 1), ("res3", 2, 2, true, 2), ("res4", 2, 2, true, 4)];
const REFINES_64: &[RefineRow] =
    &[("refine1", 2, 0), ("refine2", 2, 1), ("refine3", 1, 2), ("refine4", 1, 3)];

/// NCSNv2 for 128x128.
const STAGES_128: &[StageRow] = &[
    ("res1", 1, 1, false, 1),
    ("res2", 1, 2, true, 1),
    ("res3", 2, 2, true, 1),
    ("res4", 2, 4, true, 2),
    ("res5", 4, 4, true, 4),
];
const REFINES_128: &[RefineRow] =
    &[("refine1", 4, 0), ("refine2", 2, 1), ("refine3", 2, 2), ("refine4", 1, 3), ("refine5", 1, 4)];

/// NCSNv2 for 256x256.
const STAGES_256: &[StageRow] = &[
    ("res1", 1, 1, false, 1),
    ("res2", 1, 2, true, 1),
    ("res3", 2, 2, true, 1),
    ("res31", 2, 2, true, 1),
    ("res4", 2, 4, true, 2),
    ("res5", 4, 4, true, 4),
];
// `refine31` is constructed after `refine3` and runs before it.
const REFINES_256: &[RefineRow] = &[
    ("refine1", 4, 0),
    ("refine2", 2, 1),
    ("refine3", 2, 3),
    ("refine31", 2, 2),
    ("refine4", 1, 4),
    ("refine5", 1, 5),
];

/// The network: the layers by the authors' names, and the list of its parameters.
#[derive(Clone, Debug)]
pub struct RefineNet {
    manifest: Manifest,
    begin_conv: Conv2d,
    normalizer: Norm,
    end_conv: Conv2d,
    /// Finest first, two blocks each.
    stages: Vec<[ResidualBlock; 2]>,
    /// In the order of the forward pass: coarsest first.
    refines: Vec<RefineBlock>,
    style: RefineStyle,
    conditioning: TimeConditioning,
    centered: bool,
    image: [usize; 3],
    /// Sigma of each label, largest first; empty in NCSN, whose output is not divided.
    sigmas: Vec<f64>,
}

impl RefineNet {
    /// Constructs the layers, in the authors' order.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the configuration names another architecture or a norm that it does not have.
    pub fn new(config: &Config) -> Result<Self> {
        let (model, nf) = (&config.model, config.model.nf);
        let (stages, refines) = match model.name {
            ModelName::Ncsn | ModelName::Ncsnv2x64 => (STAGES_64, REFINES_64),
            ModelName::Ncsnv2x128 => (STAGES_128, REFINES_128),
            ModelName::Ncsnv2x256 => (STAGES_256, REFINES_256),
            other => {
                return Err(Error::invalid(
                    "model.name",
                    other,
                    "not a RefineNet: use ncsn or ncsnv2_64 to _256",
                ));
            }
        };
        let conditional = model.name == ModelName::Ncsn;
        let norm = match model.normalization {
            Normalization::InstanceNormPlus if conditional => {
                NormKind::ConditionalInstancePlus { levels: model.num_scales }
            }
            Normalization::InstanceNormPlus => NormKind::InstancePlus,
            Normalization::InstanceNorm if !conditional => NormKind::Instance,
            Normalization::VarianceNorm if !conditional => NormKind::Variance,
            other => return Err(Error::invalid("model.normalization", other, "set \"InstanceNorm++\"")),
        };
        let style = RefineStyle { activation: activation(model.nonlinearity), norm, conditional };
        let image_channels = config.data.num_channels;
        let mut manifest = Manifest::default();
        let mut root = manifest.root();
        let begin_conv = Conv2d::torch(&mut root.at("begin_conv"), image_channels, nf, 3, 1, true);
        let normalizer = match norm {
            // The authors call every kind with (channels, num_scales), and plain instance norm takes the second for its epsilon.
            NormKind::Instance => Norm::Instance { norm_eps: model.num_scales as f32 },
            _ => Norm::new(&mut root.at("normalizer"), norm, nf),
        };
        let end_conv = Conv2d::torch(&mut root.at("end_conv"), nf, image_channels, 3, 1, true);
        let mut blocks = Vec::new();
        for &(name, c_in, c_out, down, dilation) in stages {
            let (c_in, c_out) = (c_in * nf, c_out * nf);
            let mut scope = root.at(name);
            blocks.push([
                ResidualBlock::new(&mut scope.at(0), &style, c_in, c_out, down, dilation),
                ResidualBlock::new(&mut scope.at(1), &style, c_out, c_out, false, dilation),
            ]);
        }
        let mut refine_blocks = Vec::new();
        for &(name, c_out, place) in refines {
            let stage = stages.iter().rev().nth(place).map(|&(_, _, c, ..)| c);
            let before = refines.iter().find(|row| row.2 + 1 == place).map(|row| row.1);
            let c_in: Vec<usize> = [stage, before].into_iter().flatten().map(|c| c * nf).collect();
            let end = place + 1 == refines.len();
            let block = RefineBlock::new(&mut root.at(name), &style, &c_in, c_out * nf, end);
            refine_blocks.push((place, block));
        }
        refine_blocks.sort_by_key(|(place, _)| *place);
        let refines = refine_blocks.into_iter().map(|(_, block)| block).collect();
        Ok(Self {
            manifest,
            begin_conv,
            normalizer,
            end_conv,
            stages: blocks,
            refines,
            style,
            conditioning: config.conditioning(),
            centered: config.data.centered,
            image: [config.data.image_size, config.data.image_size, image_channels],
            sigmas: if conditional { Vec::new() } else { config.sigmas() },
        })
    }
}

impl Network for RefineNet {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn conditioning(&self) -> TimeConditioning {
        self.conditioning
    }

    fn forward(&self, trace: &mut Trace<'_>, x: Value, time_cond: Value) -> Result<Value> {
        check_input(trace.graph, x, time_cond, self.image)?;
        let labels = self.style.conditional.then_some(time_cond);
        let x = centre(trace, x, self.centered)?;
        let mut h = self.begin_conv.forward(trace, x)?;
        let mut layers = Vec::new();
        for (i, blocks) in self.stages.iter().enumerate() {
            h = trace.scoped(&format!("stage.{i}"), |t| {
                let h = t.block("0", |t| blocks[0].forward(t, h, labels))?;
                t.block("1", |t| blocks[1].forward(t, h, labels))
            })?;
            layers.push(h);
        }
        let mut refined = None;
        for ((i, refine), &layer) in self.refines.iter().enumerate().zip(layers.iter().rev()) {
            let inputs: Vec<Value> = [Some(layer), refined].into_iter().flatten().collect();
            refined = Some(trace.scoped(&format!("refine.{i}"), |t| refine.forward(t, &inputs, labels))?);
        }
        let h = refined.unwrap_or(h);
        let y = trace.block("out", |t| {
            let h = self.normalizer.forward(t, h, labels)?;
            let h = activate(t, h, self.style.activation)?;
            self.end_conv.forward(t, h)
        })?;
        if self.sigmas.is_empty() { Ok(y) } else { divide_by_table(trace, y, time_cond, &self.sigmas) }
    }
}
