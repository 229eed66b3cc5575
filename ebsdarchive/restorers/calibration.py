"""What the answers of a trained `kikuchi` network mean: limits of its flags, size of its errors.

A network learns probabilities and variances as they are in its training, where pure noise is rare;
what they are worth is measured on simulated samples that it has not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.restorer import OVERLAP, UNFAMILIAR, WEAK
from ebsdarchive.restorers.simulated_samples import SimulatedSamples

__all__ = ["calibrated"]

SCANS = 120  # small ones, of `columns` samples each
STREAM = 8  # of random numbers, apart from those of training and other measurements
SHARES: dict[str, Any] = {
    "overlap": 0.15,
    "noise": 0.3,
    "unfamiliar": 0.05,
    "alone": 0.5,
}  # of the samples
FOUND = 0.995  # of pure noise is flagged
FALSE = 0.01  # of sound estimates are flagged as overlapping, and as many as unfamiliar
SOUND = 0.5  # correlation with the truth of an estimate that is worth something
LIMITS = (0.05, 0.95)  # that a flag's limit may have


@dataclass(frozen=True)
class _Answers:
    """(n, 3) probabilities of the flags, (n,) true flags, and of each estimate its correlation with
    the truth, the ratio of signal to error, and that of true to told error."""

    probabilities: npt.NDArray[np.float64]
    flags: npt.NDArray[np.uint8]
    correlation: npt.NDArray[np.float64]
    ratio: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]


def calibrated(
    checkpoint: Checkpoint, source: SimulatedSamples
) -> tuple[Checkpoint, dict[str, float | None]]:
    """The model with limits of its own, and for its card how much of what it flags with them."""
    answers = _answers(checkpoint, source)
    sound = (answers.flags == 0) & (answers.correlation >= SOUND)
    noise = answers.flags == WEAK
    weak = 0.5
    if noise.any():
        weak = min(weak, float(np.quantile(answers.probabilities[noise, 0], 1 - FOUND)))
    limits = [weak]
    for number in (1, 2):
        good = answers.probabilities[sound, number]
        limits.append(float(np.quantile(good, 1 - FALSE)) if sound.any() else 0.5)
    kept = [float(np.clip(limit, *LIMITS)) for limit in limits]
    crystal = (answers.flags & (UNFAMILIAR | WEAK)) == 0
    config = {
        **checkpoint.config,
        "flag_limits": [round(limit, 4) for limit in kept],
        "uncertainty_factor": round(float(np.median(answers.error[crystal])), 4),
    }
    weakest = config["weak_ratio"] * config["uncertainty_factor"] ** 2
    likely = np.asarray((answers.probabilities >= kept).any(axis=1))
    flagged = likely | (answers.ratio < weakest)
    figures = {
        "pure_noise": _share(flagged, noise),
        "overlapping": _share(flagged, answers.flags == OVERLAP),
        "no_kikuchi_pattern": _share(flagged, answers.flags == UNFAMILIAR),
        "sound_estimates": _share(flagged, sound),
        "poor_estimates": _share(flagged, (answers.flags == 0) & ~sound),
    }
    return replace(checkpoint, config=config), figures


def _answers(checkpoint: Checkpoint, source: SimulatedSamples) -> _Answers:
    import torch

    from ebsdarchive.restorers import kikuchi_network
    from ebsdarchive.restorers.evaluation import correlation
    from ebsdarchive.restorers.flattening import flatten

    plain = {**checkpoint.config, "uncertainty_factor": 1.0}
    module = kikuchi_network.load(replace(checkpoint, config=plain))
    shown = SimulatedSamples(source.masters, replace(source.conditions, **SHARES), seed=source.seed)
    radius, shape = module.config.neighbours, source.conditions.shapes[0]
    found: dict[str, list[Any]] = {name: [] for name in _Answers.__dataclass_fields__}
    for child in np.random.default_rng([source.seed, STREAM]).spawn(SCANS):
        samples = shown.small_scan(child, shape).samples(radius)
        lit = torch.from_numpy(samples.mask)
        told = kikuchi_network.restore_counts(
            module,
            flatten(torch.from_numpy(samples.noisy), lit),
            torch.from_numpy(samples.mean),
            torch.from_numpy(samples.n_effective),
        )
        off = (told.counts.numpy() - samples.clean)[:, samples.mask]
        deviation = told.deviation.numpy()[:, samples.mask]
        found["probabilities"].append(told.probabilities.numpy())
        found["flags"].append(samples.flags)
        found["correlation"].append(correlation(told.counts.numpy(), samples.clean, samples.mask))
        found["ratio"].append(told.ratio.numpy())
        found["error"].append(np.sqrt(np.square(off).mean(1) / np.square(deviation).mean(1)))
    return _Answers(**{name: np.concatenate(parts) for name, parts in found.items()})


def _share(flagged: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]) -> float | None:
    return round(float(flagged[of].mean()), 4) if of.any() else None
