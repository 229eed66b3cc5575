"""EBSD with polarised light: the sampler against what is exact, and maps against what is true.

    python benchmarks/multimodal.py gaussian [--systems N] [--steps N,...]
    python benchmarks/multimodal.py maps [--maps N] [--ebsd MODEL] [--light-model MODEL] [--noisy]
    python benchmarks/multimodal.py size [--sides N,...]
    python benchmarks/multimodal.py pictures OUT

`gaussian`: samples of a correlated Gaussian prior of 8 dimensions, 3 of them measured, with DPS
of deepinv beside (of the extra `peers`; leave it out with --no-peer). `maps`: simulated titanium
of grown microstructures, which the models were not trained on (they know Laguerre ones), 64 x 64
pixels, with orientations at a share of the pixels; `--noisy` adds noise, scratches, uneven light
and half a pixel of misregistration. `size`: time of a sample against the side of the map.
`pictures`: what the tables are about. Means over maps, with the standard error of the mean.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from skimage.morphology import skeletonize

from ebsdarchive.multimodal import map_network
from ebsdarchive.multimodal.archive_maps import white_noise
from ebsdarchive.multimodal.edge_maps import edge_strength, edges_of, grains_of
from ebsdarchive.multimodal.equivalents import nearest_equivalents
from ebsdarchive.multimodal.filtering import SamplerOptions, filtered
from ebsdarchive.multimodal.fuse_options import FuseOptions
from ebsdarchive.multimodal.fusion import (
    corrected,
    edges_between,
    fused,
    orientations_of,
)
from ebsdarchive.multimodal.gaussian import GaussianPrior
from ebsdarchive.multimodal.metrics import blurred_bce, chamfer, disorientation_deg
from ebsdarchive.multimodal.observation import Observation
from ebsdarchive.multimodal.perturbations import MODERATE
from ebsdarchive.multimodal.posterior_maps import drawn
from ebsdarchive.multimodal.schedule import signal
from ebsdarchive.multimodal.summaries import turned_to_neighbours
from ebsdarchive.multimodal.synthetic_maps import SyntheticMap, SyntheticMaps
from ebsdarchive.multimodal.windows import Tiled
from ebsdarchive.restorers.checkpoint import read_checkpoint
from ebsdarchive.restorers.diffusion import generators
from ebsdarchive.restorers.registry import shipped_model

GROUP = "6/mmm"
SIDE = 64
GRAIN_DEG = 5.0  # between grains, where orientations are interpolated
SHARES = ("0", "1/64", "1/16", "1/4", "1", "random 1/16")
DIMENSIONS, MEASURED = 8, (0, 3, 5)
SEED = 20  # of the maps that are tested on


# ---------------------------------------------------------------- a Gaussian


def gaussian_prior() -> GaussianPrior:
    at = np.arange(DIMENSIONS)
    covariance = 0.06 * np.exp(-(((at[:, None] - at) / 2) ** 2)) + 0.003 * np.eye(DIMENSIONS)
    return GaussianPrior(0.1 * np.sin(at), covariance)  # within ± 1, for DPS clips there


def deviations(means, squares, exact_mean, exact) -> str:
    """Root mean square errors of mean and covariance in units of the widest direction, and the
    largest in standard errors, as table cells."""
    scale = np.sqrt(np.diag(exact).max())
    cells = []
    for found, true, unit in ((means, 0.0, scale), (squares, exact, scale**2)):
        error = found.mean(0) - true
        spread = found.std(0, ddof=1) / len(found) ** 0.5
        sure = spread > 1e-6 * unit  # measured without noise: exact
        worst = np.abs(error[sure] / spread[sure]).max()
        cells.append(f"{(error**2).mean() ** 0.5 / unit:.3f} ({worst:.1f})")
    return " | ".join(cells)


def ours(prior, seen, options, systems) -> tuple[np.ndarray, np.ndarray]:
    exact_mean, _ = prior.posterior(seen)
    means, squares = [], []
    for stream in generators(1, range(systems)):
        found = filtered(prior.noise, seen, options, stream)
        w, x = found.log_weights.exp().numpy(), found.x.double().numpy() - exact_mean
        means.append(w @ x)
        squares.append((w[:, None] * x).T @ x)
    return np.array(means), np.array(squares)


def deepinv_dps(denoiser, seen, shape, steps, weight) -> np.ndarray:
    """Samples (n, …) of DPS of deepinv; `denoiser` takes x_0 + σ z and σ."""
    import deepinv

    class Denoiser(torch.nn.Module):
        def forward(self, x, sigma, **_):
            return denoiser(x, float(torch.as_tensor(sigma).reshape(-1)[0]))

    physics = deepinv.physics.Inpainting(
        img_size=shape[1:],
        mask=seen.measured.double().reshape(shape[1:]),
        noise_model=deepinv.physics.GaussianNoise(max(float(seen.noise.max()), 1e-3)),
    )
    y = (seen.values.double() * seen.measured).reshape(shape[1:]).expand(shape)
    model = deepinv.sampling.DPS(
        Denoiser(),
        num_steps=steps,
        weight=weight,
        rng=torch.Generator().manual_seed(1),
        minus_one_one=False,
    )
    return model(y.clone(), physics).detach().double().numpy()


def dps_of_gaussian(prior, seen, steps, systems, weight) -> tuple[np.ndarray, np.ndarray]:
    """Means and squares about the exact mean, one sample a system."""
    mean, covariance = torch.tensor(prior.mean), torch.tensor(prior.covariance)
    identity = torch.eye(DIMENSIONS, dtype=torch.float64)

    def denoiser(x, sigma):
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * identity)
        away = x.double().reshape(-1, DIMENSIONS) - mean
        return (mean + away @ gain.T).reshape(x.shape).to(x.dtype)

    found = deepinv_dps(denoiser, seen, (systems, 1, 1, DIMENSIONS), steps, weight)
    away = found.reshape(systems, DIMENSIONS) - prior.posterior(seen)[0]
    return away, away[:, :, None] * away[:, None, :]


def dps_of_map(network, seen, count, steps, weight) -> torch.Tensor:
    """(k, c, y, x) samples with the noise prediction of a network."""
    relative = ((1 - signal()) / signal()).sqrt()

    def denoiser(x, sigma):
        t = int(torch.argmin((relative - sigma).abs()))
        scaled = (x / (1 + sigma**2) ** 0.5).float()
        return x - sigma * network(scaled, torch.full((len(x),), t)).to(x.dtype)

    found = deepinv_dps(denoiser, seen, (count, *seen.values.shape), steps, weight)
    return torch.from_numpy(found).float().clamp(-1, 1)


def gaussian(args: argparse.Namespace) -> None:
    prior = gaussian_prior()
    rng = np.random.default_rng(0)
    truth = prior.draw(rng)
    measured = torch.zeros(DIMENSIONS, dtype=torch.bool)
    measured[list(MEASURED)] = True
    print("| σ | sampler | steps | particles | systems | mean | covariance | s |")
    print("|---|---|---|---|---|---|---|---|")
    for sigma in (0.0, 0.1, 0.3):
        y = truth + sigma * rng.standard_normal(DIMENSIONS)
        noise = torch.full((DIMENSIONS,), sigma)
        seen = Observation(torch.tensor(y, dtype=torch.float32), measured, noise)
        exact_mean, exact = prior.posterior(seen)
        for steps in args.steps:
            rows: list[tuple[str, int, dict]] = [
                ("FPS-SMC", 256, {}),
                ("FPS-SMC, order 2", 256, {"order": 2}),
            ]
            if steps == min(args.steps):
                rows += [(f"one particle, moved {m} times", 1, {"moves": m}) for m in (0, 5, 20)]
                rows += [
                    ("one particle, guided", 1, {"guidance": 8}),
                    ("one particle, guided, order 2", 1, {"guidance": 8, "order": 2}),
                ]
            if sigma:
                rows.append(("FPS-SMC as published", 256, {"published": True}))
            for name, particles, changed in rows:
                begun = time.monotonic()
                systems = args.systems * (1 if particles > 1 else 5)
                options = SamplerOptions(steps, particles, clip=False, **changed)
                found = ours(prior, seen, options, systems)
                cells = deviations(*found, exact_mean, exact)
                print(
                    f"| {sigma:g} | {name} | {steps} | {particles} | {systems} | {cells} | "
                    f"{time.monotonic() - begun:.0f} |",
                    flush=True,
                )
        if args.peer:
            for weight in (1.0, 10.0):
                begun = time.monotonic()
                found = dps_of_gaussian(prior, seen, max(args.steps), 256, weight)
                cells = deviations(*found, exact_mean, exact)
                print(
                    f"| {sigma:g} | DPS (deepinv), weight {weight:g} | {max(args.steps)} | 1 | 256 "
                    f"| {cells} | {time.monotonic() - begun:.0f} |",
                    flush=True,
                )


# ---------------------------------------------------------------- maps


def pixels_of(share: str, rng: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """(y, x) bool, the pixels whose orientation is measured."""
    chosen = np.zeros((side, side), bool)
    if share.startswith("random"):
        count = round(side * side * fraction(share.split()[1]))
        chosen.ravel()[rng.permutation(chosen.size)[:count]] = True
    elif share != "0":
        every = round(fraction(share) ** -0.5)
        chosen[every // 2 :: every, every // 2 :: every] = True
    return chosen


def fraction(share: str) -> float:
    above, _, below = share.partition("/")
    return float(above) / float(below or 1)


def observation_of(one: SyntheticMap, chosen: np.ndarray, config) -> Observation:
    """In the channels of a network."""
    values = np.concatenate([one.channels[:3], one.light])
    measured = np.concatenate([np.repeat(chosen[None], 3, 0), np.ones(one.light.shape, bool)])
    noise = np.concatenate([np.full(3, 0.01, np.float32), white_noise(one.light)])
    parts = (config.of_maps(a[None])[0] for a in (values, measured, noise[:, None, None]))
    values, measured, noise = (np.ascontiguousarray(a) for a in parts)
    return Observation(*(torch.from_numpy(a) for a in (np.clip(values, -2, 2), measured, noise)))


def interpolated(one: SyntheticMap, chosen: np.ndarray, linear: bool) -> np.ndarray:
    """(y, x, 4) orientations from the measured ones: of the nearest, or linearly between three or
    four, whose equivalents nearest to the nearest one are meant."""
    from scipy.spatial import Delaunay, cKDTree

    at = np.argwhere(chosen)
    everywhere = np.argwhere(np.ones_like(chosen))
    known = one.quaternions[chosen]
    nearest = cKDTree(at).query(everywhere)[1]
    found = known[nearest].copy()
    if linear and len(at) < chosen.size:
        mesh = Delaunay(at)
        simplex = mesh.find_simplex(everywhere)
        inside = simplex >= 0
        corners = mesh.simplices[simplex[inside]]  # (m, 3)
        turn = mesh.transform[simplex[inside]]
        first = np.einsum("mij,mj->mi", turn[:, :2], everywhere[inside] - turn[:, 2])
        weights = np.column_stack([first, 1 - first.sum(1)])
        total = np.zeros((inside.sum(), 4))
        for corner, weight in zip(corners.T, weights.T, strict=True):
            total += weight[:, None] * nearest_equivalents(known[corner], found[inside], GROUP)[0]
        found[inside] = total / np.linalg.norm(total, axis=1, keepdims=True)
    return found.reshape(*chosen.shape, 4)


def within_light(one: SyntheticMap, chosen: np.ndarray) -> np.ndarray:
    """(y, x, 4) orientations of the nearest points measured in the grains that the light shows; of
    the nearest of all where nothing was measured in one."""
    from scipy.spatial import cKDTree

    found = interpolated(one, chosen, False)
    labels = grains_of(edges_of([edge_strength(one.light)]))
    for label in np.unique(labels):
        own = labels == label
        if (own & chosen).any():
            nearest = cKDTree(np.argwhere(own & chosen)).query(np.argwhere(own))[1]
            found[own] = one.quaternions[own & chosen][nearest]
    return found


def judged(one: SyntheticMap, lines: np.ndarray, quaternions: np.ndarray | None) -> list[float]:
    """Chamfer forward, backward, both; BCE; mean and median disorientation, share within 5°."""
    distances = chamfer(lines, one.boundaries)
    row = [distances.forward, distances.backward, distances.both]
    row.append(blurred_bce(lines, one.boundaries))
    if quaternions is None:
        return [*row, np.nan, np.nan, np.nan]
    angles = disorientation_deg(quaternions, one.quaternions, GROUP)
    return [*row, angles.mean(), np.median(angles), 100 * (angles < 5).mean()]


def sampled(network, one, chosen, count: int, args: argparse.Namespace) -> torch.Tensor:
    """(k, c, y, x) samples of a network, as they are drawn."""
    seen = observation_of(one, chosen, network.config)
    sampler = SamplerOptions(**sampler_of(args))
    return drawn(network, seen, sampler, seed=0, numbers=range(count))


def judged_samples(
    network, one: SyntheticMap, some: torch.Tensor, chosen, align: str = "grains"
) -> list[float]:
    """Figures of all samples together."""
    n = network.config.orientation
    median, seen = None, observation_of(one, chosen, network.config)
    if align == "network":
        some = corrected(network.config, some, seen, seed=0)
    if n:
        median = orientations_of(network.config, some, seen, align == "grains").median
    edges = edges_between(network.config, some, median if chosen.any() else None)
    return judged(one, edges.lines, median)


def sampler_of(args: argparse.Namespace) -> dict[str, int]:
    """How to sample, as options of both kinds take it."""
    return {
        "steps": args.sampling_steps, "particles": args.particles, "moves": args.moves,
        "guidance": args.guidance,
    }  # fmt: skip


def network_of(path: str | None, kind: str):
    found = path or shipped_model(kind)
    return None if found is None else map_network.load(read_checkpoint(found))


def maps(args: argparse.Namespace) -> None:
    networks = {
        "multimodal": network_of(args.model, "multimodal"),
        "EBSD alone": network_of(args.ebsd, "none"),
        "light alone": network_of(args.light_model, "none"),
    }
    networks = {name: network for name, network in networks.items() if network is not None}
    light = networks["multimodal"].config.light_channels
    source = SyntheticMaps(
        "growth", SIDE, seed=SEED, light=light, windows_per_volume=1,
        perturbation=MODERATE if args.noisy else None,
    )  # fmt: skip
    ones = [source[i] for i in range(args.first, args.first + args.maps)]
    head = "chamfer found→true, px | true→found | both | BCE | mean ° | median ° | within 5°, %"
    print(f"| share | method | {head} |")
    print(f"|{'---|' * 9}")
    for share in args.shares:
        rng = np.random.default_rng(1)
        places = [pixels_of(share, rng) for _ in ones]
        rows: dict[str, list[list[float]]] = {}
        for one, chosen in zip(ones, places, strict=True):
            for name, network in networks.items():
                if (name == "EBSD alone" and share == "0") or (name == "light alone") != (
                    share == "0" and name == "light alone"
                ):
                    continue
                most = 16 if name == "multimodal" and share in args.scaled else args.samples
                counts = sorted({1, 4, most} if most > 4 else {1, most})
                wanted = {f"{name}, K = {k}": k for k in counts}
                samples = sampled(network, one, chosen, most, args)
                for label, k in wanted.items():
                    figures = judged_samples(network, one, samples[:k], chosen)
                    rows.setdefault(label, []).append(figures)
                some = samples[: args.samples]
                for align in ("none", "network"):
                    if name == "multimodal" and 16 <= chosen.sum() < chosen.size:
                        figures = judged_samples(network, one, some, chosen, align)
                        label = f"{name}, K = {len(some)}, align {align}"
                        rows.setdefault(label, []).append(figures)
            if args.dps and share != "0":
                network = networks["multimodal"]
                seen = observation_of(one, chosen, network.config)
                samples = dps_of_map(network, seen, args.samples, 2 * args.sampling_steps, args.dps)
                label = f"DPS (deepinv), weight {args.dps:g}, K = {args.samples}"
                rows.setdefault(label, []).append(judged_samples(network, one, samples, chosen))
            if share == "0":
                lines = edges_of([edge_strength(one.light)]).lines
                rows.setdefault("Sobel on the light", []).append(judged(one, lines, None))
            else:
                for name, q in (
                    ("nearest", interpolated(one, chosen, False)),
                    ("linear", interpolated(one, chosen, True)),
                    ("nearest in the light's grain", within_light(one, chosen)),
                ):
                    lines = skeletonize(turned_to_neighbours(q, GROUP) > GRAIN_DEG)
                    rows.setdefault(name, []).append(judged(one, lines, q))
        for name, values in rows.items():
            table = np.array(values)
            error = table.std(0, ddof=1) / len(table) ** 0.5 if len(table) > 1 else 0 * table[0]
            cells = " | ".join(
                "" if np.isnan(v) else f"{v:.2f} ± {e:.2f}"
                for v, e in zip(table.mean(0), error, strict=True)
            )
            print(f"| {share} | {name} | {cells} |", flush=True)


# ---------------------------------------------------------------- size


def size(args: argparse.Namespace) -> None:
    network = network_of(args.model, "multimodal")
    light = network.config.light_channels
    print("| side, px | windows | s per sample | µs per px and step |")
    print("|---|---|---|---|")
    for side in args.sides:
        source = SyntheticMaps("growth", side, seed=SEED, light=light, windows_per_volume=1)
        seen = observation_of(source[0], pixels_of("1/16", None, side), network.config)
        options = SamplerOptions(**sampler_of(args))
        begun = time.process_time()
        drawn(network, seen, options, seed=0, numbers=[0])
        seconds = time.process_time() - begun
        windows = len(Tiled(network, network.config.window, (side, side)).corners)
        each = 1e6 * seconds / side**2 / args.sampling_steps
        print(f"| {side} | {windows} | {seconds:.1f} | {each:.2f} |", flush=True)


# ---------------------------------------------------------------- pictures


def pictures(args: argparse.Namespace) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    network = network_of(args.model, "multimodal")
    light = network.config.light_channels
    out = Path(args.out)
    source = SyntheticMaps(
        "growth", SIDE, seed=SEED, light=light, windows_per_volume=1, perturbation=MODERATE
    )
    one, chosen = source[0], pixels_of("1/16", None)
    options = FuseOptions(args.samples, **sampler_of(args))
    found = fused(network, observation_of(one, chosen, network.config), options)
    sparse = np.where(chosen, one.channels[:3], np.nan)
    nearest = colours_of(interpolated(one, chosen, False), one)
    panels = [
        ("orientation, true", colours(one.channels[:3])),
        ("measured, 1/16", colours(sparse)),
        ("nearest", nearest),
        ("a sample", colours(found.samples[0, :3].numpy())),
        ("median, grains aligned", colours_of(found.orientation.median, one)),
        ("spread, °", found.orientation.spread_deg),
        ("light, true", colours(one.channels[3:])),
        ("light, observed", colours(one.light)),
        ("light, mean of samples", colours(found.light)),
        ("boundaries, true", one.boundaries),
        ("boundaries, found", found.edges.lines),
        ("boundaries, Sobel", edges_of([edge_strength(one.light)]).lines),
    ]
    draw(plt, panels, 6, out / "multimodal_maps.png")
    side = 160
    source = SyntheticMaps("growth", side, seed=SEED, light=light, windows_per_volume=1)
    one, chosen = source[0], pixels_of("1/16", None, side)
    seen = observation_of(one, chosen, network.config)
    alone = seen.measured.clone()
    alone[3:] = False
    bare = Observation(seen.values, alone, seen.noise)
    sampler = SamplerOptions(**sampler_of(args))
    with_light, without = (drawn(network, s, sampler, seed=0, numbers=[0])[0] for s in (seen, bare))
    panels = [
        (f"true, {side} x {side} px", colours(one.channels[:3])),
        ("sample, with light", colours(with_light[:3].numpy())),
        ("sample, EBSD alone", colours(without[:3].numpy())),
        ("light, true", colours(one.channels[3:])),
        ("light of the sample", colours(with_light[3:].numpy())),
        ("light that EBSD alone lets expect", colours(without[3:].numpy())),
    ]
    draw(plt, panels, 3, out / "multimodal_tiled.png")


def colours(channels: np.ndarray) -> np.ndarray:
    return np.clip(np.moveaxis(np.nan_to_num(channels, nan=-1), 0, -1) / 2 + 0.5, 0, 1)


def colours_of(quaternions: np.ndarray, one: SyntheticMap) -> np.ndarray:
    from ebsdarchive.multimodal.orientation_channels import to_channels

    return colours(to_channels(quaternions, GROUP, grains=one.grains))


def draw(plt, panels, columns: int, path: Path) -> None:
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.4 * columns, 2.6 * rows))
    for axis, (title, image) in zip(axes.ravel(), panels, strict=True):
        shown = axis.imshow(image, cmap="magma" if image.dtype.kind == "f" else "gray_r")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
        if image.ndim == 2 and image.dtype.kind == "f":
            figure.colorbar(shown, ax=axis, shrink=0.7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    print(path)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("gaussian")
    part.add_argument("--systems", type=int, default=40)
    part.add_argument("--steps", type=numbers, default=[50, 400])
    part.add_argument("--no-peer", dest="peer", action="store_false")
    part.set_defaults(run=gaussian)
    for name, run in (("maps", maps), ("size", size), ("pictures", pictures)):
        part = parts.add_parser(name)
        part.add_argument("--model", help="multimodal model; by default the package's")
        part.add_argument("--sampling-steps", type=int, default=50)
        part.add_argument("--guidance", type=int, default=8)
        part.add_argument("--particles", type=int, default=1)
        part.add_argument("--moves", type=int, default=0)
        part.add_argument("--samples", type=int, default=4)
        part.set_defaults(run=run)
        if name == "maps":
            part.add_argument("--ebsd", help="model of orientations alone")
            part.add_argument("--light-model", help="model of light alone")
            part.add_argument("--maps", type=int, default=4)
            part.add_argument("--first", type=int, default=4, help="number of the first map")
            part.add_argument("--noisy", action="store_true")
            part.add_argument(
                "--dps", type=float, metavar="WEIGHT", help="the peer of deepinv, too"
            )
            part.add_argument("--shares", type=lambda t: t.split(","), default=list(SHARES))
            part.add_argument("--scaled", type=lambda t: t.split(","), default=["1/16"],
                              help="shares for which K = 16 as well")  # fmt: skip
        if name == "size":
            part.add_argument("--sides", type=numbers, default=[64, 112, 160, 256])
        if name == "pictures":
            part.add_argument("out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.run(args)


if __name__ == "__main__":
    main()
