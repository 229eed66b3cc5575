"""Fitting a neural field to a scan: sample, plan, projection, training, coding, measured errors.

Owns what is tried, and what is taken; one attempt is in `attempt`, each step in the module of its
name, and the choices between them are in `beginning` and `plan`. The scan is read in blocks: once
in part for the sample, then a few times in full. Memory: the sample (256 MiB as float32, and as
much for its decomposition), the coefficients (768 MiB at most), patterns of a lattice's labels
(three times 512 MiB at most) and a few blocks.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from ebsdarchive.neural.area_means import knows_only_its_sample, local_means
from ebsdarchive.neural.attempt import NEAR_MISS, Attempts, FitResult
from ebsdarchive.neural.basis import Basis, Dictionary
from ebsdarchive.neural.beginning import basis_of, plans_for
from ebsdarchive.neural.field import FieldTensors
from ebsdarchive.neural.journal import Journal, Progress
from ebsdarchive.neural.networks import NetworkMaker
from ebsdarchive.neural.options import (
    WIDEST,
    FitOptions,
    auto_width,
    next_width,
    whole_width,
)
from ebsdarchive.neural.plan import Plan
from ebsdarchive.neural.sample import draw_sample, noise_counts
from ebsdarchive.neural.search import MISSED, descend
from ebsdarchive.neural.tuning import PROBES, Probe
from ebsdarchive.scan import ArrayPatterns, Scan

__all__ = ["FitOptions", "FitResult", "Progress", "fit_field"]

HELD_BYTES = 256 << 20  # scans up to this size are read once and held
TARGET_ATTEMPTS = 3
SEARCHED_POINTS, SEARCHED_FITS = 5000, 10  # scans up to this size; fits of a kind of network
MORE_COMPONENTS, FINER_STEP, WIDER = 1.3, 0.8, 1.4  # where a target was missed


def fit_field(
    scan: Scan,
    options: FitOptions | None = None,
    *,
    progress: Progress | None = None,
    checkpoint: Path | str | None = None,
    start: FieldTensors | None = None,
    dictionary: Dictionary | None = None,
) -> FitResult:
    """Fit a neural field to a scan (TF-INR, arXiv:2606.10352), in coefficient space, and code it.

    Parameters
    ----------
    progress
        Called as (stage, done, total, note); stages are sample, means, plan, project, regions,
        train, round, refit, components, code and measure.
    checkpoint
        Training leaves files behind whose names begin so, interrupted or done, and the same fit
        goes on from there; the caller removes them once the result is safe.
    start
        A field of the same area (an earlier scan of it, say) whose sine layers training begins
        with; its width and depth are taken.
    dictionary
        Patterns that span the basis, instead of a KLT of the scan's own.

    Raises
    ------
    FitError
        If patterns hold NaN or infinity, or training fails.
    ArgumentError
        If an option makes no sense.
    """
    return _Fit(scan, options or FitOptions(), progress, checkpoint, start, dictionary).run()


class _Fit:
    """The steps of one fit, with what they share: scan, options, progress, log."""

    def __init__(
        self,
        scan: Scan,
        options: FitOptions,
        progress: Progress | None,
        checkpoint: Path | str | None,
        start: FieldTensors | None,
        dictionary: Dictionary | None,
    ) -> None:
        self.scan, self.options, self.dictionary = scan, options, dictionary
        self.journal = Journal(progress, seed=options.seed)
        path = None if checkpoint is None else Path(checkpoint)
        self.maker = NetworkMaker(scan.grid, options, self.journal, path, start)

    def run(self) -> FitResult:
        """The best of up to three attempts."""
        n, target, stage = self.scan.grid.size, self.options.target_mae_pct, self.journal.stage
        with stage("sample", n):
            if self.scan.nbytes <= HELD_BYTES:
                held = self.scan.patterns.read(0, n)
                self.scan = replace(self.scan, patterns=ArrayPatterns(held))
            sample = draw_sample(self.scan, self.options.seed)
            basis = basis_of(sample, n, self.options, self.dictionary)
            others = sample
            if len(sample.patterns) < n:  # steps are tuned on patterns that no basis has fitted
                size = 4 * PROBES * sample.patterns[0].size
                others = draw_sample(self.scan, self.options.seed + 1, size)
        if self.dictionary is None and knows_only_its_sample(basis, sample, others):
            with stage("means", n) as tick:
                means = local_means(self.scan, basis.mean, basis.mask, tick)
                basis = basis_of(sample, n, self.options, means=means)
                del means
        with stage("plan"):
            noise = noise_counts(sample, basis.mask)
            plans = plans_for(sample, basis, n, self.options, self.maker.depth, self.journal)
            probe = Probe.of(others, basis.mask)
            del sample, others
        attempts = Attempts(self.scan, self.options, self.journal, self.maker, probe, noise)
        if self._searches(plans[0]):
            return self._judged(self._searched(attempts, basis, plans))
        plan = plans[0]
        result = attempts.make(basis, plan)
        for _ in range(TARGET_ATTEMPTS - 1):
            if target is None or result.errors.mae_pct <= target:
                break
            rank = min(round(MORE_COMPONENTS * plan.rank), len(basis.variances) + 1)
            width = result.tensors.width or 0
            if rank == plan.rank and width >= WIDEST and self._short(result) > NEAR_MISS:
                break  # as large as it gets: what is missed is more than a finer coding saves
            plan = replace(plan, rank=rank, step=FINER_STEP * plan.step)
            again = attempts.make(basis, plan, WIDER)
            if again.errors.mae_pct < result.errors.mae_pct:
                result = again
        return self._judged(result)

    def _searches(self, plan: Plan) -> bool:
        """Whether several fits are to be tried: with a target, where they take seconds."""
        options = self.options
        free = not isinstance(options.width, int) and self.maker.start is None and plan.rank > 1
        targeted = options.target_mae_pct is not None or options.target_size_mb is not None
        return (
            free and targeted and options.time_s is None and self.scan.grid.size <= SEARCHED_POINTS
        )

    def _searched(self, attempts: Attempts, basis: Basis, plans: list[Plan]) -> FitResult:
        """The best of a few fits of each kind of network, going from the first plan to its
        neighbours in rank and, of sine layers, in width."""
        first, plans = plans[0], sorted(plans, key=lambda plan: plan.rank)
        start = plans.index(first)
        results: dict[tuple[str, int, int], FitResult] = {}

        def cost(kind: str, place: tuple[int, int]) -> float:
            plan = replace(plans[place[0]], width=place[1])
            if results:
                plan = replace(plan, step=next(iter(results.values())).log["step_counts"])
            made = replace(attempts, maker=replace(self.maker, only=kind)).make(basis, plan)
            results[kind, *place] = made
            return self._cost(made)

        def around(place: tuple[int, int]) -> list[tuple[int, int]]:
            i, width = place
            narrower, wider = next_width(width, -1), next_width(width, 1)
            places = [(i, whole_width(0.7 * width)), (i, whole_width(1.4 * width))]
            places += [(i - 1, width), (i + 1, width), (i, narrower), (i, wider)]
            places += [(i - 1, narrower), (i + 1, wider), (i - 1, wider), (i + 1, narrower)]
            return [p for p in places if 0 <= p[0] < len(plans)]

        def beside(place: tuple[int, int]) -> list[tuple[int, int]]:
            return [(i, 0) for i in (place[0] - 1, place[0] + 1) if 0 <= i < len(plans)]

        kinds = self.maker.kinds
        if "sine" in kinds:
            width = first.width or auto_width(self.scan.grid.size, first.rank)
            descend(partial(cost, "sine"), (start, width), around, SEARCHED_FITS)
        if "lattice" in kinds:
            descend(partial(cost, "lattice"), (start, 0), beside, SEARCHED_FITS)
        return min(results.values(), key=lambda found: (self._short(found) > 0, self._cost(found)))

    def _short(self, result: FitResult) -> float:
        """By what part a target is missed; 0 where it is met."""
        if self.options.target_mae_pct is not None:
            return max(result.errors.mae_pct / self.options.target_mae_pct - 1, 0.0)
        assert self.options.target_size_mb is not None
        return max(result.coded.nbytes / (1e6 * self.options.target_size_mb) - 1, 0.0)

    def _cost(self, result: FitResult) -> float:
        """Bytes where an error is the target, error where the size is; more where it is missed."""
        targets_error = self.options.target_mae_pct is not None
        cost = result.coded.nbytes if targets_error else result.errors.mae_counts
        return cost * (1 + MISSED * self._short(result))

    def _judged(self, result: FitResult) -> FitResult:
        """The result with what was reached in its log, and a note where a target was missed."""
        log, options = self.journal.log | result.log, self.options
        if options.target_mae_pct is not None:
            log["target_met"] = result.errors.mae_pct <= options.target_mae_pct
            if not log["target_met"]:
                self.journal.note(
                    f"target MAE of {options.target_mae_pct:g} % not met: best is "
                    f"{result.errors.mae_pct:.4g} % at rank {result.tensors.rank}"
                )
        if options.target_size_mb is not None:
            log["target_met"] = result.coded.nbytes <= 1e6 * options.target_size_mb
            if not log["target_met"]:
                self.journal.note(
                    f"target size of {options.target_size_mb:g} MB not met: smallest is "
                    f"{result.coded.nbytes / 1e6:.3g} MB; ask for a lower rank or width"
                )
        return replace(result, log=log, checkpoints=tuple(sorted(self.maker.checkpoints)))
