"""From the patterns of labels to a stored field: how many components, and at which steps.

Owns what only a lattice allows: every number of components can be tried without another pass over
the scan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid
from ebsdarchive.neural.label_patterns import LabelPatterns
from ebsdarchive.neural.lattice import LatticeNetwork
from ebsdarchive.neural.lattice_fit import rounded_lattice
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.neural.plan import ERROR_SLOPE, SIZE_SLOPE, Plan, allowed_energy, solve_step
from ebsdarchive.neural.search import MISSED, descend
from ebsdarchive.neural.tuning import LEAST_LOSS, Found, Probe, SomeImages, Uncoded, coded_for

__all__ = ["Components", "LatticeCoder"]

MOST_COMPONENTS = 1023
TRIED = 6  # numbers of components, where there is a target
LADDER = 1.25
ROUNDS = 2  # of finding the images' step for rounded values, and rounding values for that step
TOO_LARGE = 8.0  # times the step, where labels and values alone are more than what is asked for


@dataclass(frozen=True)
class Components:
    """What is to be coded: values (k, c) of labels and energies (c,) as `uncorrelated` gives them,
    and a plan with the images' step as far as it is known."""

    values: npt.NDArray[np.float64]
    energies: npt.NDArray[np.float64]
    plan: Plan

    def first(self, count: int, plan: Plan) -> Components:
        """The strongest of them, with another plan."""
        return Components(self.values[:, :count], self.energies[:count], plan)


@dataclass(frozen=True)
class LatticeCoder:
    """Makes fields of the patterns of labels.

    Parameters
    ----------
    goal_counts
        The mean absolute error to meet, where there is one.
    probe, grid
        Patterns to tune on, and the scan's points.
    """

    patterns: LabelPatterns
    options: FitOptions
    goal_counts: float | None
    probe: Probe
    grid: Grid

    @property
    def targeted(self) -> bool:
        """Whether an error or a size is asked for."""
        return self.goal_counts is not None or self.options.target_size_mb is not None

    def choose(
        self, pixel_weights: npt.NDArray, plan: Plan, noise_counts: float | None
    ) -> Components:
        """As many components as a target asks for, with the images' step that it will take; without
        one, as many as planned.

        Parameters
        ----------
        pixel_weights
            (m,) of pixels in the squared error.
        noise_counts
            Standard deviation of a pixel's noise, where it is known; components are told from it
            where the plan's rank is capped.
        """
        free = self.targeted and not isinstance(self.options.rank, int)
        most = MOST_COMPONENTS if free or plan.capped else plan.rank - 1
        values, energies = self.patterns.components(pixel_weights, most, self.options.seed)
        found = Components(values, energies, plan)
        if not free:
            if plan.capped and noise_counts is not None:
                signal = max(self.patterns.above_noise(energies, noise_counts), plan.rank - 1)
                found = found.first(signal, plan)
            return found
        steps: dict[int, float] = {}

        def cost(count: int) -> float:
            # with a target steps are equal: every bit lowers the error alike
            guess = next(reversed(steps.values()), plan.step)
            there = replace(plan, step=guess, allowed=np.inf)
            steps[count], costs = self._estimate(self._rounded(found.first(count, there)), guess)
            return costs

        def neighbours(count: int) -> list[int]:
            near = (int(count / LADDER), int(np.ceil(count * LADDER)))
            return sorted({min(max(other, 1), len(energies)) for other in near} - {count})

        first = min(max(plan.rank - 1, 1), len(energies))
        count = descend(cost, first, neighbours, TRIED)
        return found.first(count, replace(plan, step=steps[count], allowed=np.inf))

    def code(self, components: Components) -> Found:
        """The field: the images' step in counts, the bytes, what they decode to."""
        plan = components.plan
        for _ in range(ROUNDS):
            uncoded = self._rounded(replace(components, plan=plan))
            found = coded_for(
                uncoded, self.options, self.goal_counts, plan.step, self.probe, self.grid
            )
            refit, loss = uncoded.refit, self.options.coding_loss_pct / 100
            allowed = allowed_energy(loss, refit.residual_energy, refit.mean_pattern)
            plan = replace(plan, step=found[0], allowed=np.inf if self.targeted else allowed)
        return found

    def _rounded(self, components: Components) -> Uncoded:
        """The field with these components, its images not coded yet."""
        patterns, plan = self.patterns, components.plan
        lattice = rounded_lattice(
            patterns.labels, components.values, components.energies, plan.value_step
        )
        network = LatticeNetwork(*lattice.arrays())
        refit = patterns.refit(network.values)
        return Uncoded(lattice, network, refit, patterns.mask, (1.0, 1.0))

    def _estimate(self, uncoded: Uncoded, guess: float) -> tuple[float, float]:
        """The images' step, and what the field costs at it: bytes where an error is the target,
        error where the size is; more where it is missed."""
        refit, mask = uncoded.refit, uncoded.mask
        features = self.probe.features(uncoded.network, self.grid)
        exact = self.probe.mae(features, refit.basis, refit.mean_pattern, mask)
        some, others = SomeImages(refit, mask), uncoded.coded(b"").nbytes
        if self.goal_counts is not None:
            loss = self.probe.loss_for(self.goal_counts, features, refit, mask)
            goal = allowed_energy(loss, refit.residual_energy, refit.mean_pattern)
            step = solve_step(some.added, goal, guess, ERROR_SLOPE)
            missed = max((1 + LEAST_LOSS) * exact / self.goal_counts - 1, 0.0)
            return step, (others + some.size(step)) * (1 + MISSED * missed)
        assert self.options.target_size_mb is not None
        goal = 1e6 * self.options.target_size_mb - others
        if goal <= 0:
            return TOO_LARGE * guess, exact * (1 - MISSED * goal)
        step = solve_step(some.size, goal, guess, SIZE_SLOPE)
        return step, exact * np.sqrt(1 + some.added(step) / max(refit.residual_energy, 1e-30))
