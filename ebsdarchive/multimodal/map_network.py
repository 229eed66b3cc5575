"""Unconditional diffusion models of registered maps: all channels, orientation alone, light alone.

One U-Net that differs only in the channels of its first and last layer; it learns the noise in maps
of its channels (Ho et al. 2020). The module offers a trainer what `restorers.networks` describes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebsdarchive.errors import FormatError
from ebsdarchive.multimodal.light_channels import LightChannels
from ebsdarchive.multimodal.orientation_channels import HEXAGONAL
from ebsdarchive.multimodal.schedule import signal
from ebsdarchive.multimodal.training_maps import MapBatch
from ebsdarchive.restorers import diffusion, networks
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.unet import UNet, UNetConfig

__all__ = [
    "KINDS",
    "MapConfig",
    "MapNetwork",
    "batch_of",
    "build",
    "checkpoint_of",
    "detail",
    "load",
    "loss",
]

METHOD, VERSION = "maps", "2"
KINDS = ("multimodal", "ebsd", "light")
ORIENTATION = 3  # channels
LARGEST_DETAIL = 3.0  # in units of the noise
OFFSETS = (-3, -1, 0, 1, 3)  # pixels, of those that a pixel is compared with; even and odd ones
QUIET = 0.4  # noise below which single pixels tell grains apart; 3 x 3 of them above
STRICTNESS = 1.0, 2.0  # of the two


@dataclass(frozen=True)
class MapConfig:
    """Shape of the network, and what its channels are.

    Parameters
    ----------
    kind
        "multimodal": orientation and light; "ebsd": orientation alone; "light": light alone.
    light
        Settings of the `LightChannels` as JSON text.
    point_group
        Whose zone the orientations are reduced to.
    window
        Side of the square windows that it is trained on and asked for, in pixels.
    base, levels, patch, attention, time_width
        As in `UNetConfig`.
    """

    kind: str = "multimodal"
    light: str = ""
    point_group: str = HEXAGONAL
    window: int = 64
    base: int = 24
    levels: int = 3
    patch: int = 2
    attention: int = 2
    time_width: int = 128

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FormatError(
                f"{METHOD} network: expected kind out of {', '.join(KINDS)}, found {self.kind!r}"
            )
        _ = self.light_channels  # of all kinds: raises here, not in the middle of a training
        least = self.unet.multiple
        if not (least <= self.window <= 1024 and self.window % least == 0):
            raise FormatError(
                f"{METHOD} network: expected a window from {least} to 1024 and a multiple of "
                f"{least}, found {self.window}"
            )

    @cached_property
    def light_channels(self) -> LightChannels:
        """As the light was made into channels."""
        try:
            config = json.loads(self.light) if self.light else LightChannels.fit().to_config()
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{METHOD} network: expected light as JSON, found none") from error
        return LightChannels.from_config(config)

    @property
    def unet(self) -> UNetConfig:
        """Shape of the network in it."""
        return UNetConfig(
            channels=self.channels,
            base=self.base,
            levels=self.levels,
            time_width=self.time_width,
            conditioned=True,
            patch=self.patch,
            attention=self.attention,
        )

    @property
    def orientation(self) -> int:
        """Channels of orientation, which come first."""
        return 0 if self.kind == "light" else ORIENTATION

    @property
    def channels(self) -> int:
        """All of them."""
        light = 0 if self.kind == "ebsd" else self.light_channels.channels
        return self.orientation + light

    def of_maps(self, channels: Any) -> Any:
        """(n, c, …) its own ones of (n, 3 + p, …) channels of orientation and light."""
        first = ORIENTATION if self.kind == "light" else 0
        return channels[:, first : first + self.channels]


class MapNetwork(nn.Module):
    """ε(x_t, t)."""

    def __init__(self, config: MapConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(config.unet)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(n, c, y, x) noise in x_t at time steps t (n,).

        Where noise is more than signal, x_t is nearly the noise, and the layers say what is left,
        in units of the signal: an error of theirs does not grow with the noise (as Karras et al.
        2022 have it).
        """
        found = torch.as_tensor(self.unet(x_t, detail(x_t, t), t))
        above = signal().to(x_t)[t][:, None, None, None]
        near = (1 - above).sqrt() * x_t
        return near + (above / (1 - above)).sqrt().clamp_max(1) * (found - near)


def detail(x_t: Tensor, t: Tensor) -> Tensor:
    """(n, c, y, x) what pixels have that pixels like them around have not, in units of the noise.

    Pixels are alike if all channels of both, and of those next to them where there is much noise,
    differ by no more than it (non-local means: Buades et al. 2005). Within a grain this is nearly
    the noise itself, which a network would take most of its training to tell from what lies around.
    """
    _, _, ny, nx = x_t.shape
    noise = (1 - signal().to(x_t)[t]).sqrt()[:, None, None, None]
    quiet = noise < QUIET
    strictness = torch.where(quiet, *STRICTNESS)
    room = max(OFFSETS)
    wide = functional.pad(x_t, (room, room, room, room), mode="replicate")
    total, weight = x_t.clone(), torch.ones_like(x_t[:, :1])
    for dy in OFFSETS:
        for dx in OFFSETS:
            if dy == dx == 0:
                continue
            other = wide[:, :, room + dy : room + dy + ny, room + dx : room + dx + nx]
            differing = (other - x_t).square().mean(1, keepdim=True) / noise.square()
            around = functional.avg_pool2d(differing, 3, 1, 1, count_include_pad=False)
            differing = torch.where(quiet, differing, around)
            like = torch.exp(-strictness * (differing - 2).clamp_min(0))  # 2 of the same grain
            total += like * other
            weight += like
    return LARGEST_DETAIL * torch.tanh((x_t - total / weight) / (LARGEST_DETAIL * noise))


def loss(module: MapNetwork, batch: MapBatch, generator: torch.Generator) -> Tensor:
    """Mean square error of the predicted noise (Ho et al. 2020, eq. 14).

    Times are drawn as the sampler's levels lie, more of them at little noise.
    """
    x_0 = module.config.of_maps(batch.channels)
    return diffusion.noise_loss(module, x_0, torch.ones_like(x_0), generator, 2)


def batch_of(samples: MapBatch, device: str) -> MapBatch:
    """A batch on a device."""
    return MapBatch(samples.channels.to(device))


def build(config: Mapping[str, Any]) -> MapNetwork:
    """A network with fresh weights."""
    given = dict(config)
    if not given.get("light"):
        given["light"] = json.dumps(LightChannels.fit().to_config())
    return MapNetwork(networks.read_config(MapConfig, given, METHOD))


def checkpoint_of(module: MapNetwork, card: Mapping[str, Any]) -> Checkpoint:
    """The network at rest."""
    return networks.checkpoint_of(module, METHOD, VERSION, card)


def load(checkpoint: Checkpoint) -> MapNetwork:
    """The network of a checkpoint. Raises FormatError if it does not fit."""
    if checkpoint.method != METHOD:
        raise FormatError(
            f"fuse: expected a model of {METHOD}, found one of {checkpoint.method}; such a file is "
            f"written by `ebsdarchive fuse train`"
        )
    return networks.loaded(build, checkpoint, VERSION)
