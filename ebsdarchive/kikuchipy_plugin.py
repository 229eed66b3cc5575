"""After ``import ebsdarchive.kikuchipy_plugin``, ``kikuchipy.load`` opens every archive, lazily.

Archives whose raw patterns are stored as they are need no plugin. This is for the others: raw
patterns behind a level table, and archives that hold only a neural layer. kikuchipy has no entry
point for readers, so that the plugin is added to its list.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kikuchipy.io._io

from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.kikuchipy_signal import signal_parts

__all__ = ["file_reader"]

_SPECIFICATION = {
    "name": "ebsdarchive",
    "description": "EBSD archives of ebsdarchive",
    "file_extensions": ["h5", "hdf5"],
    "default_extension": 0,
    "writes": False,
    "manufacturer": "ebsdarchive",
    "footprints": ["archive/scan/grid"],
    "api": "ebsdarchive.kikuchipy_plugin",
}


def file_reader(
    filename: str | Path,
    lazy: bool = False,
    layer: str | None = None,
    orientations: str | None = None,
) -> list[dict[str, Any]]:
    """One layer of patterns as kikuchipy's readers return it.

    Parameters
    ----------
    layer
        raw, neural, or the name of a restored layer; by default the first there is.
    orientations
        Name of an orientation map; see `ebsdarchive.archive.file.Archive.to_kikuchipy`.
    """
    return [signal_parts(open_archive(filename), layer, orientations, lazy)]


if all(plugin["name"] != "ebsdarchive" for plugin in kikuchipy.io._io.PLUGINS):
    kikuchipy.io._io.PLUGINS.append(_SPECIFICATION)
