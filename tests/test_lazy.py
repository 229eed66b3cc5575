"""Layers as arrays and signals of other packages: dask, kikuchipy, PyEBSDIndex, without export."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest

import ebsdarchive
from ebsdarchive import errors, open_archive
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.orientation_maps import OrientationMap, write_orientation_map
from ebsdarchive.scan import Orientations, Phase


def patterns_of(path, layer):
    archive = open_archive(path)
    return archive.patterns(layer).read(0, archive.grid.size)


@pytest.fixture
def indexed_copy(fitted_copy):
    """An archive with an orientation map."""
    archive = open_archive(fitted_copy)
    n = archive.grid.size
    angle = np.linspace(0, 1, n)
    found = OrientationMap(
        orientations=Orientations(
            np.stack([np.cos(angle), np.sin(angle), 0 * angle, 0 * angle], axis=1),
            np.zeros(n, np.int32),
            {"confidence": angle, "fit": 1 - angle},
        ),
        phases=(Phase(0, "ni", 225, None, (3.52, 3.52, 3.52, 90.0, 90.0, 90.0)),),
        pc_bruker=np.array([[0.5, 0.4, 0.6]]),
        pc_origin="given",
        layer="raw",
        derived_from=archive.raw_sha256,
        background="static",
        reflectors={0: [[1, 1, 1]]},
    )
    with adding_layers(fitted_copy, ["maps/hough"]) as file:
        write_orientation_map(file["archive"], "hough", found, archive.grid)
    return fitted_copy, found


@pytest.mark.parametrize("layer", ["raw", "neural"])
def test_a_layer_is_a_dask_array_in_chunks_of_rows(layer, fitted_archive):
    archive = open_archive(fitted_archive)
    whole = archive.to_dask(layer)
    shape = (archive.grid.n_rows, archive.grid.n_columns, *archive.pattern_shape)
    assert whole.shape == shape
    assert whole.numblocks == (1, 1, 1, 1)  # it is small
    rows = archive.to_dask(layer, rows=2)
    assert rows.chunks[0][0] == 2
    assert rows.chunks[1:] == tuple((size,) for size in shape[1:])
    expected = patterns_of(fitted_archive, layer).reshape(shape)
    np.testing.assert_array_equal(rows.compute(scheduler="threads"), expected)
    np.testing.assert_array_equal(rows[1:4, 2, ::3], expected[1:4, 2, ::3])
    with pytest.raises(errors.ArgumentError, match="rows: expected a whole number from 1"):
        archive.to_dask(rows=0)


def test_a_hexagonal_layer_is_a_row_of_points(make_scan, make_archive):
    path = make_archive(make_scan(hexagonal=True))
    found = open_archive(path).to_dask(rows=2)
    np.testing.assert_array_equal(found, patterns_of(path, "raw"))
    assert found.chunks[0][0] == 2 * open_archive(path).grid.n_columns


@pytest.mark.parametrize("layer", ["raw", "neural"])
def test_dask_arrays_are_pickled_without_the_layer_and_computed_in_other_processes(
    layer, fitted_archive
):
    array = open_archive(fitted_archive).to_dask(layer, rows=2)
    expected = patterns_of(fitted_archive, layer).reshape(array.shape)
    stored = pickle.dumps(array)
    assert len(stored) < 5000
    again = pickle.loads(stored)  # noqa: S301
    np.testing.assert_array_equal(again.compute(scheduler="synchronous"), expected)
    if layer == "raw":  # starting processes takes long
        found = again.compute(scheduler="processes", num_workers=2)
        np.testing.assert_array_equal(found, expected)


def test_a_dask_array_of_a_file_that_changed_says_so(make_scan, make_archive, tmp_path):
    path = tmp_path / "a.h5"
    shutil.copyfile(make_archive(make_scan()), path)
    stored = pickle.dumps(open_archive(path).to_dask())
    shutil.copyfile(make_archive(make_scan(seed=5)), path)
    from ebsdarchive.archive import lazy

    lazy._opened.cache_clear()  # as in another process
    with pytest.raises(errors.ArchiveError, match="the file has changed, open it again"):
        pickle.loads(stored).compute(scheduler="synchronous")  # noqa: S301


@pytest.mark.parametrize("layer", ["raw", "neural"])
@pytest.mark.parametrize("lazy", [True, False])
def test_a_layer_is_a_kikuchipy_signal_with_detector_and_map(layer, lazy, fitted_archive):
    from kikuchipy.signals import EBSD, LazyEBSD

    archive = open_archive(fitted_archive)
    signal = archive.to_kikuchipy(layer, lazy=lazy)
    assert type(signal) is (LazyEBSD if lazy else EBSD)
    expected = patterns_of(fitted_archive, layer)
    np.testing.assert_array_equal(np.asarray(signal.data).reshape(expected.shape), expected)
    scan = archive.scan()
    np.testing.assert_allclose(
        signal.detector.pc.reshape(-1, 3), np.atleast_2d(scan.detector.pc_bruker)
    )
    assert signal.detector.sample_tilt == scan.detector.sample_tilt_deg
    np.testing.assert_array_equal(signal.static_background, scan.static_background)
    assert signal.xmap.shape == (archive.grid.n_rows, archive.grid.n_columns)


def test_the_crystal_map_of_a_signal_is_the_stored_orientation_map(indexed_copy):
    path, found = indexed_copy
    archive = open_archive(path)
    xmap = archive.to_kikuchipy().xmap
    np.testing.assert_allclose(xmap.rotations.data, found.orientations.quaternions, atol=1e-12)
    np.testing.assert_allclose(xmap.prop["confidence"], np.linspace(0, 1, xmap.size), atol=1e-7)
    assert xmap.phases[0].name == "ni"
    named = archive.to_kikuchipy(orientations="hough").xmap
    np.testing.assert_array_equal(named.rotations.data, xmap.rotations.data)
    assert archive.to_kikuchipy(orientations="none").xmap is None
    with pytest.raises(errors.MissingLayerError, match="expected an orientation map 'other'"):
        archive.to_kikuchipy(orientations="other")


def test_pyebsdindex_finds_in_a_layer_what_it_finds_in_an_exported_up2(
    bundled_scan, tmp_path, monkeypatch
):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    from pyebsdindex import ebsd_index

    from ebsdarchive.pyebsdindex_file import ArchivePatternFile

    path = tmp_path / "a.h5"
    ebsdarchive.compress(bundled_scan, path, profile="archive", neural=False)
    ebsdarchive.export(path, tmp_path / "a.up2")
    file = ArchivePatternFile(path)
    options = {"PC": file.pc, "vendor": "KIKUCHIPY", "patstart": 30, "npats": 25, "verbose": 0}
    ours, _, indexer = ebsd_index.index_pats(filename=file, return_indexer_obj=True, **options)
    theirs, _ = ebsd_index.index_pats(filename=str(tmp_path / "a.up2"), **options)
    assert ours.shape[-1] == 25
    assert (ours["fit"][-1] < 2).mean() > 0.9  # it did index
    for name in ("quat", "fit", "cm", "nmatch"):
        np.testing.assert_array_equal(ours[name], theirs[name])
    copy = pickle.loads(pickle.dumps(indexer.fID))  # noqa: S301
    wanted, places = file.read_data(patStartCount=[30, 3], returnArrayOnly=True)
    np.testing.assert_array_equal(copy.read_data(patStartCount=[30, 3]).patterns, wanted)
    np.testing.assert_array_equal(places, [[6, 1], [7, 1], [8, 1]])


@pytest.mark.parametrize("options", [{"hexagonal": True}, {"ny": 1}, {"pc": None}])
def test_pyebsdindex_files_of_layers_have_every_pattern(options, make_scan, make_archive):
    from ebsdarchive.pyebsdindex_file import ArchivePatternFile

    path = make_archive(make_scan(**options))
    file = ArchivePatternFile(path)
    found, places = file.read_data(returnArrayOnly=True)
    np.testing.assert_array_equal(found, patterns_of(path, "raw"))
    assert places.shape == (len(found), 2)
    if "pc" in options:
        with pytest.raises(errors.ArgumentError, match="expected a projection centre, found none"):
            file.pc  # noqa: B018
