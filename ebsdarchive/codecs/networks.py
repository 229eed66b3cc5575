"""Quantised dense networks to bytes and back: whole numbers of steps, range coded.

A weight is an integer times its row's step; the step of row k of a layer is the layer's own times
2 ** (exponent_k / 2). The byte layout is in the schema, kind ``coded-neural``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs.integers import IntegerReader, IntegerWriter
from ebsdarchive.errors import CorruptionError

__all__ = ["QuantisedNetwork", "decode_network", "encode_network"]

_HEADER = struct.Struct("<3H")  # sine layers, their width, outputs
_CONTEXTS = 5  # weights of the first, inner and last layers; biases; exponents
_MOST_WEIGHTS = 1 << 28


@dataclass(frozen=True)
class QuantisedNetwork:
    """A network of depth + 1 dense layers in steps.

    Parameters
    ----------
    weights, biases
        (outputs, inputs) and (outputs,) integers of each layer.
    weight_steps, bias_steps
        Step of each layer, float32.
    exponents
        (outputs,) integers of each layer: half octaves by which a row's steps differ.
    """

    weights: list[npt.NDArray[np.int64]]
    biases: list[npt.NDArray[np.int64]]
    weight_steps: npt.NDArray[np.float32]
    bias_steps: npt.NDArray[np.float32]
    exponents: list[npt.NDArray[np.int64]]

    def arrays(self) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
        """Weights and biases as float32."""
        rows = [np.exp2(exponent / 2).astype(np.float32) for exponent in self.exponents]
        weights = [
            q.astype(np.float32) * (step * row)[:, None]
            for q, step, row in zip(self.weights, self.weight_steps, rows, strict=True)
        ]
        biases = [
            q.astype(np.float32) * (step * row)
            for q, step, row in zip(self.biases, self.bias_steps, rows, strict=True)
        ]
        return weights, biases


def encode_network(network: QuantisedNetwork) -> bytes:
    """The network, coded."""
    depth = len(network.weights) - 1
    width, outputs = len(network.biases[0]), len(network.biases[-1])
    steps = np.concatenate([network.weight_steps, network.bias_steps])
    writer = IntegerWriter(_CONTEXTS)
    for i in range(depth + 1):
        writer.add(network.exponents[i], 4)
        writer.add(network.weights[i], _context(i, depth))
        writer.add(network.biases[i], 3)
    header = _HEADER.pack(depth, width, outputs)
    return header + steps.astype("<f4").tobytes() + writer.to_bytes()


def decode_network(data: bytes) -> QuantisedNetwork:
    """The network that `encode_network` coded. Raises CorruptionError on damaged bytes."""
    if len(data) < _HEADER.size:
        raise CorruptionError("coded network: expected a header, found their end")
    depth, width, outputs = _HEADER.unpack_from(data)
    sizes = [2, *[width] * depth, outputs]
    at, layers = _HEADER.size, depth + 1
    total = sum(a * b for a, b in pairwise(sizes))
    if not (depth and width and outputs and total < _MOST_WEIGHTS and len(data) > at + 8 * layers):
        raise CorruptionError("coded network: expected a sensible header, found a damaged one")
    steps = np.frombuffer(data, "<f4", 2 * layers, at).astype(np.float32)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise CorruptionError("coded network: expected positive steps, found damaged ones")
    reader = IntegerReader(data[at + 8 * layers :])
    weights, biases, exponents = [], [], []
    for i in range(layers):
        rows, columns = sizes[i + 1], sizes[i]
        exponents.append(reader.take(np.full(rows, 4)))
        values = reader.take(np.full(rows * columns, _context(i, depth)))
        weights.append(values.reshape(rows, columns))
        biases.append(reader.take(np.full(rows, 3)))
    reader.finish()
    return QuantisedNetwork(weights, biases, steps[:layers], steps[layers:], exponents)


def _context(layer: int, depth: int) -> int:
    """Context of a layer's weights."""
    return 0 if layer == 0 else 2 if layer == depth else 1
