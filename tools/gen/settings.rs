//! `--config` and `--set`.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use langevin::models::{Config, presets};
use langevin::sampling::solvers;
use langevin::{Error, files};

/// Where the configuration comes from.
#[derive(Args, Clone, Default)]
pub struct ConfigArgs {
    /// A preset (see `gen config list`), or a TOML or JSON file with the authors' keys.
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

    /// The keys and values of `--set`.
    pub fn pairs(&self) -> langevin::Result<Vec<(String, String)>> {
        let pair = |text: &String| match text.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
            None => {
                let problem = "it takes the form key=value, as in --set sampling.snr=0.16";
                Err(Error::invalid("--set", text, problem))
            }
        };
        self.set.iter().map(pair).collect()
    }

    /// Applies `--set` and validates.
    pub fn apply(&self, mut config: Config) -> langevin::Result<Config> {
        self.pairs()?.iter().try_for_each(|(key, value)| config.set(key, value))?;
        config.validate()?;
        // The configuration itself knows no solvers.
        solvers::by_name(config.sampling.method.as_str())?;
        Ok(config)
    }
}

const PRESET: &str = "preset (`gen config list` has all, and there is no such file)";

/// A configuration of another program: which preset says the same, where one does.
fn not_ours(path: &Path, kind: &str) -> Error {
    let parts: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let same = presets::names().find(|name| {
        let wanted: Vec<&str> = name.split('/').collect();
        parts.len() >= wanted.len() && parts[parts.len() - wanted.len()..] == wanted[..]
    });
    let alone =
        || presets::names().filter(|name| name.rsplit('/').next() == parts.last().map(String::as_str));
    let advice = match (same, alone().collect::<Vec<_>>().as_slice()) {
        (Some(name), _) => format!("the preset of the same settings is --config {name}"),
        (None, []) => {
            "write its keys into a .toml file, section by section; `gen config show` prints one".into()
        }
        (None, names) => format!("presets of that name are {}", names.join(", ")),
    };
    let what = match kind {
        "py" => "a Python program, as the authors' code keeps its configurations, and programs are not run",
        _ => "a YAML file, as the code of NCSNv2 and DDIM keeps its configurations",
    };
    Error::format(path, format!("it is {what}: {advice}"))
}

/// A preset by name, else a file.
pub fn load(name: &str) -> anyhow::Result<Config> {
    let unknown = match presets::get(name) {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let path = Path::new(name);
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let json = ending.as_deref() == Some("json");
    if let Some(kind @ ("py" | "yml" | "yaml")) = ending.as_deref() {
        return Err(not_ours(path, kind).into());
    }
    if !path.exists() && !json && ending.as_deref() != Some("toml") {
        return Err(match unknown {
            Error::UnknownName { name, nearest, .. } => Error::UnknownName { kind: PRESET, name, nearest },
            other => other,
        }
        .into());
    }
    let text = files::read_text(path)?;
    let read = || match json {
        true => {
            let tree = serde_json::from_str(&text).map_err(|e| Error::format(path, e.to_string()))?;
            Config::from_json(&tree)
        }
        false => Config::from_toml(&text, name),
    };
    read().with_context(|| format!("configuration {name}"))
}
