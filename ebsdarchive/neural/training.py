"""Training of the network on coefficients: the paper's pixel loss, all pixels in every step.

Owns the loss, the optimiser, restarts and resume; when to do what is in `schedule`. Knows
positions and coefficients, not patterns.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebsdarchive.errors import ArgumentError, FitError
from ebsdarchive.neural.checkpoint import digest_of, read_checkpoint, write_checkpoint
from ebsdarchive.neural.schedule import Run, TrainOptions
from ebsdarchive.neural.siren import Siren, SirenConfig, cores_for, halves_pay
from ebsdarchive.neural.soap import Soap

__all__ = ["TrainOptions", "Trained", "choose_device", "coefficient_loss", "train"]

BETA_FULL, BETA_BATCH = 0.95, 0.97  # decay of the optimiser's second moments
CLIP = 2.0  # a gradient longer than this many times the usual is shortened
IN_HALVES = 0.8  # part of the schedule in bfloat16, where that is faster; the rest is exact


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


def coefficient_loss(output: Tensor, target: Tensor, energy: Tensor) -> Tensor:
    """Mean over points of sum_r energy_r (output_r - target_r)^2 / sum_r energy_r.

    Outputs and targets are coefficients over their scale, `energy` (c,) is that scale squared:
    ||A - A*||^2, relative to ||A*||^2. By Parseval this is the squared error of all (weighted)
    pixels, less what the basis leaves.
    """
    return (output - target).square().mean(dim=0) @ (energy / energy.sum())


def choose_device(device: str) -> str:
    """ "cpu" or "cuda"; "auto" takes cuda where there is one."""
    if device not in ("auto", "cpu", "cuda"):
        raise ArgumentError(f"device: expected auto, cpu or cuda, found {device!r}")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise FitError("device: expected a CUDA device, found none; use device cpu or auto")
    return device


def train(
    positions: npt.NDArray[np.float64],
    targets: npt.NDArray,
    scale: npt.NDArray[np.float32],
    config: SirenConfig,
    options: TrainOptions,
    progress: Callable[[float, str], None] | None = None,
    checkpoint: Path | None = None,
    start: Sequence[Sequence[npt.NDArray]] | None = None,
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
    progress
        Called with the part done, 0 … 1, and a note.
    checkpoint
        Written about every 30 s, at an interrupt and at the end; used if it is of the same run.
    start
        Weights and biases to begin with, instead of random ones.

    Raises
    ------
    FitError
        If every attempt ends in NaN, or there is no device as asked for.
    """
    device = choose_device(options.device)
    digest = _digest(positions, targets, scale, config, options, start)
    saved, note = (None, "") if checkpoint is None else read_checkpoint(checkpoint, digest)
    notes = [note] if note else []
    xy = torch.from_numpy(positions.astype(np.float32)).to(device)
    coefficients = torch.from_numpy(targets).to(device)
    energy = torch.from_numpy(scale.astype(np.float32) ** 2).to(device)
    reference = smooth_loss(positions, targets, scale)
    run = Run()
    if saved is not None:
        for name, kind in Run.__annotations__.items():
            setattr(run, name, (int if kind == "int" else float)(saved[f"run_{name}"]))
    best: Trained | None = None
    while True:
        attempt = _Attempt(xy, coefficients, energy, config, options, run, start)
        if saved is not None:
            attempt.restore(saved)
            saved = None
        with cores_for(config.width):
            trained = attempt.train(reference, digest, progress, checkpoint)
        helped = best is None or not trained.loss > 0.9 * best.loss
        if best is None or not best.loss <= trained.loss:
            best = trained
        if trained.stopped != "collapsed" or run.attempt >= options.restarts or not helped:
            break
        notes.append(f"collapsed at learning rate {trained.learning_rate:.1e}, restarted")
        run = run.again()
    if checkpoint is not None and best is not trained:
        attempt.network.load_arrays(best.weights, best.biases)
        run.last_loss, run.done = best.loss, 1
        attempt.save(checkpoint, digest)
    if not np.isfinite(best.loss):
        raise FitError(
            f"training: expected a finite loss, found {best.loss} in every attempt; "
            f"use a smaller learning rate or omega_0"
        )
    best.notes, best.restarts, best.seconds = notes, run.attempt, run.elapsed
    return best


def smooth_loss(
    positions: npt.NDArray[np.float64],
    targets: npt.NDArray,
    scale: npt.NDArray[np.float32],
    points: int = 20_000,
) -> float:
    """Unexplained part of the coefficients' energy that no network which has learnt something
    exceeds: that of a least-squares fit of up to 4 x 4 cosines of the position, or, where these
    explain next to nothing, all."""
    waves = min(4, max(1, math.isqrt(len(positions) // 8)))
    step = max(1, len(positions) // points)
    x, y = (np.pi / 2 * (positions[::step].T + 1))[:, :, None]
    k = np.arange(waves)
    features = (np.cos(k * x)[:, :, None] * np.cos(k * y)[:, None]).reshape(len(x), -1)
    some = targets[::step].astype(np.float64) * scale
    fitted = features @ np.linalg.lstsq(features, some, rcond=None)[0]
    loss = float(((some - fitted) ** 2).sum() / max((some**2).sum(), 1e-30))
    return loss if loss < 0.9 else 1.0


class _Attempt:
    """One attempt: network and optimiser on the data's device."""

    def __init__(
        self,
        xy: Tensor,
        targets: Tensor,
        energy: Tensor,
        config: SirenConfig,
        options: TrainOptions,
        run: Run,
        start: Sequence[Sequence[npt.NDArray]] | None,
    ) -> None:
        self.xy, self.targets, self.energy = xy, targets, energy  # (n, 2), (n, c), (c,)
        self.options, self.run = options, run
        self.network = Siren(config, options.seed + run.attempt).to(xy.device)
        if start is not None:
            self.network.load_arrays(*start)
        beta_2 = BETA_FULL if len(xy) <= options.batch else BETA_BATCH
        self.soap = Soap(list(self.network.layers), beta_2=beta_2)
        self.halves = halves_pay(config.width, xy.device.type)
        self.losses: list[Tensor] = []
        self.epoch, self.order = -1, torch.empty(0)

    def train(
        self,
        reference: float,
        digest: str,
        progress: Callable[[float, str], None] | None,
        checkpoint: Path | None,
    ) -> Trained:
        """Step until the run says stop; leaves a checkpoint behind, at an interrupt too."""
        run, options = self.run, self.options
        history: list[tuple[float, int, float]] = []
        before, started = run.elapsed, time.monotonic()
        written, stopped = started, "schedule done" if run.done else ""
        try:
            while not stopped:
                finite = self.step(run.learning_rate(options))
                run.elapsed = before + time.monotonic() - started
                if run.due(options) or not finite:
                    loss = float(torch.stack(self.losses).mean())
                    self.losses.clear()
                    stopped = run.look(loss, reference, options)
                    history.append((run.elapsed, run.step, loss))
                    if progress is not None:
                        progress(min(run.clock(options), 1.0), f"unexplained {loss:.2%}")
                if checkpoint and time.monotonic() - written > options.checkpoint_s:
                    self.save(checkpoint, digest)
                    written = time.monotonic()
        except KeyboardInterrupt:
            if checkpoint is not None:
                self.save(checkpoint, digest)
            raise
        if checkpoint is not None:
            self.save(checkpoint, digest)
        return Trained(
            *self.network.arrays(),
            loss=run.last_loss,
            steps=run.step,
            seconds=run.elapsed,
            restarts=run.attempt,
            device=self.xy.device.type,
            learning_rate=options.learning_rate / 3**run.attempt,
            stopped=stopped,
            history=history,
        )

    def step(self, rate: float) -> bool:
        """One step; a gradient far longer than usual is shortened. False if there is none."""
        xy, target = self.batch()
        halves = self.halves and self.run.clock(self.options) < IN_HALVES
        loss = coefficient_loss(self.network(xy, halves), target, self.energy)
        gradients = list(torch.autograd.grad(loss, list(self.network.layers)))
        length = float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt())
        self.losses.append(loss.detach())
        self.run.step += 1
        if not math.isfinite(length):
            self.losses.append(torch.full_like(loss, math.nan))
            return False
        typical = length if math.isnan(self.run.typical) else self.run.typical
        if length > CLIP * typical:
            gradients = [g * (CLIP * typical / length) for g in gradients]
        self.run.typical = 0.98 * typical + 0.02 * min(length, CLIP * typical)
        self.soap.step(gradients, rate)
        return True

    def batch(self) -> tuple[Tensor, Tensor]:
        """The points of this step; each epoch is a permutation that its number determines."""
        n, size = len(self.xy), self.options.batch
        if n <= size:
            return self.xy, self.targets.float()
        epoch, at = divmod(self.run.step, n // size)
        if epoch != self.epoch:
            generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + epoch)
            self.order = torch.randperm(n, generator=generator).to(self.xy.device)
            self.epoch = epoch
        chosen = self.order[at * size : (at + 1) * size]
        return self.xy[chosen], self.targets[chosen].float()

    def save(self, path: Path, digest: str) -> None:
        """Write network, optimiser and run state."""
        state = {f"run_{name}": np.array(value) for name, value in asdict(self.run).items()}
        for i, matrix in enumerate(self.network.layers):
            state[f"layer_{i}"] = matrix.detach().cpu().numpy()
        for name, value in self.soap.state().items():
            state[name] = value.cpu().numpy()
        write_checkpoint(path, digest, state)

    @torch.no_grad()
    def restore(self, state: dict[str, npt.NDArray]) -> None:
        """Take up what `save` wrote."""
        for i, matrix in enumerate(self.network.layers):
            matrix.copy_(torch.from_numpy(state[f"layer_{i}"]))
        self.soap.load({name: torch.from_numpy(state[name]) for name in self.soap.state()})


def _digest(
    positions: npt.NDArray,
    targets: npt.NDArray,
    scale: npt.NDArray,
    config: SirenConfig,
    options: TrainOptions,
    start: Sequence[Sequence[npt.NDArray]] | None,
) -> str:
    """Of the configuration and of the data, thinned to some thousand points."""
    thin = slice(None, None, max(1, len(targets) // 4096))
    how = asdict(options)
    for unbound in ("device", "checkpoint_s", "restarts"):
        how.pop(unbound)
    shape = list(targets.shape)
    told = {"network": asdict(config), "training": how, "shape": shape}
    begun = [array for arrays in start or () for array in arrays]
    return digest_of(told, positions[thin], targets[thin], scale, *begun)
