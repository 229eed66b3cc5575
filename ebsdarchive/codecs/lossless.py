"""Lossless profiles of a pattern dataset, and the encoding of blocks of patterns to HDF5 chunks.

A profile is a fixed HDF5 filter pipeline, so any HDF5 program with the filter reads the result.
Encoding happens in memory, in any process; the chunks are written as they are. Filters fail
silently (JPEG-LS stores what it cannot code as it is, or worse), so whoever writes chunks reads
them back and compares digests.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs import levels
from ebsdarchive.errors import ArgumentError, CorruptionError, EbsdArchiveError

__all__ = [
    "PROFILES",
    "BlockCode",
    "Coding",
    "TooManyLevelsError",
    "encode_block",
    "rank_codings",
    "sha256_of",
]

PROFILES = ("archive", "fast", "compat", "none")
_CHUNK_BYTES = 64 << 10
_JPEG_LS_PIXELS, _JPEG_LS_SIDE = 16, 65535  # FciDecomp complains on stderr beyond these
_CHUNK_INDEX_BYTES = 64  # what HDF5 1.8's B-tree spends on each chunk
_TABLE_GAIN = 0.9  # a level table costs the direct view for other readers: it must save a tenth


class TooManyLevelsError(EbsdArchiveError):
    """A pattern has more grey levels than the coding, chosen from a sample, provides for."""


@dataclass(frozen=True)
class Coding:
    """How a scan's patterns are stored; everything a worker needs to encode a block of them.

    Parameters
    ----------
    profile
        One of `PROFILES`.
    dtype
        Name of the type that is stored: the patterns' own, or that of the codes.
    chunk_patterns
        Patterns in one HDF5 chunk.
    level_table
        "none", "scan" or "pattern".
    levels
        With "scan": the ascending list of levels, as unsigned integers.
    """

    profile: str
    dtype: str
    chunk_patterns: int
    level_table: str = "none"
    levels: npt.NDArray | None = None

    @property
    def list_bytes(self) -> int:
        """Bytes of the list of levels of a "scan" coding, as it compresses."""
        if self.levels is None:
            return 0
        return len(zlib.compress(levels.to_increments(self.levels).tobytes()))

    def dataset_options(self, shape: tuple[int, int]) -> dict[str, Any]:
        """Keyword arguments of ``create_dataset`` for patterns of `shape` (sy, sx)."""
        options: dict[str, Any] = {
            "dtype": np.dtype(self.dtype).newbyteorder("<"),
            "chunks": (self.chunk_patterns, *shape),
            "fletcher32": True,
        }
        if self.profile == "compat":
            options |= {"compression": "gzip", "compression_opts": 6, "shuffle": True}
        elif self.profile in ("archive", "fast"):
            import hdf5plugin

            if self.profile == "archive":
                options |= hdf5plugin.FciDecomp()
            else:
                options |= hdf5plugin.Bitshuffle(cname="zstd", clevel=3)
        return options


@dataclass(frozen=True)
class BlockCode:
    """An encoded block of patterns.

    Parameters
    ----------
    chunks
        (filter mask, bytes) of each HDF5 chunk in order.
    sha256
        Digest of the decoded patterns.
    means
        (k,) mean intensity of each pattern.
    increments, level_counts
        Level lists of the block with `level_table` = "pattern", else None.
    """

    chunks: list[tuple[int, bytes]]
    sha256: bytes
    means: npt.NDArray[np.float64]
    increments: npt.NDArray | None = None
    level_counts: npt.NDArray[np.int64] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes in the file, with the level lists as they compress and HDF5's chunk index."""
        lists = 0 if self.increments is None else len(zlib.compress(self.increments.tobytes()))
        return lists + sum(len(data) + _CHUNK_INDEX_BYTES for _, data in self.chunks)


def sha256_of(patterns: npt.NDArray) -> bytes:
    """SHA-256 of patterns as little-endian values in C order."""
    little = np.ascontiguousarray(patterns, dtype=patterns.dtype.newbyteorder("<"))
    return hashlib.sha256(little.view(np.uint8).data).digest()


def encode_block(coding: Coding, patterns: npt.NDArray) -> BlockCode:
    """Encode (k, sy, sx) patterns.

    Raises
    ------
    TooManyLevelsError
        If a pattern has values that the coding's level table cannot hold.
    """
    codes, increments, counts = _codes(coding, patterns)
    shape = codes.shape[1:]
    with h5py.File("block", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset(
            "p", shape=codes.shape, maxshape=(None, *shape), **coding.dataset_options(shape)
        )
        dataset[...] = codes
        file.flush()
        chunks = [
            dataset.id.read_direct_chunk((start, 0, 0))
            for start in range(0, len(codes), coding.chunk_patterns)
        ]
    with np.errstate(invalid="ignore"):  # NaN and infinity have a mean as well
        means = patterns.mean(axis=(1, 2), dtype=np.float64)
    return BlockCode(chunks, sha256_of(patterns), means, increments, counts)


def _codes(
    coding: Coding, patterns: npt.NDArray
) -> tuple[npt.NDArray, npt.NDArray | None, npt.NDArray[np.int64] | None]:
    """What is stored of a block: patterns or codes, and the lists of its level table."""
    if coding.level_table == "none":
        return patterns, None, None
    increments = counts = None
    codes: npt.NDArray | None
    if coding.level_table == "scan":
        assert coding.levels is not None
        codes = levels.encode_by_scan(patterns, coding.levels)
    else:
        codes, increments, counts = levels.encode_by_pattern(patterns) or (None, None, None)
    if codes is None or codes.max() > np.iinfo(coding.dtype).max:
        raise TooManyLevelsError(
            "patterns: expected as few grey levels as in the sample, found more"
        )
    return codes.astype(coding.dtype, copy=False), increments, counts


def rank_codings(
    sample: npt.NDArray, profile: str, block_length: int, n_patterns: int | None = None
) -> list[tuple[Coding, int]]:
    """Codings of a profile, or of all with "auto", that work, best first.

    Parameters
    ----------
    sample
        (k, sy, sx) patterns spread over the scan.
    profile
        One of `PROFILES`, or "auto": the smallest of all.
    block_length
        Patterns per block; chunks divide it.
    n_patterns
        Patterns of the scan, among which the list of levels of a "scan" coding is shared; those of
        the sample by default.

    Returns
    -------
    list of (Coding, bytes)
        With the bytes that each made of the sample. A "scan" coding still lacks the levels that
        occur outside the sample.
    """
    names = PROFILES if profile == "auto" else (profile,)
    if not set(names) <= set(PROFILES):
        raise ArgumentError(f"profile: expected auto, {', '.join(PROFILES)}, found {profile!r}")
    tried: list[tuple[float, int, Coding, int]] = []
    for name in names:
        for coding in _candidates(sample, name, block_length):
            try:
                code = encode_block(coding, sample)
            except TooManyLevelsError:
                continue
            if decoded_chunks_equal(coding, code, _codes(coding, sample)[0]):
                penalty = 1.0 if coding.level_table == "none" else 1.0 / _TABLE_GAIN
                share = len(sample) / (n_patterns or len(sample))
                nbytes = code.nbytes + round(coding.list_bytes * share)
                tried.append((nbytes * penalty, len(tried), coding, nbytes))
    if not tried:
        raise ArgumentError(
            f"profile {profile}: expected patterns that it can store, found "
            f"{sample.dtype} of {sample.shape[1]} x {sample.shape[2]} pixels; use --profile auto"
        )
    return [(coding, nbytes) for _, _, coding, nbytes in sorted(tried, key=lambda t: t[:2])]


def _candidates(sample: npt.NDArray, profile: str, block_length: int) -> list[Coding]:
    """The ways to store patterns like `sample` under a profile."""
    pattern_bytes = sample[0].nbytes
    limit = 1 if profile == "archive" else max(1, _CHUNK_BYTES // pattern_bytes)
    chunk = next(
        size for size in range(min(limit, block_length), 0, -1) if block_length % size == 0
    )
    if profile != "archive":
        return [Coding(profile, sample.dtype.name, chunk)]
    sy, sx = sample.shape[1:]
    if min(sy, sx) < 2 or sy * sx < _JPEG_LS_PIXELS or max(sy, sx) > _JPEG_LS_SIDE:
        return []
    found = []
    if sample.dtype.name in ("uint8", "uint16"):
        found.append(Coding(profile, sample.dtype.name, chunk))
    distinct = np.unique(levels.as_bits(sample))
    span = int(distinct[-1]) - int(distinct[0]) + 1
    if len(distinct) <= min(span // 2, levels.MAX_LEVELS):
        code_dtype = "uint8" if len(distinct) <= 256 else "uint16"
        found.append(Coding(profile, code_dtype, chunk, "scan", distinct))
    per_pattern = max(len(np.unique(pattern)) for pattern in levels.as_bits(sample))
    if per_pattern <= min(span // 2, levels.MAX_LEVELS) and per_pattern < sample[0].size // 4:
        code_dtype = "uint8" if per_pattern <= 256 else "uint16"
        found.append(Coding(profile, code_dtype, chunk, "pattern"))
    return found


def decoded_chunks_equal(coding: Coding, code: BlockCode, codes: npt.NDArray) -> bool:
    """Whether the chunks, written to a file, give back what was encoded."""
    with h5py.File("check", "w", driver="core", backing_store=False) as file:
        options = coding.dataset_options(codes.shape[1:])
        dataset = file.create_dataset(
            "p", shape=codes.shape, maxshape=(None, *codes.shape[1:]), **options
        )
        write_chunks(dataset, 0, code.chunks)
        del dataset  # while it is open, HDF5 forgets the filter mask of the chunk written last
        try:
            return bool(np.array_equal(file["p"][...].view("u1"), codes.view("u1")))
        except OSError:
            return False


def write_chunks(dataset: h5py.Dataset, start: int, chunks: list[tuple[int, bytes]]) -> None:
    """Write encoded chunks from pattern index `start` on."""
    for i, (mask, data) in enumerate(chunks):
        dataset.id.write_direct_chunk((start + i * dataset.chunks[0], 0, 0), data, mask)


def require_filters(dataset: h5py.Dataset) -> None:
    """Load the filters that a dataset needs.

    Raises
    ------
    CorruptionError
        If one is not available.
    """
    properties = dataset.id.get_create_plist()
    for i in range(properties.get_nfilters()):
        code = properties.get_filter(i)[0]
        if code > 255 and not h5py.h5z.filter_avail(code):
            import hdf5plugin

            if not h5py.h5z.filter_avail(code):
                raise CorruptionError(
                    f"{dataset.file.filename}: {dataset.name}: expected HDF5 filters of "
                    f"hdf5plugin {hdf5plugin.version}, found filter {code}; is the file damaged?"
                )
