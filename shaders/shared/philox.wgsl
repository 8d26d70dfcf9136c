// Philox4x32-10 (Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3") and what is made of its words.

// The upper half of a·b. b is a multiplier of the cipher.
fn high_word(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let mid = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let cross = (a & 0xffffu) * (b >> 16u) + (mid & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (mid >> 16u) + (cross >> 16u);
}

fn philox_round(c: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    let high0 = high_word(c.x, 0xd2511f53u);
    let high1 = high_word(c.z, 0xcd9e8d57u);
    return vec4<u32>(high1 ^ c.y ^ key.x, c.z * 0xcd9e8d57u, high0 ^ c.w ^ key.y, c.x * 0xd2511f53u);
}

// Four random words of a counter and a key.
fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var key = seed;
//!for round in 0..10
    c = philox_round(c, key);
    key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
//!end
    return c;
}

// In (0, 1), exact: the upper 23 bits of a word, and a half.
fn to_uniform(words: vec4<u32>) -> vec4<f32> {
    return (vec4<f32>(words >> vec4<u32>(9u)) + 0.5) * 0x1p-23f;
}

// Natural logarithm of u in (0, 1) to about one ulp, also near 1, where WGSL's `log` promises nothing relative.
// u = m·2^e with m in [1/√2, √2); ln m = 2 artanh((m − 1)/(m + 1)) by its series.
fn log_unit(u: f32) -> f32 {
    let bits = bitcast<u32>(u);
    let above = (bits & 0x7fffffu) > 0x3504f3u;
    let exponent = i32(bits >> 23u) - 127 + select(0, 1, above);
    let m = bitcast<f32>((bits & 0x7fffffu) | select(0x3f800000u, 0x3f000000u, above));
    let s = (m - 1.0) / (m + 1.0);
    let t = s * s;
    let series = t * (1.0 / 3.0 + t * (1.0 / 5.0 + t * (1.0 / 7.0 + t * (1.0 / 9.0 + t / 11.0))));
    let e = f32(exponent);
    // ln 2 in two parts, the first exact times any exponent.
    return e * 0.693145751953125 + (e * 1.42860682030941723e-6 + 2.0 * (s + s * series));
}

// (cos 2πu, sin 2πu) for u in (0, 1), exact: reduced to a quarter turn without rounding, then Taylor series. WGSL's `sin` and
// `cos` promise an absolute error of 2^-11 only.
fn turn(u: f32) -> vec2<f32> {
    let quarter = floor(4.0 * u + 0.5);
    let a = (4.0 * u - quarter) * 1.57079632679489662;
    let b = a * a;
    let s = a + a * b * (-1.0 / 6.0 + b * (1.0 / 120.0 + b * (-1.0 / 5040.0 + b / 362880.0)));
    let c = 1.0 + b * (-0.5 + b * (1.0 / 24.0 + b * (-1.0 / 720.0 + b * (1.0 / 40320.0 - b / 3628800.0))));
    let q = u32(quarter) & 3u;
    let swapped = select(vec2<f32>(c, s), vec2<f32>(s, c), (q & 1u) == 1u);
    return vec2<f32>(
        select(swapped.x, -swapped.x, q == 1u || q == 2u),
        select(swapped.y, -swapped.y, q >= 2u),
    );
}

// Four standard normals (Box and Muller 1958); the uniforms are never 0, so the logarithm is finite.
fn to_normal(words: vec4<u32>) -> vec4<f32> {
    let u = to_uniform(words);
    let first = sqrt(-2.0 * log_unit(u.x)) * turn(u.y);
    let second = sqrt(-2.0 * log_unit(u.z)) * turn(u.w);
    return vec4<f32>(first, second);
}

// ±1 by the upper bit.
fn to_sign(words: vec4<u32>) -> vec4<f32> {
    return select(vec4<f32>(-1.0), vec4<f32>(1.0), words >= vec4<u32>(0x80000000u));
}
