"""Restorers: their table, what each makes of noisy scans, and the verb that runs them in blocks."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, replace

import numpy as np
import pytest

import ebsdarchive
from ebsdarchive.errors import (
    ArgumentError,
    EbsdArchiveError,
    FormatError,
    MissingLayerError,
    OutputError,
    VersionError,
)
from ebsdarchive.exchange.edax_up import write_up
from ebsdarchive.geometry import Grid
from ebsdarchive.restorers import blocks, registry
from ebsdarchive.restorers.blocks import restored_blocks
from ebsdarchive.restorers.checkpoint import Checkpoint, write_checkpoint
from ebsdarchive.restorers.measured import measured_patterns
from ebsdarchive.restorers.registry import (
    METHODS,
    STEPS,
    Method,
    options_of,
    pipeline_of,
    restorer_of,
)
from ebsdarchive.restorers.restorer import (
    OVERLAP,
    WEAK,
    Estimate,
    Surroundings,
    WholeScan,
    prepared,
)
from ebsdarchive.scan import ArrayPatterns, Detector, Scan, SourceFile
from ebsdarchive.simulation import simulate_scan
from ebsdarchive.verbs.restoring import RestoreOptions

NY, NX, SY, SX = 13, 17, 28, 34
CLASSICAL = [name for name, method in METHODS.items() if not method.learned and name != "field"]

# ---------------------------------------------------------------- the table of methods


@dataclass
class Learned:
    """A learned method as other modules register theirs."""

    checkpoint: Checkpoint
    device: str
    steps: int | None
    samples: int
    version = "2"

    @classmethod
    def from_checkpoint(cls, checkpoint, device, steps, samples):
        return cls(checkpoint, device, steps, samples)


@pytest.fixture
def learned(monkeypatch):
    monkeypatch.setitem(
        registry.METHODS, "drawn", Method(f"{__name__}:Learned", "", learned=True, samples=True)
    )
    return Checkpoint("drawn", "2", {}, {"a": np.zeros(3, np.float32)})


def test_every_method_of_the_table_is_there():
    for name, method in METHODS.items():
        kind = method.load()
        assert kind.name == name
        assert isinstance(kind.version, str)
        assert hasattr(kind, "from_checkpoint") == method.learned


def test_a_learned_method_is_made_from_its_checkpoint(learned):
    made = restorer_of("drawn", learned, device="cpu", steps=7, samples=3)
    assert (made.checkpoint, made.device, made.steps, made.samples) == (learned, "cpu", 7, 3)


def test_a_parameter_that_a_method_would_ignore_is_refused(learned):
    with pytest.raises(ArgumentError, match="drawn: expected a model, found none"):
        restorer_of("drawn")
    with pytest.raises(ArgumentError, match="expected a model of this method, found one of ddpm"):
        restorer_of("drawn", Checkpoint("ddpm", "2", {}, {}))
    with pytest.raises(VersionError, match="model version 1 is not known here"):
        restorer_of("drawn", Checkpoint("drawn", "1", {}, {}))
    with pytest.raises(ArgumentError, match="drawn: expected no options"):
        restorer_of("drawn", learned, options={"a": 1})
    with pytest.raises(ArgumentError, match="samples: expected 1 or more, found 0"):
        restorer_of("drawn", learned, samples=0)
    with pytest.raises(ArgumentError, match="field: expected no model"):
        restorer_of("field", learned)
    with pytest.raises(ArgumentError, match="field: expected no steps or samples"):
        restorer_of("field", steps=3)
    with pytest.raises(ArgumentError, match="field: expected device cpu"):
        restorer_of("field", device="cuda")
    with pytest.raises(ArgumentError, match="expected one of the options none, found 'window'"):
        restorer_of("field", options={"window": 3})
    with pytest.raises(ArgumentError, match="method: expected one of nlpar, neighbour"):
        restorer_of("wishful")


def test_options_are_written_behind_a_name():
    assert options_of("nlpar") == ("nlpar", {})
    assert options_of("clahe:kernel=15,clip=0.02") == ("clahe", {"kernel": 15, "clip": 0.02})
    assert restorer_of("nlpar", options={"lambda": 0.7}).lam == 0.7
    with pytest.raises(ArgumentError, match="clahe: expected options as NAME=NUMBER"):
        options_of("clahe:big")
    with pytest.raises(ArgumentError, match="klt: rank: expected a whole number from 1 to 512"):
        restorer_of("klt", options={"rank": 1.5})
    with pytest.raises(ArgumentError, match="step: expected one of static, dynamic, clahe"):
        pipeline_of(restorer_of("klt"), before=["blur"])


# ---------------------------------------------------------------- classical methods


@dataclass
class Truth:
    """A simulated scan: as measured, and as it would be without noise."""

    scan: Scan
    measured: np.ndarray
    clean: np.ndarray

    def correlation(self, patterns: np.ndarray) -> float:
        """Mean correlation with the clean patterns, the background left out of both."""
        n, background = len(self.clean), self.clean.mean(axis=0)
        a, b = (stack.reshape(n, -1).astype(float) for stack in (patterns, self.clean))
        a, b = (stack - background.ravel() for stack in (a, b))
        a, b = (stack - stack.mean(axis=1, keepdims=True) for stack in (a, b))
        return float(((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))).mean())


@pytest.fixture(scope="module")
def truth():
    known = {"grid_shape": (NY, NX), "pattern_shape": (SY, SX), "grains": 8, "seed": 3}
    noisy = simulate_scan(**known, electrons=100, disc=False)
    clean = simulate_scan(**known, electrons=100, disc=False, clean=True)
    measured = noisy.patterns.read(0, noisy.grid.size)
    return Truth(
        replace(noisy, patterns=ArrayPatterns(measured)),
        measured,
        clean.patterns.read(0, noisy.grid.size),
    )


def ready(scan, restorer, *, seed=0, mask="auto", field=None):
    """The patterns of a scan, and a restorer that is ready for them."""
    found = measured_patterns(scan.patterns, scan.grid, mask, seed, "scan")
    whole = WholeScan(found, scan.grid, found.mask, field, scan.static_background, seed)
    return found, prepared(restorer, whole, lambda done, total: None)


def all_of(restorer, found, grid, **options):
    """All estimates, block after block."""
    made = list(restored_blocks(restorer, found, grid, **options))
    return np.concatenate([block.estimate.patterns for block in made])


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_method_brings_noisy_patterns_nearer_to_the_truth(truth, name):
    found, restorer = ready(truth.scan, restorer_of(name))
    estimate = all_of(restorer, found, truth.scan.grid)
    before = truth.correlation(truth.measured)
    assert truth.correlation(estimate) > {"nlpar": 2, "neighbour": 1.4, "klt": 1.4}[name] * before
    assert estimate.mean() == pytest.approx(truth.measured.mean(), rel=0.01)  # in counts


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("rows", [1, 5])
def test_blocks_give_what_the_whole_scan_gives(truth, name, rows, monkeypatch):
    found, restorer = ready(truth.scan, restorer_of(name))
    whole = restorer.restore(
        found.read(0, found.shape[0]),
        Surroundings(truth.scan.grid, 0, 0, found.shape[0], found.mask),
    ).patterns
    monkeypatch.setattr(blocks, "_most_rows", lambda *_: rows)
    parts = all_of(restorer, found, truth.scan.grid)
    if name == "klt":  # products of matrices of other shapes round differently
        np.testing.assert_allclose(parts, whole, rtol=1e-5)
    else:
        np.testing.assert_array_equal(parts, whole)


def test_nlpar_is_that_of_pyebsdindex_with_its_own_lambda(truth, tmp_path):
    from pyebsdindex.nlpar_cpu import NLPAR

    write_up(tmp_path / "a.up2", [truth.measured], truth.scan.grid, (SY, SX), "uint16")
    theirs = NLPAR(str(tmp_path / "a.up2"), searchradius=2, automask=False)
    with contextlib.redirect_stdout(io.StringIO()):
        lam = theirs.opt_lambda_cpu()[1]
        theirs.calcnlpar_cpu(lam=lam, fileout=str(tmp_path / "b.up2"))
    expected = ebsdarchive.open_scan(tmp_path / "b.up2").patterns.read(0, NY * NX)
    own = restorer_of("nlpar", options={"search-radius": 2})
    found, restorer = ready(truth.scan, own, mask="none")
    assert restorer.config["lambda"] == pytest.approx(lam, rel=0.01)
    same = restorer_of("nlpar", options={"search-radius": 2, "lambda": float(lam)})
    found, restorer = ready(truth.scan, same, mask="none")
    estimate = all_of(restorer, found, truth.scan.grid)
    np.testing.assert_allclose(np.rint(estimate), expected, atol=1)


def test_the_mean_of_neighbours_is_kikuchipys(truth):
    import kikuchipy

    signal = kikuchipy.signals.EBSD(truth.measured.reshape(NY, NX, SY, SX).astype(np.float32))
    signal.average_neighbour_patterns("circular", (5, 5), show_progressbar=False)
    found, restorer = ready(truth.scan, restorer_of("neighbour", options={"window": 5}))
    estimate = all_of(restorer, found, truth.scan.grid).reshape(NY, NX, SY, SX)
    low, high = (f(estimate, axis=(2, 3), keepdims=True) for f in (np.min, np.max))
    stretched = 2 * (estimate - low) / (high - low) - 1  # as kikuchipy does behind the mean
    np.testing.assert_allclose(stretched, signal.data, atol=1e-4)


def test_nlpar_refuses_hexagonal_grids_and_others_do_not(make_scan):
    scan = make_scan(ny=9, nx=8, hexagonal=True, described=False)
    with pytest.raises(ArgumentError, match="nlpar: expected a square grid, found a hexagonal"):
        ready(scan, restorer_of("nlpar"))
    found, restorer = ready(scan, restorer_of("klt", options={"rank": 3}))
    assert all_of(restorer, found, scan.grid).shape == found.shape


def test_the_mean_of_neighbours_on_a_hexagonal_grid_is_of_seven_points(make_scan):
    scan = make_scan(ny=9, nx=8, hexagonal=True, described=False)
    found, restorer = ready(scan, restorer_of("neighbour"))
    whole, patterns = all_of(restorer, found, scan.grid), found.read(0, scan.grid.size)
    apart = scan.grid.positions()[:, None] - scan.grid.positions()
    near = np.hypot(apart[..., 0], apart[..., 1] * np.sqrt(3) / 2) < 1.01
    assert near.sum(axis=1).max() == 7
    for point, some in enumerate(near):
        np.testing.assert_allclose(whole[point], patterns[some].mean(axis=0), rtol=1e-5)


def test_blocks_of_a_hexagonal_grid_see_all_neighbours(make_scan, monkeypatch):
    scan = make_scan(ny=13, nx=8, hexagonal=True, described=False)
    found, restorer = ready(scan, restorer_of("neighbour", options={"window": 9}))
    whole = all_of(restorer, found, scan.grid)
    monkeypatch.setattr(blocks, "_most_rows", lambda *_: 1)
    np.testing.assert_array_equal(all_of(restorer, found, scan.grid), whole)


def test_a_window_larger_than_the_scan_is_refused_and_the_default_fits_itself(make_scan):
    scan = make_scan(ny=5, nx=7, described=False)
    _, restorer = ready(scan, restorer_of("nlpar"))
    assert restorer.search_radius == 2
    with pytest.raises(ArgumentError, match=r"room for a window of 7 x 7 points, found a scan of"):
        ready(scan, restorer_of("nlpar", options={"search-radius": 3}))
    with pytest.raises(ArgumentError, match="nlpar: expected room for a window of 3 x 3 points"):
        ready(make_scan(ny=2, nx=9, described=False), restorer_of("nlpar"))
    with pytest.raises(ArgumentError, match="window of an odd number of points, found 4"):
        ready(scan, restorer_of("neighbour", options={"window": 4}))


# ---------------------------------------------------------------- corrections before and after


@dataclass(frozen=True)
class Same:
    """A restorer that changes nothing, knows its uncertainty and what not to trust."""

    name = "same"
    version = "1"
    config = {}  # noqa: RUF012
    halo_rows = 0

    def restore(self, patterns, surroundings):
        own = patterns[surroundings.own]
        flags = np.where(np.arange(surroundings.start, surroundings.stop) == 2, OVERLAP, 0)
        return Estimate(own, np.sqrt(np.abs(own)), flags.astype(np.uint8))


@pytest.fixture
def same(monkeypatch):
    monkeypatch.setitem(METHODS, "same", Method(f"{__name__}:Same", "nothing"))


@pytest.mark.parametrize("step", ["static", "dynamic"])
def test_background_steps_leave_bands_at_the_level_of_the_counts(truth, step):
    found, restorer = ready(truth.scan, pipeline_of(Same(), before=[step]))
    estimate = all_of(restorer, found, truth.scan.grid)
    light = truth.measured.mean(axis=0)
    assert estimate.mean() == pytest.approx(truth.measured.mean(), rel=0.02)
    assert np.ptp(estimate.mean(axis=0)) < 0.2 * np.ptp(light)
    assert np.ptp(restorer.static_background) < 1e-3 * light.mean()
    assert restorer.config == {"before": [{"step": step}]}


def test_contrast_is_equalised_within_the_range_of_each_pattern(truth):
    found, restorer = ready(truth.scan, pipeline_of(Same(), after=["static", "clahe:kernel=12"]))
    estimate = all_of(restorer, found, truth.scan.grid)
    _, without = ready(truth.scan, pipeline_of(Same(), after=["static"]))
    flat = all_of(without, found, truth.scan.grid)
    np.testing.assert_allclose(estimate.max(axis=(1, 2)), flat.max(axis=(1, 2)), rtol=1e-4)
    assert estimate.std(axis=(1, 2)).mean() > flat.std(axis=(1, 2)).mean()
    kernel = restorer.config["after"][1]
    assert kernel == {"step": "clahe", "kernel": 12, "clip": 0.01}


def test_steps_follow_one_another_and_see_what_the_one_before_left(truth):
    scan = replace(truth.scan, static_background=None)  # the mean pattern stands for it
    made = []
    for steps in (["static"], ["static", "static"]):
        found, restorer = ready(scan, pipeline_of(Same(), before=steps))
        made.append(all_of(restorer, found, scan.grid))
    np.testing.assert_allclose(made[1], made[0], rtol=1e-4)


def test_every_step_of_the_table_is_there():
    assert {name: method.load().name for name, method in STEPS.items()} == {n: n for n in STEPS}


# ---------------------------------------------------------------- blocks


def plain_scan(patterns, ny, nx):
    shape = patterns.shape[1:]
    return Scan(
        ArrayPatterns(patterns),
        Grid("square", nx, ny),
        Detector(shape),
        SourceFile(None, "in memory", "t"),
    )


@dataclass(frozen=True)
class Greedy(Same):
    """A restorer for which more than some patterns at once are too many."""

    most: int = 10
    error: type[Exception] = MemoryError
    halo_rows = 3

    def restore(self, patterns, surroundings):
        if len(patterns) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate more")
        return super().restore(patterns, surroundings)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_a_block_that_does_not_fit_into_memory_is_halved(make_scan, error):
    scan = make_scan(ny=19, nx=5, described=False)
    found, _ = ready(scan, Same())
    estimate = all_of(Greedy(60, error), found, scan.grid)
    np.testing.assert_array_equal(estimate, found.source.read(0, scan.grid.size))
    with pytest.raises(EbsdArchiveError, match="memory for a scan row of 5 patterns and 3 rows"):
        all_of(Greedy(4, error), found, scan.grid)


def test_other_errors_of_a_method_are_not_taken_for_a_lack_of_memory(make_scan):
    @dataclass(frozen=True)
    class Broken(Same):
        def restore(self, patterns, surroundings):
            raise RuntimeError("shapes do not fit")

    scan = make_scan(described=False)
    found, _ = ready(scan, Same())
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        all_of(Broken(), found, scan.grid)


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("kind", ["constant", "nan", "saturated"])
def test_a_lost_pattern_is_given_back_flagged_and_kept_from_the_others(truth, name, kind):
    value = {"constant": 7, "nan": np.nan, "saturated": 255}[kind]
    patterns = (truth.measured / 257).astype("uint8" if kind == "saturated" else "float32")
    patterns[[50, 51]] = value
    if kind == "nan":
        patterns[51] = 9.0
        patterns[51, 3, 4] = np.inf
    scan = replace(truth.scan, patterns=ArrayPatterns(patterns))
    found, restorer = ready(scan, restorer_of(name))
    made = list(restored_blocks(restorer, found, scan.grid))
    estimate = np.concatenate([block.estimate.patterns for block in made])
    np.testing.assert_array_equal(estimate[[50, 51]], patterns[[50, 51]])
    others = np.delete(estimate, [50, 51], axis=0)
    assert np.isfinite(others).all()
    flags = [block.estimate.flags for block in made]
    flagged = np.concatenate([np.zeros(b.stop - b.start) if f is None else f
                              for b, f in zip(made, flags, strict=True)])  # fmt: skip
    assert np.flatnonzero(flagged == WEAK).tolist() == [50, 51]
    # a neighbour is no further from the truth than without the lost ones, by far
    far = np.abs(estimate[52] - truth.clean[52] / 257).mean()
    assert far < np.abs(patterns[52] - truth.clean[52] / 257).mean()


def test_pixels_without_light_are_given_back_as_measured(truth):
    dark = np.hypot(*np.mgrid[-1 : 1 : SY * 1j, -1 : 1 : SX * 1j]) > 1
    patterns = truth.measured.copy()
    patterns[:, dark] = np.random.default_rng(0).integers(90, 99, (len(patterns), dark.sum()))
    scan = replace(truth.scan, patterns=ArrayPatterns(patterns))
    found, restorer = ready(scan, restorer_of("neighbour"))
    np.testing.assert_array_equal(found.mask, ~dark)
    estimate = all_of(restorer, found, scan.grid)
    np.testing.assert_array_equal(estimate[:, dark], patterns[:, dark])
    assert (estimate[:, ~dark] != patterns[:, ~dark]).mean() > 0.9


def test_a_scan_that_shows_nothing_is_refused():
    scan = plain_scan(np.full((35, 9, 11), 4, np.uint8), 5, 7)
    with pytest.raises(FormatError, match="scan: expected patterns to restore, found one value"):
        ready(scan, Same())


def test_what_is_drawn_for_a_pattern_does_not_depend_on_its_block():
    grid, mask = Grid("square", 5, 4), np.ones((2, 2), bool)
    drawn = [Surroundings(grid, 0, start, 20, mask, seed=3).generator(7).random()
             for start in (0, 5)]  # fmt: skip
    assert drawn[0] == drawn[1]
    assert drawn[0] != Surroundings(grid, 0, 0, 20, mask, seed=4).generator(7).random()


# ---------------------------------------------------------------- the verb: layers


@pytest.fixture(scope="module")
def noisy_archive(truth, make_archive):
    return make_archive(truth.scan)


@pytest.fixture
def archive(noisy_archive, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(noisy_archive.read_bytes())
    return path


def with_method(name, **others):
    return RestoreOptions(method=name, **others)


def test_a_layer_holds_the_estimates_and_says_how_they_came_about(archive, truth, run_cli):
    code, out, err = run_cli("restore", archive, "--method", "nlpar", "--search-radius", 2,
                             "--name", "mine")  # fmt: skip
    assert code == 0, err
    assert f"restored/mine: {NY * NX} patterns restored by nlpar" in out
    assert "restoring" in err
    opened = ebsdarchive.open_archive(archive)
    said = opened.attributes("restored/mine")
    assert (said["estimate"], said["method"], said["version"]) == ("estimate", "nlpar", "1")
    assert said["raw_sha256"] == opened.raw_sha256
    assert '"search_radius": 2' in said["config"]
    found = opened.patterns("mine")
    assert found.dtype == np.uint16
    assert truth.correlation(found.read(0, NY * NX)) > 2 * truth.correlation(truth.measured)
    (activity,) = opened.provenance()[-1]["activity"].values()
    assert activity["prov:label"] == "restore"
    labels = {e["prov:label"] for e in opened.provenance()[-1]["entity"].values()}
    assert labels == {"raw", "restored/mine"}
    assert ebsdarchive.verify(archive, data=True).all_faults == []
    assert ebsdarchive.validate(archive) == []
    assert "restored/mine" in ebsdarchive.info(archive)["layers"]
    assert list(archive.parent.iterdir()) == [archive]  # nothing is left beside it


def test_a_layer_that_exists_is_replaced_only_by_force(archive, run_cli):
    ebsdarchive.restore(archive, options=with_method("klt"))
    before = archive.read_bytes()
    with pytest.raises(OutputError, match=r"expected no restored/klt, found one; choose another"):
        ebsdarchive.restore(archive, options=with_method("klt"))
    assert archive.read_bytes() == before
    ebsdarchive.restore(archive, options=with_method("klt:rank=2"), force=True)
    said = ebsdarchive.open_archive(archive).attributes("restored/klt")
    assert '"rank": 2' in said["config"]


def test_uncertainty_and_flags_become_maps_and_on_request_a_stack(archive, same):
    plain = ebsdarchive.restore(archive, options=with_method("same"))
    assert (plain.flags["overlap"], plain.flags["weak"]) == (1, 0)
    opened = ebsdarchive.open_archive(archive)
    counts = opened.patterns("raw").read(0, NY * NX)
    expected = np.sqrt(counts).mean(axis=(1, 2)).reshape(NY, NX)
    np.testing.assert_allclose(opened.map("same_uncertainty"), expected, rtol=1e-4)
    assert opened.map("same_flags")[0, 2] == OVERLAP
    assert opened.map("same_flags").sum() == OVERLAP
    with pytest.raises(MissingLayerError, match="expected the uncertainty of each pixel"):
        opened.uncertainty("restored/same")
    ebsdarchive.restore(archive, options=with_method("same"), name="b", uncertainty=True)
    opened = ebsdarchive.open_archive(archive)
    stack = opened.uncertainty("restored/b").read(0, NY * NX)
    np.testing.assert_allclose(stack, np.sqrt(counts), rtol=1e-4)
    assert ebsdarchive.verify(archive, data=True).all_faults == []
    with pytest.raises(ArgumentError, match="expected a method that knows it, found klt"):
        ebsdarchive.restore(archive, options=with_method("klt"), uncertainty=True)
    assert list(archive.parent.iterdir()) == [archive]


def test_damage_in_a_stack_of_uncertainty_is_found(archive, same):
    ebsdarchive.restore(archive, options=with_method("same"), uncertainty=True)
    import h5py

    with h5py.File(archive, "r+") as file:
        file["archive/restored/same/uncertainty/block_sha256"][0] = 0
    faults = ebsdarchive.verify(archive, data=True).layers["restored/same"]
    assert any("uncertainty" in fault for fault in faults)


def test_a_corrected_layer_has_a_background_of_its_own(archive):
    chosen = with_method("klt", before=("static",))
    ebsdarchive.restore(archive, options=chosen, name="flat")
    ebsdarchive.restore(archive, options=with_method("klt"), name="plain")
    opened = ebsdarchive.open_archive(archive)
    flat, plain = (opened.scan(f"restored/{name}").static_background for name in ("flat", "plain"))
    assert np.ptp(flat) < 1e-3 * flat.mean()
    np.testing.assert_array_equal(plain, opened.scan("raw").static_background)
    assert ebsdarchive.validate(archive) == []


def test_the_neural_layer_is_an_estimate_too(fitted_copy):
    ebsdarchive.restore(fitted_copy, options=with_method("field"), dtype="float32")
    opened = ebsdarchive.open_archive(fitted_copy)
    n = opened.grid.size
    restored, field = (opened.patterns(name).read(0, n) for name in ("field", "neural"))
    from ebsdarchive.neural.storage import read_field

    lit = read_field(str(fitted_copy)).mask
    np.testing.assert_allclose(restored[:, lit], field[:, lit], rtol=1e-5)
    labels = {e["prov:label"] for e in opened.provenance()[-1]["entity"].values()}
    assert "neural" in labels


def test_what_makes_no_sense_is_refused_before_the_work(archive, make_archive, tmp_path):
    def refused(error, text, path=archive, output=None, options=None, **others):
        with pytest.raises(error, match=text):
            ebsdarchive.restore(path, output, options=options, **others)

    refused(MissingLayerError, "field: expected the neural layer", options=with_method("field"))
    refused(ArgumentError, "method: expected one of nlpar", options=with_method("magic"))
    refused(ArgumentError, r"model: expected a .safetensors file or a model of the archive",
            options=RestoreOptions(model="none"))  # fmt: skip
    refused(ArgumentError, "name: expected letters", name="a/b")
    refused(ArgumentError, "dtype: expected float32 or one that holds uint16", dtype="uint8")
    refused(ArgumentError, "klt: expected one of the options rank, found 'search-radius'",
            options=with_method("klt", search_radius=3))  # fmt: skip
    refused(ArgumentError, "expected device cpu", options=with_method("klt", device="cuda"))
    refused(ArgumentError, "format: expected an output", format="up2")
    refused(ArgumentError, "no name and no uncertainty", output=tmp_path / "b.up2", name="b")
    refused(ArgumentError, "seed: expected 0 or more", options=RestoreOptions(seed=-1))
    refused(ArgumentError, "mask: expected auto, none", options=RestoreOptions(mask="round"))
    refused(OutputError, "expected another file than the source", output=archive, force=True)
    assert list(tmp_path.iterdir()) == [archive]
    assert ebsdarchive.open_archive(archive).layers == ["raw", "maps/mean_intensity"]


# ---------------------------------------------------------------- the verb: files


@pytest.fixture
def up2(truth, tmp_path):
    """An up2 file with a header of version 4 and an extra pattern behind those of the grid."""
    path = tmp_path / "in.up2"
    write_up(path, [truth.measured], truth.scan.grid, (SY, SX), "uint16")
    data = bytearray(path.read_bytes())
    data[0], data[16] = 4, 1
    path.write_bytes(bytes(data) + np.arange(SY * SX, dtype="<u2").tobytes())
    return path


def test_from_up2_to_up2_the_header_and_what_is_behind_stay_what_they_are(up2, truth, run_cli):
    output = up2.with_name("out.up2")
    code, _, err = run_cli("restore", up2, "-o", output, "--method", "nlpar")
    assert code == 0, err
    before, after = up2.read_bytes(), output.read_bytes()
    extra = 2 * SY * SX
    assert len(after) == len(before)
    assert after[:42] == before[:42]
    assert after[-extra:] == before[-extra:]
    found = ebsdarchive.open_scan(output).patterns.read(0, NY * NX)
    assert truth.correlation(found) > 2 * truth.correlation(truth.measured)
    beside = (output.with_name("out.up2.json")).read_text()
    for text in ('"method": "nlpar"', '"estimate": "estimate"', "source_sha256", "whole counts"):
        assert text in beside
    assert {path.name for path in up2.parent.iterdir()} == {"in.up2", "out.up2", "out.up2.json"}
    code, _, err = run_cli("restore", up2, "-o", output, "--method", "nlpar")
    assert (code, "expected no such file" in err) == (9, True)


def test_an_archive_or_a_scan_is_restored_into_other_formats(archive, up2, tmp_path):
    written = ebsdarchive.restore(archive, tmp_path / "b.h5", options=with_method("klt")).written
    assert written.format == "kikuchipy-h5"
    of_archive = ebsdarchive.open_scan(tmp_path / "b.h5").patterns
    ebsdarchive.restore(up2, tmp_path / "c.h5", options=with_method("klt"), dtype="float32")
    of_scan = ebsdarchive.open_scan(tmp_path / "c.h5").patterns
    assert (of_archive.dtype.name, of_scan.dtype.name) == ("uint16", "float32")
    np.testing.assert_array_equal(of_archive.read(0, 9), np.rint(of_scan.read(0, 9)))


def test_nan_goes_into_a_file_of_floats_alone(truth, tmp_path):
    patterns = truth.measured.astype(np.float32)
    patterns[30, 1, 2] = np.nan
    source = tmp_path / "a.h5"
    ebsdarchive.compress(replace(truth.scan, patterns=ArrayPatterns(patterns)), source,
                         neural=False)  # fmt: skip
    with pytest.raises(ArgumentError, match="expected finite counts to write whole numbers"):
        ebsdarchive.restore(source, tmp_path / "b.up2", options=with_method("klt"))
    summary = ebsdarchive.restore(source, options=with_method("klt"))
    assert (summary.lost, summary.flags["weak"]) == (1, 1)
    assert any("1 patterns show nothing" in note for note in summary.notes)


def test_a_saturated_scan_is_restored_with_a_warning(truth, tmp_path):
    bright = np.minimum(truth.measured / 150, 255).astype(np.uint8)
    source = tmp_path / "a.h5"
    ebsdarchive.compress(replace(truth.scan, patterns=ArrayPatterns(bright)), source,
                         neural=False)  # fmt: skip
    summary = ebsdarchive.restore(source)
    assert any("saturated in more than 1%" in note for note in summary.notes)


# ---------------------------------------------------------------- interruption


@dataclass(frozen=True)
class Interrupted(Same):
    """A restorer that is interrupted at a pattern, once."""

    calls = []  # noqa: RUF012

    name = "interrupted"

    def restore(self, patterns, surroundings):
        if surroundings.start >= 4 * NX and "stopped" not in self.calls:
            self.calls.append("stopped")
            raise KeyboardInterrupt
        self.calls.append(surroundings.start)
        return super().restore(patterns, surroundings)


@pytest.fixture
def stops_once(monkeypatch):
    Interrupted.calls.clear()
    monkeypatch.setitem(METHODS, "interrupted", Method(f"{__name__}:Interrupted", "stops"))
    monkeypatch.setattr(blocks, "_most_rows", lambda *_: 2)
    return Interrupted.calls


@pytest.mark.parametrize("to_file", [False, True])
def test_an_interrupted_run_goes_on_where_it_was(archive, up2, stops_once, run_cli, to_file):
    target = up2.with_name("out.up2")
    source = [str(up2), "-o", str(target)] if to_file else [str(archive)]
    before = archive.read_bytes()
    arguments = ["restore", *source, "--method", "interrupted"]
    code, _, err = run_cli(*arguments)
    assert (code, "interrupted; nothing that was there" in err) == (130, True)
    assert archive.read_bytes() == before
    assert not target.exists()
    kept = [path for path in archive.parent.iterdir() if path.name.endswith(".restore")]
    assert len(kept) == 1
    stopped = stops_once.index("stopped")
    code, out, err = run_cli(*arguments)
    assert code == 0, err
    assert "of them by an earlier call" in out
    done = stops_once[stopped - 1]
    assert min(stops_once[stopped + 1 :]) > done  # nothing is made twice
    opened = ebsdarchive.open_scan(target) if to_file else ebsdarchive.open_archive(archive).scan(
        "restored/interrupted")  # fmt: skip
    raw = ebsdarchive.open_archive(archive).patterns("raw").read(0, NY * NX)
    np.testing.assert_array_equal(opened.patterns.read(0, NY * NX), raw)
    assert not kept[0].exists()


@pytest.mark.parametrize("change", ["options", "damage"])
def test_results_of_another_run_or_damaged_ones_are_not_used(archive, stops_once, change, run_cli):
    arguments = ["restore", archive, "--method", "interrupted"]
    assert run_cli(*arguments).code == 130
    (kept,) = (path for path in archive.parent.iterdir() if path.name.endswith(".restore"))
    if change == "options":
        arguments += ["--seed", "5"]
    else:
        with open(kept / "patterns", "r+b") as file:
            file.truncate(100)
    code, out, _ = run_cli(*arguments)
    assert (code, "earlier call" in out) == (0, False)


# ---------------------------------------------------------------- models


@pytest.fixture
def model_file(learned, monkeypatch, tmp_path):
    """A checkpoint file of a learned method that works: the mean of what it is given."""
    monkeypatch.setitem(
        METHODS, "drawn", Method(f"{__name__}:Shifted", "", learned=True, samples=True)
    )
    path = tmp_path / "mine.safetensors"
    write_checkpoint(path, learned)
    return path


class Shifted(Learned):
    """Adds what its checkpoint holds."""

    name = "drawn"
    halo_rows = 0

    @property
    def config(self):
        return {"steps": self.steps, "samples": self.samples}

    def restore(self, patterns, surroundings):
        return Estimate(patterns[surroundings.own] + 1)


def test_a_model_is_a_file_or_one_of_the_archive_and_the_layer_names_it(
    archive, model_file, run_cli
):
    digest = Checkpoint("drawn", "2", {}, {"a": np.zeros(3, np.float32)}).sha256
    code, _, err = run_cli("restore", archive, "--model", model_file, "--steps", "3",
                           "--device", "cpu", "--name", "a")  # fmt: skip
    assert code == 0, err
    assert run_cli("models", "add", archive, model_file).code == 0
    chosen = RestoreOptions(model="mine", device="cpu")
    ebsdarchive.restore(archive, options=chosen, name="b")
    opened = ebsdarchive.open_archive(archive)
    raw = opened.patterns("raw").read(0, 5)
    for name, origin in (("a", "mine.safetensors"), ("b", "models/mine")):
        said = opened.attributes(f"restored/{name}")
        assert (said["method"], said["model_sha256"]) == ("drawn", digest)
        np.testing.assert_array_equal(opened.patterns(name).read(0, 5), np.fmin(raw, 65534) + 1)
        activity = opened.provenance()[-3 if name == "a" else -1]
        used = {e["prov:label"]: e["ea:sha256"] for e in activity["entity"].values()}
        assert used[origin] == digest
    with pytest.raises(ArgumentError, match="nlpar: expected no model, found one of drawn"):
        ebsdarchive.restore(archive, options=RestoreOptions(method="nlpar", model="mine"))
    with pytest.raises(ArgumentError, match="drawn: expected a model, found none"):
        ebsdarchive.restore(archive, options=RestoreOptions(method="drawn"))


def test_layers_and_models_travel_together(archive, model_file, tmp_path, run_cli):
    ebsdarchive.add_model(archive, model_file)
    ebsdarchive.restore(archive, options=RestoreOptions(model="mine", device="cpu"))
    share = tmp_path / "share.h5"
    ebsdarchive.extract(archive, ["raw", "restored", "models"], share)
    assert [model.used_by for model in ebsdarchive.models(share)] == [("restored/drawn",)]
    bare = tmp_path / "bare.h5"
    ebsdarchive.extract(archive, ["raw"], bare)
    added = ebsdarchive.merge(bare, archive)
    assert {"restored/drawn", "models/mine"} <= set(added)
    assert ebsdarchive.verify(bare, data=True).all_faults == []
    said = {"title": "t", "description": "d", "licence": "CC0-1.0", "publisher": "p",
            "publication_year": 2026, "people": [{"name": "A, B"}]}  # fmt: skip
    ebsdarchive.publish(bare, tmp_path / "package", metadata=said, without_doi=True)
    readme = (tmp_path / "package" / "README.md").read_text(encoding="utf-8")
    assert "lossless patterns; with estimates of them made by drawn." in readme
    out = run_cli("info", bare).out
    assert "estimate by drawn" in out
    assert "model of drawn" in out
    with pytest.raises(OutputError, match="found mine used by restored/drawn"):
        ebsdarchive.remove_model(bare, "mine")
    ebsdarchive.remove_model(bare, "mine", force=True)
    assert ebsdarchive.models(bare) == []
    assert ebsdarchive.verify(bare, data=True).all_faults == []


def test_the_package_is_asked_for_models_of_the_network_that_a_method_samples(monkeypatch):
    from ebsdarchive.verbs import restore_source

    asked = []
    monkeypatch.setattr(restore_source, "shipped_model", asked.append)
    assert restore_source.model_for("ddim", None, None) is None
    assert restore_source.model_for("nlpar", None, None) is None
    assert asked == ["ddpm"]
