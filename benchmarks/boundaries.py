"""Grain boundaries from the diffraction gradient beside those of an indexed map, against the truth.

A simulated recrystallised scan (100 x 100 points of 60 x 60 px, 40 grains, shot noise of 3 %) is
compressed; `boundaries` finds its grains at 1 and at 5 samples per step. Beside it stands what is
usual: Hough indexing of the raw patterns, and of the field's patterns on the same raster, and a
boundary wherever neighbours differ by more than 5 degrees. With --real FILE also a measured scan,
which has no truth: there both are compared with each other.

    python benchmarks/boundaries.py [--small] [--real FILE]
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree
from works import SHOT_NOISE

import ebsdarchive
from ebsdarchive.analysis.agreement import (
    adjusted_rand_index,
    grains_by_disorientation,
    midpoints,
)
from ebsdarchive.analysis.indexing import hough_index
from ebsdarchive.analysis.ridges import Raster
from ebsdarchive.scan import Scan
from ebsdarchive.simulation import simulate_scan
from ebsdarchive.simulation.microstructure import Tessellation, polycrystal
from ebsdarchive.verbs.fitting import NeuralOptions

THRESHOLD_DEG = 5.0
MIN_POINTS = 3.0
NEAR = 1.0  # step: a boundary this close to a true one has found it
REFINED = 1.2  # steps around boundaries of the measured points, indexed at 5 samples per step
AT_ONCE = 10_000  # patterns that are indexed


def everywhere(raster: Raster) -> np.ndarray:
    """(m, 2) positions of all samples."""
    ny, nx = raster.shape
    return raster.positions(slice(0, ny), slice(0, nx))


def vertices(path: Path) -> np.ndarray:
    """(m, 2) positions of the polylines in a CSV file."""
    with path.open(newline="") as file:
        return np.array([(float(row["x"]), float(row["y"])) for row in csv.DictReader(file)])


def orientations(archive: Path, scan: Scan, layer: str, xy: np.ndarray) -> tuple[np.ndarray, str]:
    """(m, 4) Hough-indexed orientations of a layer's patterns at positions, and the point group."""
    background = scan.static_background
    found = []
    for start in range(0, len(xy), AT_ONCE):
        some = xy[start : start + AT_ONCE]  # linear: what places the peer's boundaries best
        patterns = ebsdarchive.query(archive, points=some, layer=layer, interpolation="linear")
        if background is None:
            background = patterns.mean(axis=0)
        found.append(hough_index(patterns, scan, static_background=background))
    return np.concatenate([part.quaternions for part in found]), found[0].point_group


def indexed(
    archive: Path, scan: Scan, layer: str, raster: Raster, coarse: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(ny, nx) grains by 5 degrees of disorientation, and the (m, 4) orientations behind them.

    With the orientations of the measured points as `coarse`, only samples near their boundaries
    are indexed: hundreds of patterns a second are too few for all.
    """
    xy = everywhere(raster)
    if coarse is None:
        quaternions, group = orientations(archive, scan, layer, xy)
    else:
        points = Raster(scan.grid, 1)
        quaternions = coarse[points.samples_at(xy)]
        group = str(scan.phases[0].point_group)
        borders = midpoints(
            grains_by_disorientation(coarse, points.shape, group, THRESHOLD_DEG), scan.grid
        )
        near = cKDTree(borders).query(xy)[0] < REFINED
        quaternions[near], _ = orientations(archive, scan, layer, xy[near])
    labels = grains_by_disorientation(quaternions, raster.shape, group, THRESHOLD_DEG)
    return labels, quaternions


def row(
    name: str,
    labels: np.ndarray,
    points: np.ndarray,
    raster: Raster,
    truth: Tessellation,
    ours: float | None,
) -> float:
    """Print one row; returns the mean distance of the boundary points from the truth."""
    distance = truth.at(points)[2]
    fine = Raster(raster.grid, 10)
    true_labels = truth.at(everywhere(fine))[0].reshape(fine.shape)
    true_points = midpoints(true_labels, raster.grid)
    met = np.mean(cKDTree(points).query(true_points)[0] < NEAR)
    sizes = np.bincount(labels.ravel()) / raster.per_step**2
    mean = float(distance.mean())
    print(
        f"| {name} | {np.count_nonzero(sizes)} | {np.count_nonzero(sizes >= MIN_POINTS)} "
        f"| {adjusted_rand_index(labels, truth.at(everywhere(raster))[0]):.4f} | {mean:.3f} "
        f"| {np.percentile(distance, 95):.3f} | {100 * met:.1f} % "
        f"| {'1.0' if ours is None else f'{mean / ours:.1f}'} |"
    )
    return mean


def simulated(folder: Path, small: bool) -> None:
    shape, grains = ((40, 40), 8) if small else ((100, 100), 40)
    scan = simulate_scan(shape, (60, 60), grains=grains, seed=1, camera=SHOT_NOISE)
    truth = polycrystal(scan.grid, grains, 1).tessellation
    archive = folder / "simulated.h5"
    ebsdarchive.compress(scan, archive, profile="fast", options=NeuralOptions(device="cpu"))
    print(f"\nsimulated, {shape[1]} x {shape[0]} points, {grains} grains\n")
    print(
        "| boundaries | grains | of 3 points or more | ARI | mean distance, steps | 95 % within "
        "| truth met | distance / ours |\n|---|---|---|---|---|---|---|---|"
    )
    coarse = None
    for per_step in (1, 5):
        raster = Raster(scan.grid, per_step)
        out = folder / f"{per_step}.csv"
        ebsdarchive.boundaries(archive, out, resolution=per_step, force=True)
        labels = ebsdarchive.open_archive(archive).map("grains")
        name = f"`boundaries`, {per_step}x"
        ours = row(name, labels, vertices(out), raster, truth, None)
        for layer in ("raw", "neural") if per_step == 1 else ("neural",):
            labels, quaternions = indexed(archive, scan, layer, raster, coarse)
            name = f"{layer} indexed, 5 deg, {per_step}x"
            row(name, labels, midpoints(labels, scan.grid), raster, truth, ours)
        coarse = quaternions


def real(folder: Path, source: str) -> None:
    archive = folder / "real.h5"
    ebsdarchive.compress(source, archive, profile="fast", options=NeuralOptions(device="cpu"))
    scan = ebsdarchive.open_scan(source)
    raster = Raster(scan.grid, 1)
    by_indexing = {layer: indexed(archive, scan, layer, raster)[0] for layer in ("raw", "neural")}
    out = folder / "real.csv"
    ebsdarchive.boundaries(archive, out, resolution=5)
    labels = ebsdarchive.open_archive(archive).map("grains").ravel()
    at_points = labels[Raster(scan.grid, 5).samples_at(scan.grid.positions())]
    tree = cKDTree(vertices(out))
    print(f"\nreal, {Path(source).name}: {labels.max()} grains by `boundaries`\n")
    print(
        "| indexed, 5 deg | grains | of 3 points or more | ARI with ours "
        "| mean distance to ours, steps |\n|---|---|---|---|---|"
    )
    for layer, found in by_indexing.items():
        sizes = np.bincount(found.ravel())
        distance = tree.query(midpoints(found, scan.grid))[0]
        print(
            f"| {layer} | {np.count_nonzero(sizes)} | {np.count_nonzero(sizes >= MIN_POINTS)} "
            f"| {adjusted_rand_index(at_points, found):.4f} | {distance.mean():.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="40 x 40 points, 8 grains")
    parser.add_argument("--real", metavar="FILE", help="a measured scan with a projection centre")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        simulated(Path(folder), options.small)
        if options.real:
            real(Path(folder), options.real)


if __name__ == "__main__":
    main()
