"""A restorer with corrections before and after it, which is a restorer again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.restorers.corrections import Step, background_of
from ebsdarchive.restorers.restorer import (
    Estimate,
    Field,
    Progress,
    Restorer,
    Surroundings,
    WholeScan,
    prepared,
)
from ebsdarchive.scan import Patterns

__all__ = ["Pipeline"]


@dataclass(frozen=True)
class Pipeline:
    """`before`, then the restorer, then `after`.

    The uncertainty and the flags are those of the restorer, in counts before the steps after it.

    Parameters
    ----------
    static_background
        (sy, sx) what the steps leave of it, once the scan is known; None where they do not touch
        it.
    """

    restorer: Restorer
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    static_background: npt.NDArray[np.float32] | None = None

    @property
    def name(self) -> str:
        return self.restorer.name

    @property
    def version(self) -> str:
        return self.restorer.version

    @property
    def halo_rows(self) -> int:
        return self.restorer.halo_rows

    @property
    def config(self) -> Mapping[str, Any]:
        steps = {"before": self.before, "after": self.after}
        return dict(self.restorer.config) | {
            key: [{"step": step.name, **step.config} for step in found]
            for key, found in steps.items()
            if found
        }

    def prepare(self, whole: WholeScan, progress: Progress) -> Restorer:
        before, seen = _prepared_steps(self.before, whole)
        after, _ = _prepared_steps(self.after, seen)  # a restorer keeps the background
        steps, left = (*before, *after), None
        if any(step.removes_background for step in steps):
            left = _applied(steps, background_of(whole)[None], whole.mask)[0]
        return Pipeline(prepared(self.restorer, seen, progress), before, after, left)

    def restore(self, patterns: npt.NDArray[np.float32], surroundings: Surroundings) -> Estimate:
        mask = surroundings.mask
        seen = replace(surroundings, field=_corrected_field(surroundings.field, self.before, mask))
        found = self.restorer.restore(_applied(self.before, patterns, mask), seen)
        return replace(found, patterns=_applied(self.after, found.patterns, mask))


def _prepared_steps(steps: Sequence[Step], whole: WholeScan) -> tuple[tuple[Step, ...], WholeScan]:
    """Steps that are ready one after another, and the scan as it is behind the last."""
    ready = []
    for step in steps:
        ready.append(step.prepare(whole))
        whole = replace(
            whole,
            patterns=_Corrected(whole.patterns, ready[-1:], whole.mask),
            field=_corrected_field(whole.field, ready[-1:], whole.mask),
            static_background=None,  # that of patterns which have it still
        )
    return tuple(ready), whole


@dataclass(frozen=True)
class _Corrected:
    """Patterns as the restorer sees them."""

    source: Patterns
    steps: Sequence[Step]
    mask: npt.NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.source.shape

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        return _applied(self.steps, self.source.read(start, stop), self.mask)


def _applied(
    steps: Sequence[Step], patterns: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    for step in steps:
        patterns = step.apply(patterns, mask)
    return patterns


def _corrected_field(
    field: Field | None, steps: Sequence[Step], mask: npt.NDArray[np.bool_]
) -> Field | None:
    """The neural layer's patterns as the restorer sees those that were measured."""
    if field is None or not steps:
        return field
    return lambda indices: _applied(steps, field(indices), mask)
