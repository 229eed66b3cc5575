"""Between its points a field keeps boundaries sharp and mixes linearly inside grains."""

from __future__ import annotations

import numpy as np
import pytest

from ebsdarchive.geometry import Grid, linear_weights, points_around
from ebsdarchive.neural.between import SharpMix, keys_kernel
from ebsdarchive.neural.field import Field, FieldTensors

GRIDS = (
    Grid("square", 7, 5),
    Grid("hexagonal", 6, 5, n_columns_even=5),
    Grid("hexagonal", 6, 4, n_columns_even=6),
    Grid("square", 1, 1),
    Grid("square", 1, 9),
    Grid("square", 9, 1),
)


def positions(grid: Grid, n: int = 60) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (n, 2)) * grid.extent


class TwoGrains(Field):
    """A field of one pattern left of `boundary`, in steps, another on its right, and a ripple."""

    def __init__(self, grid: Grid, boundary: float) -> None:
        self.boundary = boundary
        arrays = [np.zeros((1, 2), np.float32), np.zeros((1, 1), np.float32)]
        zeros = [np.zeros(1, np.float32)] * 2
        basis, mean = np.array([[3.0, -2.0, 1.0]], np.float32), np.full((1, 3), 10, np.float32)
        super().__init__(
            FieldTensors(arrays, zeros, 30.0, 30.0, basis, mean, np.ones((1, 3), bool)), grid
        )

    def coefficients(self, xy_steps):
        x, y = np.asarray(xy_steps, dtype=np.float64).T
        values = np.tanh(4 * (x - self.boundary)) + 0.01 * np.sin(3 * x + 5 * y)
        return values[:, None].astype(np.float32)


def mixed(field: Field, xy: np.ndarray) -> np.ndarray:
    indices, weights = SharpMix(field).weights(xy)
    return (weights * field.coefficients(field.grid.positions())[indices, 0]).sum(axis=1)


def linearly(field: Field, xy: np.ndarray) -> np.ndarray:
    indices, weights = linear_weights(field.grid, xy)
    return (weights * field.coefficients(field.grid.positions())[indices, 0]).sum(axis=1)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.kind} {grid.n_rows}")
def test_the_points_around_lie_where_their_distances_say(grid):
    xy = positions(grid)
    indices, away = points_around(grid, xy)
    inner = (np.abs(away) < 1).all(axis=-1)
    between = (xy % 1 != 0).all(axis=1)
    assert (inner[between].sum(axis=1) == 4).all()
    at = xy[:, None] - away  # the place of each, where it is a point of the scan
    inside = (at >= -1e-9).all(axis=-1) & (at <= np.array(grid.extent) + 1e-9).all(axis=-1)
    places = grid.positions_at(indices.ravel()).reshape(*indices.shape, 2)
    moved = np.abs(places - at).max(axis=-1) > 1e-9
    assert inside.any(axis=1).all()
    if not grid.is_hexagonal:  # rows of a hexagonal grid end at different places
        assert not moved[inside].any()
    np.testing.assert_allclose(places[~moved], at[~moved], atol=1e-9)
    assert indices.min() >= 0
    assert indices.max() < grid.size


def test_the_cubic_kernel_is_one_of_interpolation():
    np.testing.assert_array_equal(keys_kernel(np.arange(-3.0, 4.0)), [0, 0, 0, 1, 0, 0, 0])
    shares = np.linspace(0, 1, 11)[:, None] + np.arange(-2.0, 2.0)
    np.testing.assert_allclose(keys_kernel(shares).sum(axis=1), 1)


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.kind} {grid.n_rows}")
def test_weights_add_up_and_a_point_is_itself(grid):
    mix = SharpMix(TwoGrains(grid, 2.4))
    _, weights = mix.weights(positions(grid))
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    indices, weights = mix.weights(grid.positions())
    for point in range(grid.size):
        assert set(indices[point, weights[point] != 0]) == {point}
        np.testing.assert_allclose(weights[point].sum(), 1)


def test_inside_a_grain_the_mix_is_linear():
    field = TwoGrains(Grid("square", 14, 5), boundary=10.5)
    xy = positions(field.grid) * [0.5, 1.0]
    np.testing.assert_allclose(mixed(field, xy), linearly(field, xy), atol=1e-3)


def test_a_boundary_is_steeper_than_a_linear_mix_and_in_the_same_place():
    field = TwoGrains(Grid("square", 8, 5), boundary=3.5)
    x = np.linspace(3, 4, 21)
    xy = np.column_stack([x, np.full(21, 2.3)])
    found, linear = mixed(field, xy), linearly(field, xy)
    np.testing.assert_allclose(found[[0, -1]], linear[[0, -1]], atol=1e-3)
    np.testing.assert_allclose((found + found[::-1])[x != 3.5], 0, atol=0.02)  # jumps in the middle
    assert (found[2:8] < linear[2:8] - 0.05).all()
    assert (found[13:19] > linear[13:19] + 0.05).all()
