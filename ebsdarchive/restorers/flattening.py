"""Patterns as the networks see them: without background, with even contrast, and the way back.

What stays is ``(pattern - background) / scale``: a polynomial and blurs an eighth of the pattern
wide, of the lit pixels alone, so nothing in them tells one crystal from another and a network that
learns from one material sees others alike. Works on batches in torch, on the device they are on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CLIP", "Blur", "Flattened", "flatten"]

WIDTH = 1 / 8  # of the pattern: standard deviation of the blur, as in a dynamic background
DEGREE = 5  # of the polynomial that goes before it: a blur alone leaves a frame where light falls
CLIP = 6.0  # of the robust scale: hot and dead pixels, and specks, are no brighter or darker
SPREAD = 4.0  # of the robust scale: what counts for the scale
EVEN = 0.2  # of the pattern's own scale: the least that its local scale may be


@dataclass(frozen=True)
class Flattened:
    """Patterns without background.

    Parameters
    ----------
    values
        (n, sy, sx), variance about 1 everywhere, 0 where nothing is lit.
    background, scale
        (n, sy, sx) counts.
    noise
        (n, sy, sx) in 0 … 1: standard deviation of the pixel noise, relative to `scale`. Measured
        on second differences, which straight bands hardly have; noise that spreads over several
        pixels looks weaker.
    lit
        (n or 1, sy, sx) bool: pixels that count.
    flat
        (n,) bool: patterns without any contrast; their values are 0.
    """

    values: Tensor
    background: Tensor
    scale: Tensor
    noise: Tensor
    lit: Tensor
    flat: Tensor

    def to_counts(self, values: Tensor) -> Tensor:
        """(n, sy, sx) of this form as counts: the inverse."""
        return self.background + self.scale * values

    def from_counts(self, counts: Tensor) -> Tensor:
        """(n, sy, sx) counts, say of a clean pattern, as `values` with this background and scale;
        0 where nothing is lit."""
        return (counts - self.background) / self.scale * self.lit

    @property
    def mean_noise(self) -> Tensor:
        """(n,) root mean square of `noise` over lit pixels."""
        return _mean(self.noise.square(), self.lit).sqrt()[:, 0, 0]

    def contrast_of(self, values: Tensor) -> Tensor:
        """(n, 1, 1) factor that gives an estimate (n, sy, sx), of whatever contrast, that which it
        has in `values`.

        By least squares over lit pixels, β = <values, estimate> / <estimate, estimate>, which noise
        does not bias; never below 0.
        """
        centred = self.centred(values)
        power = centred.square().sum((1, 2), keepdim=True)
        shared = (self.values * centred).sum((1, 2), keepdim=True)
        return (shared / power.clamp_min(1e-12)).clamp_min(0)

    def centred(self, values: Tensor) -> Tensor:
        """(n, sy, sx) with a mean of 0 over lit pixels, and 0 in the others."""
        return (values - _mean(values, self.lit)) * self.lit

    def evened(self, counts: Tensor) -> Tensor:
        """(n, sy, sx) counts in this form, but with a standard deviation of 1 over lit pixels."""
        values = self.centred(self.from_counts(counts))
        return values / _mean(values.square(), self.lit).sqrt().clamp_min(1e-6)


def flatten(patterns: Tensor, mask: Tensor) -> Flattened:
    """Free patterns (n, sy, sx) of background; `mask` (sy, sx) or (n, sy, sx) bool, lit pixels.

    Pixels that are not finite count as not lit. Always in float32, also where a network that is
    trained in mixed precision asks: a background is far larger than what it leaves.
    """
    with torch.autocast(patterns.device.type, enabled=False):
        return _flatten(patterns, mask)


def _flatten(patterns: Tensor, mask: Tensor) -> Flattened:
    finite = torch.isfinite(patterns)
    lit = mask.reshape(-1, *mask.shape[-2:])  # (n or 1, sy, sx)
    if not bool(finite.all()):
        lit = lit & finite
    x = torch.where(lit, patterns, torch.zeros_like(patterns))
    blur = Blur(lit)
    rough = (x - blur(x)) * lit
    limit = CLIP * _robust(rough, lit)  # (n, 1, 1)
    x = torch.where(lit, x - rough + rough.clamp(-limit, limit), x)
    smooth = _polynomial(torch.where(lit, x, blur(x)), mask.reshape(-1, *mask.shape[-2:]))
    background = smooth + blur((x - smooth) * lit)
    residual = (x - background) * lit
    limit = SPREAD * _robust(residual, lit)
    limited = residual.clamp(-limit, limit)
    variance = _mean(limited.square(), lit)  # (n, 1, 1)
    flat = variance <= (1e-6 * _mean(x.abs(), lit)).square() + 1e-30
    local = blur(limited.square()).clamp_min(0)
    floor = torch.where(flat, torch.ones_like(variance), EVEN**2 * variance)
    scale = torch.maximum(local, floor).sqrt()
    values = (residual / scale).clamp(-CLIP, CLIP) * ~flat
    return Flattened(values, background, scale, _noise(values, lit), lit, flat[:, 0, 0])


def _polynomial(images: Tensor, mask: Tensor) -> Tensor:
    """(n, sy, sx) polynomials of total degree `DEGREE`, by least squares over the pixels that are
    lit in all patterns of `mask` (n or 1, sy, sx)."""
    sy, sx = images.shape[1:]
    axes = [torch.linspace(-1, 1, size, device=images.device) for size in (sy, sx)]
    v, u = (_legendre(axis) for axis in axes)  # (DEGREE + 1, sy), (DEGREE + 1, sx)
    terms = [v[i][:, None] * u[j] for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    basis = torch.stack(terms, dim=-1).reshape(sy * sx, -1)  # (sy sx, 21)
    inside = basis * mask.all(0).reshape(-1, 1)
    level = images.flatten(1).mean(1, keepdim=True)  # digits are for what differs from it
    squares = (inside.T @ basis).double()  # (21, 21)
    squares += 1e-6 * squares.trace() * torch.eye(len(squares)).to(squares)  # few pixels may be lit
    shares = (inside.T @ (images.flatten(1) - level).T).double()  # (21, n)
    coefficients = torch.linalg.solve(squares, shares).float()
    return ((basis @ coefficients).T + level).reshape(images.shape)


def _legendre(x: Tensor) -> Tensor:
    """(DEGREE + 1, m): (k + 1) P_k+1 = (2 k + 1) x P_k - k P_k-1."""
    found = [torch.ones_like(x), x]
    for k in range(1, DEGREE):
        found.append(((2 * k + 1) * x * found[k] - k * found[k - 1]) / (k + 1))
    return torch.stack(found)


def _noise(values: Tensor, lit: Tensor) -> Tensor:
    """Local standard deviation of (a - b - c + d) / 2 over squares of four pixels: that of one
    pixel, if they are independent."""
    change = (values[:, 1:, 1:] - values[:, 1:, :-1] - values[:, :-1, 1:] + values[:, :-1, :-1]) / 2
    whole = lit[:, 1:, 1:] & lit[:, 1:, :-1] & lit[:, :-1, 1:] & lit[:, :-1, :-1]
    squared = torch.zeros_like(values)
    squared[:, 1:, 1:] = change.square() * whole
    there = torch.zeros_like(lit)
    there[:, 1:, 1:] = whole
    return Blur(there)(squared).clamp(0, 1).sqrt() * lit


class Blur:
    """Gaussian blur of the lit pixels alone, as a product with one matrix on each side; `width` is
    its standard deviation in parts of the sides."""

    def __init__(self, lit: Tensor, width: float = WIDTH) -> None:
        sy, sx = lit.shape[1:]
        self.rows = _gaussian(sy, sy * width, lit.device)  # (sy, sy)
        self.columns = _gaussian(sx, sx * width, lit.device)  # (sx, sx), symmetric
        self.weight = (self.rows @ lit.to(self.rows) @ self.columns).clamp_min(1e-6)

    def __call__(self, images: Tensor) -> Tensor:
        """(n, sy, sx), which must be 0 where nothing is lit."""
        return self.rows @ images @ self.columns / self.weight


def _gaussian(n: int, sigma: float, device: torch.device) -> Tensor:
    at = torch.arange(n, device=device, dtype=torch.float32)
    return torch.exp(-((at[:, None] - at) ** 2) / (2 * sigma**2)) / sigma


def _mean(images: Tensor, lit: Tensor) -> Tensor:
    """(n, 1, 1) over lit pixels."""
    number = lit.sum((1, 2), keepdim=True).clamp_min(1)
    return (images * lit).sum((1, 2), keepdim=True) / number


def _robust(residual: Tensor, lit: Tensor) -> Tensor:
    """(n, 1, 1) standard deviation by the median of magnitudes; the plain one where more than half
    of the pixels are alike, as in patterns of very few electrons."""
    magnitudes = torch.where(lit, residual.abs(), torch.nan).flatten(1)
    median = torch.nanmedian(magnitudes, dim=1).values[:, None, None].nan_to_num(0)
    plain = _mean(residual.square(), lit).sqrt()
    return torch.where(median > 0.02 * plain, 1.4826 * median, plain)
