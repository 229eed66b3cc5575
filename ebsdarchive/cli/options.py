"""What commands share: option groups, how positions are written, and progress on stderr."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from ebsdarchive.cli.completion import layer_names, scan_names
from ebsdarchive.cli.telling import progress_bar

__all__ = [
    "CheckAllOption",
    "CorrelationOption",
    "FillOption",
    "LayerOption",
    "MetadataOption",
    "PathType",
    "SmoothingOption",
    "adding",
    "guarantee",
    "indexing_options",
    "neural_options",
    "pair",
    "path_options",
    "pick_neural_options",
    "positive_or_auto",
    "progress_bar",
    "readable_bytes",
    "region",
    "setting_options",
    "source_options",
    "stage_angles",
    "vertices",
]

PathType = click.Path(dir_okay=True)


class _Parsed(click.ParamType):
    """A parameter read by a function that raises ValueError with what it expected."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(f"expected {error}, found {value!r}", param, ctx)


def _two_numbers(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError("two numbers x,y") from error
    return x, y


def _positions(text: str) -> list[tuple[float, float]]:
    try:
        points = [_two_numbers(part) for part in text.split(":")]
    except ValueError as error:
        raise ValueError("positions x0,y0:x1,y1[:x2,y2...]") from error
    if len(points) < 2:
        raise ValueError("at least two positions x0,y0:x1,y1")
    return points


def _region(text: str) -> tuple[float, float, float, float]:
    points = _positions(text)
    if len(points) != 2:
        raise ValueError("two corners x0,y0:x1,y1")
    return (*points[0], *points[1])


def _columns_rows(text: str) -> tuple[int, int]:
    try:
        columns, rows = (int(part) for part in text.replace("x", ",").split(","))
    except ValueError as error:
        raise ValueError("two whole numbers NX,NY") from error
    return columns, rows


def _three_numbers(text: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError("three numbers X,Y,Z") from error
    return x, y, z


def _positive_or_auto(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdigit() or int(text) < 1:
        raise ValueError("auto or a whole number from 1")
    return int(text)


def _stage_angles(text: str) -> tuple[float, ...]:
    try:
        if ":" not in text:
            return tuple(float(part) for part in text.split(","))
        first, end, step = (float(part) for part in text.split(":"))
        count = math.ceil((end - first) / step - 1e-9)
    except (ArithmeticError, ValueError) as error:
        raise ValueError("first:end:step or a list of angles in degrees") from error
    if not 1 <= count <= 10_000:
        raise ValueError("first:end:step with a step that leads from first to end")
    return tuple(first + step * number for number in range(count))


pair = _Parsed("x,y", _two_numbers)
stage_angles = _Parsed("first:end:step", _stage_angles)
triple = _Parsed("x,y,z", _three_numbers)
vertices = _Parsed("x0,y0:x1,y1", _positions)
region = _Parsed("x0,y0:x1,y1", _region)
columns_rows = _Parsed("nx,ny", _columns_rows)
positive_or_auto = _Parsed("n|auto", _positive_or_auto)

LayerOption = click.option(
    "--layer",
    metavar="NAME",
    shell_complete=layer_names,
    help="Layer of patterns: raw, neural, or the name of a restored one.",
)

CorrelationOption = click.option(
    "--correlation",
    type=click.FloatRange(-1, 1),
    default=0.6,
    show_default=True,
    help="Of patterns that are of one grain; more finds fainter ones (0.6: 1.3 to 1.8 degrees).",
)

SmoothingOption = click.option(
    "--smoothing",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    metavar="STEPS",
    help="Width by which the field is smoothed to find the ridges of S.",
)


def path_options(required: bool) -> Callable[..., Any]:
    """The options of a path and its samples, and of the unit of all positions."""
    return adding(
        [
            click.option(
                "--path",
                "along",
                type=vertices,
                required=required,
                help="Along a polyline x0,y0:x1,y1[:x2,y2...].",
            ),
            click.option("--samples", type=click.IntRange(2), help="Positions along the path."),
            click.option("--spacing", type=float, help="Distance of positions along the path."),
            click.option(
                "--unit",
                type=click.Choice(["step", "um"]),
                default="step",
                show_default=True,
                help="Unit of positions and spacing.",
            ),
        ]
    )


def adding(options: list[Callable[..., Any]]) -> Callable[..., Any]:
    """What adds options to a command, in their order."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


FillOption = click.option(
    "--fill",
    multiple=True,
    metavar="WHERE",
    help="Fill points from sound ones on both sides where the measured pattern is blank (blank) or "
    "no phase was found (not-indexed, or not-indexed:MAP); may be repeated.",
)

CheckAllOption = click.option(
    "--check-all",
    is_flag=True,
    help="Of several scans: read again what a batch has made and checked before, too.",
)

MetadataOption = click.option(
    "--metadata",
    type=PathType,
    metavar="FILE",
    help="YAML or JSON file on title, people, sample, instrument, licence, funding.",
)
setting_options = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="An entry of the metadata, such as sample.name=Ni or people.0.orcid=...; repeat it.",
)


def indexing_options(background: str) -> Callable[..., Any]:
    """The options of Hough indexing; `background` is the default of its option."""
    options = [
        click.option(
            "--phase",
            "phases",
            multiple=True,
            metavar="NAME[:GROUP:LATTICE]",
            help="Phase of the scan, or another one with space group number and lattice (a,b,c,"
            "alpha,beta,gamma in angstrom and deg, or as few as its symmetry leaves free); may be "
            "repeated.  [default: all of the scan]",
        ),
        click.option(
            "--reflectors",
            multiple=True,
            metavar="HKL,HKL,...",
            help="Reflector families, once for each phase, such as 111,200,220 or 10-10,0002."
            "  [default: by structure]",
        ),
        click.option(
            "--background",
            type=click.Choice(["static", "dynamic", "bandpass"]),
            default=background,
            show_default=True,
            help="What patterns are freed of: the static background, also the dynamic one, or all "
            "but a band of frequencies.",
        ),
        click.option(
            "--pc", type=triple, help="Projection centre in Bruker's convention.  [default: scan's]"
        ),
    ]
    return adding(options)


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a source that is no archive."""
    return adding(
        [
            click.option(
                "--scan",
                metavar="NAME|N",
                shell_complete=scan_names,
                help="Scan of a file with several, by its name or its number from 1, as info lists "
                "them.  [default: the first]",
            ),
            click.option(
                "--geometry",
                type=PathType,
                metavar="FILE",
                help="Map of the scan, an .ang, .ctf or .edaxh5 file, for grid, orientations and "
                "what the source does not know.",
            ),
            click.option(
                "--index-pattern",
                metavar="TEXT",
                help="Names in a folder of images: x{x}_y{y}.png for column and row, {n}.tif for a "
                "running number, * for any text.",
            ),
        ]
    )(function)


def neural_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a neural fit."""
    return adding(
        [
            click.option(
                "--method",
                type=click.Choice(["tensor", "joint"]),
                default="tensor",
                show_default=True,
                help="tensor: network times basis; joint: one network (4D-INR), far slower.",
            ),
            click.option(
                "--network",
                type=click.Choice(["sine", "lattice", "auto"]),
                default="sine",
                show_default=True,
                help="lattice: grains of one value each, in seconds; auto: what suits the scan.",
            ),
            click.option(
                "--rank",
                type=positive_or_auto,
                default="auto",
                show_default=True,
                help="Components of the field; auto: those above the noise.",
            ),
            click.option(
                "--width",
                type=positive_or_auto,
                default="auto",
                show_default=True,
                help="Width of the network; auto: by the size of the scan.",
            ),
            click.option(
                "--target-mae",
                type=click.FloatRange(0, min_open=True),
                metavar="PCT",
                help="Smallest field with this mean error in % of full range.",
            ),
            click.option(
                "--target-size",
                type=click.FloatRange(0, min_open=True),
                metavar="MB",
                help="Best field of this size in MB.",
            ),
            click.option(
                "--target-deviation",
                type=click.FloatRange(0, min_open=True),
                metavar="DEG",
                help="Small field whose Hough-indexed orientations deviate no more on average.",
            ),
            click.option(
                "--coding-loss",
                type=click.FloatRange(0, min_open=True),
                default=1.5,
                show_default=True,
                metavar="PCT",
                help="Rise of the mean error that coding may cause, in % of it.",
            ),
            click.option(
                "--max-error",
                type=click.FloatRange(0),
                metavar="COUNTS",
                help="Also store what the field misses, so that no pixel errs more; 0: bit-exact.",
            ),
            click.option(
                "--time",
                "time_s",
                type=click.FloatRange(0, min_open=True),
                metavar="SECONDS",
                help="Time to train for.",
            ),
            click.option(
                "--steps",
                type=click.IntRange(1),
                metavar="N",
                help="Steps to train for, instead of a time.",
            ),
            click.option(
                "--band-weight",
                type=click.FloatRange(0, min_open=True),
                default=2.0,
                show_default=True,
                help="Weight of pixels at Kikuchi bands; 1: all alike.",
            ),
            click.option(
                "--mask",
                type=click.Choice(["auto", "none"]),
                default="auto",
                show_default=True,
                help="Leave out detector pixels without signal.",
            ),
            click.option(
                "--init-from",
                type=PathType,
                metavar="ARCHIVE",
                help="Begin training with the field of another scan of the same area.",
            ),
            click.option(
                "--basis",
                metavar="from:ARCHIVE|master:FILE[,PHASE]",
                help="Take the basis of another archive, or of patterns simulated from a master "
                "pattern (master:Ni: kikuchipy's), instead of the scan's own.",
            ),
            click.option(
                "--seed", type=int, default=0, show_default=True, help="Of all random numbers."
            ),
            click.option(
                "--device",
                type=click.Choice(["auto", "cpu", "cuda"]),
                default="auto",
                show_default=True,
                help="Where to train.",
            ),
        ]
    )(function)


def pick_neural_options(values: dict[str, Any]) -> Any:
    """Take the options of a neural fit out of a command's parameters."""
    from ebsdarchive.verbs.fitting import NeuralOptions

    return NeuralOptions(
        method=values.pop("method"),
        network=values.pop("network"),
        rank=values.pop("rank"),
        width=values.pop("width"),
        target_mae_pct=values.pop("target_mae"),
        target_size_mb=values.pop("target_size"),
        coding_loss_pct=values.pop("coding_loss"),
        max_error_counts=values.pop("max_error"),
        target_deviation_deg=values.pop("target_deviation"),
        init_from=values.pop("init_from"),
        basis=values.pop("basis"),
        time_s=values.pop("time_s"),
        steps=values.pop("steps"),
        band_weight=values.pop("band_weight"),
        mask=values.pop("mask"),
        seed=values.pop("seed"),
        device=values.pop("device"),
    )


def guarantee(max_error_counts: float) -> str:
    """What the residual of a neural layer guarantees, in words."""
    if max_error_counts == 0:
        return "with its residual bit-exact at all measured points"
    return (
        f"with its residual no pixel of a measured point is off by more than {max_error_counts:g}"
    )


def readable_bytes(count: float) -> str:
    """A number of bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError
