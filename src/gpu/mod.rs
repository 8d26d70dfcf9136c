//! The only room that names `wgpu`: device choice, buffers, shader assembly, pipelines, submission, timing.
