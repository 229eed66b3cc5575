"""What the commands that train share: their options, and their progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ebsdarchive.cli.options import PathType, adding
from ebsdarchive.cli.telling import said

__all__ = ["TrainingLines", "training_options"]


def training_options(
    others: list[Callable[..., Any]], *, time_s: int, batch: int, learning_rate: float, unit: str
) -> Callable[..., Any]:
    """The options of a training, with those that one command alone has in their midst.

    Parameters
    ----------
    time_s
        Seconds that are told as the default.
    unit
        What a step takes some of.
    """
    return adding(
        [
            click.option("--time", "time_s", type=click.FloatRange(0, min_open=True),
                         metavar="SECONDS", help=f"Time to train for.  [default: {time_s}]"),
            click.option("--steps", type=click.IntRange(1), metavar="N",
                         help="Steps, instead of a time."),
            click.option("--batch", type=click.IntRange(1), default=batch, show_default=True,
                         help=f"{unit} of a step."),
            click.option("--learning-rate", type=click.FloatRange(0, min_open=True),
                         default=learning_rate, show_default=True,
                         help="Of AdamW, after 100 steps."),
            *others,
            click.option("--init-from", type=PathType, metavar="FILE",
                         help="Begin with a model of the same kind."),
            click.option("--licence", metavar="TEXT", help="Of the model, for its card."),
            click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
                         help="Of all random numbers."),
            click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
                         show_default=True, help="Where to train."),
            click.option("--json", "as_json", is_flag=True, help="Report as JSON."),
            click.option("--force", is_flag=True, help="Replace an existing file."),
        ]
    )  # fmt: skip


class TrainingLines:
    """Progress that also writes a line for each validation where there is no terminal."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.told = bar, ""

    def __call__(self, stage: str, done: float, total: float, note: str = "") -> None:
        self.bar(stage, done, total, note)
        losses = note.partition(", ")[2]
        if not self.bar.live and "held out" in losses and losses != self.told:
            self.told = losses
            said(f"  {done / total:4.0%} {note}")
