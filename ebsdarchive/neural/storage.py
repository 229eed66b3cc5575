"""The neural layer in the archive: from tensors to the node ``neural``, and back to patterns."""

from __future__ import annotations

import json
from typing import Any

import h5py
import numpy as np

from ebsdarchive.archive.description import read_grid
from ebsdarchive.archive.file import archive_group, readable
from ebsdarchive.archive.nodes import attributes_of, container, new_node, read_array, require_kind
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.neural.field import Field, FieldPatterns, FieldTensors

__all__ = ["read_field", "read_field_patterns", "write_field"]


def write_field(
    archive: h5py.Group,
    tensors: FieldTensors,
    errors: Any,
    *,
    raw_sha256: str,
    config: dict[str, Any],
) -> str:
    """Write the layer ``neural``; returns its digest.

    Parameters
    ----------
    errors
        `ebsdarchive.neural.errors.FieldErrors`, measured with these very tensors.
    raw_sha256
        Digest of the raw patterns that the field stands for.
    config
        Parameters and record of the fit, as plain JSON values.
    """
    attributes = {
        "raw_sha256": raw_sha256,
        "rank": len(tensors.basis) + 1,
        "config": json.dumps(config, sort_keys=True),
        "mae_counts": errors.mae_counts,
        "mae_percent": errors.mae_pct,
        "rmse_counts": errors.rmse_counts,
        "noise_counts": errors.noise_counts,
        "range_min": errors.range_counts[0],
        "range_max": errors.range_counts[1],
        "worst_point": errors.worst_index,
        "worst_mae_counts": errors.worst_mae_counts,
    }
    datasets = {
        "basis": tensors.basis,
        "basis_scale": tensors.basis_scale,
        "coefficient_scale": tensors.coefficient_scale,
        "mean_pattern": tensors.mean_pattern,
        "mask": tensors.mask.astype(np.uint8),
        "point_mae": errors.point_mae,
    }
    with new_node(archive, "neural", "neural", attributes, datasets) as node:
        if tensors.weights:
            _write_network(node, tensors)
    return str(node.attrs["sha256"])


def _write_network(node: h5py.Group, tensors: FieldTensors) -> None:
    attributes = {
        "depth": len(tensors.weights) - 1,
        "omega_first": tensors.config["omega_first"],
        "omega_hidden": tensors.config["omega_hidden"],
    }
    with new_node(node, "network", "sine-network", attributes) as network:
        layers = container(network, "layers")
        for i, (weight, bias) in enumerate(zip(tensors.weights, tensors.biases, strict=True)):
            with new_node(layers, str(i), "dense-layer", {}, {"weight": weight, "bias": bias}):
                pass


def read_field(path: str, node_name: str = "/archive/neural") -> Field:
    """The neural field of an archive, ready to be asked for patterns anywhere in the scan."""
    with open_for_reading(path) as file, readable(file):
        node = file[node_name]
        require_kind(node, "neural")
        weights, biases, network = [], [], {}
        if "network" in node:
            require_kind(node["network"], "sine-network")
            network = attributes_of(node["network"])
            for i in range(network["depth"] + 1):
                layer = node["network/layers"][str(i)]
                weights.append(read_array(layer["weight"]))
                biases.append(read_array(layer["bias"]))
        tensors = FieldTensors(
            config={key: network[key] for key in ("omega_first", "omega_hidden") if network},
            weights=weights,
            biases=biases,
            basis=read_array(node["basis"]),
            basis_scale=read_array(node["basis_scale"]),
            coefficient_scale=read_array(node["coefficient_scale"]),
            mean_pattern=read_array(node["mean_pattern"]),
            mask=read_array(node["mask"]).astype(bool),
        )
        return Field(tensors, read_grid(archive_group(file)))


def read_field_patterns(path: str, node_name: str) -> FieldPatterns:
    """The field's patterns at the points of the scan, as float32 counts."""
    return FieldPatterns(read_field(path, node_name))
