"""What is made of samples: boundaries, means, spreads, alignment; and how it is judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ebsdarchive.crystal_map import symmetry_quaternions
from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal import map_network
from ebsdarchive.multimodal.alignment import fitted_alignment
from ebsdarchive.multimodal.edge_maps import Edges, edge_strength, edges_of, grains_of
from ebsdarchive.multimodal.fusion import edges_between
from ebsdarchive.multimodal.grain_alignment import aligned_to_grains
from ebsdarchive.multimodal.metrics import blurred_bce, chamfer, disorientation_deg
from ebsdarchive.multimodal.orientation_channels import from_channels, to_channels
from ebsdarchive.multimodal.summaries import light_summary, orientation_summary, turns_between
from ebsdarchive.multimodal.synthetic_maps import boundaries_of
from ebsdarchive.simulation.rotations import from_vectors, product, uniform_quaternions

GROUP = "6/mmm"


def two_grains(shape=(30, 41), at=17):
    grains = np.zeros(shape, np.int32)
    grains[:, at:] = 1
    return grains


def test_chamfer_tells_what_is_not_there_from_what_is_missed():
    true = boundaries_of(two_grains())
    assert chamfer(true, true).both == 0
    moved = np.roll(true, 3, axis=1)
    assert chamfer(moved, true).both == pytest.approx(3)
    more = true | np.roll(true, 10, axis=1)
    found = chamfer(more, true)
    assert (found.forward, found.backward) == (pytest.approx(5), 0)
    missed = chamfer(true, more)
    assert (missed.forward, missed.backward) == (0, pytest.approx(5))
    nothing = np.zeros_like(true)
    assert chamfer(nothing, true).backward == pytest.approx(np.hypot(30, 41))
    assert chamfer(nothing, nothing).both == 0


def test_blurred_cross_entropy_is_least_for_the_truth_and_rises_with_the_distance():
    true = boundaries_of(two_grains())
    costs = [blurred_bce(np.roll(true, shift, axis=1), true) for shift in (0, 1, 2, 4, 8)]
    assert costs == sorted(costs)
    assert costs[4] > 2 * costs[0]
    assert blurred_bce(np.zeros_like(true), true) > costs[1]


def test_boundaries_are_high_angles_that_most_samples_agree_on_or_edges_of_light():
    config = map_network.build({"base": 4, "levels": 2, "time_width": 16}).config
    rng = np.random.default_rng(3)
    first, grains = uniform_quaternions(1, rng), two_grains()

    def sample(angle_deg, light, at=17):
        axis = np.array([[np.radians(angle_deg), 0, 0]])
        both = np.concatenate([first, product(from_vectors(axis), first)])
        channels = np.concatenate([
            to_channels(both[two_grains(at=at)], GROUP, grains=two_grains(at=at)),
            light * (grains + 0.02 * rng.standard_normal((3, *grains.shape))),
        ])  # fmt: skip
        return torch.tensor(channels, dtype=torch.float32)

    def lines(samples, oriented):
        q = np.stack([from_channels(one[:3].numpy()) for one in samples])
        median = orientation_summary(q, GROUP).median if oriented else None
        return edges_between(config, torch.stack(samples), median).lines

    high = lines([sample(40, 0)] * 3, True)
    assert chamfer(high, boundaries_of(grains)).both < 1.1
    assert not lines([sample(6, 0)] * 3, True).any()  # a low angle, however sharp
    assert not lines([sample(40, 0, at=at) for at in (8, 17, 30)], True).any()  # no agreement
    assert not lines([sample(40, 0)] * 3, False).any()
    bright = [sample(0, 1) for _ in range(3)]
    alone = edges_of([edge_strength(one[3:].numpy()) for one in bright])
    assert np.array_equal(lines(bright, False), alone.lines)


def test_disorientation_knows_equivalent_orientations_of_hexagonal_crystals():
    rng = np.random.default_rng(0)
    q = uniform_quaternions(12, rng)
    turned = product(np.broadcast_to(symmetry_quaternions(GROUP)[5], q.shape), q)
    assert disorientation_deg(turned, q, GROUP).max() < 1e-4
    away = product(from_vectors(np.full((12, 3), np.radians(4) / 3**0.5)), q)
    np.testing.assert_allclose(disorientation_deg(away, q, GROUP), 4, atol=1e-6)


def test_the_median_of_equivalent_orientations_is_that_orientation():
    rng = np.random.default_rng(1)
    true = uniform_quaternions(15, rng)
    symmetry = symmetry_quaternions(GROUP)
    samples = []
    for _ in range(9):
        equivalent = symmetry[rng.integers(len(symmetry), size=15)]
        noise = from_vectors(rng.normal(0, np.radians(2), (15, 3)))
        samples.append(product(noise, product(equivalent, true)) * rng.choice([-1, 1], (15, 1)))
    found = orientation_summary(np.reshape(samples, (9, 3, 5, 4)), GROUP)
    error = disorientation_deg(found.median.reshape(-1, 4), true, GROUP)
    assert error.max() < 3
    assert error.mean() < 1.6  # of single samples 3.2
    assert 2 < found.spread_deg.mean() < 4
    alone = orientation_summary(np.reshape(samples[:1], (1, 3, 5, 4)), GROUP)
    assert (alone.spread_deg == 0).all()


def test_of_samples_that_disagree_the_median_is_that_of_the_majority():
    q = uniform_quaternions(2, np.random.default_rng(4))
    samples = q[[1, 0, 0, 0, 1]].reshape(5, 1, 1, 4)
    found = orientation_summary(samples, GROUP)
    errors = [disorientation_deg(found.median[0, 0], one, GROUP) for one in q]
    assert errors[0] < 1 < errors[1]  # their mean would be a third of the way to the other
    assert found.spread_deg[0, 0] > 10
    two = orientation_summary(q[:2].reshape(2, 1, 1, 4), GROUP)
    between = [disorientation_deg(two.median[0, 0], one, GROUP) for one in q]
    assert between[0] == pytest.approx(between[1])


def three_grains():
    """(30, 41, 4) orientations of two grains, whose right one has a subgrain at the bottom."""
    grains = two_grains().astype(int)
    grains[20:, grains[0] == 1] = 2
    turns = np.radians([[0, 0, 0], [40, 0, 0], [40, 6, 0]])
    return grains, from_vectors(turns)[grains]


def test_grains_are_turned_to_what_was_measured_in_them():
    grains, true = three_grains()
    rng = np.random.default_rng(7)
    drift = from_vectors(np.radians([[0, 4, 0], [3, 0, 3], [0, 0, 0]]))[grains.ravel()]
    noise = from_vectors(rng.normal(0, np.radians(0.3), (grains.size, 3)))
    sampled = product(noise, product(drift, true.reshape(-1, 4))).reshape(true.shape)
    measured = np.zeros(grains.shape, bool)
    measured[3, 2] = measured[17, 30] = measured[22, 30] = True
    known = np.where(measured[..., None], true, np.nan)
    turns = turns_between(sampled, GROUP)
    found = aligned_to_grains(sampled, known, measured, turns)
    off = disorientation_deg(found, true, GROUP)
    assert disorientation_deg(sampled, true, GROUP).mean() > 2
    assert off[grains < 2].max() < 1e-4
    assert off[grains == 2].max() < 1e-4  # the way across the subgrain's boundary is longer
    one = np.zeros_like(measured)
    one[3, 2] = True
    alone = aligned_to_grains(sampled, known, one, turns)
    assert np.array_equal(alone[grains > 0], sampled[grains > 0])  # nothing was measured in it
    nowhere = np.zeros_like(measured)
    assert np.array_equal(aligned_to_grains(sampled, known, nowhere, turns), sampled)


def test_light_is_summed_up_by_mean_and_standard_deviation():
    samples = np.random.default_rng(2).normal(0.3, 0.1, (200, 2, 3, 4))
    mean, spread = light_summary(samples)
    np.testing.assert_allclose(mean, 0.3, atol=0.04)
    np.testing.assert_allclose(spread, 0.1, atol=0.03)
    assert (light_summary(samples[:1])[1] == 0).all()


def test_edges_lie_on_the_boundaries_of_noisy_light_and_their_threshold_at_the_knee():
    rng = np.random.default_rng(3)
    light = np.where(two_grains() == 1, 0.5, -0.5)[None]
    samples = light + rng.normal(0, 0.05, (6, 1, 30, 41))
    edges = edges_of([edge_strength(sample) for sample in samples])
    assert chamfer(edges.lines, boundaries_of(two_grains())).both < 1
    assert 0.03 < edges.threshold < 0.4
    assert edges.probability[:, 16:18].mean() > 0.9 > 0.3 > edges.probability[:, :12].mean()


def test_grains_are_what_edges_enclose_the_largest_first_and_specks_are_none():
    strength = np.zeros((13, 20))
    strength[:, 6] = 1  # 78 pixels on its left, 169 on its right
    strength[4:7, 12:15] = 1
    strength[5, 13] = 0  # one weak pixel within a ring
    labels = grains_of(Edges(strength, 0.5, strength > 0.5, strength))
    assert (labels[:, :6] == 2).all()
    assert (labels[:, 8:] == 1).all()
    assert set(np.unique(labels)) == {1, 2}
    assert (grains_of(Edges(strength, -1.0, strength > 0.5, strength)) == 1).all()


def test_a_slope_of_one_per_pixel_has_strength_one_and_an_even_map_no_edges():
    ramp = np.broadcast_to(np.arange(9.0), (1, 7, 9))
    np.testing.assert_allclose(edge_strength(ramp)[1:-1, 1:-1], 1)
    assert not edges_of(np.ones((2, 8, 9))).lines.any()
    with pytest.raises(ArgumentError, match="at least 3 x 3 points"):
        edges_of(np.ones((1, 2, 9)))


def test_alignment_learns_at_the_measured_points_what_is_true_at_the_others():
    rng = np.random.default_rng(5)
    light = rng.uniform(-1, 1, (2, 2, 13, 17))
    true = np.stack([0.3 * light[:, 0], 0.2 * light[:, 1], 0.1 * light[:, 0]], axis=1)
    maps = np.concatenate(
        [true + 0.1 + 0.2 * light[:, :1], light], axis=1
    )  # off by what light says
    maps[1], true[1] = maps[0], true[0]
    measured = torch.tensor(rng.random((13, 17)) < 0.3)
    maps, orientation = (torch.tensor(v, dtype=torch.float32) for v in (maps, true[0]))
    network = fitted_alignment(maps, orientation, measured)
    left_out = ~measured.numpy()
    before = np.abs(maps[0, :3].numpy() - true[0])[:, left_out].mean()
    after = np.abs(network.aligned(maps)[0] - true[0])[:, left_out].mean()
    assert after < 0.2 * before
    again = fitted_alignment(maps, orientation, measured)
    assert (again.aligned(maps) == network.aligned(maps)).all()
    with pytest.raises(ArgumentError, match="expected at least 16 measured points, found 3"):
        fitted_alignment(maps, orientation, torch.arange(221).reshape(13, 17) < 3)
