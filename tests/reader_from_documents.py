"""A reader of the format written from the documents in schema/ alone.

It stands for the program of somebody who has these documents, h5py, hdf5plugin and numpy, and not
this package: nothing of `ebsdarchive` is imported here, and nothing of it may be.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np


def json_value(value: Any) -> str:
    """An attribute's value as the manifest writes it."""
    if isinstance(value, h5py.Empty):
        value = None
    elif isinstance(value, bytes):
        value = value.decode()
    elif isinstance(value, np.ndarray):
        value = [item.decode() if isinstance(item, bytes) else item for item in value.tolist()]
    elif isinstance(value, np.generic):
        value = value.item()
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def by_name(items: Any) -> list[str]:
    return sorted(items, key=lambda name: name.encode())


def digest(group: h5py.Group, left_out: tuple[str, ...] = ()) -> str:
    """Digest of a node: attributes, datasets, groups, each in the order of their names.

    `left_out` are names of datasets, at any depth, that have digests of their own.
    """
    text = b""
    for name in by_name(group.attrs):
        if name != "sha256":
            text += f"attribute {name} {json_value(group.attrs[name])}\n".encode()
    for name in by_name(group):
        dataset = group[name]
        if isinstance(dataset, h5py.Group) or name in left_out:
            continue
        dtype = dataset.dtype.newbyteorder("<")
        text += f"dataset {name} {dtype.str} {','.join(map(str, dataset.shape))}\n".encode()
        for key in by_name(dataset.attrs):
            if key != "sha256":
                line = f"attribute {name}.{key} {json_value(dataset.attrs[key])}\n"
                text += line.encode()
        values = dataset[()]
        if dtype.kind == "O":
            text += b"".join(item + b"\0" for item in np.ravel(values))
        else:
            text += np.asarray(values, dtype).tobytes()
    for name in by_name(group):
        if isinstance(group[name], h5py.Group):
            text += f"group {name} {digest(group[name], left_out)}\n".encode()
    return hashlib.sha256(text).hexdigest()


def raw_patterns(node: h5py.Group) -> np.ndarray:
    """(n, sy, sx) patterns of a raw node."""
    dtype = np.dtype(node.attrs["dtype"])
    stored = node["patterns"][()]
    if node.attrs["level_table"] == "none":
        return stored
    unsigned = np.dtype(f"u{dtype.itemsize}")
    increments = node["levels"][()]
    patterns = np.empty(stored.shape, unsigned)
    for i, codes in enumerate(stored):
        if node.attrs["level_table"] == "pattern":
            first, last = node["level_offsets"][i : i + 2]
            levels = np.cumsum(increments[first:last], dtype=unsigned)
        else:
            levels = np.cumsum(increments, dtype=unsigned)
        patterns[i] = levels[codes]
    return patterns.view(dtype)


def patterns_digest(patterns: np.ndarray) -> str:
    """SHA-256 of patterns: little-endian values in C order."""
    return hashlib.sha256(patterns.astype(patterns.dtype.newbyteorder("<")).tobytes()).hexdigest()


def block_digests(node: h5py.Group) -> np.ndarray:
    """(blocks, 32) digests of the blocks of a raw node, computed from its patterns."""
    patterns, length = raw_patterns(node), int(node.attrs["block_length"])
    blocks = [patterns[i : i + length] for i in range(0, len(patterns), length)]
    return np.array([list(bytes.fromhex(patterns_digest(block))) for block in blocks], np.uint8)


def positions(grid: h5py.Group) -> np.ndarray:
    """(n, 2) position (x, y) of each point in steps."""
    columns, rows = int(grid.attrs["n_columns"]), int(grid.attrs["n_rows"])
    found = []
    for y in range(rows):
        even_row = y % 2 == 1  # the 2nd, 4th, ... row
        count = int(grid.attrs.get("n_columns_even", columns)) if even_row else columns
        shift = 0.5 if even_row and grid.attrs["grid_type"] == "hexagonal" else 0.0
        found += [(x + shift, y) for x in range(count)]
    return np.array(found, float)


def neural_patterns(node: h5py.Group, xy: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """(m, sy, sx) patterns of a neural node at positions xy (m, 2) in steps.

    `largest` holds the largest x and y of any point of the scan.
    """
    mean, mask = node["mean_pattern"][()], node["mask"][()].astype(bool)
    out = np.repeat(mean[None].astype(np.float64), len(xy), axis=0)
    if int(node.attrs["rank"]) == 1:
        return out
    span = np.where(largest > 0, largest, 1)
    h = np.where(largest > 0, 2 * xy / span - 1, 0).T  # (2, m)
    network = node["network"]
    depth = int(network.attrs["depth"])
    for i in range(depth + 1):
        layer = network["layers"][str(i)]
        h = layer["weight"][()].astype(float) @ h + layer["bias"][()].astype(float)[:, None]
        if i < depth:
            h = np.sin(network.attrs["omega_first" if i == 0 else "omega_hidden"] * h)
    coefficients = node["coefficient_scale"][()][:, None] * h  # (components, m)
    basis = node["basis_scale"][()][:, None].astype(float) * node["basis"][()].astype(float)
    out[:, mask] += coefficients.T @ basis
    return out
