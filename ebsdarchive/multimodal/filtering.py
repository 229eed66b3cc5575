"""FPS-SMC: samples of a map that agree with an observation, by filtering particles.

Dou & Song (2024), Diffusion Posterior Sampling for Linear Inverse Problem Solving: A Filtering
Perspective. Each step draws from the product of the model's Gaussian and the observation's at that
level, in closed form since M is diagonal; particles are weighted by how well the model expected the
observation, and resampled when few of them carry the weight. For a perfect model and many
particles, samples of many systems are exact samples of the posterior.

Few particles of a large map hold none that happens to agree with the observation everywhere. So
particles may be moved after each step (resample-move: Gilks & Berzuini 2001): back up by the
diffusion and down again by the same product. These two are the conditional distributions of a
Gibbs sampler whose stationary one is the posterior of that level; what is measured at a pixel
spreads over its grain with every move. RePaint (Lugmayr et al. 2022) does so without particles.

Or a single particle is told what the observation says of the whole map (`guidance`), and steps
towards that. Then nothing has to spread: of a Gaussian, one such particle is a sample of the
posterior.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.multimodal.guidance import guided_clean
from ebsdarchive.multimodal.observation import Observation, ObservedPath, diffused
from ebsdarchive.multimodal.schedule import Step, noise_levels

__all__ = ["Particles", "SamplerOptions", "filtered", "systematic"]

Predict = Callable[[Tensor, Tensor], Tensor]  # x_k (n, …) and times (n,) to the noise in x_k
FEW = 0.5  # share of effective particles below which they are resampled


@dataclass(frozen=True)
class SamplerOptions:
    """How to sample.

    Parameters
    ----------
    steps
        Times that the network is asked.
    particles
        Of a system.
    moves
        Of each particle after a step; each asks the network once more.
    guidance
        Conjugate gradients of `guidance` at each step, for a single particle; 0: none.
    order
        Of the steps. 2 takes the clean map that is expected to move on as it did in the step before
        (Lu et al. 2022, DPM-Solver++ 2M): of an exact model the covariance is then right in few
        steps. It adds to what a trained one errs by.
    begin
        Noise ρ, in units of the clean map, that a particle begins with where it is given a map.
    clip
        Whether estimates of the clean map are kept within ± 1.
    published
        Whether noise of the observation is treated as in the paper; see `observation`.
    """

    steps: int = 50
    particles: int = 2
    moves: int = 0
    guidance: int = 0
    order: int = 1
    begin: float = 1.0
    clip: bool = True
    published: bool = False

    def __post_init__(self) -> None:
        noise_levels(self.steps)
        if self.particles < 1:
            raise ArgumentError(f"particles: expected at least 1, found {self.particles}")
        if self.moves < 0:
            raise ArgumentError(f"moves: expected at least 0, found {self.moves}")
        if self.guidance < 0:
            raise ArgumentError(f"guidance: expected at least 0, found {self.guidance}")
        if self.guidance and self.particles > 1:
            raise ArgumentError(
                f"particles: expected 1 with guidance, found {self.particles}; draw more samples, "
                f"or set guidance to 0"
            )
        if self.order not in (1, 2) or (self.order == 2 and self.moves):
            raise ArgumentError(
                f"order: expected 1, or 2 without moves, found {self.order} and {self.moves} moves"
            )
        if not self.begin > 0:
            raise ArgumentError(f"begin: expected noise above 0, found {self.begin}")


@dataclass(frozen=True)
class Particles:
    """A system of particles at level 0.

    `x` is (p, …), `log_weights` (p,) float64 and normalised; `resampled` counts how often.
    """

    x: Tensor
    log_weights: Tensor
    resampled: int

    def one(self, generator: torch.Generator) -> Tensor:
        """A particle drawn by its weight."""
        drawn = torch.multinomial(self.log_weights.exp(), 1, generator=generator)
        return self.x[int(drawn)]


@torch.no_grad()
def filtered(
    predict: Predict,
    observation: Observation,
    options: SamplerOptions,
    generator: torch.Generator,
    told: Callable[[float], None] | None = None,
    begin: Tensor | None = None,
) -> Particles:
    """A system of particles that have come down from noise along an observation.

    Parameters
    ----------
    predict
        The model's noise prediction.
    generator
        On the CPU; everything random comes from it.
    told
        Is told the part done, 0 … 1.
    begin
        A map to begin with instead of noise alone, whatever it was made from: noise of `begin` of
        the options is added to it (Chung et al. 2022, Come-Closer-Diffuse-Faster).

    Raises
    ------
    FormatError
        If the model predicts what is no number.
    """
    levels = noise_levels(options.steps)
    path = diffused(observation, levels, generator, options.published)
    shape = (options.particles, *observation.values.shape)
    top = levels.count if begin is None else levels.reached(options.begin)
    signal = float(levels.signal[top])
    observed, said = signal**0.5 * path.values[top], signal * path.variance(top)
    if begin is None:
        x = _product(torch.zeros(shape), 1.0, observed, said, generator)
    else:
        said, mean = signal * path.exact(top), (signal**0.5 * begin).expand(shape)
        x = _product(mean, 1 - signal, observed, said, generator)
    log_weights = torch.full((options.particles,), -math.log(options.particles)).double()
    resampled = 0
    before = None
    for k in range(top, 0, -1):
        step = levels.step(k)
        clean = _clean(predict, x, step, observation, options)
        ahead = clean
        if options.order == 2 and before is not None:
            ahead = clean + levels.ahead(k) * (clean - before)
        mean, before = step.towards(ahead, x, options.clip), clean
        signal = float(levels.signal[k - 1])
        # the last step is deterministic in the schedule; what the model may err by is its noise
        expected = step.variance if k > 1 else 1 - step.above
        log_weights = log_weights + _evidence(mean, expected, path, k - 1, signal)
        log_weights = log_weights - log_weights.logsumexp(0)
        if 1 / float((2 * log_weights).exp().sum()) < FEW * options.particles:
            chosen = systematic(log_weights.exp(), generator)
            mean, before = mean[chosen], before[chosen]
            log_weights = torch.full_like(log_weights, -math.log(options.particles))
            resampled += 1
        observed = signal**0.5 * path.values[k - 1]
        said = signal * (path.variance(k - 1) if not options.guidance else path.exact(k - 1))
        x = _product(mean, step.variance, observed, said, generator)
        said = signal * (path.alone(k - 1) if not options.guidance else path.exact(k - 1))
        for _ in range(options.moves if k > 1 else 0):
            up = step.up(x, generator)
            clean = _clean(predict, up, step, observation, options)
            mean = step.towards(clean, up, options.clip)
            x = _product(mean, step.variance, observed, said, generator)
        if told is not None:
            told((top - k + 1) / top)
    return Particles(x, log_weights, resampled)


def systematic(weights: Tensor, generator: torch.Generator) -> Tensor:
    """(p,) numbers of particles, each about as often as its weight says (Carpenter et al. 1999)."""
    count = len(weights)
    at = (torch.arange(count) + torch.rand(1, generator=generator)).double() / count
    found = torch.searchsorted(weights.double().cumsum(0), at)
    return found.clamp_max(count - 1)


def _clean(
    predict: Predict, x: Tensor, step: Step, observation: Observation, options: SamplerOptions
) -> Tensor:
    """(p, …) the clean map that is expected of particles above `step`."""
    if options.guidance:
        clean = guided_clean(predict, x, step, observation, options.guidance)
    else:
        clean = step.clean(x, predict(x, torch.full((len(x),), step.time)))
    if not bool(torch.isfinite(clean).all()):
        raise FormatError(
            f"model of maps: expected finite predictions, found others at time {step.time}; train "
            f"the model again"
        )
    return clean


def _product(
    mean: Tensor, variance: float, observed: Tensor, noise: Tensor, generator: torch.Generator
) -> Tensor:
    """(p, …) drawn from N(mean, variance) times N(observed, noise), which are variances."""
    exact = noise == 0
    gain = torch.where(exact, torch.ones_like(noise), variance / (variance + noise))
    spread = (variance * (1 - gain)).sqrt()
    drawn = torch.randn(mean.shape, generator=generator)
    return torch.where(exact, observed, mean + gain * (observed - mean) + spread * drawn)


def _evidence(mean: Tensor, variance: float, path: ObservedPath, k: int, signal: float) -> Tensor:
    """(p,) float64 log N(y_k; M mean, variance + that of the likelihood), but for a constant."""
    own = path.variance(k)
    used = torch.isfinite(own)
    total = variance + signal * own[used].double()
    error = signal**0.5 * path.values[k][used] - mean[:, used]  # (p, measured)
    return -0.5 * (error.double().square() / total).sum(1)
