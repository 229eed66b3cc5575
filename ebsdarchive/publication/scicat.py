"""`scicat.json`: the record as a data set of the catalogue SciCat.

What only the facility knows and the metadata lack is absent, and named by `missing_in_scicat`.
"""

from __future__ import annotations

from typing import Any

from ebsdarchive.publication.record import Record

__all__ = ["missing_in_scicat", "scicat_document"]

_REQUIRED = {
    "owner": "people.0.name",
    "contactEmail": "people.0.email",
    "sourceFolder": "catalogue.source_folder",
    "ownerGroup": "catalogue.owner_group",
}


def scicat_document(record: Record) -> dict[str, Any]:
    """The document; size and number of files are those of the data, without what describes them.

    References
    ----------
    SciCat backend, CreateDatasetDto; units stand beside values as {"value": …, "unit": …}.
    """
    said, described = record.metadata, record.described
    catalogue, dates = said.get("catalogue", {}), said.get("dates", {})
    owners = record.creators
    raw = "raw" in described["layers"]
    document: dict[str, Any] = {
        "type": "raw" if raw else "derived",
        "datasetName": said["title"],
        "description": said["description"],
        "keywords": said.get("keywords"),
        "license": said["licence"],
        "owner": "; ".join(person["name"] for person in owners),
        "ownerEmail": "; ".join(one["email"] for one in owners if "email" in one),
        "orcidOfOwner": "; ".join(one["orcid"] for one in owners if "orcid" in one),
        "contactEmail": _contact(record),
        "principalInvestigators": [
            one["name"] for one in said["people"] if one.get("role") == "ProjectLeader"
        ],
        "ownerGroup": catalogue.get("owner_group"),
        "accessGroups": catalogue.get("access_groups"),
        "sourceFolder": catalogue.get("source_folder"),
        "creationLocation": catalogue.get("creation_location"),
        "proposalIds": [catalogue["proposal"]] if "proposal" in catalogue else None,
        "sampleIds": [said["sample"]["identifier"]]
        if "identifier" in said.get("sample", {})
        else None,
        "creationTime": described["activities"][0]["started"],
        "startTime": dates.get("measurement_start"),
        "endTime": dates.get("measurement_end"),
        "dataFormat": f"ebsdarchive {described['format_version']} (HDF5)",
        "size": record.archive_bytes,
        "numberOfFiles": 1,
        "scientificMetadata": {
            quantity.name: {"value": quantity.value, "unit": quantity.unit or ""}
            for quantity in record.quantities
        },
    }
    if not raw:
        document["inputDatasets"] = [
            one["identifier"]
            for one in said.get("related", [])
            if one["relation"] == "IsDerivedFrom"
        ]
        document["usedSoftware"] = sorted(
            {name.removeprefix("ea:") for one in record.activities for name in one["agent"]}
        )
    return {key: value for key, value in document.items() if value not in (None, "", [])}


def missing_in_scicat(document: dict[str, Any]) -> dict[str, str]:
    """{field: key of the metadata} of what SciCat requires and the document lacks."""
    required = dict(_REQUIRED)
    if document["type"] == "raw":
        required["creationLocation"] = "catalogue.creation_location"
        required["principalInvestigators"] = "people of role ProjectLeader"
    else:
        required["inputDatasets"] = "related of relation IsDerivedFrom"
    return {field: key for field, key in required.items() if field not in document}


def _contact(record: Record) -> str | None:
    """Address of the contact person, or of the first person who has one."""
    people = [one for one in record.metadata["people"] if "email" in one]
    people.sort(key=lambda one: one.get("role") != "ContactPerson")
    return people[0]["email"] if people else None
