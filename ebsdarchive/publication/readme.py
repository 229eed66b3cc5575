"""`README.md` of a package: what it is, how to cite and open it, and its figures."""

from __future__ import annotations

from collections.abc import Iterable

from ebsdarchive.publication.crate import PackedFile
from ebsdarchive.publication.datacite import licence_address
from ebsdarchive.publication.record import Record

__all__ = ["readme_text"]


def readme_text(record: Record, files: Iterable[PackedFile], preview: str, manifest: str) -> str:
    """The text, in Markdown; addresses of people are left out.

    Parameters
    ----------
    files
        The other files of the package.
    preview, manifest
        Names of the picture and of the file of checksums, as seen from the README.
    """
    said = record.metadata
    sections = [
        f"# {_line(said['title'])}",
        said["description"].strip(),
        f"![Mean intensity of each pattern, and one pattern]({preview})",
        record.summary,
        "## Cite",
        _citation(record),
        f"Licence: {_licence(said['licence'])}",
        *_sample_and_instrument(record),
        "## Figures",
        _table(
            ["what", "value", "unit"],
            ([q.label, _number(q.value), q.unit or ""] for q in record.quantities),
        ),
        "## Files",
        _table(["file", "what", "bytes"], ([f"`{f.name}`", f.about, str(f.size)] for f in files)),
        f"Checksums (SHA-256) of all files are in `{manifest}`.",
        "## Open",
        _how_to_open(record),
    ]
    return "\n\n".join(sections) + "\n"


def _citation(record: Record) -> str:
    said = record.metadata
    names = "; ".join(person["name"] for person in record.creators)
    version = f" Version {said['version']}." if "version" in said else ""
    doi = f"https://doi.org/{said['doi']}" if "doi" in said else "DOI: given by the repository"
    title = _line(said["title"]).rstrip(".")
    publisher = said["publisher"].rstrip(".")
    return f"{names} ({said['publication_year']}): {title}.{version} {publisher}. {doi}"


def _licence(licence: str) -> str:
    address = licence_address(licence)
    return f"[{licence}]({address})" if address else licence


def _sample_and_instrument(record: Record) -> list[str]:
    """Sections on what people say of sample, instrument and funding, where they do."""
    said = record.metadata
    rows = [
        [f"sample: {key.replace('_', ' ')}", ", ".join(value) if key == "atom_types" else value]
        for key, value in said.get("sample", {}).items()
    ]
    for key, value in said.get("instrument", {}).items():
        text = ", ".join(value.values()) if isinstance(value, dict) else value
        rows.append([key if key in ("microscope", "detector") else f"instrument: {key}", text])
    for entry in said.get("funding", []):
        rows.append(["funding", ", ".join(v for k, v in entry.items() if k != "funder_ror")])
    if not rows:
        return []
    return ["## Sample and instrument", _table(["what", ""], rows)]


def _how_to_open(record: Record) -> str:
    name = record.archive_name
    ways = [
        f"- `ebsdarchive info {name}` says what it holds; `ebsdarchive export {name} -o scan.up2` "
        f"gives a file for indexing software.",
        "- Any HDF5 or NeXus viewer opens it; its default plot is the map of mean intensity.",
    ]
    if record.described["opens_in_kikuchipy"]:
        ways.append(
            f'- `import hdf5plugin, kikuchipy; kikuchipy.load("{name}", lazy=True)` reads the '
            f"patterns without ebsdarchive."
        )
    return "\n".join(ways)


def _number(value: float | int | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_line(str(cell)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _line(text: str) -> str:
    """Text that breaks neither a line nor a table."""
    return " ".join(text.split()).replace("|", "\\|")
