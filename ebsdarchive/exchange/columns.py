"""Tables of one value per row: columns with their units, and as a CSV file."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.store import replacing

__all__ = ["Column", "write_columns"]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    name
        As it heads a CSV file, with the unit in it.
    values
        (n,) numbers, NaN where not known, or texts.
    units, long_name
        For files that keep them apart.
    """

    name: str
    values: npt.NDArray
    units: str
    long_name: str

    def about(self) -> dict[str, str]:
        """Attributes of a variable that holds it."""
        said = {"units": self.units, "long_name": self.long_name}
        return {key: value for key, value in said.items() if value}


def write_columns(
    path: str | os.PathLike[str], columns: Sequence[Column], *, force: bool = False
) -> None:
    """Write columns as CSV with a header; what is not known is an empty cell.

    Raises
    ------
    OutputError
        If the file exists (without `force`) or cannot be written.
    """
    with (
        replacing(path, force=force) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([column.name for column in columns])
        for row in zip(*(column.values for column in columns), strict=True):
            writer.writerow([_cell(value) for value in row])


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.6g}" if np.isfinite(value) else ""
    return str(value)
