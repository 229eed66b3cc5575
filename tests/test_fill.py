"""Filling: points without a pattern of their own take their neighbours', and are marked so."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
import xarray

import ebsdarchive
from ebsdarchive import export, query
from ebsdarchive.analysis.neighbours import FilledPatterns, filling
from ebsdarchive.errors import ArgumentError, MissingLayerError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import ArrayPatterns, read_at

GRIDS = {
    "square": Grid("square", 13, 9),
    "oblong": Grid("square", 13, 9, 0.5, 0.75),
    "hexagonal": Grid("hexagonal", 13, 9, n_columns_even=12),
    "hexagonal, equal rows": Grid("hexagonal", 13, 9, 0.2, 0.1732, n_columns_even=13),
}


def plane(grid):
    """(n, 2, 3) patterns that change linearly over the specimen."""
    x, y = (grid.positions() * (1, grid.row_distance)).T[:, :, None, None]
    return (100 + 3 * x - 5 * y + np.arange(6).reshape(2, 3)).astype(np.float32)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_holes_of_any_shape_in_a_plane_are_filled_with_the_plane(grid):
    unsound = np.random.default_rng(0).random(grid.size) < 0.3
    x, y = grid.positions().T
    unsound |= (abs(x - 6) < 2) & (abs(y - 4) < 2)
    unsound |= x == 3
    fill = filling(grid, unsound)
    assert sorted([*fill.points, *fill.left]) == np.flatnonzero(unsound).tolist()
    assert len(fill.points) > 20
    np.testing.assert_allclose(fill.weights.sum(axis=1), 1)
    assert not unsound[fill.neighbours[fill.weights > 0]].any()
    patterns = plane(grid)
    broken = patterns.copy()
    broken[unsound] = np.nan
    found = FilledPatterns(ArrayPatterns(broken), fill)
    whole = found.read(0, grid.size)
    expected = patterns.copy()
    expected[fill.left] = np.nan
    np.testing.assert_allclose(whole, expected, rtol=1e-5)
    parts = [found.read(start, min(start + 7, grid.size)) for start in range(0, grid.size, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_lost_point_is_the_mean_of_those_around_it():
    for name, count in (("square", 4), ("hexagonal", 6)):
        grid = GRIDS[name]
        unsound = np.zeros(grid.size, bool)
        unsound[grid.indices_of(np.array([[5.0, 4.0]]))] = True
        fill = filling(grid, unsound)
        at = grid.positions()[fill.neighbours[0]] - (5.0, 4.0)
        np.testing.assert_allclose(np.hypot(at[:, 0], at[:, 1] * grid.row_distance), 1)
        np.testing.assert_allclose(fill.weights, 1 / count)


def test_nothing_is_filled_from_one_side():
    grid = GRIDS["square"]
    unsound = np.zeros(grid.size, bool)
    unsound[[0, 6, grid.size - 1]] = True  # two corners, and a point between two of the first row
    assert filling(grid, unsound).left.tolist() == [0, grid.size - 1]
    assert filling(grid, np.ones(grid.size, bool)).left.tolist() == list(range(grid.size))
    assert filling(Grid("square", 1, 5), np.arange(5) == 2).neighbours[0, 2:].tolist() == [1, 3]


def test_what_has_an_index_is_read_in_its_order():
    patterns = ArrayPatterns(np.arange(24).reshape(12, 1, 2).astype(np.uint16))
    for indices in ([3], [2, 3, 4], [9, 1, 1, 5], [5, 4]):
        found = read_at(patterns, np.array(indices))
        assert found[:, 0, 0].tolist() == [2 * i for i in indices]


# ---------------------------------------------------------------- query and export

BLANK = [8, 9, 34]  # two neighbours in the second row of seven, and the last corner


@pytest.fixture(scope="module")
def broken(make_scan):
    """A scan with blank patterns: of zeros, of another value, and at a corner."""
    patterns = make_scan().patterns.read(0, 35)
    patterns[BLANK] = 0
    patterns[9] = 77
    return make_scan(patterns=patterns)


@pytest.fixture
def lossy(broken, make_archive, tmp_path):
    """A test's own archive of that scan."""
    return shutil.copyfile(make_archive(broken), tmp_path / "lossy.h5")


def test_blank_patterns_are_filled_and_all_others_kept(broken, lossy, run_cli, tmp_path):
    counts = broken.patterns.read(0, 35)
    path = tmp_path / "a.up2"
    done = run_cli("export", lossy, "-o", path, "--fill", "blank")
    assert done.code == 0, done.err
    assert "2 patterns filled from sound neighbours; 1 without" in done.out
    found = ebsdarchive.open_scan(path).patterns.read(0, 35)
    kept = np.setdiff1d(np.arange(35), BLANK[:2])
    np.testing.assert_array_equal(found[kept], counts[kept])
    # point (1, 1): 0 and 3 of its row around, 1 above and 1 below; columns are nearer by counts
    row, column = (2 * counts[7] + counts[10]) / 3, (counts[1] + counts[15].astype(float)) / 2
    span = np.array([3.0, 2 * 0.5 / 0.75]) ** -2
    mixed = (span[0] * row + span[1] * column) / span.sum()
    np.testing.assert_allclose(found[8], mixed, atol=0.51)
    beside = json.loads((tmp_path / "a.up2.json").read_text())
    assert beside["patterns"] == {"estimated": [8, 9], "left": [34]}
    assert beside["origin"]["estimated_where"] == ["blank"]


def test_every_kind_of_file_says_which_patterns_are_estimates(lossy, tmp_path):
    xy = [(0, 0), (1, 1), (1.5, 0.5), (6, 4)]
    flags = [0, 1, 1, 0]
    for suffix in ("h5", "npz", "nc", "tif", "png"):
        written = query(lossy, tmp_path / f"a.{suffix}", points=xy, fill=["blank"])
        assert written.estimates.filled.tolist() == [bool(flag) for flag in flags]
        assert written.estimates.left.tolist() == [False, False, False, True]
    with h5py.File(tmp_path / "a.h5") as file:
        node = file["ebsdarchive_export"]
        assert node["columns/estimated"][()].tolist() == flags
        assert json.loads(node.attrs["origin"])["estimated_patterns"] == 2
    with np.load(tmp_path / "a.npz") as file:
        assert file["estimated"].tolist() == flags
        assert file["left_without_neighbours"].tolist() == [0, 0, 0, 1]
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        assert file["estimated"].values.tolist() == flags
    assert json.loads((tmp_path / "a.tif.json").read_text())["patterns"]["estimated"] == [1, 2]
    query(lossy, tmp_path / "b.png", points=xy)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_without_being_asked_nothing_is_filled_or_marked(broken, lossy, tmp_path):
    written = export(lossy, tmp_path / "a.h5")
    assert written.estimates is None
    with h5py.File(tmp_path / "a.h5") as file:
        assert "columns" not in file["ebsdarchive_export"]
        assert "estimated" not in file["ebsdarchive_export"].attrs["origin"]
    np.testing.assert_array_equal(query(lossy, point=(1, 1))[0], broken.patterns.read(8, 9)[0])


def test_between_points_a_filled_one_stands_in_for_the_blank(lossy):
    whole = query(lossy, upsample=1, fill=["blank"]).reshape(5, 7, 11, 13)
    found = query(lossy, point=(0.5, 1.25), fill=["blank"])
    left = 0.75 * whole[1, 0] + 0.25 * whole[2, 0]
    right = 0.75 * whole[1, 1] + 0.25 * whole[2, 1]
    np.testing.assert_allclose(found[0], (left + right) / 2, rtol=1e-5)


def test_a_region_is_filled_from_points_outside_of_it_too(lossy, tmp_path):
    written = export(lossy, tmp_path / "a.h5", region=(1, 1, 2, 1), fill=["blank"])
    assert written.estimates.filled.tolist() == [True, True]
    whole = query(lossy, upsample=1, fill=["blank"])
    found = ebsdarchive.open_scan(tmp_path / "a.h5").patterns.read(0, 2)
    np.testing.assert_array_equal(found, np.rint(whole[8:10]).astype(found.dtype))


def test_points_that_are_not_indexed_are_filled_in_the_layer_that_is_asked(fitted_archive):
    # the scan's own orientations have no phase at point 3, which has both neighbours in its row
    for layer in ("raw", "neural"):
        whole = query(fitted_archive, upsample=1, layer=layer)
        filled = query(fitted_archive, upsample=1, layer=layer, fill=["not-indexed"])
        changed = np.flatnonzero((whole != filled).any(axis=(1, 2)))
        assert changed.tolist() == [3]
        np.testing.assert_allclose(filled[3], (whole[2] + whole[4]) / 2, rtol=1e-5)


def test_an_orientation_map_is_named_where_there_are_several(fitted_copy):
    from test_plot import with_orientations

    with_orientations(fitted_copy)  # every 5th point is not indexed
    query(fitted_copy, upsample=1, fill=["not-indexed"])  # the scan's own come first
    whole = query(fitted_copy, upsample=1)
    filled = query(fitted_copy, upsample=1, fill=["not-indexed:orientations"])
    changed = np.flatnonzero((whole != filled).any(axis=(1, 2)))
    assert changed.tolist() == [5, 10, 15, 20, 25, 30]  # 0 is a corner
    with pytest.raises(MissingLayerError, match="expected an orientation map 'other'"):
        query(fitted_copy, upsample=1, fill=["not-indexed:other"])


def test_what_cannot_tell_is_said(fitted_archive, make_archive, tmp_path):
    ebsdarchive.extract(fitted_archive, ["neural"], tmp_path / "small.h5")
    with pytest.raises(MissingLayerError, match="expected the raw layer, which shows blank"):
        query(tmp_path / "small.h5", point=(1, 1), fill=["blank"])
    with pytest.raises(MissingLayerError, match="make a map of them with `ebsdarchive index`"):
        query(make_archive(described=False), point=(1, 1), fill=["not-indexed"])
    for reason in ("dark", "not-indexed:", "blank:x", ""):
        with pytest.raises(ArgumentError, match="expected blank, not-indexed, not-indexed:MAP"):
            query(fitted_archive, point=(1, 1), fill=[reason])
    with pytest.raises(ArgumentError, match="expected linear interpolation, found field"):
        query(fitted_archive, point=(1, 1), fill=["blank"], interpolation="field")


def test_blank_patterns_of_floats_are_those_without_a_number_or_a_change(make_scan, make_archive):
    patterns = make_scan(dtype="float32").patterns.read(0, 35)
    patterns[8], patterns[16], patterns[24, 3:] = np.nan, 0.25, np.nan
    archive = make_archive(make_scan(patterns=patterns))
    found = query(archive, upsample=1, fill=["blank"])
    changed = [i for i in range(35) if not np.array_equal(found[i], patterns[i], equal_nan=True)]
    assert changed == [8, 16]
    assert np.isfinite(found[[8, 16]]).all()
