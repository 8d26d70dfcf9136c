// Lines of the Winograd transforms F(TILE, 3) of Lavin and Gray (2016), from interpolation at the points 0, 1, −1, ∞
// for TILE 2 and 0, ±√½, ±√2, ∞ for TILE 4, whose factors stay near 1, so that rounding does.
// With Bᵀ over the input, G over the taps and Aᵀ over the products: y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A.
// The gradient by the taps is its adjoint: Gᵀ[(Bᵀ d B) ⊙ (A grad_y Aᵀ)]G.
struct Three {
    e0: vec4<f32>,
    e1: vec4<f32>,
    e2: vec4<f32>,
}

// TILE outputs, and TILE + 2 inputs or points.
struct Short {
//!for i in 0..TILE
    e$i: vec4<f32>,
//!end
}

struct Line {
//!for i in 0..ALPHA
    e$i: vec4<f32>,
//!end
}

//!if TILE == 2
// Bᵀ d.
fn spread_input(d: Line) -> Line {
    return Line(d.e0 - d.e2, d.e1 + d.e2, d.e2 - d.e1, d.e1 - d.e3);
}

// A y.
fn spread_output(y: Short) -> Line {
    return Line(y.e0, y.e0 + y.e1, y.e0 - y.e1, -y.e1);
}

// Aᵀ m.
fn gather_output(m: Line) -> Short {
    return Short(m.e0 + m.e1 + m.e2, m.e1 - m.e2 - m.e3);
}

// G g.
fn spread_taps(g: Three) -> Line {
    let even = g.e0 + g.e2;
    return Line(g.e0, 0.5 * (even + g.e1), 0.5 * (even - g.e1), g.e2);
}

// Gᵀ u.
fn gather_taps(u: Line) -> Three {
    let even = 0.5 * (u.e1 + u.e2);
    return Three(u.e0 + even, 0.5 * (u.e1 - u.e2), even + u.e3);
}
//!else
const ROOT2: f32 = 1.4142135623730951;
const HALF_ROOT2: f32 = 0.7071067811865476;

// Bᵀ d.
fn spread_input(d: Line) -> Line {
    let even_a = d.e4 - 2.0 * d.e2;
    let odd_a = HALF_ROOT2 * d.e3 - ROOT2 * d.e1;
    let even_b = d.e4 - 0.5 * d.e2;
    let odd_b = ROOT2 * d.e3 - HALF_ROOT2 * d.e1;
    return Line(
        d.e0 - 2.5 * d.e2 + d.e4,
        even_a + odd_a,
        even_a - odd_a,
        even_b + odd_b,
        even_b - odd_b,
        d.e1 - 2.5 * d.e3 + d.e5,
    );
}

// A y.
fn spread_output(y: Short) -> Line {
    let even_a = y.e0 + 0.5 * y.e2;
    let odd_a = HALF_ROOT2 * (y.e1 + 0.5 * y.e3);
    let even_b = y.e0 + 2.0 * y.e2;
    let odd_b = ROOT2 * (y.e1 + 2.0 * y.e3);
    return Line(y.e0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, y.e3);
}

// Aᵀ m.
fn gather_output(m: Line) -> Short {
    let even_a = m.e1 + m.e2;
    let odd_a = HALF_ROOT2 * (m.e1 - m.e2);
    let even_b = m.e3 + m.e4;
    let odd_b = ROOT2 * (m.e3 - m.e4);
    return Short(
        m.e0 + even_a + even_b,
        odd_a + odd_b,
        0.5 * even_a + 2.0 * even_b,
        0.5 * odd_a + 2.0 * odd_b + m.e5,
    );
}

// G g. A factor is 1 over the product of a point's distances from the others: −⅔ for ±√½, ⅙ for ±√2.
fn spread_taps(g: Three) -> Line {
    let even_a = (g.e0 + 0.5 * g.e2) * (-2.0 / 3.0);
    let odd_a = g.e1 * (-2.0 / 3.0 * HALF_ROOT2);
    let even_b = (g.e0 + 2.0 * g.e2) * (1.0 / 6.0);
    let odd_b = g.e1 * (1.0 / 6.0 * ROOT2);
    return Line(g.e0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g.e2);
}

// Gᵀ u.
fn gather_taps(u: Line) -> Three {
    let even_a = (u.e1 + u.e2) * (-2.0 / 3.0);
    let odd_a = (u.e1 - u.e2) * (-2.0 / 3.0 * HALF_ROOT2);
    let even_b = (u.e3 + u.e4) * (1.0 / 6.0);
    let odd_b = (u.e3 - u.e4) * (1.0 / 6.0 * ROOT2);
    return Three(u.e0 + even_a + even_b, odd_a + odd_b, 0.5 * even_a + 2.0 * even_b + u.e5);
}
//!end
