"""Hough indexing of patterns through kikuchipy and PyEBSDIndex, and how far two results differ."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.scan import Phase, Scan

__all__ = ["Agreement", "Indexed", "compare_orientations", "hough_index", "index_file"]


@dataclass(frozen=True)
class Indexed:
    """Result of indexing n points.

    Parameters
    ----------
    quaternions
        (n, 4) sample to crystal, scalar first; NaN where not indexed.
    fit_deg
        (n,) mean angle between found and expected bands.
    confidence
        (n,) PyEBSDIndex's confidence metric.
    point_group
        Of the phase.
    """

    quaternions: npt.NDArray[np.float64]
    fit_deg: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    point_group: str


@dataclass(frozen=True)
class Agreement:
    """How far the orientations of two results differ, over points that both have indexed.

    Parameters
    ----------
    deviation_deg
        (n,) symmetry-reduced angle; NaN where one of the two is not indexed.
    within_4_deg
        Share of all points whose deviation is below 4 degrees.
    mean_deg, median_deg
        Of the deviation over the points that both have indexed.
    """

    deviation_deg: npt.NDArray[np.float64]
    within_4_deg: float
    mean_deg: float
    median_deg: float


def hough_index(
    patterns: npt.NDArray,
    scan: Scan,
    *,
    static_background: npt.NDArray | None = None,
    phase: Phase | None = None,
) -> Indexed:
    """Index patterns with PyEBSDIndex's defaults, as kikuchipy calls it.

    The static background is divided out and each pattern rescaled before, as is usual. The
    defaults are made for face-centred cubic phases.

    Parameters
    ----------
    patterns
        (n, sy, sx).
    scan
        Gives the projection centre (its mean is used), tilts and, unless named, the first phase. A
        sample tilt that is not known is taken for 70 degrees, other angles for 0.
    static_background
        (sy, sx); by default the scan's, or the mean of `patterns`.

    Raises
    ------
    ArgumentError
        If the projection centre or the phase is not known.
    """
    import kikuchipy

    detector = scan.detector
    phase = phase or (scan.phases[0] if scan.phases else None)
    if detector.pc_bruker is None:
        raise ArgumentError("index: expected a projection centre with the scan, found none")
    if phase is None or phase.lattice is None or phase.space_group is None:
        raise ArgumentError("index: expected a phase with space group and lattice, found none")
    given = kikuchipy.detectors.EBSDDetector(
        shape=detector.shape,
        pc=np.atleast_2d(detector.pc_bruker).mean(axis=0),
        sample_tilt=70.0 if detector.sample_tilt_deg is None else detector.sample_tilt_deg,
        tilt=detector.tilt_deg or 0.0,
        azimuthal=detector.azimuth_deg or 0.0,
        twist=detector.twist_deg or 0.0,
    )
    background = static_background if static_background is not None else scan.static_background
    if background is None:
        background = patterns.mean(axis=0)
    flat = patterns / np.maximum(np.asarray(background, np.float32), 1e-6)
    with _quiet():
        signal = kikuchipy.signals.EBSD(flat.astype(np.float32), detector=given)
        return _index(signal, phase)


def index_file(
    path: str | Path,
    scan: Scan,
    *,
    static_background: npt.NDArray | None = None,
    points: npt.NDArray[np.int64] | None = None,
) -> Indexed:
    """Index a pattern file that other software reads: kikuchipy opens it, without this package.

    Parameters
    ----------
    scan
        Gives what the file may not hold: projection centre, tilts, phase, background.
    points
        (m,) indices of the patterns to index; all by default.
    """
    import kikuchipy

    with _quiet():
        signal = kikuchipy.load(str(path))
    patterns = np.asarray(signal.data).reshape(-1, *signal.data.shape[-2:])
    if points is not None:
        patterns = patterns[points]
    return hough_index(patterns, scan, static_background=static_background)


def _index(signal: Any, phase: Phase) -> Indexed:
    from diffpy.structure import Lattice, Structure
    from orix.crystal_map import Phase as OrixPhase
    from orix.crystal_map import PhaseList

    assert phase.lattice is not None
    crystal = OrixPhase(
        name=phase.name,
        space_group=phase.space_group,
        structure=Structure(lattice=Lattice(*phase.lattice)),
    )
    phases = PhaseList(crystal)
    indexer = signal.detector.get_indexer(phases)
    xmap = signal.hough_indexing(phase_list=phases, indexer=indexer, verbose=0)
    n = signal.data.shape[0]
    quaternions = np.array(xmap.rotations.data, np.float64).reshape(n, -1, 4)[:, 0]
    quaternions[np.asarray(xmap.phase_id) < 0] = np.nan
    properties = xmap.prop
    return Indexed(
        quaternions,
        np.asarray(properties["fit"], np.float64).reshape(n, -1)[:, 0],
        np.asarray(properties["cm"], np.float64).reshape(n, -1)[:, 0],
        crystal.point_group.name,
    )


def compare_orientations(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], point_group: str
) -> Agreement:
    """Symmetry-reduced angle between orientations, point by point.

    Parameters
    ----------
    a, b
        (n, 4) quaternions, sample to crystal; NaN where not indexed.
    """
    from orix.quaternion import Orientation
    from orix.quaternion import symmetry as symmetries

    group = next(group for group in symmetries._groups if group.name == point_group)
    both = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    deviation = np.full(len(a), np.nan)
    if both.any():
        first, second = Orientation(a[both], group), Orientation(b[both], group)
        deviation[both] = np.rad2deg(first.angle_with(second))
    known = deviation[both]
    return Agreement(
        deviation_deg=deviation,
        within_4_deg=float(np.count_nonzero(known < 4) / len(a)),
        mean_deg=float(known.mean()) if known.size else float("nan"),
        median_deg=float(np.median(known)) if known.size else float("nan"),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' warnings and prints to themselves."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
