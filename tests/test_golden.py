"""Archives of every released format version open, and decode to what they always did."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import reader_from_documents as documents

import ebsdarchive
from ebsdarchive.archive.orientation_maps import read_orientation_map
from ebsdarchive.neural.storage import read_field
from ebsdarchive.restorers.stored_models import read_stored
from ebsdarchive.schema import known_versions

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("format-*/*.h5"))


@pytest.fixture(params=FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A golden archive, upgraded to the current version where it is older."""
    path: Path = request.param
    version = path.parent.name.removeprefix("format-")
    if version == known_versions()[-1]:
        return path
    upgraded = tmp_path / path.name
    ebsdarchive.upgrade(path, upgraded)
    return upgraded


@pytest.fixture
def expected(request: pytest.FixtureRequest, golden: Path) -> dict[str, np.ndarray]:
    """What was written beside the archive when it was made."""
    path: Path = request.node.callspec.params["golden"]
    with np.load(path.with_suffix(".npz")) as arrays:
        return dict(arrays)


def test_there_is_a_golden_archive_of_every_version() -> None:
    assert {path.parent.name for path in FILES} == {f"format-{v}" for v in known_versions()}
    for path in FILES:
        assert path.stat().st_size < 200_000


def test_golden_archives_are_sound(golden: Path) -> None:
    assert ebsdarchive.verify(golden, data=True).all_faults == []
    assert ebsdarchive.validate(golden) == []


def test_golden_patterns_come_back_bit_for_bit(golden: Path, expected: dict) -> None:
    archive = ebsdarchive.open_archive(golden)
    raw = archive.patterns("raw").read(0, archive.grid.size)
    assert raw.dtype == expected["raw"].dtype
    np.testing.assert_array_equal(raw, expected["raw"])
    for name in (name for name in archive.layers if name.startswith("restored/")):
        found = archive.patterns(name).read(0, archive.grid.size)
        np.testing.assert_array_equal(found, expected[name])
        if f"{name} uncertainty" in expected:
            stack = archive.uncertainty(name).read(0, archive.grid.size)
            np.testing.assert_array_equal(stack, expected[f"{name} uncertainty"])


def test_golden_models_are_those_that_restored_layers_name(golden: Path) -> None:
    for model in ebsdarchive.models(golden):
        assert (model.name, model.used_by) == ("tiny", ("restored/half",))
        if model.sha256:
            with ebsdarchive.open_archive(golden).group() as group:
                assert read_stored(group, model.name).sha256 == model.sha256


def test_golden_layers_have_the_digests_that_they_had(golden: Path, expected: dict) -> None:
    archive = ebsdarchive.open_archive(golden)
    listed = {key.removeprefix("sha256 ") for key in expected if key.startswith("sha256 ")}
    assert set(archive.layers) == listed
    for name in archive.layers:
        assert archive.attributes(name)["sha256"] == str(expected[f"sha256 {name}"])


def test_golden_maps_models_positions_and_orientations_come_back(
    golden: Path, expected: dict
) -> None:
    archive = ebsdarchive.open_archive(golden)
    np.testing.assert_array_equal(archive.grid.positions(), expected["positions"])
    orientations = archive.scan().orientations
    if "phase_id" in expected:
        np.testing.assert_array_equal(orientations.phase_id, expected["phase_id"])
        np.testing.assert_array_equal(orientations.quaternions, expected["quaternions"])
    for key, values in expected.items():
        name, _, part = key.removeprefix("maps/").partition(" ")
        if key.startswith("maps/") and part:
            with archive.group() as group:
                hough = read_orientation_map(group, name).orientations
            arrays = {"quaternions": hough.quaternions, "phase_id": hough.phase_id}
            np.testing.assert_array_equal((arrays | hough.properties)[part], values)
        elif key.startswith("maps/"):
            np.testing.assert_array_equal(archive.map(name), values)
        if key.startswith("models/"):
            name, tensor = key.split(" ")
            with h5py.File(golden) as file:
                found = file["archive"][name]["tensors"][tensor][()]
            np.testing.assert_array_equal(found, values)


def test_a_golden_neural_field_gives_the_patterns_that_it_gave(
    golden: Path, expected: dict
) -> None:
    if "neural" not in expected:
        pytest.skip("this golden archive has no neural layer")
    xy = expected["neural positions"]
    tolerance = 1e-4 * np.ptp(expected["neural"])
    found = read_field(str(golden)).patterns(xy)
    np.testing.assert_allclose(found, expected["neural"], atol=tolerance)
    with h5py.File(golden) as file:
        largest = documents.positions(file["archive/scan/grid"]).max(axis=0)
        alone = documents.neural_patterns(file["archive/neural"], xy, largest)
    np.testing.assert_allclose(alone, expected["neural"], atol=tolerance)


def test_golden_archives_are_what_the_documents_say(golden: Path, expected: dict) -> None:
    with h5py.File(golden) as file:
        raw = documents.raw_patterns(file["archive/raw"])
        np.testing.assert_array_equal(raw, expected["raw"])
        assert documents.digest(file["archive/raw"], ("patterns",)) == str(expected["sha256 raw"])
        grid = documents.positions(file["archive/scan/grid"])
        np.testing.assert_array_equal(grid, expected["positions"])
