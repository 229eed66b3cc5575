"""Training samples from master patterns: any orientation, geometry, camera, dose and neighbourhood.

Samples are the middle rows of small scans, each with a crystal, a detector, a camera and grains of
its own, so that their neighbourhoods are what a restorer will see. Deterministic: a batch follows
from the seed and its number alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError
from ebsdarchive.geometry import Grid
from ebsdarchive.restorers.conditions import Conditions
from ebsdarchive.restorers.draws import (
    divided_by_background,
    drawn_camera,
    drawn_flags,
    drawn_grains,
    drawn_shares,
    even_log,
    texture,
)
from ebsdarchive.restorers.restorer import UNFAMILIAR, WEAK
from ebsdarchive.restorers.samples import Floats, Samples, means_around
from ebsdarchive.scan import Detector
from ebsdarchive.simulation.camera import background, disc_mask, expected_counts, expose
from ebsdarchive.simulation.master_pattern import MasterPattern, blurred, toned

__all__ = ["SimulatedSamples", "SmallScan"]

BLURS_RAD = tuple(0.006 * 1.7**i for i in range(5))  # widths that master patterns are kept at
FEWEST = 4.0  # electrons per pixel; for less signal the bands get fainter instead
HELD_OUT = 1 << 40  # number of the batch that is for validation
PIXELS = 3600  # of the patterns that batches are counted in
KEPT = 512  # master patterns, toned and blurred, that are held in memory: 1.3 MB or less each


@dataclass(frozen=True)
class SmallScan:
    """A simulated scan of a few rows.

    Parameters
    ----------
    patterns, clean
        (n, sy, sx) float32 counts, noisy, and as a very long exposure would show them.
    grid
        Of the n points.
    mask
        (sy, sx) lit pixels.
    quaternions, seconds
        (n, 4) orientations, and those which are mixed in.
    share
        (n,) of the first one.
    grain_id
        (n,) grains.
    flags
        (n,) uint8 as in `Samples`.
    phase, signal, alone
        The crystal; standard deviation of bands over that of noise; whether no neighbour counts.
    """

    patterns: Floats
    clean: Floats
    grid: Grid
    mask: npt.NDArray[np.bool_]
    quaternions: npt.NDArray[np.float64]
    seconds: npt.NDArray[np.float64]
    share: Floats
    grain_id: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint8]
    phase: int
    signal: float
    alone: bool

    def samples(self, radius: int) -> Samples:
        """Those of the middle row."""
        row = slice(*self.grid.row_starts[self.grid.n_rows // 2 :][:2].tolist())
        noisy, flags = self.patterns[row], self.flags[row]
        if self.alone or radius == 0:
            mean, n_effective = noisy, np.ones(len(noisy), np.float32)
        else:
            mean, n_effective = means_around(
                self.patterns, self.grid, self.mask, radius, row.start, row.stop
            )
        crystal = (flags & (WEAK | UNFAMILIAR)) == 0
        both = np.stack([self.quaternions[row], self.seconds[row]], axis=1)
        return Samples(
            noisy=noisy,
            clean=self.clean[row],
            mask=self.mask,
            mean=mean,
            n_effective=n_effective,
            flags=flags,
            quaternions=np.where(crystal[:, None, None], both, np.nan),
            share=self.share[row],
            phase=np.where(crystal, self.phase, -1).astype(np.int32),
            signal=np.where(flags & WEAK, 0, self.signal).astype(np.float32),
        )


class SimulatedSamples:
    """Samples simulated from master patterns; a `samples.SampleSource`.

    Parameters
    ----------
    masters
        Master patterns of the phases.
    conditions
        What small scans are drawn from.
    scans
        Small scans of 60 x 60 px in a batch, which has `conditions.columns` samples of each; of
        larger patterns there are as many fewer, so that batches cost alike.
    seed
        Of all.
    """

    def __init__(
        self,
        masters: Sequence[MasterPattern],
        conditions: Conditions | None = None,
        *,
        scans: int = 4,
        seed: int = 0,
    ) -> None:
        if not masters:
            raise ArgumentError("simulate: expected at least one master pattern, found none")
        if scans < 1:
            raise ArgumentError(f"scans: expected at least 1 for a batch, found {scans}")
        if seed < 0:
            raise ArgumentError(f"seed: expected an integer of at least 0, found {seed}")
        self.masters, self.scans, self.seed = tuple(masters), scans, seed
        self.conditions = Conditions() if conditions is None else conditions
        self._master = lru_cache(KEPT)(self._prepared)

    def batch(self, number: int) -> Samples:
        rng = np.random.default_rng([self.seed, number])
        shape = self.conditions.shapes[rng.integers(len(self.conditions.shapes))]
        disc = bool(rng.random() < self.conditions.disc)
        scans = max(1, round(self.scans * PIXELS / (shape[0] * shape[1])))
        return self._drawn(rng, shape, scans, disc)

    def held_out(self, count: int) -> Samples:
        rng = np.random.default_rng([self.seed, HELD_OUT])
        scans = -(-count // self.conditions.columns)
        return self._drawn(rng, self.conditions.shapes[0], scans, disc=False)

    def described(self) -> dict[str, Any]:
        conditions = asdict(self.conditions)
        return {
            "source": "simulation",
            "phases": [master.phase.name for master in self.masters],
            "master_patterns": sorted(
                {master.source.split("::")[0].rpartition("/")[2] for master in self.masters}
            ),
            "beam_energies_kev": sorted(
                {m.beam_energy_kev for m in self.masters if m.beam_energy_kev}
            ),
            "sizes": [list(shape) for shape in self.conditions.shapes],
            "noise_range": {"signal_to_noise_per_pixel": list(self.conditions.signal)},
            "conditions": {
                k: list(v) if isinstance(v, tuple) else v for k, v in conditions.items()
            },
            "seed": self.seed,
        }

    def small_scan(
        self, rng: np.random.Generator, shape: tuple[int, int], disc: bool = False
    ) -> SmallScan:
        """A scan under conditions drawn by `rng`."""
        wide = self.conditions
        detector = Detector(
            shape,
            np.array([rng.uniform(*wide.pc_x), rng.uniform(*wide.pc_y), rng.uniform(*wide.pc_z)]),
            sample_tilt_deg=rng.uniform(*wide.sample_tilt_deg),
            tilt_deg=rng.uniform(*wide.tilt_deg),
        )
        grid = Grid("square", wide.columns, wide.rows)
        truth = drawn_grains(grid, wide, rng)
        phase, signal = int(rng.integers(len(self.masters))), even_log(wide.signal, rng)
        contrast = min(rng.uniform(*wide.contrast), signal / math.sqrt(FEWEST))
        camera = drawn_camera(wide, rng, contrast, (signal / contrast) ** 2, disc)
        share, seconds = drawn_shares(truth, wide, rng)
        bands = self._bands(truth.quaternions, seconds, share, detector, phase, rng)
        flags = drawn_flags(share, wide, rng)
        bands[flags == WEAK] = 0
        for point in np.flatnonzero(flags == UNFAMILIAR):
            bands[point] = texture(shape, rng)
        seed = int(rng.integers(1 << 62))
        dtype: np.dtype = np.dtype(np.uint16)
        full = 65535
        if rng.random() < wide.eight_bit:
            dtype, full = np.dtype(np.uint8), 255
        still = background(camera, shape, seed)
        light = np.maximum(1 + np.float32(contrast) * bands, 0) * still
        light *= 1 + 0.02 * rng.standard_normal((len(light), 1, 1)).astype(np.float32)
        patterns = expose(light, camera, dtype, seed, 0).astype(np.float32)
        clean = expected_counts(light, camera, dtype)
        for _ in range(int(rng.integers(wide.hot_pixels + 1))):
            y, x = (int(rng.integers(n)) for n in shape)
            patterns[:, y, x] = full
        mask = disc_mask(shape) if disc else np.ones(shape, bool)
        if rng.random() < wide.flattened:
            dark = np.float32(camera.dark_level * full)
            patterns, clean = divided_by_background(patterns, clean, still, mask, dark)
        return SmallScan(
            patterns, clean, grid, mask, truth.quaternions, seconds, share, truth.grain_id, flags,
            phase, signal, bool(rng.random() < wide.alone),
        )  # fmt: skip

    def _drawn(
        self, rng: np.random.Generator, shape: tuple[int, int], scans: int, disc: bool
    ) -> Samples:
        """A batch; each scan has a random stream of its own."""
        radius = self.conditions.radius
        parts = [self.small_scan(child, shape, disc).samples(radius) for child in rng.spawn(scans)]
        return Samples.joined(parts)

    def _bands(
        self,
        quaternions: npt.NDArray[np.float64],
        seconds: npt.NDArray[np.float64],
        share: Floats,
        detector: Detector,
        phase: int,
        rng: np.random.Generator,
    ) -> Floats:
        """(n, sy, sx): mean 0, standard deviation about 1."""
        from ebsdarchive.simulation.projection import pixel_directions, project

        assert detector.pc_bruker is not None
        pixel_rad = 1 / (detector.shape[0] * float(detector.pc_bruker[2]))
        blur = rng.uniform(*self.conditions.psf) * pixel_rad
        master = self._master(phase, int(rng.integers(2)), _nearest(blur))
        directions = pixel_directions(detector)
        out = np.empty((len(quaternions), directions.shape[1]), np.float32)
        project(quaternions, directions, master, out)
        mixed = np.flatnonzero(share < 1)
        if len(mixed):
            second = np.empty((len(mixed), directions.shape[1]), np.float32)
            project(np.ascontiguousarray(seconds[mixed]), directions, master, second)
            own = share[mixed, None]
            out[mixed] = own * out[mixed] + (1 - own) * second
        return out.reshape(-1, *detector.shape)

    def _prepared(self, phase: int, tone: int, blur: int) -> Floats:
        """(2, m, m) a master pattern, toned and blurred; thinned out where the blur allows it."""
        sigma = BLURS_RAD[blur]
        master = toned(self.masters[phase], self.conditions.gamma[tone])
        intensity = blurred(master, sigma).intensity
        intensity = intensity / intensity.std()  # so that contrast and signal are of what is seen
        size = intensity.shape[1]
        spacing = math.sqrt(2 * math.pi) / (size - 1)  # rad between pixels
        step = 1
        while (size - 1) % (2 * step) == 0 and 2 * step * spacing <= sigma:
            step *= 2
        return np.ascontiguousarray(intensity[:, ::step, ::step])


def _nearest(blur_rad: float) -> int:
    """Which of the widths that are kept is nearest."""
    return int(np.argmin(np.abs(np.log(np.array(BLURS_RAD) / max(blur_rad, 1e-6)))))
