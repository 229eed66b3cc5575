"""Patterns as pictures: a folder with a TIFF or PNG for each, a TIFF stack, a labelled sheet."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ebsdarchive.exchange.writing.job import Job

__all__ = ["write_picture", "write_png_folder", "write_tiff_folder", "write_tiff_stack"]


def write_tiff_folder(job: Job) -> None:
    """``pattern_x3y2.tif`` … with all bits of the patterns, uncompressed."""
    import tifffile

    for name, pattern in _named(job):
        with open(job.path / f"{name}.tif", "wb") as file:
            tifffile.imwrite(file, pattern, photometric="minisblack", metadata=None)


def write_png_folder(job: Job) -> None:
    """``pattern_x3y2.png`` … of 8 or 16 bit."""
    from PIL import Image

    for name, pattern in _named(job):
        Image.fromarray(pattern).save(job.path / f"{name}.png", compress_level=1)


def _named(job: Job) -> Iterator[tuple[str, npt.NDArray]]:
    """(name, pattern) of every point; kikuchipy takes column and row from names like these."""
    grid, start = job.scan.grid, 0
    wide = [len(str(count - 1)) for count in (grid.n_columns, grid.n_rows)]
    for block in job.blocks:
        for (x, y), pattern in zip(
            grid.positions_of(start, start + len(block)).astype(int), block, strict=True
        ):
            yield f"pattern_x{x:0{wide[0]}}y{y:0{wide[1]}}", pattern
        start += len(block)


def write_tiff_stack(job: Job) -> None:
    """One TIFF with a page for each pattern, page by page."""
    import tifffile

    def pages() -> Iterator[npt.NDArray]:
        for block in job.blocks:
            yield from block

    with open(job.path, "wb") as file:
        tifffile.imwrite(
            file, pages(), shape=job.shape, dtype=np.dtype(job.dtype), photometric="minisblack"
        )


def write_picture(job: Job) -> None:
    """Patterns with their positions on one PNG, to look at."""
    from ebsdarchive.exchange.picture import pattern_sheet

    sheet = pattern_sheet(
        job.stack(),
        job.positions,
        job.scan.grid,
        job.origin,
        job.overview,
        job.scan.static_background,
        None if job.estimates is None else job.estimates.filled,
    )
    sheet.save(job.path, format="PNG")
