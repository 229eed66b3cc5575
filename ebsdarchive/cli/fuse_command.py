"""``ebsdarchive fuse``: results finer than the scan, from EBSD and polarised light."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import click

from ebsdarchive.cli.options import PathType, progress_bar, readable_bytes
from ebsdarchive.cli.teaching import TrainingLines, training_options
from ebsdarchive.multimodal.fuse_options import ALIGNMENTS, FuseOptions


@click.group("fuse")
def command() -> None:
    """Estimate what lies between the points of a scan, from EBSD and polarised light.

    A diffusion model of both draws samples that agree with what was measured. Results are what the
    samples have in common, marked as an estimate, with how much they differ.

    \b
    Example:
      ebsdarchive fuse superres scan.archive.h5 --per-step 2 --samples 8
    """


def _fusing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that draws samples."""
    options = [
        click.argument("archive", type=PathType),
        click.option("--per-step", type=click.IntRange(1), default=4, show_default=True,
                     metavar="K", help="Samples of the raster per scan step."),
        click.option("--map", "orientation_map", metavar="NAME",
                     help="Orientation map of `ebsdarchive index`.  [default: the only one]"),
        click.option("--light", metavar="NAME|none",
                     help="Layer of polarised light, as `ebsdarchive attach` makes; none: "
                     "orientations alone.  [default: the only one]"),
        click.option("--model", type=PathType, metavar="FILE",
                     help="Model of `ebsdarchive fuse train`.  [default: the package's]"),
        click.option("--samples", type=click.IntRange(1), default=4, show_default=True,
                     help="Samples to draw."),
        click.option("--steps", type=click.IntRange(2, 1000), default=50, show_default=True,
                     help="Steps of each."),
        click.option("--guidance", type=click.IntRange(0, 1000), default=8, show_default=True,
                     help="Derivatives of the model at each step, that tell what a measured point "
                     "says of its grain."),
        click.option("--particles", type=click.IntRange(1), default=1, show_default=True,
                     help="Particles of each, with --guidance 0."),
        click.option("--moves", type=click.IntRange(0, 1000), default=0, show_default=True,
                     help="Moves of each particle after a step: what was measured at a point "
                     "spreads over its grain, without --guidance."),
        click.option("--orientation-noise", type=click.FloatRange(0), default=0.01,
                     show_default=True, metavar="SIGMA",
                     help="Noise of measured orientations, in the model's channels of -1 to 1."),
        click.option("--light-noise", type=click.FloatRange(0), metavar="SIGMA",
                     help="Noise of the light's channels.  [default: as its pixels show it]"),
        click.option("--threads", type=click.IntRange(1), default=1, show_default=True,
                     help="Samples that are drawn at the same time."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
                     help="Of all random numbers."),
        click.option("--name", default="fused", show_default=True,
                     help="What the names of the maps begin with."),
        click.option("--force", is_flag=True, help="Replace existing maps."),
        click.option("--json", "as_json", is_flag=True, help="Report as JSON."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


AlignOption = click.option(
    "--align",
    type=click.Choice(ALIGNMENTS),
    default=ALIGNMENTS[0],
    show_default=True,
    help="Turn grains to what was measured in them, or correct the samples by a network that is "
    "fitted at the measured points.",
)


@command.command("superres")
@_fusing
@AlignOption
def superres(archive: str, as_json: bool, **values: Any) -> None:
    """Orientations on a finer raster, as maps/NAME, with the samples' spread in degrees.

    \b
    Example:
      ebsdarchive fuse superres scan.archive.h5 --per-step 2 --samples 8
    """
    _run("superres", archive, as_json, values)


@command.command("boundaries")
@_fusing
def boundaries(archive: str, as_json: bool, **values: Any) -> None:
    """Grains and boundaries on a finer raster, as maps/NAME-grains and maps/NAME-boundaries.

    Boundaries are polylines as those of `ebsdarchive boundaries`, with which they are compared
    where the archive has them; `ebsdarchive export` writes both.

    \b
    Example:
      ebsdarchive fuse boundaries scan.archive.h5 --per-step 2 --samples 8
    """
    _run("boundaries", archive, as_json, values)


@command.command("denoise")
@_fusing
def denoise(archive: str, as_json: bool, **values: Any) -> None:
    """Polarised light without noise and scratches, as maps/NAME-light, with its spread.

    \b
    Example:
      ebsdarchive fuse denoise scan.archive.h5 --per-step 2 --samples 8
    """
    _run("denoise", archive, as_json, values)


def _run(result: str, archive: str, as_json: bool, values: dict[str, Any]) -> None:
    import ebsdarchive

    names = {entry.name for entry in dataclasses.fields(FuseOptions)} & set(values)
    options = FuseOptions(**{name: values.pop(name) for name in names})
    bar = progress_bar()
    verb = getattr(ebsdarchive, f"fuse_{result}")
    made = verb(archive, options=options, progress=bar, **values)
    bar.end()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made)))
        return
    rows, columns = made.shape
    click.echo(
        f"{archive}: {', '.join(made.layers)}: {columns} x {rows}, {made.per_step} per step, an "
        f"estimate of {made.samples} samples in {made.seconds:.3g} s"
    )
    for line in (*_lines(made), *made.notes):
        click.echo(f"  {line}")


def _lines(made: Any) -> list[str]:
    lines = []
    if made.orientation_map:
        lines.append(
            f"orientations of {made.orientation_map}, measured at {100 * made.measured:.3g} % of "
            f"the raster"
        )
    if made.light:
        noise = ", ".join(f"{sigma:.3g}" for sigma in made.light_noise)
        lines.append(f"light of {made.light}, noise {noise}")
    if made.spread_deg and "superres" in _results(made):
        mean, most = made.spread_deg
        lines.append(f"spread of the orientations: mean {mean:.3g} deg, 95 % below {most:.3g} deg")
    if made.grains is not None:
        lines.append(f"{made.grains} grains, boundaries of {made.length_steps:.4g} steps in all")
    if made.chamfer_steps:
        there, back = made.chamfer_steps
        lines.append(
            f"to the boundaries of the diffraction gradient {there:.3g} steps on average, from "
            f"them {back:.3g}"
        )
    return lines


def _results(made: Any) -> set[str]:
    """What was made, by the names of the layers."""
    found = {"boundaries"} if made.grains is not None else set()
    if any(layer.endswith("-light") for layer in made.layers):
        found.add("denoise")
    return found or {"superres"}


@command.command("train")
@click.argument("kind", type=click.Choice(["multimodal", "ebsd", "light"]), metavar="KIND")
@click.option("-o", "--output", type=PathType, required=True, help="Model file (safetensors).")
@training_options([], time_s=2400, batch=16, learning_rate=1.5e-3, unit="Windows")
def train(output: str, as_json: bool, force: bool, **values: Any) -> None:
    """Train a model of maps on simulated titanium.

    KIND is multimodal (orientation and light), ebsd (orientation alone) or light.

    An interrupted training goes on where it stopped when it is called again with the same options;
    with less --time it ends there. The weights of the best validation are kept.

    \b
    Example:
      ebsdarchive fuse train multimodal --time 3600 -o maps.safetensors
    """
    from ebsdarchive import fuse_train
    from ebsdarchive.verbs.fuse_training import FuseTrainOptions

    others = {name: values.pop(name) for name in ("init_from", "licence")}
    if values["steps"] is None and values["time_s"] is None:
        values["time_s"] = 2400.0
    bar = progress_bar()
    shown = TrainingLines(bar)
    made = fuse_train(output, FuseTrainOptions(**values), force=force, progress=shown, **others)
    bar.end()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made)))
        return
    click.echo(
        f"{output}: {made.kind} model of maps, {made.parameters:,} parameters, "
        f"{readable_bytes(made.stored)}, {made.steps} steps in {made.seconds:.0f} s on "
        f"{made.device}, loss {made.loss:.4g}, held out {made.held_out_loss:.4g}"
    )
    for note in made.notes:
        click.echo(f"  {note}")
