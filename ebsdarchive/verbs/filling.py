"""Which points of a scan have no pattern worth keeping, so that their neighbours may stand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.neighbours import Filling, filling
from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.orientation_maps import orientation_map_names, read_orientation_map
from ebsdarchive.errors import ArgumentError, MissingLayerError
from ebsdarchive.exchange.estimates import Estimates
from ebsdarchive.scan import read_at

__all__ = ["estimates_of", "find_filling"]

REASONS = ("blank", "not-indexed", "not-indexed:MAP")
AT_ONCE = 1024  # patterns

Progress = Callable[[float, float], None]


def find_filling(archive: Archive, reasons: Sequence[str], progress: Progress) -> Filling | None:
    """How the points that are unsound for any of some reasons are filled; None without a reason.

    Parameters
    ----------
    reasons
        "blank": the measured pattern has one value everywhere, or no number at all. "not-indexed":
        the phase is -1 in the orientations that came with the scan or, where it has none, in the
        archive's orientation map; "not-indexed:MAP" names one of several.
    progress
        Told (patterns, of all) while looking for blank ones.

    Raises
    ------
    ArgumentError
        If a reason is not one of these.
    MissingLayerError
        If the archive lacks what would tell.
    """
    if not reasons:
        return None
    unsound = np.zeros(archive.grid.size, bool)
    for reason in reasons:
        kind, _, name = reason.partition(":")
        if reason == "blank":
            unsound |= _blank(archive, progress)
        elif kind == "not-indexed" and (name or ":" not in reason):
            unsound |= _not_indexed(archive, name or None)
        else:
            raise ArgumentError(f"fill: expected {', '.join(REASONS)}, found {reason!r}")
    return filling(archive.grid, unsound)


def estimates_of(
    fill: Filling | None,
    reasons: Sequence[str],
    uses: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.bool_]],
) -> Estimates | None:
    """What a file says of the patterns in it that are filled.

    Parameters
    ----------
    uses
        (k,) points to (m,) whether each pattern of the file takes something of one of them.
    """
    if fill is None:
        return None
    return Estimates(tuple(reasons), uses(fill.points), uses(fill.left))


def _blank(archive: Archive, progress: Progress) -> npt.NDArray[np.bool_]:
    """(n,) points whose measured pattern shows nothing."""
    if "raw" not in archive.layers:
        raise MissingLayerError(
            f"{archive.path}: expected the raw layer, which shows blank patterns, found "
            f"{', '.join(archive.layers)}; fill points that are not indexed instead"
        )
    patterns, n = archive.patterns("raw"), archive.grid.size
    suspects = np.arange(n)
    if patterns.dtype.kind == "u":  # the mean of equal counts is one of them, a whole number
        means = archive.map("mean_intensity")[archive.grid.map_mask()]
        suspects = np.flatnonzero(means == np.rint(means))
    blank = np.zeros(n, bool)
    for start in range(0, len(suspects), AT_ONCE):
        part = suspects[start : start + AT_ONCE]
        found = read_at(patterns, part).reshape(len(part), -1)
        same = (found == found[:, :1]).all(axis=1)
        blank[part] = same | ~np.isfinite(found).any(axis=1)
        progress(start + len(part), len(suspects))
    return blank


def _not_indexed(archive: Archive, name: str | None) -> npt.NDArray[np.bool_]:
    """(n,) points without a phase in the scan's own orientations, or in an orientation map."""
    own = archive.scan().orientations if name is None else None
    if own is not None:
        return own.phase_id < 0
    with archive.group() as group:
        if name is None and not orientation_map_names(group):
            raise MissingLayerError(
                f"{archive.path}: expected orientations, which show points that are not indexed, "
                f"found none; make a map of them with `ebsdarchive index`"
            )
        return read_orientation_map(group, name).orientations.phase_id < 0
