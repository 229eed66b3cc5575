"""The neural layer in the archive: from a coded field to the node ``neural``, and back to patterns.

Tensor fields are written in encoding 2.0; 1.0, whose arrays were float16, is read. Joint fields are
handed to `joint_storage`.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from ebsdarchive.archive.description import read_grid
from ebsdarchive.archive.file import archive_group, readable
from ebsdarchive.archive.nodes import attribute, attributes_of, read_array, require_kind
from ebsdarchive.archive.raw import RawPatterns
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.errors import ArgumentError, CorruptionError
from ebsdarchive.neural.coded import CodedField, decode_field
from ebsdarchive.neural.field import ContinuousField, Field, FieldPatterns, FieldTensors
from ebsdarchive.neural.joint_field import JointField
from ebsdarchive.neural.joint_storage import read_joint_tensors
from ebsdarchive.neural.layer import Residual, write_layer
from ebsdarchive.neural.refine import FieldErrors
from ebsdarchive.neural.residual import BoundedPatterns
from ebsdarchive.scan import Patterns

__all__ = ["read_field", "read_field_patterns", "read_tensor_field", "write_field"]


def write_field(
    archive: h5py.Group,
    coded: CodedField,
    errors: FieldErrors,
    *,
    rank: int,
    raw_sha256: str,
    config: dict[str, Any],
    residual: Residual | None = None,
) -> str:
    """Write a coded field as the layer ``neural``; returns its digest. See `write_layer`."""
    attributes = {
        "rank": rank,
        "omega_first": coded.omega_first,
        "omega_hidden": coded.omega_hidden,
        "outside_counts": coded.outside_counts,
    }
    datasets = {
        name: np.frombuffer(getattr(coded, name), np.uint8)
        for name in ("network", "images", "mask")
    }
    if coded.lattice:
        datasets["lattice"] = np.frombuffer(coded.lattice, np.uint8)
    return write_layer(
        archive, "coded-neural", attributes, datasets, errors,
        raw_sha256=raw_sha256, config=config, residual=residual,
    )  # fmt: skip


def read_field(path: str, node_name: str = "/archive/neural") -> ContinuousField:
    """The neural field of an archive, ready to be asked for patterns anywhere in the scan.

    A `Field`, or a `JointField` where the layer is of the joint formulation.

    Raises
    ------
    CorruptionError
        If the layer is damaged.
    """
    with open_for_reading(path) as file, readable(file):
        node, archive = file[node_name], archive_group(file)
        grid = read_grid(archive)
        if attribute(node, "encoding-type", "nothing") == "joint-inr":
            return JointField(read_joint_tensors(node, attributes_of(archive["scan"])), grid)
        if attribute(node, "encoding-version", "none") == "1.0":
            return Field(_read_arrays(node), grid)
        require_kind(node, "coded-neural")
        said, scan = attributes_of(node), attributes_of(archive["scan"])
        coded = CodedField(
            network=read_array(node["network"]).tobytes(),
            images=read_array(node["images"]).tobytes(),
            mask=read_array(node["mask"]).tobytes(),
            omega_first=said["omega_first"],
            omega_hidden=said["omega_hidden"],
            outside_counts=said["outside_counts"],
            lattice=read_array(node["lattice"]).tobytes() if "lattice" in node else b"",
        )
        shape = int(scan["sy"]), int(scan["sx"])
    try:
        return Field(decode_field(coded, shape), grid)
    except CorruptionError as error:
        raise CorruptionError(f"{path}: {node_name}: {error}; the layer is damaged") from error


def read_tensor_field(path: str) -> Field:
    """The neural field of an archive, for what needs its basis or its derivative.

    Raises
    ------
    ArgumentError
        If it is of the joint formulation.
    """
    field = read_field(path)
    if not isinstance(field, Field):
        raise ArgumentError(
            f"{path}: expected a neural layer of the tensor method, found a joint one; "
            f"fit it again with --method tensor"
        )
    return field


def _read_arrays(node: h5py.Group) -> FieldTensors:
    """The tensors of a node of encoding 1.0."""
    require_kind(node, "neural")
    weights: list[npt.NDArray] = []
    biases: list[npt.NDArray] = []
    omegas = (1.0, 1.0)
    if "network" in node:
        require_kind(node["network"], "sine-network")
        network = attributes_of(node["network"])
        omegas = network["omega_first"], network["omega_hidden"]
        for i in range(network["depth"] + 1):
            layer = node["network/layers"][str(i)]
            weights.append(read_array(layer["weight"]).astype(np.float32))
            biases.append(read_array(layer["bias"]).astype(np.float32))
    scale = read_array(node["basis_scale"]) * read_array(node["coefficient_scale"])
    return FieldTensors(
        weights=weights,
        biases=biases,
        omega_first=omegas[0],
        omega_hidden=omegas[1],
        basis=read_array(node["basis"]).astype(np.float32) * scale[:, None],
        mean_pattern=read_array(node["mean_pattern"]),
        mask=read_array(node["mask"]).astype(bool),
    )


def read_field_patterns(path: str, node_name: str) -> Patterns:
    """The layer's patterns at the points of the scan, corrected by its residual if it has one.

    They are float32 counts, or of the source's type where the residual makes them bit-exact.
    """
    field = FieldPatterns(read_field(path, node_name))
    with open_for_reading(path) as file, readable(file):
        residual = file[node_name].get("residual")
        if residual is None:
            return field
        require_kind(residual, "residual")
        said = attributes_of(residual)
        dtype = str(attribute(archive_group(file)["scan"], "dtype"))
    codes = RawPatterns(path, f"{node_name}/residual/codes")
    exact = said["max_error_counts"] == 0
    return BoundedPatterns(field, codes, said["step_counts"], dtype if exact else "float32")
