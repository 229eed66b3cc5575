"""The walk among neighbours by what they cost."""

from __future__ import annotations

import pytest

from ebsdarchive.neural.options import next_width, whole_width
from ebsdarchive.neural.search import descend


def around(place: tuple[int, int]) -> list[tuple[int, int]]:
    x, y = place
    return [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]


def valley(place: tuple[int, int]) -> float:
    return (place[0] - 3) ** 2 + 2.0 * (place[1] + 2) ** 2


def test_the_walk_ends_in_the_valley() -> None:
    assert descend(valley, (0, 0), around, most=100) == (3, -2)


def test_no_place_is_asked_for_twice_and_never_more_than_allowed() -> None:
    asked: list[tuple[int, int]] = []

    def cost(place: tuple[int, int]) -> float:
        asked.append(place)
        return valley(place)

    end = descend(cost, (0, 0), around, most=6)
    assert len(asked) == len(set(asked)) == 6
    assert valley(end) == min(map(valley, asked))


def test_it_stays_where_nothing_is_cheaper() -> None:
    assert descend(valley, (3, -2), around, most=100) == (3, -2)


@pytest.mark.parametrize("width", [8, 20, 36, 40, 64, 512])
def test_widths_above_and_below_are_widths_that_may_be_tried(width: int) -> None:
    below, above = next_width(width, -1), next_width(width, 1)
    assert below <= width <= above
    assert below < above
    assert {below, above} == {whole_width(below), whole_width(above)}
