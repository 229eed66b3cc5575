"""``fuse``: orientations, light and boundaries finer than the scan, of EBSD and polarised light."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive import provenance
from ebsdarchive.archive.auxiliary import (
    LightStack,
    auxiliary_names,
    light_layer,
    read_light_stack,
)
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.layers import layer_node
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.naming import require_name
from ebsdarchive.archive.nodes import attribute
from ebsdarchive.archive.orientation_maps import orientation_map_layer
from ebsdarchive.errors import ArgumentError, MissingLayerError, OutputError
from ebsdarchive.multimodal.fuse_options import FuseOptions
from ebsdarchive.verbs.fused_layers import RESULTS, FusedLayers, layer_names_of, to_gradient
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_local, require_no_layers

if TYPE_CHECKING:
    from ebsdarchive.restorers.checkpoint import Checkpoint

__all__ = ["FuseSummary", "fuse", "fuse_boundaries", "fuse_denoise", "fuse_superres"]

Floats = npt.NDArray[np.float64]

SHIPPED = "multimodal"
NO_LIGHT = "none"
VAGUE_DEG = 10.0  # mean spread, from which on orientations are worth a warning


@dataclass(frozen=True)
class FuseSummary:
    """What was made.

    Parameters
    ----------
    layers
        Names of the layers.
    shape, per_step
        (rows, columns) of the raster, and samples of it per scan step.
    samples, seconds
        Number of samples, and time for all.
    orientation_map, light
        Layers that were used; None without.
    measured
        Share of the raster's samples whose orientation was measured.
    light_noise
        σ of the channels of light that was taken for granted; empty without light.
    spread_deg
        Mean and 95th percentile of the orientations' spread; None without orientations.
    grains, length_steps
        Of the boundaries; None where they were not asked for.
    chamfer_steps
        Mean distance between these boundaries and those of the diffraction gradient, both ways, in
        steps; None where the archive has none.
    model_sha256
        Digest of the model.
    notes
        What to know when using the result.
    """

    layers: tuple[str, ...]
    shape: tuple[int, int]
    per_step: int
    samples: int
    seconds: float
    orientation_map: str | None
    light: str | None
    measured: float
    light_noise: tuple[float, ...]
    spread_deg: tuple[float, float] | None
    grains: int | None
    length_steps: float | None
    chamfer_steps: tuple[float, float] | None
    model_sha256: str
    notes: tuple[str, ...]


def fuse(
    path: str | os.PathLike[str],
    wanted: Sequence[str] = RESULTS,
    *,
    options: FuseOptions | None = None,
    per_step: int = 4,
    orientation_map: str | None = None,
    light: str | None = None,
    model: str | os.PathLike[str] | None = None,
    name: str = "fused",
    force: bool = False,
    progress: Progress = silent,
) -> FuseSummary:
    """Estimate what lies between the points of a scan, and keep it as maps, marked as an estimate.

    Samples of a diffusion model are drawn that agree with the measured orientations and with the
    light; results are what they have in common, with how much they differ.

    Parameters
    ----------
    wanted
        "superres": ``maps/NAME``, orientations and their spread.
        "boundaries": ``maps/NAME-grains``, ``maps/NAME-boundaries`` (polylines, as those of
        `boundaries`) and ``maps/NAME-boundary-share`` (of the samples that have one there).
        "denoise": ``maps/NAME-light`` and ``maps/NAME-light-spread``, in the model's channels.
    options
        How samples are drawn.
    per_step
        Samples of the raster per scan step along both axes.
    orientation_map
        ``maps/NAME`` that `index` made; by default the only one.
    light
        ``auxiliary/NAME`` that `attach` made; by default the only one, "none" for orientations
        alone.
    model
        Checkpoint file that `fuse_train` made; by default the one of this package.
    name
        What the names of the layers begin with.
    force
        Replace layers of these names.

    Raises
    ------
    ArgumentError
        If the scan does not suit the model, or nothing is asked for that it can tell.
    MissingLayerError
        If there are neither orientations nor light.
    OutputError
        If a layer of a name exists, without `force`.
    """
    from ebsdarchive.multimodal import map_network
    from ebsdarchive.multimodal.archive_maps import observed_map
    from ebsdarchive.multimodal.edge_maps import require_area
    from ebsdarchive.multimodal.fusion import fused

    options, wanted = options or FuseOptions(), tuple(dict.fromkeys(wanted))
    require_local(path)
    require_name(name)
    archive = open_archive(path)
    checkpoint = _model(model)
    network = map_network.load(checkpoint)
    config = network.config
    targets = layer_names_of(wanted, name, config.kind)
    require_no_layers(archive, targets, force=force, advice=", or choose another --name")
    with archive.group() as group:
        stack, light_source = _light(group, light, config.kind)
        map_source = orientation_map_layer(group, orientation_map) if config.orientation else None
        if map_source in targets:
            raise OutputError(
                f"{archive.path}: expected another name than that of {map_source}, which the "
                f"estimate rests on; choose another --name"
            )
        seen = observed_map(
            group,
            config,
            per_step=per_step,
            orientation_map=map_source,
            stack=stack,
            orientation_noise=options.orientation_noise,
            light_noise=options.light_noise,
        )
        used = {
            layer: str(attribute(layer_node(group, layer), "sha256"))
            for layer in (map_source, light_source)
            if layer is not None
        }
    if "boundaries" in wanted:
        require_area(seen.measured.shape)
    begun = time.monotonic()
    sampling = stage(progress, "sampling")
    found = fused(network, seen.observation, options, lambda done: sampling(done, 1))
    seconds = time.monotonic() - begun
    activity = provenance.Activity(
        "fuse",
        {"wanted": list(wanted), "per_step": per_step, "model_sha256": checkpoint.sha256}
        | options.described(),
    )
    activity.used.update(used)
    made = FusedLayers(
        name=name,
        found=found,
        seen=seen,
        options=options,
        grid=archive.grid,
        per_step=per_step,
        used=used,
        map_source=map_source,
        light_source=light_source,
        model_sha256=checkpoint.sha256,
    )
    lines = made.outlines if "boundaries" in wanted else None
    with adding_layers(path, targets, stage(progress, "reading back")) as file:
        for result in wanted:
            made.write(file["archive"], result)
        for layer in targets:
            activity.generated[layer] = str(attribute(file["archive"][layer], "sha256"))
        provenance.record(file["archive"], activity)
    spread = None if found.orientation is None else found.orientation.spread_deg
    noise = seen.observation.noise[config.orientation :].flatten().tolist() if stack else []
    return FuseSummary(
        layers=tuple(targets),
        shape=(seen.grid.n_rows, seen.grid.n_columns),
        per_step=per_step,
        samples=options.samples,
        seconds=seconds,
        orientation_map=map_source,
        light=light_source,
        measured=float(seen.measured.mean()),
        light_noise=tuple(round(sigma, 4) for sigma in noise),
        spread_deg=(
            None if spread is None else (float(spread.mean()), float(np.percentile(spread, 95)))
        ),
        grains=None if lines is None else len(lines.grains),
        length_steps=None if lines is None else lines.length(archive.grid.row_distance),
        chamfer_steps=None if lines is None else to_gradient(archive, lines),
        model_sha256=checkpoint.sha256,
        notes=_notes(wanted, spread, light_source, config.kind),
    )


def fuse_superres(path: str | os.PathLike[str], **settings: Any) -> FuseSummary:
    """Orientations between the points of a scan, with their spread; settings as in `fuse`."""
    return fuse(path, ("superres",), **settings)


def fuse_boundaries(path: str | os.PathLike[str], **settings: Any) -> FuseSummary:
    """Grains and boundaries finer than the scan; settings as in `fuse`."""
    return fuse(path, ("boundaries",), **settings)


def fuse_denoise(path: str | os.PathLike[str], **settings: Any) -> FuseSummary:
    """Polarised light without noise and scratches, with its spread; settings as in `fuse`."""
    return fuse(path, ("denoise",), **settings)


def _model(given: str | os.PathLike[str] | None) -> Checkpoint:
    from ebsdarchive.restorers.checkpoint import read_checkpoint
    from ebsdarchive.restorers.registry import shipped_model

    path = shipped_model(SHIPPED) if given is None else given
    if path is None:
        raise ArgumentError(
            "fuse: expected a model, found none; train one with `ebsdarchive fuse train` and give "
            "it with --model"
        )
    return read_checkpoint(path)


def _light(group: h5py.Group, name: str | None, kind: str) -> tuple[LightStack | None, str | None]:
    """The light of an archive and its layer; both None without."""
    if kind == "ebsd" or name == NO_LIGHT or (name is None and not auxiliary_names(group)):
        if kind == "light":
            raise MissingLayerError(
                f"{group.file.filename}: expected polarised light for a model of light alone, "
                f"found none; add it with `ebsdarchive attach`"
            )
        return None, None
    layer = light_layer(group, name)
    return read_light_stack(group, layer), layer


def _notes(
    wanted: Sequence[str], spread: Floats | None, light: str | None, kind: str
) -> tuple[str, ...]:
    notes = []
    if light is None and kind == "multimodal":
        notes.append("without light: orientations alone, continued by what grains look like")
    if "superres" in wanted and spread is not None and spread.mean() > VAGUE_DEG:
        notes.append(
            f"samples differ by {spread.mean():.0f} deg on average: between measured points this "
            f"model tells little here; interpolate, or train it for longer"
        )
    return tuple(notes)
