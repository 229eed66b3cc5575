"""How well decoded patterns are indexed: share of points off by 4 degrees or more, mean, MAE.

    python benchmarks/reconstruction.py [--time SECONDS]

Works: the real nickel superalloy, and two simulated scans of 50 x 50 points of 60 x 60 px, one
recrystallised (twins, no gradients to speak of) and one deformed (cells of 6 points, 1.5 degrees
between them). Each is compressed as a user does; decoded and raw patterns are then compared by
`ebsdarchive compare`, with the paper's band-pass and with the static background divided out. For
the simulated ones both are compared with the true orientations, too.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from works import SHOT_NOISE, real_ni, simulated

import ebsdarchive
from ebsdarchive.analysis.background import Correction
from ebsdarchive.analysis.deviation import compare_orientations
from ebsdarchive.analysis.indexing import HoughIndexer, index_points, mean_pattern
from ebsdarchive.scan import Scan
from ebsdarchive.verbs.fitting import NeuralOptions

PAPER = {"TF-INR": 1.2, "4D-INR": 19.1}  # % of points >= 4 degrees on RX718, arXiv:2606.10352


def works() -> dict[str, Scan]:
    """The scans by their names in the table."""
    common = {"camera": SHOT_NOISE, "seed": 5}
    return {
        "real, RX718 40 x 40": real_ni(),
        "recrystallised 50 x 50": simulated(
            50, 50, 60, 60, 25, gradient_deg=0.2, twin_fraction=0.6, **common
        ),
        "deformed 50 x 50": simulated(
            50, 50, 60, 60, 12, cell_size=6.0, cell_spread_deg=1.5, **common
        ),
    }


def truth_shares(path: Path, scan: Scan, background: str) -> str:
    """Shares of raw and of decoded points that are 4 degrees or more off the true orientation."""
    if scan.source.path is not None or scan.orientations is None:
        return "|  "
    archive = ebsdarchive.open_archive(path)
    correction = Correction(background, mean_pattern(archive.scan("raw")))
    indexer = HoughIndexer(scan.detector, scan.phases, correction)
    shares = []
    for layer in ("raw", "neural"):
        found = index_points(archive.scan(layer), indexer)
        match = compare_orientations(
            found.quaternions, scan.orientations.quaternions, found.point_group
        )
        shares.append(100 * (1 - match.within(4)))
    return f"{shares[0]:.1f} | {shares[1]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--time", type=float, default=None, help="seconds to train for")
    seconds = parser.parse_args().time
    print(
        "| work | background | TF-INR >= 4 deg % | mean deg | median deg | MAE % | SSIM "
        "| confidence raw, decoded | raw off truth % | decoded off truth % | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, scan in works().items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scan.h5"
            made = ebsdarchive.compress(
                scan, path, profile="fast", options=NeuralOptions(time_s=seconds)
            )
            assert made.neural is not None
            for background in ("bandpass", "static"):
                found = ebsdarchive.compare(path, background=background).figures
                turned, alike = found["orientations"], found["patterns"]
                print(
                    f"| {name} | {background} "
                    f"| {100 * (1 - turned['share_below_4_deg']):.2f} "
                    f"| {turned['mean_deg']:.2f} | {turned['median_deg']:.2f} "
                    f"| {alike['mae_percent']:.3f} | {alike['ssim']:.3f} "
                    f"| {turned['confidence_a']:.2f}, {turned['confidence_b']:.2f} "
                    f"| {truth_shares(path, scan, background)} "
                    f"| {made.nbytes / made.neural.stored:.0f} |",
                    flush=True,
                )
    print(f"\nThe paper's own, % of points >= 4 degrees on its RX718: {PAPER}")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
