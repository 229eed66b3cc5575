"""The layout of the file: arranged for reading over a network, with the same content."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from range_server import serving

import ebsdarchive
from ebsdarchive import errors
from ebsdarchive.archive import remote
from ebsdarchive.archive.layers import contents
from ebsdarchive.archive.layout import is_cloud, parse_profile


def content_of(path):
    """Digests of all nodes but the records of who wrote what."""
    with ebsdarchive.open_archive(path).group() as archive:
        found = contents(archive)
    return {name: digest for name, digest in found.items() if not name.startswith("provenance/")}


def is_arranged(path) -> bool:
    with h5py.File(path, "r") as file:
        return is_cloud(file)


def test_repacking_for_the_cloud_changes_no_node_and_plain_gives_it_back(full_archive, tmp_path):
    cloud, plain = tmp_path / "cloud.h5", tmp_path / "plain.h5"
    assert ebsdarchive.repack(full_archive, cloud, "cloud").cloud
    assert not ebsdarchive.repack(cloud, plain, "plain").cloud
    for path, arranged in ((cloud, True), (plain, False)):
        assert is_arranged(path) == arranged
        assert content_of(path) == content_of(full_archive)
        assert ebsdarchive.verify(path, data=True).all_faults == []
        assert ebsdarchive.validate(path) == []
    assert ebsdarchive.info(cloud)["layout"] == "cloud"
    assert ebsdarchive.info(plain)["layout"] == "plain"


@pytest.mark.parametrize("coding", ["archive", "fast", "compat", "none"])
def test_every_coding_of_the_patterns_survives_the_cloud_layout(
    coding, make_scan, make_archive, tmp_path
):
    scan = make_scan(ny=7, nx=9, sy=20, sx=31)
    path = make_archive(scan)
    found = ebsdarchive.repack(path, tmp_path / "c.h5", f"{coding},cloud")
    assert found.raw.coding.profile == coding
    archive = ebsdarchive.open_archive(tmp_path / "c.h5")
    np.testing.assert_array_equal(archive.patterns("raw").read(0, 63), scan.patterns.read(0, 63))
    assert ebsdarchive.verify(archive.path, data=True).all_faults == []
    with archive.group() as group:
        assert is_cloud(group.file)
        assert group["raw/patterns"] == group.file["Scan 1/EBSD/Data/patterns"]


def test_layers_go_from_a_cloud_archive_into_a_plain_one(full_archive, tmp_path):
    cloud, share, back = tmp_path / "cloud.h5", tmp_path / "share.h5", tmp_path / "back.h5"
    ebsdarchive.repack(full_archive, cloud, "cloud")
    ebsdarchive.extract(cloud, ["neural", "restored", "models"], share)
    ebsdarchive.extract(cloud, ["raw"], back)
    ebsdarchive.merge(back, cloud)
    for path in (share, back):
        assert not is_arranged(path)
        assert ebsdarchive.verify(path, data=True).all_faults == []
        assert content_of(path).items() <= content_of(full_archive).items()
    assert content_of(back) == content_of(full_archive)


def test_compress_takes_the_layout_with_the_profile_and_later_layers_keep_it(
    make_scan, make_archive, tmp_path, run_cli
):
    scan, path = tmp_path / "scan.h5", tmp_path / "a.h5"
    ebsdarchive.export(make_archive(make_scan(ny=7, nx=9, sy=20, sx=31)), scan)
    made = run_cli("compress", scan, "-o", path, "--profile", "fast,cloud", "--no-neural")
    assert made.code == 0
    assert is_arranged(path)
    raw = content_of(path)["raw"]
    quick = ["--rank", "2", "--width", "8", "--time", "0.3", "--device", "cpu"]
    assert run_cli("fit", path, *quick).code == 0
    assert is_arranged(path)
    assert content_of(path)["raw"] == raw
    assert ebsdarchive.verify(path, data=True).all_faults == []
    assert "layout cloud" in run_cli("info", path).out


def test_kikuchipy_and_pyebsdindex_open_the_cloud_layout(fitted_archive, tmp_path):
    import kikuchipy
    from pyebsdindex.ebsd_pattern import get_pattern_file_obj

    path = tmp_path / "cloud.h5"
    ebsdarchive.repack(fitted_archive, path, "compat,cloud")
    archive = ebsdarchive.open_archive(path)
    wanted = archive.patterns("raw").read(0, archive.grid.size)
    np.testing.assert_array_equal(kikuchipy.load(path).data.reshape(wanted.shape), wanted)
    found, _ = get_pattern_file_obj(str(path)).read_data(returnArrayOnly=True)
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


def test_the_metadata_of_a_cloud_archive_come_with_the_first_request(
    make_scan, make_archive, tmp_path
):
    pytest.importorskip("aiohttp")
    plain = make_archive(make_scan(ny=60, nx=50, sy=24, sx=40), profile="none")
    cloud = tmp_path / "cloud.h5"
    ebsdarchive.repack(plain, cloud, "cloud")
    shutil.copyfile(plain, tmp_path / "plain.h5")
    asked = {}
    with serving(tmp_path) as server:
        for name in ("plain", "cloud"):
            remote._files.clear()
            server.reset()
            ebsdarchive.info(f"{server.address}/{name}.h5")
            asked[name] = server.requests
    assert asked["cloud"] == 2  # its size, and its beginning
    assert asked["plain"] > asked["cloud"]


def test_a_profile_names_a_coding_a_layout_or_both():
    assert parse_profile("auto") == ("auto", None)
    assert parse_profile("cloud") == (None, True)
    assert parse_profile("compat, plain") == ("compat", False)
    for wrong in ("", "gzip", "fast,compat", "cloud,plain", "fast,cloud,"):
        with pytest.raises(errors.ArgumentError, match="profile: expected one of auto"):
            parse_profile(wrong)


def test_a_coding_needs_raw_patterns(fitted_archive, tmp_path, run_cli):
    share = tmp_path / "share.h5"
    ebsdarchive.extract(fitted_archive, ["neural"], share)
    code, _, err = run_cli("repack", share, "--profile", "fast", "-o", tmp_path / "b.h5")
    assert code == 7
    assert "expected raw patterns to code" in err
    assert run_cli("repack", share, "--profile", "cloud", "-o", tmp_path / "c.h5").code == 0
