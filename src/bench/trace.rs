//! Traces that chrome://tracing and ui.perfetto.dev read.

use std::time::Duration;

use serde_json::{Value, json};

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Scope, op, class and kernel.
    pub label: String,
    /// What it took.
    pub time: Duration,
    /// Its floating-point operations.
    pub flops: f64,
}

/// Plans by name as a trace in the Trace Event Format: a track for each plan, a slice for each dispatch, end to end. `notes` say
/// where the times come from.
pub fn chrome_trace(plans: &[(String, Vec<Slice>)], notes: &[(&str, &str)]) -> Value {
    let mut events = Vec::new();
    for (track, (name, slices)) in plans.iter().enumerate() {
        events.push(json!({
            "name": "thread_name", "ph": "M", "pid": 1, "tid": track + 1, "args": { "name": name },
        }));
        let mut at = 0.0;
        for slice in slices {
            let microseconds = slice.time.as_secs_f64() * 1e6;
            // Scope and op, without the constants of the kernel.
            let short = slice.label.split('[').next().unwrap_or(&slice.label);
            events.push(json!({
                "name": short, "cat": "dispatch", "ph": "X", "pid": 1, "tid": track + 1, "ts": at, "dur": microseconds,
                "args": { "kernel": slice.label, "gflop": slice.flops / 1e9,
                    "gflops": if microseconds > 0.0 { slice.flops / microseconds / 1e3 } else { 0.0 } },
            }));
            at += microseconds;
        }
    }
    let notes: serde_json::Map<String, Value> =
        notes.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect();
    json!({ "traceEvents": events, "displayTimeUnit": "ms", "otherData": notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_follow_one_another() {
        let slice = |us, flops| Slice {
            label: "a.conv2d direct x[C=1]".into(),
            time: Duration::from_micros(us),
            flops,
        };
        let trace =
            chrome_trace(&[("plan".into(), vec![slice(5, 1e6), slice(0, 0.0)])], &[("clock", "stamps")]);
        let events = trace["traceEvents"].as_array().unwrap();
        assert_eq!(events.len(), 3);
        assert_eq!((&events[1]["ts"], &events[2]["ts"]), (&json!(0.0), &json!(5.0)));
        assert_eq!(events[1]["name"], "a.conv2d direct x");
        assert_eq!(events[1]["args"]["gflops"], 200.0);
        assert_eq!(trace["otherData"]["clock"], "stamps");
    }
}
