"""How much of a line goes through each pixel of a pattern, in every direction.

Bands are straight and cross the whole pattern, which convolutions of 3 x 3 pixels see only through
many layers; a sum along a line finds bands that are hidden in the noise of every single pixel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["line_responses"]

LENGTH, WIDTH = 0.2, 0.03  # standard deviations of a line, in parts of the shorter side
MARGIN = 0.5  # of the side, where nothing is lit: the transform's images are periodic


def line_responses(images: Tensor, lit: Tensor, angles: int) -> Tensor:
    """Weighted sums along pieces of lines.

    Parameters
    ----------
    images
        (n, sy, sx), 0 where nothing is lit.
    lit
        (n, sy, sx) 1 or 0.
    angles
        Directions, evenly over half a turn.

    Returns
    -------
    (n, angles, sy, sx), with a variance of 1 of independent noise of variance 1, the more so where
    a part of the line lies outside.
    """
    sy, sx = images.shape[1:]
    shape = [size + math.ceil(MARGIN * size) for size in (sy, sx)]
    pieces = _pieces(min(sy, sx), shape, angles, images.device)  # (angles, py, px)

    def summed(image: Tensor, weights: Tensor) -> Tensor:
        """(n, angles, sy, sx) of (n, sy, sx)."""
        found = torch.fft.rfft2(image, shape)[:, None] * torch.fft.rfft2(weights)
        return torch.fft.irfft2(found, shape)[..., :sy, :sx]

    same = bool((lit == lit[:1]).all())  # a screen serves all patterns that have it
    power = summed(lit[:1] if same else lit, pieces.square())
    return summed(images, pieces) / power.clamp_min(1e-3).sqrt()


def _pieces(side: int, shape: list[int], angles: int, device: torch.device) -> Tensor:
    """(angles, py, px) Gaussian pieces of lines around the origin, of power 1."""
    v, u = (torch.fft.fftfreq(size, 1 / size, device=device) for size in shape)  # 0, 1 … -1
    turn = torch.arange(angles, device=device) * (math.pi / angles)
    cos, sin = torch.cos(turn)[:, None, None], torch.sin(turn)[:, None, None]
    along, across = u * cos + v[:, None] * sin, v[:, None] * cos - u * sin
    exponent = (along / (LENGTH * side)).square() + (across / (WIDTH * side)).square()
    pieces = torch.exp(-exponent / 2)
    return pieces / pieces.square().sum((1, 2), keepdim=True).sqrt()
