"""The steps of a training: network, average and optimiser, and where they stand.

Knows no network by name but where it takes its two stages from. The same seed gives the same steps
on the same machine: whatever is random in a step follows from its number.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ebsdarchive.errors import ArgumentError, FitError
from ebsdarchive.restorers import networks
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.samples import SampleSource, ahead
from ebsdarchive.restorers.train_options import TrainOptions

__all__ = ["Loop", "Run", "require_model_of"]

LONGEST_GRADIENT = 1.0
WARM_UP = 100  # steps over which the learning rate rises
STAGES = {"mldm": 0.4}  # part of a training that goes to what comes before `loss`
BEGINNING = 20  # steps whose loss tells a training that diverges
DIVERGED = 20.0  # times the beginning's loss
LOOKS = 20  # validations of a training
HELD_OUT = 64  # samples that validate


@dataclass
class Run:
    """Where a training stands; plain JSON values."""

    step: int = 0
    elapsed: float = 0.0
    beginning: float = 0.0  # mean loss of the first steps
    smooth: float = math.nan  # of the loss, exponentially
    best: float | None = None  # least loss on held-out samples
    history: list[tuple[int, float, float, float]] = field(default_factory=list)

    def part(self, options: TrainOptions) -> float:
        """Done, 0 … 1."""
        if options.steps is not None:
            return min(1.0, self.step / options.steps)
        assert options.time_s is not None
        return min(1.0, self.elapsed / options.time_s)

    def rate(self, options: TrainOptions) -> float:
        """Learning rate of the next step."""
        rate = options.learning_rate * min(1.0, (self.step + 1) / WARM_UP)
        if options.schedule == "cosine":
            fall = 0.5 * (1 + math.cos(math.pi * self.part(options)))
            rate *= 0.01 + 0.99 * fall
        return rate


class Loop:
    """Network, average and optimiser, on their device."""

    def __init__(
        self,
        source: SampleSource,
        options: TrainOptions,
        device: str,
        start: Checkpoint | None,
        kind: Any,
    ) -> None:
        self.source, self.options, self.device, self.kind = source, options, device, kind
        self.mixed = options.precision == "mixed" or (
            options.precision == "auto" and _has_bfloat16(device)
        )
        torch.manual_seed(options.seed)
        self.network = _network(self.kind, options, start).to(device)
        follow = _following(options.average)
        self.average = AveragedModel(self.network, multi_avg_fn=follow, use_buffers=True)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
        )
        self.run = Run()
        self.held_out: Any = None
        self.best: dict[str, Tensor] = {}  # the average's, at the best look

    def steps(self) -> Iterator[tuple[float, str, bool]]:
        """Steps until the end: the part done, losses in words, and whether to write the state."""
        options, run = self.options, self.run
        before, started = run.elapsed, time.monotonic()
        written, looked = started, run.part(options)
        losses: list[float] = []
        told = ""
        with contextlib.closing(ahead(self.source, run.step, options.threads)) as batches:
            while run.part(options) < 1 or not run.history:
                loss = self._step(next(batches))
                losses.append(loss)
                run.elapsed = before + time.monotonic() - started
                part = run.part(options)
                if part - looked >= 1 / LOOKS or part >= 1:
                    looked = part
                    mean = sum(losses) / len(losses)
                    losses.clear()
                    run.history.append((run.step, run.elapsed, mean, self._validated()))
                    self._keep()
                    told = f"loss {mean:.4f}, held out {run.history[-1][3]:.4f}"
                due = time.monotonic() - written > options.save_s
                if due:
                    written = time.monotonic()
                yield part, f"step {run.step}, {told or f'loss {loss:.4f}'}", due

    def _keep(self) -> None:
        """Remember the average if it is the best so far, and that is what is wanted."""
        if self.options.keep == "last":
            return
        found = self.run.history[-1][3]
        if self.run.best is None or found < self.run.best:
            self.run.best = found
            held = self.average.module.state_dict()
            self.best = {name: tensor.detach().clone() for name, tensor in held.items()}

    def result(self) -> nn.Module:
        """The averaged network, last or best."""
        module: nn.Module = self.average.module
        if self.best:
            module.load_state_dict(self.best)
        return module.eval()

    def _step(self, samples: Any) -> float:
        run = self.run
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = run.rate(self.options)
        loss = self._loss(self.network, samples, run.step)
        value = float(loss.detach())
        self.optimiser.zero_grad(set_to_none=True)
        length = math.nan
        if math.isfinite(value):
            loss.backward()
            parameters = self.network.parameters()
            length = float(nn.utils.clip_grad_norm_(parameters, LONGEST_GRADIENT))
        self._require_sound(value, length)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        run.step += 1
        return value

    def _loss(self, module: nn.Module, samples: Any, number: int) -> Tensor:
        """Of the stage that the training is in."""
        stage = STAGES.get(self.options.method, 0.0)
        loss = self.kind.loss
        if self.run.part(self.options) < stage:
            loss = self.kind.autoencoder_loss
        generator = torch.Generator(self.device).manual_seed(
            (self.options.seed * 1_000_003 + number) % (1 << 63)
        )
        batch_of = getattr(self.kind, "batch_of", networks.batch_of)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.mixed):
            found: Tensor = loss(module, batch_of(samples, self.device), generator)
        return found

    @torch.no_grad()
    def _validated(self) -> float:
        """Loss of the averaged network on samples that are never trained on."""
        module = self.average.module.eval()
        if self.held_out is None:
            self.held_out = self.source.held_out(HELD_OUT)
        return float(self._loss(module, self.held_out, 0))

    def _require_sound(self, loss: float, gradient: float) -> None:
        """Raise FitError if there is no point in going on."""
        run = self.run
        where = f"training: expected a finite loss at step {run.step + 1}"
        advice = "; train again with a smaller --learning-rate"
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            raise FitError(f"{where}, found loss {loss:g} with gradient {gradient:g}{advice}")
        if run.step < BEGINNING:
            run.beginning += abs(loss) / BEGINNING
            return
        run.smooth = loss if math.isnan(run.smooth) else 0.95 * run.smooth + 0.05 * loss
        if run.smooth > DIVERGED * max(run.beginning, 1e-3):
            raise FitError(
                f"training: expected the loss to fall, found it risen from {run.beginning:.3g} to "
                f"{run.smooth:.3g} at step {run.step + 1}: it diverges{advice}"
            )

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The run, and all tensors by name."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for number, parameter in enumerate(self.network.parameters()):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"adam.{number}.{name}"] = value
        run = asdict(self.run)
        if math.isnan(run["smooth"]):
            run["smooth"] = None
        return run, tensors

    def restored(self, run: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
        """Take up what `state` gave; False if that was of another network, as of an older version
        of this program, and this loop is of no further use."""
        try:
            self._restore(run, tensors)
        except (RuntimeError, LookupError, TypeError, ValueError):
            return False
        return True

    def _restore(self, run: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.network.load_state_dict(part("network."))
        self.average.load_state_dict(part("average."))
        self.best = part("best.")
        for number, parameter in enumerate(self.network.parameters()):
            held = part(f"adam.{number}.")
            if held:
                self.optimiser.state[parameter] = {
                    name: value if name == "step" else value.to(self.device)
                    for name, value in held.items()
                }
        smooth = math.nan if run["smooth"] is None else run["smooth"]
        history = [(int(a), float(b), float(c), float(d)) for a, b, c, d in run["history"]]
        self.run = Run(**{**run, "smooth": smooth, "history": history})


def require_model_of(method: str, start: Checkpoint) -> None:
    """Raise ArgumentError if a checkpoint to begin with is of another method."""
    if start.method != method:
        raise ArgumentError(f"init from: expected a model of {method}, found one of {start.method}")


def _network(kind: Any, options: TrainOptions, start: Checkpoint | None) -> nn.Module:
    """With fresh weights, or those of a checkpoint."""
    if start is None:
        found: nn.Module = kind.build(options.config)
        return found
    require_model_of(options.method, start)
    for name, value in options.config.items():
        if start.config.get(name) != value:
            raise ArgumentError(
                f"init from: expected {name} as in the model, {start.config.get(name)}, found "
                f"{value}; leave it out"
            )
    begun: nn.Module = kind.load(start)
    return begun


def _has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is more than an imitation there."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return asked is not None and bool(asked())


def _following(decay: float) -> Callable[..., None]:
    """The exponential average, which follows faster in the first steps: min(decay, (1 + n) / (10 +
    n)) after n of them, so that random weights do not stay in it."""

    def follow(average: Any, current: Any, count: Any) -> None:
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(average, current, count)

    return follow
