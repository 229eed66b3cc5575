"""SOAP: Adam in the eigenbasis of each matrix's gradient covariances.

For networks of a few thousand weights it reached lower minima than Adam, Muon and
Levenberg-Marquardt in the same time; see benchmarks/README.md.

References
----------
N. Vyas et al., SOAP: improving and stabilizing Shampoo using Adam, arXiv:2409.11321.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Soap"]

TURN_EVERY = 10  # steps between updates of the bases
EPSILON = 1e-12
LARGEST = 3.0  # entry of a step, in units of the rate


class Soap:
    """The optimiser's state for some matrices; the bases follow by steps of orthogonal iteration.

    Parameters
    ----------
    matrices
        (rows, columns) each; `step` changes them in place.
    beta_1, beta_2
        Decay of the mean gradient, and of its mean square and covariances.
    """

    def __init__(
        self, matrices: Sequence[Tensor], beta_1: float = 0.95, beta_2: float = 0.97
    ) -> None:
        self.matrices = list(matrices)
        self.beta_1, self.beta_2, self.steps = beta_1, beta_2, 0
        self.mean = [torch.zeros_like(p) for p in self.matrices]
        self.square = [torch.zeros_like(p) for p in self.matrices]  # in the turned basis
        self.left = [torch.zeros(len(p), len(p), device=p.device) for p in self.matrices]
        self.right = [torch.zeros(p.shape[1], p.shape[1], device=p.device) for p in self.matrices]
        self.left_basis = [torch.eye(len(p), device=p.device) for p in self.matrices]
        self.right_basis = [torch.eye(p.shape[1], device=p.device) for p in self.matrices]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """One step of length about `rate` in each entry."""
        self.steps += 1
        correct_1 = 1 - self.beta_1**self.steps
        correct_2 = 1 - self.beta_2**self.steps
        for i, (p, g) in enumerate(zip(self.matrices, gradients, strict=True)):
            share = 1.0 if self.steps == 1 else 1 - self.beta_2
            self.left[i].lerp_(g @ g.T, share)
            self.right[i].lerp_(g.T @ g, share)
            if self.steps == 1:
                self.left_basis[i] = _eigenbasis(self.left[i])
                self.right_basis[i] = _eigenbasis(self.right[i])
            elif (self.steps + i) % TURN_EVERY == 0:
                self._turn(i)
            left, right = self.left_basis[i], self.right_basis[i]
            self.mean[i].lerp_(g, 1 - self.beta_1)
            turned = left.T @ g @ right
            self.square[i].lerp_(turned.square(), 1 - self.beta_2)
            root = (self.square[i] / correct_2).sqrt_().add_(EPSILON)
            change = (left.T @ self.mean[i] @ right).div_(root * correct_1)
            change.clamp_(-LARGEST, LARGEST)  # a basis that has just turned may promise more
            p.sub_(left @ change @ right.T, alpha=rate)

    def _turn(self, i: int) -> None:
        """One step of orthogonal iteration of both bases; the squares follow their reordering."""
        order = _order(self.left[i], self.left_basis[i])
        self.square[i] = self.square[i][order]
        self.left_basis[i] = torch.linalg.qr(self.left[i] @ self.left_basis[i][:, order])[0]
        order = _order(self.right[i], self.right_basis[i])
        self.square[i] = self.square[i][:, order]
        self.right_basis[i] = torch.linalg.qr(self.right[i] @ self.right_basis[i][:, order])[0]

    def state(self) -> dict[str, Tensor]:
        """Everything that `load` needs, by name."""
        return {
            f"{name}_{i}": value for name in _STATE for i, value in enumerate(getattr(self, name))
        } | {"soap_steps": torch.tensor(self.steps)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take up a state."""
        self.steps = int(state["soap_steps"])
        for name in _STATE:
            values = getattr(self, name)
            setattr(self, name, [state[f"{name}_{i}"].to(v) for i, v in enumerate(values)])


_STATE = ("mean", "square", "left", "right", "left_basis", "right_basis")


def _eigenbasis(covariance: Tensor) -> Tensor:
    """Eigenvectors as columns, by descending eigenvalue."""
    wide = covariance.double()
    wide = wide / wide.diagonal().mean().clamp_min(1e-300)
    return torch.linalg.eigh(wide)[1].flip(1).to(covariance.dtype)


def _order(covariance: Tensor, basis: Tensor) -> Tensor:
    """Order of the basis's columns by descending variance."""
    return (basis * (covariance @ basis)).sum(0).argsort(descending=True)
