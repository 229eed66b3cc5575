"""Whole numbers of steps for a network: how coarse each layer may be, and the rounding itself.

A weight that disturbs the patterns little gets a coarse step. Steps are in proportion to one over
the root of a layer's sensitivity, which spends bits where they lower the error most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs.networks import QuantisedNetwork
from ebsdarchive.neural.field import Network

__all__ = ["Steps", "choose_steps", "normalised_outputs", "rounded"]

_PROBE = 1e-3  # of a layer's root mean square, to measure its sensitivity
_BISECTIONS = 14


@dataclass(frozen=True)
class Steps:
    """Steps of the layers' weights and biases, and half octaves by which rows differ."""

    weights: npt.NDArray[np.float32]
    biases: npt.NDArray[np.float32]
    exponents: list[npt.NDArray[np.int64]]

    def scaled(self, factor: float) -> Steps:
        """All steps times a factor."""
        by = np.float32(factor)
        return Steps(self.weights * by, self.biases * by, self.exponents)


def normalised_outputs(
    weights: Sequence[npt.NDArray[np.float32]],
    biases: Sequence[npt.NDArray[np.float32]],
    network: Network,
    xy: npt.NDArray,
) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
    """The network with each output scaled to a standard deviation of 1 over positions `xy`."""
    spread = network(xy).std(axis=0)
    scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 1).astype(np.float32)
    return (
        [*weights[:-1], weights[-1] * scale[:, None]],
        [*biases[:-1], biases[-1] * scale],
    )


def rounded(
    weights: Sequence[npt.NDArray], biases: Sequence[npt.NDArray], steps: Steps
) -> QuantisedNetwork:
    """The network in whole numbers of steps."""
    rows = [np.exp2(exponent / 2).astype(np.float32) for exponent in steps.exponents]
    return QuantisedNetwork(
        weights=[
            np.rint(w / (step * row)[:, None]).astype(np.int64)
            for w, step, row in zip(weights, steps.weights, rows, strict=True)
        ],
        biases=[
            np.rint(b / (step * row)).astype(np.int64)
            for b, step, row in zip(biases, steps.biases, rows, strict=True)
        ],
        weight_steps=steps.weights,
        bias_steps=steps.biases,
        exponents=steps.exponents,
    )


def choose_steps(
    weights: Sequence[npt.NDArray[np.float32]],
    biases: Sequence[npt.NDArray[np.float32]],
    omegas: tuple[float, float],
    xy: npt.NDArray,
    energy: npt.NDArray[np.float64],
    allowed: float,
    seed: int,
) -> Steps:
    """The coarsest steps that add no more than some error.

    Parameters
    ----------
    weights, biases, omegas
        Of a network with outputs of unit variance.
    xy
        (k, 2) positions in -1 … 1 to measure at.
    energy
        (outputs,) squared error of a pattern, in counts, for a unit error of each output.
    allowed
        Squared error of a pattern, in counts, that rounding may add on average.
    """
    exact = Network(weights, biases, *omegas)(xy)

    def added(w: Sequence[npt.NDArray], b: Sequence[npt.NDArray]) -> float:
        change = (Network(w, b, *omegas)(xy) - exact).astype(np.float64)
        return float((change**2).mean(axis=0) @ energy)

    rng = np.random.default_rng(seed)
    exponents = [np.zeros(len(bias), dtype=np.int64) for bias in biases]
    largest = max(float(energy.max(initial=0.0)), 1e-30)
    # a row of the last layer may err the more, the less its pattern matters
    exponents[-1] = np.rint(np.log2(largest / np.maximum(energy, largest * 2.0**-40))).astype(
        np.int64
    )
    row = np.exp2(exponents[-1] / 2)
    steps = []
    for arrays in (weights, biases):
        sensitivity = []
        for i, array in enumerate(arrays):
            probe = _PROBE * max(float(np.sqrt(np.mean(array**2))), 1e-3)
            noise = (probe * rng.standard_normal(array.shape)).astype(np.float32)
            if i == len(arrays) - 1:
                noise *= row.reshape(-1, *[1] * (array.ndim - 1)).astype(np.float32)
            changed = [a + noise if j == i else a for j, a in enumerate(arrays)]
            error = added(changed, biases) if arrays is weights else added(weights, changed)
            sensitivity.append(max(error, 1e-30) / (probe**2 * array.size))
        steps.append(1 / np.sqrt(np.array(sensitivity)))
    unit = Steps(steps[0].astype(np.float32), steps[1].astype(np.float32), exponents)
    # at factor f a weight adds f ** 2 / 12: start where that is all that is allowed
    count = sum(a.size for a in (*weights, *biases))
    high = np.log(np.sqrt(12 * max(allowed, 1e-30) / count)) + 2.0
    low = high - 6.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        coarse = rounded(weights, biases, unit.scaled(np.exp(middle))).arrays()
        if added(*coarse) <= allowed:
            low = middle
        else:
            high = middle
    return unit.scaled(np.exp(low))
