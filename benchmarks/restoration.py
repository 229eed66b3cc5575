"""Restorers side by side: confidence, share of right orientations, likeness to the truth, speed.

    python benchmarks/restoration.py [--model kikuchi.safetensors]... [--train kikuchi --time 60]...

Simulated nickel at the doses where raw Hough confidence is 0.43/0.80 and 0.20/0.80 of that of the
clean patterns (the paper's 1 ms and 0.5 ms; searched for, and printed): a scan with large grains,
one of about five points per grain, and isolated patterns. Then phases that no model was trained on
if it left them out, overlapping patterns, pure noise, and the pairs of ZrO2. `--train` trains a
method on a tenth of the points of the scan with large grains, at the higher dose. Hough indexing
divides by the static background and does nothing else to any pattern.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import h5py
import hdf5plugin  # noqa: F401  (filters)
import numpy as np
import torch
from noisy_works import PAPER, Indexing, Noisy, dose_for, grains, isolated, of_pixels
from works import SHARED

from ebsdarchive.analysis.similarity import compare_patterns
from ebsdarchive.neural.fit import fit_field
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.restorers.checkpoint import Checkpoint, read_checkpoint
from ebsdarchive.restorers.evaluation import correlation
from ebsdarchive.restorers.measured_samples import MeasuredSamples, pair_of
from ebsdarchive.restorers.registry import METHODS, restorer_of
from ebsdarchive.restorers.restorer import Estimate, Surroundings, WholeScan, prepared
from ebsdarchive.restorers.train_options import TrainOptions
from ebsdarchive.restorers.training import module_of, train
from ebsdarchive.scan import ArrayPatterns, Scan
from ebsdarchive.simulation import MasterPattern, read_master_pattern

UNSEEN = ("Cu", "W", "Zr_alpha", "TiO2_brookite")  # fcc, bcc, hcp, of low symmetry
COLUMNS = "| {} | {:.3f} | {:.1f} | {:.2f} | {:.3f} | {:.4f} | {} | {:.0f} |"
HEAD = """| method | confidence | within 5 deg % | median deg | SSIM | MSE | flagged % | per s |
|---|---|---|---|---|---|---|---|"""
RAW = "raw"


class Methods:
    """What is compared: each method of the registry that needs no model, and given models."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.models: dict[str, tuple[str, Checkpoint]] = {}
        for path in asked.model:
            self.add(path.rpartition("/")[2].removesuffix(".safetensors"), read_checkpoint(path))

    def add(self, name: str, checkpoint: Checkpoint) -> None:
        """Another model, under each method that takes it."""
        for method, known in METHODS.items():
            if known.learned and checkpoint.method == (known.models_of or method):
                self.models[f"{method} ({name})"] = (method, checkpoint)

    def names(self, neighbours: bool = True) -> Iterator[str]:
        """All of them; without neighbours, those that make something of a pattern alone."""
        if neighbours:
            for name, known in METHODS.items():
                if not known.learned and (name != "field" or self.asked.field_time > 0):
                    yield name
        for name, (method, _) in self.models.items():
            if method not in self.asked.leave_out:
                yield name

    def restore(self, name: str, work: Noisy) -> tuple[Estimate, float]:
        """Estimates of a scan, and seconds that they took."""
        patterns, grid = work.patterns, work.scan.grid
        mask = np.ones(patterns.shape[1:], bool)
        method, checkpoint = self.models.get(name, (name, None))
        draws = METHODS[method].samples
        restorer = restorer_of(method, checkpoint, steps=self.asked.steps if draws else None)
        started = time.monotonic()
        field = self._field(work) if name == "field" else None
        whole = WholeScan(ArrayPatterns(patterns), grid, mask, field, work.scan.static_background)
        ready = prepared(restorer, whole, lambda done, total: None)
        block = Surroundings(grid, 0, 0, grid.size, mask, field)
        found = ready.restore(patterns, block)
        return found, time.monotonic() - started

    def _field(self, work: Noisy) -> Callable[[np.ndarray], np.ndarray]:
        """The neural layer of a scan."""
        fitted = fit_field(work.scan, FitOptions(time_s=self.asked.field_time, device="cpu"))
        field = fitted.field(work.scan.grid)
        return lambda points: field.patterns(work.scan.grid.positions_at(points))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", action="append", default=[], help="checkpoint file; repeat it")
    parser.add_argument("--train", action="append", default=[], help="method to train on pairs")
    parser.add_argument("--time", type=float, default=60, help="seconds to train each for")
    parser.add_argument("--side", type=int, default=20, help="points of a scan along each axis")
    parser.add_argument("--size", type=int, default=60, help="of patterns in pixels")
    parser.add_argument("--field-time", type=float, default=10, help="seconds of a fit; 0: none")
    parser.add_argument("--steps", type=int, default=20, help="of methods that sample")
    parser.add_argument("--leave-out", action="append", default=["ddpm"], help="method, as ddpm is")
    parser.add_argument("--part", action="append", help="scans, phases, mixtures, zro2; all")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    nickel, methods = read_master_pattern(), Methods(asked)
    parts = asked.part or ["scans", "phases", "mixtures", "zro2"]
    doses = {}
    for name, part in PAPER.items():
        doses[name], raw, clean = dose_for(part, asked.size, 64, nickel)
        print(
            f"Dose `{name}`: {doses[name]:.0f} electrons per pixel, where raw confidence is "
            f"{raw:.2f} on 64 isolated patterns, {raw / clean:.2f} of the clean ones' {clean:.2f} "
            f"(wanted: {part:.2f}; the paper's {0.8 * part:.2f} of 0.80).\n"
        )
    for method in asked.train:
        methods.add("10 % of points", trained(method, asked, doses["1 ms"]))
    if "scans" in parts:
        scans(methods, doses, nickel)
    if "phases" in parts:
        phases(methods, doses["1 ms"])
    if "mixtures" in parts:
        mixtures(methods, doses["1 ms"], nickel)
    if "zro2" in parts:
        zro2(methods)


def trained(method: str, asked: argparse.Namespace, electrons: float) -> Checkpoint:
    """A model of a tenth of the points of the scan with large grains; the clean patterns are the
    reference."""
    work = grains("", (asked.side, asked.side), asked.size, 60, electrons, 21)
    reference = replaced(work, work.clean)
    mask = np.ones(work.clean.shape[1:], bool)
    source = MeasuredSamples([pair_of(work.scan, reference, mask, "pairs")], share=0.1)
    made = train(source, TrainOptions(method, time_s=asked.time, device="cpu"))
    told(f"{method}: {made.steps} steps, held out {made.held_out:.3f}")
    return module_of(method).checkpoint_of(made.module, {})


def replaced(work: Noisy, patterns: np.ndarray) -> Scan:
    """The scan with other patterns."""
    return replace(work.scan, patterns=ArrayPatterns(np.asarray(patterns, np.float32)))


def scans(methods: Methods, doses: dict[str, float], nickel: MasterPattern) -> None:
    """The paper's Table 1: two doses, three kinds of scan."""
    side, size = methods.asked.side, methods.asked.size
    for dose, electrons in doses.items():
        for work in (
            grains(f"large grains, {dose}", (side, side), size, 60, electrons, 21),
            grains(f"5 points per grain, {dose}", (side, side), size, 5, electrons, 22),
            isolated(f"isolated, {dose}", side * side // 2, size, electrons, 23, nickel),
        ):
            print(f"### {work.name}: {work.scan.grid.size} patterns of {size} px\n\n{HEAD}")
            index = Indexing(work.scan)
            alone = work.name.startswith("isolated")
            truth_line(work, index)
            row(RAW, work, index, Estimate(work.patterns), None)
            for name in methods.names(neighbours=not alone):
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
    clean, estimate = work.clean / level, found.patterns / level
    span = float(np.ptp(clean))
    alike = compare_patterns(estimate, clean, span, np.ones(clean.shape[1:], bool))
    mse = float(np.square((estimate - clean) / span).mean())
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
        print(f"### {phase}, isolated, 1 ms\n\n{HEAD}")
        index = Indexing(work.scan)
        truth_line(work, index)
        row(RAW, work, index, Estimate(work.patterns), None)
        for name in methods.names(neighbours=False):
            row(name, work, index, *methods.restore(name, work))
        print(flush=True)


def mixtures(methods: Methods, electrons: float, nickel: MasterPattern) -> None:
    """Is anything invented in overlapping patterns and pure noise?"""
    size = methods.asked.size
    works = [
        isolated(f"{100 * share:.0f}:{100 - 100 * share:.0f}", 196, size, 4 * electrons, 41, nickel,
                 share=share)
        for share in (0.7, 0.5)
    ]  # fmt: skip
    empty = isolated("pure noise", 400, size, electrons, 43, nickel, contrast=0.0)
    print("### Overlapping patterns (at four times the dose) and pure noise\n")
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
    print("### ZrO2 pairs (EMsoft, 25 kV), isolated: correlation with the clean pattern, mean\n")
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
            mask = np.ones(work.clean.shape[1:], bool)
            found = work.patterns
            if name != RAW:
                # each a scan of its own: the next orientation is not a neighbour
                found = np.concatenate(
                    [methods.restore(name, of_pixels("", p[None], c[None]))[0].patterns
                     for p, c in zip(work.patterns, work.clean, strict=True)]
                )  # fmt: skip
            values.append(correlation(found, work.clean, mask).mean())
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in values) + " |", flush=True)
    print()


def told(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
