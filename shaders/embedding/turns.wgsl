// The fraction of x·w turns, in whole numbers: f32 loses it (x·w reaches hundreds of turns), and whole numbers do not depend on what a
// driver's fast mathematics makes of an error-free float product. x is a fixed-point number with 32 bits behind the point.
struct Fixed {
    negative: bool,
    high: u32,
    low: u32,
}

// The 64 bits of a·b: high, low.
fn product(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let other = a0 * b1 + (middle & 0xffffu);
    return vec2<u32>(a1 * b1 + (middle >> 16u) + (other >> 16u), (other << 16u) | (low & 0xffffu));
}

fn exponent(bits: u32) -> i32 {
    return i32((bits >> 23u) & 255u);
}

// The 24 bits of a number that is not subnormal; 0 for those.
fn mantissa(bits: u32) -> u32 {
    return select((bits & 0x7fffffu) | 0x800000u, 0u, exponent(bits) == 0);
}

// x cut at 2^-32; of numbers beyond 2^31 the upper bits are lost.
fn fixed_of(x: f32) -> Fixed {
    let bits = bitcast<u32>(x);
    let m = mantissa(bits);
    let shift = exponent(bits) - 118;
    var high = 0u;
    var low = 0u;
    if shift >= 32 {
        high = m << min(u32(shift - 32), 31u);
    } else if shift > 0 {
        low = m << u32(shift);
        high = m >> u32(32 - shift);
    } else if shift > -32 {
        low = m >> u32(-shift);
    }
    return Fixed(bits >> 31u == 1u, high, low);
}

// ln x of a positive number that is not subnormal. The fraction of log2 is found bit by bit: squaring doubles a logarithm, so each
// square that reaches 2 is a bit. The error stays under 2^-29, since each bit's rounding counts half as much as that before.
fn fixed_log(x: f32) -> Fixed {
    let bits = bitcast<u32>(x);
    // 1 ≤ z < 2 with 31 bits behind the point.
    var z = mantissa(bits) << 8u;
    var fraction = 0u;
    for (var i = 0u; i < 32u; i++) {
        let square = product(z, z);
        let carry = square.x >> 31u;
        z = select((square.x << 1u) | (square.y >> 31u), square.x, carry == 1u);
        fraction = (fraction << 1u) | carry;
    }
    let whole = exponent(bits) - 127;
    let negative = whole < 0;
    // |whole + fraction|.
    let borrowed = negative && fraction != 0u;
    let high = u32(abs(whole)) - select(0u, 1u, borrowed);
    let low = select(fraction, 0u - fraction, negative);
    // ln 2 with 32 bits behind the point.
    let ln2 = 2977044472u;
    let upper = product(high, ln2);
    let sum = upper.y + product(low, ln2).x;
    return Fixed(negative, upper.x + select(0u, 1u, sum < upper.y), sum);
}

// The fraction of x·w in units of 2^-32.
fn turns(x: Fixed, w: f32) -> u32 {
    let bits = bitcast<u32>(w);
    let m = mantissa(bits);
    let upper = product(x.high, m);
    let lower = product(x.low, m);
    // |x·w| is (limb2, limb1, limb0)·2^(exponent - 150 - 32).
    let limb0 = lower.y;
    let limb1 = lower.x + upper.y;
    let limb2 = upper.x + select(0u, 1u, limb1 < lower.x);
    let shift = 150 - exponent(bits);
    let within = u32(shift) & 31u;
    var result = 0u;
    if shift < 0 {
        result = select(0u, limb0 << (u32(-shift) & 31u), shift > -32);
    } else if shift < 32 {
        result = select((limb0 >> within) | (limb1 << ((32u - within) & 31u)), limb0, within == 0u);
    } else if shift < 64 {
        result = select((limb1 >> within) | (limb2 << ((32u - within) & 31u)), limb1, within == 0u);
    } else if shift < 96 {
        result = limb2 >> within;
    }
    return select(result, 0u - result, x.negative != (bits >> 31u == 1u));
}

// sin and cos of 2π·t·2^-32, to f32's last bits: WGSL promises sin and cos to 2^-11 only. By the nearest quarter turn and Taylor's
// series on [-π/4, π/4], whose next terms are under 2e-9.
fn sin_cos(t: u32) -> vec2<f32> {
    let quarter = (t + 0x20000000u) >> 30u;
    let a = f32(bitcast<i32>(t - (quarter << 30u))) * 1.4629180792671596e-9;
    let s = a * a;
    let sine = a + a * s * (-1.0 / 6.0 + s * (1.0 / 120.0 + s * (-1.0 / 5040.0 + s * (1.0 / 362880.0))));
    let cosine = 1.0 + s * (-0.5 + s * (1.0 / 24.0 + s * (-1.0 / 720.0 + s * (1.0 / 40320.0 + s * (-1.0 / 3628800.0)))));
    switch quarter & 3u {
        case 0u: {
            return vec2<f32>(sine, cosine);
        }
        case 1u: {
            return vec2<f32>(cosine, -sine);
        }
        case 2u: {
            return vec2<f32>(-sine, -cosine);
        }
        default: {
            return vec2<f32>(-cosine, sine);
        }
    }
}
