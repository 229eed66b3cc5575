"""A Gaussian as prior: its noise prediction and its posteriors in closed form.

What the samplers are held against, since of a Gaussian everything is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ebsdarchive.multimodal.observation import Observation
from ebsdarchive.multimodal.schedule import signal

__all__ = ["GaussianPrior"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GaussianPrior:
    """N(mean (d,), covariance (d, d))."""

    mean: Floats
    covariance: Floats

    def draw(self, rng: np.random.Generator) -> Floats:
        """(d,) a sample of it."""
        return rng.multivariate_normal(self.mean, self.covariance)

    def noise(self, x: Tensor, t: Tensor) -> Tensor:
        """(n, d) expected noise in x (n, d) at time t, the same for all: b Σ_t^-1 (x - a mean) with
        Σ_t = a² Σ + b² I."""
        kept = float(signal()[int(t[0])])
        spread = torch.from_numpy(kept * self.covariance + (1 - kept) * np.eye(len(self.mean)))
        away = x.double() - torch.from_numpy(kept**0.5 * self.mean)
        return ((1 - kept) ** 0.5 * torch.linalg.solve(spread, away.T).T).float()

    def posterior(self, observation: Observation) -> tuple[Floats, Floats]:
        """Mean (d,) and covariance (d, d), given y_0 = M x_0 + n."""
        own = observation.measured.numpy()
        sigma = observation.noise.expand(observation.values.shape).double().numpy()[own]
        seen = self.covariance[own]  # (measured, d)
        gain = np.linalg.solve(seen[:, own] + np.diag(sigma**2), seen).T
        away = observation.values.double().numpy()[own] - self.mean[own]
        return self.mean + gain @ away, self.covariance - gain @ seen
