//! `gen bench`

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use langevin::bench::{Bench as Bencher, Case, Measurement, Slice, chrome_trace, suite};
use langevin::error::nearest;
use langevin::gpu::DeviceKind;
use langevin::graph::{Choice, Kernels, Tuner};
use serde_json::json;

use crate::exit::{Interrupted, Usage};
use crate::print;
use crate::session::Session;

/// Measure kernels, blocks, a network, training and sampling on this device.
///
/// Every result is held against the plainest kernels before it is timed. Shares are of two peaks measured in the same process:
/// multiply-adds in f32, and a copy. Operations are those of direct convolution, so Winograd may pass 100 %.
#[derive(Args)]
#[command(after_help = "Examples:
  gen bench
  gen bench --filter conv3x3 --json
  gen bench --full --filter 'pc step'
  gen bench --filter 'forward ve/cifar10_ncsnpp_continuous n=1' --trace forward.json
  gen bench --list --full")]
pub struct Bench {
    /// Only what has this in its name (group, name, shape, batch), such as `conv3x3`, `block` or `n=4`; a whole name is that case alone.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Batches of 128, every gradient, training and sampling too.
    #[arg(long)]
    full: bool,
    /// Time the candidates of every op first and keep the fastest, as a GPU is tuned at first use; a software device only on request.
    #[arg(long)]
    tune: bool,
    /// Say which kernels were chosen, and why the others were not.
    #[arg(long)]
    explain: bool,
    /// Write a trace of the plans with a slice for each dispatch, for ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Count the clock at least so often; the median is given.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    counts: u32,
    /// Name what would be measured, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Print an array of objects.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn run(self, session: &Session) -> anyhow::Result<()> {
        let cases = self.cases()?;
        if self.list && self.json {
            let item = |case: &Case| json!({"case": case.to_string(), "name": case.name, "full": case.full});
            return Ok(print::json(&cases.iter().map(item).collect())?);
        }
        if self.list {
            return cases.iter().try_for_each(|case| Ok(print::line(case)?));
        }
        let gpu = session.open_gpu()?;
        let software = gpu.capabilities().kind == DeviceKind::Software;
        session.detail("measuring the peaks");
        let kernels = match self.tune {
            true => Kernels { choice: Choice::Written, tuner: Some(Tuner::new(&gpu)) },
            false => session.kernels(&gpu)?,
        };
        let bench = Bencher::new(&gpu, kernels, self.counts as usize)?;
        let bar = session.bar(cases.len() as u64, "measuring");
        let (mut results, mut plans, mut left) = (Vec::new(), Vec::new(), 0);
        for case in &cases {
            if session.is_interrupted() {
                break;
            }
            bar.set_message(case.to_string());
            let problem = match software && case.hardware {
                true => Some("too long for a processor that plays a GPU".to_owned()),
                false => self.one(&bench, case, &mut results, &mut plans)?,
            };
            if let Some(problem) = problem {
                left += 1;
                bar.suspend(|| session.say(format_args!("left out: {case}: {problem}")));
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        self.tell(&bench, &results, session)?;
        if let Some(path) = &self.trace {
            let adapter = gpu.adapter();
            let notes = [
                ("adapter", adapter.name.as_str()),
                ("driver", adapter.driver.as_str()),
                ("clock", bench.clock()),
                ("times", "each dispatch was a pass and a submission of its own; they stand end to end here"),
            ];
            let text = format!("{:#}\n", chrome_trace(&plans, &notes));
            std::fs::write(path, text).map_err(langevin::Error::io(path)).context("--trace")?;
        }
        match results.len() + left {
            done if done < cases.len() => {
                Err(Interrupted(format!("{done} of {} were measured", cases.len())).into())
            }
            _ => Ok(()),
        }
    }

    fn cases(&self) -> anyhow::Result<Vec<Case>> {
        let (all, filter) = (suite(), self.filter.as_deref().unwrap_or_default());
        // A whole name means that case alone: `n=1` is a part of `n=128` too.
        let whole = all.iter().any(|case| case.to_string() == filter);
        let wanted = |case: &Case| match whole {
            true => case.to_string() == filter,
            false => case.to_string().contains(filter),
        };
        let matching: Vec<Case> = all.iter().filter(|case| wanted(case)).cloned().collect();
        if matching.is_empty() {
            let near = nearest(filter, all.iter().map(|case| case.name));
            let near =
                near.map_or("gen bench --list --full has all".into(), |n| format!("did you mean {n:?}?"));
            return Err(Usage(format!("--filter {filter:?} matches nothing; {near}")).into());
        }
        let chosen: Vec<Case> = matching.iter().filter(|case| self.full || !case.full).cloned().collect();
        if chosen.is_empty() {
            let problem =
                format!("--filter {filter:?} matches {} cases of --full and no other", matching.len());
            return Err(Usage(problem).into());
        }
        Ok(chosen)
    }

    /// Measures a case; says why where it does not fit the device.
    fn one(
        &self,
        bench: &Bencher,
        case: &Case,
        results: &mut Vec<Measurement>,
        plans: &mut Vec<(String, Vec<Slice>)>,
    ) -> langevin::Result<Option<String>> {
        let result = bench.run(case).and_then(|result| {
            if self.trace.is_some() {
                plans.push((case.to_string(), bench.slices(case)?));
            }
            Ok(result)
        });
        match result {
            Ok(result) => results.push(result),
            Err(error @ (langevin::Error::Limit { .. } | langevin::Error::OutOfMemory { .. })) => {
                return Ok(Some(error.to_string()));
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    fn tell(&self, bench: &Bencher, results: &[Measurement], session: &Session) -> anyhow::Result<()> {
        for slow in results.iter().filter(|r| r.submission_ms > 500.0) {
            session.say(format_args!(
                "{} {}: a submission took {:.0} ms",
                slow.name, slow.shape, slow.submission_ms
            ));
        }
        if self.json {
            return Ok(print::json(&serde_json::to_value(results)?)?);
        }
        let Some(first) = results.first() else { return Ok(()) };
        let peaks = bench.peaks();
        print::line(format_args!(
            "{}, {}\npeaks: {:.1} GFLOP/s multiply-adds, {:.1} GB/s copied; times by {}\n",
            first.adapter,
            first.driver,
            peaks.gflops,
            peaks.gbs,
            bench.clock()
        ))?;
        let head = ["", "", "n", "ms", "GFLOP/s", "peak", "GB/s", "copy", "memory", "off by"];
        let mut rows = vec![head.map(String::from).to_vec()];
        rows.extend(results.iter().map(row));
        print::line(print::table(&rows))?;
        if let Some(longest) = results.iter().max_by(|a, b| a.submission_ms.total_cmp(&b.submission_ms)) {
            print::line(format_args!(
                "\nlongest submission: {:.0} ms, {} {} n={}",
                longest.submission_ms, longest.name, longest.shape, longest.batch
            ))?;
        }
        for result in results.iter().filter(|r| r.overhead_share.is_some()) {
            print::line(format_args!(
                "\n{} {}: {:.1} % of the time is not the network, {} read-backs",
                result.name,
                result.shape,
                100.0 * result.overhead_share.unwrap_or(0.0),
                result.read_backs
            ))?;
        }
        if self.explain {
            for result in results {
                let kernels = if result.kernels.is_empty() {
                    "no op had a choice".into()
                } else {
                    result.kernels.join(", ")
                };
                print::line(format_args!(
                    "\n{} {} n={}: {kernels}",
                    result.name, result.shape, result.batch
                ))?;
                result.rivals.iter().try_for_each(|rival| print::line(format_args!("  not {rival}")))?;
            }
        }
        Ok(())
    }
}

fn row(r: &Measurement) -> Vec<String> {
    vec![
        r.name.clone(),
        r.shape.clone(),
        r.batch.to_string(),
        format!("{:.3}", r.ms),
        format!("{:.1}", r.gflops),
        format!("{:.1} %", 100.0 * r.peak_share),
        format!("{:.1}", r.gbs),
        format!("{:.1} %", 100.0 * r.copy_share),
        print::bytes(r.memory),
        r.error.map_or("-".into(), |error| format!("{error:.0e}")),
    ]
}
