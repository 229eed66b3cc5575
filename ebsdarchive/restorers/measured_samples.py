"""Training samples from measured scans: a noisy one and a reference of the same points.

The reference is a second scan of the area with a longer exposure, or the neural layer of the noisy
scan itself (self-supervised). A random share of the points is trained on, the others validate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.measured import Measured, lost_patterns
from ebsdarchive.restorers.samples import Floats, Samples, augmented, means_around
from ebsdarchive.scan import Patterns, Scan, read_at

__all__ = ["MeasuredSamples", "Pair", "pair_of"]

SAMPLED = 512  # patterns that levels are told from
HELD_BYTES = 512 << 20  # of the noisy patterns that are trained on, as float32
ALIKE = 3.0  # standard deviations by which a pair must be more alike than strangers


@dataclass(frozen=True)
class Pair:
    """A noisy scan and a reference of the same points.

    Parameters
    ----------
    name
        For the model card.
    noisy, reference
        Patterns of the same number and shape; those of the noisy scan that show nothing have a
        stand-in.
    grid
        Of both.
    scale, offset
        (sy, sx) that take the reference's counts to the noisy scan's: counts * scale + offset.
    """

    name: str
    noisy: Measured
    reference: Patterns
    grid: Grid
    scale: Floats
    offset: Floats

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(sy, sx) lit pixels."""
        return self.noisy.mask

    def sound(self, points: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(k,) those of (m,) points where both scans show something."""
        everywhere = np.ones_like(self.mask)
        lost = lost_patterns(read_at(self.reference, points), everywhere)
        return points[~lost & ~lost_patterns(read_at(self.noisy.source, points), self.mask)]

    def clean(self, points: npt.NDArray[np.int64]) -> Floats:
        """(m, sy, sx) the reference's patterns in the noisy scan's counts."""
        found = read_at(self.reference, points).astype(np.float32)
        return (found * self.scale + self.offset) * self.mask


def pair_of(
    noisy: Scan, reference: Scan, mask: npt.NDArray[np.bool_], name: str, seed: int = 0
) -> Pair:
    """A pair, with the reference's exposure matched to the noisy scan's, pixel by pixel.

    Two scans with other exposures and gains differ in the mean pattern; bands are matched by the
    slope that takes one to the other over all pixels of a sample of points.

    Raises
    ------
    ArgumentError
        If the two are not of one shape, show nothing, or are no more alike at the same point than
        at different ones.
    """
    what = "pairs: expected two scans of the same points"
    if noisy.grid.size != reference.grid.size or noisy.grid.n_rows != reference.grid.n_rows:
        raise ArgumentError(
            f"{what}, found {noisy.grid.n_rows} rows with {noisy.grid.size} points and "
            f"{reference.grid.n_rows} with {reference.grid.size}"
        )
    if noisy.patterns.shape != reference.patterns.shape:
        raise ArgumentError(
            f"{what} and pixels, found patterns of {_size(noisy)} and of {_size(reference)}"
        )
    rng = np.random.default_rng([seed, 0])
    n = noisy.grid.size
    points = np.sort(rng.choice(n, min(n, SAMPLED), replace=False))
    found = [read_at(scan.patterns, points) for scan in (noisy, reference)]
    sound = ~(lost_patterns(found[0], mask) | lost_patterns(found[1], np.ones_like(mask)))
    if np.count_nonzero(sound) < 2:
        raise ArgumentError(f"{what}, found one value everywhere, or none, in nearly all of them")
    first, second = (counts[sound].astype(np.float64) for counts in found)
    level, other = first.mean(axis=0), second.mean(axis=0)
    bands, other_bands = (first - level)[:, mask], (second - other)[:, mask]
    slope = _slope(bands, other_bands, what)
    return Pair(
        name,
        Measured(noisy.patterns, mask, level.astype(np.float32)),
        reference.patterns,
        noisy.grid,
        np.full(mask.shape, slope, np.float32),
        (level - slope * other).astype(np.float32),
    )


class MeasuredSamples:
    """Samples of pairs of scans; a `samples.SampleSource`.

    Parameters
    ----------
    pairs
        All of one pattern size and screen.
    share
        Of the points of each scan to train on, at random; fewer where they do not fit memory.
    size
        Samples of a batch.
    radius
        Of the neighbourhood, as restorers use it.
    augment
        Whether to change samples as `samples.augmented` does.
    """

    def __init__(
        self,
        pairs: list[Pair],
        *,
        share: float = 0.1,
        size: int = 16,
        radius: int = 3,
        seed: int = 0,
        augment: bool = True,
        described: dict[str, Any] | None = None,
    ) -> None:
        if not 0 < share < 1:
            raise ArgumentError(f"share: expected a number between 0 and 1, found {share}")
        if len({(pair.mask.shape, pair.mask.tobytes()) for pair in pairs}) > 1:
            sizes = sorted({f"{p.mask.shape[0]} x {p.mask.shape[1]}" for p in pairs})
            raise ArgumentError(
                f"archives: expected patterns of one size and screen, found {', '.join(sizes)}"
            )
        self.pairs, self.size, self.seed, self.radius = pairs, size, seed, radius
        self.augment, self.share, self._described = augment, share, dict(described or {})
        bytes_each = 4 * pairs[0].mask.size
        self._most = max(1, HELD_BYTES // (bytes_each * len(pairs)))  # points of a scan
        parts = [self._split(number, pair) for number, pair in enumerate(pairs)]
        self.training = [part[0] for part in parts]  # indices of points, for each pair
        self.validation = [part[1] for part in parts]
        self._all = self._gathered(self.training)

    def batch(self, number: int) -> Samples:
        rng = np.random.default_rng([self.seed, 2, number])
        chosen = rng.choice(len(self._all), self.size, replace=len(self._all) < self.size)
        found = self._all.take(chosen)
        return augmented(found, rng) if self.augment else found

    def held_out(self, count: int) -> Samples:
        each = max(1, count // len(self.pairs))
        rng = np.random.default_rng([self.seed, 3])
        some = [np.sort(rng.permutation(points)[:each]) for points in self.validation]
        kept = [pair.sound(points) for pair, points in zip(self.pairs, some, strict=True)]
        return self._gathered(kept)

    def described(self) -> dict[str, Any]:
        return {
            "source": "measured pairs",
            "scans": [pair.name for pair in self.pairs],
            "sizes": [list(self.pairs[0].mask.shape)],
            "points_trained_on": sum(len(points) for points in self.training),
            "points_for_validation": sum(len(points) for points in self.validation),
            "noise_range": {"estimated_signal_to_noise_per_pixel": self._signal_to_noise()},
            "seed": self.seed,
            **self._described,
        }

    def _split(
        self, number: int, pair: Pair
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        n = pair.grid.size
        count = round(self.share * n)
        if not 1 <= count < n:
            raise ArgumentError(
                f"share: expected at least one point to train on and one to validate, found "
                f"{count} of {n}"
            )
        order = np.random.default_rng([self.seed, 1, number]).permutation(n)
        training = pair.sound(np.sort(order[: min(count, self._most)]))
        if len(training) == 0:
            raise ArgumentError(
                f"share: expected points that show something to train on, found none among {count}"
            )
        return training, np.sort(order[count:])

    def _gathered(self, points: list[npt.NDArray[np.int64]]) -> Samples:
        """The samples of some points of each scan, in memory."""
        parts = [self._of(pair, some) for pair, some in zip(self.pairs, points, strict=True)]
        return Samples.joined(parts)

    def _of(self, pair: Pair, points: npt.NDArray[np.int64]) -> Samples:
        noisy = read_at(pair.noisy, points).astype(np.float32)
        mean, n_effective = self._means(pair, points)
        n = len(points)
        return Samples(
            noisy=noisy,
            clean=pair.clean(points),
            mask=pair.mask,
            mean=mean,
            n_effective=n_effective,
            flags=np.zeros(n, np.uint8),
            quaternions=np.full((n, 2, 4), np.nan),
            share=np.ones(n, np.float32),
            phase=np.full(n, -1, np.int32),
            signal=np.full(n, np.nan, np.float32),
        )

    def _means(self, pair: Pair, points: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Of the points' neighbourhoods, whose other patterns may be points of validation: noisy
        ones alone, as a restorer sees them too."""
        means = np.empty((len(points), *pair.mask.shape), np.float32)
        numbers = np.empty(len(points), np.float32)
        starts = pair.grid.row_starts
        rows = np.searchsorted(starts, points, side="right") - 1
        reach = int(self.radius / pair.grid.row_distance + 1e-9)
        for row in np.unique(rows):
            first = int(starts[max(row - reach, 0)])
            last = int(starts[min(row + reach + 1, pair.grid.n_rows)])
            counts = pair.noisy.read(first, last).astype(np.float32)
            here = np.flatnonzero(rows == row)
            start, stop = int(points[here[0]]), int(points[here[-1]]) + 1
            found, number = means_around(
                counts, pair.grid, pair.mask, self.radius, start, stop, first
            )
            means[here], numbers[here] = found[points[here] - start], number[points[here] - start]
        return means, numbers

    def _signal_to_noise(self) -> list[float]:
        """Range over the training points, 5 to 95 %: of the reference's bands over the noise."""
        every = self._all
        bands = (every.clean - every.clean.mean(axis=0))[:, every.mask]
        noise = (every.noisy - every.clean)[:, every.mask]
        ratio = bands.std(axis=1) / np.maximum(noise.std(axis=1), 1e-9)
        return [round(float(v), 3) for v in np.percentile(ratio, [5, 95])]


def _slope(bands: npt.NDArray, others: npt.NDArray, what: str) -> float:
    """What the second scan's (n, m) bands must be multiplied with to be the first one's."""
    power = (others**2).sum(axis=1)
    if not (power.sum() > 0 and (bands**2).sum() > 0):
        raise ArgumentError(f"{what}, found one whose patterns are all the same")
    norm = np.sqrt(np.maximum(power * (bands**2).sum(axis=1), 1e-30))
    alike = (bands * others).sum(axis=1) / norm
    strange = (bands * np.roll(others, max(1, len(others) // 2), axis=0)).sum(axis=1) / norm
    change = alike - strange
    error = change.std() / np.sqrt(len(change))
    if len(change) < 2 or not change.mean() > ALIKE * error:
        raise ArgumentError(
            f"{what}, found patterns no more alike at the same point (correlation "
            f"{alike.mean():.3f}) than at different ones ({strange.mean():.3f}); is one of them "
            f"shifted?"
        )
    return float((bands * others).sum() / power.sum())


def _size(scan: Scan) -> str:
    return f"{scan.patterns.shape[1]} x {scan.patterns.shape[2]} px"
