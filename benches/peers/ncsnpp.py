"""The CIFAR-10 NCSN++ (VE, continuous) in PyTorch, for timing: the layers, shapes and order of work of Song et al. 2021, appendix H.

Written for this comparison. It holds as many parameters as Langevin's network of the preset ve/cifar10_ncsnpp_continuous.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

PARAMETERS = 62_758_787  # trained ones; the 128 Fourier frequencies are not


def fir(c, up):
    """Depthwise (1, 3, 3, 1) filter with its gain, `c 1 4 4`."""
    k = torch.tensor([1.0, 3.0, 3.0, 1.0])
    k = torch.outer(k, k) / 64.0 * (4.0 if up else 1.0)
    return k.expand(c, 1, 4, 4).contiguous()


class Resample(nn.Module):
    def __init__(self, c, up):
        super().__init__()
        self.c, self.up = c, up
        self.register_buffer("kernel", fir(c, up), persistent=False)

    def forward(self, x):
        if self.up:
            return F.conv_transpose2d(x, self.kernel, stride=2, padding=1, groups=self.c)
        return F.conv2d(x, self.kernel, stride=2, padding=1, groups=self.c)


def norm(c):
    return nn.GroupNorm(min(c // 4, 32), c, eps=1e-6)


class Block(nn.Module):
    """ResnetBlockBigGANpp."""

    def __init__(self, c_in, c_out, temb, up=False, down=False, dropout=0.1):
        super().__init__()
        self.norm_0, self.conv_0 = norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.dense = nn.Linear(temb, c_out)
        self.norm_1, self.conv_1 = norm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out or up or down else None
        self.resample = Resample(c_in, up) if up or down else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, temb):
        h = F.silu(self.norm_0(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.conv_0(h) + self.dense(F.silu(temb))[:, :, None, None]
        h = self.conv_1(self.dropout(F.silu(self.norm_1(h))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        return (x + h) / math.sqrt(2.0)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = norm(c)
        self.q, self.k, self.v, self.out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x):
        n, c, h, w = x.shape
        y = self.norm(x)
        q, k, v = (f(y).reshape(n, 1, c, h * w).transpose(2, 3) for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, h, w)
        return (x + self.out(y)) / math.sqrt(2.0)


class Pyramid(nn.Module):
    """Halves the image by a FIR filter and a strided convolution to `c_out` channels: progressive_input = residual."""

    def __init__(self, c_in, c_out):
        super().__init__()
        self.filter = Resample(c_in, up=False)
        self.conv = nn.Conv2d(c_in, c_out, 3, padding=1)

    def forward(self, x):
        return self.conv(self.filter(x))


class NCSNpp(nn.Module):
    def __init__(self, nf=128, mult=(1, 2, 2, 2), blocks=4, size=32, attention=(16,)):
        super().__init__()
        temb = 4 * nf
        self.register_buffer("frequencies", torch.randn(nf) * 16.0)
        self.temb = nn.Sequential(nn.Linear(2 * nf, temb), nn.SiLU(), nn.Linear(temb, temb))
        self.first = nn.Conv2d(3, nf, 3, padding=1)
        self.down, c, skips, pyramid = nn.ModuleList(), nf, [nf], 3
        for level, m in enumerate(mult):
            stage = nn.ModuleDict({"blocks": nn.ModuleList(), "attention": nn.ModuleList()})
            for _ in range(blocks):
                stage["blocks"].append(Block(c, nf * m, temb))
                c = nf * m
                stage["attention"].append(Attention(c) if size in attention else nn.Identity())
                skips.append(c)
            if level + 1 < len(mult):
                stage["shrink"], stage["pyramid"] = Block(c, c, temb, down=True), Pyramid(pyramid, c)
                pyramid, size = c, size // 2
                skips.append(c)
            self.down.append(stage)
        self.middle = nn.ModuleList([Block(c, c, temb), Attention(c), Block(c, c, temb)])
        self.up = nn.ModuleList()
        for level, m in reversed(list(enumerate(mult))):
            stage = nn.ModuleDict({"blocks": nn.ModuleList()})
            for _ in range(blocks + 1):
                stage["blocks"].append(Block(c + skips.pop(), nf * m, temb))
                c = nf * m
            stage["attention"] = Attention(c) if size in attention else nn.Identity()
            if level > 0:
                stage["grow"] = Block(c, c, temb, up=True)
                size *= 2
            self.up.append(stage)
        assert not skips
        self.last = nn.Sequential(norm(c), nn.SiLU(), nn.Conv2d(c, 3, 3, padding=1))
        count = sum(p.numel() for p in self.parameters())
        assert count == PARAMETERS, f"{count} parameters, {PARAMETERS} expected"

    def forward(self, x, sigma):
        phase = torch.log(sigma)[:, None] * self.frequencies[None] * 2 * math.pi
        temb = self.temb(torch.cat([phase.sin(), phase.cos()], dim=1))
        pyramid, h = x, self.first(x)
        skips = [h]
        for stage in self.down:
            for block, attention in zip(stage["blocks"], stage["attention"]):
                h = attention(block(h, temb))
                skips.append(h)
            if "shrink" in stage:
                h, pyramid = stage["shrink"](h, temb), stage["pyramid"](pyramid)
                pyramid = h = (pyramid + h) / math.sqrt(2.0)
                skips.append(h)
        h = self.middle[2](self.middle[1](self.middle[0](h, temb)), temb)
        for stage in self.up:
            for block in stage["blocks"]:
                h = block(torch.cat([h, skips.pop()], dim=1), temb)
            h = stage["attention"](h)
            if "grow" in stage:
                h = stage["grow"](h, temb)
        return self.last(h) / sigma[:, None, None, None]
