"""The network: sine layers that map a scan position to coefficients (SIREN)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["Siren", "SirenConfig"]


@dataclass(frozen=True)
class SirenConfig:
    """Shape of the network: `depth` sine layers of `width`, and a linear one to `outputs`."""

    width: int
    outputs: int
    depth: int = 5
    omega_first: float = 30.0
    omega_hidden: float = 30.0


class Siren(nn.Module):
    """A(x, y) as a sine network (Sitzmann et al. 2020; TF-INR, arXiv:2606.10352)."""

    def __init__(self, config: SirenConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        sizes = [2, *[config.width] * config.depth, config.outputs]
        self.layers: list[nn.Linear] = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.registered = nn.ModuleList(self.layers)
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Weights that keep the activations' distribution with depth (Sitzmann, section 3.2)."""
        for i, layer in enumerate(self.layers):
            inputs = layer.in_features
            bound = 1 / inputs if i == 0 else math.sqrt(6 / inputs) / self.config.omega_hidden
            layer.weight.uniform_(-bound, bound, generator=generator)
            # phases as in the authors' code, which leaves PyTorch's default
            layer.bias.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)

    def forward(self, xy: Tensor) -> Tensor:
        """(n, 2) positions in -1 … 1 to (n, outputs)."""
        return self.activations(xy)[-1]

    def activations(self, xy: Tensor) -> list[Tensor]:
        """The output of every layer; the last one is that of the network."""
        outputs = []
        h = xy  # (n, 2)
        for i, layer in enumerate(self.layers[:-1]):
            omega = self.config.omega_first if i == 0 else self.config.omega_hidden
            h = torch.sin(omega * layer(h))  # (n, width), Sitzmann et al. 2020, eq. 3
            outputs.append(h)
        outputs.append(self.layers[-1](h))  # (n, outputs)
        return outputs

    def arrays(self) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]:
        """Weights (outputs, inputs) and biases (outputs,) of each layer."""
        weights = [layer.weight.detach().cpu().numpy().copy() for layer in self.layers]
        biases = [layer.bias.detach().cpu().numpy().copy() for layer in self.layers]
        return weights, biases

    @torch.no_grad()
    def load_arrays(self, weights: Sequence[npt.NDArray], biases: Sequence[npt.NDArray]) -> None:
        """Set all weights and biases."""
        for layer, weight, bias in zip(self.layers, weights, biases, strict=True):
            layer.weight.copy_(torch.from_numpy(np.asarray(weight, dtype=np.float32)))
            layer.bias.copy_(torch.from_numpy(np.asarray(bias, dtype=np.float32)))
