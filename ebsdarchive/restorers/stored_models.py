"""Checkpoints as the models of an archive."""

from __future__ import annotations

import math
import re
from pathlib import Path

import h5py

from ebsdarchive.archive.layers import layer_node, model_attributes, read_model, write_model
from ebsdarchive.archive.nodes import attributes_of
from ebsdarchive.errors import ArchiveError, CorruptionError
from ebsdarchive.restorers.checkpoint import Checkpoint, Described

__all__ = [
    "default_model_name",
    "describe_stored",
    "layers_using",
    "read_stored",
    "store_checkpoint",
]


def store_checkpoint(archive: h5py.Group, name: str, checkpoint: Checkpoint) -> str:
    """Write a checkpoint as a model of the archive; returns the digest of its node."""
    return write_model(
        archive,
        name,
        checkpoint.method,
        checkpoint.config,
        checkpoint.tensors,
        checkpoint.card or None,
        version=checkpoint.version,
        model_sha256=checkpoint.sha256,
    )


def read_stored(archive: h5py.Group, name: str) -> Checkpoint:
    """A model of the archive as a checkpoint, compared with the digest that it carries.

    Raises
    ------
    MissingLayerError
        If there is no such model.
    ArchiveError
        If it does not say of which version of its architecture it is.
    CorruptionError
        If it is not what was stored.
    """
    said, tensors = read_model(archive, name)
    where = f"{archive.file.filename}: /archive/models/{name}"
    if "version" not in said or "model_sha256" not in said:
        raise ArchiveError(
            f"{where}: expected a model of a known version, found none said; it was made for "
            f"another program, or by an older version of this one"
        )
    found = Checkpoint(said["architecture"], said["version"], said["config"], tensors, said["card"])
    if found.sha256 != said["model_sha256"]:
        raise CorruptionError(
            f"{where}: expected the model that was stored, found another digest; run "
            f"`ebsdarchive verify` to see what survives"
        )
    return found


def describe_stored(archive: h5py.Group, name: str) -> Described:
    """What a model says of itself; its tensors are not read. Version and digest may be empty."""
    node = layer_node(archive, f"models/{name}")
    said = model_attributes(node)
    tensors = list(node["tensors"].values())
    return Described(
        method=said["architecture"],
        version=said.get("version", ""),
        config=said["config"],
        card=said["card"],
        sha256=said.get("model_sha256", ""),
        parameters=sum(math.prod(tensor.shape or ()) for tensor in tensors),
        nbytes=sum(tensor.nbytes for tensor in tensors),
    )


def layers_using(archive: h5py.Group, name: str) -> list[str]:
    """Restored layers that name a model as theirs."""
    said = attributes_of(layer_node(archive, f"models/{name}"))
    digests = {said["sha256"], said.get("model_sha256")} - {None}
    return [
        f"restored/{key}"
        for key, node in archive.get("restored", {}).items()
        if attributes_of(node).get("model_sha256") in digests
    ]


def default_model_name(path: Path) -> str:
    """The name of a model after the file that it comes from."""
    return re.sub(r"[^\w-]+", "_", path.stem).strip("_") or "model"
