"""What the card of a trained model tells of its training, whatever the model is for."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ebsdarchive import __version__
from ebsdarchive.restorers.train_options import TrainOptions

if TYPE_CHECKING:
    from ebsdarchive.restorers.checkpoint import Checkpoint
    from ebsdarchive.restorers.training import Trained

__all__ = ["model_card"]


def model_card(
    data: dict[str, Any],
    options: TrainOptions,
    trained: Trained,
    start: Checkpoint | None,
    licence: str | None,
) -> dict[str, Any]:
    """Training data, course of the training, size and origin of a model, as JSON can hold it.

    Parameters
    ----------
    data
        What the source of the samples says of itself.
    start
        The model that training began with, whose own training is told too.
    """
    card: dict[str, Any] = {
        "training_data": data,
        "training": {
            "steps": trained.steps,
            "seconds": round(trained.seconds, 1),
            "device": f"{trained.device}, {os.cpu_count()} cores",
            "optimiser": "AdamW",
            "learning_rate": options.learning_rate,
            "schedule": options.schedule,
            "weight_decay": options.weight_decay,
            "average": options.average,
            "kept": options.keep,
            "seed": options.seed,
            "loss": trained.loss,
            "held_out_loss": trained.held_out,
            "began_with": None if start is None else start.sha256,
            "before": None if start is None else start.card.get("training"),
        },
        "parameters": trained.parameters,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": {"ebsdarchive": __version__, "torch": metadata.version("torch")},
    }
    return card if licence is None else card | {"licence": licence}
