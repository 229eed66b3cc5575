"""Writing the small layers: maps, models and restored patterns. The raw layer has its own module.

The registry at the end says which code reads which encoding of patterns.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy.typing as npt

from ebsdarchive.archive.copying import copy_node
from ebsdarchive.archive.nodes import (
    attribute,
    attributes_of,
    container,
    new_node,
    read_array,
    require_kind,
)
from ebsdarchive.archive.raw import RawPatterns, RawSummary, write_raw
from ebsdarchive.archive.trust import readable
from ebsdarchive.errors import ArchiveError, CorruptionError, MissingLayerError, VersionError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Patterns

__all__ = [
    "block_nodes",
    "contents",
    "copy_layer",
    "layer_names",
    "layer_node",
    "model_attributes",
    "own_background",
    "pattern_layer_names",
    "pattern_reader",
    "read_contents",
    "read_model",
    "read_uncertainty",
    "write_contents",
    "write_map",
    "write_model",
    "write_restored",
]

_DESCRIBING = ("scan", "source", "metadata")
_CONTAINERS = ("restored", "models", "maps", "auxiliary")
_PATTERN_HOLDERS = ("raw", "neural", "restored")

# (encoding-type, encoding-version): "module:function", called with (path of file, node) -> Patterns
_PATTERN_READERS = {
    ("raw-patterns", "1.0"): "ebsdarchive.archive.raw:RawPatterns",
    ("restored-patterns", "1.0"): "ebsdarchive.archive.layers:read_restored",
    ("tf-inr", "1.0"): "ebsdarchive.neural.storage:read_field_patterns",
    ("tf-inr", "2.0"): "ebsdarchive.neural.storage:read_field_patterns",
    ("joint-inr", "1.0"): "ebsdarchive.neural.storage:read_field_patterns",
}


def layer_names(archive: h5py.Group) -> list[str]:
    """Names of all layers: raw, neural, restored/…, models/…, maps/…, auxiliary/…."""
    names = [name for name in ("raw", "neural") if name in archive]
    for name in _CONTAINERS:
        names += [f"{name}/{member}" for member in archive.get(name, {})]
    return names


def pattern_layer_names(archive: h5py.Group) -> list[str]:
    """Names of the layers that give patterns."""
    return [name for name in layer_names(archive) if name.split("/")[0] in _PATTERN_HOLDERS]


def contents(archive: h5py.Group) -> dict[str, str]:
    """Digest of every node that belongs to the archive, by its path below ``/archive``."""
    names = [*_DESCRIBING, *layer_names(archive)]
    names += [f"provenance/{name}" for name in archive.get("provenance", {})]
    return {
        name: str(attribute(archive[name], "sha256", "none")) for name in names if name in archive
    }


def write_contents(archive: h5py.Group) -> None:
    """Write the table of contents, once all nodes are complete."""
    archive.attrs["contents"] = json.dumps(contents(archive), ensure_ascii=False)


def read_contents(archive: h5py.Group) -> dict[str, str]:
    """The table of contents that was written with the archive."""
    listed = json.loads(attribute(archive, "contents"))
    return {str(name): str(digest) for name, digest in listed.items()}


def layer_node(archive: h5py.Group, name: str) -> h5py.Group:
    """The node of a layer.

    Raises
    ------
    MissingLayerError
        If the archive has no layer of that name.
    """
    names = layer_names(archive)
    if name not in names and f"restored/{name}" in names:
        name = f"restored/{name}"
    if name not in names:
        found = ", ".join(names) or "none"
        raise MissingLayerError(
            f"{archive.file.filename}: expected a layer {name!r}, found {found}"
        )
    return archive[name]


def copy_layer(source: h5py.Group, target: h5py.Group, name: str) -> None:
    """Copy a layer's node between archives, as the bytes that are stored."""
    kind, _, member = name.partition("/")
    place = container(target, kind) if member else target
    with readable(source.file):
        copy_node(layer_node(source, name), place, member or kind)


def pattern_reader(archive: h5py.Group, name: str) -> Patterns:
    """The patterns of a layer, whatever its encoding.

    Raises
    ------
    MissingLayerError, ArchiveError, VersionError
        If there is no such layer, it holds no patterns, or its encoding is not known here.
    """
    node = layer_node(archive, name)
    where = f"{archive.file.filename}: {node.name}"
    encoding = attribute(node, "encoding-type", "nothing")
    version = attribute(node, "encoding-version", "none")
    known = [v for kind, v in _PATTERN_READERS if kind == encoding]
    if not known:
        raise ArchiveError(
            f"{where}: expected a layer of patterns, found {encoding}; choose one of "
            f"{', '.join(pattern_layer_names(archive))}"
        )
    if version not in known:
        raise VersionError(
            f"{where}: {encoding} version {version} is not known here (known: {', '.join(known)}); "
            f"update ebsdarchive to read it"
        )
    module, _, function = _PATTERN_READERS[encoding, version].partition(":")
    reader: Callable[[str, str], Patterns] = getattr(importlib.import_module(module), function)
    return reader(archive.file.filename, node.name)


def block_nodes(archive: h5py.Group, name: str) -> list[str]:
    """Paths of the nodes of a layer whose patterns carry digests by block."""
    if name == "raw":
        return ["/archive/raw"]
    if name.startswith("restored/"):
        members = ("patterns", "uncertainty")
        return [f"/archive/{name}/{key}" for key in members if key in archive[name]]
    if name == "neural" and "residual" in archive["neural"]:
        return ["/archive/neural/residual/codes"]
    return []


def write_map(
    archive: h5py.Group,
    name: str,
    data: npt.NDArray,
    *,
    long_name: str,
    units: str,
    derived_from: str | None = None,
    samples_per_step: int | None = None,
) -> None:
    """Write a map (n_rows, n_columns, …), replacing one of the same name.

    Parameters
    ----------
    samples_per_step
        Of a map on a raster of its own instead of one value per point.
    """
    maps = container(archive, "maps")
    if name in maps:
        del maps[name]
    attributes = {
        "long_name": long_name,
        "derived_from": derived_from,
        "samples_per_step": samples_per_step,
    }
    with new_node(maps, name, "map", attributes, {"data": data}) as node:
        node["data"].attrs["units"] = units


def write_model(
    archive: h5py.Group,
    name: str,
    architecture: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, npt.NDArray],
    card: Mapping[str, Any] | None = None,
    *,
    version: str | None = None,
    model_sha256: str | None = None,
) -> str:
    """Write a model as configuration and named tensors; returns the digest of its node.

    Parameters
    ----------
    version
        Of the architecture.
    model_sha256
        Digest of what the model does, by which restored layers name it.
    """
    attributes = {
        "architecture": architecture,
        "version": version,
        "config": json.dumps(config, sort_keys=True),
        "card": None if card is None else json.dumps(card, sort_keys=True),
        "model_sha256": model_sha256,
    }
    with (
        new_node(container(archive, "models"), name, "model", attributes) as node,
        new_node(node, "tensors", "tensors", {}, dict(tensors)),
    ):
        pass
    return str(attribute(node, "sha256"))


def read_model(archive: h5py.Group, name: str) -> tuple[dict[str, Any], dict[str, npt.NDArray]]:
    """What a model says of itself, configuration and card decoded, and its tensors."""
    node = layer_node(archive, f"models/{name}")
    tensors = {key: read_array(item) for key, item in node["tensors"].items()}
    return model_attributes(node), tensors


def model_attributes(node: h5py.Group) -> dict[str, Any]:
    """What a model says of itself, configuration and card decoded; its tensors are not read."""
    require_kind(node, "model")
    values = attributes_of(node)
    for key in ("config", "card"):
        try:
            values[key] = json.loads(values.get(key, "{}"))
        except ValueError:
            values[key] = None
        if not isinstance(values[key], dict):
            raise CorruptionError(
                f"{node.file.filename}: {node.name}/@{key}: expected a JSON object, found "
                f"something else; the file is damaged"
            )
    return values


@dataclass(frozen=True)
class RestoredSummary:
    """What became of restored patterns: how they are coded, and digest of the node."""

    patterns: RawSummary
    sha256: str


def write_restored(
    archive: h5py.Group,
    name: str,
    patterns: Patterns,
    grid: Grid,
    *,
    method: str,
    config: Mapping[str, Any],
    raw_sha256: str,
    version: str | None = None,
    model_sha256: str | None = None,
    static_background: npt.NDArray | None = None,
    uncertainty: Patterns | None = None,
    profile: str = "auto",
    progress: Callable[[float, float], None] | None = None,
) -> RestoredSummary:
    """Write patterns that a restorer made, losslessly, marked as an estimate.

    Parameters
    ----------
    version
        Of the method.
    model_sha256
        Of the model that was used, if one was.
    static_background
        (sy, sx) of these patterns, where it is no longer that of the scan.
    uncertainty
        Standard deviation of each pixel, in counts.
    """
    attributes = {
        "estimate": "estimate",
        "method": method,
        "version": version,
        "config": json.dumps(config, sort_keys=True),
        "raw_sha256": raw_sha256,
        "model_sha256": model_sha256,
    }
    datasets = {"static_background": static_background}
    with new_node(container(archive, "restored"), name, "restored", attributes, datasets) as node:
        summary = write_raw(node, "patterns", patterns, grid, profile, progress)
        if uncertainty is not None:
            write_raw(node, "uncertainty", uncertainty, grid, profile, progress)
    return RestoredSummary(summary, str(attribute(node, "sha256")))


def read_restored(path: str, node: str) -> Patterns:
    """The patterns of a restored layer."""
    return RawPatterns(path, f"{node}/patterns")


def own_background(archive: h5py.Group, name: str) -> npt.NDArray | None:
    """(sy, sx) the static background of a layer that does not have the scan's; else None."""
    node = layer_node(archive, name)
    return read_array(node["static_background"]) if "static_background" in node else None


def read_uncertainty(archive: h5py.Group, name: str) -> Patterns:
    """The uncertainty of each pixel of a restored layer.

    Raises
    ------
    MissingLayerError
        If the layer has none.
    """
    node = layer_node(archive, name)
    if "uncertainty" not in node:
        raise MissingLayerError(
            f"{archive.file.filename}: {node.name}: expected the uncertainty of each pixel, found "
            f"none; ask for it with `ebsdarchive restore --uncertainty`"
        )
    return RawPatterns(archive.file.filename, f"{node.name}/uncertainty")
