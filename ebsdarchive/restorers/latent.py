"""Latent diffusion: a pattern's code of 4 channels and an eighth of its size, restored there.

Two kinds of autoencoder. `KikuchiCodec`, ours, small and trained on Kikuchi patterns: its encoder
sees noisy patterns and its decoder is asked for the clean ones, so that what few numbers there are
go to bands and not to noise. And `AutoencoderKL` of diffusers with the weights of
Stable Diffusion, which were trained on photographs; the paper found that encoding alone takes
half of a noisy pattern's confidence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebsdarchive.errors import FormatError
from ebsdarchive.restorers import diffusion, networks
from ebsdarchive.restorers.attention import Attention
from ebsdarchive.restorers.checkpoint import Checkpoint
from ebsdarchive.restorers.flattening import Flattened, flatten
from ebsdarchive.restorers.networks import Batch, padded
from ebsdarchive.restorers.unet import UNet, UNetConfig

__all__ = [
    "KikuchiCodec",
    "LatentConfig",
    "LatentDiffusion",
    "PhotographCodec",
    "autoencoder_loss",
    "build",
    "checkpoint_of",
    "decoded",
    "load",
    "loss",
    "restore_flattened",
    "with_photograph_codec",
]

METHOD, VERSION = "mldm", "2"
CHANNELS, REDUCTION = 4, 8
HEADS = 6  # of the codec's attention


@dataclass(frozen=True)
class LatentConfig:
    """Shape of both networks.

    Parameters
    ----------
    codec_width, codec_blocks
        Channels of our autoencoder's cells, and blocks of its encoder and of its decoder.
    photograph_codec
        Configuration of an `AutoencoderKL` as JSON text, in place of ours; "" for ours.
    base, time_width
        As in `UNetConfig`.
    """

    codec_width: int = 192
    codec_blocks: int = 2
    photograph_codec: str = ""
    base: int = 32
    time_width: int = 256

    def __post_init__(self) -> None:
        if not (HEADS <= self.codec_width <= 2048 and self.codec_width % HEADS == 0):
            raise FormatError(
                f"mldm network: expected a codec_width from {HEADS} to 2048 and a multiple of "
                f"{HEADS}, found {self.codec_width}"
            )
        if not 1 <= self.codec_blocks <= 32:
            raise FormatError(
                f"mldm network: expected from 1 to 32 codec_blocks, found {self.codec_blocks}"
            )


class Cells(nn.Module):
    """Every cell of a code sees where it is and all others; then a small network for each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.place = nn.Conv2d(width, width, 3, padding=1, groups=width)  # edges tell it: padded
        self.attention = Attention(width, HEADS)
        self.norm = nn.GroupNorm(1, width)
        self.mix, self.unmix = nn.Conv2d(width, 4 * width, 1), nn.Conv2d(4 * width, width, 1)

    def forward(self, h: Tensor) -> Tensor:
        h = self.attention(h + self.place(h))
        return h + self.unmix(functional.gelu(self.mix(self.norm(h))))


class KikuchiCodec(nn.Module):
    """Our autoencoder: flattened patterns in, codes of variance 1 out.

    Squares of 8 x 8 px are cells from the beginning, and attention among them makes of the four
    numbers of each a code of the whole pattern: bands cross all of it. (Of the components of nickel
    at 60 px, as many as such a code has numbers, 256, hold 48 % of the energy of patterns they were
    not computed from; four numbers of each square's own hold far less.)
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        folded = REDUCTION**2
        self.encoder = nn.Sequential(
            *[nn.PixelUnshuffle(REDUCTION), nn.Conv2d(folded, width, 1)],
            *[Cells(width) for _ in range(blocks)],
            nn.Conv2d(width, CHANNELS, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(CHANNELS, width, 1),
            *[Cells(width) for _ in range(blocks)],
            *[nn.Conv2d(width, folded, 1), nn.PixelShuffle(REDUCTION)],
        )

    def encode(self, x: Tensor) -> Tensor:
        """(n, 1, sy, sx) to (n, 4, sy / 8, sx / 8) with a mean square of 1: no KL term needed."""
        z = self.encoder(x).float()
        return z / z.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-3)

    def decode(self, z: Tensor) -> Tensor:
        """(n, 4, sy / 8, sx / 8) to (n, 1, sy, sx)."""
        return torch.as_tensor(self.decoder(z))


class PhotographCodec(nn.Module):
    """diffusers' `AutoencoderKL`: grey patterns as pictures of three equal colours within ± 1."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def encode(self, x: Tensor) -> Tensor:
        """(n, 1, sy, sx) to the mean of the code (n, 4, sy / 8, sx / 8), scaled to variance 1."""
        picture = (x / diffusion.RANGE).clamp(-1, 1).expand(-1, 3, -1, -1)
        z = self.network.encode(picture).latent_dist.mean
        return torch.as_tensor(z * self.network.config.scaling_factor)

    def decode(self, z: Tensor) -> Tensor:
        """(n, 4, sy / 8, sx / 8) to (n, 1, sy, sx)."""
        picture = self.network.decode(z / self.network.config.scaling_factor).sample
        return torch.as_tensor(diffusion.RANGE * picture.mean(1, keepdim=True))


class LatentDiffusion(nn.Module):
    """The two networks of the method."""

    def __init__(self, config: LatentConfig, codec: KikuchiCodec | PhotographCodec) -> None:
        super().__init__()
        self.config = config
        self.codec = codec
        self.unet = UNet(UNetConfig(CHANNELS, config.base, 2, config.time_width))

    @property
    def multiple(self) -> int:
        """Sizes of patterns are padded to multiples of this."""
        return REDUCTION * self.unet.multiple

    def encode(self, values: Tensor) -> Tensor:
        """(n, sy, sx) flattened patterns of any size to codes."""
        return self.codec.encode(padded(values[:, None], self.multiple))


def autoencoder_loss(module: LatentDiffusion, batch: Batch, generator: torch.Generator) -> Tensor:
    """Mean squared difference of decoded codes from the clean pattern, over lit pixels: of codes of
    the noisy pattern and of those of the clean one, half each.

    In units of flattened values squared: an estimate without bands has about 1. Draws nothing from
    `generator`.
    """
    measured = flatten(batch.noisy, batch.mask)
    clean = measured.evened(batch.clean)
    lit = measured.lit.to(clean).expand_as(clean)
    both = [decoded(module, values) for values in (measured.values, clean)]
    errors = [((estimate - clean).square() * lit).sum() for estimate in both]
    return torch.stack(errors).mean() / lit.sum()


def decoded(module: LatentDiffusion, values: Tensor) -> Tensor:
    """(n, sy, sx) flattened patterns through the codec and back: what the code alone keeps."""
    sy, sx = values.shape[1:]
    return module.codec.decode(module.encode(values))[:, 0, :sy, :sx]


def loss(module: LatentDiffusion, batch: Batch, generator: torch.Generator) -> Tensor:
    """Mean square error of the noise predicted in codes; the codec learns nothing from it."""
    measured = flatten(batch.noisy, batch.mask)
    with torch.no_grad():
        z_0 = module.encode(measured.evened(batch.clean))
        condition = module.encode(measured.values)
    predict: Callable[[Tensor, Tensor], Tensor] = lambda z_t, t: module.unet(z_t, condition, t)  # noqa: E731
    return diffusion.noise_loss(predict, z_0, torch.ones_like(z_0), generator)


@torch.no_grad()
def restore_flattened(
    module: LatentDiffusion,
    measured: Flattened,
    sampler: str,
    steps: int,
    samples: int,
    streams: Callable[[int], list[torch.Generator]],
) -> diffusion.Samples:
    """As `diffusion.restore_flattened`, in codes."""
    sy, sx = measured.values.shape[1:]
    condition = module.encode(measured.values)

    def draw(k: int) -> Tensor:
        z_0 = diffusion.sample(
            lambda z_t, t: module.unet(z_t, condition, t),
            tuple(condition.shape),
            sampler,
            steps,
            streams(k),
            condition.device,
            clip=False,
        )
        return module.codec.decode(z_0)[:, 0, :sy, :sx]

    return diffusion.repeated(draw, samples)


def build(config: Mapping[str, Any]) -> LatentDiffusion:
    """Networks with fresh weights."""
    known = networks.read_config(LatentConfig, config, METHOD)
    if known.photograph_codec:
        return LatentDiffusion(known, PhotographCodec(_photograph_codec(known.photograph_codec)))
    return LatentDiffusion(known, KikuchiCodec(known.codec_width, known.codec_blocks))


def _photograph_codec(text: str) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    try:
        config = json.loads(text)
        network: Any = AutoencoderKL.from_config(config)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise FormatError(
            f"mldm network: expected the configuration of an AutoencoderKL, "
            f"found {' '.join(str(error).split())[:120]}"
        ) from error
    return _fitting(network, "mldm network")


def _fitting(network: Any, where: str) -> Any:
    """An AutoencoderKL, if it makes codes of 4 channels and an eighth of the size."""
    channels = network.config.latent_channels
    reduction = 2 ** (len(network.config.block_out_channels) - 1)
    colours = network.config.in_channels
    if (channels, reduction, colours) != (CHANNELS, REDUCTION, 3):
        raise FormatError(
            f"{where}: expected an autoencoder of 3 colours, {CHANNELS} channels and 1/{REDUCTION} "
            f"of the size, found {colours}, {channels} and 1/{reduction}"
        )
    return network


def with_photograph_codec(
    source: str | Path, subfolder: str = "", download: bool = False
) -> LatentDiffusion:
    """A fresh U-Net behind an `AutoencoderKL` with its weights.

    Parameters
    ----------
    source
        A folder with `config.json` and safetensors as diffusers writes it, or a name on the hub.
    subfolder
        Of a whole pipeline's folder or repository: "vae".
    download
        Whether a name may be fetched from the hub; else it must be in the cache of diffusers.

    Raises
    ------
    FormatError
        If there are no such weights, or they are of another layout. Pickled weights are not read.
    """
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    try:
        network, told = AutoencoderKL.from_pretrained(
            str(source),
            subfolder=subfolder or None,
            local_files_only=not download,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise FormatError(
            f"{source}: expected an AutoencoderKL with safetensors, found none that can be read; "
            f"give its folder{'' if download else ', or allow the download'}"
        ) from error
    if told["missing_keys"] or told["mismatched_keys"]:
        raise FormatError(
            f"{source}: expected all tensors of an AutoencoderKL, found others or too few; "
            f"the file is damaged, or of another network"
        )
    text = json.dumps({k: v for k, v in network.config.items() if not k.startswith("_")})
    return LatentDiffusion(
        LatentConfig(photograph_codec=text), PhotographCodec(_fitting(network, str(source)))
    )


def checkpoint_of(module: LatentDiffusion, card: Mapping[str, Any]) -> Checkpoint:
    """Both networks at rest."""
    return networks.checkpoint_of(module, METHOD, VERSION, card)


def load(checkpoint: Checkpoint) -> LatentDiffusion:
    """The networks of a checkpoint. Raises FormatError if it does not fit."""
    return networks.loaded(build, checkpoint, VERSION)
