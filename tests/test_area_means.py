"""Bases of scans of which a sample meets some grains only."""

from __future__ import annotations

import numpy as np
import pytest

from ebsdarchive.geometry import Grid
from ebsdarchive.neural.area_means import knows_only_its_sample, local_means
from ebsdarchive.neural.basis import klt_of_sample
from ebsdarchive.neural.sample import draw_sample
from ebsdarchive.scan import ArrayPatterns, Detector, Scan, SourceFile

GRAIN, ACROSS, DOWN, SIDE = 6, 14, 12, 12
NOISE = 20.0


def as_scan(values: np.ndarray, grid: Grid) -> Scan:
    source = SourceFile(None, "memory", "test")
    return Scan(ArrayPatterns(values), grid, Detector(values.shape[1:]), source)


def scan_of_grains(grid: Grid, rng: np.random.Generator) -> Scan:
    """Square grains with a random pattern each."""
    patterns = 1000 + 200 * rng.standard_normal((ACROSS * DOWN, SIDE, SIDE + 1))
    x, y = grid.positions().T
    grain = (y // GRAIN * ACROSS + np.minimum(x // GRAIN, ACROSS - 1)).astype(int)
    noise = NOISE * rng.standard_normal((grid.size, SIDE, SIDE + 1))
    values = (patterns[grain] + noise).astype(np.float32)
    return as_scan(values, grid)


@pytest.fixture(scope="module", params=["square", "hexagonal"])
def scan(request):
    columns, rows = GRAIN * ACROSS, GRAIN * DOWN
    even = columns - 1 if request.param == "hexagonal" else None
    grid = Grid(request.param, columns, rows, n_columns_even=even)
    return scan_of_grains(grid, np.random.default_rng(3))


def basis_of(scan, sample, components, means=None):
    mask = np.ones(scan.patterns.shape[1:], bool)
    weights = np.ones(mask.sum(), np.float32)
    return klt_of_sample(sample, mask, weights, components, 0, means=means)


def left_of(basis, sample) -> float:
    """Squared error of a pattern that a basis leaves."""
    change = sample.patterns - basis.mean
    values = change.reshape(len(change), -1)
    return float(np.square(values - values @ basis.vectors.T @ basis.vectors).sum(1).mean())


def test_a_sample_that_misses_grains_is_told_from_one_that_meets_them(scan):
    few, many = (draw_sample(scan, 0, n * 4 * SIDE * (SIDE + 1)) for n in (80, 4000))
    others = draw_sample(scan, 1, 800 * 4 * SIDE * (SIDE + 1))
    assert knows_only_its_sample(basis_of(scan, few, 40), few, others)
    assert not knows_only_its_sample(basis_of(scan, many, 180), many, others)


def test_noise_that_a_basis_has_fitted_does_not_count_as_not_knowing():
    rng = np.random.default_rng(0)
    grid = Grid("square", 50, 40)
    noise = rng.standard_normal((grid.size, SIDE, SIDE)).astype(np.float32)
    scan = as_scan(noise, grid)
    sample, others = (draw_sample(scan, seed, 300 * 4 * SIDE * SIDE) for seed in (0, 1))
    assert not knows_only_its_sample(basis_of(scan, sample, 60), sample, others)


def test_means_over_areas_know_the_grains_that_the_sample_has_missed(scan):
    sample = draw_sample(scan, 0, 80 * 4 * SIDE * (SIDE + 1))
    others = draw_sample(scan, 1, 800 * 4 * SIDE * (SIDE + 1))
    own = basis_of(scan, sample, 75)
    means = local_means(scan, own.mean, own.mask, lambda done: None)
    better = basis_of(scan, sample, 75, means)
    assert left_of(better, others) < 0.8 * left_of(own, others)
    assert (np.diff(better.variances) <= 0).all()
    np.testing.assert_allclose(better.vectors @ better.vectors.T, np.eye(75), atol=1e-4)


def test_means_hold_the_energy_of_what_points_of_an_area_share(scan, monkeypatch):
    from ebsdarchive.neural import area_means as module

    mean, mask = np.full(scan.patterns.shape[1:], 1000, np.float32), np.ones((SIDE, SIDE + 1), bool)
    told = []
    monkeypatch.setattr(module, "MOST_AREAS", ACROSS * DOWN)
    means = local_means(scan, mean, mask, told.append)
    assert len(means) <= ACROSS * DOWN
    assert told[-1] == scan.grid.size
    patterns = scan.patterns.read(0, scan.grid.size) - mean
    x, y = scan.grid.positions().T // GRAIN
    area = y * (x.max() + 1) + x
    expected = sum(
        np.square(patterns[area == a].sum(0)).sum(dtype=float) / (area == a).sum()
        for a in np.unique(area)
    )
    assert np.square(means).sum(dtype=float) == pytest.approx(expected / scan.grid.size, rel=1e-4)
