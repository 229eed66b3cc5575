"""What is told of a training when it is over, whatever was trained."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebsdarchive.restorers.checkpoint import Checkpoint
    from ebsdarchive.restorers.training import Trained

__all__ = ["ModelSummary", "told_of"]


@dataclass(frozen=True, kw_only=True)
class ModelSummary:
    """A trained model: where it is, and how its training went.

    Parameters
    ----------
    path, stored, sha256
        Its file, how many bytes that has, and the model's digest.
    parameters
        Numbers in the network.
    steps, seconds, device
        Of the training, interruptions left out.
    loss, held_out_loss
        The method's own.
    notes
        What to know of the training.
    """

    path: str
    parameters: int
    stored: int
    steps: int
    seconds: float
    device: str
    loss: float
    held_out_loss: float
    sha256: str
    notes: tuple[str, ...]


def told_of(path: Path, trained: Trained, checkpoint: Checkpoint) -> dict[str, Any]:
    """The fields of a `ModelSummary`, once the model is written."""
    return {
        "path": os.fspath(path),
        "parameters": trained.parameters,
        "stored": path.stat().st_size,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "device": trained.device,
        "loss": trained.loss,
        "held_out_loss": trained.held_out,
        "sha256": checkpoint.sha256,
        "notes": trained.notes,
    }
