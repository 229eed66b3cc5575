"""Views of an archive for programs that do not know its format: kikuchipy and PyEBSDIndex.

Views hold no data of their own but small headers; patterns and maps are hard links. Layouts:
kikuchipy's h5ebsd reader and PyEBSDIndex's KIKUCHIPYH5 (which wants every header as an array of one
element, `grid_type`, and a version that sorts after '0.3' as text). What NeXus programs see is in
`nexus_view`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.layers import write_map
from ebsdarchive.archive.nexus_view import write_nexus
from ebsdarchive.archive.nodes import attribute, attributes_of, new_node, node_digest, write_dataset
from ebsdarchive.archive.trust import READ_ERRORS
from ebsdarchive.crystal_map import to_crystal_map
from ebsdarchive.errors import ArchiveError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Scan
from ebsdarchive.schema import CURRENT_VERSION

__all__ = ["check_views", "write_kikuchipy_layout", "write_views"]

KIKUCHIPY_LAYOUT_VERSION = "1.0.0"
_TEXTS = ("manufacturer", "version")
_DIGESTED = {
    "kikuchipy_sha256": "/Scan 1",
    "nexus_sha256": "/entry",
    "root_sha256": "/",
    "archive_sha256": "/archive",
}
_PLACEHOLDER = "not known; a placeholder that kikuchipy or PyEBSDIndex needs"


def write_views(file: h5py.File, scan: Scan) -> None:
    """Write (or rewrite) both views and the root's attributes for the layers now in the file."""
    for name in (*_TEXTS, "Scan 1", "entry"):
        if name in file:
            del file[name]
    archive = file["archive"]
    raw = archive.get("raw")
    if raw is not None and attribute(raw, "level_table") == "none":
        write_kikuchipy_layout(file, scan, raw["patterns"])
    else:
        _write_text(file, "manufacturer", "ebsdarchive")
        _write_text(file, "version", KIKUCHIPY_LAYOUT_VERSION)
    write_nexus(file, scan)
    _write_root(file)
    if "views" in archive:
        del archive["views"]
    digests = {key: _digest(file, key) for key, name in _DIGESTED.items() if name in file}
    with new_node(archive, "views", "views", digests):
        pass


def check_views(file: h5py.File) -> list[str]:
    """Faults of the views: digests that do not match, patterns that are not the raw layer's."""
    node = file["archive/views"]
    stored = attributes_of(node)
    faults = []
    if node_digest(node) != stored["sha256"]:
        faults.append("/archive/views: expected content of the digest it carries, found other")
    for key, name in _DIGESTED.items():
        if key not in stored:
            continue  # the schema says which are required
        try:
            sound = _digest(file, key) == stored[key]
        except (ArchiveError, *READ_ERRORS):
            sound = False
        if not sound:
            faults.append(
                f"{name}: expected the digest in /archive/views, found another; it is damaged, "
                f"the layers have digests of their own"
            )
    patterns = file.get("Scan 1/EBSD/Data/patterns")
    if patterns is not None and patterns != file.get("archive/raw/patterns"):
        faults.append("/Scan 1/EBSD/Data/patterns: expected the raw layer's patterns, found others")
    return faults


def _digest(file: h5py.File, key: str) -> str:
    """Digest of a view without the patterns, or of a group without its groups."""
    group = file[_DIGESTED[key]]
    if key in ("root_sha256", "archive_sha256"):
        where = group.name.rstrip("/")
        return node_digest(
            group, frozenset(f"{where}/{name}" for name in group if name not in _TEXTS)
        )
    return node_digest(group, frozenset({"/Scan 1/EBSD/Data/patterns"}))


def write_kikuchipy_layout(root: h5py.Group, scan: Scan, patterns: h5py.Dataset | None) -> None:
    """Write kikuchipy's h5ebsd layout.

    Parameters
    ----------
    patterns
        Dataset (n, sy, sx) to link to; None leaves the place for the caller to fill.
    """
    _write_text(root, "manufacturer", "kikuchipy")
    _write_text(root, "version", KIKUCHIPY_LAYOUT_VERSION)
    group = root.create_group("Scan 1")
    data = group.create_group("EBSD/Data")
    if patterns is not None:
        data["patterns"] = patterns
    header = group.create_group("EBSD/Header")
    for name, (value, placeholder) in _kikuchipy_header(scan).items():
        if value is None and placeholder is None:
            continue
        if isinstance(value, str):
            _write_text(header, name, value)
            continue
        header.create_dataset(name, data=np.atleast_1d(placeholder if value is None else value))
        if value is None:
            header[name].attrs["note"] = _PLACEHOLDER
    if scan.static_background is not None:
        write_dataset(header, "static_background", scan.static_background)
    sem = group.create_group("SEM/Header")
    microscope = scan.microscope
    for name, number in (
        ("beam_energy", microscope.beam_energy_kev),
        ("magnification", microscope.magnification),
        ("working_distance", microscope.working_distance_mm),
    ):
        if number is not None:
            sem.create_dataset(name, data=np.atleast_1d(float(number)))
    if microscope.name:
        _write_text(sem, "microscope", microscope.name)
    if scan.orientations is not None and not scan.grid.is_hexagonal:
        _write_crystal_map(group, scan)


def _kikuchipy_header(scan: Scan) -> dict[str, tuple[Any, Any]]:
    """Header entries as (value, placeholder): entries without either are left out."""
    grid, detector = scan.grid, scan.detector
    hexagonal = grid.is_hexagonal  # kikuchipy has no hexagonal grids: one long row, as it reads up2
    centre = None if detector.pc_bruker is None else np.atleast_2d(detector.pc_bruker)
    if centre is not None and len(centre) > 1 and not hexagonal:
        centre = centre.reshape(grid.n_rows, grid.n_columns, 3)
    return {
        "n_columns": (np.int64(grid.size if hexagonal else grid.n_columns), None),
        "n_rows": (np.int64(1 if hexagonal else grid.n_rows), None),
        "grid_type": (grid.kind, None),
        "step_x": (grid.step_x_um, 1.0),
        "step_y": (grid.step_y_um, 1.0),
        "pattern_height": (np.int64(detector.shape[0]), None),
        "pattern_width": (np.int64(detector.shape[1]), None),
        "pcx": (None if centre is None else centre[..., 0], None),
        "pcy": (None if centre is None else centre[..., 1], None),
        "pcz": (None if centre is None else centre[..., 2], None),
        "binning": (detector.binning, None),
        "detector_pixel_size": (detector.pixel_size_um, None),
        "sample_tilt": (detector.sample_tilt_deg, None),
        "elevation_angle": (detector.tilt_deg, None),
        "azimuth_angle": (detector.azimuth_deg, None),
        "twist_angle": (detector.twist_deg, None),
    }


def _write_crystal_map(group: h5py.Group, scan: Scan) -> None:
    import orix
    from orix.io.plugins.orix_hdf5 import crystalmap2dict

    assert scan.orientations is not None
    xmap = to_crystal_map(scan.orientations, scan.phases, scan.grid)
    node = group.create_group("EBSD/CrystalMap")
    _write_text(node, "manufacturer", "orix")
    _write_text(node, "version", orix.__version__)
    _write_tree(node.create_group("crystal_map"), crystalmap2dict(xmap))


def _write_tree(group: h5py.Group, tree: dict[str, Any]) -> None:
    for name, value in tree.items():
        if isinstance(value, dict):
            _write_tree(group.create_group(name), value)
        elif isinstance(value, str):
            _write_text(group, name, value)
        elif value is not None:
            write_dataset(group, name, np.atleast_1d(value))


def write_mean_map(archive: h5py.Group, grid: Grid, means: npt.NDArray, raw_sha256: str) -> None:
    """Write the map of mean intensities (`means`, one per point), the archive's default picture."""
    with np.errstate(over="ignore"):
        values = grid.to_map(means.astype(np.float32))
    write_map(
        archive,
        "mean_intensity",
        values,
        long_name="Mean intensity",
        units="counts",
        derived_from=raw_sha256,
    )


def _write_root(file: h5py.File) -> None:
    from ebsdarchive import __version__

    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    for key, value in (
        ("encoding-type", "ebsdarchive"),
        ("encoding-version", CURRENT_VERSION),
        ("NX_class", "NXroot"),
        ("default", "entry"),
        ("creator", "ebsdarchive"),
        ("creator_version", __version__),
        ("file_time", now),
        ("HDF5_Version", h5py.version.hdf5_version),
        ("h5py_version", h5py.__version__),
    ):
        file.attrs[key] = value


def _write_text(group: h5py.Group, name: str, text: str) -> None:
    """A one-element array of fixed-length bytes, which all readers of this layout take."""
    group.create_dataset(name, data=np.array([text.encode("utf-8")]))
