"""The codecs of the neural layer: what goes in comes out, few bytes are lost, damage is noticed."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebsdarchive.codecs.images import cosines, decode_images, encode_images, rounded_images
from ebsdarchive.codecs.integers import IntegerReader, IntegerWriter
from ebsdarchive.codecs.networks import QuantisedNetwork, decode_network, encode_network
from ebsdarchive.codecs.rans import PRECISION, Decoder, Tables, encode
from ebsdarchive.errors import CorruptionError


def entropy_bytes(symbols, contexts):
    """Bytes that no static code of the symbols by context goes below."""
    bits = 0.0
    for context in np.unique(contexts):
        _, counts = np.unique(symbols[contexts == context], return_counts=True)
        bits -= float((counts * np.log2(counts / counts.sum())).sum())
    return bits / 8


# ---------------------------------------------------------------- range coder


@given(st.lists(st.lists(st.integers(0, 10_000), min_size=1, max_size=9), min_size=1, max_size=5))
def test_frequencies_always_add_up_and_no_symbol_that_occurs_is_lost(counts):
    width = max(map(len, counts))
    table = np.array([row + [0] * (width - len(row)) for row in counts])
    frequencies = Tables.of_counts(table).frequencies
    assert (frequencies.sum(axis=1) == 1 << PRECISION).all()
    assert (frequencies[table > 0] > 0).all()


@pytest.mark.parametrize("lanes", [1, 7, 64])
def test_symbols_come_back_and_cost_little_more_than_their_entropy(lanes):
    rng = np.random.default_rng(lanes)
    contexts = rng.integers(0, 4, 30_000)
    symbols = np.minimum(rng.geometric(1 / (1 + contexts)) - 1, 20)
    counts = np.zeros((4, 21))
    np.add.at(counts, (contexts, symbols), 1)
    tables = Tables.of_counts(counts)
    groups = np.array([1, 0, 999, 20_000, 9_000])
    states, words = encode(symbols, contexts, tables, groups, lanes)
    assert 2 * len(words) + 3 * lanes < 1.02 * entropy_bytes(symbols, contexts)
    decoder = Decoder(states, words, Tables(tables.codes))
    ends = np.cumsum(groups)
    found = [decoder.take(contexts[a:b]) for a, b in zip(ends - groups, ends, strict=True)]
    decoder.finish()
    np.testing.assert_array_equal(np.concatenate(found), symbols)


# ---------------------------------------------------------------- integers

whole = st.integers(-(2**31) + 1, 2**31 - 1) | st.integers(-9, 9)


@given(st.lists(st.lists(st.tuples(whole, st.integers(0, 2)), max_size=30), max_size=5))
def test_integers_of_any_size_come_back_group_by_group(groups):
    writer = IntegerWriter(3)
    for group in groups:
        writer.add([value for value, _ in group], np.array([c for _, c in group], dtype=int))
    reader = IntegerReader(writer.to_bytes())
    for group in groups:
        assert reader.take(np.array([c for _, c in group], dtype=np.int64)).tolist() == [
            value for value, _ in group
        ]
    reader.finish()


def test_damaged_integers_are_noticed():
    rng = np.random.default_rng(0)
    values = rng.integers(-40, 41, 4000)
    writer = IntegerWriter(1)
    writer.add(values, 0)
    data = writer.to_bytes()
    noticed = 0
    positions = range(0, len(data), 37)
    for at in positions:
        damaged = bytearray(data)
        damaged[at] ^= 0x11
        try:
            reader = IntegerReader(bytes(damaged))
            reader.take(np.zeros(4000, dtype=np.int64))
            reader.finish()
        except CorruptionError:
            noticed += 1
    assert noticed == len(positions)


@pytest.mark.parametrize("length", [0, 3, 23, 60])
def test_cut_integers_are_noticed(length):
    writer = IntegerWriter(2)
    writer.add(np.arange(-50, 50), 1)
    with pytest.raises(CorruptionError):
        IntegerReader(writer.to_bytes()[:length])


def test_tables_that_would_grow_out_of_proportion_are_refused():
    bomb = zlib.compress(bytes(50_000_000))
    body = bomb + bytes(5)
    data = struct.pack("<6I", 1, 0, 0, 1, len(bomb), zlib.crc32(body)) + body
    with pytest.raises(CorruptionError, match=r"more than \d+ bytes"):
        IntegerReader(data)


# ---------------------------------------------------------------- images


def waves(count=3, sy=33, sx=27, seed=0):
    """(count, sy, sx) smooth images."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:sy, :sx]
    k = rng.uniform(-0.6, 0.6, (count, 2, 1, 1))
    return (500 * np.cos(k[:, 0] * u + k[:, 1] * v + 1)).astype(np.float32)


@pytest.mark.parametrize("step", [200.0, 20.0, 1.0])
def test_images_come_back_within_their_step(step):
    images = waves()
    decoded = decode_images(encode_images(images, np.ones((33, 27), bool), step))
    assert decoded.shape == images.shape
    assert np.sqrt(np.mean((decoded - images) ** 2)) < 0.45 * step


def test_a_coarser_step_takes_fewer_bytes_and_zero_images_take_next_to_none():
    images, mask = waves(), np.ones((33, 27), bool)
    sizes = [len(encode_images(images, mask, step)) for step in (1, 10, 100)]
    assert sizes == sorted(sizes, reverse=True)
    empty = encode_images(np.zeros_like(images), mask, 1.0)
    assert len(empty) < 100
    assert (decode_images(empty) == 0).all()


@pytest.mark.parametrize("step", [0.7, 9.0, 1e6])
def test_what_comes_back_is_known_without_the_bytes(step):
    rng = np.random.default_rng(3)
    images = np.cumsum(rng.normal(0, 9, (6, 11, 14)), axis=2).astype(np.float32)
    mask = np.ones((11, 14), bool)
    mask[:3, 9:] = False
    decoded = decode_images(encode_images(images, mask, step))
    np.testing.assert_array_equal(rounded_images(images, mask, step), decoded)


def test_pixels_outside_the_mask_cost_nothing_and_disturb_nothing():
    images = waves()
    v, u = np.mgrid[:33, :27]
    mask = (v - 16) ** 2 + (u - 13) ** 2 < 150
    spoiled = np.where(mask, images, np.random.default_rng(0).normal(0, 9999, images.shape))
    clean = encode_images(images, mask, 20.0)
    assert encode_images(spoiled.astype(np.float32), mask, 20.0) == clean
    error = (decode_images(clean) - images)[:, mask]
    assert np.sqrt(np.mean(error**2)) < 0.45 * 20
    cut = np.where(mask, images, np.float32(0))
    assert len(clean) < len(encode_images(cut, np.ones_like(mask), 20.0))


def test_rows_of_the_transform_are_orthonormal():
    np.testing.assert_allclose(cosines(17) @ cosines(17).T, np.eye(17), atol=1e-6)


@pytest.mark.parametrize(
    "change", [lambda d: d[:10], lambda d: b"\xff" * 32 + d[32:], lambda d: b""]
)
def test_damaged_images_are_noticed(change):
    data = encode_images(waves(), np.ones((33, 27), bool), 10.0)
    with pytest.raises(CorruptionError):
        decode_images(change(data))


# ---------------------------------------------------------------- networks


def network(depth=3, width=5, outputs=4, seed=0):
    rng = np.random.default_rng(seed)
    sizes = [2, *[width] * depth, outputs]
    return QuantisedNetwork(
        weights=[rng.integers(-30, 31, (b, a)) for a, b in pairwise(sizes)],
        biases=[rng.integers(-300, 301, b) for b in sizes[1:]],
        weight_steps=rng.uniform(1e-4, 1, depth + 1).astype(np.float32),
        bias_steps=rng.uniform(1e-4, 1, depth + 1).astype(np.float32),
        exponents=[rng.integers(-3, 4, b) for b in sizes[1:]],
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 4), (6, 17, 30)])
def test_networks_come_back_as_they_were(shape):
    original = network(*shape)
    found = decode_network(encode_network(original))
    for name in ("weights", "biases", "exponents"):
        for a, b in zip(getattr(original, name), getattr(found, name), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(original.weight_steps, found.weight_steps)
    for ours, theirs in zip(original.arrays(), found.arrays(), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_weight_is_its_integer_times_the_step_of_its_row():
    one = network()
    weights, biases = one.arrays()
    row = 2.0 ** (one.exponents[1][2] / 2)
    assert weights[1][2, 3] == pytest.approx(one.weights[1][2, 3] * one.weight_steps[1] * row)
    assert biases[1][2] == pytest.approx(one.biases[1][2] * one.bias_steps[1] * row)


@pytest.mark.parametrize("change", [lambda d: d[:4], lambda d: bytes(6) + d[6:], lambda d: b""])
def test_damaged_networks_are_noticed(change):
    with pytest.raises(CorruptionError):
        decode_network(change(encode_network(network())))
