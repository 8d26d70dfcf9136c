//! Grids of samples on the way, from the weights as they are and from their average.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::objective::problem_with;
use super::options::SampleOptions;
use super::state::TrainState;
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Choice, Draft, Drafts, ParameterSet, Resources};
use crate::models::{Config, Network};
use crate::output::{ImageBytes, Provenance, grid, to_bytes, write_png};
use crate::sampling::run::{ImageSeed, Method, Sampler, SamplerDraft};
use crate::sampling::solvers::{self, Problem, SolverOptions, SolverRun};
use crate::score::ModelScore;
use crate::sde::Sde;

/// The sampler of a configuration for batches of `n` images. `steps` asks for a few-step solver of so many steps: the configuration's,
/// or the default one where it names predictor-corrector sampling. A grid is drawn in a number of steps that is known before, so
/// Heun's method on the same flow takes the place of an adaptive one.
///
/// # Errors
/// What the sampler's options, the network and the device say.
pub fn sampler_draft(
    gpu: &Gpu,
    network: &dyn Network,
    sde: &Arc<dyn Sde>,
    config: &Config,
    n: usize,
    steps: Option<usize>,
    choice: Choice,
) -> Result<SamplerDraft> {
    let size = config.data.image_size;
    let shape = [n, size, size, config.data.num_channels];
    let score = ModelScore::new(network, Some(sde.as_ref()));
    let problem = problem_with(config, Problem::new(Arc::clone(sde), network.conditioning()))?;
    match run_of(config, &problem, steps)? {
        SolverRun::Pc { table, norm } => {
            let method = Method::Pc { table: &table, norm, constraint: None };
            SamplerDraft::new(gpu, &score, method, shape, choice)
        }
        SolverRun::Rows { table, .. } => {
            SamplerDraft::new(gpu, &score, Method::Solver(&table), shape, choice)
        }
        SolverRun::Flow { .. } => {
            let problem = "a grid is drawn in a number of steps that is known before; name another sampler";
            Err(Error::invalid("sampling.method", &config.sampling.method, problem))
        }
    }
}

/// The run of the configuration's sampler, or of what takes its place in a grid.
fn run_of(config: &Config, problem: &Problem, steps: Option<usize>) -> Result<SolverRun> {
    let mut entry = solvers::by_name(config.sampling.method.as_str())?;
    if entry.name == solvers::pc::ENTRY.name && steps.is_some() {
        entry = solvers::default_entry();
    }
    if !entry.takes.contains(&"steps") {
        entry = &solvers::heun::ENTRY;
    }
    let options = SolverOptions { steps, ..SolverOptions::default() };
    entry.solver(&options)?.plan(problem)
}

/// Draws grids. The plan and its own copy of the weights live as long as the run.
#[derive(Debug)]
pub struct SampleGrids {
    sampler: Sampler,
    shown: ParameterSet,
    images: Vec<ImageSeed>,
    centered: bool,
}

impl SampleGrids {
    /// Builds the sampler; `settle` gives its drafts their kernels. All grids of a run begin with the same noise.
    ///
    /// # Errors
    /// As [`sampler_draft`].
    pub fn new(
        gpu: &Gpu,
        network: &dyn Network,
        sde: &Arc<dyn Sde>,
        config: &Config,
        options: SampleOptions,
        state: &TrainState,
        settle: impl FnMut(&Draft) -> Result<Draft>,
    ) -> Result<Self> {
        let shown = ParameterSet::zeros(gpu, "shown", state.weights.layout())?;
        let draft = sampler_draft(gpu, network, sde, config, options.images, options.steps, Choice::Written)?;
        let draft = draft.map_drafts(settle)?;
        let sampler = draft.build(gpu, Resources::new().set("weights", &shown).set("fixed", &state.fixed))?;
        let images = (0..options.images as u32).map(|image| ImageSeed { seed: config.seed, image }).collect();
        Ok(Self { sampler, shown, images, centered: config.data.centered })
    }

    /// Draws one grid from `weights`. `proceed` is asked before every step; `None` when it says no.
    ///
    /// # Errors
    /// [`crate::Error::NonFinite`] where the sampler diverged; what the device reports.
    pub fn draw(
        &mut self,
        weights: &ParameterSet,
        proceed: &mut dyn FnMut() -> bool,
    ) -> Result<Option<ImageBytes>> {
        self.shown.copy_from(weights)?;
        self.sampler.plan().parameters_changed();
        let Some(mut x) = self.sampler.run(&self.images, &mut |_| proceed())? else { return Ok(None) };
        if self.centered {
            crate::data::transform::uncenter(&mut x);
        }
        let shape = self.sampler.shape();
        let [h, w, c] = [shape[1], shape[2], shape[3]];
        let x = crate::data::transform::nhwc_to_nchw(&x, h * w, c);
        grid(&to_bytes(&x, [self.images.len(), c, h, w])?, None).map(Some)
    }
}

/// Writes a grid into a folder and gives its path.
pub(super) fn write_grid(
    folder: &Path,
    step: u64,
    name: &str,
    image: &ImageBytes,
    seed: u64,
) -> Result<PathBuf> {
    let path = folder.join(format!("{step:08}-{name}.png"));
    let provenance = Provenance::new().with("step", step.to_string()).with("seed", seed.to_string());
    write_png(&path, image, &provenance)?;
    Ok(path)
}
