"""`plot`: pictures hold what they say, at the right place and scale."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

import ebsdarchive
from ebsdarchive.analysis.krieger_lassen import image_quality
from ebsdarchive.archive.layers import write_map
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.orientation_maps import OrientationMap, write_orientation_map
from ebsdarchive.archive.outlines import Boundary, Grain, Outlines, write_outlines
from ebsdarchive.errors import ArgumentError, MissingLayerError, OutputError
from ebsdarchive.figures.kinds import KINDS, PlotOptions, draw
from ebsdarchive.geometry import Grid
from ebsdarchive.neural.principal import principal_components
from ebsdarchive.neural.storage import read_field
from ebsdarchive.scan import Orientations, Phase
from ebsdarchive.verbs.light_placement import Placement
from ebsdarchive.verbs.progress import silent, stage

NI = Phase(0, "Ni", 225, "m-3m", (3.52, 3.52, 3.52, 90.0, 90.0, 90.0))
GRAINS = np.ones((9, 13), np.int32)  # at 2 samples a step, of 5 x 7 points
GRAINS[:, 5:] = 2
GRAINS[6:, 5:] = 3
SLOPES = np.arange(117, dtype=np.float32).reshape(9, 13)
OUTLINES = Outlines(
    (
        Boundary((1, 2), np.array([[2.25, 0.0], [2.25, 2.75]]), np.ones(2, np.float32), 0.1),
        Boundary((1, 3), np.array([[2.25, 2.75], [2.25, 4.0]]), np.ones(2, np.float32), 0.1),
        Boundary((2, 3), np.array([[2.25, 2.75], [6.0, 2.75]]), np.ones(2, np.float32), 0.1),
    ),
    tuple(Grain(i, 9.0, (1.0, 1.0), True) for i in (1, 2, 3)),
)
TI = Phase(1, "Ti", 194, "6/mmm", (2.95, 2.95, 4.68, 90.0, 90.0, 120.0))


def with_orientations(path, phases=(NI, TI)):
    """Give an archive an orientation map: all points as the sample, every 5th not indexed."""
    archive = ebsdarchive.open_archive(path)
    n = archive.grid.size
    phase_id = (np.arange(n) % len(phases)).astype(np.int32)
    phase_id[::5] = -1
    quaternions = np.tile([1.0, 0, 0, 0], (n, 1))
    quaternions[::5] = np.nan
    found = OrientationMap(
        Orientations(quaternions, phase_id, {"confidence": np.ones(n), "fit": np.ones(n)}),
        phases,
        np.array([[0.5, 0.5, 0.5]]),
        "given",
        "raw",
        archive.raw_sha256,
        "static",
        {phase.phase_id: [(1, 1, 1), (2, 0, 0)] for phase in phases},
    )
    with adding_layers(path, ["maps/orientations"]) as file:
        write_orientation_map(file["archive"], "orientations", found, archive.grid)
    return path


@pytest.fixture(scope="module")
def whole(fitted_archive, tmp_path_factory):
    """An archive that all kinds of pictures can be drawn of."""
    path = tmp_path_factory.mktemp("plot") / "a.h5"
    shutil.copyfile(fitted_archive, path)
    with adding_layers(path, ["maps/grains", "maps/gradient", "maps/boundaries"]) as file:
        write_outlines(file["archive"], "boundaries", OUTLINES, label_map="grains")
        for name, data, units in (("grains", GRAINS, "1"), ("gradient", SLOPES, "counts/step")):
            write_map(file["archive"], name, data, long_name=name, units=units, samples_per_step=2)
    images = np.arange(3 * 10 * 14, dtype=np.uint16).reshape(3, 10, 14)
    tifffile.imwrite(path.with_name("light.tif"), images, photometric="minisblack")
    ebsdarchive.attach(
        path, path.with_name("light.tif"), stage_angles_deg=(0, 25, 50), placement=Placement(True)
    )
    return with_orientations(path)


def drawn(path, what, **options):
    from ebsdarchive.figures.page import style

    with style():
        return draw(what, ebsdarchive.open_archive(path), PlotOptions(**options), stage(silent, ""))


def images(figure):
    return [np.ma.filled(i.get_array(), np.nan) for axes in figure.axes for i in axes.get_images()]


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    return found + [text.get_text() for axes in figure.axes for text in axes.texts]


# ---------------------------------------------------------------- all kinds


@pytest.mark.parametrize("what", KINDS)
def test_every_kind_is_drawn_and_its_text_stays_text(what, whole, tmp_path, run_cli):
    path = tmp_path / f"{what}.svg"
    code, out, err = run_cli("plot", whole, "--what", what, "-o", path)
    assert code == 0, err
    assert out == f"{path}: {KINDS[what].shows}\n"
    words = re.findall(r"<text[^>]*>([^<]+)</text>", path.read_text("utf-8"))
    assert words
    if what not in ("basis", "patterns"):
        assert any(word.endswith("µm") for word in words)


def test_a_picture_of_the_same_data_is_the_same_file(whole, tmp_path):
    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        ebsdarchive.plot(whole, "mean", tmp_path / name)
    for suffix in ("png", "svg"):
        first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
        assert first == second


def test_a_picture_is_as_wide_as_asked_for_at_300_dots_per_inch(whole, tmp_path):
    ebsdarchive.plot(whole, "mean", tmp_path / "a.png", width_mm=50.8)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == pytest.approx(600, abs=1)
        assert picture.info["dpi"][0] == pytest.approx(300, abs=1)


def test_what_cannot_be_drawn_is_said_in_one_line(whole, archive_path, tmp_path, run_cli):
    output = tmp_path / "x.png"
    for what, missing in {
        "ipf": "make one with `ebsdarchive index`",
        "mae": "expected the map maps/neural_error",
        "pca": "expected a neural layer",
        "basis": "expected a neural layer",
        "patterns": "expected raw patterns and another layer",
    }.items():
        result = run_cli("plot", archive_path, "--what", what, "-o", output)
        assert (result.code, missing in result.err) == (7, True), result
        assert not output.exists()
    assert run_cli("plot", whole, "--what", "mean", "-o", tmp_path / "x.gif").code == 2
    assert run_cli("plot", whole, "--what", "nothing", "-o", output).code == 2
    assert run_cli("plot", whole, "--what", "mean", "-o", output, "--width", "3").code == 2
    point = ("--what", "patterns", "--point", "90,1")
    assert run_cli("plot", whole, *point, "-o", output).code == 8
    ebsdarchive.plot(whole, "mean", output)
    with pytest.raises(OutputError, match="use --force"):
        ebsdarchive.plot(whole, "mean", output)
    with pytest.raises(ArgumentError, match="expected one of mean, iq"):
        ebsdarchive.plot(whole, "nothing", output, force=True)


# ---------------------------------------------------------------- maps


def test_a_map_shows_each_point_once_in_the_proportions_of_the_scan(whole):
    figure = drawn(whole, "mean")
    (values,) = images(figure)[:1]
    np.testing.assert_array_equal(values, ebsdarchive.open_archive(whole).map("mean_intensity"))
    axes = figure.axes[0]
    assert axes.get_xlim() == (0, 7 * 0.75)
    assert axes.get_ylim() == (5 * 0.5, 0)  # the first row on top
    place, (width, height) = axes.get_position(), figure.get_size_inches()
    ratio = place.height * height / (place.width * width)
    assert ratio == pytest.approx((5 * 0.5) / (7 * 0.75))


def test_the_scale_bar_is_as_long_as_it_says(whole):
    figure = drawn(whole, "mean")
    bar = figure.axes[1]
    assert [text.get_text() for text in bar.texts] == ["1 µm"]
    assert bar.lines[0].get_xdata().tolist() == [0, 1]
    assert bar.get_xlim() == figure.axes[0].get_xlim()
    assert bar.get_position().width == pytest.approx(figure.axes[0].get_position().width)


def test_without_a_known_step_the_scale_bar_counts_steps(make_archive):
    path = make_archive(step_um=(None, None), ny=6, nx=21)
    assert "5 steps" in texts(drawn(path, "mean"))


def test_odd_rows_of_a_hexagonal_grid_are_moved_by_half_a_step(make_archive):
    path = make_archive(hexagonal=True, ny=3, nx=4)
    values = ebsdarchive.open_archive(path).map("mean_intensity")
    (shown,) = images(drawn(path, "mean"))[:1]
    assert shown.shape == (3, 9)
    np.testing.assert_array_equal(shown[0, :8], np.repeat(values[0], 2))
    np.testing.assert_array_equal(shown[1, 1:7], np.repeat(values[1, :3], 2))
    assert np.isnan(shown[[0, 1, 1, 1], [8, 0, 7, 8]]).all()


def test_image_quality_falls_with_noise_and_white_noise_has_none():
    rng = np.random.default_rng(3)
    v, u = np.mgrid[:40, :50]
    bands = np.sin(u / 6) + np.cos((u + v) / 9)
    levels = [0.0, 0.1, 0.5, 2.0]
    found = image_quality(np.stack([bands + level * rng.normal(size=(40, 50)) for level in levels]))
    assert (np.diff(found) < 0).all()
    assert found[0] > 0.7
    noise = image_quality(rng.normal(size=(30, 40, 50)))
    assert abs(noise.mean()) < 0.02
    np.testing.assert_allclose(image_quality(1000 * bands[None] + 7), found[:1], rtol=1e-3)
    assert np.isnan(image_quality(np.ones((1, 8, 8)))).all()


# ---------------------------------------------------------------- the neural layer


def test_principal_components_do_not_depend_on_the_gauge_of_the_basis(whole):
    field = read_field(str(whole))
    found = principal_components(field, 3)
    patterns = field.patterns(field.grid.positions()).astype(float)[:, field.tensors.mask]
    centred = patterns - patterns.mean(axis=0)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(
        found.std_counts[:3], singular[:3] / np.sqrt(len(patterns)), rtol=1e-3
    )
    images = found.images[:, field.tensors.mask]
    np.testing.assert_allclose(images @ images.T, np.eye(3), atol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(images * rows[:3], axis=1)), 1, atol=1e-3)
    np.testing.assert_allclose(found.scores, centred @ images.T, atol=1e-3 * singular[0])
    assert found.shares.sum() == pytest.approx(1)


def test_triples_show_the_patterns_of_the_points_on_shared_scales(whole):
    archive = ebsdarchive.open_archive(whole)
    figure = drawn(whole, "patterns", points=((2, 3), (6, 0)), flat=False)
    shown = [image for axes in figure.axes for image in axes.get_images()][:6]
    index = 3 * 7 + 2
    raw = archive.patterns("raw").read(index, index + 1)[0].astype(float)
    field = archive.patterns("neural").read(index, index + 1)[0]
    lit = read_field(str(whole)).tensors.mask
    for image, expected in zip(shown[::2], (raw, field, field - raw), strict=True):
        values = np.ma.filled(image.get_array(), np.nan)
        np.testing.assert_allclose(values[lit], expected[lit], rtol=1e-5, atol=1e-3)
    limits = [image.get_clim() for image in shown]
    assert len(set(limits[:4])) == 1
    assert limits[4] == limits[5]
    assert limits[4][0] == -limits[4][1]
    assert "x = 1.5 µm, y = 1.5 µm" in texts(figure)
    labels = {axes.get_ylabel() for axes in figure.axes}
    assert {"Intensity (counts)", "neural − measured (counts)"} <= labels


def test_the_sheet_shows_every_basis_pattern_of_a_small_field(whole):
    figure = drawn(whole, "basis")
    assert len(images(figure)) == 1 + 3
    assert any("First 3 of 3 basis patterns" in text for text in texts(figure))


# ---------------------------------------------------------------- orientations


def test_ipf_colours_are_those_of_the_key_and_points_not_indexed_are_black(whole):
    figure = drawn(whole, "ipf")
    shown = images(figure)[0].reshape(-1, 3)
    np.testing.assert_array_equal(shown[::5], 0)
    known = np.delete(shown, np.arange(0, 35, 5), axis=0)
    np.testing.assert_allclose(known, [[1, 0, 0]] * len(known), atol=1e-6)  # z is [001], red
    found = texts(figure)
    assert {"Ni (m-3m)", "Ti (6/mmm)", "IPF-Z", "black: 7 not\nindexed"} <= set(found)
    assert "IPF-X" in texts(drawn(whole, "ipf", direction="x"))


def test_a_grid_of_one_row_can_be_drawn(make_archive):
    path = make_archive(ny=1, nx=9)
    for what in ("mean", "iq"):
        assert len(images(drawn(path, what))) >= 1


def test_map_sizes_keep_within_the_page():
    from ebsdarchive.figures.page import TALLEST_MM, map_size

    assert map_size(Grid("square", 40, 20, 1.0, 1.0), 80) == (80, 40)
    width, height = map_size(Grid("square", 10, 1000, 1.0, 1.0), 80)
    assert height == TALLEST_MM
    assert width == pytest.approx(TALLEST_MM / 100)


# ---------------------------------------------------------------- gradient and boundaries


def test_neighbouring_grains_differ_in_colour_and_are_outlined(whole):
    figure = drawn(whole, "boundaries")
    (colours,) = images(figure)
    assert len({colours[0, 0], colours[0, 12], colours[8, 12]}) == 3
    (axes,) = (axes for axes in figure.axes if axes.get_images())
    _, right, bottom, _ = axes.get_images()[0].get_extent()
    (outlines,) = axes.collections
    upright, lower, level = outlines.get_segments()
    # between the 5th and 6th column of samples, and between the 6th and 7th row
    np.testing.assert_allclose(upright, np.array([[5, 0.5], [5, 6]]) * (right / 13, bottom / 9))
    np.testing.assert_allclose(lower, np.array([[5, 6], [5, 8.5]]) * (right / 13, bottom / 9))
    np.testing.assert_allclose(level, np.array([[5, 6], [12.5, 6]]) * (right / 13, bottom / 9))


def test_the_gradient_is_drawn_on_its_own_raster(whole):
    image, *_ = images(drawn(whole, "s"))
    np.testing.assert_array_equal(image, SLOPES)


@pytest.mark.parametrize("what", ["s", "boundaries"])
def test_pictures_of_boundaries_ask_for_them_where_there_are_none(what, fitted_archive):
    with pytest.raises(MissingLayerError, match="make it with `ebsdarchive boundaries`"):
        drawn(fitted_archive, what)
