"""Restoring a scan block by block: whole scan rows with the halo that the method asks for.

Blocks grow while they are quick and shrink where they are slow or memory is short; no estimate
depends on them. What is lost is given back as measured, and so are unlit pixels.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import EbsdArchiveError
from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.measured import Measured, lost_patterns
from ebsdarchive.restorers.restorer import WEAK, Estimate, Field, Restorer, Surroundings

__all__ = ["Block", "restored_blocks"]

BLOCK_BYTES = 64 << 20  # of a block with its halo, as float32
QUICK_S, SLOW_S = 5.0, 30.0


@dataclass(frozen=True)
class Block:
    """The estimates of some scan rows.

    Parameters
    ----------
    first_row, last_row
        Rows of the scan, the last one not included.
    start, stop
        Indices of their patterns.
    measured, estimate
        (n, sy, sx) patterns as they are in the source, and what became of them; with flags wherever
        the method gives any, or a pattern is lost.
    lost
        (n,) patterns that show nothing and are given back as measured.
    mean_uncertainty
        (n,) over the lit pixels; None where the method knows none.
    """

    first_row: int
    last_row: int
    start: int
    stop: int
    measured: npt.NDArray
    estimate: Estimate
    lost: npt.NDArray[np.bool_]
    mean_uncertainty: npt.NDArray[np.float32] | None


def restored_blocks(
    restorer: Restorer,
    measured: Measured,
    grid: Grid,
    *,
    field: Field | None = None,
    seed: int = 0,
    first_row: int = 0,
) -> Iterator[Block]:
    """The estimates of all patterns from a scan row on, in order.

    Parameters
    ----------
    restorer
        Ready for this scan, see `ebsdarchive.restorers.restorer.prepared`.
    field, seed
        As in `Surroundings`.

    Raises
    ------
    EbsdArchiveError
        If memory is too short for a single scan row.
    """
    most = _most_rows(restorer, measured, grid)
    rows = min(most, max(1, restorer.halo_rows))
    while first_row < grid.n_rows:
        last_row = min(first_row + rows, grid.n_rows)
        begun = time.monotonic()
        try:
            block = _restored(restorer, measured, grid, (first_row, last_row), field, seed)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if rows == 1:
                raise EbsdArchiveError(
                    f"{restorer.name}: expected memory for a scan row of {grid.n_columns} patterns "
                    f"and {restorer.halo_rows} rows on either side, found too little; close other "
                    f"programs or choose another device"
                ) from error
            most = rows = last_row - first_row - (last_row - first_row) // 2
            del error
            _free_memory()
            continue
        seconds = time.monotonic() - begun
        yield block
        first_row = last_row
        if seconds < QUICK_S:
            rows = min(2 * rows, most)
        elif seconds > SLOW_S:
            rows = max(1, rows // 2)


def _most_rows(restorer: Restorer, measured: Measured, grid: Grid) -> int:
    """Rows that fit into the size of a block, but as many as the halo where that is more."""
    _, sy, sx = measured.shape
    fitting = BLOCK_BYTES // (4 * sy * sx * grid.n_columns)
    return max(1, fitting - 2 * restorer.halo_rows, restorer.halo_rows)


def _restored(
    restorer: Restorer,
    measured: Measured,
    grid: Grid,
    rows: tuple[int, int],
    field: Field | None,
    seed: int,
) -> Block:
    starts = grid.row_starts
    first = int(starts[max(0, rows[0] - restorer.halo_rows)])
    last = int(starts[min(grid.n_rows, rows[1] + restorer.halo_rows)])
    start, stop = int(starts[rows[0]]), int(starts[rows[1]])
    surroundings = Surroundings(grid, first, start, stop, measured.mask, field, seed)
    found = measured.source.read(first, last)
    estimate = restorer.restore(measured.sound(found), surroundings)
    own = found[surroundings.own]
    lost = lost_patterns(own, measured.mask)
    estimate = _as_measured(estimate, own, lost, measured.mask)
    mean = None
    if estimate.uncertainty is not None:
        mean = estimate.uncertainty[:, measured.mask].mean(axis=1)
    return Block(*rows, start, stop, own, estimate, lost, mean)


def _as_measured(
    estimate: Estimate,
    own: npt.NDArray,
    lost: npt.NDArray[np.bool_],
    mask: npt.NDArray[np.bool_],
) -> Estimate:
    """The estimate with what it cannot tell as it was measured: lost patterns, unlit pixels."""
    patterns = np.where(mask, estimate.patterns, own).astype(np.float32, copy=False)
    patterns[lost] = own[lost]
    uncertainty = estimate.uncertainty
    if uncertainty is not None:
        uncertainty = np.where(mask, uncertainty, 0).astype(np.float32, copy=False)
        uncertainty[lost] = 0
    flags = estimate.flags
    if flags is not None or lost.any():
        flags = np.zeros(len(own), np.uint8) if flags is None else flags.copy()
        flags[lost] |= WEAK
    return replace(estimate, patterns=patterns, uncertainty=uncertainty, flags=flags)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether numpy, or torch on the processor or a device, asked for more memory than there is."""
    text = str(error).lower()
    said = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    return isinstance(error, MemoryError) or any(words in text for words in said)


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
