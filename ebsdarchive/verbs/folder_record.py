"""What a batch keeps on record beside its outputs: lines of JSON, the last of an output counts.

A line that a crash has cut is passed over. Files are known again by their `state_of`: what the file
system says of a file changes when it is written or replaced, so that digests need not be taken
anew of files that were digested before. It does not tell of bytes that rot on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["FolderRecord", "state_of"]


class FolderRecord:
    """A file of JSON lines in a folder, which may not exist yet.

    Parameters
    ----------
    name
        Of the file.
    needed
        Keys of an entry by its "state", beside "output"; lines of other kinds are passed over.
    """

    def __init__(self, folder: Path, name: str, needed: Mapping[str, set[str]]) -> None:
        self.folder, self.path = folder, folder / name
        self._last: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                entry = _parsed(line, needed)
                if entry is not None:
                    self._last[entry["output"]] = entry

    def last(self, output: Path) -> dict[str, Any] | None:
        """The entry of an output, which counts."""
        return self._last.get(self.key(output))

    def add(self, output: Path, entry: dict[str, Any]) -> None:
        """Write an entry, and bring it to the disk."""
        entry = {"output": self.key(output), **entry}
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # a crash has cut the line before
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._last[entry["output"]] = entry

    def key(self, path: Path) -> str:
        """The path of a file below the folder."""
        return path.relative_to(self.folder).as_posix()


def _parsed(line: str, needed: Mapping[str, set[str]]) -> dict[str, Any] | None:
    """An entry; None for an empty line, or one that a crash has cut."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("output"), str):
        return None
    keys = needed.get(str(entry.get("state")))
    return entry if keys is not None and keys <= set(entry) else None


def state_of(path: Path, parts: Sequence[str] | None = None) -> list[int] | str:
    """What changes when a file is written or replaced: bytes, times of change, and its inode.

    Parameters
    ----------
    parts
        Of a folder, the files that count, by their paths in it; by default all.
    """
    if not path.is_dir():
        status = path.stat()
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    if parts is None:
        files = (item for item in path.rglob("*") if item.is_file())
        parts = sorted(item.relative_to(path).as_posix() for item in files)
    states = [(part, state_of(path / part)) for part in parts]
    return hashlib.sha256(json.dumps(states).encode()).hexdigest()
