"""``restore``: estimates of what a longer exposure would have shown, as a layer or as a file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ebsdarchive.errors import ArgumentError
from ebsdarchive.exchange.quantise import Quantisation
from ebsdarchive.exchange.writers import Written
from ebsdarchive.restorers.blocks import Block, restored_blocks
from ebsdarchive.restorers.measured import Measured, measured_patterns
from ebsdarchive.restorers.registry import (
    DEFAULT_METHOD,
    method_of,
    options_of,
    pipeline_of,
    restorer_of,
)
from ebsdarchive.restorers.restorer import (
    OVERLAP,
    UNFAMILIAR,
    WEAK,
    Restorer,
    WholeScan,
    prepared,
)
from ebsdarchive.restorers.results import Results
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.restore_source import Model, Source, model_for, opened_source
from ebsdarchive.verbs.restore_targets import FileTarget, LayerTarget, Made, Target

__all__ = ["RestoreOptions", "RestoreSummary", "restore"]

FLAGS = {"weak": WEAK, "overlap": OVERLAP, "unfamiliar": UNFAMILIAR}
SATURATED_SHARE = 0.01  # of the lit pixels, from which on a pattern counts as saturated


@dataclass(frozen=True)
class RestoreOptions:
    """How patterns are restored.

    Parameters
    ----------
    method
        NAME or NAME:OPTION=NUMBER,… of a method in `ebsdarchive.restorers.registry`; by default
        that of the model, or the package's default.
    model
        A .safetensors file, or the name of a model in the archive; by default the one that comes
        with the package, where one does.
    before, after
        Corrections, such as "static", "dynamic" and "clahe:kernel=15".
    steps, samples
        Of methods that draw samples: steps for each, and how many are drawn and averaged.
    search_radius
        Of nlpar: half its window in points.
    mask
        "auto" to leave out pixels of the detector without signal, or "none".
    device
        "auto", "cpu", "cuda" or "cuda:N".
    seed
        Of all random numbers.
    """

    method: str | None = None
    model: str | os.PathLike[str] | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    steps: int | None = None
    samples: int = 1
    search_radius: int | None = None
    mask: str = "auto"
    device: str = "auto"
    seed: int = 0

    def recorded(self) -> dict[str, Any]:
        """As provenance keeps them: a model by its name, without the folders it lies in."""
        model = None if self.model is None else os.path.basename(self.model)
        return asdict(self) | {"model": model}


@dataclass(frozen=True)
class RestoreSummary:
    """What became of a scan.

    Parameters
    ----------
    layer, written
        The layer in the archive, or the file that was written.
    method, version, config
        What made the estimates.
    patterns, resumed
        How many there are, and how many of them an earlier call had made.
    lost
        Patterns that show nothing and are as they were.
    flags
        {"weak", "overlap", "unfamiliar": number of patterns}.
    uncertainty_counts
        Mean over all patterns, None where the method knows none.
    stored
        Bytes of the layer.
    notes
        What to know when using the result.
    """

    path: str
    layer: str | None
    written: Written | None
    method: str
    version: str
    config: Mapping[str, Any]
    patterns: int
    resumed: int
    lost: int
    flags: Mapping[str, int]
    uncertainty_counts: float | None
    stored: int | None
    seconds: float
    device: str
    notes: tuple[str, ...]


def restore(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    options: RestoreOptions | None = None,
    name: str | None = None,
    uncertainty: bool = False,
    dtype: str | None = None,
    format: str | None = None,
    scan: str | int | None = None,
    geometry: str | os.PathLike[str] | None = None,
    index_pattern: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> RestoreSummary:
    """Restore the measured patterns of an archive or of a vendor's file.

    Without an output the estimates become the layer ``restored/NAME`` of the archive, and what the
    method knows of their uncertainty the maps ``NAME_uncertainty`` and ``NAME_flags``. An
    interrupted run leaves its finished blocks beside the target, and the next call with the same
    options goes on from there.

    Parameters
    ----------
    output
        A file for other software, of any format that `export` writes.
    name
        Of the layer; by default the method's.
    uncertainty
        Also keep the uncertainty of each pixel in the layer.
    dtype
        "uint8", "uint16" or "float32"; by default the measured type, whose whole numbers estimates
        are rounded to.
    format
        Key of the output's format, by default that of the ending.
    scan, geometry, index_pattern
        Of a vendor's file, see `ebsdarchive.exchange.open_scan`.
    force
        Replace a layer or file.

    Raises
    ------
    ArgumentError
        If an option makes no sense for the method or the scan.
    MissingLayerError
        If the archive holds no raw patterns, or no neural layer for a method that needs one.
    OutputError
        If there is such a layer or file already, or it cannot be written.
    """
    chosen = options or RestoreOptions()
    if chosen.seed < 0:
        raise ArgumentError(f"seed: expected 0 or more, found {chosen.seed}")
    begun = time.monotonic()
    source = opened_source(path, scan, geometry, index_pattern)
    restorer, model, device = _restorer_of(chosen, source)
    target: Target
    if output is None:
        if format is not None:
            raise ArgumentError("format: expected an output to write in it, found none; give -o")
        label = restorer.name if name is None else name
        target = LayerTarget.require(source, label, dtype, uncertainty, force)
    else:
        if name is not None or uncertainty:
            raise ArgumentError(
                "restore: expected no name and no uncertainty of each pixel for a file, found one; "
                "they are for layers of an archive"
            )
        target = FileTarget.require(source, output, dtype, format, force)
    measured = measured_patterns(
        source.scan.patterns, source.scan.grid, chosen.mask, chosen.seed, source.path
    )
    ready = _ready(restorer, measured, source, chosen.seed, progress)
    config = {**ready.config, "mask": chosen.mask}
    run = {
        "source": source.identity(),
        "method": [ready.name, ready.version, config],
        "model_sha256": None if model is None else model.checkpoint.sha256,
        "seed": chosen.seed,
    }
    results = Results(
        target.results_folder, run, measured.shape, target.kept_dtype, uncertainty=uncertainty
    )
    resumed = results.done
    try:
        _run(ready, measured, source, results, target, chosen.seed, progress)
    finally:
        if results.done == 0:
            results.remove()
    made = Made(ready, config, model, chosen.recorded(), chosen.seed, device, results)
    written, stored = target.write(made, progress)
    summary = RestoreSummary(
        path=source.path,
        layer=target.layer if isinstance(target, LayerTarget) else None,
        written=written,
        method=ready.name,
        version=ready.version,
        config=config,
        patterns=results.done,
        resumed=resumed,
        lost=results.counts["lost"],
        flags={key: int(np.count_nonzero(results.flags & bit)) for key, bit in FLAGS.items()},
        uncertainty_counts=_mean_of(results.mean_uncertainty),
        stored=stored,
        seconds=time.monotonic() - begun,
        device=device,
        notes=_notes(results, target.kept_dtype),
    )
    results.remove()
    return summary


def _restorer_of(chosen: RestoreOptions, source: Source) -> tuple[Restorer, Model | None, str]:
    """The method with all its parameters, its model and its device."""
    name, options = (None, {}) if chosen.method is None else options_of(chosen.method)
    if name is None and chosen.model is None:
        name = DEFAULT_METHOD
    if chosen.search_radius is not None:
        options = options | {"search-radius": chosen.search_radius}
    model = model_for(name, chosen.model, source.archive)
    name = model.checkpoint.method if name is None and model is not None else str(name)
    device = chosen.device
    if device == "auto":
        device = "cuda" if method_of(name).learned and _has_cuda() else "cpu"
    restorer = restorer_of(
        name,
        None if model is None else model.checkpoint,
        device=device,
        steps=chosen.steps,
        samples=chosen.samples,
        options=options,
    )
    return pipeline_of(restorer, chosen.before, chosen.after), model, device


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _ready(
    restorer: Restorer, measured: Measured, source: Source, seed: int, progress: Progress
) -> Restorer:
    whole = WholeScan(
        patterns=measured,
        grid=source.scan.grid,
        mask=measured.mask,
        field=source.neural,
        static_background=source.scan.static_background,
        seed=seed,
    )
    return prepared(restorer, whole, stage(progress, "preparing"))


def _run(
    restorer: Restorer,
    measured: Measured,
    source: Source,
    results: Results,
    target: Target,
    seed: int,
    progress: Progress,
) -> None:
    """Make the estimates that are not there yet."""
    told, n = stage(progress, "restoring"), measured.shape[0]
    told(results.done, n)
    for block in restored_blocks(
        restorer,
        measured,
        source.scan.grid,
        field=source.neural,
        seed=seed,
        first_row=results.rows,
    ):
        if target.uncertainty and block.estimate.uncertainty is None:
            raise ArgumentError(
                f"uncertainty: expected a method that knows it, found {restorer.name}; leave it out"
            )
        if not target.holds_nan and not np.isfinite(block.estimate.patterns).all():
            raise ArgumentError(
                f"{source.path}: expected finite counts to write whole numbers, found NaN or "
                f"infinity in patterns {block.start} to {block.stop - 1}; write float32 (h5, npz, "
                f"nc, tif) instead"
            )
        rule = Quantisation(results.patterns.dtype.name)
        kept = rule.apply(block.estimate.patterns)
        flags = block.estimate.flags
        counts = {
            "lost": int(block.lost.sum()),
            "limited": rule.clipped,
            "saturated": _saturated(block, measured),
            "flagged": int(flags is not None),
            "field": int(source.neural is not None and source.neural.used),
        }
        results.add(block, kept, counts)
        told(block.stop, n)


def _saturated(block: Block, measured: Measured) -> int:
    """Patterns that are at the end of their type's range in many of the lit pixels."""
    if block.measured.dtype.kind != "u":
        return 0
    full = block.measured[:, measured.mask] == np.iinfo(block.measured.dtype).max
    return int(np.count_nonzero((full.mean(axis=1) > SATURATED_SHARE) & ~block.lost))


def _mean_of(values: Any) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean(dtype=np.float64)) if known.size else None


def _notes(results: Results, dtype: str) -> tuple[str, ...]:
    counts = results.counts
    notes = []
    if counts["lost"]:
        notes.append(f"{counts['lost']} patterns show nothing and are as they were measured")
    if counts["saturated"]:
        notes.append(
            f"{counts['saturated']} measured patterns are saturated in more than "
            f"{SATURATED_SHARE:.0%} of their pixels: what was cut off is not known to any method"
        )
    if counts["limited"]:
        notes.append(f"{counts['limited']} pixels limited to the range of {dtype}")
    return tuple(notes)
