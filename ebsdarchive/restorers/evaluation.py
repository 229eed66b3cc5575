"""What a trained model can do, measured on what it was not trained on; for its model card."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.measured_samples import MeasuredSamples
from ebsdarchive.restorers.restorer import Restorer, Surroundings
from ebsdarchive.restorers.simulated_samples import SimulatedSamples

__all__ = ["correlation", "measured_on_pairs", "measured_on_simulation", "measured_orientations"]

SIGNALS = (0.2, 0.4, 1.0)  # of bands over noise, per pixel
SCANS = 4  # small ones at each of them; of methods that draw samples, which are slow, one
ROWS = 4  # of each measured scan
COMMON = 256  # points whose mean tells what all patterns have in common
ORIENTATIONS = 256


def correlation(
    patterns: npt.NDArray[np.float32],
    clean: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    common: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float64]:
    """(n,) correlation of patterns (n, sy, sx) with clean ones over lit pixels, both without their
    background; 0 where there is nothing to compare.

    `common` (k, sy, sx), clean patterns of many orientations, tells what all patterns have in
    common, such as dust, which is taken off as well: alike as it is, it says nothing.
    """
    import torch

    from ebsdarchive.restorers.flattening import flatten

    lit = torch.from_numpy(mask)

    def flat(counts: npt.NDArray) -> npt.NDArray[np.float32]:
        values = flatten(torch.from_numpy(np.asarray(counts, np.float32)), lit).values
        return np.asarray(values.numpy()[:, mask])

    first, second = flat(patterns), flat(clean)
    if common is not None:
        level = flat(common).mean(axis=0)
        level -= level.mean()
        power = max(float((level**2).sum()), 1e-12)
        first, second = (v - (v @ level / power)[:, None] * level for v in (first, second))
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    norm = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.asarray((first * second).sum(axis=1) / np.maximum(norm, 1e-12), np.float64)


def measured_on_simulation(
    restorer: Restorer, source: SimulatedSamples, scans: int = SCANS
) -> dict[str, Any]:
    """Correlation with the clean patterns, of raw and of restored ones, by signal to noise.

    The middle rows of small scans with grains of about 30 points and, for methods that look at
    neighbours, of the same as isolated patterns; random streams that no training batch has.
    """
    wide = source.conditions
    plain: dict[str, Any] = {
        "overlap": 0.0,
        "noise": 0.0,
        "unfamiliar": 0.0,
        "alone": 0.0,
        "flattened": 0.0,
    }
    figures = []
    for number, signal in enumerate(SIGNALS):
        found: dict[str, list[npt.NDArray]] = {"raw": [], "restored": [], "isolated": []}
        conditions = replace(
            wide, **plain, signal=(signal, signal), grain_points=(30.0, 30.0), radius=3, columns=8
        )
        held = SimulatedSamples(source.masters, conditions, seed=source.seed)
        for child in np.random.default_rng([source.seed, 7, number]).spawn(scans):
            scan = held.small_scan(child, wide.shapes[0])
            row = slice(*scan.grid.row_starts[3:5].tolist())
            whole = Surroundings(scan.grid, 0, row.start, row.stop, scan.mask)
            near = restorer.restore(scan.patterns, whole).patterns
            clean = scan.clean[row]
            found["raw"].append(correlation(scan.patterns[row], clean, scan.mask))
            found["restored"].append(correlation(near, clean, scan.mask))
            if restorer.halo_rows > 0:
                each = _one_by_one(restorer, scan.patterns[row], scan.mask)
                found["isolated"].append(correlation(each, clean, scan.mask))
        means = {n: round(float(np.concatenate(v).mean()), 4) for n, v in found.items() if v}
        figures.append({"signal_to_noise_per_pixel": signal, "correlation_with_clean": means})
    return {"simulated": figures}


def measured_on_pairs(restorer: Restorer, source: MeasuredSamples) -> dict[str, Any]:
    """Correlation with the reference at points of validation in some rows of each scan, of raw and
    of restored patterns."""
    raw, restored = [], []
    for pair, points in zip(source.pairs, source.validation, strict=True):
        starts = pair.grid.row_starts
        n = pair.grid.size
        common = pair.clean(np.unique(np.linspace(0, n - 1, min(n, COMMON)).round().astype(int)))
        rows = np.unique(np.linspace(0, pair.grid.n_rows - 1, ROWS).round().astype(int))
        for row in rows:
            start, stop = int(starts[row]), int(starts[row + 1])
            own = points[(points >= start) & (points < stop)]
            own = pair.sound(own) if len(own) else own
            if len(own) == 0:
                continue
            first = int(starts[max(row - restorer.halo_rows, 0)])
            last = int(starts[min(row + restorer.halo_rows + 1, pair.grid.n_rows)])
            counts = pair.noisy.read(first, last).astype(np.float32)
            block = Surroundings(pair.grid, first, start, stop, pair.mask)
            estimate = restorer.restore(counts, block).patterns[own - start]
            clean = pair.clean(own)
            raw.append(correlation(counts[own - first], clean, pair.mask, common))
            restored.append(correlation(estimate, clean, pair.mask, common))
    if not raw:
        return {}
    return {
        "held_out_points": {
            "points": sum(len(part) for part in raw),
            "correlation_with_reference": {
                "raw": round(float(np.concatenate(raw).mean()), 4),
                "restored": round(float(np.concatenate(restored).mean()), 4),
            },
        }
    }


def measured_orientations(checkpoint: Checkpoint, source: SimulatedSamples) -> dict[str, Any]:
    """Disorientation of an indexing network's answers from the truth, by signal to noise."""
    import torch

    from ebsdarchive.restorers import orientation_network

    module = orientation_network.load(checkpoint)
    figures = []
    for signal in SIGNALS:
        conditions = replace(source.conditions, signal=(signal, signal))
        held = SimulatedSamples(source.masters, conditions, seed=source.seed).held_out(ORIENTATIONS)
        found = orientation_network.predict(
            module, torch.from_numpy(held.noisy), torch.from_numpy(held.mask)
        )
        truth = torch.from_numpy(held.quaternions[:, 0]).float()
        angle = orientation_network.disorientation(found, truth, module.symmetries)
        deviation = np.rad2deg(angle.numpy())
        figures.append(
            {
                "signal_to_noise_per_pixel": signal,
                "mean_disorientation_deg": round(float(deviation.mean()), 2),
                "within_5_deg": round(float((deviation < 5).mean()), 4),
            }
        )
    return {"orientations": figures}


def _one_by_one(
    restorer: Restorer, patterns: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Estimates of patterns (n, sy, sx), each as a scan of one point."""
    alone = Surroundings(Grid("square", 1, 1), 0, 0, 1, mask)
    return np.concatenate([restorer.restore(pattern[None], alone).patterns for pattern in patterns])
