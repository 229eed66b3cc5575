"""A folder of images, one of them a pattern: PNG, TIFF, JPEG or BMP.

The place of a pattern follows from the name of its image, by an index pattern: the name with {x}
and {y} for column and row, or {n} for a running number; * is any text. Pixels are given as they are
stored, and never scaled or changed: images must be grey, or have three equal colours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive import __version__
from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.exchange.source_text import first_line
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Scan, SourceFile

__all__ = ["ENDINGS", "read", "scan_names"]

ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
_JPEG = (".jpg", ".jpeg")
_TIFF = (".tif", ".tiff")
_AS_STORED = ("L", "P", "I;16", "I;16B", "RGB", "RGBA")
# Names that say what is column and row, then kikuchipy's "-column-row", then a lone number.
_USUAL = tuple(
    re.compile(text, re.IGNORECASE)
    for text in (
        r"^.*?x[_-]?(?P<x>\d+)[_-]?y[_-]?(?P<y>\d+)(?:\D.*)?$",
        r"^.*?y[_-]?(?P<y>\d+)[_-]?x[_-]?(?P<x>\d+)(?:\D.*)?$",
        r"^.*?r(?:ow)?[_-]?(?P<y>\d+)[_-]?c(?:ol(?:umn)?)?[_-]?(?P<x>\d+)(?:\D.*)?$",
        r"^.*?-(?P<x>\d+)-(?P<y>\d+)$",
        r"^.*?(?P<n>\d+)\D*$",
    )
)


@dataclass(frozen=True)
class _Images:
    """The images of a scan in the order of its grid."""

    names: tuple[str, ...]
    grid: Grid
    rule: str


def scan_names(path: Path) -> tuple[str, ...]:
    """The one scan of a folder, by the folder's name."""
    return (path.resolve().name,)


def read(path: Path, scan: str | None = None, index_pattern: str | None = None) -> Scan:
    """Open a folder of images.

    Parameters
    ----------
    index_pattern
        Such as "map_x{x}_y{y}.png", "{y}-{x}.tif" or "pattern{n}.png"; by default the usual names
        are tried. Images with a running number become one row of unknown step.

    Raises
    ------
    FormatError
        If the folder holds no images, or names leave gaps in the grid.
    ArgumentError
        If the index pattern lacks {x} and {y}, or {n}.
    """
    images = _images(path, index_pattern)
    first = _pixels(path / images.names[0])
    endings = {Path(name).suffix.lower() for name in images.names}
    metadata: dict[str, Any] = {
        "index_pattern": images.rule,
        "images": len(images.names),
        "first": images.names[0],
        "last": images.names[-1],
    }
    lossy = _lossy(path / images.names[0], endings)
    if lossy:
        metadata["lossy"] = lossy
    kinds = "/".join(sorted({_kind(ending) for ending in endings}))
    return Scan(
        patterns=_ImagePatterns(path, images.names, first),
        grid=images.grid,
        detector=Detector((first.shape[0], first.shape[1])),
        source=SourceFile(
            path=str(path),
            format=f"{kinds} images" + (" (lossy)" if lossy else ""),
            reader=f"ebsdarchive {__version__}",
            metadata=metadata,
            parts=images.names,
        ),
        name=path.resolve().name,
    )


def _kind(ending: str) -> str:
    return {".tif": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(ending, ending[1:].upper())


def _lossy(first: Path, endings: set[str]) -> str | None:
    """Why the pixels are not those of the camera, if their coding tells."""
    if endings & set(_JPEG):
        return "JPEG: the pixels differ from those of the camera"
    if first.suffix.lower() in _TIFF:
        import tifffile

        with tifffile.TiffFile(first) as file:
            if "JPEG" in str(file.pages.first.tags["Compression"].value.name):
                return "TIFF with JPEG coding: the pixels may differ from those of the camera"
    return None


def _images(path: Path, index_pattern: str | None) -> _Images:
    """Names of the images in the order of the grid that they make."""
    names = sorted(
        item.name for item in path.iterdir() if item.suffix.lower() in ENDINGS and item.is_file()
    )
    if not names:
        raise FormatError(
            f"{path}: expected a folder of images that end in {', '.join(ENDINGS)}, or of Zarr, "
            f"found neither; for scans in it, give compress a folder -o"
        )
    if index_pattern is not None:
        rule = _compiled(index_pattern)
        places = {name: match for name in names if (match := rule.fullmatch(name))}
        if not places:
            raise FormatError(
                f"{path}: expected images named {index_pattern!r}, found {names[0]!r} and others"
            )
        return _arranged(path, places, index_pattern)
    for rule in _USUAL:
        match = rule.match(Path(names[0]).stem)
        if match is None:
            continue
        found = {name: found for name in names if (found := rule.match(Path(name).stem))}
        if len(found) == len(names):
            return _arranged(path, found, _described(match, Path(names[0]).suffix))
    raise FormatError(
        f"{path}: expected images whose names give column and row, found {names[0]!r} and others; "
        f"say how with --index-pattern, such as x{{x}}_y{{y}}.png"
    )


def _compiled(text: str) -> re.Pattern[str]:
    """An index pattern as a regular expression."""
    fields = re.findall(r"\{(\w*)\}", text)
    if sorted(fields) not in (["x", "y"], ["n"]):
        raise ArgumentError(
            f"index pattern: expected {{x}} and {{y}}, or {{n}}, each once, found {text!r}; such "
            f"as x{{x}}_y{{y}}.png"
        )
    parts = re.split(r"(\{\w\}|\*)", text)
    return re.compile(
        "".join(
            f"(?P<{part[1]}>\\d+)"
            if part.startswith("{")
            else ".*?"
            if part == "*"
            else re.escape(part)
            for part in parts
        ),
        re.IGNORECASE,
    )


def _described(match: re.Match[str], suffix: str) -> str:
    """The index pattern that a usual name follows."""
    text = match.string
    for name in sorted(match.groupdict(), key=match.start, reverse=True):
        if name in ("x", "y", "n"):
            text = f"{text[: match.start(name)]}{{{name}}}{text[match.end(name) :]}"
    return text + suffix


def _arranged(path: Path, places: dict[str, re.Match[str]], rule: str) -> _Images:
    """Images in the order of the grid, which their numbers must fill."""
    names = list(places)
    if "n" in next(iter(places.values())).groupdict():
        numbers = np.array([int(places[name]["n"]) for name in names])
        order = np.argsort(numbers, kind="stable")
        step = np.diff(numbers[order])
        if len(step) and (step != 1).any():
            after = numbers[order][int(np.argmax(step != 1))]
            raise FormatError(
                f"{path}: expected images with numbers that follow one another ({rule}), found a "
                f"gap or the same number twice after {after}"
            )
        return _Images(tuple(names[i] for i in order), Grid("square", len(names), 1), rule)
    x = np.array([int(places[name]["x"]) for name in names])
    y = np.array([int(places[name]["y"]) for name in names])
    columns, rows = _evenly(path, np.unique(x), "x"), _evenly(path, np.unique(y), "y")
    order = np.lexsort((x, y))
    expected = np.column_stack([np.tile(columns, len(rows)), np.repeat(rows, len(columns))])
    found = np.column_stack([x, y])[order]
    if found.shape != expected.shape or (found != expected).any():
        present = {(int(i), int(j)) for i, j in found}
        missing = next((p for p in map(tuple, expected.tolist()) if p not in present), None)
        raise FormatError(
            f"{path}: expected {len(expected)} images for {len(rows)} rows of {len(columns)} "
            f"({rule}), found {len(names)}; "
            + (f"x {missing[0]}, y {missing[1]} is missing" if missing else "some are there twice")
        )
    grid = Grid("square", len(columns), len(rows))
    return _Images(tuple(names[i] for i in order), grid, rule)


def _evenly(path: Path, values: npt.NDArray[np.int64], axis: str) -> npt.NDArray[np.int64]:
    """Sorted numbers of an axis, which must have one distance."""
    steps = np.unique(np.diff(values))
    if len(steps) > 1:
        raise FormatError(
            f"{path}: expected names whose {axis} grows evenly, found steps of "
            f"{steps[0]} and {steps[-1]}; are images missing?"
        )
    return values


class _ImagePatterns:
    """Patterns that are read image by image, each of the shape and type of the first."""

    def __init__(self, path: Path, names: tuple[str, ...], first: npt.NDArray) -> None:
        self.path, self.names = path, names
        self.shape = (len(names), first.shape[0], first.shape[1])
        self.dtype = first.dtype

    def read(self, start: int, stop: int) -> npt.NDArray:
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for i, name in enumerate(self.names[start:stop]):
            pixels = _pixels(self.path / name)
            if pixels.shape != self.shape[1:] or pixels.dtype != self.dtype:
                raise FormatError(
                    f"{self.path / name}: expected {self.shape[1]} x {self.shape[2]} pixels of "
                    f"{self.dtype} as in {self.names[0]}, found {pixels.shape[0]} x "
                    f"{pixels.shape[1]} of {pixels.dtype}"
                )
            out[i] = pixels
        return out


def _pixels(path: Path) -> npt.NDArray:
    """(sy, sx) pixels of an image in native byte order; FormatError where it is no grey image."""
    try:
        pixels = _read_tiff(path) if path.suffix.lower() in _TIFF else _read_picture(path)
    except Exception as error:  # decoders raise anything
        raise FormatError(
            f"{path}: expected a readable image, found: {first_line(error)}; copy it again"
        ) from error
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4) and _is_grey(pixels):
        pixels = np.ascontiguousarray(pixels[..., 0])
    if pixels.ndim != 2 or pixels.dtype.name not in ("uint8", "uint16", "float32"):
        raise FormatError(
            f"{path}: expected a grey image of uint8, uint16 or float32, found shape "
            f"{pixels.shape} of {pixels.dtype.name}"
        )
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _is_grey(pixels: npt.NDArray) -> bool:
    """Whether three colours are equal, and nothing is transparent."""
    opaque = pixels.shape[-1] == 3 or bool((pixels[..., 3] == np.iinfo(pixels.dtype).max).all())
    return opaque and bool((pixels[..., :3] == pixels[..., :1]).all())


def _read_tiff(path: Path) -> npt.NDArray:
    import tifffile

    return np.asarray(tifffile.imread(path))


def _read_picture(path: Path) -> npt.NDArray:
    from PIL import Image

    with Image.open(path) as image:
        coding = str(image.tile[0][3]) if image.format == "PNG" and image.tile else image.mode
        if coding not in _AS_STORED:  # Pillow would cut 16 bit colours, and stretch 2 or 4 bit
            raise ValueError(f"a picture of mode {coding}")
        return np.asarray(image.convert("RGB") if image.mode == "P" else image)
