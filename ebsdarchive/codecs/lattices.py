"""Lattices of labels with a vector of values for each label, to bytes and back.

Labels are coded by those of their neighbours, so that regions cost what their boundaries are long;
values are whole numbers of steps, finer for labels that occur more often. The byte layout is in the
schema, kind ``coded-neural``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs.integers import IntegerReader, IntegerWriter
from ebsdarchive.errors import CorruptionError

__all__ = ["QuantisedLattice", "decode_lattice", "encode_lattice", "steps_of_labels"]

_HEADER = struct.Struct("<4IfI")  # rows, columns, labels, values of each; step; bytes of labels
_SHAPES, _NAMED = 64, 64  # contexts of a label's place, and the one of labels that are named
_LIMITS = np.array([1, 2, 3, 5, 7, 10, 14, 20, 28, 40])
_FIRST = len(_LIMITS) + 1  # context of the first value of a label; one more for exponents
_CAP = 15  # of magnitudes in contexts
_MOST_POINTS, _MOST_VALUES = 1 << 28, 1 << 28


@dataclass(frozen=True)
class QuantisedLattice:
    """Labels on a lattice, and values of labels in steps.

    Parameters
    ----------
    labels
        (rows, columns) integers 0 … k - 1; each occurs.
    values
        (k, outputs) integers.
    step
        Of a value of a label that is everywhere, float32.
    exponents
        (outputs,) integers: half octaves by which the steps of an output differ.
    """

    labels: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]
    step: float
    exponents: npt.NDArray[np.int64]

    def arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Labels, and (k, outputs) float32 values."""
        steps = steps_of_labels(self.labels, len(self.values), self.step)
        columns = np.exp2(self.exponents / 2)
        return self.labels, (self.values * steps[:, None] * columns).astype(np.float32)


def steps_of_labels(labels: npt.NDArray[np.int64], count: int, step: float) -> npt.NDArray:
    """(count,) step of each label's values: a label at a hundredth of the places has ten times the
    step of one that is everywhere, so that both add the same error to the whole."""
    places = np.bincount(labels.ravel(), minlength=count)
    return step * np.sqrt(labels.size / np.maximum(places, 1))


def encode_lattice(lattice: QuantisedLattice) -> bytes:
    """The lattice, coded; labels come back renumbered, with their values, in order of appearance.

    Labels go by diagonals x + 2 y, on which all places have their neighbours to the left and above
    known: each says which of them it equals, or which label it is.
    """
    rows, columns = lattice.labels.shape
    order = _appearance(lattice.labels)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    labels = rank[lattice.labels]
    walk, writer, seen = _Walk(rows, columns), IntegerWriter(_SHAPES + 1, signed=False), 0
    for y, x in walk.diagonals():
        candidates, contexts = walk.look(y, x)
        found = labels[y, x]
        symbols = _symbols(candidates, found)
        writer.add(symbols, contexts)
        named = found[symbols == len(candidates)]
        _, first = np.unique(named, return_index=True)
        new = np.zeros(len(named), dtype=bool)
        new[first] = named[first] >= seen
        writer.add(np.where(new, 0, named + 1), _NAMED)
        seen = max(seen, int(named.max(initial=-1)) + 1)
        walk.note(y, x, found)
    told = writer.to_bytes()
    values, value_writer = lattice.values[order], IntegerWriter(_FIRST + 2)
    value_writer.add(lattice.exponents, _FIRST + 1)
    for i in range(values.shape[1]):
        value_writer.add(values[:, i], _value_contexts(values, i))
    header = _HEADER.pack(rows, columns, *values.shape, lattice.step, len(told))
    return header + told + value_writer.to_bytes()


def decode_lattice(data: bytes) -> QuantisedLattice:
    """The lattice that `encode_lattice` coded. Raises CorruptionError on damaged bytes."""
    if len(data) < _HEADER.size:
        raise CorruptionError("coded lattice: expected a header, found their end")
    rows, columns, count, outputs, step, size = _HEADER.unpack_from(data)
    places = rows * columns
    sensible = 1 <= count <= places < _MOST_POINTS and outputs >= 1 and np.isfinite(step)
    if not (sensible and step > 0 and count * outputs < _MOST_VALUES and size < len(data)):
        raise CorruptionError("coded lattice: expected a sensible header, found a damaged one")
    at = _HEADER.size
    label_reader, walk = IntegerReader(data[at : at + size], signed=False), _Walk(rows, columns)
    _decode_labels(label_reader, walk)
    label_reader.finish()
    labels = walk.labels
    if labels.min() < 0 or len(np.unique(labels)) != count or labels.max() != count - 1:
        raise CorruptionError(f"coded lattice: expected {count} labels, found others")
    reader = IntegerReader(data[at + size :])
    exponents = reader.take(np.full(outputs, _FIRST + 1))
    if np.abs(exponents).max() > 200:  # a half octave more or less each
        raise CorruptionError("coded lattice: expected sensible exponents, found damaged ones")
    values = np.zeros((count, outputs), dtype=np.int64)
    for i in range(outputs):
        values[:, i] = reader.take(_value_contexts(values, i))
    reader.finish()
    return QuantisedLattice(labels, values, step, exponents)


def _decode_labels(reader: IntegerReader, walk: _Walk) -> None:
    """All labels of a walk, numbered by their first appearance."""
    seen = 0
    for y, x in walk.diagonals():
        candidates, contexts = walk.look(y, x)
        symbols = reader.take(contexts)
        if symbols.max() > len(candidates):
            raise CorruptionError("coded lattice: expected symbols of places, found others")
        named = np.flatnonzero(symbols == len(candidates))
        numbers = reader.take(np.full(len(named), _NAMED))
        new = numbers == 0
        found = np.vstack([candidates, candidates[:1]])[symbols, np.arange(len(y))]
        found[named] = np.where(new, seen + np.cumsum(new) - 1, numbers - 1)
        seen += int(np.count_nonzero(new))
        walk.note(y, x, found)


class _Walk:
    """Places of a lattice by diagonals x + 2 y, with the labels that were seen so far."""

    def __init__(self, rows: int, columns: int) -> None:
        self._rows, self._columns = rows, columns
        self._seen = np.full((rows + 2, columns + 3), -1, dtype=np.int64)  # -1: outside, or not yet

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(rows, columns) labels."""
        return self._seen[2:, 2:-1]

    def diagonals(self) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Rows and columns of each diagonal x + 2 y = 0, 1, …, by ascending row."""
        out = []
        for total in range(self._columns + 2 * (self._rows - 1)):
            first = max(0, (total - self._columns + 2) // 2)
            y = np.arange(first, min(total // 2, self._rows - 1) + 1)
            if len(y):
                out.append((y, total - 2 * y))
        return out

    def look(
        self, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(4, k) labels to the left, above, above right and above left, and (k,) contexts: which
        neighbours are alike."""
        s, i, j = self._seen, y + 2, x + 2
        left, above, right, corner = s[i, j - 1], s[i - 1, j], s[i - 1, j + 1], s[i - 1, j - 1]
        alike = (
            left == above, above == right, above == corner, left == corner,
            left == s[i, j - 2], above == s[i - 2, j],
        )  # fmt: skip
        contexts = sum((same.astype(np.int64) << bit for bit, same in enumerate(alike)), 0 * y)
        return np.stack([left, above, right, corner]), contexts

    def note(
        self, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]
    ) -> None:
        """Remember the labels of a diagonal."""
        self._seen[y + 2, x + 2] = labels


def _symbols(
    candidates: npt.NDArray[np.int64], found: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The first candidate that each label equals; their number where there is none."""
    equal = np.vstack([candidates == found, np.ones((1, len(found)), dtype=bool)])
    return np.argmax(equal, axis=0)


def _appearance(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Labels in the order in which the diagonals meet them."""
    places = [labels[y, x] for y, x in _Walk(*labels.shape).diagonals()]
    found, first = np.unique(np.concatenate(places), return_index=True)
    return found[np.argsort(first)]


def _value_contexts(values: npt.NDArray[np.int64], i: int) -> npt.NDArray[np.int64]:
    """(k,) contexts of output i: magnitudes of the same label's four outputs before."""
    if i == 0:
        return np.full(len(values), _FIRST)
    near = np.minimum(np.abs(values[:, max(0, i - 4) : i]), _CAP)[:, ::-1]
    weights = np.array([2, 2, 1, 1])[: near.shape[1]]
    return np.searchsorted(_LIMITS, near @ weights, side="right")
