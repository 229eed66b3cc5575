"""Training of the network on coefficients: the paper's pixel loss, all pixels in every step.

Owns the optimisation (learning rates, schedule, restarts, early stop, resume). Knows positions and
coefficients, not patterns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebsdarchive.errors import ArgumentError, FitError
from ebsdarchive.neural.checkpoint import digest_of, read_checkpoint, write_checkpoint
from ebsdarchive.neural.siren import Siren, SirenConfig

__all__ = ["TrainOptions", "Trained", "choose_device", "coefficient_loss", "train"]

OUTPUT_RATE = 10.0  # the linear layer learns this much faster; measured 1.3 times less error
CHECKS = 50
COLLAPSED = 0.98  # unexplained variance of a network that gives the mean pattern only


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
    warm_up, decay_start
        Parts of the schedule: linear rise, constant rate up to `decay_start`, linear decay to 0.
    restarts
        How often a collapsed run starts again at a third of the learning rate.
    tolerance
        Stop once the error added by the coefficients is below this part of what the basis leaves.
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
class Trained:
    """A trained network as float32 arrays, and how it went.

    `loss` is the unexplained part of the coefficients' energy over the last stretch of training;
    `history` holds (seconds, step, loss).
    """

    weights: list[npt.NDArray[np.float32]]
    biases: list[npt.NDArray[np.float32]]
    loss: float
    steps: int
    seconds: float
    restarts: int
    device: str
    learning_rate: float
    stopped: str
    notes: list[str] = field(default_factory=list)
    history: list[tuple[float, int, float]] = field(default_factory=list)


@dataclass
class _Run:
    """State of an attempt; together with the network and Adam's moments, all that resumes need."""

    step: int = 0
    attempt: int = 0
    elapsed: float = 0.0  # seconds of training, over all attempts and sessions
    began: float = 0.0  # `elapsed` at the start of this attempt
    decay_start: float = 0.0
    decay_stop: float = 1.0
    loss_sum: float = 0.0
    loss_count: int = 0
    last_loss: float = float("nan")
    best_loss: float = float("inf")
    checked: int = 0
    slow_checks: int = 0


def choose_device(device: str) -> str:
    """ "cpu" or "cuda"; "auto" takes cuda where there is one."""
    if device not in ("auto", "cpu", "cuda"):
        raise ArgumentError(f"device: expected auto, cpu or cuda, found {device!r}")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise FitError("device: expected a CUDA device, found none; use device cpu or auto")
    return device


def coefficient_loss(output: Tensor, target: Tensor, energy: Tensor) -> Tensor:
    """Mean over points of sum_r energy_r (output_r - target_r)^2 / sum_r energy_r.

    Outputs and targets are coefficients over their scale, `energy` (c,) is that scale squared:
    ||A - A*||^2, relative to ||A*||^2. By Parseval this is the squared error of all (weighted)
    pixels, less what the basis leaves.
    """
    return (output - target).square().mean(dim=0) @ (energy / energy.sum())


def train(
    positions: npt.NDArray[np.float64],
    targets: npt.NDArray,
    scale: npt.NDArray[np.float32],
    config: SirenConfig,
    options: TrainOptions,
    residual_share: float = 0.0,
    progress: Callable[[float, str], None] | None = None,
    checkpoint: Path | None = None,
) -> Trained:
    """Fit a network to coefficients.

    Parameters
    ----------
    positions
        (n, 2) in the field's own coordinates, -1 … 1.
    targets
        (n, c) coefficients over `scale`.
    scale
        (c,) counts.
    residual_share
        What the basis leaves, relative to what it holds (for the early stop).
    progress
        Called with the part done, 0 … 1, and a note.
    checkpoint
        Written about every 30 s and at an interrupt; used if it is of the same run.

    Raises
    ------
    FitError
        If every attempt ends in NaN.
    """
    device = choose_device(options.device)
    digest = _digest(positions, targets, scale, config, options)
    best: Trained | None = None
    run, notes = _Run(decay_start=options.decay_start), []
    saved = None
    if checkpoint is not None:
        saved, note = read_checkpoint(checkpoint, digest)
        notes += [note] if note else []
    while True:
        trainer = _Trainer(positions, targets, scale, config, options, device, run, digest)
        if saved is not None:
            trainer.restore(saved)
            saved = None
        trained = trainer.train(residual_share, progress, checkpoint)
        if best is None or trained.loss < best.loss or not np.isfinite(best.loss):
            best = trained
        if trained.stopped != "collapsed" or run.attempt >= options.restarts:
            break
        notes.append(f"collapsed at learning rate {trained.learning_rate:.1e}, restarted")
        run = _Run(
            attempt=run.attempt + 1,
            elapsed=run.elapsed,
            began=run.elapsed,
            decay_start=options.decay_start,
        )
    if not np.isfinite(best.loss):
        raise FitError(
            f"training: expected a finite loss, found {best.loss} in every attempt; "
            f"use a smaller rank or omega_0"
        )
    best.notes = notes
    best.restarts = run.attempt
    best.seconds = run.elapsed
    return best


class _Trainer:
    """One attempt: network, optimiser and data on a device."""

    def __init__(
        self,
        positions: npt.NDArray[np.float64],
        targets: npt.NDArray,
        scale: npt.NDArray[np.float32],
        config: SirenConfig,
        options: TrainOptions,
        device: str,
        run: _Run,
        digest: str,
    ) -> None:
        self.options, self.run, self.digest, self.device = options, run, digest, device
        self.learning_rate = options.learning_rate / 3**run.attempt
        self.xy = torch.from_numpy(positions.astype(np.float32)).to(device)  # (n, 2)
        self.targets = torch.from_numpy(targets).to(device)  # (n, c)
        self.energy = torch.from_numpy(scale.astype(np.float32) ** 2).to(device)  # (c,)
        self.energy /= self.energy.sum()
        self.network = Siren(config, options.seed + run.attempt).to(device)
        *sine, output = self.network.layers
        self.optimiser = torch.optim.Adam(
            [
                {"params": [p for layer in sine for p in layer.parameters()], "factor": 1.0},
                {"params": list(output.parameters()), "factor": OUTPUT_RATE},
            ],
            lr=self.learning_rate,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.epoch = -1
        self.order = torch.empty(0)

    def train(
        self,
        residual_share: float,
        progress: Callable[[float, str], None] | None,
        checkpoint: Path | None,
    ) -> Trained:
        run, options = self.run, self.options
        history: list[tuple[float, int, float]] = []
        resumed_at, started = run.elapsed, time.monotonic()
        written = started
        stopped = ""
        try:
            while not stopped:
                run.elapsed = resumed_at + time.monotonic() - started
                clock = self._clock()
                if clock >= (run.checked + 1) / CHECKS and run.loss_count:
                    stopped = self._check(clock, residual_share)
                    history.append((run.elapsed, run.step, run.last_loss))
                    if progress is not None:
                        progress(
                            min(clock / run.decay_stop, 1.0), f"unexplained {run.last_loss:.2%}"
                        )
                if clock >= run.decay_stop:
                    stopped = stopped or "schedule done"
                if stopped:
                    break
                self._step(self._rate(clock))
                if checkpoint is not None and time.monotonic() - written > options.checkpoint_s:
                    self.save(checkpoint)
                    written = time.monotonic()
        except KeyboardInterrupt:
            if checkpoint is not None:
                self.save(checkpoint)
            raise
        weights, biases = self.network.arrays()
        loss = run.last_loss if run.loss_count == 0 else float(run.loss_sum / run.loss_count)
        return Trained(
            weights, biases, loss, run.step, run.elapsed, run.attempt, self.device,
            self.learning_rate, stopped, history=history,
        )  # fmt: skip

    def _clock(self) -> float:
        """Part of the schedule that is over, by steps or by seconds."""
        run, time_s = self.run, self.options.time_s
        if time_s is None:
            return run.step / max(self.options.steps, 1)
        return (run.elapsed - run.began) / max(time_s - run.began, 1e-3)

    def _rate(self, clock: float) -> float:
        """The learning rate: warm-up, constant, linear decay."""
        run = self.run
        rate = min(1.0, (clock + 1e-3) / self.options.warm_up)
        if clock > run.decay_start:
            rate *= max(run.decay_stop - clock, 0.0) / (run.decay_stop - run.decay_start)
        return rate * self.learning_rate

    def _step(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        xy, target = self._batch()
        self.optimiser.zero_grad(set_to_none=True)
        loss = coefficient_loss(self.network(xy), target, self.energy)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.run.loss_sum = self.run.loss_sum + loss.detach()  # stays on the device
        self.run.loss_count += 1
        self.run.step += 1

    def _batch(self) -> tuple[Tensor, Tensor]:
        """The points of this step; each epoch is a permutation that its number determines."""
        n, batch = len(self.xy), self.options.batch
        if n <= batch:
            return self.xy, self.targets.float()
        per_epoch = n // batch
        epoch, at = divmod(self.run.step, per_epoch)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + epoch)
            self.order = torch.randperm(n, generator=generator).to(self.device)
            self.epoch = epoch
        chosen = self.order[at * batch : (at + 1) * batch]
        return self.xy[chosen], self.targets[chosen].float()

    def _check(self, clock: float, residual_share: float) -> str:
        """Look at the loss since the last check; returns why to stop, or nothing."""
        run = self.run
        loss = float(run.loss_sum) / run.loss_count
        before, run.last_loss = run.last_loss, loss
        run.loss_sum, run.loss_count = 0.0, 0
        run.checked = int(clock * CHECKS)
        if not np.isfinite(loss):
            return "collapsed"
        run.best_loss = min(run.best_loss, loss)
        if clock > 0.1 and loss > min(COLLAPSED, max(0.5, 3 * run.best_loss)):
            return "collapsed"
        enough = self.options.tolerance * residual_share
        if loss < enough:
            return "converged"
        run.slow_checks = run.slow_checks + 1 if loss > 0.99 * before else 0
        if clock < run.decay_start and (loss < 2 * enough or run.slow_checks >= 5):
            run.decay_start = clock
            run.decay_stop = min(1.0, 3 * clock)
        return ""

    def save(self, path: Path) -> None:
        """Write network, moments and run state."""
        state: dict[str, npt.NDArray] = {}
        for i, parameter in enumerate(self.network.parameters()):
            state[f"parameter_{i}"] = parameter.detach().cpu().numpy()
            for name in ("exp_avg", "exp_avg_sq", "step"):
                if name in self.optimiser.state[parameter]:
                    state[f"{name}_{i}"] = self.optimiser.state[parameter][name].cpu().numpy()
        for name, value in asdict(self.run).items():
            state[f"run_{name}"] = np.array(float(value))
        write_checkpoint(path, self.digest, state)

    @torch.no_grad()
    def restore(self, state: dict[str, npt.NDArray]) -> None:
        """Take up what `save` wrote."""
        for name, kind in _Run.__annotations__.items():
            value = float(state[f"run_{name}"])
            setattr(self.run, name, int(value) if kind == "int" else value)
        self.learning_rate = self.options.learning_rate / 3**self.run.attempt
        for i, parameter in enumerate(self.network.parameters()):
            parameter.copy_(torch.from_numpy(state[f"parameter_{i}"]))
            if f"step_{i}" in state:
                self.optimiser.state[parameter] = {
                    name: torch.from_numpy(state[f"{name}_{i}"]).to(self.device)
                    for name in ("exp_avg", "exp_avg_sq", "step")
                }


def _digest(
    positions: npt.NDArray,
    targets: npt.NDArray,
    scale: npt.NDArray,
    config: SirenConfig,
    options: TrainOptions,
) -> str:
    """Of the configuration and of the data, thinned to some thousand points."""
    thin = slice(None, None, max(1, len(targets) // 4096))
    how = asdict(options)
    for unbound in ("device", "checkpoint_s", "restarts"):
        how.pop(unbound)
    shape = list(targets.shape)
    return digest_of(
        {"network": asdict(config), "training": how, "shape": shape},
        positions[thin],
        targets[thin],
        scale,
    )
