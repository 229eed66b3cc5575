"""Trained networks as restorers: batches that fit memory, counts in and out.

Every pattern draws its noise from its own index in the scan, so that an estimate depends neither on
the block nor on the batch that it was made in. Unlit pixels stay as they were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.neural.training import choose_device
from ebsdarchive.restore import (
    autoencoder,
    diffusion,
    kikuchi_network,
    latent,
    orientation_network,
)
from ebsdarchive.restore.checkpoint import Checkpoint
from ebsdarchive.restore.flattening import Flattened, flatten
from ebsdarchive.restore.neighbourhood import neighbour_means
from ebsdarchive.restore.restorer import Estimate, Surroundings

__all__ = [
    "METHODS",
    "AutoencoderRestorer",
    "DiffusionRestorer",
    "KikuchiRestorer",
    "module_of",
    "restorer_of",
]

Floats = npt.NDArray[np.float32]

BATCH_BYTES = {"cpu": 256 << 20, "cuda": 4 << 30}
MOST = 256  # patterns in a batch
MODULES = {
    "autoencoder": autoencoder,
    "autoencoder-smooth": autoencoder,
    "ddpm": diffusion,
    "ddim": diffusion,
    "mldm": latent,
    "kikuchi": kikuchi_network,
    "orientation": orientation_network,
}


class Part(NamedTuple):
    """An estimate of some patterns: counts, and what else the method knows, as in `Estimate`."""

    counts: Tensor
    deviation: Tensor | None = None
    flags: Tensor | None = None


class _Learned:
    """What the restorers below share: a network on a device, and the way through a block."""

    name: str
    version: str
    halo_rows = 0
    bytes_per_pixel: int  # of a pattern on its way through the network

    def __init__(self, module: nn.Module, device: str, config: Mapping[str, Any]) -> None:
        self.device = choose_device(device)
        self.module = module.to(self.device, memory_format=torch.channels_last).eval()
        self.config = dict(config)

    def _in_batches(
        self,
        patterns: Floats,
        mask: npt.NDArray[np.bool_],
        work: Callable[[Flattened, slice], Part],
    ) -> Estimate:
        """Estimates of patterns (n, sy, sx); `work` takes some flattened, and which they are."""
        n, sy, sx = patterns.shape
        counts = np.empty((n, sy, sx), np.float32)
        deviation: Floats | None = None
        flags: npt.NDArray[np.uint8] | None = None
        lit = torch.from_numpy(np.ascontiguousarray(mask)).to(self.device)
        size = BATCH_BYTES[self.device] // (sy * sx * self.bytes_per_pixel)
        size = int(min(max(size, 1), MOST))
        at = 0
        while at < n:
            some = slice(at, min(at + size, n))
            try:
                with torch.inference_mode():
                    part = work(flatten(self._tensor(patterns[some]), lit), some)
                    kept = [None if a is None else a.cpu().numpy() for a in part]
            except torch.cuda.OutOfMemoryError:
                if size == 1:
                    raise
                size //= 2
                continue
            measured = patterns[some]
            counts[some] = np.where(mask | ~np.isfinite(measured), kept[0], measured)
            if kept[1] is not None:
                deviation = np.empty_like(counts) if deviation is None else deviation
                deviation[some] = kept[1]
            if kept[2] is not None:
                flags = np.empty(n, np.uint8) if flags is None else flags
                flags[some] = kept[2]
            at = some.stop
        return Estimate(counts, deviation, flags)

    def _tensor(self, array: npt.NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(self.device)


class AutoencoderRestorer(_Learned):
    """`autoencoder` and `autoencoder-smooth`: each pattern alone, without an uncertainty."""

    version = autoencoder.VERSION
    bytes_per_pixel = 4 * 400

    def __init__(self, module: autoencoder.Seed | autoencoder.Smooth, device: str) -> None:
        super().__init__(module, device, {"kind": module.config.kind})
        self.name = autoencoder.METHODS[module.config.kind]
        self.network = module

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        device: str = "auto",
        steps: int | None = None,
        samples: int | None = None,
    ) -> Self:
        """Of a trained network. Raises FormatError if it does not fit the method."""
        _takes_none(checkpoint.method, steps=steps, samples=samples)
        return cls(autoencoder.load(checkpoint), device)

    def restore(self, patterns: Floats, surroundings: Surroundings) -> Estimate:
        """Estimates of the block's own patterns."""

        def work(flattened: Flattened, some: slice) -> Part:
            return Part(flattened.to_counts(autoencoder.denoise(self.network, flattened)))

        return self._in_batches(patterns[surroundings.own], surroundings.mask, work)


class DiffusionRestorer(_Learned):
    """`ddpm`, `ddim` and `mldm`: the mean of samples, with their spread as uncertainty.

    The latent method samples with DDIM.
    """

    def __init__(
        self,
        name: str,
        module: Any,
        device: str,
        steps: int | None = None,
        samples: int | None = None,
    ) -> None:
        sampler = "ddim" if name == "mldm" else name
        self.steps = diffusion.SAMPLERS[sampler] if steps is None else steps
        self.samples = 1 if samples is None else samples
        if not 1 <= self.steps <= diffusion.STEPS:
            raise ArgumentError(
                f"steps: expected from 1 to {diffusion.STEPS}, found {self.steps}"
            )
        if self.samples < 1:
            raise ArgumentError(f"samples: expected at least 1, found {self.samples}")
        config = {"sampler": sampler, "steps": self.steps, "samples": self.samples}
        super().__init__(module, device, config)
        self.name, self.sampler, self.network = name, sampler, module
        self.version = MODULES[name].VERSION
        self.bytes_per_pixel = 4 * (300 if name == "mldm" else 600)

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        device: str = "auto",
        steps: int | None = None,
        samples: int | None = None,
        method: str | None = None,
    ) -> Self:
        """Of a trained network; `method` tells the sampler for one that both can sample with.

        Raises FormatError if the network does not fit the method.
        """
        name = method or checkpoint.method
        return cls(name, MODULES[name].load(checkpoint), device, steps, samples)

    def restore(self, patterns: Floats, surroundings: Surroundings) -> Estimate:
        """Estimates of the block's own patterns."""
        sampled = latent if self.name == "mldm" else diffusion

        def work(flattened: Flattened, some: slice) -> Part:
            indices = range(surroundings.start + some.start, surroundings.start + some.stop)
            mean, deviation = sampled.restore_flattened(
                self.network,
                flattened,
                self.sampler,
                self.steps,
                self.samples,
                lambda k: diffusion.generators(surroundings.seed, indices, k),
            )
            contrast = flattened.contrast_of(mean)
            counts = flattened.to_counts(contrast * flattened.centred(mean))
            if deviation is None:
                return Part(counts)
            return Part(counts, flattened.scale * contrast * deviation * flattened.lit)

        return self._in_batches(patterns[surroundings.own], surroundings.mask, work)


class KikuchiRestorer(_Learned):
    """`kikuchi`: a neighbourhood's mean and one forward pass; uncertainty and flags."""

    name, version = kikuchi_network.METHOD, kikuchi_network.VERSION
    bytes_per_pixel = 4 * 150

    def __init__(self, module: kikuchi_network.KikuchiNetwork, device: str) -> None:
        super().__init__(
            module,
            device,
            {
                "neighbours": module.config.neighbours,
                "flag_limits": list(module.config.flag_limits),
                "weak_ratio": module.config.weak_ratio,
            },
        )
        self.network = module
        self.halo_rows = module.config.neighbours

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        device: str = "auto",
        steps: int | None = None,
        samples: int | None = None,
    ) -> Self:
        """Of a trained network. Raises FormatError if it does not fit the method."""
        _takes_none(checkpoint.method, steps=steps, samples=samples)
        return cls(kikuchi_network.load(checkpoint), device)

    def restore(self, patterns: Floats, surroundings: Surroundings) -> Estimate:
        """Estimates of the block's own patterns."""
        values, noise = self._flattened(patterns, surroundings.mask)
        around = neighbour_means(
            values,
            noise,
            surroundings.grid,
            surroundings.first,
            surroundings.start,
            surroundings.stop,
            surroundings.mask,
            self.network.config.neighbours,
        )

        def work(flattened: Flattened, some: slice) -> Part:
            means = flattened.to_counts(self._tensor(around.means[some]))
            number = self._tensor(around.n_effective[some])
            restored = kikuchi_network.restore_counts(self.network, flattened, means, number)
            return Part(restored.counts, restored.deviation, restored.flags)

        return self._in_batches(patterns[surroundings.own], surroundings.mask, work)

    def _flattened(
        self, patterns: Floats, mask: npt.NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """Values (m, sy, sx) of all patterns, and their mean noise (m,)."""
        noise = np.empty(len(patterns), np.float32)

        def work(flattened: Flattened, some: slice) -> Part:
            pixels = flattened.lit.sum((1, 2)).clamp_min(1)
            noise[some] = (flattened.noise.square().sum((1, 2)) / pixels).sqrt().cpu().numpy()
            return Part(flattened.values)

        everywhere = np.ones_like(mask)
        lit = np.where(mask, patterns, np.nan).astype(np.float32)
        return self._in_batches(lit, everywhere, work).patterns, noise


def _takes_none(method: str, **given: int | None) -> None:
    for name, value in given.items():
        if value is not None:
            raise ArgumentError(
                f"{name}: expected a method that samples (ddpm, ddim, mldm), found {method}"
            )


METHODS: dict[str, tuple[str, type[_Learned]]] = {
    "autoencoder": ("autoencoder", AutoencoderRestorer),
    "autoencoder-smooth": ("autoencoder-smooth", AutoencoderRestorer),
    "ddpm": ("ddpm", DiffusionRestorer),
    "ddim": ("ddpm", DiffusionRestorer),
    "mldm": ("mldm", DiffusionRestorer),
    "kikuchi": ("kikuchi", KikuchiRestorer),
}
