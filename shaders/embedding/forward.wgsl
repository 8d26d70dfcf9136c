// y = sin(2π·f(x)·w) | cos(2π·f(x)·w), and a zero behind them where `width` is odd.
// x: images. weight: half, once or twice (embedding/phase.wgsl). y: images width.
// Gaussian Fourier features (Tancik et al. 2020) with f = ln or the identity; sinusoidal positions (Vaswani et al. 2017).
// An invocation owns one frequency of one image, a workgroup 64 frequencies.
struct Params {
    origin: vec4<u32>,
    half: u32,
    width: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;
//!use embedding/phase.wgsl

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group = id + p.origin.xyz;
    let i = group.x * 64u + lane;
    if i >= p.half {
        return;
    }
    let at = phase(group.y, i);
    let base = group.y * p.width;
    y[base + i] = at.x;
    y[base + p.half + i] = at.y;
    if i == 0u && p.width > 2u * p.half {
        y[base + 2u * p.half] = 0.0;
    }
}
