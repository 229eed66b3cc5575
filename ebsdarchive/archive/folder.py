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

from ebsdarchive.archive.store import cloned, file_sha256, flush, identity, output_error
from ebsdarchive.errors import OutputError

__all__ = ["copied_into", "replacing_folder"]

_BLOCK_BYTES = 1 << 22
Progress = Callable[[float, float], None]


@contextlib.contextmanager
def replacing_folder(
    target: str | os.PathLike[str], *, force: bool, strangers: Callable[[Path], list[str]]
) -> Iterator[Path]:
    """Give a new folder beside the target to write to; on success it takes the target's place.

    Parameters
    ----------
    force
        Whether a target that exists may be replaced.
    strangers
        Called with a target that exists; names what in it would be lost, which prevents it.

    Raises
    ------
    OutputError
        If the target exists, holds other files, or the place cannot be written. The target is left
        as it was.
    """
    path = Path(os.path.abspath(target))
    _require_free(path, force, strangers)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        temporary.mkdir()
        yield temporary
        for item in sorted(temporary.rglob("*")):
            flush(item)
        flush(temporary)
        _require_free(path, force, strangers)  # others may have written there meanwhile
        _take_place(temporary, path)
        flush(path.parent)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _require_free(path: Path, force: bool, strangers: Callable[[Path], list[str]]) -> None:
    if path.is_symlink() or path.is_file():
        raise OutputError(f"{path}: expected a name for a folder, found a file or link")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: expected an existing folder {path.parent}, found none")
    if not path.exists() or not any(path.iterdir()):
        return
    if not force:
        raise OutputError(f"{path}: expected no such folder, found one; use --force to replace it")
    found = strangers(path)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise OutputError(
            f"{path}: expected a package of `publish` and nothing else, found "
            f"{', '.join(found[:3])}{more}; choose another folder with -o"
        )


def _take_place(temporary: Path, path: Path) -> None:
    """Move a folder to where another may be, which is put aside first and deleted last."""
    if not path.exists():
        os.rename(temporary, path)
        return
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.replaced")
    os.rename(path, aside)
    try:
        os.rename(temporary, path)
    except BaseException:
        os.rename(aside, path)
        raise
    shutil.rmtree(aside)


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
