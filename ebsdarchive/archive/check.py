"""Checks that only read: structure against the schema, digests of nodes, decoded patterns.

Every check goes on after the first fault and reports all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h5py

from ebsdarchive.archive.auxiliary import auxiliary_faults
from ebsdarchive.archive.conformity import attribute, check_node, printable
from ebsdarchive.archive.description import read_grid
from ebsdarchive.archive.file import archive_group, readable
from ebsdarchive.archive.layers import block_nodes, contents, read_contents
from ebsdarchive.archive.metadata import metadata_faults
from ebsdarchive.archive.nodes import node_digest
from ebsdarchive.archive.outlines import holds_outlines, outline_faults
from ebsdarchive.archive.raw import check_blocks
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.archive.trust import READ_ERRORS
from ebsdarchive.archive.views import check_views
from ebsdarchive.errors import ArchiveError

__all__ = ["Report", "check_archive", "check_schema", "check_structure", "survivors"]

Progress = Callable[[float, float], None]
_LAYERS = ("raw", "neural", "restored", "models", "maps", "auxiliary")


@dataclass
class Report:
    """What a check found.

    Parameters
    ----------
    path
        The file.
    layers
        {layer: faults}; a layer without faults is sound as far as it was checked.
    faults
        Faults that belong to no layer.
    decoded
        Whether patterns were decoded and compared, or only the small nodes.
    """

    path: str
    layers: dict[str, list[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    decoded: bool = False

    @property
    def all_faults(self) -> list[str]:
        return self.faults + [fault for faults in self.layers.values() for fault in faults]

    @property
    def sound(self) -> bool:
        return not self.all_faults


def check_schema(path: str | os.PathLike[str]) -> list[str]:
    """Everything in which a file differs from the schema of its version, one line each."""
    with open_for_reading(path) as file, readable(file):
        archive = archive_group(file)
        symbols: dict[str, int] = {}
        faults = check_node(archive["scan"], "scan", symbols) if "scan" in archive else []
        faults += [fault for fault in check_node(file["/"], "root", symbols) if fault not in faults]
        faults += metadata_faults(archive)
        if not {"raw", "neural"} & set(archive):
            faults.append(
                "/archive: expected at least one of the layers raw and neural, found none"
            )
    return faults


def check_structure(path: str | os.PathLike[str]) -> list[str]:
    """Schema, digests of all nodes, and views; patterns are not decoded."""
    return check_archive(path, data=False).all_faults


def check_archive(
    path: str | os.PathLike[str], data: bool = False, progress: Progress | None = None
) -> Report:
    """Check a whole archive.

    Parameters
    ----------
    data
        Also decode all patterns and compare their digests.
    progress
        Told (patterns, of all) while decoding.

    Raises
    ------
    ArchiveError
        If the file cannot be taken for an archive at all.
    """
    report = Report(os.fspath(path), decoded=data)
    with open_for_reading(path) as file, readable(file):
        archive = archive_group(file)
        there = _guarded(report.faults, "/archive", contents, archive) or {}
        listed = _guarded(report.faults, "/archive/@contents", read_contents, archive)
        names = list(there | (listed or {}))
        report.layers = {name: [] for name in names if name.partition("/")[0] in _LAYERS}
        nodes = {
            name: _guarded(report.faults, f"/archive/{name}", block_nodes, archive, name) or []
            for name in report.layers
            if name in archive
        }
        for fault in _guarded(report.faults, "/", check_schema, path) or []:
            _file_under(report, fault)
        for name in names:
            faults = report.layers.get(name, report.faults)
            expected = there.get(name) if listed is None else listed.get(name)
            faults += _guarded(faults, f"/archive/{name}", _check, archive, name, expected) or []
        report.faults += _guarded(report.faults, "/archive/scan", _check_scan, archive) or []
        report.faults += _guarded(report.faults, "/archive/views", check_views, file) or []
    if data:
        for name, faults in report.layers.items():
            for node in nodes.get(name, []):
                faults += _guarded(faults, node, check_blocks, report.path, node, progress) or []
    report.faults = [printable(fault) for fault in report.faults]
    report.layers = {
        printable(name): [printable(fault) for fault in faults]
        for name, faults in report.layers.items()
    }
    return report


def _check(archive: h5py.Group, name: str, expected: str | None) -> list[str]:
    """Faults of a node: lost, not in the table of contents, or of other content than sealed."""
    where = f"/archive/{name}"
    if name not in archive:
        return [f"{where}: expected it from the table of contents, found none; it is lost"]
    if expected is None:
        return [f"{where}: expected only what /archive/@contents lists, found this as well"]
    if name.startswith("maps/") and holds_outlines(archive, name):
        faults = outline_faults(archive[name])
        if faults:
            return faults
    if name.startswith("auxiliary/"):
        faults = auxiliary_faults(archive, name)
        if faults:
            return faults
    differing: list[str] = []
    if node_digest(archive[name], differing=differing) != expected:
        return [f"{where}: expected content of digest {expected[:12]}…, found other; it is damaged"]
    return [
        f"{path}/@sha256: expected the digest of the node, found another; the attribute is damaged"
        for path in differing
        if not path.startswith("/archive/source/")  # a source's own attributes of this name
    ]


def _check_scan(archive: h5py.Group) -> list[str]:
    """Faults between nodes: the grid and the number of points, lossy layers and their original."""
    faults = []
    grid, n = read_grid(archive), attribute(archive["scan"], "n")
    if grid.size != n:
        faults.append(f"/archive/scan/grid: expected a grid of {n} points, found {grid.size}")
    if "raw" in archive:
        original = attribute(archive["raw"], "patterns_sha256")
        for name in ["neural", *(f"restored/{key}" for key in archive.get("restored", {}))]:
            named = attribute(archive[name], "raw_sha256") if name in archive else original
            if named != original:
                faults.append(
                    f"/archive/{name}: expected a layer of these raw patterns, found one of others "
                    f"({named[:12]}…)"
                )
    return faults


def _guarded(faults: list[str], where: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result; what it raises on damaged bytes becomes a fault, and None is left."""
    try:
        return function(*arguments)
    except (ArchiveError, *READ_ERRORS) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        faults.append(f"{where}: expected readable content, found damage ({reason})")
        return None


def _file_under(report: Report, fault: str) -> None:
    """Put a fault to the layer that its path names."""
    for name, faults in report.layers.items():
        if fault.startswith(f"/archive/{name}/") or fault.startswith(f"/archive/{name}:"):
            faults.append(fault)
            return
    report.faults.append(fault)


def survivors(report: Report) -> list[str]:
    """Pattern layers that the check found nothing against."""
    return [
        name
        for name, faults in report.layers.items()
        if not faults and name.split("/")[0] in ("raw", "neural", "restored")
    ]
