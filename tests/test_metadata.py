"""What people say about a scan: checked against its vocabulary, kept in the archive, edited."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import h5py
import jsonschema
import pytest

import ebsdarchive
from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.metadata.documents import changed, flattened, read_metadata_file
from ebsdarchive.metadata.vocabulary import faults_of
from ebsdarchive.publication.record import missing_entries
from ebsdarchive.schema import metadata_vocabulary
from ebsdarchive.verbs.fitting import NeuralOptions

METADATA = """
title: Ünalloyed nickel, 镍
description: A map for the tests.
keywords: [EBSD, nickel]
licence: CC0-1.0
people:
  - name: Carberry, Josiah
    orcid: 0000-0002-1825-0097
sample: {name: Ni-7, atom_types: [Ni], preparation_date: 2026-02-27}
funding:
  - {funder: NSF, award: "0012"}
extra: {beamtime: {night shift: 3}}
"""


@pytest.fixture
def metadata_file(tmp_path: Path) -> Path:
    path = tmp_path / "metadata.yaml"
    path.write_text(METADATA, encoding="utf-8")
    return path


def raw_bytes(path: Path) -> bytes:
    """The stored raw layer: its patterns as they are on disk, and its attributes."""
    with h5py.File(path) as file:
        raw = file["archive/raw"]
        patterns = raw["patterns"].id
        places = [patterns.get_chunk_info(i).chunk_offset for i in range(patterns.get_num_chunks())]
        chunks = [patterns.read_direct_chunk(place)[1] for place in places]
        return b"".join(chunks) + str(sorted(raw.attrs.items())).encode()


def test_the_vocabulary_is_a_json_schema_in_which_every_entry_is_explained():
    vocabulary = metadata_vocabulary()
    jsonschema.Draft202012Validator.check_schema(vocabulary)

    def explained(properties):
        for name, said in properties.items():
            assert said["description"].endswith("."), name
            below = {**said, **said.get("items", {})}
            explained(below.get("properties", {}))

    explained(vocabulary["properties"])
    explained(vocabulary["$defs"]["device"]["properties"])


def test_the_example_of_the_readme_keeps_to_the_vocabulary(tmp_path):
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", readme, re.S)
    (tmp_path / "metadata.yaml").write_text(example, encoding="utf-8")
    document = read_metadata_file(tmp_path / "metadata.yaml")
    assert missing_entries(document, without_doi=True) == {}


def test_metadata_given_at_compress_are_stored_shown_and_part_of_what_is_verified(
    make_scan, metadata_file, tmp_path, run_cli
):
    path = tmp_path / "a.h5"
    ebsdarchive.compress(make_scan(), path, neural=False, metadata=metadata_file)
    said = ebsdarchive.info(path)["metadata"]
    assert said["title"] == "Ünalloyed nickel, 镍"
    assert said["sample"]["preparation_date"] == "2026-02-27"
    assert said["funding"][0]["award"] == "0012"
    assert "sample.name: Ni-7" in run_cli("info", path).out
    assert ebsdarchive.validate(path) == []
    (document,) = ebsdarchive.open_archive(path).provenance()
    roles = {edge["prov:role"] for edge in document["wasGeneratedBy"].values()}
    assert "metadata" in roles
    assert "metadata.yaml" in {edge["prov:role"] for edge in document["used"].values()}
    with h5py.File(path, "r+") as file:
        del file["archive/metadata/document"]
        file["archive/metadata"]["document"] = json.dumps({"titel": "x"})
    assert any("/archive/metadata" in fault for fault in ebsdarchive.verify(path).faults)
    assert any("titel: not in the vocabulary" in fault for fault in ebsdarchive.validate(path))


def test_wrong_metadata_stop_compress_before_anything_is_written(make_scan, tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(ArgumentError, match="licence: expected an SPDX identifier"):
        ebsdarchive.compress(make_scan(), path, neural=False, metadata={"licence": "free"})
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel: x", "titel: not in the vocabulary; did you mean title?"),
        ("sample: {nmae: x}", "sample.nmae: not in the vocabulary; did you mean name?"),
        ("weather: x", "anything else goes below extra"),
        ("people: Wang", "people: expected a list, found 'Wang'"),
        ("people: [{orcid: 0000-0002-1825-0097}]", "people.0: expected name, found none"),
        (
            "people: [{name: W, orcid: 0000-0002-1825-0098}]",
            "people.0.orcid: expected an ORCID iD such as 0000-0002-1825-0097, with its right "
            "check digit, found '0000-0002-1825-0098'",
        ),
        (
            "sample: {atom_types: [Nickel]}",
            "sample.atom_types.0: expected the symbol of an",
        ),
        ("publication_year: next", "publication_year: expected a whole number, found 'next'"),
        ("doi: https://doi.org/10.5281/zenodo.1", "doi: expected DOI of the data set"),
        ("dates: {available: soon}", "dates.available: expected a date such as"),
        ("funding: [{funder: NSF, award: 12}]", "funding.0.award: expected text, found 12"),
        ("licence: cc-by-4.0", "expected an SPDX identifier such as CC-BY-4.0"),
        ("title: a\ntitle: b", "expected YAML, found in line 2: 'title' a second time"),
        ("a: &x [1]\nb: *x", "expected YAML, found in line 2: a reference (*)"),
        ("title: [", "expected YAML, found"),
        ("- title", "expected a mapping of names to values"),
        ("", "expected a mapping of names to values, found None"),
        ("1: x", "expected names that are text, found 1"),
        ("? [a]\n: x", "expected YAML, found"),
        ("extra: {x: .nan}", "expected text, numbers, lists and mappings, found nan"),
    ],
)
def test_a_file_that_leaves_the_vocabulary_is_refused_in_one_line_that_says_where(
    text, message, tmp_path
):
    path = tmp_path / "metadata.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError) as caught:
        read_metadata_file(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_all_faults_of_a_document_are_reported_at_once():
    faults = faults_of({"titel": "x", "sample": {"physical_form": "cloud"}, "keywords": [3]})
    assert len(faults) == 3


def test_entries_are_set_added_and_removed_one_by_one():
    document = changed(
        {"title": "A"},
        settings=[
            "title=B = C",
            "sample.atom_types=Ni, Cr",
            "people.0.name=Carberry, Josiah",
            "people.1.name=Meier",
            "funding.0.award=0012",
            "funding.0.funder=NSF",
            "publication_year=2026",
            "sample.is_simulation=false",
            "extra.shift.number=3",
        ],
    )
    assert document == {
        "title": "B = C",
        "sample": {"atom_types": ["Ni", "Cr"], "is_simulation": False},
        "people": [{"name": "Carberry, Josiah"}, {"name": "Meier"}],
        "funding": [{"award": "0012", "funder": "NSF"}],
        "publication_year": 2026,
        "extra": {"shift": {"number": 3}},
    }
    shorter = changed(document, removed=["people.0", "sample.atom_types", "extra.shift.number"])
    assert shorter["people"] == [{"name": "Meier"}]
    assert shorter["sample"] == {"is_simulation": False}
    assert "extra" not in shorter  # what is empty goes with its last entry
    again = changed({}, settings=[f"{key}={value}" for key, value in flattened(document)])
    assert again == document


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"settings": ["sample"]},
            "set: expected KEY=VALUE such as sample.name=Ni, found",
        ),
        ({"settings": ["=3"]}, "set: expected KEY=VALUE"),
        ({"settings": ["people.name=W"]}, "people.name: expected a number from 0 to 1"),
        ({"settings": ["people.2.name=W"]}, "people.2.name: expected a number from 0 to 1"),
        ({"settings": ["title.x=W"]}, "title.x: expected a place for 'x', found 'A' there"),
        ({"settings": ["sampel.name=W"]}, "sampel: not in the vocabulary; did you mean sample?"),
        ({"removed": ["keywords"]}, "remove: expected 'keywords' in the metadata, found title"),
        ({"removed": ["people.5"]}, "remove: expected 'people.5'"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(change, message):
    before = {"title": "A", "people": [{"name": "W"}]}
    with pytest.raises(ArgumentError) as caught:
        changed(before, **change)
    assert message in str(caught.value)
    assert before == {"title": "A", "people": [{"name": "W"}]}


def test_annotate_changes_the_metadata_alone_and_is_recorded(archive_path, metadata_file, run_cli):
    before = raw_bytes(archive_path)
    code, out, err = run_cli(
        "annotate", archive_path, "--metadata", metadata_file, "--set", "version=2", "--show"
    )
    assert code == 0, err
    assert {"version: 2", "people.0.name: Carberry, Josiah"} <= set(out.splitlines())
    ebsdarchive.annotate(archive_path, remove=["version"], metadata={"sample": {"name": "other"}})
    archive = ebsdarchive.open_archive(archive_path)
    said = archive.metadata()
    assert said["sample"] == {"name": "other"}  # entries at the top are replaced as a whole
    assert said["title"] == "Ünalloyed nickel, 镍"
    assert "version" not in said
    assert raw_bytes(archive_path) == before
    assert ebsdarchive.verify(archive_path, data=True).sound
    labels = [activity["command"] for activity in ebsdarchive.info(archive_path)["activities"]]
    assert labels == ["compress", "annotate", "annotate"]
    edges = archive.provenance()[-1]
    used, made = ({e["prov:entity"] for e in edges[k].values()} for k in ("used", "wasGeneratedBy"))
    assert len(used) == len(made) == 1
    assert used != made


def test_annotate_without_a_change_leaves_the_file_alone(archive_path, run_cli):
    before = os.stat(archive_path).st_mtime_ns
    assert run_cli("annotate", archive_path, "--show").code == 0
    assert run_cli("annotate", archive_path, "--json").out.strip() == "{}"
    assert os.stat(archive_path).st_mtime_ns == before


def test_a_wrong_entry_leaves_the_archive_as_it_was(archive_path, run_cli):
    before = archive_path.read_bytes()
    code, _, err = run_cli("annotate", archive_path, "--set", "sampel.name=Ni")
    assert (code, err.count("\n")) == (2, 1)
    assert "did you mean sample?" in err
    assert archive_path.read_bytes() == before


def test_metadata_go_with_the_layers_that_are_extracted_and_merged(fitted_copy, tmp_path):
    bare = tmp_path / "bare.h5"
    ebsdarchive.extract(fitted_copy, ["raw"], bare)
    ebsdarchive.annotate(fitted_copy, settings=["title=A"])
    small = tmp_path / "small.h5"
    ebsdarchive.extract(fitted_copy, ["neural"], small)
    assert ebsdarchive.open_archive(small).metadata() == {"title": "A"}
    ebsdarchive.merge(bare, small)
    assert ebsdarchive.open_archive(bare).metadata() == {"title": "A"}
    ebsdarchive.annotate(bare, settings=["title=B"])
    ebsdarchive.merge(bare, small)
    assert ebsdarchive.open_archive(bare).metadata() == {"title": "B"}
    assert ebsdarchive.verify(bare).sound
    third = tmp_path / "third.h5"
    ebsdarchive.extract(fitted_copy, ["raw", "neural"], third)
    ebsdarchive.annotate(third, remove=["title"])
    assert ebsdarchive.merge(third, small) == []  # no layer, but the metadata
    assert ebsdarchive.open_archive(third).metadata() == {"title": "A"}


def test_a_fit_keeps_the_metadata(make_scan, metadata_file, tmp_path):
    path = tmp_path / "a.h5"
    options = NeuralOptions(rank=2, width=8, time_s=0.3, device="cpu")
    ebsdarchive.compress(make_scan(), path, options=options, metadata=metadata_file)
    assert ebsdarchive.open_archive(path).metadata()["licence"] == "CC0-1.0"
