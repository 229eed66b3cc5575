"""``ebsdarchive train``."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from ebsdarchive.cli.options import PathType, progress_bar, readable_bytes, triple
from ebsdarchive.cli.teaching import TrainingLines, training_options
from ebsdarchive.restorers.train_options import NETWORKS, TrainOptions

__all__ = ["command"]


class _Sizes(click.ParamType):
    """Pattern sizes: 60,120 for square ones, 60x80 for rows and columns."""

    name = "px"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            sizes = [[int(n) for n in part.split("x")] for part in value.split(",")]
            return [(size[0], size[0]) if len(size) == 1 else (size[0], size[1]) for size in sizes]
        except (ValueError, IndexError):
            self.fail(f"expected sizes such as 60,120 or 60x80, found {value!r}", param, ctx)


class _Config(click.ParamType):
    """NAME=JSON of a network's configuration."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, sign, text = str(value).partition("=")
        try:
            if not sign:
                raise ValueError
            return name, json.loads(text)
        except ValueError:
            self.fail(f"expected NAME=VALUE with a JSON value, found {value!r}", param, ctx)


@click.command("train")
@click.argument("method", type=click.Choice(list(NETWORKS)), metavar="METHOD")
@click.option("-o", "--output", type=PathType, required=True, help="Model file (safetensors).")
@click.option(
    "--pairs",
    type=(PathType, PathType),
    metavar="NOISY REFERENCE",
    help="Two scans of the same points, the second with a longer exposure.",
)
@click.option(
    "--simulate",
    multiple=True,
    metavar="FILE[,PHASE...]|Ni",
    help="Master patterns to simulate from: of all phases of a file, of some, or kikuchipy's "
    "bundled Ni; may be repeated.",
)
@click.option(
    "--archive",
    "archives",
    multiple=True,
    type=PathType,
    metavar="FILE",
    help="An archive whose raw patterns are to become like its neural layer; may be repeated.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Of the points of measured scans to train on; the others validate.",
)
@click.option(
    "--size",
    "sizes",
    type=_Sizes(),
    default="60",
    show_default=True,
    help="Sizes of simulated patterns, such as 60,120 or 60x80 (rows x columns).",
)
@click.option(
    "--without",
    multiple=True,
    metavar="PHASE",
    help="A phase of a master pattern file to leave out; may be repeated.",
)
@click.option(
    "--pc",
    "pc_bruker",
    type=triple,
    help="Projection centre to simulate (Bruker's).  [default: any]",
)
@training_options(
    [
        click.option("--schedule", type=click.Choice(["cosine", "constant"]), default="cosine",
                     show_default=True, help="How the learning rate goes on."),
        click.option("--precision", type=click.Choice(["auto", "full", "mixed"]), default="full",
                     show_default=True, help="mixed: layers compute in bfloat16, faster where "
                     "that is native; auto: there alone."),
        click.option("--augment/--no-augment", default=True, show_default=True,
                     help="Change exposure, tone and place of measured patterns; they are never "
                     "mirrored or turned."),
        click.option("--config", multiple=True, type=_Config(), metavar="NAME=JSON",
                     help="Of the network, such as widths=[32,64]; may be repeated."),
    ],
    time_s=600, batch=32, learning_rate=1e-3, unit="Samples",
)  # fmt: skip
def command(method: str, output: str, as_json: bool, force: bool, **values: Any) -> None:
    """Train a network that restores patterns, or one that indexes them.

    METHOD is kikuchi, autoencoder, autoencoder-smooth, ddpm, mldm, or orientation to index.

    An interrupted training goes on where it stopped when it is called again with the same options;
    with less --time it ends there. ddpm trains the network of ddim, too.

    \b
    Examples:
      ebsdarchive train kikuchi --pairs fast.up2 slow.up2 -o model.safetensors
      ebsdarchive train kikuchi --simulate masters.h5 --without W --size 60,120 -o any.safetensors
      ebsdarchive train autoencoder --archive scan.archive.h5 --time 300 -o model.safetensors
      ebsdarchive train orientation --simulate Ni --pc 0.5,0.3,0.6 -o index.safetensors
    """
    from ebsdarchive import train
    from ebsdarchive.verbs.lessons import Lesson

    time_s, steps = values.pop("time_s"), values.pop("steps")
    options = TrainOptions(
        method=method,
        steps=steps,
        time_s=600.0 if time_s is None and steps is None else time_s,
        learning_rate=values.pop("learning_rate"),
        schedule=values.pop("schedule"),
        config=dict(values.pop("config")),
        seed=values.pop("seed"),
        precision=values.pop("precision"),
        device=values.pop("device"),
    )
    others = {name: values.pop(name) for name in ("init_from", "licence")}
    bar = progress_bar()
    shown = TrainingLines(bar)
    made = train(output, Lesson(**values), options, force=force, progress=shown, **others)
    bar.end()
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made)))
        return
    click.echo(
        f"{output}: {method} model, {made.parameters:,} parameters, {readable_bytes(made.stored)}, "
        f"{made.steps} steps in {made.seconds:.0f} s on {made.device}, loss {made.loss:.4g}, held "
        f"out {made.held_out_loss:.4g}"
    )
    for note in (*made.notes, *_figures(made.measured)):
        click.echo(f"  {note}")


def _figures(measured: Any) -> list[str]:
    """Lines on what the model can do."""
    lines = []
    for entry in measured.get("simulated", []):
        found = ", ".join(f"{k} {v:.3f}" for k, v in entry["correlation_with_clean"].items())
        signal = entry["signal_to_noise_per_pixel"]
        lines.append(f"signal to noise {signal:g}: correlation with the truth: {found}")
    held = measured.get("held_out_points")
    if held:
        found = ", ".join(f"{k} {v:.3f}" for k, v in held["correlation_with_reference"].items())
        lines.append(f"{held['points']} points not trained on: correlation with reference: {found}")
    for entry in measured.get("orientations", []):
        lines.append(
            f"signal to noise {entry['signal_to_noise_per_pixel']:g}: mean disorientation "
            f"{entry['mean_disorientation_deg']:.1f} deg, within 5 deg "
            f"{100 * entry['within_5_deg']:.1f} %"
        )
    return lines
