"""The command line: every command is its verb, spoken; results on stdout, the rest on stderr."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
import pytest

import ebsdarchive
from ebsdarchive.cli import COMMANDS, main
from ebsdarchive.cli.options import progress_bar, readable_bytes

FIT = ("--rank", "4", "--width", "16", "--time", "1", "--device", "cpu")


def command_of(name: str) -> click.Command:
    return importlib.import_module(f"ebsdarchive.cli.{name}_command").command


def examples_of(name: str) -> list[list[str]]:
    """Arguments of the examples in a command's help."""
    text = command_of(name).help or ""
    lines = [line.strip() for line in text.splitlines()]
    start = f"ebsdarchive {name} "
    return [shlex.split(line[len(start) :]) for line in lines if line.startswith(start)]


@pytest.fixture(scope="module")
def _source(make_archive, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "scan.up2"
    ebsdarchive.export(make_archive(), path)
    return path


@pytest.fixture
def source(_source: Path, tmp_path: Path) -> Path:
    """An up2 file of the default scan, for one test."""
    return Path(shutil.copy(_source, tmp_path))


@pytest.fixture
def damaged(archive_path: Path) -> Path:
    """An archive with one flipped bit in its patterns."""
    with h5py.File(archive_path) as file:
        where = file["archive/raw/patterns"].id.get_chunk_info(0).byte_offset
    content = bytearray(archive_path.read_bytes())
    content[where + 20] ^= 16
    archive_path.write_bytes(content)
    return archive_path


# ---------------------------------------------------------------- help


def test_the_command_line_alone_says_what_it_can_do(run_cli):
    for arguments in ((), ("--help",), ("-h",)):
        code, out, err = run_cli(*arguments)
        assert (code, err) == (0, "")
        for name in COMMANDS:
            assert f"  {name} " in out
        assert "Exit codes:" in out
    assert run_cli("--version").out.split()[-1] == ebsdarchive.__version__


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_a_verb_of_its_name_with_a_docstring(name):
    verb = getattr(ebsdarchive, name)
    assert callable(verb)
    assert verb.__name__ == name
    assert verb.__doc__
    assert command_of(name).name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_names_every_parameter_and_shows_an_example(name, run_cli):
    code, out, err = run_cli(name, "--help")
    assert (code, err) == (0, "")
    command = command_of(name)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert option in out, option
            assert parameter.help, parameter.name
        else:
            assert parameter.make_metavar(click.Context(command)) in out
    assert f"ebsdarchive {name} " in out
    assert max(len(line) for line in out.splitlines()) <= 100


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_are_understood_by_it(name):
    examples = examples_of(name)
    assert examples
    for arguments in examples:
        command_of(name).make_context(name, list(arguments))


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_takes_its_verb_takes(name):
    import inspect

    called_otherwise = {
        "annotate": {"archive": "path"},
        "attach": {"archive": "path"},
        "index": {"archive": "path"},
        "plot": {"archive": "path"},
        "publish": {"archive": "path"},
        "fit": {"archive": "path"},
        "query": {"archive": "path"},
        "profile": {"archive": "path"},
        "boundaries": {"archive": "path"},
        "export": {"archive": "path"},
        "extract": {"archive": "path"},
        "merge": {"archive": "path"},
        "upgrade": {"archive": "path"},
        "repack": {"archive": "path"},
        "reference": {"archive": "path"},
        "info": {"source": "path"},
        "verify": {"archive": "path"},
        "validate": {"archive": "path"},
        "demo": {"scan": "source"},
        "restore": {"source": "path"},
    }.get(name, {})
    taken = dict(inspect.signature(getattr(ebsdarchive, name)).parameters)
    if name in ("compress", "export"):
        taken |= dict(inspect.signature(getattr(ebsdarchive, f"{name}_many")).parameters)
    if name in ("compress", "fit"):
        from ebsdarchive.verbs.fitting import NeuralOptions

        taken |= dict.fromkeys(NeuralOptions.__dataclass_fields__)
        called_otherwise |= {
            "target_mae": "target_mae_pct",
            "target_size": "target_size_mb",
            "target_deviation": "target_deviation_deg",
            "coding_loss": "coding_loss_pct",
            "max_error": "max_error_counts",
        }
    if name == "attach":
        from ebsdarchive.verbs.light_placement import Placement

        taken |= dict.fromkeys(Placement.__dataclass_fields__)
    if name == "restore":
        from ebsdarchive.verbs.restore_options import RestoreOptions

        taken |= dict.fromkeys(RestoreOptions.__dataclass_fields__)
    if name == "train":
        from ebsdarchive.restorers.train_options import TrainOptions
        from ebsdarchive.verbs.lessons import Lesson

        taken |= dict.fromkeys((*TrainOptions.__dataclass_fields__, *Lesson.__dataclass_fields__))
    if name == "simulate":
        from ebsdarchive.simulation import simulate_scan

        taken |= dict(inspect.signature(simulate_scan).parameters)
        called_otherwise |= {"shape": "grid_shape"}
    for parameter in command_of(name).params:
        if parameter.name not in ("as_json", "help", "show"):
            assert called_otherwise.get(parameter.name, parameter.name) in taken, parameter.name


# ---------------------------------------------------------------- what commands do


def test_a_scan_goes_in_and_patterns_come_out_by_commands_alone(source, run_cli, tmp_path):
    archive = tmp_path / "scan.archive.h5"  # the default name
    code, out, err = run_cli("compress", source, *FIT)
    assert (code, str(archive) in out, "lossless" in out) == (0, True, True)
    assert "raw layer ..." in err
    assert "train ..." in err
    code, out, _ = run_cli("info", archive)
    assert code == 0
    for words in ("35 patterns of 11 x 13 px, uint16", "7 columns x 5 rows", "neural", "rank 4"):
        assert words in out
    assert run_cli("verify", archive, "--data").out.endswith("sound (every pattern decoded)\n")
    assert run_cli("validate", archive).out == f"{archive}: valid\n"
    code, out, _ = run_cli(
        "query", archive, "--path", "0,0:6,4", "--samples", "5", "-o", tmp_path / "p.h5"
    )
    assert (code, "5 patterns" in out) == (0, True)
    code, out, _ = run_cli("export", archive, "-o", tmp_path / "again.up2", "--layer", "raw")
    assert (code, "again.up2.json" in out) == (0, True)
    assert (tmp_path / "again.up2").read_bytes() == source.read_bytes()
    code, out, _ = run_cli("extract", archive, "--layers", "neural", "-o", tmp_path / "small.h5")
    assert (code, "neural, maps/mean_intensity" in out) == (0, True)
    code, out, _ = run_cli("merge", archive, tmp_path / "small.h5")
    assert (code, "nothing to add" in out) == (0, True)
    code, out, _ = run_cli("fit", archive, *FIT, "--seed", "7")
    assert (code, "rank 4" in out) == (0, True)
    assert [entry["command"] for entry in ebsdarchive.info(archive)["activities"]] == [
        "compress",
        "fit",
    ]


def test_the_neural_layer_alone_can_be_kept_and_merged_with_the_raw_one(
    source, archive_path, run_cli, tmp_path
):
    small = tmp_path / "small.h5"
    code, out, err = run_cli("compress", source, "-o", small, "--drop-raw", *FIT)
    assert (code, "lossless" in out) == (0, False), err
    assert "PyEBSDIndex: no, export it" in run_cli("info", small).out
    assert run_cli("export", small, "-o", tmp_path / "decoded.up2").code == 0
    found = run_cli("export", small, "-o", tmp_path / "raw.up2", "--layer", "raw")
    assert found.code == 7
    assert run_cli("fit", small, *FIT).code == 7  # nothing to fit to
    code, out, _ = run_cli("merge", archive_path, small)
    assert (code, out) == (0, f"{archive_path}: added neural, maps/neural_error\n")
    assert run_cli("verify", archive_path, "--data").code == 0


def test_an_older_format_is_rewritten_as_the_current_one(
    archive_path, run_cli, tmp_path, monkeypatch
):
    from ebsdarchive.archive import steps

    def step(file: h5py.File) -> None:
        file.attrs["encoding-version"] = "1.0"

    with h5py.File(archive_path, "r+") as file:
        file.attrs["encoding-version"] = "0.9"
    monkeypatch.setitem(steps.STEPS, "0.9", ("1.0", step))
    code, out, err = run_cli("upgrade", archive_path, "-o", tmp_path / "new.h5")
    assert (code, out) == (0, f"{tmp_path / 'new.h5'}: format 0.9 -> 1.1\n"), err
    assert run_cli("verify", tmp_path / "new.h5", "--data").code == 0


def test_what_differs_from_the_schema_is_listed(archive_path, run_cli):
    with h5py.File(archive_path, "r+") as file:
        del file["archive/scan/grid"].attrs["n_rows"]
        del file["archive/maps/mean_intensity"].attrs["long_name"]
    code, out, err = run_cli("validate", archive_path)
    assert code == 4
    faults = out.splitlines()
    assert any("n_rows" in fault for fault in faults)
    assert any("long_name" in fault for fault in faults)
    assert err.endswith(f"expected what the schema says, found {len(faults)} differences\n")


def test_where_a_query_asks_can_be_said_in_every_way(fitted_archive, run_cli, tmp_path):
    (tmp_path / "points.csv").write_text("x,y\n0,0\n2.5,1.5\n", encoding="utf-8")
    for number, (arguments, count) in enumerate(
        [
            (("--point", "1.5,2"), 1),
            (("--points", tmp_path / "points.csv"), 2),
            (("--path", "0,0:3,0:3,4", "--spacing", "1"), 8),
            (("--path", "0,0:1.5,0", "--spacing", "0.75", "--unit", "um"), 3),
            (("--grid", "0,0:6,4", "--shape", "3,2"), 6),
            (("--grid", "0,0:6,4", "--shape", "3x2", "--layer", "raw"), 6),
            (("--upsample", "2"), 13 * 9),
        ]
    ):
        output = tmp_path / f"{number}.npz"
        code, out, err = run_cli("query", fitted_archive, *arguments, "-o", output)
        assert code == 0, err
        with np.load(output) as file:
            assert len(file["patterns"]) == count
        assert f"{count} patterns" in out
    with np.load(tmp_path / "4.npz") as file:  # columns before rows, as positions are
        np.testing.assert_array_equal(file["positions"][:3], [(0, 0), (3, 0), (6, 0)])


def test_json_is_all_that_stands_on_stdout(source, run_cli, tmp_path):
    def asked(*arguments: Any) -> dict[str, Any]:
        code, out, err = run_cli(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    archive = tmp_path / "a.h5"
    made = asked("compress", source, "-o", archive, *FIT)
    assert made["path"] == str(archive)
    assert made["nbytes"] == 35 * 11 * 13 * 2
    assert made["raw"]["ratio"] > 1
    assert made["neural"]["rank"] == 4
    assert asked("compress", source, "-o", tmp_path / "b.h5", "--no-neural")["neural"] is None
    fitted = asked("fit", archive, *FIT)
    assert 0 < fitted["mae_pct"] < 100
    described = asked("info", archive)
    assert described["grid"]["n_columns"] == 7
    assert described["layers"]["raw"]["patterns_sha256"] == made["raw"]["sha256"]
    checked = asked("verify", archive, "--data")
    assert checked["sound"] is True
    assert checked["survivors"] == ["raw", "neural"]
    queried = asked("query", archive, "--point", "1,1", "-o", tmp_path / "a.up2")
    assert queried["patterns"] == 1
    assert queried["quantisation"]["dtype"] == "uint16"
    exported = asked("export", archive, "-o", tmp_path / "a.up1", "--region", "0,0:1,2")
    assert exported["patterns"] == 6
    assert exported["quantisation"]["scale"] != 1
    assert exported["sidecar"] == str(tmp_path / "a.up1.json")


def test_a_damaged_archive_is_reported_as_json_too(damaged, run_cli):
    code, out, err = run_cli("verify", damaged, "--data", "--json")
    assert code == 6
    report = json.loads(out)
    assert report["sound"] is False
    assert report["layers"]["raw"]
    assert report["survivors"] == []
    assert err.splitlines()[-1].startswith("ebsdarchive: ")


def test_scaling_and_rounding_are_said_to_a_person_too(archive_path, run_cli, tmp_path):
    out = run_cli("export", archive_path, "-o", tmp_path / "a.up1").out
    assert "scaled: stored = (counts - " in out
    assert "rounded to uint8, 0 pixels limited to its range" in out


def test_what_other_programs_cannot_open_is_said(make_scan, run_cli, tmp_path, make_archive):
    patterns = (make_scan().patterns.read(0, 35) // 100 * 1117).astype(np.uint16)
    ebsdarchive.export(make_archive(make_scan(patterns=patterns)), tmp_path / "sparse.up2")
    out = run_cli("compress", tmp_path / "sparse.up2", "--no-neural", "--profile", "archive").out
    assert "with a level table" in out
    assert "ebsdarchive.kikuchipy_plugin" in out
    assert "PyEBSDIndex: no, export it" in run_cli("info", tmp_path / "sparse.archive.h5").out


def test_a_scan_is_chosen_by_number_or_name(run_cli, tmp_path):
    import kikuchipy

    two = Path(kikuchipy.data.__file__).parent / "kikuchipy_h5ebsd/patterns.h5"
    for number, choice in enumerate((("--scan", "2"), ("--scan", "Scan 2"))):
        archive = tmp_path / f"{number}.h5"
        assert run_cli("compress", two, "-o", archive, "--no-neural", *choice).code == 0
        assert ebsdarchive.info(archive)["scan"]["name"] == "Scan 2"


def test_a_simulated_scan_is_written_by_command(run_cli, tmp_path):
    arguments = ("--shape", "4,3", "--pattern-shape", "7,5", "--grains", "2", "--dtype", "uint8")
    code, out, err = run_cli("simulate", tmp_path / "a.h5", *arguments)
    assert code == 0, err
    scan = ebsdarchive.open_scan(tmp_path / "a.h5")
    assert (scan.grid.n_rows, scan.grid.n_columns) == (3, 4)
    assert scan.patterns.shape == (12, 5, 7)
    assert scan.patterns.dtype == np.uint8
    assert "12 patterns" in out


def test_a_deformed_scan_with_twins_is_written_by_command(run_cli, tmp_path):
    arguments = ("--shape", "24,18", "--pattern-shape", "5,3", "--grains", "2")
    substructure = ("--cell-size", "5", "--cell-spread", "1.5", "--twins", "1")
    code, _, err = run_cli("simulate", tmp_path / "a.up2", *arguments, *substructure)
    assert code == 0, err
    with np.load(tmp_path / "a.up2.truth.npz") as truth:
        assert set(truth["is_twin"]) == {0, 1}
        assert len(set(truth["cell_id"])) > 5
    code, _, err = run_cli("simulate", tmp_path / "b.h5", *arguments, *substructure)
    assert code == 0, err


def test_the_demo_shows_the_main_job_on_a_scan_of_ones_own(source, run_cli, tmp_path):
    code, out, err = run_cli("demo", source, "-o", tmp_path / "demo", "--time", "1")
    assert code == 0, err
    for words in ("35 patterns of 11 x 13 px", "lossless", "mean error", "left out"):
        assert words in out  # up2 files have no projection centre to index with
    files = [Path(line.strip()) for line in out.split("wrote\n")[1].splitlines()]
    assert len(files) == 5
    assert all(file.stat().st_size > 0 for file in files)
    raw = tmp_path / "demo/scan.raw.up2"
    assert raw in files
    assert raw.read_bytes() == source.read_bytes()
    assert run_cli("verify", tmp_path / "demo/scan.archive.h5", "--data").code == 0


# ---------------------------------------------------------------- exit codes


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("info", "{archive}"), 0, ""),
        (("bogus",), 2, "expected one of compress, fit, .*found 'bogus'; see ebsdarchive -h"),
        (("info",), 2, "info: Missing argument 'SOURCE'; see ebsdarchive info -h"),
        (("query", "{archive}", "-o", "{out}.h5"), 2, "expected one of point, points, path"),
        (("compress", "{text}.up2"), 3, "expected an EDAX up file"),
        (("verify", "{text}.up2"), 4, "expected an HDF5 file, found something else"),
        (("info", "{future}"), 5, r"format version 9\.0 is not known here \(known: 1\.0, 1\.1\)"),
        (("verify", "{damaged}", "--data"), 6, r"expected a sound archive, found \d+ faults"),
        (("export", "{archive}", "-o", "{out}.up2", "--layer", "neural"), 7, "a layer 'neural'"),
        (("query", "{archive}", "--point", "7,0", "-o", "{out}.h5"), 8, "x from 0 to 6"),
        (("export", "{archive}", "-o", "{folder}/none/a.up2"), 9, "an existing folder"),
    ],
)
def test_every_kind_of_failure_has_its_exit_code_and_one_line(
    arguments, code, words, archive_path, run_cli, tmp_path
):
    import re

    future, broken = tmp_path / "future.h5", tmp_path / "broken.h5"
    (tmp_path / "text.up2").write_text("Phi1, Phi, Phi2\n" * 9)
    for copy in (future, broken):
        shutil.copyfile(archive_path, copy)
    with h5py.File(future, "r+") as file:
        file.attrs["encoding-version"] = "9.0"
    with h5py.File(broken, "r+") as file:
        del file["archive/maps/mean_intensity"].attrs["long_name"]
    names = {"archive": archive_path, "future": future, "damaged": broken, "folder": tmp_path}
    names |= {"text": tmp_path / "text", "out": tmp_path / "out"}
    before = {path.name for path in tmp_path.iterdir()}
    found = run_cli(*(argument.format(**names) for argument in arguments))
    assert found.code == code, found.err
    if code:
        last = found.err.splitlines()[-1]
        assert last.startswith("ebsdarchive: ")
        assert re.search(words, last), last
        assert "Traceback" not in found.err
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_fit_that_cannot_be_made_has_its_exit_code_and_keeps_the_raw_layer(
    make_scan, make_archive, run_cli, tmp_path
):
    patterns = make_scan(dtype="float32").patterns.read(0, 35).copy()
    patterns[3, 2, 1] = np.nan
    ebsdarchive.export(make_archive(make_scan(patterns=patterns)), tmp_path / "nan.h5")
    code, _, err = run_cli("compress", tmp_path / "nan.h5", *FIT)
    assert code == 10
    last = err.splitlines()[-1]
    assert last.startswith("ebsdarchive: pattern 3 at (3, 0): expected finite counts, found nan")
    archive = tmp_path / "nan.archive.h5"
    assert last.endswith(f"{archive} holds the raw layer")
    kept = ebsdarchive.open_archive(archive).patterns("raw").read(0, 35)
    np.testing.assert_array_equal(kept.view(np.uint32), patterns.view(np.uint32))


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted; nothing that was there before has changed"),
        (MemoryError(), 1, "expected enough memory"),
        (OSError(5, "Input/output error", "a.h5"), 9, "a.h5: .*found: Input/output error"),
        (ebsdarchive.cli.EbsdArchiveError("where: what"), 1, "where: what"),
        (BrokenPipeError(32, "Broken pipe"), 0, ""),
    ],
)
def test_whatever_stops_a_command_ends_in_one_line(
    error, code, words, archive_path, run_cli, monkeypatch
):
    import re

    def stop(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(ebsdarchive, "info", stop, raising=False)
    found = run_cli("info", archive_path)
    assert found.code == code
    assert len(found.err.splitlines()) == (1 if words else 0)
    assert re.search(words, found.err)


@pytest.mark.parametrize("request_to_end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_leaves_the_archive_as_it_was(request_to_end, archive_path):
    before = archive_path.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-m", "ebsdarchive", "fit", archive_path, *FIT[:-3], "300"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("train"):
            time.sleep(0.3)
            process.send_signal(request_to_end)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (seen, err)
    assert out == ""
    assert err == "ebsdarchive: interrupted; nothing that was there before has changed\n"
    assert archive_path.read_bytes() == before
    assert not list(archive_path.parent.glob("*.partial"))


def test_output_that_nobody_reads_is_no_error(archive_path):
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(
        [sys.executable, "-m", "ebsdarchive", "info", archive_path, "--json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writer)
    assert (run.returncode, run.stderr) == (0, "")


# ---------------------------------------------------------------- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_one_line_per_stage_where_no_terminal_reads_it():
    with contextlib.redirect_stderr(io.StringIO()) as err:
        bar = progress_bar()
        for stage in ("raw layer", "reading back"):
            for done in range(5):
                bar(stage, done, 4)
        bar.end()
    assert err.getvalue() == "raw layer ...\nreading back ...\n"


def test_progress_rewrites_one_line_on_a_terminal():
    with contextlib.redirect_stderr(Terminal()) as err:
        bar = progress_bar()
        bar("train", 1, 4, "loss 0.5")
        bar("train", 4, 4, "loss 0.1")
        bar("refit", 0, 0)
        bar.end()
    lines = err.getvalue().split("\n")
    assert len(lines) == 3  # two stages and the end
    first, last = lines[0].split("\r")[1:]
    assert "25%" in first
    assert "100%" in last
    assert last.rstrip().endswith("loss 0.1")
    assert len(last) <= 110


def test_an_error_begins_a_line_of_its_own_on_a_terminal(monkeypatch, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(SystemExit) as stop:
        main(["info", str(tmp_path / "none.h5")])
    signal.signal(signal.SIGTERM, before)
    assert stop.value.code == 3
    assert sys.stderr.getvalue().startswith("\rebsdarchive: ")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (123_456, "123 kB"), (5.67e15, "5.67e+03 TB")],
)
def test_bytes_are_given_in_decimal_units(count, text):
    assert readable_bytes(count) == text
