"""How the training of a joint field goes: rate and detector scale over time, and when it is over.

Owns the paper's figures (arXiv:2606.10352) and what becomes of them in runs too short for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["JointSchedule", "auto_joint_steps"]

WHOLE = 100_000  # steps of a run that follows the paper's figures as they stand
PASSES, FEWEST = 100, 2000


@dataclass(frozen=True)
class JointSchedule:
    """When to do what.

    Parameters
    ----------
    steps
        To train for; ignored where `time_s` is given.
    time_s
        Seconds to train for; the schedule then follows the clock, and results are not repeatable.
    batch
        Samples per step.
    learning_rate, halving_steps
        Of Adam, and after how many steps it is halved, again and again.
    scale_from, curriculum_steps
        The detector scale that training begins with, and in how many steps it grows linearly to 1:
        the network sees coarse patterns first (see `JointNetwork`).
    clip
        The length that a gradient is shortened to.

    Runs of less than 100,000 steps go through the same course in proportion: the detector scale
    reaches 1 after a fifth of them, and the rate is halved after two fifths and four fifths.
    """

    steps: int = WHOLE
    time_s: float | None = None
    batch: int = 32_768
    learning_rate: float = 1e-4
    halving_steps: int = 40_000
    scale_from: float = 0.25
    curriculum_steps: int = 20_000
    clip: float = 1.0

    def done(self, step: int, elapsed: float) -> float:
        """The part of the run that is over after a number of steps and seconds."""
        return step / self.steps if self.time_s is None else elapsed / self.time_s

    def _course(self, step: int, elapsed: float) -> float:
        """The step of the paper's course that this one stands for."""
        if self.time_s is None and self.steps >= WHOLE:
            return float(step)
        return WHOLE * min(self.done(step, elapsed), 1.0)

    def rate(self, step: int, elapsed: float) -> float:
        """The learning rate of a step."""
        halvings = int(self._course(step, elapsed) // self.halving_steps)
        return float(self.learning_rate * 0.5**halvings)

    def scale(self, step: int, elapsed: float) -> float:
        """The detector scale of a step."""
        risen = min(self._course(step, elapsed) / self.curriculum_steps, 1.0)
        return self.scale_from + (1 - self.scale_from) * risen


def auto_joint_steps(samples: int, batch: int) -> int:
    """Steps for a scan: a hundred passes over its samples, between 2,000 and 100,000."""
    return int(np.clip(PASSES * samples // batch, FEWEST, WHOLE))
