//! The closed sets of values that configuration keys take, under the authors' spellings.

/// Declares an enum whose variants have one spelling each, for files, messages and the command line.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $kind:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The spelling in configuration files.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::Error;
            fn from_str(text: &str) -> crate::Result<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text).ok_or_else(|| crate::Error::UnknownName {
                    kind: $kind,
                    name: text.to_owned(),
                    nearest: crate::error::nearest(text, Self::ALL.iter().map(|v| v.as_str())),
                })
            }
        }
    };
}

choice! {
    /// `model.name`: the architecture, under the name that the authors register it with.
    ModelName, "architecture" {
        /// NCSN++ and DDPM++ (Song et al. 2021): one U-Net with all switches.
        Ncsnpp = "ncsnpp",
        /// The DDPM U-Net (Ho et al. 2020).
        Ddpm = "ddpm",
        /// NCSN (Song & Ermon 2019): a RefineNet with conditional instance norm++.
        Ncsn = "ncsn",
        /// NCSNv2 (Song & Ermon 2020) for images up to 64x64.
        Ncsnv2x64 = "ncsnv2_64",
        /// NCSNv2 for 128x128.
        Ncsnv2x128 = "ncsnv2_128",
        /// NCSNv2 for 256x256.
        Ncsnv2x256 = "ncsnv2_256",
        /// The noise-conditional WideResNet classifier (Song et al. 2021, appendix I).
        Wideresnet = "wideresnet_noise_conditional",
        /// A network of another program, which has to bring it.
        Custom = "custom",
    }
}

choice! {
    /// `training.sde`: the forward process.
    Sde, "SDE" {
        /// Variance exploding.
        Ve = "vesde",
        /// Variance preserving.
        Vp = "vpsde",
        /// Sub-variance preserving.
        SubVp = "subvpsde",
        /// An SDE of another program, which has to bring it.
        Custom = "custom",
    }
}

choice! {
    /// `model.resblock_type` of NCSN++.
    ResblockType, "residual block" {
        /// The block of DDPM; resampling stands between blocks.
        Ddpm = "ddpm",
        /// The block of BigGAN, which resamples inside.
        Biggan = "biggan",
    }
}

choice! {
    /// `model.progressive`: how NCSN++ grows its output.
    Progressive, "progressive output" {
        /// Only the finest level makes the output.
        None = "none",
        /// Every level adds an image to an upsampled pyramid.
        OutputSkip = "output_skip",
        /// Every level adds features to an upsampled pyramid.
        Residual = "residual",
    }
}

choice! {
    /// `model.progressive_input`: how NCSN++ feeds the image to coarser levels.
    ProgressiveInput, "progressive input" {
        /// Only the finest level sees the image.
        None = "none",
        /// A downsampled image is merged at every level.
        InputSkip = "input_skip",
        /// A pyramid of features, downsampled by convolutions, is added at every level.
        Residual = "residual",
    }
}

choice! {
    /// `model.progressive_combine`: how `input_skip` merges.
    ProgressiveCombine, "way to combine" {
        /// The sum; channels stay.
        Sum = "sum",
        /// The concatenation; channels double.
        Cat = "cat",
    }
}

choice! {
    /// `model.embedding_type`: how NCSN++ sees the noise level.
    EmbeddingType, "embedding" {
        /// Random Fourier features of ln sigma; continuous training only.
        Fourier = "fourier",
        /// Sines and cosines of the label.
        Positional = "positional",
    }
}

choice! {
    /// `model.nonlinearity`.
    Nonlinearity, "activation" {
        /// x sigmoid(x).
        Swish = "swish",
        /// max(x, 0) + min(e^x - 1, 0).
        Elu = "elu",
        /// max(x, 0).
        Relu = "relu",
        /// max(x, 0.2 x).
        Lrelu = "lrelu",
    }
}

choice! {
    /// `model.normalization`.
    Normalization, "normalization" {
        /// Group normalization.
        GroupNorm = "GroupNorm",
        /// Instance normalization without parameters.
        InstanceNorm = "InstanceNorm",
        /// Instance normalization with the standardised channel means added back.
        InstanceNormPlus = "InstanceNorm++",
        /// Division by the standard deviation alone.
        VarianceNorm = "VarianceNorm",
    }
}

choice! {
    /// `model.attention_type`.
    AttentionType, "attention" {
        /// One head over all positions, as in DDPM.
        Ddpm = "ddpm",
    }
}

choice! {
    /// `model.interpolation` of the RefineNet networks.
    Interpolation, "interpolation" {
        /// Bilinear with aligned corners.
        Bilinear = "bilinear",
    }
}

choice! {
    /// `optim.optimizer`.
    Optimizer, "optimizer" {
        /// Adam with L2 weight decay.
        Adam = "Adam",
    }
}

/// `sampling.method`: the name of a solver. Which there are is known to the module `sampling`, whose users check it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Method(String);

impl Method {
    /// A solver by its name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

choice! {
    /// `sampling.predictor`.
    Predictor, "predictor" {
        /// Euler-Maruyama on the reverse SDE.
        EulerMaruyama = "euler_maruyama",
        /// The discretisation of the forward SDE, reversed.
        ReverseDiffusion = "reverse_diffusion",
        /// Ancestral sampling; VE and VP only.
        AncestralSampling = "ancestral_sampling",
        /// No predictor.
        None = "none",
    }
}

choice! {
    /// `sampling.corrector`.
    Corrector, "corrector" {
        /// Langevin dynamics with a step size from the norms of score and noise.
        Langevin = "langevin",
        /// Annealed Langevin dynamics.
        Ald = "ald",
        /// No corrector.
        None = "none",
    }
}

choice! {
    /// `data.dataset`: which published preprocessing applies.
    Dataset, "data set" {
        /// CIFAR-10, 32x32.
        Cifar10 = "CIFAR10",
        /// SVHN, 32x32.
        Svhn = "SVHN",
        /// CelebA, cropped to 140 and resized.
        CelebA = "CELEBA",
        /// LSUN, resized and centre-cropped; `data.category` names the part.
        Lsun = "LSUN",
        /// FFHQ.
        Ffhq = "FFHQ",
        /// CelebA-HQ.
        CelebAHq = "CelebAHQ",
        /// MNIST.
        Mnist = "MNIST",
        /// Any images, resized and centre-cropped.
        Images = "images",
    }
}

choice! {
    /// `eval.bpd_dataset`: the split whose likelihood is measured.
    Split, "split" {
        /// The training split.
        Train = "train",
        /// The test split.
        Test = "test",
    }
}
