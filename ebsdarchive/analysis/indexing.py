"""Hough indexing of patterns through kikuchipy and PyEBSDIndex.

What bands are looked for in is made by `background`, which bands by `phases`; how far two results
differ is in `deviation`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.background import Correction
from ebsdarchive.analysis.deviation import Agreement, compare_orientations
from ebsdarchive.analysis.phases import (
    FACE_CENTRED,
    Families,
    chosen_phases,
    families_of,
    orix_phase_of,
)
from ebsdarchive.errors import ArgumentError
from ebsdarchive.scan import Detector, Phase, Scan, read_at

__all__ = [
    "Agreement",
    "HoughIndexer",
    "Indexed",
    "calibrated_pc",
    "compare_orientations",
    "hough_index",
    "index_file",
    "index_points",
    "joined",
    "mean_pattern",
]

BLOCK_BYTES = 16 << 20
CALIBRATION_POINTS = 64


@dataclass(frozen=True)
class Indexed:
    """Result of indexing n points.

    Parameters
    ----------
    quaternions
        (n, 4) sample to crystal, scalar first; NaN where not indexed.
    fit_deg
        (n,) mean angle between found and expected bands; NaN where not indexed.
    confidence
        (n,) PyEBSDIndex's confidence metric, 0 to 1.
    point_group
        Of the first phase.
    phase_id
        (n,) id of the phase that fits best; -1 where not indexed.
    point_groups
        {phase_id: point group} of all phases that were considered.
    """

    quaternions: npt.NDArray[np.float64]
    fit_deg: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    point_group: str
    phase_id: npt.NDArray[np.int32]
    point_groups: dict[int, str]

    def take(self, rows: slice | npt.NDArray[np.int64]) -> Indexed:
        """The result for some of the points."""
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in _PER_POINT})


_PER_POINT = ("quaternions", "fit_deg", "confidence", "phase_id")


class HoughIndexer:
    """Indexes patterns of one detector; built once, called block by block.

    PyEBSDIndex knows the sample's tilt and the detector's elevation; azimuth and twist of the
    detector are not taken into account. A sample tilt that is not known is taken for 70 degrees, an
    elevation for 0.

    Parameters
    ----------
    phases
        Phases with space group and lattice.
    correction
        What patterns are freed of first.
    families
        Reflector families of each phase; by default `families_of` each.

    Raises
    ------
    ArgumentError
        If the projection centre is not known, or there is not one set of families per phase.
    """

    def __init__(
        self,
        detector: Detector,
        phases: Sequence[Phase],
        correction: Correction,
        families: Sequence[Families] | None = None,
    ) -> None:
        import kikuchipy
        from orix.crystal_map import PhaseList

        if detector.pc_bruker is None:
            raise ArgumentError(
                "index: expected a projection centre with the scan, found none; give one"
            )
        self.families = list(families) if families else [families_of(phase) for phase in phases]
        if len(self.families) != len(phases):
            raise ArgumentError(
                f"reflectors: expected one set for each of {len(phases)} phases, found "
                f"{len(self.families)}"
            )
        self.detector, self.phases, self.correction = detector, tuple(phases), correction
        self._centres = np.atleast_2d(np.asarray(detector.pc_bruker, np.float64))
        self._given = kikuchipy.detectors.EBSDDetector(
            shape=detector.shape,
            pc=self._centres.mean(axis=0),
            sample_tilt=70.0 if detector.sample_tilt_deg is None else detector.sample_tilt_deg,
            tilt=detector.tilt_deg or 0.0,
        )
        crystals = [orix_phase_of(phase) for phase in phases]
        self.point_groups = {
            phase.phase_id: crystal.point_group.name
            for phase, crystal in zip(phases, crystals, strict=True)
        }
        with _quiet():
            self._list = PhaseList(crystals)  # ids 0, 1, …, as PyEBSDIndex counts them
            self._indexer = self._given.get_indexer(
                self._list,
                # its own default as such: numba compiles for that type of array anyway
                [None if f == FACE_CENTRED else np.array(f) for f in self.families],
            )

    def __call__(
        self, patterns: npt.NDArray, points: npt.NDArray[np.int64] | None = None
    ) -> Indexed:
        """Index (n, sy, sx) counts; `points` (n,) says which points of the scan they are.

        With one projection centre per point each pattern is indexed with its own; without `points`
        all are with the mean.
        """
        n = len(patterns)
        if points is not None and len(self._centres) > 1:
            self._indexer.PC = self._centres[points] if n > 1 else self._centres[points[0]]
        else:
            self._indexer.PC = self._centres.mean(axis=0)
        with _quiet():
            signal = self._signal(patterns)
            xmap = signal.hough_indexing(phase_list=self._list, indexer=self._indexer, verbose=0)
        found = np.asarray(xmap.phase_id).reshape(n, -1)[:, 0]
        indexed = found >= 0
        ids = np.array([phase.phase_id for phase in self.phases], np.int32)
        quaternions = np.array(xmap.rotations.data, np.float64).reshape(n, -1, 4)[:, 0]
        fit = np.asarray(xmap.prop["fit"], np.float64).reshape(n, -1)[:, 0]
        return Indexed(
            quaternions=np.where(indexed[:, None], quaternions, np.nan),
            fit_deg=np.where(indexed, fit, np.nan),
            confidence=np.asarray(xmap.prop["cm"], np.float64).reshape(n, -1)[:, 0],
            point_group=self.point_groups[int(ids[0])],
            phase_id=np.where(indexed, ids[found], -1).astype(np.int32),
            point_groups=self.point_groups,
        )

    def optimised_pc(self, patterns: npt.NDArray) -> npt.NDArray[np.float64]:
        """(3,) projection centre, Bruker, with the least mean fit over (n, sy, sx) patterns.

        PyEBSDIndex's Nelder-Mead search from the mean of the known centres.
        """
        with _quiet():
            found = self._signal(patterns).hough_indexing_optimize_pc(
                pc0=self._centres.mean(axis=0), indexer=self._indexer, batch=False
            )
        return np.asarray(found.pc, np.float64).reshape(3)

    def _signal(self, patterns: npt.NDArray) -> Any:
        import kikuchipy

        return kikuchipy.signals.EBSD(self.correction(patterns), detector=self._given)


def calibrated_pc(
    scan: Scan,
    indexer: HoughIndexer,
    points: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.float64]:
    """The scan's projection centres, moved together to where a sample of patterns fits best.

    Parameters
    ----------
    points
        (m,) indices of the sample; by default 64 points evenly spread over the scan.

    Returns
    -------
    (3,) or (n, 3) ndarray, as the detector has them, in Bruker's convention.
    """
    n = scan.grid.size
    if points is None:
        points = np.unique(np.linspace(0, n - 1, min(n, CALIBRATION_POINTS)).round().astype(int))
    known = np.asarray(indexer.detector.pc_bruker, np.float64)
    found = indexer.optimised_pc(read_at(scan.patterns, points))
    return known + (found - np.atleast_2d(known).mean(axis=0))


def index_points(
    scan: Scan,
    indexer: HoughIndexer,
    points: npt.NDArray[np.int64] | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> Indexed:
    """Index a scan, or the given points (m,) of it, in blocks.

    Parameters
    ----------
    progress
        Told (points done, of all).
    """
    points = np.arange(scan.grid.size) if points is None else points
    parts = []
    length = min(1024, max(1, BLOCK_BYTES // (4 * scan.patterns.shape[1] * scan.patterns.shape[2])))
    for start in range(0, len(points), length):
        block = points[start : start + length]
        parts.append(indexer(read_at(scan.patterns, block), block))
        if progress is not None:
            progress(start + len(block), len(points))
    return joined(parts)


def joined(parts: Sequence[Indexed]) -> Indexed:
    """Results of several blocks as one."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in _PER_POINT
    }
    return dataclasses.replace(parts[0], **arrays)


def mean_pattern(scan: Scan, points: npt.NDArray[np.int64] | None = None) -> npt.NDArray:
    """(sy, sx) the scan's static background, or the mean of its patterns (of `points` of them)."""
    if scan.static_background is not None:
        return scan.static_background
    n = scan.grid.size
    if points is None:
        points = np.unique(np.linspace(0, n - 1, min(n, 1024)).round().astype(np.int64))
    total = np.zeros(scan.patterns.shape[1:])
    for start in range(0, len(points), 64):
        total += read_at(scan.patterns, points[start : start + 64]).sum(axis=0, dtype=float)
    return total / len(points)


def hough_index(
    patterns: npt.NDArray,
    scan: Scan,
    *,
    static_background: npt.NDArray | None = None,
    phase: Phase | None = None,
) -> Indexed:
    """Index patterns in one go, with the static background divided out.

    Parameters
    ----------
    patterns
        (n, sy, sx).
    scan
        Gives the projection centre (its mean is used), tilts and, unless named, the first phase.
    static_background
        (sy, sx); by default the scan's, or the mean of `patterns`.

    Raises
    ------
    ArgumentError
        If the projection centre or the phase is not known.
    """
    background = static_background if static_background is not None else scan.static_background
    if background is None:
        background = patterns.mean(axis=0)
    if scan.detector.pc_bruker is None:
        raise ArgumentError("index: expected a projection centre with the scan, found none")
    wanted = phase or (scan.phases[0] if scan.phases else None)
    phases = chosen_phases((wanted,) if wanted else (), where="index")
    return HoughIndexer(scan.detector, phases, Correction("static", background))(patterns)


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' warnings and prints to themselves."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
