//! `gen inspect`

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use langevin::checkpoint::{Contents, open};
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

impl Inspect {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        if is_png(&self.path)? {
            return self.picture();
        }
        let contents = open(&self.path)?;
        if let Some(note) = &contents.note {
            session.say(note);
        }
        let counted = contents.tensors.iter().filter(|(name, _)| contents.is_parameter(name));
        let parameters: usize = counted.map(|(_, t)| t.len()).sum();
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
        object.insert("config".into(), config_of(&contents));
        object.insert("parameters".into(), parameters.into());
        object.insert("step".into(), contents.step.into());
        object.insert("ema".into(), contents.average_facts);
        if !contents.classes.is_empty() {
            object.insert("classes".into(), json!(contents.classes));
        }
        if let Some(recipe) = &contents.recipe {
            object.insert("recipe".into(), parse_json(recipe));
        }
        object.extend(contents.facts);
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
        if !contents.average_facts.is_null() {
            print::line(format_args!("ema: {}", contents.average_facts))?;
        }
        if !contents.classes.is_empty() {
            let numbered = contents.classes.iter().enumerate().map(|(i, name)| format!("{i} {name:?}"));
            print::line(format_args!("classes: {}", numbered.collect::<Vec<_>>().join(", ")))?;
        }
        if let Some(recipe) = &contents.recipe {
            print::line(format_args!("recipe: {}", in_words(recipe)))?;
        }
        for (key, value) in &contents.facts {
            if key == "found" {
                print_found(value)?;
                continue;
            }
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            print::line(format_args!("{key}: {}", shown(&text)))?;
        }
        let config = config_of(&contents);
        match Config::from_json(&config) {
            Ok(config) => print::line(format_args!("\n{}", config.to_toml().trim_end()))?,
            Err(_) if config.is_null() => {}
            Err(_) => print::line(format_args!("\nconfig: {config:#}"))?,
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

/// What stands at the top of a file, as a table.
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

/// The configuration, null where there is none.
fn config_of(contents: &Contents) -> Value {
    contents.config.as_deref().map_or(Value::Null, parse)
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
    // Keys of diffusers are none of ours.
    Config::from_toml(text, "config")
        .map(|config| config.to_json())
        .or_else(|_| serde_json::from_str(text))
        .unwrap_or_else(|_| Value::String(text.to_owned()))
}
