"""``models``: the restorers' models that an archive keeps, listed, added, exported, removed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebsdarchive.archive import provenance
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.layers import layer_node
from ebsdarchive.archive.layout import is_cloud
from ebsdarchive.archive.making import adding_layers, copied_archive
from ebsdarchive.archive.naming import require_name
from ebsdarchive.archive.nodes import attribute, stored_bytes
from ebsdarchive.errors import MissingLayerError, OutputError
from ebsdarchive.restorers.checkpoint import read_checkpoint, write_checkpoint
from ebsdarchive.restorers.stored_models import (
    default_model_name,
    describe_stored,
    layers_using,
    read_stored,
    store_checkpoint,
)
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_free, require_local

__all__ = ["ModelSummary", "add_model", "export_model", "models", "remove_model"]


@dataclass(frozen=True)
class ModelSummary:
    """A model in an archive.

    Parameters
    ----------
    name
        As `restore` takes it.
    method, version
        The restorer that it belongs to, and the version of its architecture; empty where not said.
    parameters, nbytes, stored_bytes
        Count and size of the numbers in its tensors, and what they take in the file.
    sha256
        Digest of what it does, by which restored layers name it; empty where not said.
    card
        Training data, noise range, licence, measured figures.
    used_by
        Restored layers that were made with it.
    """

    name: str
    method: str
    version: str
    parameters: int
    nbytes: int
    stored_bytes: int
    sha256: str
    card: Mapping[str, Any]
    used_by: tuple[str, ...]


def models(path: str | os.PathLike[str]) -> list[ModelSummary]:
    """The models of an archive; their tensors are not read."""
    with open_archive(path).group() as group:
        return [_summary(group, name) for name in group.get("models", {})]


def _summary(group: Any, name: str) -> ModelSummary:
    said = describe_stored(group, name)
    return ModelSummary(
        name=name,
        method=said.method,
        version=said.version,
        parameters=said.parameters,
        nbytes=said.nbytes,
        stored_bytes=stored_bytes(layer_node(group, f"models/{name}")),
        sha256=said.sha256,
        card=said.card,
        used_by=tuple(layers_using(group, name)),
    )


def add_model(
    path: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    *,
    name: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> ModelSummary:
    """Add a checkpoint file to the models of an archive.

    Parameters
    ----------
    checkpoint
        A .safetensors file, as `train` and `export_model` write it.
    name
        Of the model; by default after the file.
    force
        Replace a model of that name.

    Raises
    ------
    FormatError, VersionError, CorruptionError
        If the file is no sound checkpoint.
    OutputError
        If there is a model of that name.
    """
    require_local(path)
    archive = open_archive(path)
    found = read_checkpoint(checkpoint)
    name = default_model_name(Path(checkpoint)) if name is None else name
    require_name(name)
    target = f"models/{name}"
    if target in archive.layers and not force:
        raise OutputError(
            f"{archive.path}: expected no {target}, found one; choose another --name, or use "
            f"--force to replace it"
        )
    activity = provenance.Activity("models add", {"name": name, "file": Path(checkpoint).name})
    activity.used[Path(checkpoint).name] = found.sha256
    with adding_layers(path, [target], stage(progress, "reading back")) as file:
        activity.generated[target] = store_checkpoint(file["archive"], name, found)
        provenance.record(file["archive"], activity)
        return _summary(file["archive"], name)


def export_model(
    path: str | os.PathLike[str],
    name: str,
    output: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
) -> Path:
    """Write a model of an archive as a checkpoint file.

    Parameters
    ----------
    output
        By default NAME.safetensors in the current folder.

    Raises
    ------
    MissingLayerError
        If there is no such model.
    """
    target = Path(f"{name}.safetensors" if output is None else output)
    archive = open_archive(path)
    _require_model(archive, name)
    require_free(target, path, force=force)
    with archive.group() as group:
        found = read_stored(group, name)
    write_checkpoint(target, found, force=force)
    return target


def remove_model(
    path: str | os.PathLike[str],
    name: str,
    *,
    force: bool = False,
    progress: Progress = silent,
) -> None:
    """Remove a model from an archive; the file becomes smaller by it.

    Parameters
    ----------
    force
        Also remove one that restored layers were made with.

    Raises
    ------
    MissingLayerError
        If there is no such model.
    ArgumentError, OutputError
        If restored layers were made with it, without `force`.
    """
    require_local(path)
    archive = open_archive(path)
    _require_model(archive, name)
    target = f"models/{name}"
    with archive.group() as group:
        users = layers_using(group, name)
        digest = str(attribute(layer_node(group, target), "sha256"))
        cloud = is_cloud(group.file)
    if users and not force:
        raise OutputError(
            f"{archive.path}: expected a model that no layer was made with, found {name} used by "
            f"{', '.join(users)}; export it first, and use --force to remove it"
        )
    activity = provenance.Activity("models remove", {"name": name, "force": force})
    activity.used[target] = digest
    kept = [layer for layer in archive.layers if layer != target]
    with copied_archive(
        archive, path, kept, cloud=cloud, force=True, progress=stage(progress, "reading back")
    ) as file:
        provenance.record(file["archive"], activity)


def _require_model(archive: Any, name: str) -> None:
    if f"models/{name}" not in archive.layers:
        found = [layer.partition("/")[2] for layer in archive.layers if layer.startswith("models/")]
        raise MissingLayerError(
            f"{archive.path}: expected a model {name!r}, found {', '.join(found) or 'none'}"
        )
