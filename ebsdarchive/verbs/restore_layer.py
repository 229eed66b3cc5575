"""Restored patterns as a layer of the archive that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.archive import provenance
from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.layers import write_map, write_restored
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.naming import require_name
from ebsdarchive.archive.nodes import stored_bytes
from ebsdarchive.archive.remote import require_local
from ebsdarchive.errors import ArgumentError, OutputError
from ebsdarchive.exchange.writers import Written
from ebsdarchive.verbs.progress import Progress, stage
from ebsdarchive.verbs.restore_source import Source
from ebsdarchive.verbs.restore_targets import Made

__all__ = ["LayerTarget"]


@dataclass(frozen=True)
class LayerTarget:
    """The layer ``restored/NAME`` of an archive; see `require` for what it refuses."""

    archive: Archive
    source: Source
    name: str
    kept_dtype: str
    uncertainty: bool = False
    holds_nan: bool = True

    @property
    def layer(self) -> str:
        return f"restored/{self.name}"

    @property
    def layers(self) -> list[str]:
        """The layer, and the maps that belong to it."""
        return [self.layer, *(f"maps/{self.name}_{kind}" for kind in ("uncertainty", "flags"))]

    @property
    def results_folder(self) -> Path:
        path = Path(self.archive.path)
        return path.with_name(f".{path.name}.{self.name}.restore")

    @classmethod
    def require(
        cls, source: Source, name: str, dtype: str | None, uncertainty: bool, force: bool
    ) -> LayerTarget:
        """The target for a layer.

        Raises
        ------
        ArgumentError
            If the source is no archive, or the type does not hold the measured counts.
        OutputError
            If there is such a layer, without `force`.
        """
        archive = source.archive
        if archive is None:
            raise ArgumentError(
                f"{source.path}: expected an archive to add a layer to, found a scan; give an "
                f"output with -o, or make an archive with `ebsdarchive compress`"
            )
        require_local(archive.path)
        require_name(name)
        wanted = dtype or archive.dtype
        if wanted not in ("uint8", "uint16", "float32") or not (
            wanted == "float32" or np.can_cast(archive.dtype, wanted, "safe")
        ):
            raise ArgumentError(
                f"dtype: expected float32 or one that holds {archive.dtype} counts, found "
                f"{wanted!r}"
            )
        target = cls(archive, source, name, wanted, uncertainty)
        taken = [layer for layer in target.layers if layer in archive.layers]
        if taken and not force:
            raise OutputError(
                f"{archive.path}: expected no {taken[0]}, found one; choose another --name, or use "
                f"--force to replace it"
            )
        return target

    def write(self, made: Made, progress: Progress) -> tuple[Written | None, int | None]:
        archive, results, grid = self.archive, made.results, self.archive.grid
        activity = provenance.Activity(
            "restore", {**made.parameters, "name": self.name, **made.kept}, made.seed, made.device
        )
        activity.used["raw"] = archive.raw_sha256
        if self.source.neural is not None and results.counts.get("field", 0):
            activity.used["neural"] = self.source.neural.sha256
        if made.model is not None:
            activity.used[made.model.origin] = made.model.checkpoint.sha256
        with adding_layers(archive.path, self.layers, stage(progress, "reading back")) as file:
            group = file["archive"]
            summary = write_restored(
                group,
                self.name,
                results.patterns,
                grid,
                method=made.restorer.name,
                version=made.restorer.version,
                config=made.config,
                raw_sha256=archive.raw_sha256,
                model_sha256=made.model_sha256,
                static_background=made.static_background,
                uncertainty=results.uncertainty if self.uncertainty else None,
                progress=stage(progress, "writing layer"),
            )
            activity.generated[self.layer] = summary.sha256
            self._write_maps(group, made, summary.patterns.sha256)
            for layer in self.layers[1:]:
                if layer in group:
                    activity.generated[layer] = str(group[layer].attrs["sha256"])
            provenance.record(group, activity)
            stored = stored_bytes(group[self.layer])
        return None, stored

    def _write_maps(self, group: Any, made: Made, sha256: str) -> None:
        grid, results = self.archive.grid, made.results
        _, uncertainty, flags = (layer.partition("/")[2] for layer in self.layers)
        if np.isfinite(results.mean_uncertainty).any():
            write_map(
                group,
                uncertainty,
                grid.to_map(results.mean_uncertainty),
                long_name=f"mean uncertainty of the patterns restored by {made.restorer.name}",
                units="counts",
                derived_from=sha256,
            )
        if results.counts.get("flagged", 0):
            write_map(
                group,
                flags,
                grid.to_map(results.flags),
                long_name="why not to trust a restored pattern: 1 too little signal, 2 two "
                "patterns in one, 4 unlike all that the method knows; added up",
                units="1",
                derived_from=sha256,
            )
