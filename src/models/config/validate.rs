//! What keys must satisfy together, before anything is built.

use super::*;
use crate::limits::{BLOCKS, CORRECTOR_STEPS, LAYER_EXTENT, SCHEDULE_STEPS};

/// An error at a key unless `holds`.
fn require(
    holds: bool,
    key: &str,
    value: impl std::fmt::Debug,
    problem: impl FnOnce() -> String,
) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::invalid(key, format!("{value:?}"), problem())) }
}

/// An error unless a count lies in 1..=max.
fn count(key: &str, value: usize, max: usize) -> Result<()> {
    require((1..=max).contains(&value), key, value, || format!("a whole number from 1 to {max}"))
}

/// An error unless a number is finite and positive.
fn positive(key: &str, value: f64) -> Result<()> {
    require(value.is_finite() && value > 0.0, key, value, || "a positive number".into())
}

/// An error unless a number lies in [0, 1).
fn fraction(key: &str, value: f64) -> Result<()> {
    require((0.0..1.0).contains(&value), key, value, || "a number from 0 up to, but not including, 1".into())
}

impl Config {
    /// Checks that the keys fit each other and that a network can be built from them.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the key, its value, the figures and the remedy.
    pub fn validate(&self) -> Result<()> {
        self.validate_numbers()?;
        match self.model.name {
            ModelName::Ncsnpp | ModelName::Ddpm => self.validate_unet(),
            ModelName::Ncsn | ModelName::Ncsnv2x64 | ModelName::Ncsnv2x128 | ModelName::Ncsnv2x256 => {
                self.validate_refinenet()
            }
            ModelName::Wideresnet => self.validate_classifier(),
            // The program that brings the network checks the rest.
            ModelName::Custom => return Ok(()),
        }?;
        // What is left are the groups of layers behind concatenations, which their constructors check.
        crate::models::build(self).map(drop)
    }

    /// What is allowed and yet rarely meant, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if matches!(self.model.name, ModelName::Ncsnpp | ModelName::Ddpm) {
            let widths = self.level_widths();
            for r in self.model.attn_resolutions.iter().filter(|r| !widths.contains(r)) {
                warnings.push(format!(
                    "model.attn_resolutions holds {r}, but the levels are {widths:?} pixels wide: no attention there"
                ));
            }
        }
        if self.labels_index_sigmas() && self.training.sde == Sde::Ve {
            warnings.push(
                "a network that sees labels is told sigma itself where VE is continuous, and divides by entry number sigma of its \
                 table: set model.embedding_type = \"fourier\" or training.continuous = false"
                    .to_owned(),
            );
        }
        warnings
    }

    /// Image widths of the U-Net's levels, finest first.
    pub fn level_widths(&self) -> Vec<usize> {
        (0..self.model.ch_mult.len())
            .map(|level| self.data.image_size.checked_shr(level as u32).unwrap_or(0))
            .collect()
    }

    fn validate_numbers(&self) -> Result<()> {
        let (data, model, optim) = (&self.data, &self.model, &self.optim);
        count("data.image_size", data.image_size, 1 << 14)?;
        count("data.num_channels", data.num_channels, 1 << 10)?;
        count("model.nf", model.nf, 1 << 14)?;
        count("model.num_scales", model.num_scales, SCHEDULE_STEPS)?;
        positive("model.sigma_min", model.sigma_min)?;
        require(
            model.sigma_max.is_finite() && model.sigma_max > model.sigma_min,
            "model.sigma_max",
            model.sigma_max,
            || format!("larger than model.sigma_min, which is {}", model.sigma_min),
        )?;
        require(
            model.beta_min.is_finite() && model.beta_min >= 0.0,
            "model.beta_min",
            model.beta_min,
            || "a number of at least 0".into(),
        )?;
        require(
            model.beta_max.is_finite() && model.beta_max >= model.beta_min && model.beta_max > 0.0,
            "model.beta_max",
            model.beta_max,
            || format!("positive, and at least model.beta_min, which is {}", model.beta_min),
        )?;
        fraction("model.dropout", model.dropout)?;
        fraction("model.ema_rate", model.ema_rate)?;
        require(optim.lr.is_finite() && optim.lr >= 0.0, "optim.lr", optim.lr, || {
            "a number of at least 0".into()
        })?;
        fraction("optim.beta1", optim.beta1)?;
        fraction("optim.beta2", optim.beta2)?;
        positive("optim.eps", optim.eps)?;
        require(
            optim.weight_decay.is_finite() && optim.weight_decay >= 0.0,
            "optim.weight_decay",
            optim.weight_decay,
            || "a number of at least 0".into(),
        )?;
        require(optim.grad_clip.is_finite(), "optim.grad_clip", optim.grad_clip, || {
            "a number; negative switches clipping off".into()
        })?;
        require(!optim.amsgrad, "optim.amsgrad", optim.amsgrad, || {
            "only plain Adam exists: set it to false".into()
        })?;
        let sampling = &self.sampling;
        require(sampling.snr.is_finite() && sampling.snr >= 0.0, "sampling.snr", sampling.snr, || {
            "a number of at least 0".into()
        })?;
        require(
            sampling.n_steps_each <= CORRECTOR_STEPS,
            "sampling.n_steps_each",
            sampling.n_steps_each,
            || format!("a whole number from 0 to {CORRECTOR_STEPS}"),
        )?;
        // Steps are counted in 32 bits on the device.
        let steps = self.training.n_iters;
        require(steps <= u64::from(u32::MAX), "training.n_iters", steps, || format!("at most {}", u32::MAX))?;
        count("training.batch_size", self.training.batch_size, 1 << 20)?;
        count("eval.batch_size", self.eval.batch_size, 1 << 20)?;
        require(
            self.training.continuous || !self.training.likelihood_weighting,
            "training.likelihood_weighting",
            true,
            || "the discrete losses have no such weighting: set training.continuous = true".into(),
        )
    }

    fn validate_unet(&self) -> Result<()> {
        let model = &self.model;
        require((1..=14).contains(&model.ch_mult.len()), "model.ch_mult", &model.ch_mult, || {
            "one whole number a level, 1 to 14 levels".into()
        })?;
        for &mult in &model.ch_mult {
            count("model.ch_mult", mult, 1 << 10)?;
            require(model.nf * mult <= LAYER_EXTENT, "model.ch_mult", &model.ch_mult, || {
                format!("a level would have {} channels, at most {LAYER_EXTENT} make sense", model.nf * mult)
            })?;
        }
        count("model.num_res_blocks", model.num_res_blocks, BLOCKS)?;
        let levels = model.ch_mult.len();
        let blocks = levels * (2 * model.num_res_blocks + 1);
        require(blocks <= BLOCKS, "model.num_res_blocks", model.num_res_blocks, || {
            format!(
                "{levels} levels of them are {blocks} residual blocks down and up, at most {BLOCKS} are planned"
            )
        })?;
        let resolutions = &model.attn_resolutions;
        require(resolutions.len() <= 64, "model.attn_resolutions", resolutions.len(), || {
            "at most 64 widths, of which each level has one".into()
        })?;
        let halvings = model.ch_mult.len() - 1;
        let unit = 1usize << halvings;
        require(self.data.image_size.is_multiple_of(unit), "data.image_size", self.data.image_size, || {
            format!(
                "{} levels in model.ch_mult halve the image {halvings} times: use a multiple of {unit}, or fewer levels",
                halvings + 1
            )
        })?;
        require(
            model.normalization == Normalization::GroupNorm,
            "model.normalization",
            model.normalization,
            || format!("{} has group norms: set \"GroupNorm\"", model.name),
        )?;
        if model.name == ModelName::Ddpm {
            for &mult in &model.ch_mult {
                let channels = model.nf * mult;
                require(channels.is_multiple_of(32), "model.nf", model.nf, || {
                    format!(
                        "a level would have {channels} channels, which 32 groups do not divide: use a multiple of 32"
                    )
                })?;
            }
        } else {
            self.validate_ncsnpp()?;
        }
        self.validate_labels()
    }

    fn validate_ncsnpp(&self) -> Result<()> {
        let model = &self.model;
        for &mult in &model.ch_mult {
            let channels = model.nf * mult;
            let groups = (channels / 4).min(32);
            require(groups > 0 && channels.is_multiple_of(groups), "model.nf", model.nf, || {
                format!(
                    "a level would have {channels} channels and min({channels}/4, 32) = {groups} groups, which must \
                     divide them: use a multiple of 4, and of 32 above 128 channels"
                )
            })?;
        }
        if model.fir {
            let kernel = &model.fir_kernel;
            let sum: f64 = kernel.iter().sum();
            require(
                (1..=16).contains(&kernel.len()) && sum.is_finite() && sum != 0.0,
                "model.fir_kernel",
                kernel,
                || "1 to 16 finite numbers whose sum is not 0".into(),
            )?;
        }
        positive("model.fourier_scale", model.fourier_scale)?;
        require(
            model.init_scale.is_finite() && model.init_scale >= 0.0,
            "model.init_scale",
            model.init_scale,
            || "a number of at least 0".into(),
        )?;
        require(model.conv_size == 3, "model.conv_size", model.conv_size, || {
            "kernels are 3 pixels wide: use 3".into()
        })?;
        require(
            !model.takes_sigma() || self.training.continuous,
            "model.embedding_type",
            model.embedding_type.as_str(),
            || {
                "Fourier features see a continuous sigma: set \"positional\" or training.continuous = true"
                    .into()
            },
        )?;
        require(model.embedding_type == EmbeddingType::Fourier || model.nf >= 4, "model.nf", model.nf, || {
            "a positional embedding needs at least 4 channels".into()
        })
    }

    /// A network that divides by sigma and sees labels must have a table as long as the largest label: t * 999 where
    /// time is continuous. For VE the label is sigma itself then, which [`Config::warnings`] speaks of.
    fn validate_labels(&self) -> Result<()> {
        let model = &self.model;
        let labelled = self.labels_index_sigmas() && self.training.sde != Sde::Ve;
        require(!labelled || model.num_scales >= 1000, "model.num_scales", model.num_scales, || {
            "labels reach 999 in continuous time and index the table of sigmas: use at least 1000, or \
             model.scale_by_sigma = false"
                .into()
        })
    }

    /// Whether the output is divided by an entry of the table of sigmas though training knows continuous time alone.
    fn labels_index_sigmas(&self) -> bool {
        let model = &self.model;
        let unet = matches!(model.name, ModelName::Ncsnpp | ModelName::Ddpm);
        unet && model.scale_by_sigma && !model.takes_sigma() && self.training.continuous
    }

    fn validate_refinenet(&self) -> Result<()> {
        let (model, size) = (&self.model, self.data.image_size);
        let norms = match model.name {
            ModelName::Ncsn => &[Normalization::InstanceNormPlus][..],
            _ => &[Normalization::InstanceNormPlus, Normalization::InstanceNorm, Normalization::VarianceNorm],
        };
        require(norms.contains(&model.normalization), "model.normalization", model.normalization, || {
            let names: Vec<&str> = norms.iter().map(|n| n.as_str()).collect();
            format!("{} takes one of {names:?}", model.name)
        })?;
        require(model.nf >= 2, "model.nf", model.nf, || {
            "instance norm++ takes a variance over channels: use at least 2".into()
        })?;
        let unit = match model.name {
            ModelName::Ncsnv2x128 => 4,
            ModelName::Ncsnv2x256 => 8,
            _ => 2,
        };
        // 28x28 takes a path of its own in the authors' network and halves once.
        require(size.is_multiple_of(unit) && size >= 2 * unit, "data.image_size", size, || {
            format!("{} halves the image: use a multiple of {unit}, at least {}", model.name, 2 * unit)
        })
    }

    fn validate_classifier(&self) -> Result<()> {
        let model = &self.model;
        count("model.blocks_per_group", model.blocks_per_group, 1 << 8)?;
        count("model.channel_multiplier", model.channel_multiplier, 1 << 8)?;
        count("model.num_outputs", model.num_outputs, 1 << 20)?;
        let channels = self.data.num_channels;
        for (key, list) in [
            ("model.preprocess_mean", &model.preprocess_mean),
            ("model.preprocess_std", &model.preprocess_std),
        ] {
            require(list.len() == channels && list.iter().all(|v| v.is_finite()), key, list, || {
                let example = if channels == 1 { "[0.5]" } else { "[0.5, 0.5, 0.5]" };
                format!("one finite number for each of the images' channels, such as {example}")
            })?;
        }
        for &std in &model.preprocess_std {
            positive("model.preprocess_std", std)?;
        }
        require(self.data.image_size.is_multiple_of(4), "data.image_size", self.data.image_size, || {
            "the classifier halves the image twice: use a multiple of 4".into()
        })
    }
}
