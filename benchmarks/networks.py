"""Networks for the coefficients of a scan, side by side: lattices, sine layers, latent grids, FINER
and WIRE.

Every method fits the same coefficients (the KLT of the scan at a rank). Errors are what is left of
the coefficients' energy with the best linear map of the outputs, in percent: of the true patterns
where these are known, else of the measured ones. Seconds are of one core's own time.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import works
from latents import train_latents
from torch import Tensor

from ebsdarchive.codecs.lattices import encode_lattice
from ebsdarchive.codecs.networks import encode_network
from ebsdarchive.neural.basis import klt_of_sample
from ebsdarchive.neural.field import Network
from ebsdarchive.neural.lattice import LatticeNetwork
from ebsdarchive.neural.lattice_fit import LatticeOptions, fit_lattice
from ebsdarchive.neural.options import auto_depth, auto_learning_rate, auto_omega, auto_steps
from ebsdarchive.neural.pixels import detector_mask, pixel_weights
from ebsdarchive.neural.plan import PRICE
from ebsdarchive.neural.projection import project
from ebsdarchive.neural.rounding import Rounding, round_network
from ebsdarchive.neural.sample import draw_sample
from ebsdarchive.neural.schedule import TrainOptions
from ebsdarchive.neural.siren import Siren, SirenConfig
from ebsdarchive.neural.soap import Soap
from ebsdarchive.neural.training import coefficient_loss, train

RANKS = {"W1": 29, "W2": 69, "W3": 87}
STEPS = {"W1": 200.0, "W2": 60.0, "W3": 60.0}  # of the images, counts, that bytes are weighed by
WIDTHS = {"W1": (28, 36), "W2": (72, 112), "W3": (88,)}


@dataclass(frozen=True)
class Coefficients:
    """What all methods fit: (n, c) measured and true coefficients over `scale`, noise energy."""

    shape: tuple[int, int]
    xy: np.ndarray
    measured: np.ndarray
    true: np.ndarray
    scale: np.ndarray
    noise: float
    step: float

    def unexplained(self, outputs: np.ndarray) -> float:
        """Percent of the true energy that is left after the best linear map of the outputs."""
        features = np.column_stack([outputs, np.ones(len(outputs))]).astype(np.float64)
        normal = features.T @ features
        normal[np.diag_indices(len(normal))] += 1e-9 * np.trace(normal) / len(normal)
        best = np.linalg.solve(normal, features.T @ self.measured)
        left = np.square((features @ best - self.true) * self.scale).sum()
        return float(100 * left / np.square(self.true * self.scale, dtype=np.float64).sum())


def coefficients_of(name: str) -> Coefficients:
    """The coefficients of a work at its rank, measured and true."""
    makers = {"W2": works.grains_and_truth, "W3": works.deformed_and_truth}
    scan, truth = (works.real_ni(), None) if name == "W1" else makers[name]()
    sample = draw_sample(scan, 0)
    mask = detector_mask(sample, "auto")
    weights = pixel_weights(sample, mask, 2.0)
    basis = klt_of_sample(sample, mask, weights, RANKS[name] - 1, 0)
    measured = project(scan, basis, lambda done: None)
    true = measured if truth is None else project(truth, basis, lambda done: None)
    grid = scan.grid
    return Coefficients(
        (grid.n_rows, grid.n_columns), grid.normalise(grid.positions()), measured.targets,
        true.targets, measured.scale, float(np.nansum(basis.noise)), STEPS[name],
    )  # fmt: skip


def row(label: str, before: float, after: float | None, size: int | None, cost: int,
        seconds: float) -> None:  # fmt: skip
    """Print one line of the table."""
    rounded = "-" if after is None else f"{after:.2f}"
    told = "-" if size is None else f"{size:,}"
    print(f"| {label} | {before:.2f} | {rounded} | {told} | {cost:,} | {seconds:.0f} |", flush=True)


def sine(data: Coefficients, width: int) -> None:
    """The package's sine layers, rounded at the step that its plan takes."""
    n, outputs = len(data.xy), len(data.scale)
    depth = auto_depth(n)
    omegas = 30.0, auto_omega(30.0, depth)
    began = time.process_time()
    how = TrainOptions(learning_rate=auto_learning_rate(width), steps=auto_steps(n))
    config = SirenConfig(width, outputs, depth, *omegas)
    trained = train(data.xy, data.measured, data.scale, config, how)
    before = data.unexplained(Network(trained.weights, trained.biases, *omegas)(data.xy))
    rounding = Rounding(
        data.xy, data.measured, data.scale, 2.2 * data.step,
        [omegas[0], *[omegas[1]] * (depth - 1)],
    )  # fmt: skip
    found = round_network(trained.weights, trained.biases, rounding)
    seconds = time.process_time() - began
    after = data.unexplained(Network(*found.arrays(), *omegas)(data.xy))
    cost = 2 * width + (depth - 1) * width**2 + width * outputs
    row(f"sine layers, width {width}", before, after, len(encode_network(found)), cost, seconds)


def lattice(data: Coefficients) -> None:
    """The package's lattice of labels."""
    began = time.process_time()
    how = LatticeOptions(
        PRICE * data.step**2, lambda count: data.step, data.step, data.noise, math.inf
    )
    exact = LatticeOptions(how.bit, lambda count: 1e-3, data.step, data.noise, math.inf)
    found, _ = fit_lattice(data.measured, data.scale, data.shape, how)
    seconds = time.process_time() - began
    fine, _ = fit_lattice(data.measured, data.scale, data.shape, exact)
    before, after = (
        data.unexplained(LatticeNetwork(*one.arrays())(data.xy)) for one in (fine, found)
    )
    label = f"lattice, {len(found.values)} labels"
    cost = 16 * len(data.scale)
    row(label, before, after, len(encode_lattice(found)), cost, seconds)


def other_layers(
    data: Coefficients, label: str, width: int, omega: float, act: Callable[[Tensor], Tensor]
) -> None:
    """Layers of another activation, as large as sine layers and trained as these are; not rounded.

    Where they collapse to the mean they begin anew at a third of the learning rate, twice at most.
    """
    depth, outputs = auto_depth(len(data.xy)), len(data.scale)
    rate, began = auto_learning_rate(width), time.process_time()
    for _ in range(3):
        left = data.unexplained(_trained(data, width, omega, act, rate))
        if left < 50:
            break
        rate /= 3
    seconds = time.process_time() - began
    cost = 2 * width + (depth - 1) * width**2 + width * outputs
    row(f"{label}, width {width}", left, None, None, cost, seconds)


def _trained(
    data: Coefficients, width: int, omega: float, act: Callable[[Tensor], Tensor], rate: float
) -> np.ndarray:
    """Outputs (n, c) of such layers after as many steps as sine layers take."""
    n, outputs = len(data.xy), len(data.scale)
    depth, steps, batch = auto_depth(n), auto_steps(n), 2048
    matrices = list(Siren(SirenConfig(width, outputs, depth, omega, omega)).layers)
    xy = torch.from_numpy(data.xy.astype(np.float32))
    targets = torch.from_numpy(data.measured).float()
    energy = torch.from_numpy(data.scale.astype(np.float32) ** 2)

    def forward(h: Tensor) -> Tensor:
        for matrix in matrices[:-1]:
            h = act(omega * torch.addmm(matrix[:, -1], h, matrix[:, :-1].T))
        return torch.addmm(matrices[-1][:, -1], h, matrices[-1][:, :-1].T)

    soap, draw = Soap(matrices), torch.Generator().manual_seed(0)
    typical = math.nan
    for step in range(steps):
        chosen = torch.randint(0, n, (batch,), generator=draw) if n > batch else slice(None)
        loss = coefficient_loss(forward(xy[chosen]), targets[chosen], energy)
        gradients = list(torch.autograd.grad(loss, matrices))
        length = float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt())
        typical = length if math.isnan(typical) else typical
        gradients = [g * min(1.0, 2 * typical / max(length, 1e-30)) for g in gradients]
        typical = 0.98 * typical + 0.02 * min(length, 2 * typical)
        rise = min(1.0, (step + 1) / (0.03 * steps))
        fall = (1 + math.cos(math.pi * step / steps)) / 2
        soap.step(gradients, rise * fall * rate)
    with torch.no_grad():
        return np.concatenate([forward(part).numpy() for part in xy.split(8192)])


def finer(z: Tensor) -> Tensor:
    """sin((|z| + 1) z), Liu et al. 2024 (the frequency factor is in z)."""
    return torch.sin((z.detach().abs() / 30 + 1) * z)


def gabor(z: Tensor) -> Tensor:
    """Real Gabor wavelet, Saragadam et al. 2023: cos(z) exp(-(z / 2)^2), z = 20 (W h + b)."""
    return torch.cos(z) * torch.exp(-((z / 2) ** 2))


def latents(data: Coefficients, label: str, positions: bool) -> None:
    """Latent grids at several resolutions and a small network (see `latents`)."""
    began = time.process_time()
    found = train_latents(
        data.shape, data.measured, data.scale, PRICE * data.step**2, positions=positions
    )
    seconds = time.process_time() - began
    before, after = data.unexplained(found.exact), data.unexplained(found.outputs)
    row(label, before, after, found.nbytes, found.operations, seconds)


def main() -> None:
    """Print the table of each work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", default="W1,W2,W3")
    parser.add_argument("--methods", default="lattice,sine,latents,hybrid,finer,wire")
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods = options.methods.split(",")
    for name in options.works.split(","):
        data = coefficients_of(name)
        print(f"\n{name}, {data.shape[1]} x {data.shape[0]} points, rank {RANKS[name]}\n")
        print("| network | error before rounding % | after % | bytes | products per point | s |")
        print("|---|---|---|---|---|---|", flush=True)
        if "lattice" in methods:
            lattice(data)
        for width in WIDTHS[name] if "sine" in methods else ():
            sine(data, width)
        if "latents" in methods:
            latents(data, "latent grids, GELU", positions=False)
        if "hybrid" in methods:
            latents(data, "latent grids and (x, y), sine", positions=True)
        if "finer" in methods:
            other_layers(data, "FINER", WIDTHS[name][0], 30.0, finer)
        if "wire" in methods:
            other_layers(data, "WIRE, real", WIDTHS[name][0], 20.0, gabor)


if __name__ == "__main__":
    main()
