"""What a user may ask of a fit besides a rank: a bound, a deviation, a field to begin with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive.archive.file import open_archive
from ebsdarchive.errors import (
    ArgumentError,
    FitError,
    FormatError,
    GeometryError,
    MissingLayerError,
)
from ebsdarchive.neural.field import Field, FieldTensors
from ebsdarchive.neural.residual import OFFSET, ResidualCodes, residual_step
from ebsdarchive.neural.storage import read_field
from ebsdarchive.scan import ArrayPatterns
from ebsdarchive.simulation import simulate_scan
from ebsdarchive.verbs import deviating
from ebsdarchive.verbs.borrowing import dictionary_of
from ebsdarchive.verbs.fitting import NeuralOptions

QUICK = {"rank": 3, "width": 16, "time_s": 0.5, "device": "cpu"}


def options(**changed):
    return NeuralOptions(**{**QUICK, **changed})


# ---------------------------------------------------------------- a bound of the error


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_bound_of_0_makes_the_layer_bit_exact(make_archive, dtype):
    path = make_archive(dtype=dtype)
    summary = ebsdarchive.fit(path, options=options(max_error_counts=0))
    assert summary.max_error_counts == 0
    archive = open_archive(path)
    raw, neural = archive.patterns("raw"), archive.patterns("neural")
    assert neural.dtype == raw.dtype
    np.testing.assert_array_equal(neural.read(0, 35), raw.read(0, 35))
    np.testing.assert_array_equal(neural.read(4, 9), raw.read(4, 9))
    assert ebsdarchive.verify(path, data=True).all_faults == []
    assert ebsdarchive.validate(path) == []


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_no_pixel_errs_more_than_the_bound(make_archive, dtype):
    path, bound = make_archive(dtype=dtype), 1.5
    ebsdarchive.fit(path, options=options(max_error_counts=bound))
    archive = open_archive(path)
    raw = archive.patterns("raw").read(0, 35).astype(np.float64)
    error = np.abs(archive.patterns("neural").read(0, 35) - raw)
    assert error.max() <= bound
    assert error.max() > 0.5 * bound
    assert ebsdarchive.info(path)["layers"]["neural"]["max_error_counts"] == bound


def test_a_residual_survives_extract_and_is_checked_by_verify(make_archive, tmp_path: Path):
    path = make_archive()
    ebsdarchive.fit(path, options=options(max_error_counts=0))
    raw = open_archive(path).patterns("raw").read(0, 35)
    ebsdarchive.extract(path, ["neural"], tmp_path / "small.h5")
    small = open_archive(tmp_path / "small.h5")
    np.testing.assert_array_equal(small.patterns("neural").read(0, 35), raw)
    with h5py.File(path) as file:
        codes = file["archive/neural/residual/codes/patterns"]
        info = codes.id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[info.byte_offset + info.size // 2] ^= 0x10
    path.write_bytes(content)
    report = ebsdarchive.verify(path, data=True)
    assert [name for name, faults in report.layers.items() if faults] == ["neural"]


def test_a_bound_of_0_is_refused_for_floating_point_patterns(make_archive):
    with pytest.raises(FitError, match="more than 0 for float32"):
        ebsdarchive.fit(make_archive(dtype="float32"), options=options(max_error_counts=0))


@pytest.mark.parametrize("bound", [-1.0, float("nan"), float("inf")])
def test_a_bound_that_makes_no_sense_is_refused(make_archive, bound):
    with pytest.raises(ArgumentError, match="0 or more counts"):
        ebsdarchive.fit(make_archive(), options=options(max_error_counts=bound))


def test_patterns_too_far_from_the_field_for_a_code_are_refused(make_scan):
    scan = make_scan()
    mean = np.zeros(scan.patterns.shape[1:], np.float32)
    tensors = FieldTensors(
        [], [], 30.0, 30.0, np.zeros((0, mean.size), np.float32), mean, mean == 0
    )
    far = ArrayPatterns(np.full(scan.patterns.shape, 60_000, np.uint16))
    codes = ResidualCodes(far, Field(tensors, scan.grid), residual_step(0, far.dtype))
    with pytest.raises(FitError, match="within 29491 of the field, found 60000"):
        codes.read(0, 1)
    near = ResidualCodes(scan.patterns, Field(tensors, scan.grid), 1.0).read(0, 2)
    np.testing.assert_array_equal(near - OFFSET, scan.patterns.read(0, 2))


# ---------------------------------------------------------------- another field


def test_a_fit_that_begins_with_another_field_has_its_layers_and_is_soon_as_good(make_archive):
    first, second = make_archive(), make_archive(seed=1)  # the same signal, other noise
    ebsdarchive.fit(first, options=options(width=24, time_s=4.0))
    cold = ebsdarchive.fit(second, options=options(width=24, time_s=0.05))
    warm = ebsdarchive.fit(second, options=options(init_from=str(first), time_s=0.05))
    assert warm.mae_counts < cold.mae_counts
    assert len(read_field(str(second)).tensors.biases[0]) == 24


def test_a_borrowed_basis_serves_a_scan_of_the_same_kind(make_archive):
    first, second = make_archive(), make_archive(seed=1)
    ebsdarchive.fit(first, options=options(time_s=2.0))
    own = ebsdarchive.fit(second, options=options(time_s=2.0))
    borrowed = ebsdarchive.fit(second, options=options(time_s=2.0, basis=f"from:{first}"))
    assert borrowed.rank <= 3
    assert borrowed.mae_counts < 1.2 * own.mae_counts


def test_a_basis_of_other_patterns_is_refused(make_archive):
    other = make_archive(sy=9, sx=8)
    ebsdarchive.fit(other, options=options())
    with pytest.raises(FitError, match=r"basis patterns of \(11, 13\) pixels, found \(9, 8\)"):
        ebsdarchive.fit(make_archive(), options=options(basis=f"from:{other}"))


def test_patterns_of_a_master_pattern_span_those_of_its_crystal(tmp_path):
    scan = simulate_scan((6, 9), (20, 24), grains=4, seed=3)
    path = tmp_path / "ni.h5"
    ebsdarchive.compress(scan, path, profile="none", neural=False)
    own = ebsdarchive.fit(path, options=options(rank=16))
    simulated = ebsdarchive.fit(path, options=options(rank=16, basis="master:Ni"))
    assert simulated.mae_counts < 1.2 * own.mae_counts
    assert simulated.mae_counts != own.mae_counts


@pytest.mark.parametrize(
    ("basis", "error", "told"),
    [
        ("other.h5", ArgumentError, r"from:ARCHIVE or master:FILE\[,PHASE\], found 'other.h5'"),
        ("from:", ArgumentError, "expected from:ARCHIVE"),
        ("master:nowhere.h5", FormatError, "nowhere.h5: expected a master pattern file"),
    ],
)
def test_a_basis_that_cannot_be_had_is_named(make_archive, basis, error, told):
    with pytest.raises(error, match=told):
        ebsdarchive.fit(make_archive(), options=options(basis=basis))


def test_patterns_are_simulated_only_where_the_detector_is_known(make_scan):
    scan = make_scan()
    scan = replace(scan, detector=replace(scan.detector, sample_tilt_deg=None))
    with pytest.raises(GeometryError, match="expected a known projection centre and sample tilt"):
        dictionary_of("master:Ni", scan, seed=0)


def test_an_archive_without_a_field_cannot_be_begun_with(make_archive):
    with pytest.raises(MissingLayerError, match="expected a neural layer to take from"):
        ebsdarchive.fit(make_archive(), options=options(init_from=str(make_archive())))


# ---------------------------------------------------------------- a target deviation


@dataclass
class _Found:
    quaternions: np.ndarray
    point_group: str = "m-3m"


@pytest.fixture
def indexer(monkeypatch):
    """Stands for Hough indexing: turns with the patterns' distance from the measured ones."""
    reference = []

    def hough_index(patterns, scan, *, static_background=None):
        if not reference:
            reference.append(patterns.astype(float))
        angle = np.deg2rad(0.5 * np.abs(patterns - reference[0]).mean(axis=(1, 2)))
        zero = np.zeros_like(angle)
        return _Found(np.stack([np.cos(angle / 2), np.sin(angle / 2), zero, zero], axis=1))

    monkeypatch.setattr("ebsdarchive.analysis.indexing.hough_index", hough_index)


def test_a_target_deviation_takes_the_coarsest_coding_that_meets_it(make_archive, indexer):
    path = make_archive(ny=9, nx=10)
    loose = ebsdarchive.fit(path, options=options(time_s=1.0, target_deviation_deg=60.0))
    assert deviating.LOSSES_PCT[0] == max(deviating.LOSSES_PCT)
    assert '"target_met": true' in open_archive(path).attributes("neural")["config"]
    tight = ebsdarchive.fit(path, options=options(time_s=1.0, target_deviation_deg=20.0))
    assert tight.mae_counts < loose.mae_counts
    assert tight.stored > loose.stored
    missed = ebsdarchive.fit(path, options=options(time_s=1.0, target_deviation_deg=1e-6))
    assert any("target of 1e-06 not met" in note for note in missed.notes)


def test_two_targets_at_once_are_refused(make_archive):
    both = options(target_deviation_deg=1.0, target_mae_pct=1.0)
    with pytest.raises(ArgumentError, match="expected one target"):
        ebsdarchive.fit(make_archive(), options=both)
