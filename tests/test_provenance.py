"""Every command that writes leaves one W3C PROV activity: true to what it did, nothing private."""

from __future__ import annotations

import getpass
import hashlib
import json
import platform
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import pytest
from prov.model import ProvActivity, ProvAgent, ProvDocument, ProvEntity

import ebsdarchive
from ebsdarchive.archive.provenance import Activity, activities, record
from ebsdarchive.verbs.fitting import NeuralOptions

TINY = NeuralOptions(rank=3, width=8, time_s=0.3, device="cpu", seed=11)


def details(document: dict[str, Any]) -> dict[str, Any]:
    """What a PROV-JSON document says of its only activity."""
    [said] = document["activity"].values()
    return said


def digests(document: dict[str, Any], relation: str) -> dict[str, str]:
    """{name: sha256} of what an activity used or generated."""
    found = {}
    for edge in document.get(relation, {}).values():
        entity = document["entity"][edge["prov:entity"]]
        found[edge["prov:role"]] = entity["ea:sha256"]
    return found


def commands(path: Path) -> list[str]:
    return [details(doc)["prov:label"] for doc in ebsdarchive.open_archive(path).provenance()]


def test_every_command_that_writes_leaves_one_activity(make_scan: Callable, tmp_path: Path) -> None:
    archive, small = tmp_path / "a.h5", tmp_path / "small.h5"
    ebsdarchive.compress(make_scan(), archive, neural=False)
    assert commands(archive) == ["compress"]
    ebsdarchive.fit(archive, options=TINY)
    assert commands(archive) == ["compress", "fit"]
    ebsdarchive.extract(archive, ["neural"], small)
    assert commands(small) == ["compress", "fit", "extract"]
    raw = tmp_path / "raw.h5"
    ebsdarchive.extract(archive, ["raw"], raw)
    ebsdarchive.merge(raw, small)
    # what the other file went through comes along, each activity once, in the order of time
    assert commands(raw) == ["compress", "fit", "extract", "extract", "merge"]


def test_compress_with_a_neural_layer_is_one_activity(make_scan: Callable, tmp_path: Path) -> None:
    ebsdarchive.compress(make_scan(), tmp_path / "a.h5", options=TINY)
    [document] = ebsdarchive.open_archive(tmp_path / "a.h5").provenance()
    assert details(document)["prov:label"] == "compress"
    assert set(digests(document, "wasGeneratedBy")) == {"raw", "neural"}


def test_activities_are_read_by_prov(full_archive: Path, tmp_path: Path) -> None:
    for document in ebsdarchive.open_archive(full_archive).provenance():
        read = ProvDocument.deserialize(content=json.dumps(document), format="json")
        [activity] = read.get_records(ProvActivity)
        [agent] = read.get_records(ProvAgent)
        assert str(activity.label) == "compress"
        assert activity.get_startTime() <= activity.get_endTime()
        assert agent.identifier.localpart == f"ebsdarchive-{ebsdarchive.__version__}"
        assert len(list(read.get_records(ProvEntity))) == len(document["entity"])
        assert len(read.get_records()) == sum(
            len(table) for name, table in document.items() if name != "prefix"
        )


def test_digests_are_those_of_the_files_and_layers(bundled_scan: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    ebsdarchive.compress(bundled_scan, path, profile="fast", neural=False)
    archive = ebsdarchive.open_archive(path)
    ebsdarchive.fit(path, options=TINY)
    first, second = ebsdarchive.open_archive(path).provenance()
    source = hashlib.sha256(bundled_scan.read_bytes()).hexdigest()
    assert digests(first, "used") == {bundled_scan.name: source}
    assert digests(first, "wasGeneratedBy") == {"raw": archive.raw_sha256}
    assert digests(second, "used") == {"raw": archive.raw_sha256}
    neural = ebsdarchive.open_archive(path).attributes("neural")["sha256"]
    assert digests(second, "wasGeneratedBy") == {"neural": neural}
    with h5py.File(path) as file:
        assert file["archive/source"].attrs["file_sha256"] == source


def test_merge_names_the_layers_that_it_took_from_the_other_file(
    full_archive: Path, archive_path: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.h5"
    ebsdarchive.extract(full_archive, ["neural", "models"], small)
    ebsdarchive.merge(archive_path, small)
    document = ebsdarchive.open_archive(archive_path).provenance()[-1]
    taken = digests(document, "used")
    assert set(taken) == {"small.h5:neural", "small.h5:models/tiny"}
    archive = ebsdarchive.open_archive(archive_path)
    assert taken["small.h5:neural"] == archive.attributes("neural")["sha256"]


def test_seed_device_parameters_versions_and_times_are_recorded(
    make_scan: Callable, tmp_path: Path
) -> None:
    begun = datetime.now(UTC)
    ebsdarchive.compress(make_scan(), tmp_path / "a.h5", profile="fast", options=TINY)
    said = details(ebsdarchive.open_archive(tmp_path / "a.h5").provenance()[0])
    assert said["ea:seed"] == 11
    assert said["ea:device"] == "cpu"
    parameters = json.loads(said["ea:parameters"])
    assert (parameters["profile"], parameters["rank"], parameters["neural"]) == ("fast", 3, True)
    assert {"h5py", "hdf5plugin", "numpy", "torch"} <= set(json.loads(said["ea:packages"]))
    assert said["ea:python"] == platform.python_version()
    started, ended = (datetime.fromisoformat(said[f"prov:{key}Time"]) for key in ("start", "end"))
    assert started.tzinfo is not None
    assert begun - timedelta(seconds=1) <= started <= ended <= datetime.now(UTC)
    assert "ea:argv" not in said  # no command line, no record of one


def test_the_command_line_is_recorded_as_it_was_typed(
    bundled_scan: Path, tmp_path: Path, run_cli: Callable
) -> None:
    path = tmp_path / "Über.h5"
    typed = ["compress", str(bundled_scan), "-o", str(path), "--no-neural", "--profile", "fast"]
    assert run_cli(*typed).code == 0
    said = details(ebsdarchive.open_archive(path).provenance()[0])
    assert json.loads(said["ea:argv"]) == ["ebsdarchive", *typed]


def test_neither_user_nor_host_is_recorded(full_archive: Path) -> None:
    text = json.dumps(ebsdarchive.open_archive(full_archive).provenance(), ensure_ascii=False)
    content = full_archive.read_bytes()
    private = {socket.gethostname(), platform.node(), getpass.getuser(), str(Path.home())}
    for word in (word for word in private if len(word) > 4):
        assert word not in text
        assert word.encode() not in content


def test_recording_an_activity_again_replaces_it(tmp_path: Path) -> None:
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        activity = Activity("fit", {"rank": 3})
        record(file, activity)
        activity.generated["neural"] = "ab" * 32
        record(file, activity)
        [document] = activities(file)
        assert digests(document, "wasGeneratedBy") == {"neural": "ab" * 32}


def test_activities_come_in_the_order_of_time(tmp_path: Path) -> None:
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        now = datetime.now(UTC)
        for minutes in (3, 1, 2):
            record(file, Activity(str(minutes), started=now + timedelta(minutes=minutes)))
        assert [details(document)["prov:label"] for document in activities(file)] == ["1", "2", "3"]


@pytest.mark.parametrize("command", ["info", "verify", "validate"])
def test_commands_that_only_read_leave_no_trace(
    fitted_copy: Path, run_cli: Callable, command: str
) -> None:
    before, status = fitted_copy.read_bytes(), fitted_copy.stat()
    assert run_cli(command, fitted_copy).code == 0
    assert fitted_copy.read_bytes() == before
    assert fitted_copy.stat().st_mtime_ns == status.st_mtime_ns
