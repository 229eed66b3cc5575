"""Noisy scans with known truth for restorers, at doses that are searched for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from works import held

from ebsdarchive.analysis.background import Correction
from ebsdarchive.analysis.deviation import compare_orientations
from ebsdarchive.analysis.indexing import HoughIndexer, Indexed, mean_pattern
from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.conditions import ONE_BY_ONE, Conditions
from ebsdarchive.scan import ArrayPatterns, Detector, Orientations, Scan, SourceFile
from ebsdarchive.simulation import Camera, MasterPattern, simulate_patterns, simulate_scan
from ebsdarchive.simulation.camera import disc_mask, expected_counts
from ebsdarchive.simulation.rotations import uniform_quaternions

__all__ = [
    "PAPER", "Indexing", "Noisy", "conditions_of", "dose_for", "grains", "isolated", "of_pixels",
]  # fmt: skip

PAPER = {"1 ms": 0.43 / 0.80, "0.5 ms": 0.20 / 0.80}  # raw confidence over the reference's
CAMERA = Camera(specks=0)
PC = (0.5, 0.25, 0.6)
TRIALS = 7  # of the search for a dose


@dataclass(frozen=True)
class Noisy:
    """A noisy scan and its truth.

    Parameters
    ----------
    scan
        With the true orientations.
    clean
        (n, sy, sx) expected counts.
    seconds
        (n, 4) orientations that are mixed in; None where none is.
    disc
        Whether the screen is round.
    """

    name: str
    scan: Scan
    clean: np.ndarray
    seconds: np.ndarray | None = None
    disc: bool = False

    @property
    def lit(self) -> np.ndarray:
        """(sy, sx) bool."""
        shape = self.clean.shape[1:]
        return disc_mask(shape) if self.disc else np.ones(shape, bool)

    @property
    def patterns(self) -> np.ndarray:
        """(n, sy, sx) float32 counts."""
        return self.scan.patterns.read(0, self.scan.grid.size).astype(np.float32)


class Indexing:
    """Hough indexing of one kind of scan, with its static background divided out."""

    def __init__(self, scan: Scan, background: str = "static") -> None:
        correction = Correction(background, mean_pattern(scan))
        self.indexer = HoughIndexer(scan.detector, scan.phases, correction)

    def __call__(self, patterns: np.ndarray) -> Indexed:
        """Index (n, sy, sx) counts."""
        return self.indexer(patterns)

    def deviation(self, found: Indexed, truth: np.ndarray) -> np.ndarray:
        """(n,) degrees from the truth; 180 where not indexed."""
        match = compare_orientations(found.quaternions, truth, found.point_group)
        return np.nan_to_num(match.deviation_deg, nan=180.0)


def conditions_of(size: int, columns: int, any_camera: bool) -> Conditions:
    """What single patterns at the projection centre of these works are simulated from to learn:
    with cameras of all kinds, or theirs; so many in a batch of one small scan."""
    ranges: dict[str, Any] = {
        **{"shapes": ((size, size),), "columns": columns, **ONE_BY_ONE},
        **dict(zip(("pc_x", "pc_y", "pc_z"), ((value, value) for value in PC), strict=True)),
        **{"signal": (0.3, 6.0), "disc": 0.0},
    }
    if not any_camera:
        ranges |= {
            "gamma": (0.33, 0.33), "contrast": (0.03, 0.03), "flattened": 0.0, "eight_bit": 0.0,
            "psf": (0.3, 0.3), "specks": 0, "hot_pixels": 0,
        }  # fmt: skip
    return Conditions(**ranges)


def grains(
    name: str,
    side: tuple[int, int],
    size: int,
    points: float,
    electrons: float,
    seed: int,
    disc: bool = False,
) -> Noisy:
    """A nickel scan with so many points per grain."""
    common = {
        "grid_shape": side, "pattern_shape": (size, size), "seed": seed, "pc_bruker": PC,
        "grains": max(1, round(side[0] * side[1] / points)),
    }  # fmt: skip
    camera = replace(CAMERA, electrons=electrons, disc=disc)
    noisy = held(simulate_scan(camera=camera, **common))
    clean = simulate_scan(camera=replace(CAMERA, disc=disc), clean=True, **common)
    return Noisy(name, noisy, clean.patterns.read(0, clean.grid.size), disc=disc)


def isolated(
    name: str,
    n: int,
    size: int,
    electrons: float,
    seed: int,
    master: MasterPattern,
    share: float | None = None,
    contrast: float = CAMERA.contrast,
) -> Noisy:
    """Patterns of random orientations, each a grain of its own; `share` mixes in second ones."""
    rng = np.random.default_rng(seed)
    camera = replace(CAMERA, electrons=electrons, contrast=contrast)
    first, second = uniform_quaternions(n, rng), uniform_quaternions(n, rng)
    mixed = {}
    if share is not None:
        mixed = {
            "mixed_points": np.arange(n),
            "mixed_weights": np.full(n, share),
            "mixed_quaternions": second,
        }
    detector = Detector(
        (size, size), np.array(PC), np.array(PC), "bruker", sample_tilt_deg=70.0, tilt_deg=0.0
    )
    common = {"detector": detector, "master": master, "camera": camera, "seed": seed, **mixed}
    noisy = simulate_patterns(first, **common)
    clean = simulate_patterns(first, clean=True, **common)
    columns = int(math.sqrt(n))
    grid = Grid("square", columns, n // columns, 1.0, 1.0)
    scan = Scan(
        patterns=ArrayPatterns(noisy.read(0, grid.size)),
        grid=grid,
        detector=detector,
        source=SourceFile(None, "simulated", "benchmarks"),
        phases=(master.phase,),
        orientations=Orientations(first[: grid.size], np.zeros(grid.size, np.int32)),
        static_background=expected_counts(noisy.light, camera, np.dtype(np.uint16)),
    )
    return Noisy(name, scan, clean.read(0, grid.size), second if share is not None else None)


def of_pixels(name: str, noisy: np.ndarray, clean: np.ndarray) -> Noisy:
    """Patterns that nothing but the truth is known of, each alone."""
    grid = Grid("square", len(noisy), 1)
    scan = Scan(
        patterns=ArrayPatterns(noisy),
        grid=grid,
        detector=Detector(noisy.shape[1:]),
        source=SourceFile(None, name, "benchmarks"),
    )
    return Noisy(name, scan, clean)


def dose_for(part: float, size: int, n: int, master: MasterPattern) -> tuple[float, float, float]:
    """Electrons per pixel at which raw confidence is `part` of the clean patterns', that
    confidence, and the clean one. By bisection of the logarithm."""

    def confidence(electrons: float) -> float:
        made = isolated("", n, size, electrons, 11, master)
        return float(np.nanmean(index(made.patterns).confidence))

    clean = isolated("", n, size, 1e9, 11, master)
    index = Indexing(clean.scan)
    reference = float(np.nanmean(index(clean.clean).confidence))
    low, high = math.log(20.0), math.log(20_000.0)
    for _ in range(TRIALS):
        middle = (low + high) / 2
        low, high = (middle, high) if confidence(math.exp(middle)) < part * reference else (
            low, middle,
        )  # fmt: skip
    electrons = math.exp((low + high) / 2)
    return electrons, confidence(electrons), reference
