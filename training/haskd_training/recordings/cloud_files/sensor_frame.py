"""From the frame that a file's points are in to the sensor frame that networks are trained in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from haskd_ros.clouds.pointcloud import valid_returns
from haskd_ros.errors import InputError

CENTER = "center"
_GROUND_PERCENTILE = 1.0


@dataclass(frozen=True)
class SensorFrame:
    """Where the sensor is in a file's coordinates, and which way it looks.

    Attributes:
        up, forward: axes of the file, `x` to `-z`.
        sensor_height: m, of the sensor above `origin`.
        origin: [3] m, in the file's coordinates; `CENTER`: the median of the points along the level
            axes, and on the ground, at the lowest of them but 1 %.
    """

    up: str = "z"
    forward: str = "x"
    sensor_height: float = 0.0
    origin: tuple[float, float, float] | Literal["center"] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if abs(float(_axis("up", self.up) @ _axis("forward", self.forward))) > 0:
            raise InputError(
                f"--up {self.up} and --forward {self.forward} lie along one axis; they must be "
                "at right angles"
            )
        if not np.isfinite(self.sensor_height):
            raise InputError(f"--sensor-height {self.sensor_height} is no height")
        if self.origin == CENTER and not self.sensor_height:
            raise InputError(
                "--origin center lies on the ground: name the height of the sensor above it too, "
                "as --sensor-height 1.8"
            )

    @property
    def rotation(self) -> np.ndarray:
        """[3, 3], a direction of the file to one of the sensor frame: x ahead, y left, z up."""
        up, forward = _axis("up", self.up), _axis("forward", self.forward)
        return np.stack([forward, np.cross(up, forward), up])

    def in_sensor_frame(self, points: np.ndarray) -> np.ndarray:
        """x y z [N, 3] in m in the sensor frame.

        The origin is taken off in float64, so that coordinates of a map lose nothing.

        Args:
            points: structured [N] with x, y and z in m.

        Returns:
            float32, or float64 where the file has that.
        """
        xyz = np.stack([points[axis] for axis in "xyz"], axis=1)
        if self == SensorFrame():
            return xyz
        turned = xyz.astype(np.float64) @ self.rotation.T
        shift = self._origin(xyz, turned)
        shift[2] += self.sensor_height
        moved: np.ndarray = turned - shift
        # A lost return in the file's origin stays one.
        moved[~valid_returns(xyz)] = np.nan
        return moved

    def _origin(self, xyz: np.ndarray, turned: np.ndarray) -> np.ndarray:
        """[3] m, along the axes of the sensor frame."""
        if self.origin != CENTER:
            return np.asarray(self.rotation @ np.asarray(self.origin, np.float64))
        returns = turned[valid_returns(xyz)]
        if not len(returns):
            return np.zeros(3)
        middle = np.median(returns[:, :2], axis=0)
        return np.array([*middle, np.percentile(returns[:, 2], _GROUND_PERCENTILE)])


def parse_origin(text: str | None) -> tuple[float, float, float] | Literal["center"]:
    """Of `X,Y,Z` or `center`; None: the file's own origin.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return (0.0, 0.0, 0.0)
    if text == CENTER:
        return "center"
    try:
        x, y, z = (float(part) for part in text.replace(" ", ",").split(",") if part)
    except ValueError:
        raise InputError(
            f"--origin {text!r} is neither X,Y,Z in m (as 431200.5,5411926.2,310) nor center"
        ) from None
    if not np.isfinite((x, y, z)).all():
        raise InputError(f"--origin {text!r} is not finite")
    return x, y, z


def _axis(option: str, name: str) -> np.ndarray:
    axis = name.removeprefix("-").removeprefix("+")
    if axis not in ("x", "y", "z") or len(name) > 2:
        raise InputError(f"--{option} {name!r} is no axis; allowed are x, y, z, -x, -y, -z")
    unit: np.ndarray = np.eye(3)["xyz".index(axis)]
    return -unit if name.startswith("-") else unit
