"""From a square grid to a hexagonal one and back: are the patterns still indexed as before?

    python benchmarks/hexagonal.py [--time SECONDS]

A simulated scan (60 x 60 points of 60 x 60 px, 12 grains, shot noise of 3 %) is compressed, its
neural layer regridded to a hexagonal up2 file of the same step; that file is read as a scan,
compressed in turn and regridded to a square up2 file, whose points are those of the scan again
(less the last row, which the hexagonal grid does not reach). The peer does the same with bilinear
interpolation of the measured patterns, without any neural layer. Hough indexing then compares what
came back with the orientations of the measured patterns, and with the true ones. A point that is
not indexed counts as 62.8 degrees, the largest disorientation of cubic crystals.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from works import SHOT_NOISE, everything, simulated

import ebsdarchive
from ebsdarchive.analysis.indexing import compare_orientations, hough_index
from ebsdarchive.scan import Scan
from ebsdarchive.verbs.fitting import NeuralOptions

SIDE = 60
LARGEST_DEG = 62.8


def round_trip(scan: Scan, folder: Path, layer: str, seconds: float) -> Scan:
    """The scan as it comes back from a hexagonal up2 file, by way of its raw or neural layer."""
    options = NeuralOptions(time_s=seconds)
    source: Scan | Path = scan
    for kind in ("hex", "square"):
        archive, written = folder / f"{layer}-{kind}.h5", folder / f"{layer}-{kind}.up2"
        ebsdarchive.compress(
            source, archive, profile="fast", neural=layer == "neural", options=options
        )
        ebsdarchive.query(archive, written, regrid=kind, layer=layer)
        source = written
    return ebsdarchive.open_scan(written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time", type=float, default=20.0, help="seconds to train each layer for")
    seconds = parser.parse_args().time
    begun = time.process_time()
    scan = simulated(SIDE, SIDE, 60, 60, 12, camera=SHOT_NOISE, seed=3)
    measured = everything(scan)
    background = measured.mean(axis=0)
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "measured": scan,
            "ebsdarchive, there and back": round_trip(scan, Path(folder), "neural", seconds),
            "bilinear, there and back": round_trip(scan, Path(folder), "raw", seconds),
        }
        patterns = {name: everything(one) for name, one in found.items()}
    grid = found["ebsdarchive, there and back"].grid
    assert (grid.n_columns, grid.n_rows) == (SIDE, SIDE - 1), grid
    count = grid.size  # the rows that all have
    indexed = {
        name: hough_index(some[:count], scan, static_background=background)
        for name, some in patterns.items()
    }
    assert scan.orientations is not None
    own = indexed["measured"]
    references = {
        "measured": own.quaternions,
        "true": scan.orientations.quaternions[:count],
    }
    print(f"{count} points, {scan.phases[0].name}\n")
    print(
        "| patterns | deviation from | within 2 deg | 4 deg | 5 deg | mean deg | median deg "
        "| confidence |\n" + "|---" * 8 + "|"
    )
    for reference, quaternions in references.items():
        for name, result in indexed.items():
            if name == reference:
                continue
            deviation = compare_orientations(
                quaternions, result.quaternions, own.point_group
            ).deviation_deg
            deviation = np.where(np.isnan(deviation), LARGEST_DEG, deviation)
            shares = " | ".join(f"{(deviation < limit).mean():.2%}" for limit in (2, 4, 5))
            print(
                f"| {name} | {reference} | {shares} | {deviation.mean():.3f} "
                f"| {np.median(deviation):.3f} | {result.confidence.mean():.3f} |"
            )
    print(f"\n{time.process_time() - begun:.0f} s of CPU")


if __name__ == "__main__":
    main()
