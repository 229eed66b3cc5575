"""Measured light as a model wants it: normalised, at its stage angles, in its channels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.light_at_points import light_series
from ebsdarchive.archive.auxiliary import LightStack
from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid
from ebsdarchive.multimodal.light_channels import LightChannels
from ebsdarchive.multimodal.polarised_light import CROSSED

__all__ = ["at_stage_angles", "light_channels_of", "normalised"]

Floats = npt.NDArray[np.float64]

DARK_PERCENTILE, BRIGHT_PERCENTILE = 1.0, 99.5


def normalised(series: Floats, angles_deg: npt.ArrayLike, *, crossed: bool = True) -> Floats:
    """(a, ...) in units of the brightest crystal's intensity, of counts of unknown gain and offset.

    Darkest and brightest are those of the curve over the stage angle that fits each point, not of
    single noisy values. It takes for granted that some grain has its c axis near the surface, and
    that all grains are dark at some angle (crossed), or the darkest are (not crossed).

    Raises
    ------
    ArgumentError
        If the images show nothing of the scan or have no contrast, or see `at_stage_angles`.
    """
    known = series[:, np.isfinite(series).all(axis=0)]
    if known.size == 0:
        raise ArgumentError("light: expected images that show the scanned area, found none of it")
    curves = at_stage_angles(known, angles_deg, np.arange(0, 180, 5), crossed=crossed)
    low = float(np.percentile(curves.min(axis=0), 50 if crossed else DARK_PERCENTILE))
    high = float(np.percentile(curves.max(axis=0), BRIGHT_PERCENTILE))
    if not high - low > 1e-9 * max(abs(high), abs(low)):
        raise ArgumentError(f"light: expected images with contrast, found {low:g} everywhere")
    return (series - low) / (high - low)


def at_stage_angles(
    series: Floats,
    angles_deg: npt.ArrayLike,
    wanted_deg: npt.ArrayLike,
    *,
    crossed: bool = True,
) -> Floats:
    """(b, ...) the light at other stage angles, of (a, ...) at those it was taken at.

    By least squares in what the physics allows: harmonics 0 and 4 of the stage angle between
    crossed polarisers, and 2 as well where they are not.

    Raises
    ------
    ArgumentError
        If the angles do not tell the harmonics apart.
    """
    orders = (4,) if crossed else (2, 4)
    values, taken = np.asarray(series, np.float64), np.asarray(angles_deg, np.float64)
    basis, wanted = (_harmonics(angles, orders) for angles in (taken, wanted_deg))
    if len(basis) != len(values):
        raise ArgumentError(f"stage angles: expected {len(values)} (images), found {len(basis)}")
    if np.linalg.cond(basis) > 1e3:
        raise ArgumentError(
            f"stage angles: expected at least {basis.shape[1]} spread over a period of "
            f"{90 if crossed else 180} degrees, found {', '.join(f'{a:g}' for a in taken)}"
        )
    return np.tensordot(wanted @ np.linalg.pinv(basis), values, 1)


def _harmonics(angles_deg: npt.ArrayLike, orders: tuple[int, ...]) -> Floats:
    """(a, 1 + 2 k) cosines and sines."""
    angles = np.radians(np.asarray(angles_deg, np.float64))
    columns = [np.ones_like(angles)]
    for order in orders:
        columns += [np.cos(order * angles), np.sin(order * angles)]
    return np.column_stack(columns)


def light_channels_of(
    stack: LightStack, grid: Grid, channels: LightChannels
) -> npt.NDArray[np.float32]:
    """(p, n_rows, n_columns) the light of a stack as a model's channels; NaN outside of the images.

    Stage angles of the stack and of the channels may differ.
    """
    analyser = channels.analyser_deg if stack.analyser_deg is None else stack.analyser_deg
    crossed = abs(analyser - CROSSED) < 1e-6
    series = light_series(stack, grid)
    series = normalised(series, stack.stage_angles_deg, crossed=crossed)
    moved = at_stage_angles(
        series, stack.stage_angles_deg, channels.stage_angles_deg, crossed=crossed
    )
    return channels.encode(moved)
