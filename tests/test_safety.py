"""No write ever harms what exists: the target is what it was, or the complete new file."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive.archive import store
from ebsdarchive.archive.interrupts import interrupts_kept, interrupts_postponed
from ebsdarchive.archive.layers import write_map
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.output import LIBVER, open_for_writing
from ebsdarchive.archive.raw import RawPatterns
from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import CorruptionError, OutputError
from ebsdarchive.geometry import Grid

posix = pytest.mark.skipif(os.name != "posix", reason="needs fork and POSIX signals")


def interrupting(**request: Any) -> list[dict]:
    """Results of a task of interrupting.py."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("interrupting.py")],
        input=json.dumps(request, default=str),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def neural_only(fitted_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file with the neural layer, to be merged."""
    path = tmp_path_factory.mktemp("neural") / "small.h5"
    ebsdarchive.extract(fitted_archive, ["neural"], path)
    return path


@pytest.fixture
def raw_only(make_archive: Callable) -> Path:
    """An archive with the raw layer only, not to be changed."""
    return make_archive()


def add_map(path: Path, then: Callable[[h5py.File], Any] = lambda file: None) -> None:
    """Add the layer maps/x to an archive, doing something else before the file is closed."""
    with adding_layers(path, ["maps/x"]) as file:
        write_map(file["archive"], "x", np.zeros((5, 7)), long_name="x", units="1")
        then(file)


@posix
def test_a_kill_at_any_moment_leaves_the_old_file_or_the_complete_new_one(
    tmp_path: Path, raw_only: Path, fitted_archive: Path, neural_only: Path
) -> None:
    results = interrupting(
        task="kill", folder=tmp_path, old=raw_only, source=fitted_archive, small=neural_only,
        trials=6,
    )  # fmt: skip
    for result in results:
        assert result["state"] in ("old", "new"), result
        assert result.get("left", []) == [], result
    expected = {"never": "new", "before flush": "old", "before replace": "old"}
    expected["after replace"] = "new"
    for result in results:
        if isinstance(result["moment"], str):
            assert result["state"] == expected[result["moment"]], result
    assert {result["operation"] for result in results} == {"compress", "merge", "add"}
    random_moments = [result for result in results if not isinstance(result["moment"], str)]
    assert [result for result in random_moments if result["state"] == "old"]


RAW = ["compress", "{vendor}", "-o", "{target}", "--profile", "compat", "--no-neural"]
FIT = ["fit", "{target}", "--time", "60", "--rank", "4", "--device", "cpu"]
BOTH = [*RAW[:-1], "--time", "60", "--rank", "4", "--device", "cpu"]


@posix
@pytest.mark.parametrize(
    "case",
    [
        {"signal": "SIGINT", "arguments": RAW, "stage": "reading source"},
        {"signal": "SIGINT", "arguments": RAW, "stage": "raw layer"},
        {"signal": "SIGINT", "arguments": RAW, "stage": "raw layer", "delay": 0.35},
        {"signal": "SIGINT", "arguments": [*RAW, "--force"], "stage": "raw layer", "old": True},
        {"signal": "SIGINT", "arguments": RAW, "stage": "reading back"},
        {"signal": "SIGINT", "arguments": FIT, "stage": "train", "delay": 0.5, "old": True},
        {"signal": "SIGINT", "arguments": BOTH, "stage": "train", "delay": 0.2},
        {"signal": "SIGTERM", "arguments": RAW, "stage": "raw layer", "delay": 0.2},
        {"signal": "SIGTERM", "arguments": RAW, "stage": "reading back"},
    ],
    ids=lambda case: f"{case['signal']}, {case['arguments'][0]}, {case['stage']}",
)
def test_an_interrupt_ends_in_one_line_and_leaves_what_was_there(
    interrupted: Callable[[dict], dict], case: dict[str, Any]
) -> None:
    result = interrupted(case)
    said = [line for line in result["lines"] if line and not line.endswith("...")]
    assert said == ["ebsdarchive: interrupted; nothing that was there before has changed"], result
    assert result["code"] == 130, result
    # a fit leaves its checkpoint, so that it goes on from there; nothing else stays behind
    assert [rest for rest in result["left"] if ".fit." not in rest] == [], result
    assert not result["processes"], "workers are still running"
    if case["arguments"] is BOTH:
        assert result["state"] == "new"  # the raw layer was complete before the fit began
    else:
        assert result["state"] == ("old" if case.get("old") else "none"), result


@pytest.fixture(scope="module")
def interrupted(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    bundled_scan: Path,
    make_archive: Callable,
) -> Callable[[dict], dict]:
    """What became of a case; those of all tests that are run go to one process."""
    results: dict[str, dict] = {}

    def key(case: dict) -> str:
        return json.dumps(case)

    def result_of(case: dict) -> dict:
        if not results:
            old = str(make_archive())
            cases = [
                item.callspec.params["case"]
                for item in request.session.items
                if "interrupted" in getattr(item, "fixturenames", ())
            ]
            found = interrupting(
                task="interrupt",
                folder=tmp_path_factory.mktemp("interrupted"),
                vendor=bundled_scan,
                cases=[{**one, "old": old if one.get("old") else None} for one in cases],
            )
            results.update(zip(map(key, cases), found, strict=True))
        return results[key(case)]

    return result_of


@posix
def test_a_full_disk_ends_in_one_line_and_leaves_the_old_file(
    tmp_path: Path, raw_only: Path, bundled_scan: Path, neural_only: Path
) -> None:
    size = neural_only.stat().st_size
    results = interrupting(
        task="fill", folder=tmp_path, old=raw_only, vendor=bundled_scan, small=neural_only,
        limits=[1, 5000, size // 2, size - 5000],
    )  # fmt: skip
    for result in results:
        assert result["state"] == "old", result
        assert result["left"] == [], result
        assert result["code"] == 9, result
        [line] = result["lines"]
        assert line.startswith("ebsdarchive: "), result
        assert "expected room for the file, found the disk or a size limit full" in line, result


@pytest.mark.parametrize("where", ["fsync", "write", "close"])
def test_no_space_left_is_said_and_the_old_file_stays(
    archive_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Callable, where: str
) -> None:
    before = archive_path.read_bytes()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*arguments: Any, **options: Any) -> None:
        raise full

    if where == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif where == "write":
        monkeypatch.setattr(shutil, "copyfileobj", fail)
        monkeypatch.setattr("fcntl.ioctl", fail)
    else:
        monkeypatch.setattr("ebsdarchive.archive.making.seal", fail)
    with pytest.raises(OutputError, match="expected room for the file") as error:
        add_map(archive_path)
    assert len(str(error.value).splitlines()) == 1
    assert archive_path.read_bytes() == before
    assert [path.name for path in archive_path.parent.iterdir()] == [archive_path.name]


def test_a_read_only_place_is_named(
    tmp_path: Path, make_scan: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(OutputError, match=r"expected a place that can be written, found Permiss"):
        ebsdarchive.compress(make_scan(), tmp_path / "a.h5", neural=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_without_write_permission_is_named(tmp_path: Path, make_scan: Callable) -> None:
    folder = tmp_path / "read only"
    folder.mkdir()
    folder.chmod(0o555)
    with pytest.raises(OutputError, match="expected a place that can be written"):
        ebsdarchive.compress(make_scan(), folder / "a.h5", neural=False)


def test_a_target_that_another_program_changes_meanwhile_is_left_to_it(
    archive_path: Path, full_archive: Path
) -> None:
    theirs = full_archive.read_bytes()
    with pytest.raises(OutputError, match="found it changed by another program"):
        add_map(archive_path, lambda file: archive_path.write_bytes(theirs))
    assert archive_path.read_bytes() == theirs
    assert [path.name for path in archive_path.parent.iterdir()] == [archive_path.name]


def test_a_target_that_appears_meanwhile_is_not_overwritten(tmp_path: Path, make_scan) -> None:
    target = tmp_path / "a.h5"

    def write() -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(b"mine")
            target.write_bytes(b"theirs")

    with pytest.raises(OutputError, match="found it changed by another program"):
        write()
    assert target.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [target]


def chunks(path: Path) -> list[tuple[int, bytes]]:
    """Filter mask and bytes of the raw layer's chunks, as they are in the file."""
    with h5py.File(path) as file:
        dataset = file["archive/raw/patterns"].id
        infos = [dataset.get_chunk_info(i) for i in range(dataset.get_num_chunks())]
        content = path.read_bytes()
        return [
            (info.filter_mask, content[info.byte_offset : info.byte_offset + info.size])
            for info in infos
        ]


def test_adding_a_layer_leaves_the_raw_bytes_as_they_are_and_does_not_decode_them(
    make_scan: Callable, tmp_path: Path, fitted_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, small = tmp_path / "a.h5", tmp_path / "small.h5"
    ebsdarchive.compress(make_scan(), path, profile="fast", neural=False)
    ebsdarchive.extract(fitted_archive, ["neural"], small)
    before = chunks(path)

    def refuse(*arguments: Any) -> None:
        raise AssertionError("patterns were decoded")

    monkeypatch.setattr(RawPatterns, "_decode", refuse)
    assert ebsdarchive.merge(path, small) == ["neural"]
    monkeypatch.undo()
    assert chunks(path) == before
    assert ebsdarchive.verify(path, data=True).sound


def test_an_error_while_a_layer_is_added_leaves_the_file_as_it_was(archive_path: Path) -> None:
    before = archive_path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        add_map(archive_path, lambda file: 1 / 0)
    assert archive_path.read_bytes() == before
    assert [path.name for path in archive_path.parent.iterdir()] == [archive_path.name]


def test_a_layer_that_does_not_read_back_is_not_put_in_place(archive_path: Path) -> None:
    before = archive_path.read_bytes()
    with pytest.raises(CorruptionError, match="expected to read back") as error:
        add_map(archive_path, lambda file: file["archive/maps/x/data"].__setitem__((0, 0), 1))
    assert str(archive_path) in str(error.value)
    assert ".partial" not in str(error.value)
    assert archive_path.read_bytes() == before


def test_nothing_existing_is_overwritten_without_force(
    full_archive: Path, tmp_path: Path, make_scan: Callable, bundled_scan: Path, run_cli: Callable
) -> None:
    existing = tmp_path / "existing.h5"
    existing.write_bytes(b"something dear")
    for call in (
        lambda: ebsdarchive.compress(make_scan(), existing, neural=False),
        lambda: ebsdarchive.extract(full_archive, ["raw"], existing),
    ):
        with pytest.raises(OutputError, match="found one; use --force to replace it"):
            call()
    result = run_cli("compress", bundled_scan, "-o", existing, "--no-neural")
    assert result.code == 9
    assert len(result.err.splitlines()) == 1
    assert existing.read_bytes() == b"something dear"
    assert ebsdarchive.extract(full_archive, ["raw"], existing, force=True)
    assert ebsdarchive.verify(existing, data=True).sound
    assert list(tmp_path.iterdir()) == [existing]


def test_a_link_to_an_archive_stays_a_link(archive_path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.h5"
    link.symlink_to(archive_path)
    add_map(link)
    assert link.is_symlink()
    assert "maps/x" in ebsdarchive.open_archive(archive_path).layers


def test_permissions_of_a_file_are_kept_when_it_is_replaced(archive_path: Path) -> None:
    archive_path.chmod(0o640)
    with adding_layers(archive_path, []):
        pass
    assert archive_path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("target", "message"),
    [("", "expected a file name, found a folder"), ("none/a.h5", "expected an existing folder")],
)
def test_a_place_that_cannot_be_is_refused(tmp_path: Path, target: str, message: str) -> None:
    with pytest.raises(OutputError, match=message), replacing(tmp_path / target):
        pass


def write_with_hdf5(file: h5py.File) -> None:
    """Groups, attributes, chunks and small datasets, in the way that archives have them."""
    for i in range(20):
        group = file.create_group(f"group {i}")
        group.attrs["text"] = "ä" * i
        group["small"] = np.arange(i)
        group.create_dataset("data", data=np.arange(5000) % 7, compression="gzip", chunks=True)
    del file["group 3"]


def contents(path: Path) -> dict[str, object]:
    """Every attribute and value of a file."""
    found: dict[str, object] = {}

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        found.update({f"{name}@{key}": value for key, value in item.attrs.items()})
        found[name] = item[()].tobytes() if isinstance(item, h5py.Dataset) else "group"

    with h5py.File(path) as file:
        file.visititems(look)
    return found


def test_a_file_written_through_ours_holds_what_hdf5_writes_alone(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "alone.h5", "w", libver=LIBVER) as file:
        write_with_hdf5(file)
    with open_for_writing(tmp_path / "ours.h5") as file:
        write_with_hdf5(file)
    assert contents(tmp_path / "ours.h5") == contents(tmp_path / "alone.h5")
    with h5py.File(tmp_path / "alone.h5", "r+", libver=LIBVER) as file:
        file["group 5/small"][2] = 7
        file["more"] = np.arange(3000)
    with open_for_writing(tmp_path / "ours.h5", "r+") as file:
        file["group 5/small"][2] = 7
        file["more"] = np.arange(3000)
    assert contents(tmp_path / "ours.h5") == contents(tmp_path / "alone.h5")


class _FullDisk(io.FileIO):
    """A file on a disk that takes so many bytes and no more."""

    room = 30_000

    def write(self, data: memoryview) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_hdf5_never_meets_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ebsdarchive.archive.output.io.FileIO", _FullDisk)
    read = []

    def fill() -> None:
        with open_for_writing(tmp_path / "a.h5") as file:
            write_with_hdf5(file)
            file.flush()
            read.extend(file[f"group {i}/data"][()] for i in (0, 19))

    with pytest.raises(OSError, match="No space left"):
        fill()
    for values in read:  # what could not be written was still there to be read
        np.testing.assert_array_equal(values, np.arange(5000) % 7)
    assert len(read) == 2
    assert capfd.readouterr() == ("", "")


def test_a_failed_write_stops_the_work_at_the_next_block(
    tmp_path: Path, make_scan: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebsdarchive.archive.output.io.FileIO", _FullDisk)
    monkeypatch.setattr(Grid, "block_length", lambda self, pattern_bytes, block_bytes=0: 7)
    done = []
    patterns = np.random.default_rng(0).integers(0, 255, (70, 40, 41), np.uint8)
    with pytest.raises(OutputError, match="expected room for the file"):
        ebsdarchive.compress(
            make_scan(ny=10, patterns=patterns), tmp_path / "a.h5", neural=False, profile="none",
            progress=lambda stage, n, total, note="": done.append(n),
        )  # fmt: skip
    assert max(done, default=0) < 35
    assert list(tmp_path.iterdir()) == []


def wait_for_interrupt(seconds: float = 60.0) -> None:
    """Do nothing until KeyboardInterrupt is raised."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)


def test_an_interrupt_is_not_raised_where_hdf5_is_at_work_but_after_it() -> None:
    finished = []

    def at_work() -> None:
        signal.raise_signal(signal.SIGINT)
        finished.append(True)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupts_postponed({at_work.__code__}):  # noqa: PT012
        at_work()
        wait_for_interrupt()
    assert finished == [True]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_that_python_swallows_is_raised_again() -> None:
    class Dying:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    before = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), interrupts_kept():  # noqa: PT012
        thing = Dying()
        del thing
        wait_for_interrupt()
    assert sys.unraisablehook is before


def test_the_new_file_is_flushed_to_disk_before_it_takes_the_targets_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real_flush, real_replace = store.flush, os.replace
    monkeypatch.setattr(
        store, "flush", lambda path: (calls.append(("flush", path)), real_flush(path))
    )
    monkeypatch.setattr(
        os, "replace", lambda a, b: (calls.append(("replace", a)), real_replace(a, b))
    )
    with replacing(tmp_path / "a.h5", check=lambda path: calls.append(("check", path))) as path:
        path.write_bytes(b"x")
    assert calls == [("check", path), ("flush", path), ("replace", path), ("flush", tmp_path)]
