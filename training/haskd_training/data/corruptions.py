"""Clouds as a worse sensor or worse weather would have recorded them, to test a model's robustness.

Every corruption takes points [N, 4] float32 (x y z in m in the sensor frame, intensity 0..1) and a
random generator, and returns

    points [M, 4] float32, a new array, intensity NaN where it is not measured any more, and
    source [M] int64: the input point that each is, `NO_SOURCE` for an echo of the fog itself.

Lost points don't appear, so a score on a corrupted cloud covers the points that are left.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d

from haskd_ros.errors import InputError
from haskd_ros.taxonomy import UNLABELLED
from haskd_training.data.caches.cache import Sweep

NO_SOURCE = -1

Corruption = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]

SUBSAMPLED_SHARE = 0.1
NOISE_M = 0.05
INTENSITY_FACTOR = 2.0

VISIBILITY_M = 50.0
"""Meteorological optical range: at this distance fog leaves 5 % of an object's contrast."""

_BACKSCATTER = 0.046
"""Of fog, per m and sr, times the visibility in m."""
_PULSE_M = 1.5
"""Half the length of a 10 ns pulse: the depth of fog that echoes at one instant."""
_SENSOR_RANGE_M = 200.0
"""In clear air the sensor just sees a surface of 10 % reflectivity at this distance."""
_DARKEST = 0.05
"""Reflectivity of the darkest surfaces; intensities go down to 0, which nothing reflects."""
_NEAREST_M = 1.0
"""Nearer than this, transmitter and receiver don't overlap and fog gives no echo."""

_SECTOR_DEG = 4.0
_BIN_DEG = 0.02
_BLUR_DEG = 0.03
_DIP = 0.3
"""Between two beams, the density of elevations falls below this share of the lower peak."""


def elevation_deg(points: np.ndarray) -> np.ndarray:
    """[N] angles above the horizontal of points [N, >= 3], as the sensor sees them."""
    elevation: np.ndarray = np.degrees(
        np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    )
    return elevation


def half_the_beams(
    points: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Every other beam, the first or the second of each pair by chance."""
    source = np.flatnonzero(alternate_beams(points) == bool(generator.integers(2)))
    return points[source], source


def alternate_beams(points: np.ndarray) -> np.ndarray:
    """[N] bool: the points of every other beam.

    Without a ring field a point's beam follows from its elevation, but not for the whole turn at
    once: where the sensor moved during the sweep, near points of a beam lie some tenths of a degree
    off the far ones, more than beams are apart. So the beams of each sector of 4 degrees are found
    separately (`_beams`), and they alternate in the way that fits the sector before best.
    """
    elevation = elevation_deg(points)
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    sector = np.floor((azimuth + 180) / _SECTOR_DEG)
    order = np.argsort(sector, kind="stable")
    chosen = np.zeros(len(points), bool)
    before: tuple[np.ndarray, np.ndarray] | None = None
    for members in np.split(order, np.flatnonzero(np.diff(sector[order])) + 1):
        if not len(members):
            continue
        beam = _beams(elevation[members])
        size = np.bincount(beam)
        centre = np.bincount(beam, elevation[members]) / size
        odd = np.arange(len(size)) % 2 == 1
        if before is not None:
            centres, odd_before = before
            nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, centre)
            if size[odd_before[nearest] != odd].sum() > size.sum() / 2:
                odd = ~odd
        before = centre, odd
        chosen[members] = odd[beam]
    return chosen


def _beams(elevation: np.ndarray) -> np.ndarray:
    """Number of the beam, lowest first, of points of one sector by elevation [n] in degrees.

    The blurred histogram has one peak a beam, however unevenly beams are spaced, and they meet
    where it is lowest between two peaks. A ripple on a peak is no beam of its own.
    """
    # Here, because all that reads a cache would load it, and only thinning needs it.
    from scipy.signal import find_peaks

    # Empty margins, so that the first and the last beam are peaks too.
    margin = 8 * _BLUR_DEG
    edges = np.arange(elevation.min() - margin, elevation.max() + margin + _BIN_DEG, _BIN_DEG)
    density = gaussian_filter1d(
        np.histogram(elevation, edges)[0].astype(np.float64), _BLUR_DEG / _BIN_DEG
    )
    peaks, properties = find_peaks(density, prominence=0)
    peaks = peaks[properties["prominences"] >= (1 - _DIP) * density[peaks]]
    valleys = [a + int(density[a:b].argmin()) for a, b in pairwise(peaks)]
    return _numbered(np.searchsorted(edges[valleys] + _BIN_DEG / 2, elevation))


def _numbered(groups: np.ndarray) -> np.ndarray:
    """0, 1, 2 ... for the groups that have members, in their order."""
    return np.unique(groups, return_inverse=True)[1]


def tenth_of_the_points(
    points: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """10 % of the points, drawn at random, in their order."""
    count = round(SUBSAMPLED_SHARE * len(points))
    source = np.sort(generator.choice(len(points), count, replace=False))
    return points[source], source


def fog(
    points: np.ndarray, generator: np.random.Generator, visibility_m: float = VISIBILITY_M
) -> tuple[np.ndarray, np.ndarray]:
    """Even fog: far echoes fade or are lost, and some beams show the fog before their target.

    The optical model is that of Rasshofer, Spies and Spies, "Influences of weather phenomena on
    automotive laser radar systems", Advances in Radio Science 9, 2011, which Hahner et al., "Fog
    Simulation on Real LiDAR Point Clouds for 3D Object Detection in Adverse Weather", ICCV 2021,
    applied to recorded clouds. In this module's own, simpler form, with extinction
    a = ln 20 / visibility, received powers times range^2 are

        target at r, reflectivity p:  p / pi * exp(-2 a r)
        fog at s:                     b * h * exp(-2 a s) * e,   b = 0.046 / visibility

    h is half the pulse's length, e ~ Exp(1) the speckle of a diffuse echo. One s is drawn for each
    beam, by the power that comes from there, between 1 m and the target. The stronger echo is
    reported; a target that is weaker than what the sensor just sees in clear air (10 % at 200 m)
    is lost. Intensity stands for reflectivity, at least 5 %.
    """
    extinction = np.log(20) / visibility_m
    distance = np.linalg.norm(points[:, :3].astype(np.float64), axis=1)
    faded = np.exp(-2 * extinction * distance)
    target = np.maximum(points[:, 3], _DARKEST) / np.pi * faded
    weakest = 0.1 / np.pi / _SENSOR_RANGE_M**2
    visible = target >= weakest * distance**2

    # Inverse of the distribution function of exp(-2 a s) on 1 m .. target.
    far = np.maximum(distance, _NEAREST_M)
    start, end = np.exp(-2 * extinction * _NEAREST_M), np.exp(-2 * extinction * far)
    drawn = start - generator.random(len(points)) * (start - end)
    echo_distance = -np.log(drawn) / (2 * extinction)
    speckle = generator.exponential(size=len(points))
    echo = _BACKSCATTER / visibility_m * _PULSE_M * drawn * speckle
    scattered = (echo > target) & (distance > _NEAREST_M)

    result = points.copy()
    result[:, 3] = points[:, 3] * faded
    result[scattered, :3] *= (echo_distance / far)[scattered, None]
    result[scattered, 3] = np.minimum(np.pi * echo, 1)[scattered]
    reported = visible | scattered
    source = np.where(scattered, NO_SOURCE, np.arange(len(points)))
    return result[reported], source[reported]


def scaled_intensity(
    points: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """All intensities halved or all doubled, by chance, and cut off at 1."""
    result = points.copy()
    factor = INTENSITY_FACTOR ** generator.choice([-1, 1])
    result[:, 3] = np.minimum(factor * points[:, 3], 1)
    return result, np.arange(len(points))


def no_intensity(
    points: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Every intensity NaN: not measured."""
    result = points.copy()
    result[:, 3] = np.nan
    return result, np.arange(len(points))


def noise(points: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Every coordinate off by a normal error of 5 cm."""
    result = points.copy()
    result[:, :3] += generator.normal(0, NOISE_M, (len(points), 3)).astype(np.float32)
    return result, np.arange(len(points))


CORRUPTIONS: dict[str, Corruption] = {
    "half the beams": half_the_beams,
    "10 % of the points": tenth_of_the_points,
    "fog": fog,
    "intensity halved or doubled": scaled_intensity,
    "no intensity": no_intensity,
    "5 cm noise": noise,
}


def corrupted(sweep: Sweep, name: str, seed: int = 0, mean_intensity: float = 0.0) -> Sweep:
    """A sweep under one of `CORRUPTIONS`: the same for every model that is evaluated on it.

    Labels and times follow their points; echoes of fog are `UNLABELLED` and so are not counted.

    Args:
        mean_intensity: stands in for what was not measured, 0..1.

    Raises:
        InputError: no such corruption, or a sweep that comes with others before it.
    """
    if sweep.older is not None:
        raise InputError(
            f"{name}: a model of several sweeps is not scored on corrupted clouds: how the sensor "
            "saw the sweeps before, in its own frame, is not known any more"
        )
    if name not in CORRUPTIONS:
        raise InputError(f"unknown corruption {name!r}; there are {', '.join(CORRUPTIONS)}")
    generator = np.random.default_rng((seed, zlib.crc32(name.encode()), sweep.stamp_ns))
    points, source = CORRUPTIONS[name](sweep.points, generator)
    points[np.isnan(points[:, 3]), 3] = mean_intensity
    label = np.where(source == NO_SOURCE, np.uint8(UNLABELLED), sweep.label[source])
    time = np.where(source == NO_SOURCE, np.float32(0), sweep.time[source])
    return Sweep(points, time, label, sweep.stamp_ns, sweep.recording)
