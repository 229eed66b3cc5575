"""What is taken over from kikuchipy's readers: the signal, and from it what the file really says.

kikuchipy fills in defaults for what a file does not say; those are left out here.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ebsdarchive.crystal_map import from_crystal_map
from ebsdarchive.errors import FormatError
from ebsdarchive.exchange.source_text import first_line, utf8
from ebsdarchive.scan import Microscope, Orientations, Phase

__all__ = ["crystal_map_of", "loaded", "microscope_of", "reader_name"]


def reader_name() -> str:
    """kikuchipy and its version."""
    return f"kikuchipy {metadata.version('kikuchipy')}"


def crystal_map_of(signal: Any, n: int) -> tuple[Orientations | None, tuple[Phase, ...]]:
    """Orientations and phases of a signal; no orientations where its map is of other points."""
    if signal.xmap is None:
        return None, ()
    orientations, phases = from_crystal_map(signal.xmap)
    phases = tuple(replace(phase, name=utf8(phase.name)) for phase in phases)
    if orientations is None or len(orientations.quaternions) != n:
        return None, phases
    # kikuchipy makes scalars of arrays of one
    properties = orientations.properties.items()
    per_point = {name: np.full(n, v) if v.ndim == 0 else v for name, v in properties}
    return replace(orientations, properties=per_point), phases


def loaded(path: Path, format_name: str, options: dict[str, Any]) -> Any:
    """The lazy signal; whatever kikuchipy cannot read becomes a FormatError."""
    import kikuchipy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            signal = kikuchipy.load(str(path), lazy=True, **options)
        except Exception as error:
            hint = "; is it complete?" if isinstance(error, IndexError) else ""
            raise FormatError(
                f"{path}: expected a readable {format_name} file, found: {first_line(error)}{hint}"
            ) from error
    signal = signal[0] if isinstance(signal, list) else signal
    if h5py.is_hdf5(path):  # patterns are read without it; an open file could not be replaced
        signal.close_file()
    return signal


def microscope_of(signal: Any) -> Microscope:
    """The microscope's settings, as far as the source gives them."""
    tree = signal.metadata.as_dictionary().get("Acquisition_instrument", {}).get("SEM", {})

    def number(key: str) -> float | None:
        value = tree.get(key)
        if isinstance(value, int | float | np.number) and math.isfinite(value) and value > 0:
            return float(value)
        return None  # kikuchipy writes 0 for what it does not know

    name = tree.get("microscope")
    return Microscope(
        name=utf8(str(name)) if name else None,
        beam_energy_kev=number("beam_energy"),
        magnification=number("magnification"),
        working_distance_mm=number("working_distance"),
    )
