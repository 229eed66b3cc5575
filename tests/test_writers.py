"""Exports: other programs read them bit for bit, what was changed is on record, nothing is lost."""

from __future__ import annotations

import errno
import json
import struct
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import kikuchipy
import numpy as np
import pytest
from vendor_files import up_file

import ebsdarchive
from ebsdarchive import export, open_archive, open_scan, query
from ebsdarchive.errors import ArgumentError, FormatError, GeometryError, OutputError
from ebsdarchive.exchange import writers
from ebsdarchive.exchange.edax_up import write_up
from ebsdarchive.exchange.quantise import Quantisation, choose_quantisation
from ebsdarchive.exchange.writing.job import Job
from ebsdarchive.exchange.writing.registry import choose_format
from ebsdarchive.geometry import Grid, pc_from_bruker
from ebsdarchive.scan import Scan

BUNDLED = Path(kikuchipy.__file__).parent / "data"


def all_patterns(scan: Scan) -> np.ndarray:
    return scan.patterns.read(0, scan.grid.size)


def kikuchipy_load(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kikuchipy.load(str(path))


def pyebsdindex_file(path: Path) -> Any:
    from pyebsdindex.ebsd_pattern import get_pattern_file_obj

    return get_pattern_file_obj(str(path))


def pyebsdindex_patterns(path: Path) -> np.ndarray:
    return pyebsdindex_file(path).read_data(returnArrayOnly=True)[0]


# ---------------------------------------------------------------- EDAX up1 and up2


@pytest.mark.parametrize("rows", ["kikuchipy's", "shorter", "of one length", "and extra"])
def test_a_hexagonal_up2_file_comes_back_byte_for_byte(rows, tmp_path, run_cli):
    path = tmp_path / "scan.up2"
    if rows == "kikuchipy's":  # 9 patterns in rows of 3, and an extra one
        path.write_bytes((BUNDLED / "edax_binary/edax_binary.up2").read_bytes())
    else:
        grid = Grid("hexagonal", 4, 5, 0.75, 0.65, 4 if rows == "of one length" else 3)
        count = grid.size + (rows == "and extra")
        patterns = np.random.default_rng(1).integers(0, 65536, (count, 5, 7)).astype(np.uint16)
        extra = int(rows != "shorter")
        up_file(path, patterns, 4, 5, hexagonal=True, steps=(0.75, 0.65), extra=extra)
    archive = tmp_path / "scan.archive.h5"
    assert run_cli("compress", path, "--no-neural").code == 0
    assert run_cli("export", archive, "-o", tmp_path / "again.up2").code == 0
    assert (tmp_path / "again.up2").read_bytes() == path.read_bytes()
    assert run_cli("export", archive, "-o", tmp_path / "a.up1", "--dtype", "uint8").code == 0
    assert open_scan(tmp_path / "a.up1").grid == open_archive(archive).grid


@pytest.mark.parametrize(("suffix", "dtype"), [("up1", "uint8"), ("up2", "uint16")])
@pytest.mark.parametrize("hexagonal", [False, True])
@pytest.mark.parametrize("step_um", [(0.75, 0.5), (None, None)])
def test_an_up_file_is_the_header_of_version_3_and_the_patterns(
    suffix, dtype, hexagonal, step_um, make_scan, make_archive, tmp_path
):
    scan = make_scan(dtype=dtype, hexagonal=hexagonal, step_um=step_um)
    path = tmp_path / f"a.{suffix}"
    export(make_archive(scan), path)
    # version, width, height, data offset, extra patterns, columns, rows, hexagonal, step x, y in µm
    head = struct.pack("<4IBIIBdd", 3, 13, 11, 42, 0, 7, 5, hexagonal, *(s or 0.0 for s in step_um))
    assert len(head) == 42
    assert path.read_bytes() == head + all_patterns(scan).tobytes()


def test_version_1_holds_the_size_of_the_patterns_alone(make_scan, tmp_path):
    scan = make_scan(dtype="uint8")
    path = tmp_path / "a.up1"
    write_up(path, [all_patterns(scan)], scan.grid, (11, 13), "uint8", version=1)
    assert path.read_bytes() == struct.pack("<4I", 1, 13, 11, 16) + all_patterns(scan).tobytes()
    np.testing.assert_array_equal(all_patterns(open_scan(path)), all_patterns(scan))


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("up1", "uint8"), ("up2", "uint16"), ("h5", "uint8"), ("h5", "uint16"), ("h5", "float32")],
)
def test_kikuchipy_and_pyebsdindex_read_an_export_bit_for_bit(
    suffix, dtype, make_scan, make_archive, tmp_path
):
    scan = make_scan(dtype=dtype)
    path = tmp_path / f"a.{suffix}"
    export(make_archive(scan), path)
    theirs = kikuchipy_load(path)
    assert theirs.data.dtype == np.dtype(dtype)
    assert theirs.data.shape == (5, 7, 11, 13)
    np.testing.assert_array_equal(theirs.data.reshape(35, 11, 13), all_patterns(scan))
    scales = {axis.name: axis.scale for axis in theirs.axes_manager.navigation_axes}
    assert scales == {"x": 0.75, "y": 0.5}
    patterns = pyebsdindex_patterns(path)
    assert patterns.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(patterns, all_patterns(scan))
    header = pyebsdindex_file(path)
    assert (int(header.nCols), int(header.nRows)) == (7, 5)
    assert (float(header.xStep), float(header.yStep)) == (0.75, 0.5)


def test_kikuchipy_reads_the_detector_of_an_exported_h5(make_scan, make_archive, tmp_path):
    scan = make_scan()
    export(make_archive(scan), tmp_path / "a.h5")
    detector = kikuchipy_load(tmp_path / "a.h5").detector
    np.testing.assert_allclose(detector.pc.reshape(-1, 3), scan.detector.pc_bruker)
    assert (detector.sample_tilt, detector.tilt, detector.azimuthal) == (70.0, 5.25, -0.5)
    assert (detector.binning, detector.px_size) == (8.0, 59.2)


@pytest.mark.parametrize("equal_rows", [False, True])
def test_a_hexagonal_up2_holds_the_true_number_of_patterns(
    equal_rows, make_scan, make_archive, tmp_path
):
    scan = make_scan(hexagonal=True, equal_rows=equal_rows)
    export(make_archive(scan), tmp_path / "a.up2")
    again = open_scan(tmp_path / "a.up2")
    assert again.grid == scan.grid
    np.testing.assert_array_equal(all_patterns(again), all_patterns(scan))
    beside = json.loads((tmp_path / "a.up2.json").read_text(encoding="utf-8"))
    assert beside["grid"]["kind"] == "hexagonal"
    assert beside["n_columns_even"] == (7 if equal_rows else 6)
    theirs = kikuchipy_load(tmp_path / "a.up2").data  # one long row
    np.testing.assert_array_equal(theirs, all_patterns(scan))


@pytest.mark.xfail(
    strict=True,
    raises=ValueError,
    reason="PyEBSDIndex 0.3.10 expects columns x rows patterns in a hexagonal up2",
)
def test_pyebsdindex_reads_a_hexagonal_up2(make_scan, make_archive, tmp_path):
    scan = make_scan(hexagonal=True)
    export(make_archive(scan), tmp_path / "a.up2")
    np.testing.assert_array_equal(pyebsdindex_patterns(tmp_path / "a.up2"), all_patterns(scan))


@pytest.mark.parametrize("hexagonal", [False, True])
@pytest.mark.parametrize(("suffix", "dtype"), [("up1", "uint8"), ("up2", "uint16")])
def test_an_up_file_comes_out_of_its_archive_as_it_went_in(
    suffix, dtype, hexagonal, make_scan, make_archive, tmp_path
):
    scan = make_scan(dtype=dtype, hexagonal=hexagonal, described=False)
    before, after = tmp_path / f"before.{suffix}", tmp_path / f"after.{suffix}"
    write_up(before, [all_patterns(scan)], scan.grid, (11, 13), dtype)
    ebsdarchive.compress(before, tmp_path / "a.h5", neural=False)
    export(tmp_path / "a.h5", after)
    assert after.read_bytes() == before.read_bytes()


def test_a_hexagonal_grid_and_unknown_steps_survive_an_export_to_h5(
    make_scan, make_archive, tmp_path
):
    for number, options in enumerate(({"hexagonal": True}, {"step_um": (None, None)})):
        scan = make_scan(**options, described=False, pc=None)
        path = tmp_path / f"{number}.h5"
        export(make_archive(scan), path)
        again = open_scan(path)
        assert again.grid == scan.grid
        assert again.detector == scan.detector  # nothing but the shape is known
        np.testing.assert_array_equal(all_patterns(again), all_patterns(scan))


@pytest.mark.parametrize(
    ("dtype", "version", "count", "error"),
    [
        ("float32", 3, 35, ArgumentError),
        ("uint8", 2, 35, ArgumentError),
        ("uint8", 3, 34, FormatError),
    ],
)
def test_an_up_file_that_could_not_be_read_is_not_written(
    dtype, version, count, error, make_scan, tmp_path
):
    scan = make_scan(dtype="uint8")
    blocks = [scan.patterns.read(0, count)]
    with pytest.raises(error):
        write_up(tmp_path / "a.up1", blocks, scan.grid, (11, 13), dtype, version)


# ---------------------------------------------------------------- integers by a recorded rule


def test_counts_that_fit_are_kept_as_they_are(make_scan, make_archive, tmp_path):
    archive = make_archive(make_scan(dtype="uint8"))
    written = export(archive, tmp_path / "a.up2")
    assert written.quantisation.record() == {
        "rule": "stored = round((counts - offset) * scale), limited to the type",
        "dtype": "uint16",
        "scale": 1.0,
        "offset": 0.0,
        "clipped_pixels": 0,
        "rounded": False,
    }
    np.testing.assert_array_equal(
        all_patterns(open_scan(tmp_path / "a.up2")), all_patterns(open_archive(archive).scan())
    )


@pytest.mark.parametrize(
    ("dtype", "suffix", "top"),
    [("uint16", "up1", 255), ("float32", "up1", 255), ("float32", "up2", 65535)],
)
def test_counts_that_do_not_fit_are_scaled_to_the_full_range_by_a_rule_on_record(
    dtype, suffix, top, make_scan, make_archive, tmp_path
):
    scan = make_scan(dtype=dtype)
    counts = all_patterns(scan).astype(np.float64)
    low, high = counts.min(), counts.max()
    written = export(make_archive(scan), tmp_path / f"a.{suffix}")
    stored = all_patterns(open_scan(tmp_path / f"a.{suffix}"))
    np.testing.assert_array_equal(stored, np.rint((counts - low) * (top / (high - low))))
    assert (stored.min(), stored.max()) == (0, top)
    rule = written.quantisation
    assert (rule.scale, rule.offset, rule.clipped) == (top / (high - low), low, 0)
    assert rule.rounded
    beside = json.loads((tmp_path / f"a.{suffix}.json").read_text(encoding="utf-8"))
    assert beside["quantisation"] == rule.record()
    back = stored / rule.scale + rule.offset
    assert np.abs(back - counts).max() <= 0.5000001 / rule.scale


def test_the_quantisation_of_an_h5_is_in_the_file_and_its_background_is_scaled_alike(
    make_scan, make_archive, tmp_path
):
    scan = make_scan(dtype="uint16")
    written = export(make_archive(scan), tmp_path / "a.h5", dtype="uint8")
    rule = written.quantisation
    with h5py.File(tmp_path / "a.h5") as file:
        assert json.loads(file["ebsdarchive_export"].attrs["quantisation"]) == rule.record()
        origin = json.loads(file["ebsdarchive_export"].attrs["origin"])
    assert origin["layer"] == "raw"
    theirs = kikuchipy_load(tmp_path / "a.h5")
    assert theirs.data.dtype == np.uint8
    expected = (scan.static_background.astype(float) - rule.offset) * rule.scale
    np.testing.assert_array_equal(theirs.static_background, np.clip(np.rint(expected), 0, 255))


def test_decoded_patterns_are_rounded_to_counts_and_the_record_says_so(fitted_archive, tmp_path):
    written = export(fitted_archive, tmp_path / "a.up2", layer="neural")
    decoded = open_archive(fitted_archive).patterns("neural").read(0, 35)
    stored = all_patterns(open_scan(tmp_path / "a.up2"))
    np.testing.assert_array_equal(stored, np.clip(np.rint(decoded), 0, 65535))
    rule = written.quantisation
    assert (rule.is_identity, rule.rounded) == (True, True)
    assert rule.clipped == np.count_nonzero(np.rint(decoded) < 0)
    beside = json.loads((tmp_path / "a.up2.json").read_text(encoding="utf-8"))
    assert beside["origin"]["layer"] == "neural"
    assert "mean absolute error" in beside["origin"]["lossy"]
    with h5py.File(fitted_archive) as file:
        assert beside["origin"]["raw_sha256"] == file["archive/raw"].attrs["patterns_sha256"]


def test_pixels_beyond_the_type_are_limited_and_counted():
    rule = Quantisation("uint8")
    values = np.array([[[-3.0, -0.4, 0.5, 1.5, 254.6, 255.4, 256.0, 1e9]]])
    np.testing.assert_array_equal(rule.apply(values), [[[0, 0, 0, 2, 255, 255, 255, 255]]])
    assert (rule.clipped, rule.rounded) == (3, True)
    rule.apply(values)
    assert rule.clipped == 6


def test_floats_are_kept_as_they_are_and_integers_become_them():
    rule = Quantisation("float32")
    values = np.array([[[1, 2, 65535]]], np.uint16)
    assert rule.apply(values).dtype == np.float32
    np.testing.assert_array_equal(rule.apply(values), values)
    assert not rule.rounded


def test_a_range_is_needed_where_counts_do_not_fit():
    with pytest.raises(ArgumentError, match="uint16 to uint8: expected the scan's range"):
        choose_quantisation("uint8", "uint16", None)


def test_a_scan_of_one_grey_level_is_scaled_without_a_division_by_zero():
    rule = choose_quantisation("uint8", "uint16", (700.0, 700.0))
    np.testing.assert_array_equal(
        rule.apply(np.full((1, 2, 3), 700, np.uint16)), np.zeros((1, 2, 3))
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_not_turned_into_a_number(bad, make_scan, make_archive, tmp_path):
    patterns = all_patterns(make_scan(dtype="float32")).copy()
    patterns[17, 3, 4] = bad
    archive = make_archive(make_scan(patterns=patterns))
    with pytest.raises(ArgumentError, match="found NaN or infinity; write float32"):
        export(archive, tmp_path / "a.up2")
    assert list(tmp_path.iterdir()) == []
    export(archive, tmp_path / "a.h5")
    np.testing.assert_array_equal(
        kikuchipy_load(tmp_path / "a.h5").data.reshape(-1, 11, 13), patterns
    )


@pytest.mark.parametrize(
    ("name", "dtype", "complaint"),
    [
        ("a.up2", "uint8", "expected dtype uint16 for up2, found uint8"),
        ("a.up1", "float32", "expected dtype uint8 for up1, found float32"),
        ("a.dat", None, "expected dtype uint8 for nordif, found uint16; --dtype uint8 scales"),
        ("a.xyz", None, r"ends in \.up1, \.up2, \.h5, .*, found \.xyz"),
        ("a.oh5", "float32", "expected dtype uint8 or uint16 for edax-h5, found float32"),
        ("a", None, "found no ending"),
        ("a.png", None, r"found \.png"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(name, dtype, complaint, archive_path, tmp_path):
    with pytest.raises(OutputError, match=complaint):
        export(archive_path, tmp_path / name, dtype=dtype)
    assert [file.name for file in tmp_path.iterdir()] == [archive_path.name]


def test_an_unknown_type_is_refused(archive_path, tmp_path):
    with pytest.raises(ArgumentError, match="uint8, uint16 or float32, found 'int32'"):
        export(archive_path, tmp_path / "a.h5", dtype="int32")


# ---------------------------------------------------------------- a region


def test_a_region_keeps_its_points_with_their_projection_centres_and_orientations(
    make_scan, make_archive, tmp_path
):
    scan = make_scan()
    chosen = (np.arange(1, 4)[:, None] * 7 + np.arange(2, 6)).ravel()
    written = export(make_archive(scan), tmp_path / "a.h5", region=(2, 1, 5, 3))
    assert written.count == 12
    part = open_scan(tmp_path / "a.h5")
    assert part.grid == Grid("square", 4, 3, 0.75, 0.5)
    np.testing.assert_array_equal(all_patterns(part), all_patterns(scan)[chosen])
    np.testing.assert_allclose(part.detector.pc_bruker, scan.detector.pc_bruker[chosen])
    phase = scan.orientations.phase_id[chosen]
    np.testing.assert_array_equal(part.orientations.phase_id, phase)
    assert [phase.name for phase in part.phases] == ["Ni (ß)", "Ti α"]
    assert [phase.space_group for phase in part.phases] == [225, 194]
    theirs = part.orientations.quaternions[phase >= 0]
    ours = scan.orientations.quaternions[chosen][phase >= 0]
    np.testing.assert_allclose(np.abs((theirs * ours).sum(axis=1)), 1, atol=1e-6)
    with h5py.File(tmp_path / "a.h5") as file:
        positions = file["ebsdarchive_export/positions"][()]
    np.testing.assert_array_equal(positions, scan.grid.positions()[chosen])


def test_a_region_of_one_point_is_that_pattern(make_scan, make_archive, tmp_path):
    scan = make_scan()
    export(make_archive(scan), tmp_path / "a.up2", region=(6, 4, 6, 4))
    np.testing.assert_array_equal(
        all_patterns(open_scan(tmp_path / "a.up2")), all_patterns(scan)[-1:]
    )


@pytest.mark.parametrize(
    ("region", "error", "complaint"),
    [
        ((0, 0, 7, 4), GeometryError, "x from 0 to 6 and y from 0 to 4"),
        ((-1, 0, 2, 2), GeometryError, "x from 0 to 6"),
        ((0, 0, 1.5, 2), ArgumentError, "whole numbers"),
        ((3, 0, 2, 2), ArgumentError, "x0 ≤ x1"),
        ((0, 3, 2, 2), ArgumentError, "y0 ≤ y1"),
        ((0, 0, float("nan"), 2), GeometryError, "outside the scan"),
    ],
)
def test_a_region_that_the_scan_does_not_have_is_refused(
    region, error, complaint, archive_path, tmp_path
):
    with pytest.raises(error, match=complaint):
        export(archive_path, tmp_path / "a.up2", region=region)
    assert not (tmp_path / "a.up2").exists()


@pytest.mark.parametrize("equal_rows", [False, True])
def test_a_region_of_a_hexagonal_scan_is_hexagonal(equal_rows, make_scan, make_archive, tmp_path):
    scan = make_scan(hexagonal=True, equal_rows=equal_rows)
    export(make_archive(scan), tmp_path / "a.up2", region=(1, 2, 4, 4))
    part = open_scan(tmp_path / "a.up2")
    assert part.grid == Grid("hexagonal", 4, 3, 0.75, 0.5, 3)
    positions = scan.grid.positions().tolist()
    chosen = [positions.index([x + 1, y + 2]) for x, y in part.grid.positions()]
    np.testing.assert_array_equal(all_patterns(part), all_patterns(scan)[chosen])
    beside = json.loads((tmp_path / "a.up2.json").read_text(encoding="utf-8"))
    assert beside["positions_steps"] == [positions[index] for index in chosen]


@pytest.mark.parametrize("region", [(0, 1, 3, 3), (2, 0, 2, 3)])
def test_a_region_of_a_hexagonal_scan_that_would_not_be_one_is_refused(
    region, make_archive, tmp_path
):
    with pytest.raises(ArgumentError, match="even first row and two columns"):
        export(make_archive(hexagonal=True), tmp_path / "a.up2", region=region)


# ---------------------------------------------------------------- the file beside it


def test_what_an_up_file_cannot_hold_stands_beside_it(make_scan, make_archive, tmp_path):
    scan = make_scan(sy=13, sx=11)
    written = export(make_archive(scan), tmp_path / "a.up2")
    assert written.sidecar == str(tmp_path / "a.up2.json")
    beside = json.loads(Path(written.sidecar).read_text(encoding="utf-8"))
    assert beside["projection_centre_convention"] == "edax"
    mean = scan.detector.pc_bruker.mean(axis=0)
    expected = [mean[0], 1 - mean[1], mean[2] * 13 / 11]  # y from below, z in the smaller side
    np.testing.assert_allclose(beside["projection_centre"], expected)
    np.testing.assert_allclose(expected, pc_from_bruker(mean, "edax", (13, 11)))
    assert beside["sample_tilt_deg"] == 70.0
    assert beside["detector_tilt_deg"] == 5.25
    assert (beside["step_x_um"], beside["step_y_um"]) == (0.75, 0.5)
    assert beside["beam_energy_kev"] == 20.0
    assert beside["grid"] == {"kind": "square", "n_rows": 5, "n_columns": 7}
    assert beside["pattern_shape"] == [13, 11]
    assert "detector_twist_deg" not in beside  # not known
    assert beside["origin"]["written_by"].startswith("ebsdarchive ")


# ---------------------------------------------------------------- other formats, by query


@pytest.fixture(scope="module")
def asked() -> np.ndarray:
    return np.array([[0.0, 0.0], [3.0, 2.0], [6.0, 4.0], [1.5, 3.25]])


def test_patterns_are_read_back_from_npz_nc_tif_and_h5(asked, archive_path, tmp_path):
    import tifffile
    import xarray

    expected = query(archive_path, points=asked)
    for name in ("a.npz", "a.nc", "a.tif", "a.tiff", "a.h5", "a.hdf5"):
        assert query(archive_path, tmp_path / name, points=asked).count == 4
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["patterns"], expected)
        np.testing.assert_array_equal(file["positions"], asked)
        assert json.loads(str(file["origin"]))["layer"] == "raw"
    with xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as dataset:
        np.testing.assert_array_equal(dataset["patterns"], expected)
        np.testing.assert_array_equal(dataset["x"], asked[:, 0])
        np.testing.assert_array_equal(dataset["y"], asked[:, 1])
        assert json.loads(dataset.attrs["origin"])["layer"] == "raw"
    for name in ("a.tif", "a.tiff"):
        np.testing.assert_array_equal(tifffile.imread(tmp_path / name), expected)
        beside = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        assert beside["positions_steps"] == asked.tolist()
    for name in ("a.h5", "a.hdf5"):
        np.testing.assert_array_equal(kikuchipy_load(tmp_path / name).data, expected)


@pytest.mark.parametrize("suffix", ["npz", "nc", "tif", "h5"])
def test_a_single_pattern_is_read_back_too(suffix, archive_path, tmp_path):
    import tifffile
    import xarray

    path = tmp_path / f"a.{suffix}"
    query(archive_path, path, point=(2, 1), dtype="uint16")
    found = {
        "npz": lambda: np.load(path)["patterns"],
        "nc": lambda: xarray.open_dataset(path, engine="h5netcdf")["patterns"].values,
        "tif": lambda: tifffile.imread(path),
        "h5": lambda: kikuchipy_load(path).data,
    }[suffix]()
    expected = open_archive(archive_path).patterns().read(9, 10)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_a_picture_shows_the_patterns_of_a_path_with_room_for_their_positions(
    fitted_archive, tmp_path
):
    from PIL import Image

    written = query(fitted_archive, tmp_path / "a.png", along=[(0, 0), (6, 4)], samples=9)
    assert written.count == 9
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
        wide, high = picture.size
        assert wide > 3 * 168
        assert high > 2 * 168
        values = np.asarray(picture.convert("L"))
    assert values.std() > 20  # patterns, not paper alone
    coloured = np.asarray(Image.open(tmp_path / "a.png"))
    assert ((coloured == (0, 114, 178)).all(axis=2)).any()  # the path on the map of the scan


@pytest.mark.parametrize("options", [{"point": (0, 0)}, {"upsample": 4}])
@pytest.mark.parametrize("described", [True, False])
def test_pictures_of_one_pattern_and_of_hundreds_are_made(
    options, described, make_archive, tmp_path
):
    from PIL import Image

    query(make_archive(described=described, dtype="uint8"), tmp_path / "a.png", **options)
    with Image.open(tmp_path / "a.png") as picture:
        picture.verify()


def test_a_picture_of_more_than_memory_holds_is_refused_and_all_else_is_streamed(
    archive_path, tmp_path, monkeypatch
):
    monkeypatch.setattr(writers, "MEMORY_BYTES", 10_000)
    with pytest.raises(OutputError, match=r"write \.h5 or \.up2, which are streamed"):
        query(archive_path, tmp_path / "a.png", upsample=2)
    for name in ("a.npz", "a.nc", "a.tif", "a.h5"):
        query(archive_path, tmp_path / name, upsample=2)


# ---------------------------------------------------------------- nothing is lost

NAMES = (
    *("a.up1", "a.up2", "a.h5", "a.oh5", "a.h5oina", "a.ebsp", "a.data"),
    *("a.npz", "a.nc", "a.tif", "a.png"),
)


@pytest.mark.parametrize("name", NAMES)
def test_an_existing_file_is_kept_unless_it_is_forced(name, archive_path, tmp_path):
    path = tmp_path / name
    path.write_text("not to be lost")
    with pytest.raises(OutputError, match="found one; use --force"):
        query(archive_path, path, point=(1, 1))
    assert path.read_text() == "not to be lost"
    query(archive_path, path, point=(1, 1), force=True)
    assert path.stat().st_size > 100


@pytest.mark.parametrize("name", ["a.up2", "a.tif"])
def test_an_existing_file_beside_the_output_is_kept_unless_it_is_forced(
    name, archive_path, tmp_path
):
    beside = tmp_path / f"{name}.json"
    beside.write_text("not to be lost")
    with pytest.raises(OutputError, match=r"json: expected no such file"):
        query(archive_path, tmp_path / name, point=(1, 1))
    assert beside.read_text() == "not to be lost"
    assert not (tmp_path / name).exists()
    query(archive_path, tmp_path / name, point=(1, 1), force=True)
    assert json.loads(beside.read_text(encoding="utf-8"))["file"] == name


def test_an_archive_is_never_overwritten_by_what_is_taken_from_it(archive_path, tmp_path):
    before = archive_path.read_bytes()
    alias = tmp_path / "alias.h5"
    alias.hardlink_to(archive_path)
    for output in (archive_path, alias):
        with pytest.raises(OutputError, match="another file than the source"):
            export(archive_path, output, force=True)
        with pytest.raises(OutputError, match="another file than the source"):
            query(archive_path, output, point=(0, 0), force=True)
        with pytest.raises(OutputError, match="another file than the source"):
            ebsdarchive.extract(archive_path, ["raw"], output, force=True)
    assert archive_path.read_bytes() == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    name, number, archive_path, tmp_path, monkeypatch
):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).write_text("the old file")
    chosen = choose_format(Path(name))

    def fail(job: Job) -> None:
        chosen.write(job)
        raise OSError(number, "as if", str(job.path))

    monkeypatch.setattr(writers, "choose_format", lambda *_: replace(chosen, write=fail))
    with pytest.raises(OutputError, match=r"expected room|place that can be written"):
        query(archive_path, folder / name, point=(1, 1), force=True)
    assert [file.name for file in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "the old file"


def test_an_export_that_is_interrupted_leaves_nothing_behind(archive_path, tmp_path):
    def interrupt(stage: str, done: float, total: float, note: str = "") -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(archive_path, tmp_path / "a.up2", progress=interrupt)
    assert [file.name for file in tmp_path.iterdir()] == [archive_path.name]


def test_the_truth_beside_a_simulated_up_file_is_kept_unless_it_is_forced(tmp_path):
    options = {"grid_shape": (2, 3), "pattern_shape": (5, 7), "grains": 2}
    path, truth = tmp_path / "a.up2", tmp_path / "a.up2.truth.npz"
    truth.write_text("not to be lost")
    with pytest.raises(OutputError, match=r"truth\.npz: expected no such file"):
        ebsdarchive.simulate(path, **options)
    assert not path.exists()
    ebsdarchive.simulate(path, **options, force=True)
    assert np.load(truth)["quaternions"].shape == (6, 4)
