"""Patterns between the points: trained on every other row and column, asked for the rest.

    python benchmarks/holdout.py [--works real,recrystallised,deformed] [--points 900]

The real scan is small, so that of it each of the four ways to choose every other row and column is
taken. Peers interpolate the measured patterns: nearest, bilinear, bicubic. Of ours there are the
network's own values between the points, linear mixes of the layer's patterns, and what `query`
gives by default, mixes that are sharp at boundaries. Each row has, for points within 1.5 steps of a
boundary (5 degrees) and for the interior of grains, the mean absolute error against the measured
patterns in percent of the full range, and by Hough indexing the share of points within 4 degrees
and the mean deviation: from the truth of simulated scans, and from the measured patterns' own
orientations of the real one. A point that is not indexed counts as 62.8 degrees, the largest
disorientation of cubic crystals.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt, map_coordinates
from works import held, real_ni

import ebsdarchive
from ebsdarchive.analysis.indexing import compare_orientations, hough_index
from ebsdarchive.geometry import Grid
from ebsdarchive.neural.pixels import detector_mask, values_inside
from ebsdarchive.neural.sample import draw_sample
from ebsdarchive.scan import ArrayPatterns, Scan
from ebsdarchive.simulation import simulate_scan

LARGEST_DEG = 62.8
BOUNDARY_DEG, NEAR_STEPS = 5.0, 1.5
ORIGINS = ((0, 0), (0, 1), (1, 0), (1, 1))


def simulated_scan(**options: float) -> Scan:
    return held(simulate_scan((61, 61), (60, 60), grains=30, seed=7, **options))  # type: ignore[arg-type]


SCANS: dict[str, Callable[[], Scan]] = {
    "real": real_ni,
    "recrystallised": simulated_scan,
    "deformed": lambda: simulated_scan(cell_size=8.0, cell_spread_deg=1.0),
}


def near_a_boundary(quaternions: np.ndarray, point_group: str) -> np.ndarray:
    """(ny, nx) points within `NEAR_STEPS` of the middle between two points that disagree."""

    def differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found = compare_orientations(a.reshape(-1, 4), b.reshape(-1, 4), point_group)
        return (found.deviation_deg > BOUNDARY_DEG).reshape(a.shape[:2])

    ny, nx = quaternions.shape[:2]
    far = np.ones((2 * ny - 1, 2 * nx - 1), bool)
    far[::2, 1::2] = ~differ(quaternions[:, :-1], quaternions[:, 1:])
    far[1::2, ::2] = ~differ(quaternions[:-1], quaternions[1:])
    if far.all():
        return np.zeros((ny, nx), bool)
    return distance_transform_edt(far)[::2, ::2] <= 2 * NEAR_STEPS


def run(name: str, points: int) -> None:
    scan = SCANS[name]()
    ny, nx = scan.grid.n_rows, scan.grid.n_columns
    patterns = scan.patterns.read(0, ny * nx).reshape(ny, nx, *scan.patterns.shape[1:])
    background = scan.static_background
    if background is None:
        background = patterns.mean(axis=(0, 1))
    indexed = hough_index(
        patterns.reshape(-1, *patterns.shape[2:]), scan, static_background=background
    )
    reference = indexed.quaternions
    if name != "real":
        assert scan.orientations is not None
        reference = scan.orientations.quaternions
    boundary = near_a_boundary(reference.reshape(ny, nx, 4), indexed.point_group)

    mask = detector_mask(draw_sample(scan, 0))
    span = float(np.ptp(values_inside(patterns.reshape(-1, *patterns.shape[2:]), mask)))
    found: dict[str, list[np.ndarray]] = {}
    for origin in ORIGINS[: 4 if name == "real" else 1]:
        part = np.s_[origin[0] :, origin[1] :]
        rows, columns, methods = held_out(scan, patterns[part], points)
        index = (rows + origin[0]) * nx + columns + origin[1]
        measured = patterns[part][rows, columns]
        expected = values_inside(measured, mask).astype(np.float32)
        for label, values in [("measured there", measured.astype(np.float32)), *methods]:
            error = np.abs(values_inside(values, mask) - expected).mean(axis=1) / span * 100
            again = hough_index(values, scan, static_background=background)
            deviation = compare_orientations(
                reference[index], again.quaternions, indexed.point_group
            ).deviation_deg
            deviation = np.where(np.isnan(deviation), LARGEST_DEG, deviation)
            near = boundary.ravel()[index]
            found.setdefault(label, []).append(np.stack([near, error, deviation]))

    print(f"\n## {name}\n")
    for number, (label, parts) in enumerate(found.items()):
        near, error, deviation = np.concatenate(parts, axis=1)
        if number == 0:
            print(f"{ny} x {nx} points; {near.size} held out, {int(near.sum())} near a boundary\n")
            print("| method | MAE %, boundary | interior | within 4 deg, boundary | interior "
                  "| mean deg, boundary | interior |\n" + "|---" * 7 + "|")  # fmt: skip
        places = (near == 1, near == 0)
        cells = [f"{error[p].mean():.4f}" for p in places]
        cells += [f"{(deviation[p] < 4).mean():.2%}" for p in places]
        cells += [f"{deviation[p].mean():.3f}" for p in places]
        print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def held_out(
    scan: Scan, patterns: np.ndarray, points: int
) -> tuple[np.ndarray, np.ndarray, Iterator[tuple[str, np.ndarray]]]:
    """Rows and columns of points that are held out of (ny, nx, sy, sx) patterns, and what each
    method makes of the others there."""
    kept = patterns[::2, ::2]
    my, mx = kept.shape[:2]
    places = np.argwhere(np.ones((2 * my - 1, 2 * mx - 1), bool))
    places = places[(places % 2 == 1).any(axis=1)]
    chosen = np.random.default_rng(0).permutation(len(places))[:points]
    rows, columns = places[np.sort(chosen)].T
    return rows, columns, interpolations(scan, kept, np.stack([rows, columns]) / 2)


def interpolations(
    scan: Scan, kept: np.ndarray, at: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Patterns by each method at (2, n) rows and columns between the kept (my, mx, sy, sx) ones."""
    my, mx = kept.shape[:2]
    flat = kept.reshape(my, mx, -1).astype(np.float32)
    for label, order in (("nearest", 0), ("bilinear", 1), ("bicubic", 3)):
        found = np.stack(
            [
                map_coordinates(pixel, at, order=order, mode="nearest")
                for pixel in flat.T.swapaxes(1, 2)
            ],
            axis=1,
        )
        yield label, found.reshape(-1, *kept.shape[2:])
    subset = replace(
        scan,
        patterns=ArrayPatterns(kept.reshape(-1, *kept.shape[2:])),
        grid=Grid("square", mx, my),
        orientations=None,
    )
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "kept.h5"
        ebsdarchive.compress(subset, archive, profile="fast")
        for how in ("field", "linear", "sharp"):
            label = "ebsdarchive" if how == "sharp" else f"ebsdarchive, {how}"
            yield label, ebsdarchive.query(archive, points=at[::-1].T, interpolation=how)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--works", default=",".join(SCANS))
    parser.add_argument("--points", type=int, default=900)
    options = parser.parse_args()
    for name in options.works.split(","):
        run(name, options.points)


if __name__ == "__main__":
    main()
