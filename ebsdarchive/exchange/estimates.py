"""Which patterns of a file are estimates from their neighbours: never passed off as measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.exchange.columns import Column

__all__ = ["Estimates"]


@dataclass(frozen=True)
class Estimates:
    """Which patterns of a file were filled, and which could not be.

    Parameters
    ----------
    reasons
        Why points were not trusted, as `query` and `export` were told.
    filled
        (n,) patterns that take something of a filled point.
    left
        (n,) patterns that take something of a point that is not trusted either, but has sound ones
        on one side at most and was left as it is.
    """

    reasons: tuple[str, ...]
    filled: npt.NDArray[np.bool_]
    left: npt.NDArray[np.bool_]

    def record(self) -> dict[str, Any]:
        """Plain values for a file, without the patterns one by one."""
        return {
            "estimated_where": list(self.reasons),
            "estimated_by": "linear mix of the layer's patterns at sound points on both sides",
            "estimated_patterns": int(self.filled.sum()),
            "left_without_neighbours": int(self.left.sum()),
        }

    def lists(self) -> dict[str, list[int]]:
        """Indices of the patterns, in the order of the file."""
        return {
            "estimated": np.flatnonzero(self.filled).tolist(),
            "left": np.flatnonzero(self.left).tolist(),
        }

    def columns(self) -> tuple[Column, ...]:
        """(n,) 1 where so, 0 elsewhere."""
        filled, left = self.filled.astype(np.uint8), self.left.astype(np.uint8)
        return (
            Column("estimated", filled, "1", "mixed of the patterns at sound points"),
            Column("left_without_neighbours", left, "1", "not trusted, and left as it is"),
        )
