#!/usr/bin/env python3
"""Writes the small files of torch.save that `kernels-tests/files` reads: python3 tools/make_torch_fixtures.py

Needs torch, numpy and safetensors. The files are kept in the repository, so that the tests need no Python.
"""

import os
import pathlib
import subprocess

import numpy
import torch
from safetensors.torch import save_file
from torch.utils.serialization import config

OUT = pathlib.Path(__file__).resolve().parent.parent / "kernels-tests" / "files" / "data"


class Net(torch.nn.Module):
    """A fixed parameter, trainable ones, an f64 buffer: what the authors' networks have."""

    def __init__(self):
        super().__init__()
        self.register_buffer("sigmas", torch.linspace(50, 0.01, 10, dtype=torch.float64))
        self.W = torch.nn.Parameter(torch.randn(4) * 16, requires_grad=False)
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.dense = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.dense(self.conv(x).mean((2, 3)) + self.W).sum()


def training_checkpoint():
    """The authors' dict, after three steps; the learning rate is a numpy scalar as theirs is."""
    model = torch.nn.DataParallel(Net())
    optimizer = torch.optim.Adam([p for p in model.parameters()], lr=2e-4)
    shadow = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 2e-4 * numpy.minimum(step / 5000, 1.0)
        optimizer.zero_grad()
        model.module(torch.randn(2, 3, 5, 5)).backward()
        optimizer.step()
        with torch.no_grad():
            for s, p in zip(shadow, [p for p in model.parameters() if p.requires_grad]):
                s.sub_(0.1 * (s - p))
    ema = {"decay": 0.999, "num_updates": 3, "shadow_params": shadow}
    state = {"optimizer": optimizer.state_dict(), "model": model.state_dict(), "ema": ema, "step": 3}
    flat = {"model." + k: v.clone() for k, v in state["model"].items()}
    flat |= {f"ema.{i}": v.clone() for i, v in enumerate(shadow)}
    for i, moments in state["optimizer"]["state"].items():
        flat |= {f"m.{i}": moments["exp_avg"].clone(), f"v.{i}": moments["exp_avg_sq"].clone()}
    return state, flat


def views():
    """Every type, and every way in which a tensor can lie in its storage."""
    base = torch.arange(24.0)
    tensors = {
        "transposed": base.view(4, 6).t(),
        "column": base.view(4, 6)[:, 2],
        "part": base[5:11].view(2, 3),
        "windows": base.unfold(0, 3, 1)[:7],
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "f64": torch.randn(3, dtype=torch.float64),
        "f16": torch.randn(3).half(),
        "bf16": torch.randn(3).bfloat16(),
        "i64": torch.tensor([-(2**40), 3]),
        "i32": torch.tensor([-7, 2**20], dtype=torch.int32),
        "i16": torch.tensor([-7, 300], dtype=torch.int16),
        "i8": torch.tensor([-7, 100], dtype=torch.int8),
        "u8": torch.tensor([7, 200], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }
    return tensors, {k: v.detach().clone().contiguous() for k, v in tensors.items()}


class Hostile:
    """Runs a command where a file is loaded without care."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


def main():
    torch.manual_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    state, flat = training_checkpoint()
    torch.save(state, OUT / "checkpoint.pth")
    torch.save(state, OUT / "checkpoint_protocol4.pth", pickle_protocol=4)
    torch.save(state, OUT / "checkpoint_legacy.pth", _use_new_zipfile_serialization=False)
    save_file(flat, OUT / "checkpoint.safetensors")
    tensors, flat = views()
    torch.save(tensors, OUT / "views.pth")
    torch.save(tensors, OUT / "views_legacy.pth", _use_new_zipfile_serialization=False)
    config.save.compute_crc32 = False
    torch.save(tensors, OUT / "views_without_crc.pth")
    config.save.compute_crc32 = True
    save_file(flat, OUT / "views.safetensors", metadata={"format": "pt"})
    torch.save({"w": torch.ones(4), "extra": Hostile()}, OUT / "hostile.pth")
    torch.save({"w": torch.ones(4), "extra": Hostile()}, OUT / "hostile_legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"w": torch.ones(1).expand(1 << 40)}, OUT / "expanded.pth")
    torch.save(Net(), OUT / "module.pth")
    torch.save({"w": torch.arange(1000.0)}, OUT / "packed.pth")
    unpacked = OUT / "packed"
    subprocess.run(["unzip", "-q", OUT / "packed.pth", "-d", OUT], check=True)
    (OUT / "packed.pth").unlink()
    subprocess.run(["zip", "-q", "-9", "-r", "packed.pth", "packed"], cwd=OUT, check=True)
    subprocess.run(["rm", "-r", unpacked], check=True)


if __name__ == "__main__":
    main()
