"""Indexing by a network: a pattern in, the orientation of its crystal out.

For one phase and one projection centre: what it is trained on. A small residual network regresses a
unit quaternion; the loss is the disorientation, the smallest angle over the crystal's symmetry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ebsdarchive.crystal_map import symmetry_quaternions
from ebsdarchive.errors import FormatError
from ebsdarchive.restorers import networks
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.flattening import flatten
from ebsdarchive.restorers.samples import Samples

__all__ = [
    "OrientationBatch",
    "OrientationConfig",
    "OrientationNetwork",
    "batch_of",
    "build",
    "checkpoint_of",
    "disorientation",
    "load",
    "loss",
    "predict",
]

METHOD, VERSION = "orientation", "1"


@dataclass(frozen=True)
class OrientationBatch:
    """Patterns (n, sy, sx) float32 counts, lit pixels `mask` (sy, sx) bool and `quaternions` (n, 4)
    float32 (w, x, y, z) as orix has them: sample to crystal. All on one device."""

    patterns: Tensor
    mask: Tensor
    quaternions: Tensor


@dataclass(frozen=True)
class OrientationConfig:
    """Shape of the network.

    Parameters
    ----------
    point_group
        Of the crystal, Hermann–Mauguin as orix has it; its proper rotations count.
    size
        Patterns are resized to size × size px.
    widths
        Channels at 1/2, 1/4, … of that.
    """

    point_group: str = "m-3m"
    size: int = 64
    widths: tuple[int, ...] = (32, 64, 128, 256)

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 512:
            raise FormatError(
                f"orientation network: expected a size from 16 to 512, found {self.size}"
            )
        if not 1 <= len(self.widths) <= 6 or not all(8 <= w <= 2048 for w in self.widths):
            raise FormatError(
                f"orientation network: expected 1 to 6 widths from 8 to 2048, found {self.widths}"
            )


def disorientation(a: Tensor, b: Tensor, symmetries: Tensor) -> Tensor:
    """(n,) smallest angle in rad between orientations (n, 4), over symmetries (k, 4).

    cos(θ / 2) = max_s | <s a, b> |, for symmetries act on the left of sample to crystal.
    """
    return 2 * torch.acos(_nearest(a, b, symmetries).clamp(max=1 - 1e-7))


def _nearest(a: Tensor, b: Tensor, symmetries: Tensor) -> Tensor:
    """(n,) cos(θ / 2)."""
    equivalent = _product(symmetries[:, None], a[None])  # (k, n, 4)
    return (equivalent * b).sum(2).abs().amax(0)


def _product(p: Tensor, q: Tensor) -> Tensor:
    """Hamilton product (…, 4) of (w, x, y, z)."""
    a, b = p[..., :1], q[..., :1]
    u, v = torch.broadcast_tensors(p[..., 1:], q[..., 1:])
    scalar = a * b - (u * v).sum(-1, keepdim=True)
    vector = a * v + b * u + torch.linalg.cross(u, v)
    return torch.cat([scalar, vector], dim=-1)


class Stage(nn.Module):
    """Halves the image and adds what two convolutions find (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.norm_1 = nn.GroupNorm(8 if outputs % 8 == 0 else 1, outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm_2 = nn.GroupNorm(8 if outputs % 8 == 0 else 1, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, h: Tensor) -> Tensor:
        a = functional.relu(self.norm_1(self.conv_1(h)))
        return functional.relu(self.skip(h) + self.norm_2(self.conv_2(a)))


class OrientationNetwork(nn.Module):
    """Flattened patterns to unit quaternions."""

    symmetries: Tensor

    def __init__(self, config: OrientationConfig) -> None:
        super().__init__()
        self.config = config
        widths = (1, *config.widths)
        self.stages = nn.Sequential(*[Stage(a, b) for a, b in pairwise(widths)])
        left = 4  # px: what is left of the pattern, so that places are not averaged away
        self.pool = nn.AdaptiveAvgPool2d(left)
        self.head = nn.Sequential(
            nn.Linear(left * left * widths[-1], 256), nn.ReLU(), nn.Linear(256, 4)
        )
        rotations = symmetry_quaternions(config.point_group).astype(np.float32)
        self.register_buffer("symmetries", torch.from_numpy(rotations), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """(n, sy, sx) flattened patterns to (n, 4)."""
        size = (self.config.size, self.config.size)
        a = functional.interpolate(values[:, None], size, mode="bilinear", antialias=True)
        q = self.head(self.pool(self.stages(a)).flatten(1))
        return functional.normalize(q, dim=1)


def loss(module: OrientationNetwork, batch: OrientationBatch, generator: torch.Generator) -> Tensor:
    """Mean of sin²(θ / 2) of the disorientations θ, smooth where arccos is not.

    Draws nothing from `generator`.
    """
    q = module(flatten(batch.patterns, batch.mask).values)
    return (1 - _nearest(q, batch.quaternions, module.symmetries).square()).mean()


@torch.no_grad()
def predict(module: OrientationNetwork, patterns: Tensor, mask: Tensor) -> Tensor:
    """(n, 4) unit quaternions of patterns (n, sy, sx) in counts, w ≥ 0."""
    q = module(flatten(patterns, mask).values)
    return torch.where(q[:, :1] < 0, -q, q)


def batch_of(samples: Samples, device: str) -> OrientationBatch:
    """The noisy patterns of samples and their first orientations, on a device."""
    return OrientationBatch(
        patterns=torch.from_numpy(samples.noisy).to(device),
        mask=torch.from_numpy(samples.mask).to(device),
        quaternions=torch.from_numpy(samples.quaternions[:, 0].astype(np.float32)).to(device),
    )


def build(config: Mapping[str, Any]) -> OrientationNetwork:
    """A network with fresh weights."""
    return OrientationNetwork(networks.read_config(OrientationConfig, config, METHOD))


def checkpoint_of(module: OrientationNetwork, card: Mapping[str, Any]) -> Checkpoint:
    """The network at rest."""
    return networks.checkpoint_of(module, METHOD, VERSION, card)


def load(checkpoint: Checkpoint) -> OrientationNetwork:
    """The network of a checkpoint. Raises FormatError if it does not fit."""
    return networks.loaded(build, checkpoint, VERSION)
