"""Names of layers: what may be one, and which layer of a kind is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence

import h5py

from ebsdarchive.errors import ArgumentError, MissingLayerError

__all__ = ["chosen_layer", "require_name"]


def require_name(name: str) -> None:
    """Raise ArgumentError unless a name can be that of a layer."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ArgumentError(f"name: expected letters, digits, _ and -, found {name!r}")


def chosen_layer(
    archive: h5py.Group,
    folder: str,
    names: Sequence[str],
    name: str | None,
    *,
    kind: str,
    short: str,
    none: str,
) -> str:
    """FOLDER/NAME of the layer that is meant: the one that is named, or the only one.

    Parameters
    ----------
    folder
        "maps" or "auxiliary".
    names
        Of the layers of the kind in this folder.
    name
        With or without the folder; None for the only one.
    kind, short
        The kind in an error's words, with its article: "an orientation map", "a map".
    none
        What was expected, found none, and how to make one.

    Raises
    ------
    MissingLayerError
        If there is none, or none of that name.
    ArgumentError
        If there are several and none is named.
    """
    where, there = archive.file.filename, ", ".join(names)
    if not names:
        raise MissingLayerError(f"{where}: {none}")
    if name is None:
        if len(names) > 1:
            raise ArgumentError(f"{where}: expected the name of {short}, found {there}")
        name = names[0]
    name = name.removeprefix(f"{folder}/")
    if name not in names:
        raise MissingLayerError(f"{where}: expected {kind} {name!r}, found {there}")
    return f"{folder}/{name}"
