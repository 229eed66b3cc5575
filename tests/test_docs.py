"""The documentation: a tutorial that runs, references that are complete."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import click
import h5py
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive.cli import COMMANDS

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture
def tutorial(monkeypatch) -> ModuleType:
    """What `make tutorial` runs, which knows the blocks and pictures of the page."""
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("remake_tutorial")


@pytest.mark.slow
def test_the_tutorial_runs_and_makes_the_pictures_that_it_shows(
    tutorial, run_cli, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    page = tutorial.PAGE.read_text(encoding="utf-8")
    quick = ["--rank", "8", "--width", "32", "--device", "cpu"]
    names: dict[str, object] = {}
    called = []
    for block in tutorial.blocks_of(page):
        for arguments in block.commands if block.language == "bash" else []:
            if arguments[0] == "compress":
                arguments = [*arguments, *quick, "--steps", "60"]
            code, _, err = run_cli(*arguments)
            assert code == 0, (arguments, err)
            called.append(arguments[0])
        if block.language == "python":
            exec(block.text, names)
    assert names["pattern"].shape == (1, 120, 120)
    assert np.array_equal(names["measured"], names["exported"])
    wanted = "info compress verify query boundaries index compare plot export extract merge"
    assert set(called) >= set(wanted.split())
    shown = tutorial.picture_names(page)
    assert len(shown) >= 5
    assert all(Path(name).with_suffix(".png").is_file() for name in shown)


def test_pictures_of_the_tutorial_are_kept_small_and_none_is_left_over(tutorial):
    page = tutorial.PAGE.read_text(encoding="utf-8")
    kept = {path.name: path.stat().st_size for path in tutorial.PICTURES.iterdir()}
    assert set(kept) == set(tutorial.picture_names(page))
    assert max(kept.values()) <= tutorial.MOST_BYTES


def test_every_output_of_the_tutorial_is_filled_in(tutorial):
    blocks = tutorial.blocks_of(tutorial.PAGE.read_text(encoding="utf-8"))
    outputs = [block.text for block in blocks if block.language == "text"]
    assert len(outputs) >= 8
    assert all(text.strip() for text in outputs)


def _built(page: str, folder: Path) -> str:
    """A page of one directive as text, built with the configuration of the documentation."""
    sphinx = pytest.importorskip("sphinx.application", reason="needs the extra docs")
    (folder / "index.md").write_text(f"# Page\n\n```{{eval-rst}}\n{page}\n```\n", encoding="utf-8")
    out, trees = folder / "out", folder / "trees"
    app = sphinx.Sphinx(folder, DOCS, out, trees, "text", status=None, warning=sys.stderr)
    app.build()
    return (out / "index.txt").read_text(encoding="utf-8")


def test_the_command_reference_has_every_command_and_every_option(tmp_path, capfd):
    text = _built(".. command-reference::", tmp_path)
    assert "WARNING" not in capfd.readouterr().err
    headings = re.findall(r"^(\w+)\n[=*-]{3,}$", text, re.M)
    assert headings[1:] == list(COMMANDS)
    sections = re.split(r"^\w+\n={3,}$", text, flags=re.M)[1:]
    for name, section in zip(COMMANDS, sections, strict=True):
        command = importlib.import_module(f"ebsdarchive.cli.{name}_command").command
        words = set(re.split(r"[\s,]+", section))
        below = getattr(command, "commands", {}).values()
        for parameter in [*command.params, *(param for one in below for param in one.params)]:
            if isinstance(parameter, click.Option):
                declared = {*parameter.opts, *parameter.secondary_opts}
                assert declared <= words, (name, declared - words)
        assert f"ebsdarchive {name} " in section


def test_the_class_reference_has_what_verbs_give_back(monkeypatch):
    pytest.importorskip("sphinx", reason="needs the extra docs")
    monkeypatch.syspath_prepend(str(DOCS / "sphinx_extensions"))
    found = {kind.__name__ for kind in importlib.import_module("class_reference").public_classes()}
    assert found >= {"Archive", "Scan", "Grid", "Detector", "Phase", "Orientations"}
    assert found >= {"CompressSummary", "FitSummary", "NeuralOptions", "Comparison", "Report"}


@pytest.mark.parametrize("table", ["none", "scan", "pattern"])
def test_the_reader_of_raw_patterns_in_the_documents_reads_every_kind_of_level_table(
    table, make_scan, tmp_path
):
    page = (DOCS / "reference" / "reading.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict[str, object] = {}
    exec(code, names)
    grey = np.random.default_rng(5).normal(120, 9, (63, 21, 33)).astype(np.uint16)
    gain = {"none": 1, "scan": 20, "pattern": np.arange(150, 213, dtype=np.uint16)[:, None, None]}
    patterns = grey.astype(np.uint8) if table == "none" else grey * gain[table]
    path = tmp_path / "scan.archive.h5"
    scan = make_scan(ny=7, nx=9, patterns=patterns)
    ebsdarchive.compress(scan, path, profile="archive", neural=False)
    with h5py.File(path) as file:
        assert file["archive/raw"].attrs["level_table"] == table
        assert np.array_equal(names["raw_patterns"](file, 2, 61), patterns[2:61])
