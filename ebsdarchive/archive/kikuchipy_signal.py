"""A layer of an archive as a kikuchipy signal, with all that the archive knows of the scan.

Imports kikuchipy and orix only when called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.lazy import LayerPatterns, LazyPatterns, dask_patterns
from ebsdarchive.archive.orientation_maps import orientation_map_names, read_orientation_map
from ebsdarchive.crystal_map import to_crystal_map
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Scan

__all__ = ["signal_parts", "to_signal"]


def to_signal(archive: Archive, layer: str | None, orientations: str | None, lazy: bool) -> Any:
    """A kikuchipy signal; see `Archive.to_kikuchipy`."""
    import kikuchipy.signals

    kind = kikuchipy.signals.LazyEBSD if lazy else kikuchipy.signals.EBSD
    return kind(**signal_parts(archive, layer, orientations, lazy))


def signal_parts(
    archive: Archive, layer: str | None, orientations: str | None, lazy: bool
) -> dict[str, Any]:
    """The arguments of a signal, which are what kikuchipy's readers return."""
    name = layer or archive.pattern_layers[0]
    scan = archive.scan(name)
    if lazy:
        data = dask_patterns(archive, name)
    else:
        patterns = LazyPatterns(LayerPatterns(archive, name), scan.grid)
        data = patterns[(slice(None),) * patterns.ndim]
    kept = [i for i, size in enumerate(data.shape[:-2]) if size > 1]
    axes = _axes(data.shape, kept, scan.grid)
    data = data.reshape(*[data.shape[i] for i in kept], *data.shape[-2:])
    microscope = {
        "beam_energy": scan.microscope.beam_energy_kev,
        "magnification": scan.microscope.magnification,
        "working_distance": scan.microscope.working_distance_mm,
        "microscope": scan.microscope.name,
    }
    found: dict[str, Any] = {
        "data": data,
        "axes": axes,
        "metadata": {
            "Acquisition_instrument": {
                "SEM": {key: value for key, value in microscope.items() if value is not None}
            },
            "General": {
                "original_filename": archive.path,
                "title": f"{Path(archive.path).stem} {name}",
            },
            "Signal": {"signal_type": "EBSD"},
        },
        "original_metadata": {"archive_id": archive.archive_id},
        "detector": _detector(scan.detector, scan.grid),
        "static_background": scan.static_background,
    }
    xmap = _crystal_map(archive, scan, orientations)
    return found if xmap is None else found | {"xmap": xmap}


def _axes(shape: tuple[int, ...], kept: list[int], grid: Grid) -> list[dict[str, Any]]:
    """Axes of those dimensions of the map that are kept, and of the pattern."""
    step_x, step_y = grid.step_x_um or 1.0, grid.step_y_um or 1.0
    of_map = [("y", step_y), ("x", step_x)][-(len(shape) - 2) :]
    unit = "px" if grid.step_x_um is None else "um"
    named = [(*of_map[i], shape[i], unit) for i in kept]
    named += [("dy", 1.0, shape[-2], "um"), ("dx", 1.0, shape[-1], "um")]
    return [
        {
            "size": size,
            "index_in_array": i,
            "name": name,
            "scale": scale,
            "offset": 0.0,
            "units": units,
        }
        for i, (name, scale, size, units) in enumerate(named)
    ]


def _crystal_map(archive: Archive, scan: Scan, name: str | None) -> Any:
    """Of a stored orientation map, or of what came with the scan; None where there is neither."""
    if name == "none":
        return None
    with archive.group() as group:
        names = orientation_map_names(group)
        if name is not None or len(names) == 1:
            found = read_orientation_map(group, name)
            return to_crystal_map(found.orientations, found.phases, scan.grid)
    if scan.orientations is None:
        return None
    return to_crystal_map(scan.orientations, scan.phases, scan.grid)


def _detector(detector: Detector, grid: Grid) -> Any:
    """kikuchipy's detector; what is not known is left to its defaults."""
    import kikuchipy.detectors

    known: dict[str, Any] = {
        "tilt": detector.tilt_deg,
        "azimuthal": detector.azimuth_deg,
        "twist": detector.twist_deg,
        "sample_tilt": detector.sample_tilt_deg,
        "px_size": detector.pixel_size_um,
        "binning": detector.binning,
    }
    if detector.pc_bruker is not None:
        centre = np.asarray(detector.pc_bruker)
        if centre.ndim == 2 and not grid.is_hexagonal:
            centre = centre.reshape(grid.n_rows, grid.n_columns, 3)
        known["pc"] = centre
    return kikuchipy.detectors.EBSDDetector(
        shape=detector.shape, **{key: value for key, value in known.items() if value is not None}
    )
