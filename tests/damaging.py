"""A process that damages copies of an archive and says what the package makes of them.

Run by test_damage as a script. Children examine the copies, so that a crash or an endless loop in
HDF5 ends a child and is told with the position that caused it. Prints one JSON list.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import ebsdarchive
from ebsdarchive.archive.layers import read_model
from ebsdarchive.errors import EbsdArchiveError

SECONDS = 20  # that a child may take for one file
BATCH = 40


def digest(*arrays: Any) -> str:
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def decoded(path: Path) -> dict[str, str]:
    """What every layer decodes to, and what the scan is said to be."""
    archive = ebsdarchive.open_archive(path)
    found = {}
    for name in archive.pattern_layers:
        found[name] = digest(archive.patterns(name).read(0, archive.grid.size))
    for name in archive.layers:
        kind, _, member = name.partition("/")
        if kind == "maps":
            found[name] = digest(archive.map(member))
        if kind == "models":
            with archive.group() as group:
                model, tensors = read_model(group, member)
            said = json.dumps([model["architecture"], model["config"], sorted(tensors)])
            found[name] = digest(np.frombuffer(said.encode(), np.uint8), *tensors.values())
    scan = archive.scan()
    said = repr((scan.grid, scan.microscope, scan.phases, scan.name, archive.provenance()))
    arrays = [scan.detector.pc_bruker, scan.static_background]
    if scan.orientations is not None:
        arrays += [scan.orientations.quaternions, *scan.orientations.properties.values()]
    found["scan"] = digest(
        np.frombuffer(said.encode(), np.uint8), *(a for a in arrays if a is not None)
    )
    return found


def examine(path: Path, expected: dict[str, str]) -> str:
    """reported, harmless, or what is wrong."""
    try:
        report = ebsdarchive.verify(path, data=True)
    except EbsdArchiveError as error:
        if len(str(error).splitlines()) != 1:
            return f"an error of several lines: {error}"
        faults = [str(error)]
    else:
        faults = report.all_faults
        for fault in faults:
            if len(fault.splitlines()) != 1:
                return f"a fault of several lines: {fault}"
    try:
        ebsdarchive.validate(path)
        ebsdarchive.info(path)
        found = decoded(path)
    except EbsdArchiveError as error:
        return "reported" if faults else f"sound, but not readable: {error}"
    if faults:
        return "reported"
    if found != expected:
        different = [name for name in expected if found.get(name) != expected[name]]
        return f"sound, but {different} decode to something else"
    return "harmless"


@dataclass(frozen=True)
class Damage:
    """Bytes from `start` on that are replaced by others, and the length that the file is cut to."""

    what: str
    start: int = 0
    replacement: bytes = b""
    length: int | None = None

    def of(self, content: bytes) -> bytes:
        changed = bytearray(content)
        changed[self.start : self.start + len(self.replacement)] = self.replacement
        return bytes(changed[: self.length])


def cases_of(request: dict[str, Any], content: bytes) -> Iterator[Damage]:
    """Each damage that was asked for."""
    chance = random.Random(request.get("seed", 7))
    for position in request.get("positions", []):
        byte = content[position] ^ chance.randrange(1, 256)
        yield Damage(f"byte {position}: {content[position]} -> {byte}", position, bytes([byte]))
    for length in request.get("lengths", []):
        yield Damage(f"cut to {length} bytes", length=length)
    for first, last in request.get("zeros", []):
        yield Damage(f"zeros {first} to {last}", first, bytes(last - first))


def examine_batch(
    cases: list[Damage], content: bytes, path: Path, expected: dict[str, str], output: int
) -> None:
    """Examine cases one after another, telling each result; runs in a child."""
    for damage in cases:
        signal.alarm(SECONDS)
        path.write_bytes(damage.of(content))
        try:
            result = examine(path, expected)
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(output, (json.dumps(result) + "\n").encode())
    os._exit(0)


def main(request: dict[str, Any]) -> list[dict[str, str]]:
    source, path = Path(request["path"]), Path(request["folder"]) / "damaged.h5"
    expected = decoded(source)
    assert ebsdarchive.verify(source, data=True).sound
    ebsdarchive.info(source)
    content = source.read_bytes()
    cases = list(cases_of(request, content))
    results: list[str] = []
    while len(results) < len(cases):
        batch = cases[len(results) : len(results) + BATCH]
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            examine_batch(batch, content, path, expected, writing)
        os.close(writing)
        with os.fdopen(reading) as lines:
            found = [json.loads(line) for line in lines]
        _, status = os.waitpid(child, 0)
        results += found
        if len(found) < len(batch):
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            results.append(f"the process ended with {signal.Signals(number).name}")
    return [
        {"case": damage.what, "result": result}
        for damage, result in zip(cases, results, strict=True)
    ]


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.stdin.read()))))
