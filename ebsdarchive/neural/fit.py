"""Fitting a neural field to a scan: sample, basis, projection, training, refit, measured errors.

Owns the order of the steps and the choices between them (rank, width, how long to train); each
step is in the module of its name. The scan is read in blocks: once in part for the sample, then
three times in full. Memory: the sample (256 MiB as float32, and as much for its decomposition),
the coefficients (768 MiB at most) and a few blocks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import FitError
from ebsdarchive.neural.basis import RANK_LIMIT, Basis, choose_rank, klt_of_sample
from ebsdarchive.neural.field import FieldTensors
from ebsdarchive.neural.options import (
    FitOptions,
    auto_learning_rate,
    auto_steps,
    auto_width,
)
from ebsdarchive.neural.pixels import detector_mask, pixel_weights, values_inside
from ebsdarchive.neural.projection import Projection, coefficient_limit, project
from ebsdarchive.neural.refine import (
    FieldErrors,
    measure_errors,
    network_tensors,
    refit_basis,
    rounding_error,
)
from ebsdarchive.neural.sample import Sample, draw_sample, noise_variance
from ebsdarchive.neural.schedule import TrainOptions
from ebsdarchive.scan import ArrayPatterns, Scan

__all__ = ["FitOptions", "FitResult", "Progress", "fit_field"]

Progress = Callable[[str, float, float, str], None]  # stage, done, total, note

HELD_BYTES = 256 << 20  # scans up to this size are read once and held
TARGET_ATTEMPTS = 3
TARGET_MARGIN = 1.01  # the network's coefficients are a little worse than the KLT's


@dataclass(frozen=True)
class FitResult:
    """A fitted field, what it loses, and how it was made.

    `log` holds plain JSON values: seconds per stage, the rank rule's figures, training figures,
    and notes for the user (a target that was not met, a collapsed and restarted run).
    """

    tensors: FieldTensors
    errors: FieldErrors
    log: dict[str, Any]


def fit_field(
    scan: Scan,
    options: FitOptions | None = None,
    *,
    progress: Progress | None = None,
    checkpoint: Path | str | None = None,
) -> FitResult:
    """Fit a neural field to a scan (TF-INR, arXiv:2606.10352), in coefficient space.

    Parameters
    ----------
    progress
        Called as (stage, done, total, note); stages are sample, project, train, refit, measure.
    checkpoint
        File that training leaves behind, interrupted or done, and that the same fit goes on from;
        the caller removes it once the result is safe.

    Raises
    ------
    FitError
        If patterns hold NaN or infinity, or training fails.
    ArgumentError
        If an option makes no sense.
    """
    return _Fit(scan, options or FitOptions(), progress, checkpoint).run()


def expected_mae(
    sample: Sample, basis: Basis, ranks: list[int], patterns: int = 256
) -> npt.NDArray[np.float64]:
    """(len(ranks),) mean absolute error in counts of the KLT alone, over part of the sample."""
    step = max(1, len(sample.patterns) // patterns)
    inside = values_inside(sample.patterns[::step], basis.mask).astype(np.float32)
    coefficients = basis.coefficients[::step]
    return np.array(
        [np.abs(basis.synthesise(coefficients[:, : r - 1]) - inside).mean() for r in ranks]
    )


class _Fit:
    """The steps of one fit, with what they share: scan, options, progress, log."""

    def __init__(
        self,
        scan: Scan,
        options: FitOptions,
        progress: Progress | None,
        checkpoint: Path | str | None,
    ) -> None:
        self.scan, self.options = scan, options
        self.report = progress
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.log: dict[str, Any] = {"seconds": {}, "notes": [], "seed": options.seed}

    def run(self) -> FitResult:
        n = self.scan.grid.size
        with self._stage("sample", n):
            if self.scan.nbytes <= HELD_BYTES:
                held = self.scan.patterns.read(0, n)
                self.scan = replace(self.scan, patterns=ArrayPatterns(held))
            sample = draw_sample(self.scan, self.options.seed)
            mask = detector_mask(sample, self.options.mask)
            weights = pixel_weights(sample, mask, self.options.band_weight)
            basis = self._basis(sample, mask, weights)
            noise = noise_counts(sample, mask)
            ranks = self._ranks(sample, basis, mask)
            del sample
        best: FitResult | None = None
        for rank in ranks:
            result = self._fit_rank(basis.truncate(rank - 1), noise)
            if best is None or result.errors.mae_pct < best.errors.mae_pct:
                best = result
            target = self.options.target_mae_pct
            if target is None or result.errors.mae_pct <= target:
                return result
        assert best is not None  # `_ranks` is never empty
        self.log["target_met"] = False
        self.log["notes"].append(
            f"target MAE of {self.options.target_mae_pct:g} % not met: "
            f"best is {best.errors.mae_pct:.4g} % at rank {best.tensors.rank}"
        )
        return replace(best, log={**best.log, "target_met": False, "notes": self.log["notes"]})

    def _basis(
        self, sample: Sample, mask: npt.NDArray[np.bool_], weights: npt.NDArray[np.float32]
    ) -> Basis:
        """As many components as were asked for, or as the rank rule and the memory allow."""
        limit = min(RANK_LIMIT, coefficient_limit(self.scan.grid.size))
        rank = self.options.rank
        if isinstance(rank, int):
            if rank - 1 > coefficient_limit(self.scan.grid.size):
                raise FitError(
                    f"rank: expected at most {coefficient_limit(self.scan.grid.size) + 1} for "
                    f"{self.scan.grid.size} points, found {rank}"
                )
            return klt_of_sample(sample, mask, weights, rank - 1, self.options.seed)
        some = min(limit, 128 if self.options.target_mae_pct is None else 512)
        basis = klt_of_sample(sample, mask, weights, some, self.options.seed)
        if choose_rank(basis, len(sample.pairs)).rank > 0.7 * some and some < limit:
            basis = klt_of_sample(sample, mask, weights, limit, self.options.seed)
        return basis

    def _ranks(self, sample: Sample, basis: Basis, mask: npt.NDArray[np.bool_]) -> list[int]:
        """Ranks to try, in order: one, or for a target error some until it is met."""
        most = len(basis.variances) + 1
        options = self.options
        if isinstance(options.rank, int):
            if most < options.rank:
                self.log["notes"].append(
                    f"rank {options.rank} lowered to {most}: the patterns span no more"
                )
            return [most]
        choice = choose_rank(basis, len(sample.pairs))
        self.log["rank_rule"] = dict(vars(choice))
        if options.target_mae_pct is None:
            return [choice.rank]
        self.log["target_met"] = True
        candidates = sorted({1, most, *(round(1.25**i) for i in range(32) if 1.25**i < most)})
        inside = values_inside(sample.patterns, mask)
        span = float(inside.max()) - float(inside.min())
        aim = options.target_mae_pct * span / 100 / TARGET_MARGIN
        errors = expected_mae(sample, basis, candidates)
        first = int(np.argmax(errors <= aim)) if (errors <= aim).any() else len(candidates) - 1
        return candidates[first:][:: 2 if first + 4 < len(candidates) else 1][:TARGET_ATTEMPTS]

    def _fit_rank(self, basis: Basis, noise: float | None) -> FitResult:
        """Project, train, refit and measure at the rank of `basis`."""
        n, options = self.scan.grid.size, self.options
        with self._stage("project", n) as tick:
            projection = project(self.scan, basis, tick)
        weights: list[npt.NDArray] = []
        biases: list[npt.NDArray] = []
        if len(projection.scale):
            weights, biases = self._train(projection)
        tensors = network_tensors(
            weights, biases, projection.scale, projection.mean_pattern, basis.mask,
            options.omega_0, options.omega_0,
        )  # fmt: skip
        with self._stage("refit", n) as tick:
            tensors = refit_basis(self.scan, tensors, tick)
        with self._stage("measure", n) as tick:
            errors = measure_errors(self.scan, tensors, projection.range_counts, noise, tick)
        self.log["rounding_share"] = rounding_error(
            tensors, weights, biases, self.scan, projection.residual_energy
        )
        self.log["residual_energy"] = projection.residual_energy
        self.log["signal_energy"] = projection.signal_energy
        self.log["rank"], self.log["bytes"] = tensors.rank, tensors.nbytes
        return FitResult(tensors, errors, {**self.log, "seconds": dict(self.log["seconds"])})

    def _train(self, projection: Projection) -> tuple[list[npt.NDArray], list[npt.NDArray]]:
        """Weights and biases of the network, float32."""
        # spinning OpenMP threads make a step 60 times slower where another program uses a core
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from ebsdarchive.neural.siren import SirenConfig
        from ebsdarchive.neural.training import train

        options, n = self.options, self.scan.grid.size
        components = len(projection.scale)
        width = options.width
        if not isinstance(width, int):
            width = auto_width(n, components + 1)
        config = SirenConfig(
            width, components, omega_first=options.omega_0, omega_hidden=options.omega_0
        )
        rate = options.learning_rate
        how = TrainOptions(
            learning_rate=auto_learning_rate(width) if isinstance(rate, str) else rate,
            steps=auto_steps(n), time_s=options.time_s,
            seed=options.seed, device=options.device,
        )  # fmt: skip
        share = projection.residual_energy / max(projection.signal_energy, 1e-30)
        xy = self.scan.grid.normalise(self.scan.grid.positions())
        with self._stage("train", 1.0) as tick:
            trained = train(
                xy, projection.targets, projection.scale, config, how, share, tick,
                self.checkpoint,
            )  # fmt: skip
        self.log["notes"] += trained.notes
        self.log["training"] = {
            "width": width,
            "steps": trained.steps,
            "seconds": trained.seconds,
            "loss": trained.loss,
            "explained_variance": 1 - trained.loss,
            "restarts": trained.restarts,
            "learning_rate": trained.learning_rate,
            "device": trained.device,
            "stopped": trained.stopped,
            "history": trained.history,
        }
        return list(trained.weights), list(trained.biases)

    @contextmanager
    def _stage(self, name: str, total: float) -> Iterator[Callable[..., None]]:
        """Times a stage and hands out its progress callback (done, note)."""

        def tick(done: float, note: str = "") -> None:
            if self.report is not None:
                self.report(name, done, total, note)

        started = time.monotonic()
        tick(0.0)
        yield tick
        tick(total)
        seconds = self.log["seconds"]
        seconds[name] = seconds.get(name, 0.0) + time.monotonic() - started


def noise_counts(sample: Sample, mask: npt.NDArray[np.bool_], pixels: int = 1024) -> float | None:
    """Standard deviation in counts of a pixel's noise, over part of the mask's pixels."""
    if len(sample.pairs) == 0:
        return None
    chosen = np.flatnonzero(mask)
    chosen = chosen[:: max(1, len(chosen) // pixels)]
    values = sample.patterns.reshape(len(sample.patterns), -1)[:, chosen].astype(np.float32)
    return float(np.sqrt(noise_variance(values, sample.pairs).mean()))
