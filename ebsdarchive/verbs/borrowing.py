"""What a fit takes from elsewhere: the field of another archive, its basis, or a simulated one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import open_archive
from ebsdarchive.errors import ArgumentError, GeometryError, MissingLayerError
from ebsdarchive.scan import Scan

__all__ = ["dictionary_of", "field_of"]

SIMULATED = 1024  # patterns of random orientations that a simulated basis spans


def field_of(path: str) -> Any:
    """The decoded field of another archive."""
    from ebsdarchive.neural.storage import read_tensor_field

    if "neural" not in open_archive(path).layers:
        raise MissingLayerError(f"{path}: expected a neural layer to take from, found none")
    return read_tensor_field(path).tensors


def dictionary_of(text: str, scan: Scan, seed: int) -> Any:
    """The patterns that are to span the basis of a scan.

    Parameters
    ----------
    text
        from:ARCHIVE for the basis patterns of another archive; master:FILE or master:FILE,PHASE for
        patterns simulated from a master pattern, master:Ni for kikuchipy's bundled one.

    Raises
    ------
    ArgumentError
        If the text is something else.
    GeometryError
        If patterns are to be simulated and the scan has no projection centre or sample tilt.
    """
    from ebsdarchive.neural.basis import Dictionary

    kind, _, name = text.partition(":")
    if kind == "from" and name:
        tensors = field_of(name)
        patterns = np.zeros((len(tensors.basis), *tensors.mask.shape), np.float32)
        patterns[:, tensors.mask] = tensors.basis
        return Dictionary(patterns, tensors.mask, name)
    if kind == "master" and name:
        return Dictionary(_simulated(name, scan, seed), None, name)
    raise ArgumentError(f"basis: expected from:ARCHIVE or master:FILE[,PHASE], found {text!r}")


def _simulated(name: str, scan: Scan, seed: int) -> npt.NDArray[np.float32]:
    """(c, sy, sx): bands of random orientations on the scan's own background, and slow changes of
    that background."""
    from ebsdarchive.analysis.indexing import mean_pattern
    from ebsdarchive.simulation import read_master_pattern, simulate_patterns
    from ebsdarchive.simulation.rotations import uniform_quaternions

    file, _, phase = name.partition(",")
    master = read_master_pattern(None if file == "Ni" else file, phase or None)
    detector = scan.detector
    if detector.pc_bruker is None or detector.sample_tilt_deg is None:
        raise GeometryError(
            "basis: expected a known projection centre and sample tilt to simulate patterns with, "
            "found none in the source; leave the basis to the scan"
        )
    centre = np.atleast_2d(detector.pc_bruker).mean(axis=0)
    quaternions = uniform_quaternions(SIMULATED, np.random.default_rng(seed))
    simulated = simulate_patterns(
        quaternions, replace(detector, pc_bruker=centre), master, seed=seed, clean=True
    )
    bands = simulated.read(0, SIMULATED)
    bands /= bands.mean(axis=0)
    bands -= 1
    ny, nx = detector.shape
    v, u = np.mgrid[-1 : 1 : ny * 1j, -1 : 1 : nx * 1j].astype(np.float32)
    slow = np.stack([u**i * v**j for i in range(4) for j in range(4 - i)])
    return (np.concatenate([slow, bands]) * mean_pattern(scan)).astype(np.float32)
