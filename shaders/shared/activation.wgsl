// The function KIND and its slope on E: 0 SiLU, 1 ELU, 2 ReLU, 3 leaky ReLU with slope 0.2. At the kink the left slope, as in PyTorch.
//!if KIND == 0
//!use shared/silu.wgsl
fn activate(x: E) -> E {
    return silu(x);
}

fn slope(x: E) -> E {
    return silu_slope(x);
}
//!end
//!if KIND == 1
fn activate(x: E) -> E {
    // exp(x) - 1 cancels near 0: its series to x⁹ there (the next term is under 3e-10 of x).
    var series = E(1.0 / 362880.0);
    series = series * x + E(1.0 / 40320.0);
    series = series * x + E(1.0 / 5040.0);
    series = series * x + E(1.0 / 720.0);
    series = series * x + E(1.0 / 120.0);
    series = series * x + E(1.0 / 24.0);
    series = series * x + E(1.0 / 6.0);
    series = series * x + E(0.5);
    series = series * x + E(1.0);
    let low = select(exp(min(x, E(0.0))) - E(1.0), series * x, x > E(-0.5));
    return select(low, x, x > E(0.0));
}

fn slope(x: E) -> E {
    return exp(min(x, E(0.0)));
}
//!end
//!if KIND == 2
fn activate(x: E) -> E {
    return max(x, E(0.0));
}

fn slope(x: E) -> E {
    return select(E(0.0), E(1.0), x > E(0.0));
}
//!end
//!if KIND == 3
fn activate(x: E) -> E {
    return select(0.2 * x, x, x > E(0.0));
}

fn slope(x: E) -> E {
    return select(E(0.2), E(1.0), x > E(0.0));
}
//!end
