"""``fuse``: orientations, light and boundaries finer than the scan, of EBSD and polarised light."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ebsdarchive.archive import provenance
from ebsdarchive.archive.auxiliary import LightStack, auxiliary_names, read_light_stack
from ebsdarchive.archive.file import Archive, open_archive
from ebsdarchive.archive.fused_maps import FusedMap, write_fused_map
from ebsdarchive.archive.layers import layer_node, write_map
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.nodes import attribute
from ebsdarchive.archive.orientation_maps import orientation_map_names
from ebsdarchive.archive.outlines import Boundary, Outlines, holds_outlines, write_outlines
from ebsdarchive.errors import ArgumentError, MissingLayerError, OutputError
from ebsdarchive.multimodal.fuse_options import FuseOptions
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_local

if TYPE_CHECKING:
    from ebsdarchive.multimodal.archive_maps import ObservedMap
    from ebsdarchive.multimodal.fusion import Fusion
    from ebsdarchive.restorers.checkpoint import Checkpoint

__all__ = ["RESULTS", "FuseSummary", "fuse", "fuse_boundaries", "fuse_denoise", "fuse_superres"]

RESULTS = ("superres", "boundaries", "denoise")
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
    from ebsdarchive.multimodal.fusion import fused
    from ebsdarchive.restorers.stored_models import require_name

    options = options or FuseOptions()
    require_local(path)
    require_name(name)
    archive = open_archive(path)
    checkpoint = _model(model)
    network = map_network.load(checkpoint)
    config = network.config
    targets = _targets(wanted, name, config.kind)
    _require_free(archive, targets, force)
    notes = []
    with archive.group() as group:
        stack, light_layer = _light(group, light, config.kind)
        map_layer = _map_layer(group, orientation_map) if config.orientation else None
        seen = observed_map(
            group,
            config,
            per_step=per_step,
            orientation_map=map_layer,
            stack=stack,
            orientation_noise=options.orientation_noise,
            light_noise=options.light_noise,
        )
        used = {
            layer: str(attribute(layer_node(group, layer), "sha256"))
            for layer in (map_layer, light_layer)
            if layer is not None
        }
    if light_layer is None and config.kind == "multimodal":
        notes.append("without light: orientations alone, continued by what grains look like")
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
    written = _Written(found, seen, options, per_step, used, map_layer, light_layer, checkpoint)
    grains, length, lines = written.outlines(archive) if "boundaries" in wanted else (None,) * 3
    with adding_layers(path, targets, stage(progress, "reading back")) as file:
        for result in wanted:
            written.add(file["archive"], result, name, lines)
        for layer in targets:
            activity.generated[layer] = str(attribute(file["archive"][layer], "sha256"))
        provenance.record(file["archive"], activity)
    spread = None if found.orientation is None else found.orientation.spread_deg
    if "superres" in wanted and spread is not None and spread.mean() > VAGUE_DEG:
        notes.append(
            f"samples differ by {spread.mean():.0f} deg on average: between measured points this "
            f"model tells little here; interpolate, or train it for longer"
        )
    noise = seen.observation.noise[config.orientation :].flatten().tolist() if stack else []
    return FuseSummary(
        layers=tuple(targets),
        shape=(seen.grid.n_rows, seen.grid.n_columns),
        per_step=per_step,
        samples=options.samples,
        seconds=seconds,
        orientation_map=map_layer,
        light=light_layer,
        measured=float(seen.measured.mean()),
        light_noise=tuple(round(sigma, 4) for sigma in noise),
        spread_deg=(
            None if spread is None else (float(spread.mean()), float(np.percentile(spread, 95)))
        ),
        grains=grains,
        length_steps=length,
        chamfer_steps=None if lines is None else _to_gradient(archive, lines),
        model_sha256=checkpoint.sha256,
        notes=tuple(notes),
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


class _Written:
    """What a fusion leaves in an archive."""

    def __init__(
        self,
        found: Fusion,
        seen: ObservedMap,
        options: FuseOptions,
        per_step: int,
        used: dict[str, str],
        map_layer: str | None,
        light_layer: str | None,
        checkpoint: Checkpoint,
    ) -> None:
        self.found, self.seen, self.options = found, seen, options
        self.per_step, self.used = per_step, used
        self.map_layer, self.light_layer = map_layer, light_layer
        self.checkpoint = checkpoint

    def outlines(self, archive: Archive) -> tuple[int, float, Outlines]:
        """Number of grains, length of the boundaries in steps, and the boundaries."""
        from ebsdarchive.analysis.grains import Grains, sizes
        from ebsdarchive.analysis.polylines import lines_between
        from ebsdarchive.analysis.ridges import Raster
        from ebsdarchive.multimodal.edge_maps import grains_of

        raster = Raster(archive.grid, self.per_step)
        self.labels = grains_of(self.found.edges)
        strength = self.found.edges.strength
        lines = []
        for pair, xy in lines_between(self.labels, raster):
            column, row = np.rint(xy * self.per_step).astype(int).T
            s = strength[row.clip(0, len(strength) - 1), column.clip(0, strength.shape[1] - 1)]
            lines.append(Boundary(pair, xy, s.astype(np.float32), float("nan")))
        grains = sizes(Grains(self.labels, {}), raster)
        length = sum(line.length(archive.grid.row_distance) for line in lines)
        return len(grains), length, Outlines(tuple(lines), tuple(grains))

    def add(self, group: h5py.Group, result: str, name: str, lines: Outlines | None) -> None:
        """Write one result."""
        if result == "superres":
            write_fused_map(group, name, self._orientations())
        elif result == "denoise":
            assert self.found.light is not None
            assert self.found.light_spread is not None
            for ending, values, said in (
                ("", self.found.light, "Polarised light, channels of the model (estimate)"),
                ("-spread", self.found.light_spread, "Spread of polarised light (estimate)"),
            ):
                self._map(group, f"{name}-light{ending}", np.moveaxis(values, 0, -1), said)
        else:
            assert lines is not None
            share = self.found.edges.probability
            self._map(group, f"{name}-grains", self.labels, "Grain (estimate)")
            self._map(group, f"{name}-boundary-share", share, "Samples with a boundary (estimate)")
            write_outlines(
                group,
                f"{name}-boundaries",
                lines,
                label_map=f"{name}-grains",
                derived_from=next(iter(self.used.values())),
                measure=(
                    "disorientation to the next sample (deg)"
                    if self.found.light is None
                    else "Sobel gradient of light (per sample of the raster)"
                ),
            )

    def _map(self, group: h5py.Group, name: str, values: Any, long_name: str) -> None:
        data = values if values.dtype.kind == "i" else values.astype(np.float32)
        write_map(
            group, name, data, long_name=long_name, units="1",
            derived_from=next(iter(self.used.values())), samples_per_step=self.per_step,
        )  # fmt: skip

    def _orientations(self) -> FusedMap:
        from ebsdarchive.multimodal.image_frame import from_image_frame

        assert self.found.orientation is not None
        assert self.seen.phase is not None
        assert self.map_layer is not None
        light = self.light_layer
        return FusedMap(
            quaternions=from_image_frame(self.found.orientation.mean),
            spread_deg=self.found.orientation.spread_deg.astype(np.float32),
            measured=self.seen.measured,
            phase=self.seen.phase,
            samples_per_step=self.per_step,
            orientation_map=(self.map_layer, self.used[self.map_layer]),
            light=None if light is None else (light, self.used[light]),
            model_sha256=self.checkpoint.sha256,
            samples=self.options.samples,
            seed=self.options.seed,
            parameters=self.options.described(),
        )


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


def _targets(wanted: Sequence[str], name: str, kind: str) -> list[str]:
    """Names of the layers that come of the results that are asked for."""
    unknown = sorted(set(wanted) - set(RESULTS))
    if unknown or not wanted:
        found = unknown[0] if unknown else "nothing"
        raise ArgumentError(f"fuse: expected results out of {', '.join(RESULTS)}, found {found}")
    lacking = {"superres": "light", "denoise": "ebsd"}
    made = {
        "superres": [""],
        "boundaries": ["-grains", "-boundary-share", "-boundaries"],
        "denoise": ["-light", "-light-spread"],
    }
    for result in wanted:
        if lacking.get(result) == kind:
            raise ArgumentError(
                f"fuse: expected a model that can {result}, found one of kind {kind}; give "
                f"another with --model"
            )
    return [f"maps/{name}{ending}" for result in wanted for ending in made[result]]


def _require_free(archive: Archive, targets: Sequence[str], force: bool) -> None:
    for layer in targets:
        if layer in archive.layers and not force:
            raise OutputError(
                f"{archive.path}: expected no layer {layer}, found one; use --force to replace it, "
                f"or choose another --name"
            )


def _light(group: h5py.Group, name: str | None, kind: str) -> tuple[LightStack | None, str | None]:
    """The light of an archive and its layer; both None without."""
    if kind == "ebsd" or name == NO_LIGHT or (name is None and not auxiliary_names(group)):
        if kind == "light":
            raise MissingLayerError(
                f"{group.file.filename}: expected polarised light for a model of light alone, "
                f"found none; add it with `ebsdarchive attach`"
            )
        return None, None
    stack = read_light_stack(group, name)
    chosen = (name or auxiliary_names(group)[0]).removeprefix("auxiliary/")
    return stack, f"auxiliary/{chosen}"


def _map_layer(group: h5py.Group, name: str | None) -> str:
    """The orientation map that is named, or the only one."""
    from ebsdarchive.archive.orientation_maps import read_orientation_map

    read_orientation_map(group, name)  # says what is wrong
    return f"maps/{(name or orientation_map_names(group)[0]).removeprefix('maps/')}"


def _to_gradient(archive: Archive, lines: Outlines) -> tuple[float, float] | None:
    """Mean distances, in steps, to the boundaries of the diffraction gradient and back."""
    from scipy.spatial import cKDTree

    from ebsdarchive.archive.outlines import read_outlines
    from ebsdarchive.verbs.segmenting import BOUNDARY_MAP

    if BOUNDARY_MAP not in archive.layers:
        return None
    with archive.group() as group:
        if not holds_outlines(group, BOUNDARY_MAP):
            return None
        other = read_outlines(group, BOUNDARY_MAP)
    ours, theirs = (
        np.concatenate([np.empty((0, 2)), *(line.xy for line in found.boundaries)])
        for found in (lines, other)
    )
    if not len(ours) or not len(theirs):
        return None
    there, back = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
    return float(there.mean()), float(back.mean())
