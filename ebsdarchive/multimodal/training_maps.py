"""Windows of simulated maps as a training asks for them.

Sections larger than a window are made one after another and each gives several windows, at random
places, over many batches: to make a section costs more than to learn from a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal.light_channels import LightChannels
from ebsdarchive.multimodal.synthetic_maps import Family, SyntheticMaps

__all__ = ["MapBatch", "TrainingMaps"]

SECTION = 1.5  # side of a section, in windows
POOL = 64  # sections that windows are taken from at any time
USES = 40  # windows of a section
SECTIONS_PER_VOLUME = 16


@dataclass(frozen=True)
class MapBatch:
    """(b, 3 + p, y, x) float32 clean channels of orientation and light in [-1, 1]."""

    channels: Tensor

    def __len__(self) -> int:
        return len(self.channels)


class TrainingMaps:
    """Batches of windows; the same number gives the same batch.

    Parameters
    ----------
    family
        Of microstructures.
    window
        Side in pixels.
    size
        Windows of a batch.
    """

    def __init__(
        self, family: Family, window: int, size: int, *, seed: int, light: LightChannels
    ) -> None:
        if size < 1:
            raise ArgumentError(f"batch: expected at least 1 map, found {size}")
        self.family, self.window, self.size, self.seed = family, window, size, seed
        self.light = light
        self._maps = SyntheticMaps(
            family,
            int(SECTION * window),
            seed=seed,
            light=light,
            windows_per_volume=SECTIONS_PER_VOLUME,
        )
        self._section = lru_cache(maxsize=POOL + size)(self._made)

    def batch(self, number: int) -> MapBatch:
        """Batch of a training."""
        rng = np.random.default_rng([self.seed, 2, number])
        first = number * self.size // USES
        chosen = first + rng.integers(POOL, size=self.size)
        room = int(SECTION * self.window) - self.window + 1
        corners = rng.integers(room, size=(self.size, 2))
        windows = [
            self._section(int(n))[:, y : y + self.window, x : x + self.window]
            for n, (y, x) in zip(chosen, corners, strict=True)
        ]
        return MapBatch(torch.from_numpy(np.stack(windows)))

    def held_out(self, count: int) -> MapBatch:
        """Windows of other volumes, one of each."""
        maps = SyntheticMaps(
            self.family, self.window, seed=self.seed + 1, light=self.light, windows_per_volume=1
        )
        return MapBatch(torch.from_numpy(np.stack([maps[i].channels for i in range(count)])))

    def described(self) -> dict[str, Any]:
        """For the model card."""
        return {
            "source": f"simulated sections of {self.light.metal.name}, family {self.family}",
            "window_px": self.window,
            "batch": self.size,
            "stage_angles_deg": list(self.light.stage_angles_deg),
            "grain_size_px": list(self._maps.grain_size),
        }

    def _made(self, number: int) -> npt.NDArray[np.float32]:
        return self._maps[number].channels
