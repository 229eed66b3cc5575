"""The paper's joint formulation (4D-INR) beside our tensor field, on the same scan.

    python benchmarks/joint_vs_tensor.py [--seconds 600] [--width 256]

On the real Ni scan (a simulated one where the shared data are absent): `fit` with its defaults,
then `fit --method joint --time SECONDS`, both into an archive. Printed are bytes of the layer,
ratio to the patterns, seconds of the whole fit (measuring its errors included) and of the training
alone, the map-averaged MAE in percent of the full range, and, from Hough indexing of every fourth
point, the share of points that deviate by 4 degrees or more from the raw patterns' orientations.
First comes the mean pattern alone, which any field must beat: it is given to both.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from works import SHARED, everything, real_ni, simulated

import ebsdarchive
from ebsdarchive.analysis.indexing import compare_orientations, hough_index
from ebsdarchive.neural.pixels import detector_mask, values_inside
from ebsdarchive.neural.sample import draw_sample
from ebsdarchive.neural.storage import read_field
from ebsdarchive.scan import Scan
from ebsdarchive.verbs.fitting import NeuralOptions

INDEXED = 4  # every so many points


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600.0, help="to train the joint field for")
    parser.add_argument("--width", type=int, default=256, help="of the joint field's network")
    chosen = parser.parse_args()
    real = SHARED.is_dir()
    scan = real_ni() if real else simulated(40, 40, 60, 60, 12, seed=3)
    print(f"{'real' if real else 'simulated'} Ni, {scan.nbytes / 1e6:.1f} MB\n")
    print("| field | bytes | ratio | fit s | training s | steps | MAE % | points >= 4 deg |")
    print("|---|---|---|---|---|---|---|---|")
    mean_row(scan)
    points = np.arange(0, scan.grid.size, INDEXED)
    measured = everything(scan)[points]
    reference = hough_index(measured, scan)
    joint = NeuralOptions(method="joint", width=chosen.width, time_s=chosen.seconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.archive.h5"
        ebsdarchive.compress(scan, path, neural=False, profile="compat")
        for name, options in (("tensor, defaults", NeuralOptions()), ("joint (4D-INR)", joint)):
            begun = time.monotonic()
            summary = ebsdarchive.fit(path, options=options)
            seconds = time.monotonic() - begun
            config = json.loads(ebsdarchive.open_archive(path).attributes("neural")["config"])
            training = config["log"]["training"]
            decoded = read_field(str(path)).patterns(scan.grid.positions_at(points))
            found = hough_index(decoded, scan)
            match = compare_orientations(
                reference.quaternions, found.quaternions, reference.point_group
            )
            print(
                f"| {name}, {summary.shape} | {summary.stored:,} | "
                f"{scan.nbytes / summary.stored:.0f} | {seconds:.0f} | "
                f"{sum(run['seconds'] for run in training):.0f} | "
                f"{sum(run['steps'] for run in training)} | {summary.mae_pct:.3f} | "
                f"{1 - match.within_4_deg:.1%} |",
                flush=True,
            )


def mean_row(scan: Scan) -> None:
    """Print what the mean pattern alone takes and errs."""
    sample = draw_sample(scan, 0)
    mask = detector_mask(sample)
    inside = values_inside(everything(scan), mask).astype(np.float32)
    error = np.abs(inside - inside.mean(axis=0)).mean()
    print(
        f"| mean pattern | - | - | - | - | - | {100 * error / np.ptp(inside):.3f} | - |", flush=True
    )


if __name__ == "__main__":
    main()
