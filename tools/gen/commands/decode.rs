//! `gen decode`

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use langevin::Error;
use langevin::data::read_tensor;
use langevin::data::transform::nhwc_to_nchw;
use serde_json::json;

use crate::apart::{Input, check_apart_from_inputs};
use crate::exit::Interrupted;
use crate::flow::{DecodeArgs, Flow};
use crate::model::{Facts, ModelArgs};
use crate::output::{Out, Pictures};
use crate::print;
use crate::sampler::Norm;
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
        let [h, w, c] = saved.hwc();
        let (shape, z) = read_tensor(&self.latent, &["z"])?;
        if shape.len() != 4 || shape[1..] != [c, h, w] || shape[0] == 0 {
            let problem =
                format!("latents of shape {shape:?} where the model takes n x {c} x {h} x {w} (n c h w)");
            return Err(Error::format(&self.latent, problem).into());
        }
        // The same transposition with its extents exchanged leads back.
        let z = nhwc_to_nchw(&z, c, h * w);
        let options = self.how.flow.options(saved.sde()?.default_t_eps(), Norm::Batch)?;
        let gpu = session.open_gpu()?;
        let start = Instant::now();
        let provenance = self.model.provenance(&saved, &gpu)?;
        let provenance = provenance
            .with("latent", self.latent.display().to_string())
            .with("t_eps", options.t_eps.to_string());
        out.held(&provenance, self.overwrite)?;
        let mut flow = Flow::new(&gpu, &saved, self.model.which(), false, session.kernels(&gpu)?)?;
        let done = flow.decode(z, &self.how, options, session)?;
        let n = done.x.len() / (h * w * c);
        if n == 0 {
            return Err(Interrupted("no image was finished, nothing is written".into()).into());
        }
        let provenance = provenance.with("nfe", done.nfe.to_string());
        let names: Vec<String> = (0..n).map(|i| format!("{i:06}")).collect();
        let pictures = Pictures::new(done.x, [h, w, c], saved.centered());
        out.write(&pictures, &names, None, &provenance)?;
        let seconds = start.elapsed().as_secs_f64();
        if self.json {
            print::json(&json!({
                "path": self.out, "shape": [n, c, h, w], "nfe": done.nfe, "t_eps": options.t_eps,
                "denoise": self.how.denoise, "temperature": self.how.temperature, "model": saved.name,
                "ema": self.model.averaged(&saved), "adapter": gpu.adapter().name, "seconds": seconds,
            }))?;
        } else {
            let (nfe, path) = (done.nfe, self.out.display());
            let images = print::count(n, "image");
            print::line(format_args!("{images} in {path}, NFE {nfe}, {seconds:.1} s"))?;
        }
        if n < shape[0] {
            return Err(Interrupted(format!("{n} of {} images are written", shape[0])).into());
        }
        Ok(())
    }
}
