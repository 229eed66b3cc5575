"""The joint formulation of the neural layer (4D-INR): it learns, and is stored like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import reader_from_documents as documents
import torch
import xarray

import ebsdarchive
from ebsdarchive.archive.file import open_archive
from ebsdarchive.errors import ArgumentError, CorruptionError, FitError, GeometryError
from ebsdarchive.geometry import Grid
from ebsdarchive.neural import joint_samples, joint_training
from ebsdarchive.neural.joint_field import JointField, detector_coordinates, require_steady
from ebsdarchive.neural.joint_fit import fit_joint
from ebsdarchive.neural.joint_network import DeviceField, JointConfig, JointNetwork
from ebsdarchive.neural.joint_samples import JointSamples, band_share
from ebsdarchive.neural.joint_schedule import JointSchedule, auto_joint_steps
from ebsdarchive.neural.joint_training import tensors_of, train_joint
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.neural.sample import draw_sample
from ebsdarchive.neural.storage import read_field
from ebsdarchive.verbs.fitting import NeuralOptions

TINY = {"method": "joint", "width": 16, "steps": 30, "device": "cpu", "seed": 3}


def options(**changed):
    return NeuralOptions(**{**TINY, **changed})


def samples_of(scan, band=None, **limits):
    """Samples of all pixels of a scan; those of `band` weigh twice."""
    mask = np.ones(scan.patterns.shape[1:], bool)
    weights = np.ones(mask.size, np.float32)
    if band is not None:
        weights[band] = 2
    return JointSamples(scan, draw_sample(scan, 0, **limits), mask, weights, 0, **limits)


@pytest.fixture(scope="module")
def network():
    """A small network of odd sizes with weights as they are drawn."""
    return JointNetwork(JointConfig(width=10, depth=3, features=7), seed=5)


@pytest.fixture(scope="module")
def fitted(make_archive, tmp_path_factory) -> Path:
    """An archive with a joint layer; do not change it, copy it."""
    path = tmp_path_factory.mktemp("joint") / "joint.h5"
    shutil.copyfile(make_archive(), path)
    ebsdarchive.fit(path, options=options())
    path.chmod(0o444)
    return path


@pytest.fixture
def copy(fitted, tmp_path) -> Path:
    """A test's own copy of `fitted`."""
    return Path(shutil.copyfile(fitted, tmp_path / "copy.h5"))


# ---------------------------------------------------------------- the network


def test_the_network_is_the_papers_unless_another_width_is_asked_for():
    config = JointConfig()
    shape = (config.depth, config.width, config.features, config.sigma, config.omega_first)
    assert shape == (5, 256, 256, 3.0, 30.0)
    frequencies = JointNetwork(JointConfig(width=8)).frequencies.numpy()
    assert frequencies.shape == (256, 2)
    assert frequencies.std() == pytest.approx(3.0, rel=0.1)


def test_sine_layers_begin_with_activations_of_one_distribution_at_every_depth():
    config = JointConfig(width=200, depth=5)
    network = JointNetwork(config, seed=1)
    generator = torch.Generator().manual_seed(2)
    xy = 2 * torch.rand(500, 2, generator=generator) - 1
    uv = 2 * torch.rand(500, 2, generator=generator) - 1
    phase = 2 * torch.pi * uv @ network.frequencies.T
    gamma = torch.cat([phase.sin(), phase.cos()], dim=1)
    h = gamma @ network.feature_weight.T + xy @ network.position_weight.T + network.bias[0]
    h = torch.sin(30 * h)
    spreads = [h.std().item()]
    for weight, bias in zip(network.hidden_weight, network.bias[1:], strict=True):
        h = torch.sin(30 * (h @ weight.T + bias))
        spreads.append(h.std().item())
    np.testing.assert_allclose(spreads, 2**-0.5, atol=0.05)


def test_fine_features_have_no_part_in_a_network_at_a_small_detector_scale():
    network = JointNetwork(JointConfig(width=10, depth=2, features=40), seed=5)
    height = network.frequencies.norm(dim=1)
    height /= height.max()
    uv = torch.rand(9, 2, generator=torch.Generator().manual_seed(1))
    for scale in (0.25, 0.6, 1.0):
        network.zero_grad()
        network(uv, uv, torch.arange(9), scale).sum().backward()
        gradient = network.feature_weight.grad.reshape(10, 2, 40).abs().amax(dim=(0, 1))
        assert torch.equal(gradient > 0, height < scale * 1.1)
        assert 0 < (gradient > 0).sum() <= 40


def test_numpy_decodes_what_torch_computes(network, make_scan):
    scan = make_scan(sy=9, sx=12)
    samples = samples_of(scan)
    field = JointField(tensors_of(network, samples), scan.grid)
    xy = np.array([[0, 0], [2.25, 3.5], [6, 4]])
    uv = torch.from_numpy(detector_coordinates(samples.mask))
    place = torch.arange(len(uv))
    with torch.no_grad():
        expected = [
            network(torch.from_numpy(p.astype(np.float32)).expand(len(uv), 2), uv, place)
            for p in scan.grid.normalise(xy)
        ]
    counts = samples.mean.ravel() + samples.scale * torch.stack(expected).numpy()
    np.testing.assert_allclose(field.inside(xy), counts, atol=1e-4 * samples.scale)
    half = field.tensors.as_type(np.float16)
    stored = [
        kind(half, scan.grid, *how) for kind, how in ((JointField, ()), (DeviceField, ("cpu",)))
    ]
    np.testing.assert_allclose(*(f.inside(xy) for f in stored), atol=1e-4 * samples.scale)
    exact = JointField(field.tensors, scan.grid, np.float64)
    np.testing.assert_allclose(exact.inside(xy), counts, atol=1e-4 * samples.scale)


def test_decoding_in_blocks_gives_what_decoding_at_once_gives(network, make_scan, monkeypatch):
    from ebsdarchive.neural import joint_field

    scan = make_scan(sy=9, sx=12)
    field = JointField(tensors_of(network, samples_of(scan)), scan.grid)
    xy = scan.grid.positions()[3:9]
    whole = field.patterns(xy)
    monkeypatch.setattr(joint_field, "SAMPLES", 7)
    monkeypatch.setattr(joint_field, "TABLE_PIXELS", 31)
    np.testing.assert_allclose(field.patterns(xy), whole, rtol=1e-4)
    np.testing.assert_allclose(field.patterns(xy[2:3]), whole[2:3], rtol=1e-4)


def test_pixels_outside_the_mask_are_those_of_the_mean_pattern(network, make_scan):
    scan = make_scan(sy=9, sx=12)
    mask = np.ones((9, 12), bool)
    mask[:, :3] = mask[4] = False
    sample = draw_sample(scan, 0)
    samples = JointSamples(scan, sample, mask, np.ones(mask.sum(), np.float32), 0)
    field = JointField(tensors_of(network, samples), scan.grid)
    (pattern,) = field.patterns([[1, 1]])
    np.testing.assert_array_equal(pattern[~mask], samples.mean[~mask])
    np.testing.assert_array_equal(pattern[mask], field.inside([[1, 1]])[0])


# ---------------------------------------------------------------- samples and schedule


def test_a_batch_holds_the_scans_own_intensities(make_scan):
    scan = make_scan()
    samples = samples_of(scan)
    batch = samples.batch(4, 300)
    patterns = scan.patterns.read(0, scan.grid.size).reshape(scan.grid.size, -1)
    columns = np.rint((batch.xy[:, 0] + 1) * 3).astype(int)
    rows = np.rint((batch.xy[:, 1] + 1) * 2).astype(int)
    counts = batch.target * samples.scale + samples.mean.ravel()[batch.pixel]
    np.testing.assert_allclose(counts, patterns[rows * 7 + columns, batch.pixel], atol=0.01)
    again = samples_of(scan).batch(4, 300)
    np.testing.assert_array_equal(again.target, batch.target)
    assert not np.array_equal(samples.batch(5, 300).target, batch.target)


@pytest.mark.parametrize(
    ("weight", "share"), [(1, 0.0), (0.5, 0.15), (2, 2 * 15 / 115), (5, 75 / 160), (9, 0.5)]
)
def test_the_share_of_samples_on_bands_follows_their_weight_within_15_and_50_percent(weight, share):
    weights = np.ones(100, np.float32)
    weights[40:55] = weight
    assert band_share(weights) == pytest.approx(share)


def test_samples_on_bands_have_their_share_of_a_batch(make_scan):
    band = np.arange(20, 40)
    samples = samples_of(make_scan(), band)
    found = np.isin(samples.batch(0, 4000).pixel, band).mean()
    assert found == pytest.approx(samples.share, abs=1e-3)


def test_a_scan_larger_than_a_sample_is_seen_through_several(make_scan, monkeypatch):
    monkeypatch.setattr(joint_samples, "REDRAW_STEPS", 2)
    samples = samples_of(make_scan(ny=11), sample_bytes=12 * 4 * 11 * 13)
    seen = [{tuple(row) for row in samples.batch(step, 400).xy.tolist()} for step in range(12)]
    assert max(len(points) for points in seen) == 12
    assert seen[0] == seen[1]
    assert seen[1] != seen[2]
    assert len(set.union(*seen)) > 30
    np.testing.assert_array_equal(samples.batch(3, 9).xy, samples.batch(3, 9).xy)


def test_the_course_is_the_papers_and_shorter_runs_go_through_all_of_it():
    paper = JointSchedule(steps=120_000)
    assert [paper.scale(step, 0) for step in (0, 10_000, 20_000, 90_000)] == [0.25, 0.625, 1, 1]
    rates = [paper.rate(step, 0) for step in (0, 39_999, 40_000, 80_000, 119_999)]
    np.testing.assert_allclose(rates, [1e-4, 1e-4, 5e-5, 2.5e-5, 2.5e-5])
    short, timed = JointSchedule(steps=1000), JointSchedule(time_s=10)
    for schedule, at in ((short, (200, 0)), (timed, (7, 2.0))):
        assert schedule.scale(*at) == 1
    assert short.scale(100, 99) == timed.scale(99, 1.0) == pytest.approx(0.625)
    assert short.rate(400, 0) == timed.rate(0, 4.0) == 5e-5


def test_small_scans_take_fewer_steps():
    assert auto_joint_steps(900_000 * 14_400, 32_768) == 100_000
    assert 20_000 < auto_joint_steps(1600 * 11_000, 32_768) < 100_000
    assert auto_joint_steps(5005, 5005) == 2000


# ---------------------------------------------------------------- training


def test_the_fit_learns_far_more_than_the_mean_pattern(make_scan):
    scan = make_scan(ny=5, nx=6, sy=11, sx=12)
    result = fit_joint(scan, FitOptions(width=24, steps=400, device="cpu"))
    patterns = scan.patterns.read(0, scan.grid.size).astype(np.float64)
    of_the_mean = np.abs(patterns - patterns.mean(axis=0)).mean()
    assert result.errors.mae_counts < 0.4 * of_the_mean
    decoded = result.field(scan.grid).patterns(scan.grid.positions())
    error = np.abs(decoded - patterns)[:, result.tensors.mask]
    assert error.mean() == pytest.approx(result.errors.mae_counts, rel=1e-4)
    assert result.errors.range_counts == (patterns.min(), patterns.max())
    point = error.mean(axis=1)
    assert result.errors.worst_index == int(point.argmax())
    assert result.errors.percentiles[50] == pytest.approx(np.percentile(point, 50), rel=1e-4)
    assert result.log["weights"] == "float16"


def test_weights_stay_float32_where_rounding_would_cost_too_much(make_scan):
    tight = FitOptions(width=16, steps=30, coding_loss_pct=1e-9, device="cpu")
    result = fit_joint(make_scan(), tight)
    loose = fit_joint(make_scan(), FitOptions(width=16, steps=30, coding_loss_pct=50, device="cpu"))
    kinds = [str(found.tensors.hidden_weight.dtype) for found in (result, loose)]
    assert kinds == [result.log["weights"], "float16"]
    assert result.errors.mae_counts <= loose.errors.mae_counts * (1 + 1e-6)


def test_the_same_seed_gives_the_same_field_and_another_seed_another(make_scan):
    a, b, c = (
        fit_joint(make_scan(), FitOptions(width=16, steps=8, device="cpu", seed=seed)).tensors
        for seed in (1, 1, 2)
    )
    for name, array in a.arrays().items():
        np.testing.assert_array_equal(array, b.arrays()[name])
    assert not np.array_equal(a.frequencies, c.frequencies)


def test_an_interrupted_training_goes_on_where_it_stopped(make_scan, tmp_path):
    scan = make_scan()
    config, schedule = JointConfig(width=12, features=9), JointSchedule(steps=12, batch=500)
    path = tmp_path / "run.npz"
    whole = train_joint(samples_of(scan), config, schedule, device="cpu")

    def interrupt(done: float, note: str) -> None:
        if done >= 5 / 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_joint(
            samples_of(scan), config, schedule, device="cpu", progress=interrupt, checkpoint=path
        )
    told: list[float] = []
    resumed = train_joint(
        samples_of(scan), config, schedule, device="cpu", checkpoint=path,
        progress=lambda done, note: told.append(done),
    )  # fmt: skip
    assert resumed.notes == ["resumed"]
    assert len(told) == 12 - 5
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(value, resumed.network.state_dict()[name], rtol=0, atol=0)
    other = train_joint(samples_of(scan), config, schedule, seed=9, device="cpu", checkpoint=path)
    assert other.notes == ["checkpoint of another scan or other options, ignored"]


def test_a_loss_that_is_no_number_is_an_error(make_scan, monkeypatch):
    monkeypatch.setattr(
        joint_training.JointNetwork,
        "forward",
        lambda self, xy, *a: self.output_bias * xy[:, 0] * np.nan,
    )
    with pytest.raises(FitError, match="expected a finite loss, found nan in step 1"):
        fit_joint(make_scan(), FitOptions(width=8, steps=3, device="cpu"))


def test_patterns_that_hold_no_numbers_are_refused(make_scan):
    values = make_scan(dtype="float32").patterns.read(0, 35)
    values[30, 2, 3] = np.nan
    with pytest.raises(FitError, match=r"pattern 30 .*found nan at pixel \(3, 2\)"):
        fit_joint(make_scan(patterns=values), FitOptions(width=8, steps=1, device="cpu"))


# ---------------------------------------------------------------- in the archive


def test_a_joint_layer_is_an_archives_neural_layer_like_any_other(fitted, run_cli, tmp_path):
    assert ebsdarchive.verify(fitted, data=True).all_faults == []
    assert ebsdarchive.validate(fitted) == []
    layer = ebsdarchive.info(fitted)["layers"]["neural"]
    assert layer["encoding"] == "joint-inr 1.0"
    archive = open_archive(fitted)
    field = read_field(str(fitted))
    xy = np.array([[0.5, 1.25], [6, 4]])
    expected = field.patterns(xy)
    found = ebsdarchive.query(fitted, points=xy, interpolation="field")
    np.testing.assert_array_equal(found, expected)
    decoded = archive.patterns("neural").read(0, 35)
    raw = archive.patterns("raw").read(0, 35).astype(np.float64)
    point = np.abs(decoded - raw).mean(axis=(1, 2))
    assert layer["mae_counts"] == pytest.approx(point.mean(), rel=1e-4)
    np.testing.assert_allclose(archive.map("neural_error").ravel(), point, rtol=1e-3)
    data = xarray.open_dataset(fitted, engine="ebsdarchive", layer="neural")["patterns"]
    np.testing.assert_allclose(data.values.reshape(35, 11, 13), decoded, rtol=1e-4)
    ebsdarchive.export(fitted, tmp_path / "f.up2", layer="neural")
    np.testing.assert_allclose(
        ebsdarchive.open_scan(tmp_path / "f.up2").patterns.read(0, 35), decoded, atol=1
    )
    assert ebsdarchive.query(fitted, along=[(0, 0), (6, 4)], samples=9).shape == (9, 11, 13)
    assert ebsdarchive.query(fitted, upsample=2).shape == (13 * 9, 11, 13)
    with pytest.raises(GeometryError):
        ebsdarchive.query(fitted, point=(6.5, 1))
    assert "joint-inr 1.0" in run_cli("info", fitted).out


def test_a_joint_layer_is_what_the_documents_say(fitted):
    xy = np.array([[0.5, 1.25], [6, 4], [3, 0]])
    with h5py.File(fitted) as file:
        largest = documents.positions(file["archive/scan/grid"]).max(axis=0)
        alone = documents.neural_patterns(file["archive/neural"], xy, largest)
        assert documents.digest(file["archive/neural"]) == file["archive/neural"].attrs["sha256"]
    expected = read_field(str(fitted)).patterns(xy)
    np.testing.assert_allclose(alone, expected, atol=1e-4 * np.ptp(expected))


def test_a_joint_layer_travels_by_extract_and_merge(fitted, copy, make_archive, tmp_path):
    small, whole = tmp_path / "small.h5", tmp_path / "whole.h5"
    ebsdarchive.extract(fitted, ["neural"], small)
    assert "raw" not in open_archive(small).layers
    shutil.copyfile(make_archive(), whole)
    assert "neural" in ebsdarchive.merge(whole, small)
    for path in (small, whole):
        assert ebsdarchive.verify(path, data=True).all_faults == []
        np.testing.assert_array_equal(
            open_archive(path).patterns("neural").read(2, 5),
            open_archive(fitted).patterns("neural").read(2, 5),
        )


def test_verify_finds_damage_in_a_joint_layer(copy):
    with h5py.File(copy) as file:
        info = file["archive/neural/hidden_weight"].id.get_chunk_info(0)
    content = bytearray(copy.read_bytes())
    content[info.byte_offset + info.size // 2] ^= 0x10
    copy.write_bytes(content)
    report = ebsdarchive.verify(copy)
    assert [name for name, faults in report.layers.items() if faults] == ["neural"]
    with pytest.raises(CorruptionError):
        read_field(str(copy))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bias", np.zeros((5, 15), np.float16), r"bias: expected shape \(5, 16\), found \(5, 15\)"),
        ("output_weight", np.full(16, np.inf, np.float16), "expected finite weights"),
        ("frequencies", np.full((256, 2), np.nan, np.float32), "expected finite pairs"),
        ("mask", np.arange(9, dtype=np.uint8), r"mask: expected \d+ deflated bits"),
    ],
)
def test_weights_that_do_not_fit_together_are_refused(copy, name, value, message):
    with h5py.File(copy, "r+") as file:
        del file["archive/neural"][name]
        file["archive/neural"][name] = value
    with pytest.raises(CorruptionError, match=message):
        read_field(str(copy))


def test_a_bound_of_the_error_holds_for_a_joint_layer_too(make_archive):
    path = make_archive(dtype="uint8")
    summary = ebsdarchive.fit(path, options=options(max_error_counts=2))
    assert (summary.rank, summary.width, summary.max_error_counts) == (None, 16, 2)
    archive = open_archive(path)
    raw = archive.patterns("raw").read(0, 35).astype(np.float64)
    assert np.abs(archive.patterns("neural").read(0, 35) - raw).max() <= 2
    assert ebsdarchive.verify(path, data=True).all_faults == []
    assert ebsdarchive.validate(path) == []


def test_a_bound_that_other_machines_might_not_keep_is_refused(network, make_scan):
    field = JointField(tensors_of(network, samples_of(make_scan())), Grid("square", 7, 5))
    require_steady(field, 1.0)
    with pytest.raises(FitError, match="max error: expected a joint field that all machines"):
        require_steady(field, 1e-7)


def test_a_tensor_layer_replaces_a_joint_one_and_back(copy):
    quick = {"rank": 3, "width": 8, "device": "cpu"}
    assert ebsdarchive.fit(copy, options=NeuralOptions(steps=40, **quick)).rank == 3
    assert ebsdarchive.info(copy)["layers"]["neural"]["encoding"] == "tf-inr 2.0"
    assert ebsdarchive.fit(copy, options=options(steps=2)).rank is None
    assert ebsdarchive.validate(copy) == []


def test_an_interrupted_fit_leaves_the_archive_as_it_was_and_is_taken_up(copy):
    before = copy.read_bytes()

    def interrupt(stage, done, total, note=""):
        if stage == "train" and done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ebsdarchive.fit(copy, options=options(seed=8), progress=interrupt)
    assert copy.read_bytes() == before
    assert len(list(copy.parent.glob(".*.npz"))) == 1
    summary = ebsdarchive.fit(copy, options=options(seed=8))
    assert summary.notes == ("resumed",)
    assert list(copy.parent.glob(".*.npz")) == []


def test_commands_take_the_method_and_its_steps(make_archive, run_cli):
    path = make_archive()
    code, out, err = run_cli(
        "fit", path, "--method", "joint", "--width", "12", "--steps", "5", "--device", "cpu"
    )
    assert code == 0, err
    assert "neural layer, joint, width 12, " in out
    assert "train ..." in err
    assert ebsdarchive.verify(path, data=True).sound


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rank", "4"], "rank: expected none with the joint method, found 4"),
        (["--target-mae", "1"], "target_mae_pct: expected none with the joint method"),
        (["--target-size", "1"], "target_size_mb: expected none with the joint method"),
        (["--target-deviation", "1"], "target deviation: expected none with the joint method"),
        (["--init-from", "x.h5"], "init from: expected none with the joint method"),
        (["--basis", "from:x.h5"], "basis: expected none with the joint method"),
        (["--seed", "-1"], "seed: expected 0 or more, found -1"),
        (["--steps", "5", "--time", "5"], "steps: expected steps or a time to train for"),
    ],
)
def test_what_makes_no_sense_with_the_joint_method_is_refused_in_one_line(
    archive_path, run_cli, arguments, message
):
    result = run_cli("fit", archive_path, "--method", "joint", *arguments)
    assert result.code == 2
    errors = [line for line in result.err.splitlines() if not line.endswith("...")]
    assert len(errors) == 1
    assert message in errors[0]


def test_a_tensor_fit_cannot_begin_with_a_joint_field(archive_path, fitted):
    with pytest.raises(ArgumentError, match="expected a neural layer of the tensor method"):
        ebsdarchive.fit(archive_path, options=NeuralOptions(init_from=str(fitted)))


def test_an_unknown_method_is_refused(archive_path):
    with pytest.raises(ArgumentError, match="expected tensor or joint, found 'hybrid'"):
        ebsdarchive.fit(archive_path, options=NeuralOptions(method="hybrid"))
