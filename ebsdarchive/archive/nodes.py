"""Nodes: HDF5 groups that are written, read and checked by what the schema says of their kind.

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

from ebsdarchive.codecs.lossless import require_filters
from ebsdarchive.errors import ArchiveError, CorruptionError, VersionError
from ebsdarchive.schema import CURRENT_VERSION, Dataset, Kind, load_schema

__all__ = [
    "attributes_of",
    "check_node",
    "container",
    "copy_tree",
    "new_node",
    "node_digest",
    "read_array",
    "require_kind",
    "stored_bytes",
    "write_dataset",
]

_HDF5_TYPES = {"string": str, "int": int, "float": float}
_EXPANSION_LIMIT = 1100  # gzip expands at most 1032 times
_UNCHECKED_BYTES = 64 << 20


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
            group.attrs[key] = _HDF5_TYPES[kind.attributes[key].type](value)
    for key, value in (datasets or {}).items():
        if value is not None:
            spec = kind.datasets.get(key)
            if spec is None and not kind.any_datasets:
                raise ArchiveError(f"{group.name}: the schema has no dataset {key!r}")
            write_dataset(group, key, value, spec.units if spec else None)
    yield group
    group.attrs["sha256"] = node_digest(group)
    faults = check_node(group, kind_name, {})
    if faults:
        raise ArchiveError("; ".join(faults))


def container(parent: h5py.Group, name: str) -> h5py.Group:
    """The group that holds nodes of one kind, made where it is missing."""
    if name in parent:
        return parent[name]
    group = parent.create_group(name)
    group.attrs["encoding-type"] = "container"
    group.attrs["encoding-version"] = "1.0"
    return group


def write_dataset(group: h5py.Group, name: str, value: Any, units: str | None = None) -> None:
    """Write a small array or text in the way that every HDF5 build reads."""
    if isinstance(value, str):
        data = value.encode("utf-8")
        text_type = h5py.string_dtype("utf-8", max(1, len(data)))
        dataset = group.create_dataset(name, data=np.array(data, dtype=text_type), dtype=text_type)
    else:
        array = np.asarray(value)
        filters = {}
        if array.ndim and array.size and array.dtype.kind in "iuf":
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


def read_array(dataset: h5py.Dataset) -> npt.NDArray:
    """All values of a dataset whose declared size is backed by stored bytes.

    Raises
    ------
    CorruptionError
        If far more is declared than stored, or the stored bytes do not pass their checksum.
    """
    declared, stored = dataset.nbytes, dataset.id.get_storage_size()
    if declared > _UNCHECKED_BYTES and declared > _EXPANSION_LIMIT * stored:
        raise CorruptionError(
            f"{dataset.file.filename}: {dataset.name}: expected about as much data as declared "
            f"({declared} bytes), found {stored} stored bytes; the file is damaged or hostile"
        )
    try:
        return dataset[()]
    except OSError as error:
        raise unreadable(dataset, error) from error


def unreadable(dataset: h5py.Dataset, error: OSError) -> CorruptionError:
    """The error for stored bytes that HDF5 cannot give back."""
    reason = str(error).splitlines()[0]
    return CorruptionError(
        f"{dataset.file.filename}: {dataset.name}: expected readable data, found damage "
        f"({reason}); run `ebsdarchive verify --data` to see which layers survive"
    )


def stored_bytes(group: h5py.Group) -> int:
    """Bytes that the datasets of a node and its children take in the file."""
    return sum(
        item.id.get_storage_size() if isinstance(item, h5py.Dataset) else stored_bytes(item)
        for item in group.values()
    )


def attributes_of(group: h5py.Group) -> dict[str, Any]:
    """All attributes as plain Python values."""
    return {key: plain(group.attrs[key]) for key in group.attrs}


def plain(value: Any) -> Any:
    """An HDF5 value as str, int, float, bool or list of these."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()] if value.ndim else plain(value.item())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, h5py.Empty):
        return None
    return value if isinstance(value, str | int | float | bool) else str(value)


def require_kind(group: h5py.Group, kind_name: str) -> Kind:
    """The kind of a node after checking that it says to be of it, in a version known here."""
    kind = load_schema(CURRENT_VERSION).kind(kind_name)
    where = f"{group.file.filename}: {group.name}"
    found = plain(group.attrs.get("encoding-type", "nothing"))
    version = plain(group.attrs.get("encoding-version", "none"))
    if found != kind.encoding_type:
        raise ArchiveError(f"{where}: expected encoding {kind.encoding_type}, found {found}")
    if version != kind.encoding_version:
        raise VersionError(
            f"{where}: {found} version {version} is not known here "
            f"(known: {kind.encoding_version}); update ebsdarchive to read it"
        )
    return kind


def node_digest(group: h5py.Group, skip: frozenset[str] = frozenset()) -> str:
    """Digest of a node as the schema's manifest defines it.

    Parameters
    ----------
    skip
        Paths in the file that are left out, besides datasets with digests by block.
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
        sha.update(f"group {name} {node_digest(child, skip)}\n".encode())
    return sha.hexdigest()


def _digest_attributes(sha: Any, item: h5py.Group | h5py.Dataset, prefix: str) -> None:
    for key in sorted(item.attrs, key=lambda text: text.encode("utf-8")):
        if key != "sha256":
            value = json.dumps(plain(item.attrs[key]), ensure_ascii=False, separators=(",", ":"))
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
    if dataset.ndim == 0 or dataset.nbytes <= _UNCHECKED_BYTES:
        sha.update(np.ascontiguousarray(read_array(dataset), dtype=little).tobytes())
        return
    rows = max(1, _UNCHECKED_BYTES * dataset.shape[0] // dataset.nbytes)
    for start in range(0, dataset.shape[0], rows):
        try:
            part = dataset[start : start + rows]
        except OSError as error:
            raise unreadable(dataset, error) from error
        sha.update(np.ascontiguousarray(part, dtype=little).tobytes())


def _block_datasets(group: h5py.Group) -> set[str]:
    """Names of the group's datasets that carry digests by block."""
    encoding = plain(group.attrs.get("encoding-type", ""))
    for kind in load_schema(CURRENT_VERSION).kinds.values():
        if kind.encoding_type == encoding:
            return {d.name for d in kind.datasets.values() if d.digest == "blocks"}
    return set()


def check_node(group: h5py.Group, kind_name: str, symbols: dict[str, Any]) -> list[str]:
    """Everything in which a node and its children differ from the schema, one line each.

    Parameters
    ----------
    symbols
        Dimensions bound so far (n, sy, sx); filled where the node binds them.
    """
    if kind_name == "any":
        return []
    try:
        kind = require_kind(group, kind_name)
    except ArchiveError as error:
        return [str(error).removeprefix(f"{group.file.filename}: ")]
    faults: list[str] = []
    where = group.name.rstrip("/")
    for attribute in kind.attributes.values():
        at = f"{where}/@{attribute.name}"
        if attribute.name not in group.attrs:
            if attribute.required:
                faults.append(f"{at}: required, but missing")
            continue
        value: Any = plain(group.attrs[attribute.name])
        expected = _HDF5_TYPES[attribute.type]
        if not isinstance(value, expected) and not (expected is float and isinstance(value, int)):
            faults.append(f"{at}: expected {attribute.type}, found {value!r}")
        elif attribute.choices and value not in attribute.choices:
            faults.append(f"{at}: expected one of {', '.join(attribute.choices)}, found {value!r}")
        elif attribute.symbol and symbols.setdefault(attribute.symbol, value) != value:
            faults.append(f"{at}: expected {symbols[attribute.symbol]}, found {value}")
    local = dict(symbols)
    for spec in kind.datasets.values():
        item = group.get(spec.name)
        if item is None:
            if spec.required:
                faults.append(f"{where}/{spec.name}: required, but missing")
        elif not isinstance(item, h5py.Dataset):
            faults.append(f"{where}/{spec.name}: expected a dataset, found a group")
        else:
            faults += _check_dataset(item, spec, local)
    for subgroup in kind.groups.values():
        item = group.get(subgroup.name)
        at = f"{where}/{subgroup.name}"
        if item is None:
            if subgroup.required:
                faults.append(f"{at}: required, but missing")
        elif not isinstance(item, h5py.Group):
            faults.append(f"{at}: expected a group, found a dataset")
        elif subgroup.members:
            for name in item:
                if isinstance(item[name], h5py.Group):
                    faults += check_node(item[name], subgroup.members, symbols)
                else:
                    faults.append(f"{at}/{name}: expected a group, found a dataset")
        elif subgroup.kind:
            faults += check_node(item, subgroup.kind, symbols)
    return faults


def _check_dataset(dataset: h5py.Dataset, spec: Dataset, symbols: dict[str, int]) -> list[str]:
    at = dataset.name
    if h5py.check_string_dtype(dataset.dtype) or dataset.dtype.kind == "S":
        found = "bytes" if "bytes" in spec.types else "string"
    else:
        found = dataset.dtype.name
    if found not in spec.types:
        return [f"{at}: expected {' or '.join(spec.types)}, found {found}"]
    shape = tuple(dataset.shape)
    expected = spec.shape
    if expected and expected[-1] == "...":
        expected = expected[:-1]
        shape = shape[: len(expected)]
    if len(shape) != len(expected):
        wanted = ", ".join(str(size) for size in spec.shape)
        return [f"{at}: expected {len(expected)} dimensions ({wanted}), found {len(shape)}"]
    faults = []
    for size, symbol in zip(shape, expected, strict=True):
        if isinstance(symbol, int):
            wanted_size = symbol
        else:
            name, _, offset = symbol.partition(" + ")
            wanted_size = symbols.setdefault(name, size - int(offset or 0)) + int(offset or 0)
        if size != wanted_size:
            faults.append(f"{at}: expected {symbol} = {wanted_size}, found {size}")
    return faults


def copy_tree(
    source: h5py.Group, target: h5py.Group, keep: Any, left_out: list[dict[str, str]]
) -> None:
    """Copy a group's attributes and members; record those that were not copied, and why.

    Parameters
    ----------
    keep
        Called with each dataset; returns None to copy it, or the reason not to.
    left_out
        Filled with {"path", "reason"}.
    """
    for key in source.attrs:
        target.attrs[key] = source.attrs[key]
    for name in source:
        path = f"{source.name.rstrip('/')}/{name}"
        if not isinstance(source.get(name, getlink=True), h5py.HardLink):
            left_out.append({"path": path, "reason": "a link, not data"})
            continue
        item = source[name]
        if isinstance(item, h5py.Group):
            copy_tree(item, target.create_group(name), keep, left_out)
        elif isinstance(item, h5py.Dataset):
            reason = keep(item) or _copy_dataset(item, target, name)
            if reason is not None:
                left_out.append({"path": path, "reason": reason})


def _copy_dataset(item: h5py.Dataset, target: h5py.Group, name: str) -> str | None:
    """Copy a dataset's values, type and attributes, with our filters; returns why not, if not.

    HDF5's own copy cannot bring a dataset of a newer file version into an older one.
    """
    require_filters(item)
    try:
        if item.shape is None:
            copied = target.create_dataset(name, dtype=item.dtype)
        else:
            values = read_array(item)
            filters: dict[str, Any] = {}
            if item.ndim and item.size and item.dtype.kind in "iufS":
                filters = {"chunks": True, "compression": "gzip", "fletcher32": True}
            copied = target.create_dataset(name, data=values, dtype=item.dtype, **filters)
        for key in item.attrs:
            copied.attrs[key] = item.attrs[key]
    except (TypeError, ValueError) as error:
        if name in target:
            del target[name]
        return f"a type that cannot be copied ({error})"
    return None
