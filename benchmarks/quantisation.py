"""What rounding and coding cost at the default setting: the error of a field before and after.

Before: the network as it was trained, with the least-squares basis for it, nothing rounded. After:
the stored field, measured as the fit measures it.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import works

from ebsdarchive.neural.field import Field, FieldTensors, Network
from ebsdarchive.neural.fit import FitOptions, _Fit
from ebsdarchive.neural.label_patterns import gather_label_patterns
from ebsdarchive.neural.lattice import LatticeNetwork
from ebsdarchive.neural.networks import NetworkMaker
from ebsdarchive.neural.pixels import pixel_weights
from ebsdarchive.neural.refine import measure_errors, refit_basis
from ebsdarchive.neural.sample import draw_sample


class Keeping(NetworkMaker):
    """A maker that keeps the last network as it was before rounding."""

    kept: tuple = ()

    def _best(self, *arguments):
        self.kept = arrays = super()._best(*arguments)
        return arrays


def before_and_after(scan, network: str) -> tuple[float, float, int]:
    """Mean absolute error in percent before and after, and the stored bytes."""
    options = FitOptions(network=network)
    fit = _Fit(scan, options, None, None, None, None)
    fit.maker = maker = Keeping(scan.grid, options, fit.journal)
    result = fit.run()
    tensors = result.tensors
    if tensors.lattice is None:
        arrays, lattice = maker.kept, None
    else:
        arrays, lattice = ([], []), unrounded(scan, tensors)
    used = lattice or Network(*arrays, *maker.omegas)
    refit = refit_basis(scan, used, tensors.mean_pattern, tensors.mask, lambda done: None)
    exact = FieldTensors(
        *arrays, *maker.omegas, refit.basis, refit.mean_pattern, tensors.mask, lattice
    )
    errors = measure_errors(scan, Field(exact, scan.grid), None, lambda done: None)
    return errors.mae_pct, result.errors.mae_pct, result.coded.nbytes


def unrounded(scan, tensors: FieldTensors) -> LatticeNetwork:
    """The lattice of a field with as many components, its values not rounded."""
    mask, lattice = tensors.mask, tensors.lattice
    patterns = gather_label_patterns(
        scan, lattice.labels, tensors.mean_pattern, mask, lambda done: None
    )
    weights = pixel_weights(draw_sample(scan, 0), mask, FitOptions().band_weight)
    values, _ = patterns.components(weights, lattice.outputs, 0)
    return LatticeNetwork(lattice.labels, values.astype(np.float32))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", default="W1,corner,W2")
    parser.add_argument("--networks", default="sine,lattice")
    options = parser.parse_args()
    makers = {
        "W1": works.real_ni,
        "corner": works.grains_corner,
        "W2": lambda: works.grains_and_truth()[0],
    }
    print("| work | network | MAE before % | after % | rise % | bytes |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in options.works.split(","):
        scan = makers[name]()
        for network in options.networks.split(","):
            before, after, size = before_and_after(scan, network)
            rise = 100 * (after / before - 1)
            print(f"| {name} | {network} | {before:.4f} | {after:.4f} | {rise:.2f} | {size:,} |",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
