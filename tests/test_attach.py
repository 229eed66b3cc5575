"""Images in polarised light beside a scan: kept as they are, and found again at its points."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from scipy.ndimage import map_coordinates

import ebsdarchive
from ebsdarchive.analysis.light_at_points import light_series
from ebsdarchive.archive.auxiliary import LightStack, in_images, read_light_stack, to_images
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.orientation_maps import OrientationMap, write_orientation_map
from ebsdarchive.crystal_map import in_sample_frame
from ebsdarchive.errors import (
    ArgumentError,
    CorruptionError,
    FormatError,
    MissingLayerError,
    OutputError,
)
from ebsdarchive.geometry import Grid
from ebsdarchive.multimodal import registration
from ebsdarchive.multimodal.image_frame import from_image_frame, to_image_frame
from ebsdarchive.multimodal.light_channels import LightChannels
from ebsdarchive.multimodal.polarised_light import c_axes
from ebsdarchive.multimodal.registered_light import (
    at_stage_angles,
    light_channels_of,
    normalised,
)
from ebsdarchive.multimodal.registration import register
from ebsdarchive.multimodal.registration_maps import map_to_register_to
from ebsdarchive.multimodal.synthetic_maps import SyntheticMaps
from ebsdarchive.scan import Orientations, Phase
from ebsdarchive.simulation.rotations import uniform_quaternions
from ebsdarchive.verbs.light_placement import Placement

ANGLES = (0.0, 20.0, 40.0, 60.0, 80.0)
SAME = Placement(same_field=True)


def opened(path: Path, name: str | None = None) -> LightStack:
    with ebsdarchive.open_archive(path).group() as group:
        return read_light_stack(group, name)


@pytest.fixture
def light_file(tmp_path: Path) -> Path:
    """Five pages of 10 x 14 px, two on each point of the archive along both axes."""
    pages = np.random.default_rng(1).integers(0, 65535, (5, 10, 14)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "light.tif", pages, photometric="minisblack")
    return tmp_path / "light.tif"


# ---------------------------------------------------------------- keeping


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_images_come_back_as_they_were_from_the_archive_and_from_an_export(
    archive_path: Path, tmp_path: Path, dtype: str
) -> None:
    pages = (200 * np.random.default_rng(2).random((3, 9, 17))).astype(dtype)
    tifffile.imwrite(tmp_path / "in.tif", pages, photometric="minisblack")
    summary = ebsdarchive.attach(
        archive_path, tmp_path / "in.tif", stage_angles_deg=(0, 30, 75), placement=SAME
    )
    kept = opened(archive_path)
    assert np.array_equal(kept.images, pages)
    assert kept.images.dtype == pages.dtype
    assert kept.stage_angles_deg.tolist() == [0, 30, 75]
    assert summary.layer == "auxiliary/light"
    written = ebsdarchive.export(archive_path, tmp_path / "out.tif", layer=summary.layer)
    assert (written.images, written.shape) == (3, (9, 17))
    again = tifffile.imread(tmp_path / "out.tif")
    assert np.array_equal(again, pages)
    assert again.dtype == pages.dtype


def test_attaching_changes_nothing_that_was_there_and_is_recorded(
    archive_path: Path, light_file: Path
) -> None:
    before = {
        name: ebsdarchive.open_archive(archive_path).attributes(name)["sha256"]
        for name in ebsdarchive.open_archive(archive_path).layers
    }
    ebsdarchive.attach(archive_path, light_file, stage_angles_deg=ANGLES, placement=SAME)
    archive = ebsdarchive.open_archive(archive_path)
    for name, digest in before.items():
        assert archive.attributes(name)["sha256"] == digest
    assert ebsdarchive.verify(archive_path, data=True).sound
    assert ebsdarchive.validate(archive_path) == []
    (activity,) = archive.provenance()[-1]["activity"].values()
    assert activity["prov:label"] == "attach"
    parameters = json.loads(activity["ea:parameters"])
    assert parameters["stage_angles_deg"] == list(ANGLES)
    digest = opened(archive_path).file_sha256
    used = archive.provenance()[-1]["used"].values()
    assert f"ea:sha256-{digest}" in {relation["prov:entity"] for relation in used}


def test_a_layer_of_that_name_is_replaced_only_by_force(
    archive_path: Path, light_file: Path
) -> None:
    settings = {"stage_angles_deg": ANGLES, "placement": SAME}
    ebsdarchive.attach(archive_path, light_file, **settings)
    with pytest.raises(OutputError, match="expected no auxiliary/light, found one"):
        ebsdarchive.attach(archive_path, light_file, **settings)
    ebsdarchive.attach(archive_path, light_file, **settings, analyser_deg=88, force=True)
    assert opened(archive_path).analyser_deg == 88
    ebsdarchive.attach(archive_path, light_file, **settings, name="second")
    with pytest.raises(ArgumentError, match="expected the name of an auxiliary layer"):
        opened(archive_path)
    with pytest.raises(MissingLayerError, match="expected an auxiliary layer '', found light"):
        opened(archive_path, "")
    assert opened(archive_path, "auxiliary/second").analyser_deg is None


def test_an_archive_without_light_says_how_to_add_it(archive_path: Path) -> None:
    with pytest.raises(MissingLayerError, match="add them with `ebsdarchive attach`"):
        opened(archive_path)


def test_light_goes_along_when_layers_are_extracted_and_merged(
    full_archive: Path, tmp_path: Path
) -> None:
    ebsdarchive.extract(full_archive, ["neural", "auxiliary"], tmp_path / "shared.h5")
    shared, full = (ebsdarchive.open_archive(p) for p in (tmp_path / "shared.h5", full_archive))
    digests = [archive.attributes("auxiliary/light")["sha256"] for archive in (shared, full)]
    assert digests[0] == digests[1]
    ebsdarchive.extract(full_archive, ["raw"], tmp_path / "raw.h5")
    assert "auxiliary/light" in ebsdarchive.merge(tmp_path / "raw.h5", tmp_path / "shared.h5")


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        (np.zeros((2, 5, 6, 3), np.uint8), "one grey image on each page, found pages of 5 x 6 x 3"),
        (np.zeros((2, 5, 6), np.int16), "pages of uint8, uint16, float32, found int16"),
        (np.full((2, 5, 6), np.nan, np.float32), "finite values, found NaN or infinity"),
    ],
)
def test_files_of_other_images_are_refused(
    archive_path: Path, tmp_path: Path, pages: np.ndarray, message: str
) -> None:
    photometric = "rgb" if pages.ndim == 4 else "minisblack"
    tifffile.imwrite(tmp_path / "bad.tif", pages, photometric=photometric)
    before = archive_path.read_bytes()
    with pytest.raises(FormatError, match=message):
        ebsdarchive.attach(
            archive_path, tmp_path / "bad.tif", stage_angles_deg=(0, 30), placement=SAME
        )
    assert archive_path.read_bytes() == before


def test_damaged_and_missing_files_are_one_line(archive_path: Path, light_file: Path) -> None:
    whole = light_file.read_bytes()
    for content in (b"", b"no tiff at all", whole[:100], whole[: len(whole) // 2]):
        light_file.write_bytes(content)
        with pytest.raises(FormatError, match=r"light\.tif: expected") as caught:
            ebsdarchive.attach(archive_path, light_file, stage_angles_deg=ANGLES, placement=SAME)
        assert "\n" not in str(caught.value)
    with pytest.raises(FormatError, match="expected a file, found none"):
        ebsdarchive.attach(archive_path, "nowhere.tif", stage_angles_deg=ANGLES, placement=SAME)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stage_angles_deg": (0, 20)}, "a stage angle for each of 5 pages, found 2 angles"),
        ({"stage_angles_deg": (0, 20, 40, 60, np.nan)}, "expected numbers, found NaN"),
        ({"stage_angles_deg": (0, 20, 40, 60, 360)}, "expected different ones"),
        ({"placement": Placement()}, "to know where images of 10 x 14 pixels lie on 5 x 7 points"),
        ({"placement": Placement(True, 0.5)}, "a pixel size or the same field, found both"),
        ({"placement": Placement(pixel_size_um=-1)}, "a number above 0, found -1"),
        ({"placement": Placement(True, origin=(1, 2))}, "a pixel size with an origin"),
        ({"register_to": "maps/mean_intensity"}, "expected a registration to use it"),
        ({"name": "a/b"}, "expected letters, digits"),
        ({"register": True}, "a map of at least 16 points along each side, found 5 x 7"),
        ({"register": True, "register_to": "maps/none"}, "expected a map 'maps/none'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    archive_path: Path, light_file: Path, settings: dict, message: str
) -> None:
    before = archive_path.read_bytes()
    with pytest.raises((ArgumentError, MissingLayerError), match=message):
        ebsdarchive.attach(
            archive_path,
            light_file,
            **{"stage_angles_deg": ANGLES, "placement": SAME, **settings},
        )
    assert archive_path.read_bytes() == before


def test_a_scan_of_unknown_step_has_no_use_for_a_pixel_size(
    make_archive: Callable[..., Path], light_file: Path
) -> None:
    path = make_archive(step_um=(None, None))
    with pytest.raises(ArgumentError, match="expected a scan of known step"):
        ebsdarchive.attach(
            path, light_file, stage_angles_deg=ANGLES, placement=Placement(pixel_size_um=0.5)
        )


@pytest.mark.parametrize(
    ("node", "value", "fault"),
    [
        ("to_scan", np.zeros((2, 3)), "a transform that can be inverted"),
        ("stage_angles_deg", np.array([0, np.inf, 60]), "expected angles, found NaN or infinity"),
        ("displacement", np.zeros((4, 7, 2)), r"expected shape \(5, 7, 2\), found \(4, 7, 2\)"),
    ],
)
def test_what_does_not_fit_together_is_found(
    full_copy: Path, node: str, value: np.ndarray, fault: str
) -> None:
    with h5py.File(full_copy, "r+") as file:
        group = file["archive/auxiliary/light"]
        del group[node]
        group[node] = value
        if node != "to_scan":
            group[node].attrs["units"] = "deg" if node == "stage_angles_deg" else "pixels"
    report = ebsdarchive.verify(full_copy)
    assert any(re.search(fault, line) for line in report.layers["auxiliary/light"])
    with pytest.raises(CorruptionError, match=fault):
        opened(full_copy)


# ---------------------------------------------------------------- places


def test_images_of_the_same_field_cover_the_area_of_its_points(
    archive_path: Path, light_file: Path
) -> None:
    ebsdarchive.attach(archive_path, light_file, stage_angles_deg=ANGLES, placement=SAME)
    stack, grid = opened(archive_path), ebsdarchive.open_archive(archive_path).grid
    assert stack.registration == "same-field"
    # two pixels on a step: the first point lies between the first two pixels
    assert stack.positions(grid)[0] == pytest.approx([0.5, 0.5])
    assert stack.positions(grid)[-1] == pytest.approx([12.5, 8.5])


def test_as_many_pixels_as_points_are_taken_for_the_points_and_that_is_said(
    archive_path: Path, tmp_path: Path
) -> None:
    pages = np.random.default_rng(1).integers(0, 255, (2, 5, 7)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "l.tif", pages, photometric="minisblack")
    summary = ebsdarchive.attach(archive_path, tmp_path / "l.tif", stage_angles_deg=(0, 45))
    assert any("as many pixels as points" in note for note in summary.notes)
    grid = ebsdarchive.open_archive(archive_path).grid
    assert light_series(opened(archive_path), grid) == pytest.approx(pages.astype(float))


def test_a_pixel_size_an_origin_and_a_turn_place_the_images(
    archive_path: Path, light_file: Path
) -> None:
    placement = Placement(pixel_size_um=0.25, origin=(1.0, 2.0), turn_deg=90)
    summary = ebsdarchive.attach(
        archive_path, light_file, stage_angles_deg=ANGLES, placement=placement
    )
    stack = opened(archive_path)
    # steps of 0.75 x 0.5 um; rows of the images run down the scan, their columns to the left
    assert stack.to_scan @ [0, 0, 1] == pytest.approx([1, 2])
    assert stack.to_scan @ [4, 0, 1] == pytest.approx([1, 2 + 4 * 0.25 / 0.5])
    assert stack.to_scan @ [0, 3, 1] == pytest.approx([1 - 3 * 0.25 / 0.75, 2])
    assert summary.covered < 1
    assert any("lie outside of the images" in note for note in summary.notes)


def test_centres_coincide_where_no_origin_is_given(archive_path: Path, light_file: Path) -> None:
    placement = Placement(pixel_size_um=0.25)
    ebsdarchive.attach(archive_path, light_file, stage_angles_deg=ANGLES, placement=placement)
    assert opened(archive_path).to_scan @ [6.5, 4.5, 1] == pytest.approx([3, 2])


def test_mirrored_images_are_read_from_the_other_side(archive_path: Path, tmp_path: Path) -> None:
    pages = np.random.default_rng(1).integers(0, 255, (2, 5, 7)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "l.tif", pages[..., ::-1], photometric="minisblack")
    ebsdarchive.attach(
        archive_path, tmp_path / "l.tif", stage_angles_deg=(0, 45),
        placement=Placement(same_field=True, mirrored=True),
    )  # fmt: skip
    grid = ebsdarchive.open_archive(archive_path).grid
    assert light_series(opened(archive_path), grid) == pytest.approx(pages.astype(float))


def test_the_origin_is_that_of_the_file_s_first_pixel_mirrored_or_not(
    archive_path: Path, light_file: Path
) -> None:
    placement = Placement(pixel_size_um=0.25, origin=(5.0, 1.0), mirrored=True)
    ebsdarchive.attach(archive_path, light_file, stage_angles_deg=ANGLES, placement=placement)
    stack = opened(archive_path)
    assert stack.to_scan @ [0, 0, 1] == pytest.approx([5, 1])
    assert stack.to_scan @ [3, 0, 1] == pytest.approx([4, 1])


def test_points_of_a_hexagonal_grid_have_their_own_places(
    make_archive: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_archive(hexagonal=True)
    columns = np.tile(np.arange(70, dtype=np.float32), (2, 50, 1))
    tifffile.imwrite(tmp_path / "l.tif", columns, photometric="minisblack")
    ebsdarchive.attach(path, tmp_path / "l.tif", stage_angles_deg=(0, 45), placement=SAME)
    grid = ebsdarchive.open_archive(path).grid
    seen = light_series(opened(path), grid)[0]
    assert np.isnan(seen[1, -1])
    assert seen[1, 1] - seen[0, 1] == pytest.approx(5, abs=0.2)  # half a step of ten pixels
    with pytest.raises(ArgumentError, match="a square grid to register to"):
        ebsdarchive.attach(
            path, tmp_path / "l.tif", stage_angles_deg=(0, 45), placement=SAME, name="b",
            register=True,
        )  # fmt: skip


# ---------------------------------------------------------------- light at points


def stack_of(images: np.ndarray, to_scan: np.ndarray, angles: tuple[float, ...]) -> LightStack:
    return LightStack(images, np.array(angles), to_scan, "given", "l.tif", "0" * 64)


def test_fine_pixels_are_averaged_over_a_step() -> None:
    rng = np.random.default_rng(3)
    images = rng.normal(100, 10, (1, 160, 200))
    to_scan = np.array([[0.1, 0, -0.45], [0, 0.1, -0.45]])
    seen = light_series(stack_of(images, to_scan, (0.0,)), Grid("square", 20, 16))
    assert seen.std() < 2.5  # 10 / 10 for a box of 10 x 10 pixels; a Gaussian is a little wider
    assert seen.mean() == pytest.approx(100, abs=0.5)


def test_points_outside_of_the_images_have_no_light() -> None:
    images = np.ones((1, 6, 8))
    seen = light_series(
        stack_of(images, np.array([[1.0, 0, 3], [0, 1, 0]]), (0.0,)), Grid("square", 9, 6)
    )
    assert np.isnan(seen[0, :, :3]).all()
    assert np.isfinite(seen[0, :, 3:]).all()


def test_images_end_at_the_rims_of_their_pixels() -> None:
    at = [(-0.5, -0.5), (7.5, 5.5), (7.6, 0), (5.6, 5.6), (np.nan, 0)]
    assert in_images(np.array(at), (3, 6, 8)).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize(("analyser", "crossed"), [(90, True), (84, False)])
def test_other_stage_angles_follow_from_those_measured(analyser: float, crossed: bool) -> None:
    axes = c_axes(uniform_quaternions(60, np.random.default_rng(4)))
    taken, wanted = range(0, 180, 25), range(5, 100, 10)
    measured, expected = (
        LightChannels.fit(angles, 3, analyser_deg=analyser).series(axes)
        for angles in (taken, wanted)
    )
    found = at_stage_angles(measured, list(taken), list(wanted), crossed=crossed)
    assert found == pytest.approx(expected, abs=1e-9)


def test_angles_that_tell_too_little_are_refused() -> None:
    with pytest.raises(ArgumentError, match="at least 3 spread over a period of 90 degrees"):
        at_stage_angles(np.zeros((3, 4)), [0, 90, 180], [0, 10])


def test_light_in_counts_becomes_the_channels_of_a_model() -> None:
    light = LightChannels.fit()
    truth = SyntheticMaps(size=(40, 53), seed=3, light=light, grain_size=(7, 8))[0]
    taken = tuple(float(a) for a in range(0, 180, 15))
    series = LightChannels.fit(taken).series(c_axes(truth.quaternions))
    counts = np.rint(40000 * series + 1300).astype(np.uint16)
    stack = stack_of(counts, np.array([[1.0, 0, 0], [0, 1, 0]]), taken)
    found = light_channels_of(stack, Grid("square", 53, 40), light)
    # the gain is known from the brightest grains only
    for channel, expected in zip(found, truth.channels[3:], strict=True):
        assert np.corrcoef(channel.ravel(), expected.ravel())[0, 1] > 0.999
        assert np.abs(channel - expected).max() < 0.25


def test_images_of_one_grey_are_refused() -> None:
    with pytest.raises(ArgumentError, match="images with contrast, found 7 everywhere"):
        normalised(np.full((3, 4, 5), 7.0), [0, 30, 60])


def test_noise_changes_the_scale_of_the_light_little() -> None:
    light = LightChannels.fit()
    rng = np.random.default_rng(6)
    clean = light.series(c_axes(uniform_quaternions(3000, rng)))
    noisy = normalised(
        2000 * (clean + 0.05 * rng.standard_normal(clean.shape)) + 300, light.stage_angles_deg
    )
    gain, offset = np.polyfit(clean.ravel(), noisy.ravel(), 1)
    assert gain == pytest.approx(1, abs=0.05)
    assert offset == pytest.approx(0, abs=0.03)


def test_an_orientation_has_one_image_frame_whichever_sample_frame_it_came_in() -> None:
    q = uniform_quaternions(50, np.random.default_rng(5))
    oxford = in_sample_frame(Orientations(q, np.zeros(50, np.int32)), "oxford").quaternions
    a, b = to_image_frame(q, "edax"), to_image_frame(oxford, "oxford")
    assert np.abs((a * b).sum(axis=1)) == pytest.approx(1)
    assert np.abs((from_image_frame(a, "edax") * q).sum(axis=1)) == pytest.approx(1)
    normal = c_axes(q)  # c in the sample: RD down, TD along the rows, ND out
    assert c_axes(a) == pytest.approx(np.column_stack([normal[:, 1], normal[:, 0], -normal[:, 2]]))


# ---------------------------------------------------------------- registration


@pytest.fixture(scope="module")
def specimen() -> dict:
    """Light of a field, the scan's own points in it, and orientations at these points."""
    light = LightChannels.fit(range(0, 180, 30))
    truth = SyntheticMaps(size=(72, 86), seed=3, light=light, grain_size=(9, 11))[1]
    series = light.series(c_axes(truth.quaternions))
    ny, nx = 40, 53
    y, x = np.mgrid[:ny, :nx].astype(float)
    column = 1.04 * x + 0.03 * y + 14.3 + 1.2 * np.sin(np.pi * y / ny)
    row = -0.02 * x + 0.97 * y + 15.2 + 1.2 * np.sin(np.pi * x / nx)
    nearest = np.rint([row, column]).astype(int)
    return {
        "series": series,
        "position": np.stack([column, row], axis=-1),
        "quaternions": truth.quaternions[nearest[0], nearest[1]],
        "start": np.array([[1.0, 0, -15], [0, 1, -15]]),
    }


@pytest.mark.parametrize("most_points", [10_000, 1000])  # all of the 2120, and some at random
def test_a_known_distortion_is_recovered_to_a_part_of_a_pixel(
    specimen: dict, most_points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "MOST_POINTS", most_points)
    rng = np.random.default_rng(0)
    mean = specimen["series"].mean(axis=0)
    column, row = np.moveaxis(specimen["position"], -1, 0)
    fixed = map_coordinates(mean, [row, column], order=1)
    image = 900 * np.sqrt(np.clip(mean + rng.normal(0, 0.02, mean.shape), 0, None)) + 70
    y, x = np.mgrid[: fixed.shape[0], : fixed.shape[1]]
    points = np.column_stack([x.ravel(), y.ravel()])

    def error(to_scan, displacement):
        found = to_images(to_scan, points).reshape(*fixed.shape, 2) + displacement
        return np.linalg.norm(found - specimen["position"], axis=2)

    found = register(fixed, image, specimen["start"], nodes=3)
    before = error(specimen["start"], 0)
    after = error(found.to_scan, found.displacement)
    assert before.mean() > 1.5
    assert after.mean() < (0.3 if most_points > fixed.size else 0.5)
    assert after.max() < (1 if most_points > fixed.size else 2)
    assert found.information_after > found.information_before
    again = register(fixed, image, specimen["start"], nodes=3)
    assert np.array_equal(again.displacement, found.displacement)


def test_images_without_contrast_are_not_registered() -> None:
    fixed = np.random.default_rng(0).random((20, 30))
    with pytest.raises(ArgumentError, match="images with contrast, found one grey value"):
        register(fixed, np.full((20, 30), 7), np.array([[1.0, 0, 0], [0, 1, 0]]))


def test_images_that_show_another_place_are_refused(specimen: dict) -> None:
    away = np.array([[1.0, 0, 500], [0, 1, 0]])
    with pytest.raises(ArgumentError, match="images that show the scan, found 0% of it"):
        register(np.random.default_rng(0).random((20, 30)), specimen["series"][0], away)


@pytest.fixture(scope="module")
def indexed(make_archive: Callable[..., Path], specimen: dict) -> Path:
    """An archive whose orientation map is that of the specimen, with a few points not indexed."""
    ny, nx = specimen["quaternions"].shape[:2]
    path = make_archive(ny=ny, nx=nx, sy=3, sx=5, step_um=(1.0, 1.0), described=False)
    q = from_image_frame(specimen["quaternions"].reshape(-1, 4))
    phase_id = np.zeros(len(q), np.int32)
    phase_id[::97], q[::97] = -1, np.nan
    found = OrientationMap(
        Orientations(q, phase_id, {key: np.ones(len(q)) for key in ("confidence", "fit")}),
        (Phase(0, "Ti α", 194, "6/mmm", (2.95, 2.95, 4.68, 90.0, 90.0, 120.0)),),
        np.array([0.5, 0.5, 0.5]), "given", "raw", None, "static", {0: [[0, 0, 2]]},
    )  # fmt: skip
    with adding_layers(path, ["maps/orientations"]) as file:
        grid = ebsdarchive.open_archive(path).grid
        write_orientation_map(file["archive"], "orientations", found, grid)
    return path


@pytest.fixture(scope="module")
def registered(indexed: Path, specimen: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That archive with the light of the field, registered by the command line."""
    folder = tmp_path_factory.mktemp("registered")
    path = Path(shutil.copyfile(indexed, folder / "a.h5"))
    counts = np.rint(30000 * specimen["series"] + 500).astype(np.uint16)
    tifffile.imwrite(folder / "light.tif", counts, photometric="minisblack")
    from ebsdarchive.cli import main

    with pytest.raises(SystemExit) as left:
        main(
            [
                *("attach", str(path), "--pl", str(folder / "light.tif"), "--angles", "0:180:30"),
                *("--pixel-size", "1", "--origin", "-15,-15", "--register", "--nodes", "3"),
            ]
        )
    assert left.value.code == 0
    return path


def test_light_is_registered_to_what_the_orientations_predict(
    registered: Path, specimen: dict
) -> None:
    stack = opened(registered)
    assert stack.registered_to == "maps/orientations"
    assert stack.registration == "mutual-information"
    assert "SimpleITK" in stack.registration_parameters["package"]
    grid = ebsdarchive.open_archive(registered).grid
    error = np.linalg.norm(stack.positions(grid) - specimen["position"].reshape(-1, 2), axis=1)
    assert error.mean() < 0.5
    assert error.max() < 1.5
    assert ebsdarchive.verify(registered, data=True).sound
    (activity,) = ebsdarchive.open_archive(registered).provenance()[-1]["activity"].values()
    parameters = json.loads(activity["ea:parameters"])
    assert parameters["registration"]["information_after"] > 1
    used = ebsdarchive.open_archive(registered).provenance()[-1]["used"].values()
    assert "maps/orientations" in {relation["prov:role"] for relation in used}


def test_the_registered_light_is_that_of_the_points_own_orientations(
    registered: Path, specimen: dict
) -> None:
    archive = ebsdarchive.open_archive(registered)
    seen = light_series(opened(registered), archive.grid)
    expected = LightChannels.fit(range(0, 180, 30)).series(c_axes(specimen["quaternions"]))
    assert (
        np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.85
    )  # pixels on boundaries are mixed


def test_info_and_plot_show_the_light(registered: Path, run_cli: Callable, tmp_path: Path) -> None:
    said = run_cli("info", registered).out
    assert "6 images of 72 x 86 px, mutual information" in said
    entry = ebsdarchive.info(registered)["layers"]["auxiliary/light"]
    assert entry["stage_angles_deg"] == [0, 30, 60, 90, 120, 150]
    assert run_cli("plot", registered, "--what", "light", "-o", tmp_path / "light.png").code == 0
    assert (tmp_path / "light.png").stat().st_size > 10_000


def test_a_map_to_register_to_may_be_named(indexed: Path) -> None:
    archive = ebsdarchive.open_archive(indexed)
    values, name = map_to_register_to(archive)
    assert name == "maps/orientations"
    assert np.isfinite(values).all()
    values, name = map_to_register_to(archive, "mean_intensity")
    assert name == "maps/mean_intensity"
    assert np.array_equal(values, archive.map("mean_intensity"))


def test_angles_on_the_command_line_are_a_range_or_a_list(
    archive_path: Path, light_file: Path, run_cli: Callable
) -> None:
    for number, text in enumerate(("0:100:20", "0,20,40,60,80", "80:-20:-20")):
        done = run_cli(
            "attach", archive_path, "--pl", light_file, "--angles", text, "--same-field",
            "--name", f"l{number}", "--json",
        )  # fmt: skip
        assert done.code == 0, done.err
        assert sorted(json.loads(done.out)["stage_angles_deg"]) == list(ANGLES)
    for text in ("0:100:0", "0:100:-5", "up", "0:1:x", ""):
        done = run_cli("attach", archive_path, "--pl", light_file, "--angles", text)
        assert done.code == 2
        assert "expected first:end:step" in done.err
        assert done.err.count("\n") == 1
