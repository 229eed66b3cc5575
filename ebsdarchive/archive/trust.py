"""What a stranger's file may not make us do: leave the file, or take more memory than it backs.

The values of all datasets of an archive are read through here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy.typing as npt

from ebsdarchive.errors import ArchiveError, CorruptionError

__all__ = [
    "MOST_BYTES",
    "READ_ERRORS",
    "is_plain_type",
    "read_array",
    "read_attribute",
    "read_rows",
    "readable",
    "refuse_links",
    "require_backed",
]

MOST_BYTES = 64 << 20  # what is read without asking how much of it is stored
_EXPANSION = 1100  # gzip expands at most 1032 times
_PATTERN_EXPANSION = 1 << 14  # JPEG-LS and zstd make a flat pattern some thousand times smaller

_PLAIN_FAMILIES = {
    h5py.h5t.INTEGER,
    h5py.h5t.FLOAT,
    h5py.h5t.STRING,
    h5py.h5t.BITFIELD,
    h5py.h5t.OPAQUE,
}

# what h5py, numpy and plain Python raise when they meet bytes that make no sense
READ_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


@contextmanager
def readable(file: h5py.File) -> Iterator[None]:
    """Turn what h5py raises on damaged structures into a CorruptionError that names the file."""
    try:
        yield
    except READ_ERRORS as error:
        reason = str(error).splitlines()[0].strip("'\"") if str(error) else type(error).__name__
        raise CorruptionError(
            f"{file.filename}: expected a sound archive, found damage ({reason}); "
            f"run `ebsdarchive verify` to see what survives"
        ) from error


def read_attribute(item: h5py.Group | h5py.Dataset, key: str) -> Any:
    """The value of an attribute.

    Raises
    ------
    KeyError
        If there is none of that name.
    CorruptionError
        If it is of a type that no archive has; HDF5 crashes on some that damage makes.
    """
    if key not in item.attrs:
        raise KeyError(f"{item.name}/@{key}: expected an attribute, found none")
    if not is_plain_type(item.attrs.get_id(key).get_type()):
        raise CorruptionError(
            f"{item.file.filename}: {item.name}/@{key}: expected text or numbers, found another "
            f"type; the file is damaged or hostile"
        )
    return item.attrs[key]


def is_plain_type(kind: h5py.h5t.TypeID) -> bool:
    """Whether an HDF5 type consists of numbers and texts only: no references, no ragged arrays."""
    family = kind.get_class()
    if family == h5py.h5t.COMPOUND:
        return all(is_plain_type(kind.get_member_type(i)) for i in range(kind.get_nmembers()))
    if family in (h5py.h5t.ARRAY, h5py.h5t.ENUM):
        return is_plain_type(kind.get_super())
    return family in _PLAIN_FAMILIES


def read_array(dataset: h5py.Dataset) -> npt.NDArray:
    """All values of a dataset whose declared size is backed by stored bytes.

    Raises
    ------
    CorruptionError
        If far more is declared than stored, the values are in another file, or the stored bytes
        do not pass their checksum.
    """
    require_backed(dataset, dataset.nbytes)
    try:
        return dataset[()]
    except OSError as error:
        raise _unreadable(dataset, error) from error


def read_rows(
    dataset: h5py.Dataset, start: int, stop: int, *, patterns: bool = False
) -> npt.NDArray:
    """Rows `start` … `stop` - 1 of a dataset, on the same conditions as `read_array`.

    Parameters
    ----------
    patterns
        Whether the dataset holds patterns, which filters may make far smaller than other data.
    """
    count = max(0, min(stop, dataset.shape[0]) - start)
    wanted = count * math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
    require_backed(dataset, wanted, _PATTERN_EXPANSION if patterns else _EXPANSION)
    try:
        return dataset[start:stop]
    except OSError as error:
        raise _unreadable(dataset, error) from error


def require_backed(dataset: h5py.Dataset, wanted: int, expansion: int = _EXPANSION) -> None:
    """Raise CorruptionError unless `wanted` bytes can come out of what the file itself stores."""
    properties = dataset.id.get_create_plist()
    where = f"{dataset.file.filename}: {dataset.name}"
    if not is_plain_type(dataset.id.get_type()):
        raise CorruptionError(
            f"{where}: expected text or numbers, found another type; the file is damaged or hostile"
        )
    if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
        raise CorruptionError(
            f"{where}: expected data in this file, found a reference to other files; the file is "
            f"hostile"
        )
    if wanted > MOST_BYTES and wanted > expansion * dataset.id.get_storage_size():
        raise CorruptionError(
            f"{where}: expected about as much data as declared ({wanted} bytes), found "
            f"{dataset.id.get_storage_size()} stored bytes; the file is damaged or hostile"
        )


def refuse_links(file: h5py.File) -> None:
    """Raise ArchiveError if any name in the file leads elsewhere than to an object in the file.

    Archives hold hard links only, so a soft or external link is a stranger's.
    """
    found: list[str] = []

    def look(name: bytes | str, info: Any) -> str | None:
        if info.type == h5py.h5l.TYPE_HARD:
            return None
        found.append(name.decode("utf-8", "replace") if isinstance(name, bytes) else name)
        return found[0]

    try:
        file.id.links.visit(look, info=True)
    except READ_ERRORS:
        _look_by_group(file["/"], found, set())  # part of the file is damaged: look at the rest
    if found:
        raise ArchiveError(
            f"{file.filename}: /{found[0]}: expected data in this file, found a link; an archive "
            f"holds none, this one was tampered with"
        )


def _look_by_group(group: h5py.Group, found: list[str], seen: set[Any]) -> None:
    """Collect links below a group, leaving out what cannot be read."""
    try:
        names = list(group)
    except READ_ERRORS:
        return
    for name in names:
        try:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                found.append(f"{group.name}/{name}".lstrip("/"))
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
        except READ_ERRORS:
            continue
        if isinstance(item, h5py.Group) and address not in seen:
            seen.add(address)
            _look_by_group(item, found, seen)


def _unreadable(dataset: h5py.Dataset, error: OSError) -> CorruptionError:
    """The error for stored bytes that HDF5 cannot give back."""
    reason = str(error).splitlines()[0]
    return CorruptionError(
        f"{dataset.file.filename}: {dataset.name}: expected readable data, found damage "
        f"({reason}); run `ebsdarchive verify --data` to see which layers survive"
    )
