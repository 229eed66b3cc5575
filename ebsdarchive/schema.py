"""The only reader of `schema/`: what nodes an archive of some format version consists of.

Writing, reading, validation and the reference page are driven by what this module returns. It knows
nothing about HDF5.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ebsdarchive.errors import VersionError

__all__ = [
    "CURRENT_VERSION",
    "Attribute",
    "Dataset",
    "Kind",
    "Schema",
    "Subgroup",
    "known_versions",
    "load_schema",
    "metadata_vocabulary",
]

CURRENT_VERSION = "1.1"


@dataclass(frozen=True)
class Attribute:
    """An HDF5 attribute of a node; `symbol` is the dimension that its value binds, if any."""

    name: str
    type: str
    description: str
    required: bool = True
    units: str | None = None
    choices: tuple[str, ...] = ()
    symbol: str | None = None
    example: Any = None


@dataclass(frozen=True)
class Dataset:
    """An HDF5 dataset of a node.

    `types` are NumPy names, "string" or "bytes"; a `shape` holds numbers, symbols, "symbol + 1",
    or "..." for any further axes. `digest` is "node" or "blocks" (see the manifest).
    """

    name: str
    types: tuple[str, ...]
    shape: tuple[int | str, ...]
    description: str
    required: bool = True
    units: str | None = None
    digest: str = "node"
    example: Any = None


@dataclass(frozen=True)
class Subgroup:
    """A group within a node: itself a node of one of `kinds`, or a container of `members`."""

    name: str
    description: str
    kinds: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    required: bool = True


@dataclass(frozen=True)
class Kind:
    """One kind of node: where it stands, how it says what it is, and what it holds."""

    name: str
    path: str
    encoding_type: str
    encoding_version: str
    description: str
    attributes: dict[str, Attribute] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    groups: dict[str, Subgroup] = field(default_factory=dict)
    any_datasets: bool = False


@dataclass(frozen=True)
class Schema:
    """All node kinds of one format version."""

    version: str
    description: str
    kinds: dict[str, Kind]

    def kind(self, name: str) -> Kind:
        return self.kinds[name]


@cache
def known_versions() -> tuple[str, ...]:
    """Format versions whose schema is at hand, oldest first."""
    names = [path.name for path in _folder().iterdir() if (path / "manifest.toml").is_file()]
    return tuple(sorted(names, key=lambda name: [int(part) for part in name.split(".")]))


@cache
def load_schema(version: str = CURRENT_VERSION) -> Schema:
    """The schema of a format version.

    Raises
    ------
    VersionError
        If the version is not known here.
    """
    if version not in known_versions():
        raise VersionError(
            f"format version {version} is not known here (known: {', '.join(known_versions())}); "
            f"update ebsdarchive to read it"
        )
    folder = _folder() / version
    manifest = tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8"))
    kinds = {}
    for name in manifest["kinds"]:
        kinds[name] = _kind(tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8")))
    return Schema(manifest["format-version"], manifest["description"].strip(), kinds)


@cache
def metadata_vocabulary(version: str = CURRENT_VERSION) -> dict[str, Any]:
    """The JSON Schema of the document in a metadata node."""
    text = (_folder() / version / "metadata-vocabulary.json").read_text(encoding="utf-8")
    vocabulary: dict[str, Any] = json.loads(text)
    return vocabulary


def _folder() -> Path:
    """The schema folder: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    packaged = package / "_schema"
    return packaged if packaged.is_dir() else package.parent / "schema"


def _kind(table: dict[str, Any]) -> Kind:
    return Kind(
        name=table["kind"],
        path=table["path"],
        encoding_type=table["encoding-type"],
        encoding_version=table["encoding-version"],
        description=table["description"].strip(),
        attributes={
            name: Attribute(
                name,
                entry["type"],
                entry["description"],
                entry.get("required", True),
                entry.get("units"),
                tuple(entry.get("choices", ())),
                entry.get("symbol"),
                entry.get("example"),
            )
            for name, entry in table.get("attributes", {}).items()
        },
        datasets={
            name: Dataset(
                name,
                _one_or_more(entry["type"]),
                tuple(entry["shape"]),
                entry["description"],
                entry.get("required", True),
                entry.get("units"),
                entry.get("digest", "node"),
                entry.get("example"),
            )
            for name, entry in table.get("datasets", {}).items()
        },
        groups={
            name: Subgroup(
                name,
                entry["description"],
                _one_or_more(entry.get("kind", ())),
                _one_or_more(entry.get("members", ())),
                entry.get("required", True),
            )
            for name, entry in table.get("groups", {}).items()
        },
        any_datasets=table.get("any-datasets", False),
    )


def _one_or_more(entry: str | Sequence[str]) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else tuple(entry)


def reference_page(version: str = CURRENT_VERSION) -> str:
    """The format's reference as Markdown, generated from the schema files."""
    schema = load_schema(version)
    lines = [f"# The ebsdarchive format, version {schema.version}", "", schema.description, ""]
    lines.insert(1, "\n<!-- generated by `make docs` from schema/; do not edit -->")
    for kind in schema.kinds.values():
        lines += [f"## {kind.name}", "", f"`{kind.path}`, encoding `{kind.encoding_type}` "]
        lines[-1] += f"{kind.encoding_version}"
        lines += ["", kind.description, ""]
        rows = [
            (f"`@{a.name}`", a.type, a.required, a.units, _with_choices(a))
            for a in kind.attributes.values()
        ]
        rows += [
            (
                f"`{d.name}`",
                f"{' or '.join(d.types)} [{', '.join(map(str, d.shape))}]",
                d.required,
                d.units,
                d.description,
            )
            for d in kind.datasets.values()
        ]
        rows += [
            (
                f"`{g.name}/{'*' if g.members else ''}`",
                " or ".join(g.kinds or g.members),
                g.required,
                None,
                g.description,
            )
            for g in kind.groups.values()
        ]
        if rows:
            lines += ["| name | type | required | units | meaning |", "|---|---|---|---|---|"]
            lines += [
                f"| {name} | {type_} | {'yes' if required else 'no'} | {units or ''} | {text} |"
                for name, type_, required, units, text in rows
            ]
            lines.append("")
    if "metadata" in schema.kinds:
        lines += _vocabulary_page(metadata_vocabulary(version))
    return "\n".join(lines).rstrip() + "\n"


def _vocabulary_page(vocabulary: dict[str, Any]) -> list[str]:
    """The vocabulary of metadata as a table of keys."""
    lines = ["## vocabulary of metadata", "", vocabulary["description"], ""]
    lines += ["| key | type | meaning |", "|---|---|---|"]
    return [*lines, *_vocabulary_rows(vocabulary, "", vocabulary), ""]


def _vocabulary_rows(said: dict[str, Any], prefix: str, vocabulary: dict[str, Any]) -> list[str]:
    rows = []
    for name, entry in said["properties"].items():
        key, below = f"{prefix}{name}", entry
        if "$ref" in entry:
            below = vocabulary["$defs"][entry["$ref"].rpartition("/")[2]]
        kind = entry.get("format") or below.get("type") or f"one of {', '.join(entry['enum'])}"
        if kind == "array":
            below, kind = entry["items"], f"list of {entry['items'].get('type')}s"
            key += ".0" * ("properties" in below)
        example = f" Such as `{entry['examples'][0]}`." if "examples" in entry else ""
        rows.append(f"| `{key}` | {kind} | {entry['description']}{example} |")
        if "properties" in below:
            rows += _vocabulary_rows(below, f"{key}.", vocabulary)
    return rows


def _with_choices(attribute: Attribute) -> str:
    if not attribute.choices:
        return attribute.description
    return f"{attribute.description} One of {', '.join(f'`{c}`' for c in attribute.choices)}."


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference_page())
