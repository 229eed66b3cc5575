"""Integers to bytes and back, each coded by the statistics of its context.

A magnitude is split into a class, which is range coded, and raw bits. The reader takes values in
the groups in which they were added, so that contexts may follow from what was read before.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs.inflating import inflated
from ebsdarchive.codecs.rans import Decoder, Tables, encode
from ebsdarchive.errors import CorruptionError

__all__ = ["IntegerReader", "IntegerWriter"]

_HEADER = struct.Struct("<6I")  # lanes, words, raw bits, contexts, bytes of tables, CRC-32
_STATE_BYTES = 5
_EXACT = 8  # magnitudes below this are classes of their own; then two classes to an octave
_MOST_CLASSES = _EXACT + 2 * 28
_SYMBOLS_PER_LANE = 2000
_MOST_LANES = 1024


class IntegerWriter:
    """Collects groups of integers with their contexts, and codes them all at the end.

    Those of an unsigned stream are not negative, and take no bits for signs.
    """

    def __init__(self, contexts: int, signed: bool = True) -> None:
        self._contexts, self._signed = contexts, signed
        self._groups: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        self._bits: list[npt.NDArray[np.uint8]] = []

    def add(self, values: npt.ArrayLike, contexts: npt.ArrayLike) -> None:
        """Add a group: (k,) integers below 2 ** 31 in magnitude, and the context of each."""
        value = np.asarray(values, dtype=np.int64).ravel()
        magnitude = np.abs(value)
        classes, extra = _classes(magnitude)
        context = np.broadcast_to(np.asarray(contexts, dtype=np.int64), np.shape(values)).ravel()
        self._groups.append((classes, context))
        if self._signed:
            self._bits.append((value[magnitude > 0] < 0).astype(np.uint8))
        self._bits.append(_to_bits(magnitude, extra))

    def to_bytes(self) -> bytes:
        """All groups, coded."""
        sizes = np.array([len(classes) for classes, _ in self._groups], dtype=np.int64)
        classes = np.concatenate([np.empty(0, np.int64), *(c for c, _ in self._groups)])
        contexts = np.concatenate([np.empty(0, np.int64), *(c for _, c in self._groups)])
        counts = np.zeros((self._contexts, int(classes.max(initial=0)) + 1))
        np.add.at(counts, (contexts, classes), 1)
        tables = Tables.of_counts(counts)
        lanes = int(np.clip(len(classes) // _SYMBOLS_PER_LANE, 1, _MOST_LANES))
        states, words = encode(classes, contexts, tables, sizes, lanes)
        bits = np.concatenate([np.empty(0, np.uint8), *self._bits])
        told = zlib.compress(tables.codes.tobytes(), 9)
        state_bytes = states.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :_STATE_BYTES]
        parts = [told, state_bytes.tobytes(), words.astype("<u2").tobytes()]
        body = b"".join([*parts, np.packbits(bits).tobytes()])
        numbers = lanes, len(words), len(bits), self._contexts, len(told), zlib.crc32(body)
        return _HEADER.pack(*numbers) + body


class IntegerReader:
    """Gives back what an `IntegerWriter` coded, group by group.

    Raises
    ------
    CorruptionError
        If the bytes are not what their header says.
    """

    def __init__(self, data: bytes, signed: bool = True) -> None:
        self._signed = signed
        try:
            lanes, words, bits, contexts, told, checksum = _HEADER.unpack_from(data)
            at = _HEADER.size
            if zlib.crc32(data[at:]) != checksum:
                raise ValueError("checksum")
            codes = inflated(data[at : at + told], contexts * _MOST_CLASSES)
            if not (1 <= lanes <= _MOST_LANES and contexts and len(codes) % contexts == 0):
                raise ValueError("header out of range")
            at += told
            states = np.zeros((lanes, 8), np.uint8)
            stored = np.frombuffer(data, np.uint8, lanes * _STATE_BYTES, at)
            states[:, :_STATE_BYTES] = stored.reshape(lanes, _STATE_BYTES)
            at += lanes * _STATE_BYTES
            word_array = np.frombuffer(data, "<u2", words, at)
            packed = np.frombuffer(data, np.uint8, offset=at + 2 * words)
            if len(packed) != (bits + 7) // 8:
                raise ValueError("length")
        except (struct.error, ValueError) as error:
            raise CorruptionError(
                f"coded integers: expected as many bytes as the header says, found other "
                f"({error}); they are damaged"
            ) from error
        tables = Tables(np.frombuffer(codes, np.uint8).reshape(contexts, -1))
        self._decoder = Decoder(states.view("<u8").ravel().astype(np.uint64), word_array, tables)
        self._bits, self._at = np.unpackbits(packed, count=bits), 0

    def take(self, contexts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(k,) integers of the next group, one for each context (k,)."""
        classes = self._decoder.take(contexts)
        value, extra = _lowest(classes)
        negative = np.zeros(len(value), dtype=bool)
        if self._signed:
            nonzero = np.flatnonzero(value)
            negative[nonzero] = self._raw(len(nonzero)) != 0
        for i in np.flatnonzero(extra):  # rare: beyond the exact classes
            bits = self._raw(int(extra[i]))
            value[i] += int(bits @ (1 << np.arange(len(bits))[::-1]))
        return np.where(negative, -value, value)

    def finish(self) -> None:
        """Raise CorruptionError unless exactly what was written has been taken."""
        self._decoder.finish()
        if self._at != len(self._bits):
            raise CorruptionError("coded integers: expected all bits to be used, found some left")

    def _raw(self, count: int) -> npt.NDArray[np.int64]:
        bits = self._bits[self._at : self._at + count]
        if len(bits) != count:
            raise CorruptionError("coded integers: expected more raw bits, found their end")
        self._at += count
        return bits.astype(np.int64)


def _classes(
    magnitude: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Class of each magnitude, and how many raw bits it takes besides."""
    large = np.maximum(magnitude, _EXACT)
    octave = np.floor(np.log2(large)).astype(np.int64)  # exact below 2 ** 48
    upper = large >> (octave - 1) & 1
    classes = np.where(magnitude < _EXACT, magnitude, _EXACT + 2 * (octave - 3) + upper)
    return classes, np.where(magnitude < _EXACT, 0, octave - 1)


def _lowest(
    classes: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Lowest magnitude of each class, and its number of raw bits."""
    octave = 3 + (classes - _EXACT) // 2
    lowest = (2 + (classes - _EXACT) % 2) << np.maximum(octave - 1, 0)
    exact = classes < _EXACT
    return np.where(exact, classes, lowest), np.where(exact, 0, octave - 1)


def _to_bits(
    magnitude: npt.NDArray[np.int64], extra: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """The low `extra` bits of each magnitude, highest first, one after another."""
    parts: Sequence[npt.NDArray] = [
        magnitude[i] >> np.arange(extra[i])[::-1] & 1 for i in np.flatnonzero(extra)
    ]
    return np.concatenate([np.empty(0, np.uint8), *parts]).astype(np.uint8)
