"""Latent grids at several resolutions, cubic B-splines between their knots, and a small network: a
peer of the field's network, after COOL-CHIC (Ladune et al. 2023).

Latents are trained with a term for their bits, at first with noise of a step in place of rounding,
then with rounding whose gradient is taken for 1, and are coded by contexts of their neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ebsdarchive.codecs.integers import IntegerWriter
from ebsdarchive.neural.lattice import spline

__all__ = ["Latents", "train_latents"]

LEVELS = ((1, 1), (2, 1), (4, 2), (8, 8), (16, 16))  # spacing of knots in steps, channels
HIDDEN = (96, 96)
STEPS, ROWS = 1600, 30  # of training; rows of the scan in each
NOISY = 0.7  # part of the training with noise in place of rounding
WEIGHT_LEVELS = 24  # steps to either side of 0 in a layer of weights
OMEGA = 3.0  # of the sine layers of the hybrid
LIMITS = np.array([1, 2, 3, 5, 7, 10, 14, 20, 28, 40])


@dataclass(frozen=True)
class Latents:
    """Outputs (n, c) of the trained and of the rounded and coded model, and what it costs."""

    exact: np.ndarray
    outputs: np.ndarray
    nbytes: int
    operations: int


def train_latents(
    shape: tuple[int, int], targets: np.ndarray, scale: np.ndarray, bit: float, positions: bool
) -> Latents:
    """Fit targets (n, c) over `scale` where a bit is worth so much squared error of a pattern.

    `positions` gives x and y to the network too, whose layers are then sines.
    """
    torch.manual_seed(0)
    (ny, nx), c = shape, targets.shape[1]
    splines = [(_splines(ny, s), _splines(nx, s)) for s, _ in LEVELS]
    grids = [
        (0.5 * torch.randn(k, y.shape[1], x.shape[1])).requires_grad_(True)
        for (_, k), (y, x) in zip(LEVELS, splines, strict=True)
    ]
    inputs = sum(k for _, k in LEVELS) + 2 * positions
    sizes = [inputs, *HIDDEN, c]
    layers = [_layer(a, b, positions and i > 0) for i, (a, b) in enumerate(pairwise(sizes))]
    spreads = [torch.full((k, 1, 1), -0.5).requires_grad_(True) for _, k in LEVELS]
    goal = torch.from_numpy(targets).float().view(ny, nx, c)
    energy = torch.from_numpy(scale.astype(np.float32) ** 2)
    whole = float((goal.square().mean(dim=(0, 1)) * energy).sum())
    axes = torch.meshgrid(torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx), indexing="ij")
    xy = torch.stack([axes[1], axes[0]], dim=-1)

    def forward(values: list[Tensor], rows: Tensor, matrices: list[Tensor]) -> Tensor:
        planes = [(y[rows] @ g) @ x.T for g, (y, x) in zip(values, splines, strict=True)]
        h = torch.cat(planes).permute(1, 2, 0).reshape(-1, inputs - 2 * positions)
        if positions:
            h = torch.cat([h, xy[rows].reshape(-1, 2)], dim=1)
        for matrix in matrices[:-1]:
            z = torch.addmm(matrix[:, -1], h, matrix[:, :-1].T)
            h = torch.sin(OMEGA * z) if positions else functional.gelu(z)
        return torch.addmm(matrices[-1][:, -1], h, matrices[-1][:, :-1].T)

    groups = [(grids, 3e-2), (layers, 3e-3), (spreads, 1e-2)]
    adam = torch.optim.Adam([{"params": p, "lr": r} for p, r in groups], betas=(0.9, 0.99))
    for step in range(STEPS):
        part = step / STEPS
        for group, (_, rate) in zip(adam.param_groups, groups, strict=True):
            rise = min(1.0, part / 0.02 + 0.02)
            group["lr"] = rate * (rise * (1 + math.cos(math.pi * part)) / 2 + 1e-3)
        if part < NOISY:
            values = [g + torch.rand_like(g) - 0.5 for g in grids]
        else:
            values = [g + (g.round() - g).detach() for g in grids]
        rows = torch.randperm(ny)[: min(ROWS, ny)]
        left = (forward(values, rows, layers) - goal[rows].reshape(-1, c)).square().mean(dim=0)
        bits = sum(_bits(g, s).sum() for g, s in zip(values, spreads, strict=True))
        loss = (left @ energy + bit * bits * min(1.0, part / 0.1 + 0.02)) / whole
        adam.zero_grad()
        loss.backward()
        adam.step()

    @torch.no_grad()
    def outputs(values: list[Tensor], matrices: list[Tensor]) -> np.ndarray:
        parts = torch.arange(ny).split(25)
        return np.concatenate([forward(values, rows, matrices).numpy() for rows in parts])

    with torch.no_grad():
        steps = [m.abs().max() / WEIGHT_LEVELS for m in layers]
        whole_layers = [torch.round(m / s) for m, s in zip(layers, steps, strict=True)]
        rounded = [m * s for m, s in zip(whole_layers, steps, strict=True)]
    latents = [g.detach().round() for g in grids]
    size = _coded(latents) + _coded_layers(whole_layers)
    operations = sum(m.numel() for m in layers) + 16 * sum(k for _, k in LEVELS)
    return Latents(outputs(latents, layers), outputs(latents, rounded), size, operations)


def _splines(n: int, spacing: int) -> Tensor:
    """(n, knots) weights of knots at the points of an axis."""
    place = np.arange(n) / spacing
    before = np.floor(place).astype(int)
    weights = np.zeros((n, before[-1] + 4), np.float32)
    for i, near in enumerate(spline(place - before)):
        weights[i, before[i] : before[i] + 4] = near
    return torch.from_numpy(weights)


def _layer(inputs: int, outputs: int, hidden_sine: bool) -> Tensor:
    """[W | b] of a layer."""
    bound = 0.5 * math.sqrt(6 / inputs) / (OMEGA if hidden_sine else 1)
    layer = torch.empty(outputs, inputs + 1).uniform_(-bound, bound)
    layer[:, -1].uniform_(-0.3, 0.3)
    return layer.requires_grad_(True)


def _bits(values: Tensor, spread: Tensor) -> Tensor:
    """Bits of latents (k, y, x): Laplace, as wide as latents above and to the left are large."""
    size = values.detach().abs().clamp(max=15)
    above = functional.pad(size, (1, 1, 1, 0))
    near = above[:, :-1, :-2] / 6 + above[:, :-1, 1:-1] / 3 + above[:, :-1, 2:] / 6
    near = near + above[:, 1:, :-2] / 3
    b = spread.exp() + 0.7 * near
    far, close = values.abs().clamp_min(0.5), values.abs().clamp_max(0.5)
    tail = torch.exp(-(far - 0.5) / b) * -torch.expm1(-1 / b) / 2
    middle = 1 - (torch.exp(-(0.5 - close) / b) + torch.exp(-(0.5 + close) / b)) / 2
    return -torch.log2(torch.where(values.abs() > 0.5, tail, middle).clamp_min(1e-9))


def _coded(latents: list[Tensor]) -> int:
    """Bytes of latents, each level a stream, coded by contexts as `_bits` sees them."""
    total = 0
    for level in latents:
        values = level.numpy().astype(np.int64)
        size = np.pad(np.minimum(np.abs(values), 15), ((0, 0), (1, 0), (1, 1)))
        near = size[:, :-1, :-2] + 2 * size[:, :-1, 1:-1] + size[:, :-1, 2:] + 2 * size[:, 1:, :-2]
        contexts = np.searchsorted(LIMITS, near, side="right")
        writer = IntegerWriter((len(LIMITS) + 1) * len(values))
        writer.add(values, contexts + (len(LIMITS) + 1) * np.arange(len(values))[:, None, None])
        total += len(writer.to_bytes())
    return total


def _coded_layers(layers: list[Tensor]) -> int:
    """Bytes of weights in whole steps."""
    writer = IntegerWriter(len(layers))
    for i, layer in enumerate(layers):
        writer.add(layer.numpy().astype(np.int64), i)
    return len(writer.to_bytes())
