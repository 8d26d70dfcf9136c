//! `cargo bench`: kernels and blocks, each held against its f64 reference before it is timed. Throughput is in floating-point
//! operations of direct convolution: 1 Gelem/s is 1 GFLOP/s. `gen bench` measures the same cases beside the device's peaks, and whole networks.

#[allow(dead_code, reason = "benchmarks use a part of it")]
#[path = "../tools/gen/environment.rs"]
mod environment;
mod expected;
#[allow(
    dead_code,
    unused_imports,
    reason = "benchmarks use a part of the references, and none of their tests"
)]
#[path = "../kernels-tests/reference/mod.rs"]
mod reference;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use langevin::bench::{Built, Case, Group, Workload, suite};
use langevin::gpu::{Gpu, Options};
use langevin::graph::{Choice, Draft, DraftOptions, KernelRequest};

/// Outputs compared where the whole takes too long.
const SAMPLES: usize = 4096;

/// How kernels are chosen: `LANGEVIN_KERNELS` forces classes.
fn choice() -> Choice {
    request().choice()
}

fn request() -> KernelRequest {
    environment::kernels().unwrap_or_else(|e| panic!("{}: {e}", environment::KERNELS))
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let given = environment::options().unwrap_or_else(|e| panic!("{}: {e}", environment::KERNELS));
    let options = Options { cache_folder: None, ..given };
    let gpu = Gpu::open(&options).unwrap_or_else(|e| panic!("{e}"));
    let adapter = format!("{} ({})", gpu.adapter().name, gpu.adapter().driver);
    for case in suite() {
        if matches!(case.group, Group::Kernel | Group::Block) && !case.full {
            bench(&mut criterion, &gpu, &adapter, &case);
        }
    }
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion, gpu: &Gpu, adapter: &str, case: &Case) {
    let workload =
        case.workload(case.batch).expect("kernels and blocks are graphs").expect("shapes that fit");
    let options = DraftOptions { choice: choice(), ..DraftOptions::default() };
    let draft = Draft::new(&workload.graph, &workload.outputs, gpu.capabilities(), options);
    let flops = draft.unwrap_or_else(|e| panic!("{case}: {e}")).flops();
    let mut group = criterion.benchmark_group(format!("{case} on {adapter}"));
    group.throughput(Throughput::Elements(flops as u64)).sampling_mode(SamplingMode::Flat);
    // Built where criterion's own filter lets it through.
    let mut built = None;
    group.bench_function("time", |bencher| {
        let built = built.get_or_insert_with(|| checked(gpu, case, &workload));
        bencher.iter_custom(|count| {
            let each = built.plan().time(count as usize).unwrap_or_else(|e| panic!("{case}: {e}"));
            each * count as u32
        });
    });
    group.finish();
}

/// Builds the case, replays it once and compares at least [`SAMPLES`] outputs with the reference.
fn checked(gpu: &Gpu, case: &Case, workload: &Workload) -> Built {
    let mut built = workload.build(gpu, &choice().into()).unwrap_or_else(|e| panic!("{case}: {e}"));
    let results = built.first().unwrap_or_else(|e| panic!("{case}: {e}"));
    let expected = expected::outputs(case, workload, SAMPLES);
    assert!(expected.len() >= SAMPLES.min(results[0].len()), "{case}: {} outputs compared", expected.len());
    let largest = expected.iter().fold(0.0f64, |m, (_, v)| v.abs().max(m));
    for (at, expected) in expected {
        let error = (f64::from(results[0][at]) - expected).abs() / largest;
        // A NaN is no number below the tolerance.
        assert!(
            error <= case.group.tolerance(built.is_reduced()),
            "{case}: output {at} is {}, expected {expected}",
            results[0][at]
        );
    }
    built
}
