"""How a training run goes: learning rate over time, when to stop, and when it has collapsed.

Owns the decisions, and the few numbers that a resumed run needs to decide as before. Knows losses
and clocks only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CHECKS", "Run", "TrainOptions"]

CHECKS = 50  # looks at the loss per schedule
WARM_UP = 0.03  # part of the schedule in which the rate rises
JUDGED_FROM = 0.3  # part of the schedule after which a run may be found to have collapsed
MEAN_ALONE = 0.98  # unexplained part of a network that gives little but the mean pattern
SETBACK = 3.0  # a loss that is this many times the best so far


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Parameters
    ----------
    learning_rate
        At its highest; it rises at first and falls to 0 as a cosine.
    steps
        Length of the schedule; ignored where `time_s` is given.
    time_s
        Seconds to train; the schedule then follows the clock, and results are not repeatable.
    batch
        Points per step; all of them where there are no more.
    device
        "auto", "cpu" or "cuda".
    restarts
        How often a collapsed run starts again at a third of the learning rate.
    checkpoint_s
        Seconds between checkpoints.
    """

    learning_rate: float = 1e-2
    steps: int = 4000
    time_s: float | None = None
    batch: int = 2048
    seed: int = 0
    device: str = "auto"
    restarts: int = 3
    checkpoint_s: float = 30.0


@dataclass
class Run:
    """State of one attempt.

    Parameters
    ----------
    step, attempt
        Steps done in this attempt, and attempts before it.
    elapsed, began
        Seconds of training over all attempts and sessions, now and when this attempt began.
    last_loss, best_loss
        Unexplained part of the coefficients' energy between the last two looks at it, and its
        lowest value so far.
    typical
        Running length of the gradient.
    checked
        The number of the last look.
    done
        1 if the schedule is over.
    """

    step: int = 0
    attempt: int = 0
    elapsed: float = 0.0
    began: float = 0.0
    last_loss: float = math.nan
    best_loss: float = math.inf
    typical: float = math.nan
    checked: int = 0
    done: int = 0

    def again(self) -> Run:
        """The state at the start of the next attempt."""
        return Run(attempt=self.attempt + 1, elapsed=self.elapsed, began=self.elapsed)

    def clock(self, options: TrainOptions) -> float:
        """The part of the schedule that is over, by steps or by seconds."""
        if options.time_s is None:
            return self.step / max(options.steps, 1)
        return (self.elapsed - self.began) / max(options.time_s - self.began, 1e-3)

    def learning_rate(self, options: TrainOptions) -> float:
        """The rate now: a linear rise, then a cosine to 0."""
        clock = min(self.clock(options), 1.0)
        rise = min(1.0, (clock + 1e-3) / WARM_UP)
        return rise * (1 + math.cos(math.pi * clock)) / 2 * options.learning_rate / 3**self.attempt

    def due(self, options: TrainOptions) -> bool:
        """Whether it is time to look at the loss."""
        return self.clock(options) >= min((self.checked + 1) / CHECKS, 1.0)

    def look(self, loss: float, reference: float, options: TrainOptions) -> str:
        """Take note of the mean loss since the last look; returns why to stop, or nothing.

        A run has collapsed if its loss is not finite; if from a third of the schedule on it is
        that of the mean pattern, or many times what it was; or if in the end it is no better than
        `reference`, what a few smooth functions of the position reach.
        """
        clock = self.clock(options)
        self.last_loss = loss
        self.best_loss = min(self.best_loss, loss)
        self.checked = int(clock * CHECKS)
        if not math.isfinite(loss):
            return "collapsed"
        if clock >= JUDGED_FROM and loss > min(MEAN_ALONE, max(SETBACK * self.best_loss, 0.3)):
            return "collapsed"
        if clock < 1:
            return ""
        self.done = 1
        too_bad = loss > reference and options.time_s is None  # else time may have been too short
        return "collapsed" if too_bad else "schedule done"
