"""The network of the joint field: scan position and features of the detector to intensity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ebsdarchive.geometry import Grid
from ebsdarchive.neural.joint_field import JointField, JointTensors, detector_coordinates

__all__ = ["DeviceField", "JointConfig", "JointNetwork", "random_frequencies"]


FADE = 0.1  # of the highest frequency, over which features fade in


@dataclass(frozen=True)
class JointConfig:
    """Shape of the network; the defaults are the paper's (arXiv:2606.10352).

    Parameters
    ----------
    width, depth
        Of the sine layers, and their number.
    features
        Number m of random frequencies; the network sees a sine and a cosine of each.
    sigma
        Their standard deviation, waves per unit of the detector coordinates.
    omega_first, omega_hidden
        Frequency factors of the first and of the other sine layers.
    """

    width: int = 256
    depth: int = 5
    features: int = 256
    sigma: float = 3.0
    omega_first: float = 30.0
    omega_hidden: float = 30.0


def random_frequencies(config: JointConfig, seed: int) -> npt.NDArray[np.float32]:
    """(m, 2) frequencies B ~ N(0, sigma^2) along u and v (Tancik et al. 2020)."""
    drawn = np.random.default_rng(seed).normal(0.0, config.sigma, (config.features, 2))
    return drawn.astype(np.float32)


class JointNetwork(nn.Module):
    """I(x, y, u, v): sine layers of the position and of gamma(u, v) = [sin, cos](2 pi B (u, v)).

    At a detector scale s < 1 the network sees the detector coarsely: features of frequencies above
    s times the highest are faded out. (The paper's "detector scale" might also be a factor of the
    frequencies; but then features move while others are fitted to them, and a trial learnt less.)
    The first layer adds what it makes of the position and what it makes of the features, so that
    the latter is calculated once for each pixel of a batch and not for each sample.
    """

    def __init__(self, config: JointConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        width, m = config.width, config.features
        self.frequencies: Tensor
        self.register_buffer("frequencies", torch.from_numpy(random_frequencies(config, seed)))
        self.height: Tensor  # of each frequency, of the highest
        height = self.frequencies.norm(dim=1)
        self.register_buffer("height", height / height.max())
        self.position_weight = nn.Parameter(torch.empty(width, 2))
        self.feature_weight = nn.Parameter(torch.empty(width, 2 * m))  # of sines, of cosines
        self.hidden_weight = nn.Parameter(torch.empty(config.depth - 1, width, width))
        self.bias = nn.Parameter(torch.empty(config.depth, width))
        self.output_weight = nn.Parameter(torch.empty(width))
        self.output_bias = nn.Parameter(torch.zeros(()))
        self._initialise(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Weights that keep the activations' distribution with depth (Sitzmann, section 3.2).

        Towards the position the first layer is that of a SIREN of two inputs; towards the
        features, which are sines already, it is one of the others.
        """
        config = self.config

        def bound(inputs: int, omega: float) -> float:
            return math.sqrt(6 / inputs) / omega

        inner = bound(config.width, config.omega_hidden)
        features = bound(2 * config.features, config.omega_first)
        for weight, limit in (
            (self.position_weight, 1 / 2),
            (self.feature_weight, features),
            (self.hidden_weight, inner),
            (self.bias[0], 2**-0.5),
            (self.bias[1:], config.width**-0.5),
            (self.output_weight, inner),
        ):
            weight.uniform_(-limit, limit, generator=generator)

    def forward(self, xy: Tensor, uv: Tensor, place: Tensor, scale: float = 1.0) -> Tensor:
        """Intensities of samples.

        Parameters
        ----------
        xy
            (n, 2) scan coordinates, -1 … 1.
        uv
            (p, 2) detector coordinates of the pixels that occur.
        place
            (n,) which of these each sample is at.
        scale
            s: the part of the frequencies that is seen.
        """
        config = self.config
        phase = 2 * math.pi * (uv @ self.frequencies.T)
        seen = ((scale * (1 + FADE) - self.height) / FADE).clamp(0, 1)  # (m,)
        gamma = torch.cat([seen * torch.sin(phase), seen * torch.cos(phase)], dim=1)  # (p, 2 m)
        first = gamma @ self.feature_weight.T + self.bias[0]  # (p, width)
        h = first[place] + xy @ self.position_weight.T  # (n, width)
        h = torch.sin(config.omega_first * h)
        for weight, bias in zip(self.hidden_weight, self.bias[1:], strict=True):
            h = torch.sin(config.omega_hidden * torch.addmm(bias, h, weight.T))
        return h @ self.output_weight + self.output_bias  # (n,)


class DeviceField(JointField):
    """A stored joint field that is evaluated by torch: errors of large scans are measured on GPUs.

    Parameters
    ----------
    device
        "cpu" or "cuda".
    """

    def __init__(self, tensors: JointTensors, grid: Grid, device: str) -> None:
        super().__init__(tensors, grid)
        depth, width = tensors.bias.shape
        config = JointConfig(
            width, depth, len(tensors.frequencies), 1.0, tensors.omega_first, tensors.omega_hidden
        )
        self._network = JointNetwork(config).to(device)
        arrays = {name: array.astype(np.float32) for name, array in tensors.arrays().items()}
        sines, cosines = arrays.pop("sine_weight"), arrays.pop("cosine_weight")
        arrays["feature_weight"] = np.concatenate([sines, cosines], axis=1)
        arrays["frequencies"] = tensors.frequencies
        state = self._network.state_dict()
        state |= {name: torch.from_numpy(array) for name, array in arrays.items()}
        state["output_bias"] = torch.zeros(())  # part of the mean pattern
        self._network.load_state_dict(state)
        self._uv = torch.from_numpy(detector_coordinates(tensors.mask)).to(device)
        self._device = device

    @torch.no_grad()
    def inside(self, xy_steps: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(b, 2) positions in steps to (b, pixels of the mask) counts."""
        xy = np.asarray(xy_steps, dtype=np.float64).reshape(-1, 2)
        self.grid.require_inside(xy)
        positions = torch.from_numpy(self.grid.normalise(xy).astype(np.float32)).to(self._device)
        place = torch.arange(len(self._uv), device=self._device)
        out = np.empty((len(xy), len(self._uv)), dtype=np.float32)
        for row, position in zip(out, positions, strict=True):
            row[:] = self._network(position[None], self._uv, place).cpu().numpy()
        out *= np.float32(self.tensors.scale_counts)
        out += self.tensors.mean_pattern[self.mask]
        return out
