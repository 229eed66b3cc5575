"""Range coding of symbols whose probabilities depend on a context: interleaved rANS, all integers.

Owns tables of frequencies and the coder itself; what symbols and contexts mean is the caller's. The
decoder hands out as many symbols at a time as there are contexts for, so that later contexts may
follow from earlier symbols. Numpy alone, no floating point: what one machine wrote, every other
reads.

References
----------
J. Duda, Asymmetric numeral systems, arXiv:1311.2540; F. Giesen, Interleaved entropy coders,
arXiv:1402.3392. The byte layout is in the schema, kind ``coded-neural``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import CorruptionError

__all__ = ["PRECISION", "Decoder", "Tables", "encode"]

PRECISION = 14  # frequencies of a context add up to 2 ** PRECISION
_TOTAL = 1 << PRECISION
_LOWEST = 1 << 24  # states stay within 2 ** 24 … 2 ** 40 - 1, words have 16 bits
_LARGEST_CODE = 16 * PRECISION  # of a frequency: 16 << PRECISION


class Tables:
    """Frequencies of the symbols in each context.

    Parameters
    ----------
    codes
        (contexts, symbols) uint8: what is stored of each frequency. Code 0 is a symbol that does
        not occur; code b is (16 + b % 16) << (b // 16) before all of a context are brought to a
        sum of 2 ** 14.
    """

    def __init__(self, codes: npt.NDArray[np.uint8]) -> None:
        self.codes = codes
        self.frequencies = np.stack([_normalised(row) for row in codes])
        starts = np.cumsum(self.frequencies, axis=1) - self.frequencies
        self.starts = starts.ravel().astype(np.uint64)
        self.flat = self.frequencies.ravel().astype(np.uint64)
        self.symbols = codes.shape[1]
        # first slot of each symbol, all contexts one after another: one search finds a symbol
        self.slots = (starts + _TOTAL * np.arange(len(codes))[:, None]).ravel()

    @classmethod
    def of_counts(cls, counts: npt.ArrayLike) -> Tables:
        """Tables for (contexts, symbols) counts."""
        counts = np.asarray(counts, dtype=np.float64)
        share = counts * _TOTAL / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        exponent = np.clip(np.floor(np.log2(np.maximum(share, 1))), 0, PRECISION).astype(int)
        mantissa = np.rint(share * 16 / (1 << exponent)).astype(int) - 16
        code = np.clip(16 * exponent + mantissa, 1, _LARGEST_CODE)
        return cls(np.where(counts > 0, code, 0).astype(np.uint8))


def _normalised(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Frequencies of one context: each at least 1 where its code is not 0, 2 ** 14 in sum."""
    code = codes.astype(np.int64)
    raw = np.where(code > 0, (16 + code % 16) << (code // 16), 0)
    if raw.sum() == 0:  # a context that does not occur
        raw[0] = 1
    if np.count_nonzero(raw) > _TOTAL // 2:
        raise CorruptionError("table of frequencies: expected fewer symbols, found a damaged one")
    scaled = np.where(raw > 0, np.maximum(raw * _TOTAL // raw.sum(), 1), 0)
    missing = _TOTAL - int(scaled.sum())
    while missing:  # a deficit is small and goes to the largest; so does what rare ones took
        largest = int(np.argmax(scaled))
        change = max(missing, 1 - int(scaled[largest]))
        scaled[largest] += change
        missing -= change
    return scaled


def encode(
    symbols: npt.NDArray[np.int64],
    contexts: npt.NDArray[np.int64],
    tables: Tables,
    groups: npt.NDArray[np.int64],
    lanes: int,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint16]]:
    """Code symbols, in the order in which they will be decoded.

    Parameters
    ----------
    symbols, contexts
        (n,).
    groups
        Sizes of the groups that the decoder will ask for one after another; they add up to n.
    lanes
        Number of interleaved coders. Each group starts at the first lane.

    Returns
    -------
    states, words
        (lanes,) final states, and the words in the order of decoding.
    """
    index = contexts * tables.symbols + symbols
    frequency, start = tables.flat[index], tables.starts[index]
    states = np.full(lanes, _LOWEST, dtype=np.uint64)
    words: list[npt.NDArray[np.uint16]] = []
    for first, last in reversed(list(_chunks(groups, lanes))):
        f, c, x = frequency[first:last], start[first:last], states[: last - first]
        full = x >= f << np.uint64(40 - PRECISION)
        words.append((x[full] & np.uint64(0xFFFF)).astype(np.uint16))
        x = np.where(full, x >> np.uint64(16), x)
        states[: last - first] = (x // f << np.uint64(PRECISION)) + x % f + c
    return states, np.concatenate([*words[::-1], np.empty(0, np.uint16)])


class Decoder:
    """Gives symbols back, group by group."""

    def __init__(
        self, states: npt.NDArray[np.uint64], words: npt.NDArray[np.uint16], tables: Tables
    ) -> None:
        self._states = states.copy()
        self._words, self._at = words.astype(np.uint64), 0
        self._tables = tables

    def take(self, contexts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(k,) symbols of the next group, one for each context (k,)."""
        tables, lanes = self._tables, len(self._states)
        out = np.empty(len(contexts), dtype=np.int64)
        for first in range(0, len(contexts), lanes):
            context = contexts[first : first + lanes]
            x = self._states[: len(context)]
            slot = x & np.uint64(_TOTAL - 1)
            wanted = slot.astype(np.int64) + (context << PRECISION)
            index = np.searchsorted(tables.slots, wanted, side="right") - 1
            x = tables.flat[index] * (x >> np.uint64(PRECISION)) + slot - tables.starts[index]
            low = np.flatnonzero(x < _LOWEST)
            words = self._words[self._at : self._at + len(low)]
            if len(words) != len(low):
                raise CorruptionError("coded symbols: expected more words, found their end")
            x[low] = x[low] << np.uint64(16) | words
            self._at += len(low)
            self._states[: len(context)] = x
            out[first : first + lanes] = index - context * tables.symbols
        return out

    def finish(self) -> None:
        """Raise CorruptionError unless everything was taken and the states are as at the start."""
        if self._at != len(self._words) or (self._states != _LOWEST).any():
            raise CorruptionError("coded symbols: expected the coder's first state, found another")


def _chunks(groups: npt.NDArray[np.int64], lanes: int) -> list[tuple[int, int]]:
    """(first, last) of all runs of symbols that are coded at once."""
    ends = np.cumsum(groups)
    return [
        (at, min(at + lanes, int(end)))
        for end, size in zip(ends, groups, strict=True)
        for at in range(int(end - size), int(end), lanes)
    ]
