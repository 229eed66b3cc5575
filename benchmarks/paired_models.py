"""The paper's models, trained as the paper trained them: on a tenth of the points of a pair.

    python benchmarks/paired_models.py FOLDER [--method ddpm]... [--time 300]

The pair is a simulated nickel scan with large grains at the dose where raw Hough confidence is 0.54
of that of the clean patterns (the paper's 1 ms), and the clean patterns as its reference. Writes
FOLDER/METHOD.safetensors, which `restoration.py --model` compares.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from noisy_works import PAPER, dose_for, grains

from ebsdarchive.restorers.checkpoint import write_checkpoint
from ebsdarchive.restorers.measured_samples import MeasuredSamples, pair_of
from ebsdarchive.restorers.train_options import TrainOptions
from ebsdarchive.restorers.training import module_of, train
from ebsdarchive.scan import ArrayPatterns
from ebsdarchive.simulation import read_master_pattern

METHODS = ("autoencoder", "autoencoder-smooth", "ddpm", "mldm")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", action="append", help="one of them; all by default")
    parser.add_argument("--time", type=float, default=300, help="seconds to train each for")
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
    for method in asked.method or METHODS:
        used = time.process_time()
        made = train(source, TrainOptions(method, time_s=asked.time, device="cpu"))
        used = time.process_time() - used
        training = {"steps": made.steps, "seconds": made.seconds, "core_seconds": round(used, 1)}
        checkpoint = module_of(method).checkpoint_of(made.module, {"training": training})
        write_checkpoint(asked.folder / f"{method}.safetensors", checkpoint, force=True)
        print(
            f"{method}: {made.parameters:,} parameters, {made.steps} steps in {made.seconds:.0f} s "
            f"({used:.0f} s of a core), held out {made.held_out:.3f}",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    main()
