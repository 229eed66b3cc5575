"""Folders of images, netCDF and Zarr: exact pixels in the order that names and dimensions say."""

from __future__ import annotations

import builtins
import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import xarray
from PIL import Image
from vendor_files import NX, NY, PATTERNS, N, all_patterns

import ebsdarchive
from ebsdarchive import open_scan
from ebsdarchive.archive.file import open_archive
from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.exchange import scan_names
from ebsdarchive.geometry import Grid

WIDE = (PATTERNS.astype(np.uint16) * 257) ^ 3
REAL = PATTERNS.astype(np.float32) / 7


def write_image(path: Path, pixels: np.ndarray) -> None:
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)


def image_folder(
    folder: Path, patterns: np.ndarray, name: str = "map_x{x}_y{y}.png", nx: int = NX
) -> Path:
    """Images written in an order that is not that of the map."""
    folder.mkdir()
    for i in reversed(range(len(patterns))):
        write_image(folder / name.format(x=i % nx, y=i // nx, n=i), patterns[i])
    return folder


# ---------------------------------------------------------------- folders of images


@pytest.mark.parametrize(
    ("ending", "patterns"),
    [("png", PATTERNS), ("png", WIDE), ("tif", WIDE), ("tiff", REAL), ("bmp", PATTERNS)],
)
def test_an_archive_of_a_folder_of_images_holds_their_exact_pixels(ending, patterns, tmp_path):
    folder = image_folder(tmp_path / "run.1", patterns, f"map_x{{x}}_y{{y}}.{ending}")
    scan = open_scan(folder)
    assert scan.grid == Grid("square", NX, NY)
    assert scan.patterns.dtype == patterns.dtype
    np.testing.assert_array_equal(scan.patterns.read(1, 4), patterns[1:4])
    ebsdarchive.compress(folder, profile="archive", neural=False)
    archive = open_archive(tmp_path / "run.1.archive.h5")
    np.testing.assert_array_equal(all_patterns(archive.scan("raw")), patterns)
    with h5py.File(archive.path) as file:
        source = file["archive/source"].attrs
        lines = "".join(
            f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
            for name in sorted(path.name for path in folder.iterdir())
        )
        assert source["file_sha256"] == hashlib.sha256(lines.encode()).hexdigest()
        assert source["file_bytes"] == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "x{x}y{y}.png",
        "m_x{x}_y{y}_t01.png",
        "a_Y{y}_X{x}.png",
        "scan2_r{y}_c{x}.png",
        "row{y}_col{x}_b.png",
        "p-{x}-{y}.png",
    ],
)
def test_usual_names_of_images_are_understood(name, tmp_path):
    scan = open_scan(image_folder(tmp_path / "a", PATTERNS, name))
    assert scan.grid == Grid("square", NX, NY)
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS)
    assert scan.source.metadata["index_pattern"] == name


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("{y}_{x}_p7.png", "{y}_{x}_p7.png"),
        ("map(1) {x},{y}.png", "map(1) {x},{y}.png"),
        ("t{n:02d}_{x}+{y}.png", "t*_{x}+{y}.png"),
    ],
)
def test_an_index_pattern_says_how_names_give_the_place(name, pattern, tmp_path):
    folder = image_folder(tmp_path / "a", PATTERNS, name)
    write_image(folder / "overview.png", PATTERNS[0])  # another image, which is left alone
    scan = open_scan(folder, index_pattern=pattern)
    assert scan.grid == Grid("square", NX, NY)
    np.testing.assert_array_equal(all_patterns(scan), PATTERNS)


def test_images_with_a_running_number_are_one_row_in_the_order_of_their_numbers(tmp_path):
    patterns = np.concatenate([PATTERNS, PATTERNS])  # 12: "10" sorts before "2"
    scan = open_scan(image_folder(tmp_path / "a", patterns, "pattern{n}.png"))
    assert scan.grid == Grid("square", 12, 1)
    np.testing.assert_array_equal(all_patterns(scan), patterns)


def test_kikuchipy_gives_the_same_patterns_of_a_folder(tmp_path):
    import kikuchipy

    folder = image_folder(tmp_path / "a", WIDE, "p_x{x}y{y}.tif")
    theirs = kikuchipy.load(str(folder / "*.tif"), lazy=True).data.compute()
    np.testing.assert_array_equal(all_patterns(open_scan(folder)), theirs.reshape(WIDE.shape))


def test_jpeg_images_are_noted_as_lossy_and_their_decoded_pixels_are_kept(tmp_path, run_cli):
    folder = image_folder(tmp_path / "a", PATTERNS, "x{x}_y{y}.jpg")
    scan = open_scan(folder)
    decoded = [np.asarray(Image.open(folder / name)) for name in scan.source.parts]
    np.testing.assert_array_equal(all_patterns(scan), decoded)
    assert scan.source.metadata["lossy"].startswith("JPEG")
    assert "lossy     JPEG" in run_cli("info", folder).out
    ebsdarchive.compress(folder, tmp_path / "a.h5", neural=False)
    with h5py.File(tmp_path / "a.h5") as file:
        source = file["archive/source"]
        assert "lossy" in source.attrs["format"]
        assert "lossy" in json.loads(source["metadata"][()])


def test_grey_images_of_three_equal_colours_give_one_and_others_are_refused(tmp_path):
    grey = np.repeat(PATTERNS[..., None], 3, axis=-1)
    folder = image_folder(tmp_path / "a", grey)
    np.testing.assert_array_equal(all_patterns(open_scan(folder)), PATTERNS)
    grey[4, 1, 2, 0] ^= 1
    write_image(folder / "map_x1_y1.png", grey[4])
    scan = open_scan(folder)
    np.testing.assert_array_equal(scan.patterns.read(0, 4), PATTERNS[:4])
    with pytest.raises(FormatError, match=r"map_x1_y1\.png: expected a grey image"):
        all_patterns(scan)


def change(what: str) -> Any:
    def apply(folder: Path) -> None:
        image = folder / "map_x1_y1.png"
        if what == "cut":
            image.write_bytes(image.read_bytes()[:60])
        elif what == "smaller":
            write_image(image, PATTERNS[0, 1:])
        elif what == "deeper":
            write_image(image, WIDE[0])
        elif what == "colour":
            write_image(image, np.arange(105, dtype=np.uint8).reshape(5, 7, 3))

    return apply


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("cut", "expected a readable image, found"),
        ("smaller", "expected 5 x 7 pixels of uint8 as in map_x0_y0.png, found 4 x 7"),
        ("deeper", "found 5 x 7 of uint16"),
        ("colour", "expected a grey image"),
    ],
)
def test_an_image_that_is_not_as_the_others_is_named_and_no_archive_is_made(
    fault, complaint, tmp_path
):
    folder = image_folder(tmp_path / "a", PATTERNS)
    change(fault)(folder)
    with pytest.raises(FormatError, match=complaint) as caught:
        ebsdarchive.compress(folder, neural=False)
    assert "map_x1_y1.png" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_with_a_gap_or_without_places_is_refused(tmp_path):
    folder = image_folder(tmp_path / "a", PATTERNS)
    (folder / "map_x1_y1.png").unlink()
    with pytest.raises(FormatError, match=r"2 rows of 3.*found 5; x 1, y 1 is missing"):
        open_scan(folder)
    (folder / "map_x01_y0.png").write_bytes((folder / "map_x1_y0.png").read_bytes())
    with pytest.raises(FormatError, match="found 6; x 1, y 1 is missing"):
        open_scan(folder)
    numbers = image_folder(tmp_path / "b", PATTERNS, "p{n}.png")
    (numbers / "p3.png").unlink()
    with pytest.raises(FormatError, match="found a gap or the same number twice after 2"):
        open_scan(numbers)
    with pytest.raises(FormatError, match=r"expected images named 'q\{n\}.png', found 'p0.png'"):
        open_scan(numbers, index_pattern="q{n}.png")
    for wrong in ("x{x}.png", "{x}{y}{n}", "plain.png", "{x}_{x}.png"):
        with pytest.raises(ArgumentError, match="each once, found"):
            open_scan(numbers, index_pattern=wrong)
    (numbers / "overview.png").write_bytes(b"x")
    with pytest.raises(FormatError, match="say how with --index-pattern"):
        open_scan(numbers)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="expected a folder of images"):
        open_scan(tmp_path / "empty")
    with pytest.raises(FormatError, match="name the folder that holds"):
        open_scan(folder / "map_x0_y0.png")


def test_16_bit_colours_are_refused_rather_than_cut_to_8(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    # A PNG of 1 x 1 pixel with three 16 bit channels, which Pillow would read as 8 bit.
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">2I5B", 1, 1, 16, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" + b"\x12\x34" * 3)) + chunk(b"IEND", b"")
    (folder / "x0y0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + body)
    with pytest.raises(FormatError, match="a picture of mode RGB;16B"):
        open_scan(folder)


# ---------------------------------------------------------------- netCDF and Zarr


def dataset(dims: tuple[str, ...], values: np.ndarray) -> xarray.Dataset:
    coordinates = {}
    if "y" in dims and "x" in dims:
        coordinates = {
            "y": ("y", 3 + 0.5 * np.arange(NY), {"units": "um"}),
            "x": ("x", 750.0 * np.arange(NX), {"units": "nm"}),
        }
    return xarray.Dataset({"counts": (dims, values, {"detector": "A"})}, coords=coordinates)


FOUR = WIDE.reshape(NY, NX, *WIDE.shape[1:])


def write(path: Path, content: xarray.Dataset) -> Path:
    if path.suffix == ".zarr":
        content.to_zarr(path, zarr_format=2 if "two" in path.name else 3, consolidated=False)
    else:
        content.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("name", ["a.nc", "a.zarr", "two.zarr"])
@pytest.mark.parametrize(
    ("dims", "axes"),
    [
        (("y", "x", "v", "u"), (0, 1, 2, 3)),
        (("y", "x", "sy", "sx"), (0, 1, 2, 3)),
        (("y", "x", "dy", "dx"), (0, 1, 2, 3)),
        (("v", "u", "y", "x"), (2, 3, 0, 1)),
        (("x", "y", "u", "v"), (1, 0, 3, 2)),
    ],
)
def test_arrays_with_named_dimensions_are_read_in_any_order_of_them(name, dims, axes, tmp_path):
    path = write(tmp_path / name, dataset(dims, FOUR.transpose(axes)))
    scan = open_scan(path)
    assert scan.grid == Grid("square", NX, NY, 0.75, 0.5)
    np.testing.assert_array_equal(all_patterns(scan), WIDE)
    np.testing.assert_array_equal(scan.patterns.read(2, 5), WIDE[2:5])
    assert scan.source.metadata["dimensions"] == list(dims)
    assert scan.source.metadata["attributes"]["detector"] == "A"


def test_an_archive_of_a_zarr_folder_is_exact_and_says_what_its_files_were(tmp_path):
    pytest.importorskip("zarr")
    path = write(tmp_path / "a.zarr", dataset(("y", "x", "v", "u"), FOUR))
    ebsdarchive.compress(path, neural=False)
    archive = open_archive(tmp_path / "a.archive.h5")
    np.testing.assert_array_equal(all_patterns(archive.scan("raw")), WIDE)
    with h5py.File(archive.path) as file:
        size = sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
        assert file["archive/source"].attrs["file_bytes"] == size


def test_zarr_without_names_is_taken_as_rows_columns_and_pixels_and_says_so(tmp_path):
    zarr = pytest.importorskip("zarr")
    for values, grid in ((FOUR, Grid("square", NX, NY)), (WIDE, Grid("square", N, 1))):
        path = tmp_path / f"a{values.ndim}.zarr"
        zarr.create_array(str(path), data=values, chunks=(1, *values.shape[1:]))
        scan = open_scan(path)
        assert scan_names(path) == (path.stem,) == (scan.name,)
        assert scan.grid == grid
        np.testing.assert_array_equal(all_patterns(scan), WIDE)
        assert scan.source.metadata["dimensions_named"] is False
        assert scan.source.metadata["chunks_not_stored"] == 0


def test_chunks_that_zarr_does_not_hold_are_counted(tmp_path):
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "a.zarr"
    zarr.create_array(str(path), data=WIDE, chunks=(1, *WIDE.shape[1:]))
    (path / "c" / "3" / "0" / "0").unlink()
    assert open_scan(path).source.metadata["chunks_not_stored"] == 1


def test_several_arrays_of_patterns_are_several_scans(tmp_path):
    content = dataset(("y", "x", "v", "u"), FOUR)
    content["dark"] = (("y", "x", "v", "u"), FOUR // 2)
    content["mean"] = (("y", "x"), FOUR.mean(axis=(2, 3)))
    path = write(tmp_path / "a.nc", content)
    assert scan_names(path) == ("counts", "dark")
    np.testing.assert_array_equal(all_patterns(open_scan(path, scan="dark")), WIDE // 2)


def test_values_are_not_scaled_whatever_attributes_say(tmp_path):
    content = dataset(("point", "v", "u"), WIDE)
    content["counts"].attrs |= {"scale_factor": 0.5, "_FillValue": np.uint16(WIDE[0, 0, 0])}
    path = write(tmp_path / "a.nc", content)
    scan = open_scan(path)
    assert scan.patterns.dtype == np.uint16
    np.testing.assert_array_equal(all_patterns(scan), WIDE)
    assert scan.source.metadata["attributes"]["scale_factor"] == 0.5


def test_netcdf_of_query_comes_back_with_its_grid(archive_path, tmp_path):
    ebsdarchive.query(archive_path, tmp_path / "a.nc", upsample=1, layer="raw")
    archive = open_archive(archive_path)
    scan = open_scan(tmp_path / "a.nc")
    assert (scan.grid.n_rows, scan.grid.n_columns) == (archive.grid.n_rows, archive.grid.n_columns)
    np.testing.assert_array_equal(all_patterns(scan), all_patterns(archive.scan("raw")))


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_dimensions_that_are_not_understood_are_refused_with_the_rule(name, tmp_path):
    path = write(tmp_path / name, dataset(("a", "b", "v", "u"), FOUR))
    with pytest.raises(
        FormatError, match=r"dimensions \(y, x, v, u\) or \(point, v, u\)"
    ) as caught:
        open_scan(path)
    assert "counts (a, b, v, u)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_netcdf_and_zarr_are_refused(tmp_path):
    path = write(tmp_path / "a.nc", dataset(("y", "x", "v", "u"), FOUR))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(FormatError, match=r"a\.nc: expected"):
        open_scan(path)
    (tmp_path / "b.nc").write_text("x,y\n")
    with pytest.raises(FormatError, match=r"b\.nc: expected netCDF 4"):
        open_scan(tmp_path / "b.nc")
    pytest.importorskip("zarr")
    folder = write(tmp_path / "a.zarr", dataset(("y", "x", "v", "u"), FOUR))
    next(item for item in (folder / "counts/c").rglob("*") if item.is_file()).write_bytes(b"x")
    scan = open_scan(folder)
    with pytest.raises(FormatError, match=r"a\.zarr: expected a sound file"):
        all_patterns(scan)
    (folder / "counts/zarr.json").write_text("{")
    with pytest.raises(FormatError, match=r"a\.zarr: expected"):
        open_scan(folder)


def test_without_zarr_the_error_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.zarr").mkdir()
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "zarr":
            raise ImportError("No module named 'zarr'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(FormatError, match=r"pip install 'ebsdarchive\[zarr\]'"):
        open_scan(tmp_path / "a.zarr")
