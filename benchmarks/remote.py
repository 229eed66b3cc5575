"""What reading an archive over HTTP fetches: bytes and requests, in both layouts of the file.

    python benchmarks/remote.py [--gb 1] [--time 5] [--folder DIR]

Makes an archive of about that many GB (simulated patterns, tiled, profile none), repacks it with
the layout cloud, serves both from this machine, and counts what `info`, `query`, xarray and others
ask for. Each row begins with nothing fetched.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray

import ebsdarchive
from ebsdarchive.archive import lazy, remote
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Scan
from ebsdarchive.simulation import simulate_scan
from ebsdarchive.verbs.fitting import NeuralOptions

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from range_server import RangeServer, serving

TILE, SIDE = 40, 60


class _Tiled:
    """A tile of patterns, mirrored again and again, with noise that differs from point to point."""

    def __init__(self, tile: np.ndarray, grid: Grid) -> None:
        self.tile, self.grid = tile, grid
        self.shape = (grid.size, *tile.shape[2:])
        self.dtype = tile.dtype
        self.noise = np.random.default_rng(0).normal(0, 0.02 * tile.mean(), (61, *tile.shape[2:]))

    def read(self, start: int, stop: int) -> np.ndarray:
        index = np.arange(start, stop)
        y, x = (_mirrored(i) for i in np.divmod(index, self.grid.n_columns))
        patterns = self.tile[y, x] + self.noise[index % len(self.noise)]
        return patterns.clip(0, 65535).round().astype(self.dtype)


def _mirrored(i: np.ndarray) -> np.ndarray:
    """0, 1, … TILE - 1, … 1, 0, 1, …"""
    return np.abs((i + TILE - 1) % (2 * TILE - 2) - (TILE - 1))


def scan_of(gigabytes: float) -> Scan:
    """A scan of about that size."""
    scan = simulate_scan(grid_shape=(TILE, TILE), pattern_shape=(SIDE, SIDE), grains=12, seed=1)
    tile = scan.patterns.read(0, TILE * TILE).reshape(TILE, TILE, SIDE, SIDE)
    side = round((gigabytes * 1e9 / tile[0, 0].nbytes) ** 0.5)
    grid = Grid("square", side, side, 0.5, 0.5)
    return replace(scan, patterns=_Tiled(tile, grid), grid=grid, orientations=None)


def tasks(side: int) -> dict[str, Callable[[str], Any]]:
    """What is asked of an archive of side x side points, each as a function of its URL."""
    ends = [(0.3 * side, 0.2 * side), (0.6 * side, 0.7 * side)]
    point = (0.4 * side + 0.5, 0.6 * side + 0.25)
    place = {"y": side // 2, "x": side // 3}

    def opened(url: str, layer: str) -> Any:
        found = xarray.open_dataset(url, engine="ebsdarchive", layer=layer)
        return found["patterns"].isel(place).load()

    return {
        "`info`": ebsdarchive.info,
        "`query`, 1 point, neural": lambda url: ebsdarchive.query(url, point=point),
        "`query`, 50 samples of a path, neural": lambda url: ebsdarchive.query(
            url, along=ends, samples=50
        ),
        "xarray, open and 1 pattern, neural": lambda url: opened(url, "neural"),
        "xarray, open and 1 pattern, raw": lambda url: opened(url, "raw"),
        "`query`, 1 point, raw": lambda url: ebsdarchive.query(url, point=point, layer="raw"),
        "`query`, 50 samples of a path, raw": lambda url: ebsdarchive.query(
            url, along=ends, samples=50, layer="raw"
        ),
        "`verify`": ebsdarchive.verify,
    }


def measured(server: RangeServer, call: Callable[[str], Any], url: str) -> str:
    """Bytes, requests and seconds of a call that begins with nothing fetched."""
    remote._files.clear()
    lazy._opened.cache_clear()
    server.reset()
    begun = time.perf_counter()
    call(url)
    seconds = time.perf_counter() - begun
    return f"{server.nbytes / 1e6:.2f} MB | {server.requests} | {seconds:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=1.0)
    parser.add_argument("--time", type=float, default=5.0, help="of training, in seconds")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        plain, cloud = Path(name) / "plain.h5", Path(name) / "cloud.h5"
        scan = scan_of(options.gb)
        fit = NeuralOptions(rank=24, width=64, time_s=options.time, device="cpu")
        ebsdarchive.compress(scan, plain, profile="none", options=fit)
        ebsdarchive.repack(plain, cloud, "cloud")
        neural = ebsdarchive.info(cloud)["layers"]["neural"]
        print(
            f"{scan.grid.size:,} patterns of {SIDE} x {SIDE} px, file "
            f"{os.path.getsize(plain) / 1e6:,.1f} MB plain and "
            f"{os.path.getsize(cloud) / 1e6:,.1f} MB cloud, neural layer "
            f"{neural['stored_bytes'] / 1e6:.2f} MB\n"
        )
        print("| | cloud | requests | time | plain | requests | time |")
        print("|---|---|---|---|---|---|---|")
        with serving(Path(name)) as server:
            for title, call in tasks(scan.grid.n_rows).items():
                urls = [f"{server.address}/{path.name}" for path in (cloud, plain)]
                rows = [measured(server, call, url) for url in urls]
                print(f"| {title} | {' | '.join(rows)} |", flush=True)


if __name__ == "__main__":
    main()
