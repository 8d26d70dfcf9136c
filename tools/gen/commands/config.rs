//! `gen config`

use clap::{Args, Subcommand};
use langevin::models::presets;
use serde_json::{Value, json};

use crate::print;
use crate::settings::{ConfigArgs, load};

/// List and show configurations.
#[derive(Args)]
#[command(after_help = "Examples:
  gen config list
  gen config show ve/cifar10_ncsnpp_continuous > mine.toml
  gen config show mine.toml --set sampling.snr=0.17 --json")]
pub struct ConfigCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The presets: the authors' configurations under their own names.
    #[command(after_help = "Examples:
  gen config list
  gen config list --json")]
    List {
        /// Print an array of objects.
        #[arg(long)]
        json: bool,
    },
    /// Every key of a preset or file, as TOML that `--config` reads back.
    #[command(after_help = "Examples:
  gen config show ve/cifar10_ncsnpp_continuous > mine.toml
  gen config show mine.toml --set sampling.snr=0.17 --json")]
    Show {
        /// A preset, or a TOML or JSON file.
        #[arg(value_name = "NAME|FILE")]
        name: String,
        /// Sets one key; may be repeated.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Print an object instead.
        #[arg(long)]
        json: bool,
    },
}

impl ConfigCommand {
    pub fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::List { json: false } => {
                let row = |name: &'static str| Ok(vec![name.to_owned(), summary(name)?]);
                let rows: langevin::Result<Vec<_>> = presets::names().map(row).collect();
                print::line(print::table(&rows?))?;
            }
            What::List { json: true } => {
                let item = |name: &'static str| Ok(json!({"name": name, "summary": summary(name)?}));
                let items: langevin::Result<Value> = presets::names().map(item).collect();
                print::json(&items?)?;
            }
            What::Show { name, set, json } => {
                let untouched = set.is_empty().then(|| presets::toml(&name).ok()).flatten();
                let config = ConfigArgs { config: None, set }.apply(load(&name)?)?;
                match (json, untouched) {
                    (true, _) => print::json(&config.to_json())?,
                    (false, Some(text)) => print::line(text.trim_end())?,
                    (false, None) => print::line(config.to_toml().trim_end())?,
                }
            }
        }
        Ok(())
    }
}

/// What a preset is, without its own name and the file it comes from.
fn summary(name: &str) -> langevin::Result<String> {
    Ok(presets::summary(name)?.split(';').next().unwrap_or_default().to_owned())
}
