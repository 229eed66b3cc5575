"""Queries: measured points as measured, bilinear or the field between them, nothing outside."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive import open_archive, query
from ebsdarchive.errors import (
    ArchiveError,
    ArgumentError,
    GeometryError,
    MissingLayerError,
    OutputError,
)
from ebsdarchive.neural.storage import read_field
from ebsdarchive.verbs.places import read_positions


@pytest.fixture(scope="module")
def measured(make_scan) -> np.ndarray:
    """(5, 7, 11, 13) patterns of the default scan."""
    return make_scan().patterns.read(0, 35).reshape(5, 7, 11, 13)


@pytest.fixture(scope="module")
def hexagonal_archive(make_archive) -> Path:
    return make_archive(hexagonal=True)


# ---------------------------------------------------------------- the raw layer


def test_the_raw_layer_at_a_measured_point_is_the_measured_pattern(measured, archive_path):
    found = query(archive_path, points=[(0, 0), (6, 4), (3, 2), (0, 4)], layer="raw")
    assert found.dtype == np.float32
    expected = measured[[0, 4, 2, 4], [0, 6, 3, 0]]
    np.testing.assert_array_equal(found, expected)


def test_the_raw_layer_between_points_is_the_bilinear_mix_of_the_four_around(
    measured, archive_path
):
    counts = measured.astype(np.float64)
    found = query(archive_path, points=[(2.5, 1), (2, 1.25), (4.75, 3.5), (5.5, 3.9)], layer="raw")
    along_x = (counts[1, 2] + counts[1, 3]) / 2
    along_y = 0.75 * counts[1, 2] + 0.25 * counts[2, 2]
    both = (
        0.5 * (0.25 * counts[3, 4] + 0.75 * counts[3, 5])
        + 0.5 * (0.25 * counts[4, 4] + 0.75 * counts[4, 5])
    )  # fmt: skip
    last = 0.1 * (counts[3, 5] + counts[3, 6]) / 2 + 0.9 * (counts[4, 5] + counts[4, 6]) / 2
    np.testing.assert_allclose(found, [along_x, along_y, both, last], rtol=1e-6)


def test_measured_points_stay_exact_among_points_between(measured, archive_path):
    found = query(archive_path, points=[(2.5, 1), (6, 4), (0, 0), (5, 4)])
    np.testing.assert_array_equal(found[1:], measured[[4, 0, 4], [6, 0, 5]])


def test_measured_points_keep_the_measured_type_in_a_file(measured, archive_path, tmp_path):
    query(archive_path, tmp_path / "a.npz", points=[(1, 1), (2, 3)])
    with np.load(tmp_path / "a.npz") as file:
        assert file["patterns"].dtype == np.uint16
        np.testing.assert_array_equal(file["patterns"], measured[[1, 3], [1, 2]])


@pytest.mark.parametrize(("ny", "nx"), [(1, 1), (1, 7), (5, 1)])
def test_a_scan_of_one_point_or_line_answers_within_itself(ny, nx, make_scan, make_archive):
    scan = make_scan(ny=ny, nx=nx)
    archive = make_archive(scan)
    counts = scan.patterns.read(0, ny * nx).astype(np.float64)
    np.testing.assert_array_equal(query(archive, point=(nx - 1, ny - 1)), counts[-1:])
    np.testing.assert_array_equal(query(archive, upsample=1), counts)
    if ny * nx > 1:
        middle = (0.5, 0) if nx > 1 else (0, 0.5)
        expected = counts[:2].mean(axis=0)
        np.testing.assert_allclose(query(archive, point=middle)[0], expected, rtol=1e-6)
        noisy = (0.5, 3e-10) if nx > 1 else (3e-10, 0.5)
        np.testing.assert_allclose(query(archive, point=noisy)[0], expected, rtol=1e-6)
    with pytest.raises(GeometryError, match=f"x from 0 to {nx - 1} and y from 0 to {ny - 1}"):
        query(archive, point=(nx, 0))


def test_a_hexagonal_scan_answers_at_its_measured_points(make_scan, hexagonal_archive):
    scan = make_scan(hexagonal=True)
    xy = scan.grid.positions()
    np.testing.assert_array_equal(query(hexagonal_archive, points=xy), scan.patterns.read(0, 33))


def test_a_hexagonal_scan_is_linear_between_its_rows_and_along_each(make_scan, hexagonal_archive):
    scan = make_scan(hexagonal=True)
    counts = scan.patterns.read(0, 33).astype(np.float64)
    x = scan.grid.positions()
    at = {(float(a), float(b)): counts[i] for i, (a, b) in enumerate(x)}
    found = query(hexagonal_archive, points=[(1, 1), (2.25, 0), (2.25, 0.75), (0.25, 1)])
    along = (at[0.5, 1.0] + at[1.5, 1.0]) / 2  # odd rows are shifted by half a step
    above = 0.75 * at[2.0, 0.0] + 0.25 * at[3.0, 0.0]
    below = 0.25 * at[1.5, 1.0] + 0.75 * at[2.5, 1.0]
    end = at[0.5, 1.0]  # before a row's first point, that point
    expected = [along, above, 0.25 * above + 0.75 * below, end]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# ---------------------------------------------------------------- the neural layer


def test_the_neural_layer_is_asked_where_there_is_one(fitted_archive):
    xy = np.array([(0, 0), (2.25, 3.5), (6, 4)])
    field = read_field(str(fitted_archive))
    corners = field.patterns([(2, 3), (3, 3), (2, 4), (3, 4)]).astype(np.float64)
    between = np.einsum("i,ijk->jk", [0.375, 0.125, 0.375, 0.125], corners)
    found = query(fitted_archive, points=xy, interpolation="linear")
    np.testing.assert_array_equal(found[[0, 2]], field.patterns(xy[[0, 2]]))
    np.testing.assert_allclose(found[1], between, rtol=1e-5)
    found = query(fitted_archive, points=xy)
    np.testing.assert_allclose(found[[0, 2]], field.patterns(xy[[0, 2]]), rtol=1e-6)
    np.testing.assert_array_equal(query(fitted_archive, points=xy, layer="neural"), found)
    np.testing.assert_array_equal(query(fitted_archive, points=xy, interpolation="sharp"), found)
    assert not np.array_equal(query(fitted_archive, points=xy, layer="raw"), found)


def test_the_network_answers_between_points_where_it_is_asked_to(fitted_archive):
    xy = np.array([(0, 0), (2.25, 3.5), (6, 4)])
    expected = read_field(str(fitted_archive)).patterns(xy)
    found = query(fitted_archive, points=xy, interpolation="field")
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ArgumentError, match="expected the neural layer for values of the field"):
        query(fitted_archive, points=xy, layer="raw", interpolation="field")
    with pytest.raises(ArgumentError, match="expected sharp, linear or field, found 'cubic'"):
        query(fitted_archive, points=xy, interpolation="cubic")
    with pytest.raises(ArgumentError, match="expected a neural layer with coefficients for sharp"):
        query(fitted_archive, points=xy, layer="raw", interpolation="sharp")


def test_the_field_at_a_measured_point_is_the_decoded_pattern(fitted_archive):
    decoded = open_archive(fitted_archive).patterns("neural").read(9, 10)
    np.testing.assert_allclose(query(fitted_archive, point=(2, 1)), decoded, rtol=1e-5)


def test_a_layer_that_is_not_there_is_named_with_those_that_are(archive_path):
    with pytest.raises(MissingLayerError, match="'neural', found raw, maps/mean_intensity"):
        query(archive_path, point=(0, 0), layer="neural")
    with pytest.raises(ArchiveError, match="expected a layer of patterns, found map"):
        query(archive_path, point=(0, 0), layer="maps/mean_intensity")


# ---------------------------------------------------------------- where


def positions_of(archive: Path, folder: Path, **where: object) -> np.ndarray:
    """The positions that a query answered, from the file it wrote."""
    query(archive, folder / "where.npz", **where, force=True)
    with np.load(folder / "where.npz") as file:
        assert len(file["patterns"]) == len(file["positions"])
        return file["positions"]


def test_each_way_to_say_where_gives_the_positions_that_it_says(archive_path, tmp_path):
    def positions(**where: object) -> list[list[float]]:
        return positions_of(archive_path, tmp_path, **where).round(9).tolist()

    assert positions(point=(1.5, 2)) == [[1.5, 2]]
    assert positions(points=[(1, 2), (3, 4), (1, 2)]) == [[1, 2], [3, 4], [1, 2]]
    assert positions(along=[(0, 0), (3, 4)], samples=3) == [[0, 0], [1.5, 2], [3, 4]]
    assert positions(along=[(0, 0), (4, 0), (4, 2)], spacing=2) == [[0, 0], [2, 0], [4, 0], [4, 2]]
    assert len(positions(along=[(0, 0), (3, 4)])) == 6  # one per step
    raster = positions(corners=(1, 1, 3, 2), shape=(2, 3))
    assert raster == [[1, 1], [2, 1], [3, 1], [1, 2], [2, 2], [3, 2]]
    fine = positions(upsample=3)
    assert len(fine) == (6 * 3 + 1) * (4 * 3 + 1)
    assert fine[0] == [0, 0]
    assert fine[1] == [pytest.approx(1 / 3), 0]
    assert fine[-1] == [6, 4]


def test_positions_in_micrometres_are_those_of_the_steps_along_each_axis(
    measured, archive_path, tmp_path
):
    def positions(**where: object) -> list[list[float]]:
        return positions_of(archive_path, tmp_path, **where, unit="um").round(9).tolist()

    assert positions(point=(1.5, 2.0)) == [[2, 4]]  # steps of 0.75 and 0.5 µm
    assert positions(corners=(0, 0, 4.5, 2), shape=(2, 2)) == [[0, 0], [6, 0], [0, 4], [6, 4]]
    path = positions(along=[(0, 0), (3, 0), (3, 1)], spacing=1.0)  # even in µm, not in steps
    assert path == [[0, 0], [round(4 / 3, 9), 0], [round(8 / 3, 9), 0], [4, 0], [4, 2]]
    assert len(positions(along=[(0, 0), (4.5, 0)])) == 7  # one per scan step, whatever the unit
    found = query(archive_path, point=(4.5, 2.0), unit="um")
    np.testing.assert_array_equal(found[0], measured[4, 6])


def test_micrometres_need_a_known_step(make_archive):
    archive = make_archive(step_um=(None, None))
    with pytest.raises(GeometryError, match=r"expected a known step .* give positions in steps"):
        query(archive, point=(0, 0), unit="um")
    with pytest.raises(ArgumentError, match="step or um, found 'nm'"):
        query(archive, point=(0, 0), unit="nm")


@pytest.mark.parametrize("bad", [(6.001, 0), (-0.001, 0), (0, 4.5), (np.nan, 1), (np.inf, 0)])
@pytest.mark.parametrize("layer", ["raw", "neural"])
def test_nothing_is_extrapolated(bad, layer, fitted_archive, tmp_path):
    output = tmp_path / "a.h5"
    for where in ({"point": bad}, {"points": [(0, 0), bad]}):
        with pytest.raises(GeometryError, match=r"x from 0 to 6 and y from 0 to 4 \(in steps"):
            query(fitted_archive, output, **where, layer=layer)
    if np.isfinite(bad).all():
        with pytest.raises(GeometryError, match="not extrapolated"):
            query(fitted_archive, output, along=[(0, 0), bad], samples=4, layer=layer)
        with pytest.raises(GeometryError, match="not extrapolated"):
            query(fitted_archive, output, corners=(0, 0, *bad), shape=(2, 2), layer=layer)
    assert not output.exists()


def test_extrapolating_is_not_offered():
    import inspect

    from ebsdarchive.cli.query_command import command

    assert "extrapolate" not in inspect.signature(query).parameters
    assert all("extrapolate" not in name for option in command.params for name in option.opts)


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ({}, "found 0"),
        ({"point": (0, 0), "upsample": 2}, "found 2"),
        ({"corners": (0, 0, 1, 1)}, "together with its shape"),
        ({"shape": (2, 2)}, "found 0"),
        ({"point": (0, 0), "shape": (2, 2)}, "together with its shape"),
        ({"point": (0, 0), "samples": 4}, "together with a path"),
        ({"point": (0, 0), "spacing": 1.0}, "together with a path"),
        ({"along": [(0, 0), (1, 1)], "samples": 4, "spacing": 1.0}, "found both"),
        ({"along": [(0, 0)]}, "at least two positions"),
        ({"along": [(2, 2), (2, 2)]}, "no length"),
        ({"upsample": 0}, "whole number from 1"),
        ({"upsample": 10**9}, "at most"),
        ({"point": (1, 2, 3)}, r"positions x,y, found shape \(1, 3\)"),
        ({"points": []}, "positions x,y, found shape"),
        ({"points": [[[0, 0]]]}, "positions x,y, found shape"),
        ({"corners": (0, 0, 1, 1), "shape": (0, 2)}, "at least 1 x 1"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(where, complaint, archive_path):
    with pytest.raises(ArgumentError, match=complaint):
        query(archive_path, **where)


# ---------------------------------------------------------------- positions from a file


@pytest.mark.parametrize(
    "content",
    [
        "1,2\n3.5,4\n",
        "x,y\n1,2\n3.5,4\n",
        "\ufeffX, Y\r\n1,2\r\n3.5,4\r\n",
        "# of the twin boundary\nname,y,x\na,2,1\n\n  \nb,4,3.5\n",
        "1,2,first\n# and\n 3.5 , 4e0 ,second",
    ],
)
def test_positions_are_read_from_csv_files_of_every_kind(content, tmp_path):
    path = tmp_path / "points.csv"
    path.write_text(content, encoding="utf-8", newline="")
    np.testing.assert_array_equal(read_positions(path), [[1, 2], [3.5, 4]])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"x,y\n1,2\n3;4\n", r"points\.csv: line 3: expected x,y, found '3;4'"),
        (b"1,2\n\n# no\n3\n", "line 4: expected x,y, found '3'"),
        (b"1,2\nx,y\n", "line 2: expected x,y, found 'x,y'"),
        (b"name,y,x\na,2\n", "line 2: expected x,y"),
        (b"column,row\n1,2\n", "line 1: expected x,y, found 'column,row'"),
        (b"", "expected positions x,y, found none"),
        (b"x,y\n# none\n", "expected positions x,y, found none"),
        (b"1,2\n\xff\xfe\x00\x01\n", "expected text in UTF-8"),
    ],
)
def test_a_line_that_holds_no_position_is_named(content, complaint, tmp_path):
    path = tmp_path / "points.csv"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=complaint):
        read_positions(path)


def test_a_missing_file_of_positions_is_an_error(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ArgumentError, match="expected a CSV file of positions, found none"):
            read_positions(path)


# ---------------------------------------------------------------- what comes out


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("suffix", ["h5", "npz", "nc", "tif"])
def test_the_type_that_is_asked_for_is_written(dtype, suffix, archive_path, tmp_path):
    written = query(archive_path, tmp_path / f"a.{suffix}", point=(2.5, 1.5), dtype=dtype)
    assert written.quantisation.dtype == dtype
    if suffix == "h5":
        with h5py.File(tmp_path / "a.h5") as file:
            assert file["Scan 1/EBSD/Data/patterns"].dtype == dtype


def test_an_h5_of_a_raster_has_its_shape_and_steps(archive_path, tmp_path):
    query(archive_path, tmp_path / "a.h5", corners=(0, 0, 3, 4), shape=(9, 4))
    grid = ebsdarchive.open_scan(tmp_path / "a.h5").grid
    assert (grid.n_rows, grid.n_columns) == (9, 4)
    assert (grid.step_x_um, grid.step_y_um) == (0.75, 0.25)
    query(archive_path, tmp_path / "b.h5", upsample=2)
    grid = ebsdarchive.open_scan(tmp_path / "b.h5").grid
    assert (grid.n_rows, grid.n_columns) == (9, 13)
    assert (grid.step_x_um, grid.step_y_um) == (0.375, 0.25)


def test_a_path_has_its_own_step(archive_path, tmp_path):
    query(archive_path, tmp_path / "a.h5", along=[(0, 0), (4, 4)], samples=5)
    grid = ebsdarchive.open_scan(tmp_path / "a.h5").grid
    assert (grid.n_rows, grid.n_columns) == (1, 5)
    assert grid.step_x_um == pytest.approx(np.hypot(0.75, 0.5))
    query(archive_path, tmp_path / "b.h5", points=[(0, 0), (4, 4), (1, 0)])
    assert ebsdarchive.open_scan(tmp_path / "b.h5").grid.step_x_um is None  # no even distance


def test_the_projection_centre_of_a_position_is_that_of_the_nearest_point(
    make_scan, archive_path, tmp_path
):
    query(archive_path, tmp_path / "a.h5", points=[(0, 0), (2.4, 1.4), (5.6, 4)])
    found = ebsdarchive.open_scan(tmp_path / "a.h5").detector.pc_bruker
    np.testing.assert_allclose(found, make_scan().detector.pc_bruker[[0, 9, 34]])


def test_what_was_asked_stands_in_the_file(archive_path, tmp_path):
    query(archive_path, tmp_path / "a.h5", points=[(0, 0), (2.5, 1.5)])
    with h5py.File(tmp_path / "a.h5") as file:
        node = file["ebsdarchive_export"]
        origin = json.loads(node.attrs["origin"])
        np.testing.assert_array_equal(node["positions"], [[0, 0], [2.5, 1.5]])
    archive = open_archive(archive_path)
    assert origin["archive_id"] == archive.archive_id
    assert (origin["archive"], origin["layer"]) == (archive_path.name, "raw")
    assert origin["layer_sha256"] == archive.raw_sha256


def test_many_positions_are_read_in_blocks(archive_path, monkeypatch):
    from ebsdarchive.archive.raw import RawPatterns

    reads = []
    read = RawPatterns.read
    monkeypatch.setattr(
        RawPatterns, "read", lambda self, a, b: (reads.append((a, b)), read(self, a, b))[1]
    )
    query(archive_path, upsample=4)
    assert len(reads) < 10  # not one for each of 425 positions


def test_the_output_must_be_of_a_known_kind(archive_path, tmp_path):
    with pytest.raises(OutputError, match=r"ends in \.up1.*\.png, found \.jpg"):
        query(archive_path, tmp_path / "a.jpg", point=(0, 0))
