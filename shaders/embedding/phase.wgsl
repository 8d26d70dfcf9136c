// sin and cos of 2π·f(x)·w for number `image` of x and frequency i. With LOG f is ln, otherwise the identity. The weights are FREQUENCIES
// rows of `half` numbers that add up to w: one as it is, or two for more bits than f32 has.
//!use embedding/turns.wgsl
fn phase(image: u32, i: u32) -> vec2<f32> {
//!if LOG
    let at = fixed_log(x[image]);
//!else
    let at = fixed_of(x[image]);
//!end
    var t = turns(at, weight[i]);
//!if FREQUENCIES == 2
    t += turns(at, weight[p.half + i]);
//!end
    return sin_cos(t);
}
