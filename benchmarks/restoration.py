"""Restorers side by side: confidence, share of right orientations, likeness to the truth, speed.

    python benchmarks/restoration.py [--part scans]... [--model kikuchi.safetensors]...

Simulated nickel at the doses where raw Hough confidence is 0.43/0.80 and 0.20/0.80 of that of the
clean patterns (the paper's 1 ms and 0.5 ms), and at that where NLPAR's is 0.61 on the scan with
large grains (all three searched for, and printed): a scan with large grains, one of about five
points per grain, and isolated patterns; a round screen; phases that no model was trained on if it
left them out; overlapping patterns and pure noise; the pairs of ZrO2; what passing the codec of
mldm costs; patterns a second; and a picture. Hough indexing divides by the static background and
does nothing else to any pattern. `paired_models.py` makes the models of the paper.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (filters)
import numpy as np
import torch
from noisy_works import PAPER, Indexing, Noisy, dose_for, grains, isolated, of_pixels
from works import SHARED

from ebsdarchive.analysis.similarity import compare_patterns
from ebsdarchive.neural.fit import fit_field
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.restorers import latent
from ebsdarchive.restorers.checkpoint import Checkpoint, read_checkpoint
from ebsdarchive.restorers.evaluation import correlation
from ebsdarchive.restorers.flattening import flatten
from ebsdarchive.restorers.registry import METHODS, restorer_of, shipped_model
from ebsdarchive.restorers.restorer import Estimate, Surroundings, WholeScan, prepared
from ebsdarchive.scan import ArrayPatterns
from ebsdarchive.simulation import MasterPattern, read_master_pattern

UNSEEN = ("Cu", "W", "Zr_alpha", "TiO2_brookite")  # fcc, bcc, hcp, of low symmetry
COLUMNS = "| {} | {:.3f} | {:.1f} | {:.2f} | {:.3f} | {:.4f} | {} | {:.0f} |"
PARTS = ("scans", "isolated", "screen", "phases", "mixtures", "zro2", "codec", "speed", "picture")
NLPAR_FALLS = 0.61  # to this confidence, from 0.79 of the clean patterns
HEAD = """| method | confidence | within 5 deg % | median deg | SSIM | MSE | flagged % | a core s |
|---|---|---|---|---|---|---|---|"""
RAW = "raw"


class Methods:
    """What is compared: methods of the registry that need no model, the package's, and models."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.models: dict[str, tuple[str, Checkpoint]] = {}
        for path in asked.model or [str(shipped_model("kikuchi"))]:
            checkpoint = read_checkpoint(path)
            for method, known in METHODS.items():
                if known.learned and checkpoint.method == (known.models_of or method):
                    name = f"{method}, {Path(path).stem}" if method in self.models else method
                    self.models[name] = (method, checkpoint)

    def names(self, neighbours: bool = True) -> Iterator[str]:
        """All of them; without neighbours, those that make something of a pattern alone."""
        if neighbours:
            for name, known in METHODS.items():
                if not known.learned and (name != "field" or self.asked.field_time > 0):
                    yield name
        for name, (method, _) in self.models.items():
            if method not in self.asked.leave_out:
                yield name

    def restore(self, name: str, work: Noisy, steps: int | None = None) -> tuple[Estimate, float]:
        """Estimates of a scan, and seconds of a core that they took."""
        patterns, grid, mask = work.patterns, work.scan.grid, work.lit
        method, checkpoint = self.models.get(name, (name, None))
        draws = METHODS[method].samples
        steps = self.asked.steps if steps is None else steps
        restorer = restorer_of(method, checkpoint, steps=steps if draws else None)
        started = time.process_time()
        field = self._field(work) if name == "field" else None
        whole = WholeScan(ArrayPatterns(patterns), grid, mask, field, work.scan.static_background)
        ready = prepared(restorer, whole, lambda done, total: None)
        block = Surroundings(grid, 0, 0, grid.size, mask, field)
        found = ready.restore(patterns, block)
        return found, time.process_time() - started

    def _field(self, work: Noisy) -> Callable[[np.ndarray], np.ndarray]:
        """The neural layer of a scan."""
        fitted = fit_field(work.scan, FitOptions(time_s=self.asked.field_time, device="cpu"))
        field = fitted.field(work.scan.grid)
        return lambda points: field.patterns(work.scan.grid.positions_at(points))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", action="append", default=[], help="checkpoint file; repeat it")
    parser.add_argument("--side", type=int, default=20, help="points of a scan along each axis")
    parser.add_argument("--size", type=int, default=60, help="of patterns in pixels")
    parser.add_argument("--field-time", type=float, default=10, help="seconds of a fit; 0: none")
    parser.add_argument("--steps", type=int, default=20, help="of methods that sample")
    parser.add_argument("--leave-out", action="append", default=[], help="method")
    parser.add_argument("--part", action="append", choices=PARTS, help="by default all")
    parser.add_argument("--seed", type=int, default=0, help="added to those of the scans")
    parser.add_argument("-o", "--output", default="restored.png", help="of the picture")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    nickel, methods = read_master_pattern(), Methods(asked)
    parts = asked.part or PARTS
    doses = {}
    for name, part in PAPER.items():
        doses[name], raw, clean = dose_for(part, asked.size, 64, nickel)
        print(
            f"Dose `{name}`: {doses[name]:.0f} electrons per pixel, where raw confidence is "
            f"{raw:.2f} on 64 isolated patterns, {raw / clean:.2f} of the clean ones' {clean:.2f} "
            f"(wanted: {part:.2f}; the paper's {0.8 * part:.2f} of 0.80).\n"
        )
    if "scans" in parts:
        low = nlpar_falls(methods, doses["0.5 ms"])
        print(f"Dose `NLPAR 0.61`: {low:.0f} electrons per pixel.\n")
        scans(methods, {**doses, "NLPAR 0.61": low})
    if "isolated" in parts:
        for dose, electrons in doses.items():
            n, seed = asked.side**2 // 2, 23 + asked.seed
            work = isolated(f"isolated, {dose}", n, asked.size, electrons, seed, nickel)
            table(methods, work, neighbours=False)
    if "screen" in parts:
        work = grains("", *scan_of(asked, 5), doses["1 ms"], 22 + asked.seed, disc=True)
        table(methods, replace(work, name="5 points per grain, 1 ms, round screen"))
    if "phases" in parts:
        phases(methods, doses["1 ms"])
    if "mixtures" in parts:
        mixtures(methods, doses["1 ms"], nickel)
    if "zro2" in parts:
        zro2(methods)
    if "codec" in parts:
        codec(methods, doses, nickel)
    if "speed" in parts:
        speed(methods, nickel)
    if "picture" in parts:
        picture(methods, doses)


def scan_of(asked: argparse.Namespace, points: float) -> tuple[tuple[int, int], int, float]:
    """Side, size and points per grain, as `grains` takes them."""
    return (asked.side, asked.side), asked.size, points


def nlpar_falls(methods: Methods, highest: float) -> float:
    """Electrons per pixel at which NLPAR's confidence is 0.61 / 0.79 of the clean patterns' on the
    scan with large grains; by bisection of the logarithm."""
    low, high = np.log(highest / 8), np.log(highest)
    for _ in range(5):
        middle = (low + high) / 2
        seed = 21 + methods.asked.seed
        work = grains("", *scan_of(methods.asked, 60), float(np.exp(middle)), seed)
        index = Indexing(work.scan)
        wanted = NLPAR_FALLS / 0.79 * np.nanmean(index(work.clean).confidence)
        reached = np.nanmean(index(methods.restore("nlpar", work)[0].patterns).confidence)
        low, high = (middle, high) if reached < wanted else (low, middle)
    return float(np.exp((low + high) / 2))


def scans(methods: Methods, doses: dict[str, float]) -> None:
    """The paper's Table 1: three doses, two kinds of scan."""
    asked = methods.asked
    for dose, electrons in doses.items():
        for kind, points in (("large grains", 60), ("5 points per grain", 5)):
            seed = {60: 21, 5: 22}[points] + asked.seed
            work = grains(f"{kind}, {dose}", *scan_of(asked, points), electrons, seed)
            table(methods, work)


def table(methods: Methods, work: Noisy, neighbours: bool = True) -> None:
    """All methods on a scan; without neighbours, those that make something of a pattern alone."""
    size = work.clean.shape[1]
    print(f"**{work.name}: {work.scan.grid.size} patterns of {size} px**\n\n{HEAD}")
    index = Indexing(work.scan)
    truth_line(work, index)
    row(RAW, work, index, Estimate(work.patterns), None)
    for name in methods.names(neighbours):
        found, seconds = methods.restore(name, work)
        row(name, work, index, found, seconds)
    print(flush=True)


def truth_line(work: Noisy, index: Indexing) -> None:
    """The line of the clean patterns."""
    row("clean", work, index, Estimate(work.clean), None)


def row(name: str, work: Noisy, index: Indexing, found: Estimate, seconds: float | None) -> None:
    """Print a line of a table. MSE and SSIM are of patterns over the static background, in parts of
    the clean ones' range."""
    indexed = index(found.patterns)
    off = index.deviation(indexed, work.scan.orientations.quaternions)
    level = np.maximum(work.scan.static_background.astype(np.float32), 1)
    clean, estimate = work.clean / level * work.lit, found.patterns / level * work.lit
    span = float(np.ptp(clean[:, work.lit]))
    alike = compare_patterns(estimate, clean, span, work.lit)
    mse = float(np.square((estimate - clean) / span)[:, work.lit].mean())
    flagged = " " if found.flags is None else f"{100 * (found.flags > 0).mean():.1f}"
    line = COLUMNS.format(
        name, np.nanmean(indexed.confidence), 100 * (off < 5).mean(), np.median(off),
        alike.ssim.mean(), mse, flagged, len(off) / seconds if seconds else 0,
    )  # fmt: skip
    print(line if seconds else line.rsplit("|", 2)[0] + "| |", flush=True)


def phases(methods: Methods, electrons: float) -> None:
    """Isolated patterns of crystals that models should not have seen."""
    file = SHARED / "master_patterns_20kv.h5"
    if not file.exists():
        told(f"phases: left out, there is no {file}")
        return
    for phase in UNSEEN:
        work = isolated(
            phase, 100, methods.asked.size, electrons, 31, read_master_pattern(file, phase)
        )
        table(methods, replace(work, name=f"{phase}, isolated, 1 ms"), neighbours=False)


def mixtures(methods: Methods, electrons: float, nickel: MasterPattern) -> None:
    """Is anything invented in overlapping patterns and pure noise?"""
    size = methods.asked.size
    works = [
        isolated(f"{100 * share:.0f}:{100 - 100 * share:.0f}", 196, size, 4 * electrons, 41, nickel,
                 share=share)
        for share in (0.7, 0.5)
    ]  # fmt: skip
    empty = isolated("pure noise", 400, size, electrons, 43, nickel, contrast=0.0)
    print("**Overlapping patterns (at four times the dose) and pure noise**\n")
    print("| method | patterns | one of the two within 5 deg % | flagged % | neither % |")
    print("|---|---|---|---|---|")
    for name in [RAW, *methods.names(neighbours=False)]:
        for work in (*works, empty):
            found = Estimate(work.patterns) if name == RAW else methods.restore(name, work)[0]
            flagged = np.zeros(len(found.patterns), bool)
            if found.flags is not None:
                flagged = found.flags > 0
            right = np.zeros(len(flagged), bool)
            if work.seconds is not None:
                index = Indexing(work.scan)
                indexed = index(found.patterns)
                for truth in (work.scan.orientations.quaternions, work.seconds):
                    right |= index.deviation(indexed, truth[: len(flagged)]) < 5
            print(
                f"| {name} | {work.name} | {100 * right.mean():.1f} | {100 * flagged.mean():.1f} | "
                f"{100 * (~right & ~flagged).mean():.1f} |",
                flush=True,
            )
    print()


def zro2(methods: Methods) -> None:
    """Patterns of somebody else's simulation and noise, each alone; the truth is the clean pattern
    of the same orientation, binned."""
    file = SHARED / "zro2_pairs.h5"
    if not file.exists():
        told(f"zro2: left out, there is no {file}")
        return
    print("**ZrO2 pairs (EMsoft, 25 kV), isolated: mean correlation with the clean pattern**\n")
    print("| method | 60 px, 7 dB | 120 px, 10 dB | 240 px, 16 dB |\n|---|---|---|---|")
    with h5py.File(file) as pairs:
        clean = pairs["clean"][()].astype(np.float32)
        noisy = {size: pairs[f"noisy_{size}"][()] for size in (60, 120, 240)}
    works = []
    for size, patterns in noisy.items():
        step = 480 // size
        binned = clean.reshape(len(clean), size, step, size, step).mean(axis=(2, 4))
        works.append(of_pixels(f"{size} px", patterns, binned))
    for name in [RAW, *methods.names(neighbours=False)]:
        values = []
        for work in works:
            found = work.patterns
            if name != RAW:
                # each a scan of its own: the next orientation is not a neighbour
                found = np.concatenate(
                    [methods.restore(name, of_pixels("", p[None], c[None]))[0].patterns
                     for p, c in zip(work.patterns, work.clean, strict=True)]
                )  # fmt: skip
            values.append(correlation(found, work.clean, work.lit).mean())
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in values) + " |", flush=True)
    print()


def codec(methods: Methods, doses: dict[str, float], nickel: MasterPattern) -> None:
    """Do raw patterns lose confidence in the codec of mldm, as photographs' autoencoders cost?"""
    if "mldm" not in methods.models:
        return
    module = latent.load(methods.models["mldm"][1])
    print("**Raw patterns through the codec of mldm, and back: confidence**\n")
    print("| dose | raw | encoded and decoded |\n|---|---|---|")
    for dose, electrons in doses.items():
        work = isolated("", 64, methods.asked.size, electrons, 51, nickel)
        index, flat = Indexing(work.scan), flatten(torch.from_numpy(work.patterns), lit_of(work))
        with torch.inference_mode():
            back = flat.to_counts(latent.decoded(module, flat.values)).numpy()
        raw, passed = (np.nanmean(index(p).confidence) for p in (work.patterns, back))
        print(f"| {dose} | {raw:.3f} | {passed:.3f} |", flush=True)
    print()


def lit_of(work: Noisy) -> torch.Tensor:
    """(sy, sx) bool."""
    return torch.from_numpy(work.lit)


def speed(methods: Methods, nickel: MasterPattern) -> None:
    """Patterns in a second of one core; of ddpm's 1,000 steps 20 are timed."""
    print("**Patterns in a second of one core**\n\n| method | 60 px | 120 px |\n|---|---|---|")
    for name in methods.names():
        values = []
        n, parts = (4, 1000 / 20 if name == "ddpm" else 1) if METHODS[name].samples else (100, 1)
        for size in (60, 120):
            work = isolated("", n, size, 400.0, 61, nickel)
            methods.restore(name, work, 1)  # what is compiled, once
            values.append(n / methods.restore(name, work, 20)[1] / parts)
        print(f"| {name} | " + " | ".join(f"{v:.3g}" for v in values) + " |", flush=True)
    print()


def picture(methods: Methods, doses: dict[str, float]) -> None:
    """Patterns of the scan of small grains, raw, by every method and clean, one dose a column."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    side, size, points = scan_of(methods.asked, 5)
    shown = [RAW, *methods.names(), "clean"]
    figure, axes = plt.subplots(
        2 * len(doses), len(shown), figsize=(1.3 * len(shown), 2.75 * len(doses)),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for column, name in enumerate(shown):
        axes[0, column].set_title(name, fontsize=8)
    for number, (dose, electrons) in enumerate(doses.items()):
        work = grains("", side, size, points, electrons, 22 + methods.asked.seed)
        level = work.scan.static_background.astype(np.float32)
        chosen = (side[1] + 1, side[1] * side[0] // 2 + 3)
        for column, name in enumerate(shown):
            known = {RAW: work.patterns, "clean": work.clean}
            found = known[name] if name in known else methods.restore(name, work)[0].patterns
            for row_of, point in enumerate(chosen):
                image = (found[point] / level)[work.lit.any(1)][:, work.lit.any(0)]
                low, high = np.percentile(image, (1, 99))
                ax = axes[2 * number + row_of, column]
                ax.imshow(image, cmap="gray", vmin=low, vmax=high)
                ax.set(xticks=[], yticks=[])
        axes[2 * number, 0].set_ylabel(dose, fontsize=8)
    figure.savefig(methods.asked.output, dpi=110)
    told(methods.asked.output)


def told(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
