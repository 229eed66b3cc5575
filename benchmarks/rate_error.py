"""Bytes over error of our field and of its peers, on a real scan and two simulated ones.

    python benchmarks/rate_error.py [--works W1,W2,W3] [--levels 1.1,1.5] [--small] [--fast]

Ours is what `--network auto` takes for a target, sine layers or a lattice of labels. Errors are
mean absolute errors over all points and all pixels of the mask, in percent of the full range of the
measured patterns there; of simulated scans also against the truth without noise. For each error
level the tables give the bytes of each method, interpolated between its settings next to it (error
linear in the logarithm of bytes), and in brackets how many times ours that is; "<" where its
coarsest setting is better than asked for. The KLT floor is the error of the KLT at the rank of the
package's rule, uncoded (against the truth: at the best rank). `--small` makes the simulated scans
small and `--fast` tries few settings of the peers: for trying things out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from coded_works import Coded, Work, front, open_work
from klt_peers import Klt, klt_of
from peers import PEERS, paper_recipe
from works import deformed_and_truth, grains_and_truth, real_ni

from ebsdarchive.neural.field import Field
from ebsdarchive.neural.fit import FitOptions, fit_field
from ebsdarchive.neural.pixels import values_inside
from ebsdarchive.scan import Scan

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import NullFormatter

OURS = "ebsdarchive"
LEVELS = (1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0)
PAPER_PCT = 0.655
TITLES = {
    "W1": "real Ni superalloy",
    "W2": "simulated Ni",
    "W3": "simulated Ni, deformed grains",
}


@dataclass(frozen=True)
class Point:
    """One coded scan, measured: error against the patterns, and against the truth or NaN."""

    label: str
    setting: str
    nbytes: int
    error_pct: float
    truth_pct: float


class Record:
    """Points of finished methods in a JSON file, or in memory alone."""

    def __init__(self, path: str | None) -> None:
        self.path = None if path is None else Path(path)
        self._found: dict[str, list[dict[str, Any]]] = {}
        if self.path is not None and self.path.exists():
            self._found = json.loads(self.path.read_text())

    def get(self, key: str) -> list[Point] | None:
        found = self._found.get(key)
        return None if found is None else [Point(**values) for values in found]

    def put(self, key: str, points: list[Point]) -> None:
        self._found[key] = [asdict(point) for point in points]
        if self.path is not None:
            self.path.write_text(json.dumps(self._found, indent=1))


def ours(scan: Scan, mask: np.ndarray, settings: dict[str, Any], folder: str) -> tuple[int, Any]:
    """Bytes of a field fitted with `settings`, and a function (start, stop) -> (b, m) counts.

    Networks of the same shape for the same components are trained once: `folder` holds them.
    """
    fitted = fit_field(scan, FitOptions(mask=mask, **settings), checkpoint=f"{folder}/fit")
    field = Field(fitted.tensors, scan.grid)

    def decode(start: int, stop: int) -> np.ndarray:
        return field.masked(field.coefficients(scan.grid.positions_of(start, stop)))

    return fitted.coded.nbytes, decode


def our_settings(levels: list[str], floor: float) -> list[dict[str, Any]]:
    """Settings of `ours` from fine to coarse: what a user asks for, or nothing ("default")."""
    return [
        {"network": "auto"}
        | ({} if level == "default" else {"target_mae_pct": round(float(level) * floor, 5)})
        for level in levels
    ]


def coded_by_us(work: Work, settings: dict[str, Any], folder: str) -> Iterator[Coded]:
    """Our field at one setting."""
    begun = time.perf_counter()
    nbytes, decode = ours(work.scan, work.mask, settings, folder)
    shown = ", ".join(f"{k} {v}" for k, v in settings.items())
    shown += f", {time.perf_counter() - begun:.0f} s"
    yield Coded(OURS, shown, nbytes, partial(decoded_blocks, work, decode))


def decoded_blocks(work: Work, decode: Any) -> Iterator[tuple[int, int, np.ndarray]]:
    for start, stop in work.scan.grid.blocks(work.scan.pattern_bytes, 16 << 20):
        yield start, stop, decode(start, stop)


def measured(work: Work, coded: Coded) -> Point:
    """Errors of a coded scan over all points."""
    if coded.decoded is None:
        assert coded.error_pct is not None
        return Point(coded.label, coded.setting, coded.nbytes, coded.error_pct, np.nan)
    total = np.zeros(2)
    for start, stop, values in coded.decoded():
        for k, scan in enumerate((work.scan, work.truth)):
            if scan is None:
                total[k] = np.nan
                continue
            expected = values_inside(scan.patterns.read(start, stop), work.mask)
            total[k] += np.abs(values - expected).sum(dtype=np.float64)
    error, truth = 100 * total / (work.scan.grid.size * work.mask.sum()) / work.span
    return Point(coded.label, coded.setting, coded.nbytes, float(error), float(truth))


def floors(work: Work, klt: Klt) -> tuple[float, float]:
    """Errors in percent of the KLT alone: at the rule's rank, and against the truth at the best."""

    def blocks(rank: int) -> Iterator[tuple[int, int, np.ndarray]]:
        for start, stop in work.scan.grid.blocks(work.scan.pattern_bytes, 16 << 20):
            part = klt.coefficients[start:stop, :rank] @ klt.vectors[:rank]
            yield start, stop, part + klt.mean

    def point(rank: int) -> Point:
        return measured(work, Coded("KLT", f"rank {rank}", 0, partial(blocks, rank)))

    floor = point(klt.rank - 1).error_pct
    if work.truth is None:
        return floor, np.nan
    return floor, min(point(rank).truth_pct for rank in klt.ranks(finely=False))


def run(work: Work, options: argparse.Namespace) -> tuple[list[Point], tuple[float, float]]:
    """All points of a work, and its floors."""
    klt = klt_of(work)
    floor = floors(work, klt)
    print(f"\n## {work.title}\n")
    print(
        f"{work.scan.nbytes / 1e6:.1f} MB, {work.mask.mean():.0%} of the pixels in the mask; "
        f"full range {work.span:.0f} counts; rank by the rule {klt.rank}"
    )
    methods: dict[str, Any] = {}
    folder = tempfile.TemporaryDirectory()
    for settings in our_settings(options.levels, floor[0]):
        target = settings.get("target_mae_pct", "default")
        methods[f"{OURS}, {target}"] = partial(coded_by_us, work, settings, folder.name)
    if not options.ours_alone:
        methods |= {
            p.__name__: partial(p, work, klt) for p in PEERS if p.__name__ not in options.without
        }
    if options.recipe_seconds > 0:
        methods["paper_recipe"] = partial(paper_recipe, work, klt, options.recipe_seconds)
    points = []
    print("\n| method | setting | bytes | MAE % | MAE % of truth |\n|---|---|---|---|---|")
    for name, method in methods.items():
        key = f"{work.title}: {name}"
        found = options.record.get(key)
        if found is None:
            begun = time.perf_counter()
            found = [measured(work, coded) for coded in method()]
            print(f"| {key} | {time.perf_counter() - begun:.0f} s | | | |", flush=True)
            options.record.put(key, found)
        for point in found:
            print(
                f"| {point.label} | {point.setting} | {point.nbytes:,} | {point.error_pct:.4f} | "
                f"{shown_error(point.truth_pct)} |",
                flush=True,
            )
        points += found
    folder.cleanup()
    return points, floor


def size_of(scan: Scan) -> str:
    grid, (_, sy, sx) = scan.grid, scan.patterns.shape
    return f"{grid.n_rows}x{grid.n_columns} points of {sy}x{sx} px"


def shown_error(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"


# ---------------------------------------------------------------- curves and tables


def curve_of(points: list[Point], label: str, of_truth: bool) -> list[tuple[float, float]]:
    """(bytes, error) of a method's settings that nothing smaller is as good as, by size."""
    pairs = [
        (p.nbytes, p.truth_pct if of_truth else p.error_pct) for p in points if p.label == label
    ]
    pairs = [pair for pair in pairs if not np.isnan(pair[1])]
    return [pairs[i] for i in front([a for a, _ in pairs], [b for _, b in pairs])]


def bytes_at(curve: list[tuple[float, float]], level: float) -> tuple[float, bool] | None:
    """Bytes for an error, and whether fewer would do; None where the error is not reached."""
    if not curve or curve[-1][1] > level:
        return None
    if curve[0][1] <= level:
        return curve[0][0], curve[0][1] < level
    errors = np.array([e for _, e in curve])[::-1]
    sizes = np.log([s for s, _ in curve])[::-1]
    return float(np.exp(np.interp(level, errors, sizes))), False


def print_table(points: list[Point], floor: float, of_truth: bool) -> None:
    """Bytes of each method at each error level, and the ratio to ours."""
    levels = [(f"{f:g}x", f * floor) for f in LEVELS] + [(f"{PAPER_PCT} %", PAPER_PCT)]
    against = "the truth" if of_truth else "the measured patterns"
    print(f"\nbytes against {against}, KLT floor {floor:.4f} %\n")
    print("| method | " + " | ".join(f"{n} ({e:.3f} %)" for n, e in levels) + " |")
    print("|---" * (len(levels) + 1) + "|")
    labels = list(dict.fromkeys(p.label for p in points))
    reference = curve_of(points, OURS, of_truth)
    for label in labels:
        curve = curve_of(points, label, of_truth)
        if not curve:
            continue
        cells = [cell(bytes_at(curve, e), bytes_at(reference, e)) for _, e in levels]
        print(f"| {label} | " + " | ".join(cells) + " |")


def cell(found: tuple[float, bool] | None, mine: tuple[float, bool] | None) -> str:
    if found is None:
        return "-"
    size, less = found
    text = f"{'< ' if less else ''}{size / 1e3:,.1f} kB"
    return text if mine is None else f"{text} ({size / mine[0]:.2f})"


def draw(results: dict[str, tuple[Work, list[Point], tuple[float, float]]], path: str) -> None:
    """One column per work; below, where the truth is known, the errors against it."""
    rows = 1 + any(work.truth is not None for work, _, _ in results.values())
    figure, axes = plt.subplots(
        rows, len(results), figsize=(6.5 * len(results), 5 * rows), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    colours = plt.get_cmap("tab10").colors
    labels = list(dict.fromkeys(p.label for _, points, _ in results.values() for p in points))
    for column, (work, points, floor) in enumerate(results.values()):
        for row in range(rows):
            axis = axes[row, column]
            if np.isnan(floor[row]):
                axis.set_visible(False)
                continue
            for label in labels:
                curve = curve_of(points, label, row == 1)
                style = {"color": colours[labels.index(label) % 10], "label": label}
                width = 2.5 if label == OURS else 1.3
                if curve:
                    axis.plot(*zip(*curve, strict=True), "o-", ms=3, lw=width, **style)
            axis.axhline(floor[row], color="0.5", ls="--", lw=1)
            axis.text(0.99, floor[row], "KLT floor", transform=axis.get_yaxis_transform(),
                      ha="right", va="bottom", color="0.4", fontsize=8)  # fmt: skip
            axis.set_xscale("log")
            axis.set_yscale("log")
            factors = (0.6, 1, 1.5, 2, 3, 5) if row else (1, 1.1, 1.25, 1.5, 2, 3)
            axis.set_ylim(0.9 * factors[0] * floor[row], 1.05 * factors[-1] * floor[row])
            ticks = [round(f * floor[row], 2) for f in factors]
            axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel("bytes")
            axis.set_ylabel("MAE, % of full range" + (", against the truth" if row else ""))
            axis.set_title(work.title, fontsize=10)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    print(f"\nwrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--works", default="W1,W2,W3")
    parser.add_argument("--small", action="store_true", help="small simulated scans")
    parser.add_argument("--fast", action="store_true", help="few settings")
    parser.add_argument("--ours-alone", action="store_true", help="leave the peers out")
    names = ", ".join(peer.__name__ for peer in PEERS)
    parser.add_argument(
        "--levels",
        default="default,1.02,1.05,1.1,1.25,1.5,2,3",
        help="our targets, over the KLT floor; default: no target",
    )
    parser.add_argument("--without", default="", help=f"peers to leave out: {names}")
    parser.add_argument("--recipe-seconds", type=float, default=0.0, help="0 leaves it out")
    parser.add_argument("--record", help="file of finished methods, to go on from")
    parser.add_argument("-o", "--output", default="rate_error.png")
    options = parser.parse_args()
    options.levels = options.levels.split(",")
    options.without = options.without.split(",")
    options.record = Record(options.record)
    results = {}
    for name in options.works.split(","):
        scan, truth = {
            "W1": lambda: (real_ni(), None),
            "W2": lambda: grains_and_truth(options.small),
            "W3": lambda: deformed_and_truth(options.small),
        }[name]()
        work = open_work(f"{name}: {TITLES[name]}, {size_of(scan)}", scan, truth, options.fast)
        points, floor = run(work, options)
        print_table(points, floor[0], of_truth=False)
        if truth is not None:
            print_table(points, floor[1], of_truth=True)
        results[name] = (work, points, floor)
    draw(results, options.output)


if __name__ == "__main__":
    main()
