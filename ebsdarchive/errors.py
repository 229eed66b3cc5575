"""Every error a user can meet, each with the exit code that the command line returns for it.

A message is one line: ``where: expected <rule>, found <value>; <what to do>``.
"""

from __future__ import annotations

__all__ = [
    "ArchiveError",
    "ArgumentError",
    "CorruptionError",
    "EbsdArchiveError",
    "FitError",
    "FormatError",
    "GeometryError",
    "MissingLayerError",
    "OutputError",
    "VersionError",
]


class EbsdArchiveError(Exception):
    """Base of all errors that this package raises on purpose."""

    exit_code = 1


class ArgumentError(EbsdArchiveError):
    """What the caller asked for makes no sense (click uses the same exit code)."""

    exit_code = 2


class FormatError(EbsdArchiveError):
    """A source file is not what its format says, or is of no known format."""

    exit_code = 3


class ArchiveError(EbsdArchiveError):
    """A file is not an archive, or lacks what the schema requires."""

    exit_code = 4


class VersionError(ArchiveError):
    """An archive, or an element in it, is of a version that is not known here."""

    exit_code = 5


class CorruptionError(ArchiveError):
    """Stored bytes do not match their checksum or digest."""

    exit_code = 6


class MissingLayerError(ArchiveError):
    """The archive is sound but does not hold the layer that was asked for."""

    exit_code = 7


class GeometryError(EbsdArchiveError):
    """A position, grid or projection centre is outside what the scan allows."""

    exit_code = 8


class OutputError(EbsdArchiveError):
    """A result cannot be written: it exists, the disk is full or the place is read-only."""

    exit_code = 9


class FitError(EbsdArchiveError):
    """The neural field could not be fitted to the scan, or a network not be trained."""

    exit_code = 10
