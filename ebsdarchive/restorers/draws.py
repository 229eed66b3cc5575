"""What is drawn for a small simulated scan: its grains, its camera, and what is in its patterns."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.conditions import Conditions, Range
from ebsdarchive.restorers.restorer import OVERLAP, UNFAMILIAR, WEAK
from ebsdarchive.restorers.samples import Floats
from ebsdarchive.simulation.camera import Camera
from ebsdarchive.simulation.microstructure import Microstructure, polycrystal
from ebsdarchive.simulation.rotations import uniform_quaternions

__all__ = [
    "divided_by_background",
    "drawn_camera",
    "drawn_flags",
    "drawn_grains",
    "drawn_shares",
    "even_log",
    "texture",
]

MOST = 1e6  # electrons per pixel
MIXED = 0.8  # a pattern with a smaller share of its first orientation overlaps with another


def drawn_grains(grid: Grid, wide: Conditions, rng: np.random.Generator) -> Microstructure:
    """Grains of a size of the range."""
    expected = grid.size / even_log(wide.grain_points, rng)
    count = int(np.clip(1 + rng.poisson(expected), 1, grid.size))
    seed = int(rng.integers(1 << 31))
    return polycrystal(grid, count, seed, wide.spread_deg, wide.mixing_width)


def drawn_shares(
    truth: Microstructure, wide: Conditions, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.float64]]:
    """(n,) shares of the first orientation and (n, 4) second ones: at boundaries, and of points
    anywhere that are to overlap."""
    n = len(truth.quaternions)
    share, seconds = np.ones(n, np.float32), truth.quaternions.copy()
    share[truth.mixed_points] = truth.mixed_weights
    seconds[truth.mixed_points] = truth.mixed_quaternions
    wanted = np.flatnonzero(rng.random(n) < wide.overlap)
    share[wanted] = rng.uniform(0.5, MIXED, len(wanted))
    seconds[wanted] = uniform_quaternions(len(wanted), rng)
    return share, seconds


def drawn_flags(share: Floats, wide: Conditions, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """(n,) what is true of the points; one flag at most."""
    chance = rng.random(len(share))
    if rng.random() < wide.noise / 2:
        chance[:] = 0
    flags = np.where(share <= MIXED, OVERLAP, 0)
    flags[chance < wide.noise / 2 + wide.unfamiliar] = UNFAMILIAR
    flags[chance < wide.noise / 2] = WEAK
    return flags.astype(np.uint8)


def texture(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """(sy, sx) with mean 0 and standard deviation 1 that is no Kikuchi pattern: smooth noise of any
    width, a grating, or rings."""
    v, u = np.mgrid[: shape[0], : shape[1]] / min(shape)
    kind = rng.integers(3)
    if kind == 0:
        from scipy.ndimage import gaussian_filter

        width = min(shape) * even_log((0.015, 0.1), rng)
        found = gaussian_filter(rng.standard_normal(shape), width, mode="wrap")
    else:
        angle, waves = rng.uniform(0, math.pi), rng.uniform(2, 12)
        centre_v, centre_u = rng.uniform(-0.2, 1.2, 2)
        way = (
            np.hypot(v - centre_v, u - centre_u)
            if kind == 1
            else v * math.sin(angle) + u * math.cos(angle)
        )
        found = np.sin(2 * math.pi * waves * way + rng.uniform(0, 2 * math.pi))
    return np.asarray((found - found.mean()) / max(float(found.std()), 1e-6), np.float32)


def drawn_camera(
    wide: Conditions, rng: np.random.Generator, contrast: float, electrons: float, disc: bool
) -> Camera:
    """A camera with a smooth background of its own."""
    dark = rng.uniform(0.0, 0.12)
    return Camera(
        electrons=min(electrons, MOST),
        read_noise=rng.uniform(*wide.read_noise),
        dark_level=dark,
        mean_level=rng.uniform(dark + 0.15, 0.6),
        contrast=contrast,
        bell_centre=(rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.8)),
        bell_width=(rng.uniform(0.35, 0.9), rng.uniform(0.35, 0.9)),
        gradient=(rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)),
        vignetting=rng.uniform(0.0, 0.4),
        specks=int(rng.integers(wide.specks + 1)),
        disc=disc,
    )


def divided_by_background(
    patterns: Floats, clean: Floats, still: Floats, mask: npt.NDArray[np.bool_], dark: np.float32
) -> tuple[Floats, Floats]:
    """Patterns divided by the background and stretched to 8 bit one by one, as vendors do; clean
    ones with the scale of the noisy."""
    level = np.where(mask & (still > 0.02), still, np.inf).astype(np.float32)
    flat = (patterns - dark) / level
    inside = flat[:, mask]
    mean = inside.mean(axis=1)[:, None, None]
    scale = 40 / np.maximum(inside.std(axis=1), 1e-6)[:, None, None]
    noisy = np.clip(np.rint(127 + scale * (flat - mean)), 0, 255) * mask
    truth = (127 + scale * ((clean - dark) / level - mean)) * mask
    return noisy.astype(np.float32), truth.astype(np.float32)


def even_log(limits: Range, rng: np.random.Generator) -> float:
    """A number of a range, even in its logarithm."""
    low, high = limits
    return float(low * (high / low) ** rng.random())
