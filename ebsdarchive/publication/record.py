"""What all documents of a package are made from: metadata, measured figures, provenance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ebsdarchive.errors import ArgumentError
from ebsdarchive.metadata.vocabulary import schema_at
from ebsdarchive.schema import load_schema

__all__ = ["Quantity", "Record", "made_record", "missing_entries", "require_complete"]

_REQUIRED = ("title", "description", "people", "publisher", "publication_year", "licence", "doi")
_UNIT_IN_NAME = re.compile("_(um|mm|deg|kev)$")
_OF_LAYERS = {
    "stored_bytes": ("stored size", "bytes"),
    "ratio": ("compression ratio", None),
    "mae_percent": ("mean absolute error", "% of full range"),
    "mae_counts": ("mean absolute error", "counts"),
    "noise_counts": ("noise of a pixel", "counts"),
    "max_error_counts": ("largest error of a pixel", "counts"),
}


@dataclass(frozen=True)
class Quantity:
    """A figure of the scan: `name` for programs, `label` for people; `unit` None for none."""

    name: str
    label: str
    value: float | int | str
    unit: str | None = None


@dataclass(frozen=True)
class Record:
    """Everything that is known of an archive that is published.

    Parameters
    ----------
    metadata
        Complete, in the vocabulary of metadata.
    archive_name, archive_bytes, archive_sha256
        The file in the package.
    described
        What `info` says of it.
    quantities
        Figures of grid, detector, microscope and layers.
    activities
        PROV-JSON documents, oldest first, that of the publication last.
    digests
        SHA-256 of the layers and patterns that the archive holds.
    """

    metadata: Mapping[str, Any]
    archive_name: str
    archive_bytes: int
    archive_sha256: str
    described: Mapping[str, Any]
    quantities: tuple[Quantity, ...]
    activities: tuple[Mapping[str, Any], ...]
    digests: frozenset[str]

    @property
    def creators(self) -> list[Mapping[str, Any]]:
        """People who are cited: those whose role is Creator or not given."""
        return [one for one in self.metadata["people"] if one.get("role", "Creator") == "Creator"]

    @property
    def contributors(self) -> list[Mapping[str, Any]]:
        """All other people."""
        return [one for one in self.metadata["people"] if one.get("role", "Creator") != "Creator"]

    @property
    def published(self) -> str:
        """Date, or year, of the publication."""
        available = self.metadata.get("dates", {}).get("available")
        return str(available or self.metadata["publication_year"])

    @property
    def summary(self) -> str:
        """The scan in one sentence."""
        scan, grid = self.described["scan"], self.described["grid"]
        sy, sx = scan["pattern_shape"]
        holds = " and ".join(
            {"raw": "lossless patterns", "neural": "a neural field of them"}[name]
            for name in ("raw", "neural")
            if name in self.described["layers"]
        )
        restored = [layer["method"] for layer in self.described["layers"].values()
                    if "estimate" in layer]  # fmt: skip
        estimates = f"; with estimates of them made by {', '.join(restored)}" if restored else ""
        return (
            f"{scan['patterns']} EBSD patterns of {sy} x {sx} pixels ({scan['dtype']}) on a "
            f"{grid['grid_type']} grid of {grid['n_columns']} columns and {grid['n_rows']} rows: "
            f"{holds}{estimates}."
        )


def made_record(
    metadata: Mapping[str, Any],
    described: Mapping[str, Any],
    activities: Sequence[Mapping[str, Any]],
    *,
    name: str,
    size: int,
    sha256: str,
    digests: Iterable[str],
) -> Record:
    """The record of an archive; the arguments are those of `Record`."""
    return Record(
        metadata,
        name,
        size,
        sha256,
        described,
        tuple(_quantities(described)),
        tuple(activities),
        frozenset(digests),
    )


def missing_entries(metadata: Mapping[str, Any], without_doi: bool) -> dict[str, str]:
    """{key: meaning} of the entries that DataCite or RO-Crate cannot do without and are missing.

    Parameters
    ----------
    without_doi
        The repository assigns the DOI.
    """
    missing = {}
    for key in _REQUIRED:
        if key == "doi" and without_doi:
            continue
        if key == "people":
            people = metadata.get("people", [])
            if not any(person.get("role", "Creator") == "Creator" for person in people):
                missing[f"people.{len(people)}.name"] = "somebody who is cited as its creator"
        elif key not in metadata:
            said = schema_at([key]) or {}
            missing[key] = str(said["description"]).rstrip(".")
    return missing


def require_complete(metadata: Mapping[str, Any], without_doi: bool, where: str) -> None:
    """Raise ArgumentError with the list of what DataCite and RO-Crate ask for and is missing."""
    missing = missing_entries(metadata, without_doi)
    if missing:
        doi = ", --without-doi if the repository assigns it" if "doi" in missing else ""
        listed = ", ".join(f"{key} ({meaning})" for key, meaning in missing.items())
        raise ArgumentError(
            f"{where}: expected all metadata that DataCite and RO-Crate ask for, found no "
            f"{listed}; give them with --set KEY=VALUE or --metadata FILE{doi}"
        )


def _quantities(described: Mapping[str, Any]) -> list[Quantity]:
    scan = described["scan"]
    sy, sx = scan["pattern_shape"]
    found = [
        Quantity("patterns", "number of patterns", scan["patterns"]),
        Quantity("pattern_rows", "rows of a pattern", sy, "px"),
        Quantity("pattern_columns", "columns of a pattern", sx, "px"),
        Quantity("dtype", "type of the intensities", scan["dtype"]),
        Quantity("raw_bytes", "patterns, uncompressed", scan["nbytes"], "bytes"),
    ]
    kinds = load_schema().kinds
    for node in ("grid", "detector", "microscope"):
        for name, value in described[node].items():
            said = kinds[node].attributes.get(name)
            if said is not None and name != "pc_convention":
                label = _UNIT_IN_NAME.sub("", name).replace("n_", "number of ").replace("_", " ")
                found.append(Quantity(f"{node}_{name}", f"{node}: {label}", value, said.units))
    centre = described["detector"].get("pc_bruker_mean", ())
    for axis, value in zip("xyz", centre, strict=False):
        label = f"detector: mean projection centre {axis}, Bruker's convention"
        found.append(Quantity(f"detector_pc_{axis}", label, value))
    for layer, values in described["layers"].items():
        if layer.split("/")[0] in ("raw", "neural", "restored"):
            for name, (label, unit) in _OF_LAYERS.items():
                if name in values:
                    key = f"{layer.replace('/', '_')}_{name}"
                    found.append(Quantity(key, f"layer {layer}: {label}", values[name], unit))
    return found
