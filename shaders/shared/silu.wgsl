// SiLU and its slope on E (shared/element.wgsl). The exponent is bounded so that nothing overflows: 1/(1 + e^80) is 0 to f32's sums.
fn sigmoid(x: E) -> E {
    return E(1.0) / (E(1.0) + exp(min(-x, E(80.0))));
}

fn silu(x: E) -> E {
    return x * sigmoid(x);
}

fn silu_slope(x: E) -> E {
    let s = sigmoid(x);
    return s * (E(1.0) + x * (E(1.0) - s));
}
