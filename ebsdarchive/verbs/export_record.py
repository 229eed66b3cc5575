"""What was exported into a folder: one JSON line for each file, by which a batch knows its own.

A line is added before an export begins and when it is complete, with the digests of what was
written; the last line of an output counts. So an interrupted batch goes on, a file that was changed
afterwards is noticed, and one that somebody else put there is not replaced.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ebsdarchive.archive.store import file_sha256, parts_sha256
from ebsdarchive.errors import OutputError

__all__ = ["RECORD_NAME", "ExportRecord"]

RECORD_NAME = "ebsdarchive-exports.jsonl"


class ExportRecord:
    """The record of a folder of exports.

    Parameters
    ----------
    folder
        May not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / RECORD_NAME
        self._last: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                entry = _parsed(line)
                if entry is not None:
                    self._last[entry["output"]] = entry

    def standing(self, output: Path, asked: dict[str, Any]) -> Literal["absent", "ours", "done"]:
        """What an output is: done as asked, made here otherwise (or begun), or not there.

        Raises
        ------
        OutputError
            If there is a file that this record does not know, or that was changed since.
        """
        entry = self._last.get(self._key(output))
        if not output.exists():
            return "absent" if entry is None else "ours"  # a file beside it may still be there
        if entry is None:
            raise _in_the_way(output, "one that no export recorded here made")
        if entry["state"] == "begun":
            return "ours"
        files = {self.folder / name: digest for name, digest in entry["sha256"].items()}
        if any(path.exists() and _digest(path) != digest for path, digest in files.items()):
            raise _in_the_way(output, "one that was changed since it was exported")
        whole = all(path.exists() for path in files)
        return "done" if whole and entry["asked"] == asked else "ours"

    def figures(self, output: Path) -> dict[str, Any]:
        """What was recorded of a complete export."""
        return dict(self._last[self._key(output)]["figures"])

    def begin(self, output: Path, asked: dict[str, Any]) -> None:
        """Note that an output is about to be written."""
        self._add({"output": self._key(output), "state": "begun", "asked": asked})

    def complete(
        self,
        output: Path,
        asked: dict[str, Any],
        files: Sequence[Path],
        figures: dict[str, Any],
    ) -> None:
        """Note that an output and the `files` that belong to it are complete."""
        digests = {self._key(path): _digest(path) for path in files}
        entry = {"output": self._key(output), "state": "done", "asked": asked}
        self._add({**entry, "sha256": digests, "figures": figures})

    def _key(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _add(self, entry: dict[str, Any]) -> None:
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # a crash has cut the line before
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._last[entry["output"]] = entry


def _parsed(line: str) -> dict[str, Any] | None:
    """An entry; None for an empty line, or one that a crash has cut."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    needed = {"begun": {"output", "asked"}, "done": {"output", "asked", "sha256", "figures"}}
    if not isinstance(entry, dict) or needed.get(str(entry.get("state")), {""}) - set(entry):
        return None
    return entry


def _digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, of the lines that sha256sum writes of its files."""
    if not path.is_dir():
        return file_sha256(path)
    below = [item.relative_to(path).as_posix() for item in path.rglob("*") if item.is_file()]
    return parts_sha256(path, below)


def _in_the_way(output: Path, found: str) -> OutputError:
    return OutputError(
        f"{output}: expected no file or an export of this folder's record, found {found}; it is "
        f"left as it is, --force replaces it"
    )
