"""What patterns are freed of before bands are looked for: static or dynamic background, or a band.

Frequencies are in parts of Nyquist, so that a filter means the same for every pattern size.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn, idctn

from ebsdarchive.errors import ArgumentError

__all__ = ["Background", "Correction", "lit_pixels"]

Background = Literal["bandpass", "static", "dynamic"]
SIGMA_LOW, SIGMA_HIGH = 0.25, 0.035  # of Nyquist: arXiv:2606.10352
DIM = (
    0.1  # a pixel less bright than this part of the way from the darkest to the brightest is unlit
)


class Correction:
    """Frees patterns of one detector of their background.

    All three divide by the static background first; then

    ========  =====================================================================================
    static    nothing more; unlit pixels become 1, for their noise over no light outshines bands
    dynamic   less the pattern's own blur of an eighth of its width (kikuchipy's dynamic background)
    bandpass  times G(0.25) (1 - G(0.035)) in frequency, where G(s) = exp(-f^2 / 2 s^2) and f is in
              parts of Nyquist: a blur of 1.3 px less one of 9 px, whatever the pattern's size
    ========  =====================================================================================

    Blurs see the lit pixels alone (normalised by the blur of the mask), mirror at the frame, and
    leave 0 in unlit pixels. (On RX718, without the division the fall of light over the screen stays
    in the band, and orientations move by 0.36 degrees instead of 0.17.)

    Parameters
    ----------
    method
        One of the three.
    static_background
        (sy, sx) counts; it tells the lit pixels, too.

    Raises
    ------
    ArgumentError
        If the method is not known.
    """

    def __init__(self, method: str, static_background: npt.NDArray) -> None:
        if method not in get_args(Background):
            raise ArgumentError(
                f"background: expected {', '.join(get_args(Background))}, found {method!r}"
            )
        self.method = method
        self._level = np.asarray(static_background, np.float32)
        self.lit = lit_pixels(self._level)
        shape = self._level.shape
        squared = sum(
            np.square(np.arange(n) / n).reshape([-1 if axis == i else 1 for i in (0, 1)])
            for axis, n in enumerate(shape)
        )  # (sy, sx) f^2: component k of a cosine transform of length n has f = k / n

        def gaussian(sigma: float) -> npt.NDArray[np.float32]:
            return np.exp(-squared / (2 * sigma**2)).astype(np.float32)

        if method == "bandpass":
            fine = gaussian(SIGMA_LOW)
            self._filters = [fine, fine * gaussian(SIGMA_HIGH)]
        elif method == "dynamic":  # a blur of s px is a Gaussian of 1 / (pi s) of Nyquist
            self._filters = [gaussian(1 / (math.pi * shape[1] / 8))]
        else:
            self._filters = []
        mask = self.lit.astype(np.float32)
        self._weights = [np.maximum(self._filtered(mask[None], f)[0], 1e-3) for f in self._filters]

    def __call__(self, patterns: npt.NDArray) -> npt.NDArray[np.float32]:
        """(n, sy, sx) counts to (n, sy, sx) without background."""
        values = np.asarray(patterns, np.float32) / np.maximum(self._level, np.float32(1e-6))
        if self.method == "static":
            return np.where(self.lit, values, np.float32(1))
        inside = values * self.lit
        blurred = [
            self._filtered(inside, f) / weight
            for f, weight in zip(self._filters, self._weights, strict=True)
        ]
        first = blurred[0] if self.method == "bandpass" else values
        return np.asarray((first - blurred[-1]) * self.lit, np.float32)

    @staticmethod
    def _filtered(images: npt.NDArray, response: npt.NDArray) -> npt.NDArray[np.float32]:
        spectrum = dctn(images, type=2, axes=(1, 2), norm="ortho")
        filtered = idctn(spectrum * response, type=2, axes=(1, 2), norm="ortho")
        return np.asarray(filtered, np.float32)


def lit_pixels(background: npt.NDArray) -> npt.NDArray[np.bool_]:
    """(sy, sx) True on a round screen, told by a background or mean pattern (sy, sx).

    All pixels unless the four corners are dark.
    """
    level = np.asarray(background, np.float32)
    low, high = np.percentile(level, [0.5, 99.5])
    lit = level > low + DIM * (high - low)
    round_screen = lit.any() and not lit[[0, 0, -1, -1], [0, -1, 0, -1]].any()
    return lit if round_screen else np.ones_like(lit)
