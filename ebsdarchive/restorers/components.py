"""``klt``: what the patterns of a scan share, above its noise (Karhunen-Loève transform)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.neural.basis import RANK_LIMIT, Basis, choose_rank, klt_of_sample
from ebsdarchive.restorers.measured import sample_of
from ebsdarchive.restorers.restorer import Estimate, Progress, Restorer, Surroundings, WholeScan

__all__ = ["PrincipalComponents"]


@dataclass(frozen=True)
class PrincipalComponents:
    """The projection of each pattern on the leading principal components of the scan.

    Parameters
    ----------
    rank
        Number of components besides the mean pattern; by default those above the noise floor that
        neighbouring points tell (see `ebsdarchive.neural.basis.choose_rank`).
    basis
        Of this scan, once it is known.
    """

    rank: int | None = None
    basis: Basis | None = None

    name = "klt"
    version = "1"
    halo_rows = 0

    @property
    def config(self) -> Mapping[str, Any]:
        return {"rank": self.rank}

    def prepare(self, whole: WholeScan, progress: Progress) -> Restorer:
        sample = sample_of(whole.patterns, whole.grid, whole.seed)
        progress(1, 2)
        weights = np.ones(int(whole.mask.sum()), np.float32)
        basis = klt_of_sample(sample, whole.mask, weights, self.rank or RANK_LIMIT, whole.seed)
        rank = self.rank or choose_rank(basis, len(sample.pairs)).rank - 1
        progress(2, 2)
        rank = min(rank, len(basis.vectors))
        return replace(self, rank=rank, basis=basis.truncate(rank))

    def restore(self, patterns: npt.NDArray[np.float32], surroundings: Surroundings) -> Estimate:
        assert self.basis is not None
        estimate = patterns[surroundings.own].copy()
        estimate[:, self.basis.mask] = self.basis.synthesise(self.basis.project(estimate))
        return Estimate(estimate)
