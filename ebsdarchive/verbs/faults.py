"""Errors of the system and of libraries, in the words and exit codes of our own."""

from __future__ import annotations

from ebsdarchive.errors import EbsdArchiveError, OutputError

__all__ = ["as_error"]


def as_error(error: Exception) -> EbsdArchiveError:
    """Any error as one with a single line and an exit code."""
    if isinstance(error, EbsdArchiveError):
        return error
    if isinstance(error, MemoryError):
        return EbsdArchiveError("expected enough memory, found too little; close other programs")
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, OSError):
        where = error.filename if error.filename is not None else "input or output"
        return OutputError(
            f"{where}: expected to read or write it, found: {error.strerror or lines[0]}"
        )
    return EbsdArchiveError(
        f"expected no fault of this program, found {type(error).__name__}: {lines[0]}; please "
        f"report it"
    )
