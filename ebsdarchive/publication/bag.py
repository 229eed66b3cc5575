"""Checksums of a package, and BagIt 1.0 (RFC 8493): a bag holds the package in `data/`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["MANIFEST", "strangers_in", "write_bag_tags", "write_manifest"]

MANIFEST = "manifest-sha256.txt"
_TAGS = {"bagit.txt", "bag-info.txt", "tagmanifest-sha256.txt", MANIFEST}


def write_manifest(folder: Path, digests: Mapping[str, str]) -> None:
    """Write the SHA-256 of every file, by its path below the folder, as `sha256sum -c` reads it."""
    lines = [f"{digest}  {_encoded(name)}\n" for name, digest in sorted(digests.items())]
    _write(folder / MANIFEST, "".join(lines))


def write_bag_tags(
    folder: Path, digests: Mapping[str, str], size: int, said: Mapping[str, str | None]
) -> None:
    """Make a bag of a folder whose payload is in `data/`.

    Parameters
    ----------
    digests
        SHA-256 of every payload file, by its path below the folder.
    size
        Bytes of the payload.
    said
        Entries of bag-info.txt; those that are None are left out.
    """
    from ebsdarchive import __version__

    write_manifest(folder, digests)
    _write(folder / "bagit.txt", "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    entries = {
        **said,
        "Bagging-Date": datetime.now(UTC).date().isoformat(),
        "Bag-Software-Agent": f"ebsdarchive {__version__}",
        "Payload-Oxum": f"{size}.{len(digests)}",
    }
    lines = [f"{key}: {' '.join(value.split())}\n" for key, value in entries.items() if value]
    _write(folder / "bag-info.txt", "".join(lines))
    tags = sorted(_TAGS - {"tagmanifest-sha256.txt"})
    digested = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in tags]
    _write(folder / "tagmanifest-sha256.txt", "".join(digested))


def strangers_in(folder: Path) -> list[str]:
    """Files in a folder that no package lists as its own; all of them where it is no package."""
    manifest = folder / MANIFEST
    listed = set()
    if manifest.is_file():
        lines = manifest.read_text(encoding="utf-8", errors="replace").splitlines()
        listed = {_decoded(line.partition("  ")[2]) for line in lines} | _TAGS
    names = [item.relative_to(folder).as_posix() for item in folder.rglob("*") if _is_leaf(item)]
    return sorted(set(names) - listed)


def _is_leaf(item: Path) -> bool:
    return item.is_symlink() or not item.is_dir()


def _encoded(name: str) -> str:
    return name.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")


def _decoded(name: str) -> str:
    return name.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
