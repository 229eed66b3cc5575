"""``train``: a restorer's network, or an indexing one, from pairs, simulation or an archive."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebsdarchive.restorers.cards import model_card
from ebsdarchive.restorers.train_options import TrainOptions
from ebsdarchive.verbs.lessons import Lesson, source_of
from ebsdarchive.verbs.progress import Progress, silent
from ebsdarchive.verbs.targets import require_free
from ebsdarchive.verbs.training_summary import ModelSummary, told_of

if TYPE_CHECKING:
    from ebsdarchive.restorers.checkpoint import Checkpoint
    from ebsdarchive.restorers.samples import SampleSource

__all__ = ["TrainSummary", "train"]

FEW_STEPS = 20  # of a sampler, for the figures of its card


@dataclass(frozen=True, kw_only=True)
class TrainSummary(ModelSummary):
    """A trained model and what it can do: `measured` is as in its card."""

    method: str
    measured: Mapping[str, Any]


def train(
    output: str | os.PathLike[str],
    lesson: Lesson,
    options: TrainOptions,
    *,
    init_from: str | os.PathLike[str] | None = None,
    licence: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> TrainSummary:
    """Train a model and write it as a checkpoint file.

    An interrupted training leaves its state beside the output, and the next call with the same
    options goes on from there; time or steps may then be others.

    Parameters
    ----------
    output
        Safetensors file.
    options
        Method, time or steps, learning rate, seed, device.
    init_from
        Checkpoint of the same method to begin with.
    licence
        Of the model, for its card; unknown if not told.

    Raises
    ------
    ArgumentError, FormatError, MissingLayerError
        If what to learn from, or an option, makes no sense; before the training.
    FitError
        If the training diverges.
    OutputError
        If the output cannot be written; before the training, where that can be known.
    """
    from ebsdarchive.restorers.checkpoint import read_checkpoint, write_checkpoint
    from ebsdarchive.restorers.training import module_of
    from ebsdarchive.restorers.training import train as train_network
    from ebsdarchive.restorers.training_loop import require_model_of
    from ebsdarchive.restorers.training_state import state_path

    path = Path(output)
    start = None if init_from is None else read_checkpoint(init_from)
    sources = [*lesson.sources, *([] if init_from is None else [os.fspath(init_from)])]
    require_free(path, *sources, force=force)
    kind = module_of(options.method)
    if start is not None:
        require_model_of(options.method, start)
    progress("preparing", 0, 1)
    source, options = source_of(lesson, options, start)
    progress("preparing", 1, 1)

    def told(done: float, note: str) -> None:
        progress("training", done, 1, note)

    state = state_path(path)
    trained = train_network(source, options, state=state, start=start, progress=told)
    data = source.described()
    card = model_card(data, options, trained, start, licence)
    card |= {"sizes": data["sizes"], "noise_range": data["noise_range"]}
    checkpoint = kind.checkpoint_of(trained.module, card)
    progress("measuring", 0, 1)
    checkpoint, flagged = _calibrated(checkpoint, source)
    card["measured"] = _measured(checkpoint, source, trained.device) | flagged
    progress("measuring", 1, 1)
    checkpoint = replace(checkpoint, card=card)
    write_checkpoint(path, checkpoint, force=force)
    state.unlink(missing_ok=True)
    return TrainSummary(
        method=options.method, measured=card["measured"], **told_of(path, trained, checkpoint)
    )


def _calibrated(checkpoint: Checkpoint, source: SampleSource) -> tuple[Checkpoint, dict[str, Any]]:
    """The model with limits of its flags, where it has some and the data knows them."""
    from ebsdarchive.restorers.calibration import calibrated
    from ebsdarchive.restorers.simulated_samples import SimulatedSamples

    if checkpoint.method != "kikuchi" or not isinstance(source, SimulatedSamples):
        return checkpoint, {}
    checkpoint, figures = calibrated(checkpoint, source)
    return checkpoint, {"flagged": figures}


def _measured(checkpoint: Checkpoint, source: SampleSource, device: str) -> dict[str, Any]:
    """Figures of the finished model on what it was not trained on."""
    from ebsdarchive.restorers import evaluation
    from ebsdarchive.restorers.measured_samples import MeasuredSamples
    from ebsdarchive.restorers.registry import METHODS, restorer_of
    from ebsdarchive.restorers.simulated_samples import SimulatedSamples

    if checkpoint.method == "orientation":
        assert isinstance(source, SimulatedSamples)
        return evaluation.measured_orientations(checkpoint, source)
    draws = METHODS[checkpoint.method].samples
    restorer = restorer_of(
        checkpoint.method, checkpoint, device=device, steps=FEW_STEPS if draws else None
    )
    if isinstance(source, SimulatedSamples):
        scans = 1 if draws else evaluation.SCANS
        figures = evaluation.measured_on_simulation(restorer, source, scans)
    else:
        assert isinstance(source, MeasuredSamples)
        figures = evaluation.measured_on_pairs(restorer, source)
    return figures | ({"sampling_steps": FEW_STEPS} if draws else {})
