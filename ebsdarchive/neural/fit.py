"""Fitting a neural field to a scan: sample, plan, projection, training, coding, measured errors.

Owns the order of the steps; each step is in the module of its name, and the choices between them
are in `plan`. The scan is read in blocks: once in part for the sample, then three times in full.
Memory: the sample (256 MiB as float32, and as much for its decomposition), the coefficients
(768 MiB at most) and a few blocks.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs.networks import QuantisedNetwork
from ebsdarchive.errors import FitError
from ebsdarchive.neural import plan as planning
from ebsdarchive.neural.basis import (
    RANK_LIMIT,
    Basis,
    choose_rank,
    klt_in_span,
    klt_of_sample,
)
from ebsdarchive.neural.coded import CodedField, decode_field, encode_field
from ebsdarchive.neural.field import FieldTensors, Network
from ebsdarchive.neural.options import (
    FitOptions,
    auto_depth,
    auto_learning_rate,
    auto_omega,
    auto_steps,
    auto_width,
    parameters,
    width_for,
)
from ebsdarchive.neural.pixels import detector_mask, pixel_weights, values_inside
from ebsdarchive.neural.plan import Plan
from ebsdarchive.neural.projection import Projection, coefficient_limit, project
from ebsdarchive.neural.refine import FieldErrors, Refit, measure_errors, refit_basis
from ebsdarchive.neural.sample import Sample, draw_sample, noise_variance
from ebsdarchive.neural.schedule import TrainOptions
from ebsdarchive.scan import ArrayPatterns, Scan

__all__ = ["FitOptions", "FitResult", "Progress", "fit_field"]

Progress = Callable[[str, float, float, str], None]  # stage, done, total, note
Arrays = tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]  # weights, biases

HELD_BYTES = 256 << 20  # scans up to this size are read once and held
TARGET_ATTEMPTS = 3
PROBES = 512  # patterns on which a step is tuned to a target
NEAR = (1.6, 2.2)  # factors of the best number of weights within which the next width is not tried
RECOVERY_STEPS = 100
WARM_RATE = 0.3  # of the learning rate, where training begins with another field's layers
FIRST_SHARE = 0.25  # of the time for training, spent on a first network where a second may follow


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


def fit_field(
    scan: Scan,
    options: FitOptions | None = None,
    *,
    progress: Progress | None = None,
    checkpoint: Path | str | None = None,
    start: FieldTensors | None = None,
    dictionary: FieldTensors | None = None,
) -> FitResult:
    """Fit a neural field to a scan (TF-INR, arXiv:2606.10352), in coefficient space, and code it.

    Parameters
    ----------
    progress
        Called as (stage, done, total, note); stages are sample, plan, project, train, round,
        refit, code and measure.
    checkpoint
        Training leaves files behind whose names begin so, interrupted or done, and the same fit
        goes on from there; the caller removes them once the result is safe.
    start
        A field of the same area (an earlier scan of it, say) whose sine layers training begins
        with; its width and depth are taken.
    dictionary
        A field whose basis patterns span those of this one, instead of a KLT of the scan's own.

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
        dictionary: FieldTensors | None,
    ) -> None:
        self.scan, self.options = scan, options
        self.start, self.dictionary = start, dictionary
        self.report = progress
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.checkpoints: set[Path] = set()
        self.log: dict[str, Any] = {"seconds": {}, "notes": [], "seed": options.seed}
        self.depth = _whole(options.depth, auto_depth(scan.grid.size))
        self.omegas = [options.omega_0]
        self.omegas += [auto_omega(options.omega_0, self.depth)] * (self.depth - 1)
        if start is not None:
            if not start.weights:
                raise FitError("start: expected a field with a network, found one of rank 1")
            self.depth = len(start.weights) - 1
            self.omegas = [start.omega_first, *[start.omega_hidden] * (self.depth - 1)]

    def run(self) -> FitResult:
        """The best of up to three attempts."""
        n = self.scan.grid.size
        with self._stage("sample", n):
            if self.scan.nbytes <= HELD_BYTES:
                held = self.scan.patterns.read(0, n)
                self.scan = replace(self.scan, patterns=ArrayPatterns(held))
            sample = draw_sample(self.scan, self.options.seed)
            mask = self._mask(sample)
            weights = pixel_weights(sample, mask, self.options.band_weight)
            basis = self._basis(sample, mask, weights)
            self.noise = noise_counts(sample, mask)
        with self._stage("plan", 1.0):
            plan = self._plan(sample, basis)
            self.probe = _Probe.of(sample, mask)
            del sample
        result = self._attempt(basis, plan)
        for _ in range(TARGET_ATTEMPTS - 1):
            if self.log.get("target_met", True):
                break
            rank = min(round(1.3 * plan.rank), len(basis.variances) + 1)
            plan = replace(plan, rank=rank, step=0.8 * plan.step)
            again = self._attempt(basis, plan, wider=1.4)
            if again.errors.mae_pct < result.errors.mae_pct:
                result = again
        if not self.log.get("target_met", True):
            self.log["notes"].append(
                f"target MAE of {self.options.target_mae_pct:g} % not met: best is "
                f"{result.errors.mae_pct:.4g} % at rank {result.tensors.rank}"
            )
        return replace(result, log=self.log, checkpoints=tuple(sorted(self.checkpoints)))

    def _basis(
        self, sample: Sample, mask: npt.NDArray[np.bool_], weights: npt.NDArray[np.float32]
    ) -> Basis:
        """As many components as were asked for, or as the rank rule and the memory allow."""
        n = self.scan.grid.size
        limit = min(RANK_LIMIT, coefficient_limit(n))
        rank = self.options.rank
        if self.dictionary is not None:
            basis = klt_in_span(sample, weights, self.dictionary.basis, mask)
            return basis.truncate(rank - 1) if isinstance(rank, int) else basis.truncate(limit)
        if isinstance(rank, int):
            if rank - 1 > coefficient_limit(n):
                raise FitError(
                    f"rank: expected at most {coefficient_limit(n) + 1} for {n} points, "
                    f"found {rank}"
                )
            return klt_of_sample(sample, mask, weights, rank - 1, self.options.seed)
        some = min(limit, 128 if self.options.target_mae_pct is None else 512)
        basis = klt_of_sample(sample, mask, weights, some, self.options.seed)
        if choose_rank(basis, len(sample.pairs)).rank > 0.7 * some and some < limit:
            basis = klt_of_sample(sample, mask, weights, limit, self.options.seed)
        return basis

    def _mask(self, sample: Sample) -> npt.NDArray[np.bool_]:
        """The pixels to fit: those of the dictionary, where there is one."""
        if self.dictionary is None:
            return detector_mask(sample, self.options.mask)
        mask, shape = self.dictionary.mask, sample.patterns.shape[1:]
        if mask.shape != shape:
            raise FitError(
                f"basis: expected basis patterns of {shape} pixels, found {mask.shape}; take "
                f"them from a scan with the same detector settings"
            )
        return mask

    def _plan(self, sample: Sample, basis: Basis) -> Plan:
        """Rank, step and perhaps width for what was asked for."""
        options, most = self.options, len(basis.variances) + 1
        if isinstance(options.rank, int):
            if most < options.rank:
                self.log["notes"].append(
                    f"rank {options.rank} lowered to {most}: the patterns span no more"
                )
            ranks = [most]
        else:
            choice = choose_rank(basis, len(sample.pairs))
            self.log["rank_rule"] = dict(vars(choice))
            ranks = [choice.rank]
            if options.target_size_mb is not None:
                ranks = sorted({max(1, round(choice.rank * part)) for part in (0.25, 0.5, 1)})
            if options.target_mae_pct is not None:
                ranks = sorted({1, most, *(round(1.25**i) for i in range(32) if 1.25**i < most)})
        floors = planning.floors(sample, basis, ranks)
        if options.target_size_mb is not None:
            return planning.plan_for_size(basis, floors, 1e6 * options.target_size_mb)
        if options.target_mae_pct is not None:
            inside = values_inside(sample.patterns, basis.mask)
            span = float(inside.max()) - float(inside.min())
            goal = options.target_mae_pct * span / 100
            able = [floor for floor in floors if floor.mae_counts < goal][:5]
            plan = planning.plan_for_error(basis, able, goal, self.scan.grid.size)
            return plan or planning.plan_for_loss(basis, floors[-1], 0.01)
        return planning.plan_for_loss(basis, floors[-1], options.coding_loss_pct / 100)

    def _attempt(self, basis: Basis, plan: Plan, wider: float = 1.0) -> FitResult:
        """Project, train, refit, code and measure at the rank of a plan."""
        n, options = self.scan.grid.size, self.options
        basis = basis.truncate(plan.rank - 1)
        with self._stage("project", n) as tick:
            projection = project(self.scan, basis, tick)
        quantised = None
        if len(projection.scale):
            noise = float(np.nansum(basis.noise))
            quantised = self._network(projection, plan, noise, wider)
        network = None if quantised is None else self._evaluated(quantised)
        with self._stage("refit", n) as tick:
            refit = refit_basis(self.scan, network, projection.mean_pattern, basis.mask, tick)
        with self._stage("code", 1.0):
            coded, tensors = self._code(quantised, network, refit, basis.mask, plan, projection)
        with self._stage("measure", n) as tick:
            errors = measure_errors(self.scan, tensors, projection.range_counts, self.noise, tick)
        if options.target_mae_pct is not None:
            self.log["target_met"] = errors.mae_pct <= options.target_mae_pct
        self.log["residual_energy"] = projection.residual_energy
        self.log["signal_energy"] = projection.signal_energy
        self.log["rank"], self.log["bytes"] = tensors.rank, coded.nbytes
        return FitResult(coded, tensors, errors, self.log)

    def _network(
        self, projection: Projection, plan: Plan, noise: float, wider: float
    ) -> QuantisedNetwork:
        """A network of the right width, trained and rounded."""
        weights, biases = self._trained(projection, plan, noise, wider)
        from ebsdarchive.neural.rounding import Rounding, round_network
        from ebsdarchive.neural.siren import cores_for

        grid = self.scan.grid
        step = plan.weight_step(sum(a.size for a in (*weights, *biases)))
        how = Rounding(
            grid.normalise(grid.positions()), projection.targets, projection.scale, step,
            self.omegas, self.options.seed, self._recovery_steps(),
        )  # fmt: skip
        with self._stage("round", 1.0) as tick, cores_for(len(biases[0])):
            return round_network(weights, biases, how, progress=tick)

    def _recovery_steps(self) -> int:
        """Steps between the rounding of layers: fewer where time is short."""
        if self.options.time_s is None:
            return RECOVERY_STEPS
        return int(min(RECOVERY_STEPS, 2 * self.options.time_s))

    def _evaluated(self, quantised: QuantisedNetwork) -> Network:
        return Network(*quantised.arrays(), self.omegas[0], self.omegas[1])

    def _trained(self, projection: Projection, plan: Plan, noise: float, wider: float) -> Arrays:
        """The network whose width pays best, out of a few that are trained.

        `noise` is the part of the coefficients' energy, in counts squared, that is noise.
        """
        n, outputs, options = self.scan.grid.size, len(projection.scale), self.options
        if self.start is not None:
            return self._train(projection, len(self.start.biases[0]), options.time_s)[0]
        if isinstance(options.width, int):
            return self._train(projection, options.width, options.time_s)[0]
        if plan.width is not None:
            return self._train(projection, plan.width, options.time_s)[0]
        width = auto_width(n, outputs + 1)
        time_s = None if options.time_s is None else FIRST_SHARE * options.time_s
        measured: list[tuple[float, float]] = []
        tried: dict[int, tuple[float, Arrays]] = {}
        price = planning.PRICE * plan.step**2 * planning.BITS_PER_WEIGHT
        for near in (*NEAR[: 1 if options.time_s else 2], math.inf):
            arrays, error = self._train(projection, width, time_s)
            count = parameters(width, self.depth, outputs)
            # the noise of the coefficients is not for the network to learn
            measured.append((count, max(error - noise, 0.02 * error)))
            if width not in tried or error + price * count < tried[width][0]:
                tried[width] = (error + price * count, arrays)
            best = wider * planning.best_parameters(measured, plan.step)
            best = min(max(best, count / 6), count * 6)
            next_width = width_for(best, self.depth, outputs)
            time_s = None if options.time_s is None else (1 - FIRST_SHARE) * options.time_s
            if next_width in tried or max(best / count, count / best) < near:
                if time_s is None or len(measured) > 1:
                    break
                next_width = width  # the right width at once: train it for the rest of the time
            width = next_width
        self.log["widths"] = sorted(tried)
        if wider > 1:
            return tried[max(tried)][1]
        return min(tried.values(), key=lambda entry: entry[0])[1]

    def _train(
        self, projection: Projection, width: int, time_s: float | None
    ) -> tuple[Arrays, float]:
        """Weights and biases of a network, and its squared error of a pattern, counts squared."""
        # spinning OpenMP threads make a step 60 times slower where another program uses a core
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from ebsdarchive.neural.siren import SirenConfig
        from ebsdarchive.neural.training import train

        options, n = self.options, self.scan.grid.size
        config = SirenConfig(
            width, len(projection.scale), self.depth, self.omegas[0], self.omegas[1]
        )
        rate = options.learning_rate
        if isinstance(rate, str):
            rate = auto_learning_rate(width) * (1 if self.start is None else WARM_RATE)
        how = TrainOptions(
            learning_rate=rate,
            steps=auto_steps(n), time_s=time_s,
            seed=options.seed, device=options.device,
        )  # fmt: skip
        xy = self.scan.grid.normalise(self.scan.grid.positions())
        path = None
        if self.checkpoint is not None:
            how_long = "" if time_s is None else f".{time_s:g}s"
            path = self.checkpoint.with_name(f"{self.checkpoint.name}.{width}{how_long}.npz")
            self.checkpoints.add(path)
        with self._stage("train", 1.0) as tick:
            begin = None if self.start is None else _output_refitted(self.start, xy, projection)
            trained = train(
                xy, projection.targets, projection.scale, config, how, tick, path, begin
            )
        self.log["notes"] += trained.notes
        self.log.setdefault("training", []).append(
            {
                "width": width,
                "steps": trained.steps,
                "seconds": trained.seconds,
                "explained_variance": 1 - trained.loss,
                "restarts": trained.restarts,
                "learning_rate": trained.learning_rate,
                "device": trained.device,
                "stopped": trained.stopped,
            }
        )
        error = trained.loss * projection.signal_energy
        return (list(trained.weights), list(trained.biases)), error

    def _code(
        self,
        quantised: QuantisedNetwork | None,
        network: Network | None,
        refit: Refit,
        mask: npt.NDArray[np.bool_],
        plan: Plan,
        projection: Projection,
    ) -> tuple[CodedField, FieldTensors]:
        """The field in bytes, at the step that the target asks for, and what it decodes to."""
        options, shape = self.options, (int(mask.shape[0]), int(mask.shape[1]))
        found: dict[float, tuple[CodedField, FieldTensors]] = {}

        def coded_at(step: float) -> tuple[CodedField, FieldTensors]:
            if step not in found:
                found.clear()
                coded = encode_field(
                    quantised, refit.basis, refit.mean_pattern, mask, step,
                    self.omegas[0], self.omegas[1],
                )  # fmt: skip
                found[step] = (coded, decode_field(coded, shape))
            return found[step]

        def added(step: float) -> float:
            tensors = coded_at(step)[1]
            return refit.added(tensors.basis, tensors.mean_pattern, mask)

        if options.target_size_mb is not None:
            step = planning.solve_step(
                lambda step: float(coded_at(step)[0].nbytes),
                1e6 * options.target_size_mb, plan.step, planning.SIZE_SLOPE,
            )  # fmt: skip
        elif options.target_mae_pct is not None:
            low, high = projection.range_counts
            goal = options.target_mae_pct * (high - low) / 100 * 0.999
            exact = self.probe.mae(network, refit.basis, refit.mean_pattern[mask], self.scan)
            rise = ((goal / exact) ** 2 - 1) * refit.residual_energy if exact > 0 else 0.0
            least = 0.01 * refit.residual_energy
            step = planning.solve_step(added, max(rise, least), plan.step, planning.ERROR_SLOPE)
        else:
            loss = options.coding_loss_pct / 100
            rise = planning.allowed_energy(loss, refit.residual_energy, refit.mean_pattern)
            step = planning.solve_step(added, rise, plan.step, planning.ERROR_SLOPE)
        self.log["step_counts"] = step
        return coded_at(step)

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


@dataclass(frozen=True)
class _Probe:
    """Some patterns to tune on: indices (k,) and values (k, m) inside the mask."""

    indices: npt.NDArray[np.int64]
    inside: npt.NDArray

    @classmethod
    def of(cls, sample: Sample, mask: npt.NDArray[np.bool_]) -> _Probe:
        step = max(1, len(sample.patterns) // PROBES)
        return cls(sample.indices[::step], values_inside(sample.patterns[::step], mask))

    def mae(
        self,
        network: Network | None,
        basis: npt.NDArray[np.float32],
        mean: npt.NDArray[np.float32],
        scan: Scan,
    ) -> float:
        """Mean absolute error in counts of network, basis (c, m) and mean (m,)."""
        decoded = np.repeat(mean[None], len(self.indices), axis=0)
        if network is not None:
            xy = scan.grid.normalise(scan.grid.positions_at(self.indices))
            decoded += network(xy) @ basis
        return float(np.abs(decoded - self.inside).mean(dtype=np.float64))


def _whole(option: int | str, automatic: int) -> int:
    return option if isinstance(option, int) else automatic


def _output_refitted(start: FieldTensors, xy: npt.NDArray, projection: Projection) -> Arrays:
    """The sine layers of another field, with the output layer that suits these coefficients."""
    step = max(1, len(xy) // 50_000)
    network = Network(start.weights, start.biases, start.omega_first, start.omega_hidden)
    features = np.column_stack([network.last_features(xy[::step]), np.ones(len(xy[::step]))])
    normal = features.T @ features
    normal[np.diag_indices(len(normal))] += 1e-5 * np.trace(normal) / len(normal)
    moment = features.T @ projection.targets[::step].astype(np.float64)
    output = np.linalg.solve(normal, moment).T.astype(np.float32)
    weights, biases = [*start.weights[:-1], output[:, :-1]], [*start.biases[:-1], output[:, -1]]
    return weights, biases


def noise_counts(sample: Sample, mask: npt.NDArray[np.bool_], pixels: int = 1024) -> float | None:
    """Standard deviation in counts of a pixel's noise, over part of the mask's pixels."""
    if len(sample.pairs) == 0:
        return None
    chosen = np.flatnonzero(mask)
    chosen = chosen[:: max(1, len(chosen) // pixels)]
    values = sample.patterns.reshape(len(sample.patterns), -1)[:, chosen].astype(np.float32)
    return float(np.sqrt(noise_variance(values, sample.pairs).mean()))
