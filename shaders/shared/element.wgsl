// E is what a kernel takes at once: V consecutive floats.
//!if V == 4
alias E = vec4<f32>;
//!else
alias E = f32;
//!end
