"""Image quality of patterns: how much of a pattern is in low frequencies, where its bands are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["image_quality"]

BLOCK = 256


def image_quality(patterns: npt.NDArray) -> npt.NDArray[np.float64]:
    """(n, sy, sx) patterns to (n,) image quality Q after Krieger Lassen; NaN for a flat one.

    Q = 1 - J / J_res with J = sum |F| f^2 / sum |F| over the frequencies f of the normalised
    pattern, and J_res the mean of f^2: 0 for white noise, towards 1 the sharper the bands stand out
    of it.

    References
    ----------
    N. C. Krieger Lassen, Automated determination of crystal orientations from electron
    backscattering patterns, PhD thesis, Technical University of Denmark, 1994.
    """
    sy, sx = patterns.shape[1:]
    squared = np.square(np.fft.fftfreq(sy) * sy)[:, None] + np.square(np.fft.fftfreq(sx) * sx)
    resonant = squared.mean()
    found = np.empty(len(patterns))
    for start in range(0, len(patterns), BLOCK):
        block = patterns[start : start + BLOCK].astype(np.float32)
        block -= block.mean(axis=(1, 2), keepdims=True)
        spectrum = np.abs(np.fft.fft2(block))  # (b, sy, sx)
        with np.errstate(invalid="ignore", divide="ignore"):
            inertia = (spectrum * squared).sum(axis=(1, 2)) / spectrum.sum(axis=(1, 2))
        found[start : start + BLOCK] = 1 - inertia / resonant if resonant else np.nan
    return found
