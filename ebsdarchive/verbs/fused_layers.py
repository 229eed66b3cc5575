"""What a fusion leaves in an archive: orientations, boundaries and light on a finer raster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.fused_maps import FusedMap, write_fused_map
from ebsdarchive.archive.layers import write_map
from ebsdarchive.archive.outlines import Boundary, Outlines, holds_outlines, write_outlines
from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid
from ebsdarchive.multimodal.fuse_options import FuseOptions

if TYPE_CHECKING:
    from ebsdarchive.multimodal.archive_maps import ObservedMap
    from ebsdarchive.multimodal.fusion import Fusion

__all__ = ["RESULTS", "FusedLayers", "layer_names_of", "to_gradient"]

RESULTS = ("superres", "boundaries", "denoise")


@dataclass(frozen=True)
class FusedLayers:
    """The layers that become of a fusion.

    Parameters
    ----------
    name
        What their names begin with.
    found, seen, options
        What was found, of what, and how.
    grid
        Of the scan.
    per_step
        Samples of the raster per scan step.
    map_source, light_source
        Layers that it rests on; None without.
    used
        Their digests by their names.
    model_sha256
        Digest of the model.
    """

    name: str
    found: Fusion
    seen: ObservedMap
    options: FuseOptions
    grid: Grid
    per_step: int
    used: dict[str, str]
    map_source: str | None
    light_source: str | None
    model_sha256: str

    @cached_property
    def labels(self) -> npt.NDArray[np.int32]:
        """(rows, columns) grains from 1 on, the largest first."""
        from ebsdarchive.multimodal.edge_maps import grains_of

        return grains_of(self.found.edges)

    @cached_property
    def outlines(self) -> Outlines:
        """Boundaries between the grains, in steps, with the strength of edges along them."""
        from ebsdarchive.analysis.grains import Grains, sizes
        from ebsdarchive.analysis.polylines import lines_between
        from ebsdarchive.analysis.ridges import Raster

        raster = Raster(self.grid, self.per_step)
        strength = self.found.edges.strength.astype(np.float32).ravel()
        lines = tuple(
            Boundary(pair, xy, strength[raster.samples_at(xy)], float("nan"))
            for pair, xy in lines_between(self.labels, raster)
        )
        return Outlines(lines, tuple(sizes(Grains(self.labels, {}), raster)))

    def write(self, group: h5py.Group, result: str) -> None:
        """Write the layers of one result."""
        {
            "superres": self._write_orientations,
            "boundaries": self._write_boundaries,
            "denoise": self._write_light,
        }[result](group)

    def _write_orientations(self, group: h5py.Group) -> None:
        from ebsdarchive.multimodal.image_frame import from_image_frame

        assert self.found.orientation is not None
        assert self.seen.phase is not None
        assert self.map_source is not None
        light = self.light_source
        made = FusedMap(
            quaternions=from_image_frame(self.found.orientation.median),
            spread_deg=self.found.orientation.spread_deg.astype(np.float32),
            measured=self.seen.measured,
            phase=self.seen.phase,
            samples_per_step=self.per_step,
            orientation_map=(self.map_source, self.used[self.map_source]),
            light=None if light is None else (light, self.used[light]),
            model_sha256=self.model_sha256,
            samples=self.options.samples,
            seed=self.options.seed,
            parameters=self.options.described(),
        )
        write_fused_map(group, self.name, made)

    def _write_boundaries(self, group: h5py.Group) -> None:
        from ebsdarchive.multimodal.edge_maps import HIGH_ANGLE_DEG

        share = self.found.edges.probability.astype(np.float32)
        self._map(group, "grains", self.labels, "Grain (estimate)")
        self._map(group, "boundary-share", share, "Samples with a boundary (estimate)")
        write_outlines(
            group,
            f"{self.name}-boundaries",
            self.outlines,
            label_map=f"{self.name}-grains",
            derived_from=self._derived_from,
            measure=(
                f"disorientation to the next sample (deg, at most {HIGH_ANGLE_DEG:g})"
                if self.found.oriented
                else "Sobel gradient of light (per sample of the raster)"
            ),
        )

    def _write_light(self, group: h5py.Group) -> None:
        assert self.found.light is not None
        assert self.found.light_spread is not None
        for ending, values, said in (
            ("light", self.found.light, "Polarised light, channels of the model (estimate)"),
            ("light-spread", self.found.light_spread, "Spread of polarised light (estimate)"),
        ):
            self._map(group, ending, np.moveaxis(values, 0, -1).astype(np.float32), said)

    def _map(self, group: h5py.Group, ending: str, values: npt.NDArray, long_name: str) -> None:
        write_map(
            group, f"{self.name}-{ending}", values, long_name=long_name, units="1",
            derived_from=self._derived_from, samples_per_step=self.per_step,
        )  # fmt: skip

    @property
    def _derived_from(self) -> str:
        """Digest of the orientation map, or of the light where there is no such map."""
        return next(iter(self.used.values()))


def layer_names_of(wanted: Sequence[str], name: str, kind: str) -> list[str]:
    """Names of the layers that become of the results that are asked for, of a model of some kind.

    Raises
    ------
    ArgumentError
        If nothing is asked for, or what is not known or the model cannot tell.
    """
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


def to_gradient(archive: Archive, lines: Outlines) -> tuple[float, float] | None:
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
