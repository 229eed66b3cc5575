"""A training's state on disk, so that an interrupted one goes on where it was.

One safetensors file: tensors by name, and the run as JSON in its header; never a pickle. What is in
it belongs to `training`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ebsdarchive.archive.store import replacing

__all__ = ["read_state", "state_path", "write_state"]

FORMAT = "ebsdarchive-training"


def state_path(target: Path) -> Path:
    """The file beside a training's result that holds its state."""
    return target.with_name(f".{target.name}.training")


def write_state(
    path: Path, digest: str, run: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write beside `path` and replace it: an older state is never harmed.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    held = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    told = {"format": FORMAT, "digest": digest, "run": json.dumps(dict(run))}
    with replacing(path, force=True) as temporary:
        save_file(held, temporary, told)


def read_state(path: Path, digest: str) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """The run and its tensors, both empty where they are not used, and why that is, or "resumed";
    nothing where there is no file."""
    if not path.exists():
        return {}, {}, ""
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            if told.get("format") != FORMAT:
                return {}, {}, "state of another program beside the target, ignored"
            if told.get("digest") != digest:
                return {}, {}, "state of a training with other options or data, ignored"
            run = json.loads(told["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError):
        return {}, {}, "state of an earlier training unreadable, ignored"
    if not all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point()):
        return {}, {}, "state of an earlier training not finite, ignored"
    return run, tensors, "resumed"
