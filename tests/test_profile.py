"""`profile`: what changes along a path between points, and where it crosses boundaries."""

from __future__ import annotations

import csv
import json
import re
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive.analysis.crossings import find_crossings, gradient_along
from ebsdarchive.analysis.deviation import compare_orientations
from ebsdarchive.analysis.indexing import Indexed
from ebsdarchive.analysis.path_profile import turning
from ebsdarchive.analysis.ridges import Raster, Window, half_way, smoothed_slopes
from ebsdarchive.analysis.scan_path import ScanPath
from ebsdarchive.geometry import Grid, linear_weights
from ebsdarchive.neural.gradient import DiffractionGradient
from ebsdarchive.neural.storage import read_tensor_field
from ebsdarchive.simulation import simulate_scan
from ebsdarchive.simulation.microstructure import polycrystal
from ebsdarchive.verbs.fitting import NeuralOptions
from ebsdarchive.verbs.places import read_positions

GRAINS, SEED = 3, 5
SCAN = {"grid_shape": (9, 13), "pattern_shape": (60, 60), "grains": GRAINS, "seed": SEED}
ACROSS = [(2.4, 5.1), (11.2, 5.7)]  # from grain 0 to grain 1


@pytest.fixture(scope="module")
def polycrystal_archive(tmp_path_factory):
    """A simulated scan of three nickel grains, compressed; its step is half a µm."""
    folder = tmp_path_factory.mktemp("profile")
    ebsdarchive.simulate(folder / "scan.h5", step_um=0.5, **SCAN)
    options = NeuralOptions(rank=5, width=24, steps=300, device="cpu")
    ebsdarchive.compress(folder / "scan.h5", folder / "a.h5", profile="compat", options=options)
    (folder / "a.h5").chmod(0o444)
    return folder / "a.h5"


@pytest.fixture(scope="module")
def written(polycrystal_archive, tmp_path_factory):
    """A profile across a boundary, indexed, and everything that it writes."""
    folder = tmp_path_factory.mktemp("written")
    files = [folder / f"a.{ending}" for ending in ("csv", "h5", "nc", "npz", "svg")]
    found = ebsdarchive.profile(polycrystal_archive, files, along=ACROSS, samples=23)
    return SimpleNamespace(found=found, folder=folder, archive=polycrystal_archive)


def true_crossings(path):
    """Distances along a path at which the grain of the simulated scan changes, and the grains."""
    cells = polycrystal(path.grid, GRAINS, SEED).tessellation
    fine = np.linspace(0, path.length, 5001)
    cell = cells.at(path.at(fine) * (1, path.grid.row_distance))[0]
    return fine[1:][np.diff(cell) != 0], cells


# ---------------------------------------------------------------- crossings


def test_crossings_lie_within_a_fifth_of_a_step_of_the_true_boundaries(polycrystal_archive):
    lines = [[(0.3, y), (11.7, y + 0.6)] for y in (0.2, 1.3, 4.6, 5.7, 6.8)]
    lines += [[(x, 0.2), (x + 0.7, 7.8)] for x in (0.6, 2.3, 4.0, 9.1, 10.8)]
    named = 0
    for line in lines:
        found = ebsdarchive.profile(polycrystal_archive, along=line, samples=2, orientations=False)
        true, cells = true_crossings(found.path)
        assert len(found.crossings) == len(true)
        for crossing, distance in zip(found.crossings, true, strict=True):
            assert cells.at(np.array([crossing.xy]))[2][0] < 0.2
            assert abs(crossing.distance - distance) < 0.2
            named += 1
    assert named == 8


def test_the_disorientation_across_a_crossing_is_that_of_the_grains(written):
    (crossing,) = written.found.crossings
    truth = simulate_scan(**SCAN)
    sides = np.round(written.found.path.at(crossing.sides))
    q = truth.orientations.quaternions[truth.grid.indices_of(sides)]
    (true_deg,) = compare_orientations(q[:1], q[1:], "m-3m").deviation_deg
    assert crossing.disorientation_deg == pytest.approx(true_deg, abs=1.0)
    assert crossing.phases == ("ni", "ni")
    assert min(crossing.confidence) > 0.5
    turned, at = written.found.turning, written.found.distance
    before, after = at < crossing.distance - 0.5, at > crossing.distance + 0.5
    assert turned.from_start_deg[before].max() < 2
    assert np.abs(turned.from_start_deg[after] - true_deg).max() < 2
    assert abs(at[np.nanargmax(turned.from_previous_deg)] - crossing.distance) < 0.5


class Wall:
    """A field of two patterns that mix at the line x = `wall`, and a third that ripples in both.

    The ripple changes brightness: it makes maxima of S that are no boundaries.
    """

    def __init__(self, grid, wall, ripple=0.0):
        self.grid, self.wall, self.ripple = grid, wall, ripple
        v, u = np.mgrid[:20, :24]
        bands = np.stack([np.cos(1.6 * u), np.cos(1.5 * v + 0.3), np.ones_like(u, dtype=float)])
        self.tensors = SimpleNamespace(
            basis=(100 * bands).reshape(3, -1).astype(np.float32),
            mean_pattern=np.full((20, 24), 5000, np.float32),
            mask=np.ones((20, 24), bool),
            rank=4,
        )

    def coefficients(self, xy):
        x, y = np.asarray(xy, np.float64).T
        share = 1 / (1 + np.exp(-np.clip(4 * (x - self.wall), -50, 50)))
        return np.column_stack([share, 1 - share, self.ripple * np.sin(2 * y)]).astype(np.float32)

    def coefficient_derivatives(self, xy):
        h = 1e-3 * np.eye(2)
        both = [(self.coefficients(xy + d) - self.coefficients(xy - d)) / 2e-3 for d in h]
        return np.stack(both, axis=1)


def crossings_of(field, line, **options):
    from ebsdarchive.analysis.ridges import BandPatterns

    path = ScanPath(field.grid, np.array(line, float))
    along = gradient_along(path, DiffractionGradient(field), 0.5)
    return find_crossings(path, along, BandPatterns(field), **options)


@pytest.mark.parametrize("grid", [Grid("square", 15, 9), Grid("square", 15, 9, 0.5, 0.75)])
def test_a_crossing_lies_on_the_boundary_whatever_the_direction_of_the_path(grid):
    field = Wall(grid, wall=6.5)
    for line in ([(1, 1), (13, 1)], [(13, 2), (1, 5)], [(2, 0), (2, 4), (12, 4)]):
        (crossing,) = crossings_of(field, line)
        path = ScanPath(grid, np.array(line, float))
        assert crossing.xy[0] == pytest.approx(6.5, abs=0.02)
        np.testing.assert_allclose(path.at(crossing.distance)[0], crossing.xy)
        assert abs(path.at(crossing.s_distance)[0, 0] - 6.5) < 0.05
        middle = np.mean(crossing.sides)
        assert (middle, np.ptp(crossing.sides)) == pytest.approx((crossing.distance, 2), abs=0.01)
        assert crossing.correlation < 0.2
        assert 1.0 < crossing.width < 2.5
        assert crossing.disorientation_deg is None


def test_a_maximum_of_s_between_equal_bands_is_no_crossing():
    field = Wall(Grid("square", 15, 9), wall=6.5, ripple=3.0)
    line = [(2, 0.5), (2, 7.5)]
    path = ScanPath(field.grid, np.array(line, float))
    s = gradient_along(path, DiffractionGradient(field), 0.5).s
    assert ((s[1:-1] > s[:-2]) & (s[1:-1] > s[2:])).sum() >= 3
    assert crossings_of(field, line) == []
    assert len(crossings_of(field, [(2, 0.5), (12, 7.5)])) == 1
    assert crossings_of(field, [(1, 1), (13, 1)], correlation=-1) == []


def test_a_flat_field_has_no_crossings():
    field = Wall(Grid("square", 15, 9), wall=1e6)
    assert crossings_of(field, [(0, 0), (14, 8)]) == []
    assert crossings_of(field, [(0, 0), (0.01, 0)]) == []


def test_half_way_is_the_rise_nearest_to_the_middle():
    offsets = np.linspace(-1, 1, 9)
    share = np.array([0, 0.2, 0.7, 0.3, 0.2, 0.4, 0.8, 0.9, 1.0])
    rows = np.outer(share, [3.0, -1.0]) + np.array([7.0, 2.0])
    assert half_way(rows[None], offsets)[0] == pytest.approx(0.3125)
    assert half_way(rows[None, ::-1], offsets)[0] == pytest.approx(-0.3125, abs=0.4)
    assert half_way(np.ones((1, 9, 2)), offsets)[0] == 0


# ---------------------------------------------------------------- what is sampled


def test_the_patterns_of_a_profile_are_those_of_a_query(written, polycrystal_archive):
    queried = ebsdarchive.query(polycrystal_archive, along=ACROSS, samples=23)
    with np.load(written.folder / "a.npz") as stored:
        np.testing.assert_array_equal(stored["patterns"], queried)
        np.testing.assert_array_equal(stored["positions"], written.found.xy)
        assert json.loads(str(stored["origin"]))["profile"]["samples"] == 23


def test_s_is_the_gradient_of_the_field_and_its_mean_around_where_it_is_smoothed(
    written, polycrystal_archive
):
    gradient = DiffractionGradient(read_tensor_field(str(polycrystal_archive)))
    np.testing.assert_array_equal(written.found.s, gradient(written.found.xy))
    grid = gradient.field.grid
    smooth = smoothed_slopes(gradient, Raster(grid, 20), 0.5).strength
    path = ScanPath(grid, np.array([(2, 3), (9, 3), (9, 1)], float))
    found = gradient_along(path, gradient, 0.5)
    x, y = np.rint(20 * path.at(found.distance)).astype(int).T
    np.testing.assert_allclose(found.s, smooth[y, x], rtol=0.02)
    plain = gradient_along(path, gradient, 0.0)
    np.testing.assert_allclose(plain.s, gradient(path.at(plain.distance)), rtol=1e-4)


def test_a_window_is_a_part_of_the_raster_of_the_whole_scan(polycrystal_archive):
    gradient = DiffractionGradient(read_tensor_field(str(polycrystal_archive)))
    window = Window(gradient.field.grid, 2, (3, 2), (8, 6))
    xy = window.positions(*(slice(0, n) for n in window.shape))
    assert (xy.min(axis=0).tolist(), xy.max(axis=0).tolist()) == ([3, 2], [8, 6])
    whole = smoothed_slopes(gradient, Raster(gradient.field.grid, 2), 0.0).strength
    part = smoothed_slopes(gradient, window, 0.0).strength
    np.testing.assert_allclose(part, whole[4:13, 6:17], rtol=1e-4)


def test_samples_stand_evenly_on_the_specimen_also_where_rows_are_not_a_step_apart():
    grid = Grid("hexagonal", 9, 7, 0.4, 0.4 * np.sqrt(3) / 2, n_columns_even=8)
    path = ScanPath(grid, np.array([(0, 0), (4, 0), (4, 6)], float))
    assert path.length == pytest.approx(4 + 6 * np.sqrt(3) / 2)
    xy = path.positions(samples=12) * (1, grid.row_distance)
    legs = np.hypot(*np.diff(xy, axis=0).T)
    assert np.median(legs) == pytest.approx(path.length / 11)
    np.testing.assert_allclose(path.at(np.linspace(0, path.length, 12)), path.positions(12))


def test_points_beside_a_path_are_told_in_order_with_their_side():
    path = ScanPath(Grid("square", 7, 5), np.array([(1, 1.25), (4, 1.25), (4, 3)]))
    along, aside = path.measured_points(0.5)
    np.testing.assert_allclose(along, [0, 1, 2, 3, 3.75, 4.75])
    np.testing.assert_allclose(aside, [-0.25] * 4 + [0] * 2, atol=1e-12)
    assert len(path.measured_points(0.2)[0]) == 2


def test_weights_of_linear_interpolation_add_up_and_meet_the_position():
    rng = np.random.default_rng(0)
    for grid in (
        Grid("square", 5, 3),
        Grid("hexagonal", 5, 4, n_columns_even=4),
        Grid("square", 1, 1),
    ):
        xy = rng.uniform(0, 1, (50, 2)) * grid.extent
        points, weights = linear_weights(grid, xy)
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        mean = (weights[..., None] * grid.positions_at(points.ravel()).reshape(50, 4, 2)).sum(
            axis=1
        )
        np.testing.assert_allclose(mean[:, 1], xy[:, 1], atol=1e-12)
        if not grid.is_hexagonal:  # there the ends of short rows are continued
            np.testing.assert_allclose(mean[:, 0], xy[:, 0], atol=1e-12)


def test_turning_starts_at_the_first_sample_that_is_indexed_and_leaves_gaps():
    half = np.deg2rad([np.nan, 10, 13, np.nan, 20, 20]) / 2
    q = np.stack([np.cos(half), np.sin(half), 0 * half, 0 * half], axis=1)
    phase = np.array([-1, 0, 0, -1, 0, 1], np.int32)
    ones = np.ones(6)
    found = turning(Indexed(q, ones, ones, "m-3m", phase, {0: "m-3m", 1: "6/mmm"}))
    np.testing.assert_allclose(found.from_start_deg, [np.nan, 0, 3, np.nan, 10, np.nan], atol=1e-4)
    np.testing.assert_allclose(found.from_previous_deg, [np.nan, np.nan, 3] + [np.nan] * 3)
    none = turning(Indexed(q, ones, ones, "m-3m", np.full(6, -1, np.int32), {0: "m-3m"}))
    assert np.isnan(none.from_start_deg).all()


# ---------------------------------------------------------------- what is written


def test_the_table_has_a_row_for_each_sample_in_steps_and_um(written):
    found = written.found
    with (written.folder / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 23
    np.testing.assert_allclose(read_positions(written.folder / "a.csv"), found.xy, rtol=1e-5)
    for row, distance, s, confidence in zip(
        rows, found.distance, found.s, found.indexed.confidence, strict=True
    ):
        assert float(row["distance_steps"]) == pytest.approx(distance, rel=1e-5)
        assert float(row["distance_um"]) == pytest.approx(distance / 2, rel=1e-5)
        assert float(row["s_counts_per_step"]) == pytest.approx(s, rel=1e-5)
        assert float(row["confidence"]) == pytest.approx(confidence, rel=1e-5)
        assert row["phase"] == "ni"
    assert rows[0]["from_previous_deg"] == ""
    assert float(rows[0]["from_start_deg"]) == 0
    from orix.quaternion import Rotation

    names = ("phi1_deg", "Phi_deg", "phi2_deg")
    euler = [[float(row[name]) for name in names] for row in rows]
    again = Rotation.from_euler(euler, degrees=True).data
    match = compare_orientations(again, found.indexed.quaternions, "m-3m")
    assert match.deviation_deg.max() < 1e-2


def test_other_programs_open_the_patterns_with_their_orientations(written):
    import kikuchipy
    import xarray

    found = written.found
    signal = kikuchipy.load(written.folder / "a.h5")
    assert signal.data.shape == (23, 60, 60)
    match = compare_orientations(signal.xmap.rotations.data, found.indexed.quaternions, "m-3m")
    assert match.deviation_deg.max() < 1e-3
    np.testing.assert_allclose(signal.xmap.prop["confidence"], found.indexed.confidence)
    with h5py.File(written.folder / "a.h5") as file:
        columns = file["ebsdarchive_export/columns"]
        assert set(columns) == {column.name for column in found.columns()}
        assert columns["fit_deg"].attrs["units"] == "deg"
        assert columns["phase"].asstr()[()].tolist() == ["ni"] * 23
    with xarray.open_dataset(written.folder / "a.nc", engine="h5netcdf") as dataset:
        np.testing.assert_allclose(dataset["s_counts_per_step"], found.s)
        assert dataset["s_counts_per_step"].attrs["units"] == "counts/step"
        assert dataset["phase"].values.tolist() == ["ni"] * 23
        assert dataset["patterns"].shape == (23, 60, 60)


def test_the_picture_aligns_patterns_and_curves_and_marks_the_crossing(written):
    from ebsdarchive.figures.page import style
    from ebsdarchive.figures.path_profile import draw_profile, strip_places

    found = written.found
    places = strip_places(found)
    archive = ebsdarchive.open_archive(written.archive)
    patterns = np.arange(len(places) * 60 * 60, dtype=float).reshape(-1, 60, 60)
    with style():
        figure = draw_profile(archive, found, patterns, None, lambda done, total: None)
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(85)
    titles = {text.get_text() for text in figure.texts}
    wanted = {"Gradient S (counts/step)", "Confidence metric", "Disorientation (°)"}
    assert wanted <= titles
    curves = [axes for axes in figure.axes if axes.get_lines() and axes.get_xlabel() != ""]
    assert [axes.get_xlabel() for axes in curves] == ["Distance along the path (µm)"]
    (last,) = curves
    low, high = last.get_xlim()
    assert (low, high) == (0, pytest.approx(found.path.length / 2))
    left, width = last.get_position().x0, last.get_position().width
    shown = [axes for axes in figure.axes if axes.get_images()][1:]
    shown = [axes for axes in shown if axes.get_images()[0].get_array().shape == (60, 60)]
    assert len(shown) == len(places)
    for axes, place in zip(shown, places, strict=True):
        box = axes.get_position()
        middle = (box.x0 + box.x1) / 2
        assert (middle - left) / width == pytest.approx(place / found.path.length)
    dashed = [line.get_xdata()[0] for line in last.get_lines() if line.get_linestyle() == "--"]
    assert found.crossings[0].distance / 2 in dashed


def test_scans_of_a_line_or_without_steps_and_flat_fields_have_profiles_too(make_scan, tmp_path):
    """Whatever a grid lacks: rows, columns, the size of a step; or a field that never changes."""
    for name, line, rank, options in (
        ("row", [(0, 0), (6, 0)], 3, {"ny": 1}),
        ("column", [(0, 0), (0, 4)], 3, {"nx": 1}),
        ("hexagonal", [(6, 0), (0.5, 3), (4, 4)], 3, {"hexagonal": True, "equal_rows": True,
                                                    "step_um": (None, None)}),
        ("flat", [(0, 0), (6, 4)], 1, {}),
    ):  # fmt: skip
        path, files = tmp_path / f"{name}.h5", [tmp_path / f"{name}.{e}" for e in ("csv", "svg")]
        fit = NeuralOptions(rank=rank, width=16, steps=20, device="cpu")
        ebsdarchive.compress(make_scan(**options), path, profile="compat", options=fit)
        found = ebsdarchive.profile(path, files, along=line, samples=4, orientations=False)
        assert np.isfinite(found.s).all()
        unit = "steps" if name == "hexagonal" else "µm"
        assert f"Distance along the path ({unit})" in files[1].read_text("utf-8")
        header = files[0].read_text("utf-8").splitlines()[0].split(",")
        assert ("distance_um" in header) == (unit == "µm")
    assert (found.s == 0).all()
    assert found.crossings == ()


def test_text_of_a_picture_stays_text(written):
    words = re.findall(r"<text[^>]*>([^<]+)</text>", (written.folder / "a.svg").read_text("utf-8"))
    assert any(word.endswith("µm") for word in words)
    (crossing,) = written.found.crossings
    assert f"{crossing.disorientation_deg:.1f}°" in words


# ---------------------------------------------------------------- the command


def test_the_command_names_the_crossings_in_words_and_in_json(
    polycrystal_archive, written, run_cli
):
    where = ("--path", ":".join(f"{x},{y}" for x, y in ACROSS), "--no-index")
    code, out, err = run_cli("profile", polycrystal_archive, *where, "--json")
    assert code == 0, err
    said = json.loads(out)
    (crossing,), (known,) = said["crossings"], written.found.crossings
    assert crossing["distance_steps"] == pytest.approx(known.distance)
    assert crossing["distance_um"] == pytest.approx(known.distance / 2)
    assert crossing["disorientation_deg"] is None
    assert said["samples"] == 37  # four for each of 8.82 steps, and one
    code, out, _ = run_cli("profile", polycrystal_archive, *where)
    assert "1 crossing\n" in out
    assert f"at {known.distance / 2:.3g} um" in out


def test_micrometres_and_steps_are_the_same_path(polycrystal_archive):
    steps = ebsdarchive.profile(polycrystal_archive, along=ACROSS, orientations=False)
    um = ebsdarchive.profile(
        polycrystal_archive, along=np.array(ACROSS) / 2, unit="um", orientations=False
    )
    np.testing.assert_allclose(um.xy, steps.xy)
    spaced = ebsdarchive.profile(
        polycrystal_archive, along=np.array(ACROSS) / 2, unit="um", spacing=0.25, orientations=False
    )
    assert len(spaced.xy) == 19


def test_without_a_field_s_is_unknown_and_said_to_be(archive_path, tmp_path, run_cli):
    files = ("-o", tmp_path / "a.csv", "-o", tmp_path / "a.png")
    arguments = ("profile", archive_path, "--path", "1,1:5,3", "--no-index", *files)
    code, out, err = run_cli(*arguments, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["crossings"], said["s_median"], said["layer"]) == (None, None, "raw")
    assert "no neural layer" in said["notes"][0]
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "distance_steps,distance_um,x,y"
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_joint_layer_has_no_s(fitted_archive, monkeypatch):
    field = read_tensor_field(str(fitted_archive))
    monkeypatch.setattr(
        "ebsdarchive.neural.storage.read_field",
        lambda path, *node: SimpleNamespace(grid=field.grid),
    )
    found = ebsdarchive.profile(
        fitted_archive, along=[(1, 1), (5, 3)], layer="raw", orientations=False
    )
    assert (found.s, found.crossings) == (None, None)
    assert "joint" in found.notes[0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--path", "1,1:9,3"), 8, "found a point outside the scan"),
        (("--path", "1,1:1,1"), 2, "path of no length"),
        (("--path", "1,1:5,3", "--spacing", "-1"), 2, "positive spacing"),
        (("--path", "1,1:5,3", "--spacing", "nan"), 2, "positive spacing"),
        (("--path", "1,1:5,3", "--samples", "3", "--spacing", "1"), 2, "found both"),
        (("--path", "1,1:5,3", "--layer", "restored/no"), 7, "restored/no"),
        (("--path", "1,1:5,3", "--layer", "maps/mean_intensity"), 4, "a layer of patterns"),
        (("--path", "1,1:5,3", "--smoothing", "inf"), 2, "smoothing: expected 0 or more"),
        (("--path", "1,1:5,3", "--correlation", "2"), 2, "correlation"),
        (("--path", "1,1:5,3", "--width", "9"), 2, "width: expected 60 to 1000 mm"),
        (("--path", "1,1:5,3", "-o", "a.up2"), 2, "expected a file that ends in .csv, .h5"),
        (("--path", "1,1:5,3", "-o", "{there}.csv"), 9, "use --force"),
        (("--path", "1,1:5,3", "-o", "{there}/no/a.csv"), 9, "expected an existing folder"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    arguments, code, words, fitted_archive, tmp_path, run_cli
):
    (tmp_path / "there.csv").write_text("mine")
    filled = [argument.format(there=tmp_path / "there") for argument in arguments]
    result = run_cli("profile", fitted_archive, *filled, "--no-index")
    assert result.code == code, result.err
    assert words in result.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_without_phase_or_projection_centre_it_says_how_to_go_on(make_archive, run_cli):
    path = make_archive(described=False, pc=None)
    result = run_cli("profile", path, "--path", "1,1:5,3")
    assert result.code == 2
    assert "--no-index" in result.err
    assert len(result.err.splitlines()) == 1
