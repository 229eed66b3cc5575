"""Trains any network as `networks` describes them: batches in, a trained network out.

What is learned from is a `samples.SampleSource`; the steps are those of `training_loop`. The same
seed gives the same training on the same machine, in one go or with interruptions.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ebsdarchive.errors import ArgumentError
from ebsdarchive.neural.training import choose_device
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.samples import SampleSource
from ebsdarchive.restorers.train_options import NETWORKS, TrainOptions
from ebsdarchive.restorers.training_loop import Loop
from ebsdarchive.restorers.training_state import read_state, write_state

__all__ = ["Trained", "module_of", "train"]

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Trained:
    """A trained network, averaged, with the record of its training.

    `history` has (step, seconds, mean loss since the line before, loss on held-out samples).
    """

    module: nn.Module
    steps: int
    seconds: float
    device: str
    loss: float
    held_out: float
    history: tuple[tuple[int, float, float, float], ...]
    notes: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Numbers in the network."""
        return sum(parameter.numel() for parameter in self.module.parameters())


def train(
    source: SampleSource,
    options: TrainOptions,
    *,
    kind: Any = None,
    state: Path | None = None,
    start: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a network.

    Parameters
    ----------
    kind
        Module of the network as `networks` describes it, with a `batch_of` where its batches are
        its own; None for that of the method.
    state
        File that the state is written to every now and then and at an interrupt, and taken up from
        if it is of the same training.
    start
        Checkpoint of the same method to begin with instead of random weights.
    progress
        Told the part done, 0 … 1, and the losses in words.

    Raises
    ------
    FitError
        If the loss or its gradient is no longer finite, or has grown out of all proportion.
    ArgumentError, FormatError
        If the method is not known, or the configuration or `start` is not of it.
    """
    device = choose_device(options.device)
    digest = options.digest(source, start)
    kind = kind or module_of(options.method)
    loop = Loop(source, options, device, start, kind)
    notes = []
    if state is not None:
        run, tensors, note = read_state(state, digest)
        if note:
            notes.append(note)
        if run and not loop.restored(run, tensors):
            notes = ["state of an earlier training does not fit the network, ignored"]
            loop = Loop(source, options, device, start, kind)
    try:
        for done, told, due in loop.steps():
            if progress is not None:
                progress(done, told)
            if due and state is not None:
                write_state(state, digest, *loop.state())
    except KeyboardInterrupt:
        if state is not None:
            write_state(state, digest, *loop.state())
        raise
    if state is not None:
        write_state(state, digest, *loop.state())
    run_now = loop.run
    return Trained(
        module=loop.result(),
        steps=run_now.step,
        seconds=run_now.elapsed,
        device=device,
        loss=run_now.history[-1][2],
        held_out=run_now.history[-1][3] if run_now.best is None else run_now.best,
        history=tuple(run_now.history),
        notes=tuple(notes),
    )


def module_of(method: str) -> ModuleType:
    """The module that has a method's network; see `networks`. ArgumentError where there is none."""
    if method not in NETWORKS:
        known = ", ".join(NETWORKS)
        hint = "; ddim samples with a model of ddpm" if method == "ddim" else ""
        raise ArgumentError(f"train: expected a method out of {known}, found {method!r}{hint}")
    return importlib.import_module(f"ebsdarchive.restorers.{NETWORKS[method][0]}")
