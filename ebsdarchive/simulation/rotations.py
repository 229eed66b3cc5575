"""Unit quaternions, scalar first: products, small rotations, random ones."""

from __future__ import annotations

from math import pi

import numpy as np
import numpy.typing as npt

__all__ = ["from_vectors", "product", "uniform_quaternions"]


def from_vectors(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n, 4) unit quaternions of (n, 3) rotation vectors, axis times angle in rad."""
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.hstack([np.cos(angle / 2), vectors * np.sinc(angle / (2 * pi)) / 2])


def product(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n, 4) Hamilton products p q: first q, then p."""
    a, b, c, d = p.T
    e, f, g, h = q.T
    return np.column_stack(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


def uniform_quaternions(n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(n, 4) unit quaternions, uniformly distributed over all rotations."""
    quaternions = rng.standard_normal((n, 4))
    return quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
