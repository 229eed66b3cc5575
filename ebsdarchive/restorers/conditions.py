"""The ranges that simulated training samples are drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ebsdarchive.errors import ArgumentError

__all__ = ["ONE_BY_ONE", "Conditions", "Range"]

Range = tuple[float, float]
SMALLEST = 16  # px
SHARES = ("disc", "flattened", "eight_bit", "alone", "overlap", "noise", "unfamiliar")

# of what learns orientations: each pattern has its own, one camera serves all of a batch
ONE_BY_ONE: dict[str, Any] = {
    "radius": 0,
    "grain_points": (0.1, 0.1),
    "mixing_width": 0.0,
    "sample_tilt_deg": (70.0, 70.0),
    "tilt_deg": (0.0, 0.0),
    **dict.fromkeys(("overlap", "noise", "unfamiliar", "alone"), 0.0),
}


@dataclass(frozen=True)
class Conditions:
    """The ranges that the conditions of a sample are drawn from, evenly unless it says otherwise.

    Parameters
    ----------
    shapes
        Pattern sizes (rows, columns); each batch has one of them.
    columns, radius
        Samples are the middle row, of so many columns, of a small scan that reaches `radius` rows
        to either side; means are taken over that radius, too.
    signal
        Standard deviation of bands over that of shot noise, per pixel; even in its logarithm. Where
        raw Hough confidence is half of that of clean patterns (60 px) it is about 0.6; below 0.2
        errors of the neighbourhood's mean outweigh all else that a network could learn from.
    pc_x, pc_y, pc_z, sample_tilt_deg, tilt_deg
        Projection centre, Bruker, and tilts of sample and detector.
    gamma, contrast, psf, read_noise
        See `simulation.Camera`; gamma is one end of its range or the other, the psf is in pixels
        and rounded to a width that is kept.
    hot_pixels, specks
        Most of them on a detector.
    disc, flattened, eight_bit
        Share of batches with a round screen; shares of scans whose patterns have been divided by
        the background and stretched to their range one by one, and of those of 8 bit.
    grain_points
        Points per grain; even in its logarithm.
    spread_deg, mixing_width
        Of orientations inside a grain, and of the interaction volume in steps.
    alone
        Share of scans whose points are isolated: no neighbour counts.
    overlap, noise, unfamiliar
        Shares of samples that are two patterns, 50:50 to 80:20, wherever they lie; without any
        signal, half of them in scans that have none; and of something else than a crystal.
    """

    shapes: tuple[tuple[int, int], ...] = ((60, 60),)
    columns: int = 8
    radius: int = 3
    signal: Range = (0.2, 2.0)
    pc_x: Range = (0.35, 0.65)
    pc_y: Range = (0.10, 0.45)
    pc_z: Range = (0.45, 0.90)
    sample_tilt_deg: Range = (65.0, 75.0)
    tilt_deg: Range = (-5.0, 15.0)
    gamma: Range = (0.33, 0.8)
    contrast: Range = (0.015, 0.08)
    psf: Range = (0.3, 1.0)
    read_noise: Range = (0.0, 0.004)
    hot_pixels: int = 4
    specks: int = 3
    disc: float = 0.25
    flattened: float = 0.3
    eight_bit: float = 0.5
    grain_points: Range = (1.5, 100.0)
    spread_deg: float = 0.8
    mixing_width: float = 0.4
    alone: float = 0.4
    overlap: float = 0.12
    noise: float = 0.08
    unfamiliar: float = 0.03

    def __post_init__(self) -> None:
        def require(fits: bool, name: str, rule: str, found: object = None) -> None:
            if not fits:
                value = getattr(self, name) if found is None else found
                raise ArgumentError(f"{name}: expected {rule}, found {value}")

        require(len(self.shapes) > 0, "shapes", "at least one pattern size")
        for shape in self.shapes:
            size = f"{shape[0]} x {shape[1]}"
            require(min(shape) >= SMALLEST, "size", f"at least {SMALLEST} pixels a side", size)
        require(self.columns >= 1, "columns", "at least 1")
        require(self.radius >= 0, "radius", "at least 0")
        for name in ("signal", "gamma", "contrast", "grain_points"):
            low, high = getattr(self, name)
            require(0 < low <= high < math.inf, name, "a range of numbers above 0")
        for name in SHARES:
            require(0 <= getattr(self, name) <= 1, name, "a share from 0 to 1")

    @property
    def rows(self) -> int:
        """Of the small scans."""
        return 2 * self.radius + 1
