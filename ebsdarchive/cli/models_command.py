"""``ebsdarchive models``: a command for each thing that is done with the models of an archive."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ebsdarchive.cli.options import PathType, progress_bar, readable_bytes


@click.group("models", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List, add, export and remove the models of restorers that ARCHIVE keeps.

    Models are .safetensors files and the same numbers in an archive: never code.

    \b
    Examples:
      ebsdarchive models list scan.archive.h5
      ebsdarchive models add scan.archive.h5 mine.safetensors --name mine
      ebsdarchive models export scan.archive.h5 mine -o mine.safetensors
      ebsdarchive models remove scan.archive.h5 mine
    """


@command.command("list")
@click.argument("archive", type=PathType)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def list_models(archive: str, as_json: bool) -> None:
    """List the models of ARCHIVE with their cards.

    \b
    Example:
      ebsdarchive models list scan.archive.h5
    """
    from ebsdarchive import models

    found = models(archive)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(model) for model in found], ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(archive, found)))


@command.command("add")
@click.argument("archive", type=PathType)
@click.argument("checkpoint", type=PathType)
@click.option("--name", help="Of the model.  [default: the file's name]")
@click.option("--force", is_flag=True, help="Replace a model of that name.")
def add_model(archive: str, checkpoint: str, **values: Any) -> None:
    """Add the .safetensors file CHECKPOINT to the models of ARCHIVE.

    \b
    Example:
      ebsdarchive models add scan.archive.h5 mine.safetensors --name mine
    """
    from ebsdarchive import add_model

    bar = progress_bar()
    added = add_model(archive, checkpoint, progress=bar, **values)
    bar.end()
    click.echo(f"{archive}: {_line(added)}")


@command.command("export")
@click.argument("archive", type=PathType)
@click.argument("name")
@click.option(
    "-o", "--output", type=PathType, help="File to write.  [default: NAME.safetensors here]"
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
def export_model(archive: str, name: str, **values: Any) -> None:
    """Write the model NAME of ARCHIVE as a .safetensors file.

    \b
    Example:
      ebsdarchive models export scan.archive.h5 mine -o mine.safetensors
    """
    from ebsdarchive import export_model

    path = export_model(archive, name, **values)
    click.echo(f"{path}: {readable_bytes(path.stat().st_size)}")


@command.command("remove")
@click.argument("archive", type=PathType)
@click.argument("name")
@click.option("--force", is_flag=True, help="Also one that restored layers were made with.")
def remove_model(archive: str, name: str, force: bool) -> None:
    """Remove the model NAME from ARCHIVE.

    \b
    Example:
      ebsdarchive models remove scan.archive.h5 mine
    """
    from ebsdarchive import remove_model

    bar = progress_bar()
    remove_model(archive, name, force=force, progress=bar)
    bar.end()
    click.echo(f"{archive}: models/{name} removed")


def _lines(archive: str, found: list[Any]) -> list[str]:
    if not found:
        return [f"{archive}: no models"]
    lines = [f"{archive}: {len(found)} model{'s' if len(found) > 1 else ''}"]
    for model in found:
        lines.append(f"  {_line(model)}")
        lines.append(f"    digest {model.sha256 or 'not known'}")
        if model.used_by:
            lines.append(f"    made {', '.join(model.used_by)}")
        lines += [f"    {key}: {_value(value)}" for key, value in model.card.items()]
    return lines


def _line(model: Any) -> str:
    version = f" version {model.version}" if model.version else ""
    return (
        f"models/{model.name}: {model.method}{version}, {model.parameters:,} parameters, "
        f"{readable_bytes(model.stored_bytes)}"
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
