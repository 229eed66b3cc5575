"""Nodes: HDF5 groups that are written and digested by what the schema says of their kind.

Owns how values become attributes and datasets, and the digest of a node. It does not know what any
kind means.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.conformity import (
    attribute,
    attributes_of,
    check_node,
    plain,
    require_kind,
    schema_of,
)
from ebsdarchive.archive.output import stop_if_failed
from ebsdarchive.archive.trust import MOST_BYTES, read_array, read_rows, require_backed
from ebsdarchive.errors import ArchiveError
from ebsdarchive.schema import CURRENT_VERSION, Attribute, load_schema

__all__ = [
    "CHUNKED_BYTES",
    "attribute",
    "attributes_of",
    "container",
    "new_node",
    "node_digest",
    "plain",
    "read_array",
    "require_kind",
    "stored_bytes",
    "write_dataset",
]

CHUNKED_BYTES = 2048  # what HDF5 1.8's index of chunks takes, even of a single one

_ATTRIBUTE_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int, np.integer),
    "float": (float, int, np.floating, np.integer),
}


@contextmanager
def new_node(
    parent: h5py.Group,
    name: str,
    kind_name: str,
    attributes: dict[str, Any] | None = None,
    datasets: dict[str, Any] | None = None,
) -> Iterator[h5py.Group]:
    """Create a node of a kind, let the caller add its children, then seal it with its digest.

    Attributes and datasets that are None are left out.

    Raises
    ------
    ArchiveError
        If a value is not in the schema, is of another type, or a required one is missing.
    """
    kind = load_schema(CURRENT_VERSION).kind(kind_name)
    group = parent.create_group(name)
    group.attrs["encoding-type"] = kind.encoding_type
    group.attrs["encoding-version"] = kind.encoding_version
    for key, value in (attributes or {}).items():
        if value is not None:
            group.attrs[key] = _attribute_value(group, key, kind.attributes.get(key), value)
    for key, value in (datasets or {}).items():
        if value is not None:
            spec = kind.datasets.get(key)
            if spec is None and not kind.any_datasets:
                raise ArchiveError(f"{group.name}: the schema has no dataset {key!r}")
            write_dataset(group, key, value, spec.units if spec else None, checksum=True)
    yield group
    stop_if_failed()
    group.attrs["sha256"] = node_digest(group)
    faults = check_node(group, kind_name, {})
    if faults:
        raise ArchiveError("; ".join(faults))


def _attribute_value(group: h5py.Group, key: str, spec: Attribute | None, value: Any) -> Any:
    """The value as str, int or float, as the schema says; nothing is rounded or spelled out."""
    if spec is None:
        raise ArchiveError(f"{group.name}: the schema has no attribute {key!r}")
    if not isinstance(value, _ATTRIBUTE_TYPES[spec.type]) or isinstance(value, bool):
        raise ArchiveError(f"{group.name}/@{key}: expected {spec.type}, found {value!r}")
    return {"string": str, "int": int, "float": float}[spec.type](value)


def container(parent: h5py.Group, name: str) -> h5py.Group:
    """The group that holds nodes of one kind, made where it is missing."""
    if name in parent:
        return parent[name]
    group = parent.create_group(name)
    group.attrs["encoding-type"] = "container"
    group.attrs["encoding-version"] = "1.0"
    return group


def write_dataset(
    group: h5py.Group, name: str, value: Any, units: str | None = None, *, checksum: bool = False
) -> None:
    """Write a small array or text in the way that every HDF5 build reads.

    Parameters
    ----------
    checksum
        Store even the smallest array in chunks, which carry a checksum and cost 2 kB.
    """
    if isinstance(value, str):
        data = value.encode("utf-8", "backslashreplace")  # names of files may hold stray bytes
        text_type = h5py.string_dtype("utf-8", max(1, len(data)))
        dataset = group.create_dataset(name, data=np.array(data, dtype=text_type), dtype=text_type)
    else:
        array = np.asarray(value)
        filters = {}
        large = array.nbytes >= CHUNKED_BYTES or (checksum and array.size)
        if array.ndim and large and array.dtype.kind in "iuf":
            filters = {
                "chunks": _chunk_shape(array),
                "compression": "gzip",
                "shuffle": array.dtype.itemsize > 1,
                "fletcher32": True,
            }
        dataset = group.create_dataset(name, data=array, **filters)
    if units is not None:
        dataset.attrs["units"] = units


def _chunk_shape(array: npt.NDArray) -> tuple[int, ...]:
    """Whole leading slices of about 1 MiB."""
    per_slice = max(1, array.nbytes // array.shape[0])
    return (min(array.shape[0], max(1, (1 << 20) // per_slice)), *array.shape[1:])


def stored_bytes(group: h5py.Group) -> int:
    """Bytes that the datasets of a node and its children take in the file."""
    return sum(
        item.id.get_storage_size() if isinstance(item, h5py.Dataset) else stored_bytes(item)
        for item in group.values()
    )


def node_digest(
    group: h5py.Group, skip: frozenset[str] = frozenset(), differing: list[str] | None = None
) -> str:
    """Digest of a node as the schema's manifest defines it.

    Parameters
    ----------
    skip
        Paths in the file that are left out, besides datasets with digests by block.
    differing
        Filled with the paths of this node and those below that carry another digest.
    """
    sha = hashlib.sha256()
    _digest_attributes(sha, group, "")
    blocks = _block_datasets(group)
    datasets: list[tuple[str, h5py.Dataset]] = []
    groups: list[tuple[str, h5py.Group]] = []
    for name in sorted(group, key=lambda text: text.encode("utf-8")):
        if f"{group.name.rstrip('/')}/{name}" not in skip:
            item = group[name]
            (datasets if isinstance(item, h5py.Dataset) else groups).append((name, item))
    for name, dataset in datasets:
        if name in blocks:
            continue
        dtype = dataset.dtype.newbyteorder("<").str
        shape = ",".join(str(size) for size in dataset.shape or ())
        sha.update(f"dataset {name} {dtype} {shape}\n".encode())
        _digest_attributes(sha, dataset, f"{name}.")
        _digest_values(sha, dataset)
    for name, child in groups:
        sha.update(f"group {name} {node_digest(child, skip, differing)}\n".encode())
    if differing is not None and attribute(group, "sha256", sha.hexdigest()) != sha.hexdigest():
        differing.append(group.name)
    return sha.hexdigest()


def _digest_attributes(sha: Any, item: h5py.Group | h5py.Dataset, prefix: str) -> None:
    for key in sorted(item.attrs, key=lambda text: text.encode("utf-8")):
        if key != "sha256":
            value = json.dumps(attribute(item, key), ensure_ascii=False, separators=(",", ":"))
            sha.update(f"attribute {prefix}{key} {value}\n".encode())


def _digest_values(sha: Any, dataset: h5py.Dataset) -> None:
    if dataset.shape is None:
        return
    if dataset.dtype.kind == "O":
        for item in np.asarray(read_array(dataset), dtype=object).ravel():
            text = item if isinstance(item, bytes) else str(item).encode("utf-8")
            sha.update(text + b"\0")
        return
    little = dataset.dtype.newbyteorder("<")
    if dataset.ndim == 0 or dataset.nbytes <= MOST_BYTES:
        sha.update(np.ascontiguousarray(read_array(dataset), dtype=little).tobytes())
        return
    require_backed(dataset, dataset.nbytes)
    rows = max(1, MOST_BYTES * dataset.shape[0] // dataset.nbytes)
    for start in range(0, dataset.shape[0], rows):
        part = read_rows(dataset, start, start + rows)
        sha.update(np.ascontiguousarray(part, dtype=little).tobytes())


def _block_datasets(group: h5py.Group) -> set[str]:
    """Names of the group's datasets that carry digests by block."""
    encoding = attribute(group, "encoding-type", "")
    for kind in schema_of(group.file).kinds.values():
        if kind.encoding_type == encoding:
            return {d.name for d in kind.datasets.values() if d.digest == "blocks"}
    return set()
