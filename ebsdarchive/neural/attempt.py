"""One attempt at a field: projection, network, images, and what is lost, over all patterns.

Passes over the scan: one to project, one for the images' least squares (a lattice: one for each
time that its labels are found), one to measure; one more where a target was just missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.codecs.lattices import QuantisedLattice
from ebsdarchive.geometry import Grid
from ebsdarchive.neural.basis import Basis
from ebsdarchive.neural.coded import CodedField
from ebsdarchive.neural.field import Field, FieldTensors
from ebsdarchive.neural.journal import Journal
from ebsdarchive.neural.label_patterns import fits_in_memory, gather_label_patterns
from ebsdarchive.neural.lattice_coding import LatticeCoder
from ebsdarchive.neural.networks import NetworkMaker
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.neural.plan import Plan
from ebsdarchive.neural.projection import Projection, project
from ebsdarchive.neural.refine import FieldErrors, measure_errors, refit_basis
from ebsdarchive.neural.tuning import Found, Probe, Uncoded, coded_for
from ebsdarchive.scan import Scan

__all__ = ["NEAR_MISS", "Attempts", "FitResult"]

NEAR_MISS = 0.02  # of a target, that a finer step may make up for
SLACK = 0.9985  # of a target, from which on an error is near enough
RECODED = 2  # times that images are coded anew, to come nearer
SAME_STEP, SAME_ERROR = 1e-3, 1e-5  # relative
RELABELLED = 3  # times that labels are found anew, where a target asks for another step
OTHER_STEP = 1.4  # steps that differ by less ask for the same labels

Coder = Callable[[float | None], Found]  # of an error to meet on the probe, in counts


@dataclass(frozen=True)
class FitResult:
    """A fitted field, what it loses, and how it was made.

    `coded` is what is stored, `tensors` what it decodes to. `log` holds plain JSON values: seconds
    per stage, the rank rule's figures, training figures, and notes for the user (a target that was
    not met, a collapsed and restarted run). `checkpoints` are files to remove once it is safe.
    """

    coded: CodedField
    tensors: FieldTensors
    errors: FieldErrors
    log: dict[str, Any]
    checkpoints: tuple[Path, ...] = ()

    def field(self, grid: Grid) -> Field:
        """The stored field, decoded, over its scan's grid."""
        return Field(self.tensors, grid)


@dataclass(frozen=True)
class Attempts:
    """Makes fields of a scan.

    Parameters
    ----------
    maker
        Of networks.
    probe
        Patterns on which steps are tuned.
    noise
        Standard deviation of a pixel's noise in counts, where it is known.
    """

    scan: Scan
    options: FitOptions
    journal: Journal
    maker: NetworkMaker
    probe: Probe
    noise: float | None

    def make(self, basis: Basis, plan: Plan, wider: float = 1.0) -> FitResult:
        """Project, train, refit, code and measure at the rank of a plan.

        Parameters
        ----------
        wider
            By what factor to exceed the number of weights that pays best.
        """
        basis = basis.truncate(plan.rank - 1)
        with self.journal.stage("project", self.scan.grid.size) as tick:
            projection = project(self.scan, basis, tick)
        coder, goal = self._coder(basis, plan, projection, wider)
        (step, coded, tensors), errors = self._met(coder, goal)
        log = {
            "rank": tensors.rank,
            "bytes": coded.nbytes,
            "step_counts": step,
            "residual_energy": projection.residual_energy,
            "signal_energy": projection.signal_energy,
        }
        return FitResult(coded, tensors, errors, log)

    def _met(self, coder: Coder, goal: float | None) -> tuple[Found, FieldErrors]:
        """The smallest of a few fields that meet an error over all patterns, or the best of them.

        Steps are tuned on a few patterns, whose errors are a little more or less than those of all;
        by what factor is known once all are measured.
        """
        found = self._coded(coder, goal)
        trials = [(found, self._measured(found[2]))]
        if goal is None:
            return trials[0]
        for _ in range(RECODED):
            found, errors = trials[-1]
            reached = errors.mae_counts / goal
            if SLACK <= reached <= 1 or reached > 1 + NEAR_MISS:
                break
            tuned = self.probe.mae_of(Field(found[2], self.scan.grid)) / errors.mae_counts
            if len(trials) == 1 and abs(tuned - 1) < SAME_ERROR:
                break  # tuned on all of them: the same would come out again
            again = self._coded(coder, goal * tuned)
            if abs(again[0] / found[0] - 1) < SAME_STEP:
                break
            self.journal.log.setdefault("recoded_at_pct", []).append(errors.mae_pct)
            trials.append((again, self._measured(again[2])))

        def cost(trial: tuple[Found, FieldErrors]) -> tuple[bool, float]:
            (_, coded, _), errors = trial
            missed = errors.mae_counts > goal
            return missed, errors.mae_counts if missed else coded.nbytes

        return min(trials, key=cost)

    def _coded(self, coder: Coder, goal: float | None) -> Found:
        with self.journal.stage("code"):
            return coder(goal)

    def _measured(self, tensors: FieldTensors) -> FieldErrors:
        with self.journal.stage("measure", self.scan.grid.size) as tick:
            return measure_errors(self.scan, Field(tensors, self.scan.grid), self.noise, tick)

    def _coder(
        self, basis: Basis, plan: Plan, projection: Projection, wider: float
    ) -> tuple[Coder, float | None]:
        """What makes fields that meet an error on the probe, and the error that is asked for, both
        in counts."""
        scan, stage = self.scan, self.journal.stage
        low, high = projection.range_counts
        target = self.options.target_mae_pct
        goal = None if target is None else target * (high - low) / 100
        quantised = network = None
        if len(projection.scale):
            # where neighbours differ, they show more than noise: no more than the basis leaves
            spread = projection.residual_energy / max(int(basis.mask.sum()) - plan.rank, 1)
            noise = min(float(np.nansum(basis.noise)), spread * len(projection.scale))
            quantised = self.maker.make(projection, plan, noise, wider)
            if isinstance(quantised, QuantisedLattice):
                while goal is not None and not fits_in_memory(quantised, basis.mask):
                    plan = replace(plan, step=OTHER_STEP * plan.step, network_error=math.inf)
                    quantised = self.maker.lattice(projection, plan, noise)
                if fits_in_memory(quantised, basis.mask):
                    return self._of_labels(quantised, projection, basis, plan, noise, goal), goal
            network = self.maker.evaluated(quantised)
        with stage("refit", scan.grid.size) as tick:
            refit = refit_basis(scan, network, projection.mean_pattern, basis.mask, tick)
        uncoded = Uncoded(quantised, network, refit, basis.mask, self.maker.omegas)

        def coder(goal: float | None) -> Found:
            return coded_for(uncoded, self.options, goal, plan.step, self.probe, scan.grid)

        return coder, goal

    def _of_labels(
        self, lattice: QuantisedLattice, projection: Projection, basis: Basis, plan: Plan,
        noise: float, goal: float | None,
    ) -> Coder:  # fmt: skip
        """What codes the field of a lattice's labels.

        Labels are found for what a bit is worth at the step that is planned; where a target asks
        for quite another step, they are found once more.
        """
        scan, stage = self.scan, self.journal.stage
        for again in range(RELABELLED + 1):
            with stage("refit", scan.grid.size) as tick:
                patterns = gather_label_patterns(
                    scan, lattice.labels, projection.mean_pattern, basis.mask, tick
                )
            coder = LatticeCoder(patterns, self.options, goal, self.probe, scan.grid)
            with stage("components"):
                components = coder.choose(basis.weights, plan, self.noise)
            change = min(max(components.plan.step / plan.step, 0.1), 10.0)
            alike = 1 / OTHER_STEP < change < OTHER_STEP
            if again == RELABELLED or alike or not coder.targeted:
                break
            # fewer labels ask for a finer step and more of them for a coarser one: half the way
            other = replace(plan, step=plan.step * change**0.5, network_error=math.inf)
            relabelled = self.maker.lattice(projection, other, noise)
            if not fits_in_memory(relabelled, basis.mask):
                break
            lattice, plan = relabelled, other
        return lambda goal: replace(coder, goal_counts=goal).code(components)
