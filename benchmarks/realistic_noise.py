"""Do simulated patterns look like real ones? The nine Ni patterns of kikuchipy beside their twins.

The twins have the same orientations and projection centres, the package's default camera, and
nothing else from the real patterns. Writes one picture; prints the figures that go with it.

    python benchmarks/realistic_noise.py [-o realistic_noise.png]
"""

from __future__ import annotations

import argparse

import kikuchipy
import matplotlib
import numpy as np
from imagecodecs import jpegls_encode
from scipy.ndimage import convolve, gaussian_filter

from ebsdarchive.scan import Detector
from ebsdarchive.simulation import Camera, read_master_pattern, simulate_patterns
from ebsdarchive.simulation.camera import expected_counts

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
SAME_GRAIN = ((1, 2), (4, 5), (7, 8))  # neighbours with less than 0.5 deg between them


def corrected(patterns: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(n, sy, sx) patterns divided by the background, slow rest removed, mean 0."""
    ratio = patterns / np.maximum(background, 1.0)
    slow = np.stack([gaussian_filter(r, patterns.shape[-1] / 8, mode="nearest") for r in ratio])
    return ratio / slow - 1


def figures(patterns: np.ndarray, background: np.ndarray) -> dict[str, float]:
    """What tells real patterns from simulated ones, averaged over the patterns."""
    counts = patterns.astype(np.float64)
    fine = np.stack([convolve(c, LAPLACIAN)[1:-1, 1:-1] for c in counts])
    flat = corrected(counts, background)[:, 6:-6, 6:-6]
    pairs = np.array([(flat[i] * flat[j]).mean() for i, j in SAME_GRAIN])
    differences = np.stack([counts[i] - counts[j] for i, j in SAME_GRAIN])
    noise = differences - gaussian_filter(differences, (0, 3, 3))
    level = np.stack([(counts[i] + counts[j]) / 2 for i, j in SAME_GRAIN])
    dim, bright = np.quantile(level, [0.25, 0.75])
    histogram = np.bincount(np.diff(patterns.astype(int), axis=2).ravel() + 255)
    share = histogram[histogram > 0] / histogram.sum()
    return {
        "mean (counts)": counts.mean(),
        "std (counts)": counts.std(axis=(1, 2)).mean(),
        "lowest (counts)": counts.min(axis=(1, 2)).mean(),
        "highest (counts)": counts.max(axis=(1, 2)).mean(),
        "noise, median of |Laplacian| (counts)": 1.4826 * np.median(np.abs(fine)),
        "noise, pairs of one grain (counts)": noise.std() / np.sqrt(2),
        "  in the dim quarter": noise[level <= dim].std() / np.sqrt(2),
        "  in the bright quarter": noise[level >= bright].std() / np.sqrt(2),
        "noise correlation, next pixel": (noise[..., 1:] * noise[..., :-1]).mean() / noise.var(),
        "band contrast, pairs (% of background)": 100 * np.sqrt(pairs.mean()),
        "noise and bands (% of background)": 100 * flat.std(),
        "entropy of row differences (bits)": -(share * np.log2(share)).sum(),
        "JPEG-LS ratio": patterns.nbytes / sum(len(jpegls_encode(p)) for p in patterns),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="realistic_noise.png")
    output = parser.parse_args().output

    signal = kikuchipy.data.nickel_ebsd_small()
    real = signal.data.reshape(-1, *signal.data.shape[-2:])
    detector = Detector(
        shape=real.shape[1:],
        pc_bruker=np.array(signal.detector.pc_average),
        sample_tilt_deg=float(signal.detector.sample_tilt),
    )
    patterns = simulate_patterns(
        signal.xmap.rotations.data, detector, read_master_pattern(), Camera(), dtype="uint8"
    )
    simulated = patterns.read(0, len(real))
    backgrounds = (
        signal.static_background.astype(float),
        expected_counts(patterns.light, patterns.camera, patterns.dtype),
    )

    rows = [figures(real, backgrounds[0]), figures(simulated, backgrounds[1])]
    print(f"{'nine Ni patterns, 60 x 60, uint8':40} {'real':>9} {'simulated':>9}")
    for name in rows[0]:
        print(f"{name:40} {rows[0][name]:9.2f} {rows[1][name]:9.2f}")

    shown = (0, 1, 3, 5, 8)
    figure, axes = plt.subplots(4, 1 + len(shown), figsize=(13, 9), layout="constrained")
    titles = ("real, as recorded", "simulated", "real, background removed", "simulated")
    flat = [
        corrected(p.astype(float), b) for p, b in zip((real, simulated), backgrounds, strict=True)
    ]
    for row, (title, images) in enumerate(zip(titles, (real, simulated, *flat), strict=True)):
        raw = row < 2
        limits = {"vmin": 0, "vmax": 255} if raw else {"vmin": -0.08, "vmax": 0.08}
        for axis, k in zip(axes[row], shown, strict=False):
            axis.imshow(images[k], cmap="gray", **limits)
        axes[row, 0].set_ylabel(title)
        last = axes[row, -1]
        if raw:
            last.imshow(backgrounds[row], cmap="gray", vmin=0, vmax=255)
            last.set_title("background")
        else:
            for number, (name, counts) in enumerate((("real", real), ("simulated", simulated))):
                lines = counts.mean(axis=0)
                profile = lines[30] if row == 2 else lines[:, 30]
                last.plot(profile, color=("black", "tab:red")[number], label=name)
            last.set_title("mean, row 30" if row == 2 else "mean, column 30")
            last.legend(fontsize=7)
    for axis in axes[:, :-1].flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(output, dpi=90)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
