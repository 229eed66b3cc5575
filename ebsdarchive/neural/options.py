"""What a caller may choose about a fit, and what is chosen where they leave it to us."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError

__all__ = ["FitOptions", "auto_learning_rate", "auto_steps", "auto_width"]


@dataclass(frozen=True)
class FitOptions:
    """How to fit a field.

    Parameters
    ----------
    rank
        Number of components including the constant one, or "auto": those above the noise floor
        (see `choose_rank`).
    width
        Width of the sine layers, or "auto": by the number of points and the rank.
    target_mae_pct
        Instead of `rank`: the smallest rank expected to meet this map-averaged MAE in percent of
        the full range.
    time_s
        Seconds to train; by default a schedule of a few thousand steps that stops early.
    band_weight
        Weight of band pixels in the squared error; 1 turns it off.
    mask
        "auto", "none" or (sy, sx) bool: pixels to fit.
    device
        "auto", "cpu" or "cuda".
    omega_0
        Frequency factor of all sine layers.
    learning_rate
        Of the sine layers, or "auto": by the width.
    """

    rank: int | str = "auto"
    width: int | str = "auto"
    target_mae_pct: float | None = None
    time_s: float | None = None
    band_weight: float = 2.0
    mask: str | npt.NDArray = "auto"
    seed: int = 0
    device: str = "auto"
    omega_0: float = 30.0
    learning_rate: float | str = "auto"

    def __post_init__(self) -> None:
        for name in ("rank", "width"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if value != "auto" and not whole:
                raise ArgumentError(
                    f"{name}: expected auto or a whole number of at least 1, found {value!r}"
                )
        for name in ("target_mae_pct", "time_s", "band_weight", "omega_0", "learning_rate"):
            number = getattr(self, name)
            if name == "learning_rate" and number == "auto":
                continue
            if isinstance(number, str):
                raise ArgumentError(f"{name}: expected a positive number, found {number!r}")
            if number is not None and not (np.isfinite(number) and number > 0):
                raise ArgumentError(f"{name}: expected a positive number, found {number!r}")
        if self.rank != "auto" and self.target_mae_pct is not None:
            raise ArgumentError("rank: expected rank or target MAE, found both")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ArgumentError(f"device: expected auto, cpu or cuda, found {self.device!r}")


def auto_width(n: int, rank: int) -> int:
    """Width of the sine layers: 64 for 1,600 points, 144 for 40,000; at least a quarter of rank."""
    width = max(64 * (n / 1600) ** 0.25, rank / 4)
    return int(np.clip(16 * round(width / 16), 32, 512))


def auto_steps(n: int) -> int:
    """Training steps: 2,500 up to 1,600 points, 4,200 for 40,000."""
    return int(np.clip(2500 * (n / 1600) ** 0.16, 2500, 10000))


def auto_learning_rate(width: int) -> float:
    """1e-3 at width 64, inversely with width: twice as much was seen to collapse at 128."""
    return 0.064 / width
