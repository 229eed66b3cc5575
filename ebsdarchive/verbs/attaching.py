"""``attach``: images of the scanned area in polarised light, as a layer of the archive."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ebsdarchive.archive import provenance
from ebsdarchive.archive.auxiliary import LightStack, in_images, write_light_stack
from ebsdarchive.archive.file import Archive, open_archive
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.naming import require_name
from ebsdarchive.archive.nodes import stored_bytes
from ebsdarchive.archive.store import file_sha256
from ebsdarchive.errors import ArgumentError, OutputError
from ebsdarchive.exchange.light_stack import read_light_images
from ebsdarchive.geometry import Grid
from ebsdarchive.verbs.light_placement import Placement, placed
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_local

__all__ = ["AttachSummary", "attach"]

FULL_TURN = 360.0
LARGE_SHARE = 0.1  # of the scan's longer side, from which on a correction is worth a note


@dataclass(frozen=True)
class AttachSummary:
    """What was attached.

    Parameters
    ----------
    layer
        Name of the layer.
    images, shape, dtype
        Number of images, their rows and columns, and type.
    stage_angles_deg
        One for each.
    registration, registered_to
        Where the transform comes from, and the map that it was found with.
    information
        Mutual information in nat before and after the registration; None without one.
    moved_steps
        Mean and largest correction of a point's place by the registration, in steps.
    covered
        Share of the scan's points that lie in the images.
    stored
        Bytes of the layer.
    notes
        What to know when using it.
    """

    layer: str
    images: int
    shape: tuple[int, int]
    dtype: str
    stage_angles_deg: tuple[float, ...]
    registration: str
    registered_to: str | None
    information: tuple[float, float] | None
    moved_steps: tuple[float, float] | None
    covered: float
    stored: int
    notes: tuple[str, ...]


def attach(
    path: str | os.PathLike[str],
    light: str | os.PathLike[str],
    *,
    stage_angles_deg: Sequence[float],
    name: str = "light",
    placement: Placement | None = None,
    analyser_deg: float | None = None,
    register: bool = False,
    register_to: str | None = None,
    nodes: int = 4,
    seed: int = 0,
    force: bool = False,
    progress: Progress = silent,
) -> AttachSummary:
    """Keep a rotation series in polarised light as the layer ``auxiliary/NAME``, without loss.

    Parameters
    ----------
    light
        TIFF file with one grey page for each stage angle, all turned back into the frame of the
        first, so that a pixel is the same place of the specimen in all of them.
    stage_angles_deg
        One for each page, from the scan's x towards its y.
    placement
        Where the images lie.
    analyser_deg
        Angle from polariser to analyser, 90 where they are crossed.
    register
        Begin with the placement and look for the transform with which the images and a map of the
        scan tell most about each other: affine, then B-spline.
    register_to
        That map, ``maps/NAME``. By default what an orientation map of a uniaxial crystal predicts
        for the light, where there is one, else the mean intensity of the patterns.
    nodes
        Intervals of the B-spline along each side; 0 for an affine transform alone.
    seed
        Of the points that the registration draws.
    force
        Replace a layer of that name.

    Raises
    ------
    FormatError
        If the file is no stack of grey images.
    ArgumentError
        If the angles do not fit the pages, or where the images lie is not known.
    OutputError
        If there is such a layer, without `force`.
    """
    require_local(path)
    archive = open_archive(path)
    require_name(name)
    layer = f"auxiliary/{name}"
    if layer in archive.layers and not force:
        raise OutputError(
            f"{archive.path}: expected no {layer}, found one; choose another --name, or use "
            f"--force to replace it"
        )
    if not register and register_to is not None:
        raise ArgumentError("register_to: expected a registration to use it, found none")
    progress("reading", 0, 1)
    images = read_light_images(light)
    angles = _angles(stage_angles_deg, len(images), os.fspath(light))
    if analyser_deg is not None and not np.isfinite(analyser_deg):
        raise ArgumentError(f"analyser_deg: expected an angle, found {analyser_deg}")
    chosen = placement or Placement()
    to_scan, registration = placed(chosen, archive.grid, images.shape[1:], os.fspath(light))
    stack = LightStack(
        images=images,
        stage_angles_deg=np.array(angles),
        to_scan=to_scan,
        registration=registration,
        file_name=os.path.basename(os.fspath(light)),
        file_sha256=file_sha256(light),
        analyser_deg=None if analyser_deg is None else float(analyser_deg),
        pixel_size_um=chosen.pixel_size_um,
    )
    used = {os.path.basename(os.fspath(light)): stack.file_sha256}
    information = moved = None
    if register:
        progress("registering", 0, 1)
        before = stack
        stack, information, source = _registered(archive, stack, register_to, nodes, seed)
        used[source] = str(archive.attributes(source)["sha256"])
        moved = _moved(before, stack, archive.grid)
    covered = float(in_images(stack.positions(archive.grid), images.shape).mean())
    parameters: dict[str, Any] = {
        "name": name,
        "stage_angles_deg": list(angles),
        "analyser_deg": analyser_deg,
        "same_field": registration == "same-field",
        "pixel_size_um": chosen.pixel_size_um,
        "origin": chosen.origin,
        "turn_deg": chosen.turn_deg,
        "mirrored": chosen.mirrored,
        "register": register,
        "registered_to": stack.registered_to,
        "registration": dict(stack.registration_parameters),
    }
    activity = provenance.Activity("attach", parameters, seed if register else None)
    activity.used.update(used)
    with adding_layers(path, [layer], stage(progress, "reading back")) as file:
        activity.generated[layer] = write_light_stack(file["archive"], name, stack)
        provenance.record(file["archive"], activity)
        stored = stored_bytes(file["archive"][layer])
    return AttachSummary(
        layer=layer,
        images=len(images),
        shape=(images.shape[1], images.shape[2]),
        dtype=images.dtype.name,
        stage_angles_deg=angles,
        registration=stack.registration,
        registered_to=stack.registered_to,
        information=information,
        moved_steps=moved,
        covered=covered,
        stored=stored,
        notes=_notes(chosen, stack, covered, information, moved, archive.grid),
    )


def _angles(angles: Sequence[float], images: int, where: str) -> tuple[float, ...]:
    """The angles, after checking that there is one for each image."""
    found = tuple(float(angle) for angle in angles)
    if len(found) != images:
        raise ArgumentError(
            f"{where}: expected a stage angle for each of {images} pages, found {len(found)} angles"
        )
    if not np.isfinite(found).all():
        raise ArgumentError("angles: expected numbers, found NaN or infinity")
    if len({angle % FULL_TURN for angle in found}) < len(found):
        raise ArgumentError(
            f"angles: expected different ones, found {', '.join(f'{a:g}' for a in found)}"
        )
    return found


def _registered(
    archive: Archive, stack: LightStack, register_to: str | None, nodes: int, seed: int
) -> tuple[LightStack, tuple[float, float], str]:
    """The stack with the transform that was found, the information, and the map's layer."""
    from ebsdarchive.multimodal.registration import register
    from ebsdarchive.multimodal.registration_maps import map_to_register_to

    if archive.grid.is_hexagonal:
        raise ArgumentError(
            f"{archive.path}: expected a square grid to register to, found a hexagonal one; place "
            f"the images with --pixel-size and --origin, or query the scan with --regrid square"
        )
    fixed, source = map_to_register_to(archive, register_to)
    found = register(fixed, stack.images.mean(axis=0), stack.to_scan, nodes=nodes, seed=seed)
    information = (found.information_before, found.information_after)
    figures = {"information_before": information[0], "information_after": information[1]}
    done = replace(
        stack,
        to_scan=found.to_scan,
        displacement=found.displacement if nodes else None,
        registration="mutual-information",
        registered_to=source,
        registration_parameters={**found.parameters, **figures, "start": stack.to_scan.tolist()},
    )
    return done, information, source


def _moved(before: LightStack, after: LightStack, grid: Grid) -> tuple[float, float]:
    """Mean and largest distance in steps by which points lie elsewhere than thought before."""
    pixels = after.positions(grid) - before.positions(grid)
    steps = np.linalg.norm(pixels @ before.to_scan[:, :2].T, axis=1)
    return float(steps.mean()), float(steps.max())


def _notes(
    placement: Placement,
    stack: LightStack,
    covered: float,
    information: tuple[float, float] | None,
    moved: tuple[float, float] | None,
    grid: Grid,
) -> tuple[str, ...]:
    notes = []
    if stack.registration == "same-field" and not placement.same_field:
        notes.append("as many pixels as points: taken to show just the scanned area")
    if covered < 1:
        notes.append(f"{1 - covered:.1%} of the points lie outside of the images")
    if information is not None and not information[1] > information[0]:
        notes.append("the registration found nothing better than the start; look at the result")
    if moved is not None and moved[1] > LARGE_SHARE * max(grid.n_rows, grid.n_columns):
        notes.append("the registration moved points far; look at the result")
    return tuple(notes)
