"""Image stacks of light microscopes: TIFF with one grey page for each angle of the stage."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import ArgumentError, FormatError

__all__ = ["ENDINGS", "WrittenImages", "read_light_images", "write_light_file"]

ENDINGS = (".tif", ".tiff")
TYPES = ("uint8", "uint16", "float32")
MOST_BYTES = 16 << 30  # a stack is held in memory


def read_light_images(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """(a, rows, columns) pages of a TIFF file, in the type they have.

    Raises
    ------
    FormatError
        If the file is no TIFF, its pages are not grey or differ, or hold other numbers than uint8,
        uint16 or finite float32.
    """
    import tifffile

    name = os.fspath(path)
    if not os.path.isfile(name):
        found = "a folder" if os.path.isdir(name) else "none"
        raise FormatError(f"{name}: expected a file, found {found}")
    complaints = _Complaints()
    try:
        with complaints, tifffile.TiffFile(name) as file:
            pages = [(page.shape, page.dtype) for page in file.pages]
            _require_alike(name, pages)
            images = np.asarray(file.asarray(key=slice(None)))
    except FormatError:
        raise
    except Exception as error:  # tifffile raises whatever a damaged file causes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{name}: expected a TIFF file, found other content ({reason})") from None
    if complaints.texts:
        raise FormatError(
            f"{name}: expected a whole TIFF file, found a damaged one ({complaints.texts[0]})"
        )
    images = images.reshape(len(pages), *images.shape[-2:])
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise FormatError(f"{name}: expected finite values, found NaN or infinity")
    return images.astype(images.dtype.newbyteorder("="), copy=False)


class _Complaints(logging.Handler):
    """What tifffile logs and goes on after, such as pages that are cut off."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self._logger = logging.getLogger("tifffile")

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage().splitlines()[0])

    def __enter__(self) -> None:
        self._kept = self._logger.propagate, self._logger.handlers
        self._logger.propagate, self._logger.handlers = False, [self]

    def __exit__(self, *raised: object) -> None:
        self._logger.propagate, self._logger.handlers = self._kept


def _require_alike(name: str, pages: list[tuple[tuple[int, ...], Any]]) -> None:
    """Raise FormatError unless all pages are grey images of one size and a type that is kept."""
    if not pages:
        raise FormatError(f"{name}: expected a page for each stage angle, found none")
    shape, dtype = pages[0]
    for number, (other, kind) in enumerate(pages, 1):
        if other != shape or kind != dtype:
            raise FormatError(
                f"{name}: expected pages alike, found page 1 of {_said(shape)} {dtype} and page "
                f"{number} of {_said(other)} {kind}"
            )
    if len(shape) != 2:
        raise FormatError(
            f"{name}: expected one grey image on each page, found pages of {_said(shape)}; convert "
            f"them to grey, one page for each angle"
        )
    if np.dtype(dtype).name not in TYPES:
        raise FormatError(f"{name}: expected pages of {', '.join(TYPES)}, found {dtype}")
    needed = len(pages) * int(np.prod(shape)) * np.dtype(dtype).itemsize
    if needed > MOST_BYTES:
        raise FormatError(
            f"{name}: expected at most {MOST_BYTES >> 30} GiB of images, found "
            f"{needed / (1 << 30):.1f} GiB; cut or bin them"
        )


def _said(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)


@dataclass(frozen=True)
class WrittenImages:
    """What was written: the file, its size, and how many images of how many rows and columns."""

    path: str
    nbytes: int
    images: int
    shape: tuple[int, int]


def write_light_file(
    path: str | os.PathLike[str], images: npt.NDArray[Any], *, force: bool = False
) -> WrittenImages:
    """Write (a, rows, columns) as pages of a TIFF file; `read_light_images` gives them back.

    Raises
    ------
    ArgumentError, OutputError
        If the file's name ends otherwise, it exists (without `force`) or cannot be written.
    """
    import tifffile

    target = Path(path)
    if target.suffix.lower() not in ENDINGS:
        raise ArgumentError(
            f"{target}: expected a name ending in {' or '.join(ENDINGS)} for images, found "
            f"{target.suffix or 'no ending'!r}"
        )
    with replacing(target, force=force) as temporary:
        tifffile.imwrite(
            temporary, images, photometric="minisblack", compression="zlib", metadata=None
        )
    shape = (images.shape[1], images.shape[2])
    return WrittenImages(os.fspath(path), target.stat().st_size, len(images), shape)
