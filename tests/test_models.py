"""Models: checkpoint files that are read without trust, and the models that an archive keeps."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

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
