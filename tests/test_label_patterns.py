"""The patterns of a lattice's labels: closed forms that agree with a pass over the scan, components
that no others beat, and what a fit makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from ebsdarchive.neural import label_patterns
from ebsdarchive.neural.fit import fit_field
from ebsdarchive.neural.label_patterns import gather_label_patterns
from ebsdarchive.neural.lattice import LatticeNetwork
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.neural.refine import refit_basis
from ebsdarchive.simulation import Camera, simulate_scan

NY, NX, SY, SX = 15, 19, 11, 13


def nothing(done):
    pass


@pytest.fixture(scope="module")
def scan():
    camera = Camera(electrons=1e4, read_noise=0.0)
    return simulate_scan((NY, NX), (SY, SX), grains=6, seed=5, camera=camera)


@pytest.fixture(scope="module")
def patterns(scan):
    rng = np.random.default_rng(0)
    places = np.moveaxis(np.indices((NY, NX)), 0, -1)
    seeds = rng.uniform(0, 1, (9, 2)) * (NY, NX)
    nearest = np.square(places[:, :, None] - seeds).sum(axis=-1).argmin(axis=-1)
    labels = np.unique(nearest, return_inverse=True)[1].reshape(NY, NX)
    mask = np.ones((SY, SX), bool)
    mask[:2, :3] = False
    mean = scan.patterns.read(0, 40).mean(axis=0).astype(np.float32)
    return gather_label_patterns(scan, labels, mean, mask, nothing)


def weights_of(patterns):
    return np.ones(patterns.moment.shape[1], np.float32)


def test_the_refit_without_a_pass_is_the_one_of_a_pass(scan, patterns):
    values, _ = patterns.components(weights_of(patterns), 4, 0)
    values = values.astype(np.float32)
    found = patterns.refit(values)
    network = LatticeNetwork(patterns.labels, values)
    expected = refit_basis(scan, network, patterns.mean_pattern, patterns.mask, nothing)
    np.testing.assert_allclose(found.basis, expected.basis, atol=1e-3 * np.ptp(expected.basis))
    np.testing.assert_allclose(found.mean_pattern, expected.mean_pattern, rtol=1e-4)
    np.testing.assert_allclose(found.normal, expected.normal, atol=1e-4)
    assert found.residual_energy == pytest.approx(expected.residual_energy, rel=1e-4)


def test_each_component_lowers_the_error_by_its_energy(patterns):
    values, energies = patterns.components(weights_of(patterns), 99, 0)
    assert len(energies) == patterns.labels.max()  # of k patterns less their mean
    left = [
        patterns.refit(values[:, :c].astype(np.float32)).residual_energy
        for c in range(1, len(energies) + 1)
    ]
    np.testing.assert_allclose(-np.diff(left), energies[1:], rtol=1e-2, atol=1e-3 * energies[0])


def test_outputs_are_uncorrelated_and_of_unit_variance(patterns):
    values, energies = patterns.components(weights_of(patterns), 5, 0)
    network = LatticeNetwork(patterns.labels, values.astype(np.float32))
    places = np.moveaxis(np.indices((NY, NX)), 0, -1).reshape(-1, 2)[:, ::-1]
    outputs = network(2 * places / (NX - 1, NY - 1) - 1)
    np.testing.assert_allclose(np.cov(outputs.T, bias=True), np.eye(5), atol=1e-3)
    assert (np.diff(energies) <= 0).all()


def test_pixels_that_weigh_more_are_held_better(patterns):
    weights = weights_of(patterns)
    weights[::2] = 30
    lefts = []
    for given in (weights_of(patterns), weights):
        values = patterns.components(given, 2, 0)[0].astype(np.float32)
        whole = patterns.components(given, 99, 0)[0].astype(np.float32)
        few, all_of = patterns.refit(values), patterns.refit(whole)
        held = [refit.basis.T @ value.T for refit, value in ((few, values), (all_of, whole))]
        lefts.append(np.square(held[0] - held[1])[::2].sum())
    assert lefts[1] < lefts[0]


def test_components_of_noise_are_told_from_those_of_grains(scan, patterns):
    _, energies = patterns.components(weights_of(patterns), 99, 0)
    clean = simulate_scan(
        (NY, NX), (SY, SX), grains=6, seed=5, clean=True, camera=Camera(electrons=1e4)
    )
    noise = float(np.std(scan.patterns.read(0, NY * NX) - clean.patterns.read(0, NY * NX)))
    assert 3 <= patterns.above_noise(energies, noise) <= len(energies)
    assert patterns.above_noise(energies, 1e3 * noise) == 0
    assert patterns.above_noise(np.append(energies, 1e-6), noise) <= len(energies)


def test_a_lattice_meets_a_target_error_with_fewer_bytes_than_a_finer_one(scan):
    flat = fit_field(scan, FitOptions(rank=1)).errors.mae_pct
    sizes = []
    for part in (0.6, 0.8):
        result = fit_field(scan, FitOptions(network="lattice", target_mae_pct=part * flat))
        assert result.log["target_met"]
        assert 0.9 * part * flat < result.errors.mae_pct <= part * flat
        sizes.append(result.coded.nbytes)
    assert sizes[1] < 0.8 * sizes[0]


def test_a_lattice_keeps_to_a_target_size(scan):
    result = fit_field(scan, FitOptions(network="lattice", target_size_mb=0.0012))
    assert 900 < result.coded.nbytes <= 1200


def test_labels_whose_patterns_do_not_fit_into_memory_are_fitted_by_their_coefficients(
    scan, monkeypatch
):
    usual = fit_field(scan, FitOptions(network="lattice", rank=5))
    monkeypatch.setattr(label_patterns, "MOST_BYTES", 4 * SY * SX)
    bounded = fit_field(scan, FitOptions(network="lattice", rank=5))
    assert bounded.coded.images != usual.coded.images
    assert bounded.errors.mae_pct == pytest.approx(usual.errors.mae_pct, rel=0.05)
    assert bounded.tensors.rank == usual.tensors.rank == 5
