"""What light microscopes add: noise, scratches, uneven light, misregistration, dark grains.

All of it is done to the rotation series, before it becomes channels. Intensities are in units of
the brightest crystal's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError

__all__ = ["MODERATE", "Perturbation"]

Floats = npt.NDArray[np.float64]

FIELD_NODES = 4  # along the longer side, of smooth fields


@dataclass(frozen=True)
class Perturbation:
    """How strong each fault is; 0 leaves it out.

    Parameters
    ----------
    noise
        Standard deviation at each pixel and stage angle.
    scratches
        Mean number of scratches in an area of 64 × 64 pixels.
    scratch_contrast
        The brightest adds so much light; the darkest takes this share of it away.
    unevenness
        Standard deviation of the gain over the image, smooth, the same at all stage angles.
    drift
        Standard deviation of the gain from one stage angle to the next.
    misregistration
        Root mean square of the smooth displacement of the light against the scan, in pixels.
    null_grains
        Share of the grains that reflect nothing between the polarisers at any angle, as another
        phase or an etched-out grain.
    """

    noise: float = 0.0
    scratches: float = 0.0
    scratch_contrast: float = 0.5
    unevenness: float = 0.0
    drift: float = 0.0
    misregistration: float = 0.0
    null_grains: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value < np.inf:
                raise ArgumentError(f"{name}: expected a number of at least 0, found {value}")
        if self.null_grains > 1:
            raise ArgumentError(f"null_grains: expected at most 1, found {self.null_grains}")

    def to_config(self) -> dict[str, float]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Perturbation:
        """The inverse of `to_config`. Raises ArgumentError for what is no setting."""
        try:
            return cls(**{name: float(value) for name, value in config.items()})
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"perturbation: expected its settings, found {error}") from None

    def apply(
        self,
        series: npt.ArrayLike,
        stage_angles_deg: npt.ArrayLike,
        grains: npt.NDArray[np.int32],
        rng: np.random.Generator,
    ) -> Floats:
        """(a, ny, nx) as it would be seen, of a clean series and its (ny, nx) grains.

        Each fault has random numbers of its own: to leave one out changes none of the others.
        """
        angles = np.radians(np.asarray(stage_angles_deg, np.float64))
        seen = np.array(series, np.float64)
        dark, moved, scratched, uneven, drifting, noisy = rng.spawn(6)
        if self.null_grains > 0:
            is_dark = dark.random(int(grains.max()) + 1) < self.null_grains
            seen *= ~is_dark[grains]
        if self.misregistration > 0:
            seen = _displaced(seen, self.misregistration, moved)
        if self.scratches > 0:
            count = scratched.poisson(self.scratches * grains.size / 64**2)
            for _ in range(count):
                self._scratch(seen, angles, scratched)
        if self.unevenness > 0:
            seen *= np.maximum(1 + self.unevenness * _smooth_field(grains.shape, uneven), 0)
        if self.drift > 0:
            seen *= np.maximum(1 + self.drift * drifting.standard_normal((len(seen), 1, 1)), 0)
        if self.noise > 0:
            seen += self.noise * noisy.standard_normal(seen.shape)
        return seen

    def _scratch(self, series: Floats, angles: Floats, rng: np.random.Generator) -> None:
        """Draw a straight groove into the series."""
        ny, nx = series.shape[1:]
        y, x = np.mgrid[:ny, :nx]
        direction = rng.uniform(0, np.pi)
        along, across = _turned(x - rng.uniform(0, nx), y - rng.uniform(0, ny), direction)
        width = rng.uniform(0.5, 1.2)
        half_length = rng.uniform(0.15, 0.8) * max(ny, nx)
        profile = np.exp(-0.5 * (across / width) ** 2)
        profile *= np.abs(along) < half_length
        strength = rng.uniform(0.2, 1.0) * self.scratch_contrast
        if rng.random() < 0.3:  # full of residue of the polish
            series *= 1 - min(strength, 1) * profile
        else:  # its walls turn the polarisation, most where it lies at 45 degrees to it
            turned = np.sin(2 * (direction + angles)) ** 2
            series += strength * turned[:, None, None] * profile


MODERATE = Perturbation(
    noise=0.05,
    scratches=1.5,
    scratch_contrast=0.5,
    unevenness=0.05,
    drift=0.01,
    misregistration=0.5,
    null_grains=0.02,
)
"""As a fair polish and a registration to half a pixel leave it."""


def _turned(x: Floats, y: Floats, angle: float) -> tuple[Floats, Floats]:
    """Coordinates along and across a direction."""
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _smooth_field(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """(ny, nx) cubic spline through a few random values of mean square 1."""
    from scipy.ndimage import map_coordinates

    ny, nx = shape
    step = max(ny, nx) / (FIELD_NODES - 1)
    nodes = rng.standard_normal((FIELD_NODES + 2, FIELD_NODES + 2))
    y, x = np.mgrid[:ny, :nx] / step + 1
    field = map_coordinates(nodes, [y, x], order=3, mode="nearest")
    return field / np.sqrt(np.mean(field * field))


def _displaced(series: Floats, rms: float, rng: np.random.Generator) -> Floats:
    """The images seen through a smooth displacement, the same at all stage angles."""
    from scipy.ndimage import map_coordinates

    shape = (series.shape[1], series.shape[2])
    dy, dx = (rms / np.sqrt(2) * _smooth_field(shape, rng) for _ in range(2))
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.stack(
        [map_coordinates(image, [y + dy, x + dx], order=1, mode="nearest") for image in series]
    )
