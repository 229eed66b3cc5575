"""``publish``: an archive as a package that repositories and catalogues take."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebsdarchive.archive import provenance
from ebsdarchive.archive.check import check_structure
from ebsdarchive.archive.file import Archive, open_archive
from ebsdarchive.archive.folder import copied_into, replacing_folder
from ebsdarchive.archive.remote import is_url
from ebsdarchive.archive.store import file_sha256
from ebsdarchive.errors import ArgumentError, CorruptionError, OutputError
from ebsdarchive.metadata.documents import changed, given_metadata
from ebsdarchive.publication.bag import MANIFEST, strangers_in, write_bag_tags, write_manifest
from ebsdarchive.publication.crate import CRATE_FILE, PackedFile, crate_document
from ebsdarchive.publication.datacite import datacite_document
from ebsdarchive.publication.prov import joined_provenance
from ebsdarchive.publication.readme import readme_text
from ebsdarchive.publication.record import Record, made_record, missing_entries, require_complete
from ebsdarchive.publication.scicat import missing_in_scicat, scicat_document
from ebsdarchive.verbs.describing import info
from ebsdarchive.verbs.progress import Progress, silent, stage

__all__ = ["PublishSummary", "missing_for", "publish"]

PREVIEW = "preview.png"
_ABOUT = {
    "datacite.json": "metadata for the registration of a DOI (DataCite 4.6)",
    "provenance.json": "how everything in the archive came about (PROV-JSON)",
    "scicat.json": "the data set for the catalogue SciCat",
    PREVIEW: "map of mean intensity, and one pattern",
    "README.md": "this package in words and figures",
    CRATE_FILE: "this package for programs (RO-Crate 1.2)",
}


@dataclass(frozen=True)
class PublishSummary:
    """What `publish` wrote.

    Parameters
    ----------
    path
        The folder.
    files
        {path below the folder: bytes}.
    sha256
        Of the archive.
    bag
        Whether it is a BagIt bag.
    notes
        What a catalogue will still ask for.
    """

    path: str
    files: dict[str, int]
    sha256: str
    bag: bool
    notes: tuple[str, ...]


def publish(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    bag: bool = False,
    link: bool = False,
    metadata: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    without_doi: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> PublishSummary:
    """Write a package: the archive, and documents about it that repositories and catalogues read.

    The folder is complete or not there. The archive in it is the same file, byte for byte, digested
    while it is copied.

    Parameters
    ----------
    output
        Folder to make.
    bag
        Make it a BagIt bag, with the package in ``data/``.
    link
        Give the archive a second name (hard link) in the package instead of copying it. What
        changes it in place then changes both; this package's commands never do.
    metadata, settings
        As `annotate` takes them: for the package's documents only, the archive stays as it is.
    without_doi
        The repository assigns the DOI: leave it out.
    force
        Replace a package that is there. A folder with other files in it is never replaced.

    Raises
    ------
    ArgumentError
        If metadata are missing or leave the vocabulary; it lists all that is missing.
    CorruptionError
        If the archive is damaged.
    OutputError
        If the folder exists or cannot be written.
    """
    if is_url(path):
        raise ArgumentError(
            f"{path}: expected an archive on this machine to make a package of, found a URL; "
            f"download it first"
        )
    archive = open_archive(path)
    document = _changed_metadata(archive, metadata, settings)
    require_complete(document, without_doi, archive.path)
    _require_apart(archive.path, output)
    name = _printable_name(archive.path)
    faults = check_structure(archive.path)
    if faults:
        raise CorruptionError(
            f"{archive.path}: expected a sound archive, found {len(faults)} faults, first "
            f"{faults[0]}; nothing was published"
        )
    activity = provenance.Activity("publish", {"bag": bag, "link": link})
    with replacing_folder(output, force=force, strangers=strangers_in) as folder:
        payload = folder / "data" if bag else folder
        payload.mkdir(exist_ok=True)
        sha256 = copied_into(
            archive.path, payload / name, link=link, progress=stage(progress, "copying archive")
        )
        size = (payload / name).stat().st_size
        activity.used[name] = sha256
        record = made_record(
            document,
            info(payload / name),
            [*archive.provenance(), activity.prov_json()],
            name=name,
            size=size,
            sha256=sha256,
            digests=_digests(archive),
        )
        progress("writing documents", 0, 1)
        lacking = _write_documents(payload, record, MANIFEST if not bag else f"../{MANIFEST}")
        below = {item.relative_to(folder).as_posix(): item for item in _files(payload)}
        digests = {
            key: sha256 if item.name == name else file_sha256(item) for key, item in below.items()
        }
        files = {key: item.stat().st_size for key, item in below.items()}
        if bag:
            said = {
                "External-Description": document["title"],
                "External-Identifier": document.get("doi"),
            }
            write_bag_tags(folder, digests, sum(files.values()), said)
        else:
            write_manifest(folder, digests)
        progress("writing documents", 1, 1)
    return PublishSummary(os.fspath(output), files, sha256, bag, _notes(lacking))


def missing_for(
    path: str | os.PathLike[str],
    *,
    metadata: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    without_doi: bool = False,
) -> dict[str, str]:
    """{key: meaning} of the metadata that `publish` would miss, called alike."""
    document = _changed_metadata(open_archive(path), metadata, settings)
    return missing_entries(document, without_doi)


def _changed_metadata(
    archive: Archive,
    metadata: str | os.PathLike[str] | Mapping[str, Any] | None,
    settings: Sequence[str],
) -> dict[str, Any]:
    given = None if metadata is None else given_metadata(metadata)
    return changed(archive.metadata(), replacing=given, settings=settings)


def _write_documents(payload: Path, record: Record, manifest: str) -> dict[str, str]:
    """Write everything beside the archive; returns what SciCat would miss."""
    _draw_preview(payload / record.archive_name, payload / PREVIEW)
    _write_json(payload / "datacite.json", datacite_document(record))
    _write_json(payload / "provenance.json", joined_provenance(record.activities))
    scicat = scicat_document(record)
    _write_json(payload / "scicat.json", scicat)
    about = f"the archive: {record.summary}"
    size, sha256 = record.archive_bytes, record.archive_sha256
    packed = [PackedFile(record.archive_name, about, "application/x-hdf5", size, sha256)]
    packed += [_packed(payload / name) for name in _ABOUT if (payload / name).exists()]
    readme = payload / "README.md"
    readme.write_text(
        readme_text(record, packed, PREVIEW, manifest), encoding="utf-8", newline="\n"
    )
    _write_json(payload / CRATE_FILE, crate_document(record, [*packed, _packed(readme)]))
    return missing_in_scicat(scicat)


def _digests(archive: Archive) -> set[str]:
    """Digests of the layers of an archive, and of patterns in them, as provenance names both."""
    found = set()
    for name in archive.layers:
        said = archive.attributes(name)
        found |= {str(said[key]) for key in ("sha256", "patterns_sha256") if key in said}
    return found


def _draw_preview(archive: Path, picture: Path) -> None:
    from ebsdarchive.figures.kinds import PlotOptions, draw
    from ebsdarchive.figures.page import save_figure, style

    with style():
        figure = draw("preview", open_archive(archive), PlotOptions(), lambda done, total: None)
        save_figure(figure, picture, picture.suffix)


def _packed(file: Path) -> PackedFile:
    media = {".json": "application/json", ".md": "text/markdown", ".png": "image/png"}
    size = file.stat().st_size
    return PackedFile(file.name, _ABOUT[file.name], media[file.suffix], size, file_sha256(file))


def _write_json(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def _files(folder: Path) -> list[Path]:
    return [item for item in sorted(folder.rglob("*")) if item.is_file()]


def _require_apart(archive: str, output: str | os.PathLike[str]) -> None:
    """Raise OutputError if the archive lies in the folder that may be replaced."""
    if Path(output).resolve() in Path(archive).resolve().parents:
        raise OutputError(
            f"{os.fspath(output)}: expected a folder that does not hold the archive itself; choose "
            f"another with -o"
        )


def _printable_name(path: str) -> str:
    """The name of the archive's file, if documents can hold it."""
    name = Path(path).name
    if not name.isprintable() or name in _ABOUT or name == MANIFEST:
        raise OutputError(
            f"{name!r}: expected a name of printable UTF-8 that no other file of the package has; "
            f"rename the archive"
        )
    return name


def _notes(lacking: Mapping[str, str]) -> tuple[str, ...]:
    if not lacking:
        return ()
    listed = ", ".join(f"{field} ({key})" for field, key in lacking.items())
    return (f"scicat.json lacks what SciCat requires and the metadata do not say: {listed}",)
