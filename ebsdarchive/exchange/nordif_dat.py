"""NORDIF: headerless 8 bit patterns in a .dat file, described by Setting.txt beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.errors import FormatError
from ebsdarchive.exchange.hdf5_flavours import known_step
from ebsdarchive.exchange.kikuchipy_readers import loaded, microscope_of, reader_name
from ebsdarchive.exchange.readable import NoPatternsError
from ebsdarchive.exchange.source_text import json_values, sound
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, FilePatterns, Scan, SourceFile

__all__ = ["names_with_patterns", "read", "scan_names"]

_BESIDE = ("Setting.txt", "Background acquisition pattern.bmp")


def scan_names(path: Path) -> tuple[str, ...]:
    """The one scan of a NORDIF file, by the file's name."""
    return (path.stem,)


def names_with_patterns(path: Path) -> tuple[str, ...]:
    """The one scan, where there are settings beside; other programs write .dat files too.

    Raises
    ------
    NoPatternsError
        If there are none.
    """
    if not (path.parent / _BESIDE[0]).is_file():
        raise NoPatternsError(f"{path}: expected {_BESIDE[0]} beside it, found none")
    return scan_names(path)


def read(path: Path, scan: str | None = None) -> Scan:
    """Open a NORDIF file; kikuchipy reads its settings, patterns are read from the file.

    Raises
    ------
    FormatError
        If there is no Setting.txt, or the file is of another size than it says.
    """
    with sound(path):
        return _read(path)


def _read(path: Path) -> Scan:
    if not (path.parent / _BESIDE[0]).is_file():
        raise FormatError(
            f"{path}: expected {_BESIDE[0]} beside it, which has its size, found none; copy it too"
        )
    signal = loaded(path, "NORDIF", {})
    sy, sx = (int(size) for size in signal.data.shape[-2:])
    ny, nx = _navigation_shape(signal)
    shape = (math.prod(signal.data.shape[:-2]), sy, sx)
    expected, found = math.prod(shape), path.stat().st_size
    if expected != found:
        raise FormatError(
            f"{path}: expected {expected} bytes from Setting.txt, found {found}; is the file "
            f"complete, and are its patterns 8 bit?"
        )
    given, background = signal.detector, signal.static_background
    usable = isinstance(background, np.ndarray) and background.shape == (sy, sx)
    beside = (path.parent / name for name in _BESIDE)
    return Scan(
        patterns=FilePatterns(path, np.uint8, shape),
        grid=Grid("square", nx, ny, *_steps(signal)),
        detector=Detector(
            (sy, sx),
            sample_tilt_deg=_known_angle(given.sample_tilt),
            tilt_deg=_known_angle(given.tilt),
            azimuth_deg=_known_angle(given.azimuthal),
        )
        if given is not None
        else Detector((sy, sx)),
        source=SourceFile(
            path=str(path),
            format="NORDIF",
            reader=reader_name(),
            metadata=json_values(signal.original_metadata.as_dictionary()),
            companions=tuple(str(file) for file in beside if file.is_file()),
        ),
        microscope=microscope_of(signal),
        static_background=background if usable else None,
        name=path.stem,
    )


def _known_angle(angle: float) -> float | None:
    """An angle in degrees; exports write "nan" for one that is not known."""
    return float(angle) if math.isfinite(angle) else None


def _navigation_shape(signal: Any) -> tuple[int, int]:
    """(rows, columns) of the scan; kikuchipy drops axes of one point."""
    axes = signal.axes_manager.navigation_axes
    sizes = {axis.name: int(axis.size) for axis in axes}
    if len(axes) == 1 and set(sizes) != {"y"}:
        return 1, next(iter(sizes.values()))
    return sizes.get("y", 1), sizes.get("x", 1)


def _steps(signal: Any) -> tuple[float | None, float | None]:
    """Step along x and y in µm, where the source gives one."""
    axes = {axis.name: axis for axis in signal.axes_manager.navigation_axes}
    x, y = (
        known_step(float(axes[name].scale)) if name in axes and axes[name].units == "um" else None
        for name in ("x", "y")
    )
    return x, y
