"""The network of a field: how wide it is to be, its training, and its rounding.

Owns the choice between networks that were trained, by what a weight costs and what it saves; knows
coefficients, not patterns. Loads torch when it is asked for a network.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs.networks import QuantisedNetwork
from ebsdarchive.errors import FitError
from ebsdarchive.geometry import Grid
from ebsdarchive.neural import plan as planning
from ebsdarchive.neural.field import FieldTensors, Network
from ebsdarchive.neural.journal import Journal
from ebsdarchive.neural.options import (
    FitOptions,
    auto_depth,
    auto_learning_rate,
    auto_omega,
    auto_steps,
    auto_width,
    parameters,
    whole_width,
    width_for,
)
from ebsdarchive.neural.plan import Plan
from ebsdarchive.neural.projection import Projection
from ebsdarchive.neural.schedule import TrainOptions

__all__ = ["NetworkMaker"]

Arrays = tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]  # weights, biases

SMALL = 20_000  # points, up to which a training takes seconds: each width is trained to the end
# factors of the best number of weights within which the next width is not tried; None tries it
NEAR_SMALL: tuple[float | None, ...] = (1.2, 1.3, 1.6)
NEAR: tuple[float | None, ...] = (None, 2.2, 2.2)
NEAR_TIMED: tuple[float | None, ...] = (1.0,)
LARGEST_CHANGE = 6  # of the number of weights from one network to the next
RECOVERY_STEPS = 100
WARM_RATE = 0.3  # of the learning rate, where training begins with another field's layers
PROBE_SHARE = 0.25  # of a training, spent on a network that only shows which width is right


@dataclass
class NetworkMaker:
    """Makes networks for the coefficients of a scan.

    Parameters
    ----------
    grid, options, journal
        Of the fit.
    checkpoint
        What the names of files begin with that training leaves behind.
    start
        A field whose sine layers training begins with; its width and depth are taken.

    Attributes
    ----------
    checkpoints
        The files that were left behind.
    """

    grid: Grid
    options: FitOptions
    journal: Journal
    checkpoint: Path | None = None
    start: FieldTensors | None = None
    checkpoints: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.start is not None and not self.start.weights:
            raise FitError("start: expected a field with a network, found one of rank 1")

    @property
    def depth(self) -> int:
        """Number of sine layers."""
        if self.start is not None:
            return len(self.start.weights) - 1
        depth = self.options.depth
        return depth if isinstance(depth, int) else auto_depth(self.grid.size)

    @property
    def omegas(self) -> tuple[float, float]:
        """Frequency factors of the first sine layer, and of the others."""
        if self.start is not None:
            return self.start.omega_first, self.start.omega_hidden
        return self.options.omega_0, auto_omega(self.options.omega_0, self.depth)

    def make(
        self, projection: Projection, plan: Plan, noise: float, wider: float = 1.0
    ) -> QuantisedNetwork:
        """A network of the right width, trained and rounded.

        Parameters
        ----------
        noise
            The part of the coefficients' energy, in counts squared, that is noise.
        wider
            By what factor to exceed the number of weights that pays best.
        """
        weights, biases = self._best(projection, plan, noise, wider)
        from ebsdarchive.neural.rounding import Rounding, round_network
        from ebsdarchive.neural.siren import cores_for

        first, hidden = self.omegas
        recovery = RECOVERY_STEPS
        if self.options.time_s is not None:
            recovery = int(min(RECOVERY_STEPS, 2 * self.options.time_s))
        how = Rounding(
            self._positions(), projection.targets, projection.scale,
            plan.weight_step(sum(a.size for a in (*weights, *biases))),
            [first, *[hidden] * (self.depth - 1)], self.options.seed, recovery,
        )  # fmt: skip
        with self.journal.stage("round") as tick, cores_for(len(biases[0])):
            return round_network(weights, biases, how, progress=tick)

    def evaluated(self, quantised: QuantisedNetwork) -> Network:
        """A network that `make` made, ready to be asked."""
        return Network(*quantised.arrays(), *self.omegas)

    def _positions(self) -> npt.NDArray[np.float64]:
        return self.grid.normalise(self.grid.positions())

    def _best(self, projection: Projection, plan: Plan, noise: float, wider: float) -> Arrays:
        """The network whose width pays best, out of a few that are trained."""
        given = plan.width if self.start is None else len(self.start.biases[0])
        if self.start is None and isinstance(self.options.width, int):
            given = self.options.width
        if given is not None:
            return self._train(projection, given)[0]
        search = _Search(self.depth, len(projection.scale), plan, noise, wider)
        width = auto_width(self.grid.size, search.outputs + 1)
        whole = self.grid.size <= SMALL and self.options.time_s is None
        tried: dict[int, Arrays] = {}
        for near in NEAR_SMALL if whole else NEAR if self.options.time_s is None else NEAR_TIMED:
            tried[width], error = self._train(projection, width, 1.0 if whole else PROBE_SHARE)
            width, factor = search.next_width(width, error)
            if near is None:
                # the first probe alone cannot tell noise from what there is to learn
                width = whole_width(0.7 * width) if width in tried else width
            elif width in tried or factor < near:
                break
        self.journal.log["widths"] = sorted(tried)
        if not whole:
            rest = 1.0 if self.options.time_s is None else 1 - PROBE_SHARE
            return self._train(projection, width, rest)[0]
        return tried[max(tried) if wider > 1 else search.cheapest()]

    def _train(
        self, projection: Projection, width: int, share: float = 1.0
    ) -> tuple[Arrays, float]:
        """Weights and biases of a network, and its squared error of a pattern, counts squared,
        after a part `share` of the steps or of the time."""
        # spinning OpenMP threads make a step 60 times slower where another program uses a core
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from ebsdarchive.neural.siren import SirenConfig
        from ebsdarchive.neural.training import train

        options, xy = self.options, self._positions()
        config = SirenConfig(width, len(projection.scale), self.depth, *self.omegas)
        rate = options.learning_rate
        if isinstance(rate, str):
            rate = auto_learning_rate(width) * (1 if self.start is None else WARM_RATE)
        time_s = None if options.time_s is None else share * options.time_s
        steps = options.steps or auto_steps(self.grid.size)
        how = TrainOptions(
            learning_rate=rate, steps=max(1, round(share * steps)), time_s=time_s,
            seed=options.seed, device=options.device,
        )  # fmt: skip
        path = None
        if self.checkpoint is not None:
            part = "" if share == 1 else f".{share:g}"
            path = self.checkpoint.with_name(f"{self.checkpoint.name}.{width}{part}.npz")
            self.checkpoints.add(path)
        begin = None if self.start is None else _output_refitted(self.start, xy, projection)
        with self.journal.stage("train") as tick:
            trained = train(
                xy, projection.targets, projection.scale, config, how, tick, path, begin
            )
        for note in trained.notes:
            self.journal.note(note)
        self.journal.log.setdefault("training", []).append(
            {
                "width": width,
                "steps": trained.steps,
                "seconds": trained.seconds,
                "explained_variance": 1 - trained.loss,
                "restarts": trained.restarts,
                "learning_rate": trained.learning_rate,
                "device": trained.device,
                "stopped": trained.stopped,
            }
        )
        arrays = list(trained.weights), list(trained.biases)
        return arrays, trained.loss * projection.signal_energy


@dataclass
class _Search:
    """The width that pays best, from the errors of networks that were trained.

    Parameters
    ----------
    depth, outputs
        Of the networks.
    noise
        The part of the error, counts squared, that is not for a network to learn.
    wider
        By what factor to exceed the number of weights that pays best.
    """

    depth: int
    outputs: int
    plan: Plan
    noise: float
    wider: float
    measured: list[tuple[float, float]] = field(default_factory=list)
    costs: dict[int, float] = field(default_factory=dict)

    def next_width(self, width: int, error: float) -> tuple[int, float]:
        """The best width after one more network of some error, and by what factor its number of
        weights differs from that network's."""
        count = parameters(width, self.depth, self.outputs)
        self.measured.append((count, error))
        self.costs[width] = error + planning.price_of(count, self.plan.step)
        best = self.wider * planning.best_parameters(self.measured, self.noise, self.plan)
        best = min(max(best, count / LARGEST_CHANGE), count * LARGEST_CHANGE)
        return width_for(best, self.depth, self.outputs), max(best / count, count / best)

    def cheapest(self) -> int:
        """Of the widths tried, the one whose error and bytes together cost least; of those that are
        good enough, if any is."""
        errors = {
            width: error - self.noise
            for width, (_, error) in zip(self.costs, self.measured, strict=True)
        }
        return min(
            self.costs,
            key=lambda width: (errors[width] > self.plan.network_error, self.costs[width]),
        )


def _output_refitted(start: FieldTensors, xy: npt.NDArray, projection: Projection) -> Arrays:
    """The sine layers of another field, with the output layer that suits these coefficients."""
    step = max(1, len(xy) // 50_000)
    network = Network(start.weights, start.biases, start.omega_first, start.omega_hidden)
    features = np.column_stack([network.last_features(xy[::step]), np.ones(len(xy[::step]))])
    normal = features.T @ features
    normal[np.diag_indices(len(normal))] += 1e-5 * np.trace(normal) / len(normal)
    moment = features.T @ projection.targets[::step].astype(np.float64)
    output = np.linalg.solve(normal, moment).T.astype(np.float32)
    weights, biases = [*start.weights[:-1], output[:, :-1]], [*start.biases[:-1], output[:, -1]]
    return weights, biases
