"""Search among neighbours by what they really cost: for scans so small that a fit takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["MISSED", "descend"]

MISSED = 100.0  # in a cost: a miss of a target by 1 % counts as twice as much

Place = TypeVar("Place")


def descend(
    cost: Callable[[Place], float],
    start: Place,
    neighbours: Callable[[Place], list[Place]],
    most: int,
) -> Place:
    """The cheapest place found by walking from `start` to cheaper neighbours.

    Parameters
    ----------
    cost
        Asked once for each place.
    most
        Places to ask for, `start` included.
    """
    costs = {start: cost(start)}
    here, walking = start, True
    while walking:
        walking = False
        for place in neighbours(here):
            if place in costs:
                continue
            if len(costs) >= most:
                return here
            costs[place] = cost(place)
            if costs[place] < costs[here]:
                here, walking = place, True
                break
    return here
