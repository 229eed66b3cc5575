"""The paper's models, trained as the paper trained them: on a tenth of the points of a pair.

    python benchmarks/paired_models.py FOLDER [--method ddpm]... [--time 300] [--simulated 600]

With --simulated, each begins with patterns of random orientations, simulated for the same camera;
kikuchi begins with the package's model, and becomes fine-tuned.safetensors. The pair is a simulated
nickel scan with large grains at the dose where raw Hough confidence is 0.54 of that of the clean
patterns (the paper's 1 ms), and the clean patterns as its reference. Writes
FOLDER/METHOD.safetensors, which `restoration.py --model` compares.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from noisy_works import PAPER, conditions_of, dose_for, grains

from ebsdarchive.restorers.checkpoint import read_checkpoint, write_checkpoint
from ebsdarchive.restorers.measured_samples import MeasuredSamples, pair_of
from ebsdarchive.restorers.registry import shipped_model
from ebsdarchive.restorers.simulated_samples import SimulatedSamples
from ebsdarchive.restorers.train_options import TrainOptions
from ebsdarchive.restorers.training import module_of, train
from ebsdarchive.scan import ArrayPatterns
from ebsdarchive.simulation import read_master_pattern

BATCH = 16
METHODS = ("autoencoder", "autoencoder-smooth", "ddpm", "mldm", "kikuchi")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", action="append", help="one of them; all by default")
    parser.add_argument("--time", type=float, default=300, help="seconds to train each for")
    parser.add_argument(
        "--simulated", type=float, default=0, help="seconds to train each on simulation before"
    )
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--precision", choices=("auto", "full", "mixed"), default="full")
    parser.add_argument("--side", type=int, default=40, help="points of the scan along each axis")
    parser.add_argument("--size", type=int, default=60, help="of patterns in pixels")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.folder.mkdir(parents=True, exist_ok=True)
    electrons, _, _ = dose_for(PAPER["1 ms"], asked.size, 64, read_master_pattern())
    work = grains("", (asked.side, asked.side), asked.size, 60, electrons, 20)
    reference = replace(work.scan, patterns=ArrayPatterns(np.asarray(work.clean, np.float32)))
    mask = np.ones(work.clean.shape[1:], bool)
    source = MeasuredSamples([pair_of(work.scan, reference, mask, "pairs")], share=0.1)
    conditions = conditions_of(asked.size, BATCH, any_camera=False)
    simulated = SimulatedSamples([read_master_pattern()], conditions, scans=1)
    for method in asked.method or METHODS:
        used = time.process_time()
        training: dict[str, Any] = {}
        shipped = shipped_model(method)
        start = None if shipped is None else read_checkpoint(shipped)
        for name, samples, seconds in (
            ("simulated", simulated, asked.simulated), ("pairs", source, asked.time),
        ):  # fmt: skip
            if seconds <= 0:
                continue
            options = TrainOptions(
                method, time_s=seconds, learning_rate=asked.learning_rate,
                precision=asked.precision, device="cpu",
            )  # fmt: skip
            made = train(samples, options, start=start, progress=Lines())
            training[name] = {"steps": made.steps, "seconds": made.seconds}
            start = module_of(method).checkpoint_of(made.module, {"training": training})
            print(
                f"{method}, {name}: {made.parameters:,} parameters, {made.steps} steps in "
                f"{made.seconds:.0f} s ({time.process_time() - used:.0f} s of a core so far), held "
                f"out {made.held_out:.3f}",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        training["core_seconds"] = round(time.process_time() - used, 1)
        name = method if shipped is None else "fine-tuned"
        write_checkpoint(asked.folder / f"{name}.safetensors", start, force=True)


class Lines:
    """Progress, a line for each of twenty parts."""

    def __init__(self) -> None:
        self.shown = 0.0

    def __call__(self, done: float, note: str) -> None:
        if done >= self.shown:
            print(f"{100 * done:.0f} %: {note}", file=sys.stderr, flush=True)
            self.shown += 0.05


if __name__ == "__main__":
    main()
