//! What all cases of a run share.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use langevin::gpu::{Gpu, Options};
use langevin::graph::{Arithmetic, Choice, DraftOptions, KernelRequest};

use crate::case::Case;
use crate::environment;

/// The least tolerance of a case over the size of its tensor, 335 roundings of f32; and that of kernels whose operands are rounded to
/// f16, 16 roundings of f16.
const OF_F32: f64 = 2e-5;
const OF_F16: f64 = 16.0 / 2048.0;

/// The folder of goldens, and what was opened once for all cases.
pub struct Context {
    /// The folder that holds the categories.
    pub folder: PathBuf,
    models: RefCell<BTreeMap<String, Rc<Case>>>,
    gpu: OnceCell<Result<Gpu, String>>,
    lacks_gpu: Cell<bool>,
}

impl Context {
    /// A run over `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, models: RefCell::default(), gpu: OnceCell::new(), lacks_gpu: Cell::new(false) }
    }

    /// The shared weights and configuration `<category>/<name>.json` that a case names in `config.model`.
    pub fn model(&self, category: &str, name: &str) -> Result<Rc<Case>, String> {
        let key = format!("{category}/{name}");
        if let Some(model) = self.models.borrow().get(&key) {
            return Ok(model.clone());
        }
        let model = Rc::new(Case::open(&self.folder.join(format!("{key}.json")))?);
        self.models.borrow_mut().insert(key, model.clone());
        Ok(model)
    }

    /// The device of all cases. Without one every case that needs it fails and says what to install, unless
    /// `LANGEVIN_ALLOW_NO_GPU=1`, which leaves it out and counts it.
    pub fn gpu(&self) -> Result<&Gpu, String> {
        let given = environment::options().unwrap_or_else(|e| panic!("{}: {e}", environment::KERNELS));
        let options = Options { cache_folder: None, ..given };
        let open = || Gpu::open(&options).map_err(|e| e.to_string());
        let gpu = self.gpu.get_or_init(open).as_ref();
        let allowed = || environment::is_on("LANGEVIN_ALLOW_NO_GPU");
        self.lacks_gpu.set(gpu.is_err() && allowed());
        gpu.map_err(String::clone)
    }

    /// How many times wider tolerances are than the cases give them, which is for f32: `LANGEVIN_KERNELS` may name a class whose kernels
    /// round operands to f16. Says so; and where this device has no kernels of such a class, that others ran.
    pub fn slack(&self) -> f64 {
        let KernelRequest::Classes(asked) = requested() else { return 1.0 };
        let mut slack = 1.0;
        for class in asked.into_iter().filter(|class| class.is_reduced()) {
            let Ok(gpu) = self.gpu() else { continue };
            if Arithmetic::of_class(class, gpu.capabilities()).is_reduced() {
                slack = OF_F16 / OF_F32;
                println!(
                    "{class} rounds operands to f16: tolerances are {slack:.0} times those of the cases, for f32"
                );
            } else {
                println!("this device has no kernels of the class {class}: those of f32 run in their place");
            }
        }
        slack
    }

    /// Whether a case since the last call asked for a device where none is and none is needed.
    pub fn lacked_gpu(&self) -> bool {
        self.lacks_gpu.take()
    }
}

/// How plans are made: `LANGEVIN_KERNELS` forces kernel classes.
pub fn options() -> DraftOptions {
    DraftOptions { choice: choice(), ..DraftOptions::default() }
}

/// How kernels are chosen: `LANGEVIN_KERNELS` forces classes.
pub fn choice() -> Choice {
    requested().choice()
}

fn requested() -> KernelRequest {
    environment::kernels().unwrap_or_else(|e| panic!("{}: {e}", environment::KERNELS))
}
