"""The copy of an HDF5 source inside the archive: all that its file said, but the patterns.

HDF5's own copy cannot bring a dataset of a newer file version into an older one, so values, types
and attributes are written anew. What cannot be kept is recorded with the reason, never dropped
silently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from ebsdarchive.archive.nodes import CHUNKED_BYTES
from ebsdarchive.archive.trust import READ_ERRORS, is_plain_type, read_array
from ebsdarchive.codecs.lossless import require_filters
from ebsdarchive.errors import ArchiveError

__all__ = ["copy_source"]


@dataclass
class _Copy:
    """One run: which datasets to leave out, what was left out, and the names seen so far."""

    reason_against: Callable[[h5py.Dataset], str | None]
    left_out: list[dict[str, str]] = field(default_factory=list)
    seen: dict[Any, str] = field(default_factory=dict)

    def leave(self, path: str, reason: str) -> None:
        self.left_out.append({"path": path, "reason": reason})


def copy_source(
    source: h5py.Group, target: h5py.Group, reason_against: Callable[[h5py.Dataset], str | None]
) -> list[dict[str, str]]:
    """Copy a group's attributes and members.

    Parameters
    ----------
    reason_against
        Called with each dataset; returns None to copy it, or the reason not to.

    Returns
    -------
    list of {"path", "reason"}
        What was not copied.
    """
    run = _Copy(reason_against)
    _copy_group(run, source, target)
    return run.left_out


def _copy_group(run: _Copy, source: h5py.Group, target: h5py.Group) -> None:
    run.seen[_address(source)] = source.name
    _copy_attributes(run, source, target, source.name)
    for name in source:
        path = f"{source.name.rstrip('/')}/{name}"
        if not isinstance(source.get(name, getlink=True), h5py.HardLink):
            run.leave(path, "a link, not data")
            continue
        item = source[name]
        if _address(item) in run.seen:
            run.leave(path, f"another name of {run.seen[_address(item)]}")
        elif isinstance(item, h5py.Group):
            _copy_group(run, item, target.create_group(name))
        elif isinstance(item, h5py.Dataset):
            run.seen[_address(item)] = path
            reason = run.reason_against(item) or _copy_dataset(run, item, target, name)
            if reason is not None:
                run.leave(path, reason)
        else:
            run.leave(path, "a named type, not data")


def _copy_dataset(run: _Copy, item: h5py.Dataset, target: h5py.Group, name: str) -> str | None:
    """Copy a dataset with our filters; returns why not, if not."""
    if not _has_digest(item.dtype):
        return f"a type that the archive has no digest for ({item.dtype})"
    try:
        require_filters(item)
        if item.shape is None:
            copied = target.create_dataset(name, dtype=item.dtype)
        else:
            values = read_array(item)
            filters: dict[str, Any] = {}
            if item.ndim and values.nbytes >= CHUNKED_BYTES and item.dtype.kind in "iufS":
                filters = {"chunks": True, "compression": "gzip", "fletcher32": True}
            copied = target.create_dataset(name, data=values, dtype=item.dtype, **filters)
    except (ArchiveError, *READ_ERRORS) as error:
        if name in target:
            del target[name]
        return f"it cannot be copied: {str(error).splitlines()[0]}"
    _copy_attributes(run, item, copied, item.name)
    return None


def _copy_attributes(run: _Copy, source: Any, target: Any, path: str) -> None:
    for key in source.attrs:
        try:
            if is_plain_type(source.attrs.get_id(key).get_type()):
                target.attrs[key] = source.attrs[key]
            else:
                run.leave(f"{path}/@{key}", "references or ragged arrays")
        except READ_ERRORS as error:
            run.leave(f"{path}/@{key}", f"it cannot be copied: {str(error).splitlines()[0]}")


def _has_digest(dtype: np.dtype) -> bool:
    """Whether the manifest says how values of a type enter the digest of a node."""
    if dtype.kind == "O":
        return h5py.check_string_dtype(dtype) is not None
    if dtype.subdtype is not None:
        return False
    if dtype.names is not None:
        members = [dtype[name] for name in dtype.names]
        return all(member.kind in "iufcbS" for member in members)
    return dtype.kind in "iufcbSV"


def _address(item: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(item.id)
    return info.fileno, info.addr
