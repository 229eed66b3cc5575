"""`index`: phases, reflectors, and orientation maps that say how they were made."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

import ebsdarchive
from ebsdarchive.analysis import indexing
from ebsdarchive.analysis.background import Correction
from ebsdarchive.analysis.deviation import compare_orientations
from ebsdarchive.analysis.phases import (
    chosen_phases,
    families_of,
    parse_families,
    parse_phase,
)
from ebsdarchive.archive.orientation_maps import read_orientation_map
from ebsdarchive.errors import ArgumentError, MissingLayerError
from ebsdarchive.scan import Phase
from ebsdarchive.simulation import simulate_scan

NI = "ni:225:3.52"


@pytest.fixture(scope="module")
def nickel():
    """6 x 5 points of eight nickel grains, with known orientations."""
    return simulate_scan((5, 6), (60, 60), grains=8, seed=4, mixing_width=0.0, step_um=0.5)


@pytest.fixture(scope="module")
def _nickel_archive(nickel, tmp_path_factory):
    path = tmp_path_factory.mktemp("nickel") / "ni.h5"
    ebsdarchive.compress(nickel, path, profile="none", neural=False)
    return path


@pytest.fixture
def nickel_archive(_nickel_archive, tmp_path):
    return shutil.copyfile(_nickel_archive, tmp_path / "ni.h5")


def stored(path, name=None):
    with ebsdarchive.open_archive(path).group() as group:
        return read_orientation_map(group, name)


# ---------------------------------------------------------------- phases and reflectors


@pytest.mark.parametrize(
    ("text", "lattice", "point_group"),
    [
        ("Fe α:229:2.866", (2.866, 2.866, 2.866, 90, 90, 90), "m-3m"),
        ("ti:194:2.95,4.68", (2.95, 2.95, 4.68, 90, 90, 120), "6/mmm"),
        ("zro2:137:3.64,5.27", (3.64, 3.64, 5.27, 90, 90, 90), "4/mmm"),
        ("olivine:62:4.8,10.2,6", (4.8, 10.2, 6, 90, 90, 90), "mmm"),
        ("m:14:5.1,5.2,5.3,99.2", (5.1, 5.2, 5.3, 90, 99.2, 90), "2/m"),
        ("any:225:4,4,4,90,90,90", (4, 4, 4, 90, 90, 90), "m-3m"),
    ],
)
def test_a_phase_needs_only_the_lattice_that_its_symmetry_leaves_free(text, lattice, point_group):
    phase = parse_phase(text)
    assert phase.name == text.split(":")[0]
    assert phase.lattice == lattice
    assert phase.point_group == point_group


@pytest.mark.parametrize(
    "text", ["ni:225", "ni:225:", "ni:231:3.5", ":225:3.5", "ni:225:3.5,2", "ni:225:-1", "a:1:nan"]
)
def test_half_a_phase_is_refused(text):
    with pytest.raises(ArgumentError, match="expected NAME:SPACE_GROUP:LATTICE"):
        parse_phase(text)


def test_phases_are_those_of_the_scan_or_those_that_are_asked_for():
    known = (Phase(0, "Ni", 225, "m-3m", (3.52,) * 3 + (90.0,) * 3), Phase(1, "carbide"))
    assert chosen_phases(known) == known[:1]  # the other cannot be indexed
    assert chosen_phases(known, ["Ni"]) == known[:1]
    both = chosen_phases(known, ["Ni", "Fe:229:2.87"])
    assert [(phase.phase_id, phase.name) for phase in both] == [(0, "Ni"), (1, "Fe")]
    with pytest.raises(ArgumentError, match=r"expected a phase of the source \(Ni, carbide\)"):
        chosen_phases(known, ["Cu"])
    with pytest.raises(ArgumentError, match="found 'carbide' without"):
        chosen_phases(known, ["carbide"])


def directions(families):
    """Families without order, sign and length of their indices."""
    return {tuple(sorted(abs(i) // np.gcd.reduce(f) for i in f)) for f in families}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fcc:225:3.6", [(1, 1, 1), (2, 0, 0), (2, 2, 0), (3, 1, 1)]),
        ("diamond:227:5.43", [(1, 1, 1), (2, 0, 0), (2, 2, 0), (3, 1, 1)]),
        ("bcc:229:2.87", [(1, 1, 0), (2, 0, 0), (2, 1, 1)]),
    ],
)
def test_reflectors_of_cubic_metals_are_their_strongest_families(text, expected):
    assert directions(families_of(parse_phase(text))) == directions(expected)


def test_reflectors_of_hexagonal_close_packed_metals_are_the_strongest_families():
    hcp = parse_families("10-10,0002,10-11,11-20,10-13,11-22")
    assert families_of(parse_phase("mg:194:3.21,5.21")) == hcp
    assert families_of(parse_phase("graphite:194:2.46,6.71")) != hcp


def test_reflectors_of_other_structures_are_those_that_the_space_group_allows():
    corundum = families_of(parse_phase("Al2O3:167:4.76,12.99"))
    assert corundum[:2] == ((1, 0, -2), (1, 0, 4))  # 001 and 100 are extinct
    assert (0, 0, 6) in corundum
    rutile = families_of(parse_phase("TiO2:136:4.59,2.96"))
    assert rutile[0] == (1, 1, 0)
    assert (1, 0, 0) not in rutile
    for families in (corundum, rutile):
        lengths = {tuple(np.array(f) // np.gcd.reduce(f)) for f in families}
        assert len(lengths) == len(families)  # no two of one direction


def test_families_are_those_of_the_phases_own_axes():
    monoclinic = families_of(parse_phase("m:14:5.1,5.2,5.3,99.2"))
    assert (1, 1, 0) in monoclinic
    assert (1, -1, 0) not in monoclinic  # the mirror makes it of (1, 1, 0)
    rhombohedral = families_of(parse_phase("bi:166:4.74,4.74,4.74,57.2,57.2,57.2"))
    hexagonal = families_of(parse_phase("bi:166:4.54,11.8"))
    to_hexagonal = [[1, 0, 1], [-1, 1, 1], [0, -1, 1]]  # obverse setting
    turned = [tuple(family) for family in (np.array(rhombohedral) @ to_hexagonal).tolist()]
    assert directions(turned[:4]) == directions(hexagonal[:4])


def test_reflectors_are_read_as_they_are_written():
    assert parse_families("111,200,-1 1 0") == ((1, 1, 1), (2, 0, 0), (-1, 1, 0))
    assert parse_families("{10-10}{0002}") == ((1, 0, 0), (0, 0, 2))
    for text in ("111", "", "111,2x0", "11,200", "10-20,0002", "000,111"):
        with pytest.raises(ArgumentError, match="reflectors: expected"):
            parse_families(text)


# ---------------------------------------------------------------- maps


def test_an_orientation_map_holds_what_was_found_and_how(nickel, nickel_archive, run_cli):
    before = ebsdarchive.open_archive(nickel_archive)
    detector = before.scan().detector
    code, out, err = run_cli("index", nickel_archive, "--json")
    assert code == 0, err
    said = json.loads(out)
    found = stored(nickel_archive)
    truth = nickel.orientations.quaternions
    agreement = compare_orientations(found.orientations.quaternions, truth, "m-3m")
    assert agreement.within(5) > 0.9
    assert agreement.median_deg < 1
    assert said["name"] == "maps/orientations"
    assert said["indexed"] == np.count_nonzero(found.orientations.phase_id >= 0)
    assert said["confidence"] == pytest.approx(
        found.orientations.properties["confidence"].mean(), rel=1e-5
    )
    assert found.layer == "raw"
    assert found.derived_from == before.raw_sha256
    assert (found.background, found.pc_origin) == ("static", "scan")
    assert found.phases == nickel.phases
    np.testing.assert_array_equal(found.pc_bruker[0], detector.pc_bruker)
    after = ebsdarchive.open_archive(nickel_archive)
    np.testing.assert_array_equal(after.scan().detector.pc_bruker, detector.pc_bruker)
    assert after.scan().orientations.properties.keys() == nickel.orientations.properties.keys()
    assert ebsdarchive.verify(nickel_archive, data=True).all_faults == []
    assert ebsdarchive.validate(nickel_archive) == []
    (activity,) = after.provenance()[-1]["activity"].values()
    assert activity["prov:label"] == "index"
    assert json.loads(activity["ea:parameters"])["background"] == "static"


def test_a_second_map_needs_a_name_or_force(nickel_archive, run_cli):
    assert run_cli("index", nickel_archive).code == 0
    result = run_cli("index", nickel_archive)
    assert (result.code, "use --force to replace it" in result.err) == (9, True)
    result = run_cli("index", nickel_archive, "--name", "mean_intensity", "--force")
    assert (result.code, "choose another with --name" in result.err) == (9, True)
    assert run_cli("index", nickel_archive, "--name", "a/b").code == 2
    other = ("--name", "band", "--background", "bandpass")
    assert run_cli("index", nickel_archive, *other).code == 0
    with pytest.raises(ArgumentError, match="expected the name of a map, found band, orientations"):
        stored(nickel_archive)
    assert stored(nickel_archive, "band").background == "bandpass"
    code, out, _ = run_cli("index", nickel_archive, "--force", "--pc", "0.42,0.22,0.5")
    assert (code, "(0.4200, 0.2200, 0.5000) as given" in out) == (0, True)
    assert stored(nickel_archive, "maps/orientations").pc_origin == "given"


def test_maps_travel_with_the_archive_and_are_no_maps_of_values(nickel_archive, tmp_path):
    ebsdarchive.index(nickel_archive)
    ebsdarchive.extract(nickel_archive, ["raw", "maps"], tmp_path / "b.h5")
    np.testing.assert_array_equal(
        stored(tmp_path / "b.h5").orientations.quaternions,
        stored(nickel_archive).orientations.quaternions,
    )
    with pytest.raises(ebsdarchive.errors.ArchiveError, match="expected encoding map"):
        ebsdarchive.open_archive(nickel_archive).map("orientations")
    with pytest.raises(MissingLayerError, match="found orientations"):
        stored(nickel_archive, "other")


def test_a_calibrated_centre_is_recorded_with_the_map_and_changes_nothing_else(
    nickel, nickel_archive
):
    shifted = dataclasses.replace(
        nickel.detector, pc_bruker=np.add(nickel.detector.pc_bruker, [0.02, -0.02, 0.015])
    )
    ebsdarchive.compress(
        dataclasses.replace(nickel, detector=shifted),
        nickel_archive,
        profile="none",
        neural=False,
        force=True,
    )
    wrong = ebsdarchive.index(nickel_archive)
    right = ebsdarchive.index(nickel_archive, calibrate_pc=True, name="calibrated")
    assert right.fit_deg < 0.8 * wrong.fit_deg
    assert right.pc_origin == "calibrated"
    np.testing.assert_allclose(right.pc_bruker, nickel.detector.pc_bruker, atol=0.01)
    found = stored(nickel_archive, "calibrated")
    np.testing.assert_allclose(found.pc_bruker[0], right.pc_bruker)
    kept = ebsdarchive.open_archive(nickel_archive).scan().detector.pc_bruker
    np.testing.assert_array_equal(kept, shifted.pc_bruker)


def test_of_several_phases_each_point_has_the_one_that_fits_best(nickel, nickel_archive):
    summary = ebsdarchive.index(nickel_archive, phases=["ferrite:229:2.866", NI])
    found = stored(nickel_archive)
    assert [(phase.phase_id, phase.name) for phase in found.phases] == [(0, "ferrite"), (1, "ni")]
    assert summary.phases["ni"] > 0.8 * nickel.grid.size
    rows = found.orientations.phase_id == 1
    assert np.count_nonzero(rows) == summary.phases["ni"]
    agreement = compare_orientations(
        found.orientations.quaternions[rows], nickel.orientations.quaternions[rows], "m-3m"
    )
    assert agreement.median_deg < 1


def test_points_of_a_hexagonal_grid_come_back_in_their_order(tmp_path):
    scan = simulate_scan((4, 5), (60, 60), grains=6, seed=2, hexagonal=True, mixing_width=0.0)
    ebsdarchive.compress(scan, tmp_path / "hex.h5", profile="none", neural=False)
    ebsdarchive.index(tmp_path / "hex.h5")
    found = stored(tmp_path / "hex.h5").orientations
    assert len(found.quaternions) == scan.grid.size
    agreement = compare_orientations(found.quaternions, scan.orientations.quaternions, "m-3m")
    assert agreement.within(5) > 0.9
    assert ebsdarchive.validate(tmp_path / "hex.h5") == []


def test_each_point_is_indexed_with_its_own_projection_centre(nickel):
    n = nickel.grid.size
    wrong = nickel.detector.pc_bruker + np.linspace(0, 0.2, n)[:, None] * [1, 0, 0]
    detector = dataclasses.replace(nickel.detector, pc_bruker=wrong)
    patterns = nickel.patterns.read(0, n)
    correction = Correction("static", patterns.mean(axis=0))
    indexer = indexing.HoughIndexer(detector, nickel.phases, correction)
    found = indexing.index_points(dataclasses.replace(nickel, detector=detector), indexer)
    agreement = compare_orientations(found.quaternions, nickel.orientations.quaternions, "m-3m")
    first, last = np.array_split(agreement.deviation_deg, 2)
    assert np.nanmedian(first) < np.nanmedian(last)
    one = indexer(patterns[:1], np.array([0]))
    np.testing.assert_allclose(one.quaternions, found.quaternions[:1], atol=1e-4)


def test_blocks_give_what_one_call_gives(nickel, monkeypatch):
    indexer = indexing.HoughIndexer(
        nickel.detector, nickel.phases, Correction("bandpass", indexing.mean_pattern(nickel))
    )
    points = np.array([0, 1, 2, 7, 8, 20, 29])
    told = []
    whole = indexing.index_points(nickel, indexer, points)
    monkeypatch.setattr(indexing, "BLOCK_BYTES", 4 * 60 * 60 * 3)
    parts = indexing.index_points(nickel, indexer, points, lambda *done: told.append(done))
    np.testing.assert_allclose(parts.quaternions, whole.quaternions, atol=1e-6)
    np.testing.assert_allclose(parts.confidence, whole.confidence, atol=1e-6)
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_what_cannot_be_indexed_is_said_in_one_line(make_archive, run_cli):
    unknown = make_archive(described=False, pc=None)
    result = run_cli("index", unknown)
    assert (result.code, "describe one as NAME:SPACE_GROUP:LATTICE" in result.err) == (2, True)
    result = run_cli("index", unknown, "--phase", NI)
    assert (result.code, "expected a projection centre" in result.err) == (2, True)
    result = run_cli("index", unknown, "--phase", NI, "--pc", "0.5,0.3,-1")
    assert (result.code, "expected X,Y,Z with Z above 0" in result.err) == (2, True)
    several = ("--reflectors", "111,200", "--reflectors", "110,200")
    result = run_cli("index", make_archive(), "--phase", NI, *several)
    assert (result.code, "expected one set for each of 1 phases" in result.err) == (2, True)
    assert run_cli("index", make_archive(), "--layer", "neural").code == 7
