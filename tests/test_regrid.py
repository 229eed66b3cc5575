"""Regridding: a hexagonal or square scan over the same area, from any layer of patterns."""

from __future__ import annotations

import json
import struct

import h5py
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive import query
from ebsdarchive.errors import ArgumentError, GeometryError
from ebsdarchive.geometry import Grid
from ebsdarchive.regridding import regridded

ROOT3 = np.sqrt(3)
GRIDS = {
    "square": Grid("square", 17, 11, 0.5, 0.5),
    "oblong, unknown step": Grid("square", 9, 23),
    "oblong": Grid("square", 9, 23, 0.5, 0.75),
    "hexagonal": Grid("hexagonal", 13, 9, 0.2, 0.1 * ROOT3, n_columns_even=12),
    "hexagonal, equal rows": Grid("hexagonal", 13, 9, n_columns_even=13),
}


@pytest.mark.parametrize("kind", ["square", "hexagonal"])
@pytest.mark.parametrize("step", [1.0, 0.4, 1.7])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_regridded_scan_covers_the_area_with_neighbours_a_step_apart(grid, step, kind):
    new, xy = regridded(grid, kind, step)
    assert new.kind == kind
    assert len(xy) == new.size
    grid.require_inside(xy)
    assert xy[0].tolist() == [0, 0]
    at = xy * (1, grid.row_distance)  # in the scan's steps along x, along both axes
    distance = np.linalg.norm(at[:, None] - at, axis=2)
    np.fill_diagonal(distance, np.inf)
    near = (distance < step * (1 + 1e-6)).sum(axis=1)
    assert distance.min() == pytest.approx(step)
    assert near.max() == (6 if kind == "hexagonal" else 4)
    width, height = np.array(grid.extent) * (1, grid.row_distance)
    row = step * (ROOT3 / 2 if kind == "hexagonal" else 1)
    assert 0 <= height - at[:, 1].max() < row
    for y in np.unique(at[:, 1]):  # no row has room for another point at its end
        assert 0 <= width - at[at[:, 1] == y, 0].max() < step
    if grid.step_x_um is not None:
        assert new.step_x_um == pytest.approx(step * grid.step_x_um)
        assert new.step_y_um == pytest.approx(row * grid.step_x_um)
    else:
        assert (new.step_x_um, new.step_y_um) == (None, None)
    assert new.row_distance == pytest.approx(row / step)


def test_there_and_back_are_the_points_of_the_scan_again():
    grid = Grid("square", 8, 9, 0.5, 0.5)
    hexagonal = regridded(grid, "hexagonal")[0]
    assert (hexagonal.n_columns, hexagonal.n_columns_even, hexagonal.n_rows) == (8, 7, 10)
    back, again = regridded(hexagonal, "square")
    assert (back.n_columns, back.n_rows) == (8, 8)  # the hexagonal rows end before the last one
    # rows of the hexagonal grid are √3/2 of the scan's apart
    np.testing.assert_allclose(again * (1, ROOT3 / 2), grid.positions()[:64], atol=1e-9)
    same, at = regridded(hexagonal, "hexagonal")
    np.testing.assert_allclose(at, hexagonal.positions(), atol=1e-9)
    assert same.n_columns_even == 7


def test_a_line_has_no_hexagonal_grid_and_a_step_is_positive():
    with pytest.raises(GeometryError, match="at least 2 columns and 2 rows"):
        regridded(Grid("square", 9, 1), "hexagonal")
    with pytest.raises(GeometryError, match="ask for a smaller step"):
        regridded(Grid("square", 9, 9), "hexagonal", 9.0)
    assert regridded(Grid("square", 9, 1), "square", 2.0)[0].size == 5
    for step in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ArgumentError, match="expected a positive number"):
            regridded(Grid("square", 9, 9), "square", step)
    with pytest.raises(ArgumentError, match="expected at most"):
        regridded(Grid("square", 900, 900), "square", 1e-4)


@pytest.mark.parametrize("layer", ["raw", "neural", "restored/mean"])
def test_an_up2_on_the_other_grid_is_a_scan_of_the_patterns_there(layer, full_archive, tmp_path):
    path = tmp_path / "a.up2"
    written = query(full_archive, path, regrid="hex", layer=layer)
    # 7 x 5 points of 0.75 x 0.5 µm: rows 0.65 µm apart, 4 of them; even ones have 6 points
    head = struct.unpack("<4IBIIBdd", path.read_bytes()[:42])
    assert head[:4] == (3, 13, 11, 42)
    assert head[4:8] == (0, 7, 4, 1)
    assert head[8:] == pytest.approx((0.75, 0.375 * ROOT3))
    assert written.count == 26
    scan = ebsdarchive.open_scan(path)
    assert scan.grid == Grid("hexagonal", 7, 4, *head[8:], n_columns_even=6)
    xy = scan.grid.positions() * (1, head[9] / 0.5)
    expected = np.clip(np.rint(query(full_archive, points=xy, layer=layer)), 0, 65535)
    np.testing.assert_allclose(scan.patterns.read(0, 26), expected, atol=1)  # of rounding
    beside = json.loads((tmp_path / "a.up2.json").read_text())
    assert beside["origin"]["regridded"] == "hexagonal"
    assert beside["origin"]["interpolation"] == ("sharp" if layer == "neural" else "linear")
    np.testing.assert_allclose(beside["positions_steps"], xy, atol=1e-6)


def test_a_hexagonal_scan_becomes_a_square_one_of_any_step(make_archive, run_cli, tmp_path):
    archive = make_archive(hexagonal=True, step_um=(0.5, 0.25 * ROOT3))
    path = tmp_path / "a.h5"
    done = run_cli("query", archive, "--regrid", "square", "--step", "0.25", "-o", path)
    assert done.code == 0, done.err
    scan = ebsdarchive.open_scan(path)
    # the scan is 6 x 0.5 µm wide and 4 x 0.433 µm high
    assert scan.grid == Grid("square", 13, 7, 0.25, 0.25)
    assert scan.detector.pc_bruker.shape == (91, 3)
    again = tmp_path / "b.h5"
    ebsdarchive.compress(path, again, profile="compat", neural=False)
    query(again, tmp_path / "c.h5", regrid="hex", step_um=0.5)
    with h5py.File(tmp_path / "c.h5") as file:
        assert len(file["Scan 1/EBSD/Data/patterns"]) == 4 * 7 - 2
    assert ebsdarchive.open_scan(tmp_path / "c.h5").grid.n_columns_even == 6


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"regrid": "hex", "point": (0, 0)}, ArgumentError, "found 2"),
        ({"regrid": "round"}, ArgumentError, "expected square or hex, found 'round'"),
        ({"step_um": 1.0, "upsample": 2}, ArgumentError, "a step together with regrid"),
        ({"regrid": "hex", "step_um": 0.3}, GeometryError, "leave it out to keep the scan's"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(options, error, words, make_archive):
    archive = make_archive(step_um=(None, None))
    with pytest.raises(error, match=words):
        query(archive, **options)
