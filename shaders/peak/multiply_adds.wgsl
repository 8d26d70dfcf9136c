// The peak of multiply-adds: chains in registers, memory touched once at either end.
// x, y: n elements, as n/4 vec4.
// y = Σ_{k<16} f(f(…f(x·(k+1)/16))), 8·turns times f(a) = a·m + b; CHAINS of them side by side, so that no one waits for its own.
// A workgroup owns 64 vec4, an invocation one.
struct Params {
    origin: vec4<u32>,
    count: u32,
    turns: u32,
    factor: f32,
    summand: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (group.x + p.origin.x) * 64u + lane;
    if at >= p.count {
        return;
    }
    let seed = x[at] / 16.0;
    let m = vec4<f32>(p.factor);
    let b = vec4<f32>(p.summand);
    var sum = vec4<f32>(0.0);
    for (var first = 0u; first < 16u; first += CHAINS) {
        //!for k in 0..CHAINS
        var a$k = seed * f32(first + ${k+1}u);
        //!end
        for (var turn = 0u; turn < p.turns; turn++) {
            //!for i in 0..8
            //!for k in 0..CHAINS
            a$k = fma(a$k, m, b);
            //!end
            //!end
        }
        //!for k in 0..CHAINS
        sum += a$k;
        //!end
    }
    y[at] = sum;
}
