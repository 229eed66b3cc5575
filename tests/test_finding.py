"""Scans in folders: what is taken for one, what only lies beside, and the names of the results."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from vendor_files import apex_file, one, up_file, write_flavour, write_hdf5

from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange.finding import FoundFile, find_archives, find_scans, is_scan_folder
from ebsdarchive.verbs.naming import targets_below


def up(path: Path, columns: int = 3, rows: int = 2) -> Path:
    return up_file(path, np.full((columns * rows, 5, 7), 9, np.uint16), columns, rows)


def images(folder: Path, count: int = 6) -> Path:
    """A folder of images with running numbers."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        pixels = np.full((5, 7), 9 * n + 1, np.uint8)
        Image.fromarray(pixels).save(folder / f"pattern{n}.png")
    return folder


def titles(*sources: Path, leave_out: Path | None = None) -> list[str]:
    return [item.title for item in find_scans(sources, leave_out).files]


def reasons(*sources: Path) -> dict[str, str]:
    return {item.path.name: item.reason for item in find_scans(sources).passed_over}


@pytest.fixture
def up2(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes an up2 file, with the folders above it."""

    def write(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return up(path)

    return write


def test_folders_are_walked_for_what_is_read_and_the_rest_is_listed_with_its_reason(up2, tmp_path):
    for name in (
        "day1/a.up2",
        "day1/b.UP1",
        "day 2/deep/c.up2",
        "day1/.hidden.up2",
        ".trash/d.up2",
    ):
        up2(name)
    for name in ("day1/a.ang", "day1/README", "day1/old.archive.h5"):
        (tmp_path / name).write_text("x")
    assert titles(tmp_path) == ["day 2/deep/c.up2", "day1/a.up2", "day1/b.UP1"]
    assert reasons(tmp_path) == {
        "a.ang": "no format that is read (.ang)",
        "README": "no format that is read (no ending)",
        "old.archive.h5": "an archive",
    }


def test_a_file_with_several_scans_is_several(tmp_path):
    import kikuchipy

    two = Path(kikuchipy.data.__file__).parent / "kikuchipy_h5ebsd/patterns.h5"
    shutil.copy(two, tmp_path / "two.h5")
    found = find_scans([tmp_path]).files
    assert [(item.scan, item.number) for item in found] == [("Scan 1", 1), ("Scan 2", 2)]
    targets = targets_below(Path("out"), found, ".archive.h5")
    assert [path.name for path in targets] == ["two.Scan_1.archive.h5", "two.Scan_2.archive.h5"]


def test_hdf5_files_are_scans_where_they_hold_patterns(archive_path, tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    write_flavour(folder, "edax").rename(folder / "edax.oh5")
    maps = write_flavour(folder, "oxford")
    with h5py.File(maps, "r+") as file:
        del file["1/EBSD/Data/Processed Patterns"]
        if "Unprocessed Patterns" in file["1/EBSD/Data"]:
            del file["1/EBSD/Data/Unprocessed Patterns"]
    write_hdf5(folder / "results.h5", {"strain/xx": one(0.5)})
    shutil.copy(archive_path, folder / "small.h5")
    (folder / "cut.h5").write_bytes(maps.read_bytes()[:-100])
    # a broken file is for whoever opens it to complain about
    assert titles(folder) == ["cut.h5", "edax.oh5"]
    assert reasons(folder) == {
        maps.name: "no patterns: found maps alone",
        "results.h5": "no patterns: found no manufacturer, groups ['strain'] and 0 scans",
        "small.h5": "no patterns: found an ebsdarchive file",
    }


def test_what_is_named_is_tried_whatever_it_is(tmp_path):
    results = write_hdf5(tmp_path / "results.h5", {"strain/xx": one(0.5)})
    text = tmp_path / "notes.txt"
    text.write_text("x")
    assert titles(results, text, tmp_path / "none.up2") == ["results.h5", "notes.txt", "none.up2"]


def test_a_folder_of_images_is_one_scan_and_images_beside_scans_are_none(up2, tmp_path):
    whole = images(tmp_path / "whole")
    assert titles(whole) == ["whole"]
    assert is_scan_folder(whole)
    images(tmp_path / "scans/map1")
    images(tmp_path / "scans/map2")
    images(tmp_path / "scans", count=1)  # an overview
    assert titles(tmp_path / "scans") == ["map1", "map2"]
    up2("beside/a.up2")
    images(tmp_path / "beside")
    (tmp_path / "beside/b.dat").write_bytes(b"1 2 3")  # of another program
    assert titles(tmp_path / "beside") == ["a.up2"]
    assert reasons(tmp_path / "beside") == {
        "beside": "images of no scan (6)",
        "b.dat": "no patterns: found none",
    }
    assert not is_scan_folder(tmp_path / "beside")


def test_patterns_that_an_apex_map_is_joined_with_are_no_scan_of_their_own(tmp_path):
    apex_file(tmp_path / "project.edaxh5", {"Map 1": (3, 2), "Map 2": (9, 9)})
    up(tmp_path / "patterns.up2", columns=3, rows=2)
    up(tmp_path / "other.up2", columns=2, rows=2)
    found = find_scans([tmp_path])
    assert [item.title for item in found.files] == ["other.up2", "project.edaxh5 [Map 1]"]
    assert [(item.path.name, item.reason) for item in found.passed_over] == [
        ("patterns.up2", "the patterns of project.edaxh5")
    ]


def test_a_scan_that_is_named_twice_or_linked_is_found_once(up2, tmp_path):
    path = up2("scans/a.up2")
    (tmp_path / "scans/again").symlink_to(tmp_path / "scans")
    (tmp_path / "scans/linked.up2").symlink_to(path)
    assert titles(path, tmp_path / "scans", path) == ["a.up2"]


def test_the_folder_that_is_written_to_is_not_looked_into(up2, tmp_path):
    up2("a.up2")
    up2("out/a.up2")
    assert titles(tmp_path, leave_out=tmp_path / "out") == ["a.up2"]
    assert titles(tmp_path / "out", leave_out=tmp_path / "out") == ["a.up2"]


def test_a_folder_that_cannot_be_looked_into_is_said(up2, tmp_path, monkeypatch):
    import os

    up2("closed/a.up2")
    up2("open/b.up2")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_scans([tmp_path])
    assert [item.title for item in found.files] == ["open/b.up2"]
    assert [(item.path.name, item.reason) for item in found.closed] == [
        ("closed", "Permission denied")
    ]


def test_archives_are_found_by_what_they_say_of_themselves(archive_path, tmp_path):
    folder = tmp_path / "archives"
    folder.mkdir()
    shutil.copy(archive_path, folder / "plain.h5")
    shutil.copy(archive_path, folder / "a.archive.h5")
    (folder / "cut.archive.h5").write_bytes(archive_path.read_bytes()[:300])
    write_hdf5(folder / "results.h5", {"strain/xx": one(0.5)})
    (folder / "a.up2").write_bytes(b"x")
    found = find_archives([folder])
    assert [item.title for item in found.files] == ["a.archive.h5", "cut.archive.h5", "plain.h5"]
    assert {item.path.name for item in found.passed_over} == {"results.h5", "a.up2"}


# ---------------------------------------------------------------- names of the results


def named(*places: str) -> list[FoundFile]:
    return [FoundFile(Path("root") / str(i) / place, Path(place)) for i, place in enumerate(places)]


def test_names_that_would_be_the_same_keep_their_endings():
    files = named("a.up1", "a.up2", "b.up2", "day/a.up2", "c.archive.h5", ".up2")
    targets = targets_below(Path("out"), files, ".h5")
    assert [path.as_posix() for path in targets] == [
        "out/a.up1.h5",
        "out/a.up2.h5",
        "out/b.h5",
        "out/day/a.h5",
        "out/c.h5",
        "out/.up2.h5",
    ]


def test_scans_whose_names_are_alike_as_file_names_are_told_apart_by_number():
    path = Path("p.edaxh5")
    files = [FoundFile(path, path, name, i) for i, name in enumerate(("S/Map 1", "S:Map:1"), 1)]
    targets = targets_below(Path("out"), files, ".archive.h5")
    assert [item.name for item in targets] == [
        "p.edaxh5.1.S_Map_1.archive.h5",
        "p.edaxh5.2.S_Map_1.archive.h5",
    ]


def test_two_scans_of_one_place_are_refused_before_anything_is_done():
    with pytest.raises(ArgumentError, match=r"root/0/a\.up2 and root/1/a\.up2; name the folder"):
        targets_below(Path("out"), named("a.up2", "a.up2"), ".archive.h5")
