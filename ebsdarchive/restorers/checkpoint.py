"""A trained restorer at rest: its method, configuration, named tensors and model card.

Never code, never a pickle. The file is safetensors with the rest as text in its header; an archive
holds the same under `models/`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ebsdarchive.archive.store import replacing
from ebsdarchive.errors import ArgumentError, CorruptionError, FormatError, VersionError

__all__ = ["Checkpoint", "Described", "describe_checkpoint", "read_checkpoint", "write_checkpoint"]

FORMAT = "ebsdarchive-restorer"
FORMAT_VERSION = "1"
_KEYS = ("format", "format_version", "method", "version", "config", "card", "sha256")
_LONGEST_HEADER = 16 << 20  # far more than thousands of tensors need
_DTYPES = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}


@dataclass(frozen=True)
class Checkpoint:
    """A trained model of a method.

    Parameters
    ----------
    method
        The restorer that it belongs to, as the command line knows it.
    version
        Of the method's architecture: tensors of another version do not fit.
    config
        What the architecture is built from, as JSON can hold it.
    tensors
        By name, as the architecture calls them.
    card
        Training data, noise range, sizes, licence, measured figures; as JSON can hold it.
    """

    method: str
    version: str
    config: Mapping[str, Any]
    tensors: Mapping[str, npt.NDArray]
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Of the tensors."""
        return sum(np.asarray(tensor).nbytes for tensor in self.tensors.values())

    @property
    def sha256(self) -> str:
        """Digest of all that decides what the model does: method, version, configuration and
        tensors, without the card."""
        digest = hashlib.sha256()
        known = {"method": self.method, "version": self.version, "config": self.config}
        digest.update(json.dumps(known, sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            array = np.asarray(tensor, order="C")
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Described:
    """What a checkpoint says of itself, without its tensors.

    `parameters` counts the numbers in its tensors, `nbytes` their size; `sha256` is as in
    `Checkpoint`.
    """

    method: str
    version: str
    config: Mapping[str, Any]
    card: Mapping[str, Any]
    sha256: str
    parameters: int
    nbytes: int


def write_checkpoint(
    path: str | os.PathLike[str], checkpoint: Checkpoint, *, force: bool = False
) -> None:
    """Write a checkpoint as a safetensors file, which is read back before it takes its place.

    Raises
    ------
    ArgumentError
        If JSON cannot hold the configuration or the card, or safetensors a tensor.
    OutputError
        If there is such a file and `force` is not given, or it cannot be written.
    """
    where = os.fspath(path)
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "method": checkpoint.method,
        "version": checkpoint.version,
        "config": _json(where, "config", checkpoint.config),
        "card": _json(where, "card", checkpoint.card),
        "sha256": checkpoint.sha256,
    }
    tensors = {name: np.asarray(value, order="C") for name, value in checkpoint.tensors.items()}
    if not tensors:
        raise ArgumentError(f"{where}: expected tensors to write, found none")
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in "biuf" or tensor.dtype.byteorder == ">":
            raise ArgumentError(
                f"{where}: tensor {name!r}: expected numbers in this machine's byte order, found "
                f"{tensor.dtype}"
            )
    with replacing(where, force=force, check=_reads_back(checkpoint.sha256)) as temporary:
        save_file(tensors, temporary, metadata)


def describe_checkpoint(path: str | os.PathLike[str]) -> Described:
    """What a checkpoint file says of itself; only its header is read.

    Raises
    ------
    FormatError
        If it is no safetensors file, or no restorer's.
    VersionError
        If its format is of a version that is not known here.
    CorruptionError
        If it is truncated.
    """
    header = _read_header(path)
    metadata = _metadata(path, header)
    shapes = {name: entry for name, entry in header.items() if name != "__metadata__"}
    return Described(
        method=metadata["method"],
        version=metadata["version"],
        config=_object(path, metadata, "config"),
        card=_object(path, metadata, "card"),
        sha256=metadata["sha256"],
        parameters=sum(math.prod(entry["shape"]) for entry in shapes.values()),
        nbytes=sum(e["data_offsets"][1] - e["data_offsets"][0] for e in shapes.values()),
    )


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint file and compare it with the digest that it carries.

    Raises
    ------
    FormatError, VersionError
        As `describe_checkpoint`.
    CorruptionError
        If it is truncated, or its content is not what was written.
    """
    said = describe_checkpoint(path)
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    found = Checkpoint(said.method, said.version, said.config, tensors, said.card)
    if found.sha256 != said.sha256:
        raise _damaged(path, "another digest than the one written with it")
    return found


def _reads_back(sha256: str) -> Callable[[Any], None]:
    def check(path: Any) -> None:
        if read_checkpoint(path).sha256 != sha256:
            raise _damaged(path, "another configuration than the one given; is it plain JSON?")

    return check


def _read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON header of a safetensors file whose tensors fill the file exactly."""
    where = os.fspath(path)
    try:
        size = os.path.getsize(where)
        with open(where, "rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
                raise _foreign(where, "no safetensors header")
            text = file.read(length)
        header = json.loads(text)
    except FileNotFoundError:
        raise FormatError(f"{where}: expected a checkpoint file, found none") from None
    except OSError as error:
        raise FormatError(f"{where}: expected a readable file, found {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _foreign(where, "no safetensors header") from error
    if not isinstance(header, dict):
        raise _foreign(where, "no safetensors header")
    _require_filled(where, header, size - 8 - length)
    return header


def _require_filled(where: str, header: dict[str, Any], data_bytes: int) -> None:
    """Raise unless the tensors that the header lists are all that follows it."""
    end = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            first, last = (int(value) for value in entry["data_offsets"])
            sizes = [int(value) for value in entry["shape"]]
            known = entry["dtype"] in _DTYPES
        except (LookupError, TypeError, ValueError) as error:
            raise _foreign(where, "a safetensors header that makes no sense") from error
        if not known or min([0, first, last - first, *sizes]) < 0:
            raise _foreign(where, f"tensor {name!r} of an unknown kind")
        end = max(end, last)
    if end != data_bytes:
        raise _damaged(where, f"{data_bytes} bytes of tensors where its header says {end}")


def _metadata(path: str | os.PathLike[str], header: Mapping[str, Any]) -> dict[str, str]:
    """The texts in the header, all of them there."""
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise _foreign(path, "tensors of another program")
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise VersionError(
            f"{os.fspath(path)}: checkpoint version {version} is not known here (known: "
            f"{FORMAT_VERSION}); update ebsdarchive to read it"
        )
    missing = [key for key in _KEYS if not isinstance(metadata.get(key), str)]
    if missing:
        raise _foreign(path, f"no {', '.join(missing)}")
    return metadata


def _object(path: str | os.PathLike[str], metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    try:
        value = json.loads(metadata[key])
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _foreign(path, f"a {key} that is no JSON object")
    return value


def _json(where: str, key: str, value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(value), sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"{where}: {key}: expected what JSON can hold, found otherwise ({error})"
        ) from error


def _foreign(path: str | os.PathLike[str], found: str) -> FormatError:
    return FormatError(
        f"{os.fspath(path)}: expected a restorer's checkpoint (safetensors), found {found}; such a "
        f"file is written by `ebsdarchive train` and `ebsdarchive models export`"
    )


def _damaged(path: str | os.PathLike[str], found: str) -> CorruptionError:
    return CorruptionError(
        f"{os.fspath(path)}: expected the checkpoint that was written, found {found}; copy it "
        f"again from its source"
    )
