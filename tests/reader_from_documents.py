"""A reader of the format written from the documents in schema/ alone.

It stands for the program of somebody who has these documents, h5py, hdf5plugin and numpy, and not
this package: nothing of `ebsdarchive` is imported here, and nothing of it may be.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from itertools import pairwise
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


def polylines(node: h5py.Group) -> list[tuple[tuple[int, int], np.ndarray, np.ndarray]]:
    """For each polyline the grains on its sides, its vertices (m, 2) in steps, and S at them."""
    ends = node["offsets"][()]
    found = []
    for i, (first, last) in enumerate(pairwise(ends)):
        one, other = node["labels"][i]
        vertices, s = node["vertices"][first:last], node["s"][first:last]
        found.append(((int(one), int(other)), vertices, s))
    return found


def neural_patterns(node: h5py.Group, xy: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """(m, sy, sx) patterns of a neural node at positions xy (m, 2) in steps.

    `largest` holds the largest x and y of any point of the scan.
    """
    if node.attrs["encoding-type"] == "joint-inr":
        return joint_patterns(node, xy, largest)
    if node.attrs["encoding-version"] == "2.0":
        return coded_neural_patterns(node, xy, largest)
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


class IntegerStream:
    """An integer stream of kind coded-neural, decoded one symbol at a time."""

    def __init__(self, data: bytes, signed: bool = True) -> None:
        self.signed = signed
        lanes, words, bits, contexts, size, checksum = struct.unpack_from("<6I", data)
        at = 24
        assert zlib.crc32(data[at:]) == checksum
        codes = list(zlib.decompress(data[at : at + size]))
        at += size
        classes = len(codes) // contexts
        self.tables = [self.table(codes[c * classes : (c + 1) * classes]) for c in range(contexts)]
        self.states = []
        for _ in range(lanes):
            self.states.append(int.from_bytes(data[at : at + 5], "little"))
            at += 5
        self.words = list(struct.unpack_from(f"<{words}H", data, at))
        at += 2 * words
        raw = data[at:]
        self.bits = [raw[i // 8] >> (7 - i % 8) & 1 for i in range(bits)]

    @staticmethod
    def table(codes: list[int]) -> list[int]:
        f = [(16 + b % 16) << (b // 16) if b else 0 for b in codes]
        if not sum(f):
            f[0] = 1
        total = sum(f)
        f = [max(value * 16384 // total, 1) if value else 0 for value in f]
        while sum(f) != 16384:
            largest = f.index(max(f))
            f[largest] = max(f[largest] + 16384 - sum(f), 1)
        return f

    def take(self, contexts: list[int]) -> list[int]:
        classes = []
        for i, context in enumerate(contexts):
            lane, f = i % len(self.states), self.tables[context]
            x = self.states[lane]
            slot, k, start = x % 16384, 0, 0
            while start + f[k] <= slot:
                start += f[k]
                k += 1
            x = f[k] * (x // 16384) + slot - start
            if x < 2**24:
                x = x * 65536 + self.words.pop(0)
            self.states[lane] = x
            classes.append(k)
        negative = [bool(k) and self.signed and self.bits.pop(0) == 1 for k in classes]
        return [
            -self.magnitude(k) if minus else self.magnitude(k)
            for k, minus in zip(classes, negative, strict=True)
        ]

    def magnitude(self, k: int) -> int:
        if k < 8:
            return k
        e = 3 + (k - 8) // 2
        extra = 0
        for _ in range(e - 1):
            extra = 2 * extra + self.bits.pop(0)
        return ((2 + (k - 8) % 2) << (e - 1)) + extra


def coded_images(data: bytes) -> np.ndarray:
    """(count, sy, sx) images of a coded neural node."""
    count, sy, sx, rows, columns, step, first, more = struct.unpack_from("<5I3f", data)
    stream = IntegerStream(data[32:])
    limits = [1, 22, 44, 66, 88, 132, 176, 264, 352, 528, 704, 1056, 1408, 2816]
    q = np.zeros((count, rows, columns), int)

    def s(r: int, i: int, j: int) -> int:
        inside = 0 <= r < count and i >= 0 and j >= 0
        return min(abs(int(q[r, i, j])), 15) if inside else 0

    def g(r: int, i: int, j: int) -> int:
        near = 2 * s(r, i - 1, j) + 2 * s(r, i, j - 1) + s(r, i - 1, j - 1)
        return near + s(r, i - 2, j) + s(r, i, j - 2)

    for t in range(rows + columns - 1 if rows and columns else 0):
        at = [(r, i, t - i) for r in range(count)
              for i in range(max(0, t - columns + 1), min(t, rows - 1) + 1)]  # fmt: skip
        contexts = []
        for r, i, j in at:
            total = 44 * g(r, i, j)
            for d, weight in ((1, 6), (2, 3), (3, 2)):
                total += weight * (g(r - d, i, j) + g(r + d, i, j))
            contexts.append(15 if t < 2 else sum(total >= limit for limit in limits))
        for (r, i, j), value in zip(at, stream.take(contexts), strict=True):
            q[r, i, j] = value
    size = np.abs(q)
    level = np.where(size == 0, 0, np.where(size == 1, first, size + more))
    coefficient = np.zeros((count, sy, sx))
    coefficient[:, :rows, :columns] = np.sign(q) * step * level

    def c(n: int) -> np.ndarray:
        k, x = np.mgrid[:n, :n]
        return np.sqrt(np.where(k == 0, 1, 2) / n) * np.cos(np.pi * k * (2 * x + 1) / (2 * n))

    return np.einsum("rij,iv,ju->rvu", coefficient, c(sy), c(sx), optimize=True)


def coded_network(data: bytes) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and biases of the layers of a coded neural node."""
    depth, width, outputs = struct.unpack_from("<3H", data)
    steps = struct.unpack_from(f"<{2 * depth + 2}f", data, 6)
    stream = IntegerStream(data[6 + 8 * (depth + 1) :])
    layers = []
    for i in range(depth + 1):
        rows, columns = outputs if i == depth else width, 2 if i == 0 else width
        row = 2 ** (np.array(stream.take([4] * rows)) / 2)
        context = 0 if i == 0 else 2 if i == depth else 1
        weight = np.array(stream.take([context] * (rows * columns))).reshape(rows, columns)
        bias = np.array(stream.take([3] * rows))
        layers.append((weight * steps[i] * row[:, None], bias * steps[depth + 1 + i] * row))
    return layers


def lattice_coefficients(data: bytes, xy: np.ndarray) -> np.ndarray:
    """(outputs, m) coefficients of the lattice of a coded neural node at (2, m) X and Y."""
    rows, columns, count, outputs, step, size = struct.unpack_from("<4IfI", data)
    stream = IntegerStream(data[24 : 24 + size], signed=False)
    label: dict[tuple[int, int], int] = {}

    def at(j: int, i: int) -> int:
        return label.get((j, i), -1)

    highest = -1
    for t in range(columns + 2 * (rows - 1)):
        places = [(j, t - 2 * j) for j in range(rows) if 0 <= t - 2 * j < columns]
        if not places:
            continue
        contexts = []
        for j, i in places:
            w, n, e, c = at(j, i - 1), at(j - 1, i), at(j - 1, i + 1), at(j - 1, i - 1)
            alike = (w == n, n == e, n == c, w == c, w == at(j, i - 2), n == at(j - 2, i))
            contexts.append(sum(2**bit for bit, same in enumerate(alike) if same))
        symbols = stream.take(contexts)
        numbers = stream.take([64] * symbols.count(4))
        for (j, i), symbol in zip(places, symbols, strict=True):
            if symbol < 4:
                dj, di = ((0, -1), (-1, 0), (-1, 1), (-1, -1))[symbol]
                label[j, i] = at(j + dj, i + di)
            else:
                number = numbers.pop(0)
                label[j, i] = highest + 1 if number == 0 else number - 1
                highest = max(highest, label[j, i])
    places_of = [list(label.values()).count(k) for k in range(count)]
    stream = IntegerStream(data[24 + size :])
    exponent = stream.take([12] * outputs)
    q: list[list[int]] = []
    for r in range(outputs):
        contexts = []
        for k in range(count):
            s = [min(abs(q[r - d][k]), 15) if r >= d else 0 for d in (1, 2, 3, 4)]
            near = 2 * s[0] + 2 * s[1] + s[2] + s[3]
            limits = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40)
            contexts.append(11 if r == 0 else sum(near >= limit for limit in limits))
        q.append(stream.take(contexts))
    root = np.sqrt(rows * columns / np.array(places_of))
    value = np.array(q) * step * 2 ** (np.array(exponent)[:, None] / 2) * root  # (outputs, count)

    def b(t: float) -> float:
        t = abs(t)
        return (4 - 6 * t**2 + 3 * t**3) / 6 if t <= 1 else max(2 - t, 0) ** 3 / 6

    out = np.zeros((outputs, xy.shape[1]))
    for m, (x, y) in enumerate(xy.T):
        p, o = (x + 1) * (columns - 1) / 2, (y + 1) * (rows - 1) / 2
        for j in range(int(o) - 2, int(o) + 4):
            for i in range(int(p) - 2, int(p) + 4):
                k = label[min(max(j, 0), rows - 1), min(max(i, 0), columns - 1)]
                out[:, m] += b(p - i) * b(o - j) * value[:, k]
    return out


def joint_patterns(node: h5py.Group, xy: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """(m, sy, sx) patterns of a joint neural node, as `neural_patterns`, pixel by pixel."""
    shape = node["mean_pattern"].shape
    mask = np.ones(shape, bool)
    if len(node["mask"]):
        bits = np.unpackbits(np.frombuffer(zlib.decompress(node["mask"][()].tobytes()), np.uint8))
        mask = bits[: mask.size].reshape(shape).astype(bool)
    array = {name: item[()].astype(float) for name, item in node.items() if name != "residual"}
    first, hidden = node.attrs["omega_first"], node.attrs["omega_hidden"]
    out = np.repeat(array["mean_pattern"][None], len(xy), axis=0)
    for i, position in enumerate(xy):
        p = np.where(largest > 0, 2 * position / np.where(largest > 0, largest, 1) - 1, 0)
        for v, u in np.argwhere(mask):
            d = [2 * k / (n - 1) - 1 if n > 1 else 0 for k, n in ((u, shape[1]), (v, shape[0]))]
            f = 2 * np.pi * (array["frequencies"] @ d)
            h = array["sine_weight"] @ np.sin(f) + array["cosine_weight"] @ np.cos(f)
            h = np.sin(first * (array["position_weight"] @ p + h + array["bias"][0]))
            for weight, bias in zip(array["hidden_weight"], array["bias"][1:], strict=True):
                h = np.sin(hidden * (weight @ h + bias))
            out[i, v, u] += node.attrs["scale_counts"] * (array["output_weight"] @ h)
    return out


def coded_neural_patterns(node: h5py.Group, xy: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """(m, sy, sx) patterns of a neural node of encoding 2.0, as `neural_patterns`."""
    image = coded_images(node["images"][()].tobytes())
    mask = np.ones(image.shape[1:], bool)
    if len(node["mask"]):
        bits = np.frombuffer(zlib.decompress(node["mask"][()].tobytes()), np.uint8)
        mask = np.unpackbits(bits)[: mask.size].reshape(mask.shape).astype(bool)
    out = np.repeat(image[:1], len(xy), axis=0)
    if int(node.attrs["rank"]) > 1:
        span = np.where(largest > 0, largest, 1)
        h = np.where(largest > 0, 2 * xy / span - 1, 0).T
        layers = []
        if "lattice" in node:
            h = lattice_coefficients(node["lattice"][()].tobytes(), h)
        else:
            layers = coded_network(node["network"][()].tobytes())
        for i, (weight, bias) in enumerate(layers):
            h = weight @ h + bias[:, None]
            if i < len(layers) - 1:
                h = np.sin(node.attrs["omega_first" if i == 0 else "omega_hidden"] * h)
        out += np.tensordot(h.T, image[1:], axes=1)
    out[:, ~mask] = node.attrs["outside_counts"]
    return out
