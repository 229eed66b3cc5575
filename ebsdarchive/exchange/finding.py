"""Scans in folders: which files and folders of images are scans, and which only lie beside them.

What the caller names is a scan, whatever it is called; a folder is walked. There, files that may be
anything (.h5, .nc, .dat) are scans where they hold patterns. Whatever is passed over is listed with
the reason, so that no data are left out in silence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ebsdarchive.archive.file import is_archive
from ebsdarchive.archive.folder import ARCHIVES_RECORD, EXPORTS_RECORD
from ebsdarchive.errors import EbsdArchiveError
from ebsdarchive.exchange import open_scan
from ebsdarchive.exchange.readable import (
    IMAGES,
    READABLE,
    NoPatternsError,
    module_of,
    readable_for,
)

__all__ = ["Found", "FoundFile", "PassedOver", "find_archives", "find_scans", "is_scan_folder"]

_FILES = {ending for entry in READABLE if not entry.folder for ending in entry.endings}
_APEX = ".edaxh5"
_ARCHIVES = (".archive.h5", ".archive.hdf5")


@dataclass(frozen=True)
class FoundFile:
    """A scan, or an archive.

    Parameters
    ----------
    path
        The file, or the folder.
    place
        Its path below the folder that the caller named; its name where it was named itself.
    scan, number
        Its name, and its number from 1, in a file with several; else None and 1.
    is_named
        Whether the caller named it.
    """

    path: Path
    place: Path
    scan: str | None = None
    number: int = 1
    is_named: bool = False

    @property
    def title(self) -> str:
        """What to call it: the place, and the scan of a file with several."""
        return str(self.place) if self.scan is None else f"{self.place} [{self.scan}]"


@dataclass(frozen=True)
class PassedOver:
    """A file or folder that is not taken for a scan, and why."""

    path: Path
    reason: str


@dataclass
class Found:
    """What was found, in the order in which it was named, and by name in folders.

    `closed` are folders that could not be looked into.
    """

    files: list[FoundFile] = field(default_factory=list)
    passed_over: list[PassedOver] = field(default_factory=list)
    closed: list[PassedOver] = field(default_factory=list)


@dataclass
class _Folder:
    """A folder on the way: its files but images, and how many images."""

    path: Path
    files: list[Path] = field(default_factory=list)
    images: int = 0
    is_zarr: bool = False


def is_scan_folder(path: Path) -> bool:
    """Whether a folder is one scan: Zarr, or images and no files of other formats, nor below."""
    found = Found()
    first = next(_folders(path, None, found), None)
    if first is None or not (first.is_zarr or first.images):
        return False
    return any(one.path == path for one in _walked(path, None, found))


def find_scans(sources: Sequence[Path], leave_out: Path | None = None) -> Found:
    """The scans of files and folders.

    Parameters
    ----------
    sources
        Files and folders. A file that does not exist or cannot be read is listed all the same, for
        whoever opens it to say so.
    leave_out
        A folder below the sources not to look into: the one that archives are written to.
    """
    found = Found()
    candidates: list[FoundFile] = []
    for source in sources:
        if source.is_dir():
            candidates += _walked(source, leave_out, found)
        else:
            candidates.append(FoundFile(source, Path(source.name), is_named=True))
    candidates = _once(candidates)
    joined = _joined(candidates)
    for one in candidates:
        of_map = joined.get(one.path.resolve())
        if of_map is not None:
            found.passed_over.append(PassedOver(one.path, f"the patterns of {of_map.name}"))
            continue
        try:
            found.files += _scans_of(one)
        except NoPatternsError as error:
            found.passed_over.append(PassedOver(one.path, _found_instead(error)))
    return found


def find_archives(sources: Sequence[Path], leave_out: Path | None = None) -> Found:
    """The archives among files and in folders; a file that is named is taken for one."""
    found = Found()
    named: list[FoundFile] = []
    for source in sources:
        if not source.is_dir():
            named.append(FoundFile(source, Path(source.name), is_named=True))
            continue
        for folder in _folders(source, leave_out, found):
            for file in folder.files:
                if _is_called_archive(file) or (
                    file.suffix.lower() in (".h5", ".hdf5") and is_archive(file)
                ):
                    named.append(FoundFile(file, file.relative_to(source)))
                else:
                    found.passed_over.append(PassedOver(file, "no archive"))
    found.files = _once(named)
    return found


def _walked(root: Path, leave_out: Path | None, found: Found) -> list[FoundFile]:
    """Candidates below a folder: files of known endings, Zarr, and folders of images."""
    folders = list(_folders(root, leave_out, found))
    above_scans: set[Path] = set()  # folders that hold a scan of another format, somewhere below
    for folder in folders if any(folder.images for folder in folders) else ():
        if folder.is_zarr or any(map(_holds_patterns, folder.files)):
            above_scans |= {folder.path, *folder.path.parents}
    candidates: list[FoundFile] = []
    for folder in folders:
        is_root = folder.path == root
        place = Path(root.resolve().name) if is_root else folder.path.relative_to(root)
        whole = FoundFile(folder.path, place, is_named=is_root)
        if folder.is_zarr:
            candidates.append(whole)
            continue
        if folder.path not in above_scans and folder.images > (0 if len(folders) == 1 else 1):
            candidates.append(whole)
        elif folder.images:
            found.passed_over.append(
                PassedOver(folder.path, f"images of no scan ({folder.images})")
            )
        for file in folder.files:
            if _is_called_archive(file):
                found.passed_over.append(PassedOver(file, "an archive"))
            elif _is_readable(file):
                candidates.append(FoundFile(file, file.relative_to(root)))
            else:
                ending = file.suffix.lower() or "no ending"
                found.passed_over.append(PassedOver(file, f"no format that is read ({ending})"))
    return candidates


def _folders(root: Path, leave_out: Path | None, found: Found) -> Iterator[_Folder]:
    """A folder and all below it, but hidden ones; each once, whatever links lead to it."""
    left_out = None if leave_out is None else leave_out.resolve()
    waiting, seen = [root], set()
    while waiting:
        path = waiting.pop()
        real = path.resolve()
        if real in seen or (path != root and real == left_out):
            continue
        seen.add(real)
        folder = _Folder(path)
        below: list[Path] = []
        try:
            with os.scandir(path) as entries:
                for item in entries:
                    if item.name in (ARCHIVES_RECORD, EXPORTS_RECORD):
                        continue
                    if item.name.startswith("."):
                        folder.is_zarr |= item.name in (".zgroup", ".zarray")
                    elif item.is_dir():
                        below.append(path / item.name)
                    elif Path(item.name).suffix.lower() in IMAGES:
                        folder.images += 1
                    else:
                        folder.files.append(path / item.name)
                        folder.is_zarr |= item.name == "zarr.json"
        except OSError as error:
            found.closed.append(PassedOver(path, error.strerror or "an error"))
            continue
        folder.is_zarr |= path.suffix.lower() == ".zarr"
        folder.files.sort()
        yield folder
        if not folder.is_zarr:
            waiting += sorted(below, reverse=True)


def _once(candidates: Sequence[FoundFile]) -> list[FoundFile]:
    """Without those that were found before; one that is named as well counts as named."""
    first: dict[Path, FoundFile] = {}
    for one in candidates:
        known = first.setdefault(one.path.resolve(), one)
        if one.is_named and not known.is_named:
            first[one.path.resolve()] = replace(known, is_named=True)
    return list(first.values())


def _joined(candidates: Sequence[FoundFile]) -> dict[Path, Path]:
    """Pattern files that are read with an APEX map, and the file of the map."""
    joined: dict[Path, Path] = {}
    for one in candidates:
        if one.path.suffix.lower() != _APEX:
            continue
        try:
            for scan in module_of(readable_for(one.path)).names_with_patterns(one.path):
                patterns = open_scan(one.path, scan=scan).source.path
                if patterns is not None:
                    joined[Path(patterns).resolve()] = one.path
        except (EbsdArchiveError, OSError):
            continue  # its patterns are scans of their own
    return joined


def _scans_of(one: FoundFile) -> list[FoundFile]:
    """The scans of a file; the file as it is where it cannot be read.

    Raises NoPatternsError where it holds none and nobody named it.
    """
    try:
        module = module_of(readable_for(one.path))
        every = module.scan_names(one.path)
        names = getattr(module, "names_with_patterns", module.scan_names)(one.path)
    except NoPatternsError:
        if one.is_named:
            return [one]
        raise
    except (EbsdArchiveError, OSError):
        return [one]
    if len(every) == 1:
        return [one]
    return [replace(one, scan=name, number=every.index(name) + 1) for name in names]


def _found_instead(error: NoPatternsError) -> str:
    """What an error says that was found, for a list that names the file beside."""
    return f"no patterns: found {str(error).rpartition('found ')[2].partition(';')[0]}"


def _is_readable(path: Path) -> bool:
    return path.suffix.lower() in _FILES and not _is_called_archive(path)


def _holds_patterns(path: Path) -> bool:
    """Whether a file is a scan; one that is broken counts as such."""
    if not _is_readable(path):
        return False
    try:
        return bool(_scans_of(FoundFile(path, path)))
    except NoPatternsError:
        return False


def _is_called_archive(path: Path) -> bool:
    return path.name.lower().endswith(_ARCHIVES)
