"""How far orientations differ, by algebra; and real patterns, indexed as their file says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import ebsdarchive
from ebsdarchive import open_scan
from ebsdarchive.analysis.indexing import compare_orientations, hough_index, index_file
from ebsdarchive.errors import ArgumentError


def product(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hamilton's product of quaternions (..., 4), scalar first."""
    a, b, c, d = np.moveaxis(np.asarray(p, float), -1, 0)
    e, f, g, h = np.moveaxis(np.asarray(q, float), -1, 0)
    return np.stack(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ],
        axis=-1,
    )


def turn(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    unit = np.array(axis, float) / np.linalg.norm(axis)
    half = np.deg2rad(degrees) / 2
    return np.array([np.cos(half), *(np.sin(half) * unit)])


def closed(generators: list[np.ndarray]) -> np.ndarray:
    """(n, 4) all rotations that are made of these; q and -q are the same."""
    found = [np.array([1.0, 0, 0, 0])]
    for element in found:
        for generator in generators:
            made = product(generator, element)
            if all(abs(abs(made @ known) - 1) > 1e-9 for known in found):
                found.append(made)
    return np.array(found)


CUBIC = closed([turn((0, 0, 1), 90), turn((1, 1, 1), 120)])
HEXAGONAL = closed([turn((0, 0, 1), 60), turn((1, 0, 0), 180)])
GROUPS = {"m-3m": CUBIC, "6/mmm": HEXAGONAL}


@pytest.fixture
def orientations() -> np.ndarray:
    q = np.random.default_rng(5).normal(size=(60, 4))
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def test_the_rotations_of_the_groups_are_all_there():
    assert (len(CUBIC), len(HEXAGONAL)) == (24, 12)


@pytest.mark.parametrize("group", GROUPS)
def test_an_orientation_does_not_differ_from_itself_or_its_equivalents(group, orientations):
    for operation in GROUPS[group]:
        for sign in (1, -1):
            found = compare_orientations(
                orientations, sign * product(operation, orientations), group
            )
            assert found.deviation_deg.max() < 1e-4
            assert found.within_4_deg == 1.0
            assert found.mean_deg < 1e-4


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("degrees", [0.5, 3.9, 4.1, 14.0])
def test_a_known_rotation_of_the_sample_is_the_deviation(group, degrees, orientations):
    turned = product(orientations, turn((1, 2, 3), degrees))
    equivalent = product(GROUPS[group][7], turned)
    found = compare_orientations(orientations, equivalent, group)
    np.testing.assert_allclose(found.deviation_deg, degrees, rtol=1e-6)
    assert found.mean_deg == pytest.approx(degrees)
    assert found.median_deg == pytest.approx(degrees)
    assert found.within_4_deg == (1.0 if degrees < 4 else 0.0)


@pytest.mark.parametrize("group", GROUPS)
def test_the_deviation_is_the_smallest_angle_over_all_equivalents(group, orientations):
    others = np.roll(orientations, 1, axis=0)
    overlap = [np.abs((product(s, orientations) * others).sum(axis=1)) for s in GROUPS[group]]
    expected = np.rad2deg(2 * np.arccos(np.clip(np.max(overlap, axis=0), 0, 1)))
    found = compare_orientations(orientations, others, group)
    np.testing.assert_allclose(found.deviation_deg, expected, rtol=1e-6)
    assert expected.max() < {"m-3m": 62.81, "6/mmm": 93.85}[group]  # the largest there can be


def test_points_that_are_not_indexed_differ_by_nothing_and_count_as_disagreement(orientations):
    a, b = orientations.copy(), orientations.copy()
    a[:6] = np.nan
    b[3:12] = np.nan
    found = compare_orientations(a, b, "m-3m")
    assert np.isnan(found.deviation_deg[:12]).all()
    assert (found.deviation_deg[12:] < 1e-4).all()
    assert found.within_4_deg == pytest.approx(48 / 60)
    assert found.mean_deg < 1e-4
    nothing = compare_orientations(np.full_like(a, np.nan), b, "m-3m")
    assert nothing.within_4_deg == 0
    assert np.isnan(nothing.mean_deg)
    assert np.isnan(nothing.median_deg)


def test_real_patterns_and_their_export_are_indexed_as_the_file_says(
    bundled_scan, tmp_path, capsys
):
    scan = open_scan(bundled_scan)
    points = np.linspace(0, scan.grid.size - 1, 40).astype(int)
    patterns = np.concatenate([scan.patterns.read(i, i + 1) for i in points])
    found = hough_index(patterns, scan)
    assert found.point_group == "m-3m"
    assert found.quaternions.shape == (40, 4)
    stored = scan.orientations.quaternions[points]
    agreement = compare_orientations(found.quaternions, stored, found.point_group)
    assert agreement.within_4_deg > 0.9
    assert agreement.mean_deg < 1.0
    assert np.nanmedian(found.fit_deg) < 1.0
    assert np.nanmean(found.confidence) > 0.5
    ebsdarchive.compress(bundled_scan, tmp_path / "a.h5", profile="none", neural=False)
    ebsdarchive.export(tmp_path / "a.h5", tmp_path / "a.up2")
    again = index_file(tmp_path / "a.up2", scan, points=points)
    np.testing.assert_allclose(again.quaternions, found.quaternions)
    assert capsys.readouterr().out == ""  # the libraries' prints are theirs


def test_indexing_needs_a_projection_centre_and_a_phase(make_scan):
    scan = make_scan()
    patterns = scan.patterns.read(0, 3)
    with pytest.raises(ArgumentError, match="expected a projection centre"):
        hough_index(patterns, make_scan(pc=None))
    for phases in ((), (dataclasses.replace(scan.phases[0], lattice=None),)):
        with pytest.raises(ArgumentError, match="expected a phase with space group and lattice"):
            hough_index(patterns, dataclasses.replace(scan, phases=phases))


def test_orix_rotates_without_its_numba_kernels(monkeypatch):
    """They were seen to crash the interpreter, in half of the runs of a fresh environment."""
    from orix.quaternion import Rotation
    from orix.quaternion import quaternion as module
    from orix.vector import Vector3d

    for kernel in ("qu_rotate_vec", "qu_multiply"):
        assert hasattr(module, kernel)
        monkeypatch.setattr(module, kernel, None)
    quarter = Rotation.from_axes_angles([0, 0, 1], 90, degrees=True)
    np.testing.assert_allclose((quarter * Vector3d.xvector()).data, [[0, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(quarter.outer(Vector3d.xvector()).data, [[[0, 1, 0]]], atol=1e-12)
    np.testing.assert_allclose((quarter * quarter).angle, np.pi)


def test_unlit_pixels_do_not_outshine_bands_over_the_static_background():
    from ebsdarchive.analysis.background import Correction
    from ebsdarchive.simulation.camera import disc_mask

    lit = disc_mask((31, 29))
    level = np.where(lit, 1000.0, 3.0)
    noisy = level + np.random.default_rng(0).normal(0, 3, (2, 31, 29))
    values = Correction("static", level)(noisy)
    assert (values[:, ~lit] == 1).all()
    np.testing.assert_allclose(values[:, lit], noisy[:, lit] / 1000, rtol=1e-6)
