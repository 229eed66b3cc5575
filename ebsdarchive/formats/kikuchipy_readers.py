"""Scans through kikuchipy's readers: vendors' HDF5 flavours, Oxford ebsp, NORDIF.

kikuchipy fills in defaults for what a file does not say, and pads patterns that are missing. Here
only what the file holds is taken over, and missing patterns are an error. Where a reader's patterns
are a plain array in the file, blocks are read from it directly: a task graph with a task for every
pattern would cost more than reading them.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.nodes import plain, unreadable
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.codecs.lossless import require_filters
from ebsdarchive.crystal_map import from_crystal_map
from ebsdarchive.errors import ArchiveError, ArgumentError, EbsdArchiveError, FormatError
from ebsdarchive.geometry import Grid, pc_to_bruker
from ebsdarchive.scan import Detector, FilePatterns, Microscope, Patterns, Scan, SourceFile

__all__ = ["read_with_kikuchipy"]


@dataclass(frozen=True)
class _Flavour:
    """Where an HDF5 flavour keeps what kikuchipy would make up; paths in a scan's group."""

    name: str
    patterns: tuple[str, ...]
    convention: str
    pc: tuple[str, str, str]
    step: str
    sample_tilt: str = ""
    tilt: str = ""
    azimuth: str = ""
    twist: str = ""
    pixel_size: str = ""
    binning: tuple[str, ...] = ()


_HEADER = "EBSD/Header/"
_FLAVOURS = {
    "kikuchipy": _Flavour(
        "kikuchipy h5ebsd",
        ("EBSD/Data/patterns",),
        "bruker",
        (_HEADER + "pcx", _HEADER + "pcy", _HEADER + "pcz"),
        _HEADER + "step_x",
        _HEADER + "sample_tilt",
        _HEADER + "elevation_angle",
        _HEADER + "azimuth_angle",
        _HEADER + "twist_angle",
        _HEADER + "detector_pixel_size",
        (_HEADER + "binning",),
    ),
    "edax": _Flavour(
        "EDAX HDF5",
        ("EBSD/Data/Pattern",),
        "edax",
        tuple(f"{_HEADER}Pattern Center Calibration/{axis}-star" for axis in "xyz"),  # type: ignore[arg-type]
        _HEADER + "Step X",
        _HEADER + "Sample Tilt",
        _HEADER + "Camera Elevation Angle",
        _HEADER + "Camera Azimuthal Angle",
    ),
    "bruker nano": _Flavour(
        "Bruker HDF5",
        ("EBSD/Data/RawPatterns",),
        "bruker",
        ("EBSD/Data/PCX", "EBSD/Data/PCY", "EBSD/Data/DD"),
        _HEADER + "XSTEP",
        _HEADER + "Sample Tilt",
        _HEADER + "CameraTilt",
        pixel_size=_HEADER + "DetectorFullHeightMicrons",
    ),
    "oxford instruments": _Flavour(
        "Oxford H5OINA",
        ("EBSD/Data/Processed Patterns", "EBSD/Data/Unprocessed Patterns"),
        "oxford",
        (
            "EBSD/Data/Pattern Center X",
            "EBSD/Data/Pattern Center Y",
            "EBSD/Data/Detector Distance",
        ),
        _HEADER + "X Step",
        _HEADER + "Tilt Angle",
        _HEADER + "Detector Orientation Euler",
        binning=(_HEADER + "Camera Mode", _HEADER + "Camera Binning Mode"),
    ),
}


class _Hdf5Patterns:
    """Patterns of an HDF5 source in the order of the grid, with the file opened for each read."""

    def __init__(self, path: Path, dataset: str, order: npt.NDArray[np.int64] | None) -> None:
        self.path, self.dataset, self.order = path, dataset, order
        with open_for_reading(path) as file:
            item = file[dataset]
            if item.ndim not in (3, 4):
                raise FormatError(
                    f"{path}: {dataset}: expected 3 or 4 dimensions (n, sy, sx), "
                    f"found {item.ndim}; is this a single pattern?"
                )
            self.columns = item.shape[1] if item.ndim == 4 else None
            count = math.prod(item.shape[:-2])
            self.shape: tuple[int, int, int] = (count, *item.shape[-2:])
            self.dtype = np.dtype(item.dtype).newbyteorder("=")

    def read(self, start: int, stop: int) -> npt.NDArray:
        with open_for_reading(self.path) as file:
            item = file[self.dataset]
            require_filters(item)
            try:
                return np.ascontiguousarray(self._read(item, start, stop), dtype=self.dtype)
            except OSError as error:
                raise FormatError(
                    str(unreadable(item, error)).split(";")[0] + "; copy the file again"
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
    group = flavour = None
    options: dict[str, Any] = {}
    if is_hdf5:
        group, flavour = _select_scan(path, dataset, scan_index)
        if group is not None:
            options["scan_group_names"] = group
            if flavour is not None and flavour.name == "Oxford H5OINA":
                options["processed"] = _patterns_path(path, group, flavour) == flavour.patterns[0]
    signal = _load(path, options)
    ny, nx = _navigation_shape(signal)
    shape = tuple(int(size) for size in signal.data.shape[-2:])
    patterns, dataset_path = _patterns(path, signal, group, flavour)
    orientations, phases = from_crystal_map(signal.xmap) if signal.xmap is not None else (None, ())
    if orientations is not None and len(orientations.quaternions) != patterns.shape[0]:
        orientations = None
    background = signal.static_background
    usable = isinstance(background, np.ndarray) and background.shape == shape
    return Scan(
        patterns=patterns,
        grid=Grid("square", nx, ny, *_steps(path, signal, group, flavour)),
        detector=_detector(path, signal, group, flavour, shape),  # type: ignore[arg-type]
        source=SourceFile(
            path=str(path),
            format=flavour.name if flavour else _format_name(path),
            reader=f"kikuchipy {metadata.version('kikuchipy')}",
            metadata=_json_values(signal.original_metadata.as_dictionary()),
            hdf5_patterns=dataset_path,
            companions=_companions(path),
        ),
        microscope=_microscope(signal),
        phases=phases,
        orientations=orientations,
        static_background=background if usable else None,
        name=group or path.stem,
    )


def _select_scan(
    path: Path, dataset: str | None, scan_index: int | None
) -> tuple[str | None, _Flavour | None]:
    """Name of the scan's group in an HDF5 file, and the flavour; None for EMsoft's."""
    try:
        with open_for_reading(path) as file:
            if plain(file.attrs.get("encoding-type", "")) == "ebsdarchive":
                raise FormatError(
                    f"{path}: expected a vendor's scan, found an ebsdarchive file; fit, query or "
                    f"export it as it is"
                )
            if "EMheader" in file:
                return None, None
            names = [name for name in file if isinstance(file.get(name), h5py.Group)]
            scans = [name for name in names if "EBSD/Header" in file[name]]
            vendor = next(
                (
                    str(np.ravel(plain(file[key][()]))[0]).strip().lower()
                    for key in file
                    if key.strip().lower() == "manufacturer"
                ),
                None,
            )
    except ArchiveError as error:
        raise FormatError(str(error)) from error
    flavour = _FLAVOURS.get(vendor or "")
    if flavour is None or not scans:
        found = f"manufacturer {vendor!r}" if vendor else f"no manufacturer, groups {names[:4]}"
        raise FormatError(
            f"{path}: expected EBSD patterns in the HDF5 layout of {', '.join(_FLAVOURS)} or "
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


def _load(path: Path, options: dict[str, Any]) -> Any:
    """The lazy signal; whatever kikuchipy cannot read, or would pad, becomes a FormatError."""
    import kikuchipy

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            signal = kikuchipy.load(str(path), lazy=True, **options)
        except EbsdArchiveError:
            raise
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise FormatError(
                f"{path}: expected a readable {_format_name(path)} file, found: {reason}"
            ) from error
    for warning in caught:
        text = str(warning.message)
        if "larger than" in text or "padding" in text or "pad" in text.split():
            raise FormatError(
                f"{path}: expected as many patterns as the header says, found fewer ({text}); "
                f"is the file complete?"
            )
    return signal[0] if isinstance(signal, list) else signal


def _navigation_shape(signal: Any) -> tuple[int, int]:
    """(rows, columns) of the scan; kikuchipy drops axes of one point."""
    axes = signal.axes_manager.navigation_axes
    sizes = {axis.name: int(axis.size) for axis in axes}
    if len(axes) == 1 and set(sizes) != {"y"}:
        return 1, next(iter(sizes.values()))
    return sizes.get("y", 1), sizes.get("x", 1)


def _patterns_path(path: Path, group: str, flavour: _Flavour) -> str:
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
    path: Path, signal: Any, group: str | None, flavour: _Flavour | None
) -> tuple[Patterns, str | None]:
    """The patterns, and their dataset's path in an HDF5 source."""
    if group is not None and flavour is not None:
        dataset = f"/{group}/{_patterns_path(path, group, flavour)}"
        return _Hdf5Patterns(path, dataset, _bruker_order(path, group)), dataset
    if h5py.is_hdf5(path):
        return _Hdf5Patterns(path, "/EMData/EBSD/EBSDPatterns", None), "/EMData/EBSD/EBSDPatterns"
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


def _bruker_order(path: Path, group: str) -> npt.NDArray[np.int64] | None:
    """Bruker's files list patterns in any order: index in the file of each point of the grid."""
    with open_for_reading(path) as file:
        sem = file[group].get("EBSD/SEM")
        if sem is None or "IX" not in sem or "IY" not in sem:
            return None
        return np.lexsort((sem["IX"][()], sem["IY"][()]))


def _value(path: Path, group: str | None, name: str) -> npt.NDArray | None:
    """A header entry as a flat array, or None where the file does not have it."""
    if group is None or not name:
        return None
    with open_for_reading(path) as file:
        item = file[group].get(name)
        return None if item is None else np.ravel(item[()])


def _steps(
    path: Path, signal: Any, group: str | None, flavour: _Flavour | None
) -> tuple[float | None, float | None]:
    """Step along x and y in µm, where the source gives one."""
    if flavour is not None and _value(path, group, flavour.step) is None:
        return None, None
    axes = {axis.name: axis for axis in signal.axes_manager.navigation_axes}
    if path.suffix.lower() == ".dat" and not (path.parent / "Setting.txt").exists():
        return None, None
    if flavour is not None:
        name_y = flavour.step.replace("_x", "_y").replace("X", "Y")
        values = [_value(path, group, name) for name in (flavour.step, name_y)]
        steps = [None if v is None else float(v[0]) for v in values]
    else:
        steps = [
            float(axes[name].scale) if name in axes and axes[name].units == "um" else None
            for name in ("x", "y")
        ]
    return (
        steps[0] if steps[0] and steps[0] > 0 else None,
        steps[1] if steps[1] and steps[1] > 0 else None,
    )


def _detector(
    path: Path, signal: Any, group: str | None, flavour: _Flavour | None, shape: tuple[int, int]
) -> Detector:
    """The detector, without what kikuchipy made up."""
    given = signal.detector
    if flavour is None:
        if h5py.is_hdf5(path):  # EMsoft states all but the sample tilt
            return _emsoft_detector(path, given, shape)
        if path.suffix.lower() == ".dat" and given is not None:
            return Detector(
                shape,
                sample_tilt_deg=float(given.sample_tilt),
                tilt_deg=float(given.tilt),
                azimuth_deg=float(given.azimuthal),
            )
        return Detector(shape)

    def has(*names: str) -> bool:
        return any(_value(path, group, name) is not None for name in names)

    original = centre = None
    parts = [_value(path, group, name) for name in flavour.pc]
    if all(part is not None for part in parts):
        order = _bruker_order(path, group) if group is not None else None
        original = np.stack(parts, axis=-1).astype(np.float64)  # type: ignore[arg-type]
        if order is not None and len(original) == len(order):
            original = original[order]
        if len(original) == 1:
            original = original[0]
        centre = pc_to_bruker(original, flavour.convention, shape)
    return Detector(
        shape=shape,
        pc_bruker=centre,
        pc_original=original,
        pc_convention=flavour.convention if original is not None else None,
        sample_tilt_deg=float(given.sample_tilt) if has(flavour.sample_tilt) else None,
        tilt_deg=float(given.tilt) if has(flavour.tilt) else None,
        azimuth_deg=float(given.azimuthal) if has(flavour.azimuth) else None,
        twist_deg=float(given.twist) if has(flavour.twist) else None,
        pixel_size_um=float(given.px_size) if has(flavour.pixel_size) else None,
        binning=float(given.binning) if has(*flavour.binning) else None,
    )


def _emsoft_detector(path: Path, given: Any, shape: tuple[int, int]) -> Detector:
    with open_for_reading(path) as file:
        names = file["NMLparameters/EBSDNameList"]
        original = np.array([float(names[key][()][0]) for key in ("xpc", "ypc", "L")])
    pixel_size, binning = float(given.px_size), float(given.binning)
    return Detector(
        shape=shape,
        pc_bruker=np.asarray(given.pc, np.float64).reshape(-1, 3)[0],
        pc_original=original,
        pc_convention="emsoft5",
        tilt_deg=float(given.tilt),
        pixel_size_um=pixel_size,
        binning=binning,
    )


def _microscope(signal: Any) -> Microscope:
    tree = signal.metadata.as_dictionary().get("Acquisition_instrument", {}).get("SEM", {})

    def number(key: str) -> float | None:
        value = tree.get(key)
        if isinstance(value, int | float | np.number) and math.isfinite(value) and value > 0:
            return float(value)
        return None  # kikuchipy writes 0 for what it does not know

    name = tree.get("microscope")
    return Microscope(
        name=str(name) if name else None,
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
    if isinstance(tree, np.ndarray) and tree.size > limit:
        return f"array of {tree.dtype} {tree.shape}"
    value = plain(tree)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_json_values(item) for item in value]
    return value
