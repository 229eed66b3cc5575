"""A rotation series as a few channels: principal components of what the physics allows.

Between crossed polarisers the light of one point over the stage angle α is m + a cos 4α + b sin 4α:
three components hold it exactly. They are found from simulated crystals of all directions, so that
they are the same for every map of one arrangement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.multimodal.polarised_light import (
    CROSSED,
    TITANIUM,
    Metal,
    intensity_limit,
    reflectance,
)

__all__ = ["STAGE_ANGLES", "LightChannels"]

Floats = npt.NDArray[np.float64]

STAGE_ANGLES = tuple(float(angle) for angle in range(0, 180, 10))
CRYSTALS = 20_000
ROOM = 1.02  # between the brightest crystal and 1


@dataclass(frozen=True)
class LightChannels:
    """p channels in [-1, 1] of series of a stage angles, and back.

    Parameters
    ----------
    stage_angles_deg
        (a,) of the series.
    mean
        (a,) of the simulated crystals, in units of the brightest crystal's intensity.
    components
        (p, a) orthonormal, most variance first.
    centre, scale
        (p,) middle and half of the range of each component over the crystals.
    analyser_deg, metal
        Arrangement and metal that it is made for.
    """

    stage_angles_deg: tuple[float, ...]
    mean: Floats
    components: Floats
    centre: Floats
    scale: Floats
    analyser_deg: float
    metal: Metal

    @classmethod
    def fit(
        cls,
        stage_angles_deg: Sequence[float] = STAGE_ANGLES,
        channels: int = 3,
        *,
        metal: Metal = TITANIUM,
        analyser_deg: float = CROSSED,
    ) -> LightChannels:
        """The components of crystals whose c axes are uniform over the sphere.

        Raises
        ------
        ArgumentError
            If there are fewer different angles than channels, or the angles show fewer components.
        """
        angles = tuple(float(angle) for angle in stage_angles_deg)
        if not 1 <= channels <= len(angles):
            raise ArgumentError(f"channels: expected 1 to {len(angles)} (angles), found {channels}")
        values = reflectance(_directions(CRYSTALS), angles, metal, analyser_deg).T
        values /= intensity_limit(metal, analyser_deg)
        mean = values.mean(axis=0)
        _, singular, components = np.linalg.svd(values - mean, full_matrices=False)
        found = int((singular > 1e-6 * singular[0]).sum())
        if found < channels:
            raise ArgumentError(
                f"channels: expected at most {found} for these stage angles, found {channels}"
            )
        components = components[:channels]
        largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1)
        components = components * np.sign(largest)
        scores = (values - mean) @ components.T
        low, high = scores.min(axis=0), scores.max(axis=0)
        return cls(
            angles, mean, components, (low + high) / 2, ROOM * (high - low) / 2, analyser_deg, metal
        )

    @property
    def channels(self) -> int:
        """p."""
        return len(self.components)

    @property
    def limit(self) -> float:
        """Reflectance that counts as 1 in the series."""
        return intensity_limit(self.metal, self.analyser_deg)

    def series(self, axes: npt.ArrayLike) -> Floats:
        """(a, ...) clean light of (..., 3) c axes, in units of the brightest crystal's."""
        return reflectance(axes, self.stage_angles_deg, self.metal, self.analyser_deg) / self.limit

    def encode(self, series: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """(p, ...) channels of an (a, ...) series in units of the brightest crystal's intensity.

        Within [-1, 1] for what this metal can show; noise may leave it.
        """
        values = np.asarray(series, np.float64)
        if values.shape[:1] != self.mean.shape:
            raise ArgumentError(
                f"series: expected {len(self.mean)} stage angles, found shape {values.shape}"
            )
        scores = np.tensordot(self.components, values, 1)
        offset = self.components @ self.mean + self.centre
        shape = (-1, *(1,) * (values.ndim - 1))
        return ((scores - offset.reshape(shape)) / self.scale.reshape(shape)).astype(np.float32)

    def decode(self, channels: npt.ArrayLike) -> Floats:
        """(a, ...) series of (p, ...) channels: the inverse of `encode` within the components."""
        values = np.asarray(channels, np.float64)
        if len(values) != self.channels:
            raise ArgumentError(f"channels: expected {self.channels}, found {len(values)}")
        shape = (-1, *(1,) * (values.ndim - 1))
        scores = values * self.scale.reshape(shape) + self.centre.reshape(shape)
        return np.tensordot(self.components.T, scores, 1) + self.mean.reshape(shape)

    def to_config(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "stage_angles_deg": list(self.stage_angles_deg),
            "mean": self.mean.tolist(),
            "components": self.components.tolist(),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "analyser_deg": self.analyser_deg,
            "metal": {
                "name": self.metal.name,
                "wavelength_nm": self.metal.wavelength_nm,
                "ordinary": [self.metal.ordinary.real, self.metal.ordinary.imag],
                "extraordinary": [self.metal.extraordinary.real, self.metal.extraordinary.imag],
                "source": self.metal.source,
            },
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LightChannels:
        """The inverse of `to_config`.

        Raises
        ------
        FormatError
            If something is missing or does not fit together.
        """
        try:
            metal = config["metal"]
            arrays = {
                name: np.asarray(config[name], np.float64)
                for name in ("mean", "components", "centre", "scale")
            }
            made = cls(
                stage_angles_deg=tuple(float(angle) for angle in config["stage_angles_deg"]),
                analyser_deg=float(config["analyser_deg"]),
                metal=Metal(
                    str(metal["name"]),
                    float(metal["wavelength_nm"]),
                    complex(*metal["ordinary"]),
                    complex(*metal["extraordinary"]),
                    str(metal["source"]),
                ),
                **arrays,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"light channels: expected their settings, found {error!r}") from None
        a, p = len(made.stage_angles_deg), len(made.scale)
        shapes = (made.mean.shape, made.components.shape, made.centre.shape, made.scale.shape)
        if not 1 <= p <= a or shapes != ((a,), (p, a), (p,), (p,)):
            raise FormatError(f"light channels: expected {a} angles throughout, found {shapes}")
        numbers = [*made.stage_angles_deg, made.analyser_deg, *(v.sum() for v in arrays.values())]
        if not np.isfinite(numbers).all() or not (made.scale > 0).all():
            raise FormatError(
                "light channels: expected finite numbers and scales above 0, found others"
            )
        return made


def _directions(n: int) -> Floats:
    """(n, 3) evenly spread over the half sphere, its pole and its equator among them."""
    z = np.linspace(0, 1, n)
    azimuth = np.arange(n) * np.pi * (1 + np.sqrt(5))
    ring = np.sqrt(1 - z * z)
    return np.column_stack([ring * np.cos(azimuth), ring * np.sin(azimuth), z])
