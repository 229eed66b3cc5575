"""What an observation says of the whole clean map, at a level of noise.

The model knows x̂_0 = E[x_0 | x_k]; wanted is E[x_0 | x_k, y]. What a measured value says of values
beside it is in the covariance of x_0 given x_k, which is the model's own derivative:
V = (b² / a) ∂x̂_0 / ∂x_k (Tweedie's second formula). For a Gaussian of these moments

    E[x_0 | x_k, y] = x̂_0 + V Mᵀ (M V Mᵀ + S)⁻¹ (y - M x̂_0),

which is exact where the prior is Gaussian (moment matching: Rozet et al. 2024, arXiv:2405.13712).
So an orientation measured at a pixel is known in its grain at once. Products with V are derivatives
in reverse; the system is solved by a few conjugate gradients (Hestenes & Stiefel 1952).

The noise of a measurement is the diffusion's own up to the level where ρ = σ (see `observation`),
so that x_k / a has told a part of y. What is left is a value of variance S = σ² ρ² / (ρ² - σ²),
(ρ² y - σ² x_k / a) / (ρ² - σ²); both together are y again. Below that level nothing is left.

A network's derivative is no covariance to the last digit. S therefore allows for an error of the
model, a share of what is left open at a level of noise; gradients end where a direction has no
positive variance; and no pixel is moved by more than the noise that it has.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ebsdarchive.multimodal.observation import Observation
from ebsdarchive.multimodal.schedule import Step

__all__ = ["guided_clean"]

Predict = Callable[[Tensor, Tensor], Tensor]
MODEL_ERROR = 0.1  # of ρ / (1 + ρ), the spread of clean values that noise of ρ leaves open
FARTHEST = 2.0  # times ρ, that a value is moved
SOLVED = 1e-4  # of the residual, at which the system is solved


def guided_clean(
    predict: Predict,
    x: Tensor,
    step: Step,
    observation: Observation,
    gradients: int,
    model_error: float = MODEL_ERROR,
) -> Tensor:
    """(1, …) E[x_0 | x_k, y] of a particle x_k (1, …) above `step`.

    Parameters
    ----------
    gradients
        Most conjugate gradients; each asks the network for a derivative.
    model_error
        Of x̂_0, in parts of the spread that the noise leaves open.
    """
    rho = ((1 - step.above) / step.above) ** 0.5
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        clean = step.clean(x, predict(x, torch.full((len(x),), step.time)))
    sigma2 = observation.noise.square().expand(observation.values.shape)[None]
    left = rho**2 - sigma2
    measured = observation.measured[None] & (left > 0)
    left = torch.where(measured, left, 1)
    values = (rho**2 * observation.values - sigma2 * x.detach() / step.above**0.5) / left
    noise = sigma2 * rho**2 / left + (model_error * rho / (1 + rho)) ** 2
    scale = (1 - step.above) / step.above**0.5

    def spread(values: Tensor) -> Tensor:
        """V Mᵀ v."""
        (found,) = torch.autograd.grad(clean, x, values * measured, retain_graph=True)
        return scale * found

    away = torch.where(measured, values - clean.detach(), 0)
    weights = _solved(lambda v: torch.where(measured, spread(v) + noise * v, 0), away, gradients)
    found = clean.detach() + spread(weights).clamp(-FARTHEST * rho, FARTHEST * rho)
    return found.detach()


def _solved(product: Callable[[Tensor], Tensor], right: Tensor, most: int) -> Tensor:
    """v with `product`(v) = right, by conjugate gradients from 0."""
    found, residual, direction = torch.zeros_like(right), right, right
    power = float(right.square().sum())
    enough = SOLVED**2 * power
    for _ in range(most):
        if power <= enough:
            break
        image = product(direction)
        curvature = float((direction * image).sum())
        if not curvature > 0:
            break
        length = power / curvature
        found = found + length * direction
        residual = residual - length * image
        before, power = power, float(residual.square().sum())
        direction = residual + power / before * direction
    return found
