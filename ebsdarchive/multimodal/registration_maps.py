"""The map of a scan that images in polarised light are registered to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.orientation_maps import (
    OrientationMap,
    orientation_map_names,
    read_orientation_map,
)
from ebsdarchive.errors import ArgumentError, MissingLayerError
from ebsdarchive.multimodal.polarised_light import c_axes

__all__ = ["map_to_register_to"]

Floats = npt.NDArray[np.float64]

UNIAXIAL = {  # point groups: trigonal, tetragonal and hexagonal
    *("3", "-3", "32", "3m", "-3m"),
    *("4", "-4", "4/m", "422", "4mm", "-42m", "4/mmm"),
    *("6", "-6", "6/m", "622", "6mm", "-6m2", "6/mmm"),
}
LEAST_INDEXED = 0.5


def map_to_register_to(archive: Archive, layer: str | None = None) -> tuple[Floats, str]:
    """(n_rows, n_columns) values without NaN, and the name of the layer that they come from.

    Of an orientation map the mean light over a turn of the stage that it predicts: the sine of the
    c axis' tilt to the fourth power; crystals that are not uniaxial are dark.

    Parameters
    ----------
    layer
        ``maps/NAME``; by default the only orientation map of which half is uniaxial, else the mean
        intensity.

    Raises
    ------
    MissingLayerError, ArgumentError
        If there is no such map, or it has more than one value at a point.
    """
    with archive.group() as group:
        names = [f"maps/{name}" for name in orientation_map_names(group)]
        if layer is not None and layer.removeprefix("maps/") == layer:
            layer = f"maps/{layer}"
        if layer is not None and layer not in archive.layers:
            found = ", ".join(name for name in archive.layers if name.startswith("maps/"))
            raise MissingLayerError(
                f"{archive.path}: expected a map {layer!r}, found {found or 'none'}"
            )
        chosen = [layer] if layer in names else (names if layer is None else [])
        for name in chosen:
            predicted = _predicted(archive, read_orientation_map(group, name))
            if predicted is not None:
                return _filled(predicted), str(name)
            if layer is not None:
                raise ArgumentError(
                    f"{archive.path}: {layer}: expected orientations of a uniaxial crystal at half "
                    f"of the points at least, found fewer; register to another map"
                )
    name = layer or "maps/mean_intensity"
    values = np.asarray(archive.map(name.removeprefix("maps/")), np.float64)
    if values.shape != (archive.grid.n_rows, archive.grid.n_columns):
        raise ArgumentError(
            f"{archive.path}: {name}: expected one value for each point, found shape {values.shape}"
        )
    return _filled(values), name


def _predicted(archive: Archive, found: OrientationMap) -> Floats | None:
    """The mean light of an orientation map; None if less than half of the points are uniaxial."""
    phases = [phase.phase_id for phase in found.phases if phase.point_group in UNIAXIAL]
    uniaxial = np.isin(found.orientations.phase_id, phases)
    if uniaxial.mean() < LEAST_INDEXED:
        return None
    cosine = c_axes(found.orientations.quaternions)[:, 2]
    light = np.where(found.orientations.phase_id < 0, np.nan, 0.0)
    light[uniaxial] = (1 - cosine[uniaxial] ** 2) ** 2
    return archive.grid.to_map(light)


def _filled(values: Floats) -> Floats:
    """NaN replaced by the nearest value."""
    from scipy.ndimage import distance_transform_edt

    missing = ~np.isfinite(values)
    if not missing.any() or missing.all():
        return values
    nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
    return values[tuple(nearest)]
