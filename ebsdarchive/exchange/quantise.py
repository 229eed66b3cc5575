"""Turning intensities into a file's integers by a stated rule that is recorded, never silent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.scan import Patterns

__all__ = ["Quantisation", "choose_quantisation", "range_of"]


@dataclass
class Quantisation:
    """stored = round((counts - offset) * scale), limited to the type; counts what was limited.

    Parameters
    ----------
    dtype
        "uint8", "uint16", or "float32" (nothing is changed).
    scale, offset
        As above; 1 and 0 keep the counts as they are, but for rounding.
    clipped, rounded
        Pixels whose value was limited, and whether any was not a whole number already.
    """

    dtype: str
    scale: float = 1.0
    offset: float = 0.0
    clipped: int = 0
    rounded: bool = False

    def apply(self, patterns: npt.NDArray) -> npt.NDArray:
        """(k, sy, sx) patterns as `dtype`; adds to `clipped`."""
        if patterns.dtype.name == self.dtype and self.is_identity:
            return patterns
        if self.dtype == "float32":
            return patterns.astype(np.float32, copy=False)
        values = patterns.astype(np.float64)
        if not np.isfinite(values).all():
            raise ArgumentError(
                f"patterns: expected finite intensities for {self.dtype}, found NaN or infinity; "
                f"write float32 (h5, npz, nc, tif) instead"
            )
        if not self.is_identity:
            values = (values - self.offset) * self.scale
        whole = np.rint(values)
        self.rounded |= bool((whole != values).any())
        limit = np.iinfo(self.dtype).max
        self.clipped += int(np.count_nonzero((whole < 0) | (whole > limit)))
        return np.clip(whole, 0, limit).astype(self.dtype)

    @property
    def is_identity(self) -> bool:
        return self.scale == 1.0 and self.offset == 0.0

    def record(self) -> dict[str, object]:
        """Plain values for a sidecar or attribute."""
        return {
            "rule": "stored = round((counts - offset) * scale), limited to the type",
            "dtype": self.dtype,
            "scale": self.scale,
            "offset": self.offset,
            "clipped_pixels": self.clipped,
            "rounded": self.rounded,
        }


def choose_quantisation(
    dtype: str, source_dtype: str, intensity_range: tuple[float, float] | None
) -> Quantisation:
    """The rule for storing counts of a scan measured as `source_dtype` in `dtype`.

    Counts are kept where the type holds all that the camera can give; else the scan's full range
    is mapped to the type's.

    Parameters
    ----------
    intensity_range
        Lowest and highest count of the scan; needed only where counts cannot be kept.
    """
    if dtype not in ("uint8", "uint16", "float32"):
        raise ArgumentError(f"dtype: expected uint8, uint16 or float32, found {dtype!r}")
    if dtype == "float32" or np.can_cast(source_dtype, dtype, "safe"):
        return Quantisation(dtype)
    if intensity_range is None:
        raise ArgumentError(f"{source_dtype} to {dtype}: expected the scan's range, found none")
    low, high = intensity_range
    span = high - low if high > low else 1.0
    return Quantisation(dtype, scale=float(np.iinfo(dtype).max / span), offset=float(low))


def range_of(patterns: Patterns, block: int = 256) -> tuple[float, float]:
    """Lowest and highest finite value of all patterns, in one pass."""
    low, high = np.inf, -np.inf
    for start in range(0, patterns.shape[0], block):
        part = patterns.read(start, min(start + block, patterns.shape[0]))
        finite = part[np.isfinite(part)] if part.dtype.kind == "f" else part
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 1.0)
