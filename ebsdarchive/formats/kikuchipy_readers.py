"""Scans through kikuchipy's readers: vendors' HDF5 flavours, Oxford ebsp, NORDIF.

kikuchipy fills in defaults for what a file does not say, and pads patterns that are missing. Here
only what the file holds is taken over, and missing patterns are an error. Where the patterns are a
plain array in the file, blocks are read from it directly: a task graph with a task for every
pattern would cost more than reading them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.conformity import plain
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.codecs.lossless import require_filters
from ebsdarchive.crystal_map import from_crystal_map
from ebsdarchive.errors import ArchiveError, ArgumentError, EbsdArchiveError, FormatError
from ebsdarchive.formats.hdf5_flavours import (
    EMSOFT_PATTERNS,
    FLAVOURS,
    Flavour,
    bruker_order,
    emsoft_detector,
    known_step,
    read_header,
    require_emsoft_size,
)
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, FilePatterns, Microscope, Patterns, Scan, SourceFile

__all__ = ["read_with_kikuchipy"]


class _Hdf5Patterns:
    """Patterns of an HDF5 source in the order of the grid, with the file opened for each read."""

    def __init__(self, path: Path, dataset: str, order: npt.NDArray[np.int64] | None) -> None:
        self.path, self.dataset, self.order = path, dataset, order
        with open_for_reading(path) as file:
            item = file[dataset]
            self.columns = item.shape[1] if item.ndim == 4 else None
            count = math.prod(item.shape[:-2])
            self.shape: tuple[int, int, int] = (count, *item.shape[-2:])
            self.dtype = np.dtype(item.dtype).newbyteorder("=")

    def read(self, start: int, stop: int) -> npt.NDArray:
        with open_for_reading(self.path) as file:
            item = file[self.dataset]
            try:
                require_filters(item)
                return np.ascontiguousarray(self._read(item, start, stop), dtype=self.dtype)
            except (OSError, ArchiveError) as error:
                raise FormatError(
                    f"{self.path}: {self.dataset}: expected readable patterns, found damage "
                    f"({_reason(error)}); copy the file again"
                ) from error

    def _read(self, item: h5py.Dataset, start: int, stop: int) -> npt.NDArray:
        if self.columns is not None:
            first, last = start // self.columns, -(-stop // self.columns)
            rows = item[first:last].reshape(-1, *self.shape[1:])
            return rows[start - first * self.columns : stop - first * self.columns]
        if self.order is None:
            return item[start:stop]
        wanted = self.order[start:stop]
        ascending = np.argsort(wanted)
        out = np.empty((len(wanted), *self.shape[1:]), item.dtype)
        out[ascending] = item[wanted[ascending]]
        return out


class _DaskPatterns:
    """Patterns of any other lazy signal."""

    def __init__(self, array: Any) -> None:
        self._array = array.reshape(-1, *array.shape[-2:])
        self.shape: tuple[int, int, int] = self._array.shape
        self.dtype = np.dtype(array.dtype)

    def read(self, start: int, stop: int) -> npt.NDArray:
        return np.asarray(self._array[start:stop].compute(scheduler="synchronous"))


def read_with_kikuchipy(
    path: Path, *, dataset: str | None = None, scan_index: int | None = None
) -> Scan:
    """Open a file with kikuchipy's reader for it; see `ebsdarchive.formats.open_scan`."""
    is_hdf5 = h5py.is_hdf5(path)
    if path.suffix.lower() in (".h5", ".hdf5", ".h5ebsd", ".h5oina") and not is_hdf5:
        raise FormatError(f"{path}: expected an HDF5 file, found something else; is it truncated?")
    if (dataset is not None or scan_index is not None) and not is_hdf5:
        raise ArgumentError(f"{path}: expected no scan to be named, found one; it holds one scan")
    with _sound(path):
        group, flavour = _select_scan(path, dataset, scan_index) if is_hdf5 else (None, None)
        return _read(path, group, flavour)


def _read(path: Path, group: str | None, flavour: Flavour | None) -> Scan:
    """The scan in a group of an HDF5 file, or the only one of any other file."""
    format_name = flavour.name if flavour is not None else _format_name(path)
    options: dict[str, Any] = {} if group is None else {"scan_group_names": group}
    grid = detector = None
    unprocessed = False
    if group is not None and flavour is not None:
        name = _patterns_path(path, group, flavour)
        grid, detector = read_header(path, group, flavour, name)
        if len(flavour.patterns) > 1:
            unprocessed = name == flavour.patterns[1]
            options["processed"] = not unprocessed
    elif h5py.is_hdf5(path):
        require_emsoft_size(path)
    signal = _load(path, format_name, options)
    if h5py.is_hdf5(path):  # patterns are read without it; an open file could not be replaced
        signal.close_file()
    patterns, dataset_path = _patterns(path, signal, group, flavour)
    if grid is None or detector is None:
        ny, nx = _navigation_shape(signal)
        sy, sx = (int(size) for size in signal.data.shape[-2:])
        grid, detector = Grid("square", nx, ny, *_steps(signal)), _detector(path, signal, (sy, sx))
    orientations, phases = from_crystal_map(signal.xmap) if signal.xmap is not None else (None, ())
    n = patterns.shape[0]
    if orientations is not None and len(orientations.quaternions) != n:
        orientations = None
    if orientations is not None:  # kikuchipy makes scalars of arrays of one
        properties = orientations.properties.items()
        per_point = {name: np.full(n, v) if v.ndim == 0 else v for name, v in properties}
        orientations = replace(orientations, properties=per_point)
    background = signal.static_background
    if unprocessed:  # kikuchipy gives that of the processed patterns
        background = signal.original_metadata.get_item("Unprocessed Static Background")
    usable = isinstance(background, np.ndarray) and background.shape == detector.shape
    return Scan(
        patterns=patterns,
        grid=grid,
        detector=detector,
        source=SourceFile(
            path=str(path),
            format=format_name,
            reader=f"kikuchipy {metadata.version('kikuchipy')}",
            metadata=_json_values(signal.original_metadata.as_dictionary()),
            hdf5_patterns=dataset_path,
            companions=_companions(path),
        ),
        microscope=_microscope(signal),
        phases=tuple(replace(phase, name=_utf8(phase.name)) for phase in phases),
        orientations=orientations,
        static_background=background if usable else None,
        name=group or path.stem,
    )


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Turn what h5py and kikuchipy raise on a damaged file into a FormatError."""
    try:
        yield
    except ArchiveError as error:
        raise FormatError(str(error)) from error
    except EbsdArchiveError:
        raise
    except (OSError, RuntimeError, LookupError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path}: expected a sound file, found: {_reason(error)}; is the file complete?"
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    lines = str(error).strip("'\"\n ").splitlines()
    return lines[0] if lines else type(error).__name__


def _select_scan(
    path: Path, dataset: str | None, scan_index: int | None
) -> tuple[str | None, Flavour | None]:
    """Name of the scan's group in an HDF5 file, and the flavour; None for EMsoft's."""
    if dataset is not None and scan_index is not None:
        raise ArgumentError(f"{path}: expected a scan's name or its number, found both")
    with open_for_reading(path) as file:
        if plain(file.attrs.get("encoding-type", "")) == "ebsdarchive":
            raise FormatError(
                f"{path}: expected a vendor's scan, found an ebsdarchive file; fit, query or "
                f"export it as it is"
            )
        if "EMheader" in file:
            if dataset is not None or scan_index not in (None, 0):
                raise ArgumentError(f"{path}: expected no scan to be named, found one; it has one")
            return None, None
        names = [name for name in file if isinstance(file.get(name), h5py.Group)]
        scans = [name for name in names if "EBSD/Header" in file[name]]
        vendor = _vendor(file)
    flavour = FLAVOURS.get(vendor or "")
    if flavour is None or not scans:
        found = f"manufacturer {vendor!r}" if vendor else f"no manufacturer, groups {names[:4]}"
        raise FormatError(
            f"{path}: expected EBSD patterns in the HDF5 layout of {', '.join(FLAVOURS)} or "
            f"EMsoft, found {found} and {len(scans)} scans"
        )
    if dataset is not None:
        if dataset not in scans:
            raise FormatError(f"{path}: expected a scan {dataset!r}, found {', '.join(scans)}")
        return dataset, flavour
    index = scan_index or 0
    if not 0 <= index < len(scans):
        raise FormatError(
            f"{path}: expected a scan number from 0 to {len(scans) - 1}, found {scan_index}"
        )
    return scans[index], flavour


def _vendor(file: h5py.File) -> str | None:
    """The manufacturer in lower case; EDAX's files have blanks around its name."""
    for key in file:
        item = file.get(key) if key.strip().lower() == "manufacturer" else None
        if isinstance(item, h5py.Dataset) and item.size:
            return str(plain(np.ravel(item[()])[0])).strip().lower()
    return None


def _load(path: Path, format_name: str, options: dict[str, Any]) -> Any:
    """The lazy signal; whatever kikuchipy cannot read becomes a FormatError."""
    import kikuchipy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            signal = kikuchipy.load(str(path), lazy=True, **options)
        except Exception as error:
            hint = "; is it complete?" if isinstance(error, IndexError) else ""
            raise FormatError(
                f"{path}: expected a readable {format_name} file, found: {_reason(error)}{hint}"
            ) from error
    return signal[0] if isinstance(signal, list) else signal


def _navigation_shape(signal: Any) -> tuple[int, int]:
    """(rows, columns) of the scan; kikuchipy drops axes of one point."""
    axes = signal.axes_manager.navigation_axes
    sizes = {axis.name: int(axis.size) for axis in axes}
    if len(axes) == 1 and set(sizes) != {"y"}:
        return 1, next(iter(sizes.values()))
    return sizes.get("y", 1), sizes.get("x", 1)


def _patterns_path(path: Path, group: str, flavour: Flavour) -> str:
    """Path in the scan's group of the patterns that are there."""
    with open_for_reading(path) as file:
        for candidate in flavour.patterns:
            if candidate in file[group]:
                return candidate
        raise FormatError(
            f"{path}: expected patterns in {group}/{flavour.patterns[0]}, found "
            f"{', '.join(file[group].get('EBSD/Data', {})) or 'nothing'}; were patterns saved with "
            f"the scan?"
        )


def _patterns(
    path: Path, signal: Any, group: str | None, flavour: Flavour | None
) -> tuple[Patterns, str | None]:
    """The patterns, and their dataset's path in an HDF5 source."""
    if group is not None and flavour is not None:
        dataset = f"/{group}/{_patterns_path(path, group, flavour)}"
        return _Hdf5Patterns(path, dataset, bruker_order(path, group)), dataset
    if h5py.is_hdf5(path):
        return _Hdf5Patterns(path, EMSOFT_PATTERNS, None), EMSOFT_PATTERNS
    if path.suffix.lower() == ".dat":
        shape = (math.prod(signal.data.shape[:-2]), *signal.data.shape[-2:])
        expected, found = math.prod(shape), path.stat().st_size
        if expected != found:
            raise FormatError(
                f"{path}: expected {expected} bytes from Setting.txt, found {found}; is the file "
                f"complete, and are its patterns 8 bit?"
            )
        return FilePatterns(path, np.uint8, shape), None
    return _DaskPatterns(signal.data), None


def _steps(signal: Any) -> tuple[float | None, float | None]:
    """Step along x and y in µm, where the source gives one."""
    axes = {axis.name: axis for axis in signal.axes_manager.navigation_axes}
    x, y = (
        known_step(float(axes[name].scale)) if name in axes and axes[name].units == "um" else None
        for name in ("x", "y")
    )
    return x, y


def _detector(path: Path, signal: Any, shape: tuple[int, int]) -> Detector:
    """The detector of EMsoft's, NORDIF's and Oxford's ebsp files, as far as they know it."""
    if h5py.is_hdf5(path):
        return emsoft_detector(path, shape)
    given = signal.detector
    if path.suffix.lower() == ".dat" and given is not None:
        return Detector(
            shape,
            sample_tilt_deg=float(given.sample_tilt),
            tilt_deg=float(given.tilt),
            azimuth_deg=float(given.azimuthal),
        )
    return Detector(shape)


def _microscope(signal: Any) -> Microscope:
    tree = signal.metadata.as_dictionary().get("Acquisition_instrument", {}).get("SEM", {})

    def number(key: str) -> float | None:
        value = tree.get(key)
        if isinstance(value, int | float | np.number) and math.isfinite(value) and value > 0:
            return float(value)
        return None  # kikuchipy writes 0 for what it does not know

    name = tree.get("microscope")
    return Microscope(
        name=_utf8(str(name)) if name else None,
        beam_energy_kev=number("beam_energy"),
        magnification=number("magnification"),
        working_distance_mm=number("working_distance"),
    )


def _companions(path: Path) -> tuple[str, ...]:
    if path.suffix.lower() != ".dat":
        return ()
    names = ("Setting.txt", "Background acquisition pattern.bmp")
    return tuple(str(path.parent / name) for name in names if (path.parent / name).is_file())


def _format_name(path: Path) -> str:
    return {".ebsp": "Oxford ebsp", ".dat": "NORDIF"}.get(path.suffix.lower(), "EMsoft HDF5")


def _json_values(tree: Any, limit: int = 64) -> Any:
    """Plain JSON values; long arrays are named by their shape, since the source's copy has them."""
    if isinstance(tree, dict):
        return {str(key): _json_values(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_json_values(value) for value in tree]
    if isinstance(tree, np.ndarray):
        if tree.size > limit:
            return f"array of {tree.dtype} {tree.shape}"
        return _json_values(tree.tolist())
    value = plain(tree)
    if isinstance(value, str):
        return _utf8(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _utf8(text: str) -> str:
    """Text that kikuchipy took for Latin-1, as it does all, although it is UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text
