//! What the device can do at most, measured in the same process as everything that is held against it.

use crate::error::Result;
use crate::gpu::{DeviceKind, Gpu};
use crate::graph::{Choice, Draft, DraftOptions, Graph, Plan, Resources, Value};
use crate::ops::elementwise::copy;
use crate::ops::peak::multiply_adds;

/// Elements of the copy: 64 MiB each way, beyond every cache.
const COPIED: usize = 16 << 20;
/// What one measured replay should take: long against a submission, short against a watchdog.
const SECONDS: f64 = 0.03;
/// The best of so many counts.
const TRIES: usize = 5;

/// Two ceilings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peaks {
    /// Multiply-adds in f32, in 1e9 operations a second; a multiply-add is two.
    pub gflops: f64,
    /// A copy, in 1e9 bytes read and written a second.
    pub gbs: f64,
}

impl Peaks {
    /// Measures both.
    ///
    /// # Errors
    /// What the device reports.
    pub fn measure(gpu: &Gpu) -> Result<Self> {
        let elements = if gpu.capabilities().kind == DeviceKind::Software { 1 << 16 } else { 4 << 20 };
        let mut gflops: f64 = 0.0;
        for candidate in 0..4 {
            let plan = |turns: usize| built(gpu, elements, candidate, |g, x| multiply_adds(g, x, turns));
            let short = 16;
            let rate = 1.0 / best(&mut plan(short)?)?;
            let turns = ((short as f64 * rate * SECONDS) as usize).clamp(short, 65_535);
            let flops = 256.0 * turns as f64 * elements as f64;
            gflops = gflops.max(flops / best(&mut plan(turns)?)? / 1e9);
        }
        let mut copying = built(gpu, COPIED, 0, copy)?;
        Ok(Self { gflops, gbs: 8.0 * COPIED as f64 / best(&mut copying)? / 1e9 })
    }
}

fn built(
    gpu: &Gpu,
    elements: usize,
    candidate: usize,
    op: impl FnOnce(&mut Graph, Value) -> Result<Value>,
) -> Result<Plan> {
    let mut g = Graph::new();
    let x = g.input("x", [elements]);
    let y = op(&mut g, x)?;
    let choice = Choice::Nth(candidate);
    let draft = Draft::new(&g, &[y], gpu.capabilities(), DraftOptions { choice, ..Default::default() })?;
    draft.build(gpu, Resources::new())
}

/// Seconds of the fastest replay.
fn best(plan: &mut Plan) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        best = best.min(plan.time(1)?.as_secs_f64());
    }
    // A clock too coarse to see anything must not make an infinite peak.
    Ok(best.max(1e-7))
}
