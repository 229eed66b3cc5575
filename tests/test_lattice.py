"""Lattices of labels: regions are found, boundaries follow the points, what is stored is what was
found, and the field stays as smooth as its documents say."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import reader_from_documents as documents

import ebsdarchive
from ebsdarchive.codecs.lattices import QuantisedLattice, decode_lattice, encode_lattice
from ebsdarchive.errors import ArgumentError, CorruptionError, FitError
from ebsdarchive.geometry import Grid
from ebsdarchive.neural.field import Field, FieldTensors
from ebsdarchive.neural.fit import fit_field
from ebsdarchive.neural.lattice import LatticeNetwork
from ebsdarchive.neural.lattice_fit import (
    LatticeOptions,
    _moved,
    _Values,
    fit_lattice,
    label_weights,
)
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.neural.regions import Regions, edges_of_map
from ebsdarchive.neural.storage import read_field
from ebsdarchive.simulation import Camera, simulate_scan
from ebsdarchive.verbs.fitting import NeuralOptions

NY, NX = 17, 23


def grains(count=5, shape=(NY, NX), seed=0):
    """(ny, nx) labels of the nearest of some random points; each occurs."""
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(0, 1, (count, 2)) * shape
    places = np.moveaxis(np.indices(shape), 0, -1)
    nearest = np.square(places[:, :, None] - seeds).sum(axis=-1).argmin(axis=-1)
    return np.unique(nearest, return_inverse=True)[1].reshape(shape)


def lattice(labels, outputs=4, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(-40, 41, (int(labels.max()) + 1, outputs))
    return QuantisedLattice(labels, values, 0.125, rng.integers(-3, 4, outputs))


def options(**changed):
    """Of a lattice of exact values, for vectors of some hundred counts."""
    how = {
        "bit": 0.5, "value_step": lambda count: 0.01, "image_step": 0.1, "noise": 0.0,
        "most": np.inf,
    }  # fmt: skip
    return LatticeOptions(**how | changed)


@pytest.fixture(scope="module")
def scan():
    camera = Camera(electrons=1e5, read_noise=0.0)
    return simulate_scan((NY, NX), (13, 11), grains=4, seed=3, camera=camera)


@pytest.fixture(scope="module")
def archive(scan, tmp_path_factory):
    path = tmp_path_factory.mktemp("lattice") / "a.h5"
    ebsdarchive.compress(scan, path, options=NeuralOptions(network="lattice", rank=5))
    return path


# ---------------------------------------------------------------- evaluation


def field_of(labels, seed=0):
    network = LatticeNetwork(*lattice(labels, seed=seed).arrays())
    mask = np.ones((3, 5), bool)
    basis = np.random.default_rng(seed).normal(0, 100, (4, 15)).astype(np.float32)
    tensors = FieldTensors([], [], 1.0, 1.0, basis, np.full((3, 5), 900, np.float32), mask, network)
    return Field(tensors, Grid("square", labels.shape[1], labels.shape[0]))


def test_inside_a_region_the_field_is_the_value_of_its_label():
    labels = np.repeat([0, 1], [12, 11])[None].repeat(NY, axis=0)
    field = field_of(labels)
    values = field.tensors.lattice.values
    np.testing.assert_allclose(field.coefficients([(3.3, 4.9)])[0], values[0], rtol=1e-6)
    np.testing.assert_allclose(field.coefficients([(16.2, 0.1)])[0], values[1], rtol=1e-6)
    middle = field.coefficients([(11.5, 7.0)])[0]
    np.testing.assert_allclose(middle, values.mean(axis=0), rtol=1e-5)


def test_the_derivative_of_a_lattice_equals_finite_differences():
    field = field_of(grains())
    rng = np.random.default_rng(1)
    xy = rng.uniform(0.1, 0.9, (60, 2)) * (NX - 1, NY - 1)
    found, h = field.coefficient_derivatives(xy), 1e-3
    for axis in (0, 1):
        step = np.eye(2)[axis] * h
        # single precision: differences of values of some counts
        expected = (field.coefficients(xy + step) - field.coefficients(xy - step)) / (2 * h)
        np.testing.assert_allclose(found[:, axis], expected, atol=2e-3 * np.abs(found).max())
    assert np.abs(found).max() > 1


def test_a_lattice_has_no_kinks_at_its_places():
    field = field_of(grains(seed=2))
    y = np.full(2, 8.0)
    for x in (9.0, 10.0, 11.0):
        before, after = field.coefficient_derivatives(np.column_stack([[x - 1e-6, x + 1e-6], y]))
        np.testing.assert_allclose(before, after, atol=1e-3)


def test_points_see_their_places_as_the_fit_believes():
    labels = grains()
    field = field_of(labels)
    believed = label_weights(labels, labels.max() + 1) @ field.tensors.lattice.values
    np.testing.assert_allclose(field.coefficients(field.grid.positions()), believed, atol=1e-4)


# ---------------------------------------------------------------- coding


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((1, 1), int), np.zeros((1, 9), int), np.arange(7)[:, None], grains(),
        grains(60, seed=1), np.indices((6, 5)).sum(axis=0) % 2,
        np.random.default_rng(0).permutation(35).reshape(5, 7),
    ],
)  # fmt: skip
def test_a_lattice_comes_back_with_the_same_value_at_every_place(labels):
    original = lattice(labels)
    found = decode_lattice(encode_lattice(original))
    np.testing.assert_array_equal(found.exponents, original.exponents)
    ours, theirs = original.arrays(), found.arrays()
    np.testing.assert_array_equal(theirs[1][theirs[0]], ours[1][ours[0]])


def test_labels_cost_what_their_boundaries_are_long():
    few, many = (len(encode_lattice(lattice(grains(k, (90, 110)), 1))) for k in (3, 60))
    noise = np.random.default_rng(0).integers(0, 60, (90, 110))
    assert few < 0.5 * many
    assert many < 0.25 * len(encode_lattice(lattice(noise, 1)))


def test_a_rare_label_has_coarser_steps_so_that_its_error_counts_alike():
    labels = np.zeros((10, 10), int)
    labels[0, :4] = 1
    _, values = QuantisedLattice(labels, np.ones((2, 1), int), 0.5, np.zeros(1, int)).arrays()
    assert values[1, 0] / values[0, 0] == pytest.approx(np.sqrt(96 / 4))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d[:10], lambda d: bytes(24) + d[24:], lambda d: b"", lambda d: d[:-3],
        lambda d: d[:8] + b"\x02\0\0\0" + d[12:], lambda d: d[:4] + b"\x05\0\0\0" + d[8:],
        lambda d: d[:40] + bytes([d[40] ^ 1]) + d[41:],
    ],
)  # fmt: skip
def test_damaged_lattices_are_noticed(change):
    with pytest.raises(CorruptionError):
        decode_lattice(change(encode_lattice(lattice(grains()))))


# ---------------------------------------------------------------- regions, boundaries, values


def vectors_of(labels, noise=3.0, seed=0):
    """(n, 3) vectors of a map's labels, hundreds of counts apart, with noise."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 300, (int(labels.max()) + 1, 3))
    return (values[labels.ravel()] + rng.normal(0, noise, (labels.size, 3))).astype(np.float32)


def test_regions_of_one_vector_each_are_found_whatever_their_shape():
    labels = grains(7)
    regions = Regions(vectors_of(labels))
    points = np.arange(labels.size).reshape(labels.shape)
    regions.merge(*edges_of_map(points), lambda count: np.full(len(count), 500.0), 50.0)
    pairs = {(int(a), int(b)) for a, b in zip(labels.ravel(), regions.labels, strict=True)}
    assert len(pairs) == labels.max() + 1 == len(regions.count)


def test_a_region_that_is_not_worth_its_cost_is_given_up():
    labels = np.zeros((NY, NX), int)
    labels[4:6, 7:9] = 1
    vectors = np.where(labels.reshape(-1, 1) == 1, 100.0, 0.0).astype(np.float32)
    points = np.arange(labels.size).reshape(labels.shape)
    for cost, expected in ((1e4, 2), (1e5, 1)):  # against 4 points 100 counts off: 4e4
        regions = Regions(vectors)
        regions.merge(*edges_of_map(points), lambda count, c=cost: np.full(len(count), c), 0.0)
        assert len(regions.count) == expected


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_regions_that_lie_apart_share_the_label_of_their_value(noise):
    lamella = np.zeros((NY, NX), int)
    lamella[:, 9:13] = 1
    found, _ = fit_lattice(
        vectors_of(lamella, noise) / 300, np.full(3, 300, np.float32), lamella.shape, options()
    )
    assert len(found.values) == 2
    assert len(np.unique(found.labels[:, :8])) == 1
    assert found.labels[3, 3] == found.labels[12, 20] != found.labels[8, 11]


def test_places_move_only_where_the_error_falls():
    labels = grains()
    vectors = vectors_of(labels, noise=0.0)
    wrong = labels.copy()
    wrong[8, 11:14] = wrong[8, 10]
    one = np.ones(3, np.float32)
    before = _Values(wrong, vectors, one)
    after = _Values(_moved(wrong, vectors, before.solved, 0.0), vectors, one)
    assert after.error < 0.9 * before.error


def test_a_rounded_lattice_is_the_fitted_one_up_to_its_steps():
    labels = grains(7)
    scale = np.array([300, 200, 50], np.float32)
    targets = vectors_of(labels) / scale
    errors = []
    for step in (0.05, 6.0):
        how = options(value_step=lambda count, step=step: step)
        found, exact = fit_lattice(targets, scale, labels.shape, how)
        network = LatticeNetwork(*found.arrays())
        positions = Grid("square", NX, NY)
        outputs = network(positions.normalise(positions.positions()))
        features = np.column_stack([outputs, np.ones(len(outputs))])
        best = features @ np.linalg.lstsq(features, targets, rcond=None)[0]
        errors.append(float(np.square((best - targets) * scale).sum(axis=1).mean()))
        assert errors[-1] <= exact + found.values.size * step**2 / 6
    assert errors[0] == pytest.approx(exact, rel=1e-2)
    assert errors[1] > errors[0]


# ---------------------------------------------------------------- in a fit and in an archive


def test_a_fit_with_a_lattice_is_far_better_than_the_mean_pattern(scan):
    result = fit_field(scan, FitOptions(network="lattice", rank=5))
    assert result.coded.network == b""
    assert result.coded.lattice
    assert result.tensors.width is None
    assert result.tensors.rank == 5
    flat = fit_field(scan, FitOptions(rank=1))
    assert result.errors.mae_counts < 0.7 * flat.errors.mae_counts


def test_auto_takes_what_costs_less_and_says_so(scan):
    result = fit_field(scan, FitOptions(network="auto", rank=5, steps=60))
    costs = result.log["networks"]
    sine = costs.get("sine", np.inf) < 1.25 * costs["lattice"]
    assert bool(result.coded.network) == sine
    assert bool(result.coded.lattice) != sine


def test_a_target_takes_the_smallest_of_both_kinds_of_networks(scan, monkeypatch, tmp_path):
    monkeypatch.setattr("ebsdarchive.neural.fit.SEARCHED_FITS", 5)
    flat = fit_field(scan, FitOptions(rank=1)).errors.mae_pct
    target = {"target_mae_pct": 0.9 * flat, "steps": 60}
    both, sine = (
        fit_field(scan, FitOptions(network=n, **target), checkpoint=tmp_path / n)
        for n in ("auto", "sine")
    )
    # each network has a checkpoint of its own
    assert not [note for note in both.log["notes"] + sine.log["notes"] if "checkpoint" in note]
    del target["steps"]
    lattice = fit_field(scan, FitOptions(network="lattice", **target))
    assert all(found.log["target_met"] for found in (both, sine, lattice))
    assert both.coded.nbytes <= 1.01 * min(sine.coded.nbytes, lattice.coded.nbytes)


def test_hexagonal_grids_keep_sine_layers(scan):
    hexagonal = simulate_scan((7, 9), (6, 5), grains=2, seed=1, hexagonal=True)
    result = fit_field(hexagonal, FitOptions(network="auto", rank=3, width=8, steps=20))
    assert result.coded.network
    assert not result.coded.lattice
    with pytest.raises(ArgumentError, match="hexagonal"):
        fit_field(hexagonal, FitOptions(network="lattice", rank=3))


@pytest.mark.parametrize(
    "asked", [{"width": 24}, {"depth": 3}, {"steps": 50}, {"time_s": 2.0}, {"learning_rate": 1e-3}]
)
def test_what_a_lattice_has_not_is_refused_for_it(asked):
    with pytest.raises(ArgumentError, match=f"{next(iter(asked))}: .* lattice"):
        FitOptions(network="lattice", **asked)


def test_an_unknown_network_is_named():
    with pytest.raises(ArgumentError, match="sine, lattice or auto"):
        FitOptions(network="grid")


def test_a_lattice_is_stored_checked_and_read_back(archive: Path, scan):
    assert ebsdarchive.verify(archive, data=True).all_faults == []
    assert ebsdarchive.validate(archive) == []
    field = read_field(str(archive))
    assert field.tensors.lattice.labels.shape == (NY, NX)
    with h5py.File(archive) as file:
        node = file["archive/neural"]
        assert len(node["network"]) == 0
        assert len(node["lattice"])
        said = float(node.attrs["mae_counts"])
    patterns = field.patterns(field.grid.positions())
    measured = scan.patterns.read(0, NY * NX).astype(np.float64)
    inside = field.tensors.mask
    assert np.abs(patterns - measured)[:, inside].mean() == pytest.approx(said, rel=1e-4)


def test_the_documents_alone_are_enough_to_decode_a_lattice(archive: Path):
    xy = np.array([[0, 0], [NX - 1, NY - 1], [3.25, 7.5], [11.0, 4.1], [20.9, 15.99], [0.3, 16]])
    with h5py.File(archive) as file:
        alone = documents.neural_patterns(file["archive/neural"], xy, np.array([NX - 1, NY - 1]))
    ours = read_field(str(archive)).patterns(xy)
    np.testing.assert_allclose(alone, ours, atol=1e-4 * np.ptp(ours))


def test_training_cannot_begin_with_a_lattice(archive: Path, scan):
    with pytest.raises(FitError, match="found a lattice"):
        fit_field(scan, FitOptions(rank=3), start=read_field(str(archive)).tensors)


def test_the_joint_method_has_no_lattice(archive: Path):
    with pytest.raises(ArgumentError, match="joint"):
        ebsdarchive.fit(archive, options=NeuralOptions(method="joint", network="lattice"))
