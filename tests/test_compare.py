"""`compare`: backgrounds, deviations for every symmetry, figures of patterns, layers and files."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.fft import idctn

import ebsdarchive
from ebsdarchive.analysis.background import Correction, lit_pixels
from ebsdarchive.analysis.deviation import compare_orientations, compare_phases
from ebsdarchive.analysis.similarity import compare_patterns
from ebsdarchive.errors import ArgumentError, GeometryError, OutputError

RNG = np.random.default_rng(11)


def disc(sy: int, sx: int) -> np.ndarray:
    v, u = np.mgrid[:sy, :sx]
    return np.hypot((v - (sy - 1) / 2) / sy, (u - (sx - 1) / 2) / sx) < 0.5


# ---------------------------------------------------------------- background


def test_the_band_pass_lets_through_a_band_of_frequencies_whatever_the_pattern_size():
    for shape in ((60, 80), (31, 27)):
        keep = Correction("bandpass", np.ones(shape))
        for k, m in ((0, 0), (1, 0), (5, 3), (12, 7), (25, 25)):
            spectrum = np.zeros((1, *shape))
            spectrum[0, k, m] = 1
            wave = idctn(spectrum, type=2, axes=(1, 2), norm="ortho")  # cos of k / ny of Nyquist
            squared = (k / shape[0]) ** 2 + (m / shape[1]) ** 2
            expected = np.exp(-squared / (2 * 0.25**2)) * (1 - np.exp(-squared / (2 * 0.035**2)))
            np.testing.assert_allclose(keep(wave), expected * wave, atol=2e-6)


@pytest.mark.parametrize("method", ["static", "dynamic", "bandpass"])
def test_what_is_left_does_not_depend_on_the_brightness_of_the_background(method):
    background = np.where(disc(40, 50), 1000 + 20 * np.arange(50), 30).astype(float)
    bands = 1 + 0.1 * RNG.normal(size=(3, 40, 50))
    found = Correction(method, background)(background * bands)
    again = Correction(method, 7 * background)(7 * background * bands)
    np.testing.assert_allclose(found, again, atol=1e-4)
    lit = lit_pixels(background)
    assert np.array_equal(lit, disc(40, 50))
    if method != "static":
        assert (found[:, ~lit] == 0).all()
        flat = Correction(method, background)(background[None])
        assert np.abs(flat).max() < 1e-4


def test_a_screen_that_fills_the_frame_is_lit_everywhere():
    v, u = np.mgrid[:30, :40]
    assert lit_pixels(1000 - (u - 30) ** 2 / 4 - (v - 3) ** 2 / 4).all()


def test_an_unknown_background_is_refused():
    with pytest.raises(ArgumentError, match="expected bandpass, static, dynamic, found 'fast'"):
        Correction("fast", np.ones((3, 3)))


# ---------------------------------------------------------------- deviation


def test_equivalent_orientations_do_not_differ_in_any_of_the_32_point_groups():
    from orix.quaternion import Rotation
    from orix.quaternion import symmetry as symmetries

    q = RNG.normal(size=(24, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    turned = Rotation.from_axes_angles([1, 2, 3], np.deg2rad(3.0))
    assert len({group.name for group in symmetries._groups}) >= 32
    for group in symmetries._groups:
        rotations = group.proper_subgroup
        equivalent = (rotations[np.arange(len(q)) % rotations.size] * Rotation(q)).data
        assert compare_orientations(q, equivalent, group.name).deviation_deg.max() < 1e-3
        found = compare_orientations(q, (turned * Rotation(equivalent)).data, group.name)
        np.testing.assert_allclose(found.deviation_deg, 3.0, atol=1e-4)


def test_points_of_different_phases_have_no_deviation_and_count_as_disagreement():
    q = np.tile([1.0, 0, 0, 0], (6, 1))
    quarter = np.tile([np.sqrt(0.5), 0, 0, np.sqrt(0.5)], (6, 1))  # 90 degrees about c
    phase_a, phase_b = np.array([0, 0, 0, 1, 1, -1]), np.array([0, 0, 1, 1, 1, -1])
    quarter[5] = np.nan
    found = compare_phases(q, quarter, phase_a, phase_b, {0: "m-3m", 1: "6/mmm"})
    expected = [0, 0, np.nan, 30, 30, np.nan]
    np.testing.assert_allclose(found.deviation_deg, expected, atol=1e-6)
    assert found.compared == 4
    assert found.within(5) == pytest.approx(2 / 6)
    assert found.within(31) == pytest.approx(4 / 6)


def test_an_unknown_point_group_is_refused():
    q = np.array([[1.0, 0, 0, 0]])
    with pytest.raises(ArgumentError, match=r"point group: expected one of 1, -1.*found 'm3x'"):
        compare_orientations(q, q, "m3x")


# ---------------------------------------------------------------- patterns


def test_equal_patterns_are_as_alike_as_can_be():
    patterns = RNG.integers(0, 4000, (2, 21, 23)).astype(np.uint16)
    found = compare_patterns(patterns, patterns, 4000, np.ones((21, 23), bool))
    np.testing.assert_array_equal(found.mae_counts, 0)
    np.testing.assert_array_equal(found.psnr_db, np.inf)
    np.testing.assert_allclose(found.ssim, 1)
    np.testing.assert_allclose(found.uqi, 1)


def test_figures_of_patterns_are_those_of_their_definitions():
    a = 1000 + 300 * RNG.random((1, 17, 19))
    b = a + RNG.normal(0, 40, a.shape)
    found = compare_patterns(a, b, 500.0, np.ones((17, 19), bool))
    assert found.mae_counts[0] == pytest.approx(np.abs(a - b).mean())
    rmse = np.sqrt(np.mean((a - b) ** 2))
    assert found.psnr_db[0] == pytest.approx(20 * np.log10(500 / rmse))
    quality = []  # Wang & Bovik 2002, eq. 2, window by window
    for v in range(17 - 7):
        for u in range(19 - 7):
            x, y = (p[0, v : v + 8, u : u + 8].ravel() for p in (a, b))
            covariance = np.mean((x - x.mean()) * (y - y.mean()))
            means = x.mean() ** 2 + y.mean() ** 2
            quality.append(4 * covariance * x.mean() * y.mean() / ((x.var() + y.var()) * means))
    assert found.uqi[0] == pytest.approx(np.mean(quality), rel=1e-6)
    from skimage.metrics import structural_similarity

    ssim = structural_similarity(
        a[0], b[0], data_range=500.0, gaussian_weights=True, use_sample_covariance=False
    )
    assert found.ssim[0] == pytest.approx(ssim)


def test_pixels_outside_the_mask_do_not_count():
    mask = disc(40, 40)
    a = 1000 + 300 * RNG.random((1, 40, 40))
    b = a + RNG.normal(0, 40, a.shape)
    other = np.where(mask, b, -5000)
    for name, value in dataclasses.asdict(compare_patterns(a, b, 500.0, mask)).items():
        assert value == pytest.approx(getattr(compare_patterns(a, other, 500.0, mask), name)), name


def test_flat_patterns_and_tiny_ones_have_figures_without_warnings():
    flat = np.full((1, 12, 12), 100.0)
    found = compare_patterns(flat, 2 * flat, 500.0, np.ones((12, 12), bool))
    assert found.uqi[0] == pytest.approx(2 * 100 * 200 / (100**2 + 200**2))
    tiny = compare_patterns(flat[:, :5, :5], flat[:, :5, :5], 500.0, np.ones((5, 5), bool))
    assert np.isnan([tiny.ssim[0], tiny.uqi[0]]).all()


# ---------------------------------------------------------------- layers and files


def test_two_layers_of_one_archive_differ_by_what_the_fit_measured(
    fitted_archive, run_cli, tmp_path
):
    said = ebsdarchive.open_archive(fitted_archive).attributes("neural")
    maps = tmp_path / "maps.npz"
    code, out, err = run_cli("compare", fitted_archive, "--no-index", "--json", "-o", maps)
    assert code == 0, err
    figures = json.loads(out)
    assert (figures["a"]["layer"], figures["b"]["layer"]) == ("raw", "neural")
    assert figures["points"] == figures["points_of_scan"] == 35
    assert figures["patterns"]["mae_counts"] == pytest.approx(said["mae_counts"], rel=1e-4)
    assert figures["patterns"]["mae_percent"] == pytest.approx(said["mae_percent"], rel=1e-4)
    errors = ebsdarchive.open_archive(fitted_archive).map("neural_error")
    with np.load(maps) as found:
        assert set(found) == {"mae_counts", "psnr_db", "ssim", "uqi"}
        np.testing.assert_allclose(found["mae_counts"], errors, rtol=1e-4)


def test_a_sample_of_points_is_spread_over_the_scan_and_the_rest_stays_unknown(fitted_archive):
    found = ebsdarchive.compare(fitted_archive, orientations=False, points=5)
    assert found.points.tolist() == [0, 8, 17, 26, 34]
    known = np.isfinite(found.map("mae_counts"))
    assert known.shape == (5, 7)
    assert np.flatnonzero(known).tolist() == found.points.tolist()


def test_orientations_of_a_layer_and_of_its_export_are_the_same(bundled_scan, tmp_path, run_cli):
    archive, export = tmp_path / "a.h5", tmp_path / "a.up2"
    ebsdarchive.compress(bundled_scan, archive, profile="none", neural=False)
    ebsdarchive.export(archive, export)
    code, out, err = run_cli("compare", export, archive, "--points", "12", "--json")
    assert code == 0, err  # projection centre and phase are those of B: the export has none
    found = json.loads(out)["orientations"]
    assert found["background"] == "bandpass"
    assert found["mean_deg"] == 0
    assert found["compared"] >= 11
    assert found["share_below_2_deg"] == found["share_below_10_deg"] == found["compared"] / 12
    assert found["confidence_a"] == found["confidence_b"] > 0.5
    text = run_cli("compare", export, archive, "--points", "3", "--background", "static").out
    assert "deviation     mean 0.000 deg" in text
    assert "all equal" in text


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_maps_of_a_comparison_may_be_a_picture(suffix, fitted_archive, tmp_path):
    path = tmp_path / f"maps.{suffix}"
    ebsdarchive.compare(fitted_archive, output=path, orientations=False)
    assert path.stat().st_size > 5000
    with pytest.raises(OutputError, match="use --force"):
        ebsdarchive.compare(fitted_archive, output=path, orientations=False)


def test_what_cannot_be_compared_is_said_in_one_line(
    fitted_archive, make_archive, run_cli, tmp_path
):
    other = make_archive(ny=4)
    assert run_cli("compare", fitted_archive, other, "--no-index").code == 8
    with pytest.raises(GeometryError, match="expected patterns of one size"):
        ebsdarchive.compare(fitted_archive, make_archive(sy=12), orientations=False)
    result = run_cli("compare", fitted_archive, "--layer-b", "raw")
    assert (result.code, "expected two layers, found raw twice" in result.err) == (2, True)
    unknown = make_archive(described=False, pc=None)
    result = run_cli("compare", unknown, other, "--points", "1")
    assert result.code == 8
    result = run_cli("compare", unknown, make_archive(described=False, pc=None))
    assert (result.code, "--no-index" in result.err, "--pc" in result.err) == (2, True, True)
    result = run_cli("compare", fitted_archive, "--no-index", "-o", tmp_path / "x.jpg")
    assert (result.code, "found .jpg" in result.err) == (2, True)
    up2 = tmp_path / "a.up2"
    ebsdarchive.export(other, up2)
    result = run_cli("compare", up2, other, "--layer-a", "raw", "--no-index")
    assert (result.code, "expected an archive to name a layer of" in result.err) == (2, True)
