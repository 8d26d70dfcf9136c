//! `gen bench`: what it lists, what it prints, what it refuses.

use crate::{command, finish, run, run_in};

#[test]
fn the_list_grows_with_full_and_shrinks_with_a_filter() {
    let lines = |arguments: &[&str]| run(arguments).ok().lines().count();
    let (default, full) = (lines(&["bench", "--list"]), lines(&["bench", "--list", "--full"]));
    assert!(default > 20 && full > default, "{default}, {full}");
    let convs = run(&["bench", "--list", "--filter", "conv3x3 "]).ok();
    assert!(convs.contains("256→256@16² n=4") && convs.lines().all(|line| line.contains("conv3x3")));
    let whole = run(&["bench", "--list", "--full", "--filter", "kernel conv3x3 256→256@8² n=1"]).ok();
    assert_eq!(whole.lines().count(), 1, "{whole}");
    let listed = run(&["bench", "--list", "--full", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), full);
    assert_eq!(listed[0]["case"], "kernel conv3x3 256→256@16² n=1");
    run(&["bench", "--filter", "conv3x4"]).fails(2, &["matches nothing", "conv3x3"]);
    run(&["bench", "--filter", "training"]).fails(2, &["--full"]);
}

#[test]
fn a_result_has_every_figure_and_a_trace_a_slice_for_each_dispatch() {
    let folder = tempfile::tempdir().unwrap();
    let filter = ["bench", "--filter", "group_norm silu 128@32² n=1", "--counts", "2", "--quiet"];
    let ran = run_in(folder.path(), &[&filter[..], &["--json", "--trace", "trace.json"]].concat()).json();
    let list = ran.as_array().unwrap();
    assert_eq!(list.len(), 1);
    let result = &list[0];
    for key in ["ms", "gflops", "gbs", "peak_share", "copy_share", "memory", "peak_gflops", "peak_gbs"] {
        assert!(result[key].as_f64().unwrap() > 0.0, "{key} in {result}");
    }
    for key in ["adapter", "driver", "clock"] {
        assert!(!result[key].as_str().unwrap().is_empty(), "{key} in {result}");
    }
    assert_eq!((&result["batch"], &result["read_backs"]), (&1.into(), &0.into()));
    assert!(result["submission_ms"].as_f64().unwrap() < 500.0, "{result}");
    let trace = std::fs::read_to_string(folder.path().join("trace.json")).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let slices = events.iter().filter(|event| event["ph"] == "X").count();
    assert_eq!(slices as u64, result["dispatches"].as_u64().unwrap());
    run_in(folder.path(), &[&filter[..], &["--trace", "no/such/folder.json"]].concat())
        .fails(4, &["--trace", "no/such"]);
}

#[test]
fn a_device_is_told_to_be_timed_once() {
    let folder = tempfile::tempdir().unwrap();
    let tuned = |more: &[&str]| {
        let arguments = ["bench", "--tune", "--filter", "conv1x1 256→256@16² n=1", "--counts", "1"];
        let mut command = command(folder.path(), &[&arguments[..], more].concat());
        let ran = finish(command.env("LANGEVIN_CACHE", folder.path()).output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
    };
    let first = tuned(&[]);
    assert!(first.contains("timing kernels on ") && !first.contains("conv2d."), "{first}");
    assert!(!tuned(&[]).contains("timing"));
    let cache = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&cache).unwrap();
    assert!(!tuned(&["--quiet"]).contains("timing"));
    std::fs::remove_file(&cache).unwrap();
    let more = tuned(&["--verbose"]);
    assert!(more.contains("timing kernels on ") && more.contains("kernels of conv2d."), "{more}");
}
