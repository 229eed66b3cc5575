"""Writes the golden archive of the current format version. Run by hand, once per release:

    python tests/golden/make_golden.py [--force]

A golden file is never written again once its version is released: test_golden.py opens all there
are, and what they decode to must stay what it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np

import ebsdarchive
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.layers import write_map, write_restored
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.orientation_maps import (
    OrientationMap,
    read_orientation_map,
    write_orientation_map,
)
from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.stored_models import store_checkpoint
from ebsdarchive.scan import (
    ArrayPatterns,
    Detector,
    Microscope,
    Orientations,
    Phase,
    Scan,
    SourceFile,
)
from ebsdarchive.schema import CURRENT_VERSION
from ebsdarchive.verbs.fitting import NeuralOptions

NY, NX, SY, SX = 3, 5, 7, 9


def scan(kind: str) -> Scan:
    """A small scan: "dense" is square, 8 bit; "sparse" is hexagonal, 16 bit with a gain."""
    even = NX - 1 if kind == "sparse" else None
    grid = Grid("hexagonal" if even else "square", NX, NY, 0.75, 0.5, even)
    rng = np.random.default_rng(2026)
    v, u = np.mgrid[:SY, :SX]
    x, y = grid.positions().T[:, :, None, None]
    smooth = 100 + 40 * np.sin(u / 3 + x / 4) + 30 * np.cos(v / 2 + y / 3)
    counts = np.rint(smooth + rng.normal(0, 2, (grid.size, SY, SX)))
    patterns = counts.astype(np.uint8) if kind == "dense" else counts.astype(np.uint16) * 20
    quaternions = rng.normal(size=(grid.size, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    phase_id = (np.arange(grid.size) % 2).astype(np.int32)
    phase_id[3], quaternions[3] = -1, np.nan
    centre = np.array([0.5047, 0.3376, 0.6245])
    return Scan(
        ArrayPatterns(patterns),
        grid,
        Detector((SY, SX), centre, centre * [1, -1, 1] + [0, 1, 0], "edax", 70.0, 5.25, None, None,
                 59.2, 8.0),
        SourceFile(None, "in memory", "make_golden", header=b"h\0", metadata={"Größe": 3}),
        Microscope("SEM №1", 20.0, None, 16.1),
        (Phase(0, "Ni (ß)", 225, "m-3m", (3.52, 3.52, 3.52, 90.0, 90.0, 90.0)), Phase(1, "α")),
        Orientations(quaternions, phase_id, {"iq": rng.random(grid.size)}) if even else None,
        np.arange(SY * SX, dtype=np.uint8).reshape(SY, SX),
        f"Überprüfung {kind}",
    )  # fmt: skip


def orientation_map(scan: Scan) -> OrientationMap:
    """Orientations of two phases, a point not indexed."""
    n = scan.grid.size
    rng = np.random.default_rng(7)
    quaternions = rng.normal(size=(n, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    phase_id = (np.arange(n) % 2).astype(np.int32)
    fit = rng.random(n)
    phase_id[4], quaternions[4], fit[4] = -1, np.nan, np.nan
    return OrientationMap(
        Orientations(quaternions, phase_id, {"confidence": rng.random(n), "fit": fit}),
        scan.phases,
        np.array([[0.5, 0.34, 0.62]]),
        "calibrated",
        "raw",
        None,
        "bandpass",
        {0: [(1, 1, 1), (0, 0, 2)], 1: [(1, 0, 0), (0, 0, 2)]},
    )


def write(folder: Path, kind: str, force: bool) -> None:
    path = folder / f"{kind}.h5"
    original = scan(kind)
    neural = kind == "dense"
    options = NeuralOptions(rank=3, width=8, time_s=1.0, device="cpu")
    profile = "compat" if neural else "archive"
    ebsdarchive.compress(
        original, path, profile=profile, neural=neural, options=options, force=force
    )
    if neural:
        with adding_layers(
            path, ["restored/half", "models/tiny", "maps/quality", "maps/hough"]
        ) as file:
            archive = file["archive"]
            raw_sha256 = str(archive["raw"].attrs["patterns_sha256"])
            weights = {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7}
            tiny = Checkpoint("autoencoder", "1", {"width": 3}, weights, {"licence": "CC0"})
            store_checkpoint(archive, "tiny", tiny)
            half = original.patterns.read(0, original.grid.size).astype(np.float32) / 2
            write_restored(
                archive, "half", ArrayPatterns(half), original.grid, method="half", config={},
                raw_sha256=raw_sha256, version="1", model_sha256=tiny.sha256,
                static_background=np.full((SY, SX), 60, np.float32),
                uncertainty=ArrayPatterns(half / 9), profile="compat",
            )  # fmt: skip
            quality = np.linspace(0, 1, original.grid.size).reshape(NY, NX)
            write_map(archive, "quality", quality, long_name="Quality", units="1")
            write_orientation_map(archive, "hough", orientation_map(original), original.grid)
        small = folder / "small.h5"
        ebsdarchive.extract(path, ["raw", "neural", "restored", "models", "maps"], small,
                            force=True)  # fmt: skip
        small.replace(path)  # without the space that replaced nodes leave behind
    write_expected(path, original)


def write_expected(path: Path, original: Scan) -> None:
    """What the archive decodes to, as plain arrays."""
    archive = open_archive(path)
    xy = np.array([[0.0, 0.0], [1.25, 0.5], [4.0, 2.0]])
    expected = {
        "raw": original.patterns.read(0, original.grid.size),
        "positions": original.grid.positions(),
    }
    if original.orientations is not None:
        expected["phase_id"] = original.orientations.phase_id
        expected["quaternions"] = original.orientations.quaternions
    for name in archive.layers:
        kind, _, member = name.partition("/")
        expected[f"sha256 {name}"] = np.array(archive.attributes(name)["sha256"])
        if kind == "maps" and member == "hough":
            with archive.group() as group:
                found = read_orientation_map(group, member).orientations
            expected[f"{name} quaternions"] = found.quaternions
            expected[f"{name} phase_id"] = found.phase_id
            expected[f"{name} fit"] = found.properties["fit"]
        elif kind == "maps":
            expected[name] = archive.map(member)
        if kind == "restored":
            expected[name] = archive.patterns(name).read(0, original.grid.size)
            stack = archive.uncertainty(name).read(0, original.grid.size)
            expected[f"{name} uncertainty"] = stack
        if kind == "models":
            with h5py.File(path) as file:
                for tensor, values in file["archive"][name]["tensors"].items():
                    expected[f"{name} {tensor}"] = values[()]
        if kind == "neural":
            from ebsdarchive.neural.storage import read_field

            expected["neural positions"] = xy
            expected["neural"] = read_field(str(path)).patterns(xy)
    np.savez_compressed(path.with_suffix(".npz"), **expected)


if __name__ == "__main__":
    folder = Path(__file__).parent / f"format-{CURRENT_VERSION}"
    folder.mkdir(exist_ok=True)
    for kind in ("dense", "sparse"):
        write(folder, kind, "--force" in sys.argv)
    for path in sorted(folder.iterdir()):
        print(path.name, path.stat().st_size)
