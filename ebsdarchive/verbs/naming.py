"""Where the results of a batch go: a name for each, below one folder, and no name twice."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange.finding import FoundFile

__all__ = ["targets_below"]

_UNFIT = re.compile(r'[\s/\\:*?"<>|\x00-\x1f]+')  # not in names of files on some system
_STRIPPED = re.compile(r"(\.archive)?\.[^.]*$")


def targets_below(folder: Path, files: Sequence[FoundFile], ending: str) -> list[Path]:
    """The file that each scan becomes: the folders it lies in are kept, its ending is replaced.

    Names that would be the same keep their own ending in front (a.up1.archive.h5); scans of a file
    with several have their names behind it, and their numbers where those are not enough.

    Raises
    ------
    ArgumentError
        If two of them come from different folders, by the same path below these.
    """
    choices = [_names(one) for one in files]
    taken = [0] * len(files)
    while True:
        wanted: dict[Path, list[int]] = defaultdict(list)
        for i, names in enumerate(choices):
            wanted[folder / (names[taken[i]] + ending)].append(i)
        clashing = [group for group in wanted.values() if len(group) > 1]
        if not clashing:
            return [folder / (names[taken[i]] + ending) for i, names in enumerate(choices)]
        for group in clashing:
            able = [i for i in group if taken[i] + 1 < len(choices[i])]
            if not able:
                first, second = (files[i].path for i in group[:2])
                raise ArgumentError(
                    f"{folder}: expected one scan for {choices[group[0]][-1]}{ending}, found "
                    f"{first} and {second}; name the folder above both, or call twice with two -o"
                )
            for i in able:
                taken[i] += 1


def _names(one: FoundFile) -> list[str]:
    """Paths below the folder without the new ending, from the shortest to the safest."""
    whole = str(one.place)
    strips = not one.path.is_dir() or one.path.suffix.lower() == ".zarr"
    stem = _STRIPPED.sub("", one.place.name) if strips else ""
    short = str(one.place.with_name(stem)) if stem else whole
    if one.scan is None:
        return [short, whole]
    scan = _UNFIT.sub("_", one.scan).strip("._") or "scan"
    return [f"{short}.{scan}", f"{whole}.{scan}", f"{whole}.{one.number}.{scan}"]
