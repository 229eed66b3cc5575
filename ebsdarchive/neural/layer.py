"""What every encoding of the neural layer carries: the record of its fit, its measured errors, and
perhaps a residual.

Owns these in the archive; what a field itself consists of is for the encodings to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import h5py

from ebsdarchive.archive.nodes import new_node
from ebsdarchive.archive.raw import write_raw
from ebsdarchive.geometry import Grid
from ebsdarchive.neural.refine import FieldErrors
from ebsdarchive.scan import Patterns

__all__ = ["Residual", "write_layer"]


@dataclass(frozen=True)
class Residual:
    """A residual to be stored: its codes, and the error that it guarantees, in counts."""

    codes: Patterns
    grid: Grid
    step: float
    max_error: float
    progress: Callable[[float, float], None] | None = None


def write_layer(
    archive: h5py.Group,
    kind: str,
    attributes: Mapping[str, Any],
    datasets: Mapping[str, Any],
    errors: FieldErrors,
    *,
    raw_sha256: str,
    config: dict[str, Any],
    residual: Residual | None,
) -> str:
    """Write the layer ``neural``; returns its digest.

    Parameters
    ----------
    kind, attributes, datasets
        Of the encoding: what the field consists of.
    errors
        Measured with what these very values decode to.
    raw_sha256
        Digest of the raw patterns that the field stands for.
    config
        Parameters and record of the fit, as plain JSON values.
    residual
        What to store of what the field misses, if anything.
    """
    said = {
        "raw_sha256": raw_sha256,
        "config": json.dumps(config, sort_keys=True),
        **attributes,
        **_error_attributes(errors),
    }
    with new_node(archive, "neural", kind, said, dict(datasets)) as node:
        if residual is not None:
            _write_residual(node, residual)
    return str(node.attrs["sha256"])


def _error_attributes(errors: FieldErrors) -> dict[str, Any]:
    """Measured errors as attributes of the layer's node."""
    return {
        "mae_counts": errors.mae_counts,
        "mae_percent": errors.mae_pct,
        "rmse_counts": errors.rmse_counts,
        "noise_counts": errors.noise_counts,
        "range_min": errors.range_counts[0],
        "range_max": errors.range_counts[1],
        "point_mae_percentiles": json.dumps(
            {str(part): round(value, 3) for part, value in errors.percentiles.items()}
        ),
        "worst_points": json.dumps([[i, round(value, 3)] for i, value in errors.worst]),
    }


def _write_residual(node: h5py.Group, residual: Residual) -> None:
    said = {"step_counts": residual.step, "max_error_counts": residual.max_error}
    with new_node(node, "residual", "residual", said) as group:
        write_raw(group, "codes", residual.codes, residual.grid, "auto", residual.progress)
