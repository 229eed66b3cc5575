"""How well decoded patterns are indexed: share of points off by 4 degrees or more, mean, MAE.

    python benchmarks/reconstruction.py [--time SECONDS]

Works: the real nickel superalloy, and two simulated scans of 50 x 50 points of 60 x 60 px, one
recrystallised (twins, no gradients to speak of) and one deformed (cells of 6 points, 1.5 degrees
between them). Each is compressed as a user does; decoded and raw patterns are then compared by
Hough indexing as `ebsdarchive compare` does, with the paper's band-pass and with the static
background divided out; for the simulated scans with the true orientations, too.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--time", type=float, default=None, help="seconds to train for")
    parser.add_argument("--work", help="only works whose name begins so")
    asked = parser.parse_args()
    print(
        "| work | background | TF-INR >= 4 deg % | mean deg | median deg | confidence raw, decoded "
        "| raw off truth % | decoded off truth % | MAE % | SSIM | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, scan in works().items():
        if name.startswith(asked.work or ""):
            with tempfile.TemporaryDirectory() as folder:
                run(name, scan, Path(folder) / "scan.h5", asked.time)
    print(f"\nThe paper's own, % of points >= 4 degrees on its RX718: {PAPER}")


def run(name: str, scan: Scan, path: Path, seconds: float | None) -> None:
    """Compress, index raw and decoded patterns, and print a line for each background."""
    options = NeuralOptions(time_s=seconds)
    made = ebsdarchive.compress(scan, path, profile="fast", options=options)
    assert made.neural is not None
    alike = ebsdarchive.compare(path, orientations=False).figures["patterns"]
    archive = ebsdarchive.open_archive(path)
    level = mean_pattern(archive.scan("raw"))
    for background in ("bandpass", "static"):
        indexer = HoughIndexer(scan.detector, scan.phases, Correction(background, level))
        raw, decoded = (index_points(archive.scan(layer), indexer) for layer in ("raw", "neural"))
        match = compare_orientations(raw.quaternions, decoded.quaternions, raw.point_group)
        off = [" ", " "]
        if scan.source.path is None and scan.orientations is not None:  # simulated
            truth = scan.orientations.quaternions
            off = [
                f"{100 * (1 - compare_orientations(q, truth, raw.point_group).within(4)):.1f}"
                for q in (raw.quaternions, decoded.quaternions)
            ]
        print(
            f"| {name} | {background} | {100 * (1 - match.within(4)):.2f} | {match.mean_deg:.2f} "
            f"| {match.median_deg:.2f} | {raw.confidence.mean():.2f}, "
            f"{decoded.confidence.mean():.2f} | {off[0]} | {off[1]} | {alike['mae_percent']:.3f} "
            f"| {alike['ssim']:.3f} | {made.nbytes / made.neural.stored:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
