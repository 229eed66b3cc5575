"""What every command tells on stderr, and what the shell completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ebsdarchive
from ebsdarchive.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


def completed(line: str, shell: str = "bash") -> list[str]:
    """What the shell would offer at the end of a command line."""
    run = subprocess.run(
        [sys.executable, "-m", "ebsdarchive"],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_EBSDARCHIVE_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        },
    )
    assert run.stderr == ""
    return [answer.removeprefix("plain,") for answer in run.stdout.split()]


@pytest.mark.parametrize("place", ["before", "behind"])
def test_quiet_leaves_results_and_errors(place, archive_path, run_cli, tmp_path):
    def asked(option: str, *arguments: str | Path):
        words = (arguments[0], option, *arguments[1:])
        return run_cli(*(words if place == "behind" else (option, *arguments)))

    export = ("export", archive_path, "-o", tmp_path / "a.up2")
    assert "exporting ..." in run_cli(*export).err
    code, out, err = asked("--quiet", *export, "--force")
    assert (code, "35 patterns" in out, err) == (0, True, "")
    code, out, err = asked("-q", *export)
    assert (code, out, len(err.splitlines())) == (9, "", 1)


def test_verbose_says_how_long_stages_took_and_where_an_error_arose(
    archive_path, run_cli, tmp_path
):
    import re

    export = ("export", archive_path, "-o", tmp_path / "a.up2", "--verbose")
    code, _, err = run_cli(*export)
    assert code == 0
    assert re.search(r"^  exporting: \d+\.\d\d s$", err, re.M)
    code, _, err = run_cli(*export)
    assert code == 9
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("ebsdarchive: ")
    assert "Traceback" not in run_cli(*export[:-1]).err  # it is not kept for the next command


def test_quiet_and_verbose_exclude_each_other(archive_path, run_cli):
    code, _, err = run_cli("--quiet", "info", archive_path, "--verbose")
    assert (code, "expected --quiet or --verbose, found both" in err) == (2, True)


def test_what_a_batch_passes_over_is_counted_or_named(run_cli, tmp_path):
    for name in ("a.ang", "b.ang", "notes.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "bad.up2").write_text("x" * 99)
    batch = ("compress", tmp_path, "-o", tmp_path / "out")
    assert "passed over: 2 no format that is read (.ang), 1 no" in run_cli(*batch).err
    assert f"passed over {tmp_path / 'b.ang'}: no format" in run_cli(*batch, "--verbose").err
    err = run_cli(*batch, "--quiet").err
    assert "passed over" not in err
    assert "failed: " in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_is_given_a_script(shell):
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("click asks bash for its version, and there is none")
    run = subprocess.run(
        [sys.executable, "-m", "ebsdarchive"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT), "_EBSDARCHIVE_COMPLETE": f"{shell}_source"},
    )
    assert run.returncode == 0, run.stderr
    assert f"_EBSDARCHIVE_COMPLETE={shell}_complete" in run.stdout
    assert "ebsdarchive" in run.stdout.splitlines()[-1] + run.stdout.splitlines()[-2]


def test_commands_and_options_are_completed():
    assert completed("ebsdarchive ") == list(COMMANDS)
    assert completed("ebsdarchive co") == ["compress", "compare"]
    assert {"--layer", "--quiet"} <= set(completed("ebsdarchive export --"))


def test_names_of_layers_and_scans_are_completed_from_the_file(fitted_archive, tmp_path):
    import kikuchipy

    assert completed(f"ebsdarchive export {fitted_archive} --layer ") == ["raw", "neural"]
    assert completed(f"ebsdarchive query {fitted_archive} --layer=n") == ["neural"]
    listed = completed(f"ebsdarchive extract {fitted_archive} --layers raw,maps/neural")
    assert listed == ["raw,maps/neural_error"]
    assert completed(f"ebsdarchive export {tmp_path}/none.h5 --layer ") == []
    two = Path(kikuchipy.data.__file__).parent / "kikuchipy_h5ebsd/patterns.h5"
    assert completed(f"ebsdarchive info {two} --scan ") == ["Scan", "1", "Scan", "2"]  # "Scan 1"


def test_the_help_and_the_readme_say_how_to_turn_completion_on(run_cli):
    line = 'eval "$(_EBSDARCHIVE_COMPLETE=bash_source ebsdarchive)"'
    assert line in run_cli("--help").out
    assert line in (ROOT / "README.md").read_text(encoding="utf-8")
    assert ebsdarchive.__version__ in run_cli("--version").out
