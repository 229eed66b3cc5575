"""Peers of the neural field: other ways to make a scan small with loss, as strong as they can be.

Each peer is a function of a `Work` and its KLT that yields `Coded` works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import imagecodecs
import numpy as np
from coded_works import Blocks, Coded, Work
from klt_peers import KLT_PEERS, Klt
from paper_recipe import n_parameters, train_recipe

from ebsdarchive.neural.pixels import values_inside

__all__ = ["PEERS", "direct_codecs", "paper_recipe"]

JPEG_LS_ROWS = 60_000  # of at most 65,535


def direct_codecs(work: Work, klt: Klt) -> Iterator[Coded]:
    """SZ3, ZFP, SPERR and near-lossless JPEG-LS on the patterns, blocks of scan rows at a time."""
    percent = (2, 5, 10) if work.fast else (0.5, 1, 2, 3, 4, 5, 7, 10, 14)
    for p in percent:
        bound = p / 100 * work.span
        for name, encode, decode in _array_codecs(bound):
            yield _direct(work, klt, name, f"{p:g} %", encode, decode)
    for decibel in (30, 36) if work.fast else (26, 28, 30, 32, 34, 36, 38, 40):
        encode = partial(imagecodecs.sperr_encode, level=decibel, mode=imagecodecs.SPERR.MODE.PSNR)
        yield _direct(work, klt, "SPERR", f"{decibel} dB", _flat(encode), imagecodecs.sperr_decode)


class _Shaped(bytes):
    """Bytes that know the shape of what they stand for."""

    def __new__(cls, data: bytes, shape: tuple[int, ...]) -> _Shaped:
        made = super().__new__(cls, data)
        made.shape = shape
        return made


def _array_codecs(bound: float) -> Iterator[tuple[str, Callable, Callable]]:
    """Name, coder and decoder of (rows, columns, sy, sx) float32 blocks, error up to `bound`."""
    for name, arranged in (("SZ3", lambda x: x), ("SZ3", _stack)):

        def sz3(block: np.ndarray, arranged: Callable = arranged) -> _Shaped:
            array = arranged(block)
            return _Shaped(imagecodecs.sz3_encode(array, mode="abs", abs=bound), array.shape)

        yield name, sz3, lambda e: imagecodecs.sz3_decode(e, e.shape, np.float32)
    accuracy = imagecodecs.ZFP.MODE.FIXED_ACCURACY
    # ZFP stays far below its bound
    zfp = partial(imagecodecs.zfp_encode, level=16 * bound, mode=accuracy)
    yield "ZFP", _flat(zfp), imagecodecs.zfp_decode
    sperr = partial(imagecodecs.sperr_encode, level=bound, mode=imagecodecs.SPERR.MODE.PWE)
    yield "SPERR", _flat(sperr), imagecodecs.sperr_decode
    # JPEG-LS takes errors up to 255 levels: more are had by dropping bits first
    shift = max(0, int(np.ceil(np.log2(max(bound, 1) / 255))))
    near = int(bound) >> shift

    def jpeg_ls(block: np.ndarray) -> list[bytes]:
        levels = _stack(block).astype(np.uint16) >> shift
        images = np.array_split(levels, -(-levels.shape[0] * levels.shape[1] // JPEG_LS_ROWS))
        return [imagecodecs.jpegls_encode(_rows(image), level=near) for image in images]

    def back(images: list[bytes]) -> np.ndarray:
        levels = np.concatenate([imagecodecs.jpegls_decode(data) for data in images])
        return levels.astype(np.float32) * 2**shift + (2**shift - 1) / 2

    yield "JPEG-LS near-lossless", jpeg_ls, back


def _rows(images: np.ndarray) -> np.ndarray:
    """(k, sy, sx) images below one another."""
    return images.reshape(-1, images.shape[-1])


def _stack(block: np.ndarray) -> np.ndarray:
    """(rows, columns, sy, sx) to (rows * columns, sy, sx)."""
    return block.reshape(-1, *block.shape[2:])


def _flat(encode: Callable) -> Callable:
    return lambda block: encode(_stack(block))


def _direct(
    work: Work, klt: Klt, label: str, setting: str, encode: Callable, decode: Callable
) -> Coded:
    """A scan coded block by block; pixels outside the mask are constant: they cost nothing."""
    fill = float(klt.mean.mean())
    stored, size = [], 0
    for start, stop, patterns in work.scan.blocks():
        values = patterns.astype(np.float32)
        values[:, ~work.mask] = fill
        coded = encode(values.reshape(-1, work.scan.grid.n_columns, *work.mask.shape))
        stored.append((start, stop, coded))
        size += sum(map(len, coded)) if isinstance(coded, list) else len(coded)

    def decoded() -> Blocks:
        for start, stop, coded in stored:
            patterns = np.asarray(decode(coded)).reshape(stop - start, *work.mask.shape)
            yield start, stop, values_inside(patterns, work.mask)

    return Coded(label, setting, size, decoded)


def paper_recipe(work: Work, klt: Klt, seconds: float, width: int = 256) -> Iterator[Coded]:
    """The paper's recipe, stored as float32 and, as if that cost no accuracy, as float16."""
    grid = work.scan.grid
    shape = (grid.n_rows, grid.n_columns, *work.mask.shape)
    patterns = work.scan.patterns.read(0, grid.size).reshape(shape)
    curve = train_recipe(
        patterns, klt.rank, seconds, width=width, mask=work.mask, evaluate_s=seconds
    )
    numbers = n_parameters(klt.rank, work.mask.size, width)
    for name, nbytes in (("float16", 2), ("float32", 4)):
        setting = f"rank {klt.rank}, {seconds:g} s, {name}"
        yield Coded("paper's recipe", setting, nbytes * numbers, None, curve[-1][1])


PEERS = (*KLT_PEERS, direct_codecs)
