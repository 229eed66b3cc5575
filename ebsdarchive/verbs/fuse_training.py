"""``fuse train``: a diffusion model of simulated EBSD and polarised-light maps."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ebsdarchive.errors import ArgumentError
from ebsdarchive.restorers.cards import model_card
from ebsdarchive.verbs.progress import Progress, silent
from ebsdarchive.verbs.targets import require_free
from ebsdarchive.verbs.training_summary import ModelSummary, told_of

__all__ = ["FuseTrainOptions", "FuseTrainSummary", "fuse_train"]


@dataclass(frozen=True)
class FuseTrainOptions:
    """How to train.

    Parameters
    ----------
    kind
        "multimodal", "ebsd" or "light".
    steps, time_s
        One of the two: number of steps, or seconds, those before an interruption included.
    batch
        Windows of a step.
    learning_rate
        Of AdamW; falls to a hundredth along a cosine.
    config
        Of the network, as `map_network.MapConfig` has it.
    """

    kind: str = "multimodal"
    steps: int | None = None
    time_s: float | None = None
    batch: int = 16
    learning_rate: float = 1.5e-3
    config: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class FuseTrainSummary(ModelSummary):
    """A trained model of maps: `held_out_loss` is the least of all validations, whose weights were
    kept."""

    kind: str


def fuse_train(
    output: str | os.PathLike[str],
    options: FuseTrainOptions,
    *,
    init_from: str | os.PathLike[str] | None = None,
    licence: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> FuseTrainSummary:
    """Train a model of maps on simulated microstructures and write it as a checkpoint file.

    An interrupted training leaves its state beside the output, and the next call with the same
    options goes on from there; time or steps may then be others.

    Parameters
    ----------
    init_from
        Checkpoint of the same kind to begin with.
    licence
        Of the model, for its card; unknown if not told.

    Raises
    ------
    ArgumentError, FormatError
        If an option makes no sense, or `init_from` is of another kind; before the training.
    FitError
        If the training diverges.
    OutputError
        If the output cannot be written; before the training, where that can be known.
    """
    from ebsdarchive.multimodal import map_network
    from ebsdarchive.multimodal.training_maps import TrainingMaps
    from ebsdarchive.restorers.checkpoint import read_checkpoint, write_checkpoint
    from ebsdarchive.restorers.train_options import TrainOptions
    from ebsdarchive.restorers.training import train
    from ebsdarchive.restorers.training_state import state_path

    path = Path(output)
    start = None if init_from is None else read_checkpoint(init_from)
    require_free(path, *([] if init_from is None else [init_from]), force=force)
    if (given := options.config.get("kind", options.kind)) != options.kind:
        raise ArgumentError(
            f"config: expected kind {options.kind!r}, found {given!r}; leave it out"
        )
    plan = TrainOptions(
        map_network.METHOD,
        steps=options.steps,
        time_s=options.time_s,
        learning_rate=options.learning_rate,
        keep="best",
        config={**options.config, "kind": options.kind},
        seed=options.seed,
        precision="auto",
        device=options.device,
    )
    if start is None:
        config = map_network.build(plan.config).config
    else:
        config = map_network.load(start).config
        if config.kind != options.kind:
            raise ArgumentError(
                f"init from: expected a model of kind {options.kind}, found {config.kind}"
            )
    source = TrainingMaps(
        "laguerre", config.window, options.batch, seed=options.seed, light=config.light_channels
    )
    state = state_path(path)
    trained = train(
        source,
        plan,
        kind=map_network,
        state=state,
        start=start,
        progress=lambda done, note: progress("training", done, 1, note),
    )
    card = model_card(source.described(), plan, trained, start, licence)
    checkpoint = map_network.checkpoint_of(trained.module, card)  # type: ignore[arg-type]
    write_checkpoint(path, checkpoint, force=force)
    state.unlink(missing_ok=True)
    return FuseTrainSummary(kind=options.kind, **told_of(path, trained, checkpoint))
