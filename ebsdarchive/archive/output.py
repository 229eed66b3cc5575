"""A file for HDF5 to write to, that fails in Python and never in HDF5.

HDF5 does not survive a write that fails: on a full disk it reports to nobody, and ends the process
with a segmentation fault when it closes the file. So it writes to an object that takes everything.
The first error is kept, what could not be written stays in memory, and whoever writes asks
`stop_if_failed` between blocks.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ebsdarchive.archive.interrupts import interrupts_postponed

__all__ = ["open_for_writing", "stop_if_failed"]

LIBVER = ("earliest", "v108")
PAGED_LIBVER = ("v110", "v110")  # the first to have pages, and indices of chunks in one piece
_KEEP_BYTES = 256 << 20  # far more than HDF5 has in its caches


class _PatientFile:
    """The object that HDF5 writes to; its methods are those that h5py's fileobj driver calls."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: OSError | None = None
        self._file = io.FileIO(path, "r+")
        self._position = 0
        self._size = os.path.getsize(path)
        self._unwritten: list[tuple[int, bytes]] = []
        self._kept_bytes = 0

    def __repr__(self) -> str:
        return str(self.path)  # the name that HDF5 and h5py know the file by

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (self._size if whence == io.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def write(self, data: memoryview) -> int:
        """Write all of `data`, or keep it."""
        done = 0
        try:
            if self.error is None:
                self._file.seek(self._position)
                while done < len(data):
                    done += self._file.write(data[done:]) or 0
        except OSError as error:
            self.error = error
        if self.error is not None and self._kept_bytes < _KEEP_BYTES:
            self._unwritten.append((self._position, bytes(data)))
            self._kept_bytes += len(data)
        self._position += len(data)
        self._size = max(self._size, self._position)
        return len(data)

    def read(self, size: int) -> bytes:
        """The next bytes; h5py takes for a file what has this method."""
        buffer = bytearray(size)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` with what was written, and with zeros where nothing was."""
        start, done = self._position, 0
        try:
            self._file.seek(start)
            while done < len(buffer) and (count := self._file.readinto(buffer[done:])):
                done += count
        except OSError as error:
            self.error = self.error or error
        buffer[done:] = bytes(len(buffer) - done)
        for offset, data in self._unwritten:
            first, last = max(offset, start), min(offset + len(data), start + len(buffer))
            if first < last:
                buffer[first - start : last - start] = data[first - offset : last - offset]
        self._position += len(buffer)
        return len(buffer)

    def truncate(self, size: int) -> int:
        try:
            if self.error is None:
                self._file.truncate(size)
        except OSError as error:
            self.error = error
        self._size = size
        return size

    def flush(self) -> None:
        """Nothing is buffered here."""

    def close(self) -> None:
        """Close the file; the system may tell only now that it was not written."""
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or error


_METHODS = {
    method.__code__ for method in vars(_PatientFile).values() if hasattr(method, "__code__")
}
_being_written: list[_PatientFile] = []


@contextmanager
def open_for_writing(
    path: Path, mode: str = "w", *, page_bytes: int | None = None
) -> Iterator[h5py.File]:
    """A new HDF5 file ("w"), or an existing one to add to ("r+"), that HDF5 1.8 and later can read.

    Parameters
    ----------
    page_bytes
        Of a file of pages, which HDF5 1.10 and later read: their size.

    Raises
    ------
    OSError
        If anything could not be written; the file is closed and of no use then.
    """
    path.touch()
    output = _PatientFile(path)
    _being_written.append(output)
    options: dict[str, Any] = {"libver": LIBVER if page_bytes is None else PAGED_LIBVER}
    if page_bytes is not None and mode == "w":
        options |= {"fs_strategy": "page", "fs_page_size": page_bytes}
    try:
        with interrupts_postponed(_METHODS), h5py.File(output, mode, **options) as file:
            yield file
    finally:
        _being_written.remove(output)
        output.close()
    if output.error is not None:
        raise output.error


def stop_if_failed() -> None:
    """Raise the error of a file that is being written and failed; to be called between blocks."""
    for output in _being_written:
        if output.error is not None:
            raise output.error
