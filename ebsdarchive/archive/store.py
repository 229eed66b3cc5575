"""Safe writes: a target is either what it was, or the complete and checked new file.

Every write goes to a temporary file beside the target, is read back and compared, flushed to disk
and moved into place. Owns files and their names; knows nothing about what is in them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import h5py

from ebsdarchive.archive.interrupts import interrupts_kept
from ebsdarchive.archive.output import open_for_writing
from ebsdarchive.archive.remote import is_url, open_remote, require_local
from ebsdarchive.errors import ArchiveError, EbsdArchiveError, OutputError

__all__ = [
    "cloned",
    "errors_of",
    "file_sha256",
    "flush",
    "identity",
    "open_for_reading",
    "open_for_writing",
    "parts_sha256",
    "replacing",
]

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_CLONE = 0x40049409  # Linux FICLONE: share the blocks of a file where the file system can


@contextlib.contextmanager
def replacing(
    target: str | os.PathLike[str],
    *,
    force: bool = False,
    start_from_target: bool = False,
    check: Callable[[Path], None] | None = None,
) -> Iterator[Path]:
    """Give a temporary path to write to; on success it takes the target's place.

    Parameters
    ----------
    force
        Whether an existing target may be replaced.
    start_from_target
        Whether the temporary file starts as a copy of the target (which may then be replaced).
    check
        Called with the finished temporary file before it takes the target's place; what it raises
        prevents that.

    Raises
    ------
    OutputError
        If the target exists, the place cannot be written, the disk is full, or the target was
        changed by someone else meanwhile. In every case the target is left as it was.
    """
    require_local(target)
    path = Path(target)
    if path.is_symlink():
        path = path.resolve()  # the file is replaced, not the link to it
    if path.is_dir():
        raise OutputError(f"{path}: expected a file name, found a folder")
    if path.exists() and not (force or start_from_target):
        raise OutputError(f"{path}: expected no such file, found one; use --force to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: expected an existing folder {path.parent}, found none")
    before = identity(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with errors_of(path, temporary):
            with interrupts_kept():
                if start_from_target:
                    _copy(path, temporary)
                else:
                    temporary.touch(exist_ok=False)
                yield temporary
                if check is not None:
                    check(temporary)
                flush(temporary)
            if identity(path) != before:
                raise OutputError(
                    f"{path}: expected the file as it was at the start, found it changed by "
                    f"another program; nothing was written, start again"
                )
            if path.exists():
                shutil.copymode(path, temporary)
            os.replace(temporary, path)
            if os.name == "posix":
                flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def open_for_reading(path: str | os.PathLike[str]) -> h5py.File:
    """An existing HDF5 file or URL of one, opened so that nothing can be written to it.

    Raises
    ------
    ArchiveError
        If there is no such file, or it is not HDF5.
    """
    name = os.fspath(path)
    if not is_url(name):
        if not os.path.exists(name):
            raise ArchiveError(f"{name}: expected a file, found none")
        if os.path.isdir(name):
            raise ArchiveError(f"{name}: expected a file, found a folder")
    try:
        if is_url(name):
            return h5py.File(open_remote(name), "r")
        return h5py.File(name, "r", locking="best-effort")
    except PermissionError as error:
        raise ArchiveError(f"{name}: expected a readable file, found no permission") from error
    except OSError as error:
        reason = str(error).splitlines()[0]
        if "truncated" in reason:
            reason = "a truncated HDF5 file; copy it again from its source"
        elif "file signature not found" in reason:
            reason = "something else; is this an archive?"
        raise ArchiveError(f"{name}: expected an HDF5 file, found {reason}") from error


def file_sha256(path: str | os.PathLike[str], progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a whole file, in hexadecimal; `progress` is told the bytes read so far."""
    sha = hashlib.sha256()
    done = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            sha.update(block)
            done += len(block)
            if progress is not None:
                progress(done)
    return sha.hexdigest()


def parts_sha256(folder: str | os.PathLike[str], parts: Sequence[str]) -> str:
    """SHA-256 of files in a folder: that of the lines that sha256sum writes of them.

    `parts` are paths in the folder; lines stand in the order of their names as bytes.
    """
    sha = hashlib.sha256()
    for part in sorted(parts, key=os.fsencode):
        line = f"{file_sha256(os.path.join(folder, part))}  ".encode() + os.fsencode(part) + b"\n"
        sha.update(line)
    return sha.hexdigest()


def identity(path: Path) -> tuple[int, ...] | None:
    """What tells a file from the same path written anew; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _copy(source: Path, target: Path) -> None:
    """Copy a file: by sharing its blocks where the file system can, else byte by byte."""
    with open(source, "rb") as old, open(target, "xb") as new:
        if not cloned(old, new):
            shutil.copyfileobj(old, new, 1 << 22)


def cloned(old: IO[bytes], new: IO[bytes]) -> bool:
    """Let an empty file share the blocks of another, and say whether the file system could."""
    try:
        import fcntl

        fcntl.ioctl(new.fileno(), _CLONE, old.fileno())
    except (ImportError, OSError):
        return False
    return True


def flush(path: Path) -> None:
    """Bring what was written of a file or folder to the disk."""
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def errors_of(target: Path, temporary: Path) -> Iterator[None]:
    """Errors of writing a temporary file or folder, as those of the target that the user knows."""
    try:
        yield
    except EbsdArchiveError as error:
        text = str(error).replace(os.fspath(temporary), os.fspath(target))
        raise type(error)(text) from error
    except (OSError, RuntimeError) as error:
        raise _output_error(target, temporary, error) from error


def _output_error(path: Path, temporary: Path, error: OSError | RuntimeError) -> Exception:
    """The user's error for a failed write; other errors are returned as they are."""
    text = str(error)
    number = getattr(error, "errno", None)
    if number in _FULL or any(
        words in text for words in ("No space left", "quota exceeded", "File too large")
    ):
        free = shutil.disk_usage(path.parent).free
        return OutputError(
            f"{path}: expected room for the file, found the disk or a size limit full "
            f"({free / 1e6:.0f} MB free); nothing was changed, free some space"
        )
    named = os.fspath(getattr(error, "filename", None) or "")
    unwritable = number in (errno.EACCES, errno.EPERM, errno.EROFS)
    if number is not None and (unwritable or named.startswith(os.fspath(temporary))):
        return OutputError(
            f"{path}: expected a place that can be written, found {os.strerror(number)}; "
            f"choose another with -o"
        )
    return error
