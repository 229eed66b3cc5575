"""Where restored patterns go, and the one place that is a file for other software."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from ebsdarchive.exchange.writers import Written, write_patterns
from ebsdarchive.exchange.writing.beside import files_beside, require_free_beside
from ebsdarchive.exchange.writing.registry import choose_format
from ebsdarchive.restorers.pipeline import Pipeline
from ebsdarchive.restorers.restorer import Restorer
from ebsdarchive.restorers.results import Results
from ebsdarchive.verbs.exporting import EXPORTED
from ebsdarchive.verbs.progress import Progress, stage
from ebsdarchive.verbs.restore_source import Model, Source
from ebsdarchive.verbs.targets import require_free

__all__ = ["FileTarget", "Made", "Target"]


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
            force=self.force,
            formats=EXPORTED,
            keep_header=self.dtype == measured,
            progress=stage(progress, "writing"),
        )
        return written, None
