"""What restorers are trained on: noisy patterns with the mean of those around them, and the truth.

Owns the batch and what may be changed in it without making it false; where the patterns come from
is in `simulated_samples` and `measured_samples`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid

__all__ = ["SampleSource", "Samples", "ahead", "augmented", "means_around"]

Floats = npt.NDArray[np.float32]

AHEAD = 3  # batches that are made before they are asked for
GAMMA = (0.8, 1.25)
INTENSITY = (0.6, 1.6)
SHIFT = 0.08  # of the pattern's shorter side


@dataclass(frozen=True)
class Samples:
    """b samples of one pattern size and screen.

    Parameters
    ----------
    noisy
        (b, sy, sx) counts as measured.
    clean
        (b, sy, sx) counts that a very long exposure would show at the point, on the scale of
        `noisy` and without the detector's hot pixels. Of two overlapping patterns it is their mix,
        of pure noise its level without any bands.
    mask
        (sy, sx) bool, lit pixels.
    mean, n_effective
        (b, sy, sx) counts, mean of the like patterns around the point, itself included, on the
        background and contrast of `noisy`; (b,) how many patterns it is worth, 1 without any.
    flags
        (b,) uint8 sums of `restorer.WEAK` (no signal), `OVERLAP` and `UNFAMILIAR` (something else
        than a Kikuchi pattern) that are true of the patterns.
    quaternions
        (b, 2, 4) orientation, sample to crystal, and that which is mixed in (the same where none
        is); NaN where not known.
    share
        (b,) of the first orientation; 1 where nothing is mixed in.
    phase
        (b,) int32 number of the phase in the source's list; -1 where not known, or no crystal.
    signal
        (b,) standard deviation of the bands over that of the shot noise, per pixel; NaN where not
        known, 0 for pure noise.
    """

    noisy: Floats
    clean: Floats
    mask: npt.NDArray[np.bool_]
    mean: Floats
    n_effective: Floats
    flags: npt.NDArray[np.uint8]
    quaternions: npt.NDArray[np.float64]
    share: Floats
    phase: npt.NDArray[np.int32]
    signal: Floats

    def __len__(self) -> int:
        return len(self.noisy)

    def take(self, chosen: npt.NDArray[np.int64]) -> Samples:
        """Some of the samples, by their numbers (m,)."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in _PER_SAMPLE})

    @staticmethod
    def joined(parts: Sequence[Samples]) -> Samples:
        """Samples of one screen as one batch."""
        return replace(
            parts[0],
            **{name: np.concatenate([getattr(p, name) for p in parts]) for name in _PER_SAMPLE},
        )


_PER_SAMPLE = [field.name for field in fields(Samples) if field.name != "mask"]


class SampleSource(Protocol):
    """Where batches come from: `Samples`, or what else the network's module learns from."""

    def batch(self, number: int) -> Any:
        """Batch of a training; the same number gives the same batch, in any order of calls."""

    def held_out(self, count: int) -> Any:
        """Up to `count` samples, or some more, that no training batch holds; always the same."""

    def described(self) -> dict[str, Any]:
        """What a model card says of the data; plain JSON values."""


def ahead(source: SampleSource, first: int, threads: int = 1) -> Generator[Any, None, None]:
    """Batches from number `first` on, made by threads while the caller works on those before."""
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[Future[Any]] = deque()
        number = first
        try:
            while True:
                while len(coming) < AHEAD:
                    coming.append(pool.submit(source.batch, number))
                    number += 1
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()


def means_around(
    counts: Floats,
    grid: Grid,
    mask: npt.NDArray[np.bool_],
    radius: int,
    start: int,
    stop: int,
    first: int = 0,
) -> tuple[Floats, Floats]:
    """What a restorer would make of the neighbourhoods of points `start` … `stop` of a scan.

    Parameters
    ----------
    counts
        (m, sy, sx) the scan's patterns from index `first` on, with all that lie within `radius`.

    Returns
    -------
    (k, sy, sx) means with the background and contrast of the points' own patterns, in counts, and
    (k,) effective numbers of patterns.
    """
    import torch

    from ebsdarchive.restorers.flattening import flatten
    from ebsdarchive.restorers.neighbourhood import neighbour_means

    with torch.no_grad():
        flat = flatten(torch.tensor(counts), torch.tensor(mask))
        found = neighbour_means(
            flat.values.numpy(), flat.mean_noise.numpy(), grid, first, start, stop, mask, radius
        )
        own = slice(start - first, stop - first)
        background, scale = flat.background[own].numpy(), flat.scale[own].numpy()
    return background + scale * found.means, found.n_effective


def augmented(samples: Samples, rng: np.random.Generator) -> Samples:
    """The samples as another exposure, tone or projection centre would have given them.

    What is changed: the scale of the counts (exposure and gain), the camera's tone (gamma, over the
    range of the sample), and the place on the detector by a few whole pixels, for all patterns of
    the batch together: another projection centre. Pixels that come in from outside are not lit.
    Orientations do not stay true under a shift and are no longer known.

    What is not: patterns are neither mirrored nor turned. A mirrored Kikuchi pattern is none of the
    same crystal unless its Laue group has a mirror or twofold axis in just that place, and a turned
    one belongs to a detector that hangs askew. Nothing is stretched, for that changes the angles
    between bands. No noise is added, and no patterns of different points are averaged.
    """
    noisy, clean, mean = samples.noisy.copy(), samples.clean.copy(), samples.mean.copy()
    lit = samples.mask
    for i in range(len(samples)):
        stack = np.stack([noisy[i], clean[i], mean[i]])
        low, high = float(stack[:, lit].min()), float(stack[:, lit].max())
        if high > low:
            gamma, gain = rng.uniform(*GAMMA), rng.uniform(*INTENSITY)
            part = np.clip((stack - low) / (high - low), 0, 1) ** gamma
            stack = (gain * (low + (high - low) * part)).astype(np.float32)
        noisy[i], clean[i], mean[i] = stack
    reach = int(SHIFT * min(lit.shape))
    down, right = (int(v) for v in rng.integers(-reach, reach + 1, 2))
    return replace(
        samples,
        noisy=_shifted(noisy, down, right),
        clean=_shifted(clean, down, right),
        mean=_shifted(mean, down, right),
        mask=_shifted(lit[None], down, right)[0],
        quaternions=np.full_like(samples.quaternions, np.nan),
    )


def _shifted(stack: npt.NDArray, down: int, right: int) -> npt.NDArray:
    """(k, sy, sx) moved by whole pixels; what comes in from outside is 0."""
    out = np.zeros_like(stack)

    def ends(shift: int, size: int) -> tuple[slice, slice]:
        moved = slice(max(shift, 0), size + min(shift, 0))
        return moved, slice(max(-shift, 0), size - max(shift, 0))

    (to_y, from_y), (to_x, from_x) = (
        ends(shift, size) for shift, size in zip((down, right), stack.shape[1:], strict=True)
    )
    out[:, to_y, to_x] = stack[:, from_y, from_x]
    return out
