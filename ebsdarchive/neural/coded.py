"""A field as it is stored: a coded network, coded images and a mask, as bytes.

Owns what goes where in these bytes and how they become a field again, with numpy alone.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.codecs.images import decode_images
from ebsdarchive.codecs.inflating import inflated
from ebsdarchive.codecs.lattices import QuantisedLattice, decode_lattice, encode_lattice
from ebsdarchive.codecs.networks import QuantisedNetwork, decode_network, encode_network
from ebsdarchive.errors import CorruptionError
from ebsdarchive.neural.field import FieldTensors
from ebsdarchive.neural.lattice import LatticeNetwork

__all__ = [
    "CodedField",
    "decode_field",
    "decode_mask",
    "encode_field",
    "encode_mask",
    "images_of",
]


@dataclass(frozen=True)
class CodedField:
    """A field in its stored form.

    Parameters
    ----------
    network
        Bytes of the sine network; empty at rank 1, and where there is a lattice.
    images
        Bytes of the mean pattern and the basis patterns, in that order.
    mask
        Deflated bits of the mask, one for each pixel in C order; empty where it is full.
    omega_first, omega_hidden
        Frequency factors of the first and of the other sine layers.
    outside_counts
        What pixels outside the mask decode to.
    lattice
        Bytes of the lattice; empty where there is none.
    """

    network: bytes
    images: bytes
    mask: bytes
    omega_first: float
    omega_hidden: float
    outside_counts: float
    lattice: bytes = b""

    @property
    def nbytes(self) -> int:
        """Bytes of all streams."""
        return len(self.network) + len(self.images) + len(self.mask) + len(self.lattice)


def encode_field(
    network: QuantisedNetwork | QuantisedLattice | None,
    images: bytes,
    mean_pattern: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    omegas: tuple[float, float],
) -> CodedField:
    """The streams of a field.

    Parameters
    ----------
    network
        With outputs of unit variance, so that all images may share one step; None at rank 1.
    images
        Of `images_of`, coded.
    mean_pattern, mask
        As in `FieldTensors`.
    omegas
        Frequency factors of the first and of the other sine layers.
    """
    outside = mean_pattern[~mask]
    return CodedField(
        network=encode_network(network) if isinstance(network, QuantisedNetwork) else b"",
        images=images,
        mask=encode_mask(mask),
        omega_first=float(omegas[0]),
        omega_hidden=float(omegas[1]),
        outside_counts=float(outside.mean()) if outside.size else 0.0,
        lattice=encode_lattice(network) if isinstance(network, QuantisedLattice) else b"",
    )


def images_of(
    basis: npt.NDArray[np.float32],
    mean_pattern: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """(rank, sy, sx) the images of a field, mean pattern first, in the order that they are stored.

    Parameters
    ----------
    basis, mean_pattern, mask
        As in `FieldTensors`.
    """
    images = np.zeros((len(basis) + 1, *mask.shape), dtype=np.float32)
    images[0] = mean_pattern
    images[1:, mask] = basis
    return images


def decode_field(coded: CodedField, shape: tuple[int, int]) -> FieldTensors:
    """The field that the bytes hold.

    Parameters
    ----------
    shape
        (sy, sx) of the scan's patterns.

    Raises
    ------
    CorruptionError
        If the bytes are damaged, or of patterns of another shape.
    """
    mask = decode_mask(coded.mask, shape)
    images = decode_images(coded.images)
    if images.shape[1:] != shape or len(images) == 0:
        raise CorruptionError(
            f"coded images: expected a mean pattern of {shape} pixels, found {images.shape}"
        )
    weights: list[npt.NDArray[np.float32]] = []
    biases: list[npt.NDArray[np.float32]] = []
    lattice = None
    if len(images) > 1:
        if coded.lattice:
            lattice = LatticeNetwork(*decode_lattice(coded.lattice).arrays())
            outputs = lattice.outputs
        else:
            weights, biases = decode_network(coded.network).arrays()
            outputs = len(biases[-1])
        if outputs != len(images) - 1:
            raise CorruptionError(
                f"coded network: expected {len(images) - 1} outputs, found {outputs}"
            )
    mean = np.where(mask, images[0], np.float32(coded.outside_counts))
    basis = np.ascontiguousarray(images[1:, mask])
    return FieldTensors(
        weights, biases, coded.omega_first, coded.omega_hidden, basis, mean, mask, lattice
    )


def encode_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """Deflated bits of a mask; nothing where it is full."""
    return b"" if mask.all() else zlib.compress(np.packbits(mask).tobytes(), 9)


def decode_mask(data: bytes, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The (sy, sx) mask of such bits. Raises CorruptionError on damaged ones."""
    size = shape[0] * shape[1]
    if not data:
        return np.ones(shape, dtype=bool)
    try:
        bits = inflated(data, (size + 7) // 8)
    except ValueError as error:
        raise CorruptionError(f"mask: expected {size} deflated bits, found {error}") from error
    if len(bits) != (size + 7) // 8:
        raise CorruptionError(f"mask: expected {size} bits, found {8 * len(bits)}")
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=size).reshape(shape).astype(bool)
