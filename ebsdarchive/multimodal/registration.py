"""Where a scan lies in images of another instrument: mutual information and B-splines (SimpleITK).

The images are first laid over the scan by what is known. From there an affine transform and then a
B-spline of free nodes move them so that their grey and a map of the scan tell most about each
other, whatever the relation between the two is (Mattes et al. 2003).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ebsdarchive.analysis.light_at_points import antialiased
from ebsdarchive.archive.auxiliary import in_images, to_images
from ebsdarchive.errors import ArgumentError

__all__ = ["Registered", "register"]

Floats = npt.NDArray[np.float64]

MARGIN = 0.25  # of the scan's sides: how far beyond its edges the images are looked at
SMALLEST = 16  # points along a side
LEAST_SHOWN = 0.25  # of the scan
FEWEST_BINS, MOST_BINS = 12, 48  # of each grey; more than the cube root of the points mislead
MOST_POINTS = 60_000  # of the scan that are looked at in each step; drawn at random beyond that
SHRINKS, SMOOTHINGS = (4, 2, 1), (2.0, 1.0, 0.0)  # points


@dataclass(frozen=True)
class Registered:
    """A transform that was found.

    Parameters
    ----------
    to_scan
        (2, 3) its affine part: (x, y) in steps = A (column, row, 1).
    displacement
        (n_rows, n_columns, 2) what the B-spline adds to (column, row), in pixels.
    information_before, information_after
        Mutual information in nat, at the start and at the end.
    parameters
        For the record.
    """

    to_scan: Floats
    displacement: Floats
    information_before: float
    information_after: float
    parameters: dict[str, Any]


def register(
    fixed: Floats,
    image: npt.NDArray[Any],
    to_scan: Floats,
    *,
    nodes: int = 4,
    iterations: int = 200,
    seed: int = 0,
) -> Registered:
    """Register an image to a map of a scan on a square grid.

    Parameters
    ----------
    fixed
        (n_rows, n_columns) map of the scan, without NaN.
    image
        (rows, columns) of the other instrument.
    to_scan
        (2, 3) where it is thought to lie, to within half a grain or so.
    nodes
        Intervals of the B-spline along each side of the scan; 0 for an affine transform alone.
    seed
        Of the points that are drawn from scans of more than 60,000. The same call gives the same
        transform.

    Raises
    ------
    ArgumentError
        If the map is too small, shows nothing, or does not lie in the image.
    """
    _require_structure(fixed, nodes, iterations, seed)
    sitk = _simpleitk()
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # sums in one order: the same each time
    try:
        return _found(sitk, fixed, image, to_scan, nodes, iterations, seed)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _found(
    sitk: Any,
    fixed: Floats,
    image: npt.NDArray[Any],
    to_scan: Floats,
    nodes: int,
    iterations: int,
    seed: int,
) -> Registered:
    """What `register` finds, with as many threads as SimpleITK is set to."""
    seen, origin = _laid_over(image, to_scan, fixed.shape)
    if not np.ptp(seen) > 0:
        raise ArgumentError("register: expected images with contrast, found one grey value")
    target = sitk.GetImageFromArray(_standard(fixed).astype(np.float32))
    moving = sitk.GetImageFromArray(_standard(seen).astype(np.float32))
    moving.SetOrigin(origin)
    affine = sitk.AffineTransform(2)
    affine.SetCenter([(size - 1) / 2 for size in fixed.shape[::-1]])
    share = min(1.0, MOST_POINTS / fixed.size)
    bins = int(np.clip(round(fixed.size ** (1 / 3)), FEWEST_BINS, MOST_BINS))
    information_before = _information(
        sitk, bins, target, moving, sitk.Transform(2, sitk.sitkIdentity)
    )
    method = _method(sitk, bins, share, seed)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-4, numberOfIterations=iterations, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(affine, inPlace=True)
    _run(method, target, moving)
    stages: list[Any] = [affine]
    if nodes > 0:
        spline = sitk.BSplineTransformInitializer(target, [nodes, nodes], order=3)
        method = _method(sitk, bins, share, seed)
        method.SetMovingInitialTransform(affine)
        method.SetOptimizerAsLBFGSB(
            gradientConvergenceTolerance=1e-6, numberOfIterations=iterations
        )
        method.SetInitialTransform(spline, inPlace=True)
        _run(method, target, moving)
        stages.append(spline)
    found = sitk.CompositeTransform(stages)
    information_after = _information(sitk, bins, target, moving, found)
    return _as_transform(
        affine,
        found,
        to_scan,
        fixed.shape,
        (information_before, information_after),
        {
            "package": f"SimpleITK {sitk.Version.VersionString()}",
            "metric": f"Mattes mutual information, {bins} bins",
            "share_of_points": share,
            "transform": f"affine, then cubic B-spline of {nodes} x {nodes} intervals",
            "optimizers": f"regular step gradient descent, L-BFGS-B, {iterations} iterations",
            "shrink_factors": list(SHRINKS),
            "smoothing_sigmas": list(SMOOTHINGS),
            "seed": seed,
        },
    )


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError:
        raise ArgumentError(
            "register: expected the package SimpleITK, found none; install it with "
            "pip install 'ebsdarchive[multimodal]'"
        ) from None
    return SimpleITK


def _method(sitk: Any, bins: int, share: float, seed: int) -> Any:
    """A registration at several resolutions whose optimizer and transform are still to be set."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=bins)
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, seed + 1)  # 0 would be the time of day
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(list(SHRINKS))
    method.SetSmoothingSigmasPerLevel(list(SMOOTHINGS))
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method


def _information(sitk: Any, bins: int, target: Any, moving: Any, transform: Any) -> float:
    """Mutual information in nat of all points, with a transform."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=bins)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(transform)
    return -float(method.MetricEvaluate(target, moving))


def _run(method: Any, target: Any, moving: Any) -> None:
    try:
        method.Execute(target, moving)
    except RuntimeError as error:  # ITK's own, of several lines
        reason = str(error).strip().splitlines()[-1].removeprefix("ITK ERROR: ")
        raise ArgumentError(
            f"register: expected images that overlap the scan, found {reason}; give their place "
            f"with --pixel-size and --origin"
        ) from None


def _laid_over(
    image: npt.NDArray[Any], to_scan: Floats, shape: tuple[int, ...]
) -> tuple[Floats, tuple[float, float]]:
    """The image at the scan's points and beyond them on the same raster; (x, y) of its first."""
    from scipy.ndimage import map_coordinates

    ny, nx = shape
    beyond_y, beyond_x = (int(np.ceil(MARGIN * size)) for size in (ny, nx))
    y, x = np.mgrid[-beyond_y : ny + beyond_y, -beyond_x : nx + beyond_x]
    pixels = to_images(to_scan, np.column_stack([x.ravel(), y.ravel()]))
    at_scan = ((x >= 0) & (x < nx) & (y >= 0) & (y < ny)).ravel()
    share = float(in_images(pixels[at_scan], image.shape).mean())
    if share < LEAST_SHOWN:
        raise ArgumentError(
            f"register: expected images that show the scan, found {share:.0%} of it inside them; "
            f"give their place with --pixel-size and --origin"
        )
    smooth = antialiased(image, to_scan)
    seen = map_coordinates(smooth, pixels.T[::-1], order=1, mode="nearest").reshape(x.shape)
    return seen, (float(-beyond_x), float(-beyond_y))


def _as_transform(
    affine: Any,
    found: Any,
    to_scan: Floats,
    shape: tuple[int, ...],
    information: tuple[float, float],
    parameters: dict[str, Any],
) -> Registered:
    """SimpleITK's transform, from the scan to where the images were laid over it, as ours."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    points = np.column_stack([x.ravel(), y.ravel()]).astype(np.float64)
    moved = np.array([found.TransformPoint(point) for point in points.tolist()])
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    pixels = to_images(to_scan, np.array([affine.TransformPoint(p) for p in corners.tolist()]))
    to_pixels = np.column_stack([pixels[1] - pixels[0], pixels[2] - pixels[0]])
    linear = np.linalg.inv(to_pixels)
    new_to_scan = np.column_stack([linear, -linear @ pixels[0]])
    displacement = to_images(to_scan, moved) - to_images(new_to_scan, points)
    return Registered(
        new_to_scan, displacement.reshape(*shape, 2), information[0], information[1], parameters
    )


def _require_structure(fixed: Floats, nodes: int, iterations: int, seed: int) -> None:
    if fixed.ndim != 2 or min(fixed.shape) < SMALLEST:
        raise ArgumentError(
            f"register: expected a map of at least {SMALLEST} points along each side, found "
            f"{' x '.join(str(size) for size in fixed.shape)}"
        )
    if not np.isfinite(fixed).all() or not np.ptp(fixed) > 0:
        raise ArgumentError("register: expected a map with contrast, found one value or NaN")
    if not 0 <= nodes <= 64 or iterations < 1 or seed < 0:
        raise ArgumentError(
            f"register: expected 0 to 64 nodes, an iteration and a seed of at least 0, found "
            f"{nodes}, {iterations} and {seed}"
        )


def _standard(values: Floats) -> Floats:
    """Limited to their central 98 %, so that bins are not spent on a few bright points."""
    low, high = np.percentile(values, [1, 99])
    return np.clip(values, low, high) if high > low else values
