"""How to train, and what: options and methods, without the networks themselves."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ebsdarchive.errors import ArgumentError
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.samples import SampleSource

__all__ = ["NETWORKS", "TrainOptions"]

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "kikuchi": ("kikuchi_network", {}),
    "autoencoder": ("autoencoder", {"kind": "seed"}),
    "autoencoder-smooth": ("autoencoder", {"kind": "smooth"}),
    "ddpm": ("diffusion", {}),
    "mldm": ("latent", {}),
    "orientation": ("orientation_network", {}),
}  # by method: the module of the network, and what tells it from others of its module


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Parameters
    ----------
    method
        As `networks` lists them.
    steps, time_s
        One of the two: number of steps, or seconds, those before an interruption included.
    learning_rate, schedule, weight_decay
        Of AdamW; "cosine" falls to a hundredth at the end, "constant" does not.
    average
        Decay of the exponential moving average of the weights, which is what becomes the result.
    keep
        Whether the result is the average at the end, or that of the best validation.
    config
        Of the network, as its module's `build` takes it; what the method settles is added.
    precision
        "full", float32; "mixed", convolutions and products in bfloat16, weights in float32; "auto"
        is mixed where the device computes in bfloat16.
    device
        "auto", "cpu" or "cuda".
    save_s
        Seconds between writes of the state.
    threads
        That make batches ahead of the training.
    """

    method: str
    steps: int | None = None
    time_s: float | None = None
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = 0.01
    average: float = 0.995
    keep: Literal["last", "best"] = "last"
    config: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    precision: Literal["auto", "full", "mixed"] = "full"
    device: str = "auto"
    save_s: float = 120.0
    threads: int = 1

    def __post_init__(self) -> None:
        def require(fits: bool, name: str, rule: str) -> None:
            if not fits:
                raise ArgumentError(f"{name}: expected {rule}, found {getattr(self, name)}")

        if (self.steps is None) == (self.time_s is None):
            found = "both" if self.steps is not None else "neither"
            raise ArgumentError(
                f"train: expected either a time or a number of steps, found {found}"
            )
        require(self.steps is None or self.steps >= 1, "steps", "at least 1")
        require(self.time_s is None or 0 < self.time_s < math.inf, "time", "seconds above 0")
        require(0 < self.learning_rate < math.inf, "learning_rate", "a number above 0")
        require(self.schedule in ("cosine", "constant"), "schedule", "cosine or constant")
        known = ("auto", "full", "mixed")
        require(self.precision in known, "precision", "auto, full or mixed")
        require(self.keep in ("last", "best"), "keep", "last or best")
        require(0 <= self.average < 1, "average", "a number from 0 to below 1")
        require(0 <= self.weight_decay < math.inf, "weight_decay", "a number from 0")
        require(self.threads >= 1, "threads", "at least 1")
        require(self.seed >= 0, "seed", "an integer of at least 0")
        _, settled = NETWORKS.get(self.method, ("", {}))
        for name, value in settled.items():
            if (given := self.config.get(name, value)) != value:
                raise ArgumentError(
                    f"config: expected {name} {value!r}, as {self.method} has it, found {given!r}; "
                    f"leave it out"
                )
        object.__setattr__(self, "config", {**self.config, **settled})

    def digest(self, source: SampleSource, start: Checkpoint | None) -> str:
        """Of what a state must have been made with to be gone on with: all but how long, where, and
        by how many threads."""
        told = asdict(self)
        for unbound in ("steps", "time_s", "device", "save_s", "threads"):
            del told[unbound]
        known = [told, source.described(), None if start is None else start.sha256]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
