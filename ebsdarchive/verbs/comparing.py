"""``compare``: how far two sets of patterns differ, in orientation and pixel by pixel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import ArgumentError, GeometryError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Phase, read_at
from ebsdarchive.verbs.indexing import with_centre
from ebsdarchive.verbs.opening import Opened, open_either
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_other_file

__all__ = ["Comparison", "compare"]

BLOCK = 64
PICTURES = (".png", ".pdf", ".svg")


@dataclass(frozen=True)
class Comparison:
    """How far A and B differ.

    Parameters
    ----------
    figures
        Means and shares as plain JSON values; what each is stands in the keys, with its unit.
    points
        (m,) indices of the points that were compared.
    values
        (m,) arrays by name: deviation_deg, confidence_a, confidence_b, mae_counts, psnr_db, ssim,
        uqi.
    grid
        Of the scan.
    """

    figures: dict[str, Any]
    points: npt.NDArray[np.int64]
    values: dict[str, npt.NDArray[np.float64]]
    grid: Grid

    def map(self, name: str) -> npt.NDArray[np.float64]:
        """(n_rows, n_columns) values at the points, NaN where nothing was compared."""
        full = np.full(self.grid.size, np.nan)
        full[self.points] = self.values[name]
        return self.grid.to_map(full)


def compare(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    layer_a: str | None = None,
    layer_b: str | None = None,
    scan_a: str | int | None = None,
    scan_b: str | int | None = None,
    geometry_a: str | os.PathLike[str] | None = None,
    geometry_b: str | os.PathLike[str] | None = None,
    background: str = "bandpass",
    phases: Sequence[str | Phase] = (),
    reflectors: Sequence[str] = (),
    pc: tuple[float, float, float] | None = None,
    points: int | None = None,
    orientations: bool = True,
    force: bool = False,
    progress: Progress = silent,
) -> Comparison:
    """Compare two layers, archives or vendors' files of one grid.

    Both are indexed by Hough transform, with the same background, projection centre and phases:
    those of A, or of B where A does not know them.

    Parameters
    ----------
    a, b
        Archives or vendors' files; without `b`, two layers of `a`.
    output
        File for the maps of all figures: npz, or a picture (png, pdf, svg).
    layer_a, layer_b
        By default raw (neural where it is not kept) of A, and neural of B where B is A, else as A.
    scan_a, scan_b, geometry_a, geometry_b
        For vendors' files: which scan of several, and a file with its map; see
        `ebsdarchive.exchange.open_scan`.
    background
        "bandpass", "static" or "dynamic"; see `ebsdarchive.analysis.background.Correction`.
    phases, reflectors, pc
        As for `index`.
    points
        Compare only this many points, evenly spread over the scan.
    orientations
        Whether to index; without, only patterns are compared.

    Raises
    ------
    GeometryError
        If the grids or the pattern sizes differ.
    ArgumentError
        If A and B are one layer of one archive, or the projection centre or phases are not known.
    """
    first = open_either(a, layer_a, scan=scan_a, geometry=geometry_a)
    same = b in (None, a) or (Path(b).exists() and os.path.samefile(a, b))
    second = open_either(
        a if b is None else b,
        layer_b,
        "neural" if same else None,
        scan=scan_b,
        geometry=geometry_b,
    )
    _require_comparable(first, second, same)
    suffix = "" if output is None else Path(output).suffix.lower()
    if output is not None:
        if suffix not in (".npz", *PICTURES):
            raise ArgumentError(
                f"{os.fspath(output)}: expected a file that ends in npz, {', '.join(PICTURES)}, "
                f"found {suffix or 'no ending'}"
            )
        require_other_file(output, a, *([b] if b is not None else []))
    n = first.scan.grid.size
    if points is not None and points < 1:
        raise ArgumentError(f"points: expected at least 1, found {points}")
    chosen = np.unique(np.linspace(0, n - 1, min(n, points or n)).round().astype(np.int64))
    figures: dict[str, Any] = {
        "a": {"path": os.fspath(a), "layer": first.layer},
        "b": {"path": os.fspath(a if b is None else b), "layer": second.layer},
        "points": len(chosen),
        "points_of_scan": n,
    }
    values: dict[str, npt.NDArray[np.float64]] = {}
    if orientations:
        figures["orientations"] = _compare_orientations(
            first, second, chosen, background, phases, reflectors, pc, values, progress
        )
    figures["patterns"] = _compare_patterns(first, second, chosen, values, progress)
    found = Comparison(figures, chosen, values, first.scan.grid)
    if output is not None:
        _write(found, output, suffix, force)
    return found


def _require_comparable(first: Opened, second: Opened, same: bool) -> None:
    one, other = first.scan, second.scan
    if same and (first.layer, one.name) == (second.layer, other.name):
        raise ArgumentError(
            f"compare: expected two layers, found {first.layer or 'one file'} twice; name them "
            f"with --layer-a and --layer-b, or scans of a file with --scan-a and --scan-b"
        )
    shape = (one.grid.kind, one.grid.n_rows, one.grid.n_columns)
    found = (other.grid.kind, other.grid.n_rows, other.grid.n_columns)
    if shape != found or one.grid.size != other.grid.size:
        raise GeometryError(
            f"compare: expected two scans of one grid, found {shape[0]} {shape[1]} x {shape[2]} "
            f"and {found[0]} {found[1]} x {found[2]}"
        )
    if one.detector.shape != other.detector.shape:
        raise GeometryError(
            f"compare: expected patterns of one size, found {one.detector.shape} and "
            f"{other.detector.shape}"
        )


def _compare_orientations(
    first: Opened,
    second: Opened,
    chosen: npt.NDArray[np.int64],
    background: str,
    phases: Sequence[str | Phase],
    reflectors: Sequence[str],
    pc: tuple[float, float, float] | None,
    values: dict[str, npt.NDArray[np.float64]],
    progress: Progress,
) -> dict[str, Any]:
    """Index both; adds values per point, and returns the figures."""
    from ebsdarchive.analysis.background import Correction
    from ebsdarchive.analysis.deviation import LIMITS_DEG, compare_phases
    from ebsdarchive.analysis.indexing import HoughIndexer, index_points, mean_pattern
    from ebsdarchive.analysis.phases import chosen_phases, parse_families

    a, b = first.scan, second.scan
    where = "compare (or leave orientations out with --no-index)"
    known: Detector = a.detector if a.detector.pc_bruker is not None else b.detector
    detector, origin = with_centre(known, pc, where)
    wanted = chosen_phases(a.phases or b.phases, phases, where)
    families = [parse_families(text) for text in reflectors] or None
    # one background for both, or its difference would pass for one of the patterns
    only_b = a.static_background is None and b.static_background is not None
    level = mean_pattern(b if only_b else a)
    indexer = HoughIndexer(detector, wanted, Correction(background, level), families)
    results = [
        index_points(scan, indexer, chosen, stage(progress, f"indexing {name}"))
        for name, scan in (("A", a), ("B", b))
    ]
    one, other = results
    match = compare_phases(
        one.quaternions, other.quaternions, one.phase_id, other.phase_id, one.point_groups
    )
    values["deviation_deg"] = match.deviation_deg
    values["confidence_a"], values["confidence_b"] = one.confidence, other.confidence
    compared = match.deviation_deg[np.isfinite(match.deviation_deg)]
    return {
        "background": background,
        "pc_bruker": np.atleast_2d(np.asarray(detector.pc_bruker)).mean(axis=0).tolist(),
        "pc_origin": origin,
        "phases": [phase.name for phase in wanted],
        "indexed_a": int(np.count_nonzero(one.phase_id >= 0)),
        "indexed_b": int(np.count_nonzero(other.phase_id >= 0)),
        "compared": match.compared,
        "mean_deg": _finite(match.mean_deg),
        "median_deg": _finite(match.median_deg),
        **{f"share_below_{limit}_deg": match.within(limit) for limit in LIMITS_DEG},
        "share_of_compared_from_4_deg": float((compared >= 4).mean()) if compared.size else None,
        "confidence_a": _mean(one.confidence),
        "confidence_b": _mean(other.confidence),
        "fit_a_deg": _mean(one.fit_deg),
        "fit_b_deg": _mean(other.fit_deg),
    }


def _compare_patterns(
    first: Opened,
    second: Opened,
    chosen: npt.NDArray[np.int64],
    values: dict[str, npt.NDArray[np.float64]],
    progress: Progress,
) -> dict[str, Any]:
    """Compare pixel by pixel; adds values per point, and returns the figures."""
    from ebsdarchive.analysis.similarity import compare_patterns

    a, b = first.scan.patterns, second.scan.patterns
    mask = _mask(first, second)
    low_high = first.range_counts or second.range_counts
    if low_high is None:
        ends = []
        for start in range(0, len(chosen), BLOCK):
            inside = read_at(a, chosen[start : start + BLOCK])[:, mask]
            ends.append((float(inside.min()), float(inside.max())))
        low_high = min(low for low, _ in ends), max(high for _, high in ends)
    full_range = (low_high[1] - low_high[0]) or 1.0
    parts = []
    for start in range(0, len(chosen), BLOCK):
        block = chosen[start : start + BLOCK]
        parts.append(compare_patterns(read_at(a, block), read_at(b, block), full_range, mask))
        progress("comparing", start + len(block), len(chosen))
    for name in ("mae_counts", "psnr_db", "ssim", "uqi"):
        values[name] = np.concatenate([getattr(part, name) for part in parts])
    mae = float(values["mae_counts"].mean())
    return {
        "mae_counts": mae,
        "mae_percent": 100 * mae / full_range,
        "ssim": _mean(values["ssim"]),
        "uqi": _mean(values["uqi"]),
        "psnr_db": _mean(values["psnr_db"][np.isfinite(values["psnr_db"])]),
        "range_counts": list(low_high),
        "equal_patterns": int(np.count_nonzero(values["mae_counts"] == 0)),
        "pixels": int(mask.sum()),
    }


def _mask(first: Opened, second: Opened) -> npt.NDArray[np.bool_]:
    """(sy, sx) pixels with signal: the neural layer's where there is one, else told by A."""
    for opened in (first, second):
        if opened.archive is not None and "neural" in opened.archive.layers:
            from ebsdarchive.neural.storage import read_field

            return read_field(opened.archive.path).mask
    from ebsdarchive.neural.pixels import detector_mask
    from ebsdarchive.neural.sample import draw_sample

    return detector_mask(draw_sample(first.scan, seed=0))


def _write(found: Comparison, output: str | os.PathLike[str], suffix: str, force: bool) -> None:
    if suffix == ".npz":
        with replacing(output, force=force) as temporary, open(temporary, "wb") as file:
            maps: dict[str, Any] = {name: found.map(name) for name in found.values}
            np.savez_compressed(file, **maps)
        return
    from ebsdarchive.figures.comparison import draw_comparison
    from ebsdarchive.figures.page import save_figure, style

    with style():
        figure = draw_comparison({name: found.map(name) for name in found.values}, found.grid)
        with replacing(output, force=force) as temporary:
            save_figure(figure, temporary, suffix)


def _mean(values: npt.NDArray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
