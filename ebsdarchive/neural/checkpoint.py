"""A training run's state on disk, so that an interrupted fit goes on where it was.

Owns the file; what is in it belongs to `train`. A checkpoint is plain named arrays (never a
pickle), bound to a digest of the configuration and of the data.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import OutputError

__all__ = ["digest_of", "read_checkpoint", "write_checkpoint"]


def digest_of(config: dict[str, Any], *arrays: npt.NDArray) -> str:
    """sha256 of plain JSON values and of arrays' shapes and bytes."""
    sha = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for array in arrays:
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def write_checkpoint(path: Path, digest: str, arrays: dict[str, npt.NDArray]) -> None:
    """Write beside `path`, flush to disk, replace: an old checkpoint is never harmed.

    Raises OutputError where that is not possible.
    """
    partial = path.with_name(path.name + ".part")
    try:
        with open(partial, "wb") as file:
            np.savez(file, digest=np.array(digest), **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(
            f"{path}: expected to write a checkpoint, found {error.strerror}"
        ) from error


def read_checkpoint(path: Path, digest: str) -> tuple[dict[str, npt.NDArray] | None, str]:
    """The arrays, or None and why they are not used (empty where there is no file)."""
    if not path.exists():
        return None, ""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None, "checkpoint unreadable, ignored"
    if str(arrays.pop("digest", "")) != digest:
        return None, "checkpoint of another scan or other options, ignored"
    return arrays, "resumed"
