"""The width of sine layers that pays best, by what a weight costs and what it saves."""

from __future__ import annotations

from dataclasses import dataclass, field

from ebsdarchive.neural.options import parameters, width_for
from ebsdarchive.neural.plan import Plan, best_parameters, price_of

__all__ = ["WidthSearch"]

LARGEST_CHANGE = 6  # of the number of weights from one network to the next


@dataclass
class WidthSearch:
    """The width that pays best, from the errors of networks that were trained.

    Parameters
    ----------
    depth, outputs
        Of the networks.
    noise
        The part of the error, counts squared, that is not for a network to learn.
    wider
        By what factor to exceed the number of weights that pays best.
    """

    depth: int
    outputs: int
    plan: Plan
    noise: float
    wider: float
    measured: list[tuple[float, float]] = field(default_factory=list)
    costs: dict[int, float] = field(default_factory=dict)

    def next_width(self, width: int, error: float) -> tuple[int, float]:
        """The best width after one more network of some error, and by what factor its number of
        weights differs from that network's."""
        count = parameters(width, self.depth, self.outputs)
        self.measured.append((count, error))
        self.costs[width] = error + price_of(count, self.plan.step)
        best = self.wider * best_parameters(self.measured, self.noise, self.plan)
        best = min(max(best, count / LARGEST_CHANGE), count * LARGEST_CHANGE)
        return width_for(best, self.depth, self.outputs), max(best / count, count / best)

    def cheapest(self) -> int:
        """Of the widths tried, the one whose error and bytes together cost least; of those that are
        good enough, if any is."""
        errors = {
            width: error - self.noise
            for width, (_, error) in zip(self.costs, self.measured, strict=True)
        }
        return min(
            self.costs,
            key=lambda width: (errors[width] > self.plan.network_error, self.costs[width]),
        )
