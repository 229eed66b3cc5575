"""The node of metadata: what people say about the scan, as one JSON document."""

from __future__ import annotations

import json
from typing import Any

import h5py

from ebsdarchive.archive.copying import copy_node
from ebsdarchive.archive.nodes import attribute, new_node, plain, read_array, require_kind
from ebsdarchive.errors import CorruptionError
from ebsdarchive.metadata.vocabulary import faults_of

__all__ = ["METADATA", "copy_metadata", "metadata_faults", "read_metadata", "write_metadata"]

METADATA = "metadata"


def write_metadata(archive: h5py.Group, document: dict[str, Any]) -> str:
    """Write the node, replacing the one there is; returns its digest.

    The document was checked against the vocabulary by whoever took it from the user.
    """
    if METADATA in archive:
        del archive[METADATA]
    text = json.dumps(document, ensure_ascii=False, indent=1)
    with new_node(archive, METADATA, METADATA, {}, {"document": text}) as node:
        pass
    return str(attribute(node, "sha256"))


def read_metadata(archive: h5py.Group) -> dict[str, Any]:
    """The document; empty where the archive has none.

    Raises
    ------
    CorruptionError
        If it is no JSON object.
    """
    if METADATA not in archive:
        return {}
    node = archive[METADATA]
    require_kind(node, METADATA)
    try:
        document = json.loads(plain(read_array(node["document"])))
    except json.JSONDecodeError as error:
        document = str(error)
    if not isinstance(document, dict):
        raise CorruptionError(
            f"{archive.file.filename}: {node.name}/document: expected a JSON object, found "
            f"something else; the file is damaged"
        )
    return document


def metadata_faults(archive: h5py.Group) -> list[str]:
    """Everything in which the document leaves the vocabulary, one line each."""
    try:
        document = read_metadata(archive)
    except CorruptionError as error:
        return [str(error).removeprefix(f"{archive.file.filename}: ")]
    return [f"/archive/{METADATA}/document: {fault}" for fault in faults_of(document)]


def copy_metadata(source: h5py.Group, target: h5py.Group) -> bool:
    """Copy the node where the source has one and the target none; returns whether it did."""
    if METADATA not in source or METADATA in target:
        return False
    copy_node(source[METADATA], target, METADATA)
    return True
