"""The record of a fit while it goes on: progress for the user, seconds per stage, notes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Journal", "Progress"]

Progress = Callable[[str, float, float, str], None]  # stage, done, total, note


class Journal:
    """What the steps of a fit report to.

    Parameters
    ----------
    progress
        Called as (stage, done, total, note).

    Attributes
    ----------
    log
        Plain JSON values that are stored with the field: seconds per stage, notes for the user
        (a target that was not met, a collapsed and restarted run), and what the steps add.
    """

    def __init__(self, progress: Progress | None, **known: Any) -> None:
        self._progress = progress
        self.log: dict[str, Any] = {"seconds": {}, "notes": [], **known}

    def note(self, text: str) -> None:
        """Add a note for the user."""
        self.log["notes"].append(text)

    @contextmanager
    def stage(self, name: str, total: float = 1.0) -> Iterator[Callable[..., None]]:
        """Times a stage and hands out its progress callback (done, note)."""

        def tick(done: float, note: str = "") -> None:
            if self._progress is not None:
                self._progress(name, done, total, note)

        started = time.monotonic()
        tick(0.0)
        yield tick
        tick(total)
        seconds = self.log["seconds"]
        seconds[name] = seconds.get(name, 0.0) + time.monotonic() - started
