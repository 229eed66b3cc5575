"""What a batch says: a line on stderr as each scan begins or fails, and a table at the end."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ebsdarchive.cli.telling import is_verbose, progress_bar, said
from ebsdarchive.errors import ArgumentError, EbsdArchiveError

__all__ = ["BatchReport", "TableColumn", "is_batch", "refuse_check_all", "refuse_of_one_scan"]


@dataclass(frozen=True)
class TableColumn:
    """A figure in the table: its title, its key, and how it is written."""

    title: str
    key: str
    text: Callable[[Any], str]


def is_batch(
    sources: Sequence[str],
    output: str | None,
    endings: tuple[str, ...],
    makes_folders: bool = False,
) -> bool:
    """Whether a command is asked for several scans: by its sources, or by a folder to write to.

    Parameters
    ----------
    endings
        Of the files that the command writes for one scan; an output that ends so is no folder.
    makes_folders
        Whether what it writes for one scan is a folder.

    Raises
    ------
    ArgumentError
        If there are several sources, but no folder for what is made of them.
    """
    is_marked = output is not None and output.endswith(("/", os.sep))
    is_file = output is not None and not is_marked and output.lower().endswith(endings)
    if len(sources) > 1:
        if output is None or is_file:
            raise ArgumentError(
                f"{output or 'several scans'}: expected a folder for what is made of "
                f"{len(sources)} sources, found {'a file' if is_file else 'none'}; name it with -o"
            )
        return True
    if output is None or is_file:
        return False
    if not os.path.isdir(sources[0]):
        return not makes_folders and (is_marked or os.path.isdir(output))
    from ebsdarchive.exchange.finding import is_scan_folder

    return is_marked or os.path.isdir(output) or not is_scan_folder(Path(sources[0]))


def refuse_check_all(check_all: bool) -> None:
    """Raise ArgumentError for --check-all, which is about several scans."""
    if check_all:
        raise ArgumentError(
            "--check-all: expected several scans, or a folder -o, found one; `ebsdarchive verify "
            "--data` checks an archive"
        )


def refuse_of_one_scan(options: dict[str, Any]) -> None:
    """Raise ArgumentError for options that are about a single scan."""
    for name, value in options.items():
        if value is not None:
            raise ArgumentError(
                f"{name}: expected a single scan for it, found several; compress that one alone"
            )


class BatchReport:
    """Follows a batch, and reports it.

    Parameters
    ----------
    folder
        That is written to.
    columns
        Figures of each scan.
    """

    def __init__(self, folder: str, columns: Sequence[TableColumn]) -> None:
        self.folder, self.columns = folder, columns
        self.bar = progress_bar()
        self.outcomes: list[Any] = []
        self.scans = 0

    def found(self, scans: int, passed_over: Sequence[Any]) -> None:
        """Say what is not taken for a scan: kinds and counts, or every name with --verbose."""
        self.scans = scans
        if is_verbose():
            for item in passed_over:
                said(f"passed over {item.path}: {item.reason}")
        elif passed_over:
            kinds = Counter(item.reason.partition(":")[0] for item in passed_over)
            listed = ", ".join(f"{count} {reason}" for reason, count in kinds.most_common())
            said(f"passed over: {listed} (--verbose names them)")

    def begins(self, number: int, scans: int, name: str) -> None:
        """Head the stages of a scan by its name."""
        self.bar.end()
        said(f"{number} of {scans}: {name}")

    def ends(self, outcome: Any) -> None:
        """Keep an outcome for the table; say at once what failed."""
        self.bar.end()
        self.outcomes.append(outcome)
        if outcome.state == "failed":
            click.echo(f"  failed: {outcome.reason}", err=True)

    @contextmanager
    def closing(self, as_json: bool) -> Iterator[None]:
        """Write the table at the end, also of a batch that is interrupted; raise if scans failed.

        The exit code is that of the scans where all that failed have the same, else 1.
        """
        try:
            yield
        finally:
            self.bar.end()
            if self.outcomes:
                click.echo(self._json() if as_json else "\n".join(self._table()))
        failed = [outcome for outcome in self.outcomes if outcome.state == "failed"]
        if failed:
            codes = {outcome.exit_code for outcome in failed}
            raise _error(
                f"{self.folder}: expected all {len(self.outcomes)} to succeed, found "
                f"{len(failed)} that failed ({', '.join(outcome.name for outcome in failed[:3])}"
                f"{', ...' if len(failed) > 3 else ''}); the table says why",
                codes.pop() if len(codes) == 1 else 1,
            )

    def _json(self) -> str:
        return json.dumps([outcome.plain() for outcome in self.outcomes], indent=1)

    def _table(self) -> list[str]:
        head = ["name", *(column.title for column in self.columns), "seconds", "state"]
        rows = [head] + [self._row(outcome) for outcome in self.outcomes]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i in (0, len(head) - 1) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        states = Counter(outcome.state for outcome in self.outcomes)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        return [*lines, f"{self.scans} scans: {counts}"]

    def _row(self, outcome: Any) -> list[str]:
        figures = [
            "-" if (value := outcome.figures.get(column.key)) is None else column.text(value)
            for column in self.columns
        ]
        reason = "" if outcome.reason is None else f": {outcome.reason}"
        return [outcome.name, *figures, f"{outcome.seconds:.1f}", f"{outcome.state}{reason}"]


def _error(message: str, code: int) -> EbsdArchiveError:
    """An error of an exit code."""
    error = EbsdArchiveError(message)
    error.exit_code = code
    return error
