"""Rounding, planning and the optimiser: sensitivities are derivatives, compensation pays, goals
are met."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ebsdarchive.neural import plan, rounding
from ebsdarchive.neural.field import Network
from ebsdarchive.neural.options import parameters, width_for
from ebsdarchive.neural.siren import Siren, SirenConfig
from ebsdarchive.neural.soap import Soap


def problem(width=12, outputs=3, n=400, seed=0):
    """A network, and a `Rounding` whose targets it meets exactly."""
    config = SirenConfig(width, outputs, depth=3, omega_first=12.0, omega_hidden=10.0)
    network = Siren(config, seed)
    xy = np.random.default_rng(seed).uniform(-1, 1, (n, 2))
    with torch.no_grad():
        targets = network(torch.from_numpy(xy.astype(np.float32))).numpy()
    scale = np.array([900.0, 200.0, 40.0], np.float32)[:outputs]
    return network, rounding.Rounding(xy, targets, scale, 2.0, network.omegas)


def added(quantised, how):
    """Squared error of a pattern that is left with the best basis for the rounded network."""
    found = Network(*quantised.arrays(), how.omegas[0], how.omegas[1])(how.xy)
    counts = how.targets * how.scale
    features = np.column_stack([found, np.ones(len(found))])
    best = features @ np.linalg.lstsq(features, counts, rcond=None)[0]
    return float(((best - counts) ** 2).sum(axis=1).mean())


def test_sensitivities_are_squared_derivatives_of_the_patterns():
    network, how = problem(width=4, n=40)
    matrices = [m.detach().clone() for m in network.layers]
    weight = torch.from_numpy(how.scale**2)
    xy, draw = torch.from_numpy(how.xy.astype(np.float32)), torch.Generator()
    turn, mean = torch.eye(3), torch.zeros(3)
    given = rounding._Problem(xy, how.targets, turn, mean, weight, how.omegas, draw, None)
    inputs, squares = rounding._in_blocks(matrices, given, given.xy)
    for layer, row, column in ((0, 1, 0), (1, 3, 2), (2, 0, 4), (3, 2, 1)):
        expected = float((squares[layer][:, row] * inputs[layer][:, column] ** 2).mean())
        change = 1e-3
        matrices[layer][row, column] += change
        up = rounding._network(matrices, how.omegas, given.xy)
        matrices[layer][row, column] -= 2 * change
        down = rounding._network(matrices, how.omegas, given.xy)
        matrices[layer][row, column] += change
        slope = (up - down) / (2 * change)
        found = float((slope.square() @ weight).mean())
        assert found == pytest.approx(expected, rel=0.02), layer


def test_random_mixtures_of_many_outputs_have_their_sensitivities(monkeypatch):
    network, how = problem(width=6, n=40)
    matrices = [m.detach().clone() for m in network.layers]
    turn, mean, weight = torch.eye(3), torch.zeros(3), torch.from_numpy(how.scale**2)
    xy, draw = torch.from_numpy(how.xy.astype(np.float32)), torch.Generator().manual_seed(1)
    monkeypatch.setattr(rounding, "PROBES", 2)
    few = rounding._probes(3, draw)
    assert few.shape == (2, 3)
    assert rounding._probes(2, draw) is None
    signs = torch.tensor([[1, 1, 1], [1, 1, -1], [1, -1, 1], [1, -1, -1]]) / 2.0  # all there are
    exact, mixed = (
        rounding._in_blocks(
            matrices,
            rounding._Problem(xy, how.targets, turn, mean, weight, how.omegas, draw, probes),
            xy,
        )[1]
        for probes in (None, signs)
    )
    for one, other in zip(exact, mixed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("step", [0.5, 4.0])
def test_rounding_adds_less_than_plain_rounding_would(step):
    network, how = problem()
    how = replace(how, step_counts=step)
    weights, biases = network.arrays()
    quantised = rounding.round_network(weights, biases, how)
    count = sum(a.size for a in (*weights, *biases))
    assert 0 < added(quantised, how) < 0.8 * count * step**2 / 12


def test_outputs_of_a_rounded_network_are_uncorrelated_and_of_unit_variance():
    network, how = problem()
    how = replace(how, step_counts=0.2)
    quantised = rounding.round_network(*network.arrays(), how)
    found = Network(*quantised.arrays(), how.omegas[0], how.omegas[1])(how.xy)
    np.testing.assert_allclose(np.cov(found.T), np.eye(3), atol=0.15)


def test_outputs_that_depend_on_others_or_hardly_matter_are_left_out():
    network, how = problem()
    weights, biases = network.arrays()
    weights[-1][1], biases[-1][1] = 2 * weights[-1][0], 2 * biases[-1][0]
    targets = how.targets.copy()
    targets[:, 1] = 2 * targets[:, 0]
    how = replace(how, targets=targets, scale=np.array([900, 200, 0.1], np.float32))
    assert len(rounding.round_network(weights, biases, how).biases[-1]) == 1


def test_rows_that_matter_less_get_coarser_steps():
    network, how = problem()
    quantised = rounding.round_network(*network.arrays(), how)
    assert (np.diff(quantised.exponents[-1]) >= 2).all()  # by descending energy


def test_an_impossible_hessian_leaves_plain_rounding():
    root = rounding._inverse_root(torch.full((2, 3, 3), torch.nan, dtype=torch.float64))
    assert torch.equal(root, torch.eye(3, dtype=torch.float64).expand(2, 3, 3))


def test_soap_finds_the_minimum_of_a_skewed_quadratic_and_resumes():
    torch.manual_seed(0)
    left = torch.diag(torch.tensor([100.0, 1.0, 0.01]))
    goal = torch.randn(3, 2)

    def run(soap, matrix, steps):
        for step in range(*steps):
            soap.step([left @ (matrix - goal)], 0.05 * (1 - step / 600))

    whole = torch.zeros(3, 2)
    run(Soap([whole]), whole, (0, 600))
    assert (whole - goal).abs().max() < 0.02
    part = torch.zeros(3, 2)
    first = Soap([part])
    run(first, part, (0, 250))
    second = Soap([part])
    second.load(first.state())
    run(second, part, (250, 600))
    torch.testing.assert_close(part, whole)


def test_soap_keeps_steps_in_bounds_where_gradients_vanish():
    matrix = torch.ones(4, 3)
    soap = Soap([matrix])
    gradient = torch.zeros(4, 3)
    for i in range(60):
        gradient[0, 0] = 1e-8 * (-1) ** i
        before = matrix.clone()
        soap.step([gradient], 1e-2)
        assert (matrix - before).abs().max() < 0.2


# ---------------------------------------------------------------- plans


@pytest.mark.parametrize(("slope", "power"), [(1.6, 1.5), (1.6, 0.7), (-0.75, -0.5)])
def test_a_step_is_found_that_comes_near_its_goal_and_keeps_to_it(slope, power):
    calls = []

    def measure(step):
        calls.append(step)
        return 3.0 * step**power

    step = plan.solve_step(measure, 50.0, 0.02, slope)
    assert 0.95 * 50 <= 3.0 * step**power <= 50
    assert len(calls) <= plan.TRIALS


def test_a_goal_out_of_reach_gives_the_last_step_tried():
    assert plan.solve_step(lambda step: 10.0, 1.0, 1.0, 1.6) > 0


def error_of(count, noise=0.0):
    return 1e8 * count**-plan.POWER + noise


def test_the_best_size_of_a_network_is_where_its_price_is_its_gain():
    step, noise = 3.0, 500.0
    measured = [(count, error_of(count, noise)) for count in (2000.0, 3000.0)]
    # what is noise need not be known
    best = plan.best_parameters(measured, 0.0, plan.Plan(rank=21, step=step, allowed=1.0))
    gain = plan.POWER * error_of(best) / best
    assert gain == pytest.approx(plan.price_of(1, step), rel=1e-3)
    alone = plan.best_parameters(measured[1:], noise, plan.Plan(rank=21, step=step, allowed=1.0))
    assert alone == pytest.approx(best, rel=1e-3)


def test_a_network_becomes_as_large_as_its_error_asks_for_even_where_that_does_not_pay():
    measured = [(count, error_of(count, 500.0)) for count in (2000.0, 3000.0)]
    coarse = plan.Plan(rank=21, step=1e6, allowed=1.0, network_error=10.0)
    best = plan.best_parameters(measured, 0.0, coarse)
    assert error_of(best) == pytest.approx(10.0, rel=1e-3)


def test_a_wider_network_that_is_no_better_asks_for_a_narrower_one():
    measured = [(2000.0, 500.0), (3000.0, 500.0)]
    best = plan.best_parameters(measured, 0.0, plan.Plan(rank=21, step=3.0, allowed=1.0))
    assert best < 2000


@pytest.mark.parametrize("width", [16, 40, 128])
def test_width_and_number_of_weights_belong_together(width):
    count = parameters(width, 5, 20)
    network = Siren(SirenConfig(width, 20, depth=5))
    assert count == sum(p.numel() for p in network.parameters())
    assert width_for(count, 5, 20) == width


def test_weights_never_get_steps_that_add_more_than_their_share():
    coarse = plan.Plan(rank=5, step=100.0, allowed=1000.0)
    step = coarse.weight_step(4000)
    assert plan.COMPENSATED * 4000 * step**2 / 12 == pytest.approx(250.0)
    fine = plan.Plan(rank=5, step=0.1, allowed=1000.0)
    assert fine.weight_step(4000) == pytest.approx(0.1 * plan.COARSENESS)
