"""How alike two patterns are, pixel by pixel and structure by structure: MAE, PSNR, SSIM, UQI."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import minimum_filter, uniform_filter

__all__ = ["Similarity", "compare_patterns"]

UQI_WINDOW = 8  # px, Wang & Bovik 2002
SSIM_SIGMA = 1.5  # px, Wang et al. 2004
SSIM_WINDOW = 11


@dataclass(frozen=True)
class Similarity:
    """Figures of n pairs of patterns, each over the pixels of the mask.

    Parameters
    ----------
    mae_counts
        (n,) mean absolute difference.
    psnr_db
        (n,) 20 log10(range / root mean square difference); infinite where the two are equal.
    ssim
        (n,) structural similarity (Wang, Bovik, Sheikh & Simoncelli 2004): Gaussian window of 1.5
        px, K1 = 0.01, K2 = 0.03. 1 is equal.
    uqi
        (n,) universal quality index (Wang & Bovik 2002): mean over windows of 8 px. 1 is equal.
    """

    mae_counts: npt.NDArray[np.float64]
    psnr_db: npt.NDArray[np.float64]
    ssim: npt.NDArray[np.float64]
    uqi: npt.NDArray[np.float64]


def compare_patterns(
    a: npt.NDArray, b: npt.NDArray, range_counts: float, mask: npt.NDArray[np.bool_]
) -> Similarity:
    """Compare patterns (n, sy, sx) with patterns (n, sy, sx), in counts.

    Windows of SSIM and UQI lie within the frame and the mask. Patterns smaller than the window have
    NaN.

    Parameters
    ----------
    range_counts
        Full range of the scan's counts, which PSNR and SSIM refer to.
    mask
        (sy, sx) True where the detector carries signal.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    change = (first - second)[:, mask]  # (n, m)
    rmse = np.sqrt(np.square(change).mean(axis=1))
    with np.errstate(divide="ignore"):
        psnr = 20 * np.log10(range_counts / rmse)
    return Similarity(
        mae_counts=np.abs(change).mean(axis=1),
        psnr_db=psnr,
        ssim=_ssim(first, second, range_counts, mask),
        uqi=_uqi(first, second, mask),
    )


def _ssim(
    a: npt.NDArray, b: npt.NDArray, range_counts: float, mask: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    from skimage.metrics import structural_similarity

    inside = _whole_windows(mask, SSIM_WINDOW)
    if not inside.any():
        return np.full(len(a), np.nan)
    found = np.empty(len(a))
    for i, (one, other) in enumerate(zip(a, b, strict=True)):
        _, values = structural_similarity(
            one,
            other,
            data_range=range_counts,
            gaussian_weights=True,
            sigma=SSIM_SIGMA,
            use_sample_covariance=False,
            full=True,
        )
        found[i] = values[inside].mean()
    return found


def _uqi(a: npt.NDArray, b: npt.NDArray, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Q = 4 cov(a, b) mean(a) mean(b) / ((var a + var b) (mean(a)^2 + mean(b)^2)), eq. 2."""
    inside = _whole_windows(mask, UQI_WINDOW)
    if not inside.any():
        return np.full(len(a), np.nan)

    def mean(values: npt.NDArray) -> npt.NDArray:
        return np.asarray(uniform_filter(values, (0, UQI_WINDOW, UQI_WINDOW))[:, inside])

    mean_a, mean_b = mean(a), mean(b)
    products, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    # means of products around a constant near them lose no digits to the cancellation
    level = a[:, mask].mean(axis=1)[:, None, None]
    shift_a, shift_b = a - level, b - level
    small_a, small_b = mean(shift_a), mean(shift_b)
    covariance = mean(shift_a * shift_b) - small_a * small_b
    variances = mean(shift_a**2) - small_a**2 + mean(shift_b**2) - small_b**2
    flat = variances <= 1e-12 * np.maximum(squares, 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        structure = np.where(flat, 1.0, 2 * covariance / variances)
        brightness = np.where(squares > 0, 2 * products / squares, 1.0)
    return np.asarray((structure * brightness).mean(axis=1))


def _whole_windows(mask: npt.NDArray[np.bool_], window: int) -> npt.NDArray[np.bool_]:
    """(sy, sx) True where a window around the pixel lies within the frame and the mask."""
    return np.asarray(minimum_filter(mask, window, mode="constant", cval=False), bool)
