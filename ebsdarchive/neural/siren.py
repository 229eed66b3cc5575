"""The network: sine layers that map a scan position to coefficients (SIREN)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["Siren", "SirenConfig", "cores_for", "halves_pay", "linear", "sine_layers"]

ONE_CORE_WIDTH = 112  # networks up to this width gain nothing from a second core
HALVES_WIDTH = 192  # from this width on, products of bfloat16 are worth their conversion


@dataclass(frozen=True)
class SirenConfig:
    """Shape of the network: `depth` sine layers of `width`, and a linear one to `outputs`."""

    width: int
    outputs: int
    depth: int = 5
    omega_first: float = 30.0
    omega_hidden: float = 30.0


@contextmanager
def cores_for(width: int) -> Iterator[None]:
    """Work on one core where a network is too small for more: handing work out costs as much."""
    before = torch.get_num_threads()
    if width <= ONE_CORE_WIDTH:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def halves_pay(width: int, device: str) -> bool:
    """Whether products of bfloat16 are faster here than those of float32, for layers of a width."""
    if width < HALVES_WIDTH:
        return False
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def linear(matrix: Tensor, h: Tensor, halves: bool = False) -> Tensor:
    """(n, in) to (n, out) by a matrix [W | b] of (out, in + 1); in bfloat16 if `halves`."""
    if halves:
        product = torch.mm(h.bfloat16(), matrix[:, :-1].T.bfloat16())
        return product.float() + matrix[:, -1]
    return torch.addmm(matrix[:, -1], h, matrix[:, :-1].T)


def sine_layers(
    matrices: Sequence[Tensor], omegas: Sequence[float], h: Tensor, halves: bool = False
) -> list[Tensor]:
    """(n, in) to the (n, width) outputs of each sine layer.

    The first layer, whose phases are of positions, is never computed in halves.
    """
    outputs: list[Tensor] = []
    for omega, matrix in zip(omegas, matrices, strict=True):
        h = torch.sin(
            omega * linear(matrix, h, halves and bool(outputs))
        )  # (n, width), Sitzmann et al. 2020, eq. 3
        outputs.append(h)
    return outputs


class Siren(nn.Module):
    """A(x, y) as a sine network (Sitzmann et al. 2020; TF-INR, arXiv:2606.10352).

    Each layer is one parameter [W | b], (out, in + 1): what its optimiser and rounding work on.
    """

    def __init__(self, config: SirenConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        sizes = [2, *[config.width] * config.depth, config.outputs]
        self.layers = nn.ParameterList(torch.empty(b, a + 1) for a, b in pairwise(sizes))
        self.omegas = [config.omega_first, *[config.omega_hidden] * (config.depth - 1)]
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Weights that keep the activations' distribution with depth (Sitzmann, section 3.2)."""
        for i, matrix in enumerate(self.layers):
            inputs = matrix.shape[1] - 1
            bound = 1 / inputs if i == 0 else math.sqrt(6 / inputs) / self.config.omega_hidden
            matrix[:, :-1].uniform_(-bound, bound, generator=generator)
            # phases as in the authors' code, which leaves PyTorch's default
            matrix[:, -1].uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)

    def forward(self, xy: Tensor, halves: bool = False) -> Tensor:
        """(n, 2) positions in -1 … 1 to (n, outputs)."""
        return self.activations(xy, halves)[-1]

    def activations(self, xy: Tensor, halves: bool = False) -> list[Tensor]:
        """The output of every layer; the last one is that of the network."""
        *hidden, last = self.layers
        outputs = sine_layers(hidden, self.omegas, xy, halves)
        return [*outputs, linear(last, outputs[-1], halves)]  # (n, outputs)

    def arrays(self) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
        """Weights (outputs, inputs) and biases (outputs,) of each layer."""
        matrices = [matrix.detach().cpu().numpy() for matrix in self.layers]
        return [m[:, :-1].copy() for m in matrices], [m[:, -1].copy() for m in matrices]

    @torch.no_grad()
    def load_arrays(self, weights: Sequence[npt.NDArray], biases: Sequence[npt.NDArray]) -> None:
        """Set all weights and biases."""
        for matrix, weight, bias in zip(self.layers, weights, biases, strict=True):
            joined = np.concatenate([weight, np.asarray(bias)[:, None]], axis=1)
            matrix.copy_(torch.from_numpy(joined.astype(np.float32)))
