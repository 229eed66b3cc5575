"""Corrections before and after a restorer: background and contrast, in counts.

Each keeps the level of the measured patterns, and unlit pixels as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.background import Correction
from ebsdarchive.restorers.measured import sample_of
from ebsdarchive.restorers.restorer import WholeScan

__all__ = ["ContrastStep", "DynamicStep", "StaticStep", "Step", "background_of"]


class Step(Protocol):
    """A correction of patterns one by one."""

    @property
    def name(self) -> str:
        """As the command line knows it."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its parameters, as JSON can hold them."""

    @property
    def removes_background(self) -> bool:
        """Whether it takes the static background out of the patterns."""

    def prepare(self, whole: WholeScan) -> Step:
        """The step for a scan, with what it takes from all of it."""

    def apply(
        self, patterns: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        """(n, sy, sx) patterns, corrected in the lit pixels."""


def background_of(whole: WholeScan) -> npt.NDArray[np.float32]:
    """(sy, sx) the static background that came with the scan, or the mean of its patterns."""
    level = whole.static_background
    if level is None:
        level = sample_of(whole.patterns, whole.grid, whole.seed).patterns.mean(axis=0)
    return np.asarray(level, np.float32)


@dataclass(frozen=True)
class StaticStep:
    """Division by the static background: the one that came with the scan, or its mean pattern."""

    level: npt.NDArray[np.float32] | None = None
    name: ClassVar[str] = "static"
    removes_background: ClassVar[bool] = True

    @property
    def config(self) -> Mapping[str, Any]:
        return {}

    def prepare(self, whole: WholeScan) -> Step:
        return replace(self, level=background_of(whole))

    def apply(
        self, patterns: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        assert self.level is not None
        mean = self.level[mask].mean()
        contrast = Correction(self.name, np.where(mask, self.level, 1.0))(patterns)
        if self.name == "dynamic":
            contrast += 1
        return np.where(mask, contrast * mean, patterns)


@dataclass(frozen=True)
class DynamicStep(StaticStep):
    """Division by the static background, less the blur of each pattern by an eighth of its width.

    See `ebsdarchive.analysis.background.Correction`.
    """

    name: ClassVar[str] = "dynamic"


@dataclass(frozen=True)
class ContrastStep:
    """Contrast limited adaptive histogram equalisation (scikit-image), each pattern in its range.

    Parameters
    ----------
    kernel
        Size of the regions in pixels; by default an eighth of the pattern's sides.
    clip
        Limit of the contrast, 0 to 1.
    """

    kernel: int | None = None
    clip: float = 0.01
    name: ClassVar[str] = "clahe"
    removes_background: ClassVar[bool] = False

    @property
    def config(self) -> Mapping[str, Any]:
        return {"kernel": self.kernel, "clip": self.clip}

    def prepare(self, whole: WholeScan) -> Step:
        return self

    def apply(
        self, patterns: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        from skimage.exposure import equalize_adapthist

        out = patterns.copy()
        for pattern, result in zip(patterns, out, strict=True):
            lit = pattern[mask]
            low, high = float(lit.min()), float(lit.max())
            if high > low:
                unit = np.clip((pattern - low) / (high - low), 0, 1)
                equal = equalize_adapthist(unit, kernel_size=self.kernel, clip_limit=self.clip)
                result[mask] = (low + (high - low) * equal)[mask]
        return out
