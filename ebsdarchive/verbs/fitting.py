"""``fit``: gives an archive a neural layer, or replaces the one it has."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import h5py

from ebsdarchive.archive import provenance
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.nodes import stored_bytes
from ebsdarchive.errors import MissingLayerError
from ebsdarchive.scan import Scan
from ebsdarchive.verbs.progress import Progress, silent, stage

__all__ = ["FitSummary", "NeuralOptions", "fit"]


@dataclass(frozen=True)
class NeuralOptions:
    """Options of the neural fit; see `ebsdarchive.neural.fit.FitOptions` for their meaning."""

    rank: int | Literal["auto"] = "auto"
    width: int | Literal["auto"] = "auto"
    target_mae_pct: float | None = None
    time_s: float | None = None
    band_weight: float = 2.0
    mask: str = "auto"
    seed: int = 0
    device: str = "auto"

    def recorded(self) -> dict[str, Any]:
        """As provenance keeps them."""
        return asdict(self)


@dataclass(frozen=True)
class FitSummary:
    """A fitted neural layer: its size, its measured errors, and the record of the fit."""

    rank: int
    stored: int
    mae_counts: float
    mae_pct: float
    worst_index: int
    worst_mae_counts: float
    device: str
    seconds: float
    notes: tuple[str, ...]


def fit(
    path: str | os.PathLike[str],
    *,
    options: NeuralOptions | None = None,
    progress: Progress = silent,
) -> FitSummary:
    """Fit the neural layer of an archive to its raw patterns, and store it in the archive.

    An interrupted fit leaves a checkpoint beside the archive; the next call with the same options
    goes on from there.

    Raises
    ------
    MissingLayerError
        If the archive holds no raw patterns.
    FitError
        If the patterns cannot be fitted (NaN, for example).
    """
    options = options or NeuralOptions()
    archive = open_archive(path)
    if "raw" not in archive.layers:
        raise MissingLayerError(
            f"{archive.path}: expected raw patterns to fit to, found the layers "
            f"{', '.join(archive.layers)}; fit an archive that holds them"
        )
    activity = provenance.Activity("fit", parameters=options.recorded(), seed=options.seed)
    activity.used["raw"] = archive.raw_sha256
    return add_field(Path(path), archive.scan("raw"), options, activity, progress)


def add_field(
    path: Path,
    scan: Scan,
    options: NeuralOptions,
    activity: provenance.Activity,
    progress: Progress,
) -> FitSummary:
    """Fit to the patterns of `scan`, which are the archive's raw patterns, and add the layer."""
    sha256 = open_archive(path).raw_sha256
    result, checkpoint = _fit(scan, options, path, progress)
    with adding_layers(path, ["neural"], stage(progress, "reading back")) as file:
        summary = _write(file["archive"], result, sha256, options, activity)
        provenance.record(file["archive"], activity)
    checkpoint.unlink(missing_ok=True)
    return summary


def fit_and_write(
    archive: h5py.Group,
    scan: Scan,
    sha256: str,
    options: NeuralOptions,
    path: Path,
    activity: provenance.Activity,
    progress: Progress,
) -> FitSummary:
    """Fit and write into an archive that is being made; `path` is where it will be."""
    result, checkpoint = _fit(scan, options, path, progress)
    summary = _write(archive, result, sha256, options, activity)
    checkpoint.unlink(missing_ok=True)
    return summary


def _fit(scan: Scan, options: NeuralOptions, path: Path, progress: Progress) -> tuple[Any, Path]:
    from ebsdarchive.neural.fit import FitOptions, fit_field

    checkpoint = path.with_name(f".{path.name}.fit.npz")
    fit_options = FitOptions(**asdict(options))
    return fit_field(scan, fit_options, progress=progress, checkpoint=checkpoint), checkpoint


def _write(
    archive: h5py.Group,
    result: Any,
    sha256: str,
    options: NeuralOptions,
    activity: provenance.Activity,
) -> FitSummary:
    from ebsdarchive.neural.storage import write_field

    log = result.log
    digest = write_field(
        archive,
        result.tensors,
        result.errors,
        raw_sha256=sha256,
        config={"options": options.recorded(), "network": result.tensors.config, "log": log},
    )
    activity.generated["neural"] = digest
    activity.device = log.get("training", {}).get("device", "cpu")
    errors = result.errors
    return FitSummary(
        rank=len(result.tensors.basis) + 1,
        stored=stored_bytes(archive["neural"]),
        mae_counts=errors.mae_counts,
        mae_pct=errors.mae_pct,
        worst_index=errors.worst_index,
        worst_mae_counts=errors.worst_mae_counts,
        device=activity.device,
        seconds=float(sum(log["seconds"].values())),
        notes=tuple(log.get("notes", ())),
    )
