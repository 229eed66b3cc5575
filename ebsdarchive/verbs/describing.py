"""``info``: what is in an archive, as plain values for people and programs."""

from __future__ import annotations

import os
from typing import Any

from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.layers import layer_node
from ebsdarchive.archive.nodes import attributes_of, stored_bytes

__all__ = ["info"]


def info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Describe an archive; values that the source did not give are absent.

    Raises
    ------
    ArchiveError
        If the file is no archive.
    """
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
            "file_bytes": os.path.getsize(archive.path),
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
            "source": {
                key: value
                for key, value in _own(attributes_of(group["source"])).items()
                if not key.startswith("hdf5_left")
            },
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
            entry.pop("config", None)
            described["layers"][name] = entry
    described["scan"] = {k: v for k, v in described["scan"].items() if v is not None}
    return described


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """Attributes without those that every node has."""
    return {
        k: v for k, v in values.items() if k not in ("encoding-type", "encoding-version", "sha256")
    }
