//! `gen decode`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use langevin::Error;
use langevin::pipeline::Latents;
use serde_json::json;

use crate::apart::{Input, check_apart_from_inputs};
use crate::exit::Interrupted;
use crate::flow::DecodeArgs;
use crate::model::ModelArgs;
use crate::output::Out;
use crate::print;
use crate::session::Session;

/// Turn latents into images.
///
/// The probability-flow ODE leads from a latent at t = 1 to an image at --t-eps: 1e-5 for VE and 1e-3 for VP and sub-VP unless given,
/// as in the authors' sampler.
#[derive(Args)]
#[command(after_help = "Examples:
  gen decode --latent z.safetensors --out x.png
  gen decode --model runs/mine --latent z.safetensors --rtol 1e-4 --atol 1e-4 --denoise --out x.safetensors")]
pub struct Decode {
    #[command(flatten)]
    model: ModelArgs,
    /// The latents: `z`, n c h w, as `gen encode` writes them.
    #[arg(long, value_name = "PATH.safetensors")]
    latent: PathBuf,
    /// A .png (a grid), .safetensors (`x`, n c h w, in [0, 1] but not clipped), .npz (`samples` and `arr_0`, n h w c bytes), a folder, or - (stdout).
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Write into a folder that holds pictures of something else.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    how: DecodeArgs,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

impl Decode {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let mut inputs = self.model.inputs();
        inputs.push(Input::Images("--latent", &self.latent));
        check_apart_from_inputs("--out", &self.out, &inputs)?;
        let out = Out::new(&self.out)?;
        out.check_json(self.json)?;
        let saved = self.model.open(session)?;
        let latents = Latents::open(&self.latent)?;
        let gpu = session.open_gpu()?;
        let start = Instant::now();
        let model = self.model.on(&gpu, saved, session)?;
        let [n, h, w, c] = latents.shape();
        let wanted = model.image_shape();
        if [h, w, c] != wanted {
            let [height, width, channels] = wanted;
            let problem = format!(
                "latents of shape {:?} where the model takes n x {channels} x {height} x {width} (n c h w)",
                [n, c, h, w]
            );
            return Err(Error::format(&self.latent, problem).into());
        }
        let bar = session.follow("decoding");
        let flow = self.how.set(model.flow()).progress(|p| bar.tell(p)).until(&session.stop());
        let t_eps = flow.decoding()?.t_eps;
        let about = model.provenance()?.with("latent", self.latent.display().to_string());
        let about = about.with("t_eps", t_eps.to_string());
        out.held(&about, self.overwrite)?;
        let images = flow.decode(&latents)?;
        bar.clear();
        if images.is_empty() {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }
        let nfe = images.nfe();
        out.write(&images, None, &about.with("nfe", nfe.to_string()))?;
        let (n, seconds) = (images.len(), start.elapsed().as_secs_f64());
        if self.json {
            print::json(&json!({
                "path": self.out, "shape": [n, c, h, w], "nfe": nfe, "t_eps": t_eps,
                "denoise": self.how.denoise, "temperature": self.how.temperature, "model": model.name(),
                "ema": model.is_averaged(), "adapter": gpu.adapter().name, "seconds": seconds,
            }))?;
        } else {
            let (images, path) = (print::count(n, "image"), self.out.display());
            print::line(format_args!("{images} in {path}, NFE {nfe}, {seconds:.1} s"))?;
        }
        if n < latents.len() {
            return Err(Interrupted(format!("{n} of {} images are written", latents.len())).into());
        }
        Ok(())
    }
}
