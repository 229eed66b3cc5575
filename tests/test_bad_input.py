"""Bad input: one line that says what is wrong, an exit code, and nothing lost."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ebsdarchive
from ebsdarchive import open_archive, open_scan

FIT = ("--time", "1", "--device", "cpu")


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def refused(run_cli: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Run a command that must fail with one line and leave every file as it was."""

    def run(code: int, words: str, *arguments: str | Path) -> str:
        before = contents(tmp_path)
        found = run_cli(*arguments)
        assert found.code == code, (found.code, found.err)
        *progress, last = found.err.splitlines()
        assert all(line.endswith(" ...") for line in progress), found.err
        assert last.startswith("ebsdarchive: ")
        assert re.search(words, last), last
        assert contents(tmp_path) == before
        return last

    return run


@pytest.fixture(scope="module")
def _sources(make_archive, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    archive = make_archive()
    ebsdarchive.export(archive, folder / "scan.up2")
    ebsdarchive.export(archive, folder / "scan.h5")
    return folder


@pytest.fixture
def sources(_sources: Path, tmp_path: Path) -> Path:
    """A folder with the default scan as an up2 and an h5 file, for one test."""
    return Path(shutil.copytree(_sources, tmp_path / "sources"))


# ---------------------------------------------------------------- sources


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def change_patterns(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with h5py.File(path, "r+") as file:
        name = "Scan 1/EBSD/Data/patterns"
        patterns = file[name][()]
        del file[name]
        file[name] = change(patterns)


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("scan.up2", lambda p: cut(p, 100), "34 and 186 bytes more; is the file truncated"),
        ("scan.up2", lambda p: cut(p, 7 * 286), "5 rows of 7, found 28"),
        ("scan.up2", lambda p: p.write_bytes(b""), "found an empty file"),
        ("scan.up2", lambda p: p.write_text("not patterns " * 9), "expected an EDAX up file"),
        ("scan.up2", lambda p: p.write_bytes(p.read_bytes()[:4] + bytes(60)), "width 0, height 0"),
        ("scan.h5", lambda p: cut(p, 2000), "truncated HDF5 file; copy it again"),
        ("scan.h5", lambda p: p.write_text("not HDF5"), "found something else; is it truncated"),
        ("scan.h5", lambda p: change_patterns(p, lambda a: a[:-3]), "expected 35 .*found 32"),
        ("scan.h5", lambda p: change_patterns(p, lambda a: a[:, :0]), "found 35 of 0 x 13"),
        ("scan.h5", lambda p: change_patterns(p, lambda a: a[:, 1:]), "found 35 of 10 x 13"),
        ("scan.h5", lambda p: change_patterns(p, lambda a: a[0]), "is this a single pattern"),
        ("scan.h5", lambda p: change_patterns(p, lambda a: a.astype("i8")), "found int64"),
    ],
)
def test_a_scan_that_cannot_be_read_is_refused_and_no_archive_is_begun(
    name, spoil, words, sources, refused
):
    spoil(sources / name)
    refused(3, words, "compress", sources / name, *FIT)


def test_what_is_no_scan_at_all_is_refused(sources, archive_path, refused, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["spectra"] = np.zeros(5)
    (tmp_path / "notes.txt").write_text("notes")
    for source, words in {
        tmp_path / "other.h5": "no manufacturer",
        tmp_path / "notes.txt": r"ends in \.up1, .*found \.txt",
        tmp_path / "none.up2": "expected a file, found none",
        tmp_path: "expected a folder of images",
        archive_path: "found an ebsdarchive file; fit, query or export it as it is",
        ".": "expected a folder of images",
        "..": "expected a folder of images",
        "": "expected a folder of images",
    }.items():
        refused(3, words, "compress", source)


def test_a_bad_scan_does_not_harm_an_archive_of_the_same_name(sources, run_cli, refused):
    assert run_cli("compress", sources / "scan.up2", "--no-neural").code == 0
    cut(sources / "scan.up2", 100)
    refused(3, "truncated", "compress", sources / "scan.up2", "--no-neural", "--force")
    assert run_cli("verify", sources / "scan.archive.h5", "--data").code == 0


# ---------------------------------------------------------------- scans of every kind


@pytest.fixture
def compressed(make_archive, run_cli, tmp_path) -> Callable[..., tuple[Path, np.ndarray]]:
    """Write a scan to a vendor's file and compress that with a neural layer."""

    def run(scan: Any, suffix: str = ".h5") -> tuple[Path, np.ndarray]:
        source, archive = tmp_path / f"source{suffix}", tmp_path / "archive.h5"
        ebsdarchive.export(make_archive(scan), source)
        code, _, err = run_cli("compress", source, "-o", archive, *FIT)
        assert code == 0, err
        patterns = open_scan(source)
        return archive, patterns.patterns.read(0, patterns.grid.size)

    return run


@pytest.mark.parametrize(
    ("options", "suffix"),
    [
        ({"ny": 1}, ".up2"),
        ({"nx": 1}, ".h5"),
        ({"ny": 1, "nx": 2}, ".up2"),
        ({"hexagonal": True}, ".up2"),
        ({"hexagonal": True, "equal_rows": True}, ".h5"),
        ({"sy": 1, "sx": 2}, ".up2"),
        ({"ny": 2, "nx": 3, "sy": 1, "sx": 1}, ".up2"),
    ],
)
def test_lines_hexagonal_grids_and_tiny_patterns_go_the_whole_way(
    options, suffix, make_scan, compressed, run_cli, tmp_path
):
    archive, patterns = compressed(make_scan(**options), suffix)
    assert run_cli("verify", archive, "--data").code == 0
    assert run_cli("validate", archive).code == 0
    kept = open_archive(archive).patterns("raw").read(0, len(patterns))
    np.testing.assert_array_equal(kept, patterns)
    for layer in ("raw", "neural"):
        output = tmp_path / f"{layer}.up2"
        assert run_cli("export", archive, "-o", output, "--layer", layer).code == 0
        assert open_scan(output).grid == open_archive(archive).grid
    again = open_scan(tmp_path / "raw.up2")
    np.testing.assert_array_equal(again.patterns.read(0, len(patterns)), patterns)
    code, _, err = run_cli("query", archive, "--point", "0,0", "-o", tmp_path / "a.png")
    assert code == 0, err


FLAT = {
    "one grey level": lambda: np.full((35, 11, 13), 700, np.uint16),
    "nothing but zeros": lambda: np.zeros((35, 11, 13), np.uint8),
    "the same pattern everywhere": lambda: np.repeat(
        np.random.default_rng(2).integers(9, 999, (1, 11, 13)).astype(np.uint16), 35, axis=0
    ),
    "a single point": lambda: None,
}


@pytest.mark.parametrize("kind", FLAT)
def test_scans_without_any_change_go_the_whole_way(kind, make_scan, compressed, run_cli, tmp_path):
    patterns = FLAT[kind]()
    scan = make_scan(ny=1, nx=1) if patterns is None else make_scan(patterns=patterns)
    archive, patterns = compressed(scan)
    assert run_cli("verify", archive, "--data").code == 0
    kept = open_archive(archive).patterns("raw").read(0, len(patterns))
    np.testing.assert_array_equal(kept, patterns)
    decoded = open_archive(archive).patterns("neural").read(0, len(patterns))
    np.testing.assert_allclose(decoded, patterns, rtol=1e-6, atol=0.05)
    for name in ("a.png", "a.up2"):
        code, _, err = run_cli("query", archive, "--point", "0,0", "-o", tmp_path / name)
        assert code == 0, err


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_kept_without_loss_but_not_fitted(
    bad, make_scan, make_archive, run_cli, refused, tmp_path
):
    patterns = make_scan(dtype="float32").patterns.read(0, 35).copy()
    patterns[17, 4, 5] = bad
    ebsdarchive.export(make_archive(make_scan(patterns=patterns)), tmp_path / "scan.h5")
    archive = tmp_path / "scan.archive.h5"
    code, _, err = run_cli("compress", tmp_path / "scan.h5", "--no-neural")
    assert (code, "Warning" in err) == (0, False)
    kept = open_archive(archive).patterns("raw").read(0, 35)
    np.testing.assert_array_equal(kept.view(np.uint32), patterns.view(np.uint32))
    refused(10, r"pattern 17 at \(3, 2\): expected finite counts", "fit", archive, *FIT)
    refused(2, "found NaN or infinity; write float32", "export", archive, "-o", tmp_path / "a.up2")
    code, _, err = run_cli("query", archive, "--upsample", "2", "-o", tmp_path / "a.npz")
    assert (code, "Warning" in err) == (0, False)
    with np.load(tmp_path / "a.npz") as file:
        spoilt = ~np.isfinite(file["patterns"]).all(axis=(1, 2))
        around = np.abs(file["positions"] - [3, 2]).max(axis=1) < 1
    np.testing.assert_array_equal(spoilt, around)  # where it has a part
    drop = ("compress", tmp_path / "scan.h5", "-o", tmp_path / "b.h5", "--drop-raw", *FIT)
    refused(10, "expected finite counts", *drop)


# ---------------------------------------------------------------- archives


@pytest.fixture
def bad_archives(archive_path, tmp_path) -> dict[str, tuple[Path, int, str]]:
    """Files that are no archive, or not one that is known: path, exit code and words."""
    files = {name: tmp_path / f"{name}.h5" for name in ("text", "other", "future", "cut", "none")}
    files["text"].write_text("not HDF5")
    with h5py.File(files["other"], "w") as file:
        file["spectra"] = np.zeros(5)
    shutil.copyfile(archive_path, files["future"])
    with h5py.File(files["future"], "r+") as file:
        file.attrs["encoding-version"] = "2.7"
    shutil.copyfile(archive_path, files["cut"])
    cut(files["cut"], 3000)
    return {
        "text": (files["text"], 4, "expected an HDF5 file, found something else"),
        "other": (files["other"], 4, r"found other HDF5 content \(spectra\)"),
        "future": (
            files["future"],
            5,
            r"format version 2\.7 is not known here \(known: 1\.0, 1\.1\)",
        ),
        "cut": (files["cut"], 4, "truncated HDF5 file; copy it again"),
        "none": (files["none"], 4, "expected a file, found none"),
        "folder": (tmp_path, 4, "expected a file, found a folder"),
    }


COMMANDS_ON_ARCHIVES = {
    "verify": ("verify", "{bad}", "--data"),
    "validate": ("validate", "{bad}"),
    "fit": ("fit", "{bad}", *FIT),
    "query": ("query", "{bad}", "--point", "0,0", "-o", "{out}.h5"),
    "export": ("export", "{bad}", "-o", "{out}.up2"),
    "extract": ("extract", "{bad}", "--layers", "raw", "-o", "{out}.h5"),
    "merge": ("merge", "{bad}", "{good}"),
    "merge from": ("merge", "{good}", "{bad}"),
    "upgrade": ("upgrade", "{bad}", "-o", "{out}.h5"),
}


@pytest.mark.parametrize("command", COMMANDS_ON_ARCHIVES)
def test_every_command_refuses_what_is_no_archive_or_of_an_unknown_version(
    command, bad_archives, archive_path, refused, tmp_path
):
    for path, code, words in bad_archives.values():
        names = {"bad": path, "good": archive_path, "out": tmp_path / "out"}
        last = refused(code, words, *(a.format(**names) for a in COMMANDS_ON_ARCHIVES[command]))
        assert str(path) in last


def test_info_refuses_what_is_neither_archive_nor_scan(bad_archives, refused):
    of_scan = {"other": "no manufacturer", "folder": "expected a folder of images"}
    for name, (path, code, words) in bad_archives.items():
        last = refused(3 if code == 4 else code, of_scan.get(name, words), "info", path)
        assert str(path) in last


@settings(max_examples=25)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_never_ends_in_a_traceback_nor_in_wrong_patterns(
    place, bit, make_scan, make_archive, tmp_path_factory
):
    from ebsdarchive.errors import ArchiveError, EbsdArchiveError

    original = _archive_once(make_scan, make_archive)
    content = bytearray(original.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "flipped.h5"
    path.write_bytes(content)
    expected = make_scan().patterns.read(0, 35)
    try:
        report = ebsdarchive.verify(path, data=True)
    except ArchiveError:
        return
    try:
        found = open_archive(path).patterns("raw").read(0, 35)
        ebsdarchive.info(path)
    except EbsdArchiveError:
        assert not report.sound
    else:
        if not report.layers["raw"]:
            np.testing.assert_array_equal(found, expected)


_made: list[Path] = []


def _archive_once(make_scan: Any, make_archive: Any) -> Path:
    if not _made:
        _made.append(make_archive(make_scan()))
    return _made[0]


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "profile: expected one of auto, archive", ("compress", "{up2}", "--profile", "best")),
        (2, "at least one layer", ("compress", "{up2}", "--no-neural", "--drop-raw")),
        (2, "auto or a whole number from 1, found '0'", ("compress", "{up2}", "--rank", "0")),
        (2, "auto or a whole number from 1, found '1.5'", ("fit", "{a}", "--rank", "1.5")),
        (2, "--width.*found '-4'", ("fit", "{a}", "--width", "-4")),
        (2, "--target-mae", ("fit", "{a}", "--target-mae", "0")),
        (2, "--time", ("fit", "{a}", "--time", "-1")),
        (2, "--band-weight", ("fit", "{a}", "--band-weight", "x")),
        (2, "--seed", ("fit", "{a}", "--seed", "1.5")),
        (2, "is not one of 'auto', 'cpu', 'cuda'", ("fit", "{a}", "--device", "tpu")),
        (2, "is not one of 'auto', 'none'", ("fit", "{a}", "--mask", "disc")),
        (2, "or 'Scan 1', found '-1'", ("compress", "{h5}", "--scan", "-1")),
        (2, "or 'Scan 1', found '2'", ("compress", "{h5}", "--scan", "2")),
        (2, "no scan to be named", ("compress", "{up2}", "--scan", "Map")),
        (3, "ends in .ang, .ctf", ("compress", "{up2}", "--geometry", "{h5}")),
        (2, "folder of images for an index", ("compress", "{up2}", "--index-pattern", "{{n}}.png")),
        (2, "found an archive; it holds one scan", ("info", "{a}", "--scan", "1")),
        (2, "two numbers x,y, found '1'", ("query", "{a}", "--point", "1", "-o", "{o}.h5")),
        (2, "two numbers x,y", ("query", "{a}", "--point", "1,b", "-o", "{o}.h5")),
        (2, "at least two positions", ("query", "{a}", "--path", "1,1", "-o", "{o}.h5")),
        (2, "positions x0,y0:x1,y1", ("query", "{a}", "--path", "0,0;1,1", "-o", "{o}.h5")),
        (2, "path of no length", ("query", "{a}", "--path", "1,1:1,1", "-o", "{o}.h5")),
        (2, "--samples", ("query", "{a}", "--path", "0,0:1,1", "--samples", "1", "-o", "{o}.h5")),
        (2, "spacing", ("query", "{a}", "--path", "0,0:1,1", "--spacing", "0", "-o", "{o}.h5")),
        (2, "spacing", ("query", "{a}", "--path", "0,0:1,1", "--spacing", "1e-99", "-o", "{o}.h5")),
        (2, "two corners", ("query", "{a}", "--grid", "0,0:1,1:2,2", "-o", "{o}.h5")),
        (2, "together with its shape", ("query", "{a}", "--grid", "0,0:1,1", "-o", "{o}.h5")),
        (2, "NX,NY, found '2'", ("query", "{a}", "--shape", "2", "-o", "{o}.h5")),
        (2, "--upsample", ("query", "{a}", "--upsample", "0", "-o", "{o}.h5")),
        (2, "at most", ("query", "{a}", "--upsample", "999999999", "-o", "{o}.h5")),
        (2, "found 2", ("query", "{a}", "--point", "0,0", "--upsample", "2", "-o", "{o}.h5")),
        (2, "a CSV file of positions", ("query", "{a}", "--points", "{none}", "-o", "{o}.h5")),
        (2, "expected text in UTF-8", ("query", "{a}", "--points", "{up2}", "-o", "{o}.h5")),
        (2, "No such option '--extrapolate'", ("query", "{a}", "--extrapolate", "-o", "{o}.h5")),
        (2, "'step', 'um'", ("query", "{a}", "--point", "0,0", "--unit", "nm", "-o", "{o}.h5")),
        (
            7,
            "a layer 'smooth'",
            ("query", "{a}", "--point", "0,0", "--layer", "smooth", "-o", "{o}.h5"),
        ),
        (8, "x from 0 to 6 and y from 0 to 4", ("query", "{a}", "--point", "-1,0", "-o", "{o}.h5")),
        (8, "not extrapolated", ("query", "{a}", "--path", "0,0:6,5", "-o", "{o}.h5")),
        (8, "not extrapolated", ("query", "{a}", "--point", "nan,0", "-o", "{o}.h5")),
        (2, "whole numbers", ("export", "{a}", "-o", "{o}.up2", "--region", "0,0:1.5,2")),
        (8, "x from 0 to 6", ("export", "{a}", "-o", "{o}.up2", "--region", "0,0:7,2")),
        (2, "'uint8', 'uint16', 'float32'", ("export", "{a}", "-o", "{o}.h5", "--dtype", "i4")),
        (9, "expected dtype uint16", ("export", "{a}", "-o", "{o}.up2", "--dtype", "uint8")),
        (7, "a layer 'none'", ("extract", "{a}", "--layers", "none", "-o", "{o}.h5")),
        (2, "expected raw or neural", ("extract", "{a}", "--layers", "maps", "-o", "{o}.h5")),
        (2, "expected raw or neural", ("extract", "{a}", "--layers", ",", "-o", "{o}.h5")),
        (2, "nothing to upgrade", ("upgrade", "{a}", "-o", "{o}.h5")),
        (2, "Missing option '-o'", ("export", "{a}")),
        (2, "Got unexpected extra argument", ("info", "{a}", "{a}")),
        (2, "NX,NY", ("simulate", "{o}.h5", "--shape", "3")),
        (2, "1 to 4 .points., found 30", ("simulate", "{o}.h5", "--shape", "2,2")),
        (3, "master pattern file", ("simulate", "{o}.h5", "--master-pattern", "{none}")),
        (3, "expected a file, found none", ("demo", "{none}", "-o", "{o}")),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    code, words, arguments, sources, archive_path, refused, tmp_path
):
    names = {"up2": sources / "scan.up2", "h5": sources / "scan.h5", "a": archive_path}
    names |= {"none": tmp_path / "none.csv", "o": tmp_path / "out"}
    refused(code, words, *(argument.format(**names) for argument in arguments))


# ---------------------------------------------------------------- outputs

WRITING = {
    "compress": ("compress", "{up2}", "-o", "{out}.h5", "--no-neural"),
    "query": ("query", "{a}", "--point", "0,0", "-o", "{out}.npz"),
    "export": ("export", "{a}", "-o", "{out}.up2"),
    "extract": ("extract", "{a}", "--layers", "raw", "-o", "{out}.h5"),
    "simulate": ("simulate", "{out}.up1", "--shape", "2,2", "--grains", "2"),
}


@pytest.mark.parametrize("command", WRITING)
def test_outputs_that_cannot_be_written_are_refused(
    command, sources, archive_path, refused, tmp_path
):
    def asked(out: Path) -> tuple[str, ...]:
        names = {"up2": sources / "scan.up2", "a": archive_path, "out": out}
        return tuple(argument.format(**names) for argument in WRITING[command])

    start = str(tmp_path / "x")
    suffix = next(Path(value).suffix for value in asked(tmp_path / "x") if value.startswith(start))
    refused(9, "expected an existing folder", *asked(tmp_path / "none" / "x"))
    (tmp_path / f"folder{suffix}").mkdir()
    refused(9, "found a folder|use --force", *asked(tmp_path / "folder"), "--force")
    (tmp_path / f"kept{suffix}").write_text("not to be lost")
    refused(9, "found one; use --force to replace it", *asked(tmp_path / "kept"))


@pytest.mark.parametrize("name", ["out", "out.txt", "out."])
@pytest.mark.parametrize("command", ["compress", "query", "export", "simulate"])
def test_outputs_without_a_known_ending_are_refused(
    command, name, sources, archive_path, refused, tmp_path
):
    arguments = {
        "compress": ("compress", sources / "scan.up2", "-o"),
        "query": ("query", archive_path, "--point", "0,0", "-o"),
        "export": ("export", archive_path, "-o"),
        "simulate": ("simulate",),
    }[command]
    refused(9, "expected a name that ends in", *arguments, tmp_path / name)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, which no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except OSError:
        pytest.skip("this container has no other user")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter; pytest's are for their owner alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_that_may_not_be_read_and_folders_that_may_not_be_written_are_named(
    sources, archive_path, run_cli, open_folder
):
    source = Path(shutil.copy(sources / "scan.up2", open_folder))
    locked = Path(shutil.copy(sources / "scan.up2", open_folder / "locked.up2"))
    archive = Path(shutil.copy(archive_path, open_folder / "a.h5"))
    secret = Path(shutil.copy(archive_path, open_folder / "secret.h5"))
    shut = open_folder / "shut"
    shut.mkdir()
    for path, mode in ((source, 0o644), (archive, 0o644), (locked, 0), (secret, 0), (shut, 0o555)):
        path.chmod(mode)
    commands = [
        (3, "no permission", ("compress", locked)),
        (3, "no permission", ("info", secret)),
        (4, "no permission", ("verify", secret)),
        (9, "place that can be written", ("compress", source, "-o", shut / "a.h5", "--no-neural")),
        (9, "place that can be written", ("export", archive, "-o", shut / "a.up2")),
        (9, "place that can be written", ("query", archive, "--point", "0,0", "-o", shut / "a.h5")),
    ]
    for _, _, arguments in commands[3:]:  # as root, so that all that they import is loaded
        run_cli(*arguments)
    for path in shut.iterdir():
        path.unlink()
    for code, words, arguments in commands:
        with as_nobody():
            found = run_cli(*arguments)
        assert found.code == code, (arguments, found)
        last = found.err.splitlines()[-1]
        assert last.startswith("ebsdarchive: ")
        assert words in last
        assert "Traceback" not in found.err
    assert list(shut.iterdir()) == []
