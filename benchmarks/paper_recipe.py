"""The training recipe of the TF-INR paper (arXiv:2606.10352), as the baseline of a benchmark.

SIREN and basis tensor are trained jointly on random samples (x, y, u, v), 32,768 at a time, with
Adam at 1e-4 and band pixels (top 15 % of gradient magnitude) weighted twice. Nothing here slows it
down: data and basis are in memory, the mean pattern is known from the start, and where a batch
visits each scan point more than once the network is evaluated once per point.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebsdarchive.neural.siren import Siren, SirenConfig

__all__ = ["n_parameters", "train_recipe"]

BATCH = 32_768
LEARNING_RATE = 1e-4
BAND_WEIGHT = 2.0


def train_recipe(
    scan_array: npt.NDArray,
    rank: int,
    seconds: float,
    *,
    width: int = 256,
    mask: npt.NDArray[np.bool_] | None = None,
    evaluate_s: float = 30.0,
    seed: int = 0,
    device: str = "cpu",
    report: Callable[[float, float], None] | None = None,
) -> list[tuple[float, float]]:
    """Train by the paper's recipe for some time.

    Parameters
    ----------
    scan_array
        (ny, nx, sy, sx) counts.
    rank
        Number of components, the constant one included.
    seconds
        Training time; preparation and evaluation are not counted.
    width
        Of the five sine layers.
    mask
        (sy, sx) pixels that the error is measured on; all by default.
    evaluate_s
        Training time between evaluations.
    report
        Called with each (seconds, mae_pct).

    Returns
    -------
    list of (float, float)
        Seconds of training, and the map-averaged MAE in percent of the full range then.
    """
    torch.manual_seed(seed)
    ny, nx, sy, sx = scan_array.shape
    counts = scan_array.reshape(ny * nx, sy * sx)
    data = torch.from_numpy(counts.astype(np.float32))  # (n, p)
    judged = torch.from_numpy(np.flatnonzero(np.ones((sy, sx)) if mask is None else mask))
    span = float(np.ptp(counts[:, judged.numpy()].astype(np.float32)))
    mean, scale = data.mean(dim=0), float(data.std())
    data = ((data - mean) / scale).to(device)
    judged = judged.to(device)
    weights = torch.where(band_pixels(counts, mean.numpy(), (sy, sx)), BAND_WEIGHT, 1.0)
    weights = weights.to(device)  # (p,)
    y, x = torch.meshgrid(torch.linspace(-1, 1, ny), torch.linspace(-1, 1, nx), indexing="ij")
    xy = torch.stack([x, y], dim=-1).reshape(-1, 2).to(device)  # (n, 2)

    network = Siren(SirenConfig(width, rank - 1), seed).to(device)
    # one row per pixel, so that the samples' rows are gathered from contiguous memory
    basis = (torch.randn(sy * sx, rank) / rank**0.5).to(device)  # (p, R)
    basis[:, 0] = 0.0  # the mean pattern, which has been subtracted
    basis.requires_grad_()
    optimiser = torch.optim.Adam([*network.parameters(), basis], lr=LEARNING_RATE, fused=True)
    n, p = data.shape
    curve: list[tuple[float, float]] = []
    trained, next_evaluation = 0.0, 0.0
    while True:
        if trained >= next_evaluation or trained >= seconds:
            curve.append((trained, mae_pct(network, basis, xy, data, judged, scale, span)))
            next_evaluation = trained + evaluate_s
            if report is not None:
                report(*curve[-1])
            if trained >= seconds:
                return curve
        started = time.perf_counter()
        point = torch.randint(n, (BATCH,), device=device)
        pixel = torch.randint(p, (BATCH,), device=device)
        a = network(xy)[point] if n <= BATCH else network(xy[point])  # (BATCH, R - 1)
        b = basis[pixel]  # (BATCH, R)
        intensity = b[:, 0] + (a * b[:, 1:]).sum(dim=1)
        loss = (weights[pixel] * (intensity - data[point, pixel]).square()).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if device != "cpu":
            torch.cuda.synchronize()
        trained += time.perf_counter() - started


def n_parameters(rank: int, pixels: int, width: int = 256) -> int:
    """Of the recipe's network and its basis tensor, the mean pattern's component included."""
    network = Siren(SirenConfig(width, rank - 1), 0)
    return sum(p.numel() for p in network.parameters()) + rank * pixels


def band_pixels(counts: npt.NDArray, mean: npt.NDArray, shape: tuple[int, int]) -> Tensor:
    """(p,) True at the 15 % of pixels with the steepest mean-normalised patterns."""
    steepness = np.zeros(shape)
    for pattern in counts[:: max(1, len(counts) // 512)]:
        steepness += np.hypot(*np.gradient((pattern / np.maximum(mean, 1e-6)).reshape(shape)))
    return torch.from_numpy((steepness > np.percentile(steepness, 85)).reshape(-1))


@torch.no_grad()
def mae_pct(
    network: Siren, basis: Tensor, xy: Tensor, data: Tensor, judged: Tensor, scale: float,
    span: float,
) -> float:  # fmt: skip
    """Mean absolute error over all points and the `judged` pixels, in percent of the full range."""
    total = 0.0
    for start in range(0, len(xy), 1024):
        rows = slice(start, start + 1024)
        decoded = basis[:, 0] + network(xy[rows]) @ basis[:, 1:].T
        total += float((decoded - data[rows]).abs()[:, judged].sum())
    return 100 * total * scale / (len(data) * len(judged)) / span
