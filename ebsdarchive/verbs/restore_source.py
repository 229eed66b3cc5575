"""What a restoration begins with: the measured patterns, a field of them, and a model."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.file import Archive, is_archive, open_archive
from ebsdarchive.archive.store import file_sha256
from ebsdarchive.errors import ArgumentError, MissingLayerError
from ebsdarchive.exchange import open_scan
from ebsdarchive.restorers.checkpoint import Checkpoint, read_checkpoint
from ebsdarchive.restorers.registry import method_of, shipped_model
from ebsdarchive.restorers.stored_models import read_stored
from ebsdarchive.scan import Scan
from ebsdarchive.verbs.archive_record import source_state
from ebsdarchive.verbs.exporting import origin_of
from ebsdarchive.verbs.opening import require_no_choice

__all__ = ["Model", "NeuralLayer", "Source", "model_for", "opened_source"]


class NeuralLayer:
    """The patterns of an archive's neural layer, without its residual, read when they are used.

    A residual brings back what was measured, and with it the noise.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._field: Any = None
        self.used = False

    @property
    def sha256(self) -> str:
        """Digest of the layer."""
        return str(self._archive.attributes("neural")["sha256"])

    def __call__(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(m,) indices to (m, sy, sx) counts."""
        if self._field is None:
            from ebsdarchive.neural.storage import read_field

            self._field = read_field(self._archive.path)
        self.used = True
        found: npt.NDArray[np.float32] = self._field.patterns(
            self._archive.grid.positions_at(indices)
        )
        return found


@dataclass(frozen=True)
class Source:
    """The measured patterns of an archive or of a vendor's file.

    Parameters
    ----------
    path
        Of the file.
    scan
        With the measured patterns.
    archive, neural
        None for a vendor's file, and `neural` for an archive without that layer.
    """

    path: str
    scan: Scan
    archive: Archive | None = None
    neural: NeuralLayer | None = None
    choice: dict[str, Any] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """What tells these patterns from others, without reading them all."""
        if self.archive is not None:
            neural = None if self.neural is None else self.neural.sha256
            return {"raw_sha256": self.archive.raw_sha256, "neural_sha256": neural}
        path = Path(self.path).resolve()
        return {"path": str(path), "state": source_state(self.scan), **self.choice}

    def origin(self) -> dict[str, Any]:
        """Where the patterns come from, for a file that is made of them."""
        if self.archive is not None:
            return origin_of(self.archive, "raw")
        said = {"source": os.path.basename(self.path), "source_format": self.scan.source.format}
        if os.path.isfile(self.path):
            said["source_sha256"] = file_sha256(self.path)
        return said


def opened_source(
    path: str | os.PathLike[str],
    scan: str | int | None = None,
    geometry: str | os.PathLike[str] | None = None,
    index_pattern: str | None = None,
) -> Source:
    """Open what is to be restored; the arguments are those of `restore`.

    Raises
    ------
    MissingLayerError
        If it is an archive without raw patterns.
    """
    name = os.fspath(path)
    if not is_archive(path):
        opened = open_scan(path, scan=scan, geometry=geometry, index_pattern=index_pattern)
        choice = {"scan": scan, "geometry": geometry, "index_pattern": index_pattern}
        told = {key: str(value) for key, value in choice.items() if value is not None}
        return Source(name, opened, choice=told)
    require_no_choice(path, scan, geometry, index_pattern)
    archive = open_archive(path)
    if "raw" not in archive.layers:
        raise MissingLayerError(
            f"{archive.path}: expected raw patterns to restore, found the layers "
            f"{', '.join(archive.layers)}; its neural layer is an estimate already"
        )
    neural = NeuralLayer(archive) if "neural" in archive.layers else None
    return Source(name, archive.scan("raw"), archive, neural)


@dataclass(frozen=True)
class Model:
    """A checkpoint, and where it comes from: a model of the archive, or a file's name."""

    checkpoint: Checkpoint
    origin: str


def model_for(
    method: str | None, model: str | os.PathLike[str] | None, archive: Archive | None
) -> Model | None:
    """The model that is named, or the one that comes with the package; None where neither is.

    Parameters
    ----------
    model
        A .safetensors file, or the name of a model in the archive.

    Raises
    ------
    ArgumentError
        If there is neither such a file nor such a model.
    """
    if model is None:
        if method is None or not method_of(method).learned:
            return None
        shipped = shipped_model(method_of(method).models_of or method)
        return None if shipped is None else Model(read_checkpoint(shipped), shipped.name)
    text = os.fspath(model)
    name = text.removeprefix("models/")
    if archive is not None and f"models/{name}" in archive.layers:
        with archive.group() as group:
            return Model(read_stored(group, name), f"models/{name}")
    if os.path.exists(text) or text.endswith(".safetensors"):
        return Model(read_checkpoint(text), os.path.basename(text))
    layers = archive.layers if archive is not None else []
    found = ", ".join(key for key in layers if key.startswith("models/")) or "none"
    raise ArgumentError(
        f"model: expected a .safetensors file or a model of the archive ({found}), found {text!r}"
    )
