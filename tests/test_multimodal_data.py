"""Synthetic registered maps: coordinates of orientations, the light's physics, grains, faults."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from orix.quaternion import Orientation, Rotation, symmetry
from orix.quaternion._conversions import cu2ho
from orix.vector import Vector3d

from ebsdarchive.crystal_map import symmetry_quaternions
from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.multimodal import equivalents
from ebsdarchive.multimodal.cubochoric import HALF_EDGE, from_cubochoric, to_cubochoric
from ebsdarchive.multimodal.equivalents import nearest_equivalents
from ebsdarchive.multimodal.growth import Grown
from ebsdarchive.multimodal.growth import _sweep as sweep
from ebsdarchive.multimodal.light_channels import LightChannels
from ebsdarchive.multimodal.microstructures import Laguerre, random_section
from ebsdarchive.multimodal.orientation_channels import (
    from_channels,
    reduce_orientations,
    to_channels,
)
from ebsdarchive.multimodal.perturbations import MODERATE, Perturbation
from ebsdarchive.multimodal.polarised_light import TITANIUM, c_axes, intensity_limit, reflectance
from ebsdarchive.multimodal.synthetic_maps import SyntheticMaps, boundaries_of
from ebsdarchive.multimodal.texture import Pole, Texture
from ebsdarchive.simulation.rotations import from_vectors, product, uniform_quaternions


@pytest.fixture(scope="module")
def quaternions():
    return uniform_quaternions(5000, np.random.default_rng(4))


@pytest.fixture(scope="module")
def light():
    return LightChannels.fit()


def same_rotation(a, b):
    return np.abs((np.asarray(a) * b).sum(-1))


def disorientation_deg(a, b, group="6/mmm"):
    """Smallest angle between orientations (n, 4), by orix's group and plain products."""
    every = [
        same_rotation(product(np.tile(s, (len(a), 1)), a), b) for s in symmetry_quaternions(group)
    ]
    return np.degrees(2 * np.arccos(np.clip(np.max(every, axis=0), 0, 1)))


# ---------------------------------------------------------------- orientations


def test_cubochoric_coordinates_are_those_of_orix_and_lead_back(quaternions):
    cube = to_cubochoric(quaternions)
    assert np.abs(cube).max() <= HALF_EDGE
    positive = quaternions * np.sign(quaternions[:, :1])
    assert cu2ho(cube) == pytest.approx(Rotation(positive).to_homochoric().data, abs=1e-9)
    assert same_rotation(from_cubochoric(cube), quaternions) == pytest.approx(1, abs=1e-12)
    assert to_cubochoric(-quaternions) == pytest.approx(cube)


def test_uniform_rotations_fill_the_cube_evenly(quaternions):
    cube = to_cubochoric(quaternions) / HALF_EDGE
    counts = np.histogramdd(cube, bins=3, range=[(-1, 1)] * 3)[0]
    assert np.abs(counts - 5000 / 27).max() < 5 * np.sqrt(5000 / 27)


@pytest.mark.parametrize("vector", [[0, 0, 0], [0.3, 0, 0], [0, -0.3, 0], [0.2, -0.2, 0.2]])
def test_the_centre_the_axes_and_the_corners_of_the_cube_have_no_gaps(vector):
    assert to_cubochoric(from_cubochoric(vector)) == pytest.approx(np.array(vector), abs=1e-7)


def test_a_missing_orientation_stays_missing():
    assert np.isnan(to_channels(np.full((2, 3, 4), np.nan))).all()


@pytest.mark.parametrize(("name", "group"), [("6/mmm", symmetry.D6h), ("m-3m", symmetry.Oh)])
def test_the_representative_of_an_orientation_is_orix_s(quaternions, name, group):
    q = quaternions[:500]
    expected = Orientation(q, symmetry=group).reduce().data
    assert same_rotation(reduce_orientations(q, name), expected) == pytest.approx(1)


def test_the_nearest_equivalent_has_the_nearest_sign_in_any_number(quaternions, monkeypatch):
    q, reference = quaternions[:50], quaternions[50:100]
    found, cosine = nearest_equivalents(q, reference, "6/mmm")
    assert (found * reference).sum(1) == pytest.approx(cosine)
    assert 2 * np.degrees(np.arccos(cosine)) == pytest.approx(disorientation_deg(q, reference))
    assert disorientation_deg(found, q).max() < 1e-4
    monkeypatch.setattr(equivalents, "AT_ONCE", 7)
    again, _ = nearest_equivalents(q, reference, "6/mmm")
    assert np.array_equal(again, found)
    one, _ = nearest_equivalents(q, reference[0], "6/mmm")
    same, _ = nearest_equivalents(q, np.tile(reference[0], (50, 1)), "6/mmm")
    assert np.array_equal(one, same)
    lost, angle = nearest_equivalents(np.full((3, 4), np.nan), reference[:3], "6/mmm")
    assert np.isnan(lost).all()
    assert np.isnan(angle).all()


def test_channels_hold_the_orientation_within_minus_one_and_one(quaternions):
    channels = to_channels(quaternions)
    assert channels.shape == (3, 5000)
    assert channels.dtype == np.float32
    assert np.abs(channels).max(axis=1).min() > 0.85
    assert np.abs(channels).max() < 1
    assert disorientation_deg(from_channels(channels), quaternions).max() < 0.01


def test_equivalent_orientations_have_the_same_channels(quaternions):
    q = quaternions[:300]
    for s in symmetry_quaternions("6/mmm"):
        again = to_channels(product(np.tile(s, (300, 1)), q))
        assert again == pytest.approx(to_channels(q), abs=1e-5)


def test_a_grain_on_a_seam_keeps_to_one_side_of_it():
    rng = np.random.default_rng(2)
    on_seam = from_vectors(np.array([[0, 0, np.radians(30)]]))  # half of the turn of six about c
    q = product(from_vectors(rng.normal(0, 0.01, (77, 3))), np.tile(on_seam, (77, 1)))
    alone, together = to_channels(q), to_channels(q, grains=np.zeros(77, int))
    assert np.ptp(alone[2]) > 1
    assert np.ptp(together, axis=1).max() < 0.2
    assert np.abs(together).max() < 1
    assert disorientation_deg(from_channels(together), q).max() < 0.01


def test_labels_that_do_not_fit_the_map_are_refused():
    with pytest.raises(ArgumentError, match=r"grains: expected shape \(3, 5\), found \(5,\)"):
        to_channels(np.ones((3, 5, 4)), grains=np.zeros(5, int))


# ---------------------------------------------------------------- polarised light


def axis(tilt_deg, azimuth_deg=0.0):
    tilt, azimuth = np.radians(tilt_deg), np.radians(azimuth_deg)
    return np.array(
        [np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt) + 0 * tilt]
    )


def test_the_c_axis_in_the_sample_is_the_inverse_rotation_of_001(quaternions):
    expected = (~Rotation(quaternions) * Vector3d([0, 0, 1])).data
    assert c_axes(quaternions) == pytest.approx(expected)


def test_the_indices_of_titanium_are_the_roots_of_its_dielectric_constants():
    assert TITANIUM.ordinary**2 == pytest.approx(6.676 + 34.954j, rel=1e-4)
    assert TITANIUM.extraordinary**2 == pytest.approx(-20.377 + 30.405j, rel=1e-4)


def test_a_crystal_whose_c_axis_is_the_normal_is_dark_at_every_stage_angle():
    assert reflectance(axis(0), np.arange(0, 180, 7)) == pytest.approx(0, abs=1e-20)


def test_the_light_has_four_maxima_in_a_turn_and_is_the_formula_s():
    angles = np.arange(0, 360, 5)
    seen = reflectance(axis(70, 20), angles)
    assert seen == pytest.approx(np.roll(seen, 18), rel=1e-9)
    assert seen[angles == 70] == pytest.approx(0, abs=1e-20)  # c perpendicular to the polariser
    cosine, sine = np.cos(np.radians(70)), np.sin(np.radians(70))
    n_o, n_e = TITANIUM.ordinary, TITANIUM.extraordinary
    n = (cosine**2 / n_o**2 + sine**2 / n_e**2) ** -0.5
    difference = (1 - n) / (1 + n) - (1 - n_o) / (1 + n_o)
    expected = abs(difference) ** 2 / 4 * np.sin(2 * np.radians(20 + angles)) ** 2
    assert seen == pytest.approx(expected)
    # half of the turns are maxima: intensity over the mean is 2
    assert seen.max() / seen.mean() == pytest.approx(2, rel=0.01)


def test_weak_anisotropy_lights_up_with_the_fourth_power_of_the_tilt():
    weak = replace(TITANIUM, extraordinary=TITANIUM.ordinary * 1.001)
    tilts = np.array([10.0, 35.0, 60.0, 90.0])
    seen = reflectance(axis(tilts).T, 45.0, weak)[0]
    assert seen / seen[-1] == pytest.approx(np.sin(np.radians(tilts)) ** 4, rel=0.01)


def test_crossed_polarisers_miss_quarter_turns_and_others_do_not():
    angles = np.arange(0, 180, 10)
    a, b = axis(60, 25), axis(60, 115)
    assert reflectance(a, angles) == pytest.approx(reflectance(b, angles))
    assert reflectance(a, angles) == pytest.approx(reflectance(-a, angles))
    a, b = (reflectance(c, angles, analyser_deg=87) for c in (a, b))
    assert np.abs(a - b).max() > 0.2 * a.max()


def test_three_channels_hold_the_series_of_crossed_polarisers(quaternions, light):
    series = light.series(c_axes(quaternions).reshape(50, 100, 3))
    channels = light.encode(series)
    assert channels.shape == (3, 50, 100)
    assert 0.9 < np.abs(channels).max() < 1
    assert light.decode(channels) == pytest.approx(series, abs=1e-6)
    assert 0.98 < series.max() <= 1
    assert light.limit == intensity_limit()


def test_five_channels_hold_those_of_an_uncrossed_analyser(quaternions):
    light = LightChannels.fit(range(0, 180, 15), 5, analyser_deg=86)
    series = light.series(c_axes(quaternions))
    assert light.decode(light.encode(series)) == pytest.approx(series, abs=1e-6)


def test_channels_that_the_angles_cannot_show_are_refused(light):
    with pytest.raises(ArgumentError, match="expected at most 3 for these stage angles, found 4"):
        LightChannels.fit(channels=4)
    with pytest.raises(ArgumentError, match="expected 1 to 2"):
        LightChannels.fit((0, 20), 3)
    with pytest.raises(ArgumentError, match="expected 18 stage angles"):
        light.encode(np.zeros((7, 3, 5)))


def test_light_channels_survive_json(light, quaternions):
    again = LightChannels.from_config(json.loads(json.dumps(light.to_config())))
    series = light.series(c_axes(quaternions[:9]))
    assert np.array_equal(again.encode(series), light.encode(series))
    assert again.metal == light.metal


@pytest.mark.parametrize(
    "change",
    [
        {"scale": [1.0]}, {"metal": None}, {"mean": "x"}, {"scale": [0.0, 1.0, 1.0]},
        {"mean": [math.nan] * 18}, {"analyser_deg": math.inf}, {"centre": [10**400, 0, 0]},
        {"stage_angles_deg": [], "mean": [], "components": [[], [], []]},
    ],
)  # fmt: skip
def test_settings_of_light_channels_that_do_not_fit_are_refused(light, change):
    with pytest.raises(FormatError, match="light channels: expected"):
        LightChannels.from_config({**light.to_config(), **change})


# ---------------------------------------------------------------- microstructures


def test_a_texture_puts_the_c_axes_about_its_poles():
    rng = np.random.default_rng(1)
    texture = Texture(0.25, (Pole(40, 90, 6),))
    q = texture.sample(4000, rng)
    towards = np.degrees(np.arccos(np.clip(c_axes(q) @ axis(40, 90), -1, 1)))
    near = towards < 25
    assert near.mean() == pytest.approx(0.75 + 0.25 * (1 - np.cos(np.radians(25))) / 2, abs=0.03)
    assert np.sqrt(np.mean(towards[near] ** 2) / 2) == pytest.approx(6, rel=0.1)
    # turns about c are uniform: the a axes spread over the plane
    a_axes = (~Rotation(q[near]) * Vector3d([1, 0, 0])).data
    assert np.abs(a_axes.mean(axis=0)).max() < 0.05


def volumes_of(structure, rng):
    points = rng.random((40_000, 3)) * structure.edge
    counts = np.bincount(structure.grain_at(points), minlength=len(structure.quaternions))
    return counts / len(points) * structure.edge**3


def test_laguerre_grains_have_the_sizes_asked_for():
    rng = np.random.default_rng(3)
    structure = Laguerre(50, 12, Texture(), rng, size_spread=0.35)
    volumes = volumes_of(structure, rng)
    assert volumes.mean() == pytest.approx(np.pi / 6 * 12**3, rel=0.02)
    diameters = np.cbrt(volumes * 6 / np.pi)
    assert np.corrcoef(diameters, structure.radii)[0, 1] > 0.9
    assert np.log(diameters[diameters > 0]).std() == pytest.approx(0.35, abs=0.08)


def test_a_tree_in_four_dimensions_finds_the_cell_of_least_power():
    rng = np.random.default_rng(5)
    structure = Laguerre(40, 11, Texture(), rng, stretch=(1.5, 1, 0.8))
    points = rng.random((300, 3)) * 40
    seeds, box = structure._seeds, structure._box
    between = points[:, None] / structure._stretch - seeds
    between -= box * np.round(between / box)
    power = (between**2).sum(2) - structure.radii**2
    assert np.array_equal(structure.grain_at(points), power.argmin(1))


def test_grains_are_as_long_as_they_are_stretched():
    rng = np.random.default_rng(6)
    structure = Laguerre(48, 12, Texture(), rng, stretch=(2, 1, 1))
    line = np.linspace(0, 47.9, 480)
    crossings = []
    for i in range(2):
        points = np.repeat(rng.random((60, 1, 3)) * 48, 480, axis=1)
        points[..., i] = line
        labels = structure.grain_at(points.reshape(-1, 3)).reshape(60, 480)
        crossings.append((labels[:, 1:] != labels[:, :-1]).sum())
    assert crossings[1] / crossings[0] == pytest.approx(2, rel=0.15)


def test_a_section_turns_the_orientations_into_its_own_frame():
    class Layers:  # grains are slabs normal to the box's z, whose c axes all point along it
        edge = 64.0
        quaternions = np.tile([1.0, 0, 0, 0], (8, 1))

        def grain_at(self, points):
            return (points[:, 2] % 64 // 8).astype(np.int32)

    section = random_section(Layers(), (31, 47), np.random.default_rng(8))
    normal = c_axes(section.quaternions)[0]  # the slabs' normal in the window's frame
    y, x = np.mgrid[:31, :47]
    height = x * normal[0] + y * normal[1]
    steps = np.diff(section.grains, axis=1) != 0
    expected = 46 * 31 * abs(normal[0]) / 8  # crossings along the rows
    assert steps.sum() == pytest.approx(expected, rel=0.1)
    for grain in range(section.grains.max() + 1):
        assert np.ptp(height[section.grains == grain]) <= 8 + 1e-9


@pytest.fixture(scope="module")
def grown():
    return Grown(40, 9, Texture(), np.random.default_rng(9))


def test_growth_ends_at_the_mean_grain_asked_for(grown):
    volumes = np.bincount(grown.labels.ravel())
    assert volumes.min() > 0
    assert len(volumes) == len(grown.quaternions)
    assert volumes.mean() == pytest.approx(np.pi / 6 * 9**3, rel=0.25)


def test_growth_shortens_boundaries_and_keeps_only_labels_that_were_there():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, (12, 12, 12)).astype(np.int32)

    def unlike(labels):
        steps = [s for s in np.ndindex(3, 3, 3) if s != (1, 1, 1)]
        return sum((labels != np.roll(labels, np.array(s) - 1, (0, 1, 2))).sum() for s in steps)

    for _ in range(6):
        before = labels.copy()
        sweep(labels, rng.random(labels.shape, dtype=np.float32))
        assert unlike(labels) < unlike(before)
        assert set(np.unique(labels)) <= set(np.unique(before))


def test_a_ball_in_another_grain_shrinks_and_a_plane_stays():
    rng = np.random.default_rng(2)
    z, y, x = np.indices((16, 16, 16)) - 8
    ball = (z * z + y * y + x * x < 25).astype(np.int32)
    slab = (z < 0).astype(np.int32)
    sizes = [ball.sum()]
    for _ in range(15):
        sweep(ball, rng.random(ball.shape, dtype=np.float32))
        sweep(slab, rng.random(slab.shape, dtype=np.float32))
        sizes.append(ball.sum())
    assert sizes[-1] < 0.6 * sizes[0]
    assert np.array_equal(slab, z < 0)


def test_a_point_belongs_to_the_voxel_whose_centre_it_is(grown):
    n = len(grown.labels)
    z, y, x = np.random.default_rng(3).integers(0, n, (3, 400))
    voxel = grown.edge / n
    points = np.column_stack([x, y, z]) * voxel + voxel / 2
    assert np.array_equal(grown.grain_at(points), grown.labels[z, y, x])
    assert np.array_equal(grown.grain_at(points + grown.edge), grown.labels[z, y, x])


def test_the_families_differ_in_their_grains(light):
    two = [
        SyntheticMaps(family, (20, 27), seed=2, light=light, grain_size=(9, 9))[0]
        for family in ("laguerre", "growth")
    ]
    assert not np.array_equal(two[0].grains, two[1].grains)
    again = SyntheticMaps("growth", (20, 27), seed=2, light=light, grain_size=(9, 9))[0]
    assert np.array_equal(again.channels, two[1].channels)


def test_boxes_that_would_take_hours_are_refused():
    with pytest.raises(ArgumentError, match=r"edge: expected at most 355\.556 for"):
        Grown(400, 10, Texture(), np.random.default_rng(0))


# ---------------------------------------------------------------- maps


@pytest.fixture(scope="module")
def maps(light):
    return SyntheticMaps(
        "laguerre", (24, 37), seed=5, light=light, perturbation=MODERATE, grain_size=(7, 9)
    )


def test_a_synthetic_map_says_the_same_in_all_its_arrays(maps, light):
    found = maps[3]
    assert found.channels.shape == (6, 24, 37)
    assert found.light.shape == (3, 24, 37)
    assert found.channels.dtype == found.light.dtype == np.float32
    assert np.abs(found.channels).max() <= 1
    assert np.array_equal(np.unique(found.grains), np.arange(found.grains.max() + 1))
    assert np.array_equal(found.boundaries, boundaries_of(found.grains))
    assert 0.05 < found.boundaries.mean() < 0.6
    q = found.quaternions.reshape(-1, 4)
    back = from_channels(found.channels[:3]).reshape(-1, 4)
    assert disorientation_deg(back, q).max() < 0.01
    assert np.array_equal(found.channels[3:], light.encode(light.series(c_axes(found.quaternions))))
    inside = found.quaternions[found.grains == found.grains[12, 20]]
    spread = disorientation_deg(inside, np.tile(inside[:1], (len(inside), 1)))
    assert 0 < spread.max() < 5


def test_the_same_seed_and_index_give_the_same_map_in_any_order(maps, light):
    again = SyntheticMaps(
        "laguerre", (24, 37), seed=5, light=light, perturbation=MODERATE, grain_size=(7, 9)
    )
    for index in (40, 3):
        assert np.array_equal(again[index].light, maps[index].light)
        assert np.array_equal(again[index].channels, maps[index].channels)
    assert not np.array_equal(maps[3].channels, maps[4].channels)
    other = SyntheticMaps("laguerre", (24, 37), seed=6, light=light, grain_size=(7, 9))
    assert not np.array_equal(other[3].channels, maps[3].channels)


def test_settings_of_synthetic_maps_that_make_no_sense_are_refused(light):
    with pytest.raises(ArgumentError, match="family: expected one of"):
        SyntheticMaps("sponge", seed=1, light=light)
    with pytest.raises(ArgumentError, match="size: expected"):
        SyntheticMaps(size=1, seed=1, light=light)
    with pytest.raises(ArgumentError, match="grain_size: expected"):
        SyntheticMaps(seed=1, light=light, grain_size=(9, 3))


# ---------------------------------------------------------------- perturbations


@pytest.fixture(scope="module")
def clean(maps, light):
    found = maps[3]
    return light.series(c_axes(found.quaternions)), found.grains


def seen(clean, light, seed=0, **faults):
    series, grains = clean
    perturbation = Perturbation(**faults)
    return perturbation.apply(series, light.stage_angles_deg, grains, np.random.default_rng(seed))


def test_no_fault_changes_nothing_and_no_fault_changes_its_input(clean, light):
    before = clean[0].copy()
    assert np.array_equal(seen(clean, light), before)
    seen(clean, light, noise=0.1, scratches=20, null_grains=0.5)
    assert np.array_equal(clean[0], before)


def test_noise_has_the_standard_deviation_asked_for(clean, light):
    assert (seen(clean, light, noise=0.07) - clean[0]).std() == pytest.approx(0.07, rel=0.02)


def test_null_grains_are_dark_as_a_whole_at_all_angles(clean, light):
    dark = (seen(clean, light, null_grains=0.4) == 0).all(axis=0)
    shares = [dark[clean[1] == grain].mean() for grain in range(clean[1].max() + 1)]
    assert set(shares) == {0.0, 1.0}
    assert 0.1 < np.mean(shares) < 0.7


def test_uneven_light_is_one_smooth_gain_for_all_angles(clean, light):
    bright = (clean[0] > 1e-3).all(axis=0)
    assert bright.any()
    gain = seen(clean, light, unevenness=0.1)[:, bright] / clean[0][:, bright]
    assert np.ptp(gain, axis=0).max() < 1e-9
    assert gain[0].std() > 0.02


def test_scratches_are_lines_that_change_with_the_stage_angle(clean, light):
    change = seen(clean, light, scratches=20, seed=3) - clean[0]
    touched = np.abs(change).max(axis=0) > 0.02
    assert 0.01 < touched.mean() < 0.9
    assert change.max() > 0.05
    assert np.abs(change).max(axis=0).max() <= 2
    brightest = change[:, touched].mean(axis=1)
    assert brightest.max() > 1.5 * max(brightest.min(), 1e-6)


def test_misregistration_moves_the_light_by_the_pixels_asked_for(light):
    ny, nx = 40, 61
    y, x = np.mgrid[:ny, :nx].astype(float)
    ramps = np.stack([x, y])
    moved = Perturbation(misregistration=1.5).apply(
        ramps, [0, 10], np.zeros((ny, nx), np.int32), np.random.default_rng(1)
    )
    shift = (moved - ramps)[:, 6:-6, 6:-6]  # the edges have no more to show
    assert np.sqrt((shift**2).sum(axis=0).mean()) == pytest.approx(1.5, rel=0.3)


def test_a_fault_keeps_its_random_numbers_when_others_come_and_go(clean, light):
    noise = seen(clean, light, noise=0.05) - clean[0]
    both = seen(clean, light, noise=0.05, null_grains=0.5)
    assert both - seen(clean, light, null_grains=0.5) == pytest.approx(noise, abs=1e-12)


def test_settings_of_faults_are_checked_and_survive_json():
    assert Perturbation.from_config(json.loads(json.dumps(MODERATE.to_config()))) == MODERATE
    with pytest.raises(ArgumentError, match="noise: expected a number of at least 0, found -1"):
        Perturbation(noise=-1)
    with pytest.raises(ArgumentError, match="perturbation: expected its settings"):
        Perturbation.from_config({"dust": 1})
