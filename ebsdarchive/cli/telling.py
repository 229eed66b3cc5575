"""How much is told on stderr: progress, and what --quiet and --verbose make of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import click

__all__ = ["TELLING_OPTIONS", "is_verbose", "level_kept", "progress_bar", "said"]

_level: ContextVar[str] = ContextVar("level", default="usual")


def _choose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Take over what one of the options says, before or behind the name of the command."""
    if not value:
        return
    if _level.get() not in ("usual", param.name):
        raise click.BadParameter("expected --quiet or --verbose, found both", ctx, param)
    _level.set(str(param.name))


TELLING_OPTIONS = [
    click.Option(
        ["-q", "--quiet"],
        is_flag=True,
        expose_value=False,
        callback=_choose,
        help="No progress, only results and errors.",
    ),
    click.Option(
        ["-v", "--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_choose,
        help="How long each stage took, and where in the program an error arose.",
    ),
]


@contextmanager
def level_kept() -> Iterator[None]:
    """Begin with the usual level, and go back to the one before."""
    token = _level.set("usual")
    try:
        yield
    finally:
        _level.reset(token)


def is_verbose() -> bool:
    """Whether --verbose was given."""
    return _level.get() == "verbose"


def said(line: str) -> None:
    """Write a line on stderr, unless --quiet was given."""
    if _level.get() != "quiet":
        click.echo(line, err=True)


class _ProgressBar:
    """One line on stderr that is rewritten on a terminal, and written once per stage elsewhere."""

    def __init__(self) -> None:
        self.quiet = _level.get() == "quiet"
        self.live = sys.stderr.isatty() and not self.quiet
        self.stage = self.note = ""
        self.begun = self.shown = 0.0

    def __call__(self, stage: str, done: float, total: float, note: str = "") -> None:
        now = time.monotonic()
        if stage != self.stage:
            self.end()
            self.stage, self.begun, self.shown = stage, now, 0.0
            if not self.live:
                said(f"{stage} ...")
        self.note = note
        if self.live and (now - self.shown > 0.1 or done >= total):
            self.shown = now
            part = min(1.0, done / total) if total else 1.0
            bar = "#" * round(24 * part)
            text = f"\r{stage:<16} [{bar:<24}] {part:4.0%} {now - self.begun:5.0f} s  {note}"
            click.echo(text[:110].ljust(110), err=True, nl=False)

    def end(self) -> None:
        """Finish the line; with --verbose, say how long the stage took."""
        if self.live and self.stage:
            click.echo(err=True)
        if self.stage and is_verbose():
            note = f", {self.note}" if self.note else ""
            said(f"  {self.stage}: {time.monotonic() - self.begun:.2f} s{note}")
        self.stage = self.note = ""


def progress_bar() -> Any:
    """Progress for a verb, shown on stderr."""
    return _ProgressBar()
