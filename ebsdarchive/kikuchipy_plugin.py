"""After ``import ebsdarchive.kikuchipy_plugin``, ``kikuchipy.load`` opens every archive, lazily.

Archives whose raw patterns are stored as they are need no plugin. This is for the others: raw
patterns behind a level table, and archives that hold only a neural layer. kikuchipy has no entry
point for readers, so that the plugin is added to its list.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kikuchipy.io._io
import numpy as np

from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.lazy import LazyPatterns
from ebsdarchive.crystal_map import to_crystal_map

__all__ = ["file_reader"]

_SPECIFICATION = {
    "name": "ebsdarchive",
    "description": "EBSD archives of ebsdarchive",
    "file_extensions": ["h5", "hdf5"],
    "default_extension": 0,
    "writes": False,
    "manufacturer": "ebsdarchive",
    "footprints": ["archive/scan/grid"],
    "api": "ebsdarchive.kikuchipy_plugin",
}


def file_reader(
    filename: str | Path, lazy: bool = False, layer: str | None = None
) -> list[dict[str, Any]]:
    """One layer of patterns as kikuchipy's readers return it.

    Parameters
    ----------
    layer
        raw, neural, or the name of a restored layer; by default the first there is.
    """
    archive = open_archive(filename)
    scan = archive.scan(layer)
    patterns = LazyPatterns(scan.patterns, scan.grid)
    if lazy:
        import dask.array

        chunks = (1, *patterns.shape[1:]) if patterns.ndim == 4 else "auto"
        data = dask.array.from_array(patterns, chunks=chunks, asarray=True, lock=False)
    else:
        data = patterns[(slice(None),) * patterns.ndim]
    step_x, step_y = scan.grid.step_x_um or 1.0, scan.grid.step_y_um or 1.0
    names, scales = ["y", "x"], [step_y, step_x]
    if patterns.ndim == 3:
        names, scales = ["x"], [step_x]
    unit = "px" if scan.grid.step_x_um is None else "um"
    kept = [i for i, size in enumerate(patterns.shape[:-2]) if size > 1]
    data = data.reshape(*[patterns.shape[i] for i in kept], *patterns.shape[-2:])
    axes = [
        {
            "size": size,
            "index_in_array": i,
            "name": name,
            "scale": scale,
            "offset": 0.0,
            "units": "um" if name in ("dy", "dx") else unit,
        }
        for i, (size, name, scale) in enumerate(
            zip(
                data.shape,
                [*(names[i] for i in kept), "dy", "dx"],
                [*(scales[i] for i in kept), 1.0, 1.0],
                strict=True,
            )
        )
    ]
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
                "original_filename": str(filename),
                "title": f"{Path(filename).stem} {layer or archive.pattern_layers[0]}",
            },
            "Signal": {"signal_type": "EBSD", "record_by": "image"},
        },
        "original_metadata": {"archive_id": archive.archive_id},
        "detector": _detector(scan.detector, scan.grid),
        "static_background": scan.static_background,
    }
    if scan.orientations is not None:
        found["xmap"] = to_crystal_map(scan.orientations, scan.phases, scan.grid)
    return [found]


def _detector(detector: Any, grid: Any) -> Any:
    """kikuchipy's detector; what is not known is left to its defaults."""
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


if all(plugin["name"] != "ebsdarchive" for plugin in kikuchipy.io._io.PLUGINS):
    kikuchipy.io._io.PLUGINS.append(_SPECIFICATION)
