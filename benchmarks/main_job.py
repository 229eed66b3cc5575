"""The main job on the real Ni scan, checked by other software at every step.

    python benchmarks/main_job.py

compress (with neural) -> verify --data -> query a 50-sample path -> export up2 and h5. The exported
raw patterns must be bit-equal in kikuchipy and PyEBSDIndex; Hough indexing through kikuchipy of the
raw, the decoded and the exported patterns is compared.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import kikuchipy
import numpy as np
from pyebsdindex import ebsd_pattern
from works import SHARED, everything

import ebsdarchive
from ebsdarchive.analysis.indexing import compare_orientations, hough_index, index_file
from ebsdarchive.verbs.fitting import NeuralOptions


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder))


def run(folder: Path) -> None:
    source = SHARED / "rx718_40x40.h5"
    path = folder / "rx718.archive.h5"
    made = ebsdarchive.compress(source, path, options=NeuralOptions())
    assert made.raw is not None
    assert made.neural is not None
    print("| step | result |")
    print("|---|---|")
    print(f"| compress, raw | {made.raw.nbytes / made.raw.stored:.3f}x lossless |")
    print(
        f"| compress, neural | {made.nbytes / made.neural.stored:.1f}x, rank "
        f"{made.neural.rank}, MAE {made.neural.mae_pct:.3f} % of full range, "
        f"{made.neural.seconds:.0f} s |"
    )
    report = ebsdarchive.verify(path, data=True)
    print(f"| verify --data | {'sound' if report.sound else report.all_faults} |")
    along = ebsdarchive.query(path, along=[(2, 3), (30, 24)], samples=50)
    print(f"| query, 50 samples of a path | {along.shape}, {along.dtype} |")

    scan = ebsdarchive.open_scan(source)
    measured = everything(scan)
    for name in ("raw.up2", "raw.h5"):
        ebsdarchive.export(path, folder / name, layer="raw")
        theirs = np.asarray(kikuchipy.load(str(folder / name)).data).reshape(measured.shape)
        equal = "bit-equal" if np.array_equal(theirs, measured) else "DIFFERENT"
        reader = ebsd_pattern.get_pattern_file_obj(str(folder / name))
        indexer = np.asarray(reader.read_data(returnArrayOnly=True)[0]).reshape(measured.shape)
        other = "bit-equal" if np.array_equal(indexer, measured) else "DIFFERENT"
        print(f"| export {name} | kikuchipy {equal}, PyEBSDIndex {other} |")
    ebsdarchive.export(path, folder / "neural.up2", layer="neural")
    ebsdarchive.export(path, folder / "neural.h5", layer="neural", dtype="float32")

    field = ebsdarchive.open_archive(path).patterns("neural")
    results = {
        "raw": hough_index(measured, scan),
        "decoded neural": hough_index(field.read(0, scan.grid.size), scan),
        "exported raw.up2": index_file(folder / "raw.up2", scan),
        "exported neural.up2": index_file(folder / "neural.up2", scan),
        "exported neural.h5": index_file(folder / "neural.h5", scan),
    }
    print("\n| patterns | within 4 deg of raw | mean deg | median deg | confidence | fit deg |")
    print("|---|---|---|---|---|---|")
    reference = results["raw"]
    for name, found in results.items():
        match = compare_orientations(
            reference.quaternions, found.quaternions, reference.point_group
        )
        print(
            f"| {name} | {match.within_4_deg:.2%} | {match.mean_deg:.3f} | {match.median_deg:.3f} "
            f"| {np.nanmean(found.confidence):.3f} | {np.nanmean(found.fit_deg):.3f} |"
        )


if __name__ == "__main__":
    main()
