//! Inverse problems with an unconditional model: inpainting, colorization, class-conditional sampling.
