"""Lossless means bit-exact, whatever the profile, type, shape and values; auto is the smallest."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import ebsdarchive
from ebsdarchive.archive import raw
from ebsdarchive.archive.output import open_for_writing
from ebsdarchive.archive.raw import RawPatterns, RawSummary, check_blocks, write_raw
from ebsdarchive.codecs import levels
from ebsdarchive.codecs.lossless import PROFILES, Coding, encode_block, sha256_of
from ebsdarchive.codecs.pool import ordered_map
from ebsdarchive.errors import ArchiveError, ArgumentError, EbsdArchiveError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import PATTERN_DTYPES, ArrayPatterns


def store(path: Path, patterns: np.ndarray, profile: str = "auto", columns: int = 1) -> RawSummary:
    """Write patterns as the raw node of a new file."""
    grid = Grid("square", columns, len(patterns) // columns)
    with open_for_writing(path) as file:
        return write_raw(file, "raw", ArrayPatterns(patterns), grid, profile)


def stored(patterns: np.ndarray, profile: str = "auto") -> tuple[np.ndarray, RawSummary]:
    """What comes back of patterns after a round trip through a file, whose digests must agree."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "raw.h5")
        summary = store(path, patterns, profile)
        assert check_blocks(str(path), "/raw") == []
        reader = RawPatterns(str(path), "/raw")
        assert reader.dtype == patterns.dtype
        assert reader.sha256 == sha256_of(patterns).hex() == summary.sha256
        return reader.read(0, len(patterns)), summary


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def noisy(dtype: str, n: int = 20, sy: int = 47, sx: int = 59, seed: int = 0) -> np.ndarray:
    """Smooth patterns with noise, using all grey levels between their lowest and highest."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:sy, :sx]
    smooth = 100 + 40 * np.sin(u / 5) + 20 * np.cos(v / 4)
    values = smooth + rng.normal(0, 4, (n, sy, sx))
    return values.astype(np.float32) if dtype == "float32" else np.rint(values).astype(dtype)


def stretched(n: int = 20) -> np.ndarray:
    """8-bit patterns, each stretched to 16 bit by a factor of its own."""
    factors = np.random.default_rng(1).uniform(150, 256, n)
    return np.rint(noisy("uint8", n) * factors[:, None, None]).astype(np.uint16)


SPARSE = {
    "gain of 20": lambda: noisy("uint8").astype(np.uint16) * 20,
    "12 bit in 16": lambda: noisy("uint16") << 4,
    "stretched": stretched,
    "integers as float32": lambda: noisy("uint8").astype(np.float32),
}
DENSE = {dtype: lambda dtype=dtype: noisy(dtype) for dtype in PATTERN_DTYPES}
KINDS = {
    **SPARSE,
    **DENSE,
    "constant": lambda: np.full((20, 47, 59), 7, np.uint16),
    "half constant": lambda: np.concatenate([noisy("uint8", 10), np.zeros((10, 47, 59), "u1")]),
    "incompressible": lambda: np.random.default_rng(0).integers(0, 65536, (20, 47, 59), "uint16"),
    "tiny patterns": lambda: noisy("uint8", 300, 3, 7),
}


@st.composite
def any_patterns(draw: st.DrawFn) -> np.ndarray:
    """Patterns of any type, shape and content, sparse and constant ones among them."""
    dtype = draw(st.sampled_from(PATTERN_DTYPES))
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)))
    content = draw(st.sampled_from(["any", "few", "constant", "sparse", "noise"]))
    if content == "any":
        return draw(npst.arrays(dtype, shape))
    if content == "few":
        few = draw(npst.arrays(dtype, 3))
        return few[draw(npst.arrays(np.uint8, shape, elements=st.integers(0, 2)))]
    if content == "constant":
        return np.broadcast_to(draw(npst.arrays(dtype, ())), shape).copy()
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    if content == "sparse":
        return (rng.integers(0, 12, shape) * 20).astype(dtype)
    return rng.normal(100, 20, shape).astype(dtype)


SPECIAL = np.array(
    [0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7F800000, 0xFF800000, 0x80000000, 0, 1, 0x007FFFFF],
    np.uint32,
).view(np.float32)  # quiet and signalling NaN, ±infinity, ±0, subnormal


@settings(max_examples=60)
@given(any_patterns(), st.sampled_from(("auto", *PROFILES)))
@example(np.zeros((1, 1, 1), np.uint8), "auto")
@example(np.full((3, 1, 7), 65535, np.uint16), "fast")
@example(np.resize(SPECIAL, (2, 5, 9)), "auto")
@example(np.resize(SPECIAL, (2, 5, 9)), "archive")
@example(np.resize(SPECIAL, (2, 5, 9)), "compat")
@example(np.random.default_rng(0).integers(0, 256, (1, 8, 9), "u1"), "archive")
def test_every_profile_gives_back_every_bit(patterns: np.ndarray, profile: str) -> None:
    sy, sx = patterns.shape[1:]
    can_refuse = patterns.dtype == np.float32 or min(sy, sx) < 2 or sy * sx < 16
    if profile == "archive" and can_refuse:
        # JPEG-LS needs integers or few levels, and some pixels: that is said, and nothing else is
        # stored in its place
        with contextlib.suppress(ArgumentError):
            found, summary = stored(patterns, profile)
            assert summary.coding.profile == "archive"
            assert same_bits(found, patterns)
        return
    found, _ = stored(patterns, profile)
    assert same_bits(found, patterns)


@pytest.mark.parametrize("kind", ["incompressible", "tiny patterns", "constant", "one", "flat"])
def test_the_filters_say_nothing_on_the_terminal(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    few = {"one": np.zeros((1, 1, 1), "u1"), "flat": np.zeros((2, 1, 40), "u2")}
    stored(few[kind] if kind in few else KINDS[kind]())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shape", [(3, 1, 70), (3, 70, 1), (3, 3, 5), (1, 1, 1)])
def test_what_a_profile_cannot_store_is_refused_with_the_way_out(shape: tuple) -> None:
    with pytest.raises(ArgumentError, match=r"profile archive: .* use --profile auto"):
        stored(np.zeros(shape, np.uint8), "archive")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_kind_of_data_comes_back_from_every_profile(kind: str, profile: str) -> None:
    patterns = KINDS[kind]()
    found, summary = stored(patterns, profile)
    assert same_bits(found, patterns)
    assert summary.coding.profile == profile


@pytest.mark.parametrize("kind", KINDS)
def test_auto_is_the_smallest_profile(kind: str) -> None:
    patterns = KINDS[kind]()
    summaries = {}
    for profile in (*PROFILES, "auto"):
        summaries[profile] = stored(patterns, profile)[1]

    def cost(summary: RawSummary) -> float:
        # bytes and HDF5's index of chunks; a level table must save a tenth, since it costs the
        # view for other programs
        chunks = -(-len(patterns) // summary.coding.chunk_patterns)
        saves_enough = 1.0 if summary.coding.level_table == "none" else 1 / 0.9
        return (summary.stored + 64 * chunks) * saves_enough

    auto = cost(summaries.pop("auto"))
    slack = 300  # lists of levels are compressed together in the file, and not on the sample
    assert auto <= min(cost(summary) for summary in summaries.values()) + slack


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_grey_levels_get_a_level_table_that_pays(kind: str) -> None:
    patterns = SPARSE[kind]()
    _, summary = stored(patterns)
    assert summary.coding.profile == "archive"
    assert summary.coding.level_table == ("pattern" if kind == "stretched" else "scan")
    # with the table they cost what the same patterns cost where all levels are used, or little more
    _, dense = stored(noisy("uint8"), "archive")
    assert summary.stored < 1.25 * dense.stored + 64 * len(patterns)


@pytest.mark.parametrize("kind", DENSE)
def test_dense_grey_levels_get_no_table_and_stay_readable_to_others(kind: str) -> None:
    patterns = DENSE[kind]()
    _, summary = stored(patterns)
    assert summary.coding.level_table == "none"


def test_the_view_for_other_programs_is_there_without_a_level_table_and_only_then(
    make_scan: Callable, tmp_path: Path
) -> None:
    for kind, patterns in (("dense", noisy("uint8")), ("sparse", SPARSE["gain of 20"]())):
        path = tmp_path / f"{kind}.h5"
        scan = make_scan(ny=4, nx=5, patterns=patterns)
        ebsdarchive.compress(scan, path, neural=False)
        with h5py.File(path) as file:
            assert ("Scan 1" in file) == (kind == "dense")
            assert file["manufacturer"][0] == (b"kikuchipy" if kind == "dense" else b"ebsdarchive")


def test_levels_that_the_sample_missed_are_found_in_the_scan() -> None:
    # 90 patterns, of which 64 are looked at: a level that only one of the others has
    patterns = noisy("uint8", 90).astype(np.uint16) * 20
    looked_at = set(np.linspace(0, 89, raw.SAMPLE_PATTERNS).round().astype(int))
    missed = next(i for i in range(90) if i not in looked_at)
    patterns[missed, 3, 3] = 64_001
    found, summary = stored(patterns)
    assert summary.coding.level_table == "scan"
    assert same_bits(found, patterns)


@pytest.mark.parametrize("profile", ["auto", "archive"])
@pytest.mark.parametrize("table", ["scan", "pattern"])
def test_a_table_that_the_scan_outgrows_falls_back_without_loss(
    monkeypatch: pytest.MonkeyPatch, profile: str, table: str
) -> None:
    # the sample, every second pattern, has 150 levels; one of the others has thousands
    monkeypatch.setattr(raw, "SAMPLE_PATTERNS", 6)
    patterns = noisy("uint8", 11, 67, 71).astype(np.uint16) * 200
    if table == "pattern":
        patterns += np.arange(11, dtype=np.uint16)[:, None, None] * 17
    patterns[3].flat[:4000] = np.arange(4000) * 13
    found, summary = stored(patterns, profile)
    assert same_bits(found, patterns)
    assert summary.coding.level_table != table or summary.coding.dtype == "uint16"


def test_float32_whose_levels_outgrow_every_table_is_refused_by_archive_and_kept_by_auto(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(raw, "SAMPLE_PATTERNS", 3)
    patterns = noisy("uint8", 5, 257, 263).astype(np.float32)
    patterns[1] = np.random.default_rng(0).normal(size=patterns.shape[1:])
    with pytest.raises(EbsdArchiveError, match="few grey levels"):
        stored(patterns, "archive")
    found, summary = stored(patterns, "auto")
    assert summary.coding.profile != "archive"
    assert same_bits(found, patterns)


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match="expected auto, archive, fast, compat, none"):
        stored(noisy("uint8"), "best")


def test_the_profile_is_the_filter_that_the_schema_names() -> None:
    filters = {"archive": 32018, "fast": 32008, "compat": 1, "none": None}
    for profile, code in filters.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "raw.h5")
            store(path, noisy("uint8"), profile)
            with h5py.File(path) as file:
                properties = file["raw/patterns"].id.get_create_plist()
                codes = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
        assert h5py.h5z.FILTER_FLETCHER32 in codes
        assert (code in codes) if code else codes == [h5py.h5z.FILTER_FLETCHER32]


def test_jpeg_ls_holds_one_pattern_per_chunk() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store(Path(folder, "raw.h5"), noisy("uint8"), "archive")
        with h5py.File(Path(folder, "raw.h5")) as file:
            assert file["raw/patterns"].chunks == (1, 47, 59)


def test_every_chunked_dataset_of_an_archive_carries_a_checksum(
    full_archive: Path, make_archive: Callable
) -> None:
    paths = [full_archive]
    paths += [make_archive(profile=profile, hexagonal=True) for profile in ("archive", "none")]
    paths.append(make_archive(profile="archive", patterns=stretched(35)))
    for path in paths:
        with h5py.File(path) as file:
            names: list[str] = []
            file.visit(names.append)
            datasets = [file[name] for name in names if isinstance(file[name], h5py.Dataset)]
            chunked = [dataset for dataset in datasets if dataset.chunks]
            assert len(chunked) > 5
            assert [dataset.name for dataset in chunked if not dataset.fletcher32] == []


def chunks_of(path: Path) -> list[bytes]:
    """The raw layer's chunks as they are in the file, in the order of the patterns."""
    with h5py.File(path) as file:
        dataset = file["archive/raw/patterns"]
        starts = range(0, len(dataset), dataset.chunks[0])
        return [dataset.id.read_direct_chunk((start, 0, 0))[1] for start in starts]


@pytest.mark.parametrize("profile", ["archive", "fast"])
def test_workers_write_the_same_bytes_as_one_process(
    make_scan: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    scan = make_scan(ny=30, nx=7, patterns=stretched(210))
    monkeypatch.setattr(Grid, "block_length", lambda self, pattern_bytes, block_bytes=0: 14)
    ebsdarchive.compress(scan, tmp_path / "one.h5", profile=profile, neural=False)
    monkeypatch.setattr(raw, "_POOL_BYTES", 0)
    monkeypatch.setattr(raw, "cores", lambda: 2)
    ebsdarchive.compress(scan, tmp_path / "two.h5", profile=profile, neural=False)
    assert chunks_of(tmp_path / "one.h5") == chunks_of(tmp_path / "two.h5")
    with h5py.File(tmp_path / "one.h5") as one, h5py.File(tmp_path / "two.h5") as two:
        assert one["archive/raw"].attrs["sha256"] == two["archive/raw"].attrs["sha256"]


def test_workers_keep_the_order_and_take_few_blocks_ahead() -> None:
    taken = []

    def jobs():
        for i in range(12):
            taken.append(i)
            yield (i,)

    results = ordered_map(_slow_square, jobs(), workers=2)
    assert next(results) == 0
    assert len(taken) <= 4
    assert list(results) == [i * i for i in range(1, 12)]


def _slow_square(i: int) -> int:
    import time

    time.sleep(0.02 * (i % 3))
    return i * i


def test_a_worker_that_is_killed_is_reported_in_one_line() -> None:
    with pytest.raises(EbsdArchiveError, match="worker: expected it to finish its block") as error:
        list(ordered_map(_die, [(1,), (2,)], workers=2))
    assert len(str(error.value).splitlines()) == 1


def _die(_: int) -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def test_a_script_needs_no_main_guard_to_compress_on_all_cores(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np\n"
        "import ebsdarchive\n"
        "from ebsdarchive.archive import raw\n"
        "from ebsdarchive.geometry import Grid\n"
        "from ebsdarchive.scan import ArrayPatterns, Detector, Scan, SourceFile\n"
        "raw._POOL_BYTES = 0\n"
        "raw.cores = lambda: 2\n"
        "patterns = np.arange(6 * 5 * 7, dtype='u2').reshape(6, 5, 7)\n"
        "scan = Scan(ArrayPatterns(patterns), Grid('square', 3, 2), Detector((5, 7)),\n"
        "            SourceFile(None, 'memory', 'script'))\n"
        "print('once')\n"
        "ebsdarchive.compress(scan, 'a.h5', neural=False)\n"
        "print(ebsdarchive.verify('a.h5', data=True).sound)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["once", "True"]


@given(npst.arrays(np.uint16, (2, 3, 5)) | npst.arrays(np.float32, (2, 3, 5)))
def test_level_tables_by_pattern_are_exact(patterns: np.ndarray) -> None:
    codes, increments, counts = levels.encode_by_pattern(patterns)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    table = levels.LevelTable(increments, offsets)
    assert same_bits(levels.decode_levels(codes, table, patterns.dtype, 0), patterns)
    # and from the middle of the scan
    assert same_bits(levels.decode_levels(codes[1:], table, patterns.dtype, 1), patterns[1:])


@given(npst.arrays(np.uint16, (2, 3, 5)) | npst.arrays(np.float32, (2, 3, 5)))
def test_level_tables_of_the_scan_are_exact_and_refuse_what_is_not_in_them(
    patterns: np.ndarray,
) -> None:
    distinct = np.unique(levels.as_bits(patterns))
    codes = levels.encode_by_scan(patterns, distinct)
    table = levels.LevelTable(levels.to_increments(distinct))
    assert same_bits(levels.decode_levels(codes, table, patterns.dtype, 0), patterns)
    if len(distinct) > 1:
        assert levels.encode_by_scan(patterns, distinct[1:]) is None
        assert levels.encode_by_scan(patterns, distinct[:-1]) is None


def test_levels_are_ordered_as_unsigned_integers_and_stored_as_increments() -> None:
    pattern = np.array([[[1.0, -1.0], [0.0, 1.0]]], np.float32)
    codes, increments, counts = levels.encode_by_pattern(pattern)
    assert codes.tolist() == [[[1, 2], [0, 1]]]  # -1.0 has the highest bits
    assert increments.tolist() == [0, 0x3F800000, 0xBF800000 - 0x3F800000]
    assert counts.tolist() == [3]


def test_a_pattern_with_more_levels_than_codes_is_refused() -> None:
    patterns = np.arange((1 << 16) + 4, dtype=np.float32).reshape(1, 4, -1)
    assert levels.encode_by_pattern(patterns) is None
    exactly = np.arange(1 << 16, dtype=np.float32).reshape(1, 4, -1)
    codes, _, counts = levels.encode_by_pattern(exactly)
    assert counts.tolist() == [1 << 16]
    assert int(codes.max()) == (1 << 16) - 1


def test_what_is_incompressible_costs_no_more_than_itself_and_its_checksum() -> None:
    patterns = KINDS["incompressible"]()
    _, summary = stored(patterns)
    assert summary.stored < patterns.nbytes + 100 * len(patterns)


def test_an_encoded_block_carries_digest_and_means_of_what_it_decodes_to() -> None:
    patterns = noisy("uint16", 4)
    code = encode_block(Coding("fast", "uint16", 2), patterns)
    assert len(code.chunks) == 2
    assert code.sha256 == sha256_of(patterns)
    np.testing.assert_allclose(code.means, patterns.mean(axis=(1, 2)))


def test_means_of_patterns_with_nan_and_infinity_are_written_without_a_warning(
    make_scan: Callable, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    patterns = np.resize(SPECIAL, (6, 5, 9)).astype(np.float32)
    ebsdarchive.compress(make_scan(ny=2, nx=3, patterns=patterns), tmp_path / "a.h5", neural=False)
    assert [str(warning.message) for warning in recwarn] == []
    assert ebsdarchive.verify(tmp_path / "a.h5", data=True).sound


def test_filters_that_fail_silently_are_caught_by_reading_back(
    make_scan: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = raw.encode_block

    def wrong(coding: Coding, patterns: np.ndarray):
        changed = patterns.copy()
        changed[-1, -1, -1] ^= 1
        code = real(coding, changed)
        return type(code)(code.chunks, sha256_of(patterns), code.means)

    monkeypatch.setattr(raw, "encode_block", wrong)
    with pytest.raises(ArchiveError, match="expected to read back what was written"):
        ebsdarchive.compress(make_scan(), tmp_path / "a.h5", profile="compat", neural=False)
    assert list(tmp_path.iterdir()) == []
