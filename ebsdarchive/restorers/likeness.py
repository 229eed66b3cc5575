"""Which patterns of a window show the same orientation, through their noise.

Two tests: patterns of one orientation correlate, which noise hardly hides, for it is independent;
and, where noise is low enough to tell, their difference is that of noise alone (Brewick, Wright &
Rowenhorst 2019, NLPAR). Both look at patterns blurred so far that bands stand out most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ebsdarchive.restorers.flattening import Blur

__all__ = ["Features", "features_of", "weights_of"]

Floats = npt.NDArray[np.float32]

BINNED = 60  # px, about: the size at which patterns are compared
PASSED = (1 / 60, 1 / 15)  # of the pattern: blurs between which bands stand out most from noise
LIMIT = 3.0  # flattened values beyond it, such as hot pixels, count as this
UNLIKE = 0.16  # standard deviation of the correlation of clean patterns of different orientations
OTHERS = 10.0  # odds that a pattern of the window has another orientation
LEAST = 3.5  # standard deviations of the correlation: less is not taken for that of like patterns
ALIKE = 1.0  # a difference of so many standard deviations is that of a like pattern,
FALL = 1.0  # and the weight falls by the square root of e within this many more
SPREAD = 4.0  # variance of noise in binned patterns, at most, over that of independent pixels
SAMPLE = 64  # patterns of independent noise that tell what the filter makes of it


@dataclass(frozen=True)
class Features:
    """What patterns are compared by: the part of them in which bands stand out most from noise.

    Parameters
    ----------
    shapes
        (m, f) of length 1 and mean 0.
    power, noise
        (m,) variance, and that part of it which independent noise has.
    independent
        How many independent values noise has in f.
    """

    shapes: Floats
    power: Floats
    noise: Floats
    independent: float

    @property
    def signal(self) -> Floats:
        """(m,) part of the variance that is no noise: the correlation of like patterns."""
        return np.clip(1 - self.noise / np.maximum(self.power, 1e-12), 0, 1)

    def __getitem__(self, which: npt.NDArray[np.int64]) -> Features:
        return Features(self.shapes[which], self.power[which], self.noise[which], self.independent)


def features_of(patterns: Floats, noise: Floats, mask: npt.NDArray[np.bool_]) -> Features:
    """Of flattened patterns (m, sy, sx) with a pixel noise (m,)."""
    m, sy, sx = patterns.shape
    size = max(1, round(min(sy, sx) / BINNED))
    ny, nx = sy // size, sx // size
    limited = np.clip(patterns[:, : ny * size, : nx * size], -LIMIT, LIMIT)
    cut = limited.reshape(m, ny, size, nx, size)
    blocks = mask[: ny * size, : nx * size].reshape(ny, size, nx, size)
    lit = np.asarray(blocks.all(axis=(1, 3)))
    means = cut.mean(axis=(2, 4), dtype=np.float32) * lit
    passed = _Filter(lit)
    found = passed(means)
    power = np.square(found).mean(axis=1)
    length = np.sqrt(np.maximum(np.square(found).sum(axis=1), 1e-12))
    variance = passed.gain * np.square(noise / size)
    return Features(found / length[:, None], power, variance, passed.independent)


def weights_of(
    own: Features,
    near: Features,
    window: npt.NDArray[np.bool_],
    itself: npt.NDArray[np.int64],
) -> Floats:
    """(k, m) weights that add up to 1; `itself` (k,) tells which of the m each of the k is.

    The product of two: the probability of the same orientation, by correlation c. Like patterns
    have c = μ, others 0, with a variance s² of both: P = 1 / (1 + OTHERS exp((μ² / 2 - μ c) / s²)).
    And how alike they are, by the mean square difference d²: with 2 σ² that which noise alone makes
    of it, z = (d² / 2 σ² - 1) sqrt(f / 2), w = exp(-max(z - ALIKE, 0)² / 2 FALL²).

    μ and 2 σ² are those of the second most like pattern of the window, for most points have two
    like neighbours, within the limits of what independent noise allows, for some have none.
    """
    c = own.shapes @ near.shapes.T
    d2 = own.power[:, None] + near.power - 2 * np.sqrt(own.power[:, None] * near.power) * c
    chance = 1 / own.independent + (UNLIKE * own.signal) ** 2  # (k,) s²
    others = np.where(window, c, -np.inf)
    np.put_along_axis(others, itself[:, None], -np.inf, axis=1)
    differences = np.where(np.isfinite(others), d2, np.inf)
    level, noise = own.signal, 2 * SPREAD * own.noise
    if others.shape[1] > 2:
        level = np.minimum(-np.partition(-others, 1, axis=1)[:, 1], level)
        noise = np.minimum(np.partition(differences, 1, axis=1)[:, 1], noise)
    spread = np.clip(1 - SPREAD * own.noise / np.maximum(own.power, 1e-12), 0, 1)
    level = np.maximum(level, np.maximum(spread, LEAST * np.sqrt(chance)))[:, None]
    odds = np.clip((level**2 / 2 - level * c) / chance[:, None], -50, 50)
    z = (d2 / np.maximum(noise, 1e-12)[:, None] - 1) * math.sqrt(own.independent / 2)
    weights = np.exp(-np.square(np.maximum(z - ALIKE, 0)) / (2 * FALL**2))
    weights *= window / (1 + OTHERS * np.exp(odds))
    np.put_along_axis(weights, itself[:, None], 1.0, axis=1)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


class _Filter:
    """The difference of two blurs over the lit pixels, without its mean.

    `gain` is the variance that it leaves of independent noise, and `independent` the number of
    independent values with such correlations: (tr K)² / tr K² of the covariance K, both measured on
    a sample.
    """

    def __init__(self, lit: npt.NDArray[np.bool_]) -> None:
        self.lit = lit
        self.blurs = [Blur(torch.from_numpy(lit)[None], width) for width in PASSED]
        rng = np.random.default_rng(0)
        noise = rng.standard_normal((SAMPLE, *lit.shape), np.float32) * lit
        found = self(noise)
        products = (found @ found.T)[np.triu_indices(SAMPLE, 1)]
        self.gain = float(np.square(found).mean())
        total = self.gain * found.shape[1]
        self.independent = float(total**2 / max(float(np.square(products).mean()), 1e-12))

    def __call__(self, patterns: Floats) -> Floats:
        """(m, f) of (m, sy, sx), which must be 0 where nothing is lit."""
        images = torch.from_numpy(patterns)
        fine, coarse = (blur(images).numpy() for blur in self.blurs)
        found = (fine - coarse)[:, self.lit]
        return np.asarray(found - found.mean(axis=1, keepdims=True), np.float32)
