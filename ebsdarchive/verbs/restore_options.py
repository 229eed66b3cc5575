"""How patterns are to be restored, and the restorer that this asks for."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from ebsdarchive.restorers.registry import (
    DEFAULT_METHOD,
    method_of,
    options_of,
    pipeline_of,
    restorer_of,
)
from ebsdarchive.restorers.restorer import Restorer
from ebsdarchive.verbs.restore_source import Model, Source, model_for

__all__ = ["RestoreOptions", "chosen_restorer"]


@dataclass(frozen=True)
class RestoreOptions:
    """How patterns are restored.

    Parameters
    ----------
    method
        NAME or NAME:OPTION=NUMBER,… of a method in `ebsdarchive.restorers.registry`; by default
        that of the model, or the package's default.
    model
        A .safetensors file, or the name of a model in the archive; by default the one that comes
        with the package, where one does.
    before, after
        Corrections, such as "static", "dynamic" and "clahe:kernel=15".
    steps, samples
        Of methods that draw samples: steps for each, and how many are drawn and averaged.
    search_radius
        Of nlpar: half its window in points.
    mask
        "auto" to leave out pixels of the detector without signal, or "none".
    device
        "auto", "cpu", "cuda" or "cuda:N".
    seed
        Of all random numbers.
    """

    method: str | None = None
    model: str | os.PathLike[str] | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    steps: int | None = None
    samples: int = 1
    search_radius: int | None = None
    mask: str = "auto"
    device: str = "auto"
    seed: int = 0

    def recorded(self) -> dict[str, Any]:
        """As provenance keeps them: a model by its name, without the folders it lies in."""
        model = None if self.model is None else os.path.basename(self.model)
        return asdict(self) | {"model": model}


def chosen_restorer(chosen: RestoreOptions, source: Source) -> tuple[Restorer, Model | None, str]:
    """The method with all its parameters and steps, its model and its device.

    Raises
    ------
    ArgumentError
        If there is no such method or model, or an option is none of it.
    """
    name, options = (None, {}) if chosen.method is None else options_of(chosen.method)
    if name is None and chosen.model is None:
        name = DEFAULT_METHOD
    if chosen.search_radius is not None:
        options = options | {"search-radius": chosen.search_radius}
    model = model_for(name, chosen.model, source.archive)
    name = model.checkpoint.method if name is None and model is not None else str(name)
    device = chosen.device
    if device == "auto":
        device = "cuda" if method_of(name).learned and _has_cuda() else "cpu"
    restorer = restorer_of(
        name,
        None if model is None else model.checkpoint,
        device=device,
        steps=chosen.steps,
        samples=chosen.samples,
        options=options,
    )
    return pipeline_of(restorer, chosen.before, chosen.after), model, device


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())
