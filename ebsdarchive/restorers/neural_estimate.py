"""``field``: what the neural layer of the archive says at the measured points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import MissingLayerError
from ebsdarchive.restorers.restorer import Estimate, Progress, Restorer, Surroundings, WholeScan

__all__ = ["FieldEstimate"]


@dataclass(frozen=True)
class FieldEstimate:
    """The neural layer's own estimate: what the patterns of a scan share, at any dose."""

    name = "field"
    version = "1"
    halo_rows = 0

    @property
    def config(self) -> Mapping[str, Any]:
        return {}

    def prepare(self, whole: WholeScan, progress: Progress) -> Restorer:
        if whole.field is None:
            raise MissingLayerError(
                "field: expected the neural layer of an archive, found none; make one with "
                "`ebsdarchive fit` or choose another method"
            )
        return self

    def restore(self, patterns: npt.NDArray[np.float32], surroundings: Surroundings) -> Estimate:
        assert surroundings.field is not None  # see prepare
        return Estimate(surroundings.field(np.arange(surroundings.start, surroundings.stop)))
