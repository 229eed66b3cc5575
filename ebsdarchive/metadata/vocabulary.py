"""The vocabulary of metadata: whether a document keeps to it, and where not.

The vocabulary itself is data, `schema/VERSION/metadata-vocabulary.json`; here are the formats that
JSON Schema leaves to programs, and words for what is wrong.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from ebsdarchive.errors import EbsdArchiveError, FormatError
from ebsdarchive.schema import metadata_vocabulary

__all__ = ["faults_of", "require_valid", "schema_at"]

_ELEMENTS = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br
Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho
Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es
Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
}
_LONGEST = 60  # of a value in a message


def require_valid(
    document: Any, where: str, error: type[EbsdArchiveError] = FormatError
) -> dict[str, Any]:
    """The document; raises `error` in one line with all faults if it leaves the vocabulary."""
    faults = faults_of(document)
    if faults:
        raise error(f"{where}: {'; '.join(faults)}")
    assert isinstance(document, dict)
    return document


def faults_of(document: Any) -> list[str]:
    """Everything in which a document leaves the vocabulary, one line each, in a fixed order."""
    if not isinstance(document, dict):
        return [f"expected a mapping of names to values, found {_short(document)}"]
    faults = []
    for error in _validator().iter_errors(document):
        faults += _in_words(error)
    return sorted(set(faults))


def schema_at(parts: list[str]) -> dict[str, Any] | None:
    """What the vocabulary says of an entry, or None: `parts` such as ["people", "0", "name"].

    Below `extra` anything goes, which is an empty dict.
    """
    vocabulary = metadata_vocabulary()
    found: dict[str, Any] = vocabulary
    for part in parts:
        if found.get("type") == "array":
            found = found["items"]
        elif "properties" in found:
            if part not in found["properties"]:
                return None
            found = found["properties"][part]
        elif found and found.get("type") != "object":
            return None
        else:
            found = {}
        if "$ref" in found:
            found = vocabulary["$defs"][found["$ref"].rpartition("/")[2]]
    return found


@cache
def _validator() -> Any:
    import jsonschema

    checker = jsonschema.FormatChecker(formats=())
    for name, (check, _) in _FORMATS.items():
        checker.checks(name, raises=ValueError)(_of_text(check))
    return jsonschema.Draft202012Validator(metadata_vocabulary(), format_checker=checker)


def _in_words(error: Any) -> list[str]:
    """Lines for what jsonschema found."""
    where = ".".join(str(part) for part in error.absolute_path)
    found = _short(error.instance)
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            return [
                f"{where}{'.' if where else ''}{name}: not in the vocabulary; "
                f"{_advice(name, known, bool(where))}"
                for name in error.instance
                if name not in known
            ]
        case "required":
            missing = [name for name in error.validator_value if name not in error.instance]
            return [f"{where}: expected {name}, found none" for name in missing]
        case "type":
            return [f"{where}: expected {_TYPES[error.validator_value]}, found {found}"]
        case "enum":
            return [f"{where}: expected one of {', '.join(error.validator_value)}, found {found}"]
        case "format":
            return [f"{where}: expected {_FORMATS[error.validator_value][1]}, found {found}"]
    example = error.schema.get("examples", [""])[0]
    such = f" such as {example}" if example else ""
    said = str(error.schema.get("description", "a value")).rstrip(".")
    if not said[1:2].isupper():
        said = said[:1].lower() + said[1:]
    return [f"{where}: expected {said}{such}, found {found}"]


def _advice(name: object, known: list[str], nested: bool) -> str:
    near = difflib.get_close_matches(str(name), known, 1, 0.6)
    if near:
        return f"did you mean {near[0]}?"
    return (
        f"known are {', '.join(known)}; anything else goes below {'the top-level ' * nested}extra"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _of_text(check: Callable[[str], bool]) -> Callable[[object], bool]:
    """A check of a format, which is no concern of values of other types."""
    return lambda value: check(value) if isinstance(value, str) else True


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return text[4:5] == "-" and text[7:8] == "-"


def _is_orcid(text: str) -> bool:
    """Whether the check digit (ISO 7064, MOD 11-2) is right."""
    if not re.fullmatch(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]", text):
        return False
    digits = text.replace("-", "")
    total = 0
    for digit in digits[:-1]:
        total = (total + int(digit)) * 2
    return "0123456789X"[(12 - total % 11) % 11] == digits[-1]


def _is_spdx(text: str) -> bool:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return canonicalize_license_expression(text) == text
    except InvalidLicenseExpression:
        return False


_FORMATS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "iso-time": (_is_time, "a date such as 2026-03-02 or a time 2026-03-02T14:05:00+01:00"),
    "orcid": (_is_orcid, "an ORCID iD such as 0000-0002-1825-0097, with its right check digit"),
    "ror": (
        lambda text: re.fullmatch(r"https://ror\.org/0[a-z0-9]{6}\d{2}", text) is not None,
        "a ROR such as https://ror.org/02mhbdp94",
    ),
    "spdx": (_is_spdx, "an SPDX identifier such as CC-BY-4.0 or CC0-1.0, capitals as there"),
    "element": (lambda text: text in _ELEMENTS.split(), "the symbol of an element such as Ni"),
    "email": (
        lambda text: re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text) is not None,
        "an address such as name@example.org",
    ),
}
