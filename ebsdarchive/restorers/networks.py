"""What all networks of this room have in common: their batches, and tensors as checkpoints.

Each module of a network (`autoencoder`, `diffusion`, `latent`, `kikuchi_network`,
`orientation_network`) offers a trainer the same functions, and nothing else needs to be
known to train it:

`build(config) -> nn.Module`
    A network with fresh weights on the CPU. `config` is a mapping as JSON holds it, all of it
    optional; what it leaves out has the default of the module's config dataclass. Weights are drawn
    from the generator of torch: call `torch.manual_seed` before. An unknown name or a value out of
    range is a `FormatError` of one line. `module.config` is the dataclass.
`loss(module, batch, generator) -> Tensor`
    The scalar to be minimised. `batch` is a `Batch` of counts (`OrientationBatch` for
    `orientation_network`) on the module's device: the networks bring their own normalisation, so
    that training and restoring cannot differ in it. `generator`, on the same device, draws whatever
    is random (times, noise). Call `module.train()` before.
`checkpoint_of(module, card) -> Checkpoint`
    The network at rest, tensors as float16 on the CPU: of a diffusion network the averaged one.
`batch_of(samples, device)`
    Where a network's batches are its own: one of what its source of samples gives. Of the others
    it is that of this module.

Modules by method:

==================  ===================  =========================================================
method              module               notes
==================  ===================  =========================================================
autoencoder         autoencoder          config {"kind": "seed"}; MSE, Adam
autoencoder-smooth  autoencoder          config {"kind": "smooth"}
ddpm, ddim          diffusion            one network, two samplers; AdamW (weight decay 0.01), EMA
mldm                latent               first `latent.autoencoder_loss` until it settles, then
                                         `loss` (which leaves the autoencoder as it is), AdamW, EMA
kikuchi             kikuchi_network      wants `mean`, `n_effective` and `flags`; AdamW, EMA
orientation         orientation_network  config {"point_group": "m-3m"}; `OrientationBatch`
==================  ===================  =========================================================

All take patterns of any size; `unet` owns the network that `diffusion` and `latent` sample with.

`registry.restorer_of(method, checkpoint, …)` makes a `Restorer` of any of them but `orientation`,
whose `orientation_network.predict` returns quaternions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ebsdarchive.errors import FormatError
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.samples import Samples

__all__ = ["Batch", "batch_of", "checkpoint_of", "loaded", "padded", "read_config"]

LARGEST = 1e30  # that a float of a configuration may be; JSON knows integers of any length

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Batch:
    """Patterns of one size and screen, in counts, all on one device.

    Parameters
    ----------
    noisy
        (n, sy, sx) float32 as measured.
    clean
        (n, sy, sx) float32: what a much longer exposure would have shown, on the scale of `noisy`.
        Of two overlapping patterns their mix; of pure noise its level without any bands.
    mask
        (sy, sx) bool, pixels of the detector that are lit.
    mean
        (n, sy, sx) float32 weighted mean of the pattern's neighbourhood, itself included; None
        where there are no neighbours. (k - 1 further exposures of the same pattern may be drawn at
        once, as one of k - 1 times the dose.)
    n_effective
        (n,) float32, number of patterns that `mean` is worth: 1 / sum of squared weights; None: 1.
    flags
        (n,) uint8 sums of `WEAK` (noise alone), `OVERLAP` (two patterns in one) and `UNFAMILIAR`
        (no Kikuchi pattern): the truth. None: all are sound.
    """

    noisy: Tensor
    clean: Tensor
    mask: Tensor
    mean: Tensor | None = None
    n_effective: Tensor | None = None
    flags: Tensor | None = None


def batch_of(samples: Samples, device: str) -> Batch:
    """Samples as the networks of restorers take them, on a device."""

    def on(array: Any) -> Tensor:
        return torch.from_numpy(array).to(device)

    return Batch(
        noisy=on(samples.noisy),
        clean=on(samples.clean),
        mask=on(samples.mask),
        mean=on(samples.mean),
        n_effective=on(samples.n_effective),
        flags=on(samples.flags),
    )


def padded(images: Tensor, multiple: int) -> Tensor:
    """(n, c, sy, sx) with last rows and columns repeated, up to sizes that `multiple` divides."""
    sy, sx = images.shape[2:]
    below, right = -sy % multiple, -sx % multiple
    return functional.pad(images, (0, right, 0, below), mode="replicate")


def read_config(kind: type[Config], config: Mapping[str, Any], method: str) -> Config:
    """A config dataclass of a mapping; its own checks follow in `__post_init__`.

    Raises
    ------
    FormatError
        If a name is not known, or a value is of another type than the default.
    """
    defaults = asdict(kind())  # type: ignore[call-overload]
    for name, value in config.items():
        if name not in defaults:
            raise FormatError(
                f"{method} network: expected a configuration of {', '.join(defaults)}, "
                f"found {name!r}; the checkpoint is of another method or version"
            )
        if not _alike(value, defaults[name]):
            raise FormatError(
                f"{method} network: expected {name} like {defaults[name]!r}, found {value!r}"
            )
    given = {
        field.name: _frozen(config[field.name])
        for field in fields(kind)  # type: ignore[arg-type]
        if field.name in config
    }
    return kind(**given)


def _alike(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and all(_alike(v, default[0]) for v in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and abs(value) < LARGEST  # nor NaN
    return isinstance(value, type(default))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def checkpoint_of(
    module: nn.Module, method: str, version: str, card: Mapping[str, Any]
) -> Checkpoint:
    """A network whose `config` is a dataclass, with its tensors as float16."""
    tensors = {}
    for name, tensor in module.state_dict().items():
        array = tensor.detach().cpu()
        if array.is_floating_point():
            array = array.clamp(-65504, 65504).to(torch.float16)
        tensors[name] = array.numpy()
    config = asdict(module.config)  # type: ignore[call-overload]
    as_json = {name: list(v) if isinstance(v, tuple) else v for name, v in config.items()}
    return Checkpoint(method, version, as_json, tensors, dict(card))


def loaded(
    build: Callable[[Mapping[str, Any]], Network], checkpoint: Checkpoint, version: str
) -> Network:
    """The network of a checkpoint, ready to be asked; its tensors become float32.

    What the configuration says is compared with the tensors before any memory is taken for it.

    Raises
    ------
    FormatError
        If the checkpoint is of another version, its configuration is not known, or a tensor is
        missing, not known, of another shape or not finite.
    """
    method = checkpoint.method
    if checkpoint.version != version:
        raise FormatError(
            f"{method} model: expected version {version}, found {checkpoint.version}; "
            f"use the ebsdarchive that wrote it, or train the network again"
        )
    with torch.device("meta"):  # shapes without memory
        module = build(checkpoint.config)
    own = module.state_dict()
    names = sorted(set(own) ^ set(checkpoint.tensors))
    if names:
        there = "missing" if names[0] in own else "not of this network"
        raise FormatError(
            f"{method} model: expected {len(own)} tensors, found {names[0]!r} {there}; "
            f"the file is of another network"
        )
    state = {
        name: _sound(
            np.asarray(checkpoint.tensors[name]), tensor, f"checkpoint of {method}: {name}"
        )
        for name, tensor in own.items()
    }
    module.load_state_dict(state, assign=True)
    return module.eval()


def _sound(array: np.ndarray, like: Tensor, where: str) -> Tensor:
    """An array as a tensor of the type of another, if it has its shape and finite numbers."""
    if array.shape != tuple(like.shape):
        raise FormatError(
            f"{where}: expected shape {tuple(like.shape)}, found {array.shape}; "
            f"the file is of another network"
        )
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise FormatError(f"{where}: expected finite numbers, found others; the file is damaged")
    return torch.from_numpy(np.array(array)).to(like.dtype)
