"""Images of another instrument at the points of a scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.auxiliary import LightStack, in_images
from ebsdarchive.geometry import Grid

__all__ = ["antialiased", "light_series"]

Floats = npt.NDArray[np.float64]


def light_series(
    stack: LightStack, grid: Grid, chosen: Sequence[int] | npt.NDArray[np.intp] | None = None
) -> Floats:
    """(a, n_rows, n_columns) counts of the light at the points of a scan; of chosen images or all.

    Pixels finer than the scan are averaged first, over about the area that a point stands for. NaN
    outside of the images.
    """
    from scipy.ndimage import map_coordinates

    pixels = stack.positions(grid)
    inside = in_images(pixels, stack.images.shape)
    images = stack.images if chosen is None else stack.images[np.asarray(chosen)]
    series = np.full((len(images), grid.n_rows, grid.n_columns), np.nan)
    mask = grid.map_mask()
    for image, values in zip(images, series, strict=True):
        smooth = antialiased(image, stack.to_scan)
        found = map_coordinates(smooth, pixels.T[::-1], order=1, mode="nearest")
        values[mask] = np.where(inside, found, np.nan)
    return series


def antialiased(image: npt.NDArray, to_scan: Floats) -> Floats:
    """An image blurred so that samples a scan step apart miss nothing of it.

    A box of s pixels has the standard deviation s / √12; what a pixel averages itself is taken off.
    """
    from scipy.ndimage import gaussian_filter

    pixels_per_step = abs(np.linalg.det(to_scan[:, :2])) ** -0.5
    blur = np.sqrt(max(pixels_per_step**2 - 1, 0) / 12)
    smooth = image.astype(np.float64)
    return gaussian_filter(smooth, blur, mode="nearest") if blur > 0 else smooth
