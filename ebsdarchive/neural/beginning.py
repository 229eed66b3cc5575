"""What a fit begins with: the basis of a sample, and the plans that its options ask for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import FitError
from ebsdarchive.neural.basis import RANK_LIMIT, Basis, Dictionary, choose_rank, klt_of_sample
from ebsdarchive.neural.journal import Journal
from ebsdarchive.neural.options import FitOptions
from ebsdarchive.neural.pixels import detector_mask, pixel_weights, values_inside
from ebsdarchive.neural.plan import Plan, floors, plan_for_loss, plans_for_error, plans_for_size
from ebsdarchive.neural.projection import coefficient_limit
from ebsdarchive.neural.sample import Sample

__all__ = ["basis_of", "plans_for"]

NEAR_LOSS, FAR_LOSS = 0.01, 0.1  # of coding, where no basis is held that meets a target


def basis_of(
    sample: Sample,
    n: int,
    options: FitOptions,
    dictionary: Dictionary | None = None,
    means: npt.NDArray[np.float32] | None = None,
) -> Basis:
    """As many components as were asked for, or as the rank rule and the memory allow for `n`
    points; of `local_means`, where these are given.

    Raises
    ------
    FitError
        If more components are asked for than memory allows, or a dictionary is of other patterns.
    """
    mask = _mask(sample, options, dictionary)
    weights = pixel_weights(sample, mask, options.band_weight)
    limit, rank = min(RANK_LIMIT, coefficient_limit(n)), options.rank

    def klt(most: int) -> Basis:
        return klt_of_sample(sample, mask, weights, most, options.seed, dictionary, means)

    if dictionary is not None:
        return klt(rank - 1 if isinstance(rank, int) else limit)
    if isinstance(rank, int):
        if rank - 1 > coefficient_limit(n):
            raise FitError(
                f"rank: expected at most {coefficient_limit(n) + 1} for {n} points, found {rank}"
            )
        return klt(rank - 1)
    some = min(limit, 128 if options.target_mae_pct is None else 512)
    basis = klt(some)
    if choose_rank(basis, len(sample.pairs)).rank > 0.7 * some and some < limit:
        basis = klt(limit)
    return basis


def plans_for(
    sample: Sample, basis: Basis, n: int, options: FitOptions, depth: int, journal: Journal
) -> list[Plan]:
    """Rank, step and perhaps width for what was asked for; with other ranks behind the best where
    there is a target.

    Parameters
    ----------
    n
        Points of the scan.
    depth
        Sine layers.
    journal
        Takes the rank rule's figures and notes.
    """
    most = len(basis.variances) + 1
    if isinstance(options.rank, int):
        if most < options.rank:
            journal.note(f"rank {options.rank} lowered to {most}: the patterns span no more")
        ranks = [most]
    else:
        choice = choose_rank(basis, len(sample.pairs))
        journal.log["rank_rule"] = dict(vars(choice))
        ranks = [choice.rank]
        if options.target_size_mb is not None and options.network != "lattice":
            ranks = sorted({max(1, round(choice.rank * part)) for part in (0.25, 0.5, 1)})
        if options.target_mae_pct is not None:
            ranks = sorted({1, most, *(round(1.25**i) for i in range(32) if 1.25**i < most)})
    found = floors(sample, basis, ranks)
    if options.target_size_mb is not None:
        return plans_for_size(basis, found, 1e6 * options.target_size_mb, depth)
    if options.target_mae_pct is not None:
        inside = values_inside(sample.patterns, basis.mask)
        goal = options.target_mae_pct * (float(inside.max()) - float(inside.min())) / 100
        able = [floor for floor in found if floor.mae_counts < goal][:5]
        plans = plans_for_error(basis, able, goal, n, depth)
        if plans:
            return plans
        if options.network != "sine" and most > min(RANK_LIMIT, coefficient_limit(n)):
            # labels may have more components than are held: where that leads is found on the way
            return [replace(plan_for_loss(basis, found[-1], FAR_LOSS), network_error=math.inf)]
        return [plan_for_loss(basis, found[-1], NEAR_LOSS)]
    plan = plan_for_loss(basis, found[-1], options.coding_loss_pct / 100)
    return [replace(plan, capped=options.rank == "auto" and plan.rank == most)]


def _mask(
    sample: Sample, options: FitOptions, dictionary: Dictionary | None
) -> npt.NDArray[np.bool_]:
    """The pixels to fit: those that the dictionary knows, where there is one."""
    shape = sample.patterns.shape[1:]
    if dictionary is not None and dictionary.patterns.shape[1:] != shape:
        raise FitError(
            f"{dictionary.source}: expected basis patterns of {shape} pixels, found "
            f"{dictionary.patterns.shape[1:]}; take them from a scan with the same detector "
            f"settings"
        )
    if dictionary is None or dictionary.mask is None:
        return detector_mask(sample, options.mask)
    return dictionary.mask
