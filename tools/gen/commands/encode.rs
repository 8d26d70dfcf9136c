//! `gen encode`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::apart::check_apart_from_inputs;
use crate::exit::Interrupted;
use crate::flow::{FlowArgs, by_flow_args};
use crate::input::ImagesArgs;
use crate::model::ModelArgs;
use crate::output::{check_ending, check_writable};
use crate::print;
use crate::session::Session;

/// Turn images into latents.
///
/// The probability-flow ODE leads from an image, at --t-eps (1e-5 unless given), to its latent at t = 1, a sample of the prior; `gen
/// decode` leads back. Images of another size are cropped to a square and resized.
#[derive(Args)]
#[command(after_help = "Examples:
  gen encode --images photo.png --out z.safetensors
  gen encode --model runs/mine --images photos/ --n 8 --rtol 1e-4 --atol 1e-4 --out z.safetensors --json")]
pub struct Encode {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    images: ImagesArgs,
    /// The latents: `z`, n c h w.
    #[arg(long, value_name = "PATH.safetensors")]
    out: PathBuf,
    #[command(flatten)]
    flow: FlowArgs,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

impl Encode {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        check_ending("--out", &self.out, "safetensors")?;
        let mut inputs = self.model.inputs();
        inputs.push(self.images.input());
        check_apart_from_inputs("--out", &self.out, &inputs)?;
        check_writable(&self.out)?;
        let saved = self.model.open(session)?;
        let images = self.images.read(&saved, session)?;
        let gpu = session.open_gpu()?;
        let start = Instant::now();
        let model = self.model.on(&gpu, saved, session)?;
        let bar = session.follow("encoding");
        let flow = by_flow_args!(&self.flow, model.flow());
        let flow = flow.progress(|p| bar.tell(p)).until(&session.stop());
        let t_eps = flow.encoding()?.t_eps;
        let latents = flow.encode(&images)?;
        bar.clear();
        let n = latents.len();
        if n == 0 {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }
        let nfe = latents.nfe();
        let about = latents.about().clone().with("nfe", nfe.to_string());
        latents.save(&self.out, &about.with("images", images.names()[..n].join(", ")))?;
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            let [_, h, w, c] = latents.shape();
            print::json(&json!({
                "path": self.out, "images": &images.names()[..n], "shape": [n, c, h, w], "nfe": nfe,
                "t_eps": t_eps, "model": model.name(), "ema": model.is_averaged(),
                "adapter": gpu.adapter().name, "seconds": seconds,
            }))?;
        } else {
            let (latents, path) = (print::count(n, "latent"), self.out.display());
            print::line(format_args!("{latents} in {path}, NFE {nfe}, {seconds:.1} s"))?;
        }
        if n < images.len() {
            return Err(Interrupted(format!("{n} of {} latents are written", images.len())).into());
        }
        Ok(())
    }
}
