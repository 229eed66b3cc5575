"""What was exported into a folder: by this record a batch knows its own files.

A line is added before an export begins and when it is complete, with the digests and states of what
was written. So an interrupted batch goes on, a file that was changed afterwards is noticed, and one
that somebody else put there is not replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ebsdarchive.archive.folder import EXPORTS_RECORD
from ebsdarchive.archive.store import file_sha256, parts_sha256
from ebsdarchive.errors import OutputError
from ebsdarchive.verbs.folder_record import FolderRecord, state_of

__all__ = ["ExportRecord"]

_NEEDED = {"begun": {"asked"}, "done": {"asked", "sha256", "files", "figures"}}


class ExportRecord:
    """The record of a folder of exports.

    Parameters
    ----------
    folder
        May not exist yet.
    check_all
        Whether to digest files that are as they were, too.
    """

    def __init__(self, folder: Path, check_all: bool = False) -> None:
        self.folder, self.check_all = folder, check_all
        self._record = FolderRecord(folder, EXPORTS_RECORD, _NEEDED)

    def standing(self, output: Path, asked: dict[str, Any]) -> Literal["absent", "ours", "done"]:
        """What an output is: done as asked, made here otherwise (or begun), or not there.

        Raises
        ------
        OutputError
            If there is a file that this record does not know, or that was changed since.
        """
        entry = self._record.last(output)
        if not output.exists():
            return "absent" if entry is None else "ours"  # a file beside it may still be there
        if entry is None:
            raise _in_the_way(output, "one that no export recorded here made")
        if entry["state"] == "begun":
            return "ours"
        there = [name for name in entry["sha256"] if (self.folder / name).exists()]
        if any(self._is_changed(entry, name) for name in there):
            raise _in_the_way(output, "one that was changed since it was exported")
        whole = len(there) == len(entry["sha256"])
        return "done" if whole and entry["asked"] == asked else "ours"

    def figures(self, output: Path) -> dict[str, Any]:
        """What was recorded of a complete export."""
        entry = self._record.last(output)
        assert entry is not None
        return dict(entry["figures"])

    def begin(self, output: Path, asked: dict[str, Any]) -> None:
        """Note that an output is about to be written."""
        self._record.add(output, {"state": "begun", "asked": asked})

    def complete(
        self,
        output: Path,
        asked: dict[str, Any],
        files: Sequence[Path],
        figures: dict[str, Any],
    ) -> None:
        """Note that an output and the `files` that belong to it are complete."""
        states = {self._record.key(path): state_of(path) for path in files}
        digests = {self._record.key(path): _digest(path) for path in files}
        entry = {"state": "done", "asked": asked, "sha256": digests, "files": states}
        self._record.add(output, {**entry, "figures": figures})

    def _is_changed(self, entry: dict[str, Any], name: str) -> bool:
        """Whether a file that is there is another one than was written."""
        path = self.folder / name
        if not self.check_all and state_of(path) == entry["files"].get(name):
            return False
        return _digest(path) != entry["sha256"][name]


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
