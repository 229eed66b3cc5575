"""The restorer of this package: one forward pass from a neighbourhood to a pattern and its doubts.

A U-Net on half the pattern's resolution sees the weighted mean of a pattern's neighbourhood, the
pattern alone, and how noisy the two are. It starts from the shrunk mean (of isolated patterns: from
themselves) and learns what is left: an estimate for every pixel, the variance of its error, and
whether the pattern is one at all. Any size from 48 to 512 px, any material: what it sees is
flattened.

Sources: blocks and levels after Zhang et al. 2021 (DRUNet, arXiv:2008.13751); scaling of input and
output after Karras et al. 2022 (EDM, arXiv:2206.00364, section 5); the variance's loss apart from
the mean's after Seitzer et al. 2022 (arXiv:2203.09168).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebsdarchive.errors import FormatError
from ebsdarchive.restorers import networks
from ebsdarchive.restorers.attention import Attention
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.flattening import Flattened, flatten
from ebsdarchive.restorers.lines import line_responses
from ebsdarchive.restorers.networks import Batch
from ebsdarchive.restorers.restorer import OVERLAP, UNFAMILIAR, WEAK

__all__ = [
    "FLAGS",
    "KikuchiConfig",
    "KikuchiNetwork",
    "Restored",
    "build",
    "checkpoint_of",
    "load",
    "loss",
    "restore_counts",
]

METHOD, VERSION = "kikuchi", "2"
FLAGS = (WEAK, OVERLAP, UNFAMILIAR)  # in the order of the logits
PLANES = 6  # of the input, see `Planes`
LEAST_SIGNAL = 0.01  # of the variance, that the network may still start from
LEAST_CHANGE = 0.1  # standard deviation of what it may add, of flattened values


@dataclass(frozen=True)
class KikuchiConfig:
    """Shape of the network, and what its answers mean.

    Parameters
    ----------
    widths
        Channels at 1/2, 1/4, … of the pattern's resolution; the last level has attention.
    blocks
        Per level and direction.
    heads
        Of the attention.
    lines
        Directions in which lines are looked for, at half the pattern's resolution.
    neighbours
        Radius of the neighbourhood in scan steps; 0: each pattern alone.
    flag_limits
        Probabilities of WEAK, OVERLAP and UNFAMILIAR from which an estimate is flagged.
    weak_ratio
        An estimate whose variance over the lit pixels is below this many times the mean variance of
        its error is WEAK as well.
    uncertainty_factor
        The network's standard deviations are multiplied by it: measured on held-out patterns.
    """

    widths: tuple[int, ...] = (48, 80, 128, 192)
    blocks: tuple[int, ...] = (2, 2, 2, 1)
    heads: int = 6
    lines: int = 16
    neighbours: int = 3
    flag_limits: tuple[float, ...] = (0.5, 0.5, 0.5)
    weak_ratio: float = 0.1
    uncertainty_factor: float = 1.0

    def __post_init__(self) -> None:
        def require(fits: bool, name: str, rule: str) -> None:
            if not fits:
                found = getattr(self, name)
                raise FormatError(f"kikuchi network: expected {name} {rule}, found {found!r}")

        require(1 <= len(self.widths) <= 6, "widths", "of 1 to 6 levels")
        require(all(0 < width <= 2048 for width in self.widths), "widths", "from 1 to 2048")
        require(len(self.blocks) == len(self.widths), "blocks", "for each of the widths")
        require(all(0 < number <= 32 for number in self.blocks), "blocks", "from 1 to 32")
        require(self.heads > 0 and self.widths[-1] % self.heads == 0, "heads", "dividing the width")
        require(1 <= self.lines <= 256, "lines", "from 1 to 256")
        require(0 <= self.neighbours <= 16, "neighbours", "from 0 to 16")
        require(len(self.flag_limits) == len(FLAGS), "flag_limits", f"of {len(FLAGS)} flags")
        require(all(0 < p <= 1 for p in self.flag_limits), "flag_limits", "above 0 and up to 1")
        require(self.weak_ratio >= 0, "weak_ratio", "of at least 0")
        require(self.uncertainty_factor > 0, "uncertainty_factor", "above 0")


class Block(nn.Module):
    """Adds what two convolutions find; almost nothing at first. Dense and without normalisation,
    which two cores compute faster than separable ones of the same quality."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight *= 0.1

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(functional.relu(self.first(h)))  # (n, c, h, w)


class Answer(NamedTuple):
    """What the network says of flattened patterns.

    Parameters
    ----------
    estimate
        (n, sy, sx) in the mean's flattened form.
    log_variance
        (n, sy, sx) of the estimate's error, in units of `change` squared.
    change
        (n, 1, 1) standard deviation of what the network may add to where it starts.
    logits
        (n, 3) of the flags.
    """

    estimate: Tensor
    log_variance: Tensor
    change: Tensor
    logits: Tensor


class KikuchiNetwork(nn.Module):
    """Planes of a pattern to an estimate, its variance and flags."""

    def __init__(self, config: KikuchiConfig) -> None:
        super().__init__()
        self.config = config
        widths, blocks = config.widths, config.blocks
        last = widths[-1]
        self.stem = nn.Conv2d(4 * PLANES + config.lines, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(
            nn.Sequential(*[Block(width) for _ in range(number)])
            for width, number in zip(widths, blocks, strict=True)
        )
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        # at the coarsest level every pixel sees all: bands cross the whole pattern
        self.attention = Attention(last, config.heads)
        self.bottom = Block(last)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(
            nn.Sequential(*[Block(width) for _ in range(number)])
            for width, number in zip(widths[:-1], blocks[:-1], strict=True)
        )
        self.out = nn.Conv2d(widths[0], 4 * 8, 1)
        self.fine = nn.Conv2d(8 + 2, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 2, 3, padding=1)
        nn.init.zeros_(self.last.weight)  # at first nothing is added, and errors are as large as
        self.last.bias = nn.Parameter(torch.zeros(2))  # what may be added
        self.judge = nn.Sequential(
            nn.Linear(2 * last + 2 * widths[0] + 6, 128), nn.GELU(), nn.Linear(128, len(FLAGS))
        )

    @property
    def multiple(self) -> int:
        """Sizes of patterns are padded to multiples of this."""
        return int(2 ** len(self.config.widths))

    def forward(self, planes: Tensor) -> Answer:
        """(n, PLANES, sy, sx) of any size; see `planes_of`."""
        sy, sx = planes.shape[2:]
        extra = [-size % self.multiple for size in (sx, sy)]
        padded = functional.pad(planes, (0, extra[0], 0, extra[1]))  # 0: nothing is lit
        halves = 2 * functional.avg_pool2d(padded[:, :1], 2)[:, 0]  # of the same noise
        seen = functional.avg_pool2d(padded[:, 5:6], 2)[:, 0].ceil()
        lines = line_responses(halves, seen, self.config.lines)
        h = self.stem(torch.cat([functional.pixel_unshuffle(padded, 2), lines], dim=1))
        passed = []
        for encoder, down in zip(self.encoders[:-1], self.downs, strict=True):
            h = encoder(h)
            passed.append(h)
            h = down(h)
        deep = self.bottom(self.attention(self.encoders[-1](h)))  # (n, c, sy / 16, sx / 16)
        h = deep
        for decoder, up in zip(reversed(self.decoders), reversed(self.ups), strict=True):
            h = decoder(up(h) + passed.pop())
        a = functional.pixel_shuffle(self.out(h), 2)  # (n, 8, sy, sx)
        a = torch.cat([a, padded[:, :2]], dim=1)
        f, log_variance = self.last(functional.gelu(self.fine(a)))[:, :, :sy, :sx].unbind(1)
        mean, lit, noise = planes[:, 0], planes[:, 5], planes[:, 2]
        # Karras et al. 2022: c_skip = signal, c_out = sqrt(signal noise²), of total variance 1
        weight = lit.sum((1, 2), keepdim=True).clamp_min(1)
        noise2 = ((noise.square() * lit).sum((1, 2), keepdim=True) / weight).clamp(0, 1)
        signal = (1 - noise2).clamp_min(LEAST_SIGNAL)
        change = (signal * noise2).sqrt().clamp_min(LEAST_CHANGE)  # (n, 1, 1)
        estimate = signal * mean + change * f
        log_variance = 8 * torch.tanh(log_variance / 8)
        told = [deep.mean((2, 3)), deep.amax((2, 3)), h.mean((2, 3)), h.std((2, 3))]
        power = (estimate.square() * lit).sum((1, 2)) / weight[:, 0, 0]
        doubt = (log_variance * lit).sum((1, 2)) / weight[:, 0, 0]
        scalars = [noise2[:, 0, 0], power, doubt, planes[:, 4].amax((1, 2))]
        scalars += [lines.square().mean((1, 2, 3)), lines.amax((1, 2, 3))]
        logits = self.judge(torch.cat([*told, torch.stack(scalars, dim=1)], dim=1))
        return Answer(estimate, log_variance, change, logits)


def planes_of(own: Flattened, mean: Flattened, n_effective: Tensor) -> Tensor:
    """(n, PLANES, sy, sx): mean, pattern, noise of the mean, noise of the pattern, log2 of the
    number of patterns in the mean over 4, lit pixels."""
    lit = mean.lit.to(mean.values).expand_as(mean.values)
    number = (n_effective.clamp_min(1).log2() / 4)[:, None, None] * lit
    return torch.stack(
        [mean.values, own.values, mean.noise * lit, own.noise * lit, number, lit], dim=1
    )


def loss(module: KikuchiNetwork, batch: Batch, generator: torch.Generator) -> Tensor:
    """Squared error of the estimate + likelihood of the variance + half the flags' cross entropy.

    The error is in units of what noise allows (`Answer.change`), so that no dose outweighs the
    others; the variance learns from the error but does not steer it. Patterns that are UNFAMILIAR
    teach the variance and the flags alone. Draws nothing from `generator`.
    """
    own = flatten(batch.noisy, batch.mask)
    mean = own if batch.mean is None else flatten(batch.mean, batch.mask)
    n = len(batch.noisy)
    ones = torch.ones(n, device=batch.noisy.device)
    number = ones if batch.n_effective is None else batch.n_effective
    answer = module(planes_of(own, mean, number))
    target = mean.from_counts(batch.clean).clamp(-6, 6)
    error2 = ((answer.estimate - target) / answer.change).square()  # (n, sy, sx)
    flags = torch.zeros(n, dtype=torch.uint8, device=ones.device)
    flags = flags if batch.flags is None else batch.flags
    truth = torch.stack([(flags & flag) > 0 for flag in FLAGS], dim=1).to(ones)
    lit = mean.lit.to(error2).expand_as(error2)
    known = lit * (1 - truth[:, 2])[:, None, None]
    squared = (error2 * known).sum() / known.sum().clamp_min(1)
    v = answer.log_variance
    likelihood = 0.5 * ((v + error2.detach() * torch.exp(-v)) * lit).sum() / lit.sum().clamp_min(1)
    flagging = functional.binary_cross_entropy_with_logits(answer.logits, truth)
    return squared + likelihood + 0.5 * flagging


class Restored(NamedTuple):
    """Counts (n, sy, sx), their standard deviation (n, sy, sx), flags (n,) and, for whoever sets
    limits, the flags' probabilities (n, 3) and the ratio of signal to error (n,)."""

    counts: Tensor
    deviation: Tensor
    flags: Tensor
    probabilities: Tensor
    ratio: Tensor


@torch.no_grad()
def restore_counts(
    module: KikuchiNetwork, own: Flattened, mean: Tensor | None, n_effective: Tensor | None
) -> Restored:
    """Estimates of flattened patterns, with the means of their neighbourhoods in counts.

    Unlit pixels get the background, and no uncertainty.
    """
    config = module.config
    average = own if mean is None else flatten(mean, own.lit)
    n = len(own.values)
    number = own.values.new_ones(n) if n_effective is None else n_effective
    answer = module(planes_of(own, average, number))
    counts = average.to_counts(answer.estimate)
    error = torch.exp(0.5 * answer.log_variance) * answer.change * config.uncertainty_factor
    pixels = average.lit.sum((1, 2)).clamp_min(1)
    centre = (answer.estimate * average.lit).sum((1, 2)) / pixels
    spread = (answer.estimate - centre[:, None, None]).square() * average.lit
    doubt = (error.square() * average.lit).sum((1, 2)).clamp_min(1e-12)
    ratio = spread.sum((1, 2)) / doubt
    probabilities = torch.sigmoid(answer.logits)
    limits = probabilities.new_tensor(config.flag_limits)
    weights = torch.tensor(FLAGS, device=limits.device)
    flags = ((probabilities >= limits) * weights).sum(1)
    weak = (ratio < config.weak_ratio) | own.flat
    flags = torch.where(weak, flags | WEAK, flags)
    deviation = average.scale * error * average.lit
    return Restored(counts, deviation, flags.to(torch.uint8), probabilities, ratio)


def build(config: Mapping[str, Any]) -> KikuchiNetwork:
    """A network with fresh weights."""
    return KikuchiNetwork(networks.read_config(KikuchiConfig, config, METHOD))


def checkpoint_of(module: KikuchiNetwork, card: Mapping[str, Any]) -> Checkpoint:
    """The network at rest."""
    return networks.checkpoint_of(module, METHOD, VERSION, card)


def load(checkpoint: Checkpoint) -> KikuchiNetwork:
    """The network of a checkpoint. Raises FormatError if it does not fit."""
    return networks.loaded(build, checkpoint, VERSION)
