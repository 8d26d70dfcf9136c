//! A configuration under the authors' keys: `[data]`, `[model]`, `[optim]`, `[sampling]`, `[training]`, `[eval]` and
//! `seed`. It comes from a preset, a TOML file, or the JSON objects in checkpoints; `--set` changes one key.

pub mod choices;
mod keys;
mod validate;

pub use choices::*;
pub use keys::{Data, Eval, Model, Optim, Sampling, Training};

use std::sync::Arc;

use crate::error::{Error, Result, nearest};
use crate::sde::{self, SdeParameters, TimeConditioning};
use keys::Section;
use serde_json::{Map, Value};

/// Everything that a run needs to know. Keys that a file leaves out have the authors' defaults.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Config {
    /// Seed of everything random.
    pub seed: u64,
    /// The images.
    pub data: Data,
    /// The network and the constants of the SDEs.
    pub model: Model,
    /// The optimizer.
    pub optim: Optim,
    /// The sampler.
    pub sampling: Sampling,
    /// The loss and the loop.
    pub training: Training,
    /// What an evaluation covers.
    pub eval: Eval,
}

impl Default for Config {
    fn default() -> Self {
        Self::of(ModelName::Ncsnpp)
    }
}

impl Config {
    /// The defaults for an architecture.
    pub fn of(name: ModelName) -> Self {
        Self {
            seed: 42,
            data: Data::default(),
            model: Model::of(name),
            optim: Optim::default(),
            sampling: Sampling::default(),
            training: Training::default(),
            eval: Eval::default(),
        }
    }

    /// Reads and validates a TOML text. `origin` (a path or a preset's name) is what errors of syntax name.
    ///
    /// # Errors
    /// [`Error::Format`] for TOML that does not parse, [`Error::UnknownKey`], [`Error::Invalid`].
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let tree: Map<String, Value> =
            toml::from_str(text).map_err(|e| Error::format(origin, e.to_string().trim_end()))?;
        let config = Self::from_map(&tree)?;
        config.validate()?;
        Ok(config)
    }

    /// Reads and validates the authors' configuration as a JSON object. Their top-level `device` is passed over: the
    /// device is chosen at run time.
    ///
    /// # Errors
    /// [`Error::UnknownKey`], [`Error::Invalid`].
    pub fn from_json(tree: &Value) -> Result<Self> {
        let Value::Object(tree) = tree else {
            return Err(Error::invalid("config", tree, "a configuration is an object of sections"));
        };
        let mut tree = tree.clone();
        tree.shift_remove("device");
        let config = Self::from_map(&tree)?;
        config.validate()?;
        Ok(config)
    }

    /// As TOML, complete but for keys that the architecture does not read and that stand at their default.
    /// [`Config::from_toml`] gives the same configuration back.
    pub fn to_toml(&self) -> String {
        // bug: a tree of strings, numbers, booleans and flat lists always has a TOML form.
        toml::to_string(&self.to_tree()).expect("a configuration has a TOML form")
    }

    /// As a JSON object, with the same keys as [`Config::to_toml`].
    pub fn to_json(&self) -> Value {
        Value::Object(self.to_tree())
    }

    /// Sets one key from text as `--set key=value` gives it: a TOML value, or a string without quotes. The result is
    /// not validated, so that several keys can change together; call [`Config::validate`] after the last.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] naming the nearest key, [`Error::Invalid`] saying what the key allows.
    pub fn set(&mut self, key: &str, text: &str) -> Result<()> {
        let parsed = toml::from_str::<Map<String, Value>>(&format!("value = {text}")).ok();
        let value = match parsed {
            Some(mut map) if map.len() == 1 => map.shift_remove("value").unwrap_or(Value::Null),
            _ => Value::String(text.to_owned()),
        };
        // TOML has nan and inf, which no key takes.
        if value.is_null() {
            return Err(Error::invalid(key, text, "a finite number is expected"));
        }
        self.assign(key, &value)
    }

    /// The noise levels of the network's table, largest first: exp of a linear sequence from ln sigma_max to ln sigma_min,
    /// as the authors' `get_sigmas`.
    pub fn sigmas(&self) -> Vec<f64> {
        let (n, top, bottom) = (self.model.num_scales, self.model.sigma_max.ln(), self.model.sigma_min.ln());
        let step = (bottom - top) / (n.max(2) - 1) as f64;
        (0..n)
            .map(|i| if i + 1 == n && n > 1 { bottom.exp() } else { (top + step * i as f64).exp() })
            .collect()
    }

    /// The forward SDE.
    ///
    /// # Errors
    /// [`Error::Invalid`] for constants outside their range.
    pub fn forward_sde(&self) -> Result<Arc<dyn sde::Sde>> {
        let m = &self.model;
        if self.training.sde == Sde::Custom {
            let problem = "the SDE is that of another program, which has to bring it";
            return Err(Error::invalid("training.sde", self.training.sde, problem));
        }
        let parameters = SdeParameters {
            sigma_min: m.sigma_min,
            sigma_max: m.sigma_max,
            beta_min: m.beta_min,
            beta_max: m.beta_max,
            n: m.num_scales,
        };
        sde::by_name(self.training.sde.as_str(), &parameters)
    }

    /// What the network is told about time, and what its output is.
    pub fn conditioning(&self) -> TimeConditioning {
        match self.training.continuous {
            true => TimeConditioning::Continuous,
            false => TimeConditioning::Discrete { levels: self.model.num_scales },
        }
    }

    /// Every key, dotted, in the order of [`Config::to_toml`].
    pub fn keys() -> Vec<String> {
        let mut keys = vec!["seed".to_owned()];
        for (section, names) in Self::SECTIONS {
            keys.extend(names.iter().map(|name| format!("{section}.{name}")));
        }
        keys
    }

    const SECTIONS: [(&'static str, &'static [&'static str]); 6] = [
        ("data", Data::KEYS),
        ("model", Model::KEYS),
        ("optim", Optim::KEYS),
        ("sampling", Sampling::KEYS),
        ("training", Training::KEYS),
        ("eval", Eval::KEYS),
    ];

    fn from_map(tree: &Map<String, Value>) -> Result<Self> {
        let mut config = Self::default();
        // The architecture first: the defaults of the others depend on it.
        if let Some(name) = tree.get("model").and_then(|model| model.get("name")) {
            config.assign("model.name", name)?;
            config.model = Model::of(config.model.name);
        }
        for (head, value) in tree {
            match value {
                Value::Object(section) if Self::SECTIONS.iter().any(|(name, _)| name == head) => {
                    for (key, value) in section {
                        config.assign(&format!("{head}.{key}"), value)?;
                    }
                }
                Value::Object(_) => return Err(unknown_section(head)),
                _ if Self::SECTIONS.iter().any(|(name, _)| name == head) => {
                    return Err(Error::invalid(head, value, "this is a section, not a key"));
                }
                _ => config.assign(head, value)?,
            }
        }
        Ok(config)
    }

    fn assign(&mut self, key: &str, value: &Value) -> Result<()> {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let known = Self::SECTIONS.iter().any(|(s, names)| *s == section && names.contains(&name));
        let done = match section {
            "" if name == "seed" => serde::Deserialize::deserialize(value)
                .map(|seed| self.seed = seed)
                .map_err(|e: serde_json::Error| e.to_string()),
            _ if !known => return Err(unknown_key(key)),
            "data" => self.data.assign(name, value),
            "model" => self.model.assign(name, value),
            "optim" => self.optim.assign(name, value),
            "sampling" => self.sampling.assign(name, value),
            "training" => self.training.assign(name, value),
            _ => self.eval.assign(name, value),
        };
        done.map_err(|problem| Error::invalid(key, value, in_words(problem)))
    }

    fn to_tree(&self) -> Map<String, Value> {
        // bug: every field is a string, a number, a boolean, a list of those or a struct of those.
        let tree = serde_json::to_value(self).expect("a configuration has a JSON form");
        let default = serde_json::to_value(Self::of(self.model.name)).unwrap_or_default();
        let Value::Object(mut tree) = tree else { return Map::new() };
        for (section, value) in &mut tree {
            if let Value::Object(map) = value {
                map.retain(|key, value| {
                    let silent =
                        section == "model" && !self.model.reads(key) && *value == default["model"][key];
                    !value.is_null() && !silent
                });
            }
        }
        tree
    }
}

/// The error for a dotted key that does not exist. A bare key is compared with the last part of the dotted ones.
fn unknown_key(key: &str) -> Error {
    let keys = Config::keys();
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let nearest = if key.contains('.') {
        nearest(key, keys.iter().map(String::as_str))
    } else {
        let name = nearest(key, keys.iter().map(|k| k.rsplit('.').next().unwrap_or_default()));
        keys.iter().find(|k| name.as_deref() == Some(&last(k))).cloned()
    };
    Error::UnknownKey { key: key.to_owned(), nearest }
}

/// What serde expected, without the names of Rust's types.
fn in_words(problem: String) -> String {
    match problem.rsplit_once("expected ").map(|(_, wanted)| wanted) {
        Some("usize" | "u32" | "u64") => "a whole number, 0 or above, is expected".into(),
        Some("f64" | "f32") => "a number is expected".into(),
        Some("a boolean") => "true or false is expected".into(),
        Some("a sequence") => "a list is expected, such as [16, 8]".into(),
        _ => problem,
    }
}

fn unknown_section(section: &str) -> Error {
    Error::UnknownKey {
        key: section.to_owned(),
        nearest: nearest(section, Config::SECTIONS.iter().map(|(name, _)| *name)),
    }
}

#[cfg(test)]
mod tests;
