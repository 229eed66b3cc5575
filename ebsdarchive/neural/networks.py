"""The network of a field: of which kind and how wide it is to be, its training, and its rounding.

Owns the choice between networks, by what their bytes cost and what they save; knows coefficients,
not patterns. Loads torch when it is asked for sine layers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs.lattices import QuantisedLattice, encode_lattice
from ebsdarchive.codecs.networks import QuantisedNetwork, encode_network
from ebsdarchive.errors import ArgumentError, FitError
from ebsdarchive.geometry import Grid
from ebsdarchive.neural.field import FieldTensors, Network, Outputs
from ebsdarchive.neural.journal import Journal
from ebsdarchive.neural.lattice import LatticeNetwork
from ebsdarchive.neural.lattice_fit import LatticeOptions, fit_lattice
from ebsdarchive.neural.options import (
    FitOptions,
    auto_depth,
    auto_learning_rate,
    auto_omega,
    auto_steps,
    auto_width,
    parameters,
    whole_width,
)
from ebsdarchive.neural.plan import Plan, price_of
from ebsdarchive.neural.projection import Projection
from ebsdarchive.neural.schedule import TrainOptions
from ebsdarchive.neural.widths import WidthSearch

__all__ = ["NetworkMaker"]

Quantised = QuantisedNetwork | QuantisedLattice
Arrays = tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]  # weights, biases

SMALL = 20_000  # points, up to which a training takes seconds: each width is trained to the end
# factors of the best number of weights within which the next width is not tried; None tries it
NEAR_SMALL: tuple[float | None, ...] = (1.2, 1.3, 1.6)
NEAR: tuple[float | None, ...] = (None, 2.2, 2.2)
NEAR_TIMED: tuple[float | None, ...] = (1.0,)
RECOVERY_STEPS = 100
WARM_RATE = 0.3  # of the learning rate, where training begins with another field's layers
POINTS = 50_000  # of a scan, on which networks are compared
MARGIN = 1.25  # of their costs, in favour of sine layers, which follow gradients within grains
MISSED = 10.0  # times the squared error that exceeds what is planned
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
    only
        A kind of network to make, of those that the options leave open.

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
    only: str | None = None
    checkpoints: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.start is not None and not self.start.weights:
            found = "a lattice" if self.start.lattice else "one of rank 1"
            raise FitError(f"start: expected a field with sine layers, found {found}")
        if self.options.network == "lattice":
            if self.start is not None:
                raise ArgumentError(
                    "network: expected sine where training begins with another field, found "
                    "lattice; leave the other field out"
                )
            if self.grid.is_hexagonal:
                raise ArgumentError(
                    "network: expected sine for a hexagonal grid, found lattice; lattices are "
                    "for square grids"
                )

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of networks that are asked for, of those that the scan allows."""
        if self.only is not None:
            return (self.only,)
        if self.options.network == "auto":
            sine_alone = self.start is not None or self.grid.is_hexagonal
            return ("sine",) if sine_alone else ("sine", "lattice")
        return (self.options.network,)

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
    ) -> Quantised:
        """A network of the kind that was asked for, or of the one that is worth its bytes more.

        Parameters
        ----------
        noise
            The part of the coefficients' energy, in counts squared, that is noise.
        wider
            By what factor to exceed the number of weights that pays best.
        """
        if self.kinds == ("sine",):
            return self._sine_layers(projection, plan, noise, wider)
        lattice = self.lattice(projection, plan, noise, wider)
        if self.kinds == ("lattice",):
            return lattice
        costs = {"lattice": self._cost(lattice, projection, plan, noise)}
        outputs = len(projection.scale)
        usual = parameters(auto_width(self.grid.size, outputs + 1), self.depth, outputs)
        made: Quantised = lattice
        # a lattice that costs less than the mere bytes of sine layers is not to be outdone
        if costs["lattice"] > price_of(usual, plan.step):
            sine = self._sine_layers(projection, plan, noise, wider)
            costs["sine"] = self._cost(sine, projection, plan, noise)
            made = sine if costs["sine"] < MARGIN * costs["lattice"] else lattice
        self.journal.log["networks"] = costs
        return made

    def lattice(
        self, projection: Projection, plan: Plan, noise: float, wider: float = 1.0
    ) -> QuantisedLattice:
        """A lattice whose regions are worth their bytes, rounded."""
        how = LatticeOptions(
            plan.bit / wider**2, plan.value_step, plan.step, noise, plan.network_error
        )
        shape = self.grid.n_rows, self.grid.n_columns
        with self.journal.stage("regions") as tick:
            lattice, error = fit_lattice(projection.targets, projection.scale, shape, how, tick)
        explained = 1 - error / max(projection.signal_energy, 1e-30)
        self.journal.log.setdefault("lattices", []).append(
            {"labels": len(lattice.values), "explained_variance": explained}
        )
        return lattice

    def _cost(
        self, quantised: Quantised, projection: Projection, plan: Plan, noise: float
    ) -> float:
        """Squared error of a pattern, noise left out, that a network leaves or its bytes are worth
        to the images."""
        if isinstance(quantised, QuantisedLattice):
            size = len(encode_lattice(quantised))
        else:
            size = len(encode_network(quantised))
        step = max(1, self.grid.size // POINTS)
        targets = projection.targets[::step].astype(np.float64)
        outputs = self.evaluated(quantised)(self._positions()[::step])
        features = np.column_stack([outputs, np.ones(len(outputs))])
        left = targets - features @ _best_outputs(features, targets)
        error = float(np.square(left * projection.scale).sum()) / len(left)
        # where the error is to be small whatever it takes, what exceeds that weighs more
        missed = max(error - noise - plan.network_error, 0.0)
        return max(error - noise, 0.0) + MISSED * missed + 8 * size * plan.bit

    def _sine_layers(
        self, projection: Projection, plan: Plan, noise: float, wider: float
    ) -> QuantisedNetwork:
        """Sine layers of the right width, trained and rounded."""
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

    def evaluated(self, quantised: Quantised) -> Outputs:
        """A network that `make` made, ready to be asked."""
        if isinstance(quantised, QuantisedLattice):
            return LatticeNetwork(*quantised.arrays())
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
        search = WidthSearch(self.depth, len(projection.scale), plan, noise, wider)
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
            shape = f"{width}x{len(projection.scale)}"
            path = self.checkpoint.with_name(f"{self.checkpoint.name}.{shape}{part}.npz")
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


def _output_refitted(start: FieldTensors, xy: npt.NDArray, projection: Projection) -> Arrays:
    """The sine layers of another field, with the output layer that suits these coefficients."""
    step = max(1, len(xy) // POINTS)
    network = Network(start.weights, start.biases, start.omega_first, start.omega_hidden)
    features = np.column_stack([network.last_features(xy[::step]), np.ones(len(xy[::step]))])
    found = _best_outputs(features, projection.targets[::step].astype(np.float64))
    output = found.T.astype(np.float32)
    weights, biases = [*start.weights[:-1], output[:, :-1]], [*start.biases[:-1], output[:, -1]]
    return weights, biases


def _best_outputs(features: npt.NDArray, targets: npt.NDArray) -> npt.NDArray[np.float64]:
    """(f, c) the least-squares map of features (n, f) to targets (n, c)."""
    normal = features.T @ features
    normal[np.diag_indices(len(normal))] += 1e-5 * np.trace(normal) / len(normal)
    found: npt.NDArray[np.float64] = np.linalg.solve(normal, features.T @ targets)
    return found
