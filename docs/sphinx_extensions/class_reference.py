"""The directive ``class-reference``: the classes that the public verbs take and give back.

They are found by the signatures, so that a verb cannot have a result that is not documented.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import ebsdarchive

__all__ = ["public_classes"]


class ClassReference(SphinxDirective):
    """A description of each class, in the order in which the verbs come upon them."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for kind in public_classes():
            lines += [f".. autoclass:: {kind.__module__}.{kind.__qualname__}", "   :members:", ""]
        return self.parse_text_to_nodes("\n".join(lines))


def public_classes() -> list[type]:
    """Classes of the package in the signatures of its verbs, and in those of such classes."""
    found: list[type] = []
    waiting = [getattr(ebsdarchive, name) for name in ebsdarchive.__all__ if name[0] != "_"]
    while waiting:
        for kind in _in_signature(waiting.pop(0)):
            if kind not in found:
                found.append(kind)
                waiting += [kind, *_methods(kind)]
    return found


def _methods(kind: type) -> list[Any]:
    """Functions behind the public methods and properties of a class."""
    members = [member for name, member in vars(kind).items() if not name.startswith("_")]
    functions = [member.fget if isinstance(member, property) else member for member in members]
    return [function for function in functions if inspect.isfunction(function)]


def _in_signature(item: Any) -> Iterator[type]:
    for hint in typing.get_type_hints(item).values():
        yield from _in_hint(hint)


def _in_hint(hint: Any) -> Iterator[type]:
    if inspect.isclass(hint) and hint.__module__.split(".")[0] == "ebsdarchive":
        yield hint
    for part in typing.get_args(hint):
        yield from _in_hint(part)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("class-reference", ClassReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
