"""Fitting a joint field to a scan (4D-INR, arXiv:2606.10352): sample, training, coding, errors.

Owns the order of the steps. It is the baseline that the tensor field is measured against: it takes
far longer to train and to decode.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid
from ebsdarchive.neural.fit import HELD_BYTES
from ebsdarchive.neural.joint_field import JointField, JointTensors
from ebsdarchive.neural.joint_samples import JointSamples
from ebsdarchive.neural.joint_schedule import JointSchedule, auto_joint_steps
from ebsdarchive.neural.journal import Journal, Progress
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.neural.pixels import detector_mask, pixel_weights, values_inside
from ebsdarchive.neural.refine import FieldErrors, measure_errors
from ebsdarchive.neural.sample import Sample, draw_sample, noise_counts
from ebsdarchive.scan import ArrayPatterns, Scan

__all__ = ["JointResult", "fit_joint"]

PROBES = 8  # patterns on which the type of the weights is chosen
MEASURED_BYTES = 1 << 20  # of patterns between two reports of progress
REFUSED = ("rank", "target_mae_pct", "target_size_mb", "depth", "omega_0", "learning_rate")


@dataclass(frozen=True)
class JointResult:
    """A fitted joint field, what it loses, and how it was made; see `FitResult`."""

    tensors: JointTensors
    errors: FieldErrors
    log: dict[str, Any]
    checkpoints: tuple[Path, ...] = ()

    def field(self, grid: Grid) -> JointField:
        """The stored field over its scan's grid."""
        return JointField(self.tensors, grid)


def fit_joint(
    scan: Scan,
    options: FitOptions | None = None,
    *,
    progress: Progress | None = None,
    checkpoint: Path | str | None = None,
) -> JointResult:
    """Fit a joint field to a scan.

    Weights become float16 where that raises the error by no more than `coding_loss_pct`, else
    float32.

    Parameters
    ----------
    options
        Of them `width` (256 by default), `time_s` or `steps`, `band_weight`, `mask`, `seed`,
        `device` and `coding_loss_pct`.
    progress
        Called as (stage, done, total, note); stages are sample, train, code and measure.
    checkpoint
        Training leaves a file behind whose name begins so, and the same fit goes on from there; the
        caller removes it once the result is safe.

    Raises
    ------
    FitError
        If patterns hold NaN or infinity, or training fails.
    ArgumentError
        If an option makes no sense, or none for this method.
    """
    options = options or FitOptions()
    for name in REFUSED:
        if (found := getattr(options, name)) != getattr(FitOptions(), name):
            raise ArgumentError(
                f"{name}: expected none with the joint method, found {found!r}; leave it out or "
                f"use the tensor method"
            )
    if options.seed < 0:
        raise ArgumentError(f"seed: expected 0 or more, found {options.seed}")
    # spinning OpenMP threads make a step 60 times slower where another program uses a core
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ebsdarchive.neural.joint_network import DeviceField, JointConfig
    from ebsdarchive.neural.joint_training import tensors_of, train_joint

    journal = Journal(progress, seed=options.seed)
    n = scan.grid.size
    with journal.stage("sample", n):
        if scan.nbytes <= HELD_BYTES:
            scan = replace(scan, patterns=ArrayPatterns(scan.patterns.read(0, n)))
        sample = draw_sample(scan, options.seed)
        mask = detector_mask(sample, options.mask)
        weights = pixel_weights(sample, mask, options.band_weight)
        noise = noise_counts(sample, mask)
        samples = JointSamples(scan, sample, mask, weights, options.seed)
    config = JointConfig() if options.width == "auto" else JointConfig(width=int(options.width))
    batch = min(JointSchedule.batch, samples.count)
    steps = options.steps or auto_joint_steps(samples.count, batch)
    schedule = JointSchedule(steps=steps, time_s=options.time_s, batch=batch)
    path = None
    if checkpoint is not None:
        path = Path(checkpoint).with_name(f"{Path(checkpoint).name}.joint.npz")
    with journal.stage("train") as tick:
        trained = train_joint(
            samples, config, schedule, seed=options.seed, device=options.device, progress=tick,
            checkpoint=path,
        )  # fmt: skip
    for note in trained.notes:
        journal.note(note)
    with journal.stage("code"):
        exact = tensors_of(trained.network, samples)
        tensors = _coded(exact, sample, scan.grid, options.coding_loss_pct)
    with journal.stage("measure", n) as tick:
        decoded = JointField(tensors, scan.grid)
        if trained.device != "cpu":
            decoded = DeviceField(tensors, scan.grid, trained.device)
        errors = measure_errors(scan, decoded, noise, tick, MEASURED_BYTES)
    journal.log["weights"] = str(tensors.bias.dtype)
    journal.log["training"] = [
        {
            "width": config.width,
            "steps": trained.steps,
            "batch": batch,
            "seconds": trained.seconds,
            "explained_variance": 1 - trained.unexplained,
            "band_share": samples.share,
            "device": trained.device,
        }
    ]
    return JointResult(tensors, errors, journal.log, () if path is None else (path,))


def _coded(exact: JointTensors, sample: Sample, grid: Grid, loss_pct: float) -> JointTensors:
    """The field in float16 where a few patterns allow it, else as it is."""
    some = np.unique(np.linspace(0, len(sample.indices) - 1, PROBES).astype(np.int64))
    xy = grid.positions_at(sample.indices[some])
    measured = values_inside(sample.patterns[some], exact.mask)

    def error(tensors: JointTensors) -> float:
        return float(np.abs(JointField(tensors, grid).inside(xy) - measured).mean())

    half = exact.as_type(np.float16)
    return half if error(half) <= (1 + loss_pct / 100) * error(exact) else exact
