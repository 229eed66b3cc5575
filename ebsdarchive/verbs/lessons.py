"""What a training learns from: files that a user names, as a source of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os.path import samefile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ebsdarchive.archive.file import is_archive, open_archive
from ebsdarchive.errors import ArgumentError, MissingLayerError
from ebsdarchive.exchange import open_scan
from ebsdarchive.restorers.train_options import TrainOptions
from ebsdarchive.scan import Scan
from ebsdarchive.simulation import MasterPattern, read_master_pattern

if TYPE_CHECKING:
    from ebsdarchive.restorers.checkpoint import Checkpoint
    from ebsdarchive.restorers.measured_samples import Pair
    from ebsdarchive.restorers.samples import SampleSource

__all__ = ["Lesson", "source_of"]

BUNDLED = "Ni"  # stands for kikuchipy's master pattern


@dataclass(frozen=True)
class Lesson:
    """What to learn from: one of the first three.

    Parameters
    ----------
    pairs
        A noisy scan and a reference of the same points.
    simulate
        Master patterns, each FILE, FILE,PHASE,PHASE... (without phases: all of the file) or Ni for
        the one that comes with kikuchipy.
    archives
        Archives with raw patterns and their neural layer, which is the reference.
    share
        Of the points of measured scans to train on.
    sizes
        Pattern sizes to simulate, (rows, columns).
    pc_bruker
        Projection centre to simulate; None draws one for every sample. Networks of the method
        orientation need one.
    without
        Phases of `simulate` to leave out, to test on.
    batch
        Samples of a batch, of 60 x 60 px.
    augment
        Whether measured samples are changed as `restorers.samples.augmented` does.
    """

    pairs: tuple[str, str] | None = None
    simulate: Sequence[str] = ()
    archives: Sequence[str] = ()
    share: float = 0.1
    sizes: Sequence[tuple[int, int]] = ((60, 60),)
    pc_bruker: tuple[float, float, float] | None = None
    without: Sequence[str] = ()
    batch: int = 32
    augment: bool = True

    def __post_init__(self) -> None:
        given = {
            "pairs": self.pairs is not None,
            "simulate": bool(self.simulate),
            "archive": bool(self.archives),
        }
        found = [name for name, there in given.items() if there]
        if len(found) != 1:
            raise ArgumentError(
                f"train: expected one of pairs, simulate and archive to learn from, found "
                f"{' and '.join(found) or 'none'}"
            )
        if self.batch < 1:
            raise ArgumentError(f"batch: expected at least 1 sample, found {self.batch}")
        for name, there in {"pc": self.pc_bruker, "without": self.without}.items():
            if there and not self.simulate:
                raise ArgumentError(f"{name}: expected with simulate alone, found with {found[0]}")

    @property
    def sources(self) -> list[str]:
        """The files that are read."""
        masters = [item.partition(",")[0] for item in self.simulate]
        return [*(self.pairs or ()), *self.archives, *(m for m in masters if m != BUNDLED)]


def source_of(
    lesson: Lesson, options: TrainOptions, start: Checkpoint | None
) -> tuple[SampleSource, TrainOptions]:
    """Where batches come from, and the options with what the network takes over from it."""
    from ebsdarchive.restorers.measured_samples import MeasuredSamples

    if lesson.simulate:
        return _simulated(lesson, options, start)
    if options.method == "orientation":
        raise ArgumentError(
            "orientation: expected simulate to learn from, found measured patterns; their true "
            "orientations are not known"
        )
    given = (
        [_two_files(*lesson.pairs)] if lesson.pairs else [_two_layers(a) for a in lesson.archives]
    )
    pairs = [_pair(noisy, reference, name, options.seed) for noisy, reference, name in given]
    kind = "two scans of one area" if lesson.pairs else "archives, their neural layer as target"
    samples = MeasuredSamples(
        pairs,
        share=lesson.share,
        size=lesson.batch,
        radius=_radius(options, start),
        seed=options.seed,
        augment=lesson.augment,
        described={"source": kind, "augmented": lesson.augment, "share": lesson.share},
    )
    return samples, options


def _simulated(
    lesson: Lesson, options: TrainOptions, start: Checkpoint | None
) -> tuple[SampleSource, TrainOptions]:
    from ebsdarchive.restorers.conditions import ONE_BY_ONE, Conditions
    from ebsdarchive.restorers.simulated_samples import SimulatedSamples

    found = [master for item in lesson.simulate for master in _masters(item)]
    names = {master.phase.name for master in found}
    unknown = sorted(set(lesson.without) - names)
    if unknown:
        raise ArgumentError(
            f"without: expected phases out of {', '.join(sorted(names))}, found {unknown[0]!r}"
        )
    masters = [master for master in found if master.phase.name not in lesson.without]
    if not masters:
        raise ArgumentError("simulate: expected at least one phase, found all of them left out")
    radius = _radius(options, start)
    chosen: dict[str, Any] = {"shapes": tuple(lesson.sizes), "radius": radius}
    if radius == 0:
        chosen["columns"] = 1  # each sample with a crystal and a camera of its own
    if lesson.pc_bruker is not None:
        x, y, z = lesson.pc_bruker
        chosen |= {"pc_x": (x, x), "pc_y": (y, y), "pc_z": (z, z)}
    if options.method == "orientation":
        if lesson.pc_bruker is None:
            raise ArgumentError(
                "orientation: expected a projection centre with --pc, found none; a network for "
                "all of them is not what this method is"
            )
        if len(masters) > 1:
            several = ", ".join(master.phase.name for master in masters)
            raise ArgumentError(f"orientation: expected one phase, found {several}")
        group = masters[0].phase.point_group
        if group is None:
            raise ArgumentError(
                f"orientation: expected a phase with a known point group, found "
                f"{masters[0].phase.name} without"
            )
        if (given := options.config.get("point_group", group)) != group:
            raise ArgumentError(
                f"orientation: expected point_group {group!r}, which the phase has, found "
                f"{given!r}; leave it out"
            )
        chosen |= ONE_BY_ONE | {"columns": lesson.batch}
        options = replace(options, config={**options.config, "point_group": group})
    conditions = Conditions(**chosen)
    scans = max(1, round(lesson.batch / conditions.columns))
    return SimulatedSamples(masters, conditions, scans=scans, seed=options.seed), options


def _masters(item: str) -> list[MasterPattern]:
    """The master patterns that FILE[,PHASE...] names."""
    from ebsdarchive.simulation.master_pattern import phases_in

    file, *phases = item.split(",")
    if file == BUNDLED:
        return [read_master_pattern()]
    wanted: list[str | None] = [*phases] if phases else [*phases_in(file)]
    return [read_master_pattern(file, name) for name in wanted or [None]]


def _two_files(noisy: str, reference: str) -> tuple[Scan, Scan, str]:
    """A scan, its reference, and the name of the first."""
    if Path(noisy).exists() and Path(reference).exists() and samefile(noisy, reference):
        raise ArgumentError(f"pairs: expected two scans, found {noisy} twice")
    first, second = (
        _layer(path, "raw") if is_archive(path) else open_scan(path) for path in (noisy, reference)
    )
    return first, second, noisy


def _two_layers(archive: str) -> tuple[Scan, Scan, str]:
    """An archive's raw patterns, its neural layer, and its name."""
    return _layer(archive, "raw"), _layer(archive, "neural"), archive


def _pair(noisy: Scan, reference: Scan, name: str, seed: int) -> Pair:
    from ebsdarchive.restorers.measured import measured_patterns
    from ebsdarchive.restorers.measured_samples import pair_of

    found = measured_patterns(noisy.patterns, noisy.grid, "auto", seed, name)
    return pair_of(noisy, reference, found.mask, Path(name).name, seed)


def _layer(path: str, name: str) -> Scan:
    archive = open_archive(path)
    if name not in archive.layers:
        raise MissingLayerError(
            f"{path}: expected a {name} layer to learn from, found {', '.join(archive.layers)}"
        )
    return archive.scan(name)


def _radius(options: TrainOptions, start: Checkpoint | None) -> int:
    """Of the neighbourhood that the network sees, in scan steps."""
    import torch

    from ebsdarchive.restorers.training import module_of

    kind = module_of(options.method)
    with torch.device("meta"):
        network = kind.build(options.config if start is None else start.config)
    return int(getattr(network.config, "neighbours", 0))
