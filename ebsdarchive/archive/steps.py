"""From each format version to the next: steps that change an open file, always a copy, in place.

Reading needs no step: nodes say which encoding they are of, and older ones stay readable. Writing
to an older archive brings it up to date.
"""

from __future__ import annotations

from collections.abc import Callable

import h5py

from ebsdarchive.archive.conformity import attribute
from ebsdarchive.errors import VersionError
from ebsdarchive.schema import CURRENT_VERSION

__all__ = ["STEPS", "bring_up_to_date", "require_step"]


def bring_up_to_date(file: h5py.File) -> None:
    """Bring a file, open for writing, to the current format version, step by step.

    The caller seals the file afterwards. Raises VersionError if there is no step from its version.
    """
    version = str(attribute(file, "encoding-version", "unknown"))
    while version != CURRENT_VERSION:
        require_step(version, file.filename)
        version, step = STEPS[version]
        step(file)


def require_step(version: str, path: str) -> None:
    """Raise VersionError, naming the file, if there is no step from a version."""
    if version not in STEPS:
        known = ", ".join([*STEPS, CURRENT_VERSION])
        raise VersionError(
            f"{path}: format version {version} is not known here (known: {known}); "
            f"update ebsdarchive to read it"
        )


def _from_1_0_to_1_1(file: h5py.File) -> None:
    """Version 1.1 adds an encoding of the neural layer; what 1.0 holds is valid as it is."""
    for group in (file, file["archive"]):
        group.attrs["encoding-version"] = "1.1"


# {version: (next version, step)}
STEPS: dict[str, tuple[str, Callable[[h5py.File], None]]] = {"1.0": ("1.1", _from_1_0_to_1_1)}
