"""What a caller may choose about a fit, and what is chosen where they leave it to us."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError

__all__ = [
    "WIDEST",
    "FitOptions",
    "auto_depth",
    "auto_learning_rate",
    "auto_omega",
    "auto_steps",
    "auto_width",
    "next_width",
    "parameters",
    "whole_width",
    "width_for",
]

WIDEST = 512  # outputs of a sine layer


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
        The smallest field with this map-averaged MAE in percent of the full range.
    target_size_mb
        The best field whose streams take no more than this, in units of 1,000,000 bytes.
    coding_loss_pct
        By how much coding may raise the mean error, in percent of it; ignored with a target.
    time_s
        Seconds to train; by default a schedule of a few thousand steps that stops early.
    steps
        Length of that schedule; None chooses it by the number of points.
    band_weight
        Weight of band pixels in the squared error; 1 turns it off.
    mask
        "auto", "none" or (sy, sx) bool: pixels to fit.
    device
        "auto", "cpu" or "cuda".
    depth
        Number of sine layers, or "auto": by the number of points.
    omega_0
        Frequency factor of the first sine layer, and of the others up to a depth of 5.
    learning_rate
        Of the sine layers, or "auto": by the width.
    network
        "sine"; "lattice", a label at each point and values of labels, for scans on square grids; or
        "auto": whichever is worth its bytes more.
    """

    rank: int | str = "auto"
    width: int | str = "auto"
    target_mae_pct: float | None = None
    target_size_mb: float | None = None
    coding_loss_pct: float = 1.5
    time_s: float | None = None
    steps: int | None = None
    band_weight: float = 2.0
    mask: str | npt.NDArray = "auto"
    seed: int = 0
    device: str = "auto"
    depth: int | str = "auto"
    omega_0: float = 30.0
    learning_rate: float | str = "auto"
    network: str = "sine"

    def __post_init__(self) -> None:
        for name in ("rank", "width", "depth"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if value != "auto" and not whole:
                raise ArgumentError(
                    f"{name}: expected auto or a whole number of at least 1, found {value!r}"
                )
        if self.steps is not None and not (isinstance(self.steps, int) and self.steps >= 1):
            raise ArgumentError(f"steps: expected a whole number from 1, found {self.steps!r}")
        if self.steps is not None and self.time_s is not None:
            raise ArgumentError("steps: expected steps or a time to train for, found both")
        for name in (
            "target_mae_pct", "target_size_mb", "coding_loss_pct", "time_s", "band_weight",
            "omega_0", "learning_rate",
        ):  # fmt: skip
            number = getattr(self, name)
            if name == "learning_rate" and number == "auto":
                continue
            if isinstance(number, str):
                raise ArgumentError(f"{name}: expected a positive number, found {number!r}")
            if number is not None and not (np.isfinite(number) and number > 0):
                raise ArgumentError(f"{name}: expected a positive number, found {number!r}")
        if self.target_size_mb is not None and self.target_mae_pct is not None:
            raise ArgumentError("target: expected a target MAE or a target size, found both")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ArgumentError(f"device: expected auto, cpu or cuda, found {self.device!r}")
        if self.network not in ("sine", "lattice", "auto"):
            raise ArgumentError(f"network: expected sine, lattice or auto, found {self.network!r}")
        if self.network == "lattice":
            self._require_nothing_of_sine_layers()

    def _require_nothing_of_sine_layers(self) -> None:
        for name in ("width", "depth", "learning_rate", "steps", "time_s"):
            value = getattr(self, name)
            if value not in ("auto", None):
                raise ArgumentError(
                    f"{name}: expected none with a lattice, which is not trained, found {value!r}; "
                    f"leave it out or use network sine"
                )


def auto_width(n: int, rank: int) -> int:
    """Width to begin with: 32 for 1,600 points, 64 for 40,000; at least half the rank."""
    width = max(32 * (n / 1600) ** 0.2, rank / 2)
    return whole_width(width)


def whole_width(width: float) -> int:
    """The nearest multiple of 8 up to `WIDEST`; below 40, of 4, and at least 8."""
    unit = _unit(width)
    return int(np.clip(unit * round(width / unit), 8, WIDEST))


def next_width(width: int, change: int) -> int:
    """The next width above (`change` 1) or below (-1) one."""
    return whole_width(width + change * _unit(width))


def _unit(width: float) -> int:
    return 8 if width >= 40 else 4


def parameters(width: float, depth: int, outputs: int) -> float:
    """Weights and biases of a network of `depth` sine layers and a linear one."""
    return 3 * width + (depth - 1) * (width + 1) * width + (width + 1) * outputs


def width_for(count: float, depth: int, outputs: int) -> int:
    """The width at which a network has about `count` weights and biases."""
    linear, square = 3 + (depth - 1) + outputs, depth - 1
    root = np.sqrt(linear**2 + 4 * square * max(count - outputs, 1))
    return whole_width((root - linear) / (2 * square) if square else count / linear)


def auto_depth(n: int) -> int:
    """Number of sine layers: 5 as in the paper for small scans, 6 from 5,000 points on."""
    return 5 if n < 5000 else 6


def auto_omega(omega_0: float, depth: int) -> float:
    """Frequency factor of the sine layers behind the first: two thirds of it in deep networks."""
    return omega_0 if depth <= 5 else omega_0 * 2 / 3


def auto_steps(n: int) -> int:
    """Training steps: 1,500 for 2,000 points, 4,000 for 40,000 to 100,000, 7,000 for 900,000."""
    few, many = 1500 * (n / 2000) ** (1 / 3), 4000 * (n / 100_000) ** 0.25
    return int(np.clip(max(min(few, 4000), many), 1500, 10000))


def auto_learning_rate(width: int) -> float:
    """8e-3 at width 32, inversely with width: 1e-2 was seen to collapse with many outputs."""
    return min(0.25 / width, 1.2e-2)
