"""Simulated scans: polycrystals with known truth, as a `Scan` whose patterns are made on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError, GeometryError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Microscope, Orientations, Scan, SourceFile
from ebsdarchive.simulation.camera import Camera, background, expected_counts, expose
from ebsdarchive.simulation.master_pattern import (
    MasterPattern,
    blurred,
    read_master_pattern,
    toned,
)
from ebsdarchive.simulation.microstructure import polycrystal
from ebsdarchive.simulation.substructure import require_cubic

__all__ = ["SimulatedPatterns", "simulate_patterns", "simulate_scan"]

CAMERA_DTYPES = ("uint8", "uint16")
BYTES_AT_ONCE = 1 << 20
NICKEL_PC = (0.425, 0.213, 0.501)  # of the Ni patterns in kikuchipy


@dataclass(frozen=True)
class SimulatedPatterns:
    """Patterns that are computed when they are read; an implementation of `scan.Patterns`.

    Parameters
    ----------
    quaternions
        (n, 4) orientations, sample to crystal, scalar first.
    master
        Master pattern, already toned and blurred as the camera asks.
    directions
        (3, sy * sx) float32 directions of the pixels in the sample frame.
    light
        (sy, sx) float32 background, 1 on average over the lit pixels.
    camera, seed
        The camera and the seed of its noise.
    camera_dtype
        uint8 or uint16: the type, and with it the range, of the camera's counts.
    clean
        Whether to return the expected counts as float32: not noisy, not rounded, not clipped.
    mixed_points, mixed_weights, mixed_quaternions
        As in `Microstructure`: points whose pattern holds a share of a second orientation.
    """

    quaternions: npt.NDArray[np.float64]
    master: MasterPattern
    directions: npt.NDArray[np.float32]
    light: npt.NDArray[np.float32]
    camera: Camera
    seed: int
    camera_dtype: np.dtype
    clean: bool
    mixed_points: npt.NDArray[np.int64]
    mixed_weights: npt.NDArray[np.float32]
    mixed_quaternions: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, sy, sx)."""
        sy, sx = self.light.shape
        return len(self.quaternions), sy, sx

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32) if self.clean else self.camera_dtype

    def read(self, start: int, stop: int) -> npt.NDArray:
        """(stop - start, sy, sx) patterns with index start … stop - 1."""
        start, stop, _ = slice(start, stop).indices(len(self.quaternions))
        out = np.empty((max(0, stop - start), *self.light.shape), self.dtype)
        step = max(1, BYTES_AT_ONCE // (4 * self.light.size))

        def fill(first: int) -> None:
            last = min(first + step, stop)
            light = self._light(first, last)
            if self.clean:
                part = expected_counts(light, self.camera, self.camera_dtype)
            else:
                part = expose(light, self.camera, self.camera_dtype, self.seed, first)
            out[first - start : last - start] = part

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _ in threads.map(fill, range(start, stop, step)):
                pass
        return out

    def _light(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """(stop - start, sy, sx) light on the camera, 1 on average over the lit pixels."""
        from ebsdarchive.simulation.projection import project

        out = np.empty((stop - start, self.light.size), np.float32)
        project(self.quaternions[start:stop], self.directions, self.master.intensity, out)
        first, last = np.searchsorted(self.mixed_points, [start, stop])
        if last > first:
            second = np.empty((last - first, self.light.size), np.float32)
            project(
                self.mixed_quaternions[first:last], self.directions, self.master.intensity, second
            )
            rows = self.mixed_points[first:last] - start
            own = self.mixed_weights[first:last, None]
            out[rows] = own * out[rows] + (1 - own) * second
        out *= np.float32(self.camera.contrast)
        out += 1
        np.maximum(out, 0, out=out)
        out *= self.light.reshape(1, -1)
        return out.reshape(-1, *self.light.shape)


def simulate_patterns(
    quaternions: npt.ArrayLike,
    detector: Detector,
    master: MasterPattern,
    camera: Camera | None = None,
    *,
    seed: int = 0,
    dtype: str = "uint16",
    clean: bool = False,
    mixed_points: npt.ArrayLike = (),
    mixed_weights: npt.ArrayLike = (),
    mixed_quaternions: npt.ArrayLike = (),
) -> SimulatedPatterns:
    """Patterns of given orientations.

    Parameters
    ----------
    quaternions
        (n, 4) unit quaternions, sample to crystal, scalar first: what kikuchipy's `get_patterns`
        takes as rotations.
    detector
        With its shape and one projection centre; unknown angles count as 0.
    dtype
        "uint8" or "uint16".
    clean
        Expected counts as float32 instead of what the camera records.
    mixed_points, mixed_weights, mixed_quaternions
        (m,) ascending indices, (m,) shares of the first orientation and (m, 4) second orientations
        of the points where two patterns are mixed.
    """
    from ebsdarchive.simulation.projection import pixel_directions

    camera = Camera() if camera is None else camera
    if dtype not in CAMERA_DTYPES:
        raise ArgumentError(f"dtype: expected {' or '.join(CAMERA_DTYPES)}, found {dtype}")
    if seed < 0:
        raise ArgumentError(f"seed: expected an integer of at least 0, found {seed}")
    directions = pixel_directions(detector)
    assert detector.pc_bruker is not None  # else pixel_directions has raised
    pixel_rad = 1 / (detector.shape[0] * float(detector.pc_bruker[2]))
    return SimulatedPatterns(
        quaternions=np.ascontiguousarray(quaternions, np.float64).reshape(-1, 4),
        master=blurred(toned(master, camera.gamma), camera.psf * pixel_rad),
        directions=directions,
        light=background(camera, detector.shape, seed),
        camera=camera,
        seed=seed,
        camera_dtype=np.dtype(dtype),
        clean=clean,
        mixed_points=np.asarray(mixed_points, np.int64),
        mixed_weights=np.asarray(mixed_weights, np.float32),
        mixed_quaternions=np.ascontiguousarray(mixed_quaternions, np.float64).reshape(-1, 4),
    )


def simulate_scan(
    grid_shape: tuple[int, int] = (100, 100),
    pattern_shape: tuple[int, int] = (60, 60),
    *,
    grains: int = 30,
    seed: int = 0,
    hexagonal: bool = False,
    step_um: float = 1.0,
    dtype: str = "uint16",
    electrons: float | None = None,
    gradient_deg: float = 1.0,
    mixing_width: float = 0.4,
    cell_size: float | None = None,
    cell_spread_deg: float = 1.0,
    twin_fraction: float = 0.0,
    master_pattern: str | Path | MasterPattern | None = None,
    phase: str | None = None,
    beam_energy_kev: float | None = None,
    pc_bruker: Sequence[float] = NICKEL_PC,
    sample_tilt_deg: float = 70.0,
    tilt_deg: float = 0.0,
    azimuth_deg: float = 0.0,
    twist_deg: float = 0.0,
    camera: Camera | None = None,
    disc: bool | None = None,
    clean: bool = False,
) -> Scan:
    """A scan of a polycrystal with known truth; patterns are computed when they are read.

    The same arguments give the same patterns, however they are read.

    Parameters
    ----------
    grid_shape
        (rows, columns). On a hexagonal grid every second row has one point less.
    pattern_shape
        (rows, columns) of the detector in pixels.
    grains
        Number of grains.
    step_um
        Distance between points in a row; hexagonal rows are sqrt(3)/2 of it apart.
    dtype
        "uint8" or "uint16": type and range of the camera's counts.
    electrons, disc
        Override the camera's: electrons per pixel on average (infinite: no noise), round screen.
    gradient_deg
        Spread of the orientations inside a grain.
    mixing_width
        Standard deviation of the interaction volume in steps: near a boundary the patterns of two
        grains mix, half and half at the boundary itself.
    cell_size, cell_spread_deg
        Deformed grains: mean size of their dislocation cells in steps (None: there are none), and
        mean disorientation between neighbouring cells. Walls are sharp.
    twin_fraction
        Share of the grains that have one or two lamellar annealing twins (Sigma 3); cubic only.
    master_pattern, phase, beam_energy_kev
        See `read_master_pattern`; default is kikuchipy's bundled Ni pattern at 20 kV. The last two
        say nothing where `master_pattern` has been read already.
    pc_bruker
        (PCx, PCy, PCz) of all points as fractions of width, height, height; origin upper left.
    clean
        Expected counts as float32: the same scan without noise, rounding and clipping.

    Returns
    -------
    Scan
        Its `orientations` are the truth, with `grain_id` and `boundary_distance` (steps) as
        properties, and `cell_id` and `is_twin` (0 or 1) where they were asked for.
        `static_background` is the background without bands, in counts.

    Raises
    ------
    ArgumentError, GeometryError, FormatError
        One line that names the argument or file, what was expected and what was found.
    """
    (n_rows, n_columns), (sy, sx) = grid_shape, pattern_shape
    if sy < 1 or sx < 1:
        raise ArgumentError(f"pattern_shape: expected at least 1 x 1 pixel, found {sy} x {sx}")
    pc = np.asarray(pc_bruker, dtype=np.float64)
    if pc.shape != (3,) or not np.isfinite(pc).all() or pc[2] <= 0:
        raise GeometryError(
            f"projection centre: expected PCx, PCy and PCz > 0, found {np.array2string(pc)}"
        )
    camera = Camera() if camera is None else camera
    camera = replace(
        camera,
        electrons=camera.electrons if electrons is None else electrons,
        disc=camera.disc if disc is None else disc,
    )
    if isinstance(master_pattern, MasterPattern):
        master = master_pattern
    else:
        master = read_master_pattern(master_pattern, phase, beam_energy_kev)
    grid = Grid(
        kind="hexagonal" if hexagonal else "square",
        n_columns=n_columns,
        n_rows=n_rows,
        step_x_um=step_um,
        step_y_um=step_um * sqrt(3) / 2 if hexagonal else step_um,
        n_columns_even=max(1, n_columns - 1) if hexagonal else None,
    )
    detector = Detector(
        shape=(sy, sx),
        pc_bruker=pc,
        pc_original=pc,
        pc_convention="bruker",
        sample_tilt_deg=sample_tilt_deg,
        tilt_deg=tilt_deg,
        azimuth_deg=azimuth_deg,
        twist_deg=twist_deg,
    )
    if twin_fraction > 0:
        require_cubic(master.phase)
    truth = polycrystal(
        grid, grains, seed, gradient_deg, mixing_width,
        cell_size=cell_size, cell_spread_deg=cell_spread_deg, twin_fraction=twin_fraction,
    )  # fmt: skip
    patterns = simulate_patterns(
        truth.quaternions,
        detector,
        master,
        camera,
        seed=seed,
        dtype=dtype,
        clean=clean,
        mixed_points=truth.mixed_points,
        mixed_weights=truth.mixed_weights,
        mixed_quaternions=truth.mixed_quaternions,
    )
    static_background = expected_counts(patterns.light, camera, patterns.camera_dtype)
    settings: dict[str, Any] = {
        "grains": grains,
        "seed": seed,
        "gradient_deg": gradient_deg,
        "mixing_width": mixing_width,
        "master_pattern": master.source,
        "clean": clean,
        "camera_dtype": dtype,
        "camera": {k: v for k, v in asdict(camera).items() if k != "electrons"},
        "electrons": camera.electrons if isfinite(camera.electrons) else None,
    }
    properties: dict[str, npt.NDArray] = {
        "grain_id": truth.grain_id,
        "boundary_distance": truth.boundary_distance,
    }
    if cell_size is not None:
        settings |= {"cell_size": cell_size, "cell_spread_deg": cell_spread_deg}
        properties["cell_id"] = truth.cell_id
    if twin_fraction > 0:
        settings["twin_fraction"] = twin_fraction
        properties["is_twin"] = truth.is_twin.astype(np.int32)
    return Scan(
        patterns=patterns,
        grid=grid,
        detector=detector,
        source=SourceFile(
            path=None, format="simulated", reader="ebsdarchive.simulation", metadata=settings
        ),
        microscope=Microscope(beam_energy_kev=master.beam_energy_kev),
        phases=(master.phase,),
        orientations=Orientations(
            quaternions=truth.quaternions,
            phase_id=np.full(grid.size, master.phase.phase_id, np.int32),
            properties=properties,
        ),
        static_background=static_background if clean else np.rint(static_background).astype(dtype),
        name=f"simulated {master.phase.name}",
    )
