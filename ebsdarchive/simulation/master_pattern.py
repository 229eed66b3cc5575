"""Master patterns: the Kikuchi pattern of a crystal in all directions, read from file.

Knows the bundled Ni pattern of kikuchipy, files that kikuchipy reads (EMsoft), and HDF5 files with
one group per phase (`<phase>/master_pattern`, as in shared/data/master_patterns_20kv.h5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.scan import Phase

__all__ = ["MasterPattern", "blurred", "phases_in", "read_master_pattern", "toned"]

BUNDLED = "kikuchipy: ni_mc_mp_20kv_uint8_gzip_opts9.h5"
NM_OR_ANGSTROM = 2.0  # no crystal has a lattice parameter below 2 Å; kikuchipy gives EMsoft's in nm


@dataclass(frozen=True)
class MasterPattern:
    """A master pattern, scaled to zero mean and unit standard deviation over the sphere.

    Parameters
    ----------
    intensity
        (2, m, m) float32: upper (+z) and lower hemisphere in the square Lambert projection, x
        along a and z along c*; column grows with x, row with y. Pixels are equal in solid angle.
    phase
        The crystal.
    beam_energy_kev
        Energy of the pattern; None where the file does not say.
    source
        File it came from.
    """

    intensity: npt.NDArray[np.float32]
    phase: Phase
    beam_energy_kev: float | None
    source: str


def read_master_pattern(
    path: str | Path | None = None, phase: str | None = None, beam_energy_kev: float | None = None
) -> MasterPattern:
    """Read a master pattern.

    Parameters
    ----------
    path
        File; None is kikuchipy's bundled Ni pattern at 20 kV.
    phase
        Which phase of a file that holds several.
    beam_energy_kev
        Which energy of a file that holds several; None is the highest.

    Raises
    ------
    FormatError
        If the file is missing or holds no master pattern.
    ArgumentError
        If it does not hold this phase or energy.
    """
    if path is None:
        from kikuchipy.data import nickel_ebsd_master_pattern_small

        signal = nickel_ebsd_master_pattern_small(projection="lambert", hemisphere="both")
        return _from_signal(signal, BUNDLED, phase, beam_energy_kev)
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: expected a master pattern file, found no such file")
    try:
        with h5py.File(path, "r") as file:
            names = [name for name, node in file.items() if _is_phase_group(node)]
            if names:
                return _from_group(file, names, str(path), phase, beam_energy_kev)
            found = "/, ".join(file) or "nothing"
    except OSError as error:
        raise FormatError(
            f"{path}: expected a master pattern in HDF5, found {error}; is this the right file?"
        ) from None
    import kikuchipy

    try:
        signal = kikuchipy.load(path, projection="lambert", hemisphere="both")
    except Exception as error:  # kikuchipy and HyperSpy raise almost anything on a foreign file
        raise _not_a_master_pattern(path, found) from error
    return _from_signal(signal, str(path), phase, beam_energy_kev)


def phases_in(path: str | Path) -> list[str]:
    """Names of the phases of a file with one group per phase; none for a file of another layout.

    Raises
    ------
    FormatError
        If there is no such file, or it is not HDF5.
    """
    if not Path(path).is_file():
        raise FormatError(f"{path}: expected a master pattern file, found no such file")
    try:
        with h5py.File(path, "r") as file:
            return [name for name, node in file.items() if _is_phase_group(node)]
    except OSError as error:
        raise FormatError(
            f"{path}: expected a master pattern in HDF5, found {error}; is this the right file?"
        ) from None


def toned(master: MasterPattern, gamma: float) -> MasterPattern:
    """`master`, stretched from 0 to 1, to the power `gamma`, and standardised again."""
    if gamma == 1:
        return master
    low, high = master.intensity.min(), master.intensity.max()
    stretched = (master.intensity - low) / (high - low)
    return replace(master, intensity=_standardised(stretched**gamma, master.source))


def blurred(master: MasterPattern, sigma_rad: float) -> MasterPattern:
    """`master` convolved with a Gaussian of `sigma_rad` on the sphere.

    On the square Lambert map pixels are equal in solid angle, so a fixed width in pixels stands
    for the angle; across its edge the map goes on as the other hemisphere's mirror image.
    """
    from scipy.ndimage import gaussian_filter1d

    size = master.intensity.shape[-1]
    sigma = sigma_rad * (size - 1) / np.sqrt(2 * np.pi)  # m² pixels on 2 pi sr
    if sigma < 0.05:
        return master
    reach = min(int(np.ceil(4 * sigma)), size - 2)
    out = master.intensity
    for axis in (1, 2):
        beyond = np.flip(out[::-1], axis)
        first = np.take(beyond, range(size - 1 - reach, size - 1), axis)
        last = np.take(beyond, range(1, reach + 1), axis)
        padded = np.concatenate([first, out, last], axis)
        smooth = gaussian_filter1d(padded, sigma, axis, mode="nearest")
        out = np.take(smooth, range(reach, reach + size), axis)
    return replace(master, intensity=np.ascontiguousarray(out, np.float32))


def _is_phase_group(node: Any) -> bool:
    if not isinstance(node, h5py.Group):
        return False
    pattern = node.get("master_pattern")
    return isinstance(pattern, h5py.Dataset) and pattern.ndim == 3 and pattern.shape[0] == 2


def _from_group(
    file: h5py.File, names: list[str], where: str, phase: str | None, energy: float | None
) -> MasterPattern:
    """The pattern of one group of a file with one group per phase."""
    if phase is None and len(names) == 1:
        phase = names[0]
    if phase not in names:
        asked = "no phase given" if phase is None else repr(phase)
        raise ArgumentError(f"{where}: expected a phase out of {', '.join(names)}, found {asked}")
    group = file[phase]
    stored = group.attrs.get("kV")
    _require_energy(where, energy, [] if stored is None else [float(stored)])
    lattice = group.attrs.get("lattice_angstrom_deg")
    space_group = group.attrs.get("space_group")
    crystal = Phase(
        phase_id=0,
        name=phase,
        space_group=None if space_group is None else int(space_group),
        point_group=None if space_group is None else _point_group(int(space_group)),
        lattice=None if lattice is None else _lattice(lattice),
    )
    return MasterPattern(
        _standardised(group["master_pattern"][()], f"{where}: /{phase}/master_pattern"),
        crystal,
        None if stored is None else float(stored),
        f"{where}::{phase}",
    )


def _from_signal(signal: Any, where: str, phase: str | None, energy: float | None) -> MasterPattern:
    """The pattern of a kikuchipy signal, one of its energies."""
    kind = type(signal).__name__
    if "MasterPattern" not in kind or getattr(signal, "projection", None) != "lambert":
        raise _not_a_master_pattern(where, kind)
    crystal = signal.phase
    if phase is not None and phase.lower() != (crystal.name or "").lower():
        raise ArgumentError(f"{where}: expected the phase {crystal.name}, found {phase!r}")
    data = signal.data
    energies = [
        [float(e) for e in axis.axis]
        for axis in signal.axes_manager.navigation_axes
        if axis.name == "energy"
    ]
    stored: float | None = None
    if energies:
        _require_energy(where, energy, energies[0])
        stored = energies[0][-1] if energy is None else energy
        # numpy order of the axes is (hemisphere, energy, row, column)
        data = np.moveaxis(data, -3, 0)[energies[0].index(stored)]
    elif where == BUNDLED:
        stored = 20.0
        _require_energy(where, energy, [stored])
    if data.ndim == 2:
        data = np.stack([data, data])
    a, b, c, alpha, beta, gamma = crystal.structure.lattice.abcABG()
    to_angstrom = 10.0 if a < NM_OR_ANGSTROM else 1.0
    space_group = crystal.space_group
    return MasterPattern(
        _standardised(data, where),
        Phase(
            phase_id=0,
            name=crystal.name or "unknown",
            space_group=None if space_group is None else int(space_group.number),
            point_group=None if crystal.point_group is None else crystal.point_group.name,
            lattice=_lattice(
                [a * to_angstrom, b * to_angstrom, c * to_angstrom, alpha, beta, gamma]
            ),
        ),
        stored,
        where,
    )


def _require_energy(where: str, energy: float | None, stored: list[float]) -> None:
    if energy is not None and stored and energy not in stored:
        listed = ", ".join(f"{e:g}" for e in stored)
        raise ArgumentError(f"{where}: expected a beam energy of {listed} kV, found {energy:g}")


def _standardised(data: npt.ArrayLike, where: str) -> npt.NDArray[np.float32]:
    """(2, m, m) float32 with zero mean and unit standard deviation."""
    intensity = np.asarray(data, dtype=np.float64)
    if intensity.ndim != 3 or intensity.shape[1] != intensity.shape[2] or intensity.shape[1] < 3:
        raise FormatError(f"{where}: expected shape (2, m, m), found {intensity.shape}")
    deviation = intensity.std()
    if not deviation > 0:  # also where it is NaN
        raise FormatError(f"{where}: expected a pattern that varies, found a constant or NaN")
    return np.ascontiguousarray((intensity - intensity.mean()) / deviation, dtype=np.float32)


def _lattice(values: npt.ArrayLike) -> tuple[float, float, float, float, float, float]:
    a, b, c, alpha, beta, gamma = (round(float(v), 9) for v in np.asarray(values))
    return a, b, c, alpha, beta, gamma


def _point_group(space_group: int) -> str:
    from orix.crystal_map import Phase as OrixPhase

    return str(OrixPhase(space_group=space_group).point_group.name)


def _not_a_master_pattern(where: str | Path, found: str) -> FormatError:
    return FormatError(
        f"{where}: expected a master pattern in the square Lambert projection (an EMsoft file, or "
        f"groups PHASE/master_pattern), found {found}"
    )
