//! `gen convert`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use langevin::files::is_same;
use serde_json::json;

use crate::apart::{Input, check_apart_from_inputs};
use crate::exit::Usage;
use crate::model::ModelArgs;
use crate::output::check_writable;
use crate::print;
use crate::session::Session;
use crate::settings::ConfigArgs;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Form {
    /// One file with the configuration beside the weights.
    Safetensors,
    /// A folder that diffusers opens; for DDPM, and NCSN++ with both image pyramids.
    Diffusers,
}

/// Write a model as one safetensors file, with its configuration, or as a folder for diffusers.
///
/// Reads whatever `--model` reads. The averaged weights are written where there are any; with --f16 the file takes half the room.
#[derive(Args)]
#[command(after_help = "Examples:
  gen convert checkpoint_24.pth --config ve/cifar10_ncsnpp_continuous --out cifar10.safetensors
  gen convert runs/mine --f16 --out mine.safetensors
  gen convert runs/church --to diffusers --out church/
  gen sample --model mine.safetensors")]
pub struct Convert {
    /// Weights: a .pth, safetensors or checkpoint file, a work folder of `gen train`, a diffusers folder.
    #[arg(value_name = "FILE|DIR")]
    model: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// Take the weights as the optimizer left them, not their moving average.
    #[arg(long)]
    raw: bool,
    /// What to write.
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Safetensors)]
    to: Form,
    /// The .safetensors file to write, or the folder.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Write kernels and matrices as 16-bit floats.
    #[arg(long)]
    f16: bool,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

impl Convert {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        match self.to {
            Form::Safetensors => {
                if self.out.extension().is_none_or(|e| !e.eq_ignore_ascii_case("safetensors")) {
                    let problem =
                        format!("--out {}: it takes the name of a .safetensors file", self.out.display());
                    return Err(Usage(problem).into());
                }
                check_writable(&self.out)?;
            }
            Form::Diffusers if self.f16 => {
                return Err(Usage(
                    "--f16 belongs to --to safetensors; diffusers halves weights as it reads them".into(),
                )
                .into());
            }
            Form::Diffusers if self.out.as_os_str() == "-" => {
                return Err(Usage("--out -: a folder cannot go to stdout".into()).into());
            }
            Form::Diffusers => {}
        }
        let given = Path::new(&self.model);
        check_apart_from_inputs("--out", &self.out, &[Input::Model("the model", given)])?;
        if self.to == Form::Diffusers && given.is_dir() && is_same(given, &self.out) {
            let problem =
                format!("--out {}: the model is read from there; give another folder", self.out.display());
            return Err(Usage(problem).into());
        }
        let model = ModelArgs { model: Some(self.model), config: self.config, raw: self.raw };
        let saved = model.open(session)?;
        let averaged = saved.has_ema() && !self.raw;
        let written = match self.to {
            Form::Safetensors => {
                saved.save(&self.out, model.which(), self.f16)?;
                self.out.clone()
            }
            Form::Diffusers => {
                saved.save_diffusers(&self.out, model.which())?;
                self.out.join("unet/diffusion_pytorch_model.safetensors")
            }
        };
        let bytes = std::fs::metadata(&written).map_err(langevin::Error::io(&written))?.len();
        let parameters = saved.tensors(model.which()).iter().map(|(_, t)| t.len()).sum::<usize>();
        if self.json {
            return Ok(print::json(&json!({
                "path": self.out, "model": saved.name, "ema": averaged, "step": saved.step, "f16": self.f16,
                "parameters": parameters, "bytes": bytes,
            }))?);
        }
        let kind = if averaged { "averaged" } else { "raw" };
        print::line(format_args!(
            "{parameters} parameters, {kind}, in {} ({})",
            self.out.display(),
            print::bytes(bytes)
        ))?;
        Ok(())
    }
}
