"""``demo``: the main job, end to end, on a real scan that ships with the package."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import ebsdarchive
from ebsdarchive.analysis.indexing import Indexed, compare_orientations, hough_index, index_file
from ebsdarchive.errors import CorruptionError
from ebsdarchive.scan import Scan, read_at
from ebsdarchive.verbs.fitting import NeuralOptions
from ebsdarchive.verbs.progress import Progress, silent

__all__ = ["DemoSummary", "demo"]

BUNDLED = Path(__file__).parents[1] / "data" / "in718_24x20.h5"
INDEXED_POINTS = 6


@dataclass(frozen=True)
class DemoSummary:
    """What the demo did: lines to print, the files it wrote, and the figures behind the lines."""

    lines: tuple[str, ...]
    files: tuple[str, ...]
    figures: dict[str, Any]


def demo(
    source: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] = "demo",
    *,
    seconds: float = 20.0,
    progress: Progress = silent,
) -> DemoSummary:
    """Compress a scan, verify it, query it between its points, export it, and index the export.

    Parameters
    ----------
    source
        A vendor's file; by default 24 × 20 points of a nickel superalloy that ship with the
        package.
    output
        Folder for what is written; files of an earlier demo in it are replaced.
    seconds
        Time to train the neural field.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    scan_file = Path(source) if source is not None else BUNDLED
    archive_file = folder / f"{scan_file.stem}.archive.h5"
    begun = time.monotonic()
    scan = ebsdarchive.open_scan(scan_file)
    indexer = _Indexer(scan_file, scan)
    made = ebsdarchive.compress(
        scan_file,
        archive_file,
        options=NeuralOptions(time_s=seconds),
        force=True,
        progress=progress,
    )
    report = ebsdarchive.verify(archive_file, data=True, progress=progress)
    if not report.sound:
        raise CorruptionError(f"{archive_file}: {report.all_faults[0]}")
    archive = ebsdarchive.open_archive(archive_file)
    x_max, y_max = archive.grid.extent
    path = np.array([[0.05, 0.1], [0.95, 0.9]]) * [x_max, y_max]
    strip = folder / "path.png"
    ebsdarchive.query(archive_file, strip, along=path, samples=24, force=True, progress=progress)
    vendor_file = folder / f"{scan_file.stem}.up2"
    ebsdarchive.export(archive_file, vendor_file, layer="neural", force=True, progress=progress)
    raw_file = folder / f"{scan_file.stem}.raw.up2"
    ebsdarchive.export(archive_file, raw_file, dtype="uint16", force=True, progress=progress)
    triple = folder / "measured_decoded_difference.png"
    _write_triples(triple, archive, scan)
    assert made.raw is not None
    assert made.neural is not None
    raw, field = made.raw, made.neural
    figures: dict[str, Any] = {
        "raw_ratio": raw.nbytes / raw.stored,
        "neural_ratio": raw.nbytes / field.stored,
        "mae_percent": field.mae_pct,
        "rank": field.rank,
    }
    lines = [
        f"scan       {scan_file.name}: {archive.grid.size} patterns of "
        f"{archive.pattern_shape[0]} x {archive.pattern_shape[1]} px, {raw.nbytes / 1e6:.1f} MB",
        f"raw layer  {raw.stored / 1e6:.2f} MB, {figures['raw_ratio']:.2f}x lossless "
        f"({raw.coding.profile}); every pattern read back and verified",
        f"neural     {field.stored / 1e3:.0f} kB, {figures['neural_ratio']:.0f}x, rank "
        f"{field.rank}, mean error {field.mae_pct:.3f} % of full range",
    ]
    progress("indexing", 0, 1)
    lines += indexer.report(figures, {"raw": raw_file, "neural": vendor_file})
    progress("indexing", 1, 1)
    lines.append(f"in all     {time.monotonic() - begun:.0f} s")
    files = (archive_file, strip, triple, vendor_file, raw_file)
    return DemoSummary(tuple(lines), tuple(str(file) for file in files), figures)


class _Indexer:
    """Indexes some points of the source and of the exported files, in a process of its own.

    Compiling PyEBSDIndex takes minutes in a new installation; for a few points it is faster to let
    it run as plain Python, beside the training.
    """

    def __init__(self, source: Path, scan: Scan) -> None:
        self.source, n = source, scan.grid.size
        self.able = bool(scan.phases) and scan.detector.pc_bruker is not None
        self.points = np.unique(np.linspace(0, n - 1, min(n, INDEXED_POINTS)).astype(int))
        if self.able:
            from loky import ProcessPoolExecutor

            environment = {"NUMBA_DISABLE_JIT": "1", "OMP_NUM_THREADS": "1"}
            self.pool = ProcessPoolExecutor(max_workers=1, env=environment)
            self.reference = self.pool.submit(_index_source, source, self.points)

    def report(self, figures: dict[str, Any], files: dict[str, Path]) -> list[str]:
        """A line for each file on how its indexing agrees with that of the measured patterns."""
        if not self.able:
            return ["indexing   left out: the source has no phase or no projection centre"]
        found = {
            name: self.pool.submit(_index_export, file, self.source, self.points)
            for name, file in files.items()
        }
        reference = self.reference.result()
        lines = []
        for name, future in found.items():
            result = future.result()
            match = compare_orientations(
                reference.quaternions, result.quaternions, reference.point_group
            )
            figures[f"{name}_within_4_deg"] = match.within_4_deg
            figures[f"{name}_mean_deg"] = match.mean_deg
            lines.append(
                f"{name + '.up2':<10} opened by kikuchipy, {len(self.points)} points indexed by "
                f"PyEBSDIndex: {match.within_4_deg:.1%} within 4 degrees of the measured patterns, "
                f"mean {match.mean_deg:.2f} degrees, confidence "
                f"{np.nanmean(result.confidence):.2f} (measured "
                f"{np.nanmean(reference.confidence):.2f})"
            )
        self.pool.shutdown()
        return lines


def _index_source(source: Path, points: npt.NDArray[np.int64]) -> Indexed:
    scan = ebsdarchive.open_scan(source)
    measured = read_at(scan.patterns, points)
    return hough_index(measured, scan, static_background=_background(scan))


def _index_export(file: Path, source: Path, points: npt.NDArray[np.int64]) -> Indexed:
    scan = ebsdarchive.open_scan(source)
    return index_file(file, scan, static_background=_background(scan), points=points)


def _background(scan: Scan) -> npt.NDArray:
    """The scan's static background, or the mean pattern."""
    if scan.static_background is not None:
        return scan.static_background
    return np.mean([block.mean(axis=0) for _, _, block in scan.blocks()], axis=0)


def _write_triples(path: Path, archive: Any, scan: Any) -> None:
    """A picture of measured patterns, what the neural field gives, and the difference."""
    from PIL import Image, ImageDraw, ImageFont

    from ebsdarchive.archive.store import replacing
    from ebsdarchive.exchange.picture import to_grey

    along = np.linspace(0, 1, 6)[1:-1, None] * scan.grid.extent
    points = scan.grid.indices_of(along)
    measured = read_at(scan.patterns, points).astype(np.float32)
    field = archive.patterns("neural")
    decoded = read_at(field, points)
    background = scan.static_background
    rows: list[npt.NDArray[np.uint8]] = [
        to_grey(measured, background),
        to_grey(decoded, background),
    ]
    limit = 3 * float(np.std(measured - decoded)) or 1.0
    scaled = np.clip((measured - decoded) / limit, -1, 1)
    rows.append(np.asarray(127.5 + 127.5 * scaled, np.uint8))
    size = 200
    sheet = Image.new("RGB", (140 + len(points) * (size + 8), 40 + 3 * (size + 8)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for j, (row, label) in enumerate(
        zip(rows, ("measured", "neural field", f"difference\n+-{limit:.0f} counts"), strict=True)
    ):
        draw.multiline_text((8, 40 + j * (size + 8) + size // 2 - 10), label, "black", font=font)
        for i, image in enumerate(row):
            shown = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
            sheet.paste(shown.convert("RGB"), (140 + i * (size + 8), 40 + j * (size + 8)))
    for i, (x, y) in enumerate(scan.grid.positions_at(points)):
        draw.text((140 + i * (size + 8), 12), f"({x:g}, {y:g})", fill="black", font=font)
    with replacing(path, force=True) as temporary:
        sheet.save(temporary, format="PNG")
