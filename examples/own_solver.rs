//! A solver of one's own: Euler's method on the probability-flow ODE, in even steps of t. A solver is a table of numbers that are
//! worked out in f64 before anything runs; the device only looks them up.

use std::sync::Arc;

use langevin::gpu::Gpu;
use langevin::pipeline::Pretrained;
use langevin::sampling::few_step::{SolverRow, SolverTable};
use langevin::sampling::solvers::{Problem, Solver, SolverRun};
use langevin::sde::linspace;

#[derive(Debug)]
struct Euler {
    steps: usize,
}

impl Solver for Euler {
    fn name(&self) -> &'static str {
        "euler"
    }

    fn describe(&self, _: &Problem) -> langevin::Result<String> {
        Ok(format!("euler, {} steps", self.steps))
    }

    fn plan(&self, problem: &Problem) -> langevin::Result<SolverRun> {
        let sde = problem.sde()?;
        let times = linspace(1.0, sde.default_t_eps(), self.steps + 1);
        let rows = times.windows(2).map(|step| {
            let (t, h) = (step[0], step[1] - step[0]);
            // dx/dt = f·x − ½ g²·score
            let c = sde.sde(t);
            let row = SolverRow::asking(sde.as_ref(), problem.time(), t);
            SolverRow { x: 1.0 + h * c.drift, output: -0.5 * h * c.diffusion.powi(2), ..row }
        });
        let table = SolverTable::new(rows.collect(), sde.prior_std(), None);
        Ok(SolverRun::Rows { table, raw_output: false })
    }
}

fn main() -> langevin::Result<()> {
    let gpu = Gpu::open_default()?;
    let model = Pretrained::embedded().load(&gpu)?;
    let sampling = model.sampler_of(Arc::new(Euler { steps: 50 })).seeds(0..4);
    let images = sampling.draw()?;
    println!("{}: {} evaluations each", images.about().get("sampler").unwrap_or_default(), images.nfe());
    images.grid()?.save("euler.png")
}
