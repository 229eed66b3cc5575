"""Peers of the neural field: other ways to make a scan small with loss, as strong as they can be.

Each peer is a function of a `Work` that yields `Coded` scans, from coarse to fine. The KLT peers
sweep rank, coding of the coefficient maps and step of the basis images, try every combination on a
sample of points, and yield those that nothing smaller is as good as. Their basis images are coded
by our own coder, their components scaled after coding such that the error is least.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import imagecodecs
import numpy as np
from paper_recipe import n_parameters, train_recipe

from ebsdarchive.neural.basis import choose_rank, klt_of_sample
from ebsdarchive.neural.pixels import detector_mask, values_inside
from ebsdarchive.neural.sample import draw_sample
from ebsdarchive.scan import Scan

try:
    from ebsdarchive.codecs.images import decode_images, encode_images
except ImportError:  # until it is there
    from stand_in_images import decode_images, encode_images

__all__ = ["PEERS", "Coded", "Klt", "Work", "front", "klt_of", "open_work", "paper_recipe"]

KLT_BYTES = 2 << 30  # the KLT is exact for scans up to this size as float32
TRIED_POINTS = 512
SMALL_SCAN = 20_000
SPACING = 1.1  # between sizes of the settings that are kept
JPEG_LS_ROWS = 60_000  # of at most 65,535
Blocks = Iterator[tuple[int, int, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Work:
    """A scan to make small: measured patterns, the truth where it is known, mask and full range."""

    title: str
    scan: Scan
    truth: Scan | None
    mask: np.ndarray
    span: float
    fast: bool

    def blocks(self, truth: bool = False) -> Blocks:
        """(start, stop, (b, m) float32 values inside the mask) over the whole scan."""
        scan = self.truth if truth else self.scan
        assert scan is not None
        for start, stop, patterns in scan.blocks():
            yield start, stop, values_inside(patterns, self.mask).astype(np.float32)


@dataclass(frozen=True)
class Coded:
    """A coded scan: whose it is, how it was set, its size, and how to get it back.

    `decoded` returns blocks like `Work.blocks`; None where only `error_pct` is known.
    """

    label: str
    setting: str
    nbytes: int
    decoded: Callable[[], Blocks] | None
    error_pct: float | None = None


def open_work(title: str, scan: Scan, truth: Scan | None, fast: bool) -> Work:
    """A work with the automatic mask and its full range inside it."""
    mask = detector_mask(draw_sample(scan, 0))
    lows, highs = zip(
        *((v.min(), v.max()) for v in (values_inside(p, mask) for _, _, p in scan.blocks())),
        strict=True,
    )
    return Work(title, scan, truth, mask, float(max(highs)) - float(min(lows)), fast)


# ---------------------------------------------------------------- KLT and coded maps


@dataclass(frozen=True, eq=False)
class Klt:
    """Mean (m,), orthonormal vectors (c, m), coefficients (n, c); rank by the package's rule."""

    mean: np.ndarray
    vectors: np.ndarray
    coefficients: np.ndarray
    rank: int

    def ranks(self) -> list[int]:
        """Numbers of components worth trying."""
        most = self.vectors.shape[0]
        wanted = {2, 4, *(round(self.rank * 2.0**k) for k in range(-3, 4))}
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
    some = 128 if work.fast else 256
    rank = choose_rank(klt_of_sample(sample, work.mask, even, some, 0), len(sample.pairs)).rank
    most = (8 if _is_small(work) else 2) * rank
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
    for name, (encode, decode) in codings.items():
        for form in ("mosaic", "separate"):
            images = [_mosaic(levels)] if form == "mosaic" else list(levels)
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
        for form in ("mosaic", "separate"):
            images = [_mosaic(shifted)] if form == "mosaic" else list(shifted)
            size = sum(
                len(imagecodecs.jpegxl_encode(i, lossless=True, effort=effort, numthreads=1))
                for i in images
            )
            extra = 8 + (4 * rank if form == "separate" else 0)
            yield CodedMaps(f"step {factor:g} {form}", size + extra, values)


def _images(coefficients: np.ndarray, work: Work) -> np.ndarray:
    """(c, ny, nx) maps of (n, c) coefficients."""
    return coefficients.T.reshape(-1, work.scan.grid.n_rows, work.scan.grid.n_columns)


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
    candidates: list[_Candidate] = []
    found: list[list[float]] = []
    for rank in klt.ranks():
        bases = [(f, *_coded_basis(work, klt, rank, f * residual)) for f in factors]
        for coded in maps(rank):
            # components that coding has dulled are scaled down: 4 bytes each
            exact, back = klt.coefficients[:, :rank], coded.coefficients
            energy = np.einsum("ij,ij->j", back, back)
            gain = np.einsum("ij,ij->j", back, exact) / np.maximum(energy, 1e-30)
            scaled = (back * (gain / _deviations(klt, rank))).astype(np.float32)
            for factor, size, images in bases:
                part = scaled[chosen] @ images[1:] + images[0]
                setting = f"rank {rank + 1}, {coded.setting}, basis {factor:g}"
                nbytes = coded.nbytes + size + packed_mask + 4 * rank
                candidates.append(_Candidate(setting, nbytes, scaled, images))
                found.append([float(np.abs(part - target).mean()) for target in targets])
            keep = _on_a_front(candidates, found)
            candidates, found = [candidates[i] for i in keep], [found[i] for i in keep]
    for c in candidates:
        yield Coded(label, c.setting, c.nbytes, partial(_synthesis, work, c))


def _on_a_front(candidates: list[_Candidate], errors: list[list[float]]) -> list[int]:
    """Indices of those on the front of one of the errors at least."""
    sizes = [c.nbytes for c in candidates]
    fronts = (front(sizes, list(one), SPACING) for one in zip(*errors, strict=True))
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
        part = candidate.coefficients[start:stop] @ candidate.images[1:]
        yield start, stop, part + candidate.images[0]


def front(sizes: list[int], errors: list[float], spacing: float = 1.0) -> list[int]:
    """Indices, by ascending size, of those that nothing smaller is as good as.

    Of those whose sizes lie within a factor of `spacing`, the best is taken. No convex hull: over
    the logarithm of bytes a line between two settings is not what a mixture of them takes.
    """
    order = sorted(range(len(sizes)), key=lambda i: (sizes[i], errors[i]))
    kept: list[int] = []
    for i in order:
        if kept and errors[i] >= errors[kept[-1]]:
            continue
        if len(kept) > 1 and sizes[i] < spacing * sizes[kept[-2]]:
            kept.pop()
        kept.append(i)
    return kept


# ---------------------------------------------------------------- codecs of arrays


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


PEERS = (klt_jpeg_xl, klt_jpeg_xl_lossless, klt_jpeg_2000, klt_zstd, direct_codecs)
