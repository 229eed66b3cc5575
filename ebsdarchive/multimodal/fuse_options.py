"""How samples of a map are drawn, and what becomes of them, without the samplers themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ebsdarchive.errors import ArgumentError

__all__ = ["ALIGNMENTS", "FuseOptions"]

ALIGNMENTS = ("grains", "network", "none")


@dataclass(frozen=True)
class FuseOptions:
    """How samples are drawn, and what becomes of them.

    Parameters
    ----------
    samples
        K.
    steps, particles, moves, guidance
        As in `SamplerOptions`.
    seed
        Of everything; sample k follows from it and k.
    align
        How orientations between the measured ones are corrected: "grains" are turned to what was
        measured in them, a "network" is fitted where something was measured; "none".
    orientation_noise, light_noise
        σ of measured channels, in [-1, 1]; None estimates that of light from its pixels.
    threads
        Samples that are drawn at the same time; without any effect on them.
    """

    samples: int = 4
    steps: int = 50
    particles: int = 1
    moves: int = 0
    guidance: int = 8
    seed: int = 0
    align: str = "grains"
    orientation_noise: float = 0.01
    light_noise: float | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least, most in (
            ("samples", 1, 1000),
            ("steps", 2, 1000),
            ("particles", 1, 10_000),
            ("moves", 0, 1000),
            ("guidance", 0, 1000),
            ("threads", 1, 1024),
        ):
            if not least <= getattr(self, name) <= most:
                raise ArgumentError(
                    f"{name}: expected from {least} to {most}, found {getattr(self, name)}"
                )
        for name in ("orientation_noise", "light_noise"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 10:
                raise ArgumentError(f"{name}: expected from 0 to 10, found {value}")
        if self.align not in ALIGNMENTS:
            raise ArgumentError(
                f"align: expected one of {', '.join(ALIGNMENTS)}, found {self.align!r}"
            )
        if self.seed < 0:
            raise ArgumentError(f"seed: expected at least 0, found {self.seed}")

    def described(self) -> dict[str, Any]:
        """What the result depends on; plain JSON values."""
        found = asdict(self)
        del found["threads"]
        return found
