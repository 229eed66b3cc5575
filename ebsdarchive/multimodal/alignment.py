"""The alignment network: from sampled channels to the orientations that were measured.

A small perceptron that adds a correction to the sampled orientation of a pixel, from all sampled
channels of it. It is fitted where orientations were measured and applied everywhere.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ebsdarchive.errors import ArgumentError

__all__ = ["Alignment", "fitted_alignment", "require_enough"]

Floats = npt.NDArray[np.float32]

ORIENTATION = 3
WIDTH = 64
STEPS = 400
AT_ONCE = 2048  # pairs of a step
LEARNING_RATE = 3e-3
FEWEST = 16  # measured points


class Alignment(nn.Module):
    """Channels (n, c) to orientation channels (n, 3); before it is fitted, those it is given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, WIDTH),
            nn.GELU(),
            nn.Linear(WIDTH, WIDTH),
            nn.GELU(),
            nn.Linear(WIDTH, ORIENTATION),
        )
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, channels: Tensor) -> Tensor:
        return channels[:, :ORIENTATION] + torch.as_tensor(self.layers(channels))

    @torch.no_grad()
    def aligned(self, maps: Tensor) -> Floats:
        """(k, 3, y, x) orientation channels of (k, c, y, x) samples."""
        k, c, ny, nx = maps.shape
        found = self(maps.movedim(1, -1).reshape(-1, c))
        return found.reshape(k, ny, nx, ORIENTATION).movedim(-1, 1).numpy()


def fitted_alignment(
    maps: Tensor, orientation: Tensor, measured: Tensor, seed: int = 0
) -> Alignment:
    """A network fitted at the measured points of all samples, by Adam on the square error.

    Parameters
    ----------
    maps
        (k, c, y, x) samples.
    orientation
        (3, y, x) measured channels; what is not measured may be anything.
    measured
        (y, x) bool.

    Raises
    ------
    ArgumentError
        If there are too few measured points.
    """
    require_enough(measured)
    given = maps[:, :, measured].movedim(1, -1).reshape(-1, maps.shape[1])  # (k m, c)
    wanted = orientation[:, measured].T.repeat(len(maps), 1)  # (k m, 3)
    stream = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Alignment(maps.shape[1])
    optimiser = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for _ in range(STEPS):
        chosen = torch.randint(len(given), (min(AT_ONCE, len(given)),), generator=stream)
        loss = (network(given[chosen]) - wanted[chosen]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def require_enough(measured: Tensor) -> None:
    """Raise ArgumentError if there are too few measured points, of (y, x) bool, to fit to."""
    count = int(measured.sum())
    if count < FEWEST:
        raise ArgumentError(f"alignment: expected at least {FEWEST} measured points, found {count}")
