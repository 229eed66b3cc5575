"""Where patterns change: the diffraction gradient on a raster, smoothed, and its direction.

Owns the raster that boundaries are looked for on, and the comparison of patterns by their bands.
How grains are made of it is in `grains`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import MAX_POSITIONS, Grid
from ebsdarchive.neural.field import Field
from ebsdarchive.neural.gradient import DiffractionGradient, pattern_gauge

__all__ = ["BandPatterns", "Raster", "Slopes", "Window", "half_way", "smoothed_slopes"]

BAND_SHARE = 1 / 20  # of the pattern's width: what is wider than this is background, not band
INNER = 0.9  # share of a pixel's surroundings that must be inside the mask
SPECK = 6.0  # times the median contrast of the mean pattern; bands reach 4
FAINT = 0.05  # of the median squared contrast: patterns with less are not told apart
SAMPLE = 1024  # points that the median is taken over
TILE_BYTES = 64 << 20

Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class Raster:
    """A square raster over a whole scan, `per_step` samples to a step along both axes.

    Sample (row, column) stands at (x, y) = (column, row) / per_step.
    """

    grid: Grid
    per_step: int

    def __post_init__(self) -> None:
        if self.per_step < 1:
            raise ArgumentError(
                f"resolution: expected a whole number from 1, found {self.per_step}"
            )
        ny, nx = self.shape
        if nx * ny > MAX_POSITIONS:
            raise ArgumentError(
                f"resolution: expected at most {MAX_POSITIONS} samples, found {nx} x {ny}; ask "
                f"for fewer per step"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        x_max, y_max = self.grid.extent
        return int(y_max * self.per_step) + 1, int(x_max * self.per_step) + 1

    @property
    def sample_length(self) -> npt.NDArray[np.float64]:
        """(2,) distance between samples along x and y, in steps along x."""
        return np.array([1.0, self.grid.row_distance]) / self.per_step

    def positions(self, rows: slice, columns: slice) -> npt.NDArray[np.float64]:
        """(m, 2) positions (x, y) in steps of a part of the raster, row by row."""
        ny, nx = self.shape
        y, x = np.mgrid[rows.start : min(rows.stop, ny), columns.start : min(columns.stop, nx)]
        return np.column_stack([x.ravel(), y.ravel()]) / self.per_step

    def bands_of_rows(self, sample_bytes: int) -> Iterator[slice]:
        """Slices of rows that together cover the raster once, each of bounded size."""
        ny, nx = self.shape
        length = max(1, TILE_BYTES // max(1, nx * sample_bytes))
        for start in range(0, ny, length):
            yield slice(start, min(start + length, ny))

    def samples_at(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """(m,) flat index of the sample nearest to each position (m, 2)."""
        ny, nx = self.shape
        column, row = np.rint(np.asarray(xy) * self.per_step).astype(np.int64).T
        return np.clip(row, 0, ny - 1) * nx + np.clip(column, 0, nx - 1)


@dataclass(frozen=True)
class Window(Raster):
    """The part of a raster from one of the scan's points to another, both included.

    Parameters
    ----------
    first, last
        (x, y) in whole steps.
    """

    first: tuple[int, int] = (0, 0)
    last: tuple[int, int] = (0, 0)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        (x0, y0), (x1, y1) = self.first, self.last
        return (y1 - y0) * self.per_step + 1, (x1 - x0) * self.per_step + 1

    def positions(self, rows: slice, columns: slice) -> npt.NDArray[np.float64]:
        """(m, 2) positions (x, y) in steps of a part of the window, row by row."""
        return super().positions(rows, columns) + self.first


@dataclass(frozen=True)
class Slopes:
    """The gradient of the smoothed field on a raster.

    Parameters
    ----------
    strength
        (ny, nx) float32 its norm, as S but of the smoothed field: counts per step along x.
    normal
        (ny, nx, 2) float32 unit vector (x, y), lengths in steps along x, in which the patterns
        change most; its sign has no meaning.
    """

    strength: npt.NDArray[np.float32]
    normal: npt.NDArray[np.float32]


def smoothed_slopes(
    gradient: DiffractionGradient,
    raster: Raster,
    sigma: float,
    progress: Progress | None = None,
) -> Slopes:
    """The gradient of the field, smoothed by a Gaussian of `sigma` steps along x.

    The derivatives themselves are smoothed, with their signs, before their norm is taken: what a
    field makes of noise cancels, the step at a boundary does not. Memory beside the result is that
    of a tile.

    Parameters
    ----------
    progress
        Told (samples, of all) after each tile.
    """
    from scipy.ndimage import gaussian_filter1d

    ny, nx = raster.shape
    sigmas = sigma / raster.sample_length  # in samples, along x and y
    halo = np.ceil(4 * sigmas).astype(int)
    strength = np.empty((ny, nx), np.float32)
    normal = np.empty((ny, nx, 2), np.float32)
    side = int(np.sqrt(TILE_BYTES / (16 * gradient.field.tensors.rank)))
    lengths = [max(8, side - 2 * int(h)) for h in halo]
    for top in range(0, ny, lengths[1]):
        for left in range(0, nx, lengths[0]):
            rows, row_part = _with_halo(top, lengths[1], halo[1], ny)
            columns, column_part = _with_halo(left, lengths[0], halo[0], nx)
            slopes = gradient.slopes(raster.positions(rows, columns))  # (m, 2, k)
            tile = slopes.reshape(rows.stop - rows.start, columns.stop - columns.start, 2, -1)
            for axis, width in ((0, sigmas[1]), (1, sigmas[0])):
                if width > 0:
                    tile = gaussian_filter1d(tile, width, axis=axis, mode="nearest")
            tile = tile[row_part, column_part]
            target = (
                slice(top, top + tile.shape[0]),
                slice(left, left + tile.shape[1]),
            )
            xx, yy = (tile**2).sum(axis=3).transpose(2, 0, 1)
            xy = (tile[:, :, 0] * tile[:, :, 1]).sum(axis=2)
            strength[target] = np.sqrt(xx + yy)
            angle = 0.5 * np.arctan2(2 * xy, xx - yy)  # main axis of [[xx, xy], [xy, yy]]
            normal[target] = np.stack([np.cos(angle), np.sin(angle)], axis=2)
            if progress is not None:
                progress(target[0].start * nx + tile.shape[0] * target[1].stop, ny * nx)
    return Slopes(strength, normal)


class BandPatterns:
    """A field's patterns as far as their Kikuchi bands go, in an orthonormal gauge.

    Mean pattern and basis are divided by the background of the mean pattern, and what is wider than
    a band is taken out of them, twice, so that a steep background leaves no trace. The rim of the
    mask and specks of dust are left out. The cosine between two rows is the correlation of two
    patterns: 1 for the same bands, 0.03 for orientations that have nothing in common, 0.2 to 0.5
    across a cubic twin boundary; 0.6 to 0.8 where they differ by 1 degree, 0.4 to 0.7 by 1.5, 0.2
    to 0.5 by 2 (simulated patterns of Ni, Fe and Zr, 60 and 120 px). Real detectors have features
    of their own, which add some 0.1.
    """

    def __init__(self, field: Field) -> None:
        self.field = field
        tensors = field.tensors
        mask = tensors.mask
        around = _Surroundings(mask)
        mean = tensors.mean_pattern[mask].astype(np.float64)
        light = np.maximum(around(mean), 1e-6 * max(1e-30, float(np.abs(mean).max())))
        images = np.empty((tensors.rank, len(mean)), np.float32)
        for i, values in enumerate([mean, *tensors.basis]):
            images[i] = values / light
            for _ in range(2):
                images[i] -= around(images[i])
        images = images[:, _trusted(images[0], around.share)]
        self._gauge = pattern_gauge(images)  # (rank, rank)

        grid = field.grid
        some = np.linspace(0, grid.size - 1, min(grid.size, SAMPLE)).astype(np.int64)
        self._faint = np.float32(0.0)
        contrast = (self(grid.positions_at(some)) ** 2).sum(axis=1)
        self._faint = np.float32(np.sqrt(FAINT * np.median(contrast)))

    @property
    def length(self) -> int:
        """Of a row."""
        return self.field.tensors.rank + 1

    def __call__(self, xy_steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """(m, 2) positions in steps to (m, rank + 1).

        The norm of a row, but for its last value, is the RMS contrast of the bands. That one is the
        same everywhere: beside it patterns with hardly any bands, of a pore for example, are alike.
        """
        values = np.empty((len(xy_steps), self.length), np.float32)
        values[:, :-1] = self.field.coefficients(xy_steps) @ self._gauge[1:]
        values[:, :-1] += self._gauge[0]
        values[:, -1] = self._faint
        return values


def half_way(patterns: npt.NDArray, offsets: npt.NDArray) -> npt.NDArray[np.float64]:
    """Where patterns on a line across a boundary are half way from those at its two ends.

    Parameters
    ----------
    patterns
        (b, o, r) rows in an orthonormal gauge, on b lines.
    offsets
        (o,) where they stand, evenly and in order, from the middle that a boundary is sought near.

    Returns
    -------
    (b,) offset nearest to 0 at which the share of the last pattern rises through one half; 0
    without one.
    """
    first, last = patterns[:, :1], patterns[:, -1:]
    way = last - first
    share = ((patterns - first) * way).sum(axis=2)
    share /= np.maximum((way**2).sum(axis=2), 1e-30)  # 0 … 1 across the boundary
    rises = (share[:, :-1] < 0.5) & (share[:, 1:] >= 0.5)
    gain = np.where(rises, share[:, 1:] - share[:, :-1], 1.0)
    step = offsets[1] - offsets[0]
    offset = offsets[:-1] + step * np.where(rises, (0.5 - share[:, :-1]) / gain, 0.0)
    distance = np.where(rises, np.abs(offset), np.inf)
    nearest = distance.argmin(axis=1)
    there = np.arange(len(share))
    return np.where(np.isfinite(distance[there, nearest]), offset[there, nearest], 0.0)


class _Surroundings:
    """The Gaussian mean around each pixel of a mask, over pixels of the mask."""

    def __init__(self, mask: npt.NDArray[np.bool_]) -> None:
        self._mask = mask
        self._sigma = max(1.0, max(mask.shape) * BAND_SHARE)
        self.share = self._mean(np.ones(int(mask.sum())))  # (m,) of the weights inside the mask

    def __call__(self, values: npt.NDArray) -> npt.NDArray[np.float64]:
        """(m,) to (m,)."""
        return self._mean(values) / self.share

    def _mean(self, values: npt.NDArray) -> npt.NDArray[np.float64]:
        from scipy.ndimage import gaussian_filter

        image = np.zeros(self._mask.shape)
        image[self._mask] = values
        return gaussian_filter(image, self._sigma, mode="constant")[self._mask]


def _trusted(mean: npt.NDArray, share: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(m,) pixels that are not at the rim of the mask, nor specks in the mean pattern."""
    inner = share > INNER
    if inner.sum() < share.size / 4:  # a detector of few pixels is all rim
        inner = np.ones(len(share), bool)
    size = np.abs(mean)
    return inner & (size <= SPECK * np.median(size[inner]))


def _with_halo(start: int, length: int, halo: int, end: int) -> tuple[slice, slice]:
    """The part start … start + length with a halo around, and where the part is within that."""
    stop = min(start + length, end)
    outer = slice(max(0, start - halo), min(end, stop + halo))
    return outer, slice(start - outer.start, stop - outer.start)
