"""How verbs report progress: a function of (stage, done, total, note) that the caller gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Progress", "silent", "stage"]


class Progress(Protocol):
    """Called often; `done` of `total` is what the stage counts, `note` a few words."""

    def __call__(self, stage: str, done: float, total: float, note: str = "") -> None: ...


def silent(stage: str, done: float, total: float, note: str = "") -> None:
    """Report nothing."""


def stage(progress: Progress, name: str) -> Callable[[float, float], None]:
    """The progress of one stage, for code that knows only (done, total)."""
    return lambda done, total: progress(name, done, total)
