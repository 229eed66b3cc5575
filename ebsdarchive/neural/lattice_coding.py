"""From the patterns of labels to a stored field: how many components, and at which steps.

Owns what only a lattice allows: every number of components can be tried without another pass over
the scan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid
from ebsdarchive.neural.coded import CodedField
from ebsdarchive.neural.field import FieldTensors
from ebsdarchive.neural.label_patterns import LabelPatterns
from ebsdarchive.neural.lattice import LatticeNetwork
from ebsdarchive.neural.lattice_fit import rounded_lattice
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.neural.plan import ERROR_SLOPE, SIZE_SLOPE, Plan, allowed_energy, solve_step
from ebsdarchive.neural.search import descend
from ebsdarchive.neural.tuning import LEAST_LOSS, Probe, SomeImages, Uncoded, coded_for

__all__ = ["code_lattice"]

MOST_COMPONENTS = 1023
TRIED = 5  # numbers of components, where there is a target
LADDER = 1.2
ROUNDS = 2  # of finding the images' step for rounded values, and rounding values for that step
MISSED = 100.0  # a miss of a target by 1 % counts as twice the cost


Found = tuple[float, CodedField, FieldTensors]


def code_lattice(
    patterns: LabelPatterns,
    pixel_weights: npt.NDArray,
    plan: Plan,
    options: FitOptions,
    goal_counts: float | None,
    noise_counts: float | None,
    probe: Probe,
    grid: Grid,
) -> Found:
    """The field that suits `options`, of the lattice's labels: the images' step in counts, the
    bytes, what they decode to.

    Parameters
    ----------
    pixel_weights
        (m,) of pixels in the squared error.
    goal_counts
        The mean absolute error to meet, where there is one.
    noise_counts
        Standard deviation of a pixel's noise, where it is known; components are told from it
        where the plan's rank is capped.
    """
    targeted = goal_counts is not None or options.target_size_mb is not None
    free = targeted and not isinstance(options.rank, int)
    most = MOST_COMPONENTS if free or plan.capped else plan.rank - 1
    values, energies = patterns.components(pixel_weights, most, options.seed)
    if plan.capped and noise_counts is not None:
        signal = max(patterns.above_noise(energies, noise_counts), plan.rank - 1)
        values, energies = values[:, :signal], energies[:signal]
    sought = _Sought(options, goal_counts, probe, grid)
    if free:
        steps = [plan.step]

        def cost(count: int) -> float:
            there = replace(plan, step=steps[-1], allowed=np.inf)
            uncoded = _rounded(patterns, values[:, :count], energies[:count], there)
            step, found = sought.estimate(uncoded, there.step)
            steps.append(step)
            return found

        def neighbours(count: int) -> list[int]:
            near = (int(count / LADDER), int(np.ceil(count * LADDER)))
            return sorted({min(max(other, 1), len(energies)) for other in near} - {count})

        # a component below a step's squared error per pixel that it would change is all zeros
        first = int(np.clip(np.searchsorted(-energies, -(plan.step**2)), 1, len(energies)))
        count = descend(cost, first, neighbours, TRIED)
        values, energies, plan = values[:, :count], energies[:count], replace(plan, step=steps[-1])
    return _coded(patterns, values, energies, plan, options, goal_counts, probe, grid)


def _rounded(
    patterns: LabelPatterns, values: npt.NDArray, energies: npt.NDArray, plan: Plan
) -> Uncoded:
    """The field with these components, its images not coded yet."""
    lattice = rounded_lattice(patterns.labels, values, energies, plan.value_step)
    network = LatticeNetwork(*lattice.arrays())
    refit = patterns.refit(network.values)
    return Uncoded(lattice, network, refit, patterns.mask, (1.0, 1.0))


def _coded(
    patterns: LabelPatterns, values: npt.NDArray, energies: npt.NDArray, plan: Plan,
    options: FitOptions, goal_counts: float | None, probe: Probe, grid: Grid,
) -> Found:  # fmt: skip
    """The field with these components."""
    targeted = goal_counts is not None or options.target_size_mb is not None
    for _ in range(ROUNDS):
        uncoded = _rounded(patterns, values, energies, plan)
        found = coded_for(uncoded, options, goal_counts, plan.step, probe, grid)
        refit, loss = uncoded.refit, options.coding_loss_pct / 100
        allowed = allowed_energy(loss, refit.residual_energy, refit.mean_pattern)
        # with a target steps are equal: every bit lowers the error alike
        plan = replace(plan, step=found[0], allowed=np.inf if targeted else allowed)
    return found


@dataclass(frozen=True)
class _Sought:
    """What a target makes of a field, estimated by a few of its images."""

    options: FitOptions
    goal_counts: float | None
    probe: Probe
    grid: Grid

    def estimate(self, uncoded: Uncoded, guess: float) -> tuple[float, float]:
        """The images' step, and what the field costs at it: bytes where an error is the target,
        error where the size is; more where it is missed."""
        refit, mask = uncoded.refit, uncoded.mask
        features = self.probe.features(uncoded.network, self.grid)
        exact = self.probe.mae(features, refit.basis, refit.mean_pattern, mask)
        some, others = SomeImages(refit, mask), uncoded.coded(b"").nbytes
        if self.goal_counts is not None:
            loss = max(self.goal_counts / exact - 1 if exact > 0 else 0.0, LEAST_LOSS)
            goal = allowed_energy(loss, refit.residual_energy, refit.mean_pattern)
            step = solve_step(some.added, goal, guess, ERROR_SLOPE)
            missed = max((1 + LEAST_LOSS) * exact / self.goal_counts - 1, 0.0)
            return step, (others + some.size(step)) * (1 + MISSED * missed)
        assert self.options.target_size_mb is not None
        goal = 1e6 * self.options.target_size_mb - others
        if goal <= 0:
            return guess, exact * (1 - MISSED * goal)
        step = solve_step(some.size, goal, guess, SIZE_SLOPE)
        return step, exact * np.sqrt(1 + some.added(step) / max(refit.residual_energy, 1e-30))
