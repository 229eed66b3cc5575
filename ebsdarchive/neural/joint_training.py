"""Training of the joint field: Adam on random samples, by the paper's recipe (arXiv:2606.10352).

Owns the loss, the steps and their resumption; what a step sees is in `joint_samples`, when to do
what in `joint_schedule`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ebsdarchive.errors import FitError
from ebsdarchive.neural.checkpoint import digest_of, read_checkpoint, write_checkpoint
from ebsdarchive.neural.joint_field import JointTensors, detector_coordinates
from ebsdarchive.neural.joint_network import JointConfig, JointNetwork
from ebsdarchive.neural.joint_samples import Batch, JointSamples
from ebsdarchive.neural.joint_schedule import JointSchedule
from ebsdarchive.neural.siren import cores_for
from ebsdarchive.neural.training import choose_device

__all__ = ["JointTrained", "tensors_of", "train_joint"]

CHECKS = 100  # looks at the loss in a run
CHECKPOINT_S = 30.0
PART = 2048  # samples at once on a processor, whose activations stay in its cache


@dataclass
class JointTrained:
    """A trained network and how it went.

    `unexplained` is the mean squared error of the last stretch over the variance; `history` holds
    (seconds, step, unexplained).
    """

    network: JointNetwork
    steps: int
    seconds: float
    unexplained: float
    device: str
    notes: list[str] = field(default_factory=list)
    history: list[tuple[float, int, float]] = field(default_factory=list)


def train_joint(
    samples: JointSamples,
    config: JointConfig,
    schedule: JointSchedule,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[float, str], None] | None = None,
    checkpoint: Path | None = None,
) -> JointTrained:
    """Fit a joint network to samples of a scan.

    Parameters
    ----------
    progress
        Called with the part done, 0 … 1, and a note.
    checkpoint
        Written about every 30 s, at an interrupt and at the end; used if it is of the same run.

    Raises
    ------
    FitError
        If the loss becomes NaN or infinite, or there is no device as asked for.
    """
    run = _Run(samples, config, schedule, seed, choose_device(device))
    digest = _digest(samples, config, schedule, seed)
    saved, note = (None, "") if checkpoint is None else read_checkpoint(checkpoint, digest)
    if saved is not None:
        run.restore(saved)

    def keep() -> None:
        if checkpoint is not None:
            run.save(checkpoint, digest)

    with cores_for(config.width):
        try:
            history = run.train(progress, keep)
        except KeyboardInterrupt:
            keep()
            raise
    keep()
    return JointTrained(
        run.network, run.step, run.elapsed, run.unexplained, run.device, [note] if note else [],
        history,
    )  # fmt: skip


def tensors_of(network: JointNetwork, samples: JointSamples) -> JointTensors:
    """A trained network as a field of float32."""
    arrays = {
        name: value.detach().cpu().numpy().copy() for name, value in network.named_parameters()
    }
    m = network.config.features
    features = arrays.pop("feature_weight")
    mean = samples.mean.copy()
    mean[samples.mask] += samples.scale * float(arrays.pop("output_bias"))
    return JointTensors(
        frequencies=network.frequencies.cpu().numpy().copy(),
        sine_weight=features[:, :m].copy(),
        cosine_weight=features[:, m:].copy(),
        omega_first=network.config.omega_first,
        omega_hidden=network.config.omega_hidden,
        scale_counts=samples.scale,
        mean_pattern=mean,
        mask=samples.mask,
        **arrays,
    )


class _Run:
    """A run: network and optimiser on their device, steps and seconds so far."""

    def __init__(
        self,
        samples: JointSamples,
        config: JointConfig,
        schedule: JointSchedule,
        seed: int,
        device: str,
    ) -> None:
        self.samples, self.schedule, self.device = samples, schedule, device
        self.network = JointNetwork(config, seed).to(device)
        self.weights = dict(self.network.named_parameters())
        self.adam = torch.optim.Adam(self.weights.values(), lr=schedule.learning_rate)
        self.uv = torch.from_numpy(detector_coordinates(samples.mask)).to(device)
        self.step, self.elapsed, self.unexplained = 0, 0.0, math.nan

    def train(
        self, progress: Callable[[float, str], None] | None, keep: Callable[[], None]
    ) -> list[tuple[float, int, float]]:
        """Step until the schedule is over; `keep` is called now and then."""
        schedule, history = self.schedule, []
        losses: list[float] = []
        before, started = self.elapsed, time.monotonic()
        kept, checked = started, int(CHECKS * schedule.done(self.step, self.elapsed))
        while (done := schedule.done(self.step, self.elapsed)) < 1:
            losses.append(self._step())
            self.step += 1
            self.elapsed = before + time.monotonic() - started
            done = schedule.done(self.step, self.elapsed)
            if not math.isfinite(losses[-1]):
                raise FitError(
                    f"training: expected a finite loss, found {losses[-1]} in step {self.step}; "
                    f"use another seed or width"
                )
            if int(CHECKS * done) > checked or done >= 1:
                checked = int(CHECKS * done)
                self.unexplained = sum(losses) / len(losses)
                losses.clear()
                history.append((self.elapsed, self.step, self.unexplained))
            if progress is not None:
                progress(min(done, 1.0), f"step {self.step}, unexplained {self.unexplained:.2%}")
            if time.monotonic() - kept > CHECKPOINT_S:
                keep()
                kept = time.monotonic()
        return history

    def _step(self) -> float:
        """One step; the mean squared error of its samples before it."""
        schedule = self.schedule
        batch = self.samples.batch(self.step, schedule.batch)
        scale = schedule.scale(self.step, self.elapsed)
        for group in self.adam.param_groups:
            group["lr"] = schedule.rate(self.step, self.elapsed)
        self.adam.zero_grad(set_to_none=True)
        part = schedule.batch if self.device != "cpu" else PART
        loss = sum(
            self._gradient(batch, i, i + part, scale) for i in range(0, schedule.batch, part)
        )
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip)
        self.adam.step()
        return float(loss)

    def _gradient(self, batch: Batch, start: int, stop: int, scale: float) -> float:
        """Add the gradient of part of a batch; its part of the mean squared error."""
        pixel, place = np.unique(batch.pixel[start:stop], return_inverse=True)
        xy = torch.from_numpy(batch.xy[start:stop]).to(self.device)
        target = torch.from_numpy(batch.target[start:stop]).to(self.device)
        uv = self.uv[torch.from_numpy(pixel).to(self.device)]
        output = self.network(xy, uv, torch.from_numpy(place).to(self.device), scale)
        loss = (output - target).square().sum() / len(batch.pixel)
        loss.backward()
        return float(loss.detach())

    def save(self, path: Path, digest: str) -> None:
        """Write weights, the optimiser's moments, steps and seconds."""
        state: dict[str, npt.NDArray] = {
            "run": np.array([self.step, self.elapsed, self.unexplained])
        }
        for name, value in self.weights.items():
            state[name] = value.detach().cpu().numpy()
            for moment in ("exp_avg", "exp_avg_sq"):
                if value in self.adam.state:
                    state[f"{name}.{moment}"] = self.adam.state[value][moment].cpu().numpy()
        write_checkpoint(path, digest, state)

    @torch.no_grad()
    def restore(self, state: dict[str, npt.NDArray]) -> None:
        """Take up what `save` wrote."""
        step, self.elapsed, self.unexplained = (float(value) for value in state["run"])
        self.step = int(step)
        for name, value in self.weights.items():
            value.copy_(torch.from_numpy(state[name]))
            if f"{name}.exp_avg" in state:
                self.adam.state[value] = {
                    "step": torch.tensor(step),
                    "exp_avg": torch.from_numpy(state[f"{name}.exp_avg"]).to(self.device),
                    "exp_avg_sq": torch.from_numpy(state[f"{name}.exp_avg_sq"]).to(self.device),
                }


def _digest(samples: JointSamples, config: JointConfig, schedule: JointSchedule, seed: int) -> str:
    """Of the configuration, and of the data by their first batch."""
    told = {"network": asdict(config), "schedule": asdict(schedule), "seed": seed}
    told["share"], told["count"] = samples.share, samples.count
    first = samples.batch(0, 4096)
    return digest_of(told, first.xy, first.pixel, first.target, samples.mask)
