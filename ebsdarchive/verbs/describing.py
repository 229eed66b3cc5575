"""``info``: what is in an archive or a vendor's file, as plain values for people and programs."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.archive.description import read_sample_frame
from ebsdarchive.archive.file import is_archive, open_archive
from ebsdarchive.archive.layers import layer_node
from ebsdarchive.archive.layout import is_cloud
from ebsdarchive.archive.metadata import read_metadata
from ebsdarchive.archive.nodes import attributes_of, read_array, stored_bytes
from ebsdarchive.errors import EbsdArchiveError, FormatError, GeometryError
from ebsdarchive.exchange import open_scan, scan_names
from ebsdarchive.scan import Scan
from ebsdarchive.verbs.opening import require_no_choice

__all__ = ["info"]


def info(
    path: str | os.PathLike[str],
    *,
    scan: str | int | None = None,
    geometry: str | os.PathLike[str] | None = None,
    index_pattern: str | None = None,
) -> dict[str, Any]:
    """Describe an archive, or the scans of a vendor's file; what is not known is absent.

    Parameters
    ----------
    scan, geometry, index_pattern
        Of a vendor's file, see `ebsdarchive.exchange.open_scan`; without `scan`, all are described.

    Returns
    -------
    dict
        Of an archive with `layers`, of a source with `scans`. Where only some scans can be read,
        the others have an `error` instead of their values.

    Raises
    ------
    EbsdArchiveError
        ArchiveError if an archive, FormatError if a source is not what it should be.
    """
    if is_archive(path):
        require_no_choice(path, scan, geometry, index_pattern)
        return _describe_archive(path)
    file = Path(path)
    names = scan_names(file)
    chosen: list[str | int | None] = [scan] if scan is not None or len(names) == 1 else [*names]
    scans: list[dict[str, Any]] = []
    faults: list[EbsdArchiveError] = []
    for one in chosen:
        try:
            opened = open_scan(file, scan=one, geometry=geometry, index_pattern=index_pattern)
            scans.append(_describe_scan(opened))
        except (FormatError, GeometryError) as error:
            faults.append(error)
            scans.append({"name": one, "error": str(error)})
    if len(faults) == len(scans):
        raise faults[0]
    return {"path": str(file), "scan_names": list(names), "scans": scans}


def _describe_scan(scan: Scan) -> dict[str, Any]:
    """What a vendor's file says of a scan."""
    n, sy, sx = scan.patterns.shape
    detector = _known(asdict(scan.detector), "shape", "pc_bruker", "pc_original")
    if scan.detector.pc_bruker is not None:
        centres = np.atleast_2d(scan.detector.pc_bruker)
        detector["pc_bruker_mean"] = centres.mean(axis=0).tolist()
        detector["pc_count"] = len(centres)
    grid = _known(asdict(scan.grid))
    grid["grid_type"] = grid.pop("kind")
    metadata = scan.source.metadata
    said = {name: metadata.get(name) for name in ("lossy", "index_pattern")}
    if "geometry" in metadata:
        said["geometry"] = f"{metadata['geometry']['format']} {metadata['geometry']['file']}"
    described: dict[str, Any] = {
        "name": scan.name,
        "patterns": n,
        "pattern_shape": [sy, sx],
        "dtype": scan.patterns.dtype.name,
        "nbytes": scan.nbytes,
        "grid": grid,
        "detector": detector,
        "microscope": _known(asdict(scan.microscope)),
        "phases": [_known(asdict(phase)) for phase in scan.phases],
        "has_orientations": scan.orientations is not None,
        "sample_frame": None if scan.orientations is None else scan.orientations.sample_frame,
        "has_background": scan.static_background is not None,
        "source": _known({"format": scan.source.format, "reader": scan.source.reader, **said}),
    }
    return described


def _known(values: dict[str, Any], *without: str) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None and k not in without}


def _describe_archive(path: str | os.PathLike[str]) -> dict[str, Any]:
    archive = open_archive(path)
    grid = archive.grid
    sy, sx = archive.pattern_shape
    itemsize = {"uint8": 1, "uint16": 2, "float32": 4}[archive.dtype]
    nbytes = grid.size * sy * sx * itemsize
    with archive.group() as group:
        scan = group["scan"]
        described: dict[str, Any] = {
            "path": archive.path,
            "format_version": archive.format_version,
            "archive_id": archive.archive_id,
            "file_bytes": archive.file_bytes,
            "layout": "cloud" if is_cloud(group.file) else "plain",
            "scan": {
                "name": attributes_of(scan).get("name"),
                "patterns": grid.size,
                "pattern_shape": [sy, sx],
                "dtype": archive.dtype,
                "nbytes": nbytes,
            },
            "grid": _own(attributes_of(scan["grid"])),
            "detector": _own(attributes_of(scan["detector"])),
            "microscope": _own(attributes_of(scan["microscope"])),
            "phases": [_own(attributes_of(node)) for node in scan.get("phases", {}).values()],
            "has_orientations": "orientations" in scan,
            "sample_frame": read_sample_frame(group),
            "source": {
                key: value
                for key, value in _own(attributes_of(group["source"])).items()
                if not key.startswith("hdf5_left")
            },
            "metadata": read_metadata(group),
            "opens_in_kikuchipy": "Scan 1" in group.file,
            "layers": {},
            "activities": [
                {"command": node.attrs["command"], "started": node.attrs["started"]}
                for node in sorted(
                    group["provenance"].values(), key=lambda node: str(node.attrs["started"])
                )
            ],
        }
        centre = scan["detector"].get("pc_bruker")
        if centre is not None:
            described["detector"]["pc_bruker_mean"] = centre[()].mean(axis=0).tolist()
        for name in archive.layers:
            node = layer_node(group, name)
            values = attributes_of(node)
            entry = {
                "encoding": f"{values['encoding-type']} {values['encoding-version']}",
                "stored_bytes": stored_bytes(node),
                **_own(values),
            }
            if name in archive.pattern_layers:
                entry["ratio"] = nbytes / max(1, entry["stored_bytes"])
            if "residual" in node:
                entry["max_error_counts"] = attributes_of(node["residual"])["max_error_counts"]
            if values["encoding-type"] == "polylines":
                entry["polylines"], entry["vertices"] = len(node["labels"]), len(node["vertices"])
            if values["encoding-type"] == "auxiliary-images":
                entry["images"] = list(node["images"].shape)
                entry["stage_angles_deg"] = read_array(node["stage_angles_deg"]).tolist()
                entry.pop("registration_parameters", None)
            entry.pop("config", None)
            described["layers"][name] = entry
    described["scan"] = {k: v for k, v in described["scan"].items() if v is not None}
    return described


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """Attributes without those that every node has."""
    return {
        k: v for k, v in values.items() if k not in ("encoding-type", "encoding-version", "sha256")
    }
