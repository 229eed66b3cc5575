"""Level tables: patterns whose grey levels are sparse become dense codes and a list of levels.

A camera of 12 bit stored in 16, or 8-bit patterns stretched to 16, leaves most levels unused; a
predictor then codes gaps instead of noise. The code of a pixel is the index of its value among the
distinct values, compared as unsigned integers of the same bits, so that float32 is exact as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "LevelTable",
    "as_bits",
    "decode_levels",
    "encode_by_pattern",
    "encode_by_scan",
    "to_increments",
]

MAX_LEVELS = 1 << 16


@dataclass(frozen=True)
class LevelTable:
    """Lists of levels.

    Parameters
    ----------
    increments
        First value, then differences, of one list ("scan") or of the lists of all patterns one
        after another ("pattern"); unsigned integers of the patterns' size.
    offsets
        (n + 1,) where each pattern's list begins and ends; None for one list.
    """

    increments: npt.NDArray
    offsets: npt.NDArray[np.int64] | None = None


def as_bits(patterns: npt.NDArray) -> npt.NDArray:
    """The same memory as unsigned integers."""
    return patterns.view(f"u{patterns.dtype.itemsize}")


def encode_by_pattern(
    patterns: npt.NDArray,
) -> tuple[npt.NDArray[np.uint16], npt.NDArray, npt.NDArray[np.int64]] | None:
    """Codes with one list of levels for each pattern.

    Parameters
    ----------
    patterns
        (k, sy, sx).

    Returns
    -------
    codes : (k, sy, sx) ndarray of uint16
    increments : (total,) ndarray
        The lists, one after another, each as first value and differences.
    counts : (k,) ndarray of int64
        Length of each list.
        None in place of all three where a pattern has more than 65,536 levels.
    """
    codes = np.empty(patterns.shape, np.uint16)
    lists = []
    for pattern, code in zip(as_bits(patterns), codes, strict=True):
        levels, index = _levels_and_index(pattern)
        if len(levels) > MAX_LEVELS:
            return None
        code[...] = index
        lists.append(to_increments(levels))
    counts = np.array([len(levels) for levels in lists], dtype=np.int64)
    return codes, np.concatenate(lists), counts


def _levels_and_index(bits: npt.NDArray) -> tuple[npt.NDArray, npt.NDArray]:
    """The distinct values of a pattern, ascending, and for each pixel the index of its own."""
    if bits.dtype.itemsize > 2:
        levels, index = np.unique(bits, return_inverse=True)
        return levels, index.reshape(bits.shape)
    present = np.zeros(1 << (8 * bits.dtype.itemsize), bool)  # a table is faster than sorting
    present[bits] = True
    levels = np.flatnonzero(present).astype(bits.dtype)
    position = np.zeros(len(present), np.uint16)
    position[levels] = np.arange(len(levels), dtype=np.uint16)
    return levels, position[bits]


def encode_by_scan(patterns: npt.NDArray, levels: npt.NDArray) -> npt.NDArray[np.uint16] | None:
    """(k, sy, sx) codes with one ascending list of levels; None where a value is not in it."""
    bits = as_bits(patterns)
    index = np.searchsorted(levels, bits)
    np.minimum(index, len(levels) - 1, out=index)
    if not np.array_equal(levels[index], bits):
        return None
    return index.astype(np.uint16)


def decode_levels(
    codes: npt.NDArray, table: LevelTable, dtype: np.dtype, start: int
) -> npt.NDArray:
    """Patterns from codes.

    Parameters
    ----------
    codes
        (k, sy, sx) codes of the patterns with index `start` … `start` + k - 1.
    dtype
        Type of the patterns.
    """
    unsigned = np.dtype(f"u{dtype.itemsize}")
    if table.offsets is None:
        levels = np.cumsum(table.increments, dtype=unsigned)
        return levels[codes].view(dtype)
    out = np.empty(codes.shape, unsigned)
    for i, code in enumerate(codes):
        begin, end = table.offsets[start + i], table.offsets[start + i + 1]
        levels = np.cumsum(table.increments[begin:end], dtype=unsigned)
        out[i] = levels[code]
    return out.view(dtype)


def to_increments(levels: npt.NDArray) -> npt.NDArray:
    """First value, then differences, of an ascending list."""
    out = levels.copy()
    out[1:] -= levels[:-1]
    return out
