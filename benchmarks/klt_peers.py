"""Peers of the field: a KLT of the patterns, with its coefficient maps in a codec of images.

Each sweeps rank, coding of the maps and step of the basis images, tries every combination on a
sample of points, and yields those that nothing smaller is as good as. The basis images are coded by
our own coder, and the components scaled after coding such that the error is least.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import imagecodecs
import numpy as np
from coded_works import Blocks, Coded, Work, front

from ebsdarchive.codecs.images import decode_images, encode_images
from ebsdarchive.neural.basis import RANK_LIMIT, choose_rank, klt_of_sample
from ebsdarchive.neural.pixels import values_inside
from ebsdarchive.neural.sample import draw_sample

__all__ = ["KLT_PEERS", "Klt", "klt_of"]

KLT_BYTES = 2 << 30  # the KLT is exact for scans up to this size as float32
FORMS = ("mosaic", "separate")
TRIED_POINTS = 256
SMALL_SCAN = 20_000
SPACING = {True: (1.0, 1.03), False: (1.05, 1.1)}  # of sizes that are kept: on the way, at the end


@dataclass(frozen=True, eq=False)
class Klt:
    """Mean (m,), orthonormal vectors (c, m), coefficients (n, c); rank by the package's rule."""

    mean: np.ndarray
    vectors: np.ndarray
    coefficients: np.ndarray
    rank: int

    def ranks(self, finely: bool) -> list[int]:
        """Numbers of components worth trying; twice as many of them if `finely`."""
        most = self.vectors.shape[0]
        wanted = {2, 4, *(round(self.rank * 2.0**k) for k in range(-3, 4))}
        if finely:
            wanted |= {1, 3, *(round(self.rank * 2.0 ** (k + 0.5)) for k in range(-3, 2))}
        return sorted({min(max(r, 1), most) for r in wanted})


@dataclass(frozen=True)
class CodedMaps:
    """Coefficients after coding, (n, c) float32 in counts, and the bytes they took."""

    setting: str
    nbytes: int
    coefficients: np.ndarray


def klt_of(work: Work) -> Klt:
    """The KLT of all patterns of a work, without weights of pixels."""
    sample = draw_sample(work.scan, 0, KLT_BYTES)
    even = np.ones(int(work.mask.sum()), np.float32)
    some = 128
    basis = klt_of_sample(sample, work.mask, even, some, 0)
    if choose_rank(basis, len(sample.pairs)).rank > 0.7 * some:
        basis = klt_of_sample(sample, work.mask, even, RANK_LIMIT, 0)
    rank = choose_rank(basis, len(sample.pairs)).rank
    most = min(RANK_LIMIT, (8 if _is_small(work) else 2) * rank)
    if len(basis.vectors) < most:
        basis = klt_of_sample(sample, work.mask, even, most, 0)
    if len(sample.patterns) == work.scan.grid.size:
        coefficients = basis.coefficients
    else:
        coefficients = np.concatenate([basis.project(p) for _, _, p in work.scan.blocks()])
    return Klt(basis.mean[work.mask], basis.vectors, coefficients, rank)


def _is_small(work: Work) -> bool:
    return work.scan.grid.size <= SMALL_SCAN and not work.fast


def klt_jpeg_xl(work: Work, klt: Klt) -> Iterator[Coded]:
    """Coefficient maps as 16-bit JPEG XL at several distances."""
    distances = (0.1, 0.4, 1.5) if work.fast else (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1, 1.5, 2.5, 4)
    codings = {
        f"d={d:g} effort {effort}": (
            partial(imagecodecs.jpegxl_encode, distance=d, effort=effort, numthreads=1),
            imagecodecs.jpegxl_decode,
        )
        for d in distances
        for effort in ((7, 9) if _is_small(work) else (7,))
    }
    yield from _best("KLT + JPEG XL", work, klt, partial(_sixteen_bit, klt, work, codings))


def klt_jpeg_xl_lossless(work: Work, klt: Klt) -> Iterator[Coded]:
    """Coefficient maps rounded to multiples of one step, in JPEG XL without loss."""
    factors = (1, 4) if work.fast else (0.25, 0.5, 1, 2, 3, 4, 6, 8)
    yield from _best("KLT + rounding, JPEG XL", work, klt, partial(_rounded, klt, work, factors))


def klt_jpeg_2000(work: Work, klt: Klt) -> Iterator[Coded]:
    """Coefficient maps as 16-bit JPEG 2000 at several qualities (dB)."""
    qualities = (38, 44, 50) if work.fast else (32, 35, 38, 41, 44, 47, 50, 54, 58)
    codings = {
        f"{q} dB": (
            partial(imagecodecs.jpeg2k_encode, level=q, reversible=False, codecformat="j2k"),
            imagecodecs.jpeg2k_decode,
        )
        for q in qualities
    }
    yield from _best("KLT + JPEG 2000", work, klt, partial(_sixteen_bit, klt, work, codings))


def klt_zstd(work: Work, klt: Klt) -> Iterator[Coded]:
    """Coefficients as 8 bit between each component's extremes, in zstd at level 19."""

    def maps(rank: int) -> Iterator[CodedMaps]:
        a = klt.coefficients[:, :rank]
        low, scale = a.min(axis=0), np.maximum(np.ptp(a, axis=0), 1e-30) / 255
        levels = np.rint((a - low) / scale).astype(np.uint8)
        stored = imagecodecs.zstd_encode(np.ascontiguousarray(levels.T).tobytes(), level=19)
        yield CodedMaps("8 bit", len(stored) + 8 * rank, levels * scale + low)

    yield from _best("KLT, 8 bit, zstd-19", work, klt, maps)


def _sixteen_bit(klt: Klt, work: Work, codings: dict, rank: int) -> Iterator[CodedMaps]:
    """Maps of `rank` components on one scale, as one mosaic and as an image for each component."""
    maps = _images(klt.coefficients[:, :rank], work)
    low, scale = float(maps.min()), float(np.ptp(maps)) / 65535
    levels = np.rint((maps - low) / scale).astype(np.uint16)
    forms = FORMS
    for name, (encode, decode) in codings.items():
        if forms is FORMS and not _is_small(work):  # large maps: the form that is better here
            sizes = {f: sum(len(encode(i)) for i in _arranged(levels, f)) for f in FORMS}
            forms = (min(FORMS, key=sizes.__getitem__),)
        for form in forms:
            if form == "separate" and "effort 9" in name:
                continue  # slow, and hardly ever the best
            images = _arranged(levels, form)
            stored = [encode(image) for image in images]
            back = np.stack([decode(data) for data in stored])
            back = _unmosaic(back[0], levels.shape) if form == "mosaic" else back
            values = back.reshape(rank, -1).T * np.float32(scale) + np.float32(low)
            size = sum(map(len, stored)) + 8 + (4 * rank if form == "separate" else 0)
            yield CodedMaps(f"{name} {form}", size, values)


def _rounded(klt: Klt, work: Work, factors: tuple, rank: int) -> Iterator[CodedMaps]:
    """Maps in steps of `factors` times the pixels' own noise, as a mosaic and one by one."""
    maps = _images(klt.coefficients[:, :rank], work)
    effort = 9 if _is_small(work) else 7
    for factor in factors:
        step = factor * _residual(work, klt)
        levels = np.rint(maps / step).astype(np.int32)
        low = int(levels.min())
        shifted = (levels - low).astype(np.uint16)
        values = (levels * np.float32(step)).reshape(rank, -1).T
        for form in FORMS:
            images = _arranged(shifted, form)
            size = sum(
                len(imagecodecs.jpegxl_encode(i, lossless=True, effort=effort, numthreads=1))
                for i in images
            )
            extra = 8 + (4 * rank if form == "separate" else 0)
            yield CodedMaps(f"step {factor:g} {form}", size + extra, values)


def _images(coefficients: np.ndarray, work: Work) -> np.ndarray:
    """(c, ny, nx) maps of (n, c) coefficients."""
    return coefficients.T.reshape(-1, work.scan.grid.n_rows, work.scan.grid.n_columns)


def _arranged(levels: np.ndarray, form: str) -> list[np.ndarray]:
    """Images to code: all maps in one mosaic, or each by itself."""
    return [_mosaic(levels)] if form == "mosaic" else list(levels)


def _mosaic(maps: np.ndarray) -> np.ndarray:
    """(c, ny, nx) maps side by side in one nearly square image; empty places are mid-grey."""
    count, ny, nx = maps.shape
    across = int(np.ceil(np.sqrt(count)))
    down = -(-count // across)
    filled = np.full((down * across, ny, nx), int(np.median(maps)), maps.dtype)
    filled[:count] = maps
    tiles = filled.reshape(down, across, ny, nx).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(tiles.reshape(down * ny, across * nx))


def _unmosaic(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    count, ny, nx = shape
    tiles = image.reshape(image.shape[0] // ny, ny, image.shape[1] // nx, nx)
    return tiles.transpose(0, 2, 1, 3).reshape(-1, ny, nx)[:count]


@cache
def _residual(work: Work, klt: Klt) -> float:
    """Standard deviation in counts of what the KLT of the rule's rank leaves at a pixel."""
    chosen, values = _tried(work)
    part = klt.coefficients[chosen, : klt.rank] @ klt.vectors[: klt.rank]
    return float(np.std(values - klt.mean - part))


@cache
def _tried(work: Work, truth: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(k,) points that settings are tried on, and their (k, m) values inside the mask."""
    n = work.scan.grid.size
    chosen = np.unique(np.linspace(0, n - 1, min(n, TRIED_POINTS)).astype(int))
    scan = work.truth if truth else work.scan
    assert scan is not None
    patterns = np.concatenate([scan.patterns.read(k, k + 1) for k in chosen])
    return chosen, values_inside(patterns, work.mask).astype(np.float32)


@dataclass(frozen=True)
class _Candidate:
    """One combination of rank, maps and basis step, with what is needed to decode it."""

    setting: str
    nbytes: int
    coefficients: np.ndarray  # (n, c), of unit variance, with the gain that suits them best
    images: np.ndarray  # (1 + c, m), the mean first


def _best(
    label: str, work: Work, klt: Klt, maps: Callable[[int], Iterator[CodedMaps]]
) -> Iterator[Coded]:
    """Tries all combinations on some points and yields the front of what came out."""
    chosen, measured = _tried(work)
    targets = [measured] + ([_tried(work, truth=True)[1]] if work.truth else [])
    packed_mask = len(zlib.compress(np.packbits(work.mask).tobytes(), 9))
    residual = _residual(work, klt)
    factors = (0.5, 2) if work.fast else (0.0625, 0.125, 0.25, 0.5, 1, 2, 4)
    if _is_small(work):  # where the basis is most of the bytes
        factors = tuple(2 ** (k / 2) for k in range(-12, 6))
    on_the_way, at_the_end = SPACING[_is_small(work)]
    candidates: list[_Candidate] = []
    found: list[list[float]] = []
    for rank in klt.ranks(finely=_is_small(work)):
        bases = [(f, *_coded_basis(work, klt, rank, f * residual)) for f in factors]
        for coded in maps(rank):
            # components that coding has dulled are scaled down: 4 bytes each
            exact, back = klt.coefficients[:, :rank], coded.coefficients
            energy = np.einsum("ij,ij->j", back, back)
            gain = np.einsum("ij,ij->j", back, exact) / np.maximum(energy, 1e-30)
            scaled = (back * (gain / _deviations(klt, rank))).astype(np.float32)
            held = scaled if _is_small(work) else scaled.astype(np.float16)  # many at a time
            for factor, size, images in bases:
                part = scaled[chosen] @ images[1:] + images[0]
                setting = f"rank {rank + 1}, {coded.setting}, basis {factor:.3g}"
                nbytes = coded.nbytes + size + packed_mask + 4 * rank
                candidates.append(_Candidate(setting, nbytes, held, images))
                found.append([float(np.abs(part - target).mean()) for target in targets])
            keep = _on_a_front(candidates, found, on_the_way)
            candidates, found = [candidates[i] for i in keep], [found[i] for i in keep]
    for c in (candidates[i] for i in _on_a_front(candidates, found, at_the_end)):
        yield Coded(label, c.setting, c.nbytes, partial(_synthesis, work, c))


def _on_a_front(
    candidates: list[_Candidate], errors: list[list[float]], spacing: float
) -> list[int]:
    """Indices of those on the front of one of the errors at least."""
    sizes = [c.nbytes for c in candidates]
    fronts = (front(sizes, list(one), spacing) for one in zip(*errors, strict=True))
    return sorted(set().union(*fronts))


def _deviations(klt: Klt, rank: int) -> np.ndarray:
    """(rank,) root mean squares of the coefficients."""
    return np.sqrt(np.mean(klt.coefficients[:, :rank] ** 2, axis=0))


@cache
def _coded_basis(work: Work, klt: Klt, rank: int, step: float) -> tuple[int, np.ndarray]:
    """Bytes of the coded mean and basis, and the (1 + rank, m) images they decode to."""
    images = np.zeros((1 + rank, *work.mask.shape), np.float32)
    images[0][work.mask] = klt.mean
    images[1:, work.mask] = klt.vectors[:rank] * _deviations(klt, rank)[:, None]
    stored = encode_images(images, work.mask, step)
    return len(stored), decode_images(stored)[:, work.mask]


def _synthesis(work: Work, candidate: _Candidate) -> Blocks:
    for start, stop in work.scan.grid.blocks(work.scan.pattern_bytes, 16 << 20):
        part = candidate.coefficients[start:stop].astype(np.float32) @ candidate.images[1:]
        yield start, stop, part + candidate.images[0]


KLT_PEERS = (klt_jpeg_xl, klt_jpeg_xl_lossless, klt_jpeg_2000, klt_zstd)
