//! The authors' configurations under their own names, embedded. Each is a TOML file under `presets/`.

use super::Config;
use crate::error::{Error, Result, nearest};

macro_rules! presets {
    ($($name:literal,)*) => {
        const PRESETS: &[(&str, &str)] = &[$(($name, include_str!(concat!("presets/", $name, ".toml"))),)*];
    };
}

presets! {
    "subvp/cifar10_ddpm_continuous",
    "subvp/cifar10_ddpmpp_continuous",
    "subvp/cifar10_ddpmpp_deep_continuous",
    "subvp/cifar10_ncsnpp_continuous",
    "subvp/cifar10_ncsnpp_deep_continuous",
    "ve/bedroom_ncsnpp_continuous",
    "ve/celeba_ncsnpp",
    "ve/celebahq_256_ncsnpp_continuous",
    "ve/celebahq_ncsnpp_continuous",
    "ve/church_ncsnpp_continuous",
    "ve/cifar10_ddpm",
    "ve/cifar10_ncsnpp",
    "ve/cifar10_ncsnpp_continuous",
    "ve/cifar10_ncsnpp_deep_continuous",
    "ve/ffhq_256_ncsnpp_continuous",
    "ve/ffhq_ncsnpp_continuous",
    "ve/ncsn/celeba",
    "ve/ncsn/celeba_124",
    "ve/ncsn/celeba_1245",
    "ve/ncsn/celeba_5",
    "ve/ncsn/cifar10",
    "ve/ncsn/cifar10_124",
    "ve/ncsn/cifar10_1245",
    "ve/ncsn/cifar10_5",
    "ve/ncsnv2/bedroom",
    "ve/ncsnv2/celeba",
    "ve/ncsnv2/cifar10",
    "vp/cifar10_ddpmpp",
    "vp/cifar10_ddpmpp_continuous",
    "vp/cifar10_ddpmpp_deep_continuous",
    "vp/cifar10_ncsnpp",
    "vp/cifar10_ncsnpp_continuous",
    "vp/cifar10_ncsnpp_deep_continuous",
    "vp/ddpm/bedroom",
    "vp/ddpm/celebahq",
    "vp/ddpm/church",
    "vp/ddpm/cifar10",
    "vp/ddpm/cifar10_continuous",
    "vp/ddpm/cifar10_unconditional",
}

/// The names, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The file of a preset: a comment that says what it is, then the authors' keys.
///
/// # Errors
/// [`Error::UnknownName`] with the nearest name.
pub fn toml(name: &str) -> Result<&'static str> {
    PRESETS.iter().find(|(n, _)| *n == name).map(|(_, text)| *text).ok_or_else(|| Error::UnknownName {
        kind: "preset",
        name: name.to_owned(),
        nearest: nearest(name, names()),
    })
}

/// The configuration of a preset.
///
/// # Errors
/// [`Error::UnknownName`] with the nearest name.
pub fn get(name: &str) -> Result<Config> {
    Config::from_toml(toml(name)?, name)
}

/// One line that says what a preset is: the comment at the head of its file.
///
/// # Errors
/// [`Error::UnknownName`] with the nearest name.
pub fn summary(name: &str) -> Result<&'static str> {
    Ok(toml(name)?.lines().next().unwrap_or_default().trim_start_matches("# "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_39_in_order() {
        assert_eq!(PRESETS.len(), 39);
        assert!(PRESETS.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn every_preset_parses_says_what_it_is_and_survives_the_round_trip() {
        for name in names() {
            let config = get(name).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(toml(name).unwrap().starts_with("# "), "{name}");
            assert!(summary(name).unwrap().contains(name), "{name}");
            let again = Config::from_toml(&config.to_toml(), name).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(config, again, "{name}");
            assert_eq!(config, Config::from_json(&config.to_json()).unwrap(), "{name}");
        }
    }

    #[test]
    fn presets_hold_the_figures_of_the_paper() {
        let ffhq = get("ve/ffhq_ncsnpp_continuous").unwrap();
        assert_eq!((ffhq.data.image_size, ffhq.model.sigma_max, ffhq.training.batch_size), (1024, 1348.0, 8));
        let deep = get("subvp/cifar10_ddpmpp_deep_continuous").unwrap();
        assert_eq!((deep.model.num_res_blocks, deep.training.sde), (8, super::super::config::Sde::SubVp));
        assert!(deep.data.centered);
    }

    #[test]
    fn an_unknown_preset_names_the_nearest() {
        let error = get("ve/cifar10_ncsnpp_continous").unwrap_err().to_string();
        assert!(error.contains("did you mean \"ve/cifar10_ncsnpp_continuous\"?"), "{error}");
    }
}
