"""The joint encoding of the neural layer: weights as plain arrays, float16 or float32, deflated.

The arrays are stored as they are, so that what was measured is what anybody decodes; digests and
checksums are those of every node.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from ebsdarchive.archive.nodes import attributes_of, read_array, require_kind
from ebsdarchive.errors import CorruptionError
from ebsdarchive.neural.coded import decode_mask, encode_mask
from ebsdarchive.neural.joint_field import JointTensors
from ebsdarchive.neural.layer import Residual, write_layer
from ebsdarchive.neural.refine import FieldErrors

__all__ = ["read_joint_tensors", "write_joint_field"]

_FIGURES = ("omega_first", "omega_hidden", "scale_counts")
_WEIGHTS = (
    "position_weight", "sine_weight", "cosine_weight", "hidden_weight", "bias", "output_weight",
)  # fmt: skip


def write_joint_field(
    archive: h5py.Group,
    tensors: JointTensors,
    errors: FieldErrors,
    *,
    raw_sha256: str,
    config: dict[str, Any],
    residual: Residual | None = None,
) -> str:
    """Write a joint field as the layer ``neural``; returns its digest. See `write_layer`."""
    attributes = {name: getattr(tensors, name) for name in _FIGURES}
    datasets = {
        "frequencies": tensors.frequencies,
        **tensors.arrays(),
        "mean_pattern": tensors.mean_pattern,
        "mask": np.frombuffer(encode_mask(tensors.mask), np.uint8),
    }
    return write_layer(
        archive, "joint-neural", attributes, datasets, errors,
        raw_sha256=raw_sha256, config=config, residual=residual,
    )  # fmt: skip


def read_joint_tensors(node: h5py.Group, scan: dict[str, Any]) -> JointTensors:
    """The field of a node of the joint encoding.

    Parameters
    ----------
    scan
        What the scan says of itself: sy and sx are needed.

    Raises
    ------
    CorruptionError
        If the arrays do not fit together, or hold NaN or infinity.
    """
    require_kind(node, "joint-neural")
    said = attributes_of(node)
    where = f"{node.file.filename}: {node.name}"
    arrays: dict[str, Any] = {name: read_array(node[name]).astype(np.float32) for name in _WEIGHTS}
    frequencies = read_array(node["frequencies"])
    width, m = len(arrays["output_weight"]), len(frequencies)
    hidden = len(arrays["hidden_weight"])
    expected = {
        "position_weight": (width, 2), "sine_weight": (width, m), "cosine_weight": (width, m),
        "hidden_weight": (hidden, width, width), "bias": (hidden + 1, width),
        "output_weight": (width,),
    }  # fmt: skip
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise CorruptionError(
                f"{where}/{name}: expected shape {shape}, found {arrays[name].shape}; the layer "
                f"is damaged"
            )
        if not np.isfinite(arrays[name]).all():
            raise CorruptionError(
                f"{where}/{name}: expected finite weights, found others; the layer is damaged"
            )
    if frequencies.shape != (m, 2) or not np.isfinite(frequencies).all():
        raise CorruptionError(
            f"{where}/frequencies: expected finite pairs, found {frequencies.shape}; the layer is "
            f"damaged"
        )
    shape = int(scan["sy"]), int(scan["sx"])
    mean = read_array(node["mean_pattern"])
    if mean.shape != shape or not np.isfinite(mean).all():
        raise CorruptionError(
            f"{where}/mean_pattern: expected finite counts of {shape} pixels, found {mean.shape}; "
            f"the layer is damaged"
        )
    try:
        mask = decode_mask(read_array(node["mask"]).tobytes(), shape)
    except CorruptionError as error:
        raise CorruptionError(f"{where}: {error}; the layer is damaged") from error
    return JointTensors(
        frequencies=frequencies,
        mean_pattern=mean,
        mask=mask,
        **arrays,
        **{name: said[name] for name in _FIGURES},
    )
