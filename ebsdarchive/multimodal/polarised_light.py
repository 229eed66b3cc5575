"""Polished metal between polarisers: what a uniaxial crystal reflects at each stage angle.

Normal incidence on an absorbing crystal whose c axis makes the angle θ with the surface normal. The
surface reflects the light that vibrates perpendicular to the projected c axis with the ordinary
index n_o, and along it with n_e(θ), 1 / n_e(θ)² = cos²θ / n_o² + sin²θ / n_e² (Born & Wolf,
Principles of Optics, 15.3). Each by Fresnel, r = (1 − n) / (1 + n); Jones matrices do the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ebsdarchive.errors import ArgumentError

__all__ = ["CROSSED", "TITANIUM", "Metal", "c_axes", "intensity_limit", "reflectance"]

Floats = npt.NDArray[np.float64]

CROSSED = 90.0  # degrees from polariser to analyser


@dataclass(frozen=True)
class Metal:
    """Complex refractive indices n + ik of a uniaxial metal.

    Parameters
    ----------
    name
        For reports.
    wavelength_nm
        In vacuum, that of the indices.
    ordinary, extraordinary
        For light that vibrates perpendicular to the c axis, and along it.
    source
        Where the figures stand.
    """

    name: str
    wavelength_nm: float
    ordinary: complex
    extraordinary: complex
    source: str


TITANIUM = Metal(
    name="α-titanium",
    wavelength_nm=750.0,
    # square roots of the dielectric constants 6.676 + 34.954i in the basal plane and
    # -20.377 + 30.405i along c
    ordinary=4.5968 + 3.8020j,
    extraordinary=2.8482 + 5.3376j,
    source="EMsoftOO, NamelistTemplates/EMCPLMmaster.template (α-Ti at 750 nm)",
)
"""The one pair of indices found for both axes of α-titanium.

Polycrystalline films have 3.0 + 4.0i there (Johnson and Christy 1974), so the template's figures
are those of a perfect crystal and overstate how bright a real surface is. Only the difference of
the two reflections counts between crossed polarisers, and the scale falls out when a series is
normalised: the shape of the curve over θ and the stage angle is what stays.
"""


def c_axes(quaternions: npt.ArrayLike) -> Floats:
    """(..., 3) unit c axis in the sample's frame, of (..., 4) orientations sample to crystal."""
    w, x, y, z = np.moveaxis(np.asarray(quaternions, np.float64), -1, 0)
    # the inverse rotation of [001]; orix's rule, checked against it in the tests
    return np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z], -1)


def reflectance(
    axes: npt.ArrayLike,
    stage_angles_deg: npt.ArrayLike,
    metal: Metal = TITANIUM,
    analyser_deg: float = CROSSED,
) -> Floats:
    """Share of the incoming intensity that passes the analyser.

    Between exactly crossed polarisers this is |r_e − r_o|² / 4 · sin² 2φ, φ the angle between the
    polariser and the projected c axis. It tells neither c from −c, nor φ from φ + 90°, nor anything
    about the rotation around c. An analyser some degrees away from crossed tells φ from φ + 90°.

    Parameters
    ----------
    axes
        (..., 3) unit c axes in the sample's frame, z along the surface normal.
    stage_angles_deg
        (a,) turns of the stage, from the sample's x towards its y. The polariser lies along x at 0;
        images are taken to be turned back into the sample's frame.
    analyser_deg
        Angle from polariser to analyser, in the same sense.

    Returns
    -------
    (a, ...) float64
    """
    c = np.asarray(axes, np.float64)
    if c.shape[-1:] != (3,):
        raise ArgumentError(f"axes: expected a last axis of 3, found shape {c.shape}")
    angles = np.radians(np.atleast_1d(np.asarray(stage_angles_deg, np.float64)))
    angles = angles.reshape(-1, *(1,) * (c.ndim - 1))
    r_o, r_e = _fresnel(metal, c[..., 2])
    phi = np.arctan2(c[..., 1], c[..., 0]) + angles
    analyser = np.radians(analyser_deg)
    # a · J e_x, J = R(φ) diag(r_e, r_o) R(−φ), with J's mean and its half difference
    mean, half = (r_e + r_o) / 2, (r_e - r_o) / 2
    field = mean * np.cos(analyser) + half * np.cos(2 * phi - analyser)
    return field.real**2 + field.imag**2


def intensity_limit(metal: Metal = TITANIUM, analyser_deg: float = CROSSED) -> float:
    """Largest reflectance that any orientation has at any stage angle."""
    tilt = np.radians(np.linspace(0, 90, 91))[:, None]
    azimuth = np.radians(np.linspace(0, 180, 181))
    along = np.sin(tilt)
    axes = np.stack(
        [along * np.cos(azimuth), along * np.sin(azimuth), np.cos(tilt) + 0 * azimuth], axis=-1
    )
    return float(reflectance(axes, 0.0, metal, analyser_deg).max())


def _fresnel(metal: Metal, cosine: Floats) -> tuple[complex, npt.NDArray[np.complex128]]:
    """r_o and (...) r_e of c axes with this cosine to the surface normal."""
    squared = np.clip(cosine * cosine, 0, 1)
    inverse = squared / metal.ordinary**2 + (1 - squared) / metal.extraordinary**2
    n = 1 / np.sqrt(inverse)
    n = np.where(n.real < 0, -n, n)  # the branch of a wave that fades inwards
    return (1 - metal.ordinary) / (1 + metal.ordinary), (1 - n) / (1 + n)
