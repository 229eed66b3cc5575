"""``fit``: gives an archive a neural layer, or replaces the one it has."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import h5py

from ebsdarchive.archive import provenance
from ebsdarchive.archive.file import open_archive
from ebsdarchive.archive.layers import write_map
from ebsdarchive.archive.making import adding_layers
from ebsdarchive.archive.nodes import stored_bytes
from ebsdarchive.errors import ArgumentError, MissingLayerError
from ebsdarchive.scan import Scan
from ebsdarchive.verbs.borrowing import dictionary_of, field_of
from ebsdarchive.verbs.deviating import within_deviation
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_local

__all__ = ["ERROR_MAP", "FitSummary", "NeuralOptions", "fit"]

ERROR_MAP = "maps/neural_error"


@dataclass(frozen=True)
class NeuralOptions:
    """Options of the neural fit; see `ebsdarchive.neural.fit.FitOptions` for their meaning.

    `method` is "tensor" (a small network times a basis of patterns) or "joint" (one network of all
    four coordinates: the paper's 4D-INR, for comparison). Besides, `max_error_counts` asks for a
    residual that keeps the error of every pixel at every measured point within this many counts; 0
    makes the layer bit-exact. `init_from` names an archive whose field to begin with. `basis` says
    what to take the basis from instead of the scan itself: "from:ARCHIVE" another field's, or
    "master:FILE[,PHASE]" patterns simulated from a master pattern. `target_deviation_deg` asks for
    the smallest field whose patterns are indexed, by Hough transform and at a sample of points,
    with orientations that deviate by no more than this on average from those of the raw patterns.
    """

    method: Literal["tensor", "joint"] = "tensor"
    network: Literal["sine", "lattice", "auto"] = "sine"
    rank: int | Literal["auto"] = "auto"
    width: int | Literal["auto"] = "auto"
    target_mae_pct: float | None = None
    target_size_mb: float | None = None
    coding_loss_pct: float = 1.5
    time_s: float | None = None
    steps: int | None = None
    band_weight: float = 2.0
    mask: str = "auto"
    seed: int = 0
    device: str = "auto"
    max_error_counts: float | None = None
    target_deviation_deg: float | None = None
    init_from: str | None = None
    basis: str | None = None

    def recorded(self) -> dict[str, Any]:
        """As provenance keeps them."""
        return asdict(self)


@dataclass(frozen=True)
class FitSummary:
    """A fitted neural layer: its size, its measured errors, and the record of the fit.

    `rank` is None for a joint field, which has none.
    """

    method: str
    rank: int | None
    width: int | None
    stored: int
    mae_counts: float
    mae_pct: float
    worst_index: int
    worst_mae_counts: float
    max_error_counts: float | None
    device: str
    seconds: float
    notes: tuple[str, ...]

    @property
    def shape(self) -> str:
        """What decides on the field's size, in words."""
        return f"joint, width {self.width}" if self.rank is None else f"rank {self.rank}"


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
    require_local(path)
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
    result = _fit(scan, options, path, progress)
    with adding_layers(path, ["neural", ERROR_MAP], stage(progress, "reading back")) as file:
        summary = _write(file["archive"], result, scan, sha256, options, activity, progress)
        provenance.record(file["archive"], activity)
    _remove_checkpoints(result)
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
    result = _fit(scan, options, path, progress)
    summary = _write(archive, result, scan, sha256, options, activity, progress)
    _remove_checkpoints(result)
    return summary


def _fit(scan: Scan, options: NeuralOptions, path: Path, progress: Progress) -> Any:
    from ebsdarchive.neural.fit import FitOptions, fit_field
    from ebsdarchive.neural.residual import residual_step

    checkpoint = path.with_name(f".{path.name}.fit")
    chosen = asdict(options)
    method = chosen.pop("method")
    if method not in ("tensor", "joint"):
        raise ArgumentError(f"method: expected tensor or joint, found {method!r}")
    max_error, deviation = chosen.pop("max_error_counts"), chosen.pop("target_deviation_deg")
    begin, basis = chosen.pop("init_from"), chosen.pop("basis")
    if max_error is not None:
        if not (math.isfinite(max_error) and max_error >= 0):
            raise ArgumentError(f"max error: expected 0 or more counts, found {max_error}")
        residual_step(max_error, scan.patterns.dtype)  # before hours of training
    if method == "joint":
        from ebsdarchive.neural.joint_fit import fit_joint

        network = None if options.network == "sine" else options.network
        asked = {
            "target deviation": deviation, "init from": begin, "basis": basis, "network": network,
        }  # fmt: skip
        for name, found in asked.items():
            if found is not None:
                raise ArgumentError(
                    f"{name}: expected none with the joint method, found {found!r}; leave it out "
                    f"or use the tensor method"
                )
        return fit_joint(scan, FitOptions(**chosen), progress=progress, checkpoint=checkpoint)
    others = {
        "start": None if begin is None else field_of(begin),
        "dictionary": None if basis is None else dictionary_of(basis, scan, options.seed),
    }

    def fitted(**changed: Any) -> Any:
        return fit_field(
            scan, FitOptions(**chosen | changed), progress=progress, checkpoint=checkpoint, **others
        )

    if deviation is None:
        return fitted()
    if options.target_mae_pct is not None or options.target_size_mb is not None:
        raise ArgumentError("target: expected one target, found a deviation and another one")
    return within_deviation(fitted, scan, deviation, progress)


def _residual(result: Any, scan: Scan, options: NeuralOptions, progress: Progress) -> Any:
    """The residual that bounds the error, where one is asked for."""
    if options.max_error_counts is None:
        return None
    from ebsdarchive.neural.layer import Residual
    from ebsdarchive.neural.residual import ResidualCodes, residual_margin, residual_step

    field = result.field(scan.grid)
    if options.method == "joint":
        from ebsdarchive.neural.joint_field import require_steady

        require_steady(field, residual_margin(options.max_error_counts))
    step = residual_step(options.max_error_counts, scan.patterns.dtype)
    codes = ResidualCodes(scan.patterns, field, step)
    told = stage(progress, "residual")
    return Residual(codes, scan.grid, step, float(options.max_error_counts), told)


def _remove_checkpoints(result: Any) -> None:
    for path in result.checkpoints:
        path.unlink(missing_ok=True)


def _write(
    archive: h5py.Group,
    result: Any,
    scan: Scan,
    sha256: str,
    options: NeuralOptions,
    activity: provenance.Activity,
    progress: Progress,
) -> FitSummary:
    from ebsdarchive.neural.joint_storage import write_joint_field
    from ebsdarchive.neural.storage import write_field

    log, errors = result.log, result.errors
    joint = options.method == "joint"
    said: dict[str, Any] = {
        "raw_sha256": sha256,
        "config": {"options": options.recorded(), "log": log},
        "residual": _residual(result, scan, options, progress),
    }
    if joint:
        digest = write_joint_field(archive, result.tensors, errors, **said)
    else:
        digest = write_field(archive, result.coded, errors, rank=result.tensors.rank, **said)
    write_map(
        archive,
        ERROR_MAP.partition("/")[2],
        scan.grid.to_map(errors.point_mae),
        long_name="mean absolute error of the neural layer",
        units="counts",
        derived_from=digest,
    )
    activity.generated["neural"] = digest
    activity.device = log["training"][-1]["device"] if "training" in log else "cpu"
    return FitSummary(
        method=options.method,
        rank=None if joint else result.tensors.rank,
        width=result.tensors.width,
        stored=stored_bytes(archive["neural"]),
        mae_counts=errors.mae_counts,
        mae_pct=errors.mae_pct,
        worst_index=errors.worst_index,
        worst_mae_counts=errors.worst_mae_counts,
        max_error_counts=options.max_error_counts,
        device=activity.device,
        seconds=float(sum(log["seconds"].values())),
        notes=tuple(log.get("notes", ())),
    )
