"""What an archive knows of its area, as an observation on a raster finer than the scan.

Orientations stand at the points of the scan and nowhere between them; light, where there is some,
at every sample of the raster that lies in its images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import h5py
import numpy as np
import numpy.typing as npt
import torch

from ebsdarchive.analysis.agreement import grains_by_disorientation
from ebsdarchive.archive.auxiliary import LightStack
from ebsdarchive.archive.description import read_grid
from ebsdarchive.archive.orientation_maps import read_orientation_map
from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid
from ebsdarchive.multimodal.image_frame import to_image_frame
from ebsdarchive.multimodal.map_network import MapConfig
from ebsdarchive.multimodal.observation import Observation
from ebsdarchive.multimodal.orientation_channels import to_channels
from ebsdarchive.multimodal.registered_light import light_channels_of
from ebsdarchive.scan import Phase

__all__ = ["ObservedMap", "observed_map", "white_noise"]

LARGEST = 4096  # samples along a side
UNIT = 1e-3  # that the length of an orientation's quaternion may be off 1


@dataclass(frozen=True)
class ObservedMap:
    """What is known of an area, in a model's channels.

    Parameters
    ----------
    observation
        (c, rows, columns).
    grid
        The raster as a grid of its own.
    measured
        (rows, columns) bool, samples whose orientation was measured.
    phase
        Of the orientations; None of light alone.
    """

    observation: Observation
    grid: Grid
    measured: npt.NDArray[np.bool_]
    phase: Phase | None


def observed_map(
    archive: h5py.Group,
    config: MapConfig,
    *,
    per_step: int,
    orientation_map: str | None,
    stack: LightStack | None,
    orientation_noise: float,
    light_noise: float | None,
) -> ObservedMap:
    """What is known of the scanned area.

    Parameters
    ----------
    config
        Of the network that is to be asked.
    per_step
        Samples of the raster per scan step.
    orientation_map
        Name of the layer; None for the only one there is.
    stack
        The light; None leaves it unknown.
    orientation_noise, light_noise
        σ of the channels; that of light by default as its pixels show it.

    Raises
    ------
    ArgumentError
        If the grid is hexagonal, the raster too large, or no point is of the model's point group.
    MissingLayerError
        If there is no such layer.
    """
    where = archive.file.filename
    scan = read_grid(archive)
    if scan.is_hexagonal:
        raise ArgumentError(
            f"{where}: expected a square grid, found a hexagonal one; models of maps know pixels"
        )
    fine = _finer(scan, per_step, where)
    shape = (fine.n_rows, fine.n_columns)
    values = np.zeros((config.channels, *shape), np.float32)
    measured = np.zeros(values.shape, bool)
    noise = np.zeros((config.channels, 1, 1), np.float32)
    points = np.zeros(shape, bool)
    phase = None
    if config.orientation:
        channels, points[::per_step, ::per_step], phase = _orientations(
            archive, scan, orientation_map, config.point_group
        )
        values[: config.orientation, ::per_step, ::per_step] = channels
        measured[: config.orientation] = points
        noise[: config.orientation] = orientation_noise
    if config.channels > config.orientation and stack is not None:
        found = light_channels_of(_on(stack, scan, per_step), fine, config.light_channels)
        known = np.isfinite(found)
        values[config.orientation :] = np.where(known, found, 0.0)
        measured[config.orientation :] = known
        own = white_noise(found) if light_noise is None else np.full(len(found), light_noise)
        noise[config.orientation :] = own[:, None, None]
    observation = Observation(*(torch.from_numpy(a) for a in (values, measured, noise)))
    return ObservedMap(observation, fine, points, phase)


def white_noise(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(p,) standard deviation of the noise of each channel (p, y, x), NaN where not known.

    Of second differences along rows and columns, by their median, which edges and scratches leave
    alone; at least 0.01, what the channels of a model can tell.
    """
    found = []
    for image in light:
        second = image[1:-1, 1:-1] * 4 - image[:-2, 1:-1] - image[2:, 1:-1]
        second = np.abs(second - image[1:-1, :-2] - image[1:-1, 2:])
        known = second[np.isfinite(second)]
        found.append(np.median(known) / 0.6745 / np.sqrt(20) if known.size else 0.01)
    return np.maximum(np.array(found, np.float32), 0.01)


def _finer(scan: Grid, per_step: int, where: str) -> Grid:
    """The raster as a grid of its own."""
    if not isinstance(per_step, int | np.integer) or not 1 <= per_step <= LARGEST:
        raise ArgumentError(
            f"samples per step: expected a whole number from 1 to {LARGEST}, found {per_step}"
        )
    rows, columns = ((n - 1) * per_step + 1 for n in (scan.n_rows, scan.n_columns))
    if max(rows, columns) > LARGEST:
        raise ArgumentError(
            f"{where}: expected at most {LARGEST} samples along a side, found {columns} x {rows}; "
            f"ask for fewer per step"
        )
    x, y = (None if step is None else step / per_step for step in (scan.step_x_um, scan.step_y_um))
    return Grid("square", columns, rows, x, y)


def _orientations(
    archive: h5py.Group, grid: Grid, name: str | None, point_group: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], Phase]:
    """(3, y, x) channels at the points of the scan, where they are known, and their phase."""
    found = read_orientation_map(archive, name)
    fitting = [phase for phase in found.phases if phase.point_group == point_group]
    if len(fitting) != 1:
        there = ", ".join(f"{p.name} ({p.point_group})" for p in found.phases) or "none"
        raise ArgumentError(
            f"{archive.file.filename}: expected one phase of point group {point_group}, which the "
            f"model was trained on, found {there}"
        )
    (phase,) = fitting
    length = np.linalg.norm(found.orientations.quaternions, axis=1)  # NaN is none, nor is 0
    indexed = (found.orientations.phase_id == phase.phase_id) & (np.abs(length - 1) < UNIT)
    known = grid.to_map(indexed)
    if not known.any():
        raise ArgumentError(
            f"{archive.file.filename}: expected points that are indexed as {phase.name}, found none"
        )
    q = to_image_frame(found.orientations.quaternions, found.orientations.sample_frame)
    q = np.where(known[..., None], grid.to_map(q), np.nan)
    grains = grains_by_disorientation(q.reshape(-1, 4), known.shape, point_group)
    whole = np.where(known[..., None], q, [1.0, 0, 0, 0])
    channels = to_channels(whole, point_group, grains=grains)
    return np.where(known, np.clip(channels, -1, 1), 0).astype(np.float32), known, phase


def _on(stack: LightStack, scan: Grid, per_step: int) -> LightStack:
    """A stack whose transform leads to the finer raster."""
    from scipy.ndimage import map_coordinates

    moved = stack.displacement
    if moved is not None:
        rows, columns = ((n - 1) * per_step + 1 for n in (scan.n_rows, scan.n_columns))
        at = np.mgrid[:rows, :columns] / per_step
        moved = np.stack(
            [map_coordinates(part, at, order=1) for part in np.moveaxis(moved, -1, 0)], axis=-1
        )
    return replace(stack, to_scan=stack.to_scan * per_step, displacement=moved)
