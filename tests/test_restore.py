"""Restorers: their table, what each makes of noisy scans, and the verb that runs them in blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from ebsdarchive.errors import ArgumentError, VersionError
from ebsdarchive.restorers import registry
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.registry import METHODS, Method, restorer_of

# ---------------------------------------------------------------- the table of methods


@dataclass
class Learned:
    """A learned method as other modules register theirs."""

    checkpoint: Checkpoint
    device: str
    steps: int | None
    samples: int
    version = "2"

    @classmethod
    def from_checkpoint(cls, checkpoint, device, steps, samples):
        return cls(checkpoint, device, steps, samples)


@pytest.fixture
def learned(monkeypatch):
    monkeypatch.setitem(
        registry.METHODS, "drawn", Method(f"{__name__}:Learned", "", learned=True, samples=True)
    )
    return Checkpoint("drawn", "2", {}, {"a": np.zeros(3, np.float32)})


def test_every_method_of_the_table_is_there():
    for name, method in METHODS.items():
        kind = method.load()
        assert kind.name == name
        assert isinstance(kind.version, str)
        assert hasattr(kind, "from_checkpoint") == method.learned


def test_a_learned_method_is_made_from_its_checkpoint(learned):
    made = restorer_of("drawn", learned, device="cpu", steps=7, samples=3)
    assert (made.checkpoint, made.device, made.steps, made.samples) == (learned, "cpu", 7, 3)


def test_a_parameter_that_a_method_would_ignore_is_refused(learned):
    with pytest.raises(ArgumentError, match="drawn: expected a model, found none"):
        restorer_of("drawn")
    with pytest.raises(ArgumentError, match="expected a model of this method, found one of ddpm"):
        restorer_of("drawn", Checkpoint("ddpm", "2", {}, {}))
    with pytest.raises(VersionError, match="model version 1 is not known here"):
        restorer_of("drawn", Checkpoint("drawn", "1", {}, {}))
    with pytest.raises(ArgumentError, match="drawn: expected no options"):
        restorer_of("drawn", learned, options={"a": 1})
    with pytest.raises(ArgumentError, match="samples: expected 1 or more, found 0"):
        restorer_of("drawn", learned, samples=0)
    with pytest.raises(ArgumentError, match="field: expected no model"):
        restorer_of("field", learned)
    with pytest.raises(ArgumentError, match="field: expected no steps or samples"):
        restorer_of("field", steps=3)
    with pytest.raises(ArgumentError, match="field: expected device cpu"):
        restorer_of("field", device="cuda")
    with pytest.raises(ArgumentError, match="expected one of the options none, found 'window'"):
        restorer_of("field", options={"window": 3})
    with pytest.raises(ArgumentError, match="method: expected one of nlpar, neighbour"):
        restorer_of("wishful")
