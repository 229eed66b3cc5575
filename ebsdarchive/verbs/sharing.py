"""``extract``, ``merge``, ``upgrade``: layers to share, back into one file, or a newer format."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ebsdarchive.archive import migrate, provenance
from ebsdarchive.archive.copying import copy_node
from ebsdarchive.archive.file import Archive, open_archive
from ebsdarchive.archive.layers import copy_layer, layer_node
from ebsdarchive.archive.making import adding_layers, copied_archive
from ebsdarchive.archive.metadata import copy_metadata
from ebsdarchive.archive.store import open_for_reading
from ebsdarchive.errors import ArgumentError, MissingLayerError, OutputError
from ebsdarchive.verbs.progress import Progress, silent, stage
from ebsdarchive.verbs.targets import require_local, require_other_file

__all__ = ["extract", "merge", "upgrade"]


def extract(
    path: str | os.PathLike[str],
    layers: Sequence[str],
    output: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress = silent,
) -> list[str]:
    """Write an archive that holds only some layers: what one shares.

    Parameters
    ----------
    layers
        Names such as neural, raw, restored/nlpar, or a whole kind: maps, models, restored,
        auxiliary. The mean-intensity map always comes along.

    Returns
    -------
    list of str
        The layers in the new file.
    """
    archive = open_archive(path)
    require_other_file(output, path)
    names = _resolve(archive, layers)
    if not {"raw", "neural"} & set(names):
        raise ArgumentError(
            f"extract: expected raw or neural among the layers, found {', '.join(layers)}; an "
            f"archive holds at least one of them"
        )
    names = [*names, *({"maps/mean_intensity"} - set(names))]
    activity = provenance.Activity("extract", {"layers": list(layers)})
    with copied_archive(
        archive, output, names, force=force, progress=stage(progress, "reading back")
    ) as file:
        for name in names:
            digest = str(layer_node(file["archive"], name).attrs["sha256"])
            activity.used[name] = activity.generated[name] = digest
        provenance.record(file["archive"], activity)
    return names


def merge(
    path: str | os.PathLike[str],
    other: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress = silent,
) -> list[str]:
    """Add the layers of another archive of the same scan that this one lacks.

    The metadata of the other comes along where this archive has none; its own are never changed.

    Parameters
    ----------
    force
        Also replace layers that both have with different content.

    Returns
    -------
    list of str
        The layers that were added or replaced.

    Raises
    ------
    ArgumentError
        If the two are not of the same scan: their raw digests differ.
    OutputError
        If a layer is in both with different content, without `force`.
    """
    require_local(path)
    target, source = open_archive(path), open_archive(other)
    if target.raw_sha256 != source.raw_sha256:
        raise ArgumentError(
            f"{source.path}: expected layers of the same scan as {target.path} (raw digest "
            f"{target.raw_sha256[:12]}…), found {source.raw_sha256[:12]}…; merge only archives of "
            f"one scan"
        )
    wanted = []
    for name in source.layers:
        if name not in target.layers:
            wanted.append(name)
        elif source.attributes(name)["sha256"] != target.attributes(name)["sha256"]:
            if not force:
                raise OutputError(
                    f"{target.path}: expected no other {name} layer than that of {source.path}, "
                    f"found one; use --force to replace it"
                )
            wanted.append(name)
    takes_metadata = bool(source.metadata()) and not target.metadata()
    if not wanted and not takes_metadata:
        return []
    activity = provenance.Activity("merge", {"other": Path(other).name, "force": force})
    with (
        adding_layers(path, wanted, stage(progress, "reading back")) as file,
        open_for_reading(other) as source_file,
    ):
        for name in wanted:
            copy_layer(source_file["archive"], file["archive"], name)
            digest = str(file["archive"][name].attrs["sha256"])
            activity.used[f"{Path(other).name}:{name}"] = digest
            activity.generated[name] = digest
        if copy_metadata(source_file["archive"], file["archive"]):
            digest = str(file["archive/metadata"].attrs["sha256"])
            activity.used[f"{Path(other).name}:metadata"] = digest
            activity.generated["metadata"] = digest
        for identifier, node in source_file["archive/provenance"].items():
            if identifier not in file["archive/provenance"]:
                copy_node(node, file["archive/provenance"], identifier)
        provenance.record(file["archive"], activity)
    return wanted


def upgrade(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    force: bool = False,
) -> tuple[str, str]:
    """Rewrite an archive of an older format version as one of the current version.

    Returns
    -------
    tuple of str
        The version before and after.

    Raises
    ------
    ArgumentError
        If the archive is of the current version already.
    VersionError
        If its version is not known here.
    """
    require_other_file(output, path)
    return migrate.upgrade_file(path, output, force=force)


def _resolve(archive: Archive, layers: Sequence[str]) -> list[str]:
    """Layer names in the order asked for, whole kinds spelled out."""
    names: list[str] = []
    for wanted in layers:
        found = [name for name in archive.layers if name == wanted or name.split("/")[0] == wanted]
        if not found:
            raise MissingLayerError(
                f"{archive.path}: expected a layer {wanted!r}, found {', '.join(archive.layers)}"
            )
        names += [name for name in found if name not in names]
    return names
