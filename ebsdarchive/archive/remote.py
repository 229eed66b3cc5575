"""Files on servers, read in ranges of bytes: what was fetched is kept for a while, and shared.

HDF5 reads a few hundred bytes here and there, and archives are opened anew for every read. Both
cost nothing as long as the bytes are kept in this process. Transport is fsspec's; this decides what
to ask for, and never mixes two states of a file.
"""

from __future__ import annotations

import gc
import io
import math
import os
import re
import string
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from ebsdarchive.errors import ArchiveError, OutputError

__all__ = ["is_url", "open_remote", "require_local"]

_BLOCK = 16 << 10  # what is kept and asked for, at least: a few patterns
_FIRST = 1 << 20  # the first request: a file laid out for this has its metadata there
_MOST_AHEAD = 4 << 20  # the most that is fetched beyond what was asked for, in a row of reads
_KEPT_BLOCKS = (64 << 20) // _BLOCK
_KEPT_FILES = 8
_WAIT_S = 60.0  # for a server that says nothing
_TRUSTED_S = 30.0  # after this, a file is asked again whether it is still the same

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # pathlib leaves one of the two slashes
_files: OrderedDict[str, _RemoteFile] = OrderedDict()
_files_lock = threading.Lock()


def is_url(path: object) -> bool:
    """Whether a path is a URL, such as https://…, and not a file of this machine."""
    return isinstance(path, str) and _URL.match(path) is not None and "://" in path


def require_local(path: str | os.PathLike[str]) -> None:
    """Raise OutputError if a file that is to be written, or added to, is on a server."""
    if _URL.match(os.fspath(path)):
        raise OutputError(
            f"{os.fspath(path)}: expected a file on this machine to write to, found a URL; URLs "
            f"are only read, download the file first"
        )


def open_remote(url: str) -> io.RawIOBase:
    """A file object that reads a URL by ranges.

    Raises
    ------
    ArchiveError
        If there is no such file, the server does not answer or sends no parts of files, or what
        fsspec needs for the protocol is not installed; once, if the file has changed since this
        process read of it. So does reading.
    """
    url = quote(url, safe=string.printable)  # HDF5 knows files by names in ASCII
    with _files_lock:
        file = _files.get(url)
        if file is not None and not file.is_current():
            del _files[url]  # what was read of it before may still be in use
            raise ArchiveError(_changed(url))
        if file is None:
            file = _files[url] = _RemoteFile(url)
        _files.move_to_end(url)
        while len(_files) > _KEPT_FILES:
            _files.popitem(last=False)
    return _Reader(file)


class _RemoteFile:
    """One state of a file on a server, and those of its blocks that were fetched last."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lock = threading.Lock()
        self.blocks: OrderedDict[int, bytes] = OrderedDict()
        self.after_last, self.ahead = 0, _FIRST  # where the last request ended; how far to go on
        with _explained(url):
            self.system, self.place = _system(url)
            self.said = self.system.info(self.place)
            self.checked = time.monotonic()
            if self.said.get("type") == "directory":
                raise ArchiveError(f"{url}: expected a file, found a folder")
            size = self.said.get("size")
            if size is None or self.said.get("partial") is False:
                raise ArchiveError(_no_ranges(url))
            self.size = int(size)
            self.handle = self.system.open(
                self.place, "rb", cache_type="none", **self._on_condition()
            )

    def _on_condition(self) -> dict[str, Any]:
        """What makes an HTTP server refuse to send parts of a file that has changed."""
        if not self.url.lower().startswith("http"):
            return {}
        headers = {"Accept-Encoding": "identity"}
        tag, date = self.said.get("ETag"), self.said.get("Last-Modified")
        if tag is not None and not tag.startswith("W/"):
            headers["If-Match"] = tag
        elif date is not None:
            headers["If-Unmodified-Since"] = date
        return {"headers": headers, "size": self.size}

    def is_current(self) -> bool:
        """Whether the file was on the server in this state, a moment ago or now."""
        if time.monotonic() - self.checked < _TRUSTED_S:
            return True
        with _explained(self.url):
            self.system.invalidate_cache()
            now = self.system.info(self.place)
        self.checked = time.monotonic()
        return _state(now) == _state(self.said)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes `start` … `stop` - 1, of which those that are not there any more are fetched."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        with self.lock:
            numbers = range(start // _BLOCK, (stop - 1) // _BLOCK + 1)
            found = {n: self.blocks[n] for n in numbers if n in self.blocks}
            for first, last in _runs([n for n in numbers if n not in found]):
                fetched = self._fetch(first, last)
                found |= {n: fetched[n] for n in range(first, last + 1)}
            for n in numbers:
                self.blocks.move_to_end(n)
            while len(self.blocks) > max(_KEPT_BLOCKS, len(numbers)):
                self.blocks.popitem(last=False)
        skipped = numbers[0] * _BLOCK
        return b"".join(found[n] for n in numbers)[start - skipped : stop - skipped]

    def _fetch(self, first: int, last: int) -> dict[int, bytes]:
        """Blocks `first` … `last`, and more after them where reading goes on from the last ones."""
        start, stop = first * _BLOCK, (last + 1) * _BLOCK
        if start == self.after_last:
            stop += self.ahead
            self.ahead = min(2 * max(self.ahead, stop - start), _MOST_AHEAD)
        else:
            self.ahead = _BLOCK
        stop = min(stop, self.size)
        checked, self.checked = self.checked, -math.inf  # after a failure, it is looked at again
        with _explained(self.url), _collector_resting():
            self.handle.seek(start)
            data = self.handle.read(stop - start)
        self.checked = checked
        if len(data) != stop - start:
            raise ArchiveError(
                f"{self.url}: expected {stop - start} bytes at {start}, found {len(data)}; "
                f"start again"
            )
        self.after_last = stop
        fetched = {
            (start + at) // _BLOCK: data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK)
        }
        self.blocks.update(fetched)
        return fetched


class _Reader(io.RawIOBase):
    """A remote file with a position of its own, as h5py's fileobj driver wants it."""

    def __init__(self, file: _RemoteFile) -> None:
        self._file, self._position = file, 0

    def __repr__(self) -> str:
        return self._file.url  # the name that HDF5 and h5py know the file by

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(self._position, self._position + len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _system(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the name of the file there."""
    try:
        import fsspec

        options: dict[str, Any] = {}
        if url.lower().startswith("http"):
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_WAIT_S, sock_read=_WAIT_S)
            options["client_kwargs"] = {"timeout": timeout}
        system, place = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        extra = "ebsdarchive[remote]" if url.lower().startswith("http") else "what it names"
        reason = str(error).splitlines()[0]
        raise ArchiveError(
            f"{url}: expected fsspec and what it needs for this protocol, found: {reason}; "
            f"install {extra}"
        ) from error
    except ValueError as error:
        raise ArchiveError(
            f"{url}: expected a protocol that fsspec knows, such as https, found: {error}"
        ) from error
    return system, place


def _state(said: dict[str, Any]) -> tuple[Any, ...]:
    """What a server says of a file that changes when the file does."""
    names = ("size", "ETag", "Last-Modified", "Content-MD5", "Digest", "LastModified", "mtime")
    return tuple(said.get(name) for name in names)


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of consecutive numbers, which ascend."""
    if not numbers:
        return
    first = last = numbers[0]
    for n in numbers[1:]:
        if n != last + 1:
            yield first, last
            first = n
        last = n
    yield first, last


def _changed(url: str) -> str:
    return f"{url}: expected the file as it was when it was first read, found another; start again"


def _no_ranges(url: str) -> str:
    return (
        f"{url}: expected a server that sends parts of files (HTTP range requests), found one that "
        f"does not; download the file and open that"
    )


@contextmanager
def _collector_resting() -> Iterator[None]:
    """No garbage collection while HDF5 waits for bytes.

    fsspec fetches in a thread of its own. If that thread came to collect an HDF5 object, it would
    wait for h5py's lock, which this thread holds until the bytes are there: for ever.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what fsspec and its clients raise into an ArchiveError that names the URL."""
    try:
        yield
    except ArchiveError:
        raise
    except Exception as error:  # each protocol has errors of its own
        raise ArchiveError(_explanation(url, error)) from error


def _explanation(url: str, error: BaseException) -> str:
    """One line on a failed request."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)  # fsspec calls a server that is down a missing file
    status = next((s for e in causes if (s := getattr(e, "status", None))), None)
    root = causes[-1]
    if status == 412:
        return _changed(url)
    if status in (401, 403):
        return f"{url}: expected a file that may be read, found no permission (HTTP {status})"
    if status == 404 or (status is None and isinstance(root, FileNotFoundError)):
        return f"{url}: expected a file, found none"
    if status is not None:
        return f"{url}: expected the file, found the answer HTTP {status}; try again later"
    if isinstance(root, ValueError) and "range" in str(root):
        return _no_ranges(url)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return f"{url}: expected an answer from the server, found none in time; try again later"
    reason = str(root).splitlines()[0] if str(root) else type(root).__name__
    return f"{url}: expected an answer from the server, found none ({reason}); check the address"


def _forget() -> None:
    """Connections do not survive in a forked process."""
    global _files_lock
    _files.clear()
    _files_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
