"""The view `/entry` follows NXem as far as anything is known, and says nothing that is not."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive.scan import SourceFile

METADATA = {
    "title": "Nickel",
    "dates": {"measurement_start": "2026-03-02T14:05:00+01:00"},
    "people": [{"name": "Carberry, Josiah", "orcid": "0000-0002-1825-0097", "role": "Creator"}],
    "sample": {
        "name": "Ni-7",
        "atom_types": ["Ni", "Cr"],
        "preparation_date": "2026-02-27T09:00:00+01:00",
        "is_simulation": False,
        "physical_form": "bulk",
    },
    "instrument": {
        "location": "Lab 1",
        "microscope": {"vendor": "Zeiss", "model": "Supra 55"},
        "detector": {"vendor": "EDAX", "model": "Velocity"},
    },
    "related": [{"identifier": "10.1234/x", "type": "DOI", "relation": "IsDescribedBy"}],
}
DOCUMENT = Path(__file__).parents[1] / "docs" / "publishing.md"


def text(entry: h5py.Group, path: str) -> str:
    return entry[path][()].decode("utf-8")


@pytest.fixture(scope="module")
def vendor_archive(bundled_scan, tmp_path_factory) -> Path:
    """An archive of a vendor's file with phase and orientations, and metadata."""
    path = tmp_path_factory.mktemp("nexus") / "a.h5"
    ebsdarchive.compress(bundled_scan, path, neural=False, profile="compat", metadata=METADATA)
    return path


def test_the_entry_says_what_source_and_metadata_say(vendor_archive, bundled_scan):
    with h5py.File(vendor_archive) as file:
        entry = file["entry"]
        assert text(entry, "definition") == "NXem"
        assert text(entry, "start_time") == METADATA["dates"]["measurement_start"]
        assert text(entry, "sample1/atom_types") == "Ni, Cr"
        assert entry["sample1/is_simulation"][()] == np.False_
        assert text(entry, "user1/identifier_orcid") == "0000-0002-1825-0097"
        assert text(entry, "cite1/doi") == "10.1234/x"
        note = file["archive/source"].attrs
        for place in ("note1", "roi1/ebsd/measurement/source"):
            assert text(entry, f"{place}/file_name") == bundled_scan.name
            assert text(entry, f"{place}/checksum") == note["file_sha256"]
        instrument = entry["measurement/instrument"]
        assert text(instrument, "fabrication/vendor") == "Zeiss"
        assert text(instrument, "detector1/name") == "EDAX Velocity"
        event = entry[text(entry, "roi1/ebsd/measurement/depends_on")]
        voltage = event["instrument/ebeam_column/electron_source/voltage"]
        assert (voltage[()], voltage.attrs["units"]) == (20.0, "kV")
        assert event["instrument/stage1/tilt1"][()] == 70.0
        indexing = entry["roi1/ebsd/indexing"]
        assert indexing["number_of_scan_points"][()] == 480
        assert indexing["phase1/unit_cell/a"][()] == pytest.approx(3.52)
        classes: list[str] = []
        entry.visititems(
            lambda name, item: (
                classes.append(name)
                if isinstance(item, h5py.Group) and "NX_class" not in item.attrs
                else None
            )
        )
        assert classes == []
    assert ebsdarchive.verify(vendor_archive, data=True).sound


def test_the_words_for_the_projection_centre_are_those_of_brukers_convention(vendor_archive):
    """Left of centre is a small PCx, above it a small PCy."""
    with h5py.File(vendor_archive) as file:
        words = {
            key: item[()].decode() for key, item in file["entry/roi1/ebsd/pattern_center"].items()
        }
    assert words == {
        "x_boundary_convention": "left",
        "x_normalization_direction": "east",
        "y_boundary_convention": "top",
        "y_normalization_direction": "south",
    }


def test_the_words_for_rotations_are_true_of_orix():
    from orix.quaternion import Rotation

    turned = Rotation.from_euler(np.deg2rad([90, 0, 0])).data[0]
    assert turned[3] == pytest.approx(-np.sqrt(0.5))  # passive, with P = +1 (Rowenhorst 2015)
    product = Rotation([0, 1, 0, 0]) * Rotation([0, 0, 1, 0])
    np.testing.assert_allclose(product.data[0], [0, 0, 0, 1], atol=1e-12)  # Hamilton's ij = k


def test_the_entry_says_nothing_that_nobody_said(make_archive):
    path = make_archive(described=False, pc=None, step_um=(None, None))
    with h5py.File(path) as file:
        entry = file["entry"]
        assert set(entry) == {"definition", "title", "profiling", "measurement", "mean_intensity"}
        assert set(entry["measurement"]) == {"instrument"}
        assert dict(entry["measurement/instrument"].items()).keys() == {"ebeam_column"}


def test_a_simulated_scan_is_said_to_be_one_and_has_no_electron_column(make_scan, make_archive):
    simulated = SourceFile(None, "simulated", "ebsdarchive.simulation")
    path = make_archive(dataclasses.replace(make_scan(), source=simulated))
    with h5py.File(path) as file:
        assert file["entry/sample1/is_simulation"][()] == np.True_
        assert "ebeam_column" not in file["entry/measurement"].get("instrument", {})
        assert "measurement" not in file["entry/roi1/ebsd"]


def test_annotate_brings_the_entry_up_to_date(archive_path):
    ebsdarchive.annotate(archive_path, metadata=METADATA)
    with h5py.File(archive_path) as file:
        assert text(file["entry"], "title") == "Nickel"
        assert text(file["entry"], "sample1/name") == "Ni-7"
    ebsdarchive.annotate(archive_path, remove=["sample", "title"])
    with h5py.File(archive_path) as file:
        assert "sample1" not in file["entry"]
        assert text(file["entry"], "title") == "EBSD scan"
    assert ebsdarchive.verify(archive_path).sound


# ---------------------------------------------------------------- the validator


@pytest.fixture
def findings(caplog):
    """The warnings of pynxtools' validator about an archive."""
    pytest.importorskip("pynxtools", reason="the extra `nexus` (pynxtools) is not installed")
    from pynxtools.dataconverter.validate_file import validate

    def found(path: Path) -> set[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="pynxtools"):
            validate(str(path))
        lines = [record.getMessage() for record in caplog.records if "pint" not in record.name]
        assert lines
        return {line.removeprefix("WARNING: ") for line in lines if "Invalid: " not in line}

    return found


def listed(heading: str) -> set[str]:
    """Places that the document lists below a heading."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"### {heading}\n")[1].split("\n#")[0]
    return set(re.findall(r"^\| `(/entry\S*)`", section, re.M))


def places(lines: set[str]) -> set[str]:
    return {re.search(r"/entry\S*", line).group() for line in lines}


def test_the_validator_finds_what_the_document_says(
    findings, vendor_archive, tmp_path, bundled_scan
):
    assert places(findings(vendor_archive)) == listed("With metadata")
    bare = tmp_path / "bare.h5"
    ebsdarchive.compress(bundled_scan, bare, neural=False, profile="compat")
    assert places(findings(bare)) == listed("Without metadata")
