"""The diffraction gradient: the analytic derivative of the field, in counts per step."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ebsdarchive.analysis.ridges import Raster, smoothed_slopes
from ebsdarchive.errors import GeometryError
from ebsdarchive.geometry import Grid
from ebsdarchive.neural import gradient
from ebsdarchive.neural.field import Field, FieldTensors, Network
from ebsdarchive.neural.gradient import DiffractionGradient, pattern_gauge

GRIDS = {
    "square": Grid("square", 17, 11),
    "oblong": Grid("square", 9, 23, 0.5, 0.75),
    "hexagonal": Grid("hexagonal", 13, 9, n_columns_even=12),
    "hexagonal, equal rows": Grid("hexagonal", 13, 9, 0.2, 0.1732, n_columns_even=13),
}


def random_tensors(rank=6, width=24, shape=(7, 9), seed=0):
    """A field of random weights, with the statistics of a SIREN, on a mask with holes."""
    rng = np.random.default_rng(seed)
    sizes = [2, width, width, width, rank - 1]
    weights, biases = [], []
    for i, (a, b) in enumerate(pairwise(sizes)):
        bound = 1 / a if i == 0 else np.sqrt(6 / a) / 10
        weights.append(rng.uniform(-bound, bound, (b, a)).astype(np.float32))
        biases.append(rng.uniform(-1, 1, b).astype(np.float32))
    mask = rng.random(shape) < 0.7
    basis = rng.normal(0, 300, (rank - 1, int(mask.sum()))).astype(np.float32)
    return FieldTensors(
        weights, biases, 12.0, 10.0, basis, np.full(shape, 5000, np.float32), mask
    )  # fmt: skip


def exact_patterns(field, xy):
    """(m, pixels of the mask) the field's patterns, computed in double precision on their own."""
    t = field.tensors
    h = field.grid.normalise(xy)
    omegas = [t.omega_first] + [t.omega_hidden] * (len(t.weights) - 2)
    for w, b, omega in zip(t.weights, t.biases, omegas, strict=False):
        h = np.sin(omega * (h @ w.T.astype(np.float64) + b))
    a = h @ t.weights[-1].T.astype(np.float64) + t.biases[-1]
    return a @ t.basis.astype(np.float64) + t.mean_pattern[t.mask]


def central_difference(function, xy, axis, h=1e-3):
    """Derivative by central differences, with the error of second order taken out."""
    step = np.zeros(2)
    step[axis] = h

    def once(k):
        return (function(xy + k * step) - function(xy - k * step)) / (2 * k * h)

    return (4 * once(1) - once(2)) / 3


def inner_positions(grid, count=40, seed=1):
    return 0.1 + np.random.default_rng(seed).random((count, 2)) * (np.array(grid.extent) - 0.2)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_smoothed_s_is_that_of_the_map_of_boundaries_where_the_field_is_resolved(grid):
    gradient, raster = DiffractionGradient(Field(random_tensors(), grid)), Raster(grid, 8)
    mapped = smoothed_slopes(gradient, raster, 0.5).strength
    ny, nx = raster.shape
    inner = raster.positions(slice(20, ny - 20), slice(20, nx - 20))
    found = gradient(inner, sigma=0.5).reshape(ny - 40, nx - 40)
    np.testing.assert_allclose(found, mapped[20:-20, 20:-20], rtol=0.03)
    assert np.abs(gradient(inner) / found.ravel() - 1).max() > 0.06  # it does smooth


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_s_equals_finite_differences_of_the_decoded_field(grid):
    field = Field(random_tensors(), grid)
    xy = inner_positions(grid)
    by_x, by_y = (central_difference(lambda p: exact_patterns(field, p), xy, k) for k in (0, 1))
    square = by_x**2 + (by_y / grid.row_distance) ** 2
    expected = np.sqrt(square.mean(axis=1))  # over the pixels of the mask
    assert expected.min() > 1
    np.testing.assert_allclose(DiffractionGradient(field)(xy), expected, rtol=1e-4)
    slopes = field.coefficient_derivatives(xy)
    for axis, derivative in enumerate((by_x, by_y)):
        scale = np.abs(derivative).max()
        np.testing.assert_allclose(
            slopes[:, axis] @ field.tensors.basis, derivative, rtol=0, atol=1e-4 * scale
        )


def test_s_equals_finite_differences_of_what_an_archive_decodes_to(fitted_archive):
    from ebsdarchive.neural.storage import read_field

    field = read_field(str(fitted_archive))
    mask = field.tensors.mask
    xy = inner_positions(field.grid)
    derivatives = [
        central_difference(lambda p: field.patterns(p)[:, mask].astype(np.float64), xy, k, 0.003)
        for k in (0, 1)
    ]
    derivatives[1] /= field.grid.row_distance
    expected = np.sqrt(sum((d**2).mean(axis=1) for d in derivatives))
    # looser than above: the patterns that are subtracted are of single precision
    single = np.abs(field.patterns(xy)[:, mask]).max() * np.finfo(np.float32).eps / 0.003
    np.testing.assert_allclose(DiffractionGradient(field)(xy), expected, rtol=3e-3, atol=single)


def test_lengths_are_in_steps_along_x_whatever_the_rows():
    tensors = random_tensors()
    near = DiffractionGradient(Field(tensors, Grid("square", 9, 9, 1.0, 0.5)))
    far = DiffractionGradient(Field(tensors, Grid("square", 9, 9, 1.0, 2.0)))
    plain = Field(tensors, Grid("square", 9, 9))
    xy = inner_positions(plain.grid)
    along_x, along_y = np.sqrt(
        ((plain.coefficient_derivatives(xy) @ tensors.basis) ** 2).mean(axis=2).T
    )
    np.testing.assert_allclose(near(xy), np.hypot(along_x, 2 * along_y), rtol=1e-5)
    np.testing.assert_allclose(far(xy), np.hypot(along_x, along_y / 2), rtol=1e-5)
    assert Grid("hexagonal", 5, 5, n_columns_even=4).row_distance == pytest.approx(3**0.5 / 2)


def test_s_depends_on_the_patterns_and_not_on_the_basis_they_are_written_in():
    tensors = random_tensors()
    xy = inner_positions(GRIDS["square"])
    expected = DiffractionGradient(Field(tensors, GRIDS["square"]))(xy)
    mix = np.random.default_rng(5).normal(size=(5, 5))
    weights = [*tensors.weights[:-1], (mix @ tensors.weights[-1]).astype(np.float32)]
    other = replace(
        tensors, weights=weights, basis=(np.linalg.inv(mix).T @ tensors.basis).astype(np.float32)
    )
    np.testing.assert_allclose(
        DiffractionGradient(Field(other, GRIDS["square"]))(xy), expected, rtol=1e-3
    )


def test_the_size_of_the_detector_has_no_part_in_s():
    tensors = random_tensors()
    xy = inner_positions(GRIDS["square"])
    twice = replace(
        tensors,
        basis=np.repeat(tensors.basis, 4, axis=1),
        mean_pattern=np.repeat(tensors.mean_pattern, 4, axis=1),
        mask=np.repeat(tensors.mask, 4, axis=1),
    )
    expected = DiffractionGradient(Field(tensors, GRIDS["square"]))(xy)
    found = DiffractionGradient(Field(twice, GRIDS["square"]))(xy)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_gauge_measures_patterns():
    tensors = random_tensors()
    a = np.random.default_rng(3).normal(size=(40, 5))
    rms = np.sqrt(((a @ tensors.basis) ** 2).mean(axis=1))
    np.testing.assert_allclose(
        np.linalg.norm(a @ pattern_gauge(tensors.basis), axis=1), rms, rtol=1e-5
    )


def test_a_component_that_is_zero_does_no_harm():
    basis = np.array([[1, 2, 3], [0, 0, 0], [2, 4, 6]], np.float32)
    gauge = pattern_gauge(basis)
    assert np.isfinite(gauge).all()
    np.testing.assert_allclose(gauge @ gauge.T, basis @ basis.T / 3, atol=1e-5)


def test_a_field_of_rank_1_does_not_change_anywhere():
    mean = np.full((3, 4), 7, np.float32)
    alone = FieldTensors([], [], 1.0, 1.0, np.empty((0, 12), np.float32), mean, mean > 0)
    s = DiffractionGradient(Field(alone, GRIDS["square"]))
    assert (s(inner_positions(GRIDS["square"])) == 0).all()


def test_a_scan_of_one_row_changes_along_it_only():
    line = Grid("square", 9, 1)
    slopes = Field(random_tensors(), line).coefficient_derivatives([[3.5, 0.0]])
    assert np.abs(slopes[0, 0]).max() > 0
    assert (slopes[0, 1] == 0).all()


def test_s_is_not_extrapolated():
    with pytest.raises(GeometryError, match="outside the scan"):
        DiffractionGradient(Field(random_tensors(), GRIDS["square"]))([[16.5, 2]])


def test_blocks_bound_the_memory_and_change_nothing(monkeypatch):
    s = DiffractionGradient(Field(random_tensors(), GRIDS["square"]))
    xy = inner_positions(GRIDS["square"], 60_000)
    whole = s(xy)
    for module in (gradient, __import__("ebsdarchive.neural.field", fromlist=["field"])):
        monkeypatch.setattr(module, "BLOCK_BYTES", 1 << 18)
    told = []
    tracemalloc.start()
    parts = s(xy, progress=lambda done, total: told.append((done, total)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    assert peak < 4 << 20
    assert told[-1] == (60_000, 60_000)
    assert len(told) > 10


def test_the_derivative_of_a_network_is_that_of_its_values():
    tensors = random_tensors()
    network = Network(tensors.weights, tensors.biases, tensors.omega_first, tensors.omega_hidden)
    xy = np.random.default_rng(2).uniform(-0.9, 0.9, (30, 2))
    derivative = network.derivative(xy)
    for axis in (0, 1):
        step = np.zeros(2)
        step[axis] = 1e-3
        found = (network(xy + step) - network(xy - step)) / 2e-3
        np.testing.assert_allclose(derivative[:, axis], found, atol=2e-3 * np.abs(found).max())
