"""References: Zarr reads patterns out of an archive, in place."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray
import zarr
from range_server import serving

import ebsdarchive
from ebsdarchive import errors, open_archive


def opened(reference: Path, protocol: str = "file") -> zarr.Group:
    """The group that a reference describes, by fsspec's reference file system."""
    system = fsspec.filesystem(
        "reference",
        fo=str(reference),
        remote_protocol=protocol,
        remote_options={"asynchronous": True},
        asynchronous=True,
    )
    store = zarr.storage.FsspecStore(system, read_only=True)
    return zarr.open_group(store, mode="r", zarr_format=2)


def this_machine() -> object:
    """What VirtualiZarr finds files of this machine by."""
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore

    return ObjectStoreRegistry({"file://": LocalStore()})


def expected(path: Path, layer: str = "raw") -> np.ndarray:
    archive = open_archive(path)
    return archive.patterns(layer).read(0, archive.grid.size)


@pytest.mark.parametrize("profile", ["compat", "none", "archive", "compat,cloud"])
def test_zarr_reads_the_patterns_bit_equal(profile, make_scan, make_archive, tmp_path):
    if profile == "archive":
        pytest.importorskip("imagecodecs.numcodecs").register_codecs()
    path = make_archive(make_scan(ny=7, nx=6, sy=21, sx=22), profile=profile)
    count = ebsdarchive.reference(path, tmp_path / "r.json")
    group = opened(tmp_path / "r.json")
    wanted = expected(path)
    assert group["patterns"].dtype == wanted.dtype
    np.testing.assert_array_equal(group["patterns"][:].reshape(wanted.shape), wanted)
    assert count == int(np.prod(group["patterns"].cdata_shape))


def test_xarray_opens_a_reference_with_positions(make_scan, make_archive, tmp_path):
    path = make_archive(make_scan(ny=7, nx=6, sy=101, sx=102))  # few patterns in a chunk
    ebsdarchive.reference(path, tmp_path / "r.json")
    found = xarray.open_dataset(
        opened(tmp_path / "r.json").store, engine="zarr", consolidated=False, zarr_format=2
    )
    ours = xarray.open_dataset(path, engine="ebsdarchive")
    assert found["patterns"].dims == ("y", "x", "v", "u")
    np.testing.assert_array_equal(found["patterns"], ours["patterns"])
    for axis in ("x", "y"):
        np.testing.assert_array_equal(found[axis], ours[axis])
        assert found[axis].attrs["units"] == "um"


@pytest.mark.parametrize("profile", ["none", "compat,cloud"])
def test_kerchunk_opens_a_reference(profile, make_scan, make_archive, tmp_path):
    pytest.importorskip("kerchunk", reason="the extra test has kerchunk")
    path = make_archive(make_scan(ny=7, nx=6, sy=101, sx=102), profile=profile)
    ebsdarchive.reference(path, tmp_path / "r.json")
    found = xarray.open_dataset(str(tmp_path / "r.json"), engine="kerchunk")
    assert found["patterns"].dims == ("y", "x", "v", "u")
    assert found["patterns"].dtype == open_archive(path).dtype
    np.testing.assert_array_equal(np.ravel(found["patterns"]), np.ravel(expected(path)))
    np.testing.assert_array_equal(found["x"], open_archive(path).grid.step_x_um * np.arange(6))


def test_kerchunk_cannot_describe_an_archive_itself_which_is_why_we_do(make_archive):
    hdf = pytest.importorskip("kerchunk.hdf", reason="the extra test has kerchunk")
    path = str(make_archive(profile="compat"))
    with warnings.catch_warnings(), open(path, "rb") as file:
        warnings.simplefilter("ignore")
        found = hdf.SingleHdf5ToZarr(file, path).translate()["refs"]
    assert "archive/provenance/.zgroup" in found
    assert not [key for key in found if key.startswith("archive/raw/patterns")]  # fletcher32


@pytest.mark.parametrize("profile", ["none", "compat,cloud"])
def test_virtualizarr_opens_a_reference(profile, make_scan, make_archive, tmp_path):
    parsers = pytest.importorskip("virtualizarr.parsers", reason="the extra test has VirtualiZarr")
    path = make_archive(make_scan(ny=7, nx=6, sy=101, sx=102), profile=profile)
    ebsdarchive.reference(path, tmp_path / "r.json")
    store = parsers.KerchunkJSONParser()(f"file://{tmp_path / 'r.json'}", this_machine())
    found = xarray.open_zarr(store, consolidated=False, zarr_format=3, chunks=None)
    assert found["patterns"].dims == ("y", "x", "v", "u")
    assert found["patterns"].dtype == open_archive(path).dtype
    np.testing.assert_array_equal(np.ravel(found["patterns"]), np.ravel(expected(path)))
    grid = open_archive(path).grid
    assert grid.step_x_um != grid.step_y_um
    for axis, count, step in (("x", 6, grid.step_x_um), ("y", 7, grid.step_y_um)):
        np.testing.assert_array_equal(found[axis], step * np.arange(count))
        assert found[axis].attrs["units"] == "um"


def test_virtualizarr_opens_a_hexagonal_reference_without_its_positions(
    make_scan, make_archive, tmp_path
):
    parsers = pytest.importorskip("virtualizarr.parsers", reason="the extra test has VirtualiZarr")
    path = make_archive(make_scan(hexagonal=True), profile="compat")
    ebsdarchive.reference(path, tmp_path / "r.json")
    parser = parsers.KerchunkJSONParser(skip_variables=["x", "y"])
    store = parser(f"file://{tmp_path / 'r.json'}", this_machine())
    found = xarray.open_zarr(store, consolidated=False, zarr_format=3, chunks=None)
    np.testing.assert_array_equal(found["patterns"], expected(path))


@pytest.mark.parametrize("profile", ["none", "compat", "compat,cloud"])
def test_virtualizarr_reads_the_patterns_of_an_archive_without_a_reference(profile, make_archive):
    parsers = pytest.importorskip("virtualizarr.parsers", reason="the extra test has VirtualiZarr")
    path = make_archive(profile=profile)
    parser = parsers.HDFParser(group="/archive/raw", drop_variables=["block_sha256"])
    found = zarr.open_group(parser(f"file://{path}", this_machine()), mode="r")
    np.testing.assert_array_equal(found["patterns"][:], expected(path))


def test_hexagonal_scans_are_a_row_of_points(make_scan, make_archive, tmp_path):
    path = make_archive(make_scan(hexagonal=True))
    ebsdarchive.reference(path, tmp_path / "r.json")
    group = opened(tmp_path / "r.json")
    np.testing.assert_array_equal(group["patterns"][:], expected(path))
    assert group["x"].shape == (open_archive(path).grid.size,)


def test_a_reference_leads_to_a_server(make_scan, make_archive, tmp_path, run_cli):
    pytest.importorskip("aiohttp")
    path = make_archive(make_scan(ny=7, nx=6, sy=101, sx=102))
    wanted = expected(path)
    with serving(path.parent) as server:
        url = f"{server.address}/{path.name}"
        run = run_cli("reference", path, "--url", url, "-o", tmp_path / "r.json")
        assert run.code == 0
        assert "chunks of raw" in run.out
        server.reset()
        found = opened(tmp_path / "r.json", "http")["patterns"]
        np.testing.assert_array_equal(found[3, 2], wanted[3 * 6 + 2])
        assert server.requests == 1
        chunk = json.loads((tmp_path / "r.json").read_text())["refs"]["patterns/0.0.0.0"]
        assert server.nbytes < 2 * chunk[2]


@pytest.mark.parametrize(
    ("profile", "layer", "text"),
    [
        ("fast", "raw", r"filter 32008 \(profile fast\); use `ebsdarchive repack --profile compat"),
        ("sparse", "raw", "found codes of a level table; use `ebsdarchive repack"),
        ("restored", "restored/mean", r"filter 32008 \(profile fast\)"),
        ("neural", "neural", "found neural; Zarr cannot decode it, export it"),
    ],
)
def test_what_zarr_cannot_decode_is_refused_with_what_to_do(
    profile, layer, text, make_scan, make_archive, full_archive, tmp_path
):
    path = full_archive
    if profile == "fast":
        path = make_archive(profile="fast")
    if profile == "sparse":
        patterns = expected(make_archive()) // 100 * 1117
        path = make_archive(make_scan(patterns=patterns.astype(np.uint16)), profile="archive")
    with pytest.raises(errors.ArgumentError, match=text):
        ebsdarchive.reference(path, tmp_path / "r.json", layer=layer)
    assert not (tmp_path / "r.json").exists()
