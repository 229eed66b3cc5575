"""What is written here is read back bit for bit: here, by kikuchipy and by PyEBSDIndex.

The files and what each program makes of them are listed in `ebsdarchive.exchange.interoperability`;
known defects of the programs are expected failures, so that a mended one is noticed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebsdarchive import export, open_scan
from ebsdarchive.errors import FormatError
from ebsdarchive.exchange.edax_up import write_up
from ebsdarchive.exchange.interoperability import (
    FOREIGN,
    READERS,
    Case,
    cases,
    claim,
    formats_page,
)
from ebsdarchive.exchange.writing.registry import WRITE_FORMATS
from ebsdarchive.scan import Scan

ROOT = Path(__file__).resolve().parents[1]
ONE_STEP = ("nordif", "ebsp")  # of NORDIF's format, and of kikuchipy's reader of ebsp
FAILURES = (ValueError, TypeError, IndexError, KeyError, OSError, ImportError, FormatError)


def marked() -> list[Any]:
    """(case, reader) of all files, marked with the defects that are known."""
    found = []
    for case in cases():
        for reader in READERS:
            said = claim(case, reader)
            marks = []
            if said.verdict == "known defect":
                marks = [pytest.mark.xfail(strict=True, raises=FAILURES, reason=said.reason)]
            name = f"{case.format.key}-{case.dtype}-{case.grid}-{reader}"
            found.append(pytest.param(case, reader, id=name, marks=marks))
    return found


def patterns_of(scan: Scan) -> np.ndarray:
    return scan.patterns.read(0, scan.grid.size)


@pytest.fixture(scope="module")
def source(make_scan, make_archive) -> Callable[[str, bool, bool], tuple[Scan, Path]]:
    """A scan and its archive, by type, grid and whether its steps are equal; made once."""
    made: dict[tuple[str, bool, bool], tuple[Scan, Path]] = {}

    def make(dtype: str, hexagonal: bool, equal_steps: bool) -> tuple[Scan, Path]:
        key = (dtype, hexagonal, equal_steps)
        if key not in made:
            step_um = (0.75, 0.75) if equal_steps else (0.75, 0.5)
            scan = make_scan(4, 6, 41, 43, dtype, hexagonal=hexagonal, step_um=step_um)
            made[key] = scan, make_archive(scan)
        return made[key]

    return make


@pytest.fixture(scope="module")
def written(source, tmp_path_factory) -> Callable[[Case, str], tuple[Scan, Path]]:
    """The scan of a case, and the file with the ending that a reader takes; written once."""
    made: dict[tuple[Case, str], tuple[Scan, Path]] = {}

    def write(case: Case, reader: str) -> tuple[Scan, Path]:
        ending = case.format.endings[0] if case.format.endings else ""
        if case.format.key == "edax-h5" and reader == "kikuchipy":
            ending = ".h5"
        if (case, ending) not in made:
            scan, archive = source(
                case.dtype, case.grid == "hexagonal", case.format.key in ONE_STEP
            )
            path = tmp_path_factory.mktemp(case.format.key) / f"scan{ending}"
            assert export(archive, path, format=case.format.key).quantisation.is_identity
            made[case, ending] = scan, path
        return made[case, ending]

    return write


def read_here(case: Case, path: Path, scan: Scan) -> np.ndarray:
    again = open_scan(path)
    if not (case.grid == "hexagonal" and case.format.key in ("netcdf", "zarr")):  # points alone
        assert (again.grid.kind, again.grid.n_rows) == (scan.grid.kind, scan.grid.n_rows)
        assert again.grid.n_columns == scan.grid.n_columns
        if "folder" not in case.format.key:
            assert again.grid == scan.grid
    return patterns_of(again)


def read_by_kikuchipy(case: Case, path: Path, scan: Scan) -> np.ndarray:
    import kikuchipy

    options = {"processed": False} if (case.format.key, case.dtype) == ("h5oina", "uint16") else {}
    name = str(path)
    if "folder" in case.format.key:
        name += "/*.tif" if case.format.key == "tiff-folder" else "/*.png"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signal = kikuchipy.load(name, **options)
    if case.grid == "square" and case.format.key != "tiff-stack":
        assert signal.data.shape == (4, 6, 41, 43)
    if case.grid == "square" and not case.format.key.startswith(("tiff", "png")):
        scales = {axis.name: axis.scale for axis in signal.axes_manager.navigation_axes}
        assert scales == {"x": scan.grid.step_x_um, "y": scan.grid.step_y_um}
    return signal.data.reshape(-1, 41, 43)


def read_by_pyebsdindex(case: Case, path: Path, scan: Scan) -> np.ndarray:
    from pyebsdindex.ebsd_pattern import get_pattern_file_obj

    file = get_pattern_file_obj(str(path))
    if case.grid == "square":
        assert (int(file.nCols), int(file.nRows)) == (6, 4)
        assert (float(file.xStep), float(file.yStep)) == (0.75, scan.grid.step_y_um)
    return file.read_data(returnArrayOnly=True)[0]


READ = {
    "ebsdarchive": read_here,
    "kikuchipy": read_by_kikuchipy,
    "PyEBSDIndex": read_by_pyebsdindex,
}


@pytest.mark.parametrize(("case", "reader"), marked())
def test_a_written_file_is_read_as_the_table_says(case, reader, written):
    scan, path = written(case, reader)
    if claim(case, reader).verdict == "not read":
        with pytest.raises(FAILURES):
            READ[reader](case, path, scan)
        return
    patterns = READ[reader](case, path, scan)
    assert patterns.dtype == np.dtype(case.dtype)
    np.testing.assert_array_equal(patterns, patterns_of(scan))


def test_every_format_is_in_the_table_for_all_its_types_and_grids():
    listed = {(case.format.key, case.dtype, case.grid) for case in cases()}
    for entry in WRITE_FORMATS:
        if entry.key != "picture":
            assert {(entry.key, dtype, "square") for dtype in entry.dtypes} <= listed
            hexagonal = {(entry.key, dtype, "hexagonal") for dtype in entry.dtypes}
            assert (hexagonal <= listed) == entry.hexagonal


def test_the_page_of_formats_is_up_to_date():
    assert (ROOT / "docs/formats.md").read_text(encoding="utf-8") == formats_page()


@pytest.mark.xfail(
    strict=True, raises=(ValueError, AssertionError), reason="takes one step for x and y"
)
def test_kikuchipy_reads_an_ebsp_of_different_steps(source, tmp_path):
    scan, archive = source("uint8", False, False)
    export(archive, tmp_path / "a.ebsp")
    case = next(c for c in cases() if (c.format.key, c.dtype) == ("ebsp", "uint8"))
    patterns = read_by_kikuchipy(case, tmp_path / "a.ebsp", scan)
    np.testing.assert_array_equal(patterns, patterns_of(scan))


@pytest.mark.parametrize("suffix", ["up1", "up2"])
def test_version_1_is_read_everywhere_as_patterns_without_a_grid(suffix, make_scan, tmp_path):
    dtype = {"up1": "uint8", "up2": "uint16"}[suffix]
    scan = make_scan(4, 6, 41, 43, dtype)
    path = tmp_path / f"a.{suffix}"
    write_up(path, [patterns_of(scan)], scan.grid, (41, 43), dtype, version=1)
    case = next(c for c in cases() if c.format.key == suffix)
    import kikuchipy
    from pyebsdindex.ebsd_pattern import get_pattern_file_obj

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = kikuchipy.load(str(path), nav_shape=(4, 6)).data.reshape(-1, 41, 43)
    for patterns in (
        patterns_of(open_scan(path)),
        theirs,
        get_pattern_file_obj(str(path)).read_data(returnArrayOnly=True)[0],
    ):
        assert patterns.dtype == np.dtype(case.dtype)
        np.testing.assert_array_equal(patterns, patterns_of(scan))


# ---------------------------------------------------------------- files that others write


def write_with_kikuchipy(scan: Scan, key: str, path: Path) -> None:
    import kikuchipy

    data = patterns_of(scan).reshape(4, 6, 41, 43)
    step = scan.grid.step_x_um
    axes = [
        {"name": name, "size": size, "scale": scale, "units": "um", "navigate": navigate}
        for name, size, scale, navigate in (
            ("y", 4, step, True),
            ("x", 6, step, True),
            ("dy", 41, 1, False),
            ("dx", 43, 1, False),
        )
    ]
    signal = kikuchipy.signals.EBSD(data, axes=axes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signal.save(str(path), overwrite=True)


def write_with_pyebsdindex(scan: Scan, key: str, path: Path) -> None:
    from pyebsdindex.ebsd_pattern import UPFile

    file = UPFile()
    file.filepath = path
    file.version, file.filePos = 3, 42
    file.patternW, file.patternH = 43, 41
    file.nCols, file.nRows, file.nPatterns = 6, 4, 24
    file.xStep = file.yStep = scan.grid.step_x_um
    file.hexflag = file.extraPatterns = 0
    file.write_header(writeBlank=True, bitdepth=8 * patterns_of(scan).itemsize)
    file.write_data(newpatterns=patterns_of(scan), flt2int="clip", scalevalue=1.0)


@pytest.mark.parametrize(("program", "key", "dtype"), FOREIGN)
def test_files_of_other_programs_are_read_here_bit_for_bit(program, key, dtype, source, tmp_path):
    scan, archive = source(dtype, False, True)
    entry = next(entry for entry in WRITE_FORMATS if entry.key == key)
    path = tmp_path / f"scan{entry.endings[0]}"
    if key == "nordif":  # kikuchipy writes no settings
        export(archive, path, format=key)
        path.unlink()
    write = write_with_kikuchipy if program == "kikuchipy" else write_with_pyebsdindex
    write(scan, key, path)
    again = open_scan(path)
    assert again.patterns.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(patterns_of(again), patterns_of(scan))
    assert again.grid == scan.grid
