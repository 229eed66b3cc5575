"""Grains and boundaries without indexing: they are where the patterns change, and nowhere else."""

from __future__ import annotations

import csv
import json
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import reader_from_documents as documents

import ebsdarchive
from ebsdarchive.analysis import ridges
from ebsdarchive.analysis.agreement import (
    adjusted_rand_index,
    grains_by_disorientation,
    midpoints,
)
from ebsdarchive.analysis.grains import segment, sizes
from ebsdarchive.analysis.polylines import trace
from ebsdarchive.analysis.ridges import BandPatterns, Raster, smoothed_slopes
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.outlines import Boundary, Grain, Outlines, read_outlines, write_outlines
from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange.outlines import write_outline_file
from ebsdarchive.geometry import Grid
from ebsdarchive.neural.gradient import DiffractionGradient
from ebsdarchive.verbs.segmenting import BOUNDARY_MAP, GRADIENT_MAP, GRAIN_MAP

SQUARE = Grid("square", 23, 17, 0.5, 0.5)


class SoftCells:
    """A field of Voronoi cells whose patterns mix, half and half, at the boundaries.

    It is asked as `Field` is; `weights` gives it drifting patterns, `steepness` sharp boundaries.
    """

    def __init__(self, grid, seeds, patterns, steepness=3.0):
        self.grid, self.steepness = grid, steepness
        self.seeds = np.array(seeds, np.float64)  # both axes in steps along x
        mask = np.ones(patterns.shape[1:], bool)
        mean = patterns.mean(axis=0)
        self.tensors = SimpleNamespace(
            basis=(patterns - mean).reshape(len(patterns), -1).astype(np.float32),
            mean_pattern=mean.astype(np.float32),
            mask=mask,
            rank=len(patterns) + 1,
        )

    def _shares(self, xy):
        at = np.asarray(xy) * (1, self.grid.row_distance)
        power = -((at[:, None] - self.seeds) ** 2).sum(axis=2)
        between = np.sqrt(len(self.seeds) / np.prod(np.ptp(self.seeds, axis=0) + 9))
        power = self.steepness * between * (power - power.max(axis=1, keepdims=True))
        shares = np.exp(power)
        return shares / shares.sum(axis=1, keepdims=True)

    def coefficients(self, xy):
        return self._shares(xy).astype(np.float32)

    def coefficient_derivatives(self, xy):
        xy, h = np.asarray(xy), 1e-4
        both = [
            (self._shares(xy + step) - self._shares(xy - step)) / (2 * h) for step in h * np.eye(2)
        ]
        return np.stack(both, axis=1).astype(np.float32)

    def cell(self, xy):
        """(m,) the true cell of positions in steps."""
        return self._shares(xy).argmax(axis=1)

    def distance(self, xy):
        """(m,) to the nearest boundary, in steps along x."""
        at = np.asarray(xy) * (1, self.grid.row_distance)
        square = ((at[:, None] - self.seeds) ** 2).sum(axis=2)
        order = np.argsort(square, axis=1)
        rows = np.arange(len(at))[:, None]
        own, other = order[:, :1], order[:, 1:]
        apart = np.linalg.norm(self.seeds[other] - self.seeds[own], axis=2)
        return ((square[rows, other] - square[rows, own]) / (2 * apart)).min(axis=1)


def band_patterns(count, shape=(30, 34), seed=0, contrast=300.0):
    """(count, sy, sx) unrelated patterns: bands of a few pixels on one steep background."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[: shape[0], : shape[1]] - np.array(shape)[:, None, None] / 2
    angle, phase = rng.uniform(0, 2 * np.pi, (2, count, 12, 1, 1))
    waves = np.cos(1.6 * (u * np.cos(angle) + v * np.sin(angle)) + phase).sum(axis=1) / np.sqrt(6)
    return 20_000 * np.exp(-(u**2 + v**2) / 600) * (1 + contrast / 20_000 * waves)


def five_cells(grid=SQUARE, **options):
    """Five cells of a few steps each, and one of them small."""
    seeds = [(3, 3), (17, 2), (10, 8), (4, 13), (19, 13)]
    return SoftCells(grid, seeds, band_patterns(5), **options)


def found_in(field, per_step=4, sigma=0.5, **options):
    """Grains, boundaries and raster of a field."""
    raster = Raster(field.grid, per_step)
    gradient, bands = DiffractionGradient(field), BandPatterns(field)
    slopes = smoothed_slopes(gradient, raster, sigma)
    grains = segment(slopes, bands, raster, **options)
    return grains, trace(grains, slopes, bands, gradient, raster), raster


def all_positions(raster):
    ny, nx = raster.shape
    return raster.positions(slice(0, ny), slice(0, nx))


# ---------------------------------------------------------------- grains


@pytest.mark.parametrize("per_step", [1, 4])
@pytest.mark.parametrize(
    "grid",
    [SQUARE, Grid("hexagonal", 23, 19, n_columns_even=22), Grid("square", 23, 10, 0.5, 0.9)],
    ids=["square", "hexagonal", "oblong"],
)
def test_grains_and_boundaries_are_where_the_cells_are(grid, per_step):
    field = five_cells(grid)
    grains, boundaries, raster = found_in(field, per_step)
    assert grains.count == 5
    truth = field.cell(all_positions(raster))
    assert adjusted_rand_index(grains.labels, truth) > (0.9 if per_step == 1 else 0.97)
    xy = np.concatenate([boundary.xy for boundary in boundaries])
    distance = field.distance(xy)
    assert distance.mean() < (0.15 if per_step == 1 else 0.05)
    # and none is missed
    from scipy.spatial import cKDTree

    true_xy = midpoints(truth.reshape(raster.shape), grid)
    assert cKDTree(xy).query(true_xy)[0].max() < 1.5


def test_a_scan_without_boundaries_is_one_grain():
    drifting = band_patterns(2)
    drifting[1] = 0.9 * drifting[0] + 0.1 * drifting[1]
    field = SoftCells(SQUARE, [(2, 2), (20, 14)], drifting, steepness=0.1)
    grains, boundaries, _ = found_in(field)
    assert (grains.count, boundaries) == (1, [])
    assert (grains.labels == 1).all()


def test_grains_do_not_depend_on_brightness_contrast_or_detector():
    expected, *_ = found_in(five_cells())
    for patterns in (
        7 * band_patterns(5),
        band_patterns(5, contrast=60.0),
        np.kron(band_patterns(5), np.ones((2, 2))),
    ):
        field = SoftCells(SQUARE, five_cells().seeds, patterns)
        assert adjusted_rand_index(found_in(field)[0].labels, expected.labels) > 0.999


def test_the_correlation_says_how_faint_a_boundary_may_be():
    patterns = band_patterns(2)
    patterns[1] = 0.85 * patterns[0] + 0.53 * patterns[1]  # correlation about 0.85
    patterns[1] *= patterns[0].sum() / patterns[1].sum()
    field = SoftCells(SQUARE, [(6, 8), (16, 8)], patterns)
    assert found_in(field, correlation=0.7)[0].count == 1
    grains, (boundary,), _ = found_in(field, correlation=0.95)
    assert grains.count == 2
    assert 0.75 < boundary.correlation < 0.92


def test_points_without_bands_are_one_region():
    pore = [(52, 3), (52, 13), (57, 8), (48, 8)]
    patterns = band_patterns(5)
    rng = np.random.default_rng(4)
    for i in range(1, 5):  # noise of its own for each part of the pore, a tenth of the bands
        patterns[i] = smooth() + rng.normal(0, 30, patterns[i].shape)
    field = SoftCells(Grid("square", 60, 17), [(20, 8), *pore], patterns, steepness=6.0)
    assert np.corrcoef([(p - smooth()).ravel() for p in patterns[1:]])[0, 1:].max() < 0.1
    labels = found_in(field)[0].labels.ravel()
    at = labels[Raster(field.grid, 4).samples_at(np.array([(5, 8), *pore]))]
    assert at[0] != at[1]
    assert (at[1:] == at[1]).all()


def test_small_grains_join_the_neighbour_most_like_them():
    patterns = band_patterns(3)
    patterns[2] = 0.6 * patterns[0] + 0.4 * patterns[1] + patterns[2] - smooth()
    field = SoftCells(SQUARE, [(5, 8), (17, 8), (11, 8)], patterns, steepness=6.0)
    grains, *_ = found_in(field)
    assert grains.count == 3
    least = min(grain.area for grain in sizes(grains, Raster(SQUARE, 4)))
    joined, *_ = found_in(field, min_area=least + 1)
    assert joined.count == 2
    at = Raster(SQUARE, 4).samples_at(np.array([[5.0, 8.0], [11.0, 8.0]]))
    left, middle = joined.labels.ravel()[at]
    assert left == middle


def smooth():
    return band_patterns(1, contrast=0.0)[0]


def test_sizes_add_up_to_the_scan_and_say_which_grains_its_edge_cuts():
    grid = Grid("hexagonal", 23, 19, n_columns_even=22)
    seeds = [(11, 8), (2, 8), (20, 8), (11, 1), (11, 15)]
    field = SoftCells(grid, seeds, band_patterns(5), steepness=6.0)
    grains, _, raster = found_in(field)
    found = sizes(grains, raster)
    assert [grain.label for grain in found] == [1, 2, 3, 4, 5]
    assert [grain.area for grain in found] == sorted((g.area for g in found), reverse=True)
    ny, nx = raster.shape
    assert sum(g.area for g in found) == pytest.approx(ny * nx / 16 * np.sqrt(3) / 2)
    (inner,) = [grain for grain in found if not grain.at_edge]
    truth = field.cell(all_positions(raster)) == 0
    assert inner.area == pytest.approx(truth.mean() * ny * nx / 16 * np.sqrt(3) / 2, rel=0.03)
    np.testing.assert_allclose(inner.centre, all_positions(raster)[truth].mean(axis=0), atol=0.1)
    assert inner.diameter == pytest.approx(2 * np.sqrt(inner.area / np.pi))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_scans_of_hardly_any_points_have_grains_too(shape):
    field = SoftCells(Grid("square", *shape), [(0, 0), (8, 8)], band_patterns(2))
    grains, boundaries, raster = found_in(field, min_area=0.0)
    assert grains.labels.shape == raster.shape
    assert grains.count >= 1
    assert len(boundaries) >= grains.count - 1


# ---------------------------------------------------------------- the gradient on a raster


def test_tiles_change_nothing(monkeypatch):
    field = five_cells()
    gradient, raster = DiffractionGradient(field), Raster(SQUARE, 3)
    whole = smoothed_slopes(gradient, raster, 0.6)
    monkeypatch.setattr(ridges, "TILE_BYTES", 16 * 30**2 * field.tensors.rank)
    told = []
    tiled = smoothed_slopes(gradient, raster, 0.6, lambda done, total: told.append(done / total))
    np.testing.assert_allclose(tiled.strength, whole.strength, rtol=1e-3, atol=1e-2)
    assert len(told) > 4
    assert told[-1] == 1
    assert whole.strength.shape == raster.shape


def test_without_smoothing_the_slopes_are_s():
    gradient, raster = DiffractionGradient(five_cells()), Raster(SQUARE, 2)
    slopes = smoothed_slopes(gradient, raster, 0.0)
    np.testing.assert_allclose(
        slopes.strength.ravel(), gradient(all_positions(raster)), rtol=1e-4, atol=1e-3
    )


def test_patterns_change_most_across_a_boundary():
    grid = Grid("square", 23, 17, 1.0, 0.5)
    field = SoftCells(grid, [(5, 2), (15, 6)], band_patterns(2))
    raster = Raster(grid, 2)
    slopes = smoothed_slopes(DiffractionGradient(field), raster, 0.5)
    normal = slopes.normal[slopes.strength > slopes.strength.max() / 2]
    across = np.array([10, 4]) / np.hypot(10, 4)
    np.testing.assert_allclose(np.abs(normal @ across), 1, atol=1e-3)


def test_a_raster_covers_the_scan_and_no_more():
    for grid in (SQUARE, Grid("hexagonal", 7, 5, n_columns_even=7)):
        for per_step in (1, 2, 5):
            raster = Raster(grid, per_step)
            xy = all_positions(raster)
            grid.require_inside(xy)
            assert (np.array(grid.extent) - xy.max(axis=0) < 1 / per_step).all()
            np.testing.assert_array_equal(raster.samples_at(xy), np.arange(len(xy)))
            rows = [
                r for part in raster.bands_of_rows(1 << 20) for r in range(part.start, part.stop)
            ]
            assert rows == list(range(raster.shape[0]))
    with pytest.raises(ArgumentError, match=r"resolution: expected at most \d+ samples"):
        Raster(SQUARE, 10_000)


# ---------------------------------------------------------------- polylines


def test_boundaries_meet_at_junctions_or_end_at_the_edge_of_the_scan():
    _, boundaries, _ = found_in(five_cells())
    ends = [tuple(np.round(b.xy[end], 6)) for b in boundaries for end in (0, -1)]
    for x, y in ends:
        at_edge = min(x, y) == 0 or x == SQUARE.extent[0] or y == SQUARE.extent[1]
        assert at_edge or ends.count((x, y)) == 3
    assert any(ends.count(end) == 3 for end in ends)


def test_a_grain_inside_another_has_a_closed_boundary():
    seeds = [(11, 8), *(np.array([11, 8]) + 9 * np.array([np.cos(a), np.sin(a)]) for a in
             np.linspace(0, 2 * np.pi, 12, endpoint=False))]  # fmt: skip
    patterns = band_patterns(2)[[0, *[1] * 12]]
    field = SoftCells(SQUARE, seeds, patterns, steepness=6.0)
    grains, (boundary,), _ = found_in(field)
    assert grains.count == 2
    np.testing.assert_array_equal(boundary.xy[0], boundary.xy[-1])
    radius = np.hypot(*(boundary.xy - (11, 8)).T)
    assert 4.3 < radius.min() < radius.max() < 4.8
    assert boundary.length(1.0) == pytest.approx(2 * np.pi * 4.5, rel=0.05)
    assert (boundary.s > 0).all()


def test_s_along_a_boundary_is_that_of_the_field():
    field = five_cells()
    _, boundaries, _ = found_in(field)
    for boundary in boundaries:
        np.testing.assert_array_equal(boundary.s, DiffractionGradient(field)(boundary.xy))


# ---------------------------------------------------------------- agreement


def test_the_adjusted_rand_index_is_that_of_its_authors():
    a = [1, 1, 1, 2, 2, 2]
    assert adjusted_rand_index(a, [7, 7, 7, 3, 3, 3]) == 1
    assert adjusted_rand_index(a, [1, 1, 2, 2, 3, 3]) == pytest.approx(0.2424242424)
    assert adjusted_rand_index([1, 1, 1], [4, 4, 4]) == 1
    rng = np.random.default_rng(0)
    assert abs(adjusted_rand_index(*rng.integers(0, 9, (2, 20_000)))) < 0.01


def test_an_indexed_map_is_cut_where_neighbours_differ_by_more_than_the_threshold():
    angle = np.deg2rad([[0, 2, 4, 44, 45], [0, 2, 10, 44, 45]])  # about a fourfold axis
    q = np.stack([np.cos(angle / 2), *[np.zeros_like(angle)] * 2, np.sin(angle / 2)], axis=-1)
    labels = grains_by_disorientation(q.reshape(-1, 4), (2, 5), "m-3m", 5.0)
    assert labels.tolist() == [[1, 1, 1, 2, 2], [1, 1, 3, 2, 2]]
    q[0, 0] = np.nan
    labels = grains_by_disorientation(q.reshape(-1, 4), (2, 5), "m-3m", 5.0)
    assert len(np.unique(labels)) == 4
    xy = midpoints(np.array([[1, 1, 2], [1, 3, 2]]), Grid("square", 5, 3))
    assert sorted(xy.tolist()) == [[1, 2], [2, 1], [3, 0], [3, 2]]


# ---------------------------------------------------------------- files


@pytest.fixture
def outlines():
    """A boundary and two grains."""
    line = Boundary((1, 2), np.array([[0, 1.25], [2.5, 2]]), np.array([10, 12.5], "f4"), 0.125)
    grains = Grain(1, 9.0, (1.0, 2.0), True), Grain(2, 4.0, (3.0, 1.0), False)
    return Outlines((line,), grains)


@pytest.mark.parametrize("um", [True, False])
def test_polylines_are_written_in_steps_and_where_they_are_known_in_um(um, outlines, tmp_path):
    grid = Grid("square", 7, 5, 2.0, 4.0) if um else Grid("square", 7, 5)
    write_outline_file(tmp_path / "a.csv", outlines, grid)
    write_outline_file(tmp_path / "a.geojson", outlines, grid)
    rows = list(csv.DictReader((tmp_path / "a.csv").open(newline="")))
    assert [(float(row["x"]), float(row["y"])) for row in rows] == [(0, 1.25), (2.5, 2)]
    assert ("x_um" in rows[0]) == um
    assert [float(row["s_counts_per_step"]) for row in rows] == [10, 12.5]
    assert rows[0]["grain_2"] == "2"
    document = json.loads((tmp_path / "a.geojson").read_text())
    assert document["unit"] == ("um" if um else "step")
    line, first, _ = document["features"]
    factor = (2, 4) if um else (1, 1)
    assert line["geometry"]["type"] == "LineString"
    assert line["geometry"]["coordinates"] == [
        [0, 1.25 * factor[1]],
        [2.5 * factor[0], 2 * factor[1]],
    ]
    assert line["properties"]["length"] == pytest.approx(
        np.hypot(2.5 * factor[0], 0.75 * factor[1]), abs=1e-4
    )
    assert first["properties"]["area"] == 9 * factor[0] ** 2
    if um:
        assert [(float(row["x_um"]), float(row["y_um"])) for row in rows] == [(0, 5), (5, 8)]


def test_the_csv_is_what_query_reads(outlines, tmp_path):
    from ebsdarchive.verbs.places import read_positions

    write_outline_file(tmp_path / "a.csv", outlines, Grid("square", 7, 5, 2.0, 4.0))
    np.testing.assert_allclose(read_positions(tmp_path / "a.csv"), outlines.boundaries[0].xy)


# ---------------------------------------------------------------- the verb


def test_maps_polylines_and_provenance_come_of_one_command(fitted_copy, run_cli, tmp_path):
    before = ebsdarchive.open_archive(fitted_copy)
    neural = before.attributes("neural")["sha256"]
    targets = tmp_path / "b.csv", tmp_path / "b.geojson"
    arguments = (
        "boundaries",
        fitted_copy,
        "--resolution",
        3,
        "--correlation",
        0.95,
        "--smoothing",
        0,
    )
    code, out, err = run_cli(*arguments, "-o", targets[0], "-o", targets[1], "--json")
    assert code == 0, err
    said = json.loads(out)
    archive = ebsdarchive.open_archive(fitted_copy)
    assert set(archive.layers) - set(before.layers) == {GRAIN_MAP, GRADIENT_MAP, BOUNDARY_MAP}
    labels, s = archive.map("grains"), archive.map("gradient")
    assert labels.shape == s.shape == (13, 19)
    assert said["shape"] == [13, 19]
    assert np.unique(labels).tolist() == list(range(1, said["grains"] + 1))
    assert said["grains"] > 1  # smooth patterns change over this scan, if nowhere abruptly
    from ebsdarchive.neural.storage import read_field

    raster = Raster(archive.grid, 3)
    expected = DiffractionGradient(read_field(str(fitted_copy)))(all_positions(raster))
    np.testing.assert_allclose(s.ravel(), expected, rtol=6e-4)
    with h5py.File(fitted_copy) as file:
        node = file["archive"][GRADIENT_MAP]
        assert node["data"].attrs["units"] == "counts/step"
        assert node.attrs["samples_per_step"] == 3
        assert node.attrs["derived_from"] == neural
    activity = archive.provenance()[-1]
    (details,) = activity["activity"].values()
    assert details["prov:label"] == "boundaries"
    assert json.loads(details["ea:parameters"])["correlation"] == 0.95
    roles = {relation["prov:role"] for relation in activity["wasGeneratedBy"].values()}
    assert roles == {GRAIN_MAP, GRADIENT_MAP, BOUNDARY_MAP}
    lines = json.loads(targets[1].read_text())["features"]
    assert sum(f["properties"]["kind"] == "boundary" for f in lines) == said["boundaries"]
    assert targets[0].read_text().startswith("boundary,grain_1,grain_2,x,y,x_um,y_um,")
    assert ebsdarchive.verify(fitted_copy, data=True).faults == []
    assert ebsdarchive.validate(fitted_copy) == []
    for target in targets:  # the same again, from what is stored
        again = tmp_path / f"again{target.suffix}"
        code, out, err = run_cli("export", fitted_copy, "-o", again, "--layer", BOUNDARY_MAP)
        assert code == 0, err
        assert again.read_bytes() == target.read_bytes()
        assert f"{said['boundaries']} boundaries" in out
    code, out, err = run_cli(*arguments, "--force")
    assert code == 0, err
    assert f"{said['grains']} grains" in out


# ---------------------------------------------------------------- polylines in the archive


@pytest.fixture
def outlined(outlines, archive_path):
    """An archive with polylines: two grains' and, as another layer, none."""
    closed = Boundary((1, 2), np.array([[1, 1], [2, 1], [1, 1.0]]), np.ones(3, np.float32), -0.5)
    both = Outlines((*outlines.boundaries, closed), outlines.grains)
    with adding_layers(archive_path, [BOUNDARY_MAP, "maps/none"]) as file:
        archive = file["archive"]
        write_outlines(archive, "boundaries", both, label_map="grains", derived_from="0a")
        write_outlines(archive, "none", Outlines((), outlines.grains[:1]), label_map="grains")
    return archive_path, both


def test_polylines_come_back_from_an_archive_as_they_were_written(outlined):
    path, written = outlined
    assert ebsdarchive.verify(path, data=True).all_faults == []
    assert ebsdarchive.validate(path) == []
    with ebsdarchive.open_archive(path).group() as archive:
        found = read_outlines(archive, BOUNDARY_MAP)
        assert read_outlines(archive, "maps/none") == Outlines((), written.grains[:1])
    assert found.grains == written.grains
    assert [line.grains for line in found.boundaries] == [(1, 2), (1, 2)]
    assert [line.correlation for line in found.boundaries] == [0.125, -0.5]
    for line, original in zip(found.boundaries, written.boundaries, strict=True):
        np.testing.assert_array_equal(line.xy, original.xy)
        np.testing.assert_array_equal(line.s, original.s)


def test_the_documents_alone_are_enough_to_read_polylines(outlined):
    path, written = outlined
    with h5py.File(path) as file:
        node = file["archive"][BOUNDARY_MAP]
        found = documents.polylines(node)
        assert documents.digest(node) == node.attrs["sha256"]
        assert documents.polylines(file["archive/maps/none"]) == []
    assert len(found) == 2
    for (grains, xy, s), line in zip(found, written.boundaries, strict=True):
        assert grains == line.grains
        np.testing.assert_array_equal(xy, line.xy)
        np.testing.assert_array_equal(s, line.s)


def test_polylines_are_listed_extracted_and_merged_like_every_layer(outlined, run_cli, tmp_path):
    path, _ = outlined
    assert "polylines 1.0" in run_cli("info", path).out
    assert ebsdarchive.info(path)["layers"][BOUNDARY_MAP]["vertices"] == 5
    digest = ebsdarchive.open_archive(path).attributes(BOUNDARY_MAP)["sha256"]
    part, whole = tmp_path / "part.h5", tmp_path / "whole.h5"
    ebsdarchive.extract(path, ["raw"], part)
    ebsdarchive.extract(path, ["raw", BOUNDARY_MAP], whole)
    assert ebsdarchive.merge(part, whole) == [BOUNDARY_MAP]
    assert ebsdarchive.open_archive(part).attributes(BOUNDARY_MAP)["sha256"] == digest


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("offsets", [0, 3, 4], "expected rising numbers from 0 to 5"),
        ("offsets", [0, 9, 5], "expected rising numbers from 0 to 5"),
        ("offsets", [1, 2, 5], "expected rising numbers from 0 to 5"),
        ("labels", [[1, 2], [1, 3]], "expected grains from 1 to 2, found 1 to 3"),
    ],
)
def test_polylines_that_do_not_fit_together_are_named_and_not_read(
    name, values, words, outlined, run_cli, tmp_path
):
    path, _ = outlined
    with h5py.File(path, "r+") as file:
        file["archive"][BOUNDARY_MAP][name][...] = values
    report = ebsdarchive.verify(path)
    (fault,) = report.all_faults
    assert words in fault
    assert report.layers[BOUNDARY_MAP] == [fault]
    failed = run_cli("export", path, "-o", tmp_path / "a.csv", "--layer", BOUNDARY_MAP)
    assert failed.code == 6
    assert words in failed.err
    assert not (tmp_path / "a.csv").exists()


def test_patterns_and_polylines_are_not_taken_for_each_other(outlined, run_cli, tmp_path):
    path, _ = outlined
    for arguments, code, words in (
        (("-o", tmp_path / "a.geojson"), 2, "name it, as in --layer maps/boundaries"),
        (("-o", tmp_path / "a.up2", "--layer", BOUNDARY_MAP), 2, r"ending in .csv or .geojson"),
        (
            ("-o", tmp_path / "a.csv", "--layer", BOUNDARY_MAP, "--dtype", "uint8"),
            2,
            "no region, fill, dtype or format",
        ),
        (("-o", tmp_path / "a.csv", "--layer", "maps/other"), 7, "found raw, maps/boundaries"),
    ):
        failed = run_cli("export", path, *arguments)
        assert (failed.code, words in failed.err) == (code, True), failed.err
    assert list(tmp_path.glob("a.*")) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("{raw}",), 7, "expected a neural layer, .* found the layers raw"),
        (("{done}",), 9, "expected no layer maps/grains, found one; use --force"),
        (("{archive}", "-o", "{there}.csv"), 9, "expected no such file, found one; use --force"),
        (("{archive}", "-o", "{there}.shp"), 2, r"expected a name ending in \.csv or \.geojson"),
        (("{archive}", "-o", "{there}/no/a.csv"), 9, "expected an existing folder"),
        (("{archive}", "--resolution", "0"), 2, "resolution"),
        (("{archive}", "--resolution", "9999"), 2, "resolution: expected at most"),
        (("{archive}", "--correlation", "1.5"), 2, "correlation"),
        (("{archive}", "--min-size", "nan"), 2, "min size: expected 0 or more, found nan"),
        (("{archive}", "--smoothing", "inf"), 2, "smoothing: expected 0 or more, found inf"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_nothing_changes(
    arguments, code, words, fitted_copy, archive_path, run_cli, tmp_path
):
    import re

    (tmp_path / "there.csv").write_text("mine")
    names = {"archive": fitted_copy, "raw": archive_path, "there": tmp_path / "there"}
    if "{done}" in arguments:
        names["done"] = shutil.copyfile(fitted_copy, tmp_path / "done.h5")
        ebsdarchive.boundaries(names["done"], resolution=1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    found = run_cli("boundaries", *(argument.format(**names) for argument in arguments))
    assert found.code == code, found.err
    last = found.err.splitlines()[-1]
    assert re.search(words, last), last
    assert "Traceback" not in found.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_noisy_scan_is_fitted_and_cut_into_its_grains(make_scan, tmp_path, monkeypatch):
    from ebsdarchive.verbs.fitting import NeuralOptions

    monkeypatch.setattr("ebsdarchive.neural.networks.auto_steps", lambda n: 300)
    grid = Grid("square", 16, 12)
    cells = SoftCells(grid, [(3, 3), (11, 2), (8, 9)], band_patterns(3, (20, 22)), steepness=9.0)
    xy = grid.positions()
    patterns = cells.coefficients(xy) @ cells.tensors.basis + cells.tensors.mean_pattern.ravel()
    patterns += np.random.default_rng(3).normal(0, 150, patterns.shape)
    counts = np.clip(patterns, 0, 65535).astype(np.uint16).reshape(-1, 20, 22)
    path = tmp_path / "a.h5"
    options = NeuralOptions(rank=3, width=24, device="cpu")
    scan = make_scan(ny=12, nx=16, patterns=counts, step_um=(1.0, 1.0), described=False)
    ebsdarchive.compress(scan, path, profile="compat", options=options)
    for resolution in (1, 5):
        found = ebsdarchive.boundaries(path, tmp_path / "a.csv", resolution=resolution, force=True)
        assert found.grains == 3
        labels = ebsdarchive.open_archive(path).map("grains")
        raster = Raster(grid, resolution)
        assert labels.shape == raster.shape
        assert adjusted_rand_index(labels, cells.cell(all_positions(raster))) > 0.9
        rows = list(csv.DictReader((tmp_path / "a.csv").open(newline="")))
        vertices = np.array([(float(row["x"]), float(row["y"])) for row in rows])
        assert cells.distance(vertices).mean() < 0.25
