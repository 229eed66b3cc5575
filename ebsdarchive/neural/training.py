"""Training of the network on coefficients: the paper's pixel loss, all pixels in every step.

Owns the loss, the optimiser, restarts and resume; when to do what is in `schedule`. Knows
positions and coefficients, not patterns.
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
from ebsdarchive.neural.schedule import Run, TrainOptions
from ebsdarchive.neural.siren import Siren, SirenConfig

__all__ = ["TrainOptions", "Trained", "choose_device", "coefficient_loss", "train"]

OUTPUT_RATE = 10.0  # the linear layer learns this much faster; measured 1.3 times less error
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


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
        Written about every 30 s, at an interrupt and at the end; used if it is of the same run.

    Raises
    ------
    FitError
        If every attempt ends in NaN, or there is no device as asked for.
    """
    device = choose_device(options.device)
    digest = _digest(positions, targets, scale, config, options)
    saved, note = (None, "") if checkpoint is None else read_checkpoint(checkpoint, digest)
    notes = [note] if note else []
    xy = torch.from_numpy(positions.astype(np.float32)).to(device)
    coefficients = torch.from_numpy(targets).to(device)
    energy = torch.from_numpy(scale.astype(np.float32) ** 2).to(device)
    run = Run(decay_start=options.decay_start)
    if saved is not None:
        for name, kind in Run.__annotations__.items():
            setattr(run, name, (int if kind == "int" else float)(saved[f"run_{name}"]))
    best: Trained | None = None
    while True:
        attempt = _Attempt(xy, coefficients, energy, config, options, run)
        if saved is not None:
            attempt.restore(saved)
            saved = None
        trained = attempt.train(options.tolerance * residual_share, digest, progress, checkpoint)
        if best is None or not best.loss <= trained.loss:
            best = trained
        if trained.stopped != "collapsed" or run.attempt >= options.restarts:
            break
        notes.append(f"collapsed at learning rate {trained.learning_rate:.1e}, restarted")
        run = run.again(options.decay_start)
    if not np.isfinite(best.loss):
        raise FitError(
            f"training: expected a finite loss, found {best.loss} in every attempt; "
            f"use a smaller learning rate or omega_0"
        )
    best.notes, best.restarts, best.seconds = notes, run.attempt, run.elapsed
    return best


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
    ) -> None:
        self.xy, self.targets, self.energy = xy, targets, energy  # (n, 2), (n, c), (c,)
        self.options, self.run = options, run
        self.network = Siren(config, options.seed + run.attempt).to(xy.device)
        *sine, output = self.network.layers
        groups = [
            {"params": [p for layer in sine for p in layer.parameters()], "factor": 1.0},
            {"params": list(output.parameters()), "factor": OUTPUT_RATE},
        ]
        self.optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
        self.losses: list[Tensor] = []
        self.epoch, self.order = -1, torch.empty(0)

    def train(
        self,
        enough: float,
        digest: str,
        progress: Callable[[float, str], None] | None,
        checkpoint: Path | None,
    ) -> Trained:
        """Step until the run says stop; leaves a checkpoint behind, at an interrupt too."""
        run, options = self.run, self.options
        history: list[tuple[float, int, float]] = []
        before, started = run.elapsed, time.monotonic()
        written, stopped = started, ""
        try:
            while not stopped:
                self.step(run.learning_rate(options))
                run.elapsed = before + time.monotonic() - started
                if run.due(options):
                    loss = float(torch.stack(self.losses).mean())
                    self.losses.clear()
                    stopped = run.look(loss, enough, options)
                    history.append((run.elapsed, run.step, loss))
                    if progress is not None:
                        done = min(run.clock(options) / run.decay_stop, 1.0)
                        progress(done, f"unexplained {loss:.2%}")
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

    def step(self, rate: float) -> None:
        """One step of Adam."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        xy, target = self.batch()
        self.optimiser.zero_grad(set_to_none=True)
        loss = coefficient_loss(self.network(xy), target, self.energy)
        loss.backward()
        self.optimiser.step()
        self.losses.append(loss.detach())  # stays on the device
        self.run.step += 1

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
        """Write network, moments and run state."""
        state = {f"run_{name}": np.array(value) for name, value in asdict(self.run).items()}
        for i, parameter in enumerate(self.network.parameters()):
            state[f"parameter_{i}"] = parameter.detach().cpu().numpy()
            for name in MOMENTS:
                state[f"{name}_{i}"] = self.optimiser.state[parameter][name].cpu().numpy()
        write_checkpoint(path, digest, state)

    @torch.no_grad()
    def restore(self, state: dict[str, npt.NDArray]) -> None:
        """Take up the network and the moments that `save` wrote."""
        for i, parameter in enumerate(self.network.parameters()):
            parameter.copy_(torch.from_numpy(state[f"parameter_{i}"]))
            self.optimiser.state[parameter] = {
                name: torch.from_numpy(state[f"{name}_{i}"]).to(self.xy.device) for name in MOMENTS
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
    told = {"network": asdict(config), "training": how, "shape": shape}
    return digest_of(told, positions[thin], targets[thin], scale)
