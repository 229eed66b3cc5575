"""Files beside an export: what its format cannot hold, and what its readers look for there.

NORDIF's settings and background, an .ang of the orientations, and a JSON file with projection
centre, tilts, scaling and the source's digest. A folder has its JSON inside.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.errors import OutputError
from ebsdarchive.exchange.writing.edax_h5 import why_no_ang, write_ang
from ebsdarchive.exchange.writing.flat import write_nordif_background, write_nordif_settings
from ebsdarchive.exchange.writing.job import WRITTEN_BY, Job
from ebsdarchive.exchange.writing.record import LISTED, geometry_record
from ebsdarchive.exchange.writing.registry import WriteFormat
from ebsdarchive.scan import Scan

__all__ = ["Beside", "files_beside", "losses", "require_free_beside", "write_sidecar"]


@dataclass(frozen=True)
class Beside:
    """A file beside an export, and the function that writes it to a path."""

    path: Path
    write: Callable[[Path, Job], None]


def files_beside(format_: WriteFormat, path: Path, scan: Scan) -> list[Beside]:
    """All files that go with an export to `path`; its JSON file is the first."""
    found = []
    if format_.convention is not None and not format_.folder:
        convention = format_.convention
        found.append(
            Beside(
                path.with_name(path.name + ".json"),
                lambda file, job: write_sidecar(file, job, convention),
            )
        )
    if format_.key == "nordif":
        found.append(Beside(path.with_name("Setting.txt"), write_nordif_settings))
        if scan.static_background is not None:
            name = "Background acquisition pattern.bmp"
            found.append(Beside(path.with_name(name), write_nordif_background))
    if format_.orientations in ("beside", "both") and why_no_ang(scan) is None:
        found.append(Beside(path.with_suffix(".ang"), lambda file, job: write_ang(file, job.scan)))
    return found


def require_free_beside(files: Sequence[Beside], force: bool) -> None:
    """Raise OutputError if one of the files exists, without `force`."""
    for file in files:
        if file.path.exists() and not force:
            raise OutputError(
                f"{file.path}: expected no such file, found one; use --force to replace it"
            )


def losses(format_: WriteFormat, scan: Scan) -> tuple[str, ...]:
    """What of a scan an export does not hold, nor a file beside it: lines for a person."""
    lost = []
    if scan.orientations is not None:
        if format_.orientations == "none":
            lost.append(f"orientations are not written: {format_.key} holds none")
        elif format_.key == "kikuchipy-h5" and scan.grid.is_hexagonal:
            lost.append("orientations are not written: the layout has no hexagonal grids")
        elif format_.orientations in ("beside", "both") and (reason := why_no_ang(scan)):
            lost.append(f"no .ang is written: {reason}")
    centre = scan.detector.pc_bruker
    if format_.pc == "one" and centre is not None and np.ndim(centre) == 2 and len(centre) > 1:
        lost.append(f"of {len(centre)} projection centres the mean is written")
    return tuple(lost)


def write_sidecar(path: Path, job: Job, convention: str) -> None:
    """The JSON file; `convention` is that of the projection centre in the format's programs."""
    content: dict[str, Any] = {
        "written_by": WRITTEN_BY,
        "file": job.target.name,
        "origin": job.origin,
        **geometry_record(job.scan, convention, each_point=True),
        "dtype": job.dtype,
        "quantisation": job.quantisation.record(),
    }
    if job.estimates is not None:
        content["patterns"] = job.estimates.lists()
    of_grid = np.array_equal(job.positions, job.scan.grid.positions())
    if not of_grid and len(job.positions) <= LISTED:
        content["positions_steps"] = job.positions.tolist()
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
