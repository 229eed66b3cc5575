"""``compress``: a vendor's scan becomes an archive with a raw and a neural layer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ebsdarchive.archive import provenance
from ebsdarchive.archive.description import write_source
from ebsdarchive.archive.layout import parse_profile
from ebsdarchive.archive.making import new_archive
from ebsdarchive.archive.metadata import write_metadata
from ebsdarchive.archive.raw import RawSummary, write_raw
from ebsdarchive.archive.store import file_sha256
from ebsdarchive.archive.views import write_mean_map
from ebsdarchive.errors import ArgumentError, FitError, OutputError
from ebsdarchive.exchange import open_scan
from ebsdarchive.metadata.documents import given_metadata
from ebsdarchive.scan import Scan
from ebsdarchive.verbs.fitting import FitSummary, NeuralOptions, add_field, fit_and_write
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_other_file

__all__ = ["CompressSummary", "compress"]


@dataclass(frozen=True)
class CompressSummary:
    """What `compress` made of a scan."""

    path: str
    nbytes: int
    file_bytes: int
    raw: RawSummary | None
    neural: FitSummary | None


def compress(
    source: str | os.PathLike[str] | Scan,
    output: str | os.PathLike[str] | None = None,
    *,
    profile: str = "auto",
    neural: bool = True,
    drop_raw: bool = False,
    options: NeuralOptions | None = None,
    scan: str | int | None = None,
    geometry: str | os.PathLike[str] | None = None,
    index_pattern: str | None = None,
    metadata: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> CompressSummary:
    """Make an archive of a scan.

    The raw layer is complete and in place before the neural one is fitted, so that an interrupted
    fit loses nothing and `fit` goes on with it.

    Parameters
    ----------
    source
        A vendor's file, a folder of images, or a `Scan`.
    output
        The archive; by default the source's name with ``.archive.h5`` in place of its ending.
    profile
        Lossless coding of the raw layer: archive, fast, compat, none, or auto (the smallest); and
        layout of the file: plain, or cloud for reading over a network. "cloud" is "auto,cloud".
    neural, drop_raw
        Whether to fit a neural layer, and whether to leave the raw patterns out.
    options
        Of the neural fit.
    scan, geometry, index_pattern
        Which scan of a file with several, a file with its map, and how the names of images give
        their places; see `ebsdarchive.exchange.open_scan`.
    metadata
        What people say about the scan: a YAML or JSON file of the vocabulary in the format's
        reference, or a mapping. `annotate` changes it later.
    force
        Replace an existing archive.

    Raises
    ------
    EbsdArchiveError
        FormatError for a source or metadata that cannot be read, OutputError where the archive
        cannot be written, FitError where the patterns cannot be fitted. An existing file is left
        as it was.
    """
    options = options or NeuralOptions()
    if drop_raw and not neural:
        raise ArgumentError(
            "compress: expected at least one layer, found drop_raw without neural; keep one"
        )
    coding, cloud = parse_profile(profile)
    path = _output_path(source, output)
    if path.exists() and not force:
        raise OutputError(f"{path}: expected no such file, found one; use --force to replace it")
    choice = {"scan": scan, "index_pattern": index_pattern}
    if isinstance(source, Scan):
        if geometry is not None or any(value is not None for value in choice.values()):
            raise ArgumentError(
                "compress: expected a file to choose a scan of, or to give a geometry or index "
                "pattern to, found a scan in memory; give them to open_scan"
            )
        opened = source
    else:
        require_other_file(path, source, *([geometry] if geometry is not None else []))
        opened = open_scan(source, scan=scan, geometry=geometry, index_pattern=index_pattern)
    if geometry is not None:
        choice["geometry"] = Path(geometry).name
    document = given_metadata(metadata or {})
    activity = provenance.Activity(
        "compress",
        parameters={"profile": profile, "neural": neural, "drop_raw": drop_raw}
        | {name: value for name, value in choice.items() if value is not None}
        | (options.recorded() if neural else {}),
        seed=options.seed if neural else None,
    )
    raw = fitted = None
    with new_archive(
        path,
        opened,
        force=force,
        cloud=bool(cloud),
        progress=stage(progress, "reading back"),
    ) as file:
        archive = file["archive"]
        progress("reading source", 0, 1)
        write_source(archive, opened.source)
        _record_source(activity, archive, opened)
        if metadata is not None:
            if not isinstance(metadata, Mapping):
                activity.used[Path(metadata).name] = file_sha256(metadata)
            activity.generated["metadata"] = write_metadata(archive, document)
        if drop_raw:
            sha256, means = _survey(opened, stage(progress, "reading source"))
            fitted = fit_and_write(archive, opened, sha256, options, path, activity, progress)
        else:
            raw = write_raw(
                archive,
                "raw",
                opened.patterns,
                opened.grid,
                coding or "auto",
                stage(progress, "raw layer"),
            )
            sha256, means = raw.sha256, raw.means
            activity.generated["raw"] = raw.sha256
        write_mean_map(archive, opened.grid, means, sha256)
        provenance.record(archive, activity)
    if neural and not drop_raw:
        try:
            fitted = add_field(path, opened, options, activity, progress)
        except FitError as error:
            raise FitError(f"{error}; {path} holds the raw layer") from error
    return CompressSummary(str(path), opened.nbytes, path.stat().st_size, raw, fitted)


def _output_path(
    source: str | os.PathLike[str] | Scan, output: str | os.PathLike[str] | None
) -> Path:
    if output is not None:
        path = Path(output)
    elif isinstance(source, Scan):
        raise ArgumentError("compress: expected an output for a scan in memory, found none")
    elif Path(source).is_dir():
        folder = Path(source).resolve()
        path = folder.with_name(folder.name.removesuffix(".zarr") + ".archive.h5")
    else:
        path = Path(source).with_suffix(".archive.h5")
    if path.suffix.lower() not in (".h5", ".hdf5"):
        raise OutputError(
            f"{path}: expected a name that ends in .h5, found {path.suffix or 'none'}"
        )
    return path


def _record_source(activity: provenance.Activity, archive: Any, scan: Scan) -> None:
    digest = archive["source"].attrs.get("file_sha256")
    if digest is not None and scan.source.path is not None:
        activity.used[Path(scan.source.path).name] = str(digest)


def _survey(scan: Scan, progress: Any) -> tuple[str, np.ndarray]:
    """Digest of the decoded patterns and the mean of each, where no raw layer gives them."""
    sha = hashlib.sha256()
    means = []
    for _, stop, block in scan.blocks():
        sha.update(np.ascontiguousarray(block).view(np.uint8).data)
        means.append(block.mean(axis=(1, 2), dtype=np.float64))
        progress(stop, scan.grid.size)
    return sha.hexdigest(), np.concatenate(means)
