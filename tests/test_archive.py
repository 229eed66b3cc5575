"""What goes into an archive comes out: scans, layers, views; and layers move between archives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ebsdarchive
from ebsdarchive.archive import steps
from ebsdarchive.archive.file import Archive
from ebsdarchive.archive.layers import read_model, write_map
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.crystal_map import from_crystal_map, to_crystal_map
from ebsdarchive.errors import (
    ArchiveError,
    ArgumentError,
    CorruptionError,
    FormatError,
    MissingLayerError,
    OutputError,
    VersionError,
)
from ebsdarchive.geometry import Grid
from ebsdarchive.scan import (
    ArrayPatterns,
    Detector,
    Microscope,
    Orientations,
    Phase,
    Scan,
    SourceFile,
)
from ebsdarchive.schema import CURRENT_VERSION
from ebsdarchive.verbs.fitting import NeuralOptions

GOLDEN_1_0 = Path(__file__).parent / "golden" / "format-1.0" / "dense.h5"
TINY = NeuralOptions(rank=3, width=8, time_s=0.3, device="cpu")


def assert_same_scan(found: Scan, expected: Scan) -> None:
    """Both say the same of patterns, grid, detector, microscope, phases and orientations."""
    n = expected.grid.size
    patterns = expected.patterns.read(0, n)
    assert found.patterns.dtype == patterns.dtype
    assert found.patterns.read(0, n).tobytes() == patterns.tobytes()
    for name in ("grid", "microscope", "phases", "name"):
        assert getattr(found, name) == getattr(expected, name), name
    centres = ("pc_bruker", "pc_original")
    assert replace(found.detector, pc_bruker=None, pc_original=None) == replace(
        expected.detector, pc_bruker=None, pc_original=None
    )
    for name in centres:
        pair = getattr(found.detector, name), getattr(expected.detector, name)
        # one centre is one centre, whether for the scan or for its only point
        assert_same_array(*(pc if pc is None or len(pc) > 1 else np.squeeze(pc) for pc in pair))
    assert_same_array(found.static_background, expected.static_background)
    assert (found.orientations is None) == (expected.orientations is None)
    if found.orientations is not None and expected.orientations is not None:
        assert_same_array(found.orientations.quaternions, expected.orientations.quaternions)
        assert_same_array(found.orientations.phase_id, expected.orientations.phase_id)
        assert set(found.orientations.properties) == set(expected.orientations.properties)
        for name, values in expected.orientations.properties.items():
            assert_same_array(found.orientations.properties[name], values)


def assert_same_array(found: np.ndarray | None, expected: np.ndarray | None) -> None:
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": "uint8", "pc": "single"},
        {"dtype": "float32", "pc": None},
        {"hexagonal": True},
        {"hexagonal": True, "equal_rows": True, "ny": 4},
        {"described": False, "step_um": (None, None)},
        {"ny": 1, "nx": 1, "hexagonal": True},
        {"ny": 1, "nx": 1},
        {"ny": 1, "nx": 9},
        {"ny": 9, "nx": 1},
        {"sy": 1, "sx": 1},
        {"sy": 1, "sx": 9},
        {"sy": 9, "sx": 1, "step_um": (0.25, None)},
    ],
    ids=str,
)
def test_a_scan_comes_back_whole(make_scan: Callable, tmp_path: Path, options: dict) -> None:
    scan = make_scan(**options)
    path = tmp_path / "ä 镍.h5"
    ebsdarchive.compress(scan, path, neural=False)
    assert ebsdarchive.verify(path, data=True).sound
    archive = ebsdarchive.open_archive(path)
    assert_same_scan(archive.scan(), scan)
    assert archive.grid == scan.grid
    assert archive.dtype == scan.patterns.dtype.name
    assert archive.layers == ["raw", "maps/mean_intensity"]
    means = scan.patterns.read(0, scan.grid.size).mean(axis=(1, 2), dtype=np.float64)
    np.testing.assert_array_equal(
        archive.map("mean_intensity"), scan.grid.to_map(means.astype(np.float32))
    )


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
NUMBER = st.none() | st.floats(allow_nan=False)
STEP = st.none() | st.floats(1e-6, 1e6)


@st.composite
def scans(draw: st.DrawFn) -> Scan:
    """Scans with any combination of what a source may say or leave out."""
    nx, ny, sy, sx = (draw(st.integers(1, 4)) for _ in range(4))
    kind = draw(st.sampled_from(["square", "hexagonal"]))
    even = None
    if kind == "hexagonal":
        even = draw(st.sampled_from([nx, nx - 1] if nx > 1 else [nx]))
    grid = Grid(kind, nx, ny, draw(STEP), draw(STEP), even)
    n = grid.size
    rng = np.random.default_rng(draw(st.integers(0, 3)))
    dtype = draw(st.sampled_from(["uint8", "uint16", "float32"]))
    m = draw(st.sampled_from([None, 1, n]))
    centres = [None if m is None else rng.normal(size=(m, 3))[slice(None) if m > 1 else 0]] * 2
    detector = Detector(
        (sy, sx),
        *centres,
        draw(st.sampled_from([None, "bruker", "oxford"])),
        *(draw(NUMBER) for _ in range(6)),
    )
    phases = tuple(
        Phase(
            phase_id,
            draw(TEXT),
            draw(st.none() | st.integers(1, 230)),
            draw(st.none() | st.sampled_from(["m-3m", "6/mmm", "1"])),
            draw(st.none() | st.just((2.5, 3.0, 4.5, 90.0, 91.5, 120.0))),
        )
        for phase_id in sorted(draw(st.sets(st.integers(0, 12), max_size=3)))
    )
    orientations = None
    if draw(st.booleans()):
        quaternions = rng.normal(size=(n, 4))
        ids = [-1, *(phase.phase_id for phase in phases)]
        phase_id = rng.choice(ids, n).astype(np.int32)
        quaternions[phase_id < 0] = np.nan
        names = draw(st.sets(st.sampled_from(["iq", "Bänder", "fit (°)"])))
        properties = {name: rng.normal(size=(n, 2) if name == "iq" else n) for name in names}
        orientations = Orientations(quaternions, phase_id, properties)
    return Scan(
        ArrayPatterns(rng.integers(0, 200, (n, sy, sx)).astype(dtype)),
        grid,
        detector,
        SourceFile(None, "memory", "tests", metadata=draw(st.dictionaries(TEXT, TEXT, max_size=2))),
        Microscope(draw(st.none() | TEXT), *(draw(NUMBER) for _ in range(3))),
        phases,
        orientations,
        draw(st.none() | st.just(rng.normal(size=(sy, sx)))),
        draw(st.none() | TEXT),
    )


@settings(max_examples=15)
@given(scan=scans())
def test_any_scan_comes_back_with_all_that_its_source_said_and_no_more(
    scan: Scan, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.h5"
    ebsdarchive.compress(scan, path, profile="compat", neural=False)
    assert ebsdarchive.verify(path, data=True).all_faults == []
    assert_same_scan(ebsdarchive.open_archive(path).scan(), scan)
    with h5py.File(path) as file:
        assert json.loads(file["archive/source/metadata"][()]) == scan.source.metadata


def test_header_trailer_and_companions_are_kept_verbatim(
    make_scan: Callable, tmp_path: Path
) -> None:
    patterns_file, settings_file = tmp_path / "Messung ü.dat", tmp_path / "Setting ü.txt"
    patterns_file.write_bytes(b"header" + bytes(range(256)) + b"trailer")
    settings_file.write_bytes("Größe: 5 µm\r\n".encode("latin-1"))
    source = SourceFile(
        str(patterns_file),
        "NORDIF dat",
        "tests 1",
        header=b"head\0er",
        trailer=bytes(range(256)),
        metadata={"Größe": [1, 2.5, None, {"µm": True}]},
        companions=(str(settings_file),),
    )
    path = tmp_path / "a.h5"
    ebsdarchive.compress(replace(make_scan(), source=source), path, neural=False)
    with h5py.File(path) as file:
        node = file["archive/source"]
        assert node["header"][()].tobytes() == source.header
        assert node["trailer"][()].tobytes() == source.trailer
        assert json.loads(node["metadata"][()]) == source.metadata
        assert node["files/Setting ü.txt"][()].tobytes() == settings_file.read_bytes()
        assert node.attrs["file_name"] == "Messung ü.dat"
        assert node.attrs["file_bytes"] == patterns_file.stat().st_size
        assert node.attrs["format"] == "NORDIF dat"
    assert str(tmp_path) not in repr(ebsdarchive.open_archive(path).provenance())


def test_patterns_are_read_from_anywhere_in_the_scan(archive_path: Path, make_scan) -> None:
    whole = make_scan().patterns.read(0, 35)
    patterns = ebsdarchive.open_archive(archive_path).patterns()
    for start, stop in ((0, 1), (34, 35), (5, 19), (7, 7)):
        np.testing.assert_array_equal(patterns.read(start, stop), whole[start:stop])


def test_an_archive_says_what_it_is(full_archive: Path) -> None:
    archive = ebsdarchive.open_archive(full_archive)
    assert repr(archive) == (
        f"<Archive {full_archive}: format {CURRENT_VERSION}, 35 patterns of 11 x 13 px (uint16), "
        f"layers raw, neural, restored/mean, models/tiny, maps/mean_intensity, maps/neural_error, "
        f"maps/quality, auxiliary/light>"
    )
    assert archive.pattern_layers == ["raw", "neural", "restored/mean"]
    with pytest.raises(MissingLayerError, match="expected a layer 'tiny', found raw, neural"):
        archive.patterns("tiny")
    with pytest.raises(ArchiveError, match="expected a layer of patterns, found model"):
        archive.patterns("models/tiny")


def test_models_come_back_as_configuration_and_tensors(full_archive: Path) -> None:
    with ebsdarchive.open_archive(full_archive).group() as archive:
        model, tensors = read_model(archive, "tiny")
    assert model["architecture"] == "autoencoder"
    assert model["config"]["width"] == 3
    assert model["card"] == {"licence": "CC0"}
    assert {name: (value.dtype.name, value.shape) for name, value in tensors.items()} == {
        "encoder.0.weight": ("float32", (3, 7)),
        "encoder.0.bias": ("float16", (3,)),
        "step": ("int64", ()),
    }
    np.testing.assert_array_equal(tensors["encoder.0.bias"], [0.5, -1, 2])


def test_restored_patterns_are_marked_as_an_estimate_of_the_raw_ones(full_archive: Path) -> None:
    archive = ebsdarchive.open_archive(full_archive)
    said = archive.attributes("restored/mean")
    assert said["estimate"] == "estimate"
    assert said["raw_sha256"] == archive.raw_sha256
    assert said["model_sha256"] == archive.attributes("models/tiny")["sha256"]
    expected = archive.patterns("raw").read(0, 35).astype(np.float32) / 3
    np.testing.assert_array_equal(archive.patterns("mean").read(0, 35), expected)


def test_maps_hold_vectors_and_are_replaced_by_name(full_copy: Path) -> None:
    with adding_layers(full_copy, ["maps/quality"]) as file:
        write_map(
            file["archive"],
            "quality",
            np.ones((5, 7, 3), np.float32),
            long_name="Qualität",
            units="1",
        )
    assert ebsdarchive.open_archive(full_copy).map("quality").shape == (5, 7, 3)
    assert ebsdarchive.verify(full_copy, data=True).sound


def test_an_archive_of_the_neural_layer_alone_names_the_digest_of_what_it_stands_for(
    make_scan: Callable, tmp_path: Path, archive_path: Path
) -> None:
    path = tmp_path / "neural.h5"
    ebsdarchive.compress(make_scan(), path, drop_raw=True, options=TINY)
    archive = ebsdarchive.open_archive(path)
    assert archive.layers == ["neural", "maps/mean_intensity", "maps/neural_error"]
    assert archive.raw_sha256 == ebsdarchive.open_archive(archive_path).raw_sha256
    assert ebsdarchive.verify(path, data=True).all_faults == []
    scan = archive.scan()
    assert scan.patterns.read(0, 35).shape == (35, 11, 13)
    assert archive.dtype == "uint16"  # what was measured; the field gives float32
    with h5py.File(path) as file:
        assert "Scan 1" not in file
        assert file["manufacturer"][0] == b"ebsdarchive"


def test_dropping_raw_without_a_neural_layer_is_refused(make_scan, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="at least one layer"):
        ebsdarchive.compress(make_scan(), tmp_path / "a.h5", neural=False, drop_raw=True)
    assert list(tmp_path.iterdir()) == []


def test_extract_and_merge_bring_layers_back_bit_for_bit(full_archive: Path, tmp_path) -> None:
    small, raw_only = tmp_path / "small.h5", tmp_path / "raw.h5"
    names = ebsdarchive.extract(full_archive, ["neural", "models", "maps", "auxiliary"], small)
    maps = ["maps/neural_error", "maps/quality", "auxiliary/light"]
    assert names == ["neural", "models/tiny", "maps/mean_intensity", *maps]
    assert ebsdarchive.open_archive(small).layers == names
    ebsdarchive.extract(full_archive, ["raw"], raw_only)
    assert ebsdarchive.merge(raw_only, small) == ["neural", "models/tiny", *maps]
    assert ebsdarchive.merge(raw_only, small) == []
    merged, original = Archive(str(raw_only)), Archive(str(full_archive))
    for name in merged.layers:
        assert merged.attributes(name) == original.attributes(name), name
    assert set(original.layers) - set(merged.layers) == {"restored/mean"}
    assert ebsdarchive.verify(raw_only, data=True).all_faults == []
    assert merged.archive_id == original.archive_id


def test_extract_of_neural_is_what_one_shares_without_the_patterns(
    full_archive: Path, tmp_path: Path
) -> None:
    ebsdarchive.extract(full_archive, ["neural"], tmp_path / "small.h5")
    archive = ebsdarchive.open_archive(tmp_path / "small.h5")
    assert archive.layers == ["neural", "maps/mean_intensity"]
    whole = ebsdarchive.open_archive(full_archive)
    assert archive.raw_sha256 == whole.raw_sha256
    np.testing.assert_array_equal(
        archive.patterns().read(0, 35), whole.patterns("neural").read(0, 35)
    )
    assert len(archive.provenance()) == len(whole.provenance()) + 1


def test_extract_of_what_is_no_archive_by_itself_is_refused(full_archive: Path, tmp_path) -> None:
    with pytest.raises(ArgumentError, match="expected raw or neural among the layers"):
        ebsdarchive.extract(full_archive, ["models"], tmp_path / "small.h5")
    with pytest.raises(MissingLayerError, match="expected a layer 'restored/nlpar', found raw"):
        ebsdarchive.extract(full_archive, ["raw", "restored/nlpar"], tmp_path / "small.h5")
    assert list(tmp_path.iterdir()) == []


def test_merge_refuses_another_scan(full_copy: Path, make_archive: Callable) -> None:
    other = make_archive(seed=5)
    before = full_copy.read_bytes()
    with pytest.raises(ArgumentError, match=r"expected layers of the same scan .* found"):
        ebsdarchive.merge(full_copy, other)
    assert full_copy.read_bytes() == before


def test_merge_refuses_different_content_of_one_name_without_force(
    full_archive: Path, tmp_path: Path
) -> None:
    mine, theirs = tmp_path / "mine.h5", tmp_path / "theirs.h5"
    for path in (mine, theirs):
        shutil.copyfile(full_archive, path)
    with adding_layers(theirs, ["maps/quality"]) as file:
        write_map(file["archive"], "quality", np.zeros((5, 7)), long_name="Other", units="1")
    before = mine.read_bytes()
    with pytest.raises(OutputError, match="expected no other maps/quality layer"):
        ebsdarchive.merge(mine, theirs)
    assert mine.read_bytes() == before
    assert ebsdarchive.merge(mine, theirs, force=True) == ["maps/quality"]
    assert ebsdarchive.open_archive(mine).attributes("maps/quality")["long_name"] == "Other"
    assert ebsdarchive.verify(mine, data=True).sound


def test_merge_refuses_a_damaged_layer(full_archive: Path, archive_path: Path, tmp_path) -> None:
    damaged = tmp_path / "damaged.h5"
    shutil.copyfile(full_archive, damaged)
    with h5py.File(damaged, "r+") as file:
        file["archive/models/tiny/tensors/step"][()] = 13
    before = archive_path.read_bytes()
    with pytest.raises(CorruptionError, match=r"found 1 faults, first /archive/models/tiny: "):
        ebsdarchive.merge(archive_path, damaged)
    assert archive_path.read_bytes() == before


def test_fit_replaces_the_neural_layer_and_nothing_else(full_copy: Path) -> None:
    before = ebsdarchive.open_archive(full_copy)
    said = {name: before.attributes(name) for name in before.layers}
    ebsdarchive.fit(full_copy, options=TINY)
    after = ebsdarchive.open_archive(full_copy)
    assert after.layers == before.layers
    for name in after.layers:
        is_new = name in ("neural", "maps/neural_error")
        assert (after.attributes(name) != said[name]) == is_new, name
    assert after.attributes("neural")["rank"] == 3
    assert ebsdarchive.verify(full_copy, data=True).sound


def test_fit_of_an_archive_without_raw_patterns_is_refused(full_archive, tmp_path: Path) -> None:
    ebsdarchive.extract(full_archive, ["neural"], tmp_path / "small.h5")
    with pytest.raises(MissingLayerError, match="expected raw patterns to fit to"):
        ebsdarchive.fit(tmp_path / "small.h5", options=TINY)


def _from_0_9_to_1_0(file: h5py.File) -> None:
    """A made-up step: version 0.9 called the raw layer `lossless`."""
    file.move("archive/lossless", "archive/raw")
    file.attrs["encoding-version"] = "1.0"


def test_upgrade_writes_a_new_file_and_leaves_the_old_one(
    full_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old.h5", tmp_path / "new.h5"
    shutil.copyfile(full_archive, old)
    with h5py.File(old, "r+") as file:
        file.move("archive/raw", "archive/lossless")
        file.attrs["encoding-version"] = "0.9"
    before = old.read_bytes()
    with pytest.raises(VersionError, match=r"format version 0\.9 is not known"):
        ebsdarchive.upgrade(old, new)
    monkeypatch.setitem(steps.STEPS, "0.9", ("1.0", _from_0_9_to_1_0))
    assert ebsdarchive.upgrade(old, new) == ("0.9", CURRENT_VERSION)
    assert old.read_bytes() == before
    assert ebsdarchive.verify(new, data=True).all_faults == []
    archive, original = ebsdarchive.open_archive(new), ebsdarchive.open_archive(full_archive)
    assert archive.layers == original.layers
    np.testing.assert_array_equal(
        archive.patterns("raw").read(0, 35), original.patterns("raw").read(0, 35)
    )
    activities = archive.provenance()
    assert len(activities) == len(original.provenance()) + 1
    [said] = activities[-1]["activity"].values()
    assert said["prov:label"] == "upgrade"


def test_upgrade_goes_through_every_step_between(
    full_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, done = tmp_path / "old.h5", []
    shutil.copyfile(full_archive, old)
    with h5py.File(old, "r+") as file:
        file.attrs["encoding-version"] = "0.7"

    def step(number: str) -> Callable[[h5py.File], None]:
        def change(file: h5py.File) -> None:
            done.append(number)
            file.attrs["encoding-version"] = number

        return change

    monkeypatch.setitem(steps.STEPS, "0.7", ("0.8", step("0.8")))
    monkeypatch.setitem(steps.STEPS, "0.8", (CURRENT_VERSION, step(CURRENT_VERSION)))
    assert ebsdarchive.upgrade(old, tmp_path / "new.h5") == ("0.7", CURRENT_VERSION)
    assert done == ["0.8", CURRENT_VERSION]


def test_upgrade_refuses_current_and_unknown_versions_and_what_comes_out_broken(
    full_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new.h5"
    with pytest.raises(ArgumentError, match=rf"found the current one \({CURRENT_VERSION}\)"):
        ebsdarchive.upgrade(full_copy, new)
    with h5py.File(full_copy, "r+") as file:
        file.attrs["encoding-version"] = "7.5"
    with pytest.raises(VersionError, match=r"7\.5 is not known here \(known: 1\.0, 1\.1\)"):
        ebsdarchive.upgrade(full_copy, new)

    def breaks(file: h5py.File) -> None:
        file.attrs["encoding-version"] = CURRENT_VERSION
        del file["archive/scan/grid"].attrs["n_rows"]

    monkeypatch.setitem(steps.STEPS, "7.5", (CURRENT_VERSION, breaks))
    with pytest.raises(ArchiveError):
        ebsdarchive.upgrade(full_copy, new)
    assert not new.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full.h5"]


def test_an_archive_of_an_older_version_is_read_and_becomes_current_when_a_layer_is_added(
    tmp_path: Path,
) -> None:
    old = tmp_path / "old.h5"
    shutil.copyfile(GOLDEN_1_0, old)
    archive = ebsdarchive.open_archive(old)
    assert archive.format_version == "1.0"
    assert ebsdarchive.verify(old, data=True).all_faults == []
    assert ebsdarchive.validate(old) == []
    decoded = archive.patterns("neural").read(0, archive.grid.size)
    assert ebsdarchive.extract(old, ["neural"], tmp_path / "small.h5")
    small = ebsdarchive.open_archive(tmp_path / "small.h5")
    assert small.format_version == CURRENT_VERSION
    np.testing.assert_array_equal(small.patterns("neural").read(0, small.grid.size), decoded)
    ebsdarchive.fit(old, options=TINY)
    after = ebsdarchive.open_archive(old)
    assert after.format_version == CURRENT_VERSION
    assert after.attributes("neural")["encoding-version"] == "2.0"
    assert ebsdarchive.verify(old, data=True).all_faults == []


def test_the_default_plot_is_found_as_nexus_says(
    full_archive: Path, make_archive: Callable
) -> None:
    for path in (full_archive, make_archive(hexagonal=True, step_um=(None, None))):
        with h5py.File(path) as file:
            assert file.attrs["NX_class"] == "NXroot"
            entry = file[file.attrs["default"]]
            assert entry.attrs["NX_class"] == "NXentry"
            plot = entry[entry.attrs["default"]]
            assert plot.attrs["NX_class"] == "NXdata"
            signal = plot[plot.attrs["signal"]]
            axes = list(plot.attrs["axes"])
            assert len(axes) == signal.ndim == 2
            for i, name in enumerate(axes):
                axis = plot[name]
                assert axis.shape == (signal.shape[i],)
                assert plot.attrs[f"{name}_indices"] == i
                assert axis.attrs["long_name"]
                assert axis.attrs["units"] == ("um" if path == full_archive else "step")
            assert signal.attrs["units"] == "counts"
            assert plot["title"][()].decode() == "Mean intensity of each pattern"
            assert signal == file["archive/maps/mean_intensity/data"]
            if path == full_archive:
                np.testing.assert_allclose(plot["axis_x"], 0.75 * np.arange(7))
                np.testing.assert_allclose(plot["axis_y"], 0.5 * np.arange(5))


def test_the_default_plot_needs_no_filter_that_an_hdf5_build_may_lack(full_archive: Path) -> None:
    built_in = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
    with h5py.File(full_archive) as file:
        plot = file["entry/mean_intensity"]
        for dataset in (item for item in plot.values() if isinstance(item, h5py.Dataset)):
            properties = dataset.id.get_create_plist()
            codes = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
            assert codes <= built_in, dataset.name


def test_hdf5_1_8_can_read_every_archive(full_archive: Path, fitted_copy: Path) -> None:
    with adding_layers(fitted_copy, []):
        pass
    for path in (full_archive, fitted_copy):
        assert path.read_bytes()[:9] == b"\x89HDF\r\n\x1a\n\x00"  # superblock of version 0
        with h5py.File(path) as file:
            assert file.id.get_create_plist().get_version() == (0, 0, 0, 0)
            versions = []
            file.visititems(lambda _, item: versions.append(_header_version(path, item)))  # noqa: B023
            assert set(versions) == {1}  # object headers of HDF5 1.6 and 1.8


def _header_version(path: Path, item: h5py.Group | h5py.Dataset) -> int:
    """Version of an object's header; from version 2 on it begins with a signature."""
    with open(path, "rb") as file:
        file.seek(h5py.h5o.get_info(item.id).addr)
        return file.read(1)[0]


def test_the_kikuchipy_view_shares_the_patterns_and_costs_next_to_nothing(
    archive_path: Path,
) -> None:
    with h5py.File(archive_path) as file:
        assert file["Scan 1/EBSD/Data/patterns"] == file["archive/raw/patterns"]


def test_what_is_not_known_is_absent_and_never_invented(make_archive: Callable) -> None:
    path = make_archive(described=False, pc=None, step_um=(None, None))
    scan = ebsdarchive.open_archive(path).scan()
    assert scan.microscope == Microscope()
    assert scan.detector == Detector((11, 13))
    assert scan.grid.step_x_um is None
    assert scan.phases == ()
    assert scan.orientations is None
    assert scan.static_background is None
    assert scan.name is None


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (np.zeros((0, 5, 7), "u1"), "at least 1 x 1 pixel"),
        (np.zeros((35, 0, 7), "u1"), "at least 1 x 1 pixel"),
        (np.zeros((34, 5, 7), "u1"), r"expected 35 patterns from the header .* found 34"),
        (np.zeros((35, 5, 7), "f8"), "expected patterns of type uint8, uint16, float32"),
    ],
)
def test_a_scan_whose_header_and_patterns_disagree_is_refused(patterns, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        Scan(
            ArrayPatterns(patterns),
            Grid("square", 7, 5),
            Detector(patterns.shape[1:]),
            SourceFile(None, "memory", "tests"),
        )


def test_orientations_become_a_crystal_map_and_come_back(make_scan: Callable) -> None:
    scan = make_scan()
    xmap = to_crystal_map(scan.orientations, scan.phases, scan.grid)
    assert xmap.shape == (5, 7)
    np.testing.assert_allclose(np.unique(np.diff(np.unique(xmap.x))), 0.75)
    found, phases = from_crystal_map(xmap)
    np.testing.assert_array_equal(found.phase_id, scan.orientations.phase_id)
    indexed = scan.orientations.phase_id >= 0
    np.testing.assert_allclose(found.quaternions[indexed], scan.orientations.quaternions[indexed])
    assert np.isnan(found.quaternions[~indexed]).all()
    assert set(found.properties) == set(scan.orientations.properties)
    assert [(p.phase_id, p.space_group, p.lattice) for p in phases] == [
        (p.phase_id, p.space_group, p.lattice) for p in scan.phases
    ]


def test_a_crystal_map_of_identity_rotations_and_nothing_else_is_no_indexing() -> None:
    grid = Grid("square", 2, 1)
    placeholder = Orientations(np.tile([1.0, 0, 0, 0], (2, 1)), np.zeros(2, np.int32))
    assert from_crystal_map(to_crystal_map(placeholder, (), grid)) == (None, ())


def test_lattices_in_nanometres_are_brought_to_angstrom() -> None:
    grid = Grid("square", 2, 1)
    orientations = Orientations(
        np.tile([0.6, 0.8, 0, 0], (2, 1)), np.zeros(2, np.int32), {"fit": np.ones(2)}
    )
    phase = Phase(0, "ni", 225, "m-3m", (0.352, 0.352, 0.352, 90.0, 90.0, 90.0))
    _, (found,) = from_crystal_map(to_crystal_map(orientations, (phase,), grid))
    np.testing.assert_allclose(found.lattice, (3.52, 3.52, 3.52, 90, 90, 90))
