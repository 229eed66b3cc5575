"""What a restorer is: patterns and their surroundings in, an estimate with its doubts out.

Owns the interface alone; the methods behind it are in the other modules of this room, and blocks,
files and layers are the business of the verbs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Patterns

__all__ = [
    "OVERLAP",
    "UNFAMILIAR",
    "WEAK",
    "Estimate",
    "NeedsWholeScan",
    "Restorer",
    "Surroundings",
    "WholeScan",
    "prepared",
]

Progress = Callable[[float, float], None]  # done, of all
Field = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]

WEAK = 1  # flags of an estimate: too little signal to tell a pattern from noise
OVERLAP = 2  # two patterns in one
UNFAMILIAR = 4  # unlike all that the restorer was trained on


@dataclass(frozen=True)
class Surroundings:
    """Where in a scan the patterns of a block come from.

    Parameters
    ----------
    grid
        Of the whole scan.
    first
        Index in storage order of the first pattern that is given; they are consecutive.
    start, stop
        Indices of the patterns to be restored: those of whole scan rows. The others that are given
        are the halo.
    mask
        (sy, sx) pixels of the detector that are lit.
    field
        (m,) indices to (m, sy, sx) patterns of the scan's neural layer in counts; None without one.
    seed
        Of whatever is drawn at random. What is drawn for a pattern depends on the seed and its
        index alone, see `generator`, so that estimates do not depend on the blocks.
    """

    grid: Grid
    first: int
    start: int
    stop: int
    mask: npt.NDArray[np.bool_]
    field: Field | None = None
    seed: int = 0

    @property
    def own(self) -> slice:
        """Which of the given patterns are to be restored."""
        return slice(self.start - self.first, self.stop - self.first)

    def generator(self, index: int) -> np.random.Generator:
        """What draws for the pattern of an index in the scan."""
        return np.random.default_rng([self.seed, index])


@dataclass(frozen=True)
class Estimate:
    """What a restorer makes of a block.

    Parameters
    ----------
    patterns
        (n, sy, sx) float32, counts on the scale of the measured patterns, never clipped.
    uncertainty
        (n, sy, sx) float32 standard deviation in counts; None where the method knows none.
    flags
        (n,) uint8 sums of `WEAK`, `OVERLAP`, `UNFAMILIAR`: why an estimate should not be trusted;
        None where the method cannot tell.
    """

    patterns: npt.NDArray[np.float32]
    uncertainty: npt.NDArray[np.float32] | None = None
    flags: npt.NDArray[np.uint8] | None = None


class Restorer(Protocol):
    """A method with its parameters, ready to work."""

    @property
    def name(self) -> str:
        """The method, as the command line knows it."""

    @property
    def version(self) -> str:
        """Of the method: another one may give other estimates."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its parameters, as JSON can hold them; recorded with every estimate."""

    @property
    def halo_rows(self) -> int:
        """Scan rows that it wants to see on either side of a block."""

    def restore(self, patterns: npt.NDArray[np.float32], surroundings: Surroundings) -> Estimate:
        """Estimates of the block's own patterns, from (m, sy, sx) counts with the halo."""


@dataclass(frozen=True)
class WholeScan:
    """What a method may look at before the first block; `field` and `mask` as in `Surroundings`.

    Parameters
    ----------
    patterns
        As the method will be given them; read on demand.
    static_background
        (sy, sx) counts, where it came with the scan.
    seed
        Of a sample of them.
    """

    patterns: Patterns
    grid: Grid
    mask: npt.NDArray[np.bool_]
    field: Field | None = None
    static_background: npt.NDArray | None = None
    seed: int = 0


@runtime_checkable
class NeedsWholeScan(Protocol):
    """A method that takes parameters from the whole scan, so that blocks do not differ in them."""

    def prepare(self, whole: WholeScan, progress: Progress) -> Restorer:
        """The method for this scan alone, with what it took in its configuration."""


def prepared(restorer: Restorer, whole: WholeScan, progress: Progress) -> Restorer:
    """A restorer that is ready for the blocks of a scan."""
    return restorer.prepare(whole, progress) if isinstance(restorer, NeedsWholeScan) else restorer
