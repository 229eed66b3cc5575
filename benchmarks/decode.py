"""Decoding a neural layer beside reading raw ones from a warm disk, and one query's latency.

    python benchmarks/decode.py

The real Ni scan. Each row decodes or reads all patterns, in blocks of scan rows and in one process,
several times; the median counts. Opening a layer is timed apart.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
from works import everything, real_ni

import ebsdarchive
from ebsdarchive.neural.storage import read_field
from ebsdarchive.verbs.fitting import NeuralOptions

RUNS = 5
QUERIES = 200


def median_seconds(work: Callable[[], object]) -> float:
    """Median time of a call, after one that warms the disk."""
    work()
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def main() -> None:
    scan = real_ni()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows: dict[str, float] = {}
        neural = folder / "neural.h5"
        options = NeuralOptions(time_s=10.0)
        ebsdarchive.compress(scan, neural, profile="archive", options=options)
        fast = folder / "fast.h5"
        ebsdarchive.compress(scan, fast, profile="fast", neural=False)
        peer = folder / "blosc2.h5"
        with h5py.File(peer, "w") as file:
            blosc = hdf5plugin.Blosc2(cname="zstd", clevel=9, filters=1)
            shape = (1, *scan.patterns.shape[1:])
            file.create_dataset("p", data=everything(scan), chunks=shape, **blosc)

        def read(path: Path, layer: str) -> None:
            patterns = ebsdarchive.open_archive(path).patterns(layer)
            for start, stop in scan.grid.blocks(scan.pattern_bytes):
                patterns.read(start, stop)

        def read_peer() -> None:
            with h5py.File(peer) as file:
                for start, stop in scan.grid.blocks(scan.pattern_bytes):
                    file["p"][start:stop]

        rows["neural layer, opened and decoded"] = median_seconds(lambda: read(neural, "neural"))
        field = read_field(str(neural))

        def decode() -> None:
            for start, stop in scan.grid.blocks(scan.pattern_bytes):
                field.patterns(scan.grid.positions_of(start, stop))

        rows["neural layer, once open"] = median_seconds(decode)
        rows["raw layer, archive (JPEG-LS)"] = median_seconds(lambda: read(neural, "raw"))
        rows["raw layer, fast (bitshuffle + zstd)"] = median_seconds(lambda: read(fast, "raw"))
        rows["h5py, blosc2 zstd-9"] = median_seconds(read_peer)
        print("| what | patterns/s over the neural layer's |\n|---|---|")
        first = rows["neural layer, opened and decoded"]
        for what, seconds in rows.items():
            print(f"| {what} | {first / seconds:.2f} |")
        opening = median_seconds(lambda: read_field(str(neural)))
        begun = time.perf_counter()
        for i in range(QUERIES):
            field.patterns([[i / 10, 1.25]])
        query = (time.perf_counter() - begun) / QUERIES
        print(
            f"\nopening takes {opening / first:.0%} of the first row; once open, one off-grid query"
        )
        print(f"takes {query / opening:.2%} of the opening ({query * 1e3:.2f} ms here)")


if __name__ == "__main__":
    main()
