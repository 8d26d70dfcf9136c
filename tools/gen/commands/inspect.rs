//! `gen inspect`

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use langevin::checkpoint::torch::{Found, Part};
use langevin::checkpoint::{CLASSES, RECIPE, Tensors, Weights, open};
use langevin::data::Preprocess;
use langevin::limits::shown;
use langevin::models::Config;
use langevin::output::Provenance;
use langevin::{Error, files};
use serde_json::{Map, Value, json};

use crate::print;
use crate::session::Session;

/// Say what a file or folder of weights holds, or how a picture came about.
///
/// Reads the authors' .pth files, safetensors, diffusers folders, work folders and checkpoints of `gen train`, and the
/// text that `gen` writes into its PNGs. Nothing in a file is run.
#[derive(Args)]
#[command(after_help = "Examples:
  gen inspect checkpoint_24.pth
  gen inspect google/ddpm-cifar10-32 --json
  gen inspect sample.png")]
pub struct Inspect {
    /// The file or folder.
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// Print an object: format, config, parameters, tensors, step, ema.
    #[arg(long)]
    json: bool,
}

/// What every format tells.
struct Contents {
    format: &'static str,
    config: Value,
    tensors: Tensors,
    /// Whether the name is that of a parameter rather than of a table that the file keeps beside them.
    is_parameter: fn(&str) -> bool,
    step: Option<u64>,
    ema: Value,
    /// The names of the classes in the order of their numbers.
    classes: Vec<String>,
    /// How pictures became what the model learned from.
    recipe: Option<String>,
    other: Map<String, Value>,
}

impl Inspect {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        if is_png(&self.path)? {
            return self.picture();
        }
        let contents = read(&self.path, session)?;
        let parameters: usize = contents
            .tensors
            .iter()
            .filter(|(name, _)| (contents.is_parameter)(name))
            .map(|(_, t)| t.len())
            .sum();
        if self.json { self.print_json(contents, parameters) } else { self.print_text(contents, parameters) }
    }

    fn picture(&self) -> anyhow::Result<()> {
        let provenance = Provenance::read(&self.path)?;
        let entries = provenance.as_ref().map_or(&[][..], |p| p.entries());
        if self.json {
            let map: Map<String, Value> =
                entries.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
            return Ok(print::json(&json!({"path": self.path, "format": "png", "provenance": map}))?);
        }
        print::line("format: png")?;
        for (key, value) in entries {
            print::line(format_args!("{}: {value}", shown(key)))?;
        }
        if entries.is_empty() {
            print::line("it holds no text about how it came about")?;
        }
        Ok(())
    }

    fn print_json(&self, contents: Contents, parameters: usize) -> anyhow::Result<()> {
        let tensors: Vec<Value> = contents
            .tensors
            .iter()
            .map(|(name, t)| json!({"name": name, "shape": t.shape(), "dtype": t.dtype().name()}))
            .collect();
        let mut object = Map::new();
        object.insert("path".into(), json!(self.path));
        object.insert("format".into(), contents.format.into());
        object.insert("config".into(), contents.config);
        object.insert("parameters".into(), parameters.into());
        object.insert("step".into(), contents.step.into());
        object.insert("ema".into(), contents.ema);
        if !contents.classes.is_empty() {
            object.insert("classes".into(), json!(contents.classes));
        }
        if let Some(recipe) = &contents.recipe {
            object.insert("recipe".into(), parse_json(recipe));
        }
        object.extend(contents.other);
        object.insert("tensors".into(), tensors.into());
        Ok(print::json(&Value::Object(object))?)
    }

    fn print_text(&self, contents: Contents, parameters: usize) -> anyhow::Result<()> {
        let bytes = print::bytes(contents.tensors.byte_len());
        print::line(format_args!("format: {}", contents.format))?;
        print::line(format_args!(
            "parameters: {parameters}, in {} tensors of {bytes}",
            contents.tensors.len()
        ))?;
        if let Some(step) = contents.step {
            print::line(format_args!("step: {step}"))?;
        }
        if !contents.ema.is_null() {
            print::line(format_args!("ema: {}", contents.ema))?;
        }
        if !contents.classes.is_empty() {
            let numbered = contents.classes.iter().enumerate().map(|(i, name)| format!("{i} {name:?}"));
            print::line(format_args!("classes: {}", numbered.collect::<Vec<_>>().join(", ")))?;
        }
        if let Some(recipe) = &contents.recipe {
            print::line(format_args!("recipe: {}", in_words(recipe)))?;
        }
        for (key, value) in &contents.other {
            if key == "found" {
                print_found(value)?;
                continue;
            }
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            print::line(format_args!("{key}: {}", shown(&text)))?;
        }
        match Config::from_json(&contents.config) {
            Ok(config) => print::line(format_args!("\n{}", config.to_toml().trim_end()))?,
            Err(_) if contents.config.is_null() => {}
            Err(_) => print::line(format_args!("\nconfig: {:#}", contents.config))?,
        }
        let rows: Vec<Vec<String>> = contents
            .tensors
            .iter()
            .map(|(name, t)| {
                vec![shown(name).to_string(), t.dtype().name().to_owned(), format!("{:?}", t.shape())]
            })
            .collect();
        print::line(format_args!("\n{}", print::table(&rows)))?;
        Ok(())
    }
}

/// One thing at the top of a file, for JSON.
fn found(found: &Found) -> Value {
    let use_of = match found.part {
        Part::Weights => "the weights (--raw)",
        Part::Average => "their average, which is taken unless --raw is given",
        Part::Optimizer => "an optimizer, passed over",
        Part::Step => "the step",
        Part::Other => "passed over",
    };
    json!({"place": found.place, "what": found.what, "use": use_of})
}

/// The same as a table.
fn print_found(list: &Value) -> std::io::Result<()> {
    let text = |found: &Value, key: &str| found[key].as_str().unwrap_or_default().to_owned();
    let row = |found: &Value| {
        let place = text(found, "place");
        let place = if place.is_empty() { "the file itself".into() } else { place };
        vec![format!("  {place}"), text(found, "what"), text(found, "use")]
    };
    let rows: Vec<Vec<String>> = list.as_array().into_iter().flatten().map(row).collect();
    print::line(format_args!("found:\n{}", print::table(&rows)))
}

fn is_png(path: &Path) -> anyhow::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    let mut head = [0; 8];
    let (mut file, _) = files::open(path)?;
    let read = file.read(&mut head).map_err(Error::io(path))?;
    Ok(head[..read] == *b"\x89PNG\r\n\x1a\n")
}

fn read(path: &Path, session: &Session) -> anyhow::Result<Contents> {
    let all = |_: &str| true;
    Ok(match open(path)? {
        Weights::Torch(file) => Contents {
            format: if file.zip { "torch.save (zip)" } else { "torch.save (legacy)" },
            config: Value::Null,
            tensors: file.model,
            // The authors keep the noise levels in the state dict; no gradient ever reaches them.
            is_parameter: |name| name != "sigmas",
            step: file.step,
            classes: Vec::new(),
            recipe: None,
            ema: match &file.ema {
                None => Value::Null,
                Some(Ok(e)) => {
                    let tensors = e.shadow_params.len() + e.by_name.len();
                    json!({"place": e.place, "decay": e.decay, "num_updates": e.num_updates, "tensors": tensors})
                }
                Some(Err(error)) => json!({"unreadable": error.to_string()}),
            },
            other: Map::from_iter([
                ("optimizer".to_owned(), json!(file.optimizer.is_some())),
                ("found".to_owned(), file.found.iter().map(found).collect()),
            ]),
        },
        Weights::Safetensors(file) => {
            let config = file.metadata.iter().find(|(key, _)| key == "config").map(|(_, text)| parse(text));
            let metadata: BTreeMap<_, _> =
                file.metadata.into_iter().filter(|(key, _)| key != "config").collect();
            Contents {
                classes: metadata.get(CLASSES).map_or(Vec::new(), |text| names_of(text)),
                recipe: metadata.get(RECIPE).cloned(),
                format: "safetensors",
                config: config.unwrap_or_default(),
                tensors: file.tensors,
                is_parameter: |name| name != "sigmas",
                step: metadata.get("step").and_then(|s| s.parse().ok()),
                ema: Value::Null,
                other: Map::from_iter([("metadata".to_owned(), json!(metadata))]),
            }
        }
        Weights::Checkpoint(loaded) => {
            if let Some(note) = &loaded.note {
                session.say(note);
            }
            let checkpoint = loaded.checkpoint;
            Contents {
                classes: checkpoint.extra.get(CLASSES).map_or(Vec::new(), |text| names_of(text)),
                recipe: checkpoint.extra.get(RECIPE).cloned(),
                format: "langevin checkpoint",
                config: parse(&checkpoint.config),
                tensors: checkpoint.weights,
                is_parameter: all,
                step: Some(checkpoint.step),
                ema: checkpoint.ema.map_or(Value::Null, |e| {
                    json!({"decay": e.decay, "num_updates": e.num_updates, "tensors": checkpoint.ema_weights.len()})
                }),
                other: Map::from_iter([
                    ("file".to_owned(), json!(loaded.path)),
                    ("seed".to_owned(), json!(checkpoint.seed)),
                    ("epoch".to_owned(), json!(checkpoint.data.epoch)),
                    ("image".to_owned(), json!(checkpoint.data.index)),
                    ("optimizer".to_owned(), json!(!checkpoint.adam_m.is_empty())),
                ]),
            }
        }
        Weights::Diffusers(folder) => Contents {
            classes: Vec::new(),
            recipe: None,
            format: "diffusers",
            config: serde_json::to_value(&folder.unet)?,
            tensors: folder.tensors()?,
            is_parameter: all,
            step: None,
            ema: Value::Null,
            other: Map::from_iter([
                ("pipeline".to_owned(), json!(folder.pipeline)),
                ("scheduler".to_owned(), serde_json::to_value(&folder.scheduler)?),
                ("weights".to_owned(), json!(folder.weights)),
            ]),
        },
    })
}

/// The names of classes out of a file.
fn names_of(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

fn parse_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A recipe as a sentence, where it is one that is known.
fn in_words(recipe: &str) -> String {
    serde_json::from_str::<Preprocess>(recipe).map_or_else(|_| recipe.to_owned(), |recipe| recipe.to_string())
}

/// A configuration as a file holds it, TOML or JSON; the text itself where it is neither.
fn parse(text: &str) -> Value {
    Config::from_toml(text, "config")
        .map(|config| config.to_json())
        .or_else(|_| serde_json::from_str(text))
        .unwrap_or_else(|_| Value::String(text.to_owned()))
}
