"""What the field misses, in whole steps: a layer beside it that bounds the error of every pixel.

A code is (counts - field) / step, rounded, plus an offset; the field plus code times step is then
never further from the counts than half a step. The field is a floating-point number that differs
in its last digits from machine to machine, and the bound with it, by far less than is set aside.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import FitError
from ebsdarchive.neural.field import ContinuousField, FieldPatterns
from ebsdarchive.scan import Patterns

__all__ = ["OFFSET", "BoundedPatterns", "ResidualCodes", "residual_margin", "residual_step"]

OFFSET = 1 << 15
EXACT_STEP = 0.9  # of integers: half of it and any difference between machines round to nothing
SET_ASIDE = 0.02  # of the bound


def residual_step(max_error: float, dtype: np.dtype) -> float:
    """The step that keeps every error within `max_error` counts; 0 means bit-exact.

    Raises
    ------
    FitError
        If bit-exactness is asked for of floating-point patterns.
    """
    if max_error == 0:
        if dtype.kind == "f":
            raise FitError(
                "max error: expected more than 0 for float32 patterns, found 0; keep the raw layer "
                "for bit-exactness"
            )
        return EXACT_STEP
    return 2 * max_error * (1 - SET_ASIDE)


def residual_margin(max_error: float) -> float:
    """Counts by which another machine may decode the field differently within a bound."""
    return SET_ASIDE * max_error if max_error > 0 else (1 - EXACT_STEP) / 2


class ResidualCodes:
    """Codes of a scan's patterns, as `Patterns`: made when they are read."""

    def __init__(self, patterns: Patterns, field: ContinuousField, step: float) -> None:
        self._patterns, self._field, self._step = patterns, FieldPatterns(field), step
        self.shape = patterns.shape
        self.dtype = np.dtype(np.uint16)

    def read(self, start: int, stop: int) -> npt.NDArray[np.uint16]:
        """(stop - start, sy, sx) codes. Raises FitError where the field is too far off for one."""
        missing = self._patterns.read(start, stop) - self._field.read(start, stop)
        codes = np.rint(missing / np.float32(self._step))
        largest = float(np.abs(codes).max(initial=0.0))
        if not largest < OFFSET:
            raise FitError(
                f"max error: expected all counts within {OFFSET * self._step:.0f} of the field, "
                f"found {largest * self._step:.0f}; allow a larger error, or keep the raw layer"
            )
        return (codes + OFFSET).astype(np.uint16)


class BoundedPatterns:
    """The field at the points of its grid, corrected by its residual; as `Patterns`.

    Parameters
    ----------
    field, codes
        The field's patterns, and the codes as stored.
    step
        Counts.
    dtype
        Of the patterns: the source's where they are bit-exact, else float32.
    """

    def __init__(self, field: FieldPatterns, codes: Patterns, step: float, dtype: str) -> None:
        self.field = field.field
        self._patterns, self._codes, self._step = field, codes, np.float32(step)
        self.shape: tuple[int, int, int] = field.shape
        self.dtype = np.dtype(dtype)

    def read(self, start: int, stop: int) -> npt.NDArray:
        """(stop - start, sy, sx) patterns."""
        codes = self._codes.read(start, stop).astype(np.int32) - OFFSET
        values = self._patterns.read(start, stop) + codes * self._step
        if self.dtype.kind == "f":
            return values.astype(self.dtype, copy=False)
        return np.rint(values).astype(self.dtype)
