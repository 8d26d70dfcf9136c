//! Times 3x3 convolutions with meganeura. Arguments: SECONDS CIN,COUT,SIZE,N ...; prints a line `CIN,COUT,SIZE,N MILLISECONDS` each.

use std::time::{Duration, Instant};

use meganeura::{Graph, build_inference_session};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|s| s.parse().ok()).expect("SECONDS");
    for shape in arguments {
        let sizes: Vec<u32> = shape.split(',').map(|s| s.parse().expect("a number")).collect();
        let [c_in, c_out, size, n] = sizes[..] else { panic!("{shape}: give CIN,COUT,SIZE,N") };
        println!("{shape} {}", milliseconds(c_in, c_out, size, n, Duration::from_secs_f64(seconds)));
    }
}

/// The median over at least five runs, for about `budget`.
fn milliseconds(c_in: u32, c_out: u32, size: u32, n: u32, budget: Duration) -> f64 {
    let elements = (n * size * size * c_in) as usize;
    let weights = (c_out * c_in * 9) as usize;
    let mut graph = Graph::new();
    let x = graph.input("x", &[elements]);
    let weight = graph.parameter("weight", &[weights]);
    let y = graph.conv2d(x, weight, n, c_in, size, size, c_out, 3, 3, 1, 1);
    graph.set_outputs(vec![y]);
    let mut session = build_inference_session(&graph);
    session.set_parameter("weight", &numbers(weights));
    session.set_input("x", &numbers(elements));
    let mut run = || {
        let start = Instant::now();
        session.step();
        session.wait();
        start.elapsed()
    };
    run();
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || (start.elapsed() < budget && times.len() < 100) {
        times.push(run());
    }
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// Numbers in (-0.5, 0.5) without a pattern that a kernel could profit from.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next() * 0.1).collect()
}
