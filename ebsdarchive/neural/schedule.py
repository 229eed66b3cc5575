"""How a training run goes: learning rate over time, when to stop, and when it has collapsed.

Owns the decisions, and the few numbers that a resumed run needs to decide as before. Knows losses
and clocks only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["CHECKS", "Run", "TrainOptions"]

CHECKS = 50  # looks at the loss per schedule
PATIENCE = 5  # looks without progress after which the rate starts to decay
COLLAPSED = 0.98  # unexplained part of a network that gives little but the mean pattern
HALF = 0.5


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Parameters
    ----------
    learning_rate
        Of the sine layers; the output layer has ten times as much.
    steps
        Length of the schedule; ignored where `time_s` is given.
    time_s
        Seconds to train; the schedule then follows the clock, and results are not repeatable.
    batch
        Points per step; all of them where there are no more.
    device
        "auto", "cpu" or "cuda".
    warm_up, decay_start
        Parts of the schedule: linear rise, constant rate up to `decay_start`, linear decay to 0.
    restarts
        How often a collapsed run starts again at a third of the learning rate.
    tolerance
        Stop once the error added by the coefficients is below this part of what the basis leaves.
    checkpoint_s
        Seconds between checkpoints.
    """

    learning_rate: float = 5e-4
    steps: int = 4000
    time_s: float | None = None
    batch: int = 4096
    seed: int = 0
    device: str = "auto"
    warm_up: float = 0.05
    decay_start: float = 0.3
    restarts: int = 3
    tolerance: float = 2e-3
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
    decay_start, decay_stop
        When the learning rate decays, as parts of the schedule.
    last_loss, best_loss
        Unexplained part of the coefficients' energy between the last two looks at it, and its
        lowest value so far.
    checked, slow
        The number of the last look, and how many in a row saw no progress.
    """

    step: int = 0
    attempt: int = 0
    elapsed: float = 0.0
    began: float = 0.0
    decay_start: float = 0.3
    decay_stop: float = 1.0
    last_loss: float = math.nan
    best_loss: float = math.inf
    checked: int = 0
    slow: int = 0

    def again(self, decay_start: float) -> Run:
        """The state at the start of the next attempt."""
        return Run(
            attempt=self.attempt + 1,
            elapsed=self.elapsed,
            began=self.elapsed,
            decay_start=decay_start,
        )

    def clock(self, options: TrainOptions) -> float:
        """The part of the schedule that is over, by steps or by seconds."""
        if options.time_s is None:
            return self.step / max(options.steps, 1)
        return (self.elapsed - self.began) / max(options.time_s - self.began, 1e-3)

    def learning_rate(self, options: TrainOptions) -> float:
        """Of the sine layers, now."""
        clock = self.clock(options)
        rate = min(1.0, (clock + 1e-3) / options.warm_up)
        if clock > self.decay_start:
            rate *= max(self.decay_stop - clock, 0.0) / (self.decay_stop - self.decay_start)
        return rate * options.learning_rate / 3**self.attempt

    def due(self, options: TrainOptions) -> bool:
        """Whether it is time to look at the loss."""
        return self.clock(options) >= min((self.checked + 1) / CHECKS, self.decay_stop)

    def look(self, loss: float, enough: float, options: TrainOptions) -> str:
        """Take note of the mean loss since the last look; returns why to stop, or nothing.

        A run has collapsed if its loss is not finite, that of the mean pattern, three times what
        it was, or no longer falls while more than half is unexplained. It has converged below
        `enough`. Where it makes no progress, or is nearly there, the rate decays from now on, over
        twice the time it has taken so far.
        """
        clock = self.clock(options)
        before, self.last_loss = self.last_loss, loss
        self.best_loss = min(self.best_loss, loss)
        self.checked = int(clock * CHECKS)
        if not math.isfinite(loss):
            return "collapsed"
        if clock > 0.1 and loss > min(COLLAPSED, max(HALF, 3 * self.best_loss)):
            return "collapsed"
        if loss < enough:
            return "converged"
        if clock >= self.decay_stop:
            return "schedule done"
        self.slow = self.slow + 1 if loss > 0.99 * before else 0
        if clock <= options.warm_up or clock >= self.decay_start:
            return ""
        if self.slow >= PATIENCE and loss > HALF:
            return "collapsed"
        if self.slow >= PATIENCE or loss < 2 * enough:
            self.decay_start = clock
            self.decay_stop = min(1.0, 3 * clock)
        return ""
