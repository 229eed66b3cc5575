"""What readers say of a source: metadata as plain JSON values, and damage as one line."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.archive.conformity import plain
from ebsdarchive.errors import ArchiveError, EbsdArchiveError, FormatError

__all__ = ["first_line", "json_values", "sound", "utf8"]


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Turn what libraries raise on a damaged file into a FormatError."""
    try:
        yield
    except ArchiveError as error:
        raise FormatError(str(error)) from error
    except EbsdArchiveError:
        raise
    except (
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        struct.error,
        OverflowError,
    ) as error:
        raise FormatError(
            f"{path}: expected a sound file, found: {first_line(error)}; is the file complete?"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    lines = str(error).strip("'\"\n ").splitlines()
    return lines[0] if lines else type(error).__name__


def json_values(tree: Any, limit: int = 64) -> Any:
    """Plain JSON values; long arrays are named by their shape, since the source's copy has them."""
    if isinstance(tree, dict):
        return {str(key): json_values(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [json_values(value) for value in tree]
    if isinstance(tree, np.ndarray):
        if tree.size > limit:
            return f"array of {tree.dtype} {tree.shape}"
        return json_values(tree.tolist())
    value = plain(tree)
    if isinstance(value, str):
        return utf8(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def utf8(text: str) -> str:
    """Text that was taken for Latin-1 although it is UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text
