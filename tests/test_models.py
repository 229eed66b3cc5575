"""Models: checkpoint files that are read without trust, and the models that an archive keeps."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

import ebsdarchive
from ebsdarchive.errors import (
    ArgumentError,
    CorruptionError,
    FormatError,
    OutputError,
    VersionError,
)
from ebsdarchive.restorers import checkpoint as checkpoints
from ebsdarchive.restorers.checkpoint import (
    Checkpoint,
    describe_checkpoint,
    read_checkpoint,
    write_checkpoint,
)


@pytest.fixture
def checkpoint():
    rng = np.random.default_rng(5)
    tensors = {
        "down.0.weight": rng.normal(size=(3, 5)).astype(np.float32),
        "down.0.steps": np.array(7, np.int64),
        "scale": np.asfortranarray(rng.normal(size=(2, 3)).astype(np.float16)),
    }
    card = {"licence": "CC0-1.0", "data": "Ni, α-Ti; 20 kV"}
    return Checkpoint("autoencoder", "1", {"width": [64, 128]}, tensors, card)


def test_a_checkpoint_comes_back_from_its_file(checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, checkpoint)
    found = read_checkpoint(path)
    assert (found.method, found.version) == ("autoencoder", "1")
    assert (found.config, found.card) == (checkpoint.config, checkpoint.card)
    assert found.sha256 == checkpoint.sha256
    for name, tensor in checkpoint.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found.tensors[name], tensor)
    with pytest.raises(OutputError, match=r"a\.safetensors: expected no such file"):
        write_checkpoint(path, checkpoint)


def test_the_header_of_a_checkpoint_is_enough_to_list_it(checkpoint, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, checkpoint)
    monkeypatch.setattr(checkpoints, "safe_open", None)
    said = describe_checkpoint(path)
    assert (said.parameters, said.nbytes) == (3 * 5 + 1 + 6, checkpoint.nbytes)
    assert (said.sha256, said.card["licence"]) == (checkpoint.sha256, "CC0-1.0")


def test_a_changed_tensor_or_configuration_is_noticed(checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, checkpoint)
    sound = path.read_bytes()
    for place in (len(sound) - 1, sound.index(b"[64") + 1):
        changed = bytearray(sound)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(CorruptionError, match=r"a\.safetensors: .*found another digest"):
            read_checkpoint(path)
    path.write_bytes(sound[:-3])
    with pytest.raises(CorruptionError, match=r"a\.safetensors: .*bytes of tensors where"):
        describe_checkpoint(path)


def edited(path, edit):
    """Change the JSON header of a safetensors file."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def test_a_file_that_is_no_checkpoint_of_a_known_version_says_so_in_a_line(checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(FormatError, match="found tensors of another program"):
        read_checkpoint(path)
    for content in (
        b"",
        b"hello world, this is text",
        struct.pack("<Q", 1 << 40) + b"{}",
        b"\2" * 9,
    ):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="found no safetensors header"):
            read_checkpoint(path)
    with pytest.raises(FormatError, match=r"none\.safetensors: expected a checkpoint file"):
        read_checkpoint(tmp_path / "none.safetensors")
    changes = {
        "found no method": lambda h: h["__metadata__"].pop("method"),
        "config that is no JSON object": lambda h: h["__metadata__"].update(config="[1]"),
        "of an unknown kind": lambda h: h["scale"].update(dtype="F128"),
        "makes no sense": lambda h: h["scale"].pop("shape"),
    }
    for found, change in changes.items():
        write_checkpoint(path, checkpoint, force=True)
        edited(path, change)
        with pytest.raises(FormatError, match=found):
            read_checkpoint(path)
    write_checkpoint(path, checkpoint, force=True)
    edited(path, lambda h: h["__metadata__"].update(format_version="9"))
    with pytest.raises(VersionError, match=r"checkpoint version 9 is not known here \(known: 1\)"):
        read_checkpoint(path)


def test_a_declared_size_that_no_bytes_back_takes_no_memory(checkpoint, tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, checkpoint)
    edited(path, lambda h: h["scale"].update(shape=[1 << 20, 1 << 20]))
    with pytest.raises(CorruptionError, match=r"a\.safetensors"):
        read_checkpoint(path)


def test_what_json_or_safetensors_cannot_hold_is_not_written(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"a": np.zeros(3, np.float32)}
    for config in ({"a": {1, 2}}, {"a": float("nan")}):
        with pytest.raises(ArgumentError, match="config: expected what JSON can hold"):
            write_checkpoint(path, Checkpoint("m", "1", config, tensors))
    with pytest.raises(ArgumentError, match="tensor 'a': expected numbers"):
        write_checkpoint(path, Checkpoint("m", "1", {}, {"a": np.array([None])}))
    with pytest.raises(ArgumentError, match="expected tensors to write, found none"):
        write_checkpoint(path, Checkpoint("m", "1", {}, {}))
    assert not path.exists()


# ---------------------------------------------------------------- the models of an archive


@pytest.fixture
def checkpoint_file(checkpoint, tmp_path):
    path = tmp_path / "small net.safetensors"
    write_checkpoint(path, checkpoint)
    return path


def test_a_model_goes_into_an_archive_is_listed_and_comes_out_the_same(
    archive_path, checkpoint, checkpoint_file, tmp_path, run_cli
):
    code, out, err = run_cli("models", "add", archive_path, checkpoint_file, "-q")
    assert (code, err) == (0, "")
    assert "models/small_net: autoencoder version 1, 22 parameters" in out
    assert ebsdarchive.verify(archive_path, data=True).all_faults == []
    assert ebsdarchive.validate(archive_path) == []
    listed = run_cli("models", "list", archive_path).out
    for text in (checkpoint.sha256, "licence: CC0-1.0", "22 parameters"):
        assert text in listed
    (described,) = json.loads(run_cli("models", "list", archive_path, "--json").out)
    assert (described["name"], described["nbytes"]) == ("small_net", checkpoint.nbytes)
    output = tmp_path / "out.safetensors"
    assert run_cli("models", "export", archive_path, "small_net", "-o", output).code == 0
    exported = read_checkpoint(output)
    assert (exported.sha256, exported.card) == (checkpoint.sha256, checkpoint.card)
    activity = ebsdarchive.open_archive(archive_path).provenance()[-1]["activity"]
    assert [said["prov:label"] for said in activity.values()] == ["models add"]


def test_the_digest_of_a_model_is_what_the_schema_says(archive_path, checkpoint, checkpoint_file):
    import hashlib

    import h5py

    ebsdarchive.add_model(archive_path, checkpoint_file, name="net")
    with h5py.File(archive_path) as file:
        node = file["archive/models/net"]
        said = {
            "config": json.loads(node.attrs["config"]),
            "method": node.attrs["architecture"],
            "version": node.attrs["version"],
        }
        text = json.dumps(said, sort_keys=True).encode()
        for name in sorted(node["tensors"]):
            values = node["tensors"][name][()]
            text += f"{name} {values.dtype.str} {values.shape}".encode() + values.tobytes()
        assert hashlib.sha256(text).hexdigest() == node.attrs["model_sha256"] == checkpoint.sha256


def test_models_are_not_replaced_or_taken_for_granted(
    archive_path, checkpoint_file, tmp_path, run_cli
):
    assert run_cli("models", "add", archive_path, checkpoint_file, "--name", "net").code == 0
    before = archive_path.read_bytes()
    faults = {
        ("add", archive_path, checkpoint_file, "--name", "net"): (
            9,
            "expected no models/net, found",
        ),
        ("add", archive_path, checkpoint_file, "--name", "a/b"): (2, "expected letters, digits"),
        ("add", archive_path, archive_path): (3, "expected a restorer's checkpoint"),
        ("add", archive_path, tmp_path / "none"): (3, "expected a checkpoint file, found none"),
        ("export", archive_path, "other"): (7, "expected a model 'other', found net"),
        ("export", archive_path, "net", "-o", checkpoint_file): (9, "expected no such file"),
        ("remove", archive_path, "other"): (7, "expected a model 'other', found net"),
        ("list", checkpoint_file): (4, "expected an HDF5 file"),
    }
    for arguments, (code, text) in faults.items():
        result = run_cli("models", *arguments)
        assert (result.code, text in result.err) == (code, True), (arguments, result)
        assert len(result.err.splitlines()) == 1
    assert archive_path.read_bytes() == before
    assert (
        run_cli("models", "add", archive_path, checkpoint_file, "--name", "net", "--force").code
        == 0
    )


def test_a_removed_model_leaves_the_archive_sound_and_small(
    archive_path, checkpoint, tmp_path, run_cli
):
    size = archive_path.stat().st_size
    large = tmp_path / "large.safetensors"
    noise = np.random.default_rng(0).normal(size=(300, 200)).astype(np.float32)
    write_checkpoint(large, Checkpoint("ddpm", "1", {}, {"w": noise}))
    ebsdarchive.add_model(archive_path, large)
    assert archive_path.stat().st_size > size + noise.nbytes // 2
    code, out, _ = run_cli("models", "remove", archive_path, "large")
    assert (code, "models/large removed" in out) == (0, True)
    assert archive_path.stat().st_size < size + 20_000
    assert ebsdarchive.models(archive_path) == []
    assert run_cli("models", "list", archive_path).out.strip() == f"{archive_path}: no models"
    assert ebsdarchive.verify(archive_path, data=True).all_faults == []
    commands = [a["command"] for a in ebsdarchive.info(archive_path)["activities"]]
    assert commands[-2:] == ["models add", "models remove"]


def test_a_model_that_was_changed_in_the_archive_is_not_exported(
    archive_path, checkpoint_file, tmp_path, run_cli
):
    import h5py

    ebsdarchive.add_model(archive_path, checkpoint_file, name="net")
    with h5py.File(archive_path, "r+") as file:
        file["archive/models/net/tensors/scale"][0, 0] += 1
    code, _, err = run_cli(
        "models", "export", archive_path, "net", "-o", tmp_path / "o.safetensors"
    )
    assert (code, "found another digest" in err) == (6, True)
    assert not (tmp_path / "o.safetensors").exists()


def test_a_model_of_another_program_is_listed_and_not_used(full_copy, tmp_path, run_cli):
    (listed,) = ebsdarchive.models(full_copy)
    assert (listed.name, listed.version, listed.used_by) == ("tiny", "", ("restored/mean",))
    code, _, err = run_cli("models", "export", full_copy, "tiny", "-o", tmp_path / "o.safetensors")
    assert (code, "expected a model of a known version" in err) == (4, True)
