"""Many scans by one command: a result of each, nothing done twice, no bad one in the way."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from vendor_files import up_file

import ebsdarchive
from ebsdarchive.archive.folder import ARCHIVES_RECORD, EXPORTS_RECORD
from ebsdarchive.errors import FormatError
from ebsdarchive.verbs import compressing_many, export_record, exporting_many, standing
from ebsdarchive.verbs.batching import Outcome
from ebsdarchive.verbs.fitting import NeuralOptions
from ebsdarchive.verbs.folder_record import state_of

RAW = ("--no-neural", "--profile", "compat")
FIT = ("--profile", "compat", "--rank", "3", "--width", "16", "--steps", "40", "--device", "cpu")


def write_up2(path: Path, seed: int = 0) -> Path:
    """A scan of 4 x 3 points with patterns of its own."""
    v, u = np.mgrid[:7, :9]
    phase = np.arange(12)[:, None, None] / 5 + seed
    patterns = 900 + 400 * np.sin(u / 2 + phase) + 200 * np.cos(v / 2 - phase)
    path.parent.mkdir(parents=True, exist_ok=True)
    return up_file(path, patterns.astype(np.uint16), 4, 3)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with two scans, one of them in a folder, and a file that is none."""
    write_up2(tmp_path / "scans/a.up2", 1)
    write_up2(tmp_path / "scans/day 1/b.up2", 2)
    (tmp_path / "scans/bad.up2").write_text("Phi1, Phi, Phi2\n" * 9)
    return tmp_path / "scans"


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """A folder with two archives, one of them in a folder."""
    folder = tmp_path / "archives"
    for number, name in enumerate(("a", "day 1/b")):
        source = write_up2(tmp_path / f"{number}.up2", number)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        target = folder / f"{name}.archive.h5"
        ebsdarchive.compress(source, target, neural=False, profile="compat")
    return folder


@pytest.fixture
def ask(run_cli) -> Callable[..., tuple[int, dict[str, dict], str]]:
    """Run a batch with --json: its exit code, {name: outcome} and what stood on stderr."""

    def run(*arguments: str | Path) -> tuple[int, dict[str, dict], str]:
        code, out, err = run_cli(*arguments, "--json")
        return code, {entry["name"]: entry for entry in json.loads(out)}, err

    return run


def states(outcomes: dict[str, dict]) -> dict[str, str]:
    return {name: entry["state"] for name, entry in outcomes.items()}


# ---------------------------------------------------------------- what is made


def test_every_scan_becomes_an_archive_in_its_folder_and_a_bad_one_stops_nothing(
    scans, run_cli, tmp_path
):
    more = write_up2(tmp_path / "elsewhere/c.up2", 3)
    code, out, err = run_cli("compress", scans, more, "-o", tmp_path / "archives", *RAW)
    assert code == 3  # that of the only failure
    made = {p.relative_to(tmp_path / "archives").as_posix() for p in tmp_path.rglob("*.archive.h5")}
    assert made == {"a.archive.h5", "day 1/b.archive.h5", "c.archive.h5"}
    again = tmp_path / "again.up2"
    ebsdarchive.export(tmp_path / "archives/day 1/b.archive.h5", again)
    assert again.read_bytes() == (scans / "day 1/b.up2").read_bytes()
    lines = out.splitlines()
    assert lines[0].split() == ["name", "raw", "neural", "MAE", "%", "seconds", "state"]
    assert [line.split("  ")[0] for line in lines[1:5]] == [
        "a.up2",
        "bad.up2",
        "day 1/b.up2",
        "c.up2",
    ]
    assert "failed: " in lines[2]
    assert "expected an EDAX up file" in lines[2]
    assert len({line.index("done") for line in (lines[1], *lines[3:5])}) == 1  # aligned
    assert lines[5] == "4 scans: 3 done, 1 failed"
    assert "2 of 4: bad.up2" in err
    last = err.splitlines()[-1]
    assert last.endswith(
        "expected all 4 to succeed, found 1 that failed (bad.up2); the table says why"
    )


def test_the_table_has_the_figures_of_the_archive(scans, ask, tmp_path):
    (scans / "bad.up2").unlink()
    code, outcomes, _ = ask("compress", scans, "-o", tmp_path / "archives", *FIT)
    assert code == 0
    one = outcomes["day 1/b.up2"]
    layers = ebsdarchive.info(one["output"])["layers"]
    assert one["raw_ratio"] == layers["raw"]["ratio"]
    assert one["neural_ratio"] == layers["neural"]["ratio"]
    assert one["mae_percent"] == layers["neural"]["mae_percent"] > 0
    assert one["seconds"] > 0
    assert (one["state"], one["reason"], one["exit_code"]) == ("done", None, 0)
    recorded = ebsdarchive.open_archive(one["output"]).provenance()[0]["activity"]
    (activity,) = recorded.values()
    assert activity["prov:label"] == "compress"
    assert str(scans) in json.loads(activity["ea:argv"])


def test_failures_of_several_kinds_end_with_the_general_code(scans, ask, tmp_path):
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/a.archive.h5").write_text("somebody's notes")
    code, outcomes, _ = ask("compress", scans, "-o", tmp_path / "archives", *RAW)
    assert code == 1
    assert {name: entry["exit_code"] for name, entry in outcomes.items()} == {
        "a.up2": 9,
        "bad.up2": 3,
        "day 1/b.up2": 0,
    }
    assert (tmp_path / "archives/a.archive.h5").read_text() == "somebody's notes"


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), 1, "expected enough memory"),
        (OSError(28, "No space left on device", "b.h5"), 9, "b.h5: .*found: No space left"),
        (ZeroDivisionError("float division"), 1, "found ZeroDivisionError: float division; please"),
    ],
)
def test_whatever_one_scan_meets_the_next_has_its_turn(
    error, code, words, scans, ask, tmp_path, monkeypatch
):
    import re

    compress = compressing_many.compress

    def fail_once(source, *arguments, **options):
        if Path(source).name == "a.up2":
            raise error
        return compress(source, *arguments, **options)

    (scans / "bad.up2").unlink()
    monkeypatch.setattr(compressing_many, "compress", fail_once)
    found, outcomes, err = ask("compress", scans, "-o", tmp_path / "archives", *RAW)
    assert found == code
    assert states(outcomes) == {"a.up2": "failed", "day 1/b.up2": "done"}
    assert re.search(words, outcomes["a.up2"]["reason"])
    assert "Traceback" not in err


def test_a_folder_without_scans_is_an_error_of_its_own(run_cli, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.ang").write_text("x")
    code, out, err = run_cli("compress", tmp_path / "notes", "-o", tmp_path / "archives")
    assert (code, out) == (3, "")
    assert "expected scans, found none among 1 files" in err
    assert run_cli("compress", tmp_path / "notes").code == 3
    to = ("-o", tmp_path / "out", "--format", "up2")
    assert run_cli("export", tmp_path / "notes", *to).code == 4
    assert not (tmp_path / "archives").exists()


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("expected a folder for what is made of 2 sources, found none", ("{other}",)),
        ("of 2 sources, found a file; name it", ("{other}", "-o", "{out}.h5")),
        ("--scan: expected a single scan", ("-o", "{out}", "--scan", "1")),
        ("--geometry: expected a single scan", ("-o", "{out}", "--geometry", "a.ang")),
        ("at least one layer", ("-o", "{out}", "--no-neural", "--drop-raw")),
        ("a.up2; name the folder above both", ("-o", "{out}", "{other}")),
    ],
)
def test_what_makes_no_sense_for_many_scans_is_refused_before_the_first(
    words, arguments, scans, run_cli, tmp_path
):
    other = write_up2(tmp_path / "other/a.up2")
    names = {"out": tmp_path / "out", "other": other}
    code, _, err = run_cli("compress", scans, *(text.format(**names) for text in arguments))
    assert (code, words in err) == (2, True), err
    assert not (tmp_path / "out").exists()


def test_one_scan_into_a_folder_is_a_batch_of_one(scans, ask, tmp_path):
    code, outcomes, _ = ask("compress", scans / "a.up2", "-o", f"{tmp_path}/new/", *RAW)
    assert (code, list(outcomes)) == (0, ["a.up2"])
    assert (tmp_path / "new/a.archive.h5").is_file()


# ---------------------------------------------------------------- what is there already


def test_what_is_done_is_left_and_what_failed_is_tried_again(scans, ask, tmp_path):
    batch = ("compress", scans, "-o", tmp_path / "archives", *RAW)
    ask(*batch)
    archive = tmp_path / "archives/a.archive.h5"
    before = archive.read_bytes()
    write_up2(scans / "bad.up2", 4)
    code, outcomes, _ = ask(*batch)
    assert code == 0
    assert states(outcomes) == {
        "a.up2": "done before",
        "bad.up2": "done",
        "day 1/b.up2": "done before",
    }
    assert archive.read_bytes() == before
    assert outcomes["a.up2"]["raw_ratio"] == ebsdarchive.info(archive)["layers"]["raw"]["ratio"]


def flip(path: Path) -> None:
    """Change one bit of the stored patterns."""
    with h5py.File(path) as file:
        where = file["archive/raw/patterns"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[where + 20] ^= 16
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Keep the first half, as an interrupted copy does."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def refused(*arguments: object, **named: object) -> None:
    """In place of what should not be called."""
    raise AssertionError("called, though nothing changed")


def rot(archive: Path) -> None:
    """Change a bit without any trace but in the bytes: as if the record had been written after."""
    flip(archive)
    record = archive.parent / ARCHIVES_RECORD
    entry = json.loads(record.read_text().splitlines()[-1])
    entry["archive"] = state_of(archive)
    record.write_text(json.dumps(entry) + "\n")


def test_what_did_not_change_is_neither_digested_nor_decoded_again(
    scans, ask, tmp_path, monkeypatch
):
    (scans / "bad.up2").unlink()
    batch = ("compress", scans, "-o", tmp_path / "archives", *RAW)
    ask(*batch)
    with monkeypatch.context() as patch:
        for name in ("size_and_digest", "check_archive"):
            patch.setattr(standing, name, refused)
        assert set(states(ask(*batch)[1]).values()) == {"done before"}
        code, outcomes, _ = ask(*batch, "--check-all")
        assert code == 1
        assert "though nothing changed" in outcomes["a.up2"]["reason"]
    assert set(states(ask(*batch, "--check-all")[1]).values()) == {"done before"}


def test_bytes_that_rot_are_found_by_check_all(scans, ask, tmp_path):
    batch = ("compress", scans / "a.up2", "-o", f"{tmp_path}/archives/", *RAW)
    ask(*batch)
    archive = tmp_path / "archives/a.archive.h5"
    rot(archive)
    assert ask(*batch)[1]["a.up2"]["state"] == "done before"
    assert ask(*batch, "--check-all")[1]["a.up2"]["state"] == "done"
    assert ebsdarchive.verify(archive, data=True).sound


def test_another_source_of_the_same_size_and_time_is_noticed(scans, ask, tmp_path):
    batch = ("compress", scans / "a.up2", "-o", f"{tmp_path}/archives/", *RAW)
    ask(*batch)
    before = (scans / "a.up2").stat()
    write_up2(scans / "a.up2", 9)
    os.utime(scans / "a.up2", ns=(before.st_atime_ns, before.st_mtime_ns))
    code, outcomes, _ = ask(*batch)
    assert code == 9
    assert "found one of a.up2" in outcomes["a.up2"]["reason"]


def test_without_its_record_a_batch_checks_everything_and_goes_on(scans, ask, tmp_path):
    (scans / "bad.up2").unlink()
    batch = ("compress", scans, "-o", tmp_path / "archives", *RAW)
    ask(*batch)
    record = tmp_path / "archives" / ARCHIVES_RECORD
    lines = record.read_text().splitlines()
    assert len(lines) == 2
    record.write_text(lines[0][:40])  # cut by a crash
    assert set(states(ask(*batch)[1]).values()) == {"done before"}
    assert record.read_text().splitlines()[1:] == lines
    record.unlink()
    assert set(states(ask(*batch)[1]).values()) == {"done before"}


def test_check_all_is_for_several_scans(scans, archives, run_cli, tmp_path):
    code, _, err = run_cli("compress", scans / "a.up2", "--check-all", *RAW)
    assert (code, "--check-all: expected several scans" in err) == (2, True)
    archive = archives / "a.archive.h5"
    assert run_cli("export", archive, "-o", tmp_path / "a.up2", "--check-all").code == 2


@pytest.mark.parametrize("harm", [flip, cut])
def test_a_damaged_archive_is_made_anew(harm, scans, ask, tmp_path):
    batch = ("compress", scans / "a.up2", "-o", f"{tmp_path}/archives/", *RAW)
    ask(*batch)
    archive = tmp_path / "archives/a.archive.h5"
    harm(archive)
    code, outcomes, _ = ask(*batch)
    assert (code, outcomes["a.up2"]["state"]) == (0, "done")
    assert ebsdarchive.verify(archive, data=True).sound


def test_an_archive_of_another_source_is_not_replaced_unasked(scans, ask, tmp_path):
    batch = ("compress", scans / "a.up2", "-o", f"{tmp_path}/archives/", *RAW)
    ask(*batch)
    archive = tmp_path / "archives/a.archive.h5"
    before = archive.read_bytes()
    write_up2(scans / "a.up2", 9)  # the microscope's computer used the name again
    code, outcomes, _ = ask(*batch)
    assert code == 9
    assert "found one of a.up2" in outcomes["a.up2"]["reason"]
    assert archive.read_bytes() == before
    code, outcomes, _ = ask(*batch, "--force")
    assert (code, outcomes["a.up2"]["state"]) == (0, "done")
    assert archive.read_bytes() != before


def test_other_options_make_an_archive_anew_and_the_same_ones_do_not(scans, ask, tmp_path):
    batch = ("compress", scans / "a.up2", "-o", f"{tmp_path}/archives/")

    def state(*options: str) -> str:
        return ask(*batch, *options)[1]["a.up2"]["state"]

    assert state(*RAW) == "done"
    assert state("--no-neural", "--profile", "fast") == "done"
    assert (
        ebsdarchive.info(tmp_path / "archives/a.archive.h5")["layers"]["raw"]["profile"] == "fast"
    )
    assert state(*FIT, "--profile", "fast") == "done"  # it lacks the neural layer alone
    assert state(*FIT, "--profile", "fast") == "done before"
    assert state("--no-neural", "--profile", "fast") == "done before"  # it holds more
    assert state(*FIT, "--profile", "fast", "--seed", "7") == "done"


def test_layers_that_were_added_by_hand_are_not_lost_to_other_options(scans, ask, tmp_path):
    from ebsdarchive.archive.layers import write_map
    from ebsdarchive.archive.making import adding_layers

    batch = ("compress", scans / "a.up2", "-o", f"{tmp_path}/archives/", "--no-neural", "--profile")
    ask(*batch, "compat")
    archive = tmp_path / "archives/a.archive.h5"
    with adding_layers(archive, ["maps/quality"]) as file:
        raw = file["archive/raw"].attrs["patterns_sha256"]
        values = {"long_name": "Quality", "units": "1", "derived_from": raw}
        write_map(file["archive"], "quality", np.zeros((3, 4)), **values)
    assert ask(*batch, "compat")[1]["a.up2"]["state"] == "done before"
    code, outcomes, _ = ask(*batch, "fast")
    assert code == 9
    assert "what was added later (maps/quality)" in outcomes["a.up2"]["reason"]
    assert "maps/quality" in ebsdarchive.open_archive(archive).layers


def test_metadata_are_given_to_all_and_those_that_people_changed_stay(scans, ask, tmp_path):
    (scans / "bad.up2").unlink()
    said = tmp_path / "metadata.yaml"
    said.write_text("sample: {name: Ni}\n", encoding="utf-8")
    batch = ("compress", scans, "-o", tmp_path / "archives", *RAW)
    ask(*batch)
    assert set(states(ask(*batch, "--metadata", said)[1]).values()) == {"done"}
    assert set(states(ask(*batch, "--metadata", said)[1]).values()) == {"done before"}
    archive = ebsdarchive.open_archive(tmp_path / "archives/a.archive.h5")
    assert archive.metadata() == {"sample": {"name": "Ni"}}
    ebsdarchive.annotate(archive.path, settings=["sample.name=Cu"])
    code, outcomes, _ = ask(*batch, "--metadata", said)
    assert code == 9
    assert "other metadata (`annotate` changes them)" in outcomes["a.up2"]["reason"]
    code, outcomes, _ = ask(*batch[:-1], "fast")  # would make them anew
    assert code == 9
    assert "with what was added later (metadata)" in outcomes["a.up2"]["reason"]
    assert archive.metadata() == {"sample": {"name": "Cu"}}


def test_the_names_of_images_are_read_by_the_pattern_and_other_files_as_ever(scans, ask, tmp_path):
    from PIL import Image

    (scans / "bad.up2").unlink()
    folder = scans / "images"
    folder.mkdir()
    for n in range(6):
        pixels = np.full((5, 7), 9 * n + 1, np.uint8)
        Image.fromarray(pixels).save(folder / f"{n % 2}-{n // 2} of 4.png")
    batch = ("compress", scans, "-o", tmp_path / "archives", *RAW)
    code, outcomes, _ = ask(*batch, "--index-pattern", "{x}-{y} of 4.png")
    assert (code, set(states(outcomes).values())) == (0, {"done"})
    grid = ebsdarchive.info(outcomes["images"]["output"])["grid"]
    assert (grid["n_columns"], grid["n_rows"]) == (2, 3)
    _, outcomes, _ = ask(*batch, "--index-pattern", "{x}-{y} of 4.png")
    assert set(states(outcomes).values()) == {"done before"}


# ---------------------------------------------------------------- interruptions

STOPPING = """
import os, signal, sys
from ebsdarchive.cli import main
from ebsdarchive.verbs import compressing

add_field, calls = compressing.add_field, []

def stop_in_the_second(*arguments):
    calls.append(arguments)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGINT)
    return add_field(*arguments)

compressing.add_field = stop_in_the_second
signal.signal(signal.SIGINT, signal.default_int_handler)
main(sys.argv[1:])
"""


def test_ctrl_c_ends_the_batch_with_its_table_and_the_next_call_goes_on(scans, ask, tmp_path):
    (scans / "bad.up2").unlink()
    write_up2(scans / "z.up2", 5)
    batch = ["compress", scans, "-o", tmp_path / "archives", *FIT]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", STOPPING, *map(str, batch)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    lines = out.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ["done", "interrupted"]
    assert lines[3] == "3 scans: 1 done, 1 interrupted"
    assert err.splitlines()[-1].startswith("ebsdarchive: interrupted;")
    middle = tmp_path / "archives/z.archive.h5"
    assert ebsdarchive.open_archive(middle).layers == ["raw", "maps/mean_intensity"]
    assert not list(tmp_path.rglob("*.partial"))
    code, outcomes, _ = ask(*batch)
    assert code == 0
    assert states(outcomes) == {"a.up2": "done before", "z.up2": "done", "day 1/b.up2": "done"}
    activities = [entry["command"] for entry in ebsdarchive.info(middle)["activities"]]
    assert activities == ["compress", "fit"]  # the raw layer was not made again


def test_an_interrupted_fit_goes_on_from_its_checkpoint(scans, tmp_path):
    options = NeuralOptions(rank=3, width=16, steps=400, device="cpu")
    done: list[float] = []

    def stop(stage: str, at: float, total: float, note: str = "") -> None:
        done.extend([at] if stage == "train" else [])
        if stage == "train" and at > 0.5 * total:
            raise KeyboardInterrupt

    asked = {"profile": "compat", "options": options}
    with pytest.raises(KeyboardInterrupt):
        ebsdarchive.compress_many([scans / "a.up2"], tmp_path / "out", progress=stop, **asked)
    done.clear()
    (one,) = ebsdarchive.compress_many(
        [scans / "a.up2"],
        tmp_path / "out",
        progress=lambda stage, at, total, note="": done.extend([at] if stage == "train" else []),
        **asked,
    )
    assert one.state == "done"
    config = json.loads(ebsdarchive.open_archive(one.output).attributes("neural")["config"])
    assert "resumed" in json.dumps(config["log"])


# ---------------------------------------------------------------- memory


def test_nothing_of_a_scan_is_kept_while_the_next_is_made(scans, tmp_path, monkeypatch):
    (scans / "bad.up2").unlink()
    for n in range(3):
        write_up2(scans / f"more{n}.up2", n)
    opened: list[weakref.ref] = []
    open_scan = compressing_many.open_scan

    def remember(*arguments, **options):
        scan = open_scan(*arguments, **options)
        opened.append(weakref.ref(scan))
        return scan

    class Follower:
        def found(self, scans, passed_over): ...

        def begins(self, number, scans, name):
            gc.collect()
            assert [one() for one in opened] == [None] * (number - 1)

        def ends(self, outcome: Outcome):
            assert not any(isinstance(value, np.ndarray) for value in vars(outcome).values())

    monkeypatch.setattr(compressing_many, "open_scan", remember)
    outcomes = ebsdarchive.compress_many(
        [scans], tmp_path / "out", neural=False, profile="compat", follower=Follower()
    )
    assert [outcome.state for outcome in outcomes] == ["done"] * 5
    assert all(len(json.dumps(outcome.plain())) < 1000 for outcome in outcomes)


# ---------------------------------------------------------------- export


def test_every_archive_becomes_a_file_in_its_folder_once(archives, ask, tmp_path):
    shutil.copy(archives / "a.archive.h5", archives / "c.archive.h5")
    cut(archives / "c.archive.h5")
    out = tmp_path / "exported"
    batch = ("export", archives, "-o", out, "--format", "up2")
    code, outcomes, _ = ask(*batch)
    assert code == 4
    assert states(outcomes) == {
        "a.archive.h5": "done",
        "c.archive.h5": "failed",
        "day 1/b.archive.h5": "done",
    }
    assert (out / "day 1/b.up2").read_bytes() == (tmp_path / "1.up2").read_bytes()
    assert outcomes["a.archive.h5"]["patterns"] == 12
    assert outcomes["a.archive.h5"]["nbytes"] == (out / "a.up2").stat().st_size
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.up2*")}
    assert len(before) == 4
    (archives / "c.archive.h5").unlink()
    code, outcomes, _ = ask(*batch)
    assert (code, set(states(outcomes).values())) == (0, {"done before"})
    assert outcomes["a.archive.h5"]["patterns"] == 12
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.up2*")} == before


def test_exports_that_did_not_change_are_not_digested_again(archives, ask, tmp_path, monkeypatch):
    batch = ("export", archives, "-o", tmp_path / "out", "--format", "tiff-folder")
    ask(*batch)
    with monkeypatch.context() as patch:
        patch.setattr(export_record, "_digest", refused)
        assert set(states(ask(*batch)[1]).values()) == {"done before"}
        assert set(states(ask(*batch, "--check-all")[1]).values()) == {"failed"}
    assert set(states(ask(*batch, "--check-all")[1]).values()) == {"done before"}


def test_an_export_is_made_again_where_it_is_lost_or_of_other_options(archives, ask, tmp_path):
    out = tmp_path / "exported"
    batch = ("export", archives / "a.archive.h5", "-o", f"{out}/", "--format", "kikuchipy-h5")

    def state(*options: str) -> str:
        return ask(*batch, *options)[1]["a.archive.h5"]["state"]

    assert [state(), state()] == ["done", "done before"]
    assert state("--region", "0,0:1,2") == "done"
    assert state("--region", "0,0:1,2") == "done before"
    (out / "a.h5").unlink()
    assert state("--region", "0,0:1,2") == "done"
    assert ebsdarchive.open_scan(out / "a.h5").grid.size == 6


def test_a_file_that_a_batch_did_not_write_as_it_is_stays(archives, ask, tmp_path):
    out = tmp_path / "exported"
    out.mkdir()
    (out / "a.up2").write_text("somebody's")
    batch = ("export", archives, "-o", out, "--format", "up2")
    code, outcomes, _ = ask(*batch)
    assert code == 9
    assert "no export recorded here made" in outcomes["a.archive.h5"]["reason"]
    with (out / "day 1/b.up2").open("ab") as file:
        file.write(b"edited")
    code, outcomes, _ = ask(*batch)
    assert "changed since it was exported" in outcomes["day 1/b.archive.h5"]["reason"]
    assert (out / "a.up2").read_text() == "somebody's"
    code, outcomes, _ = ask(*batch, "--force")
    assert (code, set(states(outcomes).values())) == (0, {"done"})
    assert (out / "a.up2").read_bytes() == (tmp_path / "0.up2").read_bytes()


def test_an_export_that_was_cut_off_is_made_again(archives, ask, tmp_path, monkeypatch):
    out = tmp_path / "exported"
    batch = ("export", archives / "a.archive.h5", "-o", f"{out}/", "--format", "up2")
    export = exporting_many.export

    def die_behind(*arguments, **options):
        export(*arguments, **options)
        raise RuntimeError("killed")

    monkeypatch.setattr(exporting_many, "export", die_behind)
    ask(*batch)
    monkeypatch.setattr(exporting_many, "export", export)
    with (out / EXPORTS_RECORD).open("a") as file:
        file.write('{"output": "a.up2", "sta')  # and so was its record
    assert ask(*batch)[1]["a.archive.h5"]["state"] == "done"
    assert ask(*batch)[1]["a.archive.h5"]["state"] == "done before"


def test_folders_of_pictures_are_exported_beside_each_other(archives, ask, tmp_path):
    out = tmp_path / "exported"
    batch = ("export", archives, "-o", out, "--format", "tiff-folder")
    assert set(states(ask(*batch)[1]).values()) == {"done"}
    assert set(states(ask(*batch)[1]).values()) == {"done before"}
    assert ebsdarchive.open_scan(out / "day 1/b_patterns").grid.size == 12


def test_several_archives_need_a_format(archives, run_cli, tmp_path):
    code, _, err = run_cli("export", archives, "-o", tmp_path / "exported")
    assert (code, "name it with --format, such as up2" in err) == (2, True)


def test_a_batch_of_the_library_says_the_same(scans, tmp_path):
    made = ebsdarchive.compress_many([scans], tmp_path / "out", neural=False, profile="compat")
    assert [(one.name, one.state) for one in made] == [
        ("a.up2", "done"),
        ("bad.up2", "failed"),
        ("day 1/b.up2", "done"),
    ]
    exported = ebsdarchive.export_many([tmp_path / "out"], tmp_path / "up1", format="up1")
    assert [one.state for one in exported] == ["done", "done"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="expected scans, found none"):
        ebsdarchive.compress_many([tmp_path / "empty"], tmp_path / "x")
