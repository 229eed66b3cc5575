"""`datacite.json`: the record in DataCite's metadata schema 4.6, as its REST API takes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ebsdarchive.publication.record import Record

__all__ = ["datacite_document", "licence_address"]


def datacite_document(record: Record) -> dict[str, Any]:
    """The document; what is not known is absent.

    References
    ----------
    DataCite Metadata Schema 4.6; its value in `schemaVersion` is the same for all of version 4.
    """
    said = record.metadata
    document: dict[str, Any] = {
        "schemaVersion": "http://datacite.org/schema/kernel-4",
        "doi": said.get("doi"),
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "EBSD patterns"},
        "creators": [_person(person) for person in record.creators],
        "contributors": [
            {**_person(person), "contributorType": person["role"]} for person in record.contributors
        ],
        "titles": [{"title": said["title"]}],
        "publisher": {"name": said["publisher"]},
        "publicationYear": str(said["publication_year"]),
        "subjects": [{"subject": word} for word in dict.fromkeys(said.get("keywords", []))],
        "dates": _dates(said.get("dates", {})),
        "language": said.get("language"),
        "version": said.get("version"),
        "descriptions": [
            {"description": said["description"], "descriptionType": "Abstract"},
            {"description": record.summary, "descriptionType": "TechnicalInfo"},
        ],
        "rightsList": [_rights(said["licence"])],
        "sizes": [f"{record.archive_bytes} bytes"],
        "formats": ["application/x-hdf5"],
        "alternateIdentifiers": [
            {
                "alternateIdentifier": record.described["archive_id"],
                "alternateIdentifierType": "UUID of the archive",
            }
        ],
        "fundingReferences": [_funding(entry) for entry in said.get("funding", [])],
        "relatedIdentifiers": [
            {
                "relatedIdentifier": entry["identifier"],
                "relatedIdentifierType": entry["type"],
                "relationType": entry["relation"],
            }
            for entry in said.get("related", [])
        ],
    }
    return {key: value for key, value in document.items() if value not in (None, [])}


def licence_address(licence: str) -> str | None:
    """Where SPDX shows a licence; None for an expression of several, or one of your own."""
    if " " in licence or licence.startswith("LicenseRef-"):
        return None
    return f"https://spdx.org/licenses/{licence}.html"


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": person["name"]}
    family, comma, given = person["name"].partition(",")
    if comma and given.strip():
        found |= {
            "nameType": "Personal",
            "familyName": family.strip(),
            "givenName": given.strip(),
        }
    if "orcid" in person:
        found["nameIdentifiers"] = [
            {
                "nameIdentifier": f"https://orcid.org/{person['orcid']}",
                "nameIdentifierScheme": "ORCID",
                "schemeUri": "https://orcid.org",
            }
        ]
    if "affiliation" in person:
        place = {"name": person["affiliation"]}
        if "affiliation_ror" in person:
            place |= {
                "affiliationIdentifier": person["affiliation_ror"],
                "affiliationIdentifierScheme": "ROR",
                "schemeUri": "https://ror.org",
            }
        found["affiliation"] = [place]
    return found


def _dates(dates: Mapping[str, str]) -> list[dict[str, str]]:
    found = []
    start, end = dates.get("measurement_start"), dates.get("measurement_end")
    if start is not None:
        measured = start if end is None else f"{start}/{end}"
        found.append({"date": measured, "dateType": "Collected"})
    if "available" in dates:
        found.append({"date": dates["available"], "dateType": "Available"})
    return found


def _rights(licence: str) -> dict[str, str]:
    found = {"rights": licence}
    address = licence_address(licence)
    if address is not None:
        found |= {
            "rightsUri": address,
            "rightsIdentifier": licence,
            "rightsIdentifierScheme": "SPDX",
            "schemeUri": "https://spdx.org/licenses/",
        }
    return found


def _funding(entry: Mapping[str, str]) -> dict[str, str]:
    found = {"funderName": entry["funder"]}
    if "funder_ror" in entry:
        found |= {"funderIdentifier": entry["funder_ror"], "funderIdentifierType": "ROR"}
    if "award" in entry:
        found["awardNumber"] = entry["award"]
        if re.match(r"https?://", entry["award"]):
            found["awardUri"] = entry["award"]
    if "award_title" in entry:
        found["awardTitle"] = entry["award_title"]
    return found
