"""Runs the tutorial and puts its output and its pictures into the page: `make tutorial`.

A block of output is what the commands or the Python of the block before it print; a picture of the
page is the .png file of that name that a command writes, as JPEG where the page wants one (noisy
patterns are large as PNG). Both are remade together, so that figures and pictures on the page are
of one run.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE", "PICTURES", "Block", "blocks_of", "picture_names"]

PAGE = Path(__file__).parent / "start" / "tutorial.md"
PICTURES = PAGE.parent / "pictures"
WIDTH = 900  # pixels
QUALITIES = (85, 75, 65)  # of JPEG, the first that is small enough; a PNG has none
MOST_BYTES = 150_000

_BLOCK = re.compile(r"```(bash|python|text)\n(.*?)```\n", re.S)
_PICTURE = re.compile(r"\]\(pictures/([\w-]+\.(?:png|jpg))\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: bash, python, or the text that the one before it prints."""

    language: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """Arguments of the `ebsdarchive` lines of a bash block."""
        lines = [line for line in self.text.splitlines() if line.startswith("ebsdarchive ")]
        return [shlex.split(line, comments=True)[1:] for line in lines]


def blocks_of(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(*found.groups()) for found in _BLOCK.finditer(page)]


def picture_names(page: str) -> list[str]:
    """The pictures that a page shows."""
    return _PICTURE.findall(page)


def main() -> None:
    """Run everything in a temporary folder, then write the page and its pictures."""
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        outputs = _outputs(blocks_of(page))
        filled = _BLOCK.sub(lambda found: f"```{found[1]}\n{next(outputs)}```\n", page)
        PAGE.write_text(filled, encoding="utf-8")
        PICTURES.mkdir(exist_ok=True)
        for picture in picture_names(page):
            _keep_picture(Path(picture).with_suffix(".png"), PICTURES / picture)


def _outputs(blocks: list[Block]) -> Iterator[str]:
    """What stands in each block: itself, or the output of the one before."""
    names: dict[str, object] = {}
    filled, printed = [], ""
    for block in blocks:
        if block.language == "bash":
            printed = "".join(_run(arguments) for arguments in block.commands)
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(block.text, names)
            printed = stream.getvalue()
        filled.append(printed if block.language == "text" else block.text)
    return iter(filled)


def _run(arguments: list[str]) -> str:
    """What a command prints; progress goes where ours does."""
    command = [sys.executable, "-m", "ebsdarchive", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parents[2])}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return done.stdout


def _keep_picture(source: Path, target: Path) -> None:
    """A copy for the page, no wider than it is shown."""
    from PIL import Image

    image = Image.open(source).convert("RGB")
    if image.width > WIDTH:
        height = round(image.height * WIDTH / image.width)
        image = image.resize((WIDTH, height), Image.Resampling.LANCZOS)
    for quality in QUALITIES:
        image.save(target, optimize=True, quality=quality)
        if target.stat().st_size <= MOST_BYTES:
            return
    raise SystemExit(f"{target}: {target.stat().st_size} bytes, expected {MOST_BYTES} at most")


if __name__ == "__main__":
    main()
