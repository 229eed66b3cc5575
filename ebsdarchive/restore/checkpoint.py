"""A trained restorer at rest: its method, configuration, named tensors and model card.

Never code, never a pickle. The file is safetensors with the rest as JSON in its header; an archive
holds the same under `models/`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """A trained model of a method.

    Parameters
    ----------
    method
        The restorer that it belongs to, as the command line knows it.
    version
        Of the method's architecture: tensors of another version do not fit.
    config
        What the architecture is built from, as JSON can hold it.
    tensors
        By name, as the architecture calls them.
    card
        Training data, noise range, sizes, licence, measured figures; as JSON can hold it.
    """

    method: str
    version: str
    config: Mapping[str, Any]
    tensors: Mapping[str, npt.NDArray]
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Of the tensors."""
        return sum(np.asarray(tensor).nbytes for tensor in self.tensors.values())

    @property
    def sha256(self) -> str:
        """Digest of all that decides what the model does: method, version, configuration and
        tensors, without the card."""
        digest = hashlib.sha256()
        known = {"method": self.method, "version": self.version, "config": self.config}
        digest.update(json.dumps(known, sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            array = np.ascontiguousarray(tensor)
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()
