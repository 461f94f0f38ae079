"""Points of a sweep -> pixels of an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import Polynomial

from haskd_training.recordings.camera_model import CameraModel

MIN_DEPTH = 0.1
"""m. Nearer points lie on the vehicle or the camera itself, and their pixels jump."""


@dataclass(frozen=True)
class Projection:
    """pixels: [N, 2] float64, u to the right and v down; NaN where a point has no pixel.
    depth: [N] float64, m along the optical axis (negative behind the camera).
    inside: [N] bool, whether the pixel lies in the image.
    """

    pixels: np.ndarray
    depth: np.ndarray
    inside: np.ndarray


def transform_points(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """T_target_source [4, 4], points [N, >= 3] in source (x y z first) -> [N, 3] float64."""
    # Coordinates side by side in memory: several times faster than point by point.
    columns = np.ascontiguousarray(points[:, :3].T, np.float64)
    transformed: np.ndarray = (transform[:3, :3] @ columns + transform[:3, 3:]).T
    return transformed


def project(points: np.ndarray, t_camera_lidar: np.ndarray, camera: CameraModel) -> Projection:
    """Project a sweep into an image, with the camera's distortion.

    Args:
        points: [N, >= 3], x y z in m in the sensor frame first.
        t_camera_lidar: [4, 4], from the sensor frame at the sweep's time to the camera's optical
            frame (z forward, x right, y down) at the image's time.
    """
    xyz = transform_points(t_camera_lidar, points)
    depth = xyz[:, 2]
    in_front = depth > MIN_DEPTH
    flat = (xyz[in_front, :2].T / depth[in_front]).T
    distorted, valid = distort(flat, camera.distortion_model, camera.D)
    visible = np.flatnonzero(in_front)[valid]
    u, v = camera.K[:2, :2] @ distorted[valid].T + camera.K[:2, 2:]
    pixels = np.full((len(xyz), 2), np.nan)
    pixels[visible, 0], pixels[visible, 1] = u, v
    # A pixel's square reaches half a pixel beyond its centre.
    inside = np.zeros(len(xyz), bool)
    inside[visible] = (
        (u >= -0.5) & (u < camera.width - 0.5) & (v >= -0.5) & (v < camera.height - 0.5)
    )
    return Projection(pixels, depth, inside)


def distort(
    flat: np.ndarray, distortion_model: str, D: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distort ideal image coordinates.

    The models are OpenCV's (documentation of `calib3d`, "pinhole camera model" and "fisheye").

    Args:
        flat: [N, 2], x/z and y/z.

    Returns:
        distorted: [N, 2].
        valid: [N] bool, False where the distorted radius no longer grows with the true one: there
            the polynomial folds points from far outside the field of view back into the image.
    """
    x, y = flat.T
    radius_2 = x**2 + y**2
    limit = _monotonic_limit(distortion_model, tuple(D))
    if distortion_model == "equidistant":
        radius = np.sqrt(radius_2)
        theta = np.arctan(radius)
        theta_distorted = theta * _equidistant_factor(D)(theta**2)
        # theta / radius -> 1 on the optical axis.
        scale = np.divide(theta_distorted, radius, out=np.ones_like(radius), where=radius > 1e-12)
        return flat * scale[:, None], theta < limit

    numerator, denominator = _radial_fraction(D)
    valid = radius_2 < limit**2
    radial = numerator(radius_2) / np.where(valid, denominator(radius_2), 1.0)
    p1, p2 = D[2], D[3]
    distorted = np.column_stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (radius_2 + 2 * x**2),
            y * radial + p1 * (radius_2 + 2 * y**2) + 2 * p2 * x * y,
        ]
    )
    return distorted, valid


def _radial_fraction(D: np.ndarray) -> tuple[Polynomial, Polynomial]:
    """Numerator and denominator of the radial factor, as polynomials of the squared radius."""
    k = np.pad(D, (0, 8 - len(D)))
    return Polynomial([1.0, k[0], k[1], k[4]]), Polynomial([1.0, k[5], k[6], k[7]])


def _equidistant_factor(D: Iterable[float]) -> Polynomial:
    """theta_distorted / theta as a polynomial of theta squared."""
    return Polynomial([1.0, *D])


@lru_cache
def _monotonic_limit(distortion_model: str, D: tuple[float, ...]) -> float:
    """Largest radius (for equidistant: angle, rad) up to which the distorted radius grows.

    With s = r^2 and the radial factor N(s) / M(s), d/dr (r N / M) has the sign of
    N M + 2 s (N' M - N M'); beyond its first root, or M's, the model does not hold.
    """
    s = Polynomial([0.0, 1.0])
    if distortion_model == "equidistant":
        factor, denominator = _equidistant_factor(D), Polynomial([1.0])
    else:
        factor, denominator = _radial_fraction(np.array(D))
    slope = factor * denominator + 2 * s * (
        factor.deriv() * denominator - factor * denominator.deriv()
    )
    roots = np.concatenate([slope.roots(), denominator.roots()])
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    return float(np.sqrt(real.min())) if len(real) else np.inf
