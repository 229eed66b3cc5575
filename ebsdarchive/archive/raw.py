"""The raw layer: writes patterns bit-exactly, reads them back, and proves that they are right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.nodes import attribute, new_node, read_array, require_kind
from ebsdarchive.archive.output import stop_if_failed
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.archive.trust import MOST_BYTES, read_rows
from ebsdarchive.codecs import levels
from ebsdarchive.codecs.levels import LevelTable, decode_levels
from ebsdarchive.codecs.lossless import (
    Coding,
    TooManyLevelsError,
    encode_block,
    rank_codings,
    require_filters,
    sha256_of,
    write_chunks,
)
from ebsdarchive.codecs.pool import cores, ordered_map
from ebsdarchive.errors import ArchiveError, CorruptionError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import PATTERN_DTYPES, Patterns, read_at

__all__ = ["RawPatterns", "RawSummary", "check_blocks", "write_raw"]

Progress = Callable[[float, float], None]
SAMPLE_PATTERNS = 64
_POOL_BYTES = 32 << 20  # below this, starting other processes costs more than they save


@dataclass(frozen=True)
class RawSummary:
    """What became of the patterns: the coding, bytes before and after, digest, and mean map."""

    coding: Coding
    nbytes: int
    stored: int
    sha256: str
    means: npt.NDArray[np.float64]


class RawPatterns:
    """The patterns of a raw layer (or of a restored one), read on demand.

    It opens the file for each read, so that it can be pickled and used in other processes.
    """

    def __init__(self, path: str, node: str = "/archive/raw") -> None:
        self.path = path
        self.node = node
        with open_for_reading(path) as file:
            group = file[node]
            require_kind(group, "raw")
            dataset = group["patterns"]
            self.shape: tuple[int, int, int] = tuple(dataset.shape)
            self.dtype = _dtype(group, dataset)
            self.sha256 = str(attribute(group, "patterns_sha256"))
            self.table = _read_table(group)

    def read(self, start: int, stop: int) -> npt.NDArray:
        """(stop - start, sy, sx) patterns with index start … stop - 1."""
        with open_for_reading(self.path) as file:
            return self._decode(file[self.node]["patterns"], start, stop)

    def blocks(self, ranges: Iterator[tuple[int, int]]) -> Iterator[npt.NDArray]:
        """Patterns of each range (start, stop), with the file opened once."""
        with open_for_reading(self.path) as file:
            for start, stop in ranges:
                yield self._decode(file[self.node]["patterns"], start, stop)

    def _decode(self, dataset: h5py.Dataset, start: int, stop: int) -> npt.NDArray:
        require_filters(dataset)
        codes = read_rows(dataset, start, stop, patterns=True)
        if self.table is None:
            return codes.astype(self.dtype, copy=False)
        try:
            return decode_levels(codes, self.table, self.dtype, start)
        except IndexError as error:
            raise CorruptionError(
                f"{self.path}: {self.node}: expected codes within the level table, found larger "
                f"ones; run `ebsdarchive verify --data` to see which layers survive"
            ) from error


def _dtype(group: h5py.Group, dataset: h5py.Dataset) -> np.dtype:
    """Type of the decoded patterns, which is that of the dataset unless this holds codes."""
    name, stored = attribute(group, "dtype"), dataset.dtype.name
    coded = attribute(group, "level_table") != "none"
    if name not in PATTERN_DTYPES or stored not in (("uint8", "uint16") if coded else (name,)):
        raise CorruptionError(
            f"{group.file.filename}: {dataset.name}: expected patterns of type "
            f"{', '.join(PATTERN_DTYPES)}, found {stored} for {name}; the file is damaged"
        )
    return np.dtype(name)


def _read_table(group: h5py.Group) -> LevelTable | None:
    name = attribute(group, "level_table")
    if name == "none":
        return None
    increments = read_array(group["levels"])
    offsets = read_array(group["level_offsets"]) if name == "pattern" else None
    return LevelTable(increments, offsets)


def write_raw(
    parent: h5py.Group,
    name: str,
    patterns: Patterns,
    grid: Grid,
    profile: str = "auto",
    progress: Progress | None = None,
) -> RawSummary:
    """Write patterns as a raw node.

    The caller closes the file and then calls `check_blocks` on it: only reading back proves that
    the filters did what they were asked to.

    Parameters
    ----------
    profile
        "archive", "fast", "compat", "none", or "auto": the smallest on 64 patterns spread over the
        scan.
    """
    _, sy, sx = patterns.shape
    block_length = grid.block_length(sy * sx * patterns.dtype.itemsize)
    codings = rank_codings(_sample(patterns), profile, block_length, patterns.shape[0])
    for i, (coding, _) in enumerate(codings):
        if coding.level_table == "scan":
            complete = _levels_of_scan(patterns, grid)
            if complete is None or len(complete) > 1 + np.iinfo(coding.dtype).max:
                continue
            coding = Coding(coding.profile, coding.dtype, coding.chunk_patterns, "scan", complete)
        try:
            return _write_coded(parent, name, patterns, grid, coding, block_length, progress)
        except TooManyLevelsError:
            del parent[name]
            if i == len(codings) - 1:
                raise
    raise ArchiveError(
        f"profile {profile}: expected as few grey levels in the whole scan as in a sample of it, "
        f"found more; use --profile auto"
    )


def _sample(patterns: Patterns) -> npt.NDArray:
    """(≤ 64, sy, sx) patterns spread over the scan."""
    n = patterns.shape[0]
    indices = np.unique(np.linspace(0, n - 1, min(n, SAMPLE_PATTERNS)).round().astype(int))
    return read_at(patterns, indices)


def _levels_of_scan(patterns: Patterns, grid: Grid) -> npt.NDArray | None:
    """All levels of a scan, ascending, in one pass; None if there are more than a table holds."""
    found: npt.NDArray | None = None
    for start, stop in grid.blocks(patterns.shape[1] * patterns.shape[2] * patterns.dtype.itemsize):
        block = np.unique(levels.as_bits(patterns.read(start, stop)))
        found = block if found is None else np.union1d(found, block)
        if len(found) > levels.MAX_LEVELS:
            return None
    return found


def _write_coded(
    parent: h5py.Group,
    name: str,
    patterns: Patterns,
    grid: Grid,
    coding: Coding,
    block_length: int,
    progress: Progress | None,
) -> RawSummary:
    n, sy, sx = patterns.shape
    nbytes = n * sy * sx * patterns.dtype.itemsize
    whole = hashlib.sha256()

    def jobs() -> Iterator[tuple[Coding, npt.NDArray]]:
        for start in range(0, n, block_length):
            block = patterns.read(start, min(start + block_length, n))
            whole.update(np.ascontiguousarray(block).view(np.uint8).data)
            yield coding, block

    attributes = {
        "profile": coding.profile,
        "dtype": patterns.dtype.name,
        "level_table": coding.level_table,
        "patterns_sha256": "",
        "block_length": block_length,
    }
    with new_node(parent, name, "raw", attributes) as group:
        dataset = group.create_dataset(
            "patterns", shape=patterns.shape, **coding.dataset_options((sy, sx))
        )
        dataset.attrs["units"] = "counts" if coding.level_table == "none" else "codes"
        digests, means, increments, counts = [], [], [], []
        done = 0
        workers = cores() if nbytes > _POOL_BYTES else 1
        with closing(ordered_map(encode_block, jobs(), workers)) as codes:
            for code in codes:
                write_chunks(dataset, done, code.chunks)
                stop_if_failed()
                digests.append(np.frombuffer(code.sha256, np.uint8))
                means.append(code.means)
                if code.increments is not None and code.level_counts is not None:
                    increments.append(code.increments)
                    counts.append(code.level_counts)
                done += len(code.means)
                if progress is not None:
                    progress(done, n)
        group.create_dataset("block_sha256", data=np.stack(digests), fletcher32=True, chunks=True)
        _write_table(group, coding, increments, counts)
        group.attrs["patterns_sha256"] = whole.hexdigest()
        stored = dataset.id.get_storage_size()
        stored += sum(group[key].id.get_storage_size() for key in group if key != "patterns")
    return RawSummary(coding, nbytes, stored, whole.hexdigest(), np.concatenate(means))


def _write_table(
    group: h5py.Group,
    coding: Coding,
    increments: list[npt.NDArray],
    counts: list[npt.NDArray[np.int64]],
) -> None:
    options = {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": True}
    if coding.level_table == "scan" and coding.levels is not None:
        group.create_dataset("levels", data=levels.to_increments(coding.levels), **options)
    elif coding.level_table == "pattern":
        group.create_dataset("levels", data=np.concatenate(increments), **options)
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
        group.create_dataset("level_offsets", data=offsets, **options)


def check_blocks(path: str, node: str, progress: Progress | None = None) -> list[str]:
    """Decode a raw node and compare every block with its digest; returns the faults found."""
    patterns = RawPatterns(path, node)
    n = patterns.shape[0]
    with open_for_reading(path) as file:
        group = file[node]
        length = int(attribute(group, "block_length"))
        expected = read_array(group["block_sha256"])
    if length < 1 or expected.shape != (-(-n // length), 32):
        return [
            f"{node}/block_sha256: expected {-(-n // max(1, length))} digests, "
            f"found {len(expected)}"
        ]
    pattern_bytes = int(np.prod(patterns.shape[1:])) * patterns.dtype.itemsize
    if length > 1 and length * pattern_bytes > MOST_BYTES:
        return [f"{node}/@block_length: expected blocks of at most 64 MiB, found {length} patterns"]
    ranges = [(start, min(start + length, n)) for start in range(0, n, length)]
    workers = cores() if n * np.prod(patterns.shape[1:]) > _POOL_BYTES else 1
    faults = []
    jobs = ((patterns, start, stop) for start, stop in ranges)
    with closing(ordered_map(_block_digest, jobs, workers)) as results:
        for i, (digest, fault) in enumerate(results):
            start, stop = ranges[i]
            if fault is not None:
                faults.append(f"{node}/patterns: patterns {start} to {stop - 1}: {fault}")
            elif digest != expected[i].tobytes():
                faults.append(
                    f"{node}/patterns: patterns {start} to {stop - 1}: expected the digest that "
                    f"was stored with them, found another; they are damaged"
                )
            if progress is not None:
                progress(stop, n)
    return faults


def _block_digest(patterns: RawPatterns, start: int, stop: int) -> tuple[bytes, str | None]:
    try:
        return sha256_of(patterns.read(start, stop)), None
    except CorruptionError as error:
        return b"", str(error).split("found ", 1)[-1].split(";")[0]
