"""Documents of metadata: read from a YAML or JSON file, and changed entry by entry."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from ebsdarchive.errors import ArgumentError, EbsdArchiveError, FormatError
from ebsdarchive.metadata.vocabulary import require_valid, schema_at

__all__ = ["changed", "flattened", "given_metadata", "read_metadata_file"]

_LARGEST_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """YAML without what would surprise: repeated names, references that multiply."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "a reference (*)", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                problem = "a name that is no text"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            if key.value in seen:
                problem = f"{key.value!r} a second time"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def given_metadata(metadata: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Metadata from a file or a mapping, checked against the vocabulary."""
    if isinstance(metadata, Mapping):
        return require_valid(_plain(metadata, "metadata", ArgumentError), "metadata", ArgumentError)
    return read_metadata_file(metadata)


def read_metadata_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata in a YAML or JSON file.

    Raises
    ------
    FormatError
        If it cannot be read or leaves the vocabulary.
    """
    file = Path(path)
    if not file.is_file():
        raise FormatError(f"{file}: expected a file of metadata, found none")
    if file.stat().st_size > _LARGEST_BYTES:
        raise FormatError(
            f"{file}: expected metadata of at most {_LARGEST_BYTES} bytes, found "
            f"{file.stat().st_size}; is this another file?"
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{file}: expected UTF-8 text, found other bytes") from error
    return require_valid(_parsed(text, str(file), FormatError), str(file))


def changed(
    document: Mapping[str, Any],
    *,
    replacing: Mapping[str, Any] | None = None,
    removed: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    """A copy of a document with changes, made in this order.

    Parameters
    ----------
    replacing
        Entries at the top, each in place of the one of its name.
    removed
        Keys such as ``sample.parent`` or ``people.1``.
    settings
        ``KEY=VALUE``; a key that counts one beyond the end of a list adds to it.

    Raises
    ------
    ArgumentError
        If a key is not there, or the result leaves the vocabulary.
    """
    result = {**copy.deepcopy(dict(document)), **copy.deepcopy(dict(replacing or {}))}
    for key in removed:
        _remove(result, key)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise ArgumentError(
                f"set: expected KEY=VALUE such as sample.name=Ni, found {setting!r}"
            )
        _set(result, key, text)
    return require_valid(result, "metadata", ArgumentError)


def flattened(document: Any, prefix: str = "") -> list[tuple[str, str]]:
    """(key, value) of every entry, in the keys that `changed` takes; lists of text are joined."""
    if isinstance(document, dict):
        pairs = [(str(key), value) for key, value in document.items()]
    elif isinstance(document, list) and not all(isinstance(item, str) for item in document):
        pairs = [(str(index), value) for index, value in enumerate(document)]
    elif isinstance(document, list):
        return [(prefix, ", ".join(document))]
    else:
        return [(prefix, document if isinstance(document, str) else json.dumps(document))]
    return [
        line
        for key, value in pairs
        for line in flattened(value, f"{prefix}{'.' if prefix else ''}{key}")
    ]


def _set(document: dict[str, Any], key: str, text: str) -> None:
    parts = key.split(".")
    place: Any = document
    for depth, part in enumerate(parts[:-1], start=1):
        below = schema_at(parts[:depth]) or {}
        place = _entry(place, part, key, [] if below.get("type") == "array" else {})
    value = _value(text, schema_at(parts) or {}, key)
    _entry(place, parts[-1], key, value, replace=True)


def _entry(place: Any, part: str, key: str, value: Any, replace: bool = False) -> Any:
    """The entry `part` of a mapping or list, which is `value` where there is none yet."""
    if isinstance(place, dict):
        if replace or part not in place:
            place[part] = value
        return place[part]
    if not isinstance(place, list):
        raise ArgumentError(f"{key}: expected a place for {part!r}, found {place!r} there")
    if not part.isdigit() or int(part) > len(place):
        raise ArgumentError(
            f"{key}: expected a number from 0 to {len(place)} in place of {part!r}, the last of "
            f"which adds to the list"
        )
    if int(part) == len(place):
        place.append(value)
    elif replace:
        place[int(part)] = value
    return place[int(part)]


def _value(text: str, said: dict[str, Any], key: str) -> Any:
    """What a text on the command line stands for, by what the vocabulary expects there."""
    kind = said.get("type")
    if kind == "string" or "enum" in said:
        return text
    if kind == "array" and said["items"].get("type") == "string" and not text.startswith("["):
        return [part.strip() for part in text.split(",")]
    return _parsed(text, key, ArgumentError)


def _remove(document: dict[str, Any], key: str) -> None:
    """Remove an entry, and what holds nothing any more without it."""
    *above, last = key.split(".")
    places: list[Any] = [document]
    for part in [*above, last]:
        place = places[-1]
        found = isinstance(place, dict) and part in place
        found |= isinstance(place, list) and part.isdigit() and int(part) < len(place)
        if not found:
            held = ", ".join(name for name, _ in flattened(document)) or "nothing"
            raise ArgumentError(f"remove: expected {key!r} in the metadata, found {held}")
        places.append(place[part] if isinstance(place, dict) else place[int(part)])
    for part, place in zip(reversed([*above, last]), reversed(places[:-1]), strict=True):
        del place[part if isinstance(place, dict) else int(part)]
        if place:
            break


def _parsed(text: str, where: str, error: type[EbsdArchiveError]) -> Any:
    """The value of a YAML text, as plain JSON values."""
    try:
        return _plain(yaml.load(text, _Loader), where, error)
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        mark = getattr(problem, "problem_mark", None)
        place = "" if mark is None else f" in line {mark.line + 1}"
        found = getattr(problem, "problem", None) or str(problem).splitlines()[0]
        raise error(f"{where}: expected YAML, found{place}: {found}") from problem


def _plain(value: Any, where: str, error: type[EbsdArchiveError]) -> Any:
    """The value with dates as text, as YAML has them; other than JSON's types are refused."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            odd = next(key for key in value if not isinstance(key, str))
            raise error(f"{where}: expected names that are text, found {odd!r}; put it in quotes")
        return {key: _plain(item, where, error) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where, error) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        return value
    raise error(f"{where}: expected text, numbers, lists and mappings, found {value!r}")
