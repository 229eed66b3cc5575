"""Nodes against the schema: what a node says it is, and everything in which it differs from that.

It reads attributes, types and shapes, never the values of a dataset.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from ebsdarchive.archive.trust import READ_ERRORS, read_attribute
from ebsdarchive.errors import ArchiveError, VersionError
from ebsdarchive.schema import (
    CURRENT_VERSION,
    Attribute,
    Dataset,
    Kind,
    Schema,
    Subgroup,
    known_versions,
    load_schema,
)

__all__ = [
    "attribute",
    "attributes_of",
    "check_node",
    "plain",
    "printable",
    "require_kind",
    "schema_of",
]

_SAID_BY_ALL = ("encoding-type", "encoding-version", "sha256")
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "int": (int,), "float": (float, int)}


def attributes_of(group: h5py.Group) -> dict[str, Any]:
    """All attributes as plain Python values."""
    return {key: plain(read_attribute(group, key)) for key in group.attrs}


def attribute(item: h5py.Group | h5py.Dataset, key: str, default: Any = None) -> Any:
    """An attribute as a plain Python value; `default` if there is none and a default is given."""
    if default is not None and key not in item.attrs:
        return default
    return plain(read_attribute(item, key))


def plain(value: Any) -> Any:
    """An HDF5 value as str, int, float, bool or list of these."""
    if isinstance(value, str):  # h5py marks bytes that are no UTF-8 by surrogates
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()] if value.ndim else plain(value.item())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, h5py.Empty):
        return None
    return value if isinstance(value, int | float | bool) else str(value)


def schema_of(file: h5py.File) -> Schema:
    """The schema of the format version that a file says it has; the current one if it says none."""
    version = attribute(file, "encoding-version", CURRENT_VERSION)
    return load_schema(version if version in known_versions() else CURRENT_VERSION)


def require_kind(group: h5py.Group, kind_name: str) -> Kind:
    """The kind of a node after checking that it says to be of it, in a version known here."""
    kind = schema_of(group.file).kind(kind_name)
    where = f"{group.file.filename}: {group.name}"
    found = attribute(group, "encoding-type", "nothing")
    version = attribute(group, "encoding-version", "none")
    if found != kind.encoding_type:
        raise ArchiveError(f"{where}: expected encoding {kind.encoding_type}, found {found}")
    if version != kind.encoding_version:
        raise VersionError(
            f"{where}: {found} version {version} is not known here "
            f"(known: {kind.encoding_version}); update ebsdarchive to read it"
        )
    return kind


def check_node(group: h5py.Group, kind_name: str, symbols: dict[str, Any]) -> list[str]:
    """Everything in which a node and its children differ from the schema, one line each.

    Parameters
    ----------
    symbols
        Dimensions bound so far (n, sy, sx); filled where the node binds them.
    """
    where = group.name.rstrip("/")
    try:
        return [printable(fault) for fault in _check(group, where, kind_name, symbols)]
    except (ArchiveError, *READ_ERRORS) as error:
        return [f"{where or '/'}: expected a readable node, found damage ({_reason(error)})"]


def _check(group: h5py.Group, where: str, kind_name: str, symbols: dict[str, Any]) -> list[str]:
    if kind_name == "any":
        return []
    try:
        kind = require_kind(group, kind_name)
    except ArchiveError as error:
        return [str(error).removeprefix(f"{group.file.filename}: ")]
    faults: list[str] = []
    for key in group.attrs:
        if key not in kind.attributes and key not in _SAID_BY_ALL:
            faults.append(f"{where}/@{key}: not in the schema")
    for attribute in kind.attributes.values():
        faults += _check_attribute(group, f"{where}/@{attribute.name}", attribute, symbols)
    for name in group:
        if not (name in kind.datasets or name in kind.groups or kind.any_datasets):
            faults.append(f"{where}/{name}: not in the schema")
    local = dict(symbols)
    members: list[Dataset | Subgroup] = [*kind.datasets.values(), *kind.groups.values()]
    for spec in members:
        faults += _check_member(group, f"{where}/{spec.name}", spec, symbols, local)
    return faults


def _check_member(
    group: h5py.Group,
    at: str,
    spec: Dataset | Subgroup,
    symbols: dict[str, Any],
    local: dict[str, Any],
) -> list[str]:
    """Faults of a dataset or group of a node, `local` being the dimensions bound in this node."""
    if spec.name not in group:
        return [f"{at}: required, but missing"] if spec.required else []
    try:
        item = group[spec.name]
        if isinstance(spec, Dataset) and isinstance(item, h5py.Dataset):
            return _check_dataset(item, spec, local)
        if isinstance(spec, Subgroup) and isinstance(item, h5py.Group):
            return _check_subgroup(item, at, spec, symbols)
    except (ArchiveError, *READ_ERRORS) as error:
        return [f"{at}: expected a readable node, found damage ({_reason(error)})"]
    wanted = "a dataset" if isinstance(spec, Dataset) else "a group"
    found = "a group" if isinstance(item, h5py.Group) else "a dataset"
    return [f"{at}: expected {wanted}, found {found}"]


def _check_attribute(
    group: h5py.Group, at: str, spec: Attribute, symbols: dict[str, Any]
) -> list[str]:
    if spec.name not in group.attrs:
        return [f"{at}: required, but missing"] if spec.required else []
    value = attribute(group, spec.name)
    if not isinstance(value, _TYPES[spec.type]) or isinstance(value, bool):
        return [f"{at}: expected {spec.type}, found {value!r}"]
    if spec.choices and value not in spec.choices:
        return [f"{at}: expected one of {', '.join(spec.choices)}, found {value!r}"]
    if spec.symbol and symbols.setdefault(spec.symbol, value) != value:
        return [f"{at}: expected {symbols[spec.symbol]}, found {value}"]
    return []


def _check_subgroup(
    item: h5py.Group, at: str, spec: Subgroup, symbols: dict[str, Any]
) -> list[str]:
    if spec.kinds:
        return check_node(item, _kind_of(item, spec.kinds), symbols)
    faults = []
    for name in item:
        if isinstance(item.get(name), h5py.Group):
            faults += check_node(item[name], _kind_of(item[name], spec.members), symbols)
        else:
            faults.append(f"{at}/{name}: expected a group, found something else")
    return faults


def _kind_of(group: h5py.Group, kinds: tuple[str, ...]) -> str:
    """Which of several kinds a node says it is of; the first if it says to be of none of them."""
    said = (
        attribute(group, "encoding-type", "nothing"),
        attribute(group, "encoding-version", "none"),
    )
    schema = schema_of(group.file)
    for name in kinds:
        kind = None if name == "any" else schema.kind(name)
        if kind is not None and said == (kind.encoding_type, kind.encoding_version):
            return name
    return kinds[0]


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
    if dataset.chunks is not None and not dataset.fletcher32:
        faults.append(f"{at}: expected a fletcher32 checksum on its chunks, found none")
    for size, symbol in zip(shape, expected, strict=True):
        if isinstance(symbol, int):
            if size != symbol:
                faults.append(f"{at}: expected a size of {symbol}, found {size}")
            continue
        name, _, offset = symbol.partition(" + ")
        wanted_size = symbols.setdefault(name, size - int(offset or 0)) + int(offset or 0)
        if size != wanted_size:
            faults.append(f"{at}: expected {symbol} = {wanted_size}, found {size}")
    return faults


def printable(text: str) -> str:
    """The text in one line: damaged names may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0].strip("'\"") if str(error) else type(error).__name__
