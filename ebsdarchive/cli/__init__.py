"""The command line: one module per command, each of them parse, call the verb, report.

Commands are loaded when they are called, so that `query` does not wait for what `fit` needs.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import signal
import sys
import traceback
from typing import Any

import click

from ebsdarchive import __version__
from ebsdarchive.cli.telling import TELLING_OPTIONS, is_verbose, level_kept
from ebsdarchive.errors import EbsdArchiveError

__all__ = ["COMMANDS", "main"]

COMMANDS = (
    "compress",
    "fit",
    "restore",
    "models",
    "query",
    "profile",
    "boundaries",
    "export",
    "index",
    "fuse",
    "compare",
    "plot",
    "annotate",
    "attach",
    "publish",
    "extract",
    "merge",
    "repack",
    "reference",
    "upgrade",
    "info",
    "formats",
    "verify",
    "validate",
    "train",
    "simulate",
    "demo",
)


class _InterruptedByUserError(Exception):
    """Ctrl-C, or a request to end."""


class _ClosedOutputError(Exception):
    """Whoever read the output has left."""


def _telling(command: click.Command) -> click.Command:
    """A copy of a command, and of those below it, with the options of what is told on the way."""
    copied = copy.copy(command)
    copied.params = [*command.params, *TELLING_OPTIONS]
    if isinstance(copied, click.Group):
        copied.commands = {name: _telling(below) for name, below in copied.commands.items()}
    return copied


class _Commands(click.Group):
    """Finds a command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"ebsdarchive.cli.{name}_command")
        return _telling(module.command)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click would write an empty line
            raise _InterruptedByUserError from error
        except BrokenPipeError as error:  # click would leave with 1
            raise _ClosedOutputError from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(
                f"expected one of {', '.join(COMMANDS)}, found {args[0]!r}", ctx
            ) from error


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=TELLING_OPTIONS,
)
@click.version_option(__version__, prog_name="ebsdarchive")
def ebsdarchive() -> None:
    """Keep EBSD patterns: lossless scans and neural fields of them in one HDF5 file.

    \b
    Exit codes: 0 done, 1 other error, 2 wrong arguments, 3 source file, 4 not an archive,
    5 unknown version, 6 damage, 7 missing layer, 8 outside the scan, 9 cannot write, 10 fit,
    130 interrupted. Of several scans: 0 if all succeeded, their code if those that failed share
    one, else 1.

    \b
    Completion of commands, options and layer names in bash (zsh, fish: zsh_source, fish_source):
      eval "$(_EBSDARCHIVE_COMPLETE=bash_source ebsdarchive)"
    """


def main(argv: list[str] | None = None) -> Any:
    """Run the command line; errors that a user can meet become one line and an exit code."""
    from ebsdarchive.archive.provenance import command_line

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # busy waiting ruins a shared machine
    arguments = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, _interrupt)
    with level_kept(), command_line(["ebsdarchive", *arguments]):
        return _run(arguments)


def _run(arguments: list[str]) -> Any:
    try:
        code = ebsdarchive.main(arguments, prog_name="ebsdarchive", standalone_mode=False)
        return _leave(code if isinstance(code, int) else 0)
    except EbsdArchiveError as error:
        return _fail(str(error), error.exit_code)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = "ebsdarchive" if context is None else context.command_path
        where = command.removeprefix("ebsdarchive").strip()
        message = error.format_message().rstrip(".")
        return _fail(f"{where}{': ' if where else ''}{message}; see {command} -h", error.exit_code)
    except _ClosedOutputError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _leave(0)
    except (_InterruptedByUserError, KeyboardInterrupt, click.Abort):
        return _fail("interrupted; nothing that was there before has changed", 130)
    except (MemoryError, OSError) as error:
        from ebsdarchive.verbs.faults import as_error

        known = as_error(error)
        return _fail(str(known), known.exit_code)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> int:
    if is_verbose():
        click.echo(traceback.format_exc().rstrip(), err=True)
    click.echo(
        f"\rebsdarchive: {message}" if sys.stderr.isatty() else f"ebsdarchive: {message}", err=True
    )
    return _leave(code)


def _leave(code: int) -> int:
    sys.exit(code)
