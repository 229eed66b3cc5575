"""Where restored patterns go: a layer of the archive that they come from, or their own file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive import provenance
from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.layers import write_map, write_restored
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.nodes import stored_bytes
from ebsdarchive.archive.remote import require_local
from ebsdarchive.errors import ArgumentError, OutputError
from ebsdarchive.exchange.writers import Written, write_patterns
from ebsdarchive.exchange.writing.beside import files_beside, require_free_beside
from ebsdarchive.exchange.writing.registry import choose_format
from ebsdarchive.restorers.pipeline import Pipeline
from ebsdarchive.restorers.restorer import Restorer
from ebsdarchive.restorers.results import Results
from ebsdarchive.restorers.stored_models import require_name
from ebsdarchive.verbs.exporting import EXPORTED
from ebsdarchive.verbs.progress import Progress, stage
from ebsdarchive.verbs.restore_source import Model, Source
from ebsdarchive.verbs.targets import require_free

__all__ = ["FileTarget", "LayerTarget", "Made", "Target"]


@dataclass(frozen=True)
class Made:
    """Estimates of all patterns, and how they came about.

    Parameters
    ----------
    restorer, config
        The method as it was used, and its complete configuration.
    parameters
        As the caller gave them.
    """

    restorer: Restorer
    config: Mapping[str, Any]
    model: Model | None
    parameters: Mapping[str, Any]
    seed: int
    device: str
    results: Results

    @property
    def model_sha256(self) -> str | None:
        """Digest of the model."""
        return None if self.model is None else self.model.checkpoint.sha256

    @property
    def static_background(self) -> npt.NDArray | None:
        """That of the estimates, where it is no longer the scan's."""
        return self.restorer.static_background if isinstance(self.restorer, Pipeline) else None

    @property
    def kept(self) -> dict[str, Any]:
        """In which type the estimates are kept, and what that has changed in them."""
        dtype = self.results.patterns.dtype.name
        if dtype == "float32":
            return {"kept_as": dtype}
        limited = self.results.counts["limited"]
        return {"kept_as": f"{dtype}, rounded to whole counts", "limited_pixels": limited}


class Target(Protocol):
    """A place for restored patterns."""

    @property
    def kept_dtype(self) -> str:
        """Type in which estimates are kept while the others are made."""

    @property
    def holds_nan(self) -> bool:
        """Whether it takes patterns with values that are no numbers."""

    @property
    def results_folder(self) -> Path:
        """Where the results of finished blocks are kept."""

    @property
    def uncertainty(self) -> bool:
        """Whether it takes the uncertainty of each pixel."""

    def write(self, made: Made, progress: Progress) -> tuple[Written | None, int | None]:
        """Write the estimates: the file that was written, or the bytes of the layer."""


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


@dataclass(frozen=True)
class FileTarget:
    """A file or folder of a format that `export` writes."""

    source: Source
    path: Path
    dtype: str
    asked_dtype: str | None
    format: str | None
    force: bool
    uncertainty: bool = False

    @property
    def kept_dtype(self) -> str:
        measured = self.source.scan.patterns.dtype.name
        return measured if self.dtype == measured else "float32"

    @property
    def holds_nan(self) -> bool:
        return self.dtype == "float32"

    @property
    def results_folder(self) -> Path:
        return self.path.with_name(f".{self.path.name}.restore")

    @classmethod
    def require(
        cls,
        source: Source,
        output: str | os.PathLike[str],
        dtype: str | None,
        format: str | None,
        force: bool,
    ) -> FileTarget:
        """The target for a file.

        Raises
        ------
        OutputError
            If there is such a file, without `force`, or its format does not hold the scan.
        """
        path = Path(output)
        scan = source.scan
        chosen = choose_format(path, format, EXPORTED)
        measured = scan.patterns.dtype.name
        wanted = chosen.dtype_for(dtype, measured, measured, path)
        chosen.require_grid(scan.grid, path)
        require_free(path, source.path, force=force)
        require_free_beside(files_beside(chosen, path, scan), force)
        return cls(source, path, wanted, dtype, format, force)

    def write(self, made: Made, progress: Progress) -> tuple[Written | None, int | None]:
        scan = self.source.scan
        measured = scan.patterns.dtype.name
        background = made.static_background
        background = scan.static_background if background is None else background
        progress("digest of source", 0, 1)
        origin = self.source.origin() | {
            "estimate": "estimate",
            "method": made.restorer.name,
            "method_version": made.restorer.version,
            "config": dict(made.config),
            "model_sha256": made.model_sha256,
            "seed": made.seed,
            **made.kept,
        }
        written = write_patterns(
            replace(scan, patterns=made.results.patterns, static_background=background),
            self.path,
            positions=scan.grid.positions(),
            measured_dtype=measured,
            own_dtype=measured,
            dtype=self.asked_dtype,
            format=self.format,
            origin=origin,
            sample_frame=self.source.sample_frame,
            force=self.force,
            formats=EXPORTED,
            keep_header=self.dtype == measured,
            progress=stage(progress, "writing"),
        )
        return written, None
