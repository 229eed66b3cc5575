"""The geometry of a scan as plain values, for JSON files and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ebsdarchive.geometry import pc_from_bruker
from ebsdarchive.scan import Detector, Scan

__all__ = ["LISTED", "geometry_record"]

LISTED = 10_000  # points whose positions or projection centres are listed one by one


def geometry_record(
    scan: Scan, convention: str = "bruker", *, each_point: bool = False
) -> dict[str, Any]:
    """What is known of detector, tilts and steps; what is not known is left out.

    Parameters
    ----------
    convention
        Of the projection centre, which is the mean where it varies. EMsoft's counts unbinned pixels
        and µm; where their size is not known, Bruker's is given instead.
    each_point
        Whether to list the projection centre of every point as well, where they vary.
    """
    detector, grid = scan.detector, scan.grid
    known = {
        **_projection_centre(detector, convention, each_point),
        "sample_tilt_deg": detector.sample_tilt_deg,
        "detector_tilt_deg": detector.tilt_deg,
        "detector_azimuth_deg": detector.azimuth_deg,
        "detector_twist_deg": detector.twist_deg,
        "pixel_size_um": detector.pixel_size_um,
        "binning": detector.binning,
        "beam_energy_kev": scan.microscope.beam_energy_kev,
        "n_columns_even": grid.n_columns_even,
        "step_x_um": grid.step_x_um,
        "step_y_um": grid.step_y_um,
    }
    return {
        "grid": {"kind": grid.kind, "n_rows": grid.n_rows, "n_columns": grid.n_columns},
        "pattern_shape": list(detector.shape),
        "row_order": "first row on top",
        **{key: value for key, value in known.items() if value is not None},
    }


def _projection_centre(detector: Detector, convention: str, each_point: bool) -> dict[str, Any]:
    if detector.pc_bruker is None:
        return {}
    scale = {"pixel_size_um": detector.pixel_size_um, "binning": detector.binning}
    if convention == "emsoft5" and None in scale.values():
        convention = "bruker"
    known = {key: value for key, value in scale.items() if value is not None}

    def converted(pc: Any) -> Any:
        return pc_from_bruker(pc, convention, detector.shape, **known).tolist()

    each = np.atleast_2d(detector.pc_bruker)
    values = {
        "projection_centre": converted(each.mean(axis=0)),
        "projection_centre_convention": convention,
    }
    if each_point and 1 < len(each) <= LISTED:
        values["projection_centre_of_points"] = converted(each)
    return values
