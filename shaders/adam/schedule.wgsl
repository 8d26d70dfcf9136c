// The numbers of one optimizer step, and the counters moved on by one.
// counters: steps, updates, steps skipped; norm, nonfinite: one each; y: skip (1 or 0), clip coefficient, lr/(1 − β1^t), 1/√(1 − β2^t),
// 1 − EMA decay. t = updates + 1; lr·min(step/warmup, 1); min(1, grad_clip/(norm + 1e-6)), off below 0; decay min(rate, (1 + t)/(10 + t)).
// One invocation owns it all.
struct Params {
    origin: vec4<u32>,
    lr: f32,
    warmup: f32,
    grad_clip: f32,
    ln_beta1: f32,
    ln_beta2: f32,
    rest: f32,
}

@group(0) @binding(0) var<storage, read_write> counters: array<u32>;
@group(0) @binding(1) var<storage, read> norm: array<f32>;
@group(0) @binding(2) var<storage, read> nonfinite: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

// 1 − e^x for x ≤ 0: the series where the difference would cancel.
fn one_minus_exp(x: f32) -> f32 {
    let series = 1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0 * (1.0 + x / 5.0 * (1.0 + x / 6.0 * (1.0 + x / 7.0 * (1.0 + x / 8.0))))));
    return select(1.0 - exp(max(x, -80.0)), -x * series, x > -0.5);
}

@compute @workgroup_size(1)
fn main() {
    let step = counters[0];
    let updates = counters[1];
    let skip = nonfinite[0] != 0u;
    let t = f32(updates + 1u);
    var lr = p.lr;
    if p.warmup > 0.0 {
        lr *= min(f32(step) / p.warmup, 1.0);
    }
    y[0] = select(0.0, 1.0, skip);
    y[1] = select(min(1.0, p.grad_clip / (norm[0] + 1e-6)), 1.0, p.grad_clip < 0.0);
    y[2] = lr / one_minus_exp(t * p.ln_beta1);
    y[3] = 1.0 / sqrt(one_minus_exp(t * p.ln_beta2));
    y[4] = max(p.rest, 9.0 / (10.0 + t));
    counters[0] = step + 1u;
    counters[1] = updates + select(1u, 0u, skip);
    counters[2] += select(0u, 1u, skip);
}
