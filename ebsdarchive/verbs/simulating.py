"""``simulate``: a scan with known truth, streamed to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.archive.store import replacing
from ebsdarchive.formats.writers import Written, write_patterns
from ebsdarchive.simulation import simulate_scan
from ebsdarchive.verbs.progress import Progress, silent, stage

__all__ = ["simulate"]


def simulate(
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress = silent,
    **parameters: Any,
) -> Written:
    """Simulate a polycrystal scan and write it as h5 (kikuchipy h5ebsd), up1 or up2.

    An h5 file holds the true orientations as its crystal map; for up1 and up2 they go into
    ``OUTPUT.truth.npz`` beside it. Patterns are computed block by block, so the scan may be larger
    than memory.

    Parameters
    ----------
    **parameters
        Of `ebsdarchive.simulation.simulate_scan`: grid_shape, pattern_shape, grains, seed,
        hexagonal, dtype, electrons, gradient_deg, master_pattern, phase, …
    """
    scan = simulate_scan(**parameters)
    path = Path(output)
    wanted = scan.patterns.dtype.name
    if path.suffix.lower() in (".up1", ".up2") and wanted == "float32":
        wanted = parameters.get("dtype", "uint16")
    written = write_patterns(
        scan,
        path,
        positions=scan.grid.positions(),
        measured_dtype=wanted,
        dtype=scan.patterns.dtype.name if path.suffix.lower() == ".h5" else None,
        origin={"simulation": scan.source.metadata},
        force=force,
        formats=(".h5", ".up1", ".up2"),
        progress=stage(progress, "simulating"),
    )
    truth = scan.orientations
    if truth is not None and (path.suffix.lower() != ".h5" or scan.grid.is_hexagonal):
        with (
            replacing(path.with_name(path.name + ".truth.npz"), force=True) as temporary,
            open(temporary, "wb") as file,
        ):
            arrays: dict[str, Any] = dict(truth.properties)
            arrays |= {"quaternions": truth.quaternions, "phase_id": truth.phase_id}
            np.savez_compressed(file, **arrays)
    return written
