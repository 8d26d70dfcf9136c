//! `gen encode`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use langevin::data::transform::nhwc_to_nchw;
use langevin::likelihood::T_EPS;
use serde_json::json;

use crate::apart::check_apart_from_inputs;
use crate::exit::Interrupted;
use crate::flow::{Flow, FlowArgs};
use crate::input::ImagesArgs;
use crate::model::{Facts, ModelArgs};
use crate::output::{check_ending, check_writable, write_tensor};
use crate::print;
use crate::sampler::Norm;
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
        let options = self.flow.options(T_EPS, Norm::Batch)?;
        let saved = self.model.open(session)?;
        let images = self.images.read(&saved, session)?;
        let gpu = session.open_gpu()?;
        let start = Instant::now();
        let mut flow = Flow::new(&gpu, &saved, self.model.which(), false, session.kernels(&gpu)?)?;
        let done = flow.encode(&images.scaled(saved.centered()), self.flow.batch, options, session)?;
        let [h, w, c] = saved.hwc();
        let n = done.x.len() / (h * w * c);
        if n == 0 {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }
        let provenance = self.model.provenance(&saved, &gpu)?;
        let provenance = provenance
            .with("t_eps", options.t_eps.to_string())
            .with("nfe", done.nfe.to_string())
            .with("images", images.names[..n].join(", "));
        write_tensor(&self.out, "z", &[n, c, h, w], &nhwc_to_nchw(&done.x, h * w, c), &provenance)?;
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            print::json(&json!({
                "path": self.out, "images": &images.names[..n], "shape": [n, c, h, w], "nfe": done.nfe,
                "t_eps": options.t_eps, "model": saved.name, "ema": self.model.averaged(&saved),
                "adapter": gpu.adapter().name, "seconds": seconds,
            }))?;
        } else {
            let (nfe, path) = (done.nfe, self.out.display());
            let latents = print::count(n, "latent");
            print::line(format_args!("{latents} in {path}, NFE {nfe}, {seconds:.1} s"))?;
        }
        if n < images.names.len() {
            return Err(Interrupted(format!("{n} of {} latents are written", images.names.len())).into());
        }
        Ok(())
    }
}
