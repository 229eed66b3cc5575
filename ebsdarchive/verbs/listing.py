"""``formats``: what is read and written, from the tables that reading and writing go by."""

from __future__ import annotations

from typing import Any

from ebsdarchive.exchange.geometry_files import GEOMETRY_FILES
from ebsdarchive.exchange.readable import READABLE
from ebsdarchive.exchange.writing.registry import WRITE_FORMATS

__all__ = ["formats"]


def formats() -> dict[str, list[dict[str, Any]]]:
    """The formats that are read and written, as plain values.

    Returns
    -------
    dict
        `read`: name, endings, versions ("" where a format has none), whether a scan is a folder,
        and what is taken from it besides patterns; `geometry`: files that `geometry` may name;
        `written`: key of `export --format`, name, endings (none for folders of images), versions,
        types of pixels, whether hexagonal grids are held, projection centres and orientations.
    """
    return {
        "read": [
            {
                "name": entry.name,
                "endings": list(entry.endings),
                "versions": entry.versions,
                "folder": entry.folder,
                "reads": entry.reads,
            }
            for entry in READABLE
        ],
        "geometry": [
            {"name": name, "endings": [ending]} for ending, name in GEOMETRY_FILES.items()
        ],
        "written": [
            {
                "key": entry.key,
                "name": entry.title,
                "endings": list(entry.endings),
                "versions": ", ".join(map(str, entry.versions)),
                "folder": entry.folder,
                "dtypes": list(entry.dtypes),
                "hexagonal": entry.hexagonal,
                "projection_centres": entry.pc,
                "orientations": entry.orientations,
            }
            for entry in WRITE_FORMATS
        ],
    }
