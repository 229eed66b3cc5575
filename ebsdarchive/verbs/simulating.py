"""``simulate``: a scan with known truth, streamed to a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import OutputError
from ebsdarchive.exchange.writers import Written, write_patterns
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

    An h5 file of a square grid holds the true orientations as its crystal map; else they go into
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
    truth_file = path.with_name(path.name + ".truth.npz") if path.name else path
    is_hdf5 = path.suffix.lower() in (".h5", ".hdf5")
    holds_truth = is_hdf5 and not scan.grid.is_hexagonal
    if not holds_truth and truth_file.exists() and not force:
        raise OutputError(
            f"{truth_file}: expected no such file, found one; use --force to replace it"
        )
    wanted = scan.patterns.dtype.name
    if path.suffix.lower() in (".up1", ".up2") and wanted == "float32":
        wanted = parameters.get("dtype", "uint16")
    written = write_patterns(
        scan,
        path,
        positions=scan.grid.positions(),
        measured_dtype=wanted,
        dtype=scan.patterns.dtype.name if is_hdf5 else None,
        origin={"simulation": scan.source.metadata},
        force=force,
        formats=("kikuchipy-h5", "up1", "up2"),
        progress=stage(progress, "simulating"),
    )
    truth = scan.orientations
    if truth is not None and not holds_truth:
        with replacing(truth_file, force=True) as temporary, open(temporary, "wb") as file:
            arrays: dict[str, Any] = dict(truth.properties)
            arrays |= {"quaternions": truth.quaternions, "phase_id": truth.phase_id}
            np.savez_compressed(file, **arrays)
    return written
