"""Whole numbers of steps for a network's weights, chosen so that the patterns suffer least.

Owns how coarse each row may be (by the Gauss-Newton matrix of the squared error), the rounding in
turn, where what is not yet rounded takes up the error of what is (as in optimal brain surgeon,
Hassibi and Stork 1993; Frantar et al. 2022), and the recovery of later layers in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebsdarchive.codecs.networks import QuantisedNetwork
from ebsdarchive.neural.siren import linear, sine_layers
from ebsdarchive.neural.soap import Soap

__all__ = ["Rounding", "round_network"]

POINTS = 2048  # that sensitivities are estimated from
PROBES = 64  # random mixtures of outputs, whose derivatives stand for those of more outputs
DERIVATIVES = 1 << 24  # that are held at a time: each array of them is a mapping of its own, and
# not a hole in the heap when it is gone
RECOVERY_RATE, BATCH = 2e-4, 2048
WEAKEST = 0.5  # squared images' steps of energy that an output has at least
ATTEMPTS = 4
FINEST = 2.0**-14  # of a layer's largest weight: a layer's step is no finer
EXPONENTS = 12  # rows differ by at most this many half octaves from their layer


@dataclass(frozen=True)
class Rounding:
    """What a network is rounded for.

    Parameters
    ----------
    xy, targets
        (n, 2) positions in -1 … 1, and (n, c) coefficients over `scale`.
    scale
        (c,) counts.
    step_counts
        Plain rounding of any weight may add step_counts^2 / 12 to the squared error of a pattern.
    omegas
        Frequency factor of each sine layer.
    recovery_steps
        Of training, after each layer is rounded, of those that are not.
    """

    xy: npt.NDArray
    targets: npt.NDArray
    scale: npt.NDArray[np.float32]
    step_counts: float
    omegas: Sequence[float]
    seed: int = 0
    recovery_steps: int = 100


@dataclass
class _Steps:
    """Of one layer: steps of weights and biases, and half octaves by which its rows differ."""

    weight: float
    bias: float
    exponents: Tensor  # (out,) whole numbers

    def matrix(self, columns: int) -> Tensor:
        """(out, columns) step of each entry of [W | b]."""
        steps = torch.full((len(self.exponents), columns), self.weight)
        steps[:, -1] = self.bias
        return steps * torch.exp2(self.exponents / 2)[:, None]


def round_network(
    weights: Sequence[npt.NDArray[np.float32]],
    biases: Sequence[npt.NDArray[np.float32]],
    how: Rounding,
    progress: Callable[[float], None] | None = None,
) -> QuantisedNetwork:
    """Round a trained network.

    Its outputs are turned first: uncorrelated, of unit variance, by descending energy, and without
    those that are too weak to leave anything in images of step `step_counts`.
    """
    matrices = [
        torch.from_numpy(np.concatenate([w, b[:, None]], axis=1).astype(np.float32))
        for w, b in zip(weights, biases, strict=True)
    ]
    n = len(how.xy)
    draw = torch.Generator().manual_seed(how.seed)
    some = torch.randperm(n, generator=draw)[:POINTS].numpy()
    xy = torch.from_numpy(how.xy.astype(np.float32))
    turn, mean, energy = _turn(_network(matrices, how.omegas, xy[some]), how)
    matrices[-1] = turn.T @ matrices[-1]
    matrices[-1][:, -1] -= mean @ turn
    omegas, probes = list(how.omegas), _probes(len(energy), draw)
    problem = _Problem(xy, how.targets, turn, mean, energy, omegas, draw, probes)
    count = sum(m.numel() for m in matrices)
    exact, step = problem.loss(matrices, some), how.step_counts
    for _ in range(ATTEMPTS):
        steps = _choose_steps(matrices, problem, xy[some], step)
        plain = [
            torch.round(m / s.matrix(m.shape[1])) * s.matrix(m.shape[1])
            for m, s in zip(matrices, steps, strict=True)
        ]
        best = _in_turn(matrices, problem, steps, some, how.recovery_steps, progress)
        if problem.loss(plain, some) < problem.loss(best, some):
            best = plain
        # at coarse steps the quadratic estimate is too good to be true
        if problem.loss(best, some) - exact <= count * how.step_counts**2 / 12:
            break
        step /= 2
    return _as_integers(best, steps)


def _turn(outputs: Tensor, how: Rounding) -> tuple[Tensor, Tensor, Tensor]:
    """Map (c, k) and mean (c,) of outputs to uncorrelated ones of unit variance, and the (k,)
    squared counts that these stand for."""
    scale = torch.from_numpy(how.scale).double()
    mean = outputs.double().mean(dim=0)
    counts = (outputs.double() - mean) * scale
    energies, vectors = torch.linalg.eigh(counts.T @ counts / len(counts))
    least = max(how.step_counts**2 * WEAKEST, 1e-7 * float(energies[-1]), 1e-30)
    kept = torch.arange(len(energies) - 1, -1, -1)
    kept = kept[energies.flip(0) > least][: len(outputs)]
    if len(kept) == 0:
        kept = torch.tensor([len(energies) - 1])
    energy = energies[kept].clamp_min(1e-30)
    turn = scale[:, None] * vectors[:, kept] / energy.sqrt()
    return turn.float(), mean.float(), energy.float()


def _probes(outputs: int, draw: torch.Generator) -> Tensor | None:
    """(k, outputs) signs over sqrt(k): the squared length of any vector is, in the mean, that of
    its products with the rows (Hutchinson 1990). None where there are no more outputs than rows."""
    if outputs <= PROBES:
        return None
    signs = torch.randint(0, 2, (PROBES, outputs), generator=draw)
    return (2.0 * signs - 1.0) / math.sqrt(PROBES)


@dataclass
class _Problem:
    """Positions, targets, and the turn, weight and random mixtures of outputs; a network is a list
    of [W | b]."""

    xy: Tensor
    targets: npt.NDArray
    turn: Tensor
    mean: Tensor
    weight: Tensor
    omegas: list[float]
    draw: torch.Generator
    probes: Tensor | None

    def target(self, chosen: npt.NDArray) -> Tensor:
        """Targets of the turned outputs at some points."""
        return (torch.from_numpy(self.targets[chosen].astype(np.float32)) - self.mean) @ self.turn

    @torch.no_grad()
    def loss(self, matrices: Sequence[Tensor], chosen: npt.NDArray) -> float:
        """Mean squared error of a pattern over some points, counts squared."""
        error = _network(matrices, self.omegas, self.xy[chosen]) - self.target(chosen)
        return float((error.square() @ self.weight).mean())

    def batch(self) -> npt.NDArray:
        """Indices of some points."""
        n = len(self.xy)
        if n <= BATCH:
            return np.arange(n)
        return torch.randint(0, n, (BATCH,), generator=self.draw).numpy()


def _network(matrices: Sequence[Tensor], omegas: Sequence[float], h: Tensor) -> Tensor:
    """Outputs for the inputs of the first of `matrices`, sine layers with `omegas` but the last."""
    return linear(matrices[-1], [h, *sine_layers(matrices[:-1], omegas, h)][-1])


def _with_one(h: Tensor) -> Tensor:
    return torch.cat([h, torch.ones(len(h), 1)], dim=1)


@torch.no_grad()
def _jacobians(
    matrices: Sequence[Tensor], problem: _Problem, xy: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs (n, in + 1) of each layer; and of each, (n, out), the squared length of the
    derivative of the weighted outputs with respect to what enters the layer's sine; estimated where
    there are many outputs, exact for the last layer."""
    inputs, slopes, h = [], [], xy
    for matrix, omega in zip(matrices[:-1], problem.omegas, strict=True):
        inputs.append(_with_one(h))
        phase = omega * (inputs[-1] @ matrix.T)
        h = torch.sin(phase)
        slopes.append(omega * torch.cos(phase))
    inputs.append(_with_one(h))
    squares = [torch.empty(0)] * len(slopes) + [problem.weight.expand(len(xy), -1)]
    last = problem.weight.sqrt()[:, None] * matrices[-1][:, :-1]
    if problem.probes is not None:
        last = problem.probes @ last
    up = last.expand(len(xy), -1, -1)
    for i in range(len(slopes) - 1, -1, -1):
        down = up * slopes[i][:, None, :]  # (n, c, out)
        squares[i] = down.square().sum(dim=1)
        up = down @ matrices[i][:, :-1]
    return inputs, squares


def _in_blocks(
    matrices: Sequence[Tensor], problem: _Problem, xy: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """`_jacobians` of all points, without holding the derivatives of more than a block."""
    outputs = len(problem.weight) if problem.probes is None else len(problem.probes)
    each = outputs * max(len(matrix) for matrix in matrices[:-1])
    length = max(1, DERIVATIVES // each)
    inputs = [torch.empty(len(xy), matrix.shape[1]) for matrix in matrices]
    squares = [torch.empty(len(xy), len(matrix)) for matrix in matrices]
    for start in range(0, len(xy), length):
        part = slice(start, start + length)
        found = _jacobians(matrices, problem, xy[part])
        for whole, layer in zip((*inputs, *squares), (*found[0], *found[1]), strict=True):
            whole[part] = layer
    return inputs, squares


def _choose_steps(
    matrices: Sequence[Tensor], problem: _Problem, xy: Tensor, step_counts: float
) -> list[_Steps]:
    """Steps at which plain rounding of any weight adds step_counts^2 / 12 to the squared error."""
    inputs, squares = _in_blocks(matrices, problem, xy)
    steps = []
    for matrix, h, square in zip(matrices, inputs, squares, strict=True):
        sensitivity = square.T @ h.square() / len(h)  # (out, in + 1), Gauss-Newton diagonal
        rows = sensitivity[:, :-1].mean(dim=1).clamp_min(1e-30)
        typical = float(torch.exp(torch.log(rows).mean()))
        exponents = torch.round(-torch.log2(rows / typical)).clamp(-EXPONENTS, EXPONENTS)
        factor = torch.exp2(exponents)  # of the squared steps
        bias = float((sensitivity[:, -1] * factor).mean().clamp_min(1e-30))
        least = FINEST * float(matrix.abs().max())
        weight, bias = step_counts / math.sqrt(typical), step_counts / math.sqrt(bias)
        steps.append(_Steps(max(weight, least), max(bias, least), exponents))
    return steps


def _in_turn(
    matrices: Sequence[Tensor],
    problem: _Problem,
    steps: list[_Steps],
    some: npt.NDArray,
    recovery_steps: int,
    progress: Callable[[float], None] | None,
) -> list[Tensor]:
    """Round layer by layer; after each, the later ones recover."""
    matrices = [matrix.clone() for matrix in matrices]
    last = len(matrices) - 1
    for i in range(last + 1):
        if i == last:
            matrices[i] = _refitted_output(matrices, problem)
        inputs, squares = _in_blocks(matrices, problem, problem.xy[some])
        matrices[i] = _round_rows(
            matrices[i], inputs[i], squares[i], steps[i].matrix(matrices[i].shape[1])
        )
        if i < last - 1:
            _recover(matrices, i + 1, problem, recovery_steps)
        if progress is not None:
            progress((i + 1) / len(matrices))
    return matrices


@torch.no_grad()
def _round_rows(matrix: Tensor, h: Tensor, square: Tensor, steps: Tensor) -> Tensor:
    """One layer rounded column by column; the rest of a row takes up the error of its entries.

    The Gauss-Newton matrix of row k is the mean of square_k h h'.
    """
    rounded = torch.empty_like(matrix)
    for first in range(0, len(matrix), 16):
        rows = slice(first, first + 16)
        hessian = torch.stack([(h * s[:, None]).T @ h for s in square[:, rows].T]).double()
        root = _inverse_root(hessian)
        values, step = matrix[rows].double().clone(), steps[rows].double()
        for j in range(values.shape[1]):
            whole = torch.round(values[:, j] / step[:, j]) * step[:, j]
            error = (values[:, j] - whole) / root[:, j, j]
            values[:, j + 1 :] -= error[:, None] * root[:, j, j + 1 :]
            values[:, j] = whole
        rounded[rows] = values.float()
    return rounded


def _inverse_root(hessian: Tensor) -> Tensor:
    """(k, m, m) upper Cholesky factors of the inverses, damped as much as that takes."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    scale = diagonal.mean(dim=1, keepdim=True).clamp_min(1e-30)
    hessian = hessian / scale[:, :, None]
    one = torch.eye(hessian.shape[1], dtype=hessian.dtype)
    for damping in (1e-3, 1e-2, 1e-1):
        lower, failed = torch.linalg.cholesky_ex(hessian + damping * one)
        if not failed.any():
            root, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed.any():
                return root
    return one.expand_as(hessian)  # each entry on its own


def _recover(matrices: list[Tensor], first: int, problem: _Problem, steps: int) -> None:
    """Train the layers from `first` on for a few steps, in place."""
    free = matrices[first:]
    soap = Soap(free)
    for step in range(steps):
        chosen = problem.batch()
        with torch.no_grad():
            h = sine_layers(matrices[:first], problem.omegas[:first], problem.xy[chosen])[-1]
        for matrix in free:
            matrix.requires_grad_(True)
        error = _network(free, problem.omegas[first:], h) - problem.target(chosen)
        loss = (error.square() @ problem.weight).mean()
        gradients = torch.autograd.grad(loss, free)
        for matrix in free:
            matrix.requires_grad_(False)
        rise = min(1.0, (step + 1) / 10)
        rate = rise * RECOVERY_RATE * (1 + math.cos(math.pi * step / steps)) / 2
        soap.step(gradients, rate)


@torch.no_grad()
def _refitted_output(matrices: Sequence[Tensor], problem: _Problem) -> Tensor:
    """The least-squares output layer for the features of the sine layers."""
    width = matrices[-1].shape[1]
    normal = torch.zeros(width, width, dtype=torch.float64)
    moment = torch.zeros(width, len(matrices[-1]), dtype=torch.float64)
    for first in range(0, len(problem.xy), 8192):
        chosen = np.arange(first, min(first + 8192, len(problem.xy)))
        h = sine_layers(matrices[:-1], problem.omegas, problem.xy[chosen])[-1]
        h = _with_one(h).double()
        normal += h.T @ h
        moment += h.T @ problem.target(chosen).double()
    normal.diagonal().add_(1e-6 * normal.diagonal().mean())
    return torch.linalg.solve(normal, moment).T.float().contiguous()


def _as_integers(matrices: Sequence[Tensor], steps: Sequence[_Steps]) -> QuantisedNetwork:
    whole = [
        torch.round(m / s.matrix(m.shape[1])).long().numpy()
        for m, s in zip(matrices, steps, strict=True)
    ]
    return QuantisedNetwork(
        weights=[q[:, :-1] for q in whole],
        biases=[q[:, -1] for q in whole],
        weight_steps=np.array([s.weight for s in steps], np.float32),
        bias_steps=np.array([s.bias for s in steps], np.float32),
        exponents=[s.exponents.long().numpy() for s in steps],
    )
