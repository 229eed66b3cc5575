"""Small scans and archives that the tests share: non-square in all dimensions, with odd values."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import ebsdarchive
from ebsdarchive.archive.auxiliary import LightStack, write_light_stack
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.layers import write_map, write_model, write_restored
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.geometry import Grid, pc_to_bruker
from ebsdarchive.scan import (
    ArrayPatterns,
    Detector,
    Microscope,
    Orientations,
    Phase,
    Scan,
    SourceFile,
)
from ebsdarchive.verbs.fitting import NeuralOptions

# a job in the background of a shell ignores Ctrl-C, and so would all that tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
NAME = "Überprüfung 镍 №3"

settings.register_profile(
    "small", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("small")


def smooth_patterns(
    grid: Grid, sy: int, sx: int, dtype: str, seed: int, noise: float = 0.02
) -> np.ndarray:
    """(n, sy, sx) patterns that change smoothly over the scan, with Gaussian noise on top."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:sy, :sx]
    x, y = grid.positions().T[:, :, None, None]
    signal_ = 0.5 + 0.25 * np.sin(u / 3 + x / 4) + 0.15 * np.cos(v / 2 + y / 3 + x / 7)
    values = signal_ + rng.normal(0, noise, (grid.size, sy, sx))
    if dtype == "float32":
        return (1234.5 * values).astype(np.float32)
    top = 251 if dtype == "uint8" else 4801
    return np.clip(np.rint(top * values), 0, None).astype(dtype)


def _make_scan(
    ny: int = 5,
    nx: int = 7,
    sy: int = 11,
    sx: int = 13,
    dtype: str = "uint16",
    seed: int = 0,
    *,
    hexagonal: bool = False,
    equal_rows: bool = False,
    step_um: tuple[float | None, float | None] = (0.75, 0.5),
    pc: str | None = "point",
    described: bool = True,
    patterns: np.ndarray | None = None,
) -> Scan:
    """A scan in memory.

    Parameters
    ----------
    hexagonal, equal_rows
        Hexagonal grids have even rows of nx - 1 points, or of nx with `equal_rows`.
    pc
        "point" (one for each), "single", or None.
    described
        Whether it has phases, orientations, microscope and background, or patterns alone.
    patterns
        (n, sy, sx) in place of the smooth ones; then sy, sx and dtype are theirs.
    """
    even = None
    if hexagonal:
        even = nx if equal_rows or nx == 1 else nx - 1
    grid = Grid("hexagonal" if hexagonal else "square", nx, ny, *step_um, n_columns_even=even)
    n = grid.size
    if patterns is None:
        patterns = smooth_patterns(grid, sy, sx, dtype, seed)
    _, sy, sx = patterns.shape
    rng = np.random.default_rng(seed + 1)
    original = None
    if pc is not None:
        original = np.array([0.5047, 0.6624, 0.6245])
        if pc == "point":
            original = original + rng.normal(0, 0.001, (n, 3))
    detector = Detector(
        shape=(sy, sx),
        pc_bruker=None if original is None else pc_to_bruker(original, "edax", (sy, sx)),
        pc_original=original,
        pc_convention=None if original is None else "edax",
        sample_tilt_deg=70.0 if described else None,
        tilt_deg=5.25 if described else None,
        azimuth_deg=-0.5 if described else None,
        pixel_size_um=59.2 if described else None,
        binning=8.0 if described else None,
    )
    source = SourceFile(None, "in memory", "tests", metadata={"Probe": NAME, "n": [1, 2.5, None]})
    if not described:
        return Scan(ArrayPatterns(patterns), grid, detector, source)
    quaternions = rng.normal(size=(n, 4))
    quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
    phase_id = rng.integers(0, 2, n).astype(np.int32)
    if n > 3:
        phase_id[3] = -1
        quaternions[3] = np.nan
    return Scan(
        ArrayPatterns(patterns),
        grid,
        detector,
        source,
        microscope=Microscope("Zeiss Supra №55", 20.0, 503.0, 16.1),
        phases=(
            Phase(0, "Ni (ß)", 225, "m-3m", (3.52, 3.52, 3.52, 90.0, 90.0, 90.0)),
            Phase(1, "Ti α", 194, "6/mmm", (2.95, 2.95, 4.68, 90.0, 90.0, 120.0)),
        ),
        orientations=Orientations(
            quaternions,
            phase_id,
            {"confidence_index": rng.random(n), "iq": rng.integers(0, 999, n).astype(np.int32)},
        ),
        static_background=np.linspace(7, 233, sy * sx).reshape(sy, sx).astype(patterns.dtype),
        name=NAME,
    )


class CommandResult(NamedTuple):
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def make_scan() -> Callable[..., Scan]:
    """The function that makes small scans; see `_make_scan` for its options."""
    return _make_scan


@pytest.fixture(scope="session")
def make_archive(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that makes an archive with a raw layer only.

    Called with a scan or the options of `make_scan`; `profile` is compat, which is the fastest.
    """

    def make(
        scan: Scan | None = None, *, profile: str = "compat", name: str = "a.h5", **options: Any
    ) -> Path:
        path = tmp_path_factory.mktemp("archive") / name
        if scan is None:
            scan = _make_scan(**options)
        ebsdarchive.compress(scan, path, profile=profile, neural=False)
        return path

    return make


@pytest.fixture(scope="session")
def _raw_archive(make_archive: Callable[..., Path]) -> Path:
    return make_archive()


@pytest.fixture
def archive_path(_raw_archive: Path, tmp_path: Path) -> Path:
    """An archive of the default scan with the raw layer alone; each test has its own copy."""
    return Path(shutil.copyfile(_raw_archive, tmp_path / "raw.h5"))


@pytest.fixture(scope="session")
def fitted_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the default scan with raw and neural layers; do not change it, copy it."""
    path = tmp_path_factory.mktemp("fitted") / "fitted.h5"
    options = NeuralOptions(rank=4, width=16, time_s=1.0, device="cpu")
    ebsdarchive.compress(_make_scan(), path, profile="compat", options=options)
    path.chmod(0o444)
    return path


@pytest.fixture
def fitted_copy(fitted_archive: Path, tmp_path: Path) -> Path:
    """A test's own copy of `fitted_archive`."""
    return Path(shutil.copyfile(fitted_archive, tmp_path / "fitted.h5"))


@pytest.fixture(scope="session")
def full_archive(fitted_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with every kind of layer; do not change it, copy it."""
    path = tmp_path_factory.mktemp("full") / "full.h5"
    shutil.copyfile(fitted_archive, path)
    scan = open_archive(fitted_archive).scan("raw")
    smoothed = scan.patterns.read(0, scan.grid.size).astype(np.float32) / 3
    added = ["restored/mean", "models/tiny", "maps/quality", "auxiliary/light"]
    with adding_layers(path, added) as file:
        archive = file["archive"]
        raw_sha256 = archive["raw"].attrs["patterns_sha256"]
        write_model(
            archive,
            "tiny",
            "autoencoder",
            {"width": 3, "name": NAME},
            {
                "encoder.0.weight": np.arange(21, dtype=np.float32).reshape(3, 7) / 7,
                "encoder.0.bias": np.array([0.5, -1, 2], np.float16),
                "step": np.int64(12),
            },
            card={"licence": "CC0"},
        )
        write_restored(
            archive,
            "mean",
            ArrayPatterns(smoothed),
            scan.grid,
            method="mean of neighbours",
            config={"radius": 1},
            raw_sha256=raw_sha256,
            model_sha256=archive["models/tiny"].attrs["sha256"],
            profile="fast",
        )
        write_map(
            archive,
            "quality",
            np.linspace(-1, 1, scan.grid.size * 2).reshape(scan.grid.n_rows, -1, 2),
            long_name="Quality",
            units="1",
            derived_from=raw_sha256,
        )
        images = np.arange(3 * 9 * 14, dtype=np.uint16).reshape(3, 9, 14)
        write_light_stack(
            archive,
            "light",
            LightStack(
                images=images,
                stage_angles_deg=np.array([0.0, 30.0, 60.0]),
                to_scan=np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]]),
                displacement=np.full((scan.grid.n_rows, scan.grid.n_columns, 2), 0.125),
                registration="mutual-information",
                registered_to="maps/quality",
                registration_parameters={"nodes": 0},
                analyser_deg=87.0,
                file_name=NAME,
                file_sha256="0" * 64,
            ),
        )
    path.chmod(0o444)
    return path


@pytest.fixture
def full_copy(full_archive: Path, tmp_path: Path) -> Path:
    """A test's own copy of `full_archive`."""
    return Path(shutil.copyfile(full_archive, tmp_path / "full.h5"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of measured scans beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the measured scans of {folder}, which are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def bundled_scan() -> Path:
    """The real scan inside the package: 24 x 20 points of the Ni superalloy 718."""
    return Path(ebsdarchive.__file__).parent / "data" / "in718_24x20.h5"


@pytest.fixture
def run_cli() -> Callable[..., CommandResult]:
    """Run a command in this process: ``run_cli("info", path).out``."""

    def run(*arguments: str | Path) -> CommandResult:
        from ebsdarchive.cli import main

        out, err = io.StringIO(), io.StringIO()
        code = 0
        with _sigterm_kept(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as stop:
                code = int(stop.code or 0)
        return CommandResult(code, out.getvalue(), err.getvalue())

    return run


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """The command line answers SIGTERM itself; the test run goes on with its own answer."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
