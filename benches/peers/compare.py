#!/usr/bin/env python3
"""Langevin beside its peers: the same shapes and networks, on the same machine, in turns.

    python3 -m venv .venv && .venv/bin/pip install -r benches/peers/requirements.txt
    cargo build --release
    .venv/bin/python benches/peers/compare.py [--batch 1 4] [--models] [--training]

Peers: PyTorch on the processor, and on CUDA where there is one (eager in fp32 with TF32 off, channels_last, compile, AMP); ncnn on
Vulkan; meganeura, built from the registry in a workspace of its own; and our own plainest kernels. A peer that does not run is listed
with its error.

One table: milliseconds of each, and the peer's time over ours: above 1 we are faster. Every round asks Langevin and then each peer, and
the median over the rounds counts. The times of ncnn include the way to and from the device, which its interface does not take apart.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EIGHT = [(256, 256, 16), (128, 128, 32), (512, 256, 16), (256, 256, 32), (256, 128, 32), (256, 256, 8), (384, 128, 32), (512, 256, 8)]
# How often the CIFAR-10 NCSN++ has each of them.
USES = [14, 13, 4, 2, 4, 17, 1, 5]
WIDE = (16, 16, 256)
PRESET = "ve/cifar10_ncsnpp_continuous"


class Case:
    """`kind` is conv, forward or training; `shape` is (c_in, c_out, size) of a convolution."""

    def __init__(self, kind, batch, shape=None):
        self.kind, self.batch, self.shape = kind, batch, shape

    def filter(self):
        """The name that `gen bench --filter` knows."""
        if self.kind == "conv":
            c_in, c_out, size = self.shape
            return f"kernel conv3x3 {c_in}→{c_out}@{size}² n={self.batch}"
        name = {"forward": "model forward", "training": "training training step"}[self.kind]
        return f"{name} {PRESET} n={self.batch}"

    def label(self):
        return self.filter().split(" ", 1)[1]


def timed(run, seconds):
    """Median milliseconds of a call: at least three, for about `seconds`."""
    times, begin = [], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begin < seconds and len(times) < 100):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


class Langevin:
    name = "langevin"
    environment = os.environ

    def __init__(self, options):
        self.binary, self.counts, self.results = options.gen, options.counts, []

    def prepare(self, case):
        command = [self.binary, "bench", "--full", "--json", "--quiet", "--counts", str(self.counts), "--filter", case.filter()]

        def run():
            done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=self.environment)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])
            (result,) = [r for r in json.loads(done.stdout) if r["batch"] == case.batch]
            self.results.append(result)
            return result["ms"]

        return run


class Naive(Langevin):
    """Our plainest kernels, one output at a time: what WGSL gives where nobody thinks of the device."""

    name = "naive wgsl"
    environment = os.environ | {"LANGEVIN_KERNELS": "plain"}

    def __init__(self, options):
        super().__init__(options)
        self.counts = 1

    def prepare(self, case):
        if case.kind != "conv":
            raise NotImplementedError("a whole network takes minutes so")
        return super().prepare(case)


class Torch:
    """PyTorch on one device, in one of its ways."""

    def __init__(self, device, way, options):
        import torch

        self.torch, self.device, self.way, self.seconds = torch, torch.device(device), way, options.seconds
        self.name = f"torch {device} {way}"
        if device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("no CUDA device")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        torch.set_num_threads(options.threads)

    def prepare(self, case):
        torch, seconds = self.torch, self.seconds
        torch.manual_seed(0)
        network, inputs = self.subject(case)
        network = network.to(self.device)
        inputs = [t.to(self.device) for t in inputs]
        if self.way == "channels_last":
            network = network.to(memory_format=torch.channels_last)
            inputs[0] = inputs[0].to(memory_format=torch.channels_last)
        called = torch.compile(network) if self.way == "compile" else network
        kind = torch.bfloat16 if self.device.type == "cpu" else torch.float16
        amp = torch.autocast(self.device.type, dtype=kind, enabled=self.way == "amp")

        def forward():
            with torch.no_grad(), amp:
                called(*inputs)
            self.wait()

        step = self.trainer(network, called, inputs, amp) if case.kind == "training" else forward
        step()
        return lambda: timed(step, seconds)

    def wait(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def subject(self, case):
        torch = self.torch
        if case.kind == "conv":
            c_in, c_out, size = case.shape
            return torch.nn.Conv2d(c_in, c_out, 3, padding=1).eval(), [torch.randn(case.batch, c_in, size, size)]
        from ncsnpp import NCSNpp

        network = NCSNpp()
        network.train(case.kind == "training")
        return network, [torch.randn(case.batch, 3, 32, 32), torch.rand(case.batch) + 0.5]

    def trainer(self, network, called, inputs, amp):
        """Perturb, forward, loss, backward, clip, Adam, moving average: what Langevin's step does."""
        torch = self.torch
        images, sigma = inputs
        adam = torch.optim.Adam(network.parameters(), lr=2e-4, fused=True)
        average = [p.detach().clone() for p in network.parameters()]

        def step():
            z = torch.randn_like(images)
            adam.zero_grad(set_to_none=True)
            with amp:
                score = called(images + sigma[:, None, None, None] * z, sigma)
            loss = 0.5 * ((score.float() * sigma[:, None, None, None] + z) ** 2).sum(dim=(1, 2, 3)).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            adam.step()
            torch._foreach_lerp_(average, [p.detach() for p in network.parameters()], 1e-3)
            self.wait()

        return step


class Ncnn:
    """ncnn on Vulkan, convolutions of one image; a batch is as many calls. In a process of its own, since a driver may hang in it."""

    name = "ncnn vulkan"

    def __init__(self, options):
        import ncnn  # noqa: F401  whether it is there

        self.seconds, self.limit = options.seconds, options.limit

    def prepare(self, case):
        if case.kind != "conv":
            raise NotImplementedError("networks are not converted for ncnn")
        shape = ",".join(map(str, (*case.shape, case.batch)))
        command = [sys.executable, __file__, "--ncnn", shape, "--seconds", str(self.seconds)]

        return lambda: last_number(command, self.limit)


def time_ncnn(shape, seconds):
    """Milliseconds of a convolution `c_in,c_out,size,n` with ncnn."""
    import ncnn
    import numpy

    c_in, c_out, size, batch = map(int, shape.split(","))
    if ncnn.get_gpu_count() == 0:
        sys.exit("ncnn sees no Vulkan device")
    random = numpy.random.default_rng(0)
    weights = 9 * c_in * c_out
    numbers = random.standard_normal(weights + c_out).astype("float32")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = True
    # fp32, as everything else in the table.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    with tempfile.TemporaryDirectory() as folder:
        param, model = Path(folder, "conv.param"), Path(folder, "conv.bin")
        param.write_text(
            f"7767517\n2 2\nInput in 0 1 in 0={size} 1={size} 2={c_in}\n"
            f"Convolution conv 1 1 in out 0={c_out} 1=3 4=1 5=1 6={weights}\n"
        )
        # A tag of 0 says that the weights are plain f32; the bias has none.
        model.write_bytes(b"\0\0\0\0" + numbers.tobytes())
        if net.load_param(str(param)) != 0 or net.load_model(str(model)) != 0:
            sys.exit("ncnn refuses the network")
    image = ncnn.Mat(random.standard_normal((c_in, size, size)).astype("float32"))

    def run():
        for _ in range(batch):
            extractor = net.create_extractor()
            extractor.input("in", image)
            code, out = extractor.extract("out")
            if code != 0 or out.c != c_out:
                sys.exit(f"ncnn gives code {code}")

    run()
    print(timed(run, seconds))


def last_number(command, limit):
    """Runs a peer in a process of its own; what it prints last is its milliseconds."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return float(done.stdout.split()[-1])


class Meganeura:
    """meganeura from the registry, convolutions only."""

    name = "meganeura"

    def __init__(self, options):
        self.seconds, self.limit = options.seconds, options.limit
        manifest = ROOT / "benches/peers/meganeura/Cargo.toml"
        target = ROOT / "target/peers"
        command = ["cargo", "build", "--release", "--quiet", "--manifest-path", str(manifest), "--target-dir", str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError("does not build: " + (done.stderr.strip().splitlines() or ["no message"])[-1])
        self.binary = target / "release/peer-meganeura"

    def prepare(self, case):
        if case.kind != "conv":
            raise NotImplementedError("this network is not written for meganeura")
        shape = ",".join(map(str, (*case.shape, case.batch)))
        return lambda: last_number([self.binary, str(self.seconds), shape], self.limit)


def peers(options):
    """Each wanted peer with itself, or with the error that keeps it from running."""
    ways = ["eager", "channels_last", "compile", "amp"]
    makers = {f"torch {d} {w}": (lambda d=d, w=w: Torch(d, w, options)) for d in ("cpu", "cuda") for w in ways}
    makers |= {"naive wgsl": lambda: Naive(options), "ncnn vulkan": lambda: Ncnn(options), "meganeura": lambda: Meganeura(options)}
    for name, make in makers.items():
        if options.peers and not any(part in name for part in options.peers):
            continue
        try:
            yield name, make()
        except Exception as error:  # whatever a peer says is what the table says
            yield name, short(error)


def short(error):
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:160]}"


def measure(case, ours, others, rounds):
    """Median milliseconds by name; an error in place of a number."""
    runs, results = {ours.name: ours.prepare(case)}, {}
    for name, peer in others:
        if isinstance(peer, str):
            results[name] = peer
            continue
        try:
            runs[name] = peer.prepare(case)
        except Exception as error:
            results[name] = short(error)
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            if name in results:
                continue
            try:
                times[name].append(run())
            except Exception as error:
                results[name] = short(error)
    return {name: results.get(name) or statistics.median(times[name]) for name in [*runs, *results]}


def table(rows, names):
    print("| case | langevin ms | " + " | ".join(names) + " |")
    print("|---|---|" + "---|" * len(names))
    for case, result in rows:
        ours = result["langevin"]
        cells = [f"{ours:.2f}" if isinstance(ours, float) else "error"]
        for name in names:
            value = result.get(name)
            both = isinstance(value, float) and isinstance(ours, float)
            cells.append(f"{value:.2f} ({value / ours:.2f}x)" if both else "-")
        print(f"| {case.label()} | " + " | ".join(cells) + " |")
    for batch in sorted({case.batch for case, _ in rows}):
        eight = [(c, r) for c, r in rows if c.kind == "conv" and c.shape in EIGHT and c.batch == batch]
        if len(eight) == len(EIGHT):
            weighted(eight, names, batch)


def weighted(rows, names, batch):
    """One more row: the eight shapes, each as often as the network has it, so that times weigh as they do there."""
    total = {}
    for name in ["langevin", *names]:
        values = [(USES[EIGHT.index(c.shape)], r.get(name)) for c, r in rows]
        if all(isinstance(value, float) for _, value in values):
            total[name] = sum(uses * value for uses, value in values)
    if "langevin" in total:
        ours = total["langevin"]
        cells = [f"{total[n]:.0f} ({total[n] / ours:.2f}x)" if n in total else "-" for n in names]
        print(f"| the eight as often as the network has them, n={batch} | {ours:.0f} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gen", default=str(ROOT / "target/release/gen"), help="the tool")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--shapes", type=int, default=9, help="so many of the nine convolutions")
    parser.add_argument("--models", action="store_true", help="the forward pass of the CIFAR-10 NCSN++ too")
    parser.add_argument("--training", action="store_true", help="its training step too")
    parser.add_argument("--peers", nargs="*", help="only those with one of these in their names")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", type=int, default=7, help="counts of one of our runs")
    parser.add_argument("--seconds", type=float, default=0.5, help="time of one of a peer's runs")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=120, help="most seconds of a peer in a process of its own")
    parser.add_argument("--ncnn", metavar="SHAPE", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if options.ncnn:
        return time_ncnn(options.ncnn, options.seconds)

    ours, others = Langevin(options), list(peers(options))
    shapes = [*EIGHT, WIDE][: options.shapes]
    cases = [Case("conv", n, s) for n in options.batch for s in shapes if s != WIDE or n == 1]
    if options.models:
        cases += [Case("forward", n) for n in options.batch]
    if options.training:
        cases += [Case("training", n) for n in options.batch if n in (4, 128)]
    rows = []
    for case in cases:
        rows.append((case, measure(case, ours, others, options.rounds)))
        print(f"{len(rows)}/{len(cases)} {case.label()}", file=sys.stderr)

    if ours.results:
        first = ours.results[0]
        print(f"{first['adapter']}, {first['driver']}; {platform.machine()}, {os.cpu_count()} processors; ", end="")
    print(f"{time.strftime('%Y-%m-%d')}; median of {options.rounds} rounds; (peer's time / ours)\n")
    ran = [name for name, _ in others if any(isinstance(result.get(name), float) for _, result in rows)]
    table(rows, ran)
    errors = {}
    for case, result in rows:
        for name, value in result.items():
            if isinstance(value, str):
                errors.setdefault((name, value), []).append(case.label())
    for (name, error), where in errors.items():
        print(f"\n{name} did not run {where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}: {error}")
    if options.json:
        options.json.write_text(json.dumps([{"case": c.label(), **r} for c, r in rows], indent=1))


if __name__ == "__main__":
    main()
