"""What every kind of RGB-D recording is turned into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from haskd_training.data.readers.interface import EncodedImage
from haskd_training.recordings.camera_model import CameraModel
from haskd_training.recordings.findings import Finding

TURNED = {
    "x": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    "-x": ((0, 0, 1), (0, 1, 0), (-1, 0, 0)),
    "y": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "-y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
}
"""Rotation that turns the named axis of a world into its z."""

_UPRIGHT = 0.3
"""Mean height, in the world, of the direction that is up in the images: less, and the camera looked
nearly straight down all the time, or the world's z is not upwards."""


@dataclass(frozen=True)
class Picture:
    """The colour image of a frame.

    Attributes:
        T_world_camera: [4, 4] at its own stamp.
        rgb: decodes it to [H, W, 3] uint8; raises Unusable or InputError.
        encoded: its file, or one that is made of it; raises as `rgb` does.
        ids: [H, W] class ids of its pixels; None: it has none. Raises as `rgb` does.
    """

    stamp_ns: int
    model: CameraModel
    T_world_camera: np.ndarray
    rgb: Callable[[], np.ndarray]
    encoded: Callable[[], EncodedImage]
    ids: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True)
class RgbdFrame:
    """A depth image with the colour image that is nearest in time.

    Attributes:
        stamp_ns: of the depth image, as all that follows but the picture.
        T_world_depth: [4, 4], of the depth camera, optical: x right, y down, z ahead.
        T_world_body: [4, 4], of what carries the camera.
        depth: [H, W] float32 in m, 0 where there is none; raises Unusable or InputError.
    """

    stamp_ns: int
    model: CameraModel
    T_world_depth: np.ndarray
    T_world_body: np.ndarray
    depth: Callable[[], np.ndarray]
    picture: Picture


@dataclass(frozen=True)
class RgbdRecording:
    """The frames of a recording that are used; the world's z is upwards.

    Attributes:
        stamps_ns: [n] of the frames, in order.
        is_posed: whether the camera's motion is known; without it the world is the body.
        ahead, above: [3], what is ahead of and above the body, in its frame.
        frames: makes them one after another.
        files: that it is read from.
    """

    name: str
    stamps_ns: np.ndarray
    is_posed: bool
    ahead: np.ndarray
    above: np.ndarray
    labelled: bool
    frames: Callable[[], Iterator[RgbdFrame]]
    files: tuple[Path, ...]
    findings: tuple[Finding, ...] = ()


OPTICAL = np.array([0.0, 0.0, 1.0]), np.array([0.0, -1.0, 0.0])
"""What is ahead and above in an optical frame."""

BODY = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
"""The same in the frame of a vehicle (REP 103)."""


def turn(up: str) -> np.ndarray:
    """[4, 4], turns a world so that its axis `up` becomes z."""
    transform = np.eye(4)
    transform[:3, :3] = TURNED[up]
    return transform


def levelled(T_world_body: np.ndarray, ahead: np.ndarray, above: np.ndarray) -> np.ndarray:
    """T_world_level [4, 4]: a frame in the body's origin whose z is the world's and whose x points
    where the body points, in the plane.

    Args:
        ahead, above: [3], as of `RgbdRecording`.
    """
    direction = T_world_body[:3, :3] @ ahead
    if np.hypot(*direction[:2]) < 0.1:
        # It looks down, and what is above in the image is ahead; or up, and that is behind.
        direction = T_world_body[:3, :3] @ above * -np.sign(direction[2])
    x = np.array([direction[0], direction[1], 0.0]) / np.hypot(*direction[:2])
    level = np.eye(4)
    level[:3, 0], level[:3, 1] = x, (-x[1], x[0], 0.0)
    level[:3, 3] = T_world_body[:3, 3]
    return level


def every(stamps_ns: np.ndarray, gap_s: float) -> np.ndarray:
    """[k] indices of sorted stamps [n], so that each is at least `gap_s` after the one before."""
    chosen: list[int] = []
    last = -np.inf
    for number, stamp in enumerate(stamps_ns.tolist()):
        # A millisecond early is not early.
        if stamp - last >= gap_s * 1e9 - 1e6:
            chosen.append(number)
            last = stamp
    return np.array(chosen, np.int64)


def nearest(stamps_ns: np.ndarray, others_ns: np.ndarray, max_offset_s: float) -> np.ndarray:
    """[n] index in sorted `others_ns` [m] of the one nearest to each stamp; -1 where it is further
    than `max_offset_s`."""
    if not len(others_ns):
        return np.full(len(stamps_ns), -1)
    after = np.searchsorted(others_ns, stamps_ns).clip(max=len(others_ns) - 1)
    before = np.maximum(after - 1, 0)
    is_before = np.abs(stamps_ns - others_ns[before]) <= np.abs(others_ns[after] - stamps_ns)
    found = np.where(is_before, before, after)
    far = np.abs(others_ns[found] - stamps_ns) > max_offset_s * 1e9
    return np.where(far, -1, found)


def up_finding(name: str, T_world_camera: np.ndarray) -> list[Finding]:
    """That the world's z is hardly upwards, by the poses [n, 4, 4] of an optical frame."""
    height = round(float(-T_world_camera[:, 2, 1].mean()), 2) + 0.0  # no -0
    if height > _UPRIGHT:
        return []
    return [
        Finding(
            "world-not-upright",
            name,
            "doubtful",
            f"what is up in the images points along the world's z by {height:.2f} of its length on "
            "average: z may not be upwards, and heights mean nothing then",
            "name the axis that is: --set up=-y where the world is the first image's camera",
        )
    ]


def depth_findings(
    subject: str, samples: list[np.ndarray], limits: tuple[float, float]
) -> list[Finding]:
    """Depth that looks as if it were in another unit.

    Args:
        samples: some depth images in m, 0 where there is none.
        limits: nearest and furthest depth that is used, m.
    """
    depth = np.concatenate([image[image > 0][::7] for image in samples] or [np.zeros(0)])
    remedy = "depth_units_per_m says how many of its units are 1 m"
    if not len(depth):
        message = f"{len(samples)} depth images that were looked at hold no depth at all"
        return [Finding("depth-empty", subject, "doubtful", message)]
    median, far = float(np.median(depth)), float(np.quantile(depth, 0.999))
    outside = float(((depth < limits[0]) | (depth > limits[1])).mean())
    if median < 0.05 or far > 60:
        return [
            Finding(
                "depth-unit",
                subject,
                "doubtful",
                f"depth is {median:.3g} m in the median and up to {far:.3g} m: another unit?",
                remedy,
            )
        ]
    if outside > 0.5:
        return [
            Finding(
                "depth-outside",
                subject,
                "doubtful",
                f"{100 * outside:.0f} % of the depth lies outside of the {limits[0]:g} to "
                f"{limits[1]:g} m that are used (median {median:.3g} m)",
                f"min_depth and max_depth set these limits, {remedy}",
            )
        ]
    return []
