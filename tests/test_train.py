"""Training: samples are what they claim, runs are repeatable and can be resumed, models learn."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ebsdarchive.errors import ArgumentError, FitError
from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.conditions import Conditions
from ebsdarchive.restorers.restorer import OVERLAP, UNFAMILIAR, WEAK
from ebsdarchive.restorers.samples import ahead, augmented
from ebsdarchive.restorers.simulated_samples import SimulatedSamples
from ebsdarchive.scan import ArrayPatterns
from ebsdarchive.simulation import read_master_pattern, simulate_scan

SIZE = (32, 40)
TINY = {"widths": [8, 16], "blocks": [1, 1], "heads": 2}
PLAIN = {
    "shapes": (SIZE,),
    **dict.fromkeys(("overlap", "noise", "unfamiliar", "alone", "flattened", "disc"), 0.0),
}


@pytest.fixture(scope="module")
def nickel():
    return read_master_pattern()


@pytest.fixture
def source(nickel):
    """The function that makes a source of plain samples, with some conditions changed."""

    def make(seed=0, scans=1, **changed):
        conditions = Conditions(**{**PLAIN, "columns": 5, "radius": 2, **changed})
        return SimulatedSamples([nickel], conditions, scans=scans, seed=seed)

    return make


@pytest.fixture(scope="module")
def two_scans():
    """A noisy scan of 11 x 9 points, a scan of the same with another gain, and (99, sy, sx) the
    truth in the counts of the first."""
    scan = simulate_scan((9, 11), SIZE, grains=12, seed=4, clean=True, dtype="uint8")
    truth = scan.patterns.read(0, 99)
    rng = np.random.default_rng(0)
    counts = np.rint(truth + 3.5 * rng.standard_normal(truth.shape))
    noisy = np.clip(counts, 0, 255).astype(np.uint8)
    slow = (150 * truth + 2000 + 30 * rng.standard_normal(truth.shape)).astype(np.uint16)
    first, second = (replace(scan, patterns=ArrayPatterns(part)) for part in (noisy, slow))
    return first, second, truth


def pair_of(noisy, reference):
    from ebsdarchive.restorers import measured_samples

    return measured_samples.pair_of(noisy, reference, np.ones(SIZE, bool), "scan")


def turned_by(a, b):
    """(n,) angle between quaternions (n, 4) in degrees."""
    return np.rad2deg(2 * np.arccos(np.clip(np.abs((a * b).sum(axis=-1)), 0, 1)))


# ---------------------------------------------------------------- what samples are


def test_a_batch_follows_from_the_seed_and_its_number_alone(source):
    wide = {"overlap": 0.2, "noise": 0.3, "unfamiliar": 0.1, "alone": 0.3, "flattened": 0.5}
    one, other = source(seed=3, **wide), source(seed=3, **wide)
    later = one.batch(7)
    other.batch(1)
    with_ahead = ahead(other, 7)
    again = next(with_ahead)
    with_ahead.close()
    for name in ("noisy", "clean", "mean", "flags", "quaternions", "n_effective"):
        assert np.array_equal(getattr(later, name), getattr(again, name), equal_nan=True)
    assert not np.array_equal(later.noisy, one.batch(8).noisy)
    assert not np.array_equal(later.noisy, source(seed=4, **wide).batch(7).noisy)


def test_neighbours_of_a_grain_share_its_orientation_and_not_its_noise(source):
    some = source(grain_points=(1e6, 1e6), signal=(0.5, 0.5), spread_deg=0.8, hot_pixels=0)
    scan = some.small_scan(np.random.default_rng(2), SIZE)
    assert len(np.unique(scan.grain_id)) == 1
    assert turned_by(scan.quaternions, scan.quaternions[:1]).max() < 0.8
    noise = scan.patterns - scan.clean
    alike = np.corrcoef(noise.reshape(len(noise), -1))
    assert np.abs(alike - np.eye(len(noise))).max() < 0.15  # 5 deviations of 1280 pixels
    fine = source(grain_points=(1.0, 1.0)).small_scan(np.random.default_rng(2), SIZE)
    assert len(np.unique(fine.grain_id)) > 0.5 * len(fine.grain_id)


def test_noise_is_of_the_level_that_the_sample_claims(source):
    def measured(signal):
        some = source(
            grain_points=(1.0, 1.0), signal=(signal, signal), psf=(0.3, 0.3), hot_pixels=0,
            read_noise=(0.0, 0.0), eight_bit=0.0, specks=0, columns=9,
        )  # fmt: skip
        scan = some.small_scan(np.random.default_rng(5), SIZE)
        level = scan.clean.mean(axis=0)
        gain = scan.clean.mean(axis=(1, 2), keepdims=True) / level.mean()
        return (scan.clean - gain * level).std() / (scan.patterns - scan.clean).std(), some

    low, some = measured(0.25)
    assert 0.6 < low / 0.25 < 1.4
    assert 3.2 < measured(1.0)[0] / low < 4.8
    assert (some.batch(0).signal == np.float32(0.25)).all()


def test_means_are_of_like_neighbours_and_isolated_points_have_none(source):
    grain = source(grain_points=(1e6, 1e6), signal=(0.4, 0.4), scans=2).batch(0)
    assert (grain.n_effective > 5).all()
    error, before = (np.abs(part - grain.clean).mean() for part in (grain.mean, grain.noisy))
    assert error < 0.6 * before
    alone = source(alone=1.0).batch(0)
    assert (alone.n_effective == 1).all()
    assert np.array_equal(alone.mean, alone.noisy)


def test_flags_say_what_is_in_a_pattern(source):
    mixed = source(overlap=1.0, scans=2).batch(0)
    assert (mixed.flags == OVERLAP).all()
    assert ((mixed.share >= 0.5) & (mixed.share <= 0.8)).all()
    assert (turned_by(mixed.quaternions[:, 0], mixed.quaternions[:, 1]) > 1).mean() > 0.9
    strange = source(unfamiliar=1.0).batch(0)
    assert (strange.flags == UNFAMILIAR).all()
    assert np.isnan(strange.quaternions).all()
    empty = source(noise=1.0, scans=4, grain_points=(1.0, 1.0), specks=0).batch(0)
    weak = empty.flags == WEAK
    assert 0 < weak.sum() < len(weak)
    assert (empty.phase[weak] == -1).all()
    rough = np.abs(np.diff(empty.clean, 2, axis=2)).mean(axis=(1, 2)) / empty.clean.mean((1, 2))
    assert rough[weak].max() < 0.3 * np.median(rough[~weak & (empty.signal > 0.3)])


def test_augmented_samples_are_shifted_and_toned_but_never_mirrored(source):
    plain = source(signal=(3.0, 3.0), hot_pixels=0, specks=0).batch(1)
    for seed in range(4):
        changed = augmented(plain, np.random.default_rng(seed))
        assert np.isnan(changed.quaternions).all()
        best = {}
        for name, clean in {"same": plain.clean, "mirrored": plain.clean[:, :, ::-1]}.items():
            found = [
                np.corrcoef(_fine(clean[0], y, x), _fine(changed.clean[0], 0, 0))[0, 1]
                for y in range(-2, 3)
                for x in range(-2, 3)
            ]
            best[name] = max(found)
        assert best["same"] > 0.9 > best["mirrored"]


def _fine(pattern, down, right):
    """Differences between neighbouring pixels, of the middle of a pattern moved by some."""
    moved = np.roll(pattern, (down, right), (0, 1))[6:-6, 6:-6]
    return np.diff(moved, axis=1).ravel()


# ---------------------------------------------------------------- pairs


def test_a_tenth_of_the_points_is_trained_on_and_none_of_them_validates(two_scans):
    from ebsdarchive.restorers.measured_samples import MeasuredSamples

    noisy, reference, _ = two_scans
    found = MeasuredSamples([pair_of(noisy, reference)], share=0.1, size=6, augment=False, seed=2)
    (training,), (validation,) = found.training, found.validation
    assert len(training) == 10
    assert sorted([*training, *validation]) == list(range(99))
    allowed = {p.tobytes() for p in noisy.patterns.read(0, 99)[training].astype(np.float32)}
    for number in range(8):
        assert {p.tobytes() for p in found.batch(number).noisy} <= allowed
    assert not {p.tobytes() for p in found.held_out(50).noisy} & allowed
    others = MeasuredSamples([pair_of(noisy, reference)], share=0.1, seed=3).training[0]
    assert not np.array_equal(training, others)


def test_a_reference_of_another_exposure_comes_in_the_counts_of_the_noisy_scan(two_scans):
    noisy, reference, truth = two_scans
    clean = pair_of(noisy, reference).clean(np.arange(99))
    assert np.abs(clean - truth).mean() < 0.2 * np.abs(noisy.patterns.read(0, 99) - truth).mean()


def test_points_that_show_nothing_neither_teach_nor_validate(two_scans):
    from ebsdarchive.restorers.measured_samples import MeasuredSamples

    noisy, reference, _ = two_scans
    counts = noisy.patterns.read(0, 99).astype(np.float32)
    dead = np.arange(0, 99, 3)
    counts[dead] = 7
    counts[dead[::2]] = np.nan
    found = MeasuredSamples(
        [pair_of(replace(noisy, patterns=ArrayPatterns(counts)), reference)], share=0.4, size=30
    )
    assert 0 < len(found.training[0]) < 40
    assert not set(found.training[0]) & set(dead)
    for samples in (found.batch(0), found.held_out(50)):
        for part in (samples.noisy, samples.clean, samples.mean):
            assert np.isfinite(part).all()
            assert (part.std(axis=(1, 2)) > 1).all()


def test_scans_of_different_points_are_no_pair(two_scans):
    noisy, reference, _ = two_scans
    shuffled = reference.patterns.read(0, 99)[np.random.default_rng(0).permutation(99)]
    with pytest.raises(ArgumentError, match="no more alike at the same point"):
        pair_of(noisy, replace(reference, patterns=ArrayPatterns(shuffled)))
    turned = replace(reference, grid=Grid("square", 9, 11))
    with pytest.raises(ArgumentError, match="9 rows with 99 points and 11 with 99"):
        pair_of(noisy, turned)


# ---------------------------------------------------------------- the loop


def options(**changed):
    from ebsdarchive.restorers.train_options import TrainOptions

    return TrainOptions(**{"method": "kikuchi", "steps": 8, "config": TINY, **changed})


def weights_of(trained):
    return [parameter.detach().numpy() for parameter in trained.module.parameters()]


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(source, tmp_path):
    from ebsdarchive.restorers.training import train

    def stop(done, note):
        if note.startswith("step 5,"):
            raise KeyboardInterrupt

    state = tmp_path / ".m.training"
    whole = train(source(), options())
    with pytest.raises(KeyboardInterrupt):
        train(source(), options(), state=state, progress=stop)
    assert state.is_file()
    resumed = train(source(), options(), state=state)
    assert resumed.notes == ("resumed",)
    for one, other in zip(weights_of(whole), weights_of(resumed), strict=True):
        assert np.array_equal(one, other)
    assert resumed.held_out == whole.held_out


def test_a_state_of_other_options_or_none_at_all_is_not_gone_on_with(source, tmp_path):
    from ebsdarchive.restorers.training import train

    state = tmp_path / ".m.training"
    train(source(), options(steps=2), state=state)
    other = train(source(), options(steps=2, seed=1), state=state)
    assert other.steps == 2
    assert "other options" in other.notes[0]
    damaged = bytearray(state.read_bytes())
    state.write_bytes(damaged[: len(damaged) // 2])
    assert "unreadable" in train(source(), options(steps=2), state=state).notes[0]


def test_a_state_of_another_network_is_not_gone_on_with(source, tmp_path):
    from ebsdarchive.restorers.training import train
    from ebsdarchive.restorers.training_state import read_state, write_state

    state = tmp_path / ".m.training"
    train(source(), options(steps=2), state=state)
    digest = options(steps=2).digest(source(), None)
    run, tensors, _ = read_state(state, digest)
    name = next(name for name in tensors if name.startswith("network."))
    for changed in (
        {key: value for key, value in tensors.items() if key != name},
        {**tensors, name: torch.cat([tensors[name]] * 2)},
    ):
        write_state(state, digest, run, changed)
        found = train(source(), options(steps=2), state=state)
        assert found.notes == ("state of an earlier training does not fit the network, ignored",)
        assert found.steps == 2


@pytest.mark.parametrize("method", ["autoencoder", "ddpm", "mldm", "kikuchi"])
def test_mixed_precision_learns_as_full_precision_does_from_the_same_flattened_patterns(
    source, method
):
    from ebsdarchive.restorers.training import train

    config = {"kikuchi": TINY, "ddpm": {"base": 8}, "mldm": {"base": 8}}.get(method, {})
    full, mixed = (
        train(source(), options(method=method, config=config, steps=3, precision=precision))
        for precision in ("full", "mixed")
    )
    assert mixed.held_out == pytest.approx(full.held_out, rel=0.03)
    assert not np.array_equal(weights_of(full)[0], weights_of(mixed)[0])
    assert all(weights.dtype == np.float32 for weights in weights_of(mixed))


def test_a_training_that_diverges_is_stopped_and_says_so(source):
    from ebsdarchive.restorers.training import train

    with pytest.raises(FitError, match=r"smaller --learning-rate"):
        train(source(), options(steps=400, learning_rate=1e6, schedule="constant"))


# ---------------------------------------------------------------- the verb and its command


@pytest.fixture(scope="module")
def pair_files(tmp_path_factory, two_scans):
    from ebsdarchive.exchange.writers import write_patterns

    folder = tmp_path_factory.mktemp("pair")
    for name, scan in zip(("noisy", "slow"), two_scans[:2], strict=True):
        write_patterns(
            scan, folder / f"{name}.up2", positions=scan.grid.positions(),
            measured_dtype=scan.patterns.dtype.name, dtype=None, origin={}, force=False,
            formats=("up2",), progress=lambda done, total: None,
        )  # fmt: skip
    return folder / "noisy.up2", folder / "slow.up2"


def test_a_tiny_network_trained_for_seconds_beats_raw_on_points_that_it_never_saw(
    pair_files, run_cli, tmp_path
):
    noisy, slow = pair_files
    model = tmp_path / "m.safetensors"
    code, out, err = run_cli(
        "train", "kikuchi", "--pairs", noisy, slow, "--share", "0.3", "--steps", "40", "--batch",
        "8", "--learning-rate", "0.003", "--config", "widths=[8,16]", "--config", "blocks=[1,1]",
        "--config", "heads=2", "--licence", "CC0-1.0", "-o", model, "--json",
    )  # fmt: skip
    assert code == 0, err
    assert "held out" in err
    made = json.loads(out)
    found = made["measured"]["held_out_points"]["correlation_with_reference"]
    assert found["restored"] > found["raw"] + 0.1
    assert not list(tmp_path.glob(".*"))
    from ebsdarchive.restorers.checkpoint import describe_checkpoint

    said = describe_checkpoint(model)
    assert said.sha256 == made["sha256"]
    assert said.card["licence"] == "CC0-1.0"
    assert said.card["training_data"]["points_trained_on"] == 30
    assert said.card["sizes"] == [[32, 40]]
    assert said.card["training"]["steps"] == 40
    code, _, err = run_cli("train", "kikuchi", "--pairs", noisy, noisy, "-o", tmp_path / "n")
    assert (code, "expected two scans" in err) == (2, True)
    code, _, err = run_cli(
        "train", "ddpm", "--pairs", noisy, slow, "--init-from", model, "-o", tmp_path / "n"
    )
    assert (code, "expected a model of ddpm, found one of kikuchi" in err) == (2, True)
    more = tmp_path / "more.safetensors"
    code, _, err = run_cli(
        "train", "kikuchi", "--pairs", noisy, slow, "--steps", "1", "--init-from", model, "-o", more
    )
    assert code == 0, err
    assert describe_checkpoint(more).card["training"]["began_with"] == made["sha256"]


def test_an_archive_alone_teaches_with_its_neural_layer(fitted_archive, run_cli, tmp_path):
    code, _, err = run_cli(
        "train", "autoencoder-smooth", "--archive", fitted_archive, "--share", "0.5", "--steps",
        "2", "--batch", "4", "-o", tmp_path / "m.safetensors",
    )  # fmt: skip
    assert code == 0, err


class Repeated:
    """The same samples in every batch."""

    def __init__(self, samples):
        self.samples = samples

    def batch(self, number):
        return self.samples

    def held_out(self, count):
        return self.samples

    def described(self):
        return {"source": "one batch"}


def test_limits_of_flags_find_nearly_all_noise_and_little_else(source, monkeypatch):
    from ebsdarchive.restorers import calibration, kikuchi_network

    rng = np.random.default_rng(0)
    flags = np.repeat(np.array([0, WEAK, OVERLAP, UNFAMILIAR], np.uint8), 1000)
    likely = np.stack([flags == flag for flag in (WEAK, OVERLAP, UNFAMILIAR)], axis=1)
    probabilities = 1 / (1 + np.exp(-3 * (2 * likely - 1) - rng.normal(size=likely.shape)))
    ones = np.ones(len(flags))
    answers = calibration._Answers(probabilities, flags, ones, ones, 1.7 * ones)
    monkeypatch.setattr(calibration, "_answers", lambda *_: answers)
    torch.manual_seed(0)
    model = kikuchi_network.checkpoint_of(kikuchi_network.build(TINY), {})
    found, shares = calibration.calibrated(model, source())
    assert 0.99 < shares["pure_noise"] <= 1
    assert shares["sound_estimates"] < 0.04
    assert shares["overlapping"] > 0.9
    assert shares["no_kikuchi_pattern"] > 0.9
    assert kikuchi_network.load(found).config.uncertainty_factor == 1.7


def test_errors_are_measured_on_samples_of_every_kind(source, monkeypatch):
    from ebsdarchive.restorers import calibration, kikuchi_network

    monkeypatch.setattr(calibration, "SCANS", 6)
    torch.manual_seed(0)
    model = kikuchi_network.checkpoint_of(kikuchi_network.build(TINY), {})
    answers = calibration._answers(model, source(columns=8))
    assert set(answers.flags) >= {0, WEAK, OVERLAP}
    assert (answers.error[answers.flags == 0] > 0).all()
    bands, none = (answers.correlation[answers.flags == flag].mean() for flag in (0, WEAK))
    assert bands > none + 0.2


def test_an_indexing_network_learns_orientations(source):
    from ebsdarchive.restorers import orientation_network
    from ebsdarchive.restorers.training import train

    one = Repeated(source(columns=1, radius=0, scans=12, signal=(3.0, 3.0)).batch(0))
    config = {"size": 32, "widths": [16, 32]}
    asked = options(method="orientation", steps=120, config=config, learning_rate=3e-3, average=0.9)
    module = train(one, asked).module
    patterns, mask = (torch.from_numpy(part) for part in (one.samples.noisy, one.samples.mask))
    found = orientation_network.predict(module, patterns, mask)
    truth = torch.from_numpy(one.samples.quaternions[:, 0]).float()
    angle = orientation_network.disorientation(found, truth, module.symmetries)
    assert np.rad2deg(angle.numpy()).mean() < 15  # by chance 40.7, Mackenzie 1958


def test_the_card_of_an_indexing_model_tells_its_disorientation_by_noise(run_cli, tmp_path):
    code, out, err = run_cli(
        "train", "orientation", "--simulate", "Ni", "--pc", "0.5,0.3,0.6", "--size", "32x40",
        "--steps", "2", "--batch", "4", "--config", "size=24", "--config", "widths=[8]",
        "-o", tmp_path / "m.safetensors", "--json",
    )  # fmt: skip
    assert code == 0, err
    levels = json.loads(out)["measured"]["orientations"]
    assert [level["signal_to_noise_per_pixel"] for level in levels] == [0.2, 0.4, 1.0]
    assert all(20 < level["mean_disorientation_deg"] < 63 for level in levels)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["kikuchi"], "expected one of pairs, simulate and archive to learn from, found none"),
        (["kikuchi", "--simulate", "Ni", "--archive", "a.h5"], "found simulate and archive"),
        (["ddim", "--simulate", "Ni"], "ddim"),
        (["orientation", "--simulate", "Ni"], "expected a projection centre with --pc"),
        (["kikuchi", "--simulate", "none.h5"], "none.h5: expected a master pattern file"),
        (["kikuchi", "--simulate", "Ni", "--size", "8"], "expected at least 16 pixels a side"),
        (["kikuchi", "--simulate", "Ni", "--size", "big"], "expected sizes such as 60,120"),
        (["kikuchi", "--simulate", "Ni", "--config", "x=1"], "expected a configuration of"),
        (["autoencoder", "--simulate", "Ni", "--config", 'kind="smooth"'],
         "expected kind 'seed', as autoencoder has it, found 'smooth'"),
        (["orientation", "--simulate", "Ni", "--pc", "0.5,0.3,0.6", "--config",
          'point_group="6/mmm"'], "expected point_group 'm-3m', which the phase has"),
        (["kikuchi", "--simulate", "Ni", "--time", "1", "--steps", "1"], "found both"),
        (["kikuchi", "--simulate", "Ni", "--without", "Cu"], "out of ni, found 'Cu'"),
        (["kikuchi", "--pairs", "a.up2", "b.up2"], "a.up2"),
        (["kikuchi", "--archive", "none.h5"], "none.h5"),
        (["kikuchi", "--simulate", "Ni", "--init-from", "no.safetensors"], "no.safetensors"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_said_in_one_line(
    arguments, said, run_cli, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli("train", *arguments, "-o", "m.safetensors")
    assert code != 0
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert said in last
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_model_is_not_replaced_unasked_and_raw_archives_cannot_teach(
    archive_path, run_cli, tmp_path
):
    target = tmp_path / "m.safetensors"
    target.write_bytes(b"precious")
    code, _, err = run_cli("train", "kikuchi", "--simulate", "Ni", "-o", target)
    assert code == 9
    assert "use --force" in err
    assert target.read_bytes() == b"precious"
    code, _, err = run_cli("train", "kikuchi", "--archive", archive_path, "-o", tmp_path / "n")
    assert code == 7
    assert "expected a neural layer to learn from, found raw" in err
