"""What an archive says of its scan and of the source: between `Scan` and the nodes that hold it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ebsdarchive.archive.nodes import (
    attribute,
    attributes_of,
    container,
    new_node,
    read_array,
    require_kind,
    write_dataset,
)
from ebsdarchive.archive.source_copy import copy_source
from ebsdarchive.archive.store import file_sha256, open_for_reading, parts_sha256
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import (
    Detector,
    Microscope,
    Orientations,
    Patterns,
    Phase,
    SampleFrame,
    Scan,
    SourceFile,
)

__all__ = [
    "read_grid",
    "read_phases",
    "read_sample_frame",
    "read_scan",
    "read_source_ends",
    "size_and_digest",
    "write_phases",
    "write_scan",
    "write_source",
]

_KEEP_BYTES = 256 << 20


def write_scan(archive: h5py.Group, scan: Scan) -> None:
    """Write the node ``scan`` and its children."""
    n, sy, sx = scan.patterns.shape
    attributes = {"name": scan.name, "n": n, "sy": sy, "sx": sx, "dtype": scan.patterns.dtype.name}
    datasets = {"static_background": scan.static_background}
    with new_node(archive, "scan", "scan", attributes, datasets) as group:
        grid = asdict(scan.grid)
        grid["grid_type"] = grid.pop("kind")
        with new_node(group, "grid", "grid", grid):
            pass
        _write_detector(group, scan.detector)
        with new_node(group, "microscope", "microscope", asdict(scan.microscope)):
            pass
        if scan.phases:
            write_phases(group, scan.phases)
        if scan.orientations is not None:
            _write_orientations(group, scan.orientations)


def _write_detector(group: h5py.Group, detector: Detector) -> None:
    values = asdict(detector)
    del values["shape"]
    centres = {
        name: None if values[name] is None else np.atleast_2d(values[name])
        for name in ("pc_bruker", "pc_original")
    }
    attributes = {key: value for key, value in values.items() if key not in centres}
    with new_node(group, "detector", "detector", attributes, centres):
        pass


def _write_orientations(group: h5py.Group, orientations: Orientations) -> None:
    datasets = {
        "quaternions": np.asarray(orientations.quaternions, np.float64),
        "phase_id": np.asarray(orientations.phase_id, np.int32),
    }
    said = {"sample_frame": orientations.sample_frame}
    with new_node(group, "orientations", "orientations", said, datasets) as node:
        if orientations.properties:
            properties = container(node, "properties")
            for name, values in orientations.properties.items():
                write_dataset(properties, name.replace("/", "_"), values)


def write_source(archive: h5py.Group, source: SourceFile) -> None:
    """Write the node ``source``: the file's digest, its header and all of its metadata."""
    path = Path(source.path) if source.path is not None else None
    attributes: dict[str, Any] = {"format": source.format, "reader": source.reader}
    if path is not None:
        attributes |= {
            "file_name": os.fsencode(path.name).decode("utf-8", "backslashreplace"),
            **size_and_digest(path, source.parts),
        }
    datasets = {
        "metadata": json.dumps(source.metadata, ensure_ascii=False, sort_keys=True),
        "header": None if source.header is None else np.frombuffer(source.header, np.uint8),
        "trailer": None if source.trailer is None else np.frombuffer(source.trailer, np.uint8),
    }
    with new_node(archive, "source", "source", attributes, datasets) as group:
        if source.hdf5_patterns is not None and path is not None:
            _copy_hdf5(group, path, source.hdf5_patterns)
        if source.companions:
            files = container(group, "files")
            for companion in source.companions:
                content = np.frombuffer(Path(companion).read_bytes(), np.uint8)
                write_dataset(files, Path(companion).name, content)


def size_and_digest(path: Path, parts: Sequence[str]) -> dict[str, Any]:
    """Bytes and SHA-256 of a source; of a folder, of the files that make the scan."""
    if not path.is_dir():
        return {"file_bytes": path.stat().st_size, "file_sha256": file_sha256(path)}
    return {
        "file_bytes": sum((path / part).stat().st_size for part in parts),
        "file_sha256": parts_sha256(path, parts),
    }


def _copy_hdf5(group: h5py.Group, path: Path, patterns: str) -> None:
    """Copy all of an HDF5 source but its pattern stacks."""

    def reason(dataset: h5py.Dataset) -> str | None:
        if dataset == stack:
            return "the patterns, stored as the raw layer"
        if dataset.shape is None:
            return None
        if dataset.nbytes > _KEEP_BYTES:
            if dataset.ndim >= 3 and dataset.shape[-2:] == stack.shape[-2:]:
                return "another stack of patterns"
            return f"larger than {_KEEP_BYTES} bytes"
        if h5py.check_ref_dtype(dataset.dtype) is not None:
            return "references into the source file"
        return None

    with open_for_reading(path) as file:
        stack = file[patterns]
        left_out = copy_source(file["/"], group.create_group("hdf5"), reason)
    group.attrs["hdf5_patterns"] = patterns
    group.attrs["hdf5_left_out"] = json.dumps(left_out, ensure_ascii=False)


def read_source_ends(archive: h5py.Group) -> tuple[bytes | None, bytes | None]:
    """The header and trailer of a binary source: what stands before and behind its patterns."""
    node = archive["source"]
    require_kind(node, "source")
    header, trailer = (
        read_array(node[name]).tobytes() if name in node else None for name in ("header", "trailer")
    )
    return header, trailer


def read_scan(archive: h5py.Group, patterns: Patterns) -> Scan:
    """The scan that the archive describes, with `patterns` from any of its layers."""
    group = archive["scan"]
    require_kind(group, "scan")
    values = attributes_of(group)
    source = attributes_of(archive["source"])
    background = group.get("static_background")
    return Scan(
        patterns=patterns,
        grid=read_grid(archive),
        detector=_read_detector(group["detector"], (values["sy"], values["sx"])),
        source=SourceFile(archive.file.filename, source["format"], source["reader"]),
        microscope=Microscope(**_named(group["microscope"], "microscope")),
        phases=read_phases(group),
        orientations=_read_orientations(archive),
        static_background=None if background is None else read_array(background),
        name=values.get("name"),
    )


def read_grid(archive: h5py.Group) -> Grid:
    """The grid of the scan."""
    values = _named(archive["scan/grid"], "grid")
    values["kind"] = values.pop("grid_type")
    return Grid(**values)


def _named(group: h5py.Group, kind_name: str) -> dict[str, Any]:
    """A node's attributes that the schema names."""
    kind = require_kind(group, kind_name)
    return {key: value for key, value in attributes_of(group).items() if key in kind.attributes}


def _read_detector(group: h5py.Group, shape: tuple[int, int]) -> Detector:
    values = _named(group, "detector")
    for name in ("pc_bruker", "pc_original"):
        if name in group:
            centres = read_array(group[name])
            values[name] = centres[0] if len(centres) == 1 else centres
    return Detector(shape=shape, **values)


def write_phases(group: h5py.Group, phases: Sequence[Phase]) -> None:
    """Write the child `phases` of a node."""
    nodes = container(group, "phases")
    for phase in phases:
        values = asdict(phase)
        lattice = values.pop("lattice")
        with new_node(nodes, str(phase.phase_id), "phase", values, {"lattice": lattice}):
            pass


def read_phases(group: h5py.Group) -> tuple[Phase, ...]:
    """The phases in the child `phases` of a node, in the order of their names."""
    phases = []
    for node in group.get("phases", {}).values():
        lattice = tuple(read_array(node["lattice"]).tolist()) if "lattice" in node else None
        phases.append(Phase(**_named(node, "phase"), lattice=lattice))
    return tuple(sorted(phases, key=lambda phase: phase.phase_id))


def read_sample_frame(archive: h5py.Group) -> SampleFrame | None:
    """The sample frame of the orientations that came with the scan; None where there are none."""
    node = archive["scan"].get("orientations")
    if node is None:
        return None
    of_source = str(attribute(archive["source"], "format"))
    implied = "oxford" if of_source.startswith(("Oxford", "Bruker")) else "edax"
    frame: SampleFrame = _named(node, "orientations").get("sample_frame", implied)
    return frame


def _read_orientations(archive: h5py.Group) -> Orientations | None:
    frame = read_sample_frame(archive)
    if frame is None:
        return None
    node = archive["scan/orientations"]
    properties = {name: read_array(item) for name, item in node.get("properties", {}).items()}
    return Orientations(
        read_array(node["quaternions"]), read_array(node["phase_id"]), properties, frame
    )
