"""How large a field must be: rank, step of the images and width, weighed against each other.

Every bit should lower the error alike, wherever it is spent. At step d an image coefficient costs
a bit for every 2 ln 2 d^2 / 12 of squared error that it saves; rounding a weight and widening the
network are brought to the same price.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs.images import encode_images, rounded_images
from ebsdarchive.neural.basis import Basis
from ebsdarchive.neural.options import auto_width, parameters, width_for
from ebsdarchive.neural.pixels import values_inside
from ebsdarchive.neural.sample import Sample

__all__ = [
    "ERROR_SLOPE",
    "SIZE_SLOPE",
    "Floor",
    "Plan",
    "allowed_energy",
    "best_parameters",
    "floors",
    "plan_for_loss",
    "plans_for_error",
    "plans_for_size",
    "price_of",
    "solve_step",
]

BITS_PER_WEIGHT = 5.5
PRICE = 2 * math.log(2) / 12  # squared error per bit, in squared steps
ERROR_SLOPE, SIZE_SLOPE = 1.6, -0.75  # of log error and log bytes against log step
IMAGE_SHARE = 0.6  # of the error to be given away, for images; the network has the rest
NETWORK_LOSS = 4.0  # times the images' loss: what a network may add at most, without a target
IMAGE_BYTES = 0.72  # of a given size
TRIALS = 14
COARSENESS = 2.2  # of weights against images
COMPENSATED = 0.35  # part of the error of rounding that is left when it is compensated
ROUNDING_SHARE = 0.25
LEAST = 1e-6
POWER = 1.7  # the network's error falls with this power of its size, before it is measured


@dataclass(frozen=True)
class Floor:
    """What the KLT alone leaves at a rank: mean absolute error, and squared error of a pattern."""

    rank: int
    mae_counts: float
    energy: float


@dataclass(frozen=True)
class Plan:
    """What a field is to be.

    Parameters
    ----------
    rank
        Number of components.
    step
        Of the images, counts.
    allowed
        Squared error of a pattern that coding and training may add.
    width
        Of the network, where it is settled already.
    expected_bytes
        Of all streams, where a mean error is the target.
    network_error
        Squared error of a pattern, noise left out, that the network is to stay below even where
        bytes do not pay for it.
    capped
        Whether the rank is the largest that a basis of a sample may have, not the one that is
        needed.
    """

    rank: int
    step: float
    allowed: float
    width: int | None = None
    expected_bytes: float = 0.0
    network_error: float = math.inf
    capped: bool = False

    def weight_step(self, count: float) -> float:
        """The step, in counts of the images, at which to round `count` weights.

        A little coarser than the images', since rounding in turn takes back much of the error;
        but all weights together add no more than a quarter of what is allowed.
        """
        most = math.sqrt(12 * ROUNDING_SHARE * self.allowed / (max(count, 1) * COMPENSATED))
        return min(COARSENESS * self.step, most)

    def value_step(self, count: int) -> float:
        """The step, in counts of the images, at which to round `count` values of a lattice.

        The images', since the error of one value is not another's to take up; no more in all than
        of weights.
        """
        return min(self.step, math.sqrt(12 * ROUNDING_SHARE * self.allowed / max(count, 1)))

    @property
    def bit(self) -> float:
        """The squared error of a pattern that the images save for a bit, at their step."""
        return PRICE * self.step**2


def floors(sample: Sample, basis: Basis, ranks: list[int], patterns: int = 512) -> list[Floor]:
    """The error of the KLT alone at some ranks, over part of the sample."""
    step = max(1, len(sample.patterns) // patterns)
    inside = values_inside(sample.patterns[::step], basis.mask).astype(np.float32)
    coefficients = basis.coefficients[::step]
    out = []
    for rank in ranks:
        error = basis.synthesise(coefficients[:, : rank - 1])
        error -= inside
        energy = float(np.einsum("ij,ij->", error, error, dtype=np.float64)) / len(error)
        out.append(Floor(rank, float(np.abs(error).mean(dtype=np.float64)), energy))
    return out


def solve_step(measure: Callable[[float], float], goal: float, guess: float, slope: float) -> float:
    """The step at which `measure` comes closest to `goal` without exceeding it.

    Parameters
    ----------
    measure
        Error or bytes as a function of the step.
    slope
        About d log(measure) / d log(step): positive for errors, negative for sizes.
    """
    step, good, bad = guess, None, None
    for _ in range(TRIALS):
        value = measure(step)
        if value <= goal:
            good = (step, value)
            if value >= 0.97 * goal:
                break
        else:
            bad = (step, value)
        aim = math.log(max(0.985 * goal, 1e-30) / max(value, 1e-30))
        if good and bad and good[1] > 0 and good[1] != bad[1]:
            local = math.log(bad[1] / good[1]) / math.log(bad[0] / good[0])
            aim = math.log(0.985 * goal / good[1]) / local if local * slope > 0 else 0.0
            inside = sorted((0.0, math.log(bad[0] / good[0])))
            shift = min(max(aim, inside[0] * 0.9), inside[1] * 0.9)
            step = good[0] * math.exp(shift or (inside[0] + inside[1]) / 2)
        else:
            step *= math.exp(min(max(aim / slope, -2.5), 2.5))
    return good[0] if good else step


def klt_images(basis: Basis, rank: int) -> npt.NDArray[np.float32]:
    """(rank, sy, sx) mean and basis patterns for coefficients of unit variance, counts."""
    images = np.zeros((rank, *basis.mask.shape), dtype=np.float32)
    images[0] = basis.mean
    scale = np.sqrt(basis.variances[: rank - 1]).astype(np.float32)
    images[1:, basis.mask] = basis.vectors[: rank - 1] * scale[:, None] / np.sqrt(basis.weights)
    return images


class _Trial:
    """Codes the KLT's images at steps."""

    def __init__(self, basis: Basis, rank: int) -> None:
        self.images, self.mask = klt_images(basis, rank), basis.mask

    def error(self, step: float) -> float:
        """Squared error of a pattern that coding adds."""
        change = (rounded_images(self.images, self.mask, step) - self.images)[:, self.mask]
        return float(np.einsum("ij,ij->", change, change, dtype=np.float64))

    def size(self, step: float) -> float:
        """Bytes."""
        return len(encode_images(self.images, self.mask, step))


def allowed_energy(loss: float, energy: float, mean_pattern: npt.NDArray) -> float:
    """Squared error by which coding may raise that of a pattern, `energy`: a part `loss` of its
    root, and always what rounding the mean pattern to a millionth is."""
    least = mean_pattern.size * (LEAST * float(np.abs(mean_pattern).max(initial=0.0))) ** 2
    return max(((1 + loss) ** 2 - 1) * energy, least)


def plan_for_loss(basis: Basis, floor: Floor, loss: float) -> Plan:
    """A step at which coding raises the mean error by a part `loss` of it.

    The network may add a little more. Where there is much noise, bytes that keep weak signal hardly
    lower the error of the measured patterns, so that its price alone would give the signal away.
    """
    allowed = allowed_energy(loss, floor.energy, basis.mean)
    trial = _Trial(basis, floor.rank)
    step = solve_step(trial.error, allowed, _guess(floor), ERROR_SLOPE)
    return Plan(floor.rank, step, allowed, network_error=NETWORK_LOSS * allowed)


def plans_for_error(
    basis: Basis, candidates: list[Floor], goal_counts: float, n: int, depth: int
) -> list[Plan]:
    """For each rank that can meet a mean error, the step at which it is expected to; fewest bytes
    first."""
    plans = []
    for floor in candidates:
        allowed = IMAGE_SHARE * ((goal_counts / max(floor.mae_counts, 1e-30)) ** 2 - 1)
        if allowed < 0.005:
            continue
        trial = _Trial(basis, floor.rank)
        step = solve_step(trial.error, allowed * floor.energy, _guess(floor), ERROR_SLOPE)
        count = parameters(auto_width(n, floor.rank), depth, floor.rank - 1)
        total = trial.size(step) + count * BITS_PER_WEIGHT / 8
        given = allowed * floor.energy / IMAGE_SHARE
        plans.append(Plan(floor.rank, step, given, expected_bytes=total))
    return sorted(plans, key=lambda plan: plan.expected_bytes)


def plans_for_size(basis: Basis, candidates: list[Floor], size: float, depth: int) -> list[Plan]:
    """For each rank, the step and width that take up `size` bytes; least error expected first."""
    plans = []
    for floor in candidates:
        trial = _Trial(basis, floor.rank)
        step = solve_step(trial.size, IMAGE_BYTES * size, _guess(floor), SIZE_SLOPE)
        added = trial.error(step)
        count = (1 - IMAGE_BYTES) * size * 8 / BITS_PER_WEIGHT
        width = width_for(count, depth, max(floor.rank - 1, 1))
        plans.append((floor.energy + added, Plan(floor.rank, step, added / IMAGE_SHARE, width)))
    return [plan for _, plan in sorted(plans, key=lambda entry: entry[0])]


def price_of(count: float, step: float) -> float:
    """The squared error that the images save for the bits of `count` weights, at their step."""
    return PRICE * step**2 * BITS_PER_WEIGHT * count


def best_parameters(measured: list[tuple[float, float]], noise: float, plan: Plan) -> float:
    """The number of weights at which a further one no longer pays for its bits; or, if that is
    more, at which the network's error is as small as planned.

    The error is taken for noise, which no network learns, and a power of the number of weights.
    From two networks on, their difference says how large the latter is; before, `noise` does.

    Parameters
    ----------
    measured
        (weights, squared error of a pattern) of networks that were trained, the last one last.
    noise
        What part of the squared error may be noise.
    """
    count, error = measured[-1]
    learnable = max(error - noise, 0.02 * error)
    others = [other for other in measured[:-1] if other[0] != count]
    if others:
        other, its_error = min(others, key=lambda entry: abs(math.log(entry[0] / count)))
        # error = noise + a count^-power through both, at the geometric mean of their counts
        fall = (its_error - error) / (other**-POWER - count**-POWER)
        count = math.sqrt(count * other)
        learnable = max(fall * count**-POWER, 1e-3 * error)
    learnable = max(learnable, 1e-30)
    scale = POWER * learnable / price_of(1, plan.step)
    paying = count * (scale / count) ** (1 / (POWER + 1))
    return max(paying, count * (learnable / plan.network_error) ** (1 / POWER))


def _guess(floor: Floor) -> float:
    """A step to begin with: a seventh of the root mean square of what is left in a pixel."""
    return max(math.sqrt(floor.energy) / 700, 1e-3)
