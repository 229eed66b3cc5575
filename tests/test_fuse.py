"""``fuse``: from an archive with indexed orientations and light to estimates between its points."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tifffile
import torch

import ebsdarchive
from ebsdarchive.archive.fused_maps import read_fused_map
from ebsdarchive.archive.layers import write_map
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.nodes import read_array
from ebsdarchive.archive.orientation_maps import OrientationMap, write_orientation_map
from ebsdarchive.archive.outlines import read_outlines
from ebsdarchive.errors import (
    ArgumentError,
    CorruptionError,
    FormatError,
    MissingLayerError,
    OutputError,
)
from ebsdarchive.multimodal import map_network
from ebsdarchive.multimodal.archive_maps import observed_map, white_noise
from ebsdarchive.multimodal.fuse_options import FuseOptions
from ebsdarchive.multimodal.image_frame import from_image_frame, to_image_frame
from ebsdarchive.multimodal.light_channels import LightChannels
from ebsdarchive.multimodal.metrics import disorientation_deg
from ebsdarchive.multimodal.orientation_channels import from_channels
from ebsdarchive.multimodal.polarised_light import c_axes
from ebsdarchive.multimodal.synthetic_maps import SyntheticMaps
from ebsdarchive.restorers.checkpoint import read_checkpoint, write_checkpoint
from ebsdarchive.scan import Orientations, Phase
from ebsdarchive.verbs.light_placement import Placement

NY, NX, FINER = 9, 11, 4
ANGLES = (0.0, 15.0, 40.0, 60.0, 80.0)
TITANIUM = Phase(0, "Ti α", 194, "6/mmm", (2.95, 2.95, 4.68, 90.0, 90.0, 120.0))
FEW = FuseOptions(samples=2, steps=4, orientation_noise=0.0)


@pytest.fixture(scope="module")
def specimen():
    """A map four times as fine as the scan that is made of it."""
    shape = ((NY - 1) * FINER + 1, (NX - 1) * FINER + 1)
    return SyntheticMaps("laguerre", shape, seed=3, light=LightChannels.fit(), spread_deg=0.0)[0]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Untrained networks: what they draw is noise, but it agrees with what was measured."""
    folder = tmp_path_factory.mktemp("models")
    for kind in map_network.KINDS:
        torch.manual_seed(1)
        config = {"kind": kind, "window": 32, "base": 4, "levels": 2, "time_width": 16}
        made = map_network.checkpoint_of(map_network.build(config), {})
        write_checkpoint(folder / f"{kind}.safetensors", made)
    return {kind: folder / f"{kind}.safetensors" for kind in map_network.KINDS}


def write_orientations(path, quaternions, phases=(TITANIUM,), phase_id=None):
    """Give an archive the layer maps/orientations."""
    n = len(quaternions)
    found = OrientationMap(
        Orientations(
            quaternions, np.zeros(n, np.int32) if phase_id is None else phase_id,
            {key: np.ones(n) for key in ("confidence", "fit")},
        ),
        phases, np.array([0.5, 0.5, 0.5]), "given", "raw", None, "static", {0: [[0, 0, 2]]},
    )  # fmt: skip
    with adding_layers(path, ["maps/orientations"]) as file:
        grid = ebsdarchive.open_archive(path).grid
        write_orientation_map(file["archive"], "orientations", found, grid)


@pytest.fixture(scope="module")
def _indexed(specimen, make_archive, tmp_path_factory):
    """An archive whose points were indexed, but for one, and the light of the whole area."""
    path = make_archive(ny=NY, nx=NX, sy=3, sx=5, step_um=(1.0, 1.0), described=False)
    q = from_image_frame(specimen.quaternions[::FINER, ::FINER].reshape(-1, 4))
    phase_id = np.zeros(len(q), np.int32)
    phase_id[7], q[7] = -1, np.nan
    write_orientations(path, q, phase_id=phase_id)
    channels = LightChannels.fit(ANGLES)
    series = channels.series(c_axes(specimen.quaternions))
    light = tmp_path_factory.mktemp("light") / "light.tif"
    counts = np.rint(30000 * series + 500).astype(np.uint16)
    tifffile.imwrite(light, counts, photometric="minisblack")
    ebsdarchive.attach(
        path, light, stage_angles_deg=ANGLES,
        placement=Placement(pixel_size_um=1 / FINER, origin=(0.0, 0.0)),
    )  # fmt: skip
    return path


@pytest.fixture
def indexed(_indexed, tmp_path):
    return shutil.copyfile(_indexed, tmp_path / "scan.h5")


def layer(path, name, read=lambda group, name: read_array(group[name]["data"])):
    with ebsdarchive.open_archive(path).group() as group:
        return read(group, name)


def test_measured_orientations_come_back_where_they_were_measured(indexed, models, specimen):
    made = ebsdarchive.fuse_superres(indexed, options=FEW, model=models["multimodal"])
    assert made.layers == ("maps/fused",)
    assert "samples differ by" in made.notes[0]  # it is untrained
    assert made.shape == specimen.grains.shape
    found = layer(indexed, "fused", read_fused_map)
    assert found.measured.sum() == NY * NX - 1
    assert not found.measured[0, 7 * FINER]
    q = to_image_frame(found.quaternions)
    error = disorientation_deg(q, specimen.quaternions, "6/mmm")[found.measured]
    assert np.percentile(error, 95) < 0.2  # a grain on a seam is limited to the model's range
    spread = found.spread_deg
    assert np.percentile(spread[found.measured], 95) < 0.1 < spread[~found.measured].mean()
    assert found.phase.name == "Ti α"
    assert (found.orientation_map[0], found.light[0]) == (
        "maps/orientations", "auxiliary/light",
    )  # fmt: skip


def test_the_archive_stays_sound_and_says_how_the_layers_came_about(indexed, models, run_cli):
    made = ebsdarchive.fuse(indexed, options=FEW, model=models["multimodal"], name="both")
    assert set(made.layers) == {
        "maps/both", "maps/both-grains", "maps/both-boundary-share", "maps/both-boundaries",
        "maps/both-light", "maps/both-light-spread",
    }  # fmt: skip
    assert ebsdarchive.verify(indexed, data=True).sound
    assert run_cli("validate", indexed).code == 0
    last = ebsdarchive.info(indexed)["activities"][-1]
    assert last["command"] == "fuse"
    again = ebsdarchive.fuse(indexed, options=FEW, model=models["multimodal"], name="again")
    for ending in ("-light", "-grains", "-boundary-share"):
        one, other = (layer(indexed, f"maps/{name}{ending}") for name in ("both", "again"))
        assert np.array_equal(one, other)
    assert again.model_sha256 == made.model_sha256


def test_boundaries_are_polylines_as_those_of_the_diffraction_gradient(indexed, tmp_path, run_cli):
    few = replace(FEW, steps=30)  # of the package's model: without grains there is no boundary
    ebsdarchive.fuse_boundaries(indexed, options=few)
    lines = layer(indexed, "maps/fused-boundaries", read_outlines)
    labels = layer(indexed, "maps/fused-grains")
    assert len(lines.grains) == labels.max() > 1
    with h5py.File(indexed) as file:
        assert "disorientation" in file["archive/maps/fused-boundaries"].attrs["measure"]
    assert sum(grain.area for grain in lines.grains) == pytest.approx(labels.size / FINER**2)
    assert run_cli("export", indexed, "-o", tmp_path / "a.csv", "--layer",
                   "maps/fused-boundaries").code == 0  # fmt: skip
    ebsdarchive.fuse_boundaries(indexed, options=few, name="boundaries-of")
    with adding_layers(indexed, ["maps/boundaries"]) as file:
        maps = file["archive/maps"]
        maps.copy("fused-boundaries", "boundaries")
    made = ebsdarchive.fuse_boundaries(indexed, options=few, force=True)
    assert made.chamfer_steps == (0.0, 0.0)


def test_light_is_seen_as_the_model_has_it_and_outside_of_its_images_not_at_all(
    indexed, models, specimen
):
    config = map_network.build({"kind": "multimodal"}).config
    with ebsdarchive.open_archive(indexed).group() as group:
        from ebsdarchive.archive.auxiliary import read_light_stack

        seen = observed_map(
            group, config, per_step=FINER, orientation_map=None,
            stack=read_light_stack(group), orientation_noise=0.0, light_noise=None,
        )  # fmt: skip
    light = seen.observation.values[3:].numpy()
    for found, true in zip(light, specimen.channels[3:], strict=True):
        assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.99
    assert bool(seen.observation.measured[3:].all())
    q = from_channels(seen.observation.values[:3].numpy()[:, seen.measured])
    error = disorientation_deg(q, specimen.quaternions[seen.measured], "6/mmm")
    assert np.percentile(error, 95) < 0.1


def test_noise_of_light_is_told_from_its_edges(specimen):
    rng = np.random.default_rng(0)
    clean = specimen.channels[3:]
    assert (white_noise(clean) < 0.03).all()
    for sigma in (0.05, 0.2):
        found = white_noise(clean + rng.normal(0, sigma, clean.shape).astype(np.float32))
        assert (0.9 * sigma < found).all()
        assert (found < 1.5 * sigma).all()


def test_orientations_alone_and_light_alone_are_enough(indexed, models):
    alone = ebsdarchive.fuse_superres(
        indexed, options=FEW, model=models["multimodal"], light="none"
    )
    assert alone.light is None
    assert "without light" in alone.notes[0]
    assert layer(indexed, "fused", read_fused_map).light is None
    ebsd = ebsdarchive.fuse(
        indexed, ("superres", "boundaries"), options=FEW, model=models["ebsd"], name="ebsd"
    )
    assert ebsd.light_noise == ()
    light = ebsdarchive.fuse(
        indexed, ("boundaries", "denoise"), options=FEW, model=models["light"], name="light"
    )
    assert light.orientation_map is None
    assert light.measured == 0
    assert layer(indexed, "maps/light-light").shape == (*light.shape, 3)


def test_alignment_is_fitted_where_orientations_were_measured(indexed, models):
    for align in ("none", "network", "grains"):
        options = FuseOptions(samples=2, steps=4, orientation_noise=0.3, align=align)
        ebsdarchive.fuse_superres(indexed, options=options, model=models["multimodal"], name=align)
    none, network, grains = (
        layer(indexed, name, read_fused_map) for name in ("none", "network", "grains")
    )
    for aligned in (network, grains):
        assert not np.array_equal(none.quaternions, aligned.quaternions)
    assert network.parameters["align"] == "network"
    assert FuseOptions().align == grains.parameters["align"] == "grains"


def test_a_fused_map_is_drawn_and_written_as_a_map_of_its_own(indexed, models, tmp_path, run_cli):
    from orix.io import load

    ebsdarchive.fuse_superres(indexed, options=FEW, model=models["multimodal"])
    fused = layer(indexed, "fused", read_fused_map)
    told = run_cli("export", indexed, "-o", tmp_path / "fused.ang", "--layer", "maps/fused")
    assert "orientations of 33 x 41 points" in told.out, told.err
    back = load(tmp_path / "fused.ang")
    assert (back.shape, back.dx, back.scan_unit) == ((33, 41), 1 / FINER, "um")
    off = disorientation_deg(back.rotations.data, fused.quaternions.reshape(-1, 4), "6/mmm")
    assert off.max() < 1e-2  # angles of five digits
    assert np.array_equal(back.prop["ci"] == 1, fused.measured.ravel())
    np.testing.assert_allclose(back.prop["fit"], fused.spread_deg.ravel(), atol=1e-4)
    ebsdarchive.export(indexed, tmp_path / "measured.ang", layer="maps/orientations")
    assert load(tmp_path / "measured.ang").shape == (NY, NX)
    for name in ("fused.csv", "fused.up2"):
        told = run_cli("export", indexed, "-o", tmp_path / name, "--layer", "maps/fused")
        assert "expected a name ending in .ang for orientations" in told.err
    told = run_cli("export", indexed, "-o", tmp_path / "part.ang", "--layer", "maps/fused",
                   "--region", "0,0:3,3")  # fmt: skip
    assert "maps are exported whole" in told.err
    from ebsdarchive.figures.orientations import draw_ipf
    from ebsdarchive.verbs.plotting import PlotOptions

    def drawn(**options):
        figure = draw_ipf(ebsdarchive.open_archive(indexed), PlotOptions(**options), print)
        image = figure.axes[0].images[0].get_array()
        return image, {text.get_text() for text in figure.texts}

    image, texts = drawn(map_name="fused")
    assert image.shape[:2] == (33, 41)
    assert any("estimate" in text for text in texts)
    assert drawn()[0].shape[:2] == (NY, NX)
    vague = fused.spread_deg > 10
    assert (image[vague].min(axis=1) >= 0.6).all()


def test_what_cannot_be_done_is_said_in_a_line_and_changes_nothing(indexed, models, archive_path):
    before = indexed.read_bytes()
    model = models["multimodal"]
    for error, words, call in (
        (MissingLayerError, "expected an orientation map",
         lambda: ebsdarchive.fuse(archive_path, options=FEW, model=model)),
        (MissingLayerError, "expected polarised light for a model of light alone",
         lambda: ebsdarchive.fuse(archive_path, ("denoise",), options=FEW, model=models["light"])),
        (ArgumentError, "a model that can denoise, found one of kind ebsd",
         lambda: ebsdarchive.fuse(indexed, options=FEW, model=models["ebsd"])),
        (ArgumentError, "results out of superres",
         lambda: ebsdarchive.fuse(indexed, ("grains",), options=FEW, model=model)),
        (ArgumentError, "samples: expected from 1", lambda: FuseOptions(samples=0)),
        (ArgumentError, "align: expected one of grains, network, none, found 'grain'",
         lambda: FuseOptions(align="grain")),
        (ArgumentError, "orientation_noise: expected from 0",
         lambda: FuseOptions(orientation_noise=float("nan"))),
        (ArgumentError, "fewer per step",
         lambda: ebsdarchive.fuse(indexed, options=FEW, model=model, per_step=1000)),
        (ArgumentError, "samples per step: expected a whole number from 1 to 4096, found 10{20}$",
         lambda: ebsdarchive.fuse(indexed, options=FEW, model=model, per_step=10**20)),
        (ArgumentError, "samples per step: .* found 2.0",
         lambda: ebsdarchive.fuse(indexed, options=FEW, model=model, per_step=2.0)),
        (ArgumentError, "name: expected letters",
         lambda: ebsdarchive.fuse(indexed, options=FEW, model=model, name="a/b")),
        (OutputError, "another name than that of maps/orientations, which the estimate rests on",
         lambda: ebsdarchive.fuse_superres(indexed, options=FEW, model=model, force=True,
                                           name="orientations")),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            call()
    assert indexed.read_bytes() == before
    ebsdarchive.fuse_superres(indexed, options=FEW, model=model)
    with pytest.raises(OutputError, match="use --force"):
        ebsdarchive.fuse_superres(indexed, options=FEW, model=model)


def test_what_cannot_come_out_is_said_before_samples_are_drawn(indexed, models, make_archive):
    row = make_archive(ny=1, nx=7, sy=3, sx=5, described=False)
    write_orientations(row, np.tile([1.0, 0, 0, 0], (7, 1)))
    align, model = FuseOptions(samples=2, steps=3, align="network"), models["multimodal"]
    for words, call, path, settings in (
        ("at least 16 measured points, found 7", ebsdarchive.fuse_superres, row,
         {"options": align, "model": model}),
        ("found one of light alone", ebsdarchive.fuse_denoise, indexed,
         {"options": align, "model": models["light"]}),
        (r"a map of at least 3 x 3 points, found \(1, 13\)", ebsdarchive.fuse_boundaries, row,
         {"options": FEW, "model": model, "per_step": 2}),
    ):  # fmt: skip
        stages = []
        with pytest.raises(ArgumentError, match=words):
            call(path, **settings, progress=lambda stage, *_: stages.append(stage))  # noqa: B023
        assert stages == []
    made = ebsdarchive.fuse(row, ("superres", "superres"), options=FEW, model=model, per_step=2)
    assert (made.layers, made.shape) == (("maps/fused",), (1, 13))


def test_orientations_that_are_no_rotations_were_not_measured(indexed, models, specimen):
    q = from_image_frame(specimen.quaternions[::FINER, ::FINER].reshape(-1, 4))
    q[3], q[5], q[8] = np.nan, 0, 7 * q[8]
    write_orientations(indexed, q)
    ebsdarchive.fuse_superres(indexed, options=FEW, model=models["multimodal"])
    measured = layer(indexed, "fused", read_fused_map).measured[::FINER, ::FINER]
    assert np.flatnonzero(~measured).tolist() == [3, 5, 8]


def test_a_model_that_predicts_no_numbers_is_refused(indexed, models, tmp_path):
    good = read_checkpoint(models["multimodal"])
    tensors = {name: np.full_like(value, 6e4) for name, value in good.tensors.items()}
    write_checkpoint(tmp_path / "bad", replace(good, tensors=tensors))
    with pytest.raises(FormatError, match="model of maps: expected finite predictions"):
        ebsdarchive.fuse_superres(indexed, options=FEW, model=tmp_path / "bad")


def test_other_point_groups_and_hexagonal_grids_are_refused(indexed, models, make_archive):
    cubic = Phase(0, "Ni", 225, "m-3m", None)
    write_orientations(indexed, np.tile([1.0, 0, 0, 0], (NY * NX, 1)), (cubic,))
    with pytest.raises(ArgumentError, match=r"point group 6/mmm, .*, found Ni \(m-3m\)"):
        ebsdarchive.fuse_superres(indexed, options=FEW, model=models["multimodal"])


def test_a_fused_layer_that_is_damaged_is_named(indexed, models):
    ebsdarchive.fuse_superres(indexed, options=FEW, model=models["multimodal"])
    with h5py.File(indexed, "r+") as file:
        archive = file["archive"]
        write_map(archive, "other", np.zeros((NY, NX)), long_name="x", units="1")
        with pytest.raises(MissingLayerError, match="found fused"):
            read_fused_map(archive, "other")
        del archive["maps/fused/spread_deg"]
        with pytest.raises(CorruptionError, match="damaged"):
            read_fused_map(archive, "fused")
    assert not ebsdarchive.verify(indexed).sound


def test_the_command_reports_what_it_made(indexed, models, run_cli):
    few = ["--model", models["multimodal"], "--samples", "2", "--steps", "3"]
    told = run_cli("fuse", "superres", indexed, *few)
    assert told.code == 0, told.err
    assert "maps/fused: 41 x 33, 4 per step, an estimate of 2 samples" in told.out
    assert "spread of the orientations" in told.out
    told = run_cli("fuse", "boundaries", indexed, *few, "--json")
    assert json.loads(told.out)["layers"][2] == "maps/fused-boundaries"
    told = run_cli("fuse", "denoise", indexed, *few, "--light-noise", "0.2")
    assert "noise 0.2, 0.2, 0.2" in told.out
    assert run_cli("fuse", "denoise", indexed, *few).code == OutputError.exit_code


def test_training_writes_a_model_that_fuse_takes(indexed, tmp_path, run_cli):
    options = ebsdarchive.fuse_train.__globals__["FuseTrainOptions"](
        steps=2, batch=2, config={"window": 32, "base": 4, "levels": 2, "time_width": 16},
        device="cpu",
    )  # fmt: skip
    out = tmp_path / "m.safetensors"
    made = ebsdarchive.fuse_train(out, options, licence="CC0-1.0")
    assert (made.steps, made.kind) == (2, "multimodal")
    again = ebsdarchive.fuse_superres(indexed, options=FEW, model=out)
    assert again.model_sha256 == made.sha256
    with pytest.raises(ArgumentError, match="expected a model of kind ebsd, found multimodal"):
        ebsdarchive.fuse_train(
            tmp_path / "other", type(options)(kind="ebsd", steps=1), init_from=out
        )
    for settings, words in (
        ({"config": {"kind": "ebsd"}}, "expected kind 'multimodal', found 'ebsd'"),
        ({"seed": -1}, "^seed: expected an integer of at least 0, found -1"),
    ):
        with pytest.raises(ArgumentError, match=words):
            ebsdarchive.fuse_train(tmp_path / "other", type(options)(steps=1, **settings))
    told = run_cli("fuse", "train", "ebsd", "--init-from", out, "-o", tmp_path / "b")
    assert told.code == ArgumentError.exit_code
