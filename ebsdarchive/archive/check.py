"""Checks that only read: structure against the schema, digests of nodes, decoded patterns.

Every check goes on after the first fault and reports all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h5py

from ebsdarchive.archive.file import archive_group
from ebsdarchive.archive.layers import layer_names, pattern_layer_names
from ebsdarchive.archive.nodes import check_node, node_digest, plain
from ebsdarchive.archive.raw import check_blocks
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.archive.views import check_views
from ebsdarchive.errors import ArchiveError

__all__ = ["Report", "check_archive", "check_schema", "check_structure", "survivors"]

Progress = Callable[[float, float], None]
_ONCE = ("scan", "source", "views")


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
    with open_for_reading(path) as file:
        archive_group(file)
        symbols: dict[str, int] = {}
        faults = check_node(file["archive/scan"], "scan", symbols) if "archive/scan" in file else []
        faults += [fault for fault in check_node(file["/"], "root", symbols) if fault not in faults]
        if not {"raw", "neural"} & set(file["archive"]):
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
    with open_for_reading(path) as file:
        archive = archive_group(file)
        names = _guarded(report.faults, "/archive", lambda: layer_names(archive)) or []
        report.layers = {name: [] for name in names}
        for fault in _guarded(report.faults, "/", lambda: check_schema(path)) or []:
            _file_under(report, fault)
        nodes = [*_ONCE, *names]
        nodes += [f"provenance/{name}" for name in archive.get("provenance", {})]
        for name in nodes:
            faults = report.layers.get(name, report.faults)
            _guarded(faults, f"/archive/{name}", lambda n=name, f=faults: _check(archive, n, f))
        report.faults += _guarded(report.faults, "views", lambda: check_views(file)) or []
        patterns = _guarded(report.faults, "/archive", lambda: pattern_layer_names(archive)) or []
    if data:
        for name in patterns:
            node = {"raw": "/archive/raw"}.get(name, f"/archive/{name}/patterns")
            if name != "neural":
                found = _guarded(
                    report.layers[name],
                    node,
                    lambda n=node: check_blocks(os.fspath(path), n, progress),
                )
                report.layers[name] += found or []
    return report


def _check(archive: h5py.Group, name: str, faults: list[str]) -> None:
    """Compare the digest of a node, if it is there, with the one it carries."""
    node = archive.get(name)
    if node is None:
        return
    stored = plain(node.attrs.get("sha256", "none"))
    if node_digest(node) != stored:
        faults.append(
            f"/archive/{name}: expected content of digest {str(stored)[:12]}…, found other; "
            f"it is damaged"
        )


def _guarded(faults: list[str], where: str, call: Callable[[], Any]) -> Any:
    """The result of `call`; what it raises on damaged bytes becomes a fault."""
    try:
        return call()
    except (ArchiveError, KeyError, OSError, RuntimeError, ValueError, TypeError) as error:
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
