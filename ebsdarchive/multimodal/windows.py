"""Noise in maps larger than the window that a network was trained on.

Windows overlap, and what they predict for a pixel is averaged at every step, with weights that fall
towards a window's rim (as MultiDiffusion does, Bar-Tal et al. 2023). All windows share one noisy
map, so that they go on from what they have agreed on and no seam is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ebsdarchive.errors import ArgumentError

__all__ = ["OVERLAP", "Tiled", "starts"]

OVERLAP = 16  # pixels that neighbouring windows share at least
AT_ONCE = 16  # windows that the network is asked for together


def starts(size: int, window: int, overlap: int) -> list[int]:
    """First pixels of windows that cover `size` pixels and share `overlap` or more."""
    count = 1 + max(0, math.ceil((size - window) / (window - overlap)))
    last = size - window
    return [round(i * last / max(1, count - 1)) for i in range(count)]


class Tiled:
    """ε of maps of one size, from a network for windows.

    Parameters
    ----------
    predict
        x_t (n, c, window, window) and t (n,) to the noise in x_t.
    shape
        (y, x) of the maps, at least a window.
    overlap
        Least overlap of neighbouring windows, in pixels.
    """

    def __init__(
        self,
        predict: Callable[[Tensor, Tensor], Tensor],
        window: int,
        shape: tuple[int, int],
        overlap: int = OVERLAP,
    ) -> None:
        if min(shape) < window:
            raise ArgumentError(f"map: expected at least {window} x {window} points, found {shape}")
        if not 0 <= overlap < window:
            raise ArgumentError(f"overlap: expected from 0 to below {window}, found {overlap}")
        self.predict, self.window = predict, window
        rows, columns = (starts(size, window, overlap) for size in shape)
        self.corners = [(y, x) for y in rows for x in columns]
        ramp = (torch.arange(window) + 0.5).minimum(window - 0.5 - torch.arange(window))
        self.weight = (ramp / max(1, overlap)).clamp_max(1)
        self.weight = self.weight[:, None] * self.weight  # (window, window)
        self.total = torch.zeros(shape)
        for y, x in self.corners:
            self.total[y : y + window, x : x + window] += self.weight

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """(n, c, y, x) noise in maps (n, c, y, x) at times (n,)."""
        if len(self.corners) == 1:
            return self.predict(x_t, t)
        out = torch.zeros_like(x_t)
        jobs = [(i, y, x) for i in range(len(x_t)) for y, x in self.corners]
        side = self.window
        for start in range(0, len(jobs), AT_ONCE):
            part = jobs[start : start + AT_ONCE]
            windows = torch.stack([x_t[i, :, y : y + side, x : x + side] for i, y, x in part])
            times = t[[i for i, _, _ in part]]
            if x_t.requires_grad:  # a large map's activations are more than memory: made again
                found = checkpoint(self.predict, windows, times, use_reentrant=False)
            else:
                found = self.predict(windows, times)
            for (i, y, x), noise in zip(part, found, strict=True):
                out[i, :, y : y + side, x : x + side] += self.weight * noise
        return out / self.total
