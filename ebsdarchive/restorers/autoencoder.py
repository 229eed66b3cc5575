"""Autoencoders: a pattern through a sixteenth of its pixels, and back without noise.

`Seed` is the network of the autoencoder tool for EBSD patterns, layer by layer. Its transposed
convolution of 3 with a stride of 2 covers every second row and column more often than the others,
which leaves a checkerboard, and it knows sizes that 4 divides alone. `Smooth` resizes and convolves
instead (Odena, Dumoulin & Olah 2016), and pads and crops patterns of any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebsdarchive.errors import FormatError
from ebsdarchive.restorers import networks
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.flattening import CLIP, Flattened, flatten
from ebsdarchive.restorers.networks import Batch, padded

__all__ = [
    "AutoencoderConfig",
    "Seed",
    "Smooth",
    "build",
    "checkpoint_of",
    "denoise",
    "load",
    "loss",
]

METHODS, VERSION = {"seed": "autoencoder", "smooth": "autoencoder-smooth"}, "1"


@dataclass(frozen=True)
class AutoencoderConfig:
    """Which of the two, and the channels of the smooth one's first level (of the seed's: 64)."""

    kind: str = "seed"
    width: int = 64

    def __post_init__(self) -> None:
        if self.kind not in METHODS:
            raise FormatError(
                f"autoencoder network: expected kind {' or '.join(METHODS)}, found {self.kind!r}"
            )
        if not 1 <= self.width <= 1024 or (self.kind == "seed" and self.width != 64):
            raise FormatError(
                f"autoencoder network: expected a width from 1 to 1024 (kind seed: 64), "
                f"found {self.width}"
            )


class Seed(nn.Module):
    """The tool's autoencoder: 640,129 parameters, grey levels from 0 to 1."""

    multiple = 4

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_1 = nn.Conv2d(1, 64, 1)
        self.conv_2 = nn.Conv2d(64, 128, 3, padding=1)
        self.conv_3 = nn.Conv2d(128, 128, 5, padding=2)
        self.up_1 = nn.ConvTranspose2d(128, 128, 3, stride=2, padding=1, output_padding=1)
        self.up_2 = nn.ConvTranspose2d(128, 64, 1, stride=2, output_padding=1)
        self.conv_4 = nn.Conv2d(64, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = functional.relu(self.conv_1(x))  # (n, 64, sy, sx)
        a = functional.max_pool2d(functional.relu(self.conv_2(a)), 2)  # (n, 128, sy / 2, sx / 2)
        a = functional.max_pool2d(functional.relu(self.conv_3(a)), 2)  # (n, 128, sy / 4, sx / 4)
        a = functional.relu(self.up_1(a))  # (n, 128, sy / 2, sx / 2)
        a = functional.relu(self.up_2(a))  # (n, 64, sy, sx)
        return torch.sigmoid(self.conv_4(a))  # (n, 1, sy, sx)


class Smooth(nn.Module):
    """As `Seed`, with resizing and convolutions for its transposed ones, and windows of 3 for those
    of 1, which looked at single noisy pixels."""

    multiple = 4

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.conv_1 = nn.Conv2d(1, width, 3, padding=1)
        self.conv_2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.conv_3 = nn.Conv2d(2 * width, 2 * width, 5, padding=2)
        self.up_1 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up_2 = nn.Conv2d(2 * width, width, 3, padding=1)
        self.conv_4 = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = functional.relu(self.conv_1(x))  # (n, w, sy, sx)
        a = functional.avg_pool2d(functional.relu(self.conv_2(a)), 2)  # (n, 2w, sy / 2, sx / 2)
        a = functional.avg_pool2d(functional.relu(self.conv_3(a)), 2)  # (n, 2w, sy / 4, sx / 4)
        a = functional.relu(self.up_1(_doubled(a)))  # (n, 2w, sy / 2, sx / 2)
        a = functional.relu(self.up_2(_doubled(a)))  # (n, w, sy, sx)
        return torch.sigmoid(self.conv_4(a))  # (n, 1, sy, sx)


def _doubled(a: Tensor) -> Tensor:
    return functional.interpolate(a, scale_factor=2, mode="bilinear", align_corners=False)


def _grey(values: Tensor) -> Tensor:
    """Flattened values as grey levels: 0 to 0.5, ± CLIP to 0 and 1."""
    return (values / (2 * CLIP) + 0.5).clamp(0, 1)


def loss(module: Seed | Smooth, batch: Batch, generator: torch.Generator) -> Tensor:
    """Mean squared difference of grey levels from the clean pattern, over lit pixels.

    In units of flattened values squared: an estimate without bands has about 1. Draws nothing from
    `generator`.
    """
    flattened = flatten(batch.noisy, batch.mask)
    clean = _grey(flattened.evened(batch.clean))
    error = (_levels(module, flattened.values) - clean) * flattened.lit
    pixels = flattened.lit.sum() * len(error) / len(flattened.lit)
    return (2 * CLIP) ** 2 * error.square().sum() / pixels


def _levels(module: Seed | Smooth, values: Tensor) -> Tensor:
    sy, sx = values.shape[1:]
    image = padded(_grey(values)[:, None], module.multiple)
    return torch.as_tensor(module(image)[:, 0, :sy, :sx])


@torch.no_grad()
def denoise(module: Seed | Smooth, flattened: Flattened) -> Tensor:
    """(n, sy, sx) estimate in the flattened form, with the contrast that the pattern has."""
    levels = flattened.centred(_levels(module, flattened.values))
    return flattened.contrast_of(levels) * levels


def build(config: Mapping[str, Any]) -> Seed | Smooth:
    """A network with fresh weights."""
    known = networks.read_config(AutoencoderConfig, config, "autoencoder")
    return Seed(known) if known.kind == "seed" else Smooth(known)


def checkpoint_of(module: Seed | Smooth, card: Mapping[str, Any]) -> Checkpoint:
    """The network at rest."""
    return networks.checkpoint_of(module, METHODS[module.config.kind], VERSION, card)


def load(checkpoint: Checkpoint) -> Seed | Smooth:
    """The network of a checkpoint. Raises FormatError if it does not fit."""
    module = networks.loaded(build, checkpoint, VERSION)
    if METHODS[module.config.kind] != checkpoint.method:
        raise FormatError(
            f"{checkpoint.method} model: expected a network of that method, "
            f"found kind {module.config.kind!r}"
        )
    return module
