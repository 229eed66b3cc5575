"""Array types under their own names: annotations would show numpy's definitions of them."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy.typing
from sphinx.application import Sphinx

Scalar = TypeVar("Scalar")


class ArrayLike:
    """Stands for `numpy.typing.ArrayLike`."""


class DTypeLike:
    """Stands for `numpy.typing.DTypeLike`."""


class NDArray(Generic[Scalar]):
    """Stands for `numpy.typing.NDArray`."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Put the names where annotations, which are evaluated late, find them."""
    for stand_in in (ArrayLike, DTypeLike, NDArray):
        stand_in.__module__ = "numpy.typing"
        setattr(numpy.typing, stand_in.__name__, stand_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
