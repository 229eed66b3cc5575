"""Which archives of a folder were checked in full, and that neither they nor their sources changed.

To know that an archive is done, a batch digests its source and decodes all of its patterns. What
that led to is kept on record, with the state of both files, and holds until one of them changes.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from ebsdarchive.archive.folder import ARCHIVES_RECORD
from ebsdarchive.scan import Scan
from ebsdarchive.verbs.folder_record import FolderRecord, state_of

__all__ = ["ArchiveRecord", "source_state"]


class ArchiveRecord:
    """The record of a folder of archives, which may not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._record = FolderRecord(
            folder, ARCHIVES_RECORD, {"sound": {"scan", "source", "archive"}}
        )

    def holds(self, target: Path, scan: Scan) -> bool:
        """Whether an archive was found sound and of this scan, and both are as they were then."""
        entry = self._record.last(target)
        if entry is None or not target.exists():
            return False
        return entry == {"output": entry["output"], **_entry(target, scan, source_state(scan))}

    def keep(self, target: Path, scan: Scan, source: list[int] | str) -> None:
        """Note that an archive is sound and of a scan.

        Parameters
        ----------
        source
            State of the source before it was read or digested.
        """
        if not self.holds(target, scan):
            with contextlib.suppress(OSError):  # without a record, the next batch looks again
                self._record.add(target, _entry(target, scan, source))


def source_state(scan: Scan) -> list[int] | str:
    """State of the file or folder that a scan is read from."""
    assert scan.source.path is not None
    path = Path(scan.source.path)
    return state_of(path, scan.source.parts if path.is_dir() else None)


def _entry(target: Path, scan: Scan, source: list[int] | str) -> dict[str, Any]:
    archive = state_of(target)
    return {"state": "sound", "scan": scan.name, "source": source, "archive": archive}
