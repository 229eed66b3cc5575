"""The images' step that a target asks for, found on the very field that is to be stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import erf

from ebsdarchive.codecs.images import encode_images, rounded_images
from ebsdarchive.codecs.lattices import QuantisedLattice
from ebsdarchive.codecs.networks import QuantisedNetwork
from ebsdarchive.geometry import Grid
from ebsdarchive.neural import plan as planning
from ebsdarchive.neural.coded import CodedField, decode_field, encode_field, images_of
from ebsdarchive.neural.field import Field, FieldTensors, Outputs
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.neural.pixels import values_inside
from ebsdarchive.neural.refine import Refit
from ebsdarchive.neural.sample import Sample

__all__ = ["LEAST_LOSS", "PROBES", "Found", "Probe", "SomeImages", "Uncoded", "coded_for"]

Found = tuple[float, CodedField, FieldTensors]  # images' step in counts, bytes, what they decode to

PROBES = 2048  # patterns on which a step is tuned to a target
AIM, NEAR = 0.9993, 0.9985  # of a target error: where to aim, and what is near enough
CORRECTIONS = 6
INNER = 0.1  # of the way between two steps
MOST_IMAGES, RUN = 64, 8  # of many, looked at while steps are sought; neighbours predict each other
SEEN_ERRORS = 1 << 18
LEAST_LOSS = 0.005  # of the error, to be given to the images where a target is out of reach


@dataclass(frozen=True)
class Probe:
    """Some patterns to tune on: indices (k,) and values (k, m) inside the mask."""

    indices: npt.NDArray[np.int64]
    inside: npt.NDArray

    @classmethod
    def of(cls, sample: Sample, mask: npt.NDArray[np.bool_]) -> Probe:
        """Patterns spread over a sample; one that nothing was fitted to, or the whole scan."""
        step = max(1, len(sample.patterns) // PROBES)
        return cls(sample.indices[::step], values_inside(sample.patterns[::step], mask))

    def features(self, network: Outputs | None, grid: Grid) -> npt.NDArray[np.float32]:
        """(k, c) outputs of a network at the patterns' positions."""
        if network is None:
            return np.empty((len(self.indices), 0), dtype=np.float32)
        return network(grid.normalise(grid.positions_at(self.indices)))

    def mae(
        self, features: npt.NDArray, basis: npt.NDArray, mean_pattern: npt.NDArray,
        mask: npt.NDArray[np.bool_],
    ) -> float:  # fmt: skip
        """Mean absolute error in counts of a field with these outputs and images."""
        error = self._errors(features, basis, mean_pattern, mask)
        return float(np.abs(error).mean(dtype=np.float64))

    def mae_of(self, field: Field) -> float:
        """Mean absolute error in counts of a stored field."""
        error = field.inside(field.grid.positions_at(self.indices)) - self.inside
        return float(np.abs(error).mean(dtype=np.float64))

    def loss_for(
        self, goal_counts: float, features: npt.NDArray, refit: Refit, mask: npt.NDArray[np.bool_]
    ) -> float:
        """The part by which the root of a field's squared error may grow, in errors that are
        Gaussian and independent of those there are, until its mean absolute error is `goal_counts`;
        `LEAST_LOSS` where it is more already."""
        error = self._errors(features, refit.basis, refit.mean_pattern, mask).ravel()
        error = np.abs(error[:: max(1, error.size // SEEN_ERRORS)]).astype(np.float64)
        pixels, energy = int(mask.sum()), max(refit.residual_energy, 1e-30)

        def missing(loss: float) -> float:
            spread = np.sqrt(((1 + loss) ** 2 - 1) * energy / pixels)
            tail = spread * np.sqrt(2 / np.pi) * np.exp(-np.square(error / spread) / 2)
            return float((tail + error * erf(error / spread / np.sqrt(2))).mean()) - goal_counts

        if missing(LEAST_LOSS) >= 0:
            return LEAST_LOSS
        most = 1.0
        while missing(most) < 0:
            most *= 4
        return float(brentq(missing, LEAST_LOSS, most, rtol=1e-3))

    def _errors(
        self, features: npt.NDArray, basis: npt.NDArray, mean_pattern: npt.NDArray,
        mask: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.float32]:  # fmt: skip
        error = features @ basis
        error += mean_pattern[mask]
        error -= self.inside
        return error


@dataclass(frozen=True)
class Uncoded:
    """A field with a rounded network, and images that are not coded yet."""

    quantised: QuantisedNetwork | QuantisedLattice | None
    network: Outputs | None
    refit: Refit
    mask: npt.NDArray[np.bool_]
    omegas: tuple[float, float]

    def images(self) -> npt.NDArray[np.float32]:
        """(rank, sy, sx) mean pattern and basis."""
        return images_of(self.refit.basis, self.refit.mean_pattern, self.mask)

    def coded(self, images: bytes) -> CodedField:
        """The field with such images."""
        return encode_field(self.quantised, images, self.refit.mean_pattern, self.mask, self.omegas)


class SomeImages:
    """A few of a field's many images, whose steps and sizes tell those of all.

    Parameters
    ----------
    refit
        With outputs of unit variance that are hardly correlated.
    """

    def __init__(self, refit: Refit, mask: npt.NDArray[np.bool_]) -> None:
        count = len(refit.basis)
        every = max(1, -(-count // MOST_IMAGES))
        chosen = np.flatnonzero(np.arange(count) // RUN % every == 0)
        self._mask = mask
        self._images = images_of(refit.basis[chosen], refit.mean_pattern, mask)
        self._share = len(chosen) / count if count else 1.0
        self.all = len(chosen) == count

    def added(self, step: float) -> float:
        """Squared error of a pattern that coding all images adds."""
        change = (rounded_images(self._images, self._mask, step) - self._images)[:, self._mask]
        squares = np.einsum("ij,ij->i", change, change)
        return float(squares[0]) + float(squares[1:].sum()) / self._share

    def size(self, step: float) -> float:
        """Bytes of all images."""
        return len(encode_images(self._images, self._mask, step)) / self._share


def coded_for(
    uncoded: Uncoded, options: FitOptions, goal_counts: float | None, guess: float,
    probe: Probe, grid: Grid,
) -> Found:  # fmt: skip
    """The field at the step that suits `options`: that step, the bytes, what they decode to.

    Parameters
    ----------
    goal_counts
        The mean absolute error to meet, where there is one.
    guess
        A step to begin with.
    """
    refit, mask, images = uncoded.refit, uncoded.mask, uncoded.images()
    others, some = uncoded.coded(b""), SomeImages(uncoded.refit, uncoded.mask)
    last: dict[float, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = {}

    def at(step: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Basis and mean pattern as they come back."""
        if step not in last:
            last.clear()
            rounded = rounded_images(images, mask, step)
            last[step] = np.ascontiguousarray(rounded[1:, mask]), rounded[0]
        return last[step]

    def added(step: float) -> float:
        return refit.added(*at(step), mask)

    def size(step: float) -> float:
        return float(len(encode_images(images, mask, step)))

    def within(loss: float, guess: float) -> float:
        goal = planning.allowed_energy(loss, refit.residual_energy, refit.mean_pattern)
        if not some.all:
            guess = planning.solve_step(some.added, goal, guess, planning.ERROR_SLOPE)
        return planning.solve_step(added, goal, guess, planning.ERROR_SLOPE)

    if options.target_size_mb is not None:
        goal = max(1e6 * options.target_size_mb - others.nbytes, 1.0)
        if not some.all:
            guess = planning.solve_step(some.size, goal, guess, planning.SIZE_SLOPE)
        step = planning.solve_step(size, goal, guess, planning.SIZE_SLOPE)
    elif goal_counts is None:
        step = within(options.coding_loss_pct / 100, guess)
    else:
        features = probe.features(uncoded.network, grid)
        exact = probe.mae(features, refit.basis, refit.mean_pattern, mask)
        aim = AIM * goal_counts
        step = within(probe.loss_for(aim, features, refit, mask), guess)
        if exact < aim:
            step = _corrected(
                step, lambda step: probe.mae(features, *at(step), mask), exact, goal_counts
            )
    coded = replace(others, images=encode_images(images, mask, step))
    sy, sx = mask.shape
    return step, coded, decode_field(coded, (sy, sx))


def _corrected(step: float, error_of: Callable[[float], float], exact: float, goal: float) -> float:
    """A step near `step` whose error is as near below `goal` as it is worth to look for; `exact` is
    that of no step at all."""
    below, above, at = None, None, math.log(step)  # logarithms of steps, and their errors
    for _ in range(1 + CORRECTIONS):
        found = error_of(math.exp(at))
        if found <= goal:
            below = max((at, found), below or (at, found))
        else:
            above = min((at, found), above or (at, found))
        if NEAR * goal < found <= goal or not found > exact:
            break
        if below is None or above is None or below > above:
            at += math.log((AIM * goal - exact) / (found - exact)) / planning.ERROR_SLOPE
        else:  # errors of few images leap: not too near to either
            part = (AIM * goal - below[1]) / (above[1] - below[1])
            at = below[0] + min(max(part, INNER), 1 - INNER) * (above[0] - below[0])
    return math.exp(at if below is None else below[0])
