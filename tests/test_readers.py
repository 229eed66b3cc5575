"""Vendor files: the patterns that kikuchipy reads, what the file says, and nothing made up."""

from __future__ import annotations

import dataclasses
import json
import shutil
import struct
import warnings
from pathlib import Path
from typing import Any

import h5py
import kikuchipy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vendor_files import (
    BACKGROUND,
    CENTRES,
    FLAVOURS,
    HEADER_PATH,
    NX,
    NY,
    PATTERNS,
    PATTERNS_PATH,
    SX,
    SY,
    N,
    all_patterns,
    cut,
    ebsp_file,
    kikuchipy_content,
    one,
    up_file,
    write_flavour,
    write_hdf5,
)

import ebsdarchive
from ebsdarchive import open_scan
from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.geometry import Grid, pc_to_bruker

BUNDLED = Path(kikuchipy.data.__file__).parent


def load(path: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kikuchipy.load(str(path), **options)


def known(detector: Any) -> dict[str, Any]:
    """Names of a detector's or microscope's entries that are not None."""
    return {key for key, value in dataclasses.asdict(detector).items() if value is not None}


# ---------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("edax_h5ebsd/patterns.h5", Grid("square", 3, 3, 1.5, 1.5)),
        ("edax_binary/edax_binary.up1", Grid("square", 9, 1)),
        ("emsoft_ebsd/EBSD_TEST_Ni.h5", Grid("square", 1, 1)),
        ("kikuchipy_h5ebsd/patterns.h5", Grid("square", 3, 3, 1.5, 1.5)),
        ("kikuchipy_h5ebsd/patterns_nochunks.h5", Grid("square", 1, 1, 1.5, 1.5)),
        ("nordif/Pattern.dat", Grid("square", 3, 3, 1.5, 1.5)),
        ("oxford_binary/patterns.ebsp", Grid("square", 3, 3, 1.5, 1.5)),
    ],
)
def test_files_of_all_vendors_give_the_patterns_that_kikuchipy_gives(name, grid):
    scan = open_scan(BUNDLED / name)
    theirs = load(BUNDLED / name).data
    theirs = theirs.reshape(-1, *theirs.shape[-2:])
    assert scan.grid == grid
    assert scan.patterns.dtype == theirs.dtype
    np.testing.assert_array_equal(all_patterns(scan), theirs)
    middle = len(theirs) // 2
    np.testing.assert_array_equal(scan.patterns.read(middle, middle + 1)[0], theirs[middle])


@pytest.mark.parametrize("maker", ["bruker", "bruker roi", "oxford 6.0", "oxford 7.0"])
def test_kikuchipys_own_test_files_of_bruker_and_oxford_give_its_patterns(maker, tmp_path, capsys):
    from kikuchipy.data._dummy_files import bruker_h5ebsd, oxford_h5ebsd

    path = tmp_path / ("a.h5" if "bruker" in maker else "a.h5oina")
    {
        "bruker": lambda: bruker_h5ebsd.create_dummy_bruker_h5ebsd_file(path),
        "bruker roi": lambda: bruker_h5ebsd.create_dummy_bruker_h5ebsd_roi_file(path),
        "oxford 6.0": lambda: oxford_h5ebsd.create_dummy_oxford_h5ebsd_file(path, "6.0"),
        "oxford 7.0": lambda: oxford_h5ebsd.create_dummy_oxford_h5ebsd_file(path, "7.0"),
    }[maker]()
    scan, theirs = open_scan(path), load(path)
    assert (scan.grid.n_rows, scan.grid.n_columns) == theirs.data.shape[:2]
    np.testing.assert_array_equal(all_patterns(scan), theirs.data.reshape(-1, 60, 60))
    np.testing.assert_array_equal(scan.static_background, theirs.static_background)
    centres = theirs.detector.pc.reshape(-1, 3)
    np.testing.assert_allclose(scan.detector.pc_bruker, centres, atol=1e-6)
    assert scan.detector.sample_tilt_deg == pytest.approx(70.0 if "bruker" in maker else 69.9)
    assert scan.detector.binning == (None if "bruker" in maker else 17.0)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_non_square_scans_of_all_hdf5_flavours_give_what_kikuchipy_gives(flavour, tmp_path):
    path = write_flavour(tmp_path, flavour)
    scan, theirs = open_scan(path), load(path)
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS)
    np.testing.assert_array_equal(theirs.data.reshape(PATTERNS.shape), PATTERNS)
    np.testing.assert_array_equal(scan.patterns.read(1, 4), PATTERNS[1:4])
    if flavour == "emsoft":
        assert scan.grid == Grid("square", N, 1)
    else:
        assert scan.grid == Grid("square", NX, NY, 0.75, 0.5)
    np.testing.assert_allclose(
        np.atleast_2d(scan.detector.pc_bruker), theirs.detector.pc.reshape(-1, 3), atol=1e-6
    )


@pytest.mark.parametrize(
    ("flavour", "layout"), [("kikuchipy", "4-D"), ("edax", "big-endian"), ("bruker", "float")]
)
def test_patterns_come_in_the_order_and_type_of_the_scan_however_they_are_stored(
    flavour, layout, tmp_path
):
    stored = {
        "4-D": PATTERNS.reshape(NY, NX, SY, SX),
        "big-endian": PATTERNS.astype(">u2") * 257,
        "float": PATTERNS.astype(np.float32) / 3,
    }[layout]
    scan = open_scan(write_flavour(tmp_path, flavour, **{PATTERNS_PATH[flavour]: stored}))
    assert scan.patterns.dtype == stored.dtype.newbyteorder("=")
    for start, stop in [(0, N), (1, 2), (2, 5), (N - 1, N)]:
        block = scan.patterns.read(start, stop)
        assert block.dtype.isnative
        np.testing.assert_array_equal(block, stored.reshape(PATTERNS.shape)[start:stop])


def test_brukers_patterns_and_projection_centres_are_put_into_the_order_of_the_map(tmp_path):
    order = np.array([4, 0, 5, 2, 1, 3])  # the file's i-th pattern is of this point
    centres = {
        f"Scan/EBSD/Data/{name}": CENTRES[order, i] for i, name in enumerate(("PCX", "PCY", "DD"))
    }
    places = {"Scan/EBSD/SEM/IX": 11 + order % NX, "Scan/EBSD/SEM/IY": 5 + order // NX}
    patterns = {"Scan/EBSD/Data/RawPatterns": PATTERNS[order]}
    path = write_flavour(tmp_path, "bruker", **centres, **places, **patterns, NROWS=50, NCOLS=60)
    scan = open_scan(path)
    assert (scan.grid.n_rows, scan.grid.n_columns) == (NY, NX)
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS)
    np.testing.assert_array_equal(scan.patterns.read(2, 5), PATTERNS[2:5])
    np.testing.assert_array_equal(load(path).data.reshape(PATTERNS.shape), PATTERNS)
    np.testing.assert_array_equal(scan.detector.pc_bruker, CENTRES)


@pytest.mark.parametrize(("ny", "nx"), [(1, 1), (1, 6), (6, 1)])
@pytest.mark.parametrize("flavour", ["kikuchipy", "edax", "bruker", "oxford"])
def test_a_single_point_and_a_line_of_points_keep_their_shape(flavour, ny, nx, tmp_path):
    rows, columns = {
        "kikuchipy": ("n_rows", "n_columns"),
        "edax": ("nRows", "nColumns"),
        "bruker": ("NROWS", "NCOLS"),
        "oxford": ("Y Cells", "X Cells"),
    }[flavour]
    n = ny * nx
    changes = {rows: ny, columns: nx, PATTERNS_PATH[flavour]: PATTERNS[:n]}
    for name, value in FLAVOURS[flavour]().items():
        if np.shape(value) and np.size(value) == N and "/" in name:
            changes[name] = np.ravel(value)[:n].reshape((ny, nx) if np.ndim(value) == 2 else n)
    scan = open_scan(write_flavour(tmp_path, flavour, **changes))
    assert scan.grid == Grid("square", nx, ny, 0.75, 0.5)
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS[:n])
    if n == 1:
        assert scan.detector.pc_bruker.shape == (3,)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1)])
def test_patterns_of_one_pixel_or_one_row_of_pixels_keep_their_shape(shape, tmp_path):
    sy, sx = shape
    changes = {"pattern_height": sy, "pattern_width": sx, "static_background": None}
    changes[PATTERNS_PATH["kikuchipy"]] = PATTERNS[:, :sy, :sx]
    scan = open_scan(write_flavour(tmp_path, "kikuchipy", **changes))
    assert scan.grid == Grid("square", NX, NY, 0.75, 0.5)
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS[:, :sy, :sx])


def test_several_scans_in_a_file_are_told_apart_by_number_and_by_name(tmp_path):
    content = kikuchipy_content()
    second = {k.replace("Scan 1", "Second scan"): v for k, v in content.items() if "Scan 1" in k}
    second["Second scan/EBSD/Data/patterns"] = PATTERNS[::-1]
    path = write_hdf5(tmp_path / "two.h5", content | second)
    for options in ({}, {"scan": 1}, {"scan": "Scan 1"}):
        assert open_scan(path, **options).name == "Scan 1"
        np.testing.assert_array_equal(all_patterns(open_scan(path, **options)), PATTERNS)
    for options in ({"scan": 2}, {"scan": "2"}, {"scan": "Second scan"}):
        assert open_scan(path, **options).name == "Second scan"
        np.testing.assert_array_equal(all_patterns(open_scan(path, **options)), PATTERNS[::-1])
    for wrong in (0, 3, "0", "Third", ""):
        with pytest.raises(ArgumentError, match="scans 1 Scan 1, 2 Second scan; found"):
            open_scan(path, scan=wrong)


@pytest.mark.parametrize(
    "name",
    ["edax_binary/edax_binary.up1", "nordif/Pattern.dat", "emsoft_ebsd/EBSD_TEST_Ni.h5"],
)
def test_naming_a_scan_in_a_file_that_holds_one_is_an_error(name):
    with pytest.raises(ArgumentError, match="no scan to be named"):
        open_scan(BUNDLED / name, scan=2)


def test_a_file_much_larger_than_memory_opens_at_once_and_reads_block_by_block(tmp_path):
    path = up_file(tmp_path / "huge.up2", np.zeros((0, 480, 640), np.uint16), 400, 350)
    last = np.arange(480 * 640, dtype=np.uint16).reshape(480, 640)
    with path.open("r+b") as file:  # a sparse file of 86 GB
        file.seek(42 + (400 * 350 - 1) * last.nbytes)
        file.write(last.tobytes())
    scan = open_scan(path)
    assert scan.nbytes == 400 * 350 * last.nbytes
    assert not scan.patterns.read(0, 2).any()
    np.testing.assert_array_equal(scan.patterns.read(scan.grid.size - 1, scan.grid.size), [last])


def test_a_link_in_a_source_that_leads_nowhere_does_not_matter(tmp_path):
    path = write_flavour(tmp_path, "edax")
    with h5py.File(path, "r+") as file:
        file["Map/EBSD/External"] = h5py.ExternalLink("missing.h5", "/x")
    np.testing.assert_array_equal(all_patterns(open_scan(path)), PATTERNS)
    ebsdarchive.compress(path, tmp_path / "a.h5", profile="compat", neural=False)
    with h5py.File(tmp_path / "a.h5") as file:  # never followed, and said
        assert "External" not in file["archive/source/hdf5/Map/EBSD"]
        assert "/Map/EBSD/External" in file["archive/source"].attrs["hdf5_left_out"]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_opened_source_is_not_held_open(flavour, tmp_path):
    path = write_flavour(tmp_path, flavour)
    scan = open_scan(path)
    with h5py.File(path, "r+") as file:  # fails while another handle reads
        file.attrs["note"] = "changed by another program"
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS)


# ---------------------------------------------------------------- what the file says, and only that


@pytest.mark.parametrize(
    ("flavour", "detector", "microscope"),
    [
        ("kikuchipy", "pc tilts twist pixel binning", {"name", "beam_energy_kev"}),
        ("edax", "pc tilts", {"working_distance_mm"}),
        ("bruker", "pc tilt", {"beam_energy_kev"}),
        ("oxford", "pc tilt binning", {"beam_energy_kev"}),
        ("emsoft", "pc detector pixel binning", {"beam_energy_kev"}),
    ],
)
def test_what_a_file_says_is_known_and_all_else_is_unknown(flavour, detector, microscope, tmp_path):
    scan = open_scan(write_flavour(tmp_path, flavour))
    groups = {
        "pc": {"pc_bruker", "pc_original", "pc_convention"},
        "tilts": {"sample_tilt_deg", "tilt_deg", "azimuth_deg"},
        "tilt": {"sample_tilt_deg", "tilt_deg"},
        "detector": {"tilt_deg"},
        "twist": {"twist_deg"},
        "pixel": {"pixel_size_um"},
        "binning": {"binning"},
    }
    assert known(scan.detector) == {"shape"}.union(*(groups[word] for word in detector.split()))
    assert known(scan.microscope) == microscope
    assert scan.detector.tilt_deg == pytest.approx(5.25)
    if "tilt" in detector:
        assert scan.detector.sample_tilt_deg == pytest.approx(69.5)
    if "tilts" in detector:
        assert scan.detector.azimuth_deg == -0.5
    if "beam_energy_kev" in microscope:
        assert scan.microscope.beam_energy_kev == 20.0
    if scan.detector.binning is not None:
        assert scan.detector.binning == {"kikuchipy": 4, "oxford": 2, "emsoft": 2}[flavour]


@pytest.mark.parametrize("flavour", ["kikuchipy", "edax", "bruker", "oxford"])
def test_no_default_stands_in_for_what_a_file_does_not_say(flavour, tmp_path):
    needed = ("ows", "olumns", "COLS", "ROWS", "ells", "eight", "idth", "Grid Type")
    content = {
        key: value
        for key, value in FLAVOURS[flavour]().items()
        if any(word in key for word in needed)
        or key in (PATTERNS_PATH[flavour], "Format Version")
        or key.strip().lower() in ("manufacturer", "version")
    }
    path = tmp_path / ("bare.h5oina" if flavour == "oxford" else "bare.h5")
    if flavour == "kikuchipy":
        content["Scan 1/SEM/Header/beam_energy"] = 0.0  # what kikuchipy writes for "not known"
    if flavour == "bruker":  # kikuchipy wants them, and writers put 0
        content |= {HEADER_PATH[flavour] + "XSTEP": 0.0, HEADER_PATH[flavour] + "YSTEP": 0.0}
    scan = open_scan(write_hdf5(path, content))
    assert scan.grid == Grid("square", NX, NY)
    assert known(scan.detector) == {"shape"}
    assert known(scan.microscope) == set()
    assert scan.phases == ()
    assert scan.orientations is None
    assert scan.static_background is None


@pytest.mark.parametrize("name", ["edax_binary/edax_binary.up1", "oxford_binary/patterns.ebsp"])
def test_files_that_hold_patterns_alone_leave_everything_else_unknown(name):
    scan = open_scan(BUNDLED / name)
    assert known(scan.detector) == {"shape"}
    assert known(scan.microscope) == set()
    assert (scan.phases, scan.orientations, scan.static_background) == ((), None, None)


@pytest.mark.parametrize("flavour", ["kikuchipy", "bruker", "oxford"])
def test_each_point_keeps_its_own_projection_centre_in_the_numbers_of_the_file(flavour, tmp_path):
    detector = open_scan(write_flavour(tmp_path, flavour)).detector
    convention = {"kikuchipy": "bruker"}.get(flavour, flavour)
    assert detector.pc_convention == convention
    np.testing.assert_array_equal(detector.pc_original, CENTRES.astype(np.float64))
    np.testing.assert_array_equal(
        detector.pc_bruker, pc_to_bruker(detector.pc_original, convention, (SY, SX))
    )


def test_edaxs_projection_centre_keeps_its_numbers_and_convention(tmp_path):
    detector = open_scan(write_flavour(tmp_path, "edax")).detector
    x, y, z = CENTRES[0].astype(np.float64)
    np.testing.assert_array_equal(detector.pc_original, [x, y, z])
    assert detector.pc_convention == "edax"
    np.testing.assert_allclose(detector.pc_bruker, [x, 1 - y, z], rtol=1e-12)  # 5 rows of 7


def test_emsofts_projection_centre_is_in_pixels_and_micrometres(tmp_path):
    detector = open_scan(write_flavour(tmp_path, "emsoft")).detector
    np.testing.assert_array_equal(detector.pc_original, [1.5, -0.75, 1500.0])
    expected = [0.5 - 1.5 / (SX * 2), 0.5 + 0.75 / (SY * 2), 1500 / (SY * 2 * 59)]
    np.testing.assert_allclose(detector.pc_bruker, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("mode", "binning"),
    [
        (b"Resolution (1244x1024 px)", 1),
        (b"Speed 2 (156x128 px)", 8),
        (b"Speed 3 (156x88 px)", 8),
        (b"Speed 2", None),
        (None, None),
    ],
)
def test_oxfords_binning_follows_from_the_camera_mode_or_is_unknown(mode, binning, tmp_path):
    scan = open_scan(write_flavour(tmp_path, "oxford", **{"Camera Mode": mode}))
    assert scan.detector.binning == binning


def test_unprocessed_patterns_of_oxford_come_with_their_own_background(tmp_path):
    path = write_flavour(tmp_path, "oxford", **{"1/EBSD/Data/Processed Patterns": None})
    scan = open_scan(path)
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS // 2)
    np.testing.assert_array_equal(scan.static_background, BACKGROUND // 2)
    assert scan.source.hdf5_patterns == "/1/EBSD/Data/Unprocessed Patterns"
    processed = open_scan(write_flavour(tmp_path, "oxford"))
    np.testing.assert_array_equal(processed.static_background, BACKGROUND)


def test_orientations_and_phases_come_along_where_the_file_has_them():
    path = BUNDLED / "kikuchipy_h5ebsd/patterns.h5"
    scan, xmap = open_scan(path), load(path).xmap
    np.testing.assert_allclose(scan.orientations.quaternions, xmap.rotations.data, atol=1e-12)
    np.testing.assert_array_equal(scan.orientations.phase_id, xmap.phase_id)
    assert set(scan.orientations.properties) == set(xmap.prop)
    assert {values.shape for values in scan.orientations.properties.values()} == {(9,)}
    (phase,) = scan.phases
    assert (phase.name, phase.space_group, phase.point_group) == ("ni", 225, "m-3m")
    np.testing.assert_allclose(phase.lattice, [3.5236] * 3 + [90] * 3)  # the file holds nm


def test_the_orientation_of_a_single_point_keeps_its_properties(make_archive, tmp_path):
    ebsdarchive.export(make_archive(ny=1, nx=1), tmp_path / "a.h5")
    orientations = open_scan(tmp_path / "a.h5").orientations
    assert orientations.quaternions.shape == (1, 4)
    assert {values.shape for values in orientations.properties.values()} == {(1,)}


def test_a_crystal_map_of_other_points_is_not_taken_for_that_of_the_scan(tmp_path):
    path = Path(shutil.copy(BUNDLED / "kikuchipy_h5ebsd/patterns.h5", tmp_path))
    with h5py.File(path, "r+") as file:
        name = "Scan 1/EBSD/CrystalMap/crystal_map/data/is_in_data"
        inside = file[name][()]
        inside[-3:] = False
        file[name][...] = inside
    scan = open_scan(path)
    assert scan.orientations is None
    assert scan.phases[0].name == "ni"


def test_the_bundled_real_scan_is_read_whole(bundled_scan):
    scan = open_scan(bundled_scan)
    assert scan.grid.size == 24 * 20
    assert scan.patterns.dtype == np.uint16
    assert scan.static_background.shape == scan.detector.shape
    assert scan.orientations.quaternions.shape == (480, 4)
    assert scan.phases[0].space_group == 225


def test_text_is_read_whether_it_is_latin_1_or_utf_8(tmp_path):
    for encoding in ("latin-1", "utf-8"):
        path = write_flavour(tmp_path, "edax", Operator="Größe".encode(encoding))
        assert open_scan(path).source.metadata["Operator"] == "Größe"
    microscope = {"Scan 1/SEM/Header/microscope": "Überbau №5".encode()}
    assert open_scan(write_flavour(tmp_path, "kikuchipy", **microscope)).microscope.name == (
        "Überbau №5"
    )


def test_the_metadata_of_a_source_are_plain_values_that_json_holds(tmp_path):
    for flavour in FLAVOURS:
        scan = open_scan(write_flavour(tmp_path, flavour))
        assert json.loads(json.dumps(scan.source.metadata, allow_nan=False)) == scan.source.metadata
    atoms = scan.source.metadata["CrystalData"]["AtomData"]
    assert atoms == [[0.0], [0.0], [0.0], [1.0], [0.0035]]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_archive_keeps_every_node_of_an_hdf5_source_but_the_patterns(flavour, tmp_path):
    path = write_flavour(tmp_path, flavour, **{"extra/Größe °C": np.arange(5.0)})
    with h5py.File(path, "r+") as file:
        file["extra"].attrs["note"] = "kept"
    archive = tmp_path / "a.h5"
    ebsdarchive.compress(path, archive, profile="compat", neural=False)
    with h5py.File(path) as source, h5py.File(archive) as file:
        kept = file["archive/source/hdf5"]
        names: list[str] = []
        source.visit(names.append)
        for name in names:
            if name == PATTERNS_PATH[flavour]:
                assert name not in kept
            elif isinstance(source[name], h5py.Dataset):
                assert kept[name].dtype == source[name].dtype
                np.testing.assert_array_equal(kept[name][()], source[name][()])
        assert kept["extra"].attrs["note"] == "kept"
        assert file["archive/source"].attrs["hdf5_patterns"] == "/" + PATTERNS_PATH[flavour]


def test_an_archive_keeps_nordifs_settings_and_background_as_they_are(tmp_path):
    folder = shutil.copytree(BUNDLED / "nordif", tmp_path / "nordif")
    scan = open_scan(folder / "Pattern.dat")
    assert scan.microscope.beam_energy_kev == 20.0
    assert scan.detector.sample_tilt_deg == 70.0
    assert known(scan.detector) == {"shape", "sample_tilt_deg", "tilt_deg", "azimuth_deg"}
    ebsdarchive.compress(folder / "Pattern.dat", tmp_path / "a.h5", profile="compat", neural=False)
    with h5py.File(tmp_path / "a.h5") as file:
        for name in ("Setting.txt", "Background acquisition pattern.bmp"):
            kept = file[f"archive/source/files/{name}"][()].tobytes()
            assert kept == (folder / name).read_bytes()


# ---------------------------------------------------------------- EDAX up1 and up2


def test_a_hexagonal_up2_file_keeps_its_grid_and_the_extra_pattern_apart():
    path = BUNDLED / "edax_binary/edax_binary.up2"
    scan = open_scan(path)
    theirs = load(path).data  # kikuchipy counts the extra pattern as one of the scan
    assert scan.grid.is_hexagonal
    assert scan.grid.size == len(theirs) - 1 == 9
    assert (scan.grid.step_x_um, scan.grid.step_y_um) == (np.pi, np.pi / 2)
    np.testing.assert_array_equal(all_patterns(scan), theirs[:-1])
    assert scan.source.trailer == theirs[-1].tobytes()
    assert scan.source.header == path.read_bytes()[:42]


@pytest.mark.parametrize("even", [3, 4])
def test_the_rows_of_a_hexagonal_up_file_follow_from_the_number_of_patterns(even, tmp_path):
    grid = Grid("hexagonal", 4, 5, 0.75, 0.5, even)
    patterns = np.arange(grid.size * SY * SX, dtype=np.uint16).reshape(grid.size, SY, SX)
    scan = open_scan(up_file(tmp_path / "a.up2", patterns, 4, 5, hexagonal=True))
    assert scan.grid == grid
    np.testing.assert_array_equal(all_patterns(scan), patterns)


@pytest.mark.parametrize("version", [1, 3, 4, 5])
@pytest.mark.parametrize("suffix", ["up1", "up2"])
def test_header_and_trailer_of_an_up_file_are_kept_verbatim(version, suffix, tmp_path):
    dtype = {"up1": np.uint8, "up2": np.uint16}[suffix]
    patterns = (PATTERNS.astype(np.uint16) * 257).astype(dtype)
    extra = patterns if version == 1 else np.concatenate([patterns, patterns[:1]])
    path = up_file(
        tmp_path / f"a.{suffix}", extra, NX, NY, version=version, extra=1, gap=b"kept as it is"
    )
    scan = open_scan(path)
    content = path.read_bytes()
    assert scan.source.header == content[: (16 if version == 1 else 42) + 13]
    assert scan.source.trailer == (None if version == 1 else patterns[0].tobytes())
    with_grid = Grid("square", NX, NY, 0.75, 0.5)
    assert scan.grid == (Grid("square", N, 1) if version == 1 else with_grid)
    np.testing.assert_array_equal(all_patterns(scan), patterns)
    ebsdarchive.compress(path, tmp_path / "a.h5", profile="compat", neural=False)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["archive/source/header"][()].tobytes() == scan.source.header


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf])
def test_a_step_that_cannot_be_one_is_unknown(step, tmp_path):
    assert open_scan(up_file(tmp_path / "a.up1", PATTERNS, NX, NY, steps=(step, 0.5))).grid == Grid(
        "square", NX, NY, None, 0.5
    )
    if step != np.inf:  # kikuchipy refuses it
        path = write_flavour(tmp_path, "kikuchipy", step_x=step)
        assert open_scan(path).grid == Grid("square", NX, NY, None, 0.5)


@given(
    version=st.sampled_from([0, 1, 2, 3, 4, 5, 9, 2**32 - 1]),
    numbers=st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 60), min_size=5, max_size=5),
    flags=st.tuples(st.integers(0, 255), st.integers(0, 255)),
    steps=st.tuples(st.floats(), st.floats()),
    content=st.binary(max_size=300),
)
def test_any_bytes_with_the_name_of_an_up_file_are_read_or_refused(
    tmp_path_factory, version, numbers, flags, steps, content
):
    width, height, offset, columns, rows = numbers
    head = struct.pack(
        "<4IBIIBdd", version, width, height, offset, flags[0], columns, rows, flags[1], *steps
    )
    path = tmp_path_factory.getbasetemp() / "any.up1"
    path.write_bytes(head + content)
    try:
        scan = open_scan(path)
    except FormatError:
        return
    assert all_patterns(scan).nbytes <= len(content) + len(head)


# ---------------------------------------------------------------- Oxford ebsp


@pytest.mark.parametrize("version", range(6))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_ebsp_files_of_every_version_are_put_into_the_order_of_the_map(version, dtype, tmp_path):
    patterns = np.random.default_rng(3).integers(0, 251, (6, 61, 60)).astype(dtype)
    path = ebsp_file(tmp_path / "a.ebsp", patterns, 3, [1, 0, 2, 5, 3, 4], version)
    scan = open_scan(path)
    np.testing.assert_array_equal(all_patterns(scan), patterns)
    np.testing.assert_array_equal(scan.patterns.read(2, 4), patterns[2:4])
    if version == 0:  # holds no positions
        assert scan.grid == Grid("square", 6, 1)
    else:
        assert scan.grid == Grid("square", 3, 2, 0.75, 0.75)
    path.write_bytes(path.read_bytes()[:-2500])
    with pytest.raises(FormatError, match="Oxford ebsp"):
        open_scan(path)


# ---------------------------------------------------------------- header and data disagree


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda p: cut(up_file(p, PATTERNS, NX, NY), 3), "32 bytes more; is the file truncated"),
        (lambda p: cut(up_file(p, PATTERNS, NX, NY), SY * SX), "2 rows of 3, found 5"),
        (lambda p: up_file(p, PATTERNS, NX + 1, NY), "2 rows of 4, found 6"),
        (lambda p: up_file(p, PATTERNS, 0, NY), "2 rows of 0, found 6"),
        (
            lambda p: up_file(p, PATTERNS, 4, NY, hexagonal=True, extra=9),
            "hexagonal grid of 2 rows",
        ),
        (lambda p: up_file(p, PATTERNS, 0, 0, hexagonal=True), "hexagonal grid of 0 rows"),
        (
            lambda p: up_file(p, PATTERNS, NX, NY, version=2),
            "version 0, 1, 3, 4 or 5, found version 2",
        ),
        (lambda p: up_file(p, PATTERNS, NX, NY, version=9), "found version 9"),
        (lambda p: up_file(p, PATTERNS[:, :, :0], NX, NY), "width 0, height 5"),
        (lambda p: up_file(p, PATTERNS[:, :0], NX, NY), "width 7, height 0"),
        (lambda p: up_file(p, PATTERNS[:0], NX, NY), "found 0 and 0 bytes more"),
        (lambda p: up_file(p, PATTERNS[:0], NX, NY, version=1), "found 0 and 0 bytes more"),
        (lambda p: cut(up_file(p, PATTERNS[:0], NX, NY), 30), "header of 16 bytes or more"),
        (lambda p: cut(up_file(p, PATTERNS[:0], NX, NY), 10), "offset 42 in a file of 32 bytes"),
        (lambda p: p.write_bytes(b""), "an empty file"),
        (lambda p: p.write_text("Phi1, Phi, Phi2\n" * 99), "found version"),
    ],
)
def test_an_up_file_whose_header_and_data_disagree_is_refused(make, complaint, tmp_path):
    path = tmp_path / "scan.up1"
    make(path)
    with pytest.raises(FormatError, match=complaint) as caught:
        open_scan(path)
    assert str(caught.value).startswith(f"{path}: expected ")


DISAGREEMENTS = {
    "fewer patterns": (
        lambda f: {PATTERNS_PATH[f]: PATTERNS[:-1]},
        r"expected 6 patterns.*found 5",
    ),
    "more patterns": (
        lambda f: {PATTERNS_PATH[f]: np.concatenate([PATTERNS, PATTERNS])},
        r"expected 6 patterns.*found 12",
    ),
    "narrower patterns": (
        lambda f: {PATTERNS_PATH[f]: PATTERNS[:, :, 1:]},
        r"5 x 7 pixels.*found .*5 x 6",
    ),
    "transposed patterns": (
        lambda f: {PATTERNS_PATH[f]: PATTERNS.transpose(0, 2, 1)},
        r"5 x 7 pixels.*found .*7 x 5",
    ),
    "a single pattern": (lambda f: {PATTERNS_PATH[f]: PATTERNS[0]}, "3 or 4 dimensions.*found 2"),
    "patterns of zero size": (lambda f: {PATTERNS_PATH[f]: PATTERNS[:, :0]}, "5 x 7 pixels"),
    "no patterns at all": (lambda f: {PATTERNS_PATH[f]: PATTERNS[:0]}, "found 0|at least 1 x 1"),
    "patterns of int64": (
        lambda f: {PATTERNS_PATH[f]: PATTERNS.astype(np.int64)},
        "uint8, uint16, float32, found int64",
    ),
    "patterns of text": (lambda f: {PATTERNS_PATH[f]: np.full((N, SY, SX), b"x")}, "expected"),
    "patterns missing": (lambda f: {PATTERNS_PATH[f]: None}, "expected"),
}


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("fault", DISAGREEMENTS)
def test_an_hdf5_file_whose_header_and_data_disagree_is_refused(flavour, fault, tmp_path):
    changes, complaint = DISAGREEMENTS[fault]
    made = changes(flavour)
    if flavour == "oxford" and fault == "patterns missing":
        made["1/EBSD/Data/Unprocessed Patterns"] = None
    path = write_flavour(tmp_path, flavour, **made)
    with pytest.raises(FormatError, match=complaint) as caught:
        open_scan(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flavour", "changes", "complaint"),
    [
        ("kikuchipy", {"n_rows": 3}, "expected 9 patterns"),
        ("kikuchipy", {"pattern_height": None}, "found no EBSD/Header/pattern_height"),
        ("kikuchipy", {"pcx": CENTRES[:5, 0]}, "1 or 6 projection centres, found 5, 6"),
        ("bruker", {"Scan/EBSD/Data/DD": CENTRES[:4, 2]}, "1 or 6 projection centres, found 4, 6"),
        ("bruker", {"Grid Type": b"hexagonal"}, "Only square grids"),
        ("edax", {"nColumns": 4}, "expected 8 patterns"),
        ("oxford", {"1/EBSD/Data/Detector Distance": CENTRES[:1, 2]}, "centres, found 1, 6"),
        ("kikuchipy", {"manufacturer": b"Acme"}, "manufacturer 'acme'"),
        ("kikuchipy", {"manufacturer": np.zeros(0)}, "no manufacturer"),
        ("emsoft", {"EMheader/EBSD/ProgramName": one(b"EMEBSDDI.f90")}, "EMsoft"),
    ],
)
def test_a_header_that_contradicts_itself_or_is_of_another_kind_is_refused(
    flavour, changes, complaint, tmp_path
):
    path = write_flavour(tmp_path, flavour, **changes)
    with pytest.raises(FormatError, match=complaint):
        open_scan(path)


def test_brukers_region_of_interest_must_be_a_rectangle(tmp_path):
    places = {"Scan/EBSD/SEM/IX": [0, 1, 2, 0, 1, 1], "Scan/EBSD/SEM/IY": [0, 0, 0, 1, 1, 2]}
    with pytest.raises(FormatError, match="expected a rectangular region of interest"):
        open_scan(write_flavour(tmp_path, "bruker", **places))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda data: data[:-1], "expected 32400 bytes from Setting.txt, found 32399"),
        (lambda data: data[:-3600], "found 28800"),
        (lambda data: data * 2, "found 64800"),
        (lambda data: b"", "an empty file"),
    ],
)
def test_a_nordif_file_of_another_length_than_its_settings_say_is_refused(
    change, complaint, tmp_path
):
    folder = shutil.copytree(BUNDLED / "nordif", tmp_path / "nordif")
    path = folder / "Pattern.dat"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FormatError, match=complaint):
        open_scan(path)


def test_a_nordif_file_without_its_settings_is_refused(tmp_path):
    path = Path(shutil.copy(BUNDLED / "nordif/Pattern.dat", tmp_path))
    with pytest.raises(
        FormatError, match=r"expected Setting\.txt beside it, which has its size, found none"
    ):
        open_scan(path)


def test_files_of_no_known_kind_are_refused_and_named(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["spectra"] = np.zeros(5)
    (tmp_path / "text.h5").write_text("x,y\n1,2\n")
    (tmp_path / "text.ebsp").write_text("x,y\n1,2\n" * 500)
    (tmp_path / "scan.bcf").write_bytes(b"AAMVHFSS")
    (tmp_path / "scan").write_bytes(b"x")
    (tmp_path / "folder.up2").mkdir()
    for name, complaint in {
        "other.h5": "no manufacturer.*0 scans",
        "text.h5": "expected an HDF5 file, found something else",
        "text.ebsp": "Oxford ebsp",
        "scan.bcf": r"ends in \.up1, .*found \.bcf",
        "scan": "found no ending",
        "folder.up2": "expected a folder of images",
        "missing.up2": "expected a file, found none",
    }.items():
        with pytest.raises(FormatError, match=complaint) as caught:
            open_scan(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_a_truncated_hdf5_file_is_refused(tmp_path):
    path = cut(write_flavour(tmp_path, "kikuchipy"), 100)
    with pytest.raises(FormatError, match="truncated"):
        open_scan(path)


def test_an_archive_is_not_taken_for_a_source(archive_path):
    with pytest.raises(FormatError, match="found an ebsdarchive file; fit, query or export"):
        open_scan(archive_path)


def test_damaged_patterns_of_a_source_are_an_error_and_no_archive_is_made(tmp_path):
    path = write_flavour(tmp_path, "kikuchipy", **{PATTERNS_PATH["kikuchipy"]: None})
    with h5py.File(path, "r+") as file:
        file.create_dataset(
            PATTERNS_PATH["kikuchipy"], data=PATTERNS, chunks=(1, SY, SX), fletcher32=True
        )
        where = file[PATTERNS_PATH["kikuchipy"]].id.get_chunk_info(3).byte_offset
    content = bytearray(path.read_bytes())
    content[where + 11] ^= 4
    path.write_bytes(content)
    scan = open_scan(path)
    np.testing.assert_array_equal(scan.patterns.read(0, 3), PATTERNS[:3])
    with pytest.raises(FormatError, match=r"patterns: expected readable patterns, found damage"):
        scan.patterns.read(2, 5)
    with pytest.raises(FormatError, match="copy the file again"):
        ebsdarchive.compress(path, tmp_path / "a.h5", neural=False)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_file_cut_short_after_it_was_opened_is_an_error(tmp_path):
    path = up_file(tmp_path / "a.up1", PATTERNS, NX, NY)
    scan = open_scan(path)
    cut(path, SY * SX)
    with pytest.raises(FormatError, match="cut short since it was opened"):
        all_patterns(scan)
