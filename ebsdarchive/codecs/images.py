"""Lossy coding of a stack of smooth images: whole-frame cosine transform, one step, context coding.

Meant for the basis images of a field: bands with soft edges, similar in spectrum from one image to
the next. All images share one step, so that each adds the same error. Pixels outside the mask are
free, and filled such that they cost least. Decoding is numpy alone; the byte layout is in the
schema, kind ``coded-neural``.
"""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs.integers import IntegerReader, IntegerWriter
from ebsdarchive.errors import CorruptionError

__all__ = ["decode_images", "encode_images", "rounded_images"]

_HEADER = struct.Struct("<5I3f")  # images, sy, sx, kept rows and columns; step, levels 1 and more
_ROUNDING = 0.3  # magnitudes are rounded down more often than up: fewer bits for the same error
_FILL_STEPS, _FILL_FIRST = 60, 100.0  # rounds, and by what factor the first threshold is higher
_CAP = 15  # of magnitudes in contexts
_PAD = 3  # images to either side whose magnitudes count
_WEIGHTS = ((-1, 0, 2), (0, -1, 2), (-1, -1, 1), (-2, 0, 1), (0, -2, 1))  # rows up, columns left
_LIMITS = np.array([1, 22, 44, 66, 88, 132, 176, 264, 352, 528, 704, 1056, 1408, 2816])
_CONTEXTS = len(_LIMITS) + 2  # and one for the two lowest frequencies
_MOST_VALUES = 1 << 31


def encode_images(
    images: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], step: float
) -> bytes:
    """Code images with an error of about `step` / sqrt(12) or less at each pixel of the mask.

    Parameters
    ----------
    images
        (c, sy, sx).
    mask
        (sy, sx), where the images matter.
    step
        Of the uniform quantiser, in the images' unit.
    """
    values, first, more = _rounded(images, mask, step)
    (count, sy, sx), (_, rows, columns) = images.shape, values.shape
    writer = IntegerWriter(_CONTEXTS)
    walk = _Walk(count, rows, columns)
    for i, j in walk.diagonals():
        group = values[:, i, j]
        writer.add(group, walk.contexts(i, j))
        walk.note(group, i, j)
    header = _HEADER.pack(count, sy, sx, rows, columns, step, first, more)
    return header + writer.to_bytes()


def rounded_images(
    images: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], step: float
) -> npt.NDArray[np.float32]:
    """What `decode_images` makes of the bytes of `encode_images`, without these bytes."""
    values, first, more = _rounded(images, mask, step)
    step, first, more = (float(np.float32(number)) for number in (step, first, more))
    return _synthesis(_levels(values, first, more), step, images.shape[1:])


def decode_images(data: bytes) -> npt.NDArray[np.float32]:
    """(c, sy, sx) images.

    Raises
    ------
    CorruptionError
        If the bytes are damaged.
    """
    if len(data) < _HEADER.size:
        raise CorruptionError("coded images: expected a header, found their end")
    count, sy, sx, rows, columns, step, first, more = _HEADER.unpack_from(data)
    sensible = rows <= sy and columns <= sx and count * sy * sx < _MOST_VALUES
    if not (sensible and sy and sx and np.isfinite([step, first, more]).all()):
        raise CorruptionError("coded images: expected a sensible header, found a damaged one")
    reader = IntegerReader(data[_HEADER.size :])
    values = np.zeros((count, rows, columns), dtype=np.float32)
    walk = _Walk(count, rows, columns)
    for i, j in walk.diagonals():
        group = reader.take(walk.contexts(i, j).ravel()).reshape(count, len(i))
        walk.note(group, i, j)
        values[:, i, j] = _levels(group, first, more)
    reader.finish()
    return _synthesis(values, step, (sy, sx))


def _levels(values: npt.NDArray[np.int64], first: float, more: float) -> npt.NDArray[np.float32]:
    """What whole numbers stand for, in steps."""
    size = np.abs(values)
    level = np.where(size > 1, size + more, size * first)
    return (np.copysign(level, values) * (size > 0)).astype(np.float32)


def _synthesis(
    levels: npt.NDArray[np.float32], step: float, shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """(c, sy, sx) images of the lowest frequencies (c, rows, columns), in steps."""
    _, rows, columns = levels.shape
    vertical, horizontal = cosines(shape[0])[:rows], cosines(shape[1])[:columns]
    return np.matmul(vertical.T, np.matmul(levels * np.float32(step), horizontal))


@cache
def cosines(n: int) -> npt.NDArray[np.float32]:
    """(n, n) rows of the orthonormal cosine transform (DCT-II)."""
    k, x = np.mgrid[:n, :n]
    rows = np.cos(np.pi * k * (2 * x + 1) / (2 * n)) * np.sqrt(2 / n)
    rows[0] = np.sqrt(1 / n)
    return rows.astype(np.float32)


class _Walk:
    """Frequencies by diagonals, all images at once, with the magnitudes that were seen so far."""

    def __init__(self, count: int, rows: int, columns: int) -> None:
        self._rows, self._columns, self._count = rows, columns, count
        shape = (count + 2 * _PAD, rows + 2, columns + 2)
        self._seen = np.zeros(shape, dtype=np.int32)

    def diagonals(self) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Rows and columns of each diagonal i + j = 0, 1, …, by ascending row."""
        out = []
        for total in range(self._rows + self._columns - 1):
            i = np.arange(max(0, total - self._columns + 1), min(total, self._rows - 1) + 1)
            out.append((i, total - i))
        return out if self._rows and self._columns else []

    def contexts(self, i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(c, k) contexts of a diagonal, from magnitudes of lower frequencies near it.

        44 times those of the same image, 6, 3 and 2 times those of images 1, 2 and 3 to either
        side, compared with limits.
        """
        if i[0] + j[0] < 2:
            return np.full((self._count, len(i)), _CONTEXTS - 1)
        near = sum(w * self._seen[:, i + 2 + di, j + 2 + dj] for di, dj, w in _WEIGHTS)
        own = np.asarray(near)
        middle = slice(_PAD, _PAD + self._count)
        total = 44 * own[middle]
        for distance, weight in ((1, 6), (2, 3), (3, 2)):
            total += weight * own[_PAD - distance : _PAD - distance + self._count]
            total += weight * own[_PAD + distance : _PAD + distance + self._count]
        return np.searchsorted(_LIMITS, total, side="right")

    def note(
        self, group: npt.NDArray[np.int64], i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]
    ) -> None:
        """Remember the magnitudes of a diagonal."""
        self._seen[_PAD : _PAD + self._count, i + 2, j + 2] = np.minimum(np.abs(group), _CAP)


def _filled_transform(
    images: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], step: float
) -> npt.NDArray[np.float32]:
    """Transform of the images, with pixels outside the mask such that few frequencies are needed.

    Accelerated soft thresholding (FISTA, Beck and Teboulle 2009) between the transform and the
    pixels that are given, with a threshold that falls to half a step.
    """
    from scipy.fft import dctn, idctn

    filled = np.where(mask, images, np.float32(0))
    outside = ~mask
    if outside.any() and mask.any():
        filled[:, outside] = images[:, mask].mean(axis=1)[:, None]
        before, momentum = filled[:, outside], 1.0
        for i in range(_FILL_STEPS):
            threshold = step / 2 * _FILL_FIRST ** (1 - i / (_FILL_STEPS - 1))
            rough = dctn(filled, axes=(1, 2), norm="ortho")
            rough = np.sign(rough) * np.maximum(np.abs(rough) - np.float32(threshold), 0)
            now = idctn(rough, axes=(1, 2), norm="ortho")[:, outside]
            grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            filled[:, outside] = now + np.float32((momentum - 1) / grown) * (now - before)
            before, momentum = now, grown
        filled[:, outside] = before
    return np.asarray(dctn(filled, axes=(1, 2), norm="ortho"), np.float32)


def _rounded(
    images: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], step: float
) -> tuple[npt.NDArray[np.int64], float, float]:
    """(c, rows, columns) whole numbers of the frequencies that are kept; what magnitude 1 stands
    for, and what is added to larger ones."""
    transformed = _filled_transform(np.asarray(images, np.float32), mask, step)
    magnitude = np.floor(np.abs(transformed) / step + _ROUNDING)
    values = np.where(transformed < 0, -magnitude, magnitude).astype(np.int64)
    first, more = _centroids(np.abs(transformed) / step, magnitude)
    rows, columns = _extent(values)
    return values[:, :rows, :columns], first, more


def _centroids(size: npt.NDArray, magnitude: npt.NDArray) -> tuple[float, float]:
    """What magnitude 1 stands for, and what is added to larger ones, in steps."""
    one, more = size[magnitude == 1], (size - magnitude)[magnitude > 1]
    return float(one.mean()) if one.size else 1.0, float(more.mean()) if more.size else 0.0


def _extent(values: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Rows and columns of frequencies beyond which all are 0."""
    used = (values != 0).any(axis=0)
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    return (int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else (0, 0)
