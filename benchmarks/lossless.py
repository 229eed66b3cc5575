"""Lossless ratio and speed of each profile beside plain HDF5 filters, on the same patterns.

    python benchmarks/lossless.py

Peers write with h5py, one pattern per chunk, in one process; ours with `write_raw`, which uses all
cores, and then read back every block and compare its digest, which the peers do not. Speeds are in
MB of uncompressed patterns per second; machines differ, so read them as ratios within the table.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
from works import everything, real_ni, real_si, simulated

from ebsdarchive.archive.raw import RawPatterns, check_blocks, write_raw
from ebsdarchive.archive.store import open_for_writing
from ebsdarchive.scan import Scan

PEERS = {
    "h5py gzip-4": {"compression": "gzip", "compression_opts": 4},
    "h5py gzip-9": {"compression": "gzip", "compression_opts": 9},
    "h5py gzip-4 + shuffle": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
    "blosc2 zstd-9 shuffle": dict(hdf5plugin.Blosc2(cname="zstd", clevel=9, filters=1)),
    "bitshuffle zstd-3": dict(hdf5plugin.Bitshuffle(cname="zstd", clevel=3)),
    "bitshuffle zstd-19": dict(hdf5plugin.Bitshuffle(cname="zstd", clevel=19)),
}
PROFILES = ("archive", "fast", "compat", "none", "auto")


def peer(scan: Scan, options: dict, path: Path) -> tuple[float, float, float]:
    patterns = everything(scan)
    begun = time.perf_counter()
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "p", data=patterns, chunks=(1, *patterns.shape[1:]), **options
        )
        file.flush()
        stored = dataset.id.get_storage_size()
    written = time.perf_counter()
    with h5py.File(path) as file:
        same = np.array_equal(file["p"][()], patterns)
    read = time.perf_counter()
    assert same
    return patterns.nbytes / stored, written - begun, read - written


def ours(scan: Scan, profile: str, path: Path) -> tuple[str, float, float, float, float]:
    begun = time.perf_counter()
    with open_for_writing(path) as file:
        summary = write_raw(file, "raw", scan.patterns, scan.grid, profile)
    written = time.perf_counter()
    assert check_blocks(str(path), "/raw") == []
    checked = time.perf_counter()
    decoded = RawPatterns(str(path), "/raw").read(0, scan.grid.size)
    read = time.perf_counter()
    assert np.array_equal(decoded, everything(scan))
    name = f"ebsdarchive {profile}"
    if profile == "auto":
        name += f" (took {summary.coding.profile})"
    if summary.coding.level_table != "none":
        name += ", level table"
    return (
        name,
        summary.nbytes / summary.stored,
        written - begun,
        checked - written,
        read - checked,
    )


def main() -> None:
    works = {
        "real Ni superalloy, 40x40x120x120, 16 bit": real_ni(),
        "real Si, 3x480x480, 8 bit": real_si(),
        "simulated Ni, 40x40x120x120, 16 bit": simulated(40, 40, 120, 120, 12, seed=1),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.h5"
        for title, scan in works.items():
            megabytes = scan.nbytes / 1e6
            print(f"\n{title} ({megabytes:.1f} MB)\n")
            print("| coding | ratio | write MB/s | write and verify MB/s | read MB/s |")
            print("|---|---|---|---|---|")
            for name, options in PEERS.items():
                ratio, write, read = peer(scan, options, path)
                speeds = f"{megabytes / write:.0f} | - | {megabytes / read:.0f}"
                print(f"| {name} | {ratio:.3f} | {speeds} |")
            for profile in PROFILES:
                name, ratio, write, verify, read = ours(scan, profile, path)
                speeds = f"{megabytes / write:.0f} | {megabytes / (write + verify):.0f}"
                print(f"| {name} | {ratio:.3f} | {speeds} | {megabytes / read:.0f} |")


if __name__ == "__main__":
    main()
