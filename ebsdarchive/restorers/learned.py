"""Trained networks as restorers: batches that fit memory, counts in and out.

Every pattern draws its noise from its own index in the scan, so that an estimate depends neither on
the block nor on the batch that it was made in. Unlit pixels stay as they were measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ebsdarchive.errors import ArgumentError
from ebsdarchive.restorers import autoencoder, diffusion, kikuchi_network, latent
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.flattening import Flattened, flatten
from ebsdarchive.restorers.neighbourhood import neighbour_means
from ebsdarchive.restorers.restorer import Estimate, Surroundings

__all__ = [
    "AutoencoderRestorer",
    "DdimRestorer",
    "DdpmRestorer",
    "KikuchiRestorer",
    "LatentRestorer",
    "SmoothAutoencoderRestorer",
    "torch_device",
]

Floats = npt.NDArray[np.float32]

BATCH_BYTES = {"cpu": 256 << 20, "cuda": 4 << 30}
MOST = 256  # patterns in a batch


def torch_device(name: str) -> torch.device:
    """ "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N". ArgumentError for others, and
    where there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ArgumentError(f"device: expected auto, cpu, cuda or cuda:N, found {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ArgumentError(
            f"device: expected one of {torch.cuda.device_count()} CUDA devices, found {name!r}; "
            f"use device cpu or auto"
        )
    return torch.device(name)


class Part(NamedTuple):
    """An estimate of some patterns: counts, and what else the method knows, as in `Estimate`."""

    counts: Tensor
    deviation: Tensor | None = None
    flags: Tensor | None = None

    def on_cpu(self) -> Part:
        """The same, where numpy can see it."""
        deviation = None if self.deviation is None else self.deviation.cpu()
        return Part(self.counts.cpu(), deviation, None if self.flags is None else self.flags.cpu())


class _Learned:
    """What the restorers below share: a network on a device, and the way through a block."""

    name: ClassVar[str]
    version: ClassVar[str]
    networks: ClassVar[Any]  # the module of the network
    bytes_per_pixel: ClassVar[int]  # of a pattern on its way through the network
    halo_rows = 0

    def __init__(self, module: nn.Module, device: str, config: Mapping[str, Any]) -> None:
        self.device = torch_device(device)
        self.module = module.to(self.device).eval()
        last: Any = {"memory_format": torch.channels_last}  # the faster order of convolutions
        self.module.to(**last)
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
        size = BATCH_BYTES[self.device.type] // (sy * sx * self.bytes_per_pixel)
        size = int(min(max(size, 1), MOST))
        at = 0
        while at < n:
            some = slice(at, min(at + size, n))
            try:
                with torch.inference_mode():
                    part = work(flatten(self._tensor(patterns[some]), lit), some)
                    kept = part.on_cpu()
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if size == 1:
                    raise MemoryError(f"{self.name}: no memory for one pattern") from error
                size //= 2
                continue
            measured = patterns[some]
            counts[some] = np.where(mask | ~np.isfinite(measured), kept.counts.numpy(), measured)
            if kept.deviation is not None:
                deviation = np.empty_like(counts) if deviation is None else deviation
                deviation[some] = kept.deviation.numpy()
            if kept.flags is not None:
                flags = np.empty(n, np.uint8) if flags is None else flags
                flags[some] = kept.flags.numpy()
            at = some.stop
        return Estimate(counts, deviation, flags)

    def _tensor(self, array: npt.NDArray) -> Tensor:
        """A copy in memory of torch's own: products differ in their last digit with the alignment
        of what they are given, and the same block must give the same estimate."""
        return torch.from_numpy(array.astype(np.float32, copy=False)).clone().to(self.device)


class _Regression(_Learned):
    """One forward pass: nothing is drawn."""

    told: ClassVar[tuple[str, ...]]  # of the network's configuration: what decides an estimate

    def __init__(self, module: Any, device: str) -> None:
        values = {name: getattr(module.config, name) for name in self.told}
        config = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        super().__init__(module, device, config)
        self.network = module

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        device: str = "auto",
        steps: int | None = None,
        samples: int = 1,
    ) -> Self:
        """Of a trained network. Raises FormatError if it does not fit the method."""
        if steps is not None or samples != 1:
            raise ArgumentError(
                f"{cls.name}: expected no steps or samples, found some; it draws nothing"
            )
        return cls(cls.networks.load(checkpoint), device)


class AutoencoderRestorer(_Regression):
    """`autoencoder`: each pattern alone, without an uncertainty."""

    name, version = "autoencoder", autoencoder.VERSION
    networks: ClassVar[Any] = autoencoder
    bytes_per_pixel, told = 4 * 400, ("kind",)

    def restore(self, patterns: Floats, surroundings: Surroundings) -> Estimate:
        """Estimates of the block's own patterns."""

        def work(flattened: Flattened, some: slice) -> Part:
            return Part(flattened.to_counts(autoencoder.denoise(self.network, flattened)))

        return self._in_batches(patterns[surroundings.own], surroundings.mask, work)


class SmoothAutoencoderRestorer(AutoencoderRestorer):
    """`autoencoder-smooth`: as `autoencoder`, with the other network."""

    name = "autoencoder-smooth"


class _Sampling(_Learned):
    """The mean of samples, with their spread as uncertainty where there is more than one."""

    sampler: ClassVar[str]

    def __init__(
        self, module: nn.Module, device: str, steps: int | None = None, samples: int = 1
    ) -> None:
        self.steps = diffusion.SAMPLERS[self.sampler] if steps is None else steps
        self.samples = samples
        if not 1 <= self.steps <= diffusion.STEPS:
            raise ArgumentError(f"steps: expected from 1 to {diffusion.STEPS}, found {steps}")
        if samples < 1:
            raise ArgumentError(f"samples: expected 1 or more, found {samples}")
        config = {"sampler": self.sampler, "steps": self.steps, "samples": samples}
        super().__init__(module, device, config)

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        device: str = "auto",
        steps: int | None = None,
        samples: int = 1,
    ) -> Self:
        """Of a trained network. Raises FormatError if it does not fit the method."""
        return cls(cls.networks.load(checkpoint), device, steps, samples)

    def restore(self, patterns: Floats, surroundings: Surroundings) -> Estimate:
        """Estimates of the block's own patterns."""

        def work(flattened: Flattened, some: slice) -> Part:
            indices = range(surroundings.start + some.start, surroundings.start + some.stop)
            mean, deviation = self.networks.restore_flattened(
                self.module,
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


class DdpmRestorer(_Sampling):
    """`ddpm`: conditional diffusion, with noise in every step."""

    name, version = "ddpm", diffusion.VERSION
    sampler = "ddpm"
    networks: ClassVar[Any] = diffusion
    bytes_per_pixel = 4 * 600


class DdimRestorer(DdpmRestorer):
    """`ddim`: the network of `ddpm` in few steps without noise."""

    name, sampler = "ddim", "ddim"


class LatentRestorer(_Sampling):
    """`mldm`: diffusion of codes, sampled as `ddim` does."""

    name, version = "mldm", latent.VERSION
    sampler = "ddim"
    networks: ClassVar[Any] = latent
    bytes_per_pixel = 4 * 300


class KikuchiRestorer(_Regression):
    """`kikuchi`: a neighbourhood's mean and one forward pass; uncertainty and flags."""

    name, version = kikuchi_network.METHOD, kikuchi_network.VERSION
    networks: ClassVar[Any] = kikuchi_network
    bytes_per_pixel = 4 * 150
    told = ("neighbours", "flag_limits", "weak_ratio", "uncertainty_factor")

    def __init__(self, module: kikuchi_network.KikuchiNetwork, device: str) -> None:
        super().__init__(module, device)
        self.halo_rows = module.config.neighbours

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

    def _flattened(self, patterns: Floats, mask: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Values (m, sy, sx) of all patterns, and their mean noise (m,)."""
        noise = np.empty(len(patterns), np.float32)

        def work(flattened: Flattened, some: slice) -> Part:
            noise[some] = flattened.mean_noise.cpu().numpy()
            return Part(flattened.values)

        values = self._in_batches(patterns, mask, work).patterns
        values[:, ~mask] = 0
        return values, noise


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether a device or this machine had no memory left: torch has no type of its own for the
    latter."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
