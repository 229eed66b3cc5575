"""Maps beside patterns: .ang and .ctf files give grid, orientations and what else is not known."""

from __future__ import annotations

from pathlib import Path

import h5py
import kikuchipy
import numpy as np
import pytest
from orix.quaternion import Rotation
from vendor_files import (
    NX,
    NY,
    PATTERNS,
    SX,
    SY,
    N,
    all_patterns,
    ang_file,
    ctf_file,
    cut,
    up_file,
    write_flavour,
)

import ebsdarchive
from ebsdarchive import open_scan
from ebsdarchive.archive.file import open_archive
from ebsdarchive.errors import FormatError, GeometryError
from ebsdarchive.geometry import Grid

INDEXED = np.arange(N) != 1


def without_grid(folder: Path, patterns: np.ndarray = PATTERNS) -> Path:
    return up_file(folder / "a.up1", patterns, NX, NY, version=1)


def test_an_ang_file_gives_grid_orientations_phase_and_detector(tmp_path):
    scan = open_scan(without_grid(tmp_path), geometry=ang_file(tmp_path / "a.ang", NX, NY))
    assert scan.grid == Grid("square", NX, NY, 0.75, 0.5)
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS)
    angles = np.column_stack([0.1 * np.arange(N), np.full(N, 0.2), np.full(N, 0.3)])
    expected = Rotation.from_euler(angles).data
    found = scan.orientations
    np.testing.assert_allclose(found.quaternions[INDEXED], expected[INDEXED], atol=1e-5)
    assert np.isnan(found.quaternions[1]).all()
    np.testing.assert_array_equal(found.phase_id, np.where(INDEXED, 1, -1))
    np.testing.assert_array_equal(found.properties["iq"], 100 + np.arange(N))
    (phase,) = scan.phases
    assert (phase.phase_id, phase.name, phase.point_group) == (1, "Nickel", "432")
    assert phase.lattice == (3.52, 3.52, 3.52, 90, 90, 90)
    detector = scan.detector
    assert detector.pc_convention == "edax"
    np.testing.assert_allclose(detector.pc_original, [0.5123, 0.7345, 0.6456])
    np.testing.assert_allclose(detector.pc_bruker, [0.5123, 1 - 0.7345, 0.6456])  # 5 rows of 7
    assert (detector.sample_tilt_deg, detector.tilt_deg, detector.azimuth_deg) == (69.5, 5.25, -0.5)
    assert scan.microscope.working_distance_mm == 15.5


@pytest.mark.parametrize("even", [3, 4])
def test_a_hexagonal_ang_file_gives_the_rows_of_its_grid(even, tmp_path):
    grid = Grid("hexagonal", 4, 3, 0.75, 0.5, even)
    patterns = np.arange(grid.size * SY * SX, dtype=np.uint16).reshape(grid.size, SY, SX)
    path = up_file(tmp_path / "a.up2", patterns, 4, 3, hexagonal=True)
    map_file = ang_file(tmp_path / "a.ang", 4, 3, even)
    for source in (path, up_file(tmp_path / "b.up2", patterns, 4, 3, version=1)):
        scan = open_scan(source, geometry=map_file)
        assert scan.grid == grid
        assert len(scan.orientations.quaternions) == grid.size


@pytest.mark.parametrize("comma", [False, True])
@pytest.mark.parametrize("name", ["Ni", "Nickel (größer)"])
def test_a_ctf_file_gives_grid_orientations_and_phase_with_points_or_commas(comma, name, tmp_path):
    map_file = ctf_file(tmp_path / "a.ctf", NX, NY, comma, name)
    scan = open_scan(without_grid(tmp_path), geometry=map_file)
    assert scan.grid == Grid("square", NX, NY, 0.75, 0.5)
    angles = np.column_stack([10.0 * np.arange(N), np.full(N, 20.0), np.full(N, 30.0)])
    expected = Rotation.from_euler(angles, degrees=True).data
    np.testing.assert_allclose(scan.orientations.quaternions[INDEXED], expected[INDEXED], atol=1e-6)
    np.testing.assert_array_equal(scan.orientations.phase_id, np.where(INDEXED, 1, -1))
    np.testing.assert_array_equal(scan.orientations.properties["BC"], 100 + np.arange(N))
    (phase,) = scan.phases
    assert (phase.name, phase.space_group, phase.lattice[0]) == (name, 225, 3.52)
    assert scan.detector.sample_tilt_deg == 69.5
    assert scan.microscope.beam_energy_kev == 20
    assert scan.detector.pc_bruker is None


def test_angles_of_a_ctf_become_edaxs_by_90_degrees_about_the_normal(tmp_path, run_cli):
    """By hand: point 2 of the .ctf has (20, 20, 30) degrees in Oxford's frame, which is a quarter
    turn from EDAX's, so (110, 20, 30) there."""
    map_file = ctf_file(tmp_path / "map.ctf", NX, NY)
    source = without_grid(tmp_path)
    code, _, err = run_cli("compress", source, "--geometry", map_file, "--no-neural")
    assert code == 0, err
    archive = tmp_path / "a.archive.h5"
    assert open_archive(archive).scan().orientations.sample_frame == "oxford"
    for described in (run_cli("info", archive), run_cli("info", source, "--geometry", map_file)):
        assert "Ni, with orientations (Oxford's sample frame)" in described.out
    for name in ("a.oh5", "a.h5oina"):
        code, _, err = run_cli("export", archive, "-o", tmp_path / name)
        assert code == 0, err
    with h5py.File(tmp_path / "a.oh5") as file:
        edax = [file[f"Scan 1/EBSD/Data/{name}"][2] for name in ("Phi1", "Phi", "Phi2")]
    np.testing.assert_allclose(np.degrees(edax), [110, 20, 30], atol=1e-4)
    table = np.loadtxt(tmp_path / "a.ang")
    np.testing.assert_allclose(np.degrees(table[2, :3]), [110, 20, 30], atol=1e-3)
    with h5py.File(tmp_path / "a.h5oina") as file:
        np.testing.assert_allclose(np.degrees(file["1/EBSD/Data/Euler"][2]), [20, 20, 30], 1e-5)


def test_angles_of_an_ang_become_oxfords_by_90_degrees_about_the_normal(tmp_path, run_cli):
    map_file = ang_file(tmp_path / "map.ang", NX, NY)  # point 2: (0.2, 0.2, 0.3) rad
    source = without_grid(tmp_path)
    assert run_cli("compress", source, "--geometry", map_file, "--no-neural").code == 0
    assert run_cli("export", tmp_path / "a.archive.h5", "-o", tmp_path / "a.h5oina").code == 0
    with h5py.File(tmp_path / "a.h5oina") as file:
        found = file["1/EBSD/Data/Euler"][2]
    np.testing.assert_allclose(found, [0.2 - np.pi / 2 + 2 * np.pi, 0.2, 0.3], rtol=1e-5)


def test_crystal_maps_for_kikuchipy_are_in_its_own_frame_whatever_the_source_has(tmp_path, run_cli):
    map_file = ctf_file(tmp_path / "map.ctf", NX, NY)
    source = without_grid(tmp_path)
    code, _, err = run_cli(
        "compress", source, "--geometry", map_file, "--no-neural", "--profile", "compat"
    )
    assert code == 0, err
    archive = open_archive(tmp_path / "a.archive.h5")
    for signal in (kikuchipy.load(archive.path, lazy=True), archive.to_kikuchipy()):
        angles = signal.xmap[0, 2].rotations.to_euler(degrees=True)
        np.testing.assert_allclose(angles, [[110, 20, 30]], atol=1e-4)


def test_a_source_keeps_what_it_knows_itself(tmp_path):
    path = write_flavour(tmp_path, "edax")
    alone = open_scan(path)
    map_file = ang_file(tmp_path / "a.ang", NX, NY, SampleTiltAngle="60.0", WorkingDistance="9.0")
    scan = open_scan(path, geometry=map_file)
    assert scan.grid == alone.grid
    np.testing.assert_array_equal(scan.detector.pc_bruker, alone.detector.pc_bruker)
    assert scan.detector.sample_tilt_deg == 69.5
    assert scan.microscope.working_distance_mm == 16.5
    assert scan.orientations is not None


def test_an_archive_keeps_the_geometry_file_and_records_it(tmp_path, run_cli):
    map_file = ang_file(tmp_path / "map.ang", NX, NY)
    source = without_grid(tmp_path)
    code, _, err = run_cli("compress", source, "--geometry", map_file, "--no-neural")
    assert code == 0, err
    archive = open_archive(tmp_path / "a.archive.h5")
    assert archive.grid == Grid("square", NX, NY, 0.75, 0.5)
    assert archive.scan("raw").orientations is not None
    with h5py.File(archive.path) as file:
        kept = file["archive/source/files/map.ang"][()].tobytes()
        assert kept == map_file.read_bytes()
        (activity,) = file["archive/provenance"].values()
        assert "map.ang" in activity["prov"][()].decode()
    described = ebsdarchive.info(source, geometry=map_file)
    assert described["scans"][0]["grid"]["n_rows"] == NY


@pytest.mark.parametrize(
    ("columns", "rows", "changes", "complaint"),
    [
        (NX, NY + 1, {}, "with its 6 points, found 9 in 3 rows of 3"),
        (NY, NX, {}, r"2 rows of 3 \(square\), found 3 rows of 2"),
        (NX, NY, {"XSTEP:": "0.8"}, "with a step along x of 0.75 um, found 0.8 um"),
    ],
)
def test_a_map_of_another_scan_is_refused(columns, rows, changes, complaint, tmp_path):
    path = up_file(tmp_path / "a.up1", PATTERNS, NX, NY)
    map_file = ang_file(tmp_path / "a.ang", columns, rows, **changes)
    with pytest.raises(GeometryError, match=complaint) as caught:
        open_scan(path, geometry=map_file)
    assert str(caught.value).startswith(f"{map_file}: expected ")


def test_points_in_another_order_than_the_grid_are_refused(tmp_path):
    map_file = ang_file(tmp_path / "a.ang", NX, NY)
    lines = map_file.read_text().splitlines()
    lines[-1], lines[-2] = lines[-2], lines[-1]
    map_file.write_text("\n".join(lines))
    with pytest.raises(GeometryError, match="expected point 4 at"):
        open_scan(without_grid(tmp_path), geometry=map_file)


@pytest.mark.parametrize("make", [ang_file, ctf_file])
@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda p: cut(p, 80), "expected a sound table of points|expected 6 points"),
        (lambda p: p.write_text("1 2 3\n"), "expected a header with the whole number"),
        (
            lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)),
            "a header with the whole number",
        ),
        (lambda p: p.write_bytes(b""), "empty file"),
        (lambda p: p.unlink(), "expected a file, found none"),
    ],
)
def test_a_damaged_geometry_file_is_refused(make, damage, complaint, tmp_path):
    map_file = make(tmp_path / ("a.ang" if make is ang_file else "a.ctf"), NX, NY)
    damage(map_file)
    with pytest.raises(FormatError, match=complaint) as caught:
        open_scan(without_grid(tmp_path), geometry=map_file)
    assert "\n" not in str(caught.value)


def test_another_kind_of_file_is_no_geometry(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(FormatError, match=r"ends in \.ang, \.ctf, \.edaxh5, found \.txt"):
        open_scan(without_grid(tmp_path), geometry=tmp_path / "a.txt")
