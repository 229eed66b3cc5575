"""Networks of maps, their training and their samples, on maps larger than their window, too."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.multimodal import map_network
from ebsdarchive.multimodal.filtering import SamplerOptions
from ebsdarchive.multimodal.light_channels import LightChannels
from ebsdarchive.multimodal.observation import Observation
from ebsdarchive.multimodal.posterior_maps import drawn, nearest_measured
from ebsdarchive.multimodal.schedule import signal
from ebsdarchive.multimodal.training_maps import TrainingMaps
from ebsdarchive.multimodal.windows import Tiled, starts
from ebsdarchive.restorers.checkpoint import read_checkpoint
from ebsdarchive.restorers.registry import shipped_model
from ebsdarchive.restorers.train_options import TrainOptions
from ebsdarchive.restorers.training import train

SMALL = {"window": 32, "base": 4, "levels": 2, "time_width": 16}


@pytest.fixture(scope="module")
def light():
    return LightChannels.fit()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return map_network.build(SMALL).eval()


def observation(c, shape, noise=0.1):
    rng = np.random.default_rng(1)
    values = torch.tensor(rng.uniform(-1, 1, (c, *shape)), dtype=torch.float32)
    measured = torch.tensor(rng.random((c, *shape)) < 0.3)
    return Observation(values, measured, torch.full((c, 1, 1), noise))


def test_the_three_networks_differ_in_their_first_and_last_layer_only(light):
    made = {kind: map_network.build({**SMALL, "kind": kind}) for kind in map_network.KINDS}
    assert [made[kind].config.channels for kind in map_network.KINDS] == [6, 3, 3]
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in made.values()]
    assert len({frozenset(s) for s in shapes}) == 1
    differing = {name for name in shapes[0] if shapes[0][name] != shapes[1][name]}
    assert {name.rpartition(".")[0] for name in differing} == {
        "unet.inner.conv_1", "unet.out.first", "unet.out.second",
    }  # fmt: skip
    whole = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert made["ebsd"].config.of_maps(whole).flatten().tolist() == [0, 1, 2]
    assert made["light"].config.of_maps(whole).flatten().tolist() == [3, 4, 5]


def test_a_network_comes_back_from_its_checkpoint_and_knows_its_light(network, light):
    checkpoint = map_network.checkpoint_of(network, {})
    again = map_network.load(checkpoint)
    x, t = torch.randn(2, 6, 32, 32), torch.tensor([3, 700])
    with torch.no_grad():
        assert float((again(x, t) - network(x, t)).abs().max()) < 0.02  # float16
    assert again.config.light_channels.to_config() == light.to_config()
    with pytest.raises(FormatError, match="expected a model of maps, found one of ddpm"):
        map_network.load(type(checkpoint)("ddpm", "1", checkpoint.config, checkpoint.tensors))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"kind": "both"}, "expected kind out of multimodal, ebsd, light, found 'both'"),
        ({"window": 60}, "expected a window from 8 to 1024 and a multiple of 8, found 60"),
        ({"light": "{}"}, "light channels: expected their settings"),
        ({"light": "["}, "expected light as JSON"),
        ({"kind": "ebsd", "light": "["}, "expected light as JSON"),
        ({"depth": 3}, "found 'depth'"),
        ({"patch": 0}, "expected patch from 1 to 8"),
        ({"levels": 10**9}, "expected 2 or 3 levels, found 1000000000"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused_in_a_line(config, words):
    with pytest.raises(FormatError) as error:
        map_network.build(SMALL | config)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_training_lowers_the_loss_keeps_the_best_and_goes_on_where_it_was(light, tmp_path):
    def run(steps, state=None):
        source = TrainingMaps("laguerre", 32, 4, seed=1, light=light)
        options = TrainOptions(
            "maps", steps=steps, learning_rate=2e-2, schedule="constant", average=0.5,
            config=SMALL, keep="best",
        )  # fmt: skip
        return train(source, options, kind=map_network, state=state)

    whole = run(40)
    held_out = [entry[3] for entry in whole.history]
    assert held_out[-1] < 0.9 * held_out[0]
    assert whole.held_out == min(held_out)
    state = tmp_path / "state"
    run(6, state)
    resumed = run(40, state)
    assert resumed.steps == 40
    for name, tensor in whole.module.state_dict().items():
        torch.testing.assert_close(resumed.module.state_dict()[name], tensor, rtol=0, atol=1e-5)


def test_batches_follow_from_their_number_and_held_out_maps_are_of_other_volumes(light):
    source = TrainingMaps("laguerre", 32, 3, seed=1, light=light)
    again = TrainingMaps("laguerre", 32, 3, seed=1, light=light)
    later = again.batch(40)
    assert torch.equal(source.batch(2).channels, again.batch(2).channels)
    assert torch.equal(source.batch(40).channels, later.channels)
    assert later.channels.shape == (3, 6, 32, 32)
    assert float(later.channels.abs().max()) < 1.3
    assert json.dumps(source.described())


def test_windows_cover_a_map_and_overlap():
    assert starts(64, 64, 16) == [0]
    for size in (65, 100, 112, 113, 300):
        found = starts(size, 64, 16)
        assert found[0] == 0
        assert found[-1] == size - 64
        assert max(np.diff(found)) <= 48


def test_tiles_agree_with_a_network_that_sees_each_pixel_alone():
    tiled = Tiled(lambda x, t: 3 * x - t[:, None, None, None], 32, (75, 50))
    x, t = torch.randn(3, 2, 75, 50), torch.tensor([0, 5, 9])
    torch.testing.assert_close(tiled(x, t), 3 * x - t[:, None, None, None])
    with pytest.raises(ArgumentError, match="at least 32 x 32"):
        Tiled(lambda x, t: x, 32, (31, 50))


def test_windows_that_disagree_are_blended_without_a_step():
    def mean_of_window(x, t):
        return x.mean((2, 3), keepdim=True).expand(x.shape)

    ramp = torch.arange(100.0).expand(1, 1, 64, 100).clone()
    found = Tiled(mean_of_window, 64, (64, 100), overlap=16)(ramp, torch.tensor([0]))[0, 0]
    left, right = float(found[:, 0].mean()), float(found[:, -1].mean())
    assert right - left == pytest.approx(36)
    assert float(found.diff(dim=1).abs().max()) < 36 / 10
    assert float(found.diff(dim=0).abs().max()) < 1e-4


def test_derivatives_through_many_windows_are_those_of_the_whole(network):
    tiled = Tiled(network, 32, (33, 47))
    assert len(tiled.corners) > 1
    x, t = torch.randn(1, 6, 33, 47), torch.tensor([300])
    x.requires_grad_(True)
    values = torch.randn(1, 6, 33, 47)
    out = tiled(x, t)
    (found,) = torch.autograd.grad(out, x, values, retain_graph=True)
    (again,) = torch.autograd.grad(out, x, values)  # activations are made anew each time
    assert torch.equal(found, again)
    direction = torch.randn(1, 6, 33, 47)
    with torch.no_grad():
        change = (tiled(x + 1e-3 * direction, t) - tiled(x - 1e-3 * direction, t)) / 2e-3
        torch.testing.assert_close(tiled(x, t), out.detach())
    assert float((found * direction).sum()) == pytest.approx(
        float((change * values).sum()), rel=0.02, abs=0.05
    )


def test_a_guided_sample_begins_with_what_was_measured_nearest():
    values = torch.arange(24.0).reshape(1, 4, 6)
    measured = torch.zeros(1, 4, 6, dtype=torch.bool)
    measured[0, 0, 0] = measured[0, 3, 5] = True
    found = nearest_measured(Observation(values, measured, torch.zeros(1)))
    assert found is not None
    assert found[0, 1, 1] == 0
    assert found[0, 3, 3] == 23
    assert nearest_measured(Observation(values, measured & False, torch.zeros(1))) is None


@pytest.mark.parametrize("sampler", [{"particles": 2}, {"particles": 1, "guidance": 2}])
def test_a_sample_follows_from_seed_and_number_in_any_subset_order_and_thread(network, sampler):
    seen, options = observation(6, (33, 47)), SamplerOptions(steps=4, **sampler)
    whole = drawn(network, seen, options, seed=7, numbers=[0, 1, 2])
    some = drawn(network, seen, options, seed=7, numbers=[2, 0], threads=2)
    assert torch.equal(some[0], whole[2])
    assert torch.equal(some[1], whole[0])
    assert not torch.equal(whole[0], whole[1])
    other = drawn(network, seen, options, seed=8, numbers=[0])
    assert not torch.equal(other[0], whole[0])


@pytest.mark.parametrize("guidance", [0, 3])
def test_exact_measurements_come_back_in_every_sample_of_a_map_smaller_than_the_window(
    network, guidance
):
    seen = observation(6, (11, 14), noise=0.0)
    options = SamplerOptions(steps=3, particles=1, guidance=guidance)
    found = drawn(network, seen, options, seed=0, numbers=[0, 5])
    assert found.shape == (2, 6, 11, 14)
    for sample in found:
        assert torch.equal(sample[seen.measured], seen.values[seen.measured])


def test_what_does_not_fit_the_network_is_refused(network):
    with pytest.raises(ArgumentError, match="expected 6 channels, found 3"):
        drawn(network, observation(3, (32, 32)), SamplerOptions(3), seed=0, numbers=[0])
    with pytest.raises(ArgumentError, match="samples: expected at least 1"):
        drawn(network, observation(6, (32, 32)), SamplerOptions(3), seed=0, numbers=[])
    with pytest.raises(ArgumentError, match="finite values"):
        Observation(torch.tensor([torch.nan]), torch.tensor([True]), torch.zeros(1))


def test_the_model_of_the_package_is_small_says_how_it_was_trained_and_knows_its_light(light):
    path = shipped_model("multimodal")
    assert path is not None
    assert path.stat().st_size <= 16e6
    checkpoint = read_checkpoint(path)
    network = map_network.load(checkpoint)
    assert network.config.kind == "multimodal"
    assert network.config.light_channels.to_config() == light.to_config()
    card = checkpoint.card
    assert card["training"]["device"].startswith("cpu")
    assert card["training"]["seconds"] > 0
    assert card["licence"] == "GPL-3.0-or-later"


def test_detail_is_the_noise_within_a_grain_and_keeps_its_edges_out():
    channels = torch.zeros(1, 6, 40, 40)
    channels[..., 23:] = 0.8
    stream = torch.Generator().manual_seed(3)
    t = torch.tensor([60])
    a, b = float(signal()[60]) ** 0.5, (1 - float(signal()[60])) ** 0.5
    epsilon = torch.randn(channels.shape, generator=stream)
    found = map_network.detail(a * channels + b * epsilon, t)
    assert float((found - epsilon).square().mean()) < 0.2
    at_edge = (found - epsilon)[..., 22:24].square().mean()
    assert float(at_edge) < 0.25
