"""`ro-crate-metadata.json`: the package as an RO-Crate 1.2 with a CreateAction per activity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from ebsdarchive.publication.datacite import licence_address
from ebsdarchive.publication.record import Record

__all__ = ["CRATE_FILE", "PackedFile", "crate_document"]

CRATE_FILE = "ro-crate-metadata.json"
_VERSION = "https://w3id.org/ro/crate/1.2"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_BASED_ON = ("IsDerivedFrom", "IsVariantFormOf", "IsNewVersionOf", "IsVersionOf")
Entity = dict[str, Any]


class PackedFile:
    """A file of the package: name, what it is, media type, bytes and digest."""

    def __init__(self, name: str, about: str, media_type: str, size: int, sha256: str) -> None:
        self.name, self.about, self.media_type = name, about, media_type
        self.size, self.sha256 = size, sha256


def crate_document(record: Record, files: Iterable[PackedFile]) -> dict[str, Any]:
    """The JSON-LD document; `files` are those of the package but this one.

    References
    ----------
    RO-Crate Metadata Specification 1.2; Process Run Crate 0.5.
    """
    graph = _Graph()
    said = record.metadata
    packed = [_file(file) for file in files]
    licence = _licence(said["licence"])
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": graph.link({"@id": _PROFILE, "@type": "CreativeWork", **_PROFILE_SAID}),
        "name": said["title"],
        "description": said["description"],
        "datePublished": record.published,
        "license": graph.link(licence),
        "identifier": f"https://doi.org/{said['doi']}" if "doi" in said else None,
        "inLanguage": said.get("language"),
        "version": said.get("version"),
        "keywords": ", ".join(said.get("keywords", [])) or None,
        "author": [_person(graph, one) for one in record.creators],
        "contributor": [_person(graph, one) for one in record.contributors],
        "publisher": _organisation(graph, said["publisher"], None),
        "funding": [_grant(graph, one) for one in said.get("funding", [])],
        "isBasedOn": _related(graph, record, True),
        "citation": _related(graph, record, False),
        "about": _sample(graph, said.get("sample")),
        "measurementTechnique": "Electron backscatter diffraction (EBSD)",
        "variableMeasured": [
            graph.link(
                {
                    "@id": f"#figure-{quantity.name}",
                    "@type": "PropertyValue",
                    "name": quantity.label,
                    "value": quantity.value,
                    "unitText": quantity.unit,
                }
            )
            for quantity in record.quantities
        ],
        "hasPart": [graph.link(file) for file in packed],
    }
    archive_id = quote(record.archive_name)
    root["mentions"] = [
        *_actions(graph, record, archive_id),
        *_devices(graph, said.get("instrument", {})),
    ]
    descriptor = {
        "@id": CRATE_FILE,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _VERSION},
        "about": {"@id": "./"},
    }
    entities = [descriptor, root, *graph.entities.values()]
    return {"@context": f"{_VERSION}/context", "@graph": [_without_empty(one) for one in entities]}


_PROFILE_SAID = {"name": "Process Run Crate", "version": "0.5"}


class _Graph:
    """The entities beside descriptor and root, each once."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}

    def link(self, entity: Entity) -> Entity:
        """A reference to an entity, which is added where it is new."""
        self.entities.setdefault(entity["@id"], entity)
        return {"@id": entity["@id"]}


def _file(file: PackedFile) -> Entity:
    return {
        "@id": quote(file.name),
        "@type": "File",
        "name": file.name,
        "description": file.about,
        "encodingFormat": file.media_type,
        "contentSize": str(file.size),
        "sha256": file.sha256,
    }


def _actions(graph: _Graph, record: Record, archive_id: str) -> list[Entity]:
    """A CreateAction per provenance activity, with what it used and made."""
    links = []
    for document in record.activities:
        (name, details) = next(iter(document["activity"].items()))
        agent = next(iter(document["agent"]))
        software = {
            "@id": f"#{agent.removeprefix('ea:')}",
            "@type": "SoftwareApplication",
            "name": "ebsdarchive",
            "version": document["agent"][agent]["ea:version"],
        }
        made = [
            _content(graph, document, edge, archive_id, record.digests)
            for edge in document.get("wasGeneratedBy", {}).values()
        ]
        action = {
            "@id": f"#{name.removeprefix('ea:')}",
            "@type": "CreateAction",
            "name": f"ebsdarchive {details['prov:label']}",
            "description": f"Parameters: {details['ea:parameters']}",
            "startTime": details["prov:startTime"],
            "endTime": details["prov:endTime"],
            "instrument": graph.link(software),
            "object": [
                _content(graph, document, edge, archive_id, record.digests)
                for edge in document.get("used", {}).values()
            ],
            "result": _unique(made) or [{"@id": "./"}],
        }
        links.append(graph.link(action))
    return links


def _content(
    graph: _Graph,
    document: Mapping[str, Any],
    edge: Mapping[str, str],
    archive_id: str,
    held: frozenset[str],
) -> Entity:
    """What an activity used or made: the archive itself, or content known by its digest."""
    digest = document["entity"][edge["prov:entity"]]["ea:sha256"]
    if digest == graph.entities[archive_id]["sha256"]:
        return {"@id": archive_id}
    entity = {
        "@id": f"#sha256-{digest}",
        "@type": "CreativeWork",
        "name": edge["prov:role"],
        "sha256": digest,
        "isPartOf": {"@id": archive_id} if digest in held else None,
    }
    return graph.link(entity)


def _person(graph: _Graph, person: Mapping[str, Any]) -> Entity:
    orcid = person.get("orcid")
    entity = {
        "@id": f"https://orcid.org/{orcid}" if orcid else f"#person-{quote(person['name'])}",
        "@type": "Person",
        "name": person["name"],
        "affiliation": _organisation(
            graph, person.get("affiliation"), person.get("affiliation_ror")
        ),
    }
    return graph.link(entity)


def _organisation(graph: _Graph, name: str | None, ror: str | None) -> Entity | None:
    if name is None:
        return None
    entity = {"@id": ror or f"#organisation-{quote(name)}", "@type": "Organization", "name": name}
    return graph.link(entity)


def _grant(graph: _Graph, entry: Mapping[str, str]) -> Entity:
    key = quote(f"{entry['funder']}-{entry.get('award', '')}")
    entity = {
        "@id": f"#grant-{key}",
        "@type": "Grant",
        "name": entry.get("award_title") or entry.get("award") or entry["funder"],
        "identifier": entry.get("award"),
        "funder": _organisation(graph, entry["funder"], entry.get("funder_ror")),
    }
    return graph.link(entity)


def _related(graph: _Graph, record: Record, based_on: bool) -> list[Entity]:
    links = []
    for entry in record.metadata.get("related", []):
        if (entry["relation"] in _BASED_ON) == based_on:
            name = entry["identifier"]
            address = {"DOI": f"https://doi.org/{name}", "URL": name}.get(entry["type"])
            entity = {
                "@id": address or f"#{entry['type']}-{quote(name)}",
                "@type": "CreativeWork",
                "name": f"{entry['type']} {name}",
                "identifier": name,
                "description": f"{entry['relation']} (relation of this data set to it)",
            }
            links.append(graph.link(entity))
    return links


def _sample(graph: _Graph, sample: Mapping[str, Any] | None) -> Entity | None:
    if not sample:
        return None
    entity = {
        "@id": "#sample",
        "@type": "Product",
        "name": sample.get("name", "sample"),
        "identifier": sample.get("identifier"),
        "material": sample.get("composition") or sample.get("material"),
        "description": sample.get("preparation"),
    }
    return graph.link(entity)


def _devices(graph: _Graph, instrument: Mapping[str, Any]) -> list[Entity]:
    links = []
    for name in ("microscope", "detector"):
        device = instrument.get(name)
        if device:
            entity = {
                "@id": f"#{name}",
                "@type": "IndividualProduct",
                "name": " ".join(device[k] for k in ("vendor", "model") if k in device) or name,
                "manufacturer": _organisation(graph, device.get("vendor"), None),
                "model": device.get("model"),
                "serialNumber": device.get("serial_number"),
            }
            links.append(graph.link(entity))
    return links


def _licence(licence: str) -> Entity:
    address = licence_address(licence)
    return {
        "@id": address or f"#licence-{quote(licence)}",
        "@type": "CreativeWork",
        "name": licence,
        "description": f"SPDX: {licence}",
    }


def _unique(links: list[Entity]) -> list[Entity]:
    return list({link["@id"]: link for link in links}.values())


def _without_empty(entity: Entity) -> Entity:
    return {key: value for key, value in entity.items() if value not in (None, [], "")}
