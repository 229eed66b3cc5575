"""Scans in vendors' HDF5 files: which there are, and each of them as a `Scan`.

kikuchipy reads the settings, backgrounds and crystal maps of Bruker's, Oxford's, EMsoft's and its
own files. EDAX's are read here: kikuchipy knows neither the ending .oh5 nor hexagonal grids. It
fills in defaults for what a file does not say; only what the file holds is taken over.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ebsdarchive import __version__
from ebsdarchive.archive.conformity import plain
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.errors import FormatError
from ebsdarchive.exchange.hdf5_flavours import (
    EMSOFT_PATTERNS,
    FLAVOURS,
    Flavour,
    bruker_order,
    emsoft_detector,
    read_header,
    require_emsoft_size,
)
from ebsdarchive.exchange.hdf5_maps import read_maps
from ebsdarchive.exchange.hdf5_patterns import Hdf5Patterns
from ebsdarchive.exchange.kikuchipy_readers import (
    crystal_map_of,
    loaded,
    microscope_of,
    reader_name,
)
from ebsdarchive.exchange.readable import NoPatternsError
from ebsdarchive.exchange.source_text import json_values, sound
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Microscope, Scan, SourceFile

__all__ = ["names_with_patterns", "read", "scan_names"]

_UNPROCESSED = " unprocessed"


@dataclass(frozen=True)
class _Place:
    """A scan in a file: its group and the path of its patterns in it; no group in EMsoft's."""

    group: str | None
    patterns: str
    vendor: str

    @property
    def flavour(self) -> Flavour:
        return FLAVOURS[self.vendor]


def scan_names(path: Path) -> tuple[str, ...]:
    """Names of the scans in a file; Oxford's unprocessed patterns are a scan of their own."""
    return tuple(_places(path))


def names_with_patterns(path: Path) -> tuple[str, ...]:
    """Names of the scans whose patterns are in the file.

    Raises
    ------
    NoPatternsError
        If there are none, as in files of maps alone, or the file is not of a known vendor.
    """
    names = tuple(name for name, place in _places(path).items() if place.patterns)
    if not names:
        raise NoPatternsError(f"{path}: expected patterns with the scan, found maps alone")
    return names


def read(path: Path, scan: str | None = None) -> Scan:
    """Open a scan of an HDF5 file; by default the first.

    Raises
    ------
    FormatError
        If the file is no scan of a known vendor, is damaged, or contradicts itself.
    """
    with sound(path):
        places = _places(path)
        name = next(iter(places)) if scan is None else scan
        place = places[name]
        if place.group is None:
            return _read_emsoft(path)
        if not place.patterns:
            raise FormatError(
                f"{path}: expected patterns in {place.group}/{place.flavour.patterns[0]}, found "
                f"{_data_names(path, place.group)}; were patterns saved with the scan?"
            )
        return _read(path, place, name)


def _places(path: Path) -> dict[str, _Place]:
    """The scans of a file by their names."""
    if not h5py.is_hdf5(path):
        raise FormatError(f"{path}: expected an HDF5 file, found something else; is it truncated?")
    with sound(path), open_for_reading(path) as file:
        if plain(file.attrs.get("encoding-type", "")) == "ebsdarchive":
            raise NoPatternsError(
                f"{path}: expected a vendor's scan, found an ebsdarchive file; fit, query or "
                f"export it as it is"
            )
        if "EMheader" in file:
            return {path.stem: _Place(None, EMSOFT_PATTERNS, "emsoft")}
        groups = [name for name in file if isinstance(file.get(name), h5py.Group)]
        scans = [name for name in groups if "EBSD/Header" in file[name]]
        vendor = _vendor(file) or ""
        if vendor not in FLAVOURS or not scans:
            by = f"manufacturer {vendor!r}" if vendor else f"no manufacturer, groups {groups[:4]}"
            raise NoPatternsError(
                f"{path}: expected EBSD patterns in the HDF5 layout of {', '.join(FLAVOURS)} or "
                f"EMsoft, found {by} and {len(scans)} scans"
            )
        places: dict[str, _Place] = {}
        for name in scans:
            stacks = [stack for stack in FLAVOURS[vendor].patterns if stack in file[name]]
            places[name] = _Place(name, stacks[0] if stacks else "", vendor)
            for other in stacks[1:]:
                places[name + _UNPROCESSED] = _Place(name, other, vendor)
        return places


def _vendor(file: h5py.File) -> str | None:
    """The manufacturer in lower case; EDAX's files have blanks around its name."""
    for key in file:
        item = file.get(key) if key.strip().lower() == "manufacturer" else None
        if isinstance(item, h5py.Dataset) and item.size:
            return str(plain(np.ravel(item[()])[0])).strip().lower()
    return None


def _data_names(path: Path, group: str) -> str:
    with open_for_reading(path) as file:
        return ", ".join(file[group].get("EBSD/Data", {})) or "nothing"


def _read(path: Path, place: _Place, name: str) -> Scan:
    """A scan in a group of its own."""
    group, flavour = str(place.group), place.flavour
    grid, detector = read_header(path, group, flavour, place.patterns)
    order = bruker_order(path, group)
    dataset = f"/{group}/{place.patterns}"
    patterns = Hdf5Patterns(path, dataset, order)
    orientations, phases = read_maps(path, group, place.vendor, grid.size, order)
    background: Any = None
    if place.vendor == "edax":
        tree = _header_tree(path, group)
        microscope = Microscope(working_distance_mm=_positive(tree.get("Working Distance")))
        reader = f"ebsdarchive {__version__}"
    else:
        unprocessed = len(flavour.patterns) > 1 and place.patterns == flavour.patterns[1]
        options = {"processed": not unprocessed} if len(flavour.patterns) > 1 else {}
        signal = loaded(path, flavour.name, {"scan_group_names": group, **options})
        if place.vendor == "kikuchipy":
            orientations, phases = crystal_map_of(signal, grid.size)
        background = signal.static_background
        if unprocessed:  # kikuchipy gives that of the processed patterns
            background = signal.original_metadata.get_item("Unprocessed Static Background")
        tree = signal.original_metadata.as_dictionary()
        microscope = microscope_of(signal)
        reader = reader_name()
    if patterns.is_signed:
        tree = {**tree, "type_of_patterns": "int16, none negative"}
    usable = isinstance(background, np.ndarray) and background.shape == detector.shape
    return Scan(
        patterns=patterns,
        grid=grid,
        detector=detector,
        source=SourceFile(
            path=str(path),
            format=flavour.name,
            reader=reader,
            metadata=json_values(tree),
            hdf5_patterns=dataset,
        ),
        microscope=microscope,
        phases=phases,
        orientations=orientations,
        static_background=background if usable else None,
        name=name,
    )


def _read_emsoft(path: Path) -> Scan:
    """The one scan of EMsoft's EMEBSD, whose patterns have no grid."""
    require_emsoft_size(path)
    signal = loaded(path, "EMsoft HDF5", {})
    patterns = Hdf5Patterns(path, EMSOFT_PATTERNS, None)
    orientations, phases = crystal_map_of(signal, patterns.shape[0])
    return Scan(
        patterns=patterns,
        grid=Grid("square", patterns.shape[0], 1),
        detector=emsoft_detector(path, (patterns.shape[1], patterns.shape[2])),
        source=SourceFile(
            path=str(path),
            format="EMsoft HDF5",
            reader=reader_name(),
            metadata=json_values(signal.original_metadata.as_dictionary()),
            hdf5_patterns=EMSOFT_PATTERNS,
        ),
        microscope=microscope_of(signal),
        phases=phases,
        orientations=orientations,
        name=path.stem,
    )


def _header_tree(path: Path, group: str) -> dict[str, Any]:
    """All entries of a scan's header; arrays of one as their value."""

    def tree(node: h5py.Group) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key in node:
            item = node.get(key)
            if isinstance(item, h5py.Group):
                out[key] = tree(item)
            elif isinstance(item, h5py.Dataset) and item.shape is not None:
                values = item[()]
                flat = np.ravel(values)
                single = flat.size == 1 and flat.dtype.names is None
                out[key] = _decoded(flat[0]) if single else f"{item.dtype} {item.shape}"
        return out

    with open_for_reading(path) as file:
        return tree(file[group]["EBSD/Header"])


def _decoded(value: Any) -> Any:
    """Text of EDAX's files is Latin-1, or UTF-8."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _positive(value: Any) -> float | None:
    number = float(value) if isinstance(value, int | float | np.number) else 0.0
    return number if np.isfinite(number) and number > 0 else None
