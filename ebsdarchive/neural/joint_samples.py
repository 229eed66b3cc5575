"""Random samples (x, y, u, v) of a scan with their intensities, batch by batch.

Owns which samples a step sees: a number determines them, so that a resumed run sees the same. Scans
larger than a sample are seen through one sample after another, each drawn anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.neural.pixels import mean_pattern
from ebsdarchive.neural.sample import SAMPLE_BYTES, Sample, draw_sample
from ebsdarchive.scan import Scan

__all__ = ["BAND_SHARE", "Batch", "JointSamples", "band_share"]

BAND_SHARE = (0.15, 0.5)  # of a batch that lies on bands, whatever the weight (arXiv:2606.10352)
REDRAW_STEPS = 1000


@dataclass(frozen=True)
class Batch:
    """Samples of a step.

    Parameters
    ----------
    xy
        (n, 2) float32 scan coordinates, -1 … 1.
    pixel
        (n,) index into the pixels of the mask, ascending.
    target
        (n,) float32 intensity less that of the mean pattern, over its standard deviation.
    """

    xy: npt.NDArray[np.float32]
    pixel: npt.NDArray[np.int64]
    target: npt.NDArray[np.float32]


def band_share(weights: npt.NDArray[np.float32]) -> float:
    """The share of a batch that lies on bands: what `weights` (m,) of the pixels give the heavier
    ones, between 15 and 50 %; 0 where all weigh the same."""
    band = weights != 1
    if not band.any():
        return 0.0
    share = float(weights[band].sum() / weights.sum())
    return float(np.clip(share, *BAND_SHARE))


class JointSamples:
    """Samples of a scan.

    Parameters
    ----------
    scan
        Read in part at the first step, and anew every 1,000 steps where it does not fit into a
        sample.
    first
        The sample of the first steps.
    mask
        (sy, sx) pixels to draw from.
    weights
        (m,) of its pixels: 1, or that of the bands. A pixel's weight is how often it is drawn.
    sample_bytes
        As of `draw_sample`.
    """

    def __init__(
        self,
        scan: Scan,
        first: Sample,
        mask: npt.NDArray[np.bool_],
        weights: npt.NDArray[np.float32],
        seed: int,
        sample_bytes: int = SAMPLE_BYTES,
    ) -> None:
        self.scan, self.mask, self.seed = scan, mask, seed
        self._bytes = sample_bytes
        self._pixels = np.flatnonzero(mask)
        self.share = band_share(weights)
        self._band, self._plain = np.flatnonzero(weights != 1), np.flatnonzero(weights == 1)
        self._whole = len(first.patterns) == scan.grid.size
        self._drawn = 0
        self._take(first)
        self.mean = mean_pattern(first)  # (sy, sx)
        self._mean = self.mean[mask]  # (m,)
        some = np.arange(0, len(self._pixels), max(1, len(self._pixels) // 1024))
        change = self._values[:, self._pixels[some]] - self._mean[some]
        self.scale = float(np.sqrt(np.mean(change.astype(np.float64) ** 2))) or 1.0

    @property
    def count(self) -> int:
        """Samples that there are in the whole scan."""
        return self.scan.grid.size * len(self._pixels)

    def batch(self, step: int, size: int) -> Batch:
        """The samples of a step, with replacement."""
        if not self._whole and step // REDRAW_STEPS != self._drawn:
            self._drawn = step // REDRAW_STEPS
            self._take(draw_sample(self.scan, self.seed + self._drawn, self._bytes))
        rng = np.random.default_rng([self.seed, step])
        on_bands = round(self.share * size)
        pixel = np.concatenate(
            [
                self._band[rng.integers(0, max(len(self._band), 1), on_bands)],
                self._plain[rng.integers(0, max(len(self._plain), 1), size - on_bands)],
            ]
        )
        pixel.sort()  # so that neighbours in a batch share what is calculated for a pixel
        point = rng.integers(0, len(self._values), size)
        counts = self._values[point, self._pixels[pixel]].astype(np.float32)
        target = (counts - self._mean[pixel]) / np.float32(self.scale)
        return Batch(self._xy[point], pixel, target)

    def _take(self, sample: Sample) -> None:
        grid = self.scan.grid
        self._values = sample.patterns.reshape(len(sample.patterns), -1)
        self._xy = grid.normalise(grid.positions_at(sample.indices)).astype(np.float32)
