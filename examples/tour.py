"""The README's tour in Python, on the nickel superalloy scan that ships with the package.

    python examples/tour.py [FOLDER]

Writes into FOLDER (default: a new temporary one) and prints what each step gives.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import xarray

import ebsdarchive
from ebsdarchive.verbs.demonstration import BUNDLED
from ebsdarchive.verbs.fitting import NeuralOptions


def main(folder: Path) -> None:
    path = folder / "scan.archive.h5"
    ebsdarchive.compress(BUNDLED, path, options=NeuralOptions(time_s=10), force=True)
    print(ebsdarchive.open_archive(path))
    print("sound:", ebsdarchive.verify(path, data=True).sound)

    between = ebsdarchive.query(path, point=(10.5, 7.25))
    print("a pattern between four measured ones:", between.shape, f"mean {between.mean():.0f}")
    ebsdarchive.query(path, folder / "path.png", along=[(2, 3), (20, 15)], samples=12, force=True)

    raw = xarray.open_dataset(path, engine="ebsdarchive")
    field = xarray.open_dataset(path, engine="ebsdarchive", layer="neural")
    one = {"y": 4, "x": 6}
    error = np.abs(field.patterns.isel(one) - raw.patterns.isel(one)).mean().item()
    print(f"mean difference of the field to one measured pattern: {error:.0f} counts")

    written = ebsdarchive.export(path, folder / "scan.up2", force=True)
    print(f"{written.path}: {written.count} patterns, {written.nbytes} bytes")
    for document in ebsdarchive.open_archive(path).provenance():
        print("provenance:", *(a["prov:label"] for a in document["activity"].values()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        target = Path(sys.argv[1])
        target.mkdir(parents=True, exist_ok=True)
        main(target)
    else:
        with tempfile.TemporaryDirectory() as name:
            main(Path(name))
