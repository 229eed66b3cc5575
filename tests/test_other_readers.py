"""Archives in programs that do not know this package: kikuchipy and PyEBSDIndex open them."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import h5py
import kikuchipy
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive import open_archive
from ebsdarchive.scan import Scan


def load(path: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kikuchipy.load(str(path), **options)


def all_patterns(scan: Scan) -> np.ndarray:
    return scan.patterns.read(0, scan.grid.size)


def in_another_process(code: str) -> str:
    """What a Python program prints that does not import this package."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def pyebsdindex_patterns(path: Path) -> tuple[Any, np.ndarray]:
    from pyebsdindex.ebsd_pattern import get_pattern_file_obj

    file = get_pattern_file_obj(str(path))
    return file, file.read_data(returnArrayOnly=True)[0]


# ---------------------------------------------------------------- kikuchipy, without this package


@pytest.fixture(scope="module")
def archives(make_archive) -> dict[str, Path]:
    """An archive of the default scan in each profile."""
    return {name: make_archive(profile=name) for name in ("compat", "fast", "archive", "none")}


@pytest.mark.parametrize("profile", ["compat", "fast", "archive", "none"])
@pytest.mark.parametrize("lazy", [False, True])
def test_kikuchipy_opens_an_archive_with_shape_step_detector_and_patterns(
    profile, lazy, make_scan, archives
):
    scan = make_scan()
    signal = load(archives[profile], lazy=lazy)
    assert signal._lazy is lazy
    assert signal.data.shape == (5, 7, 11, 13)
    assert signal.data.dtype == np.uint16
    axes = {axis.name: (axis.scale, axis.units) for axis in signal.axes_manager.navigation_axes}
    assert axes == {"x": (0.75, "um"), "y": (0.5, "um")}
    np.testing.assert_array_equal(np.asarray(signal.data).reshape(35, 11, 13), all_patterns(scan))
    detector = signal.detector
    assert detector.shape == (11, 13)
    np.testing.assert_allclose(detector.pc.reshape(-1, 3), scan.detector.pc_bruker, rtol=1e-12)
    assert detector.navigation_shape == (5, 7)
    assert (detector.sample_tilt, detector.tilt, detector.azimuthal) == (70.0, 5.25, -0.5)
    assert (detector.binning, detector.px_size) == (8.0, 59.2)
    np.testing.assert_array_equal(signal.static_background, scan.static_background)
    assert signal.metadata.Acquisition_instrument.SEM.beam_energy == 20.0


def test_kikuchipy_finds_orientations_and_phases_in_an_archive(make_scan, make_archive):
    scan = make_scan()
    xmap = load(make_archive(scan)).xmap
    np.testing.assert_array_equal(xmap.phase_id, scan.orientations.phase_id)
    indexed = scan.orientations.phase_id >= 0
    overlap = (xmap.rotations.data * scan.orientations.quaternions)[indexed].sum(axis=1)
    np.testing.assert_allclose(np.abs(overlap), 1, atol=1e-9)
    np.testing.assert_allclose(
        xmap.prop["confidence_index"], scan.orientations.properties["confidence_index"]
    )
    names = {phase_id: phase.name for phase_id, phase in xmap.phases if phase_id >= 0}
    names = {key: name.encode("latin-1").decode() for key, name in names.items()}  # as it reads
    assert names == {0: "Ni (ß)", 1: "Ti α"}
    assert xmap.phases[0].space_group.number == 225
    assert (xmap.dx, xmap.dy) == (0.75, 0.5)


def test_kikuchipy_finds_the_single_projection_centre_of_an_archive(make_scan, make_archive):
    scan = make_scan(pc="single")
    detector = load(make_archive(scan)).detector
    assert detector.pc.shape == (1, 3)
    np.testing.assert_allclose(detector.pc[0], scan.detector.pc_bruker, rtol=1e-12)


def test_kikuchipy_opens_an_archive_of_patterns_that_nothing_is_known_of(make_scan, make_archive):
    scan = make_scan(described=False, pc=None, step_um=(None, None), dtype="uint8")
    path = make_archive(scan)
    signal = load(path, lazy=True)
    np.testing.assert_array_equal(np.asarray(signal.data).reshape(35, 11, 13), all_patterns(scan))
    with h5py.File(path) as file:  # what kikuchipy needs and nobody knows is marked as such
        header = file["Scan 1/EBSD/Header"]
        assert "placeholder" in header["step_x"].attrs["note"]
        assert not {"pcx", "sample_tilt", "binning", "detector_pixel_size"} & set(header)
        assert "beam_energy" not in file["Scan 1/SEM/Header"]


@pytest.mark.parametrize(("ny", "nx"), [(1, 1), (1, 7), (5, 1)])
@pytest.mark.parametrize("pc", ["point", "single"])
def test_kikuchipy_opens_archives_of_one_point_and_of_one_line(ny, nx, pc, make_scan, make_archive):
    scan = make_scan(ny=ny, nx=nx, pc=pc)
    signal = load(make_archive(scan), lazy=True)
    assert signal.data.shape == (*(size for size in (ny, nx) if size > 1), 11, 13)
    np.testing.assert_array_equal(np.asarray(signal.data).reshape(-1, 11, 13), all_patterns(scan))
    np.testing.assert_allclose(
        signal.detector.pc.reshape(-1, 3), np.atleast_2d(scan.detector.pc_bruker), rtol=1e-12
    )


def test_kikuchipy_opens_a_hexagonal_archive_as_one_row(make_scan, make_archive):
    scan = make_scan(hexagonal=True)
    signal = load(make_archive(scan), lazy=True)
    assert signal.data.shape == (33, 11, 13)
    np.testing.assert_array_equal(np.asarray(signal.data), all_patterns(scan))
    np.testing.assert_allclose(signal.detector.pc.reshape(-1, 3), scan.detector.pc_bruker)


def test_a_compat_archive_needs_no_filter_package_at_all(make_scan, archives, tmp_path):
    scan = make_scan()
    path = archives["compat"]
    np.save(tmp_path / "expected.npy", all_patterns(scan))
    code = f"""
import sys
sys.modules["hdf5plugin"] = None  # importing it fails
import kikuchipy, numpy as np
signal = kikuchipy.load({str(path)!r}, lazy=True)
expected = np.load({str(tmp_path / "expected.npy")!r})
print(np.array_equal(signal.data.compute().reshape(expected.shape), expected))
print(any(name.split(".")[0] == "ebsdarchive" for name in sys.modules))
"""
    assert in_another_process(code).split() == ["True", "False"]


def test_other_profiles_need_hdf5plugin_and_no_more(make_scan, archives, tmp_path):
    scan = make_scan()
    paths = []
    for profile in ("fast", "archive"):  # lazy signals of other tests may still hold the originals
        paths.append(str(shutil.copy(archives[profile], tmp_path / f"{profile}.h5")))
    np.save(tmp_path / "expected.npy", all_patterns(scan))
    code = f"""
import sys
import hdf5plugin, kikuchipy, numpy as np
from pyebsdindex.ebsd_pattern import get_pattern_file_obj
expected = np.load({str(tmp_path / "expected.npy")!r})
for path in {paths!r}:
    signal = kikuchipy.load(path)
    print(np.array_equal(signal.data.reshape(expected.shape), expected))
    patterns = get_pattern_file_obj(path).read_data(returnArrayOnly=True)[0]
    print(np.array_equal(patterns, expected))
print(any(name.split(".")[0] == "ebsdarchive" for name in sys.modules))
"""
    assert in_another_process(code).split() == ["True"] * 4 + ["False"]


# ---------------------------------------------------------------- PyEBSDIndex


@pytest.mark.parametrize("pc", ["point", "single", None])
def test_pyebsdindex_opens_an_archive(pc, make_scan, make_archive, tmp_path):
    scan = make_scan(pc=pc)
    path = shutil.copy(make_archive(scan), tmp_path / "a.h5")
    file, patterns = pyebsdindex_patterns(path)
    np.testing.assert_array_equal(patterns, all_patterns(scan))
    assert (int(file.nCols), int(file.nRows)) == (7, 5)
    assert (int(file.patternH), int(file.patternW)) == (11, 13)
    assert (float(file.xStep), float(file.yStep)) == (0.75, 0.5)


@pytest.mark.parametrize(
    "options", [{"hexagonal": True}, {"ny": 1, "nx": 1}, {"ny": 1}, {"nx": 1}, {"dtype": "uint8"}]
)
def test_pyebsdindex_opens_archives_of_every_shape(options, make_scan, make_archive, tmp_path):
    scan = make_scan(**options)
    _, patterns = pyebsdindex_patterns(shutil.copy(make_archive(scan), tmp_path / "a.h5"))
    np.testing.assert_array_equal(patterns, all_patterns(scan))


def test_an_archive_is_sound_after_other_programs_have_opened_it(archive_path):
    before = archive_path.read_bytes()
    load(archive_path)
    pyebsdindex_patterns(archive_path)  # opens it for writing
    report = ebsdarchive.verify(archive_path, data=True)
    assert report.sound, report.all_faults
    assert archive_path.read_bytes() == before


# ---------------------------------------------------------------- kikuchipy, with the plugin


@pytest.fixture
def plugin():
    """What ``import ebsdarchive.kikuchipy_plugin`` does, undone after the test."""
    from kikuchipy.io import _io

    before = list(_io.PLUGINS)
    module = importlib.import_module("ebsdarchive.kikuchipy_plugin")
    importlib.reload(module)
    yield module
    _io.PLUGINS[:] = before


@pytest.fixture
def sparse_archive(make_scan, make_archive):
    """An archive behind a level table, and its scan."""
    patterns = all_patterns(make_scan()) // 100 * 1117
    scan = make_scan(patterns=patterns.astype(np.uint16))
    path = make_archive(scan, profile="archive")
    assert open_archive(path).attributes("raw")["level_table"] != "none"
    return path, scan


@pytest.fixture
def neural_only(fitted_archive, tmp_path):
    """An archive that holds the neural layer alone."""
    ebsdarchive.extract(fitted_archive, ["neural"], tmp_path / "neural.h5")
    return tmp_path / "neural.h5"


@pytest.mark.parametrize("lazy", [False, True])
def test_with_the_plugin_kikuchipy_opens_patterns_behind_a_level_table(
    lazy, sparse_archive, plugin
):

    path, scan = sparse_archive
    signal = load(path, lazy=lazy)
    assert signal._lazy is lazy
    assert signal.data.shape == (5, 7, 11, 13)
    np.testing.assert_array_equal(np.asarray(signal.data).reshape(35, 11, 13), all_patterns(scan))
    assert {a.name: a.scale for a in signal.axes_manager.navigation_axes} == {"x": 0.75, "y": 0.5}
    np.testing.assert_allclose(signal.detector.pc.reshape(-1, 3), scan.detector.pc_bruker)
    assert (signal.detector.sample_tilt, signal.detector.tilt) == (70.0, 5.25)
    np.testing.assert_array_equal(signal.xmap.phase_id, scan.orientations.phase_id)
    np.testing.assert_array_equal(signal.static_background, scan.static_background)


@pytest.mark.parametrize("lazy", [False, True])
def test_with_the_plugin_kikuchipy_opens_a_neural_archive(lazy, neural_only, plugin):

    signal = load(neural_only, lazy=lazy)
    assert signal.data.dtype == np.float32
    expected = open_archive(neural_only).patterns("neural").read(0, 35)
    np.testing.assert_allclose(np.asarray(signal.data).reshape(35, 11, 13), expected, rtol=1e-5)


def test_with_the_plugin_kikuchipy_opens_hexagonal_single_and_line_scans(
    make_scan, make_archive, plugin
):

    for options in ({"hexagonal": True}, {"ny": 1, "nx": 1}, {"ny": 1}, {"nx": 1}):
        scan = make_scan(**options)
        patterns = (all_patterns(scan) // 100 * 1117).astype(np.uint16)
        path = make_archive(make_scan(**options, patterns=patterns), profile="archive")
        signal = load(path, lazy=True)
        np.testing.assert_array_equal(np.asarray(signal.data).reshape(patterns.shape), patterns)
        np.testing.assert_allclose(
            signal.detector.pc.reshape(-1, 3), np.atleast_2d(scan.detector.pc_bruker)
        )


def test_with_the_plugin_steps_that_are_not_known_are_pixels(make_scan, make_archive, plugin):
    patterns = (all_patterns(make_scan()) // 100 * 1117).astype(np.uint16)
    scan = make_scan(patterns=patterns, step_um=(None, None), described=False, pc=None)
    signal = load(make_archive(scan, profile="archive"))
    axes = {axis.name: (axis.scale, axis.units) for axis in signal.axes_manager.navigation_axes}
    assert axes == {"x": (1.0, "px"), "y": (1.0, "px")}
    np.testing.assert_array_equal(signal.data.reshape(patterns.shape), patterns)


def test_with_the_plugin_any_layer_can_be_named(fitted_archive, plugin):
    (found,) = plugin.file_reader(fitted_archive, layer="neural")
    assert found["data"].dtype == np.float32
    assert found["metadata"]["General"]["title"] == "fitted neural"


def test_the_plugin_adds_itself_once_and_leaves_other_files_alone(plugin, make_archive):
    from kikuchipy.io import _io

    importlib.reload(plugin)
    assert [entry["name"] for entry in _io.PLUGINS].count("ebsdarchive") == 1
    signal = load(make_archive())  # kikuchipy's own reader
    assert signal.original_metadata.manufacturer == "kikuchipy"
    path = Path(kikuchipy.data.__file__).parent / "kikuchipy_h5ebsd/patterns.h5"
    assert load(path).data.shape == (3, 3, 60, 60)


def test_without_the_plugin_kikuchipy_says_that_it_cannot_open_a_neural_archive(neural_only):
    code = f"""
import kikuchipy
try:
    kikuchipy.load({str(neural_only)!r})
except Exception as error:
    print(type(error).__name__)
else:
    print("opened")
"""
    assert in_another_process(code).strip() in ("OSError", "KeyError", "ValueError")
