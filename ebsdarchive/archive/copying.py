"""Copies of nodes from file to file: as the bytes that are stored, whatever layout the files have.

HDF5's own copy carries the index of a dataset's chunks along, which a plain file cannot hold if it
is of a "cloud" one, and which would lie between the patterns in the other direction.
"""

from __future__ import annotations

from typing import Any

import h5py

from ebsdarchive.archive.nodes import attribute, read_array
from ebsdarchive.archive.output import stop_if_failed
from ebsdarchive.archive.trust import MOST_BYTES, read_attribute, read_rows
from ebsdarchive.codecs.lossless import Coding, require_filters
from ebsdarchive.errors import CorruptionError

__all__ = ["copy_chunks", "copy_node", "copy_tree", "page_bytes_of"]

_EVERYWHERE = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}

Waiting = list[tuple[h5py.Dataset, h5py.Dataset]]


def page_bytes_of(file: h5py.File) -> int | None:
    """Size of the pages of a file of the layout "cloud"; None of a plain one."""
    properties = file.id.get_create_plist()
    if properties.get_file_space_strategy()[0] != h5py.h5f.FSPACE_STRATEGY_PAGE:
        return None
    return int(properties.get_file_space_page_size())


def copy_node(old: h5py.Group, parent: h5py.Group, name: str) -> None:
    """Copy a node with all below it."""
    if page_bytes_of(old.file) is None:
        old.file.copy(old, parent, name=name)
        return
    for source, target in copy_tree(old, parent.create_group(name)):
        copy_chunks(source, target)


def copy_tree(old: h5py.Group, new: h5py.Group) -> Waiting:
    """Copy what is in a group, but for the chunks of patterns.

    Hard links within the group become such links.

    Returns
    -------
    list of (Dataset, Dataset)
        Patterns in the old file, and the empty dataset in the new one.
    """
    waiting: Waiting = []
    _copy_group(old, new, {}, waiting)
    return waiting


def copy_chunks(old: h5py.Dataset, new: h5py.Dataset) -> None:
    """Copy patterns as they are stored."""
    for start in range(0, old.shape[0], old.chunks[0]):
        mask, data = old.id.read_direct_chunk((start, 0, 0))
        new.id.write_direct_chunk((start, 0, 0), data, mask)
        stop_if_failed()


def _copy_group(old: h5py.Group, new: h5py.Group, made: dict[Any, Any], waiting: Waiting) -> None:
    made[_address(old)] = new
    _copy_attributes(old, new)
    for name in sorted(old, key=lambda name: (name != "archive", name)):  # views link to layers
        item = old[name]
        copied = made.get(_address(item))
        if copied is not None:
            new[name] = copied
        elif isinstance(item, h5py.Group):
            _copy_group(item, new.create_group(name), made, waiting)
        elif _holds_patterns(item):
            made[_address(item)] = _like(item, new, name)
            waiting.append((item, made[_address(item)]))
        else:
            made[_address(item)] = _copy_dataset(item, new, name)


def _holds_patterns(dataset: h5py.Dataset) -> bool:
    """Whether this is the dataset of a raw node, whose index of chunks is long."""
    return (
        dataset.name.endswith("/patterns")
        and dataset.ndim == 3
        and dataset.chunks is not None
        and dataset.chunks[1:] == dataset.shape[1:]
        and attribute(dataset.parent, "encoding-type", "") == "raw-patterns"
    )


def _like(old: h5py.Dataset, parent: h5py.Group, name: str) -> h5py.Dataset:
    """An empty dataset for the patterns of another; filters are not to be told their own values."""
    require_filters(old)
    coding = Coding(str(attribute(old.parent, "profile")), old.dtype.name, old.chunks[0])
    new = parent.create_dataset(name, shape=old.shape, **coding.dataset_options(old.shape[1:]))
    if _filters(new) != _filters(old):
        raise CorruptionError(
            f"{old.file.filename}: {old.name}: expected the filters of profile {coding.profile}, "
            f"found others; the file is damaged"
        )
    _copy_attributes(old, new)
    return new


def _copy_dataset(old: h5py.Dataset, parent: h5py.Group, name: str) -> h5py.Dataset:
    """A copy with its values; filters that not every HDF5 has become gzip in a plain file."""
    if page_bytes_of(parent.file) is not None:
        old.file.copy(old, parent, name=name)
        return parent[name]
    options: dict[str, Any] = {"dtype": old.dtype}
    if old.chunks is not None:
        known = set(_filters(old)) <= _EVERYWHERE
        options |= {
            "chunks": old.chunks,
            "compression": old.compression if known else "gzip",
            "compression_opts": old.compression_opts if known else None,
            "shuffle": old.shuffle,
            "fletcher32": old.fletcher32,
        }
    if old.shape is None:
        new = parent.create_dataset(name, data=h5py.Empty(old.dtype))
    elif old.nbytes <= MOST_BYTES:
        new = parent.create_dataset(name, data=read_array(old), **options)
    else:
        new = parent.create_dataset(name, shape=old.shape, **options)
        rows = max(1, MOST_BYTES * old.shape[0] // old.nbytes)
        for start in range(0, old.shape[0], rows):
            new[start : start + rows] = read_rows(old, start, start + rows)
            stop_if_failed()
    _copy_attributes(old, new)
    return new


def _copy_attributes(old: h5py.Group | h5py.Dataset, new: h5py.Group | h5py.Dataset) -> None:
    for key in old.attrs:
        value = read_attribute(old, key)
        if isinstance(value, h5py.Empty):
            new.attrs[key] = value
        else:
            new.attrs.create(key, value, dtype=old.attrs.get_id(key).dtype)


def _address(item: h5py.Group | h5py.Dataset) -> Any:
    return h5py.h5o.get_info(item.id).addr


def _filters(dataset: h5py.Dataset) -> list[int]:
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
