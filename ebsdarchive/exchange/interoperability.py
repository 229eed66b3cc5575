"""Which program reads which of the files that are written here: claims, each proven by a test.

``python -m ebsdarchive.exchange.interoperability > docs/formats.md`` writes the page of formats.
Programs of others are kikuchipy and PyEBSDIndex at the versions of constraints.txt;
tests/test_round_trips.py opens every file of the table with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ebsdarchive.exchange import READABLE
from ebsdarchive.exchange.writing.registry import WRITE_FORMATS, WriteFormat

__all__ = ["FOREIGN", "READERS", "Case", "Claim", "cases", "claim", "formats_page"]

READERS = ("ebsdarchive", "kikuchipy", "PyEBSDIndex")
Verdict = Literal["pass", "known defect", "not read"]

# Formats that are read here, by an ending in the table of readers; others are written alone.
_OURS = {
    "up1": ".up1",
    "up2": ".up2",
    "kikuchipy-h5": ".h5",
    "edax-h5": ".oh5",
    "h5oina": ".h5oina",
    "ebsp": ".ebsp",
    "nordif": ".dat",
    "tiff-folder": ".tif",
    "png-folder": ".png",
    "netcdf": ".nc",
    "zarr": ".zarr",
}
_THEIRS = {
    "kikuchipy": (
        "up1",
        "up2",
        "kikuchipy-h5",
        "edax-h5",
        "h5oina",
        "ebsp",
        "nordif",
        "tiff-folder",
        "png-folder",
        "tiff-stack",
    ),
    "PyEBSDIndex": ("up1", "up2", "kikuchipy-h5", "edax-h5", "h5oina", "ebsp"),
}


@dataclass(frozen=True)
class Case:
    """A file: format, type of its pixels, and kind of grid ("square" or "hexagonal")."""

    format: WriteFormat
    dtype: str
    grid: str


@dataclass(frozen=True)
class Claim:
    """What a program makes of a file, and why where it fails."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class _Defect:
    """A defect of a program in reading some formats; empty fields stand for all."""

    reader: str
    formats: tuple[str, ...]
    reason: str
    grid: str = ""
    dtype: str = ""
    verdict: Verdict = "known defect"

    def concerns(self, case: Case, reader: str) -> bool:
        return (
            reader == self.reader
            and case.format.key in self.formats
            and self.grid in ("", case.grid)
            and self.dtype in ("", case.dtype)
        )


_DEFECTS = (
    _Defect(
        "PyEBSDIndex",
        ("up1", "up2"),
        "expects columns times rows patterns of a hexagonal grid",
        grid="hexagonal",
    ),
    _Defect(
        "PyEBSDIndex",
        ("ebsp",),
        "sets an element to an array of one, which NumPy 2.4 refuses",
    ),
    _Defect(
        "PyEBSDIndex",
        ("h5oina",),
        "fails where there are no processed (8-bit) patterns: a method gets itself twice",
        dtype="uint16",
    ),
    _Defect(
        "kikuchipy",
        ("edax-h5",),
        "reads square grids alone",
        grid="hexagonal",
        verdict="not read",
    ),
)

# (program, format, type) of files that others write and that are read here.
FOREIGN = (
    ("kikuchipy", "kikuchipy-h5", "uint8"),
    ("kikuchipy", "kikuchipy-h5", "uint16"),
    ("kikuchipy", "nordif", "uint8"),
    ("PyEBSDIndex", "up1", "uint8"),
    ("PyEBSDIndex", "up2", "uint16"),
)


def cases() -> Iterator[Case]:
    """All files that can be written, but for pictures to look at."""
    for entry in WRITE_FORMATS:
        if entry.in_memory:
            continue
        for grid in ("square", "hexagonal") if entry.hexagonal else ("square",):
            for dtype in entry.dtypes:
                yield Case(entry, dtype, grid)


def claim(case: Case, reader: str) -> Claim:
    """What `reader` makes of a file."""
    if reader == "ebsdarchive":
        known = _OURS.get(case.format.key) in _endings_read()
    else:
        known = case.format.key in _THEIRS[reader]
    if not known:
        return Claim("not read")
    for defect in _DEFECTS:
        if defect.concerns(case, reader):
            return Claim(defect.verdict, defect.reason)
    return Claim("pass")


def _endings_read() -> set[str]:
    """Endings of all formats that are read here."""
    return {ending for entry in READABLE for ending in entry.endings}


def formats_page() -> str:
    """The page of formats, as Markdown."""
    return "\n".join(
        [_INTRODUCTION, *_format_table(), _MATRIX, *_claim_table(), _FOREIGN, *_foreign(), _NOTES]
    )


def _format_table() -> Iterator[str]:
    yield (
        "| format | ending | what | pixels | hexagonal | projection centre | orientations | JSON |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for entry in WRITE_FORMATS:
        kind = "folder" if entry.folder and not entry.endings else ", ".join(entry.endings)
        where = {"beside": ".ang beside", "both": "inside, .ang beside"}.get(
            entry.orientations, entry.orientations
        )
        beside = f"beside ({entry.convention})" if entry.convention else ""
        if entry.folder and entry.convention:
            beside = f"inside ({entry.convention})"
        cells = (
            f"`{entry.key}`",
            kind,
            entry.title,
            ", ".join(entry.dtypes),
            "yes" if entry.hexagonal else "",
            {"none": "", "one": "mean", "each": "each point's"}[entry.pc],
            "" if where == "none" else where,
            beside,
        )
        yield f"| {' | '.join(cells)} |"


def _claim_table() -> Iterator[str]:
    yield f"| format | grid | pixels | {' | '.join(READERS)} |"
    yield "|---|---|---|" + "---|" * len(READERS)
    reasons: dict[str, int] = {}
    rows: dict[tuple[str, ...], list[str]] = {}
    for case in cases():
        cells = []
        for reader in READERS:
            found = claim(case, reader)
            note = ""
            if found.reason:
                number = reasons.setdefault(f"{reader} {found.reason}.", len(reasons) + 1)
                note = f" ({number})"
            cells.append(found.verdict + note)
        rows.setdefault((f"`{case.format.key}`", case.grid, *cells), []).append(case.dtype)
    for (key, grid, *cells), dtypes in rows.items():
        yield f"| {key} | {grid} | {', '.join(dtypes)} | {' | '.join(cells)} |"
    yield ""
    yield from (f"{number}. {reason}" for reason, number in reasons.items())


def _foreign() -> Iterator[str]:
    yield "| written by | format | pixels | ebsdarchive |"
    yield "|---|---|---|---|"
    for program, key, dtype in FOREIGN:
        yield f"| {program} | `{key}` | {dtype} | pass |"


_INTRODUCTION = """# Formats that are written

Generated: `python -m ebsdarchive.exchange.interoperability > docs/formats.md`. The ending of the
output says what is written; `export --format` does where endings are shared, and for folders.
Patterns are written block by block, with the first row on top; nothing is written in place of a
file before it is complete. All files say that ebsdarchive wrote them.
"""
_MATRIX = """
What a format cannot hold stands in a JSON file: the projection centre in the convention named, the
tilts, the grid, how counts were scaled, and the digests of source and layer.

## Who reads them

Bit for bit, on maps and detectors that are not square. "Known defect" is one of the program's, and
a test fails when it is mended.
"""
_FOREIGN = """
## Files that others write, read here
"""
_NOTES = """
## What to know

- **EMsoft and EMSphInx** read patterns in HDF5 as 8 bit, whatever they are: give them `up2`, or
  `--dtype uint8`. EMsoft's own binary input is `emsoft-data`, without any header.
- **up1, up2** are of version 3. Old readers, EMsoft's of 2018 among them, want
  `--format-version 1`, which holds no grid. A raw layer whose source is such a file comes back byte
  for byte from version 3, with the "extra" patterns behind its grid, which kikuchipy counts too.
- **edax-h5** says "OIM Analysis 8.6.00 layout, written by ebsdarchive" as its version, since
  readers compare the beginning. kikuchipy wants the ending .h5, and PyEBSDIndex opens .h5 for
  writing too: give it .oh5 where the place is read-only. The projection centre is the mean.
- **h5oina** is format version 5.0. 8-bit patterns are its processed, 16-bit ones its unprocessed
  patterns (unsigned, where the specification has signed): `kikuchipy.load(..., processed=False)`.
- **ebsp** is of version 4, or 0, without positions, where the step is not known. kikuchipy takes
  the step along x for both, which ruins maps whose steps differ, and reads patterns of 1600 pixels
  or more.
- **nordif** comes with Setting.txt and the background, of which a folder holds one each. Angles
  that are not known are "nan" there.
- **netcdf, zarr** have the dimensions (y, x, v, u), or (point, v, u) for hexagonal scans, paths
  and points. zarr needs `pip install 'ebsdarchive[zarr]'`.
- **Orientations** are those of the archive's one orientation map, else those that came with the
  scan; `--orientations` names another. They are given in the sample frame of the format: EDAX's,
  which is kikuchipy's too, or Oxford's CS1, where the first Bunge angle is 90 degrees less; axes of
  crystals are not changed (concepts/geometry.md). The .ang is written by orix, which has square
  grids alone.
- **Scaling** happens only where a type cannot hold the counts, and to up1 and up2, whose type is in
  their name. All else is refused until `--dtype` asks for it.
"""


if __name__ == "__main__":
    import sys

    sys.stdout.write(formats_page())
