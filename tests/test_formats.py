"""The table of formats: what is printed is what is opened; and what `info` says of sources."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from vendor_files import (
    NX,
    NY,
    PATTERNS,
    ang_file,
    apex_file,
    ebsp_file,
    kikuchipy_content,
    pat_file,
    up_file,
    write_flavour,
    write_hdf5,
)

import ebsdarchive
from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.exchange.readable import READABLE, module_of
from ebsdarchive.exchange.writing.registry import WRITE_FORMATS


def test_every_format_of_the_table_has_a_module_that_names_and_reads_scans():
    for entry in READABLE:
        module = module_of(entry)
        assert callable(module.read)
        assert callable(module.scan_names)
        assert entry.reads
        assert all(ending == ending.lower() for ending in entry.endings)
    assert len({entry.name for entry in READABLE}) == len(READABLE)


def test_the_formats_command_prints_both_tables(run_cli):
    known = ebsdarchive.formats()
    assert [entry["name"] for entry in known["read"]] == [entry.name for entry in READABLE]
    assert [entry["key"] for entry in known["written"]] == [entry.key for entry in WRITE_FORMATS]
    text = run_cli("formats").out
    for entry in READABLE:
        assert entry.name in text
        assert entry.versions in text
    for written in WRITE_FORMATS:
        assert written.key in text
        assert written.title in text
    assert json.loads(run_cli("formats", "--json").out) == known


def test_the_readme_names_every_format_that_is_read():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").lower()
    for entry in READABLE:
        for word in entry.name.lower().replace(",", "").split():
            assert word in readme, entry.name


def two_scans(folder: Path) -> Path:
    content = kikuchipy_content()
    second = {k.replace("Scan 1", "Grün"): v for k, v in content.items() if "Scan 1" in k}
    second["Grün/EBSD/Data/patterns"] = PATTERNS[::-1].astype(np.uint16)
    return write_hdf5(folder / "two.h5", content | second)


def test_info_lists_the_scans_of_a_vendors_file(tmp_path, run_cli):
    path = two_scans(tmp_path)
    described = ebsdarchive.info(path)
    assert sorted(described["scan_names"]) == ["Grün", "Scan 1"]
    by_name = {scan["name"]: scan for scan in described["scans"]}
    first = by_name["Scan 1"]
    assert (first["patterns"], first["pattern_shape"], first["dtype"]) == (6, [5, 7], "uint8")
    assert first["grid"] == {
        "grid_type": "square",
        "n_columns": NX,
        "n_rows": NY,
        "step_x_um": 0.75,
        "step_y_um": 0.5,
    }
    assert first["detector"]["pc_count"] == 6
    assert first["microscope"] == {"name": "Zeiss Supra", "beam_energy_kev": 20.0}
    assert by_name["Grün"]["dtype"] == "uint16"
    text = run_cli("info", path).out
    for i, name in enumerate(described["scan_names"], 1):
        assert f"  {i}. {name}" in text
    assert "step 0.75 x 0.5 um" in text
    assert json.loads(run_cli("info", path, "--json").out) == described
    assert ebsdarchive.info(path, scan="Grün")["scans"] == [by_name["Grün"]]


def test_a_scan_that_cannot_be_read_is_listed_beside_the_others(tmp_path, run_cli):
    content = kikuchipy_content()
    content |= {k.replace("Scan 1", "Scan 2"): v for k, v in content.items() if "Scan 1" in k}
    content["Scan 2/EBSD/Data/patterns"] = None
    path = write_hdf5(tmp_path / "two.h5", content)
    good, bad = ebsdarchive.info(path)["scans"]
    assert good["patterns"] == 6
    assert "were patterns saved" in bad["error"]
    result = run_cli("info", path)
    assert result.code == 0
    assert "not readable: " in result.out
    with pytest.raises(FormatError, match="were patterns saved"):
        ebsdarchive.info(path, scan=2)


def test_info_works_for_every_kind_of_file(tmp_path, run_cli):
    wide = PATTERNS.astype(np.uint16)
    up_file(tmp_path / "m.up1", PATTERNS, NX, NY)
    sources = [
        tmp_path / "m.up1",
        apex_file(tmp_path / "p.edaxh5", {"OIM Map 1": (NX, NY)}),
        ebsp_file(tmp_path / "a.ebsp", PATTERNS, NX, list(range(6)), 4),
        pat_file(tmp_path / "a.pat", wide, NX),
        write_flavour(tmp_path, "oxford"),
    ]
    for path in sources:
        result = run_cli("info", path)
        assert result.code == 0, result.err
        assert "square, 3 columns x 2 rows" in result.out
    assert "with orientations" in run_cli("info", sources[1]).out
    assert "2 scans" in run_cli("info", sources[4]).out


def test_commands_take_scan_and_geometry_of_sources_and_refuse_them_for_archives(
    tmp_path, archive_path, run_cli
):
    path = two_scans(tmp_path)
    result = run_cli("compress", path, "--scan", "Grün", "--no-neural", "-o", tmp_path / "a.h5")
    assert result.code == 0, result.err
    assert ebsdarchive.info(tmp_path / "a.h5")["scan"]["dtype"] == "uint16"
    same = run_cli("compare", path, tmp_path / "a.h5", "--scan-a", "Grün", "--no-index")
    assert (same.code, "all equal" in same.out) == (0, True), same.err
    other = run_cli("compare", path, tmp_path / "a.h5", "--scan-a", "Scan 1", "--no-index")
    assert (other.code, "all equal" in other.out) == (0, False), other.err
    both = run_cli("compare", path, "--scan-a", "1", "--scan-b", "2", "--no-index")
    assert (both.code, "all equal" in both.out) == (0, False), both.err
    twice = run_cli("compare", path, "--scan-a", "1", "--scan-b", "1", "--no-index")
    assert (twice.code, "--scan-a and --scan-b" in twice.err) == (2, True)
    with pytest.raises(ArgumentError, match="found a scan in memory; give them to open_scan"):
        ebsdarchive.compress(ebsdarchive.open_scan(path), tmp_path / "c.h5", scan=1)
    wrong = run_cli("compress", path, "--scan", "3", "--no-neural", "-o", tmp_path / "b.h5")
    assert wrong.code == 2
    assert "expected one of the scans 1 " in wrong.err
    map_file = ang_file(tmp_path / "a.ang", NX, NY)
    for options in ({"scan": 1}, {"geometry": map_file}, {"index_pattern": "{n}.png"}):
        with pytest.raises(ArgumentError, match="found an archive"):
            ebsdarchive.info(archive_path, **options)
    with pytest.raises(ArgumentError, match="expected a folder of images for an index pattern"):
        ebsdarchive.info(path, index_pattern="{n}.png")


def test_the_table_of_formats_loads_no_reader():
    code = (
        "import sys, ebsdarchive; ebsdarchive.formats(); heavy = 'kikuchipy xarray zarr orix'; "
        "print([name for name in heavy.split() if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stderr
