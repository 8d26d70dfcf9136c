"""Opens folders that were exported for diffusers with diffusers itself and compares its network with ours.

    pip install torch diffusers safetensors
    LANGEVIN_DIFFUSERS_OUT=exported cargo test --release --lib diffusers::write   # leaves folders with what ours gives
    python3 tools/check_diffusers.py exported/*

A folder holds `check.safetensors`: `x` and `y` (n h w c) and `timestep` (n), the input and the output of our network. The pipeline is loaded
too, with its scheduler, and draws one image in two steps. Exit code 1 where something differs.
"""

import json
import sys
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file

# The largest difference as a share of the largest value: both sides compute in f32.
TOLERANCE = 2e-5


def network_error(folder):
    unet, info = diffusers.UNet2DModel.from_pretrained(folder, subfolder="unet", output_loading_info=True)
    wrong = {key: names for key, names in info.items() if names}
    if wrong:
        raise SystemExit(f"{folder}: the weights do not fit the config: {wrong}")
    check = load_file(folder / "check.safetensors")
    x, y = (check[name].permute(0, 3, 1, 2).contiguous() for name in ("x", "y"))
    with torch.no_grad():
        got = unet.eval()(x, check["timestep"]).sample
    return ((got - y).abs().max() / y.abs().max()).item()


def draws(folder):
    name = json.loads((folder / "model_index.json").read_text())["_class_name"]
    pipeline = getattr(diffusers, name).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(num_inference_steps=2, generator=torch.manual_seed(0), output_type="np").images
    return name, torch.isfinite(torch.as_tensor(image)).all().item()


def main():
    folders = [Path(argument) for argument in sys.argv[1:]]
    if not folders:
        raise SystemExit(__doc__)
    failed = False
    for folder in folders:
        error = network_error(folder)
        pipeline, finite = draws(folder)
        good = error <= TOLERANCE and finite
        failed |= not good
        print(f"{folder.name}: {error:.2e} of the largest value, {pipeline} {'draws' if finite else 'fails'}: {'good' if good else 'BAD'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
