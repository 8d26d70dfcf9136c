#!/usr/bin/env python3
"""Writes small honest files for a fuzz target into a folder: seeds.py TARGET FOLDER. Needs Python alone."""
import gzip
import io
import json
import lzma
import pathlib
import struct
import sys
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ROOT / "kernels-tests/files/data"
SEEDS = ROOT / "fuzz/seeds"
EMOJI = ROOT / "kernels-tests/fixtures/emoji"


def npy(descr, shape, body, fortran=False, version=1):
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + body


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(shape, data):
    """A tf.train.Example as NVIDIA's tools write it."""
    int64s = field(3, field(1, b"".join(map(varint, shape))))
    entries = [field(1, b"shape") + field(2, int64s), field(1, b"data") + field(2, field(1, field(1, data)))]
    return field(1, b"".join(field(1, e) for e in entries))


def zipped(files, method):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def safetensors(metadata, tensors):
    header, at = {"__metadata__": metadata}, 0
    for name, shape in tensors.items():
        size = 4
        for n in shape:
            size *= n
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def of(target):
    if target == "unpickler":
        for path in FILES.glob("*.pth"):
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                    try:
                        yield path.stem, archive.read(name)
                    except zipfile.BadZipFile:
                        # One of torch's files has no checksums, which Python does not take.
                        continue
    elif target == "zip":
        for path in FILES.glob("*.pth"):
            yield path.stem, path.read_bytes()
    elif target == "safetensors":
        for path in FILES.glob("*.safetensors"):
            yield path.stem, path.read_bytes()
    elif target == "checkpoint":
        metadata = {
            "format": "langevin-checkpoint", "format_version": "1", "step": "3", "seed": "1", "data_epoch": "0",
            "data_index": "12", "ema_decay": "0.999", "ema_num_updates": "3", "config": "[model]\nnf = 32\n", "kernels": "{}",
            "extra.images": "5",
        }
        groups = ["weights", "ema", "adam_m", "adam_v"]
        yield "small", safetensors(metadata, {f"{g}.{n}": s for g in groups for n, s in [("a", [2]), ("b", [1, 2])]})
    elif target == "npy":
        yield "bytes", npy("|u1", "(1, 2, 2, 3)", bytes(12))
        yield "fortran", npy(">f4", "(2, 3)", bytes(24), True)
        yield "scalar", npy("<f8", "()", bytes(8), version=2)
        for name, method in [("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)]:
            yield name, zipped({"x.npy": npy("|u1", "(3,)", b"abc"), "y.npy": npy("<i8", "(1,)", bytes(8))}, method)
    elif target == "protobuf":
        yield "example", example([3, 1, 2], b"012345")
    elif target == "records":
        yield "example", b"\x40" + example([3, 1, 2], b"012345") * 2
        yield "cifar", bytes(3073)
    elif target == "config":
        for path in sorted((ROOT / "src/models/presets").rglob("*.toml"))[::6]:
            yield path.stem, path.read_bytes()
        yield "small", b"seed = 1\n[model]\nname = \"ddpm\"\nnf = 32\nch_mult = [1, 2]\n[training]\nsde = \"vpsde\"\n"
        yield "json", json.dumps({"seed": 2, "model": {"name": "ncsn", "nf": 8}, "data": {"image_size": 8}}).encode()
    elif target == "diffusers":
        net = {"_class_name": "UNet2DModel", "sample_size": 8, "block_out_channels": [8, 8], "layers_per_block": 1,
               "norm_num_groups": 4, "attention_head_dim": None}
        yield "plain", json.dumps(net | {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
                                         "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}).encode()
        yield "skip", json.dumps(net | {"down_block_types": ["SkipDownBlock2D", "AttnSkipDownBlock2D"],
                                        "up_block_types": ["AttnSkipUpBlock2D", "SkipUpBlock2D"],
                                        "time_embedding_type": "fourier"}).encode()
        for name in ["DDPM", "DDIM", "ScoreSdeVe"]:
            yield name, json.dumps({"_class_name": f"{name}Scheduler", "num_train_timesteps": 10}).encode()
    elif target in ("images", "provenance"):
        for path in sorted(SEEDS.iterdir()):
            if target == "images" or path.suffix == ".png":
                yield path.stem, path.read_bytes()
        for path in sorted(EMOJI.glob("*.png"))[:3]:
            yield path.stem, path.read_bytes()
    elif target == "archives":
        picture = (SEEDS / "bits.png").read_bytes()
        files = {"train/a/1.png": picture, "test/b/2.png": picture, "README": b"text", "x.tfrecords": b""}
        tar = tarred(files)
        yield "tar", tar
        yield "gz", gzip.compress(tar)
        yield "xz", lzma.compress(tar)
        yield "stored", zipped(files, zipfile.ZIP_STORED)
        yield "deflated", zipped(files | {"test_batch.bin": bytes(3073)}, zipfile.ZIP_DEFLATED)
    elif target == "lmdb":
        data = gzip.decompress((ROOT / "kernels-tests/fixtures/lmdb/data.mdb.gz").read_bytes())
        yield "whole", data
    else:
        sys.exit(f"no target {target}")


def main():
    target, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in of(target):
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
