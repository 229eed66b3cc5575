"""Images of the scanned area by other instruments, and where the scan's points lie in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.conformity import check_node
from ebsdarchive.archive.description import read_grid
from ebsdarchive.archive.layers import layer_node
from ebsdarchive.archive.naming import chosen_layer
from ebsdarchive.archive.nodes import (
    attributes_of,
    container,
    new_node,
    read_array,
    require_kind,
)
from ebsdarchive.errors import CorruptionError
from ebsdarchive.geometry import Grid

__all__ = [
    "LightStack",
    "auxiliary_faults",
    "auxiliary_names",
    "in_images",
    "light_layer",
    "read_light_stack",
    "to_images",
    "write_light_stack",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LightStack:
    """A rotation series in polarised light, in the specimen's frame.

    Parameters
    ----------
    images
        (a, rows, columns) uint8, uint16 or float32, as they were taken.
    stage_angles_deg
        (a,) from the scan's x towards its y.
    to_scan
        (2, 3) affine transform: (x, y) in steps = A (column, row, 1).
    displacement
        (n_rows, n_columns, 2) what is added to (column, row) at each point of the scan, in pixels.
    registration
        "same-field", "given" or "mutual-information".
    registered_to, registration_parameters
        Map of the scan that they were registered to, and how.
    analyser_deg
        From polariser to analyser; None where it is not known.
    pixel_size_um
        None where it was not given.
    file_name, file_sha256
        Of the file that they came from.
    """

    images: npt.NDArray[Any]
    stage_angles_deg: Floats
    to_scan: Floats
    registration: str
    file_name: str
    file_sha256: str
    displacement: Floats | None = None
    registered_to: str | None = None
    registration_parameters: Mapping[str, Any] = field(default_factory=dict)
    analyser_deg: float | None = None
    pixel_size_um: float | None = None

    def positions(self, grid: Grid) -> Floats:
        """(n, 2) position (column, row) in the images of every point of the scan."""
        found = to_images(self.to_scan, grid.positions())
        if self.displacement is not None:
            found = found + self.displacement[grid.map_mask()]
        return found


def to_images(to_scan: Floats, xy: Floats) -> Floats:
    """(n, 2) positions (column, row) of (n, 2) positions (x, y) of the scan."""
    return (xy - to_scan[:, 2]) @ np.linalg.inv(to_scan[:, :2]).T


def in_images(pixels: Floats, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """(n,) whether (n, 2) positions (column, row) lie in images of `shape`, (..., rows, columns).

    A pixel reaches half a pixel from its centre; rims belong to the images.
    """
    (columns, rows), (height, width) = pixels.T, shape[-2:]
    return (columns >= -0.5) & (columns <= width - 0.5) & (rows >= -0.5) & (rows <= height - 0.5)


def write_light_stack(archive: h5py.Group, name: str, stack: LightStack) -> str:
    """Write ``auxiliary/NAME``, replacing one of that name; returns its digest."""
    place = container(archive, "auxiliary")
    if name in place:
        del place[name]
    said = stack.registration_parameters
    attributes = {
        "long_name": "Polarised light",
        "modality": "polarised-light",
        "registration": stack.registration,
        "registered_to": stack.registered_to,
        "registration_parameters": json.dumps(said, sort_keys=True) if said else None,
        "analyser_deg": stack.analyser_deg,
        "pixel_size_um": stack.pixel_size_um,
        "file_name": stack.file_name,
        "file_sha256": stack.file_sha256,
    }
    datasets = {
        "images": stack.images,
        "stage_angles_deg": np.asarray(stack.stage_angles_deg, np.float64),
        "to_scan": np.asarray(stack.to_scan, np.float64),
        "displacement": stack.displacement,
    }
    with new_node(place, name, "auxiliary", attributes, datasets) as node:
        pass
    return str(node.attrs["sha256"])


def auxiliary_names(archive: h5py.Group) -> list[str]:
    """Names of the auxiliary layers, without ``auxiliary/``."""
    return list(archive.get("auxiliary", {}))


def light_layer(archive: h5py.Group, name: str | None = None) -> str:
    """``auxiliary/NAME`` of an auxiliary layer by its name; by default of the only one there is.

    Errors are those of `chosen_layer`.
    """
    return chosen_layer(
        archive,
        "auxiliary",
        auxiliary_names(archive),
        name,
        kind="an auxiliary layer",
        short="an auxiliary layer",
        none="expected images in polarised light, found none; add them with `ebsdarchive attach`",
    )


def read_light_stack(archive: h5py.Group, name: str | None = None) -> LightStack:
    """A rotation series; which, and what may be wrong with its name, as in `light_layer`.

    Raises
    ------
    CorruptionError
        If its parts do not fit together.
    """
    layer = light_layer(archive, name)
    node = layer_node(archive, layer)
    require_kind(node, "auxiliary")
    faults = check_node(node, "auxiliary", {}) or auxiliary_faults(archive, layer)
    if faults:
        raise CorruptionError(f"{archive.file.filename}: {faults[0]}; the layer is damaged")
    said = attributes_of(node)
    arrays = {key: read_array(item) for key, item in node.items()}
    return LightStack(
        **arrays,
        registration=said["registration"],
        registered_to=said.get("registered_to"),
        registration_parameters=json.loads(said.get("registration_parameters", "{}")),
        analyser_deg=said.get("analyser_deg"),
        pixel_size_um=said.get("pixel_size_um"),
        file_name=said["file_name"],
        file_sha256=said["file_sha256"],
    )


def auxiliary_faults(archive: h5py.Group, layer: str) -> list[str]:
    """What does not fit together in an auxiliary layer, or with the scan, one line each."""
    node, grid = layer_node(archive, layer), read_grid(archive)
    faults = []
    to_scan = read_array(node["to_scan"])
    if not np.isfinite(to_scan).all() or abs(np.linalg.det(to_scan[:, :2])) < 1e-12:
        faults.append(f"{node.name}/to_scan: expected a transform that can be inverted, found none")
    if not np.isfinite(read_array(node["stage_angles_deg"])).all():
        faults.append(f"{node.name}/stage_angles_deg: expected angles, found NaN or infinity")
    if "displacement" in node:
        shape, wanted = node["displacement"].shape, (grid.n_rows, grid.n_columns, 2)
        if shape != wanted:
            faults.append(f"{node.name}/displacement: expected shape {wanted}, found {shape}")
        elif not np.isfinite(read_array(node["displacement"])[grid.map_mask()]).all():
            faults.append(f"{node.name}/displacement: expected a value at every point, found NaN")
    return faults
