"""The camera of a simulated scan: what light falls on it, and what it counts.

Light: a smooth background, bright off centre and darker towards the corners, which Kikuchi bands
modulate by some percent. Counts: Poisson noise of the electrons, Gaussian noise of the read-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError

__all__ = ["Camera", "background", "disc_mask", "expose"]

FEW_ELECTRONS = 100.0


@dataclass(frozen=True)
class Camera:
    """A camera; the defaults follow the nine Ni patterns that come with kikuchipy.

    Levels and the read noise are fractions of the camera's range (255 or 65535 counts).

    Parameters
    ----------
    electrons
        Electrons per pixel, on average over the lit pixels; they set the shot noise. Infinite: no
        noise at all.
    read_noise
        Standard deviation of the read-out noise.
    dark_level, mean_level
        Level without light, and average level of the lit pixels.
    contrast
        Standard deviation of the bands over all directions, relative to the background.
    gamma
        Power that the master pattern, from 0 to 1, is raised to. Simulated bands are brighter and
        more spotted than recorded ones; EMsoft's default for this is 0.34, 1 leaves them as is.
    psf
        Standard deviation of the point spread in pixels (optics, and the pixel's own area).
    bell_centre, bell_width
        Centre (x, y) and standard deviations of the bright bell, as fractions of the pattern's
        width and height from its upper left corner.
    gradient
        Relative change of the background over the full width and height.
    vignetting
        Relative loss of light in the corners.
    specks
        Number of small dark specks (dust on the screen), at random places.
    disc
        Whether a round screen is lit, and the corners are dark.
    """

    electrons: float = 8000.0
    read_noise: float = 0.007
    dark_level: float = 0.08
    mean_level: float = 0.57
    contrast: float = 0.03
    gamma: float = 0.33
    psf: float = 0.3
    bell_centre: tuple[float, float] = (0.40, 0.44)
    bell_width: tuple[float, float] = (0.39, 0.49)
    gradient: tuple[float, float] = (-0.04, 0.02)
    vignetting: float = 0.28
    specks: int = 4
    disc: bool = False

    def __post_init__(self) -> None:
        def require(fits: bool, name: str, rule: str) -> None:
            if not fits:
                raise ArgumentError(f"camera: expected {name} {rule}, found {getattr(self, name)}")

        require(self.electrons > 0, "electrons", "above 0")
        require(0 <= self.read_noise < 1, "read_noise", "from 0 to 1")
        require(0 <= self.dark_level < 1, "dark_level", "from 0 to 1")
        require(self.dark_level < self.mean_level < 1, "mean_level", "from dark_level to 1")
        require(0 <= self.contrast < 1, "contrast", "from 0 to 1")
        require(self.gamma > 0, "gamma", "above 0")
        require(self.psf >= 0, "psf", "of at least 0")
        require(min(self.bell_width) > 0, "bell_width", "above 0")
        require(0 <= self.vignetting < 1, "vignetting", "from 0 to 1")
        require(self.specks >= 0, "specks", "of at least 0")


def background(camera: Camera, shape: tuple[int, int], seed: int) -> npt.NDArray[np.float32]:
    """(sy, sx) light without Kikuchi bands, 1 on average over the lit pixels, 0 where none falls.

    `seed` places the specks.
    """
    ny, nx = shape
    x = (np.arange(nx) + 0.5) / nx
    y = ((np.arange(ny) + 0.5) / ny)[:, None]
    (centre_x, centre_y), (width_x, width_y) = camera.bell_centre, camera.bell_width
    light = np.exp(-(((x - centre_x) / width_x) ** 2 + ((y - centre_y) / width_y) ** 2) / 2)
    light *= 1 + camera.gradient[0] * (x - 0.5) + camera.gradient[1] * (y - 0.5)
    light *= 1 - camera.vignetting * (2 * (x - 0.5) ** 2 + 2 * (y - 0.5) ** 2) ** 2
    light = np.maximum(light, 0)
    rng = np.random.default_rng([seed, 1])
    for speck_x, speck_y, size, depth in rng.random((camera.specks, 4)):
        radius = (0.008 + 0.012 * size) * min(shape)
        squares = ((x - speck_x) * nx) ** 2 + ((y - speck_y) * ny) ** 2
        light *= 1 - (0.05 + 0.2 * depth) * np.exp(-squares / (2 * radius**2))
    if camera.disc:
        light *= disc_mask(shape)
    lit = light[disc_mask(shape)] if camera.disc else light
    return np.asarray(light / lit.mean(), dtype=np.float32)


def disc_mask(shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(sy, sx) True inside the largest disc that leaves a margin of 1 % of the shorter side."""
    ny, nx = shape
    radius = 0.49 * min(ny, nx)
    x = np.arange(nx) - (nx - 1) / 2
    y = np.arange(ny)[:, None] - (ny - 1) / 2
    return x**2 + y**2 <= max(radius, 1.0) ** 2


def expose(
    light: npt.NDArray[np.float32], camera: Camera, dtype: np.dtype, seed: int, start: int
) -> npt.NDArray:
    """Counts of a camera that sees `light`, with noise.

    Each pattern has its own random stream (Philox; key from `seed`, counter from the pattern's
    index), so that the noise does not depend on how a scan is cut into blocks.

    Parameters
    ----------
    light
        (k, sy, sx), 1 on average over the lit pixels.
    dtype
        uint8 or uint16; the camera's range is the type's.
    start
        Index of the first pattern.

    Returns
    -------
    (k, sy, sx) ndarray of `dtype`
        ``round(gain · Poisson(electrons · light) + Normal(0, read_noise) + dark)``, clipped to the
        range. From 100 electrons on, one normal deviate z stands for both kinds of noise, bent so
        that mean, variance and skewness are those of the sum (Cornish & Fisher 1938):
        ``mean + s z + k3 (z² - 1) / (6 s²)``.
    """
    full = np.iinfo(dtype).max
    signal = light * np.float32((camera.mean_level - camera.dark_level) * full)
    if isfinite(camera.electrons):
        read = np.float32(camera.read_noise * full)
        gain = np.float32((camera.mean_level - camera.dark_level) * full / camera.electrons)
        key = np.random.SeedSequence([seed, 2]).generate_state(2, np.uint64)
        z = np.empty_like(signal)
        for k in range(len(signal)):
            stream = np.random.Philox(key=key, counter=np.array([0, 0, 0, start + k], np.uint64))
            rng = np.random.Generator(stream)
            rng.standard_normal(dtype=np.float32, out=z[k])
            if camera.electrons < FEW_ELECTRONS:
                signal[k] = rng.poisson(light[k] * camera.electrons) * gain
        if camera.electrons < FEW_ELECTRONS:
            signal += read * z
        else:
            variance = np.maximum(gain * signal + read * read, np.float32(1e-12))
            skew = gain * gain / 6 * signal / variance
            signal += np.sqrt(variance) * z
            signal += skew * (z * z - 1)
    signal += np.float32(camera.dark_level * full)
    np.rint(signal, out=signal)
    np.clip(signal, 0, full, out=signal)
    return signal.astype(dtype)


def expected_counts(
    light: npt.NDArray[np.float32], camera: Camera, dtype: np.dtype
) -> npt.NDArray[np.float32]:
    """Counts that the camera gives on average, neither rounded nor clipped."""
    full = np.iinfo(dtype).max
    counts = light * np.float32((camera.mean_level - camera.dark_level) * full)
    counts += np.float32(camera.dark_level * full)
    return counts
