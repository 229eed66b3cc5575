"""Those who take a package of `publish` can read it, and it is complete or not there."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import shutil
from pathlib import Path

import bagit
import pytest
from prov.model import ProvActivity, ProvDocument
from rocrate.rocrate import ROCrate

import ebsdarchive
from ebsdarchive.archive import folder as folders
from ebsdarchive.errors import ArgumentError, CorruptionError, OutputError
from ebsdarchive.figures.kinds import PlotOptions, draw

COMPLETE = {
    "title": "Patterns of nickel | 镍",
    "description": "A map for the tests.\nIn two lines.",
    "keywords": ["EBSD", "nickel", "EBSD"],
    "language": "en",
    "version": "1.0",
    "doi": "10.5281/zenodo.1234567",
    "publisher": "Zenodo",
    "publication_year": 2026,
    "licence": "CC-BY-4.0",
    "dates": {
        "measurement_start": "2026-03-02T14:05:00+01:00",
        "measurement_end": "2026-03-02T16:00:00+01:00",
        "available": "2026-12-01",
    },
    "people": [
        {
            "name": "Carberry, Josiah",
            "orcid": "0000-0002-1825-0097",
            "affiliation": "UIUC",
            "affiliation_ror": "https://ror.org/047426m28",
            "email": "qi@example.org",
        },
        {"name": "Meier", "role": "ProjectLeader", "affiliation": "UIUC"},
        {"name": "Facility Desk", "role": "ContactPerson", "email": "desk@example.org"},
    ],
    "sample": {"name": "Ni-7", "identifier": "IGSN:X1", "atom_types": ["Ni"]},
    "instrument": {"microscope": {"vendor": "Zeiss", "model": "Supra"}, "location": "Lab 1"},
    "funding": [{"funder": "NSF", "funder_ror": "https://ror.org/021nxhr62", "award": "12"}],
    "related": [
        {"identifier": "10.5061/dryad.zcrjdfnr9", "type": "DOI", "relation": "IsDerivedFrom"},
        {"identifier": "2606.10352", "type": "arXiv", "relation": "Cites"},
    ],
    "catalogue": {
        "owner_group": "ebsd",
        "source_folder": "ebsd/2026",
        "creation_location": "/Site/lab/sem",
    },
}
MINIMAL = {key: COMPLETE[key] for key in ("title", "description", "publisher", "licence")} | {
    "publication_year": 2026,
    "people": [{"name": "Wang"}],
}


@pytest.fixture(scope="module")
def archive(fitted_archive, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("published") / "mein scan.h5"
    shutil.copyfile(fitted_archive, path)
    ebsdarchive.annotate(path, metadata=COMPLETE)
    return path


@pytest.fixture(scope="module")
def package(archive, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("packages") / "package"
    ebsdarchive.publish(archive, path)
    return path


@pytest.fixture(scope="module")
def minimal(make_archive, tmp_path_factory) -> Path:
    """A package of an archive whose source says nothing, with no more metadata than needed."""
    path = tmp_path_factory.mktemp("packages") / "minimal"
    archive = make_archive(hexagonal=True, described=False, pc=None, step_um=(None, None))
    ebsdarchive.publish(archive, path, metadata=MINIMAL, without_doi=True)
    return path


def document(package: Path, name: str) -> dict:
    return json.loads((package / name).read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def newest_datacite_schema():
    """The newest JSON schema of DataCite that the package `datacite` ships."""
    for name in ("schema46", "schema45"):
        try:
            return importlib.import_module(f"datacite.{name}")
        except ModuleNotFoundError:
            continue
    raise AssertionError


# ---------------------------------------------------------------- those who take it


def test_the_rocrate_library_reads_the_package_with_an_action_per_activity(package, archive):
    crate = ROCrate(package)
    assert crate.version == "1.2"
    assert crate.name == COMPLETE["title"]
    assert crate.license.id == "https://spdx.org/licenses/CC-BY-4.0.html"
    assert str(crate.datePublished)[:10] == "2026-12-01"
    assert [one.id for one in crate.root_dataset["author"]] == [
        "https://orcid.org/0000-0002-1825-0097"
    ]
    files = {entity["name"]: entity for entity in crate.data_entities}
    assert set(files) == {item.name for item in package.iterdir()} - {
        "ro-crate-metadata.json",
        "manifest-sha256.txt",
    }
    for name, entity in files.items():
        assert entity["sha256"] == sha256(package / name)
        assert int(entity["contentSize"]) == (package / name).stat().st_size
    actions = crate.get_by_type("CreateAction")
    activities = ebsdarchive.open_archive(archive).provenance()
    assert len(actions) == len(activities) + 1
    assert {action["name"].split()[-1] for action in actions} == {"compress", "annotate", "publish"}
    for action in actions:
        assert action["instrument"]["version"] == ebsdarchive.__version__
        assert all(not isinstance(one, str) for one in action["result"])  # all in the graph
    read = ebsdarchive.open_archive(archive)
    digests = {read.raw_sha256, read.attributes("neural")["sha256"]}
    made = {one.get("sha256"): one for action in actions for one in action["result"]}
    assert digests <= set(made)
    assert all(made[digest]["isPartOf"].id == "mein%20scan.h5" for digest in digests)


@pytest.mark.parametrize("which", ["package", "minimal"])
def test_every_reference_in_the_crate_leads_to_an_entity_or_to_the_web(which, request):
    graph = document(request.getfixturevalue(which), "ro-crate-metadata.json")["@graph"]
    ids = [entity["@id"] for entity in graph]
    assert len(ids) == len(set(ids))

    def links(value):
        if isinstance(value, dict):
            yield value["@id"]
        elif isinstance(value, list):
            for item in value:
                yield from links(item)

    for entity in graph:
        for key, value in entity.items():
            for link in links(value) if key != "@id" else ():
                assert link in ids or link.startswith("https://w3id.org/ro/crate/"), (entity, link)


@pytest.mark.parametrize("which", ["package", "minimal"])
def test_datacites_json_schema_accepts_the_document(which, request):
    found = document(request.getfixturevalue(which), "datacite.json")
    newest_datacite_schema().validator.validate(found)
    assert ("doi" in found) == (which == "package")


def test_datacite_gets_people_licence_funding_dates_and_relations(package):
    found = document(package, "datacite.json")
    assert found["publicationYear"] == "2026"
    (creator,) = found["creators"]
    assert (creator["familyName"], creator["givenName"]) == ("Carberry", "Josiah")
    assert creator["affiliation"][0]["affiliationIdentifierScheme"] == "ROR"
    assert [one["contributorType"] for one in found["contributors"]] == [
        "ProjectLeader",
        "ContactPerson",
    ]
    assert "nameType" not in found["contributors"][0]  # one word may be anybody
    assert found["rightsList"][0]["rightsIdentifier"] == "CC-BY-4.0"
    assert found["fundingReferences"][0]["funderIdentifierType"] == "ROR"
    assert found["dates"][0] == {
        "date": "2026-03-02T14:05:00+01:00/2026-03-02T16:00:00+01:00",
        "dateType": "Collected",
    }
    assert found["relatedIdentifiers"][0]["relationType"] == "IsDerivedFrom"
    assert [one["subject"] for one in found["subjects"]] == ["EBSD", "nickel"]
    assert "example.org" not in json.dumps(found)  # addresses are nobody else's concern


def test_the_prov_library_reads_the_provenance_with_all_activities(package, archive):
    read = ProvDocument.deserialize(str(package / "provenance.json"))
    activities = list(read.get_records(ProvActivity))
    assert len(activities) == len(ebsdarchive.open_archive(archive).provenance()) + 1
    edges = document(package, "provenance.json")
    assert len(edges["wasAssociatedWith"]) == len(activities)
    for edge in [*edges["used"].values(), *edges["wasGeneratedBy"].values()]:
        assert edge["prov:entity"] in edges["entity"]
        assert edge["prov:activity"] in edges["activity"]


def test_scicat_gets_what_it_requires_with_units(package):
    found = document(package, "scicat.json")
    assert found["type"] == "raw"
    assert found["contactEmail"] == "desk@example.org"
    assert found["owner"] == "Carberry, Josiah"
    assert found["principalInvestigators"] == ["Meier"]
    assert found["ownerGroup"] == "ebsd"
    assert found["sampleIds"] == ["IGSN:X1"]
    figures = found["scientificMetadata"]
    assert figures["grid_step_x_um"] == {"value": 0.75, "unit": "um"}
    assert figures["detector_sample_tilt_deg"] == {"value": 70.0, "unit": "deg"}
    assert figures["patterns"]["value"] == 35
    assert all(set(figure) == {"value", "unit"} for figure in figures.values())


def test_scicat_is_not_told_what_nobody_said(minimal, make_archive, tmp_path):
    found = document(minimal, "scicat.json")
    assert not {"contactEmail", "ownerGroup", "sourceFolder", "startTime"} & set(found)
    assert "grid_step_x_um" not in found["scientificMetadata"]
    summary = ebsdarchive.publish(
        make_archive(), tmp_path / "p", metadata=MINIMAL, without_doi=True
    )
    (note,) = summary.notes
    for field in ("contactEmail", "ownerGroup", "sourceFolder", "creationLocation"):
        assert field in note


def test_an_archive_without_raw_patterns_is_a_derived_data_set(archive, tmp_path):
    ebsdarchive.extract(archive, ["neural"], tmp_path / "neural.h5")
    ebsdarchive.publish(tmp_path / "neural.h5", tmp_path / "p")
    found = document(tmp_path / "p", "scicat.json")
    assert found["type"] == "derived"
    assert found["inputDatasets"] == ["10.5061/dryad.zcrjdfnr9"]
    assert found["usedSoftware"] == [f"ebsdarchive-{ebsdarchive.__version__}"]


def test_the_bagit_library_validates_the_bag(archive, tmp_path):
    summary = ebsdarchive.publish(archive, tmp_path / "bag", bag=True)
    bag = bagit.Bag(str(tmp_path / "bag"))
    assert bag.validate()
    assert bag.version == "1.0"
    assert bag.info["External-Identifier"] == COMPLETE["doi"]
    assert set(bag.payload_files()) == set(summary.files)
    assert ROCrate(tmp_path / "bag" / "data").name == COMPLETE["title"]
    with open(tmp_path / "bag" / "data" / "mein scan.h5", "r+b") as file:
        file.seek(5000)
        file.write(b"\xff\x00\xff")
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(tmp_path / "bag")).validate()


# ---------------------------------------------------------------- what people read


def test_the_readme_holds_citation_licence_and_figures_that_were_measured(package, archive):
    text = (package / "README.md").read_text(encoding="utf-8")
    assert "Carberry, Josiah (2026): Patterns of nickel \\| 镍. Version 1.0. Zenodo." in text
    assert "https://doi.org/10.5281/zenodo.1234567" in text
    error = ebsdarchive.info(archive)["layers"]["neural"]["mae_percent"]
    assert f"| layer neural: mean absolute error | {error:.6g} | % of full range |" in text
    assert "| grid: step x | 0.75 | um |" in text
    assert "example.org" not in text
    assert "None" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {3, 4}


@pytest.mark.parametrize("which", ["package", "minimal"])
def test_the_preview_is_a_picture_that_shows_something(which, request):
    from PIL import Image

    picture = Image.open(request.getfixturevalue(which) / "preview.png").convert("L")
    assert min(picture.size) > 200
    left, right = (
        picture.crop((int(w * picture.width), 30, int((w + 0.4) * picture.width), 400))
        for w in (0.05, 0.55)
    )
    assert len(left.getcolors()) > 5
    assert len(right.getcolors()) > 5


def test_the_cross_of_the_preview_is_in_the_cell_of_its_pattern(make_archive):
    path = make_archive(ny=9, nx=14, hexagonal=True, described=False, pc=None, step_um=(None, None))
    options = PlotOptions(points=((3.5, 5),))  # the fourth point of an odd row
    figure = draw("preview", ebsdarchive.open_archive(path), options, lambda done, total: None)
    axes = figure.axes[0]
    ((x,), (y,)) = axes.lines[-1].get_data()
    left, right, bottom, top = axes.images[0].get_extent()
    assert (x - left) / (right - left) == pytest.approx(4 / 14.5)
    assert (y - top) / (bottom - top) == pytest.approx(5.5 / 9)


def test_the_archive_in_the_package_is_the_archive(package, archive):
    assert (package / "mein scan.h5").read_bytes() == archive.read_bytes()
    lines = (package / "manifest-sha256.txt").read_text(encoding="utf-8").splitlines()
    listed = dict(reversed(line.split("  ", 1)) for line in lines)
    assert listed == {
        item.name: sha256(item) for item in package.iterdir() if item.name != "manifest-sha256.txt"
    }


# ---------------------------------------------------------------- what is missing


def test_missing_metadata_are_listed_at_once_with_how_to_give_them(archive_path, tmp_path, run_cli):
    code, _, err = run_cli("publish", archive_path, "-o", tmp_path / "p", "--set", "title=A")
    assert (code, err.count("\n")) == (2, 1)
    for key in ("description", "people.0.name", "publisher", "publication_year", "licence", "doi"):
        assert f"{key} (" in err
    assert "title (" not in err
    assert "--without-doi" in err
    assert list(tmp_path.glob("*p*.partial")) == []
    assert not (tmp_path / "p").exists()


def test_what_is_missing_can_be_given_on_the_command_line(archive_path, tmp_path, run_cli):
    settings = ["title=A", "description=B", "people.0.name=C", "publisher=D", "licence=CC0-1.0"]
    settings += ["publication_year=2026", "doi=10.1234/x"]
    given = [word for setting in settings for word in ("--set", setting)]
    before = archive_path.read_bytes()
    code, out, err = run_cli("publish", archive_path, "-o", tmp_path / "p", "--json", *given)
    assert code == 0, err
    assert json.loads(out)["sha256"] == sha256(archive_path)
    assert archive_path.read_bytes() == before
    assert document(tmp_path / "p", "datacite.json")["doi"] == "10.1234/x"


def test_on_a_terminal_what_is_missing_is_asked_for(archive_path, tmp_path, run_cli, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    answers = ["A: with = sign", "B", "Carberry, Josiah", "D", "2026", "CC0-1.0", ""]
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(answers) + "\n"))
    code, _, err = run_cli("publish", archive_path, "-o", tmp_path / "p")
    assert code == 2  # the DOI was left empty
    assert "found no doi (" in err
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(answers[:-1]) + "\n"))
    code, _, err = run_cli("publish", archive_path, "-o", tmp_path / "p", "--without-doi")
    assert code == 0, err
    assert document(tmp_path / "p", "datacite.json")["titles"] == [{"title": "A: with = sign"}]


def test_people_without_a_creator_are_not_enough(archive_path, tmp_path):
    people = [{"name": "Meier", "role": "Supervisor"}]
    with pytest.raises(ArgumentError, match=r"people\.1\.name \(somebody who is cited"):
        ebsdarchive.publish(archive_path, tmp_path / "p", metadata={**COMPLETE, "people": people})


# ---------------------------------------------------------------- all or nothing


def test_a_package_is_replaced_only_on_request_and_never_with_other_files_in_it(
    archive_path, tmp_path
):
    folder = tmp_path / "p"
    ebsdarchive.publish(archive_path, folder, metadata=COMPLETE)
    with pytest.raises(OutputError, match="use --force"):
        ebsdarchive.publish(archive_path, folder, metadata=COMPLETE)
    ebsdarchive.publish(archive_path, folder, metadata=COMPLETE, bag=True, force=True)
    assert bagit.Bag(str(folder)).validate()
    (folder / "data" / "my notes.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"other files in it \(data/my notes\.txt\)"):
        ebsdarchive.publish(archive_path, folder, metadata=COMPLETE, force=True)
    assert (folder / "data" / "my notes.txt").read_text() == "precious"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["p", "raw.h5"]


def test_a_folder_that_is_no_package_is_never_replaced(archive_path, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match=r"other files in it \(thesis\.txt\)"):
        ebsdarchive.publish(archive_path, tmp_path / "home", metadata=COMPLETE, force=True)
    with pytest.raises(OutputError, match="does not hold the archive itself"):
        ebsdarchive.publish(archive_path, tmp_path, metadata=COMPLETE, force=True)
    with pytest.raises(OutputError, match="expected an existing folder"):
        ebsdarchive.publish(archive_path, tmp_path / "no" / "p", metadata=COMPLETE)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "precious"


def test_an_empty_folder_is_taken(archive_path, tmp_path):
    (tmp_path / "p").mkdir()
    ebsdarchive.publish(archive_path, tmp_path / "p", metadata=COMPLETE, force=True)
    assert (tmp_path / "p" / "datacite.json").is_file()


def test_a_failure_leaves_what_was_there(archive_path, tmp_path, monkeypatch):
    folder = tmp_path / "p"
    ebsdarchive.publish(archive_path, folder, metadata=COMPLETE)
    before = {item.name: sha256(item) for item in folder.iterdir()}
    replace = os.replace

    def fail(old, new):
        if ".partial" in str(old):
            raise OSError(28, "No space left on device")
        replace(old, new)

    monkeypatch.setattr(folders.os, "replace", fail)
    with pytest.raises(OutputError, match="found the disk or a size limit full"):
        ebsdarchive.publish(archive_path, folder, metadata=COMPLETE, force=True)
    monkeypatch.undo()
    assert {item.name: sha256(item) for item in folder.iterdir()} == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["p", "raw.h5"]


def test_a_damaged_archive_is_not_published(archive_path, tmp_path):
    content = bytearray(archive_path.read_bytes())
    at = content.find(b"archive_id")
    assert at > 0
    at = content.find(b"Supra")
    content[at] ^= 1
    archive_path.write_bytes(content)
    with pytest.raises(CorruptionError, match="nothing was published"):
        ebsdarchive.publish(archive_path, tmp_path / "p", metadata=COMPLETE)
    assert not (tmp_path / "p").exists()


def test_a_link_takes_no_room_and_outlives_changes_of_the_archive(archive_path, tmp_path):
    ebsdarchive.publish(archive_path, tmp_path / "p", metadata=COMPLETE, link=True)
    linked = tmp_path / "p" / "raw.h5"
    assert os.path.samefile(linked, archive_path)
    published = sha256(linked)
    ebsdarchive.annotate(archive_path, settings=["title=new"])
    assert sha256(linked) == published
    assert not os.path.samefile(linked, archive_path)


def test_an_archive_that_changes_while_it_is_copied_is_not_published(archive_path, tmp_path):
    def touch(stage, done, total, note=""):
        if stage == "copying archive":
            os.utime(archive_path, ns=(1, 1))

    with pytest.raises(OutputError, match="found it changed meanwhile"):
        ebsdarchive.publish(archive_path, tmp_path / "p", metadata=COMPLETE, progress=touch)
    assert not (tmp_path / "p").exists()


def test_a_package_lies_in_two_places_alike(archive_path, tmp_path):
    """But for times and the identifier of the activity nothing depends on chance."""
    for name in ("a", "b"):
        ebsdarchive.publish(archive_path, tmp_path / name, metadata=COMPLETE)
    for name in ("datacite.json", "scicat.json", "preview.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
