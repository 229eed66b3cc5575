"""The U-Net of diffusion models: noise in an image, given the time and, if wanted, a condition.

Double-convolution blocks with group normalisation (one group) and GELU, down by max pooling, up by
bilinear resizing, self-attention behind every level but the first, and a sinusoidal embedding of
the time added behind every down and up block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebsdarchive.errors import FormatError
from ebsdarchive.restorers.attention import attended

__all__ = ["UNet", "UNetConfig"]

ATTENTION_HEADS = 4


@dataclass(frozen=True)
class UNetConfig:
    """Shape of the network.

    The paper gives widths, sizes of the attention and 5,881,569 parameters for three levels, and
    5,617,636 for its latent network with one level fewer. Ours have 5,890,337 (0.15 % more) and
    5,690,020 (1.3 % more; the outermost level of 32 channels is the one left out). What the paper
    does not say is filled in as in the public code that its figure resembles: a time embedding of
    256, four heads, residual double convolutions without bias, halved widths within the up blocks.

    Parameters
    ----------
    channels
        Of the image that is restored; the conditioning one has as many.
    base
        Channels of the first level.
    levels
        Times that the image is halved: 3, or 2 for latents.
    time_width
        Length of the time's embedding.
    conditioned
        Whether a second image of as many channels tells of the first.
    patch
        Side of the squares of pixels that are taken as one with more channels; 1: none.
    attention
        How many of the lowest sizes have self-attention, whose work grows with the fourth power of
        the size.
    """

    channels: int = 1
    base: int = 32
    levels: int = 3
    time_width: int = 256
    conditioned: bool = True
    patch: int = 1
    attention: int = 3

    def __post_init__(self) -> None:
        if self.levels not in (2, 3):
            raise FormatError(f"unet: expected 2 or 3 levels, found {self.levels}")
        for name, least, step, most in (
            ("channels", 1, 1, 4096),
            ("base", 4, 4, 4096),
            ("time_width", 2, 2, 4096),
            ("patch", 1, 1, 8),
            ("attention", 0, 1, 3),
        ):
            value = getattr(self, name)
            if not (least <= value <= most and value % step == 0):
                raise FormatError(
                    f"unet: expected {name} from {least} to {most} and a multiple of {step}, "
                    f"found {value}"
                )

    @property
    def multiple(self) -> int:
        """What divides the sizes of images."""
        return int(self.patch * 2**self.levels)


class DoubleConv(nn.Module):
    """Two 3×3 convolutions; GELU between them, and behind if the input is added."""

    def __init__(self, inputs: int, outputs: int, between: int = 0, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        between = between or outputs
        self.conv_1 = nn.Conv2d(inputs, between, 3, padding=1, bias=False)
        self.norm_1 = nn.GroupNorm(1, between)
        self.conv_2 = nn.Conv2d(between, outputs, 3, padding=1, bias=False)
        self.norm_2 = nn.GroupNorm(1, outputs)

    def forward(self, h: Tensor) -> Tensor:
        a = functional.gelu(self.norm_1(self.conv_1(h)))
        a = self.norm_2(self.conv_2(a))
        return functional.gelu(h + a) if self.residual else torch.as_tensor(a)


class TimedBlock(nn.Module):
    """Two double convolutions, and the time added to every pixel."""

    def __init__(self, inputs: int, outputs: int, between: int, time_width: int) -> None:
        super().__init__()
        self.first = DoubleConv(inputs, inputs, residual=True)
        self.second = DoubleConv(inputs, outputs, between)
        self.time = nn.Linear(time_width, outputs)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        a = self.second(self.first(h))  # (n, outputs, h, w)
        return torch.as_tensor(a + self.time(functional.silu(time))[:, :, None, None])


class SelfAttention(nn.Module):
    """Every pixel sees all others; then a small network for each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mix, self.unmix = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        tokens = h.flatten(2).transpose(1, 2)  # (n, h w, c)
        tokens = tokens + self.project(attended(self.qkv(self.norm_1(tokens)), ATTENTION_HEADS))
        tokens = tokens + self.unmix(functional.gelu(self.mix(self.norm_2(tokens))))
        return tokens.transpose(1, 2).reshape(h.shape)


class Head(nn.Module):
    """Noise of folded pixels, from features and the folded image itself.

    There may be as many numbers in a fold as features: without the image at hand, all of them would
    be spent on carrying its noise through the network.
    """

    def __init__(self, features: int, given: int, folded: int, time_width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features + given, 4 * features, 1)
        self.time = nn.Linear(time_width, 4 * features)
        self.second = nn.Conv2d(4 * features, folded, 1)

    def forward(self, h: Tensor, x: Tensor, time: Tensor) -> Tensor:
        a = (
            self.first(torch.cat([h, x], dim=1))
            + self.time(functional.silu(time))[:, :, None, None]
        )
        return torch.as_tensor(self.second(functional.gelu(a)))


class UNet(nn.Module):
    """ε(x_t, condition, t), or ε(x_t, t) of a network without condition."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        b, time = config.base, config.time_width
        first, second, third, fourth = b, 2 * b, 4 * b, 4 * b
        widths = [first, second, third, fourth][3 - config.levels :]
        folded = config.channels * config.patch**2
        given = 2 * folded if config.conditioned else folded
        self.inner = DoubleConv(given, widths[0])
        self.downs = nn.ModuleList(TimedBlock(a, c, c, time) for a, c in pairwise(widths))
        self.down_attention = nn.ModuleList(
            SelfAttention(width) if config.levels - i <= config.attention else nn.Identity()
            for i, width in enumerate(widths[1:])
        )
        self.bottom = nn.Sequential(
            DoubleConv(4 * b, 8 * b), DoubleConv(8 * b, 8 * b), DoubleConv(8 * b, 4 * b)
        )
        into = [8 * b, 4 * b, 2 * b][: config.levels]
        out = [2 * b, b, b][: config.levels]
        self.ups = nn.ModuleList(
            TimedBlock(a, c, a // 2, time) for a, c in zip(into, out, strict=True)
        )
        self.up_attention = nn.ModuleList(
            SelfAttention(width) if i + 2 <= config.attention else nn.Identity()
            for i, width in enumerate(out[:-1])
        )
        self.out: nn.Module = nn.Conv2d(out[-1], folded, 1)
        if config.patch > 1:
            self.out = Head(out[-1], given, folded, time)

    @property
    def multiple(self) -> int:
        """What divides the sizes of images."""
        return self.config.multiple

    def forward(self, x_t: Tensor, condition: Tensor | None, t: Tensor) -> Tensor:
        """(n, c, sy, sx) noise in x_t (n, c, sy, sx) at time steps t (n,)."""
        time = _embedding(t, self.config.time_width)  # (n, time_width)
        h = x_t if condition is None else torch.cat([x_t, condition], dim=1)
        if self.config.patch > 1:
            h = functional.pixel_unshuffle(h, self.config.patch)
        x, h = h, self.inner(h)  # (n, 32, sy, sx)
        passed = []
        for down, attention in zip(self.downs, self.down_attention, strict=True):
            passed.append(h)
            h = attention(down(functional.max_pool2d(h, 2), time))
        h = self.bottom(h)  # (n, 128, sy / 8, sx / 8)
        for i, up in enumerate(self.ups):
            h = functional.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
            h = up(torch.cat([passed.pop(), h], dim=1), time)
            if i < len(self.up_attention):
                h = self.up_attention[i](h)
        if self.config.patch > 1:
            return functional.pixel_shuffle(self.out(h, x, time), self.config.patch)
        return torch.as_tensor(self.out(h))


def _embedding(t: Tensor, width: int) -> Tensor:
    """(n, width): sin(t ω_i) and cos(t ω_i), ω_i = 10000^(-2i / width); Vaswani et al. 2017."""
    i = torch.arange(0, width, 2, device=t.device, dtype=torch.float32)
    omega = torch.exp(-math.log(10_000) * i / width)
    angles = t[:, None].float() * omega
    return torch.cat([angles.sin(), angles.cos()], dim=1)
