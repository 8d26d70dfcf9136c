//! Weights in and out: the authors' `.pth`, safetensors, diffusers folders, our own checkpoints.
