"""The posterior sampler against Gaussians, of which everything is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ebsdarchive.errors import ArgumentError
from ebsdarchive.multimodal.filtering import SamplerOptions, filtered, systematic
from ebsdarchive.multimodal.gaussian import GaussianPrior
from ebsdarchive.multimodal.guidance import FARTHEST, guided_clean
from ebsdarchive.multimodal.observation import Observation, diffused
from ebsdarchive.multimodal.schedule import noise_levels
from ebsdarchive.restorers.diffusion import STEPS, generators

SIZE = 7
MEASURED = torch.tensor([1, 0, 0, 1, 0, 1, 0], dtype=torch.bool)


@pytest.fixture(scope="module")
def prior():
    at = np.arange(SIZE)
    covariance = 0.25 * np.exp(-(((at[:, None] - at) / 2) ** 2)) + 0.01 * np.eye(SIZE)
    return GaussianPrior(0.3 * np.sin(at), covariance)


def observed(prior, sigma):
    rng = np.random.default_rng(3)
    y = prior.draw(rng) + sigma * rng.standard_normal(SIZE)
    noise = torch.full((SIZE,), sigma, dtype=torch.float32)
    return Observation(torch.tensor(y, dtype=torch.float32), MEASURED, noise)


def moments(prior, observation, systems, options):
    """Mean and second moments about the exact mean, each with its standard error."""
    exact_mean, _ = prior.posterior(observation)
    means, squares = [], []
    for stream in generators(5, range(systems)):
        found = filtered(prior.noise, observation, options, stream)
        w, x = found.log_weights.exp().numpy(), found.x.double().numpy() - exact_mean
        means.append(w @ x)
        squares.append((w[:, None] * x).T @ x)
    return [(np.mean(v, 0), np.std(v, 0) / systems**0.5) for v in (means, squares)]


@pytest.mark.parametrize(("order", "steps", "lost"), [(1, 250, 0.12), (2, 100, 0.01)])
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_particles_follow_the_exact_posterior_of_a_gaussian(prior, sigma, order, steps, lost):
    observation = observed(prior, sigma)
    _, exact = prior.posterior(observation)
    options = SamplerOptions(steps, particles=128, order=order, clip=False)
    (mean, mean_error), (second, second_error) = moments(prior, observation, 40, options)
    assert (np.abs(mean) < 4 * mean_error + 0.01).all()
    # steps of order 1 lose some of the variance, whatever the sampler
    allowed = 4 * second_error + lost * np.sqrt(np.outer(np.diag(exact), np.diag(exact))) + 1e-4
    assert (np.abs(second - exact) < allowed).all()


@pytest.mark.parametrize("remedy", ["moves", "guidance"])
@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_moves_or_guidance_make_a_single_particle_a_sample_of_the_posterior(prior, sigma, remedy):
    observation = observed(prior, sigma)
    _, exact = prior.posterior(observation)
    widest = np.diag(exact).max() ** 0.5
    far = {}
    for times in (0, 8):
        options = SamplerOptions(steps=20, particles=1, clip=False, **{remedy: times})
        (mean, _), (second, _) = moments(prior, observation, 60, options)
        far[times] = np.abs(mean).max() / widest, np.abs(second - exact).max() / widest**2
    assert far[8][0] < 0.6 < 1.0 < far[0][0]
    assert far[8][1] < 0.6 < 1.0 < far[0][1]


@pytest.mark.parametrize("sigma", [0.0, 0.2])
def test_guidance_knows_the_mean_of_a_gaussian_at_every_level_that_an_observation_says_more_of(
    prior, sigma
):
    observation = observed(prior, sigma)
    levels = noise_levels(40)
    path = diffused(observation, levels, generators(4, [0])[0])
    own = MEASURED.numpy()
    compared = 0
    for k in (levels.count, 30, 20, 12, 5):
        step, rho = levels.step(k), float(levels.relative[k])
        if rho <= sigma:
            continue
        # free values have the noise of the level; measured ones, followed upwards, that of y alone
        free = prior.posterior(observation)[0] + 0.5 * rho * np.sin(3 * np.arange(SIZE))
        x = np.where(own, path.values[k].numpy(), free) * step.above**0.5
        seen = np.where(own, observation.values.numpy(), free)
        noise = np.diag(np.where(own, sigma**2, rho**2))
        gain = np.linalg.solve(prior.covariance + noise, prior.covariance).T
        exact = prior.mean + gain @ (seen - prior.mean)
        x = torch.tensor(x, dtype=torch.float32)[None]
        found = guided_clean(prior.noise, x, step, observation, SIZE, model_error=0.0)[0]
        assert found.shape == (SIZE,)
        assert not found.requires_grad
        moved = np.abs(exact - step.clean(x, prior.noise(x, torch.tensor([step.time])))[0].numpy())
        assert (moved < FARTHEST * rho).all()  # else it would be limited
        np.testing.assert_allclose(found.numpy(), exact, atol=0.02 if k == levels.count else 2e-3)
        compared += 1
    assert compared >= 3


def test_below_its_own_noise_an_observation_says_nothing_more(prior):
    observation, levels = observed(prior, 0.2), noise_levels(40)
    k = levels.reached(0.15)
    assert float(levels.relative[k]) <= 0.15 < float(levels.relative[k + 1])
    step, x = levels.step(k), torch.randn(1, SIZE, generator=torch.Generator().manual_seed(0))
    alone = step.clean(x, prior.noise(x, torch.tensor([step.time])))
    torch.testing.assert_close(guided_clean(prior.noise, x, step, observation, 8), alone)


def test_a_model_whose_derivative_is_no_covariance_moves_nothing_far(prior):
    observation, levels = observed(prior, 0.0), noise_levels(40)
    generator = torch.Generator().manual_seed(0)
    matrix = 3 * torch.randn(SIZE, SIZE, generator=generator)

    def wild(x, t):
        return x @ matrix

    for k in (40, 20, 5):
        step, rho = levels.step(k), float(levels.relative[k])
        x = torch.randn(1, SIZE, generator=generator)
        found = guided_clean(wild, x, step, observation, 8)
        away = found - step.clean(x, wild(x, torch.tensor([step.time])))
        assert float(away.abs().max()) <= 1.0001 * FARTHEST * rho + 1e-3 * float(found.abs().max())


def test_a_particle_may_begin_with_a_map_and_is_as_near_to_it_as_the_noise_says(prior):
    nothing = Observation(torch.zeros(SIZE), torch.zeros(SIZE, dtype=torch.bool), torch.zeros(1))
    known = torch.tensor(prior.mean, dtype=torch.float32) + 0.5
    far = {}
    for begin in (0.02, 20.0):
        options = SamplerOptions(30, 1, guidance=1, begin=begin, clip=False)
        drawn = [
            filtered(prior.noise, nothing, options, stream, begin=known).x[0]
            for stream in generators(3, range(20))
        ]
        far[begin] = float((torch.stack(drawn) - known).mean())
    assert far[0.02] == pytest.approx(0, abs=0.05)
    assert far[20.0] == pytest.approx(-0.5, abs=0.25)  # forgotten: it is the prior's mean


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"particles": 2, "guidance": 1}, "particles: expected 1 with guidance, found 2"),
        ({"guidance": -1}, "guidance: expected at least 0"),
        ({"begin": 0.0}, "begin: expected noise above 0"),
        ({"order": 3}, "order: expected 1, or 2 without moves, found 3 and 0 moves"),
        ({"order": 2, "moves": 5}, "order: expected 1, or 2 without moves, found 2 and 5 moves"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ArgumentError, match=words):
        SamplerOptions(**options)


def test_counting_a_noisy_observation_at_every_level_makes_the_posterior_too_narrow(prior):
    observation = observed(prior, 0.2)
    _, exact = prior.posterior(observation)
    variance = {}
    for published in (False, True):
        options = SamplerOptions(steps=100, particles=256, clip=False, published=published)
        (_, _), (second, _) = moments(prior, observation, 20, options)
        variance[published] = np.diag(second)[MEASURED] / np.diag(exact)[MEASURED]
    assert variance[True].mean() < 0.5 < variance[False].mean()


def test_exact_values_come_back_exactly_and_noisy_ones_do_not(prior):
    (stream,) = generators(0, [0])
    for sigma, same in ((0.0, True), (0.3, False)):
        observation = observed(prior, sigma)
        found = filtered(prior.noise, observation, SamplerOptions(20, 3, clip=False), stream)
        equal = found.x[:, MEASURED] == observation.values[MEASURED]
        assert bool(equal.all()) is same


def test_a_noisy_observation_is_diffused_to_the_noise_of_each_level_and_no_further(prior):
    levels = noise_levels(30)
    observation = Observation(torch.zeros(40_000), torch.ones(40_000, dtype=torch.bool),
                              torch.full((1,), 0.5))  # fmt: skip
    path = diffused(observation, levels, generators(1, [0])[0])
    relative = levels.relative
    for k in range(levels.count + 1):
        short = max(0.0, 0.25 - float(relative[k]) ** 2)
        spread = max(0.0, float(relative[k]) ** 2 - 0.25) ** 0.5
        assert float(path.values[k].std()) == pytest.approx(spread, rel=0.02, abs=1e-6)
        last = k == levels.count or float(relative[k + 1]) >= 0.5
        assert float(path.variance(k)[0]) == (pytest.approx(short, abs=1e-6) if last else np.inf)


def test_resampling_takes_every_particle_about_as_often_as_its_weight_says():
    (stream,) = generators(2, [0])
    weights = torch.tensor([0.05, 0.5, 0.0, 0.45], dtype=torch.float64)
    for _ in range(20):
        counts = np.bincount(systematic(weights.repeat(5) / 5, stream), minlength=20)
        assert (np.abs(counts - 20 * weights.repeat(5).numpy() / 5) < 1).all()


def test_levels_are_distinct_times_of_the_schedule_and_their_number_is_checked():
    for steps in (2, 50, 333, STEPS):
        times = noise_levels(steps).times
        assert len(set(times)) == steps + 1
        assert times[-1] == STEPS - 1
        assert list(times) == sorted(times)
    with pytest.raises(ArgumentError, match="steps: expected from 2 to 1000, found 1"):
        noise_levels(1)
