"""A process that starts commands, ends them at chosen moments, and says what they left behind.

Run by test_safety as a script: a fresh process, without the threads of the test run, can fork a
child per trial, which costs milliseconds where starting Python costs seconds. Prints one JSON list.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ebsdarchive
from ebsdarchive.archive import raw
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.layers import write_restored
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.cli import main
from ebsdarchive.errors import EbsdArchiveError


def add_restored(path: Path) -> None:
    """Add a restored layer, as a restorer would."""
    scan = open_archive(path).scan("raw")
    with adding_layers(path, ["restored/copy"]) as file:
        write_restored(
            file["archive"],
            "copy",
            scan.patterns,
            scan.grid,
            method="copy",
            config={},
            raw_sha256=open_archive(path).raw_sha256,
            profile="compat",
        )


def operations(old: Path, source: Path, small: Path) -> dict[str, Callable[[Path], Any]]:
    """What is done to a copy of the archive `old`, by name."""
    scan = open_archive(source).scan("raw")
    return {
        "compress": lambda path: ebsdarchive.compress(scan, path, neural=False, force=True),
        "merge": lambda path: ebsdarchive.merge(path, small),
        "add": add_restored,
    }


def state_of(path: Path, old: bytes) -> str:
    """Whether a file is the old one, or a complete new one; else what is wrong with it."""
    if path.read_bytes() == old:
        return "old"
    try:
        report = ebsdarchive.verify(path, data=True)
    except EbsdArchiveError as error:
        return f"broken: {error}"
    return "new" if report.sound else f"broken: {report.all_faults}"


def fork(work: Callable[[], Any], stderr: int | None = None) -> int:
    """Run `work` in a child of its own process group; returns its id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if stderr is not None:
            os.dup2(stderr, 2)
            sys.stderr = os.fdopen(2, "w", buffering=1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        work()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        with contextlib.suppress(Exception):
            threading._shutdown()  # as at the end of a process of its own, in this order
            atexit._run_exitfuncs()
            sys.stderr.flush()
        os._exit(code)


def left_behind(folder: Path, expected: set[str]) -> list[str]:
    """Names in the folder that were not there before."""
    return sorted(path.name for path in folder.iterdir() if path.name not in expected)


def kill(folder: Path, old: Path, source: Path, small: Path, trials: int) -> list[dict]:
    """End operations with SIGKILL at random moments and at the worst ones."""
    before = old.read_bytes()
    chance = random.Random(20)
    target = folder / "target.h5"
    results = []
    for name, operation in operations(old, source, small).items():
        target.write_bytes(before)
        operation(target)  # loads what it needs, before children are forked
        target.write_bytes(before)
        started = time.monotonic()
        os.waitpid(fork(lambda op=operation: op(target)), 0)
        duration = time.monotonic() - started
        results.append({"operation": name, "moment": "never", "state": state_of(target, before)})
        moments: list[Any] = [chance.uniform(0, 1.05 * duration) for _ in range(trials)]
        moments += ["before flush", "before replace", "after replace"]
        for moment in moments:
            target.write_bytes(before)
            if isinstance(moment, str):
                os.waitpid(fork(lambda m=moment, op=operation: _dying(m, op, target)), 0)
            else:
                child = fork(lambda op=operation: op(target))
                time.sleep(moment)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            results.append({"operation": name, "moment": moment, "state": state_of(target, before)})
            for rest in folder.glob(".target.h5.*.partial"):
                rest.unlink()
            results[-1]["left"] = left_behind(folder, {"target.h5"})
    return results


def _dying(moment: str, operation: Callable[[Path], Any], target: Path) -> None:
    """Run an operation that is killed at a call of the operating system."""
    real = {"fsync": os.fsync, "replace": os.replace}

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fsync(handle: int) -> None:
        if moment == "before flush":
            die()
        real["fsync"](handle)

    def replace(a: Any, b: Any) -> None:
        if moment == "before replace":
            die()
        real["replace"](a, b)
        if moment == "after replace":
            die()

    os.fsync, os.replace = fsync, replace  # type: ignore[assignment]
    operation(target)


def interrupt(folder: Path, vendor: Path, cases: list[dict]) -> list[dict]:
    """Send a signal to the command line's process group when it says a stage has begun."""
    _load(folder, vendor)
    raw._POOL_BYTES, raw.cores = 0, lambda: 2
    results = []
    for case in cases:
        for path in folder.iterdir():
            path.unlink()
        target = folder / "target.h5"
        before = Path(case["old"]).read_bytes() if case.get("old") else None
        if before is not None:
            target.write_bytes(before)
        arguments = [part.format(vendor=vendor, target=target) for part in case["arguments"]]
        reading, writing = os.pipe()
        child = fork(lambda a=arguments: main(a), stderr=writing)
        os.close(writing)
        lines = []
        with os.fdopen(reading, encoding="utf-8", errors="replace") as stderr:
            for line in stderr:
                lines.append(line.rstrip("\n"))
                if line.startswith(case["stage"]):
                    time.sleep(case.get("delay", 0.0))
                    os.killpg(child, getattr(signal, case["signal"]))
        _, status = os.waitpid(child, 0)
        results.append(
            {
                "code": os.waitstatus_to_exitcode(status),
                "lines": lines,
                "left": left_behind(folder, {"target.h5"}),
                "state": "none"
                if not target.exists()
                else state_of(target, before if before is not None else b""),
                "processes": _group_is_alive(child),
            }
        )
    return results


def _load(folder: Path, vendor: Path) -> None:
    """Load what compress needs, before children are forked."""
    ebsdarchive.compress(vendor, folder / "load.h5", neural=False)
    (folder / "load.h5").unlink()


def _group_is_alive(group: int) -> bool:
    """Whether processes of a group are still there after a few seconds of grace."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return True


def fill(folder: Path, old: Path, vendor: Path, small: Path, limits: list[int]) -> list[dict]:
    """Run commands that may write files of no more than some bytes, as on a full disk."""
    before = old.read_bytes()
    target = folder / "target.h5"
    _load(folder, vendor)
    results = []
    for limit in limits:
        for arguments in (
            ["compress", str(vendor), "-o", str(target), "--no-neural", "--force"],
            ["compress", str(vendor), "-o", str(folder / "new.h5"), "--no-neural"],
            ["merge", str(target), str(small)],
            ["extract", str(target), "--layers", "raw", "-o", str(folder / "new.h5")],
        ):
            target.write_bytes(before)

            def limited(arguments: list[str] = arguments, limit: int = limit) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                main(arguments)

            reading, writing = os.pipe()
            child = fork(limited, stderr=writing)
            os.close(writing)
            with os.fdopen(reading, encoding="utf-8", errors="replace") as stderr:
                lines = stderr.read().splitlines()
            _, status = os.waitpid(child, 0)
            results.append(
                {
                    "arguments": arguments,
                    "limit": limit,
                    "code": os.waitstatus_to_exitcode(status),
                    "lines": [line for line in lines if not line.endswith("...")],
                    "state": state_of(target, before),
                    "left": left_behind(folder, {"target.h5"}),
                }
            )
            for name in results[-1]["left"]:
                (folder / name).unlink()
    return results


if __name__ == "__main__":
    request = json.loads(sys.stdin.read())
    task = {"kill": kill, "interrupt": interrupt, "fill": fill}[request.pop("task")]
    paths = {
        key: Path(value)
        for key, value in request.items()
        if key not in ("trials", "cases", "limits")
    }
    rest = {key: value for key, value in request.items() if key not in paths}
    print(json.dumps(task(**paths, **rest)))
