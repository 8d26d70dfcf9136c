//! Draws images by a checkpoint of the authors' code, a safetensors file, a diffusers folder, or a work folder of training:
//!
//!     cargo run --release --example pretrained -- checkpoint_24.pth ve/cifar10_ncsnpp_continuous
//!
//! Without a file it writes the embedded model as one and reads that.

use langevin::gpu::Gpu;
use langevin::pipeline::Pretrained;
use langevin::sampling::solvers::PredictorCorrector;

fn main() -> langevin::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = match arguments.next() {
        Some(file) => file,
        None => {
            Pretrained::embedded().read()?.save("digits.safetensors", Default::default(), false)?;
            "digits.safetensors".to_owned()
        }
    };
    let mut pretrained = Pretrained::open(&file)?;
    // The authors' files hold no configuration: a preset says which network they belong to.
    if let Some(preset) = arguments.next() {
        pretrained = pretrained.preset(preset);
    }
    let gpu = Gpu::open_default()?;
    let model = pretrained.load(&gpu)?;
    println!("{}: {:?} (h w c), step {:?}", model.name(), model.image_shape(), model.step());
    // The paper's sampler has as many steps as the model has noise levels; this is a tenth of CIFAR-10's.
    let images = model.sampler(PredictorCorrector::default().steps(100)).seeds(0..4).draw()?;
    images.grid()?.save("pretrained.png")
}
