"""Damage is named, never passed on: verify sees it, says what survives, and nothing crashes."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive.archive.check import survivors
from ebsdarchive.archive.making import seal
from ebsdarchive.archive.nodes import node_digest
from ebsdarchive.errors import ArchiveError, CorruptionError, EbsdArchiveError

posix = pytest.mark.skipif(os.name != "posix", reason="needs fork, to survive a crash of HDF5")


def damaging(path: Path, folder: Path, **request: Any) -> list[dict[str, str]]:
    """What becomes of copies of an archive that are damaged in many ways; see damaging.py."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("damaging.py")],
        input=json.dumps({"path": str(path), "folder": str(folder), **request}),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@posix
def test_a_changed_byte_is_reported_or_was_in_unused_space(
    full_archive: Path, tmp_path: Path
) -> None:
    content = full_archive.read_bytes()
    chance = random.Random(1)
    used = [position for position, byte in enumerate(content) if byte]
    positions = chance.sample(used, 160) + list(range(11, len(content), len(content) // 60))
    results = damaging(full_archive, tmp_path, positions=positions)
    wrong = [result for result in results if result["result"] not in ("reported", "harmless")]
    assert wrong == []
    reported = [result for result in results if result["result"] == "reported"]
    assert len(reported) > 60


@pytest.mark.parametrize("name", ["t\x1eny", "t\niny", "t\u2028y", "\x1b[2Jtiny"])
def test_a_damaged_name_is_reported_in_one_line_that_a_terminal_can_print(
    full_archive: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "named.h5"
    shutil.copyfile(full_archive, path)
    with h5py.File(path, "r+") as file:
        file.move("archive/models/tiny", f"archive/models/{name}")
    report = ebsdarchive.verify(path)
    assert any("found this as well" in fault for fault in report.all_faults)
    for text in (*report.all_faults, *report.layers):
        assert text.isprintable()
    assert "models/" + name.encode("unicode_escape").decode() in report.layers


@posix
def test_a_file_cut_short_or_with_lost_sectors_is_reported(
    full_archive: Path, tmp_path: Path
) -> None:
    size = full_archive.stat().st_size
    lengths = [0, 1, 7, 8, 95, 96, 512, 4096, size // 10, size // 2, size - 4096, size - 1]
    results = damaging(full_archive, tmp_path, lengths=lengths)
    assert [result for result in results if result["result"] != "reported"] == []
    sectors = [(start, start + 4096) for start in range(0, size - 4096, size // 20)]
    results = damaging(full_archive, tmp_path, zeros=sectors)
    heaps = global_heaps(full_archive.read_bytes())
    for (start, stop), result in zip(sectors, results, strict=True):
        allowed = ["reported", "harmless"]
        if any(start < end and begin < stop for begin, end in heaps):
            # libhdf5 (2.0) never returns from reading text in a global heap with zeros in it
            allowed.append("the process ended with SIGALRM")
        assert result["result"] in allowed, result


def global_heaps(content: bytes) -> list[tuple[int, int]]:
    """Where HDF5 keeps text of variable length: (start, end) of each collection."""
    starts = [match.start() for match in re.finditer(b"GCOL\x01", content)]
    return [(at, at + int.from_bytes(content[at + 8 : at + 16], "little")) for at in starts]


def faults(path: Path) -> list[str]:
    report = ebsdarchive.verify(path, data=True)
    assert all(len(fault.splitlines()) == 1 for fault in report.all_faults)
    return report.all_faults


@pytest.mark.parametrize(
    "node",
    [
        "raw", "neural", "restored", "restored/mean", "models", "models/tiny", "maps",
        "maps/quality", "maps/mean_intensity", "provenance", "scan", "scan/orientations",
        "scan/phases/1", "source", "views",
    ],
)  # fmt: skip
def test_a_dropped_node_is_named(full_copy: Path, node: str) -> None:
    with h5py.File(full_copy, "r+") as file:
        del file["archive"][node]
    found = faults(full_copy)
    assert [fault for fault in found if fault.startswith(f"/archive/{node.split('/')[0]}")], found


@pytest.mark.parametrize("node", ["Scan 1", "entry", "manufacturer", "Scan 1/EBSD/Header/step_x"])
def test_a_view_that_is_dropped_or_changed_is_named(full_copy: Path, node: str) -> None:
    with h5py.File(full_copy, "r+") as file:
        del file[node]
    found = faults(full_copy)
    assert found
    assert all("/archive/raw" not in fault for fault in found)


def test_a_dropped_activity_is_named(full_copy: Path) -> None:
    with h5py.File(full_copy, "r+") as file:
        group = file["archive/provenance"]
        [identifier] = list(group)
        del group[identifier]
    assert (
        f"/archive/provenance/{identifier}: expected it from the table of contents, found "
        in (faults(full_copy)[0])
    )


def test_a_layer_that_was_added_past_the_package_is_named(full_copy: Path) -> None:
    with h5py.File(full_copy, "r+") as file:
        file.copy(file["archive/maps/quality"], file["archive/maps"], name="other")
    assert faults(full_copy) == [
        "/archive/maps/other: expected only what /archive/@contents lists, found this as well"
    ]


def test_a_layer_of_another_scan_is_named(full_copy: Path, make_archive: Callable) -> None:
    with h5py.File(full_copy, "r+") as file, h5py.File(make_archive(seed=3)) as other:
        del file["archive/raw"]
        other.copy(other["archive/raw"], file["archive"], name="raw")
        seal(file, ebsdarchive.open_archive(make_archive()).scan())
    found = faults(full_copy)
    assert len(found) == 2
    for fault, layer in zip(found, ("neural", "restored/mean"), strict=True):
        assert fault.startswith(f"/archive/{layer}: expected a layer of these raw patterns")


def test_swapped_blocks_are_named_though_their_checksums_hold(
    make_scan: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ebsdarchive.geometry.Grid, "block_length", lambda self, pattern_bytes, block_bytes=0: 7
    )
    path = tmp_path / "a.h5"
    ebsdarchive.compress(make_scan(), path, profile="fast", neural=False)
    with h5py.File(path, "r+") as file:
        dataset = file["archive/raw/patterns"].id
        first, third = dataset.read_direct_chunk((0, 0, 0)), dataset.read_direct_chunk((14, 0, 0))
        dataset.write_direct_chunk((0, 0, 0), third[1], third[0])
        dataset.write_direct_chunk((14, 0, 0), first[1], first[0])
    assert ebsdarchive.verify(path).sound  # nothing was decoded
    found = faults(path)
    assert [fault.split(": expected")[0] for fault in found] == [
        "/archive/raw/patterns: patterns 0 to 6",
        "/archive/raw/patterns: patterns 14 to 20",
    ]


def change_chunk(path: Path, dataset: str, number: int = 0) -> None:
    """Change one byte of a stored chunk."""
    with h5py.File(path) as file:
        info = file[dataset].id.get_chunk_info(number)
    content = bytearray(path.read_bytes())
    content[info.byte_offset + info.size // 2] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("dataset", "lost", "kept"),
    [
        ("archive/raw/patterns", "raw", ["neural", "restored/mean"]),
        ("archive/neural/images", "neural", ["raw", "restored/mean"]),
        ("archive/restored/mean/patterns/patterns", "restored/mean", ["raw", "neural"]),
    ],
)
def test_verify_says_which_layer_survives(
    full_copy: Path, run_cli: Callable, dataset: str, lost: str, kept: list[str]
) -> None:
    change_chunk(full_copy, dataset)
    report = ebsdarchive.verify(full_copy, data=True)
    assert survivors(report) == kept
    assert [name for name, found in report.layers.items() if found] == [lost]
    archive = ebsdarchive.open_archive(full_copy)
    for name in kept:
        assert archive.patterns(name).read(0, 35).shape == (35, 11, 13)
    with pytest.raises(CorruptionError, match="expected readable data, found damage"):
        archive.patterns(lost).read(0, 35)
    result = run_cli("verify", full_copy, "--data")
    assert result.code == 6
    assert lost in result.out + result.err


def test_patterns_beside_a_damaged_chunk_stay_readable(make_scan: Callable, tmp_path) -> None:
    path = tmp_path / "a.h5"
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, (35, 20, 21), np.uint8)
    ebsdarchive.compress(make_scan(patterns=patterns), path, profile="archive", neural=False)
    change_chunk(path, "archive/raw/patterns", 4)
    reader = ebsdarchive.open_archive(path).patterns()
    np.testing.assert_array_equal(reader.read(5, 35), patterns[5:])
    with pytest.raises(CorruptionError):
        reader.read(0, 5)


def test_all_faults_are_reported_not_only_the_first(full_copy: Path) -> None:
    for dataset in ("archive/raw/patterns", "archive/neural/images", "archive/maps/quality/data"):
        change_chunk(full_copy, dataset)
    with h5py.File(full_copy, "r+") as file:
        file["archive/models/tiny/tensors/step"][()] = 5
        file["archive/scan/grid"].attrs["step_x_um"] = 5.0
        file["entry"].attrs["default"] = "nothing"
    report = ebsdarchive.verify(full_copy, data=True)
    for layer in ("raw", "neural", "maps/quality", "models/tiny"):
        assert report.layers[layer], layer
    assert report.layers["restored/mean"] == report.layers["maps/mean_intensity"] == []
    assert [fault for fault in report.faults if fault.startswith("/archive/scan: ")]
    assert [fault for fault in report.faults if fault.startswith("/entry: ")]


def test_a_changed_digest_is_damage_as_well(full_copy: Path) -> None:
    with h5py.File(full_copy, "r+") as file:
        file["archive/scan/grid"].attrs["sha256"] = "0" * 64
    assert [fault for fault in faults(full_copy) if "/archive/scan/grid/@sha256" in fault]


@pytest.mark.parametrize("data", [False, True])
def test_verify_writes_nothing(full_copy: Path, data: bool) -> None:
    change_chunk(full_copy, "archive/raw/patterns")
    full_copy.chmod(0o444)
    before, status = full_copy.read_bytes(), full_copy.stat()
    ebsdarchive.verify(full_copy, data=data)
    assert full_copy.read_bytes() == before
    assert full_copy.stat().st_mtime_ns == status.st_mtime_ns
    assert [path.name for path in full_copy.parent.iterdir()] == [full_copy.name]


def refused(path: Path) -> list[str]:
    """Messages with which each way into an archive refuses it; fails if one does not."""
    messages = []
    for call in (
        lambda: ebsdarchive.open_archive(path).patterns().read(0, 1),
        lambda: ebsdarchive.open_archive(path).map("mean_intensity"),
        lambda: ebsdarchive.info(path),
        lambda: ebsdarchive.validate(path),
        lambda: ebsdarchive.verify(path, data=True),
        lambda: ebsdarchive.extract(path, ["raw"], path.with_name("extracted.h5")),
    ):
        with pytest.raises(ArchiveError) as error:
            call()
        messages.append(str(error.value))
    assert not path.with_name("extracted.h5").exists()
    return messages


@pytest.mark.parametrize("kind", ["soft", "external"])
@pytest.mark.parametrize("place", ["archive/maps/mean_intensity", "archive/raw", "archive/x", "y"])
def test_links_are_refused_and_never_followed(
    full_archive: Path, tmp_path: Path, kind: str, place: str
) -> None:
    path, other = tmp_path / "stranger.h5", tmp_path / "secret.h5"
    shutil.copyfile(full_archive, path)
    shutil.copyfile(full_archive, other)
    with h5py.File(path, "r+") as file:
        if place in file:
            del file[place]
        link = h5py.ExternalLink(other.name, place) if kind == "external" else None
        file[place] = link or h5py.SoftLink("/archive/scan")
    for message in refused(path):
        assert f"/{place}: expected data in this file, found a link" in message


@pytest.mark.parametrize("kind", ["virtual", "external"])
def test_data_in_other_files_is_refused_and_never_read(
    full_archive: Path, tmp_path: Path, kind: str
) -> None:
    path, secret = tmp_path / "stranger.h5", tmp_path / "secret.bin"
    shutil.copyfile(full_archive, path)
    secret.write_bytes(bytes(range(140)))
    with h5py.File(path, "r+") as file:
        node = file["archive/maps/mean_intensity"]
        del node["data"]
        if kind == "external":
            node.create_dataset("data", (5, 7), "f4", external=[(str(secret), 0, 140)])
        else:
            layout = h5py.VirtualLayout((5, 7), "f4")
            layout[:] = h5py.VirtualSource(str(full_archive), "archive/maps/quality/data", (5, 7))
            node.create_virtual_dataset("data", layout)
        node["data"].attrs["units"] = "counts"
    with pytest.raises(CorruptionError, match="found a reference to other files"):
        ebsdarchive.open_archive(path).map("mean_intensity")
    assert [fault for fault in faults(path) if "found a reference to other files" in fault]
    with pytest.raises(ArchiveError):
        ebsdarchive.extract(path, ["raw"], tmp_path / "extracted.h5")
    assert not (tmp_path / "extracted.h5").exists()


def _huge_scan(file: h5py.File) -> None:
    """A scan of 2**40 points, without any stored."""
    grid = file["archive/scan/grid"].attrs
    grid["n_columns"], grid["n_rows"] = 1 << 20, 1 << 20
    file["archive/scan"].attrs["n"] = 1 << 40
    node = file["archive/raw"]
    attributes = dict(node["patterns"].attrs)
    del node["patterns"]
    node.create_dataset(
        "patterns", (1 << 40, 11, 13), "u2", chunks=(1, 11, 13), fletcher32=True
    ).attrs.update(attributes)
    node.attrs["block_length"] = 1 << 40


def _huge_pattern(file: h5py.File) -> None:
    """Patterns of 2**38 pixels, without any stored."""
    file["archive/scan"].attrs["sy"] = file["archive/scan"].attrs["sx"] = 1 << 19
    node = file["archive/raw"]
    del node["patterns"]
    node.create_dataset("patterns", (35, 1 << 19, 1 << 19), "u2", chunks=(1, 512, 512))


def _huge_block(file: h5py.File) -> None:
    """A block of all patterns of 1 GiB, made of chunks that compress well."""
    node = file["archive/raw"]
    del node["patterns"], node["block_sha256"]
    patterns = node.create_dataset(
        "patterns", (35, 4096, 4096), "u2", chunks=(1, 4096, 4096), compression="gzip"
    )
    patterns[0] = 0
    node["block_sha256"] = np.zeros((1, 32), np.uint8)
    file["archive/scan"].attrs["sy"] = file["archive/scan"].attrs["sx"] = 4096


def _huge_map(file: h5py.File) -> None:
    """A map of 2**40 values, without any stored."""
    node = file["archive/maps/mean_intensity"]
    del node["data"]
    node.create_dataset("data", (1 << 20, 1 << 20), "f4", chunks=True)


@pytest.mark.parametrize("bomb", [_huge_scan, _huge_pattern, _huge_block, _huge_map])
def test_a_bomb_is_refused_before_memory_is_taken(
    archive_path: Path, bomb: Callable[[h5py.File], None]
) -> None:
    with h5py.File(archive_path, "r+") as file:
        bomb(file)
        for name in ("scan/grid", "scan", "raw", "maps/mean_intensity"):
            node = file["archive"][name]
            if bomb is not _huge_map:
                node.attrs["sha256"] = node_digest(node)  # as a stranger would
    tracemalloc.start()
    try:
        for call in (
            lambda: ebsdarchive.open_archive(archive_path).scan().patterns.read(0, 35),
            lambda: ebsdarchive.open_archive(archive_path).map("mean_intensity"),
            lambda: ebsdarchive.info(archive_path),
            lambda: ebsdarchive.verify(archive_path, data=True),
        ):
            try:
                found = call()
            except EbsdArchiveError:
                continue
            assert getattr(found, "all_faults", ["a bomb may hide elsewhere"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 << 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float64"}, "expected patterns of type"),
        ({"dtype": "uint8"}, "found uint16 for uint8"),
        ({"dtype": "object"}, "expected patterns of type"),
        ({"level_table": "scan"}, "found damage"),
    ],
)
def test_a_raw_layer_that_contradicts_itself_is_refused(
    archive_path: Path, change: dict[str, str], message: str
) -> None:
    with h5py.File(archive_path, "r+") as file:
        file["archive/raw"].attrs.update(change)
    with pytest.raises(CorruptionError, match=message):
        ebsdarchive.open_archive(archive_path).patterns().read(0, 1)
    assert faults(archive_path)


def test_codes_beyond_the_level_table_are_refused(make_scan: Callable, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    patterns = (np.rint(rng.normal(100, 8, (35, 30, 31))) * 20).astype(np.uint16)
    path = tmp_path / "a.h5"
    ebsdarchive.compress(make_scan(patterns=patterns), path, profile="archive", neural=False)
    with h5py.File(path, "r+") as file:
        assert file["archive/raw"].attrs["level_table"] == "scan"
        levels = file["archive/raw/levels"][:-9]
        del file["archive/raw/levels"]
        file["archive/raw"].create_dataset("levels", data=levels)
    with pytest.raises(CorruptionError, match="expected codes within the level table"):
        ebsdarchive.open_archive(path).patterns().read(0, 35)
    assert faults(path)


def test_a_grid_that_does_not_fit_the_number_of_points_is_refused(archive_path: Path) -> None:
    with h5py.File(archive_path, "r+") as file:
        file["archive/scan/grid"].attrs["n_rows"] = 4
    with pytest.raises(CorruptionError, match="expected 35 points, found 28"):
        ebsdarchive.open_archive(archive_path)
    assert "/archive/scan/grid: expected a grid of 35 points, found 28" in faults(archive_path)
