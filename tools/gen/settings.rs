//! `--config` and `--set`.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use langevin::models::{Config, presets};

use crate::exit::Usage;

/// Where the configuration comes from.
#[derive(Args, Clone, Default)]
pub struct ConfigArgs {
    /// A preset (see `gen config list`) or a TOML file with the authors' keys.
    #[arg(long, value_name = "NAME|FILE")]
    pub config: Option<String>,
    /// Sets one key; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// The configuration that `--config` names, if it does; `--set` is not applied.
    pub fn named(&self) -> anyhow::Result<Option<Config>> {
        self.config.as_deref().map(load).transpose()
    }

    /// Applies `--set` and validates.
    pub fn apply(&self, mut config: Config) -> anyhow::Result<Config> {
        for pair in &self.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Usage(format!("--set {pair}: it takes the form key=value, as in --set sampling.snr=0.16"))
            })?;
            config.set(key.trim(), value.trim())?;
        }
        config.validate()?;
        Ok(config)
    }
}

/// A preset by name, else a file.
pub fn load(name: &str) -> anyhow::Result<Config> {
    let unknown = match presets::get(name) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let path = Path::new(name);
    if path.exists() || path.extension().is_some_and(|e| e == "toml") {
        let text = std::fs::read_to_string(path).map_err(langevin::Error::io(path))?;
        return Config::from_toml(&text, name).with_context(|| format!("configuration {name}"));
    }
    Err(unknown.into())
}
