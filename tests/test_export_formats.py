"""What exports say besides the patterns: geometry, orientations, who wrote them; and safety."""

from __future__ import annotations

import json
import shutil
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive import export, open_archive, open_scan, query
from ebsdarchive.crystal_map import in_sample_frame
from ebsdarchive.errors import ArgumentError, MissingLayerError, OutputError
from ebsdarchive.exchange import writers
from ebsdarchive.exchange.writers import write_patterns
from ebsdarchive.exchange.writing.job import Job
from ebsdarchive.exchange.writing.registry import WRITE_FORMATS, choose_format
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import ArrayPatterns, Detector, Orientations, Scan

FORMATS = {entry.key: entry for entry in WRITE_FORMATS}
EXPORTED = [entry.key for entry in WRITE_FORMATS if entry.key != "picture"]
FOLDERS = ("tiff-folder", "png-folder", "zarr")


def name_for(key: str) -> str:
    """A file name for a format."""
    return "scan" + (FORMATS[key].endings or ("",))[0]


def all_bytes(path: Path) -> bytes:
    """The content of a file, or of all files of a folder."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return b"".join(file.read_bytes() for file in files)


@pytest.fixture(scope="module")
def small(make_scan, make_archive) -> tuple[Scan, Path]:
    """A described scan of 8 bit and of equal steps, which all formats hold, and its archive."""
    scan = make_scan(4, 6, dtype="uint8", step_um=(0.75, 0.75))
    return scan, make_archive(scan)


# ---------------------------------------------------------------- projection centres

# Bruker's (0.45, 0.3, 0.6) in each convention, worked out by hand from kikuchipy's documentation.
# Wide: 40 rows, 60 columns; tall: 60 rows, 40 columns; unbinned pixels of 50 um, binned by 2.
BRUKER = (0.45, 0.3, 0.6)
BY_HAND = {
    ("edax", (40, 60)): (0.45, 0.7, 0.6),  # z in the smaller side, which is the height
    ("edax", (60, 40)): (0.45, 0.7, 0.9),  # 0.6 * 60 rows = 36 px = 0.9 * 40 columns
    ("oxford", (40, 60)): (0.45, 28 / 60, 24 / 60),  # 28 px from below, 24 px away, of 60 columns
    ("oxford", (60, 40)): (0.45, 42 / 40, 36 / 40),
    ("emsoft5", (40, 60)): (6.0, 16.0, 2400.0),  # 3 and 8 binned px from the centre; 24 px away
    ("emsoft5", (60, 40)): (4.0, 24.0, 3600.0),
    ("bruker", (40, 60)): BRUKER,
    ("bruker", (60, 40)): BRUKER,
}


@pytest.fixture(scope="module", params=[(40, 60), (60, 40)], ids=["wide", "tall"])
def placed(request, make_scan, make_archive) -> tuple[tuple[int, int], Path]:
    """An archive whose projection centre is `BRUKER`, and the shape of its detector."""
    shape = request.param
    scan = make_scan(2, 3, *shape, dtype="uint8", step_um=(0.75, 0.75))
    detector = Detector(
        shape, np.array(BRUKER), sample_tilt_deg=70.0, tilt_deg=5.25, pixel_size_um=50.0, binning=2
    )
    return shape, make_archive(replace(scan, detector=detector))


@pytest.mark.parametrize(
    "key",
    [entry.key for entry in WRITE_FORMATS if entry.convention is not None],
)
def test_the_json_holds_the_projection_centre_in_the_convention_of_the_target(
    key, placed, tmp_path
):
    shape, archive = placed
    written = export(archive, tmp_path / name_for(key), format=key)
    beside = json.loads(Path(written.sidecar).read_text(encoding="utf-8"))
    convention = FORMATS[key].convention
    assert beside["projection_centre_convention"] == convention
    np.testing.assert_allclose(beside["projection_centre"], BY_HAND[convention, shape], atol=1e-12)
    assert (beside["sample_tilt_deg"], beside["detector_tilt_deg"]) == (70.0, 5.25)


def test_edax_h5_holds_the_projection_centre_in_edaxs_convention(placed, tmp_path):
    shape, archive = placed
    export(archive, tmp_path / "a.oh5")
    with h5py.File(tmp_path / "a.oh5") as file:
        header = file["Scan 1/EBSD/Header"]
        centre = [header[f"Pattern Center Calibration/{axis}-star"][0] for axis in "xyz"]
        np.testing.assert_allclose(centre, BY_HAND["edax", shape], rtol=1e-6)
        assert header["Sample Tilt"][0] == 70
        assert header["Camera Elevation Angle"][0] == 5.25
        assert (header["Pattern Height"][0], header["Pattern Width"][0]) == shape


def test_h5oina_holds_the_projection_centre_of_each_point_in_oxfords_convention(placed, tmp_path):
    shape, archive = placed
    export(archive, tmp_path / "a.h5oina")
    with h5py.File(tmp_path / "a.h5oina") as file:
        data, header = file["1/EBSD/Data"], file["1/EBSD/Header"]
        names = ("Pattern Center X", "Pattern Center Y", "Detector Distance")
        centre = np.stack([data[name] for name in names], axis=1)
        np.testing.assert_allclose(centre, [BY_HAND["oxford", shape]] * 6, rtol=1e-6)
        assert header["Tilt Angle"][0] == pytest.approx(np.radians(70))
        assert header["Detector Orientation Euler"][0, 1] == pytest.approx(np.radians(95.25))
        np.testing.assert_allclose(data["Beam Position X"], [-0.75, 0, 0.75] * 2)
        np.testing.assert_allclose(data["Beam Position Y"], [0.375] * 3 + [-0.375] * 3)


@pytest.mark.parametrize("name", ["a.h5", "edax.h5", "a.h5oina"])
def test_kikuchipy_finds_the_same_projection_centre_and_tilts_in_every_flavour(
    name, placed, tmp_path
):
    import kikuchipy

    shape, archive = placed
    key = "edax-h5" if name == "edax.h5" else None
    export(archive, tmp_path / name, format=key)
    detector = kikuchipy.load(str(tmp_path / name)).detector
    assert detector.shape == shape
    np.testing.assert_allclose(detector.pc.reshape(-1, 3)[0], BRUKER, rtol=1e-6)
    assert detector.sample_tilt == pytest.approx(70)
    assert detector.tilt == pytest.approx(5.25, abs=1e-4)


def test_emsoft_gets_brukers_centre_where_its_own_units_are_not_known(make_archive, tmp_path):
    archive = make_archive(described=False, dtype="uint8")
    written = export(archive, tmp_path / "a.data")
    beside = json.loads(Path(written.sidecar).read_text(encoding="utf-8"))
    assert beside["projection_centre_convention"] == "bruker"
    assert len(beside["projection_centre_of_points"]) == 35


# ---------------------------------------------------------------- orientations


@pytest.fixture(scope="module")
def turned(make_scan, make_archive) -> tuple[np.ndarray, Path]:
    """Bunge angles in radians of a scan whose point 3 is not indexed, and its archive."""
    from orix.quaternion import Rotation

    scan = make_scan(4, 6, dtype="uint8", step_um=(0.75, 0.5))
    rng = np.random.default_rng(3)
    angles = rng.uniform([0, 0.1, 0], [2 * np.pi, 3, 2 * np.pi], (24, 3))
    quaternions = np.array(Rotation.from_euler(angles).data)
    phase_id = np.array([0, 1] * 12, np.int32)
    phase_id[3], quaternions[3] = -1, np.nan
    properties = {"confidence": rng.random(24), "fit": rng.random(24), "iq": rng.random(24) * 99}
    orientations = Orientations(quaternions, phase_id, properties)
    return angles, make_archive(replace(scan, orientations=orientations))


def test_edax_h5_holds_angles_phases_and_quality(turned, tmp_path):
    angles, archive = turned
    export(archive, tmp_path / "a.oh5")
    given = open_archive(archive).scan().orientations
    indexed = np.arange(24) != 3
    with h5py.File(tmp_path / "a.oh5") as file:
        data, phases = file["Scan 1/EBSD/Data"], file["Scan 1/EBSD/Header/Phase"]
        for name, expected in zip(("Phi1", "Phi", "Phi2"), angles.T, strict=True):
            np.testing.assert_allclose(data[name][indexed], expected[indexed], atol=1e-5)
            assert data[name][3] == pytest.approx(4 * np.pi)
        np.testing.assert_array_equal(data["Phase"][:5], [1, 2, 1, 0, 1])
        np.testing.assert_allclose(data["CI"][indexed], given.properties["confidence"][indexed])
        assert (data["CI"][3], data["Fit"][3]) == (-1, 180)
        assert [phases[f"{n}/MaterialName"][0].decode() for n in (1, 2)] == ["Ni (ß)", "Ti α"]
        assert [phases[f"{n}/Symmetry"][0] for n in (1, 2)] == [43, 62]
        assert phases["2/Lattice Constant c"][0] == pytest.approx(4.68)
        np.testing.assert_allclose(data["X Position"][:7], [*np.arange(6) * 0.75, 0])


def test_h5oina_holds_angles_in_oxfords_sample_frame(turned, tmp_path):
    angles, archive = turned
    export(archive, tmp_path / "a.h5oina")
    indexed = np.arange(24) != 3
    with h5py.File(tmp_path / "a.h5oina") as file:
        data, phases = file["1/EBSD/Data"], file["1/EBSD/Header/Phases"]
        expected = angles - [np.pi / 2, 0, 0]
        difference = np.angle(np.exp(1j * (data["Euler"][()] - expected)))[indexed]
        np.testing.assert_allclose(difference, 0, atol=1e-5)
        np.testing.assert_array_equal(data["Phase"][:5], [1, 2, 1, 0, 1])
        assert [phases[f"{n}/Laue Group"][0] for n in (1, 2)] == [11, 9]
        assert phases["1/Laue Group"].attrs["Symbol"] == "m-3m"
        np.testing.assert_allclose(phases["2/Lattice Angles"][0], np.radians([90, 90, 120]))
        assert data["Euler"].attrs["Unit"] == "rad"


def test_the_frames_of_edax_and_oxford_are_90_degrees_about_the_normal_apart():
    from orix.quaternion import Rotation

    angles = np.array([[0.3, 0.7, 1.1], [5.0, 2.0, 4.0]])
    edax = Orientations(np.array(Rotation.from_euler(angles).data), np.zeros(2, np.int32))
    oxford = in_sample_frame(edax, "oxford")
    found = Rotation(oxford.quaternions).to_euler()
    np.testing.assert_allclose(np.exp(1j * found), np.exp(1j * (angles - [np.pi / 2, 0, 0])))
    back = in_sample_frame(oxford, "edax")
    np.testing.assert_allclose(np.abs((back.quaternions * edax.quaternions).sum(axis=1)), 1)


def test_the_frame_is_pyebsdindexs_too():
    from orix.quaternion import Rotation
    from pyebsdindex.rotlib import quat_multiply

    edax = np.array(Rotation.from_euler([0.3, 0.7, 1.1]).data)
    # PyEBSDIndex indexes in the frame of the vendor: EDAX's has this turn before Oxford's
    turn = np.array([[np.sqrt(0.5), 0, 0, -np.sqrt(0.5)]])
    oxford = in_sample_frame(Orientations(edax, np.zeros(1, np.int32)), "oxford")
    again = np.asarray(quat_multiply(oxford.quaternions, turn))
    assert abs((again * edax).sum()) == pytest.approx(1)


def test_orientations_of_an_oxford_source_are_turned_for_edax_and_kept_for_oxford(
    turned, make_archive, tmp_path
):
    angles, archive = turned
    scan = open_archive(archive).scan()
    given = replace(scan.orientations, sample_frame="oxford")
    oxford = make_archive(replace(scan, orientations=given), name="oxford.h5")
    export(oxford, tmp_path / "a.h5oina")
    export(oxford, tmp_path / "a.oh5")
    indexed = np.arange(24) != 3
    with h5py.File(tmp_path / "a.h5oina") as file:
        np.testing.assert_allclose(
            file["1/EBSD/Data/Euler"][()][indexed], angles[indexed], atol=1e-5
        )
    with h5py.File(tmp_path / "a.oh5") as file:
        phi1 = file["Scan 1/EBSD/Data/Phi1"][()][indexed]
    expected = angles[indexed, 0] + np.pi / 2
    np.testing.assert_allclose(np.angle(np.exp(1j * (phi1 - expected))), 0, atol=1e-5)


@pytest.mark.parametrize("name", ["a.up1", "a.oh5"])
def test_the_ang_beside_edaxs_files_is_read_by_orix(name, turned, tmp_path):
    from orix import io

    angles, archive = turned
    written = export(archive, tmp_path / name)
    assert str(tmp_path / "a.ang") in written.beside
    xmap = io.load(str(tmp_path / "a.ang"))
    indexed = np.arange(24) != 3
    assert xmap.shape == (4, 6)
    assert (xmap.dx, xmap.dy) == (0.75, 0.5)
    np.testing.assert_array_equal(xmap.is_indexed, indexed)
    np.testing.assert_allclose(xmap.rotations.to_euler()[indexed], angles[indexed], atol=2e-5)
    header = (tmp_path / "a.ang").read_text(encoding="latin-1")
    mean = open_archive(archive).scan().detector.pc_bruker.mean(axis=0)
    assert f"x-star                 {mean[0]:.6f}" in header
    assert f"y-star                 {1 - mean[1]:.6f}" in header
    assert f"WorkingDistance        {16.1:.6f}" in header
    assert "OPERATOR:              ebsdarchive" in header


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"hexagonal": True}, "square grids"),
        ({"step_um": (None, None)}, "step is not known"),
        ({"ny": 1}, "at least two rows"),
    ],
)
def test_where_no_ang_can_be_written_the_report_says_so(options, reason, make_archive, tmp_path):
    written = export(make_archive(**{"dtype": "uint8", **options}), tmp_path / "a.up1")
    assert written.beside == ()
    assert any(reason in line for line in written.losses)
    assert not (tmp_path / "a.ang").exists()


def test_orientations_come_from_the_map_that_is_named_or_the_only_one(turned, tmp_path):
    from ebsdarchive.archive.making import adding_layers
    from ebsdarchive.archive.orientation_maps import OrientationMap, write_orientation_map

    _, archive = turned
    path = Path(shutil.copyfile(archive, tmp_path / "maps.h5"))
    scan = open_archive(path).scan()

    def phi1(**options: Any) -> tuple[float, str | None]:
        """Of point 5, and where it is said to be from."""
        export(path, tmp_path / "a.oh5", force=True, **options)
        with h5py.File(tmp_path / "a.oh5") as file:
            origin = json.loads(file["ebsdarchive_export"].attrs["origin"])
            return float(file["Scan 1/EBSD/Data/Phi1"][5]), origin.get("orientations")

    for number, name in enumerate(("hough", "better"), start=1):
        quaternions = np.tile([np.cos(number / 2), 0, 0, -np.sin(number / 2)], (24, 1))
        properties = {"confidence": np.full(24, 0.5), "fit": np.full(24, 0.25)}
        orientations = Orientations(quaternions, np.zeros(24, np.int32), properties)
        made = OrientationMap(
            orientations, scan.phases[:1], np.array([BRUKER]), "scan", "raw", None, "static", {}
        )
        with adding_layers(path, [f"maps/{name}"]) as file:
            write_orientation_map(file["archive"], name, made, scan.grid)

        if number == 1:
            assert phi1() == (pytest.approx(1, abs=1e-5), "maps/hough")
        assert phi1(orientations=name) == (pytest.approx(number, abs=1e-5), f"maps/{name}")
    # two maps and none named: those that came with the scan
    assert phi1() == (pytest.approx(turned[0][5, 0], abs=1e-5), None)
    with pytest.raises(MissingLayerError, match="expected an orientation map 'none such'"):
        export(path, tmp_path / "b.oh5", orientations="none such")
    written = export(path, tmp_path / "b.oh5", orientations="none")
    assert written.beside == ()
    with h5py.File(tmp_path / "b.oh5") as file:
        assert "Phi1" not in file["Scan 1/EBSD/Data"]


@pytest.mark.parametrize("key", [k for k in EXPORTED if FORMATS[k].orientations == "none"])
def test_formats_without_orientations_say_that_they_lose_them(key, small, tmp_path):
    written = export(small[1], tmp_path / name_for(key), format=key)
    assert written.losses == (f"orientations are not written: {key} holds none",)


# ---------------------------------------------------------------- who wrote it


@pytest.mark.parametrize("key", EXPORTED)
def test_an_export_says_who_wrote_it_and_names_its_source(key, small, tmp_path):
    written = export(small[1], tmp_path / name_for(key), format=key)
    content = all_bytes(Path(written.path))
    if written.sidecar is not None:
        content += Path(written.sidecar).read_bytes()
    if key == "npz":
        with np.load(written.path, allow_pickle=False) as file:
            content = str(file["origin"]).encode()
    assert f"ebsdarchive {ebsdarchive.__version__}".encode() in content
    with h5py.File(small[1]) as file:
        assert file["archive/raw"].attrs["patterns_sha256"].encode() in content


def test_the_versions_of_vendors_software_are_not_claimed(small, tmp_path):
    export(small[1], tmp_path / "a.oh5")
    export(small[1], tmp_path / "a.h5oina")
    with h5py.File(tmp_path / "a.oh5") as file:
        assert b"written by ebsdarchive" in file["Version"][0]
        assert b"not by EDAX's software" in file["Comments"][0]
    with h5py.File(tmp_path / "a.h5oina") as file:
        assert b"not Oxford Instruments' software" in file["Software Version"][0]
        assert file["Format Version"][0] == b"5.0"


def test_the_digest_of_the_vendors_file_goes_along(small, tmp_path):
    import hashlib

    export(small[1], tmp_path / "first.up1")
    ebsdarchive.compress(tmp_path / "first.up1", tmp_path / "again.h5", neural=False)
    written = export(tmp_path / "again.h5", tmp_path / "second.up1")
    beside = json.loads(Path(written.sidecar).read_text(encoding="utf-8"))
    expected = hashlib.sha256((tmp_path / "first.up1").read_bytes()).hexdigest()
    assert beside["origin"]["source_sha256"] == expected


# ---------------------------------------------------------------- layouts


def test_nordif_comes_with_settings_and_background_that_kikuchipy_reads(small, tmp_path):
    import kikuchipy

    scan, archive = small
    export(archive, tmp_path / "Pattern.dat")
    assert (tmp_path / "Pattern.dat").stat().st_size == 4 * 6 * 11 * 13
    signal = kikuchipy.load(str(tmp_path / "Pattern.dat"))
    np.testing.assert_array_equal(signal.static_background, scan.static_background)
    detector, sem = signal.detector, signal.metadata.Acquisition_instrument.SEM
    assert (detector.sample_tilt, detector.tilt, detector.azimuthal) == (70.0, 5.25, -0.5)
    assert (sem.beam_energy, sem.working_distance, sem.magnification) == (20.0, 16.1, 503)
    assert "ebsdarchive" in (tmp_path / "Setting.txt").read_text(encoding="latin-1")
    with pytest.raises(OutputError, match=r"Setting\.txt: expected no such file"):
        export(archive, tmp_path / "Other.dat")
    assert not (tmp_path / "Other.dat").exists()


def test_what_nordif_does_not_know_is_not_known_when_it_is_read_back(make_archive, tmp_path):
    archive = make_archive(described=False, dtype="uint8", step_um=(None, None), pc=None)
    export(archive, tmp_path / "a.dat")
    again = open_scan(tmp_path / "a.dat")
    assert again.detector == Detector((11, 13))
    assert again.grid == Grid("square", 7, 5)
    assert again.microscope.beam_energy_kev is None


def test_emsofts_data_are_floats_one_after_another(small, tmp_path):
    scan, archive = small
    export(archive, tmp_path / "a.data")
    stored = np.fromfile(tmp_path / "a.data", "<f4").reshape(24, 11, 13)
    np.testing.assert_array_equal(stored, scan.patterns.read(0, 24))


def test_an_ebsp_of_unknown_step_has_no_positions(make_scan, make_archive, tmp_path):
    scan = make_scan(3, 4, 40, 44, "uint16", step_um=(None, None))
    export(make_archive(scan), tmp_path / "a.ebsp")
    again = open_scan(tmp_path / "a.ebsp")
    assert again.grid == Grid("square", 12, 1)
    np.testing.assert_array_equal(again.patterns.read(0, 12), scan.patterns.read(0, 12))
    beside = json.loads((tmp_path / "a.ebsp.json").read_text(encoding="utf-8"))
    assert beside["grid"] == {"kind": "square", "n_rows": 3, "n_columns": 4}


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
@pytest.mark.parametrize("hexagonal", [False, True])
def test_arrays_open_in_xarray_like_the_archive_itself(
    name, hexagonal, make_scan, make_archive, tmp_path
):
    import xarray

    scan = make_scan(hexagonal=hexagonal)
    export(make_archive(scan), tmp_path / name)
    engine = "zarr" if name == "a.zarr" else "h5netcdf"
    with xarray.open_dataset(tmp_path / name, engine=engine) as found:
        n = scan.grid.size
        assert found["patterns"].dtype == np.uint16  # a count of 0 is not taken for a missing one
        np.testing.assert_array_equal(
            found["patterns"].values.reshape(n, 11, 13), scan.patterns.read(0, n)
        )
        np.testing.assert_allclose(found["pc_bruker"].values.reshape(n, 3), scan.detector.pc_bruker)
        assert json.loads(found.attrs["geometry"])["sample_tilt_deg"] == 70.0
        if hexagonal:
            assert found["patterns"].dims == ("point", "v", "u")
            np.testing.assert_array_equal(
                np.column_stack([found["x"], found["y"]]), scan.grid.positions()
            )
        else:
            assert found["patterns"].dims == ("y", "x", "v", "u")
            np.testing.assert_allclose(found["x"], np.arange(7) * 0.75)
            np.testing.assert_allclose(found["y"], np.arange(5) * 0.5)
            assert found["x"].attrs["units"] == "um"


def test_zarr_without_its_package_is_an_error_of_one_line(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(OutputError, match=r"a\.zarr: expected the package zarr .* pip install"):
        export(small[1], tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


def test_up_files_of_version_1_are_written_on_request(small, tmp_path, run_cli):
    code, _, err = run_cli("export", small[1], "-o", tmp_path / "a.up1", "--format-version", "1")
    assert code == 0, err
    assert (tmp_path / "a.up1").read_bytes()[:16] == np.array([1, 13, 11, 16], "<u4").tobytes()
    with pytest.raises(OutputError, match="expected 3 or 1 for up1, found version 2"):
        export(small[1], tmp_path / "b.up1", format_version=2)
    with pytest.raises(OutputError, match="expected no version to be named for h5oina"):
        export(small[1], tmp_path / "b.h5oina", format_version=1)


def test_the_named_format_decides_where_an_ending_is_shared(small, tmp_path, run_cli):
    for key, manufacturer in (("kikuchipy-h5", "manufacturer"), ("edax-h5", "Manufacturer")):
        path = tmp_path / f"{key}.h5"
        code, out, err = run_cli("export", small[1], "-o", path, "--format", key, "--json")
        assert code == 0, err
        assert json.loads(out)["format"] == key
        with h5py.File(path) as file:
            assert manufacturer in file


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("key", [k for k in EXPORTED if not FORMATS[k].hexagonal])
def test_a_hexagonal_grid_is_refused_where_it_cannot_be_held(key, make_archive, tmp_path):
    archive = make_archive(hexagonal=True, dtype="uint8")
    with pytest.raises(OutputError, match=r"expected a square grid.*choose one of up1, up2"):
        export(archive, tmp_path / name_for(key), format=key)
    assert list(tmp_path.iterdir()) == []


def test_16_bit_for_nordif_is_refused_until_8_bit_is_asked_for(make_archive, tmp_path, run_cli):
    archive = make_archive(dtype="uint16", step_um=(0.75, 0.75))
    code, _, err = run_cli("export", archive, "-o", tmp_path / "a.dat")
    assert code == 9
    assert err.splitlines()[-1].endswith("found uint16; --dtype uint8 scales the counts")
    written = export(archive, tmp_path / "a.dat", dtype="uint8")
    assert not written.quantisation.is_identity
    assert (tmp_path / "a.dat").stat().st_size == 35 * 11 * 13


def test_nordif_of_different_steps_is_refused(make_archive, tmp_path):
    archive = make_archive(dtype="uint8", step_um=(0.75, 0.5))
    with pytest.raises(OutputError, match="expected equal steps along x and y for nordif"):
        export(archive, tmp_path / "a.dat")


@pytest.mark.parametrize(
    ("name", "key", "error", "complaint"),
    [
        ("a.up2", "edax-h5", OutputError, r"ends in \.oh5 or \.h5 for edax-h5, found \.up2"),
        ("a.h5", "nonsense", ArgumentError, "expected one of up1, up2, .*, found 'nonsense'"),
        ("a.png", "png-folder", OutputError, r"expected a name of a folder for png-folder"),
    ],
)
def test_a_format_that_does_not_fit_the_name_is_refused(
    name, key, error, complaint, small, tmp_path
):
    with pytest.raises(error, match=complaint):
        export(small[1], tmp_path / name, format=key)


# ---------------------------------------------------------------- blocks, not arrays


@pytest.mark.parametrize("key", EXPORTED)
def test_no_more_than_a_few_blocks_are_in_memory(key, make_scan, tmp_path, monkeypatch):
    scan = make_scan(16, 5, dtype="uint8", described=False, step_um=(0.5, 0.5))
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def row_by_row(self: Scan, *_: Any) -> Any:
        nonlocal most
        for start in range(0, 80, 5):
            block = self.patterns.read(start, start + 5).copy()
            alive.append(weakref.ref(block))
            most = max(most, sum(ref() is not None for ref in alive))
            yield start, start + 5, block

    monkeypatch.setattr(Scan, "blocks", row_by_row)
    write_patterns(
        scan,
        tmp_path / name_for(key),
        positions=scan.grid.positions(),
        measured_dtype="uint8",
        format=key,
    )
    assert len(alive) == 16
    assert most <= 3


# ---------------------------------------------------------------- folders are as safe as files


@pytest.mark.parametrize("key", FOLDERS)
def test_a_folder_is_kept_unless_it_is_forced_and_then_replaced_as_a_whole(key, small, tmp_path):
    target = tmp_path / name_for(key)
    export(small[1], target, format=key)
    (target / "left behind.txt").write_text("from before")
    with pytest.raises(OutputError, match="expected no such folder, found one; use --force"):
        export(small[1], target, format=key)
    export(small[1], target, format=key, force=True)
    assert not (target / "left behind.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("key", FOLDERS)
def test_a_folder_of_somebody_else_is_never_replaced(key, small, tmp_path):
    target = tmp_path / name_for(key)
    target.mkdir()
    (target / "thesis.tex").write_text("not to be lost")
    with pytest.raises(OutputError, match=r"found other files in it \(thesis\.tex\); nothing"):
        export(small[1], target, format=key, force=True)
    assert (target / "thesis.tex").read_text() == "not to be lost"
    (target / "thesis.tex").unlink()
    export(small[1], target, format=key, force=True)  # an empty one may be


@pytest.mark.parametrize("key", FOLDERS)
def test_a_folder_that_fails_leaves_the_old_one_and_nothing_else(key, small, tmp_path, monkeypatch):
    target = tmp_path / name_for(key)
    export(small[1], target, format=key)
    before = all_bytes(target)
    chosen = choose_format(target, key)

    def fail(job: Job) -> None:
        chosen.write(job)
        raise OSError(28, "No space left on device", str(job.path))

    monkeypatch.setattr(writers, "choose_format", lambda *_: replace(chosen, write=fail))
    with pytest.raises(OutputError, match="expected room for the file"):
        export(small[1], target, format=key, force=True)
    assert all_bytes(target) == before
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_folder_survives_an_interrupt_at_any_of_its_moves(number, small, tmp_path, monkeypatch):
    import os

    target = tmp_path / "patterns"
    export(small[1], target, format="png-folder")
    before = all_bytes(target)
    move, calls = os.replace, []

    def interrupted(source: Any, place: Any) -> None:
        calls.append(place)
        if len(calls) == number:
            raise KeyboardInterrupt
        move(source, place)

    monkeypatch.setattr("ebsdarchive.archive.store.os.replace", interrupted)
    options = {"format": "png-folder", "force": True, "region": (0, 0, 2, 2)}
    if number == 3:  # there is none: the new folder is in place
        export(small[1], target, **options)
        assert all_bytes(target) != before
    else:
        with pytest.raises(KeyboardInterrupt):
            export(small[1], target, **options)
        assert all_bytes(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["patterns"]


def test_a_file_beside_that_fails_keeps_the_old_files_all(small, tmp_path, monkeypatch):
    path = tmp_path / "a.up1"
    export(small[1], path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(before) == {"a.up1", "a.up1.json", "a.ang"}

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ebsdarchive.exchange.writing.beside.write_ang", fail)
    with pytest.raises(OutputError, match="expected room"):
        export(small[1], path, force=True, region=(0, 0, 2, 2))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_query_goes_to_the_new_formats_too(fitted_archive, tmp_path):
    for name in ("a.oh5", "a.h5oina", "a.ebsp", "a.zarr", "a.data"):
        written = query(fitted_archive, tmp_path / name, along=[(0, 0), (6, 4)], samples=9)
        assert written.count == 9
    stored = np.fromfile(tmp_path / "a.data", "<f4").reshape(9, 11, 13)
    expected = query(fitted_archive, along=[(0, 0), (6, 4)], samples=9)
    np.testing.assert_array_equal(stored, expected)


def test_patterns_of_one_row_and_of_one_point_are_written(make_scan, tmp_path):
    for ny, nx in ((1, 1), (1, 5), (4, 1)):
        scan = make_scan(ny, nx, 40, 44, "uint8", described=False, step_um=(0.5, 0.5), pc=None)
        for key in EXPORTED:
            folder = tmp_path / f"{ny}{nx}{key}"
            folder.mkdir()
            written = write_patterns(
                replace(scan, patterns=ArrayPatterns(scan.patterns.read(0, ny * nx))),
                folder / name_for(key),
                positions=scan.grid.positions(),
                measured_dtype="uint8",
                format=key,
            )
            assert written.count == ny * nx
