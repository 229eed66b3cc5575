"""Networks of the restorers: sizes, samplers by algebra, small overfits, and counts in and out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ebsdarchive.crystal_map import symmetry_quaternions
from ebsdarchive.errors import ArgumentError, FormatError
from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.checkpoint import read_checkpoint
from ebsdarchive.restorers.registry import restorer_of, shipped_model
from ebsdarchive.restorers.restorer import OVERLAP, UNFAMILIAR, WEAK, Surroundings
from ebsdarchive.simulation import Camera, simulate_scan

torch = pytest.importorskip("torch")

from ebsdarchive.restorers import (  # noqa: E402
    autoencoder,
    diffusion,
    kikuchi_network,
    latent,
    orientation_network,
)
from ebsdarchive.restorers.flattening import flatten  # noqa: E402
from ebsdarchive.restorers.learned import torch_device  # noqa: E402
from ebsdarchive.restorers.lines import line_responses  # noqa: E402
from ebsdarchive.restorers.neighbourhood import neighbour_means  # noqa: E402
from ebsdarchive.restorers.networks import Batch  # noqa: E402

TINY = {"widths": [8, 12], "blocks": [1, 1], "heads": 2}
CONFIGS = {  # method: (module of its network, small configuration)
    "autoencoder": (autoencoder, {}),
    "autoencoder-smooth": (autoencoder, {"kind": "smooth", "width": 4}),
    "ddpm": (diffusion, {"base": 4}),
    "ddim": (diffusion, {"base": 4}),
    "mldm": (latent, {"base": 4, "codec_width": 12, "codec_blocks": 1}),
    "kikuchi": (kikuchi_network, TINY),
}


def parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


def model_of(method: str, seed: int = 0):
    module, config = CONFIGS[method]
    torch.manual_seed(seed)
    return module.checkpoint_of(module.build(config), {"licence": "CC0-1.0"})


def bands(n: int, sy: int, sx: int, seed: int = 0) -> np.ndarray:
    """(n, sy, sx) sums of bright straight lines, variance 1: like Kikuchi bands."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:sy, :sx] / min(sy, sx) - 0.5
    images = np.zeros((n, sy, sx))
    for image in images:
        for angle, at, width in rng.uniform((0, -0.4, 0.02), (np.pi, 0.4, 0.06), (7, 3)):
            image += np.exp(-(((u * np.cos(angle) + v * np.sin(angle) - at) / width) ** 2) / 2)
    images -= images.mean((1, 2), keepdims=True)
    return images / images.std((1, 2), keepdims=True)


def light(sy: int, sx: int) -> np.ndarray:
    v, u = np.mgrid[:sy, :sx] / min(sy, sx) - 0.5
    return 1000 * np.exp(-(v**2 + (u - 0.1) ** 2) / 0.5)


def batch_of(n=4, sy=50, sx=58, noise=0.05, seed=0, flags=None) -> Batch:
    rng = np.random.default_rng(seed)
    clean = light(sy, sx) * (1 + 0.05 * bands(n, sy, sx, seed))
    noisy = clean * (1 + noise * rng.normal(size=clean.shape))
    mask = np.ones((sy, sx), bool)
    mask[0, :5] = False
    tensors = [torch.from_numpy(a.astype(np.float32)) for a in (noisy, clean)]
    return Batch(*tensors, torch.from_numpy(mask), flags=flags)


def correlation(a, b, lit) -> np.ndarray:
    """(n,) of two stacks of patterns over lit pixels."""
    a, b = (np.asarray(x)[:, np.asarray(lit)] for x in (a, b))
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


def trained(module, step, steps: int, rate: float):
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    module.train()
    losses = []
    for _ in range(steps):
        value = step()
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        losses.append(value.item())
    module.eval()
    return losses


# ---------------------------------------------------------------- sizes


def test_networks_have_the_parameters_that_are_promised():
    assert parameters(autoencoder.build({})) == 640_129
    unet = parameters(diffusion.build({}))
    assert unet == 5_890_337
    assert abs(unet / 5_881_569 - 1) < 0.01  # the paper's
    mldm = latent.build({})
    assert parameters(mldm.unet) == 5_690_020
    assert abs(parameters(mldm.unet) / 5_617_636 - 1) < 0.02  # the paper's
    assert parameters(mldm.codec) < 2_000_000
    checkpoint = kikuchi_network.checkpoint_of(kikuchi_network.build({}), {})
    assert checkpoint.nbytes < 16_000_000
    said = diffusion.UNetConfig.__doc__
    assert "5,890,337" in said
    assert "5,690,020" in said


@pytest.mark.parametrize("method", CONFIGS)
@pytest.mark.parametrize("shape", [(48, 51), (67, 49)])
def test_every_network_takes_patterns_of_any_size_and_keeps_their_scale(method, shape):
    batch = batch_of(3, *shape)
    noisy, mask = batch.noisy.numpy().copy(), batch.mask.numpy()
    noisy[1] = 7.0  # shows nothing
    noisy[2, 20, 30] = np.nan
    draws = {"steps": 2, "samples": 2} if method in ("ddpm", "ddim", "mldm") else {}
    restorer = restorer_of(method, model_of(method), **draws)
    estimate = restorer.restore(noisy, Surroundings(Grid("square", 3, 1), 0, 0, 3, mask))
    assert estimate.patterns.shape == noisy.shape
    assert estimate.patterns.dtype == np.float32
    assert np.isfinite(estimate.patterns).all()
    np.testing.assert_array_equal(estimate.patterns[:, ~mask], noisy[:, ~mask])
    np.testing.assert_allclose(estimate.patterns[1], 7.0, atol=0.01)
    ratio = estimate.patterns[0][mask].mean() / noisy[0][mask].mean()
    assert abs(ratio - 1) < 0.02
    if estimate.uncertainty is not None:
        assert np.isfinite(estimate.uncertainty).all()
        assert (estimate.uncertainty >= 0).all()
    assert (estimate.uncertainty is not None) == (bool(draws) or method == "kikuchi")


@pytest.mark.parametrize("method", CONFIGS)
def test_an_estimate_depends_on_seed_and_index_but_not_on_the_block(method):
    grid = Grid("hexagonal", 4, 5, 1.0, 0.866, n_columns_even=3)
    n, mask = grid.size, np.ones((48, 49), bool)
    noisy = batch_of(n, 48, 49).noisy.numpy()
    draws = {"steps": 2} if method in ("ddpm", "ddim", "mldm") else {}
    restorer = restorer_of(method, model_of(method), **draws)

    def restored(start, stop, seed=3):
        ends = [int(grid.row_starts[row]) for row in (start, stop)]
        first = int(grid.row_starts[max(0, start - restorer.halo_rows)])
        last = int(grid.row_starts[min(grid.n_rows, stop + restorer.halo_rows)])
        around = Surroundings(grid, first, *ends, mask, seed=seed)
        return restorer.restore(noisy[first:last], around).patterns

    whole = restored(0, 5)
    parts = np.concatenate([restored(0, 1), restored(1, 5)])
    np.testing.assert_allclose(parts, whole, atol=2e-3)
    assert bool(draws) == (not np.array_equal(restored(0, 5, seed=4), whole))


def test_the_table_of_methods_loads_no_network():
    code = """
import sys
import ebsdarchive.cli
from ebsdarchive.restorers.registry import METHODS
assert "kikuchi" in METHODS
print([name for name in ("torch", "diffusers", "safetensors.torch") if name in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


# ---------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("method", CONFIGS)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(method):
    good = model_of(method)
    name, tensor = next(iter(good.tensors.items()))
    others = {k: v for k, v in good.tensors.items() if k != name}
    for tensors, what in (
        (others, "missing"),
        ({**good.tensors, "extra": tensor}, "not of this network"),
        ({**others, name: tensor[:1, :1, :1, :1, None]}, "shape"),
        ({**others, name: np.full_like(tensor, np.nan)}, "finite"),
    ):
        with pytest.raises(FormatError, match=what) as caught:
            restorer_of(method, replace(good, tensors=tensors))
        assert "\n" not in str(caught.value)
    with pytest.raises(FormatError, match="nonsense"):
        restorer_of(method, replace(good, config={**good.config, "nonsense": 1}))
    module = CONFIGS[method][0]
    with pytest.raises(FormatError, match=f"version {module.VERSION}, found 0"):
        module.load(replace(good, version="0"))


@pytest.mark.parametrize("method", CONFIGS)
def test_a_network_comes_back_from_its_checkpoint(method):
    module, config = CONFIGS[method]
    torch.manual_seed(1)
    network = module.build(config)
    again = module.load(module.checkpoint_of(network, {}))
    assert again.config == network.config
    for a, b in zip(network.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a.half().float(), b)


def test_a_configuration_of_huge_layers_takes_no_memory():
    good = model_of("kikuchi")
    with pytest.raises(FormatError, match="shape"):
        restorer_of("kikuchi", replace(good, config={**good.config, "widths": [2048, 2048]}))


def test_what_makes_no_sense_is_refused():
    for config in (
        {"widths": [0]}, {"widths": 3}, {"heads": 5}, {"flag_limits": [0.5]},
        {"weak_ratio": 10**400}, {"weak_ratio": float("nan")},
    ):  # fmt: skip
        with pytest.raises(FormatError, match="kikuchi network"):
            kikuchi_network.build(config)
    with pytest.raises(FormatError, match="levels"):
        diffusion.build({"levels": 4})
    with pytest.raises(FormatError, match="kind"):
        autoencoder.build({"kind": "deep"})
    for wrong in ({"codec_width": 64}, {"codec_width": 0}, {"codec_blocks": 0}):
        with pytest.raises(FormatError, match=next(iter(wrong))):
            latent.build(wrong)
    with pytest.raises(FormatError, match="point group"):
        orientation_network.build({"point_group": "m-3m-"})
    for name in ("gpu", "cpu:1", "cuda:x", "cuda:99"):
        with pytest.raises(ArgumentError, match="device"):
            torch_device(name)
    with pytest.raises(ArgumentError, match="steps"):
        restorer_of("ddpm", model_of("ddpm"), steps=1001)


# ---------------------------------------------------------------- flattening and neighbours


def test_flattening_is_undone_by_its_inverse_and_leaves_bands_alone():
    batch = batch_of(3, 72, 61, noise=0.0)
    flat = flatten(batch.noisy, batch.mask)
    lit = batch.mask
    torch.testing.assert_close(
        flat.to_counts(flat.values)[:, lit], batch.noisy[:, lit], rtol=1e-4, atol=0.1
    )
    level = torch.from_numpy((1000 + 50 * bands(3, 72, 61)).astype(np.float32))
    without = flatten(level, batch.mask).values  # no light that falls off, no background to leave
    assert (correlation(flat.values, without, lit) > 0.98).all()
    brighter = flatten(3.5 * batch.noisy + 200, batch.mask)
    torch.testing.assert_close(brighter.values, flat.values, rtol=1e-2, atol=1e-2)


def test_noise_of_flattened_patterns_is_measured():
    rng = np.random.default_rng(0)
    for noise in (0.5, 1.0, 3.0):
        x = bands(2, 90, 95) + noise * rng.normal(size=(2, 90, 95))
        flat = flatten(torch.from_numpy(x.astype(np.float32)), torch.ones(90, 95, dtype=torch.bool))
        counts = (flat.noise * flat.scale).square().mean().sqrt()
        assert abs(float(counts) / noise - 1) < 0.1


def test_hot_pixels_do_not_change_the_others():
    batch = batch_of(2, 60, 66)
    hot = batch.noisy.clone()
    hot[:, 30, 31] = 65535
    a, b = flatten(batch.noisy, batch.mask), flatten(hot, batch.mask)
    change = (a.values - b.values).abs()
    change[:, 30, 31] = 0
    assert float(change.max()) < 0.25
    assert float(change.mean()) < 0.02


@pytest.mark.parametrize("kind", ["square", "hexagonal"])
def test_means_are_over_like_neighbours_alone(kind):
    rng = np.random.default_rng(0)
    even = 8 if kind == "hexagonal" else None
    grid = Grid(kind, 9, 7, 1.0, 0.9, n_columns_even=even)
    grain = (grid.positions()[:, 0] > 4.2).astype(int)
    truth = bands(2, 48, 51)[grain].astype(np.float32)
    noisy = truth + rng.normal(size=truth.shape).astype(np.float32)
    noise, mask = np.ones(grid.size, np.float32), np.ones((48, 51), bool)
    found = neighbour_means(noisy, noise, grid, 0, 0, grid.size, mask, 2)
    assert (correlation(found.means, truth, mask) > 0.9).all()
    assert found.n_effective.min() > 5
    assert found.n_effective.max() <= 25.01
    error = np.square(found.means - truth).mean((1, 2)) * found.n_effective
    assert 0.8 < error.mean() < 1.25  # variance of a mean is that of a pattern over their number


def test_an_isolated_pattern_is_not_averaged_with_others():
    rng = np.random.default_rng(0)
    grid = Grid("square", 5, 3)
    truth = bands(grid.size, 64, 64).astype(np.float32)
    noisy = truth + rng.normal(size=truth.shape).astype(np.float32)
    noise, mask = np.ones(grid.size, np.float32), np.ones((64, 64), bool)
    found = neighbour_means(noisy, noise, grid, 0, 0, grid.size, mask, 2)
    assert found.n_effective.max() < 1.2
    alone = neighbour_means(noisy, noise, grid, 0, 0, grid.size, mask, 0)
    np.testing.assert_array_equal(alone.means, noisy)
    assert (alone.n_effective == 1).all()


def test_like_patterns_are_found_through_noise_of_three_times_their_bands():
    rng = np.random.default_rng(3)
    grid = Grid("square", 9, 6)
    x, y = grid.positions().astype(int).T
    grain = x // 3 + 3 * (y // 2)  # of six points
    truth = bands(9, 60, 66)[grain].astype(np.float32)
    noisy = (truth + 3 * rng.normal(size=truth.shape).astype(np.float32)) / np.sqrt(10)
    noisy = noisy.astype(np.float32)
    noise, mask = np.full(grid.size, np.sqrt(0.9), np.float32), np.ones((60, 66), bool)
    found = neighbour_means(noisy, noise, grid, 0, 0, grid.size, mask, 3)
    assert 4.5 < found.n_effective.mean() < 7.5
    assert correlation(found.means, truth, mask).mean() > 0.95 / np.sqrt(1 + 9 / 6)  # of six


def test_spoilt_pixels_of_the_detector_do_not_make_patterns_alike():
    rng = np.random.default_rng(4)
    grid = Grid("square", 7, 5)
    truth = bands(grid.size, 60, 60).astype(np.float32)
    noisy = truth + 2 * rng.normal(size=truth.shape).astype(np.float32)
    noisy[:, 20:50:10, 31] = 20
    noisy /= np.float32(np.sqrt(5))
    noise, mask = np.full(grid.size, np.sqrt(0.8), np.float32), np.ones((60, 60), bool)
    found = neighbour_means(noisy, noise, grid, 0, 0, grid.size, mask, 3)
    assert found.n_effective.mean() < 1.4


# ---------------------------------------------------------------- lines


def test_lines_respond_to_noise_alike_everywhere_and_in_every_direction():
    torch.manual_seed(0)
    lit = torch.ones(300, 25, 33)
    lit[:, :6, :9] = 0
    found = line_responses(torch.randn(300, 25, 33) * lit, lit, 8)
    spread = found.std(0)
    assert found.shape == (300, 8, 25, 33)
    assert 0.8 < float(spread[:, 6:, 9:].min()) < float(spread[:, 6:, 9:].max()) < 1.2


@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_line_hidden_in_noise_is_found_in_its_direction(number):
    rng = np.random.default_rng(1)
    turn = number * np.pi / 8  # from x towards y
    v, u = np.mgrid[:40, :40] - 19.5
    line = np.abs(v * np.cos(turn) - u * np.sin(turn)) < 1
    images = torch.from_numpy((line + rng.normal(size=(60, 40, 40))).astype(np.float32))
    found = line_responses(images, torch.ones(60, 40, 40), 8)[:, :, 18:22, 18:22].mean((2, 3))
    assert (found.argmax(1) == number).float().mean() > 0.9


# ---------------------------------------------------------------- diffusion


def test_the_noise_schedule_is_the_papers():
    scheduler = diffusion.scheduler_of("ddpm", clip=False)
    beta = np.linspace(1e-4, 0.02, 1000)
    np.testing.assert_allclose(scheduler.betas, beta, rtol=1e-5)
    np.testing.assert_allclose(scheduler.alphas_cumprod, np.cumprod(1 - beta), rtol=1e-4)
    x_0, epsilon = torch.full((1, 2, 3), 0.5), torch.full((1, 2, 3), -1.0)
    x_t = scheduler.add_noise(x_0, epsilon, torch.tensor([700]))
    kept = np.cumprod(1 - beta)[700]
    np.testing.assert_allclose(x_t, np.sqrt(kept) * 0.5 - np.sqrt(1 - kept), rtol=1e-4)
    with pytest.raises(ArgumentError, match="sampler"):
        diffusion.scheduler_of("euler", clip=False)


@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 1000), ("ddim", 200)])
def test_samples_of_an_exact_network_follow_the_posterior(sampler, steps):
    """A Gaussian x_0 ~ N(m, s²) has ε(x_t, t) = sqrt(1 - ᾱ) (x_t - sqrt(ᾱ) m) / (ᾱ s² + 1 - ᾱ)."""
    m, s, n = 0.3, 0.4, 3000
    kept = diffusion.scheduler_of("ddpm", clip=False).alphas_cumprod

    def exact(x, t):
        a = kept[t][:, None]
        return torch.sqrt(1 - a) * (x - torch.sqrt(a) * m) / (a * s**2 + 1 - a)

    streams = diffusion.generators(0, range(2))
    x = diffusion.sample(exact, (2, n // 2), sampler, steps, streams, clip=False)
    assert abs(float(x.mean()) - m) < 4 * s / np.sqrt(n)
    assert abs(float(x.std()) / s - 1) < 0.05


def test_mean_and_spread_of_samples_are_those_of_numpy():
    draws = np.random.default_rng(0).normal(5, 2, (6, 3, 4, 5)).astype(np.float32)
    mean, deviation = diffusion.repeated(lambda k: torch.from_numpy(draws[k]), 6)
    np.testing.assert_allclose(mean, draws.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, draws.std(0, ddof=1), rtol=1e-4)
    assert diffusion.repeated(lambda k: torch.from_numpy(draws[k]), 1).deviation is None


def test_a_diffusion_network_learns_noise():
    torch.manual_seed(0)
    module = diffusion.build({"base": 4})
    batch, generator = batch_of(4, 48, 48), torch.Generator().manual_seed(0)
    losses = trained(module, lambda: diffusion.loss(module, batch, generator), 40, 4e-3)
    assert 0.6 < losses[0] < 2  # nothing is known of noise of variance 1
    assert np.mean(losses[-8:]) < 0.7 * losses[0]


# ---------------------------------------------------------------- latents


def test_our_codec_learns_bands_through_noise():
    torch.manual_seed(0)
    module = latent.build({"codec_width": 48, "codec_blocks": 1, "base": 4})
    batch = batch_of(3, 64, 64)
    losses = trained(module.codec, lambda: latent.autoencoder_loss(module, batch, None), 80, 6e-3)
    assert losses[-1] < 0.8 * losses[0]
    measured = flatten(batch.noisy, batch.mask)
    with torch.no_grad():
        kept = correlation(
            latent.decoded(module, measured.values), measured.evened(batch.clean), batch.mask
        )
        code = module.encode(measured.values)
    raw = correlation(measured.values, measured.evened(batch.clean), batch.mask)
    assert (kept > raw).all()  # an encoded raw pattern is better than it was
    torch.testing.assert_close(code.square().mean((1, 2, 3)), torch.ones(3))
    before = [p.clone() for p in module.codec.parameters()]
    value = latent.loss(module, batch, torch.Generator().manual_seed(0))
    value.backward()
    assert float(value) > 0
    torch.optim.SGD(module.unet.parameters(), 0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(before, module.codec.parameters(), strict=True))


def test_weights_of_photograph_autoencoders_load_from_a_folder(tmp_path):
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    network = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        norm_num_groups=2,
        layers_per_block=1,
    ).eval()
    network.save_pretrained(tmp_path / "vae")
    module = latent.with_photograph_codec(tmp_path, subfolder="vae")
    batch = batch_of(2, 64, 64)
    values = flatten(batch.noisy, batch.mask).values
    with torch.no_grad():
        picture = (values / 3).clamp(-1, 1)[:, None].expand(-1, 3, -1, -1)
        expected = network.encode(picture).latent_dist.mean * network.config.scaling_factor
        torch.testing.assert_close(module.encode(values), expected)
    again = latent.load(latent.checkpoint_of(module, {}))
    with torch.no_grad():
        torch.testing.assert_close(again.encode(values), expected, rtol=0.05, atol=0.01)
    weights = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors.pop("encoder.conv_in.weight")
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(FormatError, match="too few"):
        latent.with_photograph_codec(tmp_path / "vae")
    with pytest.raises(FormatError, match="allow the download"):
        latent.with_photograph_codec(tmp_path / "none")


# ---------------------------------------------------------------- autoencoder, kikuchi


@pytest.mark.parametrize(("config", "rate"), [({}, 2e-3), ({"kind": "smooth", "width": 16}, 3e-3)])
def test_an_autoencoder_learns_to_leave_noise_out(config, rate):
    torch.manual_seed(0)
    module = autoencoder.build(config)
    batch = batch_of(2, 48, 48)
    losses = trained(module, lambda: autoencoder.loss(module, batch, None), 50, rate)
    assert losses[-1] < 0.8 * losses[0]
    flat = flatten(batch.noisy, batch.mask)
    counts = flat.to_counts(autoencoder.denoise(module, flat))
    error, before = (
        (x - batch.clean)[:, batch.mask].square().mean() for x in (counts, batch.noisy)
    )
    assert error < 0.5 * before


def test_the_smooth_autoencoder_has_no_checkerboard():
    """Fresh networks of a constant image: the seed's depends on the place within 2 x 2 pixels."""

    def unevenness(kind):
        torch.manual_seed(0)
        with torch.no_grad():
            out = autoencoder.build({"kind": kind})(torch.full((1, 1, 64, 64), 0.5))[
                0, 0, 16:48, 16:48
            ]
        return float(out.std())

    assert unevenness("smooth") < 1e-5
    assert unevenness("seed") > 1e-4


def test_a_small_kikuchi_network_overfits_and_knows_its_error():
    torch.manual_seed(0)
    module = kikuchi_network.build({"widths": [12, 16, 24], "blocks": [1, 1, 1], "heads": 4})
    flags = torch.tensor([0, 0, 0, OVERLAP, WEAK, UNFAMILIAR], dtype=torch.uint8)
    batch = batch_of(6, 50, 58, noise=0.1, flags=flags)
    losses = trained(module, lambda: kikuchi_network.loss(module, batch, None), 80, 5e-3)
    assert losses[-1] < losses[0] - 1
    flat = flatten(batch.noisy, batch.mask)
    restored = kikuchi_network.restore_counts(module, flat, None, None)
    lit = batch.mask
    assert torch.equal(restored.flags, flags)
    known = flags != UNFAMILIAR  # what these show is not learned
    got = correlation(flat.from_counts(restored.counts), flat.from_counts(batch.clean), lit)[known]
    raw = correlation(flat.values, flat.from_counts(batch.clean), lit)[known]
    assert (got > 0.7).all()
    assert (raw < 0.4).all()
    z = ((restored.counts - batch.clean) / restored.deviation.clamp_min(1e-6))[:, lit]
    assert 0.5 < float(z.square().mean()) < 2  # of six patterns; how it is trained varies by cores
    doubled = kikuchi_network.build({**TINY, "uncertainty_factor": 2.0})
    single = kikuchi_network.build({**TINY})
    single.load_state_dict(doubled.state_dict())
    wide, narrow = (
        kikuchi_network.restore_counts(m, flat, None, None).deviation for m in (doubled, single)
    )
    torch.testing.assert_close(wide, 2 * narrow)


def test_variance_is_calibrated_where_noise_differs_from_place_to_place():
    """Pure noise around a known level, four times as strong on the right: nothing to restore but
    the variance."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    spread = torch.ones(48, 48)
    spread[:, 24:] = 4.0
    mask = torch.ones(48, 48, dtype=torch.bool)
    clean = torch.full((4, 48, 48), 500.0)
    module = kikuchi_network.build(TINY)

    def drawn():
        noisy = clean + spread * torch.randn(clean.shape, generator=generator)
        # what is asked for is another exposure: its noise cannot be told, only its strength
        other = clean + spread * torch.randn(clean.shape, generator=generator)
        return Batch(noisy, other, mask)

    trained(module, lambda: kikuchi_network.loss(module, drawn(), None), 200, 1e-2)
    batch = drawn()
    restored = kikuchi_network.restore_counts(module, flatten(batch.noisy, mask), None, None)
    z2 = ((restored.counts - batch.clean) / restored.deviation).square()
    assert 0.6 < float(z2[:, :, :20].mean()) < 1.7
    assert 0.6 < float(z2[:, :, 28:].mean()) < 1.7
    assert float(restored.deviation[:, :, 40:].mean() / restored.deviation[:, :, :8].mean()) > 2.5


def test_a_fresh_kikuchi_network_starts_from_the_mean_of_the_neighbourhood():
    torch.manual_seed(0)
    module = kikuchi_network.build(TINY)
    batch = batch_of(3, 48, 52, noise=0.2)
    flat = flatten(batch.noisy, batch.mask)
    number = torch.full((3,), 25.0)
    mean = batch.clean + (batch.noisy - batch.clean) / 5
    restored = kikuchi_network.restore_counts(module, flat, mean, number)
    average = flatten(mean, batch.mask)
    found = average.from_counts(restored.counts)
    assert (correlation(found, average.values, batch.mask) > 0.99).all()


def test_a_screen_that_light_does_not_fill_leaves_the_background_as_it_is():
    """The mean of a neighbourhood is put back on the background that it was taken from."""
    v, u = np.mgrid[:48, :56]
    light = 20_000 * np.exp(-(((v - 15) / 30) ** 2) - ((u - 28) / 25) ** 2)
    mask = (v - 24) ** 2 + (u - 28) ** 2 < 23**2
    patterns = light * (1 + 0.03 * np.repeat(bands(3, 48, 56), 4, axis=0))
    patterns = np.where(mask, patterns, 0).astype(np.float32)
    model = model_of("kikuchi")
    surroundings = Surroundings(Grid("square", 4, 3), 0, 0, 12, mask)
    found = restorer_of("kikuchi", model).restore(patterns, surroundings).patterns
    shift = np.abs((found - patterns).mean(0)[mask])
    assert shift.max() < 0.05 * light.max()
    assert shift.mean() < 0.005 * light.max()


# ---------------------------------------------------------------- the model of the package


def test_the_package_brings_a_model_that_makes_patterns_clearer():
    path = shipped_model("kikuchi")
    assert path is not None
    assert path.stat().st_size < 16e6
    model = read_checkpoint(path)
    assert model.card["licence"] == "GPL-3.0-or-later"
    assert len(model.card["training_data"]["phases"]) >= 30
    scan = simulate_scan((4, 5), (60, 60), grains=1, seed=11, camera=Camera(electrons=60.0))
    truth = simulate_scan((4, 5), (60, 60), grains=1, seed=11, camera=Camera(electrons=1e6))
    mask = np.ones((60, 60), bool)
    noisy = scan.patterns.read(0, 20).astype(np.float32)
    surroundings = Surroundings(scan.grid, 0, 0, 20, mask)
    estimate = restorer_of("kikuchi", model).restore(noisy, surroundings)
    clean = torch.from_numpy(truth.patterns.read(0, 20).astype(np.float32))
    lit = torch.from_numpy(mask)
    before = correlation(*(flatten(x, lit).values for x in (torch.from_numpy(noisy), clean)), lit)
    found = torch.from_numpy(estimate.patterns)
    after = correlation(*(flatten(x, lit).values for x in (found, clean)), lit)
    assert float(after.mean()) > 0.5
    assert float(before.mean()) < 0.3
    assert not estimate.flags.any()


# ---------------------------------------------------------------- orientations


@pytest.mark.parametrize("point_group", ["m-3m", "6/mmm", "1"])
def test_disorientation_is_that_of_orix_and_zero_for_equivalents(point_group):
    from orix.quaternion import Orientation, Rotation, symmetry

    group = next(g for g in symmetry._groups if g.name == point_group)
    rng = np.random.default_rng(0)
    a, b = (Rotation(rng.normal(size=(40, 4))).unit for _ in range(2))
    symmetries = torch.from_numpy(symmetry_quaternions(point_group).astype(np.float32))
    as_tensor = [torch.from_numpy(np.asarray(r.data, np.float32)) for r in (a, b)]
    expected = Orientation(a.data, group.laue).angle_with(Orientation(b.data, group.laue))
    found = orientation_network.disorientation(*as_tensor, symmetries)
    np.testing.assert_allclose(found, np.asarray(expected), atol=2e-3)
    operator = Rotation(symmetries[-1:].numpy())
    turned = torch.from_numpy(np.asarray((operator * a).data, np.float32)).reshape(-1, 4)
    assert float(orientation_network.disorientation(turned, as_tensor[0], symmetries).max()) < 2e-3


def test_an_orientation_network_overfits_a_few_patterns():
    torch.manual_seed(0)
    module = orientation_network.build({"size": 32, "widths": [8, 16]})
    patterns = batch_of(4, 48, 50, noise=0.02)
    q = torch.nn.functional.normalize(torch.randn(4, 4), dim=1)
    batch = orientation_network.OrientationBatch(patterns.noisy, patterns.mask, q)
    losses = trained(module, lambda: orientation_network.loss(module, batch, None), 60, 3e-3)
    assert losses[-1] < 0.01
    again = orientation_network.load(orientation_network.checkpoint_of(module, {}))
    found = orientation_network.predict(again, patterns.noisy, patterns.mask)
    assert (found[:, 0] >= 0).all()
    off = orientation_network.disorientation(found, q, module.symmetries)
    assert float(off.max()) < np.deg2rad(15)
