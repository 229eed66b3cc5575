"""Digests cover all of a node and nothing else; the documents alone are enough to check them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import reader_from_documents as documents
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import ebsdarchive
from ebsdarchive.archive.description import write_source
from ebsdarchive.archive.nodes import (
    container,
    new_node,
    node_digest,
    plain,
    read_array,
    write_dataset,
)
from ebsdarchive.archive.output import open_for_writing
from ebsdarchive.archive.trust import MOST_BYTES
from ebsdarchive.errors import CorruptionError
from ebsdarchive.scan import SourceFile


def memory_file() -> h5py.File:
    return h5py.File("memory", "w", driver="core", backing_store=False)


def example_node(file: h5py.File, name: str = "node") -> h5py.Group:
    """A node with attributes of all types, datasets of several, text and a child."""
    group = file.create_group(name)
    group.attrs["text"] = "Größe №1"
    group.attrs["count"] = 3
    group.attrs["length_um"] = 0.1
    write_dataset(group, "values", np.arange(6, dtype=np.uint16).reshape(2, 3), "counts")
    write_dataset(group, "words", "ω₀")
    write_dataset(group, "scalar", np.float32(2.5))
    child = group.create_group("child")
    child.attrs["text"] = "x"
    return group


def _replace(name: str, value: object, **options: object) -> Callable[[h5py.Group], None]:
    def change(group: h5py.Group) -> None:
        units = group[name].attrs.get("units")
        del group[name]
        group.create_dataset(name, data=value, **options)
        if units is not None:
            group[name].attrs["units"] = units

    return change


def _rename(group: h5py.Group, old: str, new: str) -> None:
    group.attrs[new] = group.attrs[old]
    del group.attrs[old]


CHANGES: dict[str, Callable[[h5py.Group], None]] = {
    "an attribute's text": lambda g: g.attrs.__setitem__("text", "Größe №2"),
    "an attribute's number": lambda g: g.attrs.__setitem__("count", 4),
    "an attribute's type": lambda g: g.attrs.__setitem__("count", 3.0),
    "the last bit of a float": lambda g: g.attrs.__setitem__("length_um", np.nextafter(0.1, 1)),
    "a further attribute": lambda g: g.attrs.__setitem__("more", 0),
    "an attribute less": lambda g: g.attrs.__delitem__("text"),
    "an attribute's name": lambda g: _rename(g, "text", "texts"),
    "a value": lambda g: g["values"].__setitem__((1, 1), 9),
    "a dataset's attribute": lambda g: g["values"].attrs.__setitem__("units", "codes"),
    "a dataset's type": _replace("values", np.arange(6, dtype=np.int16).reshape(2, 3)),
    "a dataset's shape": _replace("values", np.arange(6, dtype=np.uint16).reshape(3, 2)),
    "a dataset's dimensions": _replace("values", np.arange(6, dtype=np.uint16)),
    "a dataset's name": lambda g: g.move("values", "value"),
    "a text": _replace("words", np.array("ω₁".encode(), h5py.string_dtype("utf-8", 5))),
    "a scalar": _replace("scalar", np.float32(2.25)),
    "a dataset less": lambda g: g.__delitem__("scalar"),
    "a further dataset": lambda g: g.__setitem__("more", 1),
    "a further group": lambda g: g.create_group("more") and None,
    "a child's name": lambda g: g.move("child", "children"),
    "a child's content": lambda g: g["child"].attrs.__setitem__("text", "y"),
    "a child's child": lambda g: g["child"].create_group("deep") and None,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_digest_changes_with_everything_that_is_in_the_node(change: str) -> None:
    with memory_file() as file:
        node = example_node(file)
        before = node_digest(node)
        CHANGES[change](node)
        assert node_digest(node) != before


def test_a_digest_does_not_depend_on_filters_chunks_order_place_or_its_own_attribute() -> None:
    with memory_file() as file:
        before = node_digest(example_node(file))
        other = file.create_group("elsewhere/deep", track_order=True)
        child = other.create_group("child")
        values = np.arange(6, dtype=np.uint16).reshape(2, 3)
        other.create_dataset("scalar", data=np.float32(2.5))
        other.create_dataset("values", data=values, chunks=(1, 2), compression="lzf")
        other["values"].attrs["units"] = "counts"
        write_dataset(other, "words", "ω₀")
        child.attrs["text"] = "x"
        for key, value in (("length_um", 0.1), ("count", 3), ("text", "Größe №1")):
            other.attrs[key] = value
        other.attrs["sha256"] = "whatever"
        assert node_digest(other) == before


def test_a_digest_does_not_depend_on_the_byte_order_in_the_file() -> None:
    with memory_file() as file:
        for name, order in (("little", "<"), ("big", ">")):
            group = file.create_group(name)
            group.create_dataset("values", data=np.array([1, 2, 770], f"{order}u2"))
            group.attrs["value"] = np.array(0.1, f"{order}f8")
        assert node_digest(file["little"]) == node_digest(file["big"])


def test_nodes_that_carry_another_digest_are_named() -> None:
    with memory_file() as file:
        node = example_node(file)
        node["child"].attrs["sha256"] = "0" * 64
        differing: list[str] = []
        node.attrs["sha256"] = node_digest(node, differing=differing)
        assert differing == ["/node/child"]


NAMES = st.text(
    st.characters(exclude_characters="/.\0", exclude_categories=["Cs"]), min_size=1, max_size=4
)
VALUES = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
)
ARRAYS = st.sampled_from(["u1", "u2", "i4", "i8", "f2", "f4", "f8"]).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=3, max_side=3))
)


@given(
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.dictionaries(NAMES, ARRAYS | st.text("aß№", max_size=4), max_size=4),
)
def test_the_manifest_alone_is_enough_to_compute_a_digest(attributes: dict, datasets: dict) -> None:
    with memory_file() as file:
        group = file.create_group("node")
        child = group.create_group("group of this name")
        for target in (group, child):
            for key, value in attributes.items():
                target.attrs[key] = value
        for name, value in datasets.items():
            write_dataset(group, name, value, "counts")
        assert documents.digest(group) == node_digest(group)


def test_the_documents_alone_are_enough_to_check_every_digest_of_an_archive(
    full_archive: Path,
) -> None:
    with h5py.File(full_archive) as file:
        archive = file["archive"]
        contents = json.loads(archive.attrs["contents"])
        assert {"scan", "source", "raw", "neural", "restored/mean", "models/tiny"} < set(contents)
        for name, expected in contents.items():
            left_out = ("patterns",) if name.startswith(("raw", "restored")) else ()
            assert archive[name].attrs["sha256"] == expected, name
            assert documents.digest(archive[name], left_out) == expected, name
        node = archive["restored/mean/patterns"]
        assert documents.digest(node, ("patterns",)) == node.attrs["sha256"]
        views = archive["views"].attrs
        assert documents.digest(file["Scan 1"], ("patterns",)) == views["kikuchipy_sha256"]
        assert documents.digest(file["entry"]) == views["nexus_sha256"]


@pytest.mark.parametrize(
    ("kind", "table", "profile"),
    [
        ("uint16", "none", "fast"),
        ("uint8", "none", "archive"),
        ("float32", "none", "compat"),
        ("gain", "scan", "archive"),
        ("integers as float32", "scan", "archive"),
        ("stretched", "pattern", "archive"),
    ],
)
def test_the_documents_alone_are_enough_to_decode_a_raw_layer(
    make_scan: Callable, tmp_path: Path, kind: str, table: str, profile: str
) -> None:
    rng = np.random.default_rng(0)
    noise = np.rint(100 + rng.normal(0, 8, (35, 23, 29)))
    patterns = {
        "uint16": noise.astype(np.uint16),
        "uint8": noise.astype(np.uint8),
        "float32": rng.normal(size=noise.shape).astype(np.float32),
        "gain": noise.astype(np.uint16) * 20,
        "integers as float32": noise.astype(np.float32),
        "stretched": np.rint(noise * rng.uniform(150, 256, (35, 1, 1))).astype(np.uint16),
    }[kind]
    path = tmp_path / "a.h5"
    scan = make_scan(patterns=patterns)
    ebsdarchive.compress(scan, path, profile=profile, neural=False)
    with h5py.File(path) as file:
        node = file["archive/raw"]
        assert node.attrs["level_table"] == table
        decoded = documents.raw_patterns(node)
        assert decoded.dtype == patterns.dtype
        np.testing.assert_array_equal(decoded, patterns)
        assert documents.patterns_digest(decoded) == node.attrs["patterns_sha256"]
        np.testing.assert_array_equal(documents.block_digests(node), node["block_sha256"])
        assert documents.digest(node, ("patterns",)) == node.attrs["sha256"]


def test_blocks_of_a_raw_layer_have_digests_of_their_own(
    make_scan: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        ebsdarchive.geometry.Grid, "block_length", lambda self, pattern_bytes, block_bytes=0: 14
    )
    ebsdarchive.compress(make_scan(), tmp_path / "a.h5", neural=False)
    with h5py.File(tmp_path / "a.h5") as file:
        node = file["archive/raw"]
        assert node.attrs["block_length"] == 14
        assert node["block_sha256"].shape == (3, 32)  # 35 patterns: 14, 14 and 7
        np.testing.assert_array_equal(documents.block_digests(node), node["block_sha256"])


def test_the_documents_alone_are_enough_to_decode_restored_patterns_and_models(
    full_archive: Path,
) -> None:
    archive = ebsdarchive.open_archive(full_archive)
    with h5py.File(full_archive) as file:
        decoded = documents.raw_patterns(file["archive/restored/mean/patterns"])
        weight = file["archive/models/tiny/tensors/encoder.0.weight"][()]
    np.testing.assert_array_equal(decoded, archive.patterns("restored/mean").read(0, 35))
    np.testing.assert_array_equal(weight, np.arange(21, dtype=np.float32).reshape(3, 7) / 7)


def test_the_documents_alone_are_enough_to_decode_a_neural_layer(full_archive: Path) -> None:
    with h5py.File(full_archive) as file:
        xy = documents.positions(file["archive/scan/grid"])
        decoded = documents.neural_patterns(file["archive/neural"], xy, xy.max(axis=0))
        spread = float(np.ptp(documents.coded_images(file["archive/neural/images"][()].tobytes())))
        said = float(file["archive/neural"].attrs["mae_counts"])
        points = file["archive/maps/neural_error/data"][()].ravel()
        original = documents.raw_patterns(file["archive/raw"])
    ours = ebsdarchive.open_archive(full_archive).patterns("neural").read(0, len(xy))
    np.testing.assert_allclose(decoded, ours, atol=1e-4 * spread)
    errors = np.abs(decoded - original).mean(axis=(1, 2))
    np.testing.assert_allclose(errors, points, rtol=1e-3)
    assert errors.mean() == pytest.approx(said, rel=1e-3)


def test_the_reader_from_the_documents_needs_nothing_of_this_package() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, reader_from_documents\n"
            "print([name for name in sys.modules if name.startswith('ebsdarchive')])",
        ],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == "[]", done


def test_text_is_kept_with_every_character(tmp_path: Path) -> None:
    for text in ("", "a", "ω₀ = 30 · №1", 'quote " and \\ and \n', "x" * 100_000):
        with memory_file() as file:
            write_dataset(file, "text", text)
            assert plain(read_array(file["text"])) == text


def test_names_that_are_not_text_are_written_visibly(tmp_path: Path) -> None:
    # a file name with a byte that is no UTF-8, as it comes from old disks
    path = Path(tmp_path, b"sc\xffn.dat".decode("utf-8", "surrogateescape"))
    path.write_bytes(b"patterns")
    with memory_file() as file:
        source = SourceFile(str(path), "test", "tests", metadata={"file": path.name})
        write_source(file, source)
        assert file["source"].attrs["file_name"] == r"sc\xffn.dat"
        assert json.loads(file["source/metadata"][()]) == {"file": path.name}


def test_a_container_is_made_once() -> None:
    with memory_file() as file:
        assert container(file, "maps") == container(file, "maps")
        assert file["maps"].attrs["encoding-type"] == "container"


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20)])
def test_far_more_declared_than_stored_is_refused_before_memory_is_taken(shape: tuple) -> None:
    with memory_file() as file:
        bomb = file.create_dataset("bomb", shape, "f8", chunks=True, compression="gzip")
        with pytest.raises(CorruptionError, match="expected about as much data as declared"):
            read_array(bomb)
        group = file.create_group("node")
        group["bomb"] = bomb
        with pytest.raises(CorruptionError, match="expected about as much data as declared"):
            node_digest(group)


def test_data_that_compresses_as_far_as_it_can_is_read(tmp_path: Path) -> None:
    with memory_file() as file:
        zeros = np.zeros(MOST_BYTES // 8 + 5)
        write_dataset(file, "zeros", zeros)
        assert file["zeros"].id.get_storage_size() < zeros.nbytes / 800
        np.testing.assert_array_equal(read_array(file["zeros"]), zeros)


EXOTIC = {
    "compound": np.array([(1, 2.5, b"ab")], [("a", "<i4"), ("b", ">f8"), ("c", "S3")]),
    "padded": np.array([(1, 2.5)], np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "big endian": np.arange(5, dtype=">i4"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "bytes": np.array([b"ab", b"c\0d"]),
    "float16": np.array([0.5, np.nan], np.float16),
    "empty": np.zeros((0, 3)),
    "uint64": np.array([2**64 - 1], np.uint64),
}  # fmt: skip


def exotic_source(path: Path) -> None:
    """An HDF5 source with everything that HDF5 knows and one rarely sees."""
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("EBSD/patterns", data=np.arange(24, dtype="u1").reshape(4, 2, 3))
        group = file.create_group("odd")
        for name, values in EXOTIC.items():
            group[name] = values
        group.create_dataset("enum", data=[0, 1], dtype=h5py.enum_dtype({"A": 0, "B": 1}, "i1"))
        group.create_dataset("strings", data=["ß", "x"], dtype=h5py.string_dtype())
        group.create_dataset("null", data=h5py.Empty("f4"))
        group.create_dataset("ragged", (2,), h5py.vlen_dtype("i4"))
        group.create_dataset("reference", data=file["EBSD"].ref, dtype=h5py.ref_dtype)
        group.create_dataset(
            "compound with strings",
            data=np.array([(1, "a")], [("n", "i4"), ("s", h5py.string_dtype())]),
        )
        group.create_dataset("array type", (2,), np.dtype(("f4", (3,))))
        group.create_dataset("never written", (1 << 24,), "f8", chunks=True)
        group["named type"] = np.dtype("f8")
        group["bool again"] = file["odd/bool"]
        group["cycle"] = file["odd"]
        group["soft"] = h5py.SoftLink("/EBSD/patterns")
        group["external"] = h5py.ExternalLink("other.h5", "/")
        group.attrs["numbers"] = np.arange(3, dtype=">u2")
        group.attrs["strings"] = np.array(["a", "ß"], h5py.string_dtype())
        group.attrs["null"] = h5py.Empty("i4")
        group.attrs["reference"] = file["EBSD"].ref
        group.attrs["large"] = np.zeros(20_000)
        group.attrs["sha256"] = "the source's own"


def test_an_hdf5_source_is_kept_whole_or_what_is_not_kept_is_said(
    make_scan: Callable, tmp_path: Path
) -> None:
    path = tmp_path / "source.h5"
    exotic_source(path)
    with open_for_writing(tmp_path / "a.h5") as file:
        source = SourceFile(str(path), "test", "tests", hdf5_patterns="/EBSD/patterns")
        write_source(file, source)
    with h5py.File(tmp_path / "a.h5") as file, h5py.File(path) as original:
        copy = file["source/hdf5"]
        left_out = {
            item["path"]: item["reason"]
            for item in json.loads(file["source"].attrs["hdf5_left_out"])
        }
        assert file["source"].attrs["sha256"] == node_digest(file["source"])
        for name in (*EXOTIC, "enum"):
            found, expected = copy["odd"][name], original["odd"][name]
            assert found.dtype == expected.dtype, name
            assert found[()].tobytes() == expected[()].tobytes(), name
        assert copy["odd/strings"][0] == "ß".encode()
        assert copy["odd/null"].shape is None
        for key in ("numbers", "strings", "null", "sha256"):
            np.testing.assert_array_equal(copy["odd"].attrs[key], original["odd"].attrs[key])
        kept: list[str] = []
        copy.visit(kept.append)
        names: list[str] = []
        original.visit(names.append)
        assert {name for name in names if name not in kept} <= {
            name.lstrip("/") for name in left_out
        }
    assert left_out["/EBSD/patterns"] == "the patterns, stored as the raw layer"
    assert left_out["/odd/soft"] == left_out["/odd/external"] == "a link, not data"
    assert left_out["/odd/bool again"] == "another name of /odd/bool"
    assert left_out["/odd/cycle"] == "another name of /odd"
    for name in ("ragged", "reference", "named type", "compound with strings", "array type"):
        assert f"/odd/{name}" in left_out
    assert "/odd/never written" in left_out
    assert {"/odd/@reference", "/odd/@large"} <= set(left_out)


def test_a_new_node_is_sealed_with_its_digest_and_checked(tmp_path: Path) -> None:
    with memory_file() as file, new_node(file, "m", "microscope", {"name": "SEM"}) as node:
        assert "sha256" not in node.attrs
    with memory_file() as file:
        with new_node(file, "m", "microscope", {"name": "SEM"}):
            pass
        assert file["m"].attrs["sha256"] == documents.digest(file["m"])
