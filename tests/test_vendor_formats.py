"""Readers of our own: EDAX, Oxford, ThermoFisher and APEX, beside other readers where there are."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orix.quaternion import Rotation
from vendor_files import (
    CENTRES,
    FLAVOURS,
    NX,
    NY,
    PATTERNS,
    SX,
    SY,
    N,
    all_patterns,
    apex_file,
    cut,
    ebsp_file,
    matrices,
    one,
    pat_file,
    up_file,
    write_flavour,
    write_hdf5,
)

import ebsdarchive
from ebsdarchive import open_scan
from ebsdarchive.errors import FormatError
from ebsdarchive.exchange import scan_names
from ebsdarchive.geometry import Grid

WIDE = (PATTERNS.astype(np.uint16) * 257) ^ 3  # 16 bit, not a multiple of 8 bit counts


def pyebsdindex_patterns(path: Path) -> np.ndarray:
    from pyebsdindex import ebsd_pattern

    return ebsd_pattern.get_pattern_file_obj(str(path)).read_data(returnArrayOnly=True)[0]


def load(path: Path) -> Any:
    import kikuchipy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kikuchipy.load(str(path))


# ---------------------------------------------------------------- EDAX up1 and up2


@pytest.mark.parametrize(("suffix", "patterns"), [("up1", PATTERNS), ("up2", WIDE)])
def test_up_files_of_version_0_are_width_height_and_patterns(suffix, patterns, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(struct.pack("<2I", SX, SY) + patterns.tobytes())
    scan = open_scan(path)
    assert scan.grid == Grid("square", N, 1)
    assert scan.source.metadata["version"] == 0
    assert scan.source.header == struct.pack("<2I", SX, SY)
    np.testing.assert_array_equal(all_patterns(scan), patterns)
    cut(path, 1)
    with pytest.raises(FormatError, match=r"expected .*version 0, 1, 3, 4 or 5"):
        open_scan(path)


@pytest.mark.parametrize(("suffix", "patterns"), [("up1", PATTERNS), ("up2", WIDE)])
def test_up_files_give_what_pyebsdindex_and_kikuchipy_give(suffix, patterns, tmp_path):
    path = up_file(tmp_path / f"a.{suffix}", patterns, NX, NY)
    ours = all_patterns(open_scan(path))
    np.testing.assert_array_equal(ours, patterns)
    np.testing.assert_array_equal(pyebsdindex_patterns(path).reshape(ours.shape), ours)
    np.testing.assert_array_equal(load(path).data.reshape(ours.shape), ours)


# ---------------------------------------------------------------- EDAX OIM HDF5


def with_maps(flavour: str, n: int = N) -> dict[str, Any]:
    """A flavour's file with angles of all points, the second not indexed, and one phase."""
    angles = np.linspace(0.1, 1.2, 3 * n, dtype=np.float32).reshape(n, 3)
    ids = np.ones(n, np.uint8)
    ids[1] = 0
    quality = np.arange(n, dtype=np.float32)
    if flavour == "edax":
        data = {"Phi1": angles[:, 0], "Phi": angles[:, 1], "Phi2": angles[:, 2], "IQ": quality}
        confidence = np.where(ids == 0, -1, 0.5).astype(np.float32)
        data |= {"CI": confidence, "Phase": np.zeros(n, np.int8)}
        phase = {"MaterialName": one(b"Nickel"), "SpaceGroupNumber": one(225)}
        for key in ("a", "b", "c", "alpha", "beta", "gamma"):
            phase[f"Lattice Constant {key}"] = one(3.52 if len(key) == 1 else 90.0)
        folder, phases = "Map", "Phase"
    elif flavour == "bruker":
        degrees = np.rad2deg(angles)
        data = {"phi1": degrees[:, 0], "PHI": degrees[:, 1], "phi2": degrees[:, 2], "MAD": quality}
        data["Phase"] = ids
        lattice = np.array([3.52, 3.52, 3.52, 90, 90, 90])
        phase = {"Name": b"Nickel", "IT": 225, "LatticeConstants": lattice}
        folder, phases = "Scan", "Phases"
    else:
        data = {"Euler": angles, "Phase": ids, "Band Contrast": quality}
        phase = {"Phase Name": one(b"Nickel"), "Space Group": one(225)}
        phase["Lattice Dimensions"] = np.full(3, 3.52, np.float32)
        phase["Lattice Angles"] = np.full(3, np.pi / 2, np.float32)
        folder, phases = "1", "Phases"
    content = FLAVOURS[flavour]()
    content |= {f"{folder}/EBSD/Data/{key}": value for key, value in data.items()}
    return content | {f"{folder}/EBSD/Header/{phases}/1/{key}": v for key, v in phase.items()}


@pytest.mark.parametrize("flavour", ["edax", "bruker", "oxford"])
def test_vendors_maps_of_orientations_and_phases_come_along(flavour, tmp_path):
    path = tmp_path / ("a.h5oina" if flavour == "oxford" else "a.h5")
    scan = open_scan(write_hdf5(path, with_maps(flavour)))
    angles = np.linspace(0.1, 1.2, 3 * N).reshape(N, 3)
    expected = Rotation.from_euler(angles).data
    found = scan.orientations
    indexed = np.arange(N) != 1
    np.testing.assert_allclose(found.quaternions[indexed], expected[indexed], atol=1e-6)
    assert np.isnan(found.quaternions[1]).all()
    np.testing.assert_array_equal(found.phase_id, np.where(indexed, 1, -1))
    (phase,) = scan.phases
    assert (phase.phase_id, phase.name, phase.space_group) == (1, "Nickel", 225)
    np.testing.assert_allclose(phase.lattice, [3.52] * 3 + [90] * 3, rtol=1e-6)
    quality = {"edax": "image_quality", "bruker": "mean_angular_deviation"}
    np.testing.assert_array_equal(
        found.properties[quality.get(flavour, "band_contrast")], np.arange(N)
    )


def test_brukers_orientations_are_put_into_the_order_of_the_map_as_its_patterns_are(tmp_path):
    order = np.array([4, 0, 5, 2, 1, 3])
    content = with_maps("bruker")
    for name, value in content.items():
        if "/Data/" in name:
            content[name] = np.asarray(value)[order]
    content |= {"Scan/SEM/IX": 11 + order % NX, "Scan/SEM/IY": 5 + order // NX}
    sorted_scan = open_scan(write_hdf5(tmp_path / "sorted.h5", with_maps("bruker")))
    scan = open_scan(write_hdf5(tmp_path / "a.h5", content))
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS)
    np.testing.assert_array_equal(scan.detector.pc_bruker, CENTRES)
    np.testing.assert_array_equal(
        scan.orientations.quaternions, sorted_scan.orientations.quaternions
    )
    np.testing.assert_array_equal(scan.orientations.phase_id, sorted_scan.orientations.phase_id)


@pytest.mark.parametrize("even", [2, 3])
def test_an_oh5_file_of_a_hexagonal_grid_is_read_with_the_true_number_of_points(even, tmp_path):
    grid = Grid("hexagonal", 3, 3, 0.75, 0.5, even)
    patterns = np.arange(grid.size * SY * SX, dtype=np.uint16).reshape(grid.size, SY, SX)
    content = with_maps("edax", grid.size) | {
        "Map/EBSD/Data/Pattern": patterns,
        "Map/EBSD/Header/Grid Type": one(b"HexGrid"),
        "Map/EBSD/Header/nRows": one(3),
    }
    scan = open_scan(write_hdf5(tmp_path / "a.oh5", content))
    assert scan.grid == grid
    np.testing.assert_array_equal(all_patterns(scan), patterns)
    assert len(scan.orientations.quaternions) == grid.size


@pytest.mark.parametrize(
    ("flavour", "ending"),
    [("edax", ".oh5"), ("edax", ".h5"), ("bruker", ".h5"), ("oxford", ".h5oina")],
)
def test_hdf5_files_give_what_pyebsdindex_gives(flavour, ending, tmp_path):
    content = {key.strip(): value for key, value in with_maps(flavour).items()}
    if flavour == "oxford":  # PyEBSDIndex wants arrays of one
        content |= {key: one(value) for key, value in content.items() if np.ndim(value) == 0}
    path = write_hdf5(tmp_path / f"a{ending}", content)
    ours = all_patterns(open_scan(path))
    np.testing.assert_array_equal(pyebsdindex_patterns(path).reshape(ours.shape), ours)


# ---------------------------------------------------------------- Oxford H5OINA


def test_processed_and_unprocessed_patterns_of_oxford_are_two_scans(tmp_path):
    signed = PATTERNS.astype(np.int16) * 130
    path = write_flavour(tmp_path, "oxford", **{"1/EBSD/Data/Unprocessed Patterns": signed})
    assert scan_names(path) == ("1", "1 unprocessed")
    np.testing.assert_array_equal(all_patterns(open_scan(path, scan="1")), PATTERNS)
    for choice in ("1 unprocessed", 2, "2"):
        scan = open_scan(path, scan=choice)
        assert scan.patterns.dtype == np.uint16
        np.testing.assert_array_equal(all_patterns(scan), signed)
        assert scan.source.hdf5_patterns == "/1/EBSD/Data/Unprocessed Patterns"
    signed[4, 2, 2] = -5
    path = write_flavour(tmp_path, "oxford", **{"1/EBSD/Data/Unprocessed Patterns": signed})
    scan = open_scan(path, scan=2)
    np.testing.assert_array_equal(scan.patterns.read(0, 4), signed[:4])
    with pytest.raises(FormatError, match="expected counts from 0, found -5"):
        scan.patterns.read(3, 5)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6, 7, 8])
def test_every_version_of_h5oina_is_read(version, tmp_path):
    mode = {"Camera Mode": None, "Camera Binning Mode": b"Speed 2 (156x128 px)"}
    changes = {"Format Version": f"{version}.0".encode(), **(mode if version < 7 else {})}
    scan = open_scan(write_flavour(tmp_path, "oxford", **changes))
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS)
    assert scan.grid == Grid("square", NX, NY, 0.75, 0.5)
    np.testing.assert_array_equal(scan.detector.pc_original, CENTRES.astype(np.float64))
    assert scan.detector.binning == (8 if version < 7 else 2)


# ---------------------------------------------------------------- Oxford ebsp


@pytest.mark.parametrize("version", range(7))
@pytest.mark.parametrize("suffix", ["ebsp", "uebsp"])
def test_ebsp_files_of_small_patterns_are_read_too(version, suffix, tmp_path):
    patterns = PATTERNS if suffix == "ebsp" else WIDE
    path = ebsp_file(tmp_path / f"a.{suffix}", patterns, NX, [1, 0, 2, 5, 3, 4], version)
    scan = open_scan(path)
    np.testing.assert_array_equal(all_patterns(scan), patterns)
    np.testing.assert_array_equal(scan.patterns.read(1, 3), patterns[1:3])
    assert scan.grid == (Grid("square", NX, NY, 0.75, 0.75) if version else Grid("square", N, 1))
    assert scan.source.format == f"Oxford {suffix} version {version}"


def test_an_ebsp_file_gives_what_kikuchipy_gives(tmp_path):
    patterns = np.random.default_rng(3).integers(0, 251, (6, 61, 60)).astype(np.uint16)
    path = ebsp_file(tmp_path / "a.ebsp", patterns, 3, [1, 0, 2, 5, 3, 4], 5)
    theirs = load(path).data.reshape(patterns.shape)
    np.testing.assert_array_equal(all_patterns(open_scan(path)), theirs)


def test_an_ebsp_file_of_some_points_alone_is_one_row_and_keeps_their_places(tmp_path):
    path = ebsp_file(tmp_path / "a.ebsp", PATTERNS, NX, [0, 1, 2, 3, 4, 5], 2)
    content = bytearray(path.read_bytes())
    content[8 + 8 * 2 : 8 + 8 * 3] = bytes(8)  # the third is not stored
    path.write_bytes(content)
    scan = open_scan(path)
    assert scan.grid == Grid("square", N - 1, 1)
    np.testing.assert_array_equal(all_patterns(scan), np.delete(PATTERNS, 2, axis=0))
    assert scan.source.metadata["stored"].startswith("5 of 6 points")
    assert scan.source.header == bytes(content[: 8 + 8 * N])


def patched(path: Path, offset: int, value: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[offset : offset + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda p: patched(p, 8 + 8 * N, b"\1"), "found a compressed Oxford ebsp file .version 2."),
        (lambda p: patched(p, 0, struct.pack("<q", -7)), "version 0 to 6, found version 7"),
        (lambda p: patched(p, 8 + 8 * N + 4, b"\x63"), "pattern of 8 or 16 bit, found 99 x 7"),
        (lambda p: patched(p, 8 + 8, struct.pack("<q", 1 << 40)), "table of the places"),
        (lambda p: patched(p, 8 + 8, struct.pack("<q", -3)), "table of the places"),
        (lambda p: patched(p, 8 + 8, struct.pack("<q", 8 + 8 * N + 7)), "some that overlap"),
        (lambda p: cut(p, 1), "is the file truncated"),
        (lambda p: p.write_bytes(p.read_bytes()[:30]), "Oxford ebsp"),
        (lambda p: p.write_bytes(p.read_bytes()[:5]), "found 5 bytes"),
        (lambda p: p.write_bytes(bytes(4096)), "table of the places"),
    ],
)
def test_a_damaged_or_compressed_ebsp_file_is_refused_by_name(damage, complaint, tmp_path):
    path = ebsp_file(tmp_path / "a.ebsp", PATTERNS, NX, list(range(N)), 2)
    damage(path)
    with pytest.raises(FormatError, match=complaint) as caught:
        open_scan(path)
    assert "\n" not in str(caught.value)


def test_an_ebsp_file_whose_places_contradict_its_order_is_an_error_not_a_wrong_map(tmp_path):
    path = ebsp_file(tmp_path / "a.ebsp", PATTERNS, NX, list(range(N)), 5)
    places = path.read_bytes()[9 : 9 + 8 * N]
    patched(path, 9 + 8, places[16:24] + places[8:16])  # the second and third point
    scan = open_scan(path)
    with pytest.raises(FormatError, match="found that of point 2 at 1"):
        all_patterns(scan)


def test_a_compressed_pattern_among_others_is_an_error_when_it_is_read(tmp_path):
    path = ebsp_file(tmp_path / "a.ebsp", PATTERNS, NX, list(range(N)), 2)
    block = 16 + SX * SY + 18
    patched(path, 8 + 8 * N + 3 * block, b"\1")
    scan = open_scan(path)
    np.testing.assert_array_equal(scan.patterns.read(0, 3), PATTERNS[:3])
    with pytest.raises(FormatError, match=r"expected uncompressed patterns.*at point 3"):
        scan.patterns.read(2, 5)


@given(
    number=st.sampled_from([-1, -2, -5, -6, 0, 17, 40]),
    table=st.lists(st.integers(0, 200) | st.integers(-(2**63), 2**63 - 1), max_size=4),
    body=st.binary(max_size=200),
)
def test_any_bytes_with_the_name_of_an_ebsp_file_are_read_or_refused(
    tmp_path_factory, number, table, body
):
    path = tmp_path_factory.getbasetemp() / "any.ebsp"
    path.write_bytes(struct.pack(f"<{1 + len(table)}q", number, *table) + body)
    try:
        patterns = all_patterns(open_scan(path))
    except FormatError:
        return
    assert patterns.nbytes <= path.stat().st_size


# ---------------------------------------------------------------- ThermoFisher


def test_a_pat_file_gives_its_map_background_and_step(tmp_path):
    background = WIDE[0] // 2
    path = pat_file(tmp_path / "a.pat", WIDE, NX, background=background)
    assert open_scan(path).grid == Grid("square", NX, NY)
    (tmp_path / "a.ebsd").write_bytes(b"x" * 60 + struct.pack("<d", 0.25) + b"y" * 37)
    scan = open_scan(path)
    assert scan.grid == Grid("square", NX, NY, 0.25, 0.25)
    np.testing.assert_array_equal(all_patterns(scan), WIDE)
    np.testing.assert_array_equal(scan.patterns.read(2, 4), WIDE[2:4])
    np.testing.assert_array_equal(scan.static_background, background)
    assert scan.source.metadata["camera_bits"] == 12
    theirs = pyebsdindex_patterns(path).reshape(WIDE.shape)
    np.testing.assert_array_equal(all_patterns(scan), theirs)
    ebsdarchive.compress(path, tmp_path / "a.h5", profile="compat", neural=False)
    with h5py.File(tmp_path / "a.h5") as file:
        kept = file["archive/source/files/a.ebsd"][()].tobytes()
        assert kept == (tmp_path / "a.ebsd").read_bytes()


@pytest.mark.parametrize("step", [0.0, -1.0, 1e-300, 1e9, np.nan])
def test_bytes_that_are_no_step_leave_it_unknown(step, tmp_path):
    path = pat_file(tmp_path / "a.pat", PATTERNS, NX)
    path.with_suffix(".ebsd").write_bytes(struct.pack("<d", step) + bytes(37))
    assert open_scan(path).grid == Grid("square", NX, NY)


def test_a_pat_file_that_is_no_whole_map_is_one_row(tmp_path):
    path = pat_file(tmp_path / "a.pat", WIDE, NX, whole_map=False)
    scan = open_scan(path)
    assert scan.grid == Grid("square", N, 1)
    assert scan.static_background is None
    np.testing.assert_array_equal(all_patterns(scan), WIDE)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda p: cut(pat_file(p, WIDE, NX), 1), "expected 6 patterns.*found 5 and 77 bytes more"),
        (lambda p: cut(pat_file(p, WIDE, NX), 78), "expected 6 patterns.*found 5"),
        (lambda p: pat_file(p, WIDE, NX, version=2), "version 1, found version 2"),
        (lambda p: pat_file(p, WIDE[:, :, :0], NX), "at least 1 x 1 pixel"),
        (lambda p: p.write_bytes(b"\1\0\0\0"), "header of 25 bytes, found 4"),
    ],
)
def test_a_pat_file_whose_header_and_size_disagree_is_refused(make, complaint, tmp_path):
    make(tmp_path / "a.pat")
    with pytest.raises(FormatError, match=complaint):
        open_scan(tmp_path / "a.pat")


def test_a_pat_file_out_of_order_is_an_error_not_a_wrong_map(tmp_path):
    places = [(0, 0), (1, 0), (2, 0), (1, 1), (0, 1), (2, 1)]
    scan = open_scan(pat_file(tmp_path / "a.pat", WIDE, NX, places=places))
    with pytest.raises(FormatError, match="found pattern 4 out of order"):
        all_patterns(scan)


@given(
    numbers=st.lists(st.integers(0, 3) | st.integers(0, 2**32 - 1), min_size=5, max_size=5),
    flags=st.tuples(st.integers(-1, 0), st.integers(0, 255), st.integers(-1, 0)),
    body=st.binary(max_size=120),
)
def test_any_bytes_with_the_name_of_a_pat_file_are_read_or_refused(
    tmp_path_factory, numbers, flags, body
):
    path = tmp_path_factory.getbasetemp() / "any.pat"
    path.write_bytes(struct.pack("<5IhBh", *numbers, *flags) + body)
    try:
        patterns = all_patterns(open_scan(path))
    except FormatError:
        return
    assert patterns.nbytes <= len(body)


# ---------------------------------------------------------------- EDAX APEX


def test_an_apex_map_is_joined_with_its_pattern_file(tmp_path):
    path = apex_file(tmp_path / "project.edaxh5", {"OIM Map 1": (NX, NY), "OIM Map 2": (4, 2)})
    up_file(tmp_path / "first.up1", PATTERNS, NX, NY)
    second = np.concatenate([PATTERNS, PATTERNS[:2]])
    up_file(tmp_path / "second.up2", second.astype(np.uint16), 4, 2)
    (tmp_path / "broken.up1").write_bytes(b"not a pattern file")
    assert scan_names(path) == ("OIM Map 1", "OIM Map 2")
    scan = open_scan(path)
    assert scan.grid == Grid("square", NX, NY, 0.75, 0.5)
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS)
    expected = Rotation.from_matrix(matrices(N)).data
    np.testing.assert_allclose(
        np.abs((scan.orientations.quaternions * expected).sum(axis=1))[1:], 1, atol=1e-6
    )
    np.testing.assert_array_equal(scan.orientations.phase_id, [-1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(scan.orientations.properties["image_quality"], np.arange(N))
    (phase,) = scan.phases
    assert (phase.name, phase.space_group, phase.lattice[0]) == ("Nickel", None, 3.52)
    assert scan.source.metadata["geometry"]["version"] == "2.5.1001.0001"
    np.testing.assert_array_equal(all_patterns(open_scan(path, scan="OIM Map 2")), second)
    assert [scan["name"] for scan in ebsdarchive.info(path)["scans"]] == ["OIM Map 1", "OIM Map 2"]
    ebsdarchive.compress(path, tmp_path / "a.h5", profile="compat", neural=False)
    with h5py.File(tmp_path / "a.h5") as file:
        kept = file["archive/source/files/project.edaxh5"][()].tobytes()
    assert kept == path.read_bytes()


def test_of_several_fitting_pattern_files_the_one_of_the_maps_name_is_taken(tmp_path):
    path = apex_file(tmp_path / "project.edaxh5", {"OIM Map 1": (NX, NY)})
    with pytest.raises(FormatError, match=r"found none that fits among no such files"):
        open_scan(path)
    up_file(tmp_path / "a.up1", PATTERNS, NX, NY)
    up_file(tmp_path / "b.up1", PATTERNS[::-1], NX, NY)
    with pytest.raises(FormatError, match=r"found a\.up1, b\.up1; open the pattern file itself"):
        open_scan(path)
    np.testing.assert_array_equal(
        all_patterns(open_scan(tmp_path / "b.up1", geometry=path)), PATTERNS[::-1]
    )
    up_file(tmp_path / "sample_OIM Map 1.up1", PATTERNS + 1, NX, NY)
    np.testing.assert_array_equal(all_patterns(open_scan(path)), PATTERNS + 1)


def test_an_apex_file_without_maps_or_damaged_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.edaxh5", "w") as file:
        file["Project/Sample/Area 1/Live Map 1/SPC"] = np.zeros(5)
    with pytest.raises(FormatError, match="expected an EDAX APEX map"):
        open_scan(tmp_path / "a.edaxh5")
    path = apex_file(tmp_path / "b.edaxh5", {"OIM Map 1": (NX, NY)})
    with h5py.File(path, "r+") as file:
        file["Project/Sample/Area 1/OIM Map 1/Sample/Number Of Rows"][0] = 5
    with pytest.raises(FormatError, match="expected points for 5 rows of 3, found 6"):
        open_scan(path)
    cut(path, 200)
    with pytest.raises(FormatError, match="truncated"):
        open_scan(path)
