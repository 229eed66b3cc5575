"""The directive ``command-reference``: every command and option, as the command line has them.

What it writes comes from the same objects as ``--help``, so that the two cannot differ.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ebsdarchive.cli import COMMANDS

__all__ = ["command_lines"]


class CommandReference(SphinxDirective):
    """A section for each command: what it does, how it is called, its options."""

    def run(self) -> list[nodes.Node]:
        sections: list[nodes.Node] = []
        for name in COMMANDS:
            command = importlib.import_module(f"ebsdarchive.cli.{name}_command").command
            section = nodes.section("", nodes.title("", name), ids=[f"command-{name}"])
            section += self.parse_text_to_nodes("\n".join(command_lines(name, command)))
            sections.append(section)
        return sections


def command_lines(
    name: str, command: click.Command, program: click.Context | None = None
) -> list[str]:
    """The section of a command as lines of reStructuredText, without its heading.

    Those of the commands below it follow, each behind its name.
    """
    program = program or click.Context(click.Group("ebsdarchive"), info_name="ebsdarchive")
    context = click.Context(command, info_name=name, parent=program)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [".. code-block:: text", "", f"   {context.command_path} {usage}", ""]
    for paragraph in (command.help or "").split("\n\n"):
        lines += [*_paragraph(paragraph), ""]
    lines += [f".. program:: {context.command_path}", ""]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None:
            declared, text = record
            lines += [
                f".. option:: {declared.replace(' / ', ', ')}",
                "",
                f"   {_escaped(text)}",
                "",
            ]
    if isinstance(command, click.Group):
        for below, one in command.commands.items():
            lines += [f".. rubric:: {name} {below}", "", *command_lines(below, one, context)]
    return lines


def _paragraph(text: str) -> list[str]:
    r"""A paragraph of a help text; after a ``\b`` and a label come commands, as they are typed."""
    label, *commands = text.strip("\b\n ").splitlines()
    if not label.endswith(":"):
        return [_escaped(" ".join(text.strip("\b\n ").split()))]
    return [label, "", ".. code-block:: bash", "", *(f"   {line.strip()}" for line in commands)]


def _escaped(text: str) -> str:
    """Text in which only backticks keep a meaning."""
    return re.sub(r"([\\*_|])", r"\\\1", text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-reference", CommandReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
