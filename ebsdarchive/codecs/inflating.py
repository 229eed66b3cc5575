"""Deflated bytes of a file that may lie about their size, as bytes again."""

from __future__ import annotations

import zlib

__all__ = ["inflated"]


def inflated(data: bytes, most: int) -> bytes:
    """Inflated bytes; what would grow beyond `most` is refused before it takes memory.

    Raises
    ------
    ValueError
        If there are more, or the bytes are damaged or go on behind their end.
    """
    inflater = zlib.decompressobj()
    try:
        out = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(out) > most or not inflater.eof or inflater.unused_data:
        raise ValueError(f"more than {most} bytes, or no end where it should be")
    return out
