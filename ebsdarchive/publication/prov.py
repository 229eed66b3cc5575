"""`provenance.json`: the activities of an archive as one PROV-JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["joined_provenance"]

_NODES = ("prefix", "entity", "activity", "agent")


def joined_provenance(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One document of all; what two of them name alike is one thing, with all of its labels.

    Relations, whose names mean something within one document only, get new ones.
    """
    joined: dict[str, dict[str, Any]] = {}
    for document in documents:
        for section, table in document.items():
            place = joined.setdefault(section, {})
            for name, content in table.items():
                if section in _NODES:
                    place[name] = _both(place[name], content) if name in place else content
                else:
                    place[f"_:{section}{len(place)}"] = content
    return joined


def _both(first: Any, second: Any) -> Any:
    """The attributes of both descriptions of a thing, differing values side by side."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return first
    joined = dict(first)
    for key, value in second.items():
        values = joined.setdefault(key, value)
        held = values if isinstance(values, list) else [values]
        if value not in held:
            joined[key] = [*held, value]
    return joined
