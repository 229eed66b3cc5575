"""A network that indexes, beside the Hough transform: disorientation from the truth, by noise.

    python benchmarks/cnn_indexing.py [--time SECONDS] [--model FILE]

Nickel, one projection centre, patterns of random orientations. The network is trained on simulated
patterns of all kinds of cameras and doses, then fine-tuned on the camera of the test alone; test
orientations and noise are drawn from streams that no training has. The paper names 10 to 12 degrees
for its network at 100 ms. Hough indexing divides by the static background.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from noisy_works import Indexing, conditions_of, isolated

from ebsdarchive.restorers import orientation_network
from ebsdarchive.restorers.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from ebsdarchive.restorers.simulated_samples import SimulatedSamples
from ebsdarchive.restorers.train_options import TrainOptions
from ebsdarchive.restorers.training import train
from ebsdarchive.simulation import MasterPattern, read_master_pattern

ELECTRONS = (1e9, 8000.0, 1000.0, 380.0, 140.0)
FINE_TUNED = 0.3  # part of the time
BATCH = 64
SMALL = {"size": 32, "widths": [32, 64, 128]}  # learns in minutes what the default needs hours for


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--time", type=float, default=300, help="seconds of training, both parts")
    parser.add_argument("--model", type=Path, help="a model of the method orientation instead")
    parser.add_argument("--save", type=Path, help="where to write the trained model")
    parser.add_argument("--size", type=int, default=60, help="of patterns in pixels")
    parser.add_argument("--patterns", type=int, default=196, help="of each noise level")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    nickel = read_master_pattern()
    if asked.model:
        models = {"network": read_checkpoint(asked.model)}
    else:
        models = trained(nickel, asked.size, asked.time)
        if asked.save:
            write_checkpoint(asked.save, models["fine-tuned"], force=True)
    print("| electrons per pixel | indexing | mean deg | median deg | within 5 deg % | per s |")
    print("|---|---|---|---|---|---|")
    for electrons in ELECTRONS:
        work = isolated("", asked.patterns, asked.size, electrons, 77, nickel)
        truth = work.scan.orientations.quaternions
        index = Indexing(work.scan)
        index(work.patterns[:4])  # compiles
        started = time.monotonic()
        off = index.deviation(index(work.patterns), truth)
        line(electrons, "Hough", off, time.monotonic() - started)
        for name, checkpoint in models.items():
            module = orientation_network.load(checkpoint)
            patterns = torch.from_numpy(work.patterns)
            mask = torch.ones(patterns.shape[1:], dtype=torch.bool)
            started = time.monotonic()
            found = orientation_network.predict(module, patterns, mask)
            seconds = time.monotonic() - started
            angle = orientation_network.disorientation(
                found, torch.from_numpy(truth).float(), module.symmetries
            )
            line(electrons, name, np.rad2deg(angle.numpy()), seconds)


def trained(nickel: MasterPattern, size: int, seconds: float) -> dict[str, Checkpoint]:
    """The network from all kinds of simulation, and fine-tuned on the camera of the test."""
    models: dict[str, Checkpoint] = {}
    start = None
    parts = (("from simulation", True, 1 - FINE_TUNED), ("fine-tuned", False, FINE_TUNED))
    for seed, (name, any_camera, part) in enumerate(parts):
        conditions = conditions_of(size, BATCH, any_camera)
        source = SimulatedSamples([nickel], conditions, scans=1, seed=seed)
        config = {"point_group": nickel.phase.point_group, **SMALL} if start is None else {}
        options = TrainOptions(
            "orientation", time_s=part * seconds, config=config, seed=seed, device="cpu",
            learning_rate=2e-3,
        )  # fmt: skip
        made = train(source, options, start=start)
        start = orientation_network.checkpoint_of(made.module, {})
        models[name] = start
        print(
            f"{name.capitalize()}: {made.steps} steps of {BATCH} patterns in {made.seconds:.0f} s, "
            f"{made.parameters:,} parameters.\n"
        )
    return models


def line(electrons: float, name: str, off: np.ndarray, seconds: float) -> None:
    """Print a line of the table; `off` (n,) in degrees."""
    level = "clean" if electrons > 1e6 else f"{electrons:.0f}"
    print(
        f"| {level} | {name} | {off.mean():.1f} | {np.median(off):.2f} | "
        f"{100 * (off < 5).mean():.1f} | {len(off) / seconds:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
