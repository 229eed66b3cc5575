"""Simulated scans: known truth, noise of a known law, the same patterns however they are read."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from ebsdarchive.errors import ArgumentError, EbsdArchiveError, FormatError, GeometryError
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import Detector, Patterns
from ebsdarchive.simulation import (
    Camera,
    MasterPattern,
    polycrystal,
    read_master_pattern,
    simulate_patterns,
    simulate_scan,
)
from ebsdarchive.simulation.microstructure import own_weight
from ebsdarchive.simulation.rotations import product, uniform_quaternions

FLAT = Camera(
    contrast=0.05,
    gamma=1.0,
    psf=0.0,
    bell_width=(1e6, 1e6),
    gradient=(0.0, 0.0),
    vignetting=0.0,
    specks=0,
)


@pytest.fixture(scope="module")
def nickel() -> MasterPattern:
    return read_master_pattern()


@pytest.fixture
def scan(nickel):
    return simulate_scan((5, 7), (11, 13), grains=4, seed=2, master_pattern=nickel)


def rotations(n, seed=0):
    return uniform_quaternions(n, np.random.default_rng(seed))


def angles_deg(p, q):
    """Angles between two sets of unit quaternions, without symmetry."""
    return 2 * np.degrees(np.arccos(np.clip(np.abs((p * q).sum(axis=-1)), 0, 1)))


def test_patterns_are_those_of_kikuchipy(nickel):
    import kikuchipy
    from orix.quaternion import Rotation

    quaternions = rotations(7)
    pc, tilts = (0.43, 0.21, 0.55), (69.0, 5.0, 3.0, 2.0)
    signal = kikuchipy.data.nickel_ebsd_master_pattern_small(
        projection="lambert", hemisphere="both"
    )
    signal.change_dtype("float32")
    detector = kikuchipy.detectors.EBSDDetector(
        shape=(31, 45), pc=pc, **dict(zip(KIKUCHIPY_TILTS, tilts, strict=True))
    )
    expected = signal.get_patterns(
        Rotation(quaternions), detector, compute=True, show_progressbar=False
    ).data
    ours = Detector((31, 45), np.array(pc), None, None, *tilts)
    found = simulate_patterns(quaternions, ours, nickel, FLAT, clean=True).read(0, 7)
    for one, other in zip(expected, found, strict=True):
        slope, offset = np.polyfit(one.ravel(), other.ravel(), 1)
        residual = other - (slope * one + offset)
        assert slope > 0
        assert np.abs(residual).max() < 1e-3 * other.std()


KIKUCHIPY_TILTS = ("sample_tilt", "tilt", "azimuthal", "twist")


@pytest.mark.slow  # two minutes where PyEBSDIndex has not been compiled yet, else four seconds
def test_hough_indexing_finds_the_true_orientations(nickel):
    import kikuchipy
    from orix.quaternion import Orientation

    pc = (0.5, 0.4, 0.55)
    scan = simulate_scan(
        (3, 4), (90, 96), grains=6, seed=5, mixing_width=0, pc_bruker=pc, master_pattern=nickel,
        camera=Camera(psf=0.5), clean=True,
    )  # fmt: skip
    signal = kikuchipy.signals.EBSD(
        (scan.patterns.read(0, 12) / scan.static_background).reshape(3, 4, 90, 96)
    )
    signal.detector = kikuchipy.detectors.EBSDDetector(
        shape=(90, 96), pc=pc, sample_tilt=70, convention="bruker"
    )
    phases = kikuchipy.data.nickel_ebsd_small().xmap.phases
    xmap = signal.hough_indexing(phases, signal.detector.get_indexer(phases), verbose=0)
    symmetry = phases[0].point_group
    truth = Orientation(scan.orientations.quaternions, symmetry=symmetry)
    indexed = Orientation(xmap.rotations.data.reshape(-1, 4), symmetry=symmetry)
    assert np.degrees(truth.angle_with(indexed)).max() < 1.5


def test_a_scan_comes_with_its_truth(scan, nickel):
    assert isinstance(scan.patterns, Patterns)
    assert scan.patterns.shape == (35, 11, 13)
    assert scan.patterns.dtype == np.uint16
    assert scan.phases == (nickel.phase,)
    assert nickel.phase.lattice == pytest.approx((3.5236, 3.5236, 3.5236, 90, 90, 90))
    assert (nickel.phase.space_group, nickel.phase.point_group) == (225, "m-3m")
    assert scan.microscope.beam_energy_kev == 20
    assert scan.static_background.shape == (11, 13)
    truth = scan.orientations
    assert set(truth.properties) == {"grain_id", "boundary_distance"}
    assert truth.quaternions.shape == (35, 4)
    np.testing.assert_allclose(np.linalg.norm(truth.quaternions, axis=1), 1)


def test_the_same_seed_gives_the_same_scan_and_another_seed_another(scan, nickel):
    def patterns(seed):
        again = simulate_scan((5, 7), (11, 13), grains=4, seed=seed, master_pattern=nickel)
        return again.patterns.read(0, 35)

    np.testing.assert_array_equal(patterns(2), scan.patterns.read(0, 35))
    assert (patterns(3) != patterns(2)).mean() > 0.9


@pytest.mark.parametrize("electrons", [20.0, 8000.0])
def test_patterns_do_not_depend_on_the_blocks_they_are_read_in(nickel, electrons):
    scan = simulate_scan(
        (5, 7), (11, 13), grains=4, seed=2, master_pattern=nickel, electrons=electrons
    )
    whole = scan.patterns.read(0, 35)
    for cuts in ((0, 1, 2, 35), (0, 17, 18, 35), range(36)):
        parts = [scan.patterns.read(a, b) for a, b in itertools.pairwise(cuts)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert scan.patterns.read(35, 99).shape == (0, 11, 13)


def test_noise_of_neighbouring_patterns_is_independent(nickel):
    scan = simulate_scan((1, 2), (60, 60), grains=1, gradient_deg=0, master_pattern=nickel)
    clean = simulate_scan(
        (1, 2), (60, 60), grains=1, gradient_deg=0, master_pattern=nickel, clean=True
    )
    first, second = scan.patterns.read(0, 2) - clean.patterns.read(0, 2)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.06


@pytest.mark.parametrize("electrons", [3.0, 99.0, 101.0, 8000.0])
def test_noise_has_the_moments_of_a_poisson_gaussian_camera(nickel, electrons):
    n = 400
    camera = Camera(electrons=electrons, mean_level=0.3 if electrons > 50 else 0.1)
    scans = [
        simulate_scan(
            (1, n), (15, 17), grains=1, gradient_deg=0, master_pattern=nickel, camera=camera,
            clean=clean,
        )
        for clean in (False, True)
    ]  # fmt: skip
    noisy, clean = (scan.patterns.read(0, n) for scan in scans)
    noise = (noisy - clean).astype(np.float64)
    signal = clean[0] - camera.dark_level * 65535
    gain = (camera.mean_level - camera.dark_level) * 65535 / electrons
    variance = gain * signal + (camera.read_noise * 65535) ** 2 + 1 / 12
    standard = noise / np.sqrt(variance)
    assert abs(standard.mean()) < 4 / np.sqrt(noise.size)
    assert standard.var() == pytest.approx(1, abs=0.02)
    skewness = gain**2 * signal / variance**1.5
    assert (standard**3).mean() == pytest.approx(skewness.mean(), abs=0.05)


def test_without_noise_the_counts_are_the_clean_ones_rounded(nickel):
    scans = [
        simulate_scan(
            (3, 5), (11, 13), grains=3, dtype="uint8", electrons=np.inf, master_pattern=nickel,
            clean=clean,
        )
        for clean in (False, True)
    ]  # fmt: skip
    noiseless, clean = (scan.patterns.read(0, 15) for scan in scans)
    assert (noiseless.dtype, clean.dtype) == (np.uint8, np.float32)
    np.testing.assert_array_equal(noiseless, np.rint(clean))
    assert clean.mean() == pytest.approx(Camera().mean_level * 255, rel=0.01)


def test_a_camera_clips_at_its_range(nickel):
    camera = Camera(mean_level=0.95)
    scan = simulate_scan((2, 3), (11, 13), grains=1, master_pattern=nickel, camera=camera)
    assert scan.patterns.read(0, 6).max() == 65535


def test_a_round_screen_leaves_the_corners_dark(nickel):
    scan = simulate_scan(
        (1, 2), (31, 45), grains=1, dtype="uint8", disc=True, master_pattern=nickel, clean=True
    )
    pattern = scan.patterns.read(0, 1)[0]
    dark = Camera().dark_level * 255
    assert pattern[0, 0] == pattern[-1, -1] == pytest.approx(dark)
    assert pattern[15, 22] > 2 * dark


def test_a_blurred_master_pattern_keeps_its_mean_and_loses_detail(nickel):
    def pattern(psf):
        camera = Camera(psf=psf, gamma=1.0)
        detector = Detector((60, 60), np.array([0.5, 0.5, 0.5]), sample_tilt_deg=70.0)
        return simulate_patterns(rotations(1), detector, nickel, camera, clean=True)

    sharp, soft = pattern(0.0), pattern(1.5)
    assert soft.master.intensity.mean() == pytest.approx(0, abs=0.01)
    assert soft.read(0, 1).std() < sharp.read(0, 1).std()


def test_every_grain_is_there_and_turns_no_more_than_asked():
    grid = Grid("square", 61, 43)
    truth = polycrystal(grid, 25, seed=1, gradient_deg=3.0)
    assert set(truth.grain_id) == set(range(25))
    for grain in range(25):
        inside = truth.quaternions[truth.grain_id == grain]
        spread = angles_deg(inside[:, None], inside[None])
        assert spread.max() <= 3.0 + 1e-6
        assert len(inside) < 20 or spread.max() > 1.5
    flat = polycrystal(grid, 25, seed=1, gradient_deg=0.0)
    assert angles_deg(flat.quaternions[:-1], flat.quaternions[1:])[
        np.diff(flat.grain_id) == 0
    ].max() == pytest.approx(0, abs=1e-5)


def test_neighbouring_points_of_a_grain_turn_smoothly():
    grid = Grid("square", 200, 1)
    truth = polycrystal(grid, 1, seed=1, gradient_deg=4.0)
    steps = angles_deg(truth.quaternions[1:], truth.quaternions[:-1])
    assert 0 < steps.max() < 0.2


@pytest.mark.parametrize(
    ("hexagonal", "digests"),
    [
        (False, ("e86e607c035fc73d", "2696859714ff785a", "1f8f2f0323ed76d1")),
        (True, ("6df3d3f658961dda", "4bd742fadd8d8cb7", "dddf185835b02ca6")),
    ],
)
def test_without_cells_and_twins_scans_are_what_they_were_before_there_were_any(
    nickel, hexagonal, digests
):
    scan = simulate_scan(
        (5, 7), (4, 3), grains=4, seed=2, dtype="uint8", hexagonal=hexagonal, master_pattern=nickel
    )
    truth = scan.orientations
    held = (
        scan.patterns.read(0, 35),
        truth.properties["grain_id"],
        np.round(truth.quaternions, 6) + 0.0,
    )
    assert tuple(hashlib.sha256(a.tobytes()).hexdigest()[:16] for a in held) == digests
    assert set(truth.properties) == {"grain_id", "boundary_distance"}
    assert not {"cell_size", "cell_spread_deg", "twin_fraction"} & set(scan.source.metadata)


SUBSTRUCTURE = {"gradient_deg": 0.0, "cell_size": 8.0, "twin_fraction": 0.5}


def test_cells_and_twins_leave_the_grains_as_they_are_and_follow_the_seed():
    grid = Grid("square", 61, 43)
    plain = polycrystal(grid, 9, seed=1)
    truth, again = (polycrystal(grid, 9, seed=1, **SUBSTRUCTURE) for _ in range(2))
    np.testing.assert_array_equal(truth.grain_id, plain.grain_id)
    np.testing.assert_array_equal(truth.quaternions, again.quaternions)
    np.testing.assert_array_equal(truth.mixed_quaternions, again.mixed_quaternions)
    assert not plain.is_twin.any()
    assert not plain.cell_id.any()
    other = polycrystal(grid, 9, seed=2, **SUBSTRUCTURE)
    assert (other.cell_id != truth.cell_id).mean() > 0.9


@pytest.mark.parametrize("hexagonal", [False, True])
def test_cells_are_even_have_sharp_walls_and_the_size_and_spread_asked_for(hexagonal):
    even = 201 if hexagonal else None
    grid = Grid("hexagonal" if hexagonal else "square", 201, 103, n_columns_even=even)
    truth = polycrystal(grid, 2, seed=3, gradient_deg=0, cell_size=8.0, cell_spread_deg=2.5)
    rows = truth.quaternions.reshape(103, 201, 4)
    same_grain = np.diff(truth.grain_id.reshape(103, 201), axis=1) == 0
    same_cell = np.diff(truth.cell_id.reshape(103, 201), axis=1) == 0
    steps = angles_deg(rows[:, 1:], rows[:, :-1])
    assert steps[same_grain & same_cell].max() < 1e-5
    across = steps[same_grain & ~same_cell]
    assert across.mean() == pytest.approx(2.5, rel=0.15)
    area = 1.0 if not hexagonal else np.sqrt(3) / 2
    cells = len(set(zip(truth.grain_id, truth.cell_id, strict=True)))
    assert cells == pytest.approx(grid.size * area / 64, rel=0.25)
    assert across.size / same_grain.sum() == pytest.approx(1 / 8, rel=0.35)


def test_walls_of_cells_are_not_mixed():
    truth = polycrystal(Grid("square", 40, 30), 1, seed=3, mixing_width=1.0, cell_size=5.0)
    assert len(truth.mixed_points) == 0
    assert np.isinf(truth.boundary_distance).all()


def test_twins_are_turned_by_sixty_degrees_about_the_normal_of_their_boundaries():
    grid = Grid("square", 90, 70)
    truth = polycrystal(grid, 12, seed=6, gradient_deg=0, twin_fraction=1.0)
    xy = grid.positions()
    for grain in range(12):
        inside = truth.grain_id == grain
        parent = truth.quaternions[inside & ~truth.is_twin][0]
        twin = truth.quaternions[inside & truth.is_twin][0]
        turn = product(twin[None], (parent * [1, -1, -1, -1])[None])[0]
        assert abs(turn[0]) == pytest.approx(np.cos(np.radians(30)))
        axis = turn[1:] / np.linalg.norm(turn[1:])
        np.testing.assert_allclose(np.abs(axis), 3**-0.5)
        normal = rotated((parent * [1, -1, -1, -1])[None], axis)[0]
        along = xy[inside] @ [normal[1], normal[0]] / np.hypot(normal[0], normal[1])
        sorted_twins = truth.is_twin[inside][np.argsort(along)]
        assert np.count_nonzero(np.diff(sorted_twins.astype(int))) in (1, 2, 3, 4)  # lamellae


def rotated(quaternions, vector):
    """(n, 3) `vector` turned by each quaternion."""
    pure = np.broadcast_to(np.append(0.0, vector), quaternions.shape)
    return product(product(quaternions, pure), quaternions * [1, -1, -1, -1])[:, 1:]


@pytest.mark.parametrize(("fraction", "grains"), [(0.0, 0), (0.1, 2), (0.5, 10), (1.0, 20)])
def test_as_many_grains_have_twins_as_were_asked_for(fraction, grains):
    truth = polycrystal(Grid("square", 90, 70), 20, seed=6, twin_fraction=fraction)
    assert len(set(truth.grain_id[truth.is_twin])) == grains


def test_at_a_twin_boundary_the_patterns_of_twin_and_parent_mix():
    grid = Grid("square", 90, 70)
    truth = polycrystal(grid, 1, seed=6, gradient_deg=0, mixing_width=0.5, twin_fraction=1.0)
    parent, twin = (truth.quaternions[truth.is_twin == side][0] for side in (False, True))
    behind = np.where(truth.is_twin[truth.mixed_points, None], parent, twin)
    assert len(truth.mixed_points) > 20
    assert angles_deg(truth.mixed_quaternions, behind).max() < 1e-4
    rows = truth.is_twin.reshape(70, 90)
    ahead = truth.boundary_distance.reshape(70, 90)[:, :-1]
    assert ahead[rows[:, 1:] != rows[:, :-1]].max() <= 1


def test_a_scan_says_where_its_cells_and_twins_are(nickel):
    scan = simulate_scan(
        (20, 30), (3, 5), grains=3, cell_size=6.0, twin_fraction=1.0, master_pattern=nickel
    )
    properties = scan.orientations.properties
    assert set(properties) == {"grain_id", "boundary_distance", "cell_id", "is_twin"}
    assert set(properties["is_twin"]) == {0, 1}
    assert len(set(properties["cell_id"])) > 5
    recorded = scan.source.metadata
    assert (recorded["cell_size"], recorded["cell_spread_deg"]) == (6.0, 1.0)
    assert recorded["twin_fraction"] == 1.0


def test_twins_are_for_cubic_phases_only(phases_file):
    magnesium = read_master_pattern(phases_file, "Mg")
    with pytest.raises(ArgumentError, match="cubic phase, found Mg, point group 6/mmm") as caught:
        simulate_scan((5, 7), (3, 4), grains=2, twin_fraction=0.5, master_pattern=magnesium)
    assert "\n" not in str(caught.value)


def test_random_orientations_are_uniform():
    first = rotations(4000)[:, 0] ** 2  # cos²(angle / 2), mean 1/4 for uniform rotations
    assert first.mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("hexagonal", [False, True])
def test_boundary_distance_agrees_with_the_points_around(hexagonal):
    even = 28 if hexagonal else None
    grid = Grid("hexagonal" if hexagonal else "square", 29, 23, n_columns_even=even)
    truth = polycrystal(grid, 9, seed=4)
    xy = grid.positions() * [1, np.sqrt(3) / 2 if hexagonal else 1]
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    apart[truth.grain_id[:, None] == truth.grain_id[None]] = np.inf
    nearest = apart.min(axis=1)
    assert (truth.boundary_distance >= 0).all()
    assert (truth.boundary_distance <= nearest + 1e-5).all()
    assert np.median(nearest - truth.boundary_distance) < 0.8


def test_a_hexagonal_scan_has_shorter_even_rows(nickel):
    scan = simulate_scan(
        (5, 7), (11, 13), grains=3, hexagonal=True, step_um=0.5, master_pattern=nickel
    )
    assert scan.patterns.shape[0] == scan.grid.size == 7 + 6 + 7 + 6 + 7
    assert scan.grid.step_y_um == pytest.approx(0.5 * np.sqrt(3) / 2)
    assert len(scan.orientations.properties["grain_id"]) == 33


def test_half_of_the_pattern_at_a_boundary_is_the_neighbours():
    assert own_weight(0.0, 0.4) == 0.5
    assert own_weight(0.4, 0.4) == pytest.approx(0.8413, abs=1e-4)
    assert own_weight(2.0, 0.4) == pytest.approx(1, abs=1e-6)
    assert own_weight([0.0, 1.0], 0.0).tolist() == [1, 1]


def test_patterns_near_a_boundary_are_mixed_by_weight(nickel):
    scan = simulate_scan(
        (9, 9), (11, 13), grains=2, seed=1, gradient_deg=0, mixing_width=1.0,
        master_pattern=nickel, clean=True,
    )  # fmt: skip
    grain = scan.orientations.properties["grain_id"]
    distance = scan.orientations.properties["boundary_distance"]
    patterns = scan.patterns.read(0, 81)
    pure = []
    for g in (0, 1):
        one = np.flatnonzero(grain == g)[0]
        quaternion = scan.orientations.quaternions[one]
        alone = simulate_patterns(quaternion, scan.detector, nickel, seed=1, clean=True)
        pure.append(alone.read(0, 1)[0])
    assert (distance < 1).any()
    for k in range(81):
        own = own_weight(distance[k], 1.0)
        expected = own * pure[grain[k]] + (1 - own) * pure[1 - grain[k]]
        np.testing.assert_allclose(patterns[k], expected, atol=10)


def test_a_scan_larger_than_memory_is_read_in_bounded_memory(nickel):
    scan = simulate_scan((3000, 500), (480, 640), grains=50, master_pattern=nickel)
    assert scan.nbytes > 800e9
    scan.patterns.read(0, 1)
    tracemalloc.start()
    block = scan.patterns.read(700_000, 700_010)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < block.nbytes + 100e6


def test_one_point_one_pixel_and_one_grain_are_a_scan(nickel):
    scan = simulate_scan((1, 1), (1, 1), grains=1, hexagonal=True, master_pattern=nickel)
    assert scan.patterns.read(0, 1).shape == (1, 1, 1)
    assert np.isinf(scan.orientations.properties["boundary_distance"]).all()


def test_the_module_is_imported_without_heavy_libraries():
    heavy = "kikuchipy", "hyperspy", "numba", "orix", "scipy", "torch"
    code = f"import sys, ebsdarchive.simulation; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.fixture
def phases_file(tmp_path) -> Path:
    path = tmp_path / "phases.h5"
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for name, number in (("Ni", 225), ("Mg", 194)):
            group = file.create_group(name)
            group["master_pattern"] = rng.integers(0, 255, (2, 21, 21), dtype=np.uint8)
            group.attrs["space_group"] = number
            group.attrs["kV"] = 20.0
            group.attrs["lattice_angstrom_deg"] = (3.2, 3.2, 5.2, 90, 90, 120)
    return path


def test_a_phase_is_chosen_from_a_file_of_many(phases_file):
    master = read_master_pattern(phases_file, "Mg")
    assert master.intensity.shape == (2, 21, 21)
    assert (master.intensity.mean(), master.intensity.std()) == pytest.approx((0, 1), abs=1e-5)
    assert (master.phase.name, master.phase.point_group) == ("Mg", "6/mmm")
    assert master.phase.lattice == (3.2, 3.2, 5.2, 90, 90, 120)
    assert master.beam_energy_kev == 20


def test_an_energy_is_chosen_from_a_file_of_emsoft(tmp_path):
    import kikuchipy

    bundled = Path(kikuchipy.__file__).parent / "data/emsoft_ebsd_master_pattern/master_patterns.h5"
    path = tmp_path / "emsoft.h5"
    path.write_bytes(bundled.read_bytes())
    with h5py.File(path, "a") as file:
        for hemisphere in ("mLPNH", "mLPSH"):
            node = file[f"EMData/EBSDmaster/{hemisphere}"]
            node[...] = np.random.default_rng(0).random(node.shape)
    assert read_master_pattern(path).beam_energy_kev == 20
    master = read_master_pattern(path, beam_energy_kev=12)
    assert (master.beam_energy_kev, master.intensity.shape) == (12, (2, 13, 13))
    with h5py.File(path) as file:
        stored = np.array([file[f"EMData/EBSDmaster/{h}"][0, 2] for h in ("mLPNH", "mLPSH")])
    stored = (stored - stored.mean()) / stored.std()
    np.testing.assert_allclose(np.sort(master.intensity, None), np.sort(stored, None), atol=1e-5)
    with pytest.raises(ArgumentError, match=r"10, 11, .* found 25"):
        read_master_pattern(path, beam_energy_kev=25)


def test_files_without_the_master_pattern_are_named(phases_file, tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        read_master_pattern(tmp_path / "none.h5")
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(FormatError, match=r"text\.h5"):
        read_master_pattern(text)
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["something"] = 1
    with pytest.raises(FormatError, match=r"other\.h5.*found something"):
        read_master_pattern(other)
    with pytest.raises(ArgumentError, match="out of Mg, Ni, found 'Fe'"):
        read_master_pattern(phases_file, "Fe")
    with pytest.raises(ArgumentError, match="out of Mg, Ni, found no phase"):
        read_master_pattern(phases_file)
    with pytest.raises(ArgumentError, match="20 kV, found 15"):
        read_master_pattern(phases_file, "Ni", 15)
    with pytest.raises(ArgumentError, match="phase ni, found 'Fe'"):
        read_master_pattern(phase="Fe")
    with h5py.File(phases_file, "a") as file:
        file["Ni/master_pattern"][...] = 7
    with pytest.raises(FormatError, match=r"/Ni/master_pattern.*constant"):
        read_master_pattern(phases_file, "Ni")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"grains": 0}, ArgumentError),
        ({"grains": 36}, ArgumentError),
        ({"seed": -1}, ArgumentError),
        ({"dtype": "float32"}, ArgumentError),
        ({"electrons": 0}, ArgumentError),
        ({"electrons": np.nan}, ArgumentError),
        ({"gradient_deg": -1}, ArgumentError),
        ({"mixing_width": np.nan}, ArgumentError),
        ({"cell_size": 0.5}, ArgumentError),
        ({"cell_size": np.nan}, ArgumentError),
        ({"cell_spread_deg": -1}, ArgumentError),
        ({"twin_fraction": 1.5}, ArgumentError),
        ({"twin_fraction": -0.5}, ArgumentError),
        ({"pattern_shape": (0, 5)}, ArgumentError),
        ({"grid_shape": (0, 5)}, GeometryError),
        ({"step_um": 0}, GeometryError),
        ({"pc_bruker": (0.5, 0.5)}, GeometryError),
        ({"pc_bruker": (0.5, 0.5, 0)}, GeometryError),
    ],
)
def test_senseless_arguments_are_refused_in_one_line(nickel, arguments, error):
    defaults = {"grid_shape": (5, 7), "pattern_shape": (3, 4), "grains": 2}
    with pytest.raises(error) as caught:
        simulate_scan(**(defaults | arguments), master_pattern=nickel)
    assert isinstance(caught.value, EbsdArchiveError)
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)
