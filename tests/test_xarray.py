"""``xarray.open_dataset(archive, engine="ebsdarchive")``: patterns as a lazy, labelled array."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st

from ebsdarchive import open_archive
from ebsdarchive.archive.raw import RawPatterns
from ebsdarchive.errors import ArchiveError, MissingLayerError
from ebsdarchive.xarray_engine import EbsdArchiveBackend

ENGINE = "ebsdarchive"


@pytest.fixture(scope="module")
def measured(make_scan) -> np.ndarray:
    """(5, 7, 11, 13) patterns of the default scan."""
    return make_scan().patterns.read(0, 35).reshape(5, 7, 11, 13)


@pytest.fixture(scope="module")
def dataset(fitted_archive) -> xarray.Dataset:
    return xarray.open_dataset(fitted_archive, engine=ENGINE)


@pytest.fixture
def reads(monkeypatch) -> list[tuple[int, int]]:
    """Ranges of patterns that are read from the raw layer, as they are."""
    seen: list[tuple[int, int]] = []
    read = RawPatterns.read

    def counted(self: RawPatterns, start: int, stop: int) -> np.ndarray:
        seen.append((start, stop))
        return read(self, start, stop)

    monkeypatch.setattr(RawPatterns, "read", counted)
    return seen


def test_an_archive_is_a_dataset_of_patterns_with_positions_in_micrometres(dataset, measured):
    patterns = dataset["patterns"]
    assert patterns.dims == ("y", "x", "v", "u")
    assert patterns.shape == (5, 7, 11, 13)
    assert patterns.dtype == np.uint16
    assert patterns.attrs["units"] == "counts"
    assert patterns.attrs["layer"] == "raw"
    np.testing.assert_allclose(dataset["x"], 0.75 * np.arange(7))
    np.testing.assert_allclose(dataset["y"], 0.5 * np.arange(5))
    assert dataset["x"].attrs["units"] == dataset["y"].attrs["units"] == "um"
    np.testing.assert_array_equal(patterns.sel(x=2.25, y=1.0), measured[2, 3])
    np.testing.assert_array_equal(patterns.values, measured)


def test_steps_that_are_not_known_leave_positions_in_steps(make_archive):
    archive = make_archive(step_um=(None, None))
    dataset = xarray.open_dataset(archive, engine=ENGINE)
    np.testing.assert_array_equal(dataset["x"], np.arange(7))
    assert dataset["x"].attrs["units"] == dataset["y"].attrs["units"] == "step"


def test_opening_reads_no_pattern_and_indexing_only_what_is_asked_for(
    archive_path, measured, reads
):
    dataset = xarray.open_dataset(archive_path, engine=ENGINE)
    part = dataset["patterns"].isel(y=2, x=slice(1, 4))
    repr(dataset), str(part)
    assert reads == []
    np.testing.assert_array_equal(part, measured[2, 1:4])
    assert reads == [(15, 18)]


index = st.one_of(
    st.integers(-5, 4),
    st.builds(
        slice,
        st.none() | st.integers(-8, 8),
        st.none() | st.integers(-8, 8),
        st.none() | st.sampled_from([-3, -2, -1, 1, 2, 3]),
    ),
    st.lists(st.integers(-5, 4), max_size=4),
)


@given(y=index, x=index, v=index, u=index)
def test_every_index_gives_what_numpy_gives(dataset, measured, y, x, v, u):
    expected = xarray.DataArray(measured, dims=("y", "x", "v", "u"))
    chosen = {"y": y, "x": x, "v": v, "u": u}
    found = dataset["patterns"].drop_vars(["x", "y"]).isel(chosen)
    xarray.testing.assert_equal(found, expected.isel(chosen))


def test_points_that_are_scattered_over_the_scan_can_be_asked_for_together(dataset, measured):
    y = xarray.DataArray([4, 0, 2], dims="point")
    x = xarray.DataArray([6, 1, 3], dims="point")
    found = dataset["patterns"].isel(y=y, x=x)
    assert found.dims == ("point", "v", "u")
    np.testing.assert_array_equal(found, measured[[4, 0, 2], [6, 1, 3]])


def test_the_layer_can_be_chosen(fitted_archive, measured):
    neural = xarray.open_dataset(fitted_archive, engine=ENGINE, layer="neural")["patterns"]
    expected = open_archive(fitted_archive).patterns("neural").read(0, 35)
    assert neural.dtype == np.float32
    np.testing.assert_allclose(neural.values.reshape(35, 11, 13), expected, rtol=1e-5)
    assert neural.attrs["layer"] == "neural"
    assert neural.attrs["rank"] == 4
    assert 0 < neural.attrs["mae_percent"] < 100
    with pytest.raises(MissingLayerError, match="'restored/none'"):
        xarray.open_dataset(fitted_archive, engine=ENGINE, layer="restored/none")


@pytest.mark.filterwarnings("ignore:The specified chunks separate")
@pytest.mark.parametrize("chunks", [{}, {"y": 2, "x": 3}, "auto"])
def test_dask_chunks_give_the_same_patterns(chunks, fitted_archive, measured, reads):
    patterns = xarray.open_dataset(fitted_archive, engine=ENGINE, chunks=chunks)["patterns"]
    assert patterns.chunks is not None
    if chunks == {}:  # whole rows of the scan, whole patterns
        assert patterns.chunks == ((1,) * 5, (7,), (11,), (13,))
    assert reads == []
    mean = patterns.mean(("y", "x"))
    assert reads == []
    np.testing.assert_allclose(mean.compute(), measured.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_array_equal(patterns.compute(scheduler="threads"), measured)


@pytest.mark.parametrize("layer", ["raw", "neural"])
def test_a_lazy_dataset_goes_to_another_process_by_pickle(layer, fitted_archive):
    patterns = xarray.open_dataset(fitted_archive, engine=ENGINE, layer=layer)["patterns"]
    content = pickle.dumps(patterns.isel(y=1))
    assert len(content) < 50_000
    np.testing.assert_array_equal(pickle.loads(content), patterns[1])  # noqa: S301


def test_a_hexagonal_scan_has_one_dimension_of_points(make_scan, make_archive):
    scan = make_scan(hexagonal=True)
    dataset = xarray.open_dataset(make_archive(scan), engine=ENGINE)
    patterns = dataset["patterns"]
    assert patterns.dims == ("point", "v", "u")
    np.testing.assert_array_equal(patterns, scan.patterns.read(0, 33))
    xy = scan.grid.positions() * [0.75, 0.5]
    np.testing.assert_allclose(np.column_stack([dataset["x"], dataset["y"]]), xy)
    assert dataset.attrs["ebsd_grid"] == "hexagonal"
    nearby = dataset.where(dataset["y"] == 0.5, drop=True)
    np.testing.assert_array_equal(nearby["patterns"], scan.patterns.read(7, 13))


@pytest.mark.parametrize(("ny", "nx"), [(1, 1), (1, 7), (5, 1)])
def test_one_point_and_one_line_keep_both_dimensions(ny, nx, make_scan, make_archive):
    scan = make_scan(ny=ny, nx=nx)
    patterns = xarray.open_dataset(make_archive(scan), engine=ENGINE)["patterns"]
    assert patterns.shape == (ny, nx, 11, 13)
    expected = scan.patterns.read(0, ny * nx).reshape(ny, nx, 11, 13)
    np.testing.assert_array_equal(patterns, expected)


def test_variables_can_be_left_out(fitted_archive):
    dataset = xarray.open_dataset(fitted_archive, engine=ENGINE, drop_variables=["x", "none"])
    assert set(dataset.variables) == {"patterns", "y"}


def test_only_archives_are_taken_for_archives(fitted_archive, bundled_scan, tmp_path):
    backend = EbsdArchiveBackend()
    assert backend.guess_can_open(fitted_archive)
    assert backend.guess_can_open(str(fitted_archive))
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1, 2]
    for other in (bundled_scan, tmp_path / "text.h5", tmp_path / "other.h5", tmp_path, "none.h5"):
        assert not backend.guess_can_open(other)
    assert not backend.guess_can_open(object())
    with pytest.raises(ArchiveError, match="found other HDF5 content"):
        xarray.open_dataset(tmp_path / "other.h5", engine=ENGINE)


def test_an_open_dataset_does_not_hold_the_file(archive_path: Path, measured):
    dataset = xarray.open_dataset(archive_path, engine=ENGINE)
    moved = shutil.copy(archive_path, archive_path.with_name("copy.h5"))
    with h5py.File(archive_path, "r+") as file:
        file.attrs["note"] = "changed by another program"
    np.testing.assert_array_equal(dataset["patterns"], measured)
    assert Path(moved).is_file()
