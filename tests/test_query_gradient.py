"""``query --what gradient``: S of the field at any positions, as numbers, files and pictures."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import xarray

import ebsdarchive
from ebsdarchive import query
from ebsdarchive.errors import ArgumentError, GeometryError, MissingLayerError, OutputError
from ebsdarchive.neural.gradient import DiffractionGradient
from ebsdarchive.neural.storage import read_tensor_field
from ebsdarchive.verbs.places import read_positions


@pytest.fixture(scope="module")
def s_of(fitted_archive):
    """The function that gives S of the field itself."""
    return DiffractionGradient(read_tensor_field(str(fitted_archive)))


WAYS = {
    "point": {"point": (1.5, 2.25)},
    "points": {"points": [(0, 0), (6, 4), (2.5, 1)]},
    "path": {"along": [(0, 0), (6, 4)], "samples": 7},
    "grid": {"corners": (1, 1, 3, 2), "shape": (2, 3)},
    "upsample": {"upsample": 2},
    "regrid": {"regrid": "hex"},
}


@pytest.mark.parametrize("where", WAYS.values(), ids=WAYS)
def test_s_is_that_of_the_field_wherever_patterns_can_be_asked_for(
    where, fitted_archive, s_of, tmp_path
):
    query(fitted_archive, tmp_path / "p.npz", **where)
    with np.load(tmp_path / "p.npz") as file:
        xy = file["positions"]
    found = query(fitted_archive, what="gradient", **where)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, s_of(xy))
    query(fitted_archive, tmp_path / "s.csv", what="gradient", **where)
    rows = list(csv.DictReader((tmp_path / "s.csv").open(newline="")))
    np.testing.assert_allclose(read_positions(tmp_path / "s.csv"), xy, atol=1e-8)
    np.testing.assert_allclose([float(row["s_counts_per_step"]) for row in rows], found, rtol=1e-5)
    um = [(float(row["x_um"]), float(row["y_um"])) for row in rows]
    np.testing.assert_allclose(um, xy * (0.75, 0.5), atol=1e-8)


def test_s_of_a_raster_keeps_its_rows_and_columns_in_a_file(fitted_archive, tmp_path):
    where = {"what": "gradient", **WAYS["grid"]}
    expected = query(fitted_archive, **where).reshape(2, 3)
    query(fitted_archive, tmp_path / "a.npz", **where)
    with np.load(tmp_path / "a.npz") as file:
        np.testing.assert_array_equal(file["s_counts_per_step"], expected)
        assert file["positions"].shape == (2, 3, 2)
        assert str(file["units"]) == "counts/step"
        assert json.loads(str(file["origin"]))["layer"] == "neural"
    query(fitted_archive, tmp_path / "a.nc", **where)
    with xarray.open_dataset(tmp_path / "a.nc") as file:
        found = file["s_counts_per_step"]
        np.testing.assert_array_equal(found.sel(x=2, y=1), expected[0, 1])
        assert (found.dims, found.attrs["units"]) == (("y", "x"), "counts/step")
    query(fitted_archive, tmp_path / "b.nc", what="gradient", **WAYS["regrid"])
    with xarray.open_dataset(tmp_path / "b.nc") as file:
        assert file["s_counts_per_step"].dims == ("point",)


def test_smoothing_is_that_of_the_field_and_stands_in_the_file(fitted_archive, s_of, tmp_path):
    where = {"what": "gradient", "points": [(3, 2), (1.5, 0)], "smoothing": 0.4}
    found = query(fitted_archive, **where)
    np.testing.assert_array_equal(found, s_of([(3, 2), (1.5, 0)], sigma=0.4))
    assert (found != query(fitted_archive, **where | {"smoothing": 0.0})).all()
    query(fitted_archive, tmp_path / "a.npz", **where)
    with np.load(tmp_path / "a.npz") as file:
        assert json.loads(str(file["origin"]))["smoothing_steps"] == 0.4


@pytest.mark.parametrize("way", ["path", "grid", "upsample", "regrid"])
def test_a_picture_is_a_map_of_a_grid_or_a_curve_along_a_path(
    way, fitted_archive, tmp_path, monkeypatch
):
    from ebsdarchive.figures import page

    drawn = []
    save = page.save_figure
    monkeypatch.setattr(
        page, "save_figure", lambda figure, *a: (drawn.append(figure), save(figure, *a))
    )
    query(fitted_archive, tmp_path / "a.png", what="gradient", **WAYS[way])
    expected = query(fitted_archive, what="gradient", **WAYS[way])
    (figure,) = drawn
    axes = figure.axes[0]
    if way == "path":
        x, y = axes.lines[0].get_data()
        np.testing.assert_allclose(y, expected)
        assert x[-1] == pytest.approx(np.hypot(6 * 0.75, 4 * 0.5))
        assert axes.get_xlabel() == "Distance along the path (µm)"
    else:
        shown = np.ma.filled(axes.get_images()[0].get_array(), np.nan)
        assert sorted(set(shown[np.isfinite(shown)])) == sorted(set(expected))


def test_what_the_gradient_cannot_do_is_said_and_nothing_is_written(
    fitted_archive, archive_path, run_cli, tmp_path
):
    for options, error, words in (
        ({"layer": "raw"}, ArgumentError, "expected the neural layer, whose field has a deriv"),
        ({"interpolation": "linear"}, ArgumentError, "expected no interpolation"),
        ({"fill": ["blank"]}, ArgumentError, "expected no fill"),
        ({"dtype": "uint8"}, ArgumentError, "expected no dtype"),
    ):
        with pytest.raises(error, match=words):
            query(fitted_archive, what="gradient", point=(1, 1), **options)
    for smoothing in (-1.0, np.nan):
        with pytest.raises(ArgumentError, match="smoothing: expected 0 or more"):
            query(fitted_archive, what="gradient", point=(1, 1), smoothing=smoothing)
    with pytest.raises(ArgumentError, match="smoothing together with the gradient"):
        query(fitted_archive, point=(1, 1), smoothing=0.5)
    with pytest.raises(ArgumentError, match="expected patterns or gradient, found 'both'"):
        query(fitted_archive, what="both", point=(1, 1))
    with pytest.raises(MissingLayerError, match="make one with `ebsdarchive fit`"):
        query(archive_path, what="gradient", point=(1, 1))
    with pytest.raises(GeometryError, match="not extrapolated"):
        query(fitted_archive, what="gradient", point=(1, 4.5))
    before = set(tmp_path.iterdir())
    for name, code, words in (
        ("a.png", 2, "expected a path or a grid for a picture, found points; write them to .csv"),
        ("a.up2", 2, r"ends in .csv, .npz, .nc or .png, found .up2"),
        ("a", 2, "found no ending"),
    ):
        found = run_cli(
            "query", fitted_archive, "--what", "gradient", "--point", "1,1", "-o", tmp_path / name
        )
        assert (found.code, words in found.err) == (code, True), found.err
    assert set(tmp_path.iterdir()) == before
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        query(fitted_archive, tmp_path / "there.csv", what="gradient", point=(1, 1))


def test_a_joint_field_has_no_gradient_here(make_scan, tmp_path):
    from ebsdarchive.verbs.fitting import NeuralOptions

    options = NeuralOptions(method="joint", width=8, steps=2, device="cpu")
    ebsdarchive.compress(make_scan(), tmp_path / "a.h5", profile="compat", options=options)
    with pytest.raises(ArgumentError, match="fit it again with --method tensor"):
        query(tmp_path / "a.h5", what="gradient", point=(1, 1))
