"""What a rate-error benchmark compares: works, and works coded by somebody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ebsdarchive.neural.pixels import detector_mask, values_inside
from ebsdarchive.neural.sample import draw_sample
from ebsdarchive.scan import Scan

__all__ = ["Blocks", "Coded", "Work", "front", "open_work"]

Blocks = Iterator[tuple[int, int, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Work:
    """A scan to make small: measured patterns, the truth where it is known, mask and full range."""

    title: str
    scan: Scan
    truth: Scan | None
    mask: np.ndarray
    span: float
    fast: bool

    def blocks(self, truth: bool = False) -> Blocks:
        """(start, stop, (b, m) float32 values inside the mask) over the whole scan."""
        scan = self.truth if truth else self.scan
        assert scan is not None
        for start, stop, patterns in scan.blocks():
            yield start, stop, values_inside(patterns, self.mask).astype(np.float32)


@dataclass(frozen=True)
class Coded:
    """A coded scan: whose it is, how it was set, its size, and how to get it back.

    `decoded` returns blocks like `Work.blocks`; None where only `error_pct` is known.
    """

    label: str
    setting: str
    nbytes: int
    decoded: Callable[[], Blocks] | None
    error_pct: float | None = None


def open_work(title: str, scan: Scan, truth: Scan | None, fast: bool) -> Work:
    """A work with the automatic mask and its full range inside it."""
    mask = detector_mask(draw_sample(scan, 0))
    lows, highs = zip(
        *((v.min(), v.max()) for v in (values_inside(p, mask) for _, _, p in scan.blocks())),
        strict=True,
    )
    return Work(title, scan, truth, mask, float(max(highs)) - float(min(lows)), fast)


def front(sizes: list[int], errors: list[float], spacing: float = 1.0) -> list[int]:
    """Indices, by ascending size, of those that nothing smaller is as good as.

    Of those whose sizes lie within a factor of `spacing`, the best is taken. No convex hull: over
    the logarithm of bytes a line between two settings is not what a mixture of them takes.
    """
    order = sorted(range(len(sizes)), key=lambda i: (sizes[i], errors[i]))
    kept: list[int] = []
    for i in order:
        if kept and errors[i] >= errors[kept[-1]]:
            continue
        if len(kept) > 1 and sizes[i] < spacing * sizes[kept[-2]]:
            kept.pop()
        kept.append(i)
    return kept
