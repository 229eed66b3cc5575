"""Safe writes of whole folders, and copies of archives into them: complete, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ebsdarchive.archive.interrupts import interrupts_kept
from ebsdarchive.archive.store import cloned, errors_of, file_sha256, flush, identity
from ebsdarchive.errors import OutputError

__all__ = [
    "ARCHIVES_RECORD",
    "EXPORTS_RECORD",
    "FOLDER_RECORD",
    "copied_into",
    "replacing_folder",
]

FOLDER_RECORD = "ebsdarchive_export.json"  # in every folder of an export, unless a Zarr store
ARCHIVES_RECORD = "ebsdarchive-archives.jsonl"  # in folders that batches write to
EXPORTS_RECORD = "ebsdarchive-exports.jsonl"
_BLOCK_BYTES = 1 << 22
Progress = Callable[[float, float], None]


@contextlib.contextmanager
def replacing_folder(
    target: str | os.PathLike[str],
    *,
    force: bool = False,
    strangers: Callable[[Path], list[str]] | None = None,
) -> Iterator[Path]:
    """Give a temporary folder to write into; on success it takes the target's place.

    Parameters
    ----------
    force
        Whether an existing folder may be replaced: one that was written here, or is empty.
    strangers
        Called with an existing folder; names what in it would be lost, which prevents that. By
        default everything, unless the folder holds the record of an export.

    Raises
    ------
    OutputError
        If the target exists, holds other files, or the place cannot be written. The target is left
        as it was.
    """
    path = Path(target)
    if path.is_symlink():
        path = path.resolve()
    path = path.absolute()  # "." has no name
    _require_free(path, force, strangers or _unless_exported)
    mark = secrets.token_hex(4)
    temporary = path.with_name(f".{path.name}.{mark}.partial")
    old = path.with_name(f".{path.name}.{mark}.old")
    try:
        with errors_of(path, temporary):
            with interrupts_kept():
                temporary.mkdir()
                yield temporary
                for item in (*temporary.rglob("*"), temporary):
                    if item.is_file() or os.name == "posix":
                        flush(item)
            _require_free(path, force, strangers or _unless_exported)  # as it was at the start
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
            if os.name == "posix":
                flush(path.parent)
    finally:
        if old.exists() and not path.exists():  # stopped between the two moves
            os.replace(old, path)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _require_free(path: Path, force: bool, strangers: Callable[[Path], list[str]]) -> None:
    """Raise OutputError unless a folder can be written there."""
    if not path.parent.is_dir():
        raise OutputError(f"{path}: expected an existing folder {path.parent}, found none")
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"{path}: expected a name for a folder, found a file")
    if not force:
        raise OutputError(f"{path}: expected no such folder, found one; use --force to replace it")
    found = strangers(path)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise OutputError(
            f"{path}: expected a folder that ebsdarchive wrote, found other files in it "
            f"({', '.join(found[:3])}{more}); nothing was changed, choose another with -o"
        )


def _unless_exported(folder: Path) -> list[str]:
    """What is in a folder, unless a record says that an export was written there."""
    for name in (FOLDER_RECORD, ".zattrs"):
        record = folder / name
        if record.is_file() and b'"written_by": "ebsdarchive ' in record.read_bytes():
            return []
    return sorted(item.name for item in folder.iterdir())


def copied_into(
    source: str | os.PathLike[str], target: Path, *, link: bool, progress: Progress
) -> str:
    """Copy a file, or give it a second name; returns its SHA-256.

    The file is read once: it is digested while it is copied. Where the file system can share the
    blocks of a copy, it does, and the file is only digested.

    Parameters
    ----------
    link
        Make a hard link, which takes no room.
    progress
        Told (bytes, of all).

    Raises
    ------
    OutputError
        If the link is not possible, or the file changed meanwhile.
    """
    path = Path(source).resolve()
    before = identity(path)
    size = path.stat().st_size
    if link:
        try:
            os.link(path, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
            raise OutputError(
                f"{source}: expected a place for a hard link to it, found that the file system of "
                f"the package cannot ({os.strerror(error.errno)}); copy it instead"
            ) from error
        sha256 = file_sha256(target, lambda done: progress(done, size))
    else:
        sha256 = _copied(path, target, lambda done: progress(done, size))
    if identity(path) != before or target.stat().st_size != size:
        raise OutputError(
            f"{source}: expected the file as it was at the start, found it changed meanwhile; "
            f"start again"
        )
    return sha256


def _copied(source: Path, target: Path, progress: Callable[[int], None]) -> str:
    """Copy a file, which is digested beside the writing; returns its SHA-256."""
    sha = hashlib.sha256()
    done = 0
    with (
        open(source, "rb") as old,
        open(target, "xb") as new,
        ThreadPoolExecutor(1) as beside,
    ):
        shared = cloned(old, new)
        while block := old.read(_BLOCK_BYTES):
            digested = beside.submit(sha.update, block)
            if not shared:
                new.write(block)
            digested.result()
            done += len(block)
            progress(done)
    return sha.hexdigest()
