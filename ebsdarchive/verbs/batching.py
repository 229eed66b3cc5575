"""Many scans, one after the other: what becomes of each, and that no bad one stops the rest.

Knows nothing about what is done with a scan. What is kept of one is a few words and numbers, so
that memory does not grow with their number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ebsdarchive.errors import FormatError
from ebsdarchive.exchange.finding import Found, FoundFile, PassedOver
from ebsdarchive.verbs.faults import as_error

__all__ = ["Follower", "Outcome", "Result", "run_batch", "unfollowed"]

State = Literal["done", "done before", "failed", "interrupted"]
Result = tuple[Literal["done", "done before"], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What became of one scan.

    Parameters
    ----------
    name
        Of the scan or archive, as it lies below the folder that was named.
    source, scan
        The file or folder, and the scan's name in a file with several.
    output
        The file for it, whether there is one or not.
    state, reason
        "done", "done before" (it was there), "failed" with the reason in one line, "interrupted".
    seconds
        That it took.
    figures
        Of what was made; what is not known is None.
    exit_code
        Of the error that it failed with; 0 without.
    """

    name: str
    source: str
    scan: str | None
    output: str | None
    state: State
    seconds: float
    reason: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0

    def plain(self) -> dict[str, Any]:
        """All of it as one level of plain values."""
        values = asdict(self)
        return {key: value for key, value in values.items() if key != "figures"} | self.figures


class Follower(Protocol):
    """Is told how a batch goes on."""

    def found(self, scans: int, passed_over: Sequence[PassedOver]) -> None:
        """How many scans there are, and what was not taken for one."""

    def begins(self, number: int, scans: int, name: str) -> None:
        """A scan's turn has come."""

    def ends(self, outcome: Outcome) -> None:
        """A scan has ended, in whatever state."""


class _Unfollowed:
    def found(self, scans: int, passed_over: Sequence[PassedOver]) -> None:
        """Nobody listens."""

    def begins(self, number: int, scans: int, name: str) -> None:
        """Nobody listens."""

    def ends(self, outcome: Outcome) -> None:
        """Nobody listens."""


unfollowed = _Unfollowed()


def run_batch(
    found: Found,
    targets: Sequence[Path],
    work: Callable[[FoundFile, Path], Result],
    follower: Follower,
) -> list[Outcome]:
    """Do `work` for each file that was found and its target; failures become outcomes.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts; the follower was told of the scan whose turn it was.
    """
    outcomes: list[Outcome] = []
    follower.found(len(found.files), found.passed_over)
    for outcome in _outcomes(found, targets, work, follower):
        follower.ends(outcome)
        outcomes.append(outcome)
        if outcome.state == "interrupted":
            raise KeyboardInterrupt
    return outcomes


def _outcomes(
    found: Found,
    targets: Sequence[Path],
    work: Callable[[FoundFile, Path], Result],
    follower: Follower,
) -> Iterable[Outcome]:
    for closed in found.closed:
        reason = f"{closed.path}: expected a folder to look into, found: {closed.reason}"
        path = str(closed.path)
        code = FormatError.exit_code
        yield Outcome(path, path, None, None, "failed", 0.0, reason, exit_code=code)
    for number, (one, target) in enumerate(zip(found.files, targets, strict=True), 1):
        follower.begins(number, len(found.files), one.title)
        yield _outcome(one, target, work)


def _outcome(one: FoundFile, target: Path, work: Callable[[FoundFile, Path], Result]) -> Outcome:
    begun = time.monotonic()

    def ended(state: State, **others: Any) -> Outcome:
        seconds = round(time.monotonic() - begun, 3)
        source = str(one.path)
        return Outcome(one.title, source, one.scan, str(target), state, seconds, **others)

    try:
        state, figures = work(one, target)
    except KeyboardInterrupt:
        return ended("interrupted")
    except Exception as error:
        known = as_error(error)
        return ended("failed", reason=str(known), exit_code=known.exit_code)
    return ended(state, figures=figures)
