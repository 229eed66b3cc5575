"""How the bytes of an archive lie in its file: plain, or arranged for reading over a network.

"plain" is what every HDF5 since 1.8 reads. "cloud" is HDF5's paged file space, which HDF5 1.10 and
later read: all names, attributes and indices come first, small data next, patterns last, so that a
few requests for the beginning of the file fetch what it takes to find anything. What nodes hold,
and their digests, are the same in both.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import h5py

from ebsdarchive.archive.copying import copy_chunks, copy_tree, page_bytes_of
from ebsdarchive.archive.output import open_for_writing
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.archive.trust import readable
from ebsdarchive.codecs.lossless import PROFILES
from ebsdarchive.errors import ArgumentError

__all__ = ["LAYOUTS", "arrange_for_cloud", "is_cloud", "parse_profile"]

LAYOUTS = ("plain", "cloud")
_SMALL_PAGE, _PAGE = 16 << 10, 1 << 20  # far from the size of a chunk, or much of each is empty
_SMALL_FILE = 8 << 20  # pages of 1 MiB would make a small file twice as large


def parse_profile(text: str) -> tuple[str | None, bool | None]:
    """Coding of the raw patterns and whether the layout is "cloud", each None where not named.

    Raises
    ------
    ArgumentError
        If `text` is not one coding, one layout, or both, with a comma between them.
    """
    names = [name.strip() for name in text.split(",")]
    codings = [name for name in names if name in ("auto", *PROFILES)]
    layouts = [name for name in names if name in LAYOUTS]
    if len(codings) + len(layouts) < len(names) or len(codings) > 1 or len(layouts) > 1:
        raise ArgumentError(
            f"profile: expected one of auto, {', '.join(PROFILES)}, one of {', '.join(LAYOUTS)}, "
            f"or both with a comma, found {text!r}"
        )
    return codings[0] if codings else None, layouts[0] == "cloud" if layouts else None


def is_cloud(file: h5py.File) -> bool:
    """Whether a file is arranged for reading over a network."""
    return page_bytes_of(file) is not None


def arrange_for_cloud(path: Path) -> None:
    """Write a file anew in the layout "cloud" and put it in the same place.

    For the temporary files of writes only: nothing is read back here.
    """
    page = _PAGE if os.path.getsize(path) >= _SMALL_FILE else _SMALL_PAGE
    beside = path.with_name(f"{path.name.removesuffix('.partial')}.layout.partial")
    try:
        with (
            open_for_reading(path) as old,
            open_for_writing(beside, page_bytes=page) as new,
            readable(old),
        ):
            waiting = copy_tree(old["/"], new["/"])
            new.flush()  # gives all of it a place in the file, before the patterns
            for source, target in sorted(waiting, key=lambda pair: pair[0].id.get_storage_size()):
                copy_chunks(source, target)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
