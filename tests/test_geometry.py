"""Grids, positions, paths and projection centres: against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebsdarchive.errors import ArgumentError, GeometryError
from ebsdarchive.geometry import (
    PC_CONVENTIONS,
    Grid,
    grid_positions,
    path_positions,
    pc_from_bruker,
    pc_to_bruker,
)

# EDAX's h5 counts hexagonal rows from one: rows 2, 4, … are the even ones
HEX_SHORT = Grid("hexagonal", 4, 5, 0.5, 0.433, n_columns_even=3)
HEX_EQUAL = Grid("hexagonal", 4, 3, n_columns_even=4)


# ---------------------------------------------------------------- projection centres

TALL, WIDE = (48, 32), (30, 60)  # detector (rows, columns)


@pytest.mark.parametrize(
    ("convention", "shape", "pc", "bruker"),
    [
        ("bruker", TALL, (0.4, 0.7, 0.6), (0.4, 0.7, 0.6)),
        # y* counts rows from below; z* is in units of the smaller side: 32 of 48 rows, 30 of 30
        ("edax", TALL, (0.4, 0.7, 0.6), (0.4, 0.3, 0.4)),
        ("edax", WIDE, (0.4, 0.7, 0.6), (0.4, 0.3, 0.6)),
        # all of Oxford's numbers are in units of the width
        ("oxford", TALL, (0.4, 0.75, 0.6), (0.4, 0.5, 0.4)),
        ("oxford", WIDE, (0.4, 0.25, 0.3), (0.4, 0.5, 0.6)),
        # 32 columns, binning 2: xpc = 16 px is a quarter of the 64 px; 96 rows of 50 µm: 4800 µm
        ("emsoft5", TALL, (16.0, -24.0, 2400.0), (0.25, 0.75, 0.5)),
        ("emsoft4", TALL, (16.0, -24.0, 2400.0), (0.75, 0.75, 0.5)),
    ],
)
def test_a_projection_centre_becomes_brukers_as_worked_out_by_hand(convention, shape, pc, bruker):
    scaling = {"pixel_size_um": 50.0, "binning": 2.0} if "emsoft" in convention else {}
    np.testing.assert_allclose(pc_to_bruker(pc, convention, shape, **scaling), bruker, atol=1e-12)
    np.testing.assert_allclose(pc_from_bruker(bruker, convention, shape, **scaling), pc, atol=1e-9)


@pytest.mark.parametrize("shape", [TALL, WIDE])
@pytest.mark.parametrize("convention", PC_CONVENTIONS)
def test_projection_centres_agree_with_kikuchipys_detector(convention, shape):
    from kikuchipy.detectors import EBSDDetector

    pc = (0.42, 0.71, 0.55) if "emsoft" not in convention else (3.5, -5.25, 1234.5)
    detector = EBSDDetector(shape=shape, pc=pc, convention=convention, px_size=59.2, binning=8)
    scaling = {"pixel_size_um": 59.2, "binning": 8.0}
    ours = pc_to_bruker(pc, convention, shape, **scaling)
    np.testing.assert_allclose(ours, detector.pc[0], rtol=1e-12)
    exports = {
        "bruker": detector.pc_bruker,
        "edax": detector.pc_tsl,
        "oxford": detector.pc_oxford,
        "emsoft4": lambda: detector.pc_emsoft(version=4),
        "emsoft5": lambda: detector.pc_emsoft(version=5),
    }
    theirs = exports[convention]()[0]
    np.testing.assert_allclose(
        pc_from_bruker(ours, convention, shape, **scaling), theirs, rtol=1e-9
    )


@given(
    pc=st.lists(st.tuples(*[st.floats(0.05, 1.5)] * 3), min_size=1, max_size=5),
    convention=st.sampled_from(PC_CONVENTIONS),
    shape=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    pixel_size=st.floats(0.5, 100),
    binning=st.integers(1, 16),
)
def test_converting_projection_centres_there_and_back_changes_nothing(
    pc, convention, shape, pixel_size, binning
):
    there = pc_from_bruker(pc, convention, shape, pixel_size, binning)
    assert there.shape == (len(pc), 3)
    np.testing.assert_allclose(
        pc_to_bruker(there, convention, shape, pixel_size, binning), pc, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("convert", [pc_to_bruker, pc_from_bruker])
def test_an_unknown_convention_or_a_wrong_number_of_numbers_is_an_error(convert):
    with pytest.raises(GeometryError, match=r"edax.*found 'tsl'"):
        convert((0.5, 0.5, 0.5), "tsl", TALL)
    with pytest.raises(GeometryError, match=r"expected 3 numbers, found shape \(2,\)"):
        convert((0.5, 0.5), "edax", TALL)


# ---------------------------------------------------------------- grids


def test_a_square_grid_runs_along_x_first():
    grid = Grid("square", 3, 2, 0.5, 0.25)
    assert (grid.size, grid.extent, grid.is_hexagonal) == (6, (2, 1), False)
    expected = [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]
    np.testing.assert_array_equal(grid.positions(), expected)
    np.testing.assert_array_equal(grid.to_map(np.arange(6)), [[0, 1, 2], [3, 4, 5]])
    assert grid.map_mask().all()


def test_every_second_row_of_a_hexagonal_grid_is_shifted_by_half_a_step():
    assert HEX_SHORT.size == 4 + 3 + 4 + 3 + 4
    assert HEX_SHORT.extent == (3, 4)
    np.testing.assert_array_equal(HEX_SHORT.row_starts, [0, 4, 7, 11, 14, 18])
    expected = [[0, 0], [1, 0], [2, 0], [3, 0], [0.5, 1], [1.5, 1], [2.5, 1], [0, 2]]
    np.testing.assert_array_equal(HEX_SHORT.positions()[:8], expected)
    np.testing.assert_array_equal(HEX_SHORT.positions_of(4, 7), expected[4:7])
    assert HEX_EQUAL.size == 12
    assert HEX_EQUAL.extent == (3.5, 2)
    np.testing.assert_array_equal(HEX_EQUAL.positions()[4:8], [[0.5 + i, 1] for i in range(4)])


@pytest.mark.parametrize(
    "grid", [Grid("square", 7, 5), Grid("square", 1, 1), Grid("square", 9, 1), HEX_SHORT, HEX_EQUAL]
)
def test_each_point_is_found_again_at_its_own_position(grid):
    xy = grid.positions()
    np.testing.assert_array_equal(grid.indices_of(xy), np.arange(grid.size))
    x_max, y_max = grid.extent
    inside = np.clip(xy + np.array([0.24, -0.4]), 0, [x_max, y_max])
    np.testing.assert_array_equal(grid.indices_of(inside), np.arange(grid.size))


def test_a_position_between_the_rows_belongs_to_the_nearest_point_of_the_nearest_row():
    np.testing.assert_array_equal(
        HEX_SHORT.indices_of(np.array([[0.1, 0.9], [3.0, 1.1], [3.0, 0.4]])), [4, 6, 3]
    )


def test_the_map_of_a_hexagonal_scan_is_empty_behind_short_rows_only():
    filled = HEX_SHORT.to_map(np.arange(18.0))
    np.testing.assert_array_equal(filled[:2], [[0, 1, 2, 3], [4, 5, 6, np.nan]])
    assert np.isnan(filled).sum() == 2
    np.testing.assert_array_equal(filled[HEX_SHORT.map_mask()], np.arange(18))
    whole = HEX_SHORT.to_map(np.arange(1, 19))
    assert whole.dtype.kind == "i"
    assert (whole[~HEX_SHORT.map_mask()] == 0).all()
    assert HEX_EQUAL.to_map(np.arange(24.0).reshape(12, 2)).shape == (3, 4, 2)


@given(
    n_columns=st.integers(1, 40),
    n_rows=st.integers(1, 20),
    kind=st.sampled_from(["square", "hexagonal", "hexagonal short"]),
    pattern_bytes=st.integers(1, 3000),
    block_bytes=st.integers(1, 100_000),
)
def test_blocks_cover_a_scan_once_in_order_and_stay_within_their_bytes(
    n_columns, n_rows, kind, pattern_bytes, block_bytes
):
    even = {"square": None, "hexagonal": n_columns, "hexagonal short": n_columns - 1}[kind]
    grid = Grid(kind.split()[0], n_columns, n_rows, n_columns_even=even)
    blocks = list(grid.blocks(pattern_bytes, block_bytes))
    assert [start for start, _ in blocks] == [0, *(stop for _, stop in blocks[:-1])]
    assert blocks[-1][1] == grid.size
    lengths = {stop - start for start, stop in blocks[:-1]}
    assert len(lengths) <= 1
    for start, stop in blocks:
        assert stop - start == 1 or (stop - start) * pattern_bytes <= block_bytes
    row = n_columns if even in (None, n_columns) else n_columns + even
    if row * pattern_bytes <= block_bytes:
        assert all(start % row == 0 for start, _ in blocks)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("triangular", 3, 2), "square or hexagonal"),
        (("square", 0, 2), "at least one row"),
        (("square", 3, 0), "at least one row"),
        (("square", 3, 2, -1.0), "positive step along x"),
        (("square", 3, 2, 1.0, float("nan")), "positive step along y"),
        (("square", 3, 2, 1.0, 1.0, 3), "hexagonal grids only"),
        (("hexagonal", 3, 2, 1.0, 1.0), "even rows of 2 or 3 points, found None"),
        (("hexagonal", 3, 2, 1.0, 1.0, 4), "even rows of 2 or 3 points, found 4"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(arguments, complaint):
    with pytest.raises(GeometryError, match=complaint):
        Grid(*arguments)


@pytest.mark.parametrize(
    "bad", [(-0.01, 0), (3.01, 0), (0, 4.01), (0, -1), (np.nan, 0), (0, np.inf)]
)
def test_a_position_outside_is_an_error_that_names_the_valid_range(bad):
    with pytest.raises(GeometryError, match="x from 0 to 3 and y from 0 to 4"):
        HEX_SHORT.require_inside(np.array([(0.0, 0.0), bad, (1.0, 1.0)]))
    with pytest.raises(GeometryError):
        HEX_SHORT.indices_of(np.array([bad], float))


@pytest.mark.parametrize(("nx", "ny"), [(7, 5), (2, 1), (1, 3), (1, 1), (200, 3)])
def test_normalised_positions_are_linspace_from_minus_one_to_one(nx, ny):
    uv = Grid("square", nx, ny).normalise(Grid("square", nx, ny).positions()).reshape(ny, nx, 2)
    along_x = np.linspace(-1, 1, nx) if nx > 1 else [0]  # a single point lies in the middle
    along_y = np.linspace(-1, 1, ny) if ny > 1 else [0]
    np.testing.assert_allclose(uv[0, :, 0], along_x, atol=1e-15)
    np.testing.assert_allclose(uv[:, 0, 1], along_y, atol=1e-15)
    assert (uv[..., 0] == uv[:1, :, 0]).all()


def test_normalised_hexagonal_positions_span_the_extent_of_the_scan():
    uv = HEX_EQUAL.normalise(HEX_EQUAL.positions())
    np.testing.assert_allclose([uv.min(axis=0), uv.max(axis=0)], [[-1, -1], [1, 1]])
    np.testing.assert_allclose(uv[1, 0] - uv[0, 0], 2 / 3.5)


# ---------------------------------------------------------------- paths and rasters


def test_a_path_has_the_number_of_equidistant_samples_with_both_ends():
    path = path_positions([(1, 2), (4, 6)], samples=6)
    np.testing.assert_allclose(path, np.column_stack([np.linspace(1, 4, 6), np.linspace(2, 6, 6)]))


def test_a_path_goes_round_its_corners_at_an_even_pace():
    path = path_positions([(0, 0), (3, 0), (3, 1)], samples=5)
    np.testing.assert_allclose(path, [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1)])


def test_a_spacing_shrinks_until_both_ends_are_met():
    path = path_positions([(0, 0), (10, 0)], spacing=3)
    np.testing.assert_allclose(path[:, 0], [0, 2.5, 5, 7.5, 10])
    assert len(path_positions([(0, 0), (1, 0)], spacing=0.1)) == 11  # 10.000000000000002 spacings
    assert len(path_positions([(0, 0), (0, 2)])) == 3  # one per step
    assert len(path_positions([(0, 0), (0, 0.3)])) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (([(0, 0)],), "at least two positions"),
        (([0, 1, 2],), "at least two positions"),
        (([(0, 0, 0), (1, 1, 1)],), "at least two positions"),
        (([(1, 1), (1, 1)], 5), "no length"),
        (([(0, 0), (np.nan, 1)], 5), "two different positions"),
        (([(0, 0), (5, 5)], 1), "expected 2 to [0-9]+ samples"),
        (([(0, 0), (5, 5)], 10**12), "expected 2 to [0-9]+ samples"),
        (([(0, 0), (5, 5)], 3, 1.0), "found both"),
        (([(0, 0), (5, 5)], None, 0.0), "positive spacing"),
        (([(0, 0), (5, 5)], None, float("nan")), "positive spacing"),
        (([(0, 0), (5, 5)], None, 1e-300), "at most [0-9]+ samples"),
    ],
)
def test_a_path_that_makes_no_sense_is_refused(arguments, complaint):
    with pytest.raises(ArgumentError, match=complaint):
        path_positions(*arguments)


def test_a_raster_runs_between_its_corners_row_by_row():
    raster = grid_positions((1, 2), (3, 5), (2, 3))
    np.testing.assert_allclose(raster, [(1, 2), (2, 2), (3, 2), (1, 5), (2, 5), (3, 5)])
    np.testing.assert_allclose(grid_positions((1, 2), (3, 5), (1, 1)), [(1, 2)])
    with pytest.raises(ArgumentError, match="at least 1 x 1"):
        grid_positions((0, 0), (1, 1), (0, 3))
    with pytest.raises(ArgumentError, match=r"at most \d+ positions"):
        grid_positions((0, 0), (1, 1), (10**9, 10**20))
